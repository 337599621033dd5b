"""The fixed-size SSZ messages of the beacon wire, little-endian. Sans-IO.

Sources: consensus-specs ``phase0/p2p-interface.md`` (Status v1, Goodbye, Ping, MetaData v1), ``altair`` (MetaData v2),
``fulu`` (Status v2, MetaData v3), ``altair/light-client`` (requests by root and by range).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_STATUS: Final = struct.Struct("<4s32sQ32sQ")
_STATUS_V2: Final = struct.Struct("<4s32sQ32sQQ")
_METADATA: Final = {1: struct.Struct("<Q8s"), 2: struct.Struct("<Q8s1s"), 3: struct.Struct("<Q8s1sQ")}
_RANGE: Final = struct.Struct("<QQ")
_UINT64: Final = struct.Struct("<Q")

STATUS_SIZES: Final = {1: _STATUS.size, 2: _STATUS_V2.size}
"""Bytes by version: 84 and 92."""
METADATA_SIZES: Final = {version: layout.size for version, layout in _METADATA.items()}
"""Bytes by version: 16, 17 and 25."""
ROOT_SIZE: Final = 32
RANGE_SIZE: Final = _RANGE.size
UINT64_SIZE: Final = _UINT64.size
MAX_UINT64: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Status:
    """What a node has. A claim, never a fact; roots in their natural order."""

    fork_digest: bytes
    finalized_root: bytes
    finalized_epoch: int
    head_root: bytes
    head_slot: int
    earliest_available_slot: int | None = None
    """The first slot from which it has blocks; None where version 1 does not tell."""


@dataclass(frozen=True, slots=True)
class MetaData:
    """What a node offers to the networks of full nodes: for a light client, nothing."""

    seq_number: int = 0
    attnets: bytes = bytes(8)
    syncnets: bytes = bytes(1)
    custody_group_count: int = 0


class GoodbyeReason(IntEnum):
    """Why a peer is left. From 128 on they are the clients' own, and these two are common to all of them."""

    CLIENT_SHUTDOWN = 1
    IRRELEVANT_NETWORK = 2
    FAULT = 3
    UNABLE_TO_VERIFY_NETWORK = 128
    TOO_MANY_PEERS = 129


def encode_status(status: Status, version: int) -> bytes:
    """84 or 92 bytes."""
    fields = (
        status.fork_digest,
        status.finalized_root,
        status.finalized_epoch,
        status.head_root,
        status.head_slot,
    )
    if version == 1:
        return _STATUS.pack(*fields)
    return _STATUS_V2.pack(*fields, status.earliest_available_slot or 0)


def decode_status(ssz: bytes) -> Status:
    """Of either version, told apart by its size, which the caller has checked."""
    return Status(*(_STATUS if len(ssz) == _STATUS.size else _STATUS_V2).unpack(ssz))


def encode_metadata(metadata: MetaData, version: int) -> bytes:
    """16, 17 or 25 bytes."""
    fields = (metadata.seq_number, metadata.attnets, metadata.syncnets, metadata.custody_group_count)
    return _METADATA[version].pack(*fields[: version + 1])


def decode_metadata(ssz: bytes, version: int) -> MetaData:
    """``ssz`` has the size of ``version``, which the caller has checked."""
    return MetaData(*_METADATA[version].unpack(ssz))


def encode_uint64(value: int) -> bytes:
    """Ping (the sender's ``seq_number``) and Goodbye (a reason)."""
    return _UINT64.pack(value)


def decode_uint64(ssz: bytes) -> int:
    """``ssz`` has 8 bytes."""
    return int(_UINT64.unpack(ssz)[0])


def encode_range(start_period: int, count: int) -> bytes:
    """The request of LightClientUpdatesByRange."""
    return _RANGE.pack(start_period, count)


def decode_range(ssz: bytes) -> tuple[int, int]:
    """(start_period, count); ``ssz`` has 16 bytes."""
    start, count = _RANGE.unpack(ssz)
    return start, count
