"""Light-client objects in their JSON form, and beacon bundles in theirs, as the bytes that ``beacon_check`` reads. It
shares no code with the package. Source: consensus-specs ``{altair,..,electra}/light-client/sync-protocol.md``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.support.beacon_check import INLINE

BEACON = (("slot", 8), ("proposer_index", 8), ("parent_root", 32), ("state_root", 32), ("body_root", 32))
EXECUTION = (
    ("parent_hash", 32), ("fee_recipient", 20), ("state_root", 32), ("receipts_root", 32), ("logs_bloom", 256),
    ("prev_randao", 32), ("block_number", 8), ("gas_limit", 8), ("gas_used", 8), ("timestamp", 8), ("extra_data", 0),
    ("base_fee_per_gas", 32), ("block_hash", 32), ("transactions_root", 32), ("withdrawals_root", 32),
)  # fmt: skip
BLOBS = (("blob_gas_used", 8), ("excess_blob_gas", 8))
"""From deneb on."""
KINDS = {
    0: ("header", "current_sync_committee", "current_sync_committee_branch"),
    1: ("attested_header", "next_sync_committee", "next_sync_committee_branch", "finalized_header", "finality_branch",
        "sync_aggregate", "signature_slot"),
    2: ("attested_header", "finalized_header", "finality_branch", "sync_aggregate", "signature_slot"),
    3: ("attested_header", "sync_aggregate", "signature_slot"),
}  # fmt: skip
"""The fields of each kind of object, in order."""
NAMES = ("bootstrap", "update", "finality", "optimistic")
"""Of the kinds, in a bundle."""
Parts = Sequence[tuple[bytes, bool]]
"""Each with whether an offset stands in its place, and it behind all others."""


def kind_of(data: dict[str, Any]) -> int:
    """By the fields that it has."""
    return next(kind for kind, fields in KINDS.items() if set(fields) == set(data))


def container(parts: Parts) -> bytes:
    fixed = sum(4 if moved else len(part) for part, moved in parts)
    front, behind = b"", b""
    for part, moved in parts:
        front += (fixed + len(behind)).to_bytes(4, "little") if moved else part
        behind += part if moved else b""
    return front + behind


def unhex(text: str) -> bytes:
    assert text[:2] == "0x"
    return bytes.fromhex(text[2:])


def value(given: str, size: int) -> bytes:
    """A number in decimal or bytes in hex, of a size; 0 for any."""
    found = unhex(given) if given[:2] == "0x" else int(given).to_bytes(size, "little")
    assert size in (0, len(found))
    return found


def header(form: dict[str, Any], fork: str) -> bytes:
    """A LightClientHeader."""
    beacon = b"".join(value(form["beacon"][name], size) for name, size in BEACON)
    if fork in INLINE:
        assert set(form) == {"beacon"}
        return beacon
    fields = EXECUTION + (() if fork == "capella" else BLOBS)
    assert set(form["execution"]) == {name for name, _ in fields}
    execution = container([(value(form["execution"][name], size), not size) for name, size in fields])
    return container([(beacon, False), (execution, True), (b"".join(map(unhex, form["execution_branch"])), False)])


def to_bytes(data: dict[str, Any], fork: str) -> bytes:
    """Any object, in the layout of its fork."""
    parts = []
    for name in KINDS[kind_of(data)]:
        given = data[name]
        if name.endswith("header"):
            parts.append((header(given, fork), fork not in INLINE))
        elif name == "signature_slot":
            parts.append((value(given, 8), False))
        elif name == "sync_aggregate":
            parts.append((unhex(given["sync_committee_bits"]) + unhex(given["sync_committee_signature"]), False))
        else:
            nodes = given if isinstance(given, list) else [*given["pubkeys"], given["aggregate_pubkey"]]
            parts.append((b"".join(map(unhex, nodes)), False))
    return container(parts)


def bundle_bytes(form: dict[str, Any]) -> bytes:
    """A beacon bundle's bytes (version 2) from its JSON form."""
    name = form["network"].encode()
    head = bytes([2, len(name)]) + name + unhex(form["genesis_validators_root"]) + unhex(form["checkpoint_root"])
    head += form["made_at"].to_bytes(4, "little") + len(form["items"]).to_bytes(2, "little")
    for item in form["items"]:
        body = bytes([NAMES.index(item["kind"])]) + unhex(item["fork_digest"]) + unhex(item["ssz"])
        head += len(body).to_bytes(4, "little") + body
    return head
