"""Rows of a beacon store as bytes: keys, the store's own record, execution records. Pure functions, no I/O.

Schema 1 of its kind. Every value is sealed (``schema.sealed``), except under ``h``. Integers in keys are big endian.

    m, z              the store's record, twice: whose chain it is, and where trust in it began. It alone cannot be
                      fetched again; the copies lie at both ends of the key space, and so in different tables
    b root(32)        a bootstrap
    e seq(8)          an event (``spvnode.store.events``)
    f, o, p           the finality and the optimistic update that the headers rest on; the chain's own marks
    h hash(32)        number(8) of the execution block with that hash
    k root(32)        a committee's decoded keys, by the root of the committee
    u period(4)       the best update of a sync-committee period
    x number(8)       hash(32) of a finalized execution block, and its record
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from spvnode.store.schema import sealed, unsealed
from spvnode.types import HASH_SIZE, Hash32
from spvnode.view import BeaconStart

BEACON_SCHEMA = 0x4501
"""The high byte tells this kind of store from ``schema.SCHEMA``'s, so that neither opens the other's folder."""
MAX_VOUCHERS = 32
"""Names kept of those who vouched for the start; the configuration says how many are asked."""
MAX_NAME_BYTES = 255
"""Of one name: a host name has 253 at most, a peer id 60."""

RECORD_KEYS = (b"m", b"z")
FINALITY_KEY = b"f"
OPTIMISTIC_KEY = b"o"
MARKS_KEY = b"p"
BOOTSTRAP_SPAN = (b"b", b"c")
EVENT_SPAN = (b"e", b"f")
HASH_SPAN = (b"h", b"i")
COMMITTEE_SPAN = (b"k", b"l")
UPDATE_SPAN = (b"u", b"v")
EXECUTION_SPAN = (b"x", b"y")
SINGLE_KEYS = (FINALITY_KEY, OPTIMISTIC_KEY, MARKS_KEY)
NUMBER_SIZE = 8

_HEAD = struct.Struct(">H32sB")
_START = struct.Struct(">32sQ")


def update_key(period: int) -> bytes:
    """Key of a period's best update."""
    return b"u" + period.to_bytes(4, "big")


def bootstrap_key(root: bytes) -> bytes:
    """Key of the bootstrap of the block ``root``."""
    return b"b" + root


def committee_key(root: bytes) -> bytes:
    """Key of the decoded keys of the committee with that ``hash_tree_root``."""
    return b"k" + root


def event_key(seq: int) -> bytes:
    """Key of event ``seq``."""
    return b"e" + seq.to_bytes(8, "big")


def number_key(number: int) -> bytes:
    """Key of the record of the execution block ``number``."""
    return b"x" + number.to_bytes(NUMBER_SIZE, "big")


def hash_key(block_hash: bytes) -> bytes:
    """Key under which an execution block's hash leads to its number."""
    return b"h" + block_hash


def number_in(key: bytes) -> int:
    """The integer behind a key's first byte."""
    return int.from_bytes(key[1:], "big")


def encode_record(chain_id: bytes, start: BeaconStart | None) -> bytes:
    """The value under ``m`` and ``z``. ValueError for a start that does not fit."""
    if start is None:
        return sealed(_HEAD.pack(BEACON_SCHEMA, chain_id, 0))
    names = [name.encode() for name in (start.kind, *start.vouched_by)]
    if len(start.root) != HASH_SIZE or len(start.vouched_by) > MAX_VOUCHERS or max(map(len, names)) > MAX_NAME_BYTES:
        raise ValueError(f"no start: root of {len(start.root)} bytes, {len(start.vouched_by)} names")
    head = _HEAD.pack(BEACON_SCHEMA, chain_id, len(names)) + _START.pack(start.root, start.slot)
    return sealed(head + b"".join(bytes([len(name)]) + name for name in names))


def decode_record(value: bytes) -> tuple[Hash32, BeaconStart | None]:
    """Reads back ``encode_record``. Raises ValueError on bytes that it never wrote."""
    body = unsealed(value)
    if len(body) < _HEAD.size:
        raise ValueError(f"record of {len(body)} bytes")
    _, chain_id, count = _HEAD.unpack_from(body)
    if not count:
        return Hash32(chain_id), None
    if len(body) < _HEAD.size + _START.size:
        raise ValueError(f"record of {len(body)} bytes")
    root, slot = _START.unpack_from(body, _HEAD.size)
    names = _decode_names(body[_HEAD.size + _START.size :], count)
    return Hash32(chain_id), BeaconStart(Hash32(root), slot, names[0], tuple(names[1:]))


def _decode_names(body: bytes, count: int) -> Sequence[str]:
    names, at = [], 0
    for _ in range(count):
        size = body[at] if at < len(body) else 0
        names.append(body[at + 1 : at + 1 + size].decode())
        at += 1 + size
    if at != len(body):
        raise ValueError(f"names of {len(body)} bytes, {at} expected")
    return names
