"""What a beacon chain keeps, as bytes: light-client objects, execution records, marks.

    object     layout u8 (position in LAYOUT_ORDER) | attested or header slot u64 | ssz, as the peer sent it
    execution  slot u64 | beacon root 32 | number u64 | block hash, state, receipts, transactions root 32 each |
               timestamp u64
    marks      period u32 | previous and current most participants u16 each

Integers are little endian, as SSZ's. The digest that an object is served under follows from its slot.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from merkle.errors import ProofError
from spvnode.beacon_commit import ExecutionRow
from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientHeader,
    LightClientOptimisticUpdate,
    LightClientUpdate,
    beacon_root,
    decode,
    encode,
)
from spvnode.ethereum.networks import Network
from spvnode.ethereum.units import Slot, compute_epoch_at_slot
from spvnode.ethereum.upgrade import LAYOUT_ORDER
from spvnode.types import Hash32
from spvnode.view import ExecutionRecord

_OBJECT = struct.Struct("<BQ")
_EXECUTION = struct.Struct("<Q32sQ32s32s32s32sQ")
_MARKS = struct.Struct("<IHH")

Kept = LightClientBootstrap | LightClientUpdate | LightClientFinalityUpdate | LightClientOptimisticUpdate
"""What is kept and served as an object of its own."""
K = TypeVar("K", bound=Kept)


@dataclass(frozen=True, slots=True)
class Marks:
    """What no stored update says: the most participants seen in ``period`` (the finalized header's) and before it."""

    period: int
    previous_max_active_participants: int
    current_max_active_participants: int


def slot_of(value: Kept) -> Slot:
    """The slot that says which fork ``value`` is of on the wire."""
    header = value.header if isinstance(value, LightClientBootstrap) else value.attested_header
    return header.beacon.slot


def pack(network: Network, value: Kept) -> bytes:
    """The row of an object."""
    layout = LAYOUT_ORDER.index(value.fork)
    return _OBJECT.pack(layout, slot_of(value)) + encode(network.preset, value)


def unpack(network: Network, cls: type[K], row: bytes | None) -> K | None:
    """The object of a row; None when there is none, or the row holds none."""
    if row is None or len(row) < _OBJECT.size or row[0] >= len(LAYOUT_ORDER):
        return None
    try:
        return decode(network.preset, LAYOUT_ORDER[row[0]], cls, row[_OBJECT.size :])
    except ProofError:
        return None


def wire_form(network: Network, row: bytes) -> tuple[bytes, bytes]:
    """Fork digest and SSZ of a row, for a peer."""
    slot = Slot(_OBJECT.unpack_from(row)[1])
    return wire_digest(network, slot), row[_OBJECT.size :]


def wire_digest(network: Network, slot: Slot) -> bytes:
    """The fork digest in force at ``slot``: the context of an object whose attested header lies there."""
    epoch = compute_epoch_at_slot(network.preset, slot)
    return network.schedule.compute_fork_digest(network.genesis_validators_root, epoch)


def execution_record(header: LightClientHeader) -> ExecutionRecord | None:
    """What ``header`` proves of its execution block; None before capella, and in gloas's layout, which proves the
    hash alone."""
    execution = header.execution
    if execution is None or not any(execution.block_hash):
        return None
    return ExecutionRecord(
        slot=header.beacon.slot,
        beacon_root=beacon_root(header.beacon),
        block_number=execution.block_number,
        block_hash=execution.block_hash,
        state_root=execution.state_root,
        receipts_root=execution.receipts_root,
        transactions_root=execution.transactions_root,
        timestamp=execution.timestamp,
    )


def pack_execution(record: ExecutionRecord) -> bytes:
    """184 bytes."""
    return _EXECUTION.pack(
        record.slot, record.beacon_root, record.block_number, record.block_hash, record.state_root,
        record.receipts_root, record.transactions_root, record.timestamp,
    )  # fmt: skip


def unpack_execution(row: bytes) -> ExecutionRecord | None:
    """Reads back ``pack_execution``; None for what it never wrote."""
    if len(row) != _EXECUTION.size:
        return None
    slot, root, number, block_hash, state, receipts, transactions, timestamp = _EXECUTION.unpack(row)
    return ExecutionRecord(
        slot, Hash32(root), number, Hash32(block_hash), Hash32(state), Hash32(receipts), Hash32(transactions), timestamp
    )


def pack_marks(marks: Marks) -> bytes:
    """8 bytes."""
    return _MARKS.pack(marks.period, marks.previous_max_active_participants, marks.current_max_active_participants)


def unpack_marks(row: bytes | None) -> Marks | None:
    """Reads back ``pack_marks``; None for what it never wrote."""
    return Marks(*_MARKS.unpack(row)) if row is not None and len(row) == _MARKS.size else None


def execution_rows(headers: Iterable[LightClientHeader]) -> tuple[ExecutionRow, ...]:
    """Rows of the execution blocks that ``headers`` prove; of several with one number, the last."""
    records = {record.block_number: record for header in headers if (record := execution_record(header)) is not None}
    return tuple(ExecutionRow(number, record.block_hash, pack_execution(record)) for number, record in records.items())
