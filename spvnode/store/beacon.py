"""``BeaconStore``: a beacon chain's updates, headers and execution records, their event log, and where trust began.

One writer at a time; any thread may read beside it. After a raised ``StoreError`` nothing has changed, in memory or on
disk. Damage that opening meets costs the rows that it hit and nothing else (``faults`` says which); the chain then
drops what hung on them, and fetches it again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from spvnode.beacon_commit import BeaconCommit, Block, ExecutionRow
from spvnode.errors import StoreError
from spvnode.store import folder
from spvnode.store.beacon_load import DATA_SPANS, WALK_UPDATES, Contents, fault_event, load
from spvnode.store.beacon_schema import (
    COMMITTEE_SPAN,
    FINALITY_KEY,
    MARKS_KEY,
    NUMBER_SIZE,
    OPTIMISTIC_KEY,
    RECORD_KEYS,
    SINGLE_KEYS,
    bootstrap_key,
    committee_key,
    encode_record,
    event_key,
    hash_key,
    number_key,
    update_key,
)
from spvnode.store.events import PRUNE_AT, RETAIN_EVENTS, ChainTip, Event, EventKind, decode_event, encode_event
from spvnode.store.port import WRITE_BUFFER_BYTES, Batch, Engine, EngineStats, Row
from spvnode.store.reader import MAX_EVENTS_PER_READ
from spvnode.store.recovery import open_healed
from spvnode.store.rows import walk
from spvnode.store.schema import sealed, unsealed
from spvnode.types import HASH_SIZE, Hash32, Height
from spvnode.view import BeaconStart

RETAIN_EXECUTIONS = 10_000
"""Execution records kept: 44 days of one per finalized epoch, 2.5 MB. Signed finality fills them, no peer alone."""
PRUNE_EXECUTIONS = 500
"""How many more there may be before the oldest are dropped in one go: two days' worth."""


class BeaconStore:
    """Open one with ``BeaconStore.open``; close it, or use it as a context manager."""

    def __init__(self, engine: Engine, contents: Contents, chain_id: Hash32, lock: folder.Lock | None) -> None:
        self._engine = engine
        self._contents = contents
        self._chain_id = chain_id
        self._lock = lock
        self._writing = Lock()

    @classmethod
    def open(
        cls, where: Path | Engine, *, chain_id: Hash32, now: float, write_buffer: int = WRITE_BUFFER_BYTES
    ) -> Self:
        """Opens the folder (or engine) ``where``, healing what is damaged; see ``faults``. 0.1 s for 400 periods.

        ``chain_id``: the network's genesis validators root. ``now``: Unix seconds, for a fault event. Raises
        StoreLocked, StoreFull, SchemaFromFuture, WrongChain, StoreError; each names the path.
        """

        def read(engine: Engine, notes: tuple[str, ...]) -> Contents:
            return load(engine, chain_id, notes, now=now)

        if not isinstance(where, Path):
            return cls(where, read(where, ()), chain_id, None)
        opened = open_healed(where, read, write_buffer=write_buffer)
        store = cls(opened.engine, opened.loaded, chain_id, opened.lock)
        try:
            store.release_pages()
        except StoreError:
            store.close()
            raise
        return store

    # -- reading

    @property
    def path(self) -> str:
        """Where the store lies."""
        return self._engine.path

    @property
    def faults(self) -> tuple[str, ...]:
        """What opening had to heal, in words; empty on a good day."""
        return self._contents.faults

    @property
    def start(self) -> BeaconStart | None:
        """Where trust began; None while the store waits for ``begin``."""
        return self._contents.start

    @property
    def periods(self) -> Sequence[int]:
        """Periods with a best update, ascending."""
        return tuple(self._contents.periods)

    @property
    def bootstraps(self) -> Sequence[Hash32]:
        """Roots with a bootstrap."""
        return tuple(self._contents.bootstraps)

    def update(self, period: int) -> bytes | None:
        """The best update of ``period``."""
        return self._value(update_key(period))

    def bootstrap(self, root: Hash32) -> bytes | None:
        """The bootstrap of the block ``root``."""
        return self._value(bootstrap_key(root))

    @property
    def finality(self) -> bytes | None:
        """The finality update that the finalized header rests on."""
        return self._value(FINALITY_KEY)

    @property
    def optimistic(self) -> bytes | None:
        """The optimistic update that the optimistic header rests on."""
        return self._value(OPTIMISTIC_KEY)

    @property
    def marks(self) -> bytes | None:
        """The chain's marks."""
        return self._value(MARKS_KEY)

    def committee_keys(self, root: Hash32) -> bytes | None:
        """Decoded keys that ``put_committee_keys`` has kept."""
        return self._value(committee_key(root))

    def execution(self, block: int | Hash32) -> bytes | None:
        """The record of a finalized execution block, by number or hash."""
        number = block if isinstance(block, int) else self._number_of(block)
        if number is None or not 0 <= number < 1 << 8 * NUMBER_SIZE:
            return None
        value = self._value(number_key(number))
        if value is None or (not isinstance(block, int) and value[:HASH_SIZE] != block):
            return None
        return value[HASH_SIZE:]

    @property
    def execution_numbers(self) -> tuple[int, int] | None:
        """Lowest and highest number with a record; None when there is none."""
        numbers = self._contents.numbers
        return (numbers[0], numbers[-1]) if numbers else None

    @property
    def first_seq(self) -> int | None:
        """Oldest retained event; None when there is none."""
        return self._contents.events.first_seq

    @property
    def last_seq(self) -> int:
        """Newest event; 0 when there has been none."""
        return self._contents.events.last_seq or 0

    @property
    def event_count(self) -> int:
        """Retained events."""
        return len(self._contents.events)

    def events(self, after_seq: int = 0, limit: int = MAX_EVENTS_PER_READ) -> list[Event]:
        """Up to ``limit`` (at most ``MAX_EVENTS_PER_READ``) retained events with a greater number, in order."""
        found: list[Event] = []
        limit = min(limit, MAX_EVENTS_PER_READ)
        while len(found) < limit and (places := self._contents.events.after(after_seq, limit - len(found))):
            after_seq = places[-1][0]
            for seq, _ in places:
                with suppress(ValueError):  # a repair let it through
                    found.append(decode_event(self._engine.get(event_key(seq)) or b""))
        return found

    def stats(self) -> EngineStats:
        """Sizes."""
        return self._engine.stats()

    # -- writing

    def begin(
        self, start: BeaconStart, bootstrap: bytes, *, executions: Sequence[ExecutionRow] = (), now: float
    ) -> None:
        """Begins at ``start``, whose block has ``executions`` (one, or none before capella), in one write. Synced.

        The same start again only puts its bootstrap back. Another one drops everything but the event log: what hung on
        the old trust is not carried over.
        """
        with self._writing:
            old = self._contents
            puts = [(key, encode_record(self._chain_id, start)) for key in RECORD_KEYS]
            puts.append((bootstrap_key(start.root), sealed(bootstrap)))
            if old.start is not None and old.start.root == start.root:
                self._engine.write(Batch(puts), sync=True)
                old.start = start
                old.bootstraps = [*(root for root in old.bootstraps if root != start.root), start.root]
                return
            keys = [key for span in DATA_SPANS for key, _ in walk(self._engine, *span, limit=WALK_UPDATES)]
            tip = ChainTip(Height(start.slot), start.root)
            event = Event(old.next_seq, now, EventKind.ADVANCE, tip.height, tip, tip, None, detail="trust begins")
            puts.append((event_key(event.seq), encode_event(event)))
            puts += (row for execution in executions for row in _execution_rows(execution))
            self._engine.write(Batch(puts, [*keys, *SINGLE_KEYS]), sync=True)
            old.events.append(event.seq, 0)
            self._contents = Contents(
                start,
                bootstraps=[start.root],
                numbers=array("Q", sorted(execution.number for execution in executions)),
                events=old.events,
                next_seq=event.seq + 1,
                faults=old.faults,
            )

    def commit(self, commit: BeaconCommit, *, now: float, sync: bool) -> None:
        """Writes ``commit`` and its event at once.

        With ``sync`` it survives a power cut, and with it all earlier commits. ``kill -9`` loses neither kind. Raises
        ValueError before ``begin``, StoreError when it could not be written.
        """
        with self._writing:
            if self._contents.start is None:
                raise ValueError("the store has no start yet")
            event = self._step_event(commit, now)
            old_events = self._contents.events.oldest(RETAIN_EVENTS) if self.event_count >= PRUNE_AT else []
            old_numbers = self._old_numbers()
            puts = [*_rows(commit), *([(event_key(event.seq), encode_event(event))] if event else [])]
            deletes = [bootstrap_key(root) for root in commit.dropped_bootstraps]
            deletes += [event_key(seq) for seq, _ in old_events]
            deletes += self._execution_keys(old_numbers)
            self._engine.write(Batch(puts, deletes), sync=sync)
            self._take(commit, event, len(old_events), len(old_numbers))

    def discard(
        self, *, above: int | None = None, singles: Iterable[str] = (), tip: Block, detail: str, now: float
    ) -> None:
        """Drops what the chain found wrong: updates of periods above ``above``, and the rows named in ``singles``
        (``finality``, ``optimistic``, ``marks``). Recorded as a fault event with ``detail``. Synced."""
        with self._writing:
            contents = self._contents
            names = {"finality": FINALITY_KEY, "optimistic": OPTIMISTIC_KEY, "marks": MARKS_KEY}
            gone = [period for period in contents.periods if above is not None and period > above]
            event = fault_event(contents, detail, ChainTip(Height(tip.slot), tip.root), now)
            puts = [(event_key(event.seq), encode_event(event))]
            deletes = [*(update_key(period) for period in gone), *(names[single] for single in singles)]
            self._engine.write(Batch(puts, deletes), sync=True)
            contents.periods = contents.periods[: len(contents.periods) - len(gone)]
            contents.events.append(event.seq, 0)
            contents.next_seq = event.seq + 1
            contents.faults += (detail,)

    def put_committee_keys(self, keys: Mapping[Hash32, bytes]) -> None:
        """Keeps decoded keys by the root of their committee, and drops those of all others: a caller gives the two to
        four whose signatures it may have to verify next, 50 KB each. Not synced: they can be decoded again."""
        with self._writing:
            puts = [(committee_key(root), sealed(value)) for root, value in keys.items()]
            held = [key for key, _ in walk(self._engine, *COMMITTEE_SPAN, limit=WALK_UPDATES)]
            self._engine.write(Batch(puts, held), sync=False)

    def release_pages(self) -> None:
        """Gives back the file pages that reading has mapped."""
        self._engine.reopen()

    def close(self) -> None:
        """Closes the engine and lets other processes in."""
        with self._writing:
            self._engine.close()
            if self._lock is not None:
                folder.release_lock(self._lock)
                self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _value(self, key: bytes) -> bytes | None:
        """An unsealed value; None also where a repair let a broken one through."""
        value = self._engine.get(key)
        with suppress(ValueError):
            return None if value is None else unsealed(value)
        return None

    def _number_of(self, block_hash: Hash32) -> int | None:
        value = self._engine.get(hash_key(block_hash))
        return None if value is None else int.from_bytes(value, "big")

    def _step_event(self, commit: BeaconCommit, now: float) -> Event | None:
        step = commit.step
        if step is None:
            return None
        old, new = (ChainTip(Height(block.slot), block.root) for block in (step.old, step.new))
        return Event(
            self._contents.next_seq, now, EventKind(step.kind.value), old.height, old, new, None,
            redo_count=step.periods,
        )  # fmt: skip

    def _old_numbers(self) -> array[int]:
        numbers = self._contents.numbers
        return numbers[:-RETAIN_EXECUTIONS] if len(numbers) > RETAIN_EXECUTIONS + PRUNE_EXECUTIONS else array("Q")

    def _execution_keys(self, numbers: Iterable[int]) -> Iterator[bytes]:
        for number in numbers:
            yield number_key(number)
            value = self._value(number_key(number))
            if value is not None:
                yield hash_key(value[:HASH_SIZE])

    def _take(self, commit: BeaconCommit, event: Event | None, pruned: int, dropped: int) -> None:
        """What has been written, in memory."""
        contents = self._contents
        contents.periods = sorted({*contents.periods, *(period for period, _ in commit.updates)})
        contents.bootstraps = [root for root in contents.bootstraps if root not in commit.dropped_bootstraps]
        contents.bootstraps += [root for root, _ in commit.bootstraps if root not in contents.bootstraps]
        numbers = contents.numbers[dropped:]
        for row in commit.executions:
            at = bisect_left(numbers, row.number)
            if at == len(numbers) or numbers[at] != row.number:
                insort(numbers, row.number)
        contents.numbers = numbers
        if event is not None:
            contents.events.append(event.seq, 0)
            contents.next_seq = event.seq + 1
        if pruned:
            contents.events.forget(pruned)


def _rows(commit: BeaconCommit) -> Iterator[Row]:
    for period, value in commit.updates:
        yield update_key(period), sealed(value)
    for root, value in commit.bootstraps:
        yield bootstrap_key(root), sealed(value)
    singles = ((FINALITY_KEY, commit.finality), (OPTIMISTIC_KEY, commit.optimistic), (MARKS_KEY, commit.marks))
    for key, single in singles:
        if single is not None:
            yield key, sealed(single)
    for row in commit.executions:
        yield from _execution_rows(row)


def _execution_rows(row: ExecutionRow) -> Iterator[Row]:
    yield number_key(row.number), sealed(row.block_hash + row.value)
    yield hash_key(row.block_hash), row.number.to_bytes(NUMBER_SIZE, "big")
