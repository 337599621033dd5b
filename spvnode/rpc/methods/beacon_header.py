"""Beacon headers and the execution blocks in them, as JSON; and from what a caller names to one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spvnode.errors import InputError
from spvnode.ethereum.containers import (
    ExecutionPayloadHeader,
    LightClientFinalityUpdate,
    LightClientHeader,
    LightClientOptimisticUpdate,
    beacon_root,
)
from spvnode.ethereum.units import Slot, compute_epoch_at_slot
from spvnode.inputs import shown
from spvnode.rpc.errors import Code, RpcError
from spvnode.types import Hash32
from spvnode.view import BeaconView, ExecutionRecord

MAX_BLOCK_NUMBER = 2**64 - 1
"""Execution block numbers are 64-bit."""
_HASH = re.compile(r"0x[0-9a-fA-F]{64}\Z")
_NUMBER = re.compile(r"[0-9]{1,20}\Z")
_NO_HASH = bytes(32)
_EXECUTION_HASHES = (
    "block_hash",
    "parent_hash",
    "state_root",
    "receipts_root",
    "transactions_root",
    "withdrawals_root",
    "prev_randao",
    "fee_recipient",
    "extra_data",
)
_EXECUTION_NUMBERS = ("timestamp", "gas_limit", "gas_used", "base_fee_per_gas", "blob_gas_used", "excess_blob_gas")

Update = LightClientFinalityUpdate | LightClientOptimisticUpdate


@dataclass(frozen=True, slots=True)
class StateRoot:
    """An execution block whose state a proof may be checked against, and how final it is."""

    root: Hash32
    block_number: int
    block_hash: Hash32
    slot: int
    finalized: bool

    def as_json(self) -> dict[str, Any]:
        """For a reply."""
        return {
            "state_root": hex_of(self.root),
            "block_number": self.block_number,
            "block_hash": hex_of(self.block_hash),
            "slot": self.slot,
            "finalized": self.finalized,
        }


def hex_of(data: bytes) -> str:
    """``0x`` hex, in natural order."""
    return "0x" + data.hex()


def describe_header(chain: BeaconView, header: LightClientHeader, now: float) -> dict[str, Any]:
    """The header's own fields, its place in time, and its execution block."""
    beacon = header.beacon
    return {
        **_place(chain, beacon.slot, now),
        "root": hex_of(beacon_root(beacon)),
        "parent_root": hex_of(beacon.parent_root),
        "state_root": hex_of(beacon.state_root),
        "body_root": hex_of(beacon.body_root),
        "proposer_index": beacon.proposer_index,
        "execution": describe_execution(chain, header),
    }


def describe_record(chain: BeaconView, record: ExecutionRecord, now: float) -> dict[str, Any]:
    """The same, as far as it was kept of an older finalized header."""
    return {
        **_place(chain, Slot(record.slot), now),
        "root": hex_of(record.beacon_root),
        "execution": _describe_record(record),
    }


def _place(chain: BeaconView, slot: Slot, now: float) -> dict[str, Any]:
    time = chain.params.start_of(slot)
    return {
        "slot": slot,
        "epoch": compute_epoch_at_slot(chain.params.preset, slot),
        "time": int(time),
        "age": round(now - time, 1),
    }


def execution_of(header: LightClientHeader) -> ExecutionPayloadHeader | None:
    """The execution header, None where the header's slot has none (before capella, or from gloas on)."""
    execution = header.execution
    return None if execution is None or execution.block_hash == _NO_HASH else execution


def describe_execution(chain: BeaconView, header: LightClientHeader) -> dict[str, Any] | None:
    """Of a gloas header the block hash alone, with the rest where it was kept."""
    execution = execution_of(header)
    if execution is not None:
        hashes = {name: hex_of(getattr(execution, name)) for name in _EXECUTION_HASHES}
        numbers = {name: getattr(execution, name) for name in _EXECUTION_NUMBERS}
        return {"block_number": execution.block_number, **hashes, **numbers}
    block_hash = header.execution_block_hash
    if block_hash is None or block_hash == _NO_HASH:
        return None
    record = chain.execution(block_hash)
    return {"block_hash": hex_of(block_hash)} if record is None else _describe_record(record)


def _describe_record(record: ExecutionRecord) -> dict[str, Any]:
    return {
        "block_number": record.block_number,
        "block_hash": hex_of(record.block_hash),
        "state_root": hex_of(record.state_root),
        "receipts_root": hex_of(record.receipts_root),
        "transactions_root": hex_of(record.transactions_root),
        "timestamp": record.timestamp,
    }


def describe_signatures(chain: BeaconView, update: Update | None) -> dict[str, Any]:
    """How many of the sync committee signed, and when; null where the checkpoint alone vouches for the header."""
    if update is None:
        return {"participation": None, "attested_slot": None, "signature_slot": None}
    size = chain.params.preset.sync_committee_size
    count = update.sync_aggregate.participants
    return {
        "participation": {"participants": count, "committee_size": size, "share": round(count / size, 4)},
        "attested_slot": update.attested_header.beacon.slot,
        "signature_slot": update.signature_slot,
    }


def parse_block(block: int | str, field: str) -> int | Hash32:
    """An execution block's number, or 32 bytes given as ``0x`` hex. InputError."""
    if isinstance(block, int) or _NUMBER.match(block):
        number = int(block)
        if not 0 <= number <= MAX_BLOCK_NUMBER:
            raise InputError(field, f"{number} is no block number (0 to {MAX_BLOCK_NUMBER})")
        return number
    if not _HASH.match(block):
        raise InputError(field, f"{shown(block)} is neither a block number nor a hash (0x and 64 hex digits)")
    return Hash32(bytes.fromhex(block[2:]))


def find_record(chain: BeaconView, block: int | Hash32) -> ExecutionRecord:
    """A finalized execution block that was kept; else error -5."""
    record = chain.execution(block)
    if record is None:
        problem = "Block not found: of the finalized execution blocks only those that updates named are kept"
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, problem)
    return record


def find_state(chain: BeaconView, block: int | str) -> StateRoot:
    """What ``verifyaccountproof`` means by ``block``; InputError, or error -5 for what is not held."""
    heads = {"finalized": chain.finalized, "optimistic": chain.optimistic}
    if isinstance(block, str) and block in heads:
        found = _state_of(chain, heads[block])
        if found is None:
            raise RpcError(Code.INVALID_ADDRESS_OR_KEY, f"the {block} header carries no execution state root")
        return found
    named = parse_block(block, "block")
    for header in heads.values():
        found = _state_of(chain, header)
        if found is not None and named in (found.block_number, found.block_hash, found.root):
            return found
    record = find_record(chain, named)
    return StateRoot(record.state_root, record.block_number, record.block_hash, record.slot, finalized=True)


def _state_of(chain: BeaconView, header: LightClientHeader) -> StateRoot | None:
    slot = header.beacon.slot
    final = slot <= chain.finalized.beacon.slot
    execution = execution_of(header)
    if execution is not None:
        return StateRoot(execution.state_root, execution.block_number, execution.block_hash, slot, final)
    record = None if header.execution_block_hash is None else chain.execution(header.execution_block_hash)
    return None if record is None else StateRoot(record.state_root, record.block_number, record.block_hash, slot, final)


def in_beacon_chain(chain: BeaconView, fields: Mapping[str, Any]) -> bool | None:
    """Whether the header that a verified bundle shows is this node's own at its slot; None where it has none there."""
    shown = fields["optimistic" if fields["header"] == "optimistic" else "finalized"]
    held = [chain.finalized.beacon, chain.optimistic.beacon, chain.bootstrap.header.beacon]
    roots = {header.slot: beacon_root(header) for header in held}
    execution = shown["execution"] or {}
    record = chain.execution(execution["block_number"]["value"]) if "block_number" in execution else None
    if record is not None:
        roots[Slot(record.slot)] = record.beacon_root
    root = roots.get(shown["slot"])
    return None if root is None else hex_of(root) == shown["root"]
