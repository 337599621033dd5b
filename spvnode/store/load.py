"""From rows to what a store knows: the record, the start-up scan, the types of both.

The scan reads every run once, with checksums; ``settle`` then decides what to keep. Neither judges headers: rules,
links and tree nodes are checked by the chain that loads them, which calls ``HeaderStore.truncate`` if it must.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from spvnode.errors import StoreError
from spvnode.store.errors import SchemaFromFuture, WrongChain
from spvnode.store.events import ChainTip, EventIndex
from spvnode.store.port import Batch, Engine
from spvnode.store.rows import header_at, walk
from spvnode.store.runmap import RunMap
from spvnode.store.schema import (
    CHAIN_SPAN,
    MARK_KEY_SIZE,
    MAX_HEIGHT,
    NODE_SIZE,
    RUN,
    RUN_KEY_SIZE,
    SCHEMA,
    STORE_KEY,
    StartRecord,
    StoreRecord,
    block_hash,
    decode_schema,
    decode_store,
    encode_store,
    key_height,
    key_seq,
)
from spvnode.types import HEADER_SIZE, Hash32, Height, Work, hash_hex

Migration = Callable[[Engine], Batch]
"""One step from a schema to the next: a pure reading of the old rows into the changes that make them new ones, the
store's record among them. The batch is written at once, so a crash leaves the one schema or the other."""

MIGRATIONS: Mapping[int, Migration] = {}
"""Step by the schema that it starts from. Empty: schema 1 is the first."""


@dataclass(slots=True)
class Found:
    """What the scan saw. ``segments``: first and last height of each gapless stretch; ``strays``: keys of no use;
    ``lost_record``: there are rows, but no record of where they begin."""

    segments: list[tuple[int, int]] = field(default_factory=list)
    starts: array[int] = field(default_factory=lambda: array("I"))
    places: list[tuple[int, int]] = field(default_factory=list)
    strays: list[bytes] = field(default_factory=list)
    lost_record: bool = False

    def segment_with(self, height: int) -> tuple[int, int] | None:
        """The stretch that holds ``height``."""
        return next((s for s in self.segments if s[0] <= height <= s[1]), None)


@dataclass(frozen=True, slots=True)
class State:
    """What a store knows beside its rows. Replaced whole by each write, so that any thread reads one consistent set."""

    record: StoreRecord
    floor: Height
    """Lowest height of the gapless stretch below the base."""
    tip: ChainTip
    chainwork: Work | None
    next_seq: int

    @property
    def origin(self) -> int:
        """Height of the header tree's first leaf."""
        return 0 if self.record.base == 0 or self.record.start is None else self.record.start.origin


@dataclass(frozen=True, slots=True)
class Loaded:
    """A store ready for use. ``faults`` says what had to be healed, in words."""

    state: State
    runs: RunMap
    index: EventIndex
    faults: tuple[str, ...]


def scan(engine: Engine) -> Found:
    """Reads every row of the chain: 0.1 s for 1,000,000 headers. Raises StoreDamaged where a checksum fails."""
    found = Found()
    first = after = -1  # the open segment is first .. after-1
    for key, value in walk(engine, *CHAIN_SPAN):
        height = key_height(key)
        if len(key) == MARK_KEY_SIZE:
            found.places.append((key_seq(key), height))
            continue
        count, rest = divmod(len(value), HEADER_SIZE)
        if len(key) != RUN_KEY_SIZE or not _is_run(height, count, rest):
            found.strays.append(key)
            continue
        if height != after:
            if first >= 0:
                found.segments.append((first, min(after, height) - 1))
            first = height
        after = height + count
        found.starts.append(height)
    if first >= 0:
        found.segments.append((first, after - 1))
    return found


def _is_run(height: int, count: int, rest: int) -> bool:
    return count > 0 and height % RUN + count <= RUN and rest in (0, NODE_SIZE) and height <= MAX_HEIGHT


def read_record(engine: Engine, genesis_hash: Hash32, migrations: Mapping[int, Migration]) -> StoreRecord | None:
    """The store's record, brought to the present schema; None when there is none that can be read.

    Raises SchemaFromFuture, WrongChain, or StoreError for a schema so old that its step is gone.
    """
    value = engine.get(STORE_KEY)
    try:
        while (schema := decode_schema(value or b"")) != SCHEMA:
            if schema > SCHEMA:
                raise SchemaFromFuture(
                    f"{engine.path}: written with schema {schema}; this version reads up to {SCHEMA}"
                )
            if schema not in migrations:
                raise StoreError(f"{engine.path}: written with schema {schema}; this version reads {SCHEMA} only")
            engine.write(migrations[schema](engine), sync=True)
            value = engine.get(STORE_KEY)
            if decode_schema(value or b"") <= schema:
                raise StoreError(f"{engine.path}: the step from schema {schema} did not move it")
        record = decode_store(value or b"")
    except ValueError:
        return None
    if record.genesis_hash != genesis_hash:
        held, wanted = hash_hex(record.genesis_hash), hash_hex(genesis_hash)
        raise WrongChain(f"{engine.path}: holds the chain of genesis {held}, not of {wanted}")
    return record


def adopt(engine: Engine, found: Found, genesis_hash: Hash32, start: StartRecord | None) -> StoreRecord:
    """A record for a store that has none: a new one, or one whose record was lost.

    Rows are kept if the header at the wanted start is among them, or without a wanted start, if the genesis is. Else
    ``settle`` finds nothing to keep.
    """
    runs = RunMap()
    runs.add(found.starts)
    genesis = header_at(engine, runs, 0)
    if start is None and block_hash(genesis) == genesis_hash:
        start = StartRecord(Height(0), genesis, Work(0))
    if start is None or header_at(engine, runs, start.height) != start.header:
        found.segments.clear()
    found.lost_record = bool(found.starts)
    record = StoreRecord(genesis_hash, start.height if start else Height(0), start)
    put_record(engine, record)
    return record


def put_record(engine: Engine, record: StoreRecord) -> None:
    """Writes the record into a table of its own: together with the first runs it would make a table that spans the
    whole key space, and every later one would have to be merged with it."""
    engine.write(Batch([(STORE_KEY, encode_store(record))]), sync=True)
    engine.reopen()
