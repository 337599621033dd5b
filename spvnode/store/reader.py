"""Reading a store: ``StoreReader``, the half of ``HeaderStore`` that the RPC and the mesh may hold.

Any thread may read while one writes, and sees each write whole or not at all: heights come from an immutable ``State``
that a write replaces as its last step, and a range from one snapshot of the engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from spvnode.store.events import PRUNE_AT, Event, decode_event
from spvnode.store.load import Loaded
from spvnode.store.port import Engine, EngineStats
from spvnode.store.rows import header_at, side_branches, walk
from spvnode.store.schema import (
    RUN,
    RUN_KEY_SIZE,
    StartRecord,
    key_height,
    mark_key,
    run_key,
    split_run,
)
from spvnode.types import HEADER_SIZE, Hash32, Height, SideBranch, Work

Run = tuple[int, bytes, bytes | None]
"""Height of the first header, 1..16 headers of 80 bytes, the level-4 header-tree node that the run completes."""

MAX_EVENTS_PER_READ = 1_000
"""Events in one answer; a reader asks again from the last one. About 1 kB each in memory."""


class StoreReader:
    """What is stored. Raises StoreDamaged where a checksum fails, StoreError where the system refuses a read."""

    def __init__(self, engine: Engine, loaded: Loaded) -> None:
        self._engine = engine
        self._state = loaded.state
        self._runs = loaded.runs
        self._index = loaded.index
        self._faults = loaded.faults

    @property
    def path(self) -> str:
        """Where the store lies."""
        return self._engine.path

    @property
    def faults(self) -> tuple[str, ...]:
        """What opening had to heal, in words; empty on a good day."""
        return self._faults

    @property
    def start(self) -> StartRecord | None:
        """Where trust begins; None while the store waits for ``set_start``."""
        return self._state.record.start

    @property
    def base(self) -> Height:
        """Lowest height whose header was checked by all rules."""
        return self._state.record.base

    @property
    def floor(self) -> Height:
        """Lowest height stored without a gap up to the base; below the base while a backfill runs."""
        return self._state.floor

    @property
    def complete(self) -> bool:
        """Whether the chain is stored from genesis up."""
        return self.start is not None and self.base == 0

    @property
    def origin(self) -> int:
        """Height of the header tree's first leaf: 0, or the checkpoint's when its peaks are unknown."""
        return self._state.origin

    @property
    def tip_height(self) -> Height:
        """Highest stored height; -1 when there is no header."""
        return self._state.tip.height

    @property
    def tip_hash(self) -> Hash32:
        """Hash of the tip; zeros when there is no header."""
        return self._state.tip.hash

    @property
    def chainwork(self) -> Work | None:
        """Cumulative work at the tip as the last commit gave it, to cross-check the loading chain's own; None after
        the store itself has moved the tip."""
        return self._state.chainwork

    @property
    def first_seq(self) -> int | None:
        """Oldest retained event; None when there is none."""
        return self._index.first_seq

    @property
    def last_seq(self) -> int:
        """Newest event; 0 when there has been none."""
        return self._index.last_seq or 0

    @property
    def event_count(self) -> int:
        """Retained events."""
        return len(self._index)

    def header(self, height: int) -> bytes:
        """The 80 bytes at ``height``; KeyError outside floor..tip. 4 us.

        Below the base are headers of a backfill, linked to the checkpoint but not yet checked by all rules.
        """
        state = self._state
        if not state.floor <= height <= state.tip.height:
            raise KeyError(height)
        found = header_at(self._engine, self._runs, height)
        if len(found) == HEADER_SIZE:
            return found
        found = self.headers(height, 1)  # a writer is just replacing the run: look at a snapshot
        if not found:
            raise KeyError(height)
        return found

    def headers(self, start: int, count: int) -> bytes:
        """Up to ``count`` headers from ``start``, cut at the tip; KeyError below the floor. 2,000: 0.15 ms."""
        state = self._state
        if start < state.floor:
            raise KeyError(start)
        last = min(start + count - 1, state.tip.height)
        if last < start:
            return b""
        # Between the runs lie at most PRUNE_AT events, so that one read, and thus one snapshot, is always enough.
        limit = last - start + 1 + RUN + PRUNE_AT
        found = self._engine.range(run_key(start - start % RUN), run_key(last + 1), limit=limit)
        rows = [row for row in found if len(row[0]) == RUN_KEY_SIZE]
        if not rows:
            return b""
        at = (start - key_height(rows[0][0])) * HEADER_SIZE
        return b"".join([split_run(value)[0] for _, value in rows])[at : at + count * HEADER_SIZE]

    def scan(self, first: int | None = None, last: int | None = None) -> Iterator[Run]:
        """Every run that begins in ``first..last``, ascending; default: base..tip. May go down to ``floor``.

        0.2 s for 1,000,000 headers. Afterwards ``release_pages`` gives the last mapped pages back.
        """
        state = self._state
        low = state.record.base if first is None else max(first, state.floor)
        high = state.tip.height if last is None else min(last, state.tip.height)
        for key, value in walk(self._engine, run_key(low), run_key(high + 1)):
            if len(key) == RUN_KEY_SIZE:
                start = key_height(key)
                headers, node = split_run(value)
                ends_node = (start + len(headers) // HEADER_SIZE - state.origin) % RUN == 0
                yield start, headers, node if ends_node else None

    def side_branches(self) -> list[SideBranch]:
        """All side branches, in order of tip hash."""
        return [branch for _, branch in side_branches(self._engine) if branch is not None]

    def events(self, after_seq: int = 0, limit: int = MAX_EVENTS_PER_READ) -> list[Event]:
        """Up to ``limit`` (at most ``MAX_EVENTS_PER_READ``) retained events with a greater number, in order. 10 us
        each."""
        found: list[Event] = []
        limit = min(limit, MAX_EVENTS_PER_READ)
        while len(found) < limit and (places := self._index.after(after_seq, limit - len(found))):
            after_seq = places[-1][0]
            for seq, height in places:
                with suppress(ValueError):  # a repair let it through
                    found.append(decode_event(self._engine.get(mark_key(height, seq)) or b""))
        return found

    def stats(self) -> EngineStats:
        """Sizes."""
        return self._engine.stats()
