"""Nodes that lived when we were last up, in one file, so that a restart needs no bootnode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from p2p import statefile
from p2p.discv5.enr import Enr, EnrError, parse

MAX_SAVED: Final = 128
"""Records in the file, at most 404 characters each. One lookup's worth of starting points is 16."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    nodes: list[str]


def load(path: Path) -> list[Enr]:
    """The records in the file, those that do not verify left out. A damaged file is set aside and empty. Raise OSError
    when it cannot be read."""
    stored = statefile.load(path, _File)
    found: list[Enr] = []
    for text in (stored.nodes if stored else [])[:MAX_SAVED]:
        try:
            found.append(parse(text))
        except EnrError:
            continue  # a bit has flipped in it; the others are as good as before
    return found


def save(path: Path, nodes: Sequence[Enr]) -> None:
    """Replace the file. Raise OSError."""
    statefile.save(path, _File(1, [node.text for node in nodes[:MAX_SAVED]]))
