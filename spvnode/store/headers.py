"""``HeaderStore``: the headers of one network, their event log, and where trust in them began.

One writer at a time; any thread may read beside it (see ``reader``).

After a raised ``StoreError`` nothing has changed, in memory or on disk, and the next write tries anew. StoreDamaged
while running means that a checksum failed since the start: closing the store and opening it again heals it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from spvnode.errors import StoreError
from spvnode.store import folder, load, plan
from spvnode.store.events import ChainTip, Event, EventKind
from spvnode.store.load import MIGRATIONS, Loaded, Migration
from spvnode.store.port import WRITE_BUFFER_BYTES, Batch, Engine
from spvnode.store.reader import StoreReader
from spvnode.store.recovery import open_healed
from spvnode.store.rows import detached_side_keys, header_at, shorten
from spvnode.store.schema import (
    STORE_KEY,
    StartRecord,
    block_hash,
    encode_store,
    key_height,
    run_key,
    run_rows,
)
from spvnode.store.settle import settle
from spvnode.types import HEADER_SIZE, Hash32, HeaderCommit, Height, Work


class HeaderStore(StoreReader):
    """Open one with ``HeaderStore.open``; close it, or use it as a context manager."""

    def __init__(self, engine: Engine, loaded: Loaded, lock: folder.Lock | None) -> None:
        super().__init__(engine, loaded)
        self._lock = lock
        self._writing = Lock()

    @classmethod
    def open(
        cls,
        where: Path | Engine,
        *,
        genesis_hash: Hash32,
        start: StartRecord | None = None,
        now: float,
        write_buffer: int = WRITE_BUFFER_BYTES,
        migrations: Mapping[int, Migration] = MIGRATIONS,
    ) -> Self:
        """Opens the folder (or engine) ``where``, healing what is damaged; see ``faults``. 0.2 s for 1,000,000 headers.

        A new store begins at ``start``; without one it stays empty until ``set_start``. An existing store keeps the
        start that it has. ``now``: Unix seconds, for a fault event. ``write_buffer``: bytes that LevelDB gathers before
        it writes a table. Raises StoreLocked, StoreFull, SchemaFromFuture, WrongChain, StoreError; each names the path.
        """

        def read(engine: Engine, notes: tuple[str, ...]) -> Loaded:
            record = load.read_record(engine, genesis_hash, migrations)
            found = load.scan(engine)
            record = record or load.adopt(engine, found, genesis_hash, start)
            return settle(engine, record, found, notes, now=now)

        if isinstance(where, Path):
            opened = open_healed(where, read, write_buffer=write_buffer)
            store = cls(opened.engine, opened.loaded, opened.lock)
        else:
            store = cls(where, read(where, ()), None)
        try:
            if start is not None and store.start is None:
                store.set_start(start)
            store.release_pages()
        except StoreError:
            store.close()
            raise
        return store

    def commit(self, commit: HeaderCommit, *, now: float, sync: bool) -> int:
        """Writes ``commit``, its event, and the upkeep of side branches at once; returns the event's number.

        With ``sync`` it survives a power cut, and with it all earlier commits. ``kill -9`` loses neither kind. Raises
        ValueError when ``commit`` does not continue the stored chain, StoreError when it could not be written.
        """
        with self._writing:
            change = plan.plan_commit(self._engine, self._state, self._runs, self._index, commit, now=now)
            return self._write(change, sync=sync)

    def truncate(self, height: int, *, now: float, detail: str) -> int:
        """Drops everything above ``height`` (base..tip), for good: what the chain found wrong is to be fetched again.

        Recorded as a fault event with ``detail``; side branches that left the main chain above go too. Synced. Returns
        the event's number. Raises ValueError outside base..tip.
        """
        with self._writing:
            state = self._state
            if not state.record.base <= height <= state.tip.height:
                raise ValueError(f"truncate to {height}: outside {state.record.base}..{state.tip.height}")
            puts, deletes = shorten(self._engine, self._runs, height, state.tip.height)
            deletes += detached_side_keys(self._engine, height)
            tip = ChainTip(Height(height), block_hash(header_at(self._engine, self._runs, height)))
            work = state.chainwork if tip == state.tip else None
            event = self._event(EventKind.FAULT, tip, work, now, undo_count=state.tip.height - height, detail=detail)
            change = plan.finish(state, self._index, event, Batch(puts, deletes), cut=Height(height))
            return self._write(change, sync=True)

    def set_start(self, start: StartRecord) -> None:
        """Begins an empty store at ``start``. Raises ValueError when it has begun elsewhere."""
        with self._writing:
            state = self._state
            if state.record.start is not None:
                if (state.record.start.height, state.record.start.header) == (start.height, start.header):
                    return
                raise ValueError(f"this store begins at {state.record.start.height}, not at {start.height}")
            record = replace(state.record, start=start, base=start.height)
            load.put_record(self._engine, record)
            # A crash here leaves a record without its first header; opening puts it, as the next line does.
            self._engine.write(Batch([(run_key(start.height), start.header)]), sync=True)
            self._runs.add([start.height])
            tip = ChainTip(start.height, start.hash)
            self._state = replace(state, record=record, floor=start.height, tip=tip, chainwork=start.chainwork)

    def put_below(self, start: int, headers: bytes, *, sync: bool) -> None:
        """Stores a run of a backfill: its last header is the one below ``floor``. The floor moves down to ``start``.

        The caller has checked the links upward. The floor survives a crash like a commit. ValueError when the run does
        not touch the floor.
        """
        with self._writing:
            state = self._state
            count, rest = divmod(len(headers), HEADER_SIZE)
            if rest or not count or start < 0 or start + count != state.floor:
                raise ValueError(f"{len(headers)} bytes from height {start} do not end below {state.floor}")
            rows = list(run_rows(start, headers, b"", 0))
            self._engine.write(Batch(rows), sync=sync)
            self._runs.add(key_height(key) for key, _ in rows)
            self._state = replace(state, floor=Height(start))

    def complete_backfill(self, *, chainwork: Work, now: float) -> int:
        """Moves the base to 0, after the caller has checked everything from genesis up by all rules.

        ``chainwork``: cumulative at the tip, now counted from genesis. Synced. Returns the event's number. ValueError
        when the floor is not 0.
        """
        with self._writing:
            state = self._state
            if state.floor != 0 or state.record.start is None:
                raise ValueError(f"headers below {state.floor} are missing")
            event = self._event(EventKind.BACKFILL, state.tip, chainwork, now, redo_count=state.record.base)
            record = replace(state.record, base=Height(0))
            batch = Batch([(STORE_KEY, encode_store(record))])
            change = plan.finish(replace(state, record=record), self._index, event, batch, cut=state.tip.height)
            return self._write(change, sync=True)

    def discard_backfill(self, *, now: float, detail: str) -> int:
        """Drops everything below the base: the caller found it wrong. A fault event. Returns its number."""
        with self._writing:
            state = self._state
            base = state.record.base
            deletes = [run_key(start) for start in self._runs.starts(state.floor, base - 1)]
            event = self._event(EventKind.FAULT, state.tip, state.chainwork, now, detail=detail)
            state = replace(state, floor=base)
            change = plan.finish(state, self._index, event, Batch((), deletes), cut=state.tip.height)
            seq = self._write(change, sync=True)
            self._runs.cut_below(base)
            return seq

    def release_pages(self) -> None:
        """Gives back the file pages that reading has mapped, up to the size of the store. 6 ms; for after a scan, or
        after serving many headers."""
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

    def _event(
        self,
        kind: EventKind,
        tip: ChainTip,
        chainwork: Work | None,
        now: float,
        *,
        undo_count: int = 0,
        redo_count: int = 0,
        detail: str = "",
    ) -> Event:
        """An event that the store itself makes."""
        old = self._state.tip
        return Event(
            seq=self._state.next_seq,
            time=now,
            kind=kind,
            fork_height=tip.height,
            old_tip=old,
            new_tip=tip,
            chainwork=chainwork,
            undo_count=undo_count,
            redo_count=redo_count,
            detail=detail,
        )

    def _write(self, change: plan.Plan, *, sync: bool) -> int:
        """The write, then the fields: if it raises, they stay. The state comes last, for readers in other threads."""
        self._engine.write(change.batch, sync=sync)
        self._runs.cut_above(change.cut)
        self._runs.add(change.starts)
        self._index.append(change.event.seq, max(change.event.new_tip.height, 0))
        if change.pruned:
            self._index.forget(change.pruned)
        self._state = change.state
        return change.event.seq
