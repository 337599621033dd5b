"""One Bitcoin network on its store: a ``spvnode.sync.chain.Chain`` for the driver, a ``HeaderChain`` for who reads.

The store comes in through a port, so that this room stays free of I/O of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from spvnode.bitcoin.backfill import Anchor, check_backfill_run, rebuild_from_genesis
from spvnode.bitcoin.branches import longest_shared
from spvnode.bitcoin.chain import HeaderChain, LoadReport
from spvnode.bitcoin.changes import Accepted, Change, Duplicate, Effective, ExtendedFork, Rejected, Reorganization
from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.reads import HeaderReader
from spvnode.bitcoin.rules import Reason
from spvnode.bitcoin.start import Checkpoint
from spvnode.following import Blame, Outcome, Terms, Tip, Verdict
from spvnode.types import HASH_SIZE, HEADER_SIZE, CommitKind, Hash32, HeaderCommit, Height, SideBranch, Work

RUN_ITEMS = 8_064
"""Headers a fetch: four retarget periods, 645 kB."""
COMMON_DEPTH = 100
"""Headers below both tips from which on two peers are asked for the same chain: deeper than any honest fork."""
SYNC_EVERY = 100_000
"""Headers between durable writes inside a long burst: what a power cut may cost, a second's worth of fetching."""
MAX_KNOWN = 100_000
"""Headers that a lead may repeat in one burst. An honest one does so where our locator is sparse, or where we hold its
branch already: less than twice the longest such branch."""
HEADER_TERMS = Terms(
    count=lambda items: len(items) // HEADER_SIZE,
    cut=lambda items, count: items[: count * HEADER_SIZE],
    run_items=RUN_ITEMS,
    common_depth=COMMON_DEPTH,
    sync_every=SYNC_EVERY,
    max_known=MAX_KNOWN,
)
BLAME = {
    Reason.PREV_NOT_FOUND: Blame.UNLINKED,
    Reason.TIME_TOO_NEW: Blame.CLOCK,
    Reason.OPERATOR_CHECKPOINT_MISMATCH: Blame.NOBODY,  # whoever it is that is wrong, most peers are honest
    Reason.SIDE_BRANCH_LIMIT: Blame.NOBODY,  # it has its proof of work, and we hold what we were fed before
}
"""Whose doing a broken rule is, where it is not the sender's."""


class HeaderRows(HeaderReader, Protocol):
    """What a followed chain needs of its store (``spvnode.store.headers.HeaderStore``)."""

    @property
    def base(self) -> Height:
        """Lowest stored height, also below a base that is not reached yet."""

    @property
    def floor(self) -> Height:
        """Lowest height stored without a gap."""

    @property
    def complete(self) -> bool:
        """Whether the base is genesis."""

    @property
    def tip_height(self) -> Height:
        """Highest stored height."""

    def scan(self, first: int | None = None, last: int | None = None) -> Iterator[tuple[int, bytes, bytes | None]]:
        """Stored runs: start, headers, completed tree node."""

    def side_branches(self) -> list[SideBranch]:
        """All side branches."""

    def commit(self, commit: HeaderCommit, *, now: float, sync: bool) -> int:
        """One atomic write."""

    def truncate(self, height: int, *, now: float, detail: str) -> int:
        """Drops everything above a height."""

    def put_below(self, start: int, headers: bytes, *, sync: bool) -> None:
        """Stores a run below the floor."""

    def complete_backfill(self, *, chainwork: Work, now: float) -> int:
        """Moves the base to genesis."""

    def discard_backfill(self, *, now: float, detail: str) -> int:
        """Drops what lies below the base."""

    def release_pages(self) -> None:
        """Gives mapped pages back."""


class StoredChain:
    """Opens what ``store`` holds, checking all of it; then ``plan``, ``write``, ``apply`` in turns.

    ``start`` is the checkpoint that the store began at; None for genesis, also once a backfill has reached it.
    ``report`` says what loading found.
    """

    terms = HEADER_TERMS

    def __init__(
        self, params: ChainParams, store: HeaderRows, start: Checkpoint | None, *, clock: Callable[[], float]
    ) -> None:
        self.params = params
        self.store = store
        self._clock = clock
        self.contradictions = 0
        """Runs refused so far because of another block at a checkpoint."""
        self.headers = HeaderChain(params, store, None if store.complete else start)
        self.report = self._load()

    def _load(self) -> LoadReport:
        report = self.headers.load(_pairs(self.store.scan()), self.store.side_branches())
        if report.fault is not None:
            detail = f"{report.fault} at height {report.last_good + 1}; headers above are fetched again"
            self.store.truncate(report.last_good, now=self._clock(), detail=detail)
        if report.dropped:
            self.store.commit(self._forget(report.dropped), now=self._clock(), sync=True)
        self.store.release_pages()
        return report

    def _forget(self, tips: tuple[Hash32, ...]) -> HeaderCommit:
        chain = self.headers
        return HeaderCommit(
            kind=CommitKind.FORK, fork_height=chain.tip_height, headers=b"", undone=b"", nodes=b"",
            tip_height=chain.tip_height, tip_hash=chain.tip_hash, chainwork=chain.chainwork(chain.tip_height),
            side_drop=tips,
        )  # fmt: skip

    # The rest is ``spvnode.sync.chain.Chain``; see there.

    @property
    def network(self) -> str:
        """Its name."""
        return self.params.name

    @property
    def tip(self) -> Tip:
        """Where the committed chain ends; work 0 while it is unknown."""
        chain = self.headers
        work = chain.chainwork(chain.tip_height) if chain.work_known else Work(0)
        return Tip(chain.tip_height, chain.tip_hash, work)

    @property
    def base(self) -> Height:
        """Lowest stored height, also below a base that is not reached yet."""
        return self.store.floor

    @property
    def whole(self) -> bool:
        """Whether everything from genesis is stored and checked."""
        return self.store.complete

    def locator(self) -> list[Hash32]:
        """Hashes of our chain, newest first."""
        return self.headers.locator()

    def plan(self, items: bytes, now: int) -> Verdict:
        """Checks a run by every rule; changes nothing."""
        count = len(items) // HEADER_SIZE
        change = self.headers.plan(items, now)
        if isinstance(change, Rejected):
            self.contradictions += change.reason is Reason.OPERATOR_CHECKPOINT_MISMATCH
            blame = BLAME.get(change.reason, Blame.SENDER)
            return Verdict(Outcome.REJECTED, count, reason=str(change.reason), index=change.index, blame=blame)
        undone = len(change.undo) // HASH_SIZE if isinstance(change, Reorganization) else 0
        known = count - _new(change)
        return Verdict(_outcome(change), count, change, last=_last_height(change), undone=undone, known=known)

    def write(self, verdict: Verdict, *, now: int, sync: bool) -> None:
        """Stores a planned change in one batch."""
        self.store.commit(_effective(verdict).commit, now=now, sync=sync)

    def apply(self, verdict: Verdict) -> Tip:
        """Makes a stored change visible."""
        self.headers.apply(_effective(verdict))
        return self.tip

    def plan_below(self, items: bytes) -> Verdict:
        """Checks a backfill run by its links."""
        floor = self.store.floor
        checked = check_backfill_run(self.params, Anchor.of(floor, self.store.header(floor)), items)
        count = len(items) // HEADER_SIZE
        if isinstance(checked, Rejected):
            blame = BLAME.get(checked.reason, Blame.SENDER)
            return Verdict(Outcome.REJECTED, count, reason=str(checked.reason), index=checked.index, blame=blame)
        return Verdict(Outcome.EXTENDS, count, _Below(checked.height, items))

    def write_below(self, verdict: Verdict, *, sync: bool) -> None:
        """Stores a backfill run."""
        if not isinstance(verdict.change, _Below):
            raise TypeError(f"{verdict.outcome} is no backfill run")
        self.store.put_below(verdict.change.start, verdict.change.items, sync=sync)

    def apply_below(self, verdict: Verdict) -> Height:
        """The new lowest height."""
        return self.store.floor

    def finish_below(self) -> Verdict:
        """Checks everything upward from genesis and swaps the chain in."""
        rebuilt = rebuild_from_genesis(
            self.params, self.store, _pairs(self.store.scan(0)), self.headers, self.store.side_branches()
        )
        if isinstance(rebuilt, Rejected):
            self.store.discard_backfill(now=self._clock(), detail=f"{rebuilt.reason}: {rebuilt.detail}")
            return Verdict(Outcome.REJECTED, 0, reason=str(rebuilt.reason), index=rebuilt.index)
        self.store.complete_backfill(chainwork=rebuilt.chainwork(rebuilt.tip_height), now=self._clock())
        self.headers = rebuilt
        self.store.release_pages()
        return Verdict(Outcome.EXTENDS, 0)


@dataclass(frozen=True, slots=True)
class _Below:
    """A backfill run that links upward."""

    start: Height
    items: bytes


def _pairs(runs: Iterable[tuple[int, bytes, bytes | None]]) -> Iterator[tuple[Height, bytes]]:
    return ((Height(start), headers) for start, headers, _ in runs)


def _outcome(change: Change) -> Outcome:
    match change:
        case Accepted():
            return Outcome.EXTENDS
        case Reorganization():
            return Outcome.REORGANIZES
        case ExtendedFork():
            return Outcome.FORK
        case Duplicate() | Rejected():
            return Outcome.DUPLICATE


def _new(change: Effective | Duplicate) -> int:
    """How many headers it brings that are on no branch yet."""
    match change:
        case Accepted(commit):
            return len(commit.headers) // HEADER_SIZE
        case Reorganization(commit, fork_height, before=before):
            path = commit.headers
        case ExtendedFork(_, branch, before):
            fork_height, path = branch.fork_height, branch.headers
        case Duplicate():
            return 0
    return len(path) // HEADER_SIZE - longest_shared(before.branches, fork_height, path)[1]


def _last_height(change: Accepted | ExtendedFork | Reorganization | Duplicate) -> Height:
    match change:
        case ExtendedFork():
            return change.branch.tip_height
        case Duplicate():
            return change.height
        case _:
            return change.commit.tip_height


def _effective(verdict: Verdict) -> Accepted | ExtendedFork | Reorganization:
    if not isinstance(verdict.change, Accepted | ExtendedFork | Reorganization):
        raise TypeError(f"{verdict.outcome} is not for committing")
    return verdict.change
