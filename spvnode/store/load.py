"""From rows to a usable state: the start-up scan, and what to keep when rows are missing.

The scan reads every run once, with checksums. It does not judge headers: their rules, links and tree nodes are checked
by the chain that loads them afterwards, which then calls ``HeaderStore.truncate`` if it must.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from spvnode.errors import StoreError
from spvnode.store.errors import SchemaFromFuture, WrongChain
from spvnode.store.events import LOST_MARGIN, NO_TIP, ChainTip, Event, EventIndex, EventKind, decode_event, encode_event
from spvnode.store.port import Batch, Engine, Row
from spvnode.store.rows import detached_side_keys, header_at, shorten, walk
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
    mark_key,
    run_key,
    shown,
)
from spvnode.types import HEADER_SIZE, Hash32, Height, Work

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
    if value is None:
        return None
    while (schema := decode_schema(value)) != SCHEMA:
        if schema > SCHEMA:
            raise SchemaFromFuture(f"{engine.path}: written with schema {schema}; this version reads up to {SCHEMA}")
        if schema not in migrations:
            raise StoreError(f"{engine.path}: written with schema {schema}; this version reads {SCHEMA} only")
        engine.write(migrations[schema](engine), sync=True)
        value = engine.get(STORE_KEY) or b""
        if decode_schema(value) <= schema:
            raise StoreError(f"{engine.path}: the step from schema {schema} did not move it")
    try:
        record = decode_store(value)
    except ValueError:
        return None
    if record.genesis_hash != genesis_hash:
        raise WrongChain(
            f"{engine.path}: holds the chain of genesis {shown(record.genesis_hash)}, not of {shown(genesis_hash)}"
        )
    return record


def adopt(engine: Engine, found: Found, genesis_hash: Hash32, start: StartRecord | None) -> StoreRecord:
    """A record for a store that has none: a new one, or one whose record was lost.

    Rows are kept only if the header at the wanted start is among them; else ``settle`` finds nothing to keep.
    """
    record = StoreRecord(genesis_hash, start.height if start else Height(0), start)
    found.lost_record = bool(found.starts)
    runs = RunMap()
    runs.add(found.starts)
    if start is None or header_at(engine, runs, start.height) != start.header:
        found.segments.clear()
    put_record(engine, record)
    return record


def put_record(engine: Engine, record: StoreRecord) -> None:
    """Writes the record into a table of its own: together with the first runs it would make a table that spans the
    whole key space, and every later one would have to be merged with it."""
    engine.write(Batch([(STORE_KEY, encode_store(record))]), sync=True)
    engine.reopen()


def settle(
    engine: Engine, record: StoreRecord, found: Found, notes: tuple[str, ...], *, first_seq: int, now: float
) -> Loaded:
    """Keeps the gapless stretch around the base, deletes other runs, and records a fault event if anything was wrong.

    ``notes`` are faults met before the scan. At most one write, synced.
    """
    kept, record = _choose(record, found)
    runs, puts, deletes = _clean(engine, found, kept)
    index = EventIndex(found.places)
    last = _last_event(engine, index)
    faults = notes + _faults(found, kept, trimmed=bool(puts))
    start, tip, floor = record.start, NO_TIP, Height(0)
    if kept is not None:
        tip = ChainTip(Height(kept[1]), block_hash(header_at(engine, runs, kept[1])))
        floor = Height(kept[0])
    elif start is not None:
        tip, floor = ChainTip(start.height, start.hash), start.height
        runs.add([floor])
        puts = [(run_key(floor), start.header)]
    if not faults and last is not None and last.new_tip != tip:
        faults = (f"the last commit left height {last.new_tip.height}, but the headers end at {tip.height}",)
    state = State(
        record=record,
        floor=floor,
        tip=tip,
        chainwork=_chainwork(record, tip, last),
        next_seq=max((index.last_seq or 0) + 1, first_seq),
    )
    if faults:
        state, mark = _fault(state, last, faults, now)
        puts += [mark, (STORE_KEY, encode_store(record))]
        deletes += detached_side_keys(engine, tip.height)
        index.append(state.next_seq - 1, key_height(mark[0]))
    if puts or deletes:
        engine.write(Batch(puts, deletes), sync=True)
    return Loaded(state, runs, index, faults)


def _choose(record: StoreRecord, found: Found) -> tuple[tuple[int, int] | None, StoreRecord]:
    """The stretch to keep, and the record with the base that goes with it.

    A finished backfill has its base at 0. If a hole is below the checkpoint now, the node goes back to the checkpoint
    and fills again what lies below, which loses less than starting over from the hole.
    """
    kept = found.segment_with(record.base)
    start = record.start
    if start is not None and record.base < start.height and (kept is None or kept[1] < start.height):
        above = found.segment_with(start.height)
        if above is not None or kept is None:
            return above, replace(record, base=start.height)
    return kept, record


def _clean(engine: Engine, found: Found, kept: tuple[int, int] | None) -> tuple[RunMap, list[Row], list[bytes]]:
    """The map of the runs in ``kept``, and the puts and deletes after which there are no others."""
    runs = RunMap()
    if kept is None:
        return runs, [], [*found.strays, *map(run_key, found.starts)]
    first, last = kept
    runs.add(start for start in found.starts if first <= start <= last)
    deletes = [run_key(start) for start in found.starts if not first <= start <= last]
    trims, _ = shorten(engine, runs, last, last)
    return runs, trims, found.strays + deletes


def _faults(found: Found, kept: tuple[int, int] | None, *, trimmed: bool) -> tuple[str, ...]:
    """What is wrong with the rows, in words for the fault event."""
    faults = []
    if found.lost_record:
        faults.append("the store's record was lost")
    if kept is None and (found.starts or found.places):
        faults.append("no header at the start of trust: everything is fetched again")
    elif kept is not None and (len(found.segments) > 1 or trimmed):
        highest = max(last for _, last in found.segments)
        faults.append(f"rows are missing or overlap: heights {kept[0]}..{kept[1]} kept, up to {highest} found")
    if found.strays:
        faults.append(f"{len(found.strays)} unreadable rows dropped")
    return tuple(faults)


def _last_event(engine: Engine, index: EventIndex) -> Event | None:
    for seq, height in reversed(index.after(-1, len(index))):
        value = engine.get(mark_key(height, seq))
        with suppress(ValueError):
            return decode_event(value or b"")
    return None


def _chainwork(record: StoreRecord, tip: ChainTip, last: Event | None) -> Work | None:
    """What the last commit said, if it said it of this tip."""
    if last is not None and last.new_tip == tip:
        return last.chainwork
    start = record.start
    return start.chainwork if start is not None and last is None and tip.height == start.height else None


def _fault(state: State, last: Event | None, faults: tuple[str, ...], now: float) -> tuple[State, Row]:
    """The state after the fault event, and the event's row."""
    old = last.new_tip if last else state.tip
    event = Event(
        seq=state.next_seq + LOST_MARGIN,
        time=now,
        kind=EventKind.FAULT,
        fork_height=Height(min(old.height, state.tip.height)),
        old_tip=old,
        new_tip=state.tip,
        chainwork=state.chainwork,
        undo_count=max(0, old.height - state.tip.height),
        detail="; ".join(faults),
    )
    row = mark_key(max(state.tip.height, 0), event.seq), encode_event(event)
    return replace(state, next_seq=event.seq + 1), row
