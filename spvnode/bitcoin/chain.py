"""``HeaderChain``: one network's headers, checked and committed.

The order of a change, kept by its caller: ``plan`` (pure, in a worker thread if wanted), then the store's write of
``change.commit``, then ``apply`` in one step on the thread that also reads. Applying never fails halfway: everything
that can fail has been computed by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from spvnode.bitcoin.branches import Limits
from spvnode.bitcoin.changes import Accepted, Change, Duplicate, Effective, ExtendedFork, Rejected
from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.reads import ChainReads, HeaderReader
from spvnode.bitcoin.rules import NO_TIME_LIMIT, Reason
from spvnode.bitcoin.start import Checkpoint, genesis_of
from spvnode.types import HEADER_SIZE, PREV_HASH, CommitKind, Hash32, HeaderCommit, Height, SideBranch, Work

LOAD_HEADERS = 8_064
"""Headers checked in one step while loading (0.6 MB): enough that the cost of a step does not show."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of a store's content. ``last_good`` is the highest height that holds (base - 1: not even the
    first); where ``fault`` is set, the store must be cut above it and the rest fetched again. ``dropped`` are tips of
    side branches that no longer fit anywhere."""

    last_good: Height
    fault: Reason | None
    dropped: tuple[Hash32, ...] = ()


class HeaderChain(ChainReads):
    """The main chain of ``params`` in ``reader`` (the store), from ``start`` on, with the tree of its competitors.

    Raises ``spvnode.errors.InputError`` for a checkpoint that cannot start this network. A fresh chain consists of its
    start alone, which its store must hold as well (``initial_commit``, or ``HeaderStore.set_start``); ``load`` takes in
    what else the store holds.
    """

    def __init__(
        self,
        params: ChainParams,
        reader: HeaderReader,
        start: Checkpoint | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(params, reader, start or genesis_of(params), limits)
        self._index.append(self._start.hash)
        self._loaded = Height(self.base - 1)
        self._first_nodes = self.forest.append(self._start.hash)

    def initial_commit(self) -> HeaderCommit:
        """What an empty store must hold before the first change: the start itself."""
        return HeaderCommit(
            kind=CommitKind.EXTEND,
            fork_height=Height(self.base - 1),
            headers=self._start.header,
            undone=b"",
            nodes=self._first_nodes,
            tip_height=self.base,
            tip_hash=self._start.hash,
            chainwork=self._start.base_work,
        )

    # -- taking headers

    def plan(self, headers: bytes, now: int) -> Change:
        """What offering ``headers`` (n * 80 bytes) at ``now`` (Unix seconds) would do; see ``BlockTree.plan``.

        Changes nothing and may run in any thread, as long as nothing is applied meanwhile.
        """
        change = self._tree.plan(headers, now)
        if isinstance(change, Rejected | Duplicate | ExtendedFork):
            return change
        hashes = change.hashes if isinstance(change, Accepted) else change.redo
        nodes = self.forest.preview(hashes, Height(change.commit.fork_height + 1))
        return replace(change, commit=replace(change.commit, nodes=nodes))

    def vouch(self, fork_height: Height, work: Work) -> None:
        """See ``BlockTree.vouch``."""
        self._tree.vouch(fork_height, work)

    def apply(self, change: Effective) -> None:
        """Takes a change whose commit the store has written. ``changes.StalePlanError`` if it was planned on another
        state."""
        self._tree.apply(change)
        if isinstance(change, ExtendedFork):
            return
        hashes = change.hashes if isinstance(change, Accepted) else change.redo
        if not isinstance(change, Accepted):
            self._index.truncate(change.fork_height)
            self._works.truncate(change.fork_height)
            self.forest.truncate(Height(change.fork_height + 1))
        self._index.append(hashes)
        self._works.extend(change.marks)
        self.forest.append(hashes, change.commit.nodes)

    # -- loading

    def load(self, runs: Iterable[tuple[Height, bytes]], side_branches: Iterable[SideBranch] = ()) -> LoadReport:
        """Takes a store's content into a fresh chain, checking all of it again by every rule.

        ``runs`` are (start height, n * 80 bytes) in ascending order from the base. Timestamps are not held against the
        clock: these headers were accepted once, and a device may wake without one. Stops at the first header that
        does not hold.
        """
        last_good, fault = self._load_main(runs)
        sides = tuple(side_branches)
        for side in sides:
            change = self._tree.plan(side.headers, NO_TIME_LIMIT)
            if isinstance(change, ExtendedFork):
                self._tree.apply(change)
        kept = {branch.tip_hash for branch in self._tree.state.branches}
        return LoadReport(last_good, fault, tuple(side.tip_hash for side in sides if side.tip_hash not in kept))

    def _load_main(self, runs: Iterable[tuple[Height, bytes]]) -> tuple[Height, Reason | None]:
        """Last good height, and why the header after it does not hold."""
        following, batch = self.base, bytearray()
        for start, headers in runs:
            if start != following:  # rows are missing
                fault = self._load_batch(bytes(batch))
                return self._loaded, fault or Reason.PREV_NOT_FOUND
            following = Height(following + len(headers) // HEADER_SIZE)
            batch += headers
            if len(batch) >= LOAD_HEADERS * HEADER_SIZE:
                fault = self._load_batch(bytes(batch))
                if fault is not None:
                    return self._loaded, fault
                batch.clear()
        fault = self._load_batch(bytes(batch))
        return self._loaded, fault

    def _load_batch(self, headers: bytes) -> Reason | None:
        """Takes the good headers of a batch that follows what was loaded."""
        if headers and self._loaded < self.base:
            if headers[:HEADER_SIZE] != self._start.header:
                return Reason.CHECKPOINT_MISMATCH
            self._loaded = self.base
            headers = headers[HEADER_SIZE:]
        if not headers:
            return None
        if headers[PREV_HASH] != self.tip_hash:
            return Reason.PREV_NOT_FOUND
        change = self.plan(headers, NO_TIME_LIMIT)
        if isinstance(change, Rejected):
            self._load_batch(headers[: change.index * HEADER_SIZE])
            return change.reason
        if isinstance(change, Accepted):
            self.apply(change)
        self._loaded = self.tip_height
        return None
