"""Rows as bytes: keys, header runs, the store's own record, side branches. Pure functions, no I/O.

Schema 1. Keys sort as unsigned bytes; integers in keys are big endian.

    c height(4)            a run: 1..16 headers from that height, 80 bytes each, not crossing a multiple of 16;
                           then, if the run completes a level-4 node of the header tree, its 32 bytes
    c height(4) seq(8)     an event (``spvnode.store.events``), under the tip height that it left behind
    m                      the store's record: schema, genesis, base, trust start
    s tip(32) part(2)      a side branch, 2,016 headers a part

Why events lie between the runs: a sync then writes strictly ascending keys, each LevelDB table covers heights that no
older table covers, and tables are moved down the levels, never merged. Measured over 1,000,000 headers: 162 bytes
written per header, log included (the headers alone are 160: once in the log, once in a table); with the events under a
prefix of their own it was 222, because every table then spans everything. The other prefixes sort behind ``c`` and
are rarely written, for the same reason. Why 16 headers a run: 80-byte rows cost 178 bytes a header and a four times
longer scan, 160 kB rows make a single read five times slower.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

from merkle.hashing import sha256d
from merkle.shape import MAX_PEAKS
from spvnode.store.port import Row
from spvnode.types import HASH_SIZE, HEADER_SIZE, PREV_HASH, Hash32, Height, SideBranch, Work

SCHEMA = 1
RUN = 16
"""Headers in a full run, and leaves under one level-4 node."""
NODE_SIZE = HASH_SIZE
MAX_HEIGHT = 100_000_000
"""19 centuries of blocks. A row beyond it is damage: whatever a file says, ``RunMap`` stays below 13 MB."""
SIDE_PART = 2016
"""Headers per row of a side branch: 161 kB. Two bytes for the part's number are enough for 1.3 times MAX_HEIGHT."""

SEAL_SEED = 0x5350564E
"""Where the seal's CRC begins: not at 0, so that zeros are not a sealed nothing."""

STORE_KEY = b"m"
SIDE_SPAN = (b"s", b"t")
CHAIN_SPAN = (b"c", b"d")
RUN_KEY_SIZE = 5
MARK_KEY_SIZE = 13

_STORE = struct.Struct(">H32sI")
_START = struct.Struct(">I80s32sB")
_SIDE = struct.Struct(">II")


def block_hash(header: bytes) -> Hash32:
    """SHA-256d of an 80-byte header, internal byte order."""
    return Hash32(sha256d(header))


def previous_hash(header: bytes) -> bytes:
    """The header's link to its parent, internal byte order."""
    return header[PREV_HASH]


def sealed(value: bytes) -> bytes:
    """``value`` and its CRC-32. LevelDB's own checksums cover files; a repair takes log records without looking at
    theirs, and headers are checked by their links, but nothing else checks a record or an event."""
    return value + crc32(value, SEAL_SEED).to_bytes(4, "big")


def unsealed(value: bytes) -> bytes:
    """What was sealed. Raises ValueError when it was not, or is not what it was."""
    body = value[:-4]
    if crc32(body, SEAL_SEED).to_bytes(4, "big") != value[-4:]:
        raise ValueError(f"broken seal on {len(value)} bytes")
    return body


def run_key(height: int) -> bytes:
    """Key of the run that begins at ``height``."""
    return b"c" + height.to_bytes(4, "big")


def mark_key(height: int, seq: int) -> bytes:
    """Key of event ``seq``, written when the tip became ``height``."""
    return b"c" + height.to_bytes(4, "big") + seq.to_bytes(8, "big")


def key_height(key: bytes) -> int:
    """The height in a key under ``c``."""
    return int.from_bytes(key[1:RUN_KEY_SIZE], "big")


def key_seq(key: bytes) -> int:
    """The sequence number in an event's key."""
    return int.from_bytes(key[RUN_KEY_SIZE:], "big")


def split_run(value: bytes) -> tuple[bytes, bytes | None]:
    """Headers, and the level-4 node if there is one, of a run's value."""
    end = len(value) // HEADER_SIZE * HEADER_SIZE
    return value[:end], value[end:] or None


def run_rows(start: int, headers: bytes, nodes: bytes, origin: int) -> Iterator[Row]:
    """Rows for ``headers`` from height ``start``; ``origin``: the height of the header tree's first leaf.

    ``nodes`` holds one level-4 node for each height ``h`` in the run with ``(h - origin) % 16 == 15``, or is empty.
    Raises ValueError if it does neither.
    """
    end = start + len(headers) // HEADER_SIZE
    taken = 0
    at = start
    while at < end:
        stop = min(end, at - at % RUN + RUN, at - (at - origin) % RUN + RUN)
        value = headers[(at - start) * HEADER_SIZE : (stop - start) * HEADER_SIZE]
        if (stop - origin) % RUN == 0 and nodes:
            value += nodes[taken : taken + NODE_SIZE]
            taken += NODE_SIZE
        yield run_key(at), value
        at = stop
    if taken != len(nodes):
        raise ValueError(f"{len(nodes)} bytes of level-4 nodes, {taken} belong to heights {start}..{end - 1}")


@dataclass(frozen=True, slots=True)
class StartRecord:
    """Where trust begins: genesis, or a checkpoint that the operator named.

    ``chainwork`` is cumulative at ``height`` (0 when the operator gave none); ``peaks`` are the header-tree peaks over
    the leaves below ``height``, biggest first, when they were given.
    """

    height: Height
    header: bytes
    chainwork: Work
    peaks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if len(self.header) != HEADER_SIZE or not 0 <= self.height <= MAX_HEIGHT or len(self.peaks) > MAX_PEAKS:
            raise ValueError(f"no start record: height {self.height}, header of {len(self.header)} bytes")

    @property
    def hash(self) -> Hash32:
        """Hash of the header."""
        return block_hash(self.header)

    @property
    def origin(self) -> int:
        """Height of the header tree's first leaf: 0 when the peaks extend the tree to genesis."""
        return 0 if self.peaks else self.height


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """What a store is: written once, and again when a backfill ends.

    ``base`` is the lowest height whose header was checked by all rules.
    """

    genesis_hash: Hash32
    base: Height
    start: StartRecord | None
    schema: int = SCHEMA


def encode_store(record: StoreRecord) -> bytes:
    """The value under ``m``. In every schema, the schema's two bytes come first and the record is sealed."""
    head = _STORE.pack(record.schema, record.genesis_hash, record.base)
    start = record.start
    if start is None:
        return sealed(head)
    work = start.chainwork.to_bytes(32, "big")
    return sealed(head + _START.pack(start.height, start.header, work, len(start.peaks)) + b"".join(start.peaks))


def decode_schema(value: bytes) -> int:
    """The schema number of a record of any schema. Raises ValueError on a broken seal."""
    return int.from_bytes(unsealed(value)[:2], "big")


def decode_store(value: bytes) -> StoreRecord:
    """Reads back ``encode_store``. Raises ValueError on bytes that it never wrote."""
    body = unsealed(value)
    if len(body) < _STORE.size:
        raise ValueError(f"store record of {len(body)} bytes")
    schema, genesis, base = _STORE.unpack_from(body)
    return StoreRecord(Hash32(genesis), Height(base), _decode_start(body[_STORE.size :]), schema)


def _decode_start(value: bytes) -> StartRecord | None:
    if not value:
        return None
    if len(value) < _START.size:
        raise ValueError(f"start record of {len(value)} bytes")
    height, header, work, count = _START.unpack_from(value)
    tail = value[_START.size :]
    if len(tail) != count * NODE_SIZE:
        raise ValueError(f"start record with {len(tail)} bytes for {count} peaks")
    peaks = tuple(tail[i : i + NODE_SIZE] for i in range(0, len(tail), NODE_SIZE))
    return StartRecord(Height(height), header, Work(int.from_bytes(work, "big")), peaks)


def side_key(tip_hash: bytes, part: int) -> bytes:
    """Key of one row of a side branch."""
    return b"s" + tip_hash + part.to_bytes(2, "big")


def side_parts(value: bytes) -> int:
    """How many rows the side branch has, from the value of any of them."""
    _, count = _SIDE.unpack_from(value)
    return -(-int(count) // SIDE_PART)


def side_rows(branch: SideBranch) -> Iterator[Row]:
    """Rows of a side branch: each repeats the fork height and the count of headers in all parts."""
    head = _SIDE.pack(branch.fork_height, len(branch.headers) // HEADER_SIZE)
    step = SIDE_PART * HEADER_SIZE
    for part, at in enumerate(range(0, len(branch.headers), step)):
        yield side_key(branch.tip_hash, part), head + branch.headers[at : at + step]


def join_side(rows: list[Row]) -> SideBranch | None:
    """The side branch of all its rows in order; None when a part is missing."""
    fork_height, count = _SIDE.unpack_from(rows[0][1])
    headers = b"".join(value[_SIDE.size :] for _, value in rows)
    if len(headers) != count * HEADER_SIZE:
        return None
    return SideBranch(Height(fork_height), headers, Hash32(rows[0][0][1:33]))
