"""Proofs in versions that are no longer made: 4, of ancestry, and 6, of columns. Neither names its start block."""

from __future__ import annotations

import struct
from typing import Any

from merkle import forms
from merkle.proofs import AncestryProof, ColumnsProof, to_json

ADDED = ("start_height", "start_hash", "start_path")


def version_4(proof: AncestryProof) -> bytes:
    """The same without what version 7 added."""
    form = {name: kind for name, kind in proof.FORM.items() if name not in ADDED}
    return forms.encode(4, form, proof)


def version_4_json(proof: AncestryProof) -> dict[str, Any]:
    """Its JSON form."""
    return {name: value for name, value in to_json(proof).items() if name not in ADDED} | {"version": 4}


def version_6(proof: ColumnsProof) -> bytes:
    """The same without what version 8 added."""
    name, numbers = proof.network.encode(), struct.pack("<II", proof.range_start, proof.cp_height)
    head = bytes([6, len(name)]) + name + proof.genesis + numbers + proof.tip_header + proof.root
    columns = proof.heights + proof.headers + proof.tip_branch + proof.branches
    return head + struct.pack("<I", len(proof.heights) // 4) + columns
