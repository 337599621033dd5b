"""From rows to what a beacon store knows: its record, the start-up scan, and what to do about rows that are damaged.

The scan reads every row once, with LevelDB's checksums and our seals. A row without a good seal goes: it can be fetched
again. Whether rows fit together is the chain's to say, which calls ``BeaconStore.discard`` if it must.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from spvnode.errors import StoreError
from spvnode.store.beacon_schema import (
    BEACON_SCHEMA,
    BOOTSTRAP_SPAN,
    COMMITTEE_SPAN,
    EVENT_SPAN,
    EXECUTION_SPAN,
    HASH_SPAN,
    RECORD_KEYS,
    SINGLE_KEYS,
    UPDATE_SPAN,
    decode_record,
    encode_record,
    event_key,
    number_in,
)
from spvnode.store.errors import SchemaFromFuture, WrongChain
from spvnode.store.events import LOST_MARGIN, NO_TIP, ChainTip, Event, EventIndex, EventKind, decode_event, encode_event
from spvnode.store.port import Batch, Engine
from spvnode.store.rows import walk
from spvnode.store.schema import decode_schema, unsealed
from spvnode.store.settle import FRESH_SEQ_PER_SECOND
from spvnode.types import HASH_SIZE, Hash32
from spvnode.view import BeaconStart

WALK_UPDATES = 64
"""Updates or bootstraps held at once by a walk: 1.7 MB."""
DATA_SPANS = (BOOTSTRAP_SPAN, COMMITTEE_SPAN, UPDATE_SPAN, EXECUTION_SPAN, HASH_SPAN)
"""Everything but the record, the events, and the rows of ``SINGLE_KEYS``."""


@dataclass(slots=True)
class Contents:
    """What is stored. ``periods``: of the updates, ascending; ``numbers``: of execution records, ascending."""

    start: BeaconStart | None = None
    periods: list[int] = field(default_factory=list)
    bootstraps: list[Hash32] = field(default_factory=list)
    numbers: array[int] = field(default_factory=lambda: array("Q"))
    events: EventIndex = field(default_factory=EventIndex)
    next_seq: int = 1
    faults: tuple[str, ...] = ()


def load(engine: Engine, chain_id: Hash32, notes: tuple[str, ...], *, now: float) -> Contents:
    """Reads everything, deletes what is damaged, and logs a fault event if anything was.

    ``notes``: what opening had met before. At most one write, synced. Raises SchemaFromFuture, WrongChain, StoreError;
    StoreDamaged where a checksum fails.
    """
    start, copies = read_record(engine, chain_id)
    contents, strays = _scan(engine)
    contents.start = start
    faults = list(notes)
    if not copies and (contents.periods or contents.bootstraps or contents.numbers):
        faults.append("the store's record was lost: trust has to begin anew")
        strays = [key for span in DATA_SPANS for key, _ in walk(engine, *span, limit=WALK_UPDATES)]
        strays += SINGLE_KEYS
        contents = Contents(events=contents.events, next_seq=contents.next_seq)
    elif strays:
        faults.append(f"{len(strays)} unreadable rows dropped")
    contents.faults = tuple(faults)
    puts = [(key, encode_record(chain_id, start)) for key in RECORD_KEYS] if copies < len(RECORD_KEYS) else []
    if faults:
        event = fault_event(contents, "; ".join(faults), _last_tip(engine, contents), now)
        puts.append((event_key(event.seq), encode_event(event)))
        contents.events.append(event.seq, 0)
        contents.next_seq = event.seq + 1
    if puts or strays:
        engine.write(Batch(puts, strays), sync=True)
    return contents


def read_record(engine: Engine, chain_id: Hash32) -> tuple[BeaconStart | None, int]:
    """Where trust began, and how many good copies of the record there are. Raises SchemaFromFuture, WrongChain,
    StoreError."""
    found: list[tuple[Hash32, BeaconStart | None]] = []
    for key in RECORD_KEYS:
        value = engine.get(key) or b""
        try:
            schema = decode_schema(value)
        except ValueError:
            continue
        if schema != BEACON_SCHEMA:
            raise _strange(engine, schema)
        try:
            found.append(decode_record(value))
        except ValueError:
            continue
    if not found:
        return None, 0
    if found[0][0] != chain_id:
        raise WrongChain(f"{engine.path}: holds the beacon chain 0x{found[0][0].hex()}, not 0x{chain_id.hex()}")
    return found[0][1], sum(entry == found[0] for entry in found)


def _strange(engine: Engine, schema: int) -> StoreError:
    if schema >> 8 != BEACON_SCHEMA >> 8:
        return WrongChain(f"{engine.path}: holds a chain of another kind (schema {schema})")
    if schema > BEACON_SCHEMA:
        text = f"written with schema {schema & 0xFF}; this version reads up to {BEACON_SCHEMA & 0xFF}"
        return SchemaFromFuture(f"{engine.path}: {text}")
    return StoreError(f"{engine.path}: written with schema {schema & 0xFF}; this version reads {BEACON_SCHEMA & 0xFF}")


def _scan(engine: Engine) -> tuple[Contents, list[bytes]]:
    """What is there, and the keys of rows that are no use."""
    found, strays = Contents(), list[bytes]()
    for key in _good(engine, UPDATE_SPAN, 5, strays, limit=WALK_UPDATES):
        found.periods.append(number_in(key))
    for key in _good(engine, BOOTSTRAP_SPAN, 1 + HASH_SIZE, strays, limit=WALK_UPDATES):
        found.bootstraps.append(Hash32(key[1:]))
    for key in _good(engine, EXECUTION_SPAN, 9, strays):
        found.numbers.append(number_in(key))
    strays += (key for key in SINGLE_KEYS if (value := engine.get(key)) is not None and not _is_sealed(value))
    list(_good(engine, COMMITTEE_SPAN, 1 + HASH_SIZE, strays, limit=WALK_UPDATES))
    found.events = EventIndex((number_in(key), 0) for key, _ in walk(engine, *EVENT_SPAN) if len(key) == 9)
    found.next_seq = (found.events.last_seq or 0) + 1
    strays += _lost_hashes(engine, found.numbers)
    return found, strays


def _lost_hashes(engine: Engine, numbers: array[int]) -> list[bytes]:
    """Hashes whose record went."""
    known = set(numbers)
    return [key for key, value in walk(engine, *HASH_SPAN) if int.from_bytes(value, "big") not in known]


def _good(
    engine: Engine, span: tuple[bytes, bytes], size: int, strays: list[bytes], *, limit: int = 1024
) -> Iterator[bytes]:
    """Keys of ``size`` bytes with a sealed value; the others are added to ``strays``."""
    for key, value in walk(engine, *span, limit=limit):
        if len(key) == size and _is_sealed(value):
            yield key
        else:
            strays.append(key)


def _is_sealed(value: bytes) -> bool:
    try:
        unsealed(value)
    except ValueError:
        return False
    return True


def fault_event(contents: Contents, detail: str, tip: ChainTip, now: float) -> Event:
    """That damage was found; numbers go on above all that lost events can have used."""
    seq = contents.next_seq + LOST_MARGIN if len(contents.events) else round(now * FRESH_SEQ_PER_SECOND)
    return Event(seq, now, EventKind.FAULT, tip.height, tip, tip, None, detail=detail)


def _last_tip(engine: Engine, contents: Contents) -> ChainTip:
    """Where the newest readable event has left the chain."""
    for seq, _ in reversed(contents.events.after(-1, len(contents.events))):
        try:
            return decode_event(engine.get(event_key(seq)) or b"").new_tip
        except ValueError:
            continue
    return NO_TIP
