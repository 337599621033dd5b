"""What to keep when rows are missing or do not fit, and the event that tells of it.

On a good day this only finds the tip. Otherwise it keeps the gapless, linked stretch around the base and deletes the
rest: headers can be fetched again, trust in a store that once gave a wrong answer cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from spvnode.store.events import LOST_MARGIN, NO_TIP, ChainTip, Event, EventIndex, EventKind, decode_event, encode_event
from spvnode.store.load import Found, Loaded, State
from spvnode.store.port import Batch, Engine, Row
from spvnode.store.rows import detached_side_keys, header_at, shorten, walk
from spvnode.store.runmap import RunMap
from spvnode.store.schema import (
    RUN_KEY_SIZE,
    STORE_KEY,
    StoreRecord,
    block_hash,
    encode_store,
    key_height,
    mark_key,
    previous_hash,
    run_key,
)
from spvnode.types import HEADER_SIZE, Height, Work

FRESH_SEQ_PER_SECOND = 1_000
"""After damage that left no event, numbers go on from the time in these units: above what the lost ones can have
used."""


def settle(engine: Engine, record: StoreRecord, found: Found, notes: tuple[str, ...], *, now: float) -> Loaded:
    """Keeps the gapless stretch around the base, deletes other runs, and records a fault event if anything was wrong.

    ``notes`` are faults met before the scan. At most one write, synced.
    """
    kept, record = _choose(record, found)
    index = EventIndex(found.places)
    last = _last_event(engine, index)
    if kept is not None and (notes or not _is_first(record, (engine.get(run_key(record.base)) or b"")[:HEADER_SIZE])):
        kept, record = _checked(engine, record, kept, last.new_tip if last else NO_TIP)
    runs, puts, deletes = _clean(engine, found, kept)
    faults = notes + _faults(record, found, kept, trimmed=bool(puts))
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
        next_seq=(index.last_seq or 0) + 1,
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


def _checked(
    engine: Engine, record: StoreRecord, kept: tuple[int, int], known: ChainTip
) -> tuple[tuple[int, int] | None, StoreRecord]:
    """``linked_part``, from the checkpoint when the genesis below it does not hold."""
    linked, start = linked_part(engine, record, kept, known), record.start
    if linked is None and start is not None and kept[0] <= record.base < start.height <= kept[1]:
        record = replace(record, base=start.height)
        linked = linked_part(engine, record, kept, known)
    return linked, record


def linked_part(engine: Engine, record: StoreRecord, kept: tuple[int, int], known: ChainTip) -> tuple[int, int] | None:
    """The part of ``kept`` around the base in which every header follows the one before: 1 s for 1,000,000 headers.

    Only after damage: LevelDB's repair copies log records without looking at their checksums. A broken link leaves open
    which of its two headers is wrong, so both go. The last header, which no link confirms, stays only if it is
    ``known``, the tip that the last commit left.
    """
    base = record.base
    floor, tip, before = kept[0], kept[1], b""
    for height, header in _each_header(engine, *kept):
        if height == base and not _is_first(record, header):
            return None
        if before and previous_hash(header) != block_hash(before):
            if height > base:
                tip = max(height - 2, base)
                break
            floor = min(height + 1, base)
        before = header
    else:
        if tip > base and (tip, block_hash(before)) != (known.height, known.hash):
            tip -= 1
    return floor, tip


def _is_first(record: StoreRecord, header: bytes) -> bool:
    start = record.start
    if start is not None and start.height == record.base:
        return header == start.header
    return block_hash(header) == record.genesis_hash


def _each_header(engine: Engine, first: int, last: int) -> Iterator[tuple[int, bytes]]:
    for key, value in walk(engine, run_key(first), run_key(last + 1)):
        if len(key) == RUN_KEY_SIZE:
            height = key_height(key)
            for at in range(0, min(len(value) // HEADER_SIZE, last + 1 - height) * HEADER_SIZE, HEADER_SIZE):
                yield height + at // HEADER_SIZE, value[at : at + HEADER_SIZE]


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


def _faults(record: StoreRecord, found: Found, kept: tuple[int, int] | None, *, trimmed: bool) -> tuple[str, ...]:
    """What is wrong with the rows, in words for the fault event."""
    faults = []
    if found.lost_record:
        faults.append("the store's record was lost")
    if kept is None and (found.starts or (found.places and record.start is not None)):
        faults.append("no header at the start of trust: everything is fetched again")
    elif kept is not None and (trimmed or found.segments != [kept]):
        highest = max(last for _, last in found.segments)
        faults.append(f"rows are missing or do not fit: heights {kept[0]}..{kept[1]} kept, up to {highest} found")
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
        seq=state.next_seq + LOST_MARGIN if last else round(now * FRESH_SEQ_PER_SECOND),
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
