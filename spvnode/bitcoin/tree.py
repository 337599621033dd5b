"""The block tree: the main chain's tip, the branches that compete with it, and the decision between them.

Headers go through two steps. ``plan`` reads only, checks everything, and says what would happen; it may run in a
worker thread. ``apply`` makes it so, once the store has it. The best chain is the one that has passed most built-in
checkpoints, then the one with most work; of equals the one seen first stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from merkle.hashing import sha256d_headers
from spvnode.bitcoin.branches import Branch, Limits, common_records, longest_shared, rebase, within
from spvnode.bitcoin.changes import (
    Accepted,
    Change,
    Duplicate,
    Effective,
    ExtendedFork,
    Rejected,
    Reorganization,
    StalePlanError,
    TreeState,
)
from spvnode.bitcoin.header import header_hash
from spvnode.bitcoin.mainchain import MainChain, context_after
from spvnode.bitcoin.packing import RunContext, pack_params
from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.rules import MAX_FUTURE_BLOCK_TIME, NO_TIME_LIMIT, Reason, mismatch
from spvnode.bitcoin.validation import RunResult, check_run
from spvnode.bitcoin.work import check_marked
from spvnode.types import HASH_SIZE, HEADER_SIZE, PREV_HASH, CommitKind, Hash32, HeaderCommit, Height, SideBranch, Work


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a run goes: it follows the main chain to ``fork_height``, then is ``path``, whose first ``known`` headers
    (those of ``parent``, or none) are held already."""

    fork_height: Height
    path: bytes
    parent: Branch | None
    known: int

    @property
    def new(self) -> int:
        """Number of headers not seen before; they are the last of the run."""
        return len(self.path) // HEADER_SIZE - self.known


MAX_VOUCHED = 64
"""Proven forks remembered; a presync each, of which few run at a time."""


class BlockTree:
    """Fork choice over ``main`` (the committed main chain) and bounded side branches.

    Memory: ``limits`` bounds what competing branches take; the main chain is not held here.
    """

    def __init__(self, params: ChainParams, main: MainChain, context: bytes, limits: Limits | None = None) -> None:
        self._params = params
        self._packed = pack_params(params)
        self._main = main
        self._limits = limits or Limits()
        self._checkpoints = dict(params.checkpoints)
        self.state = TreeState.at(context)
        self._vouched: Mapping[Height, Work] = {}

    def plan(self, headers: bytes, now: int) -> Change:
        """What offering ``headers`` (n * 80 bytes, each the next one's parent) would do; changes nothing.

        The first header's parent, or the first header itself, may be anywhere in the tree; headers known already are
        passed over. A run with a bad header is refused whole. ``now`` is Unix seconds.
        """
        state = self.state
        total, odd = divmod(len(headers), HEADER_SIZE)
        if odd or not total:
            return Rejected(Reason.BAD_LENGTH, 0, f"{len(headers)} bytes are not headers of {HEADER_SIZE}")
        max_time = min(now + MAX_FUTURE_BLOCK_TIME, NO_TIME_LIMIT)
        if headers[PREV_HASH] == state.tip_hash:
            return self._plan_extension(state, headers, 0, max_time)
        place = self._locate(state, headers)
        if place is None:
            return Rejected(Reason.PREV_NOT_FOUND, 0, "neither the first header nor its parent is known")
        if place.new == 0:
            return Duplicate(Height(place.fork_height + place.known))
        if place.fork_height == state.tip_height:
            return self._plan_extension(state, place.path, total - place.new, max_time)
        return self._plan_branch(state, place, total - place.new, max_time)

    def vouch(self, fork_height: Height, work: Work) -> None:
        """A presync has proven that a chain which leaves ours above ``fork_height`` has ``work``. Where that is more
        than ours, and more than side branches may hold, it becomes the main chain before all of it is here: a
        reorganization of any depth takes no more memory than one of ``Limits.side_headers``. Counts until the next
        reorganization."""
        if len(self._vouched) < MAX_VOUCHED:
            self._vouched = {**self._vouched, fork_height: max(work, self._vouched.get(fork_height, Work(0)))}

    def apply(self, change: Effective) -> None:
        """Takes a planned change. ``StalePlanError`` when another one was applied since its planning."""
        if change.before is not self.state:
            raise StalePlanError("the chain has changed since this was planned")
        self.state = change.after
        if isinstance(change, Reorganization):
            self._vouched = {}

    def context_after(self, block_hash: Hash32) -> RunContext | None:
        """What the rules need to know for a header whose parent is ``block_hash``; None where that is neither on the
        main chain nor on a side branch."""
        state = self.state
        if block_hash == state.tip_hash:
            return RunContext.unpack(state.context)
        height = self._main.height_of(block_hash)
        if height is not None:
            return RunContext.unpack(context_after(self._params, self._main, height))
        for branch in state.branches:
            index = branch.index_of(block_hash)
            if index is not None:
                path = branch.headers[: (index + 1) * HEADER_SIZE]
                return RunContext.unpack(self._context_in(_Place(branch.fork_height, path, branch, index + 1))[0])
        return None

    # -- finding the place

    def _locate(self, state: TreeState, headers: bytes) -> _Place | None:
        """The place of a run that does not begin right after the tip; None where nothing connects it."""
        for skip, block_hash in ((0, headers[PREV_HASH]), (1, header_hash(headers[:HEADER_SIZE]))):
            rest = headers[skip * HEADER_SIZE :]
            height = self._main.height_of(Hash32(block_hash))
            if height is not None:
                known = common_records(
                    rest, self._main.headers(Height(height + 1), len(rest) // HEADER_SIZE), HEADER_SIZE
                )
                return self._on_path(state, Height(height + known), rest[known * HEADER_SIZE :])
            for branch in state.branches:
                index = branch.index_of(block_hash)
                if index is not None:
                    path = branch.headers[: (index + 1) * HEADER_SIZE] + rest
                    return self._on_path(state, branch.fork_height, path)
        return None

    @staticmethod
    def _on_path(state: TreeState, fork_height: Height, path: bytes) -> _Place:
        parent, known = longest_shared(state.branches, fork_height, path)
        return _Place(fork_height, path, parent, known)

    # -- deciding

    def _plan_extension(self, state: TreeState, headers: bytes, skip: int, max_time: int) -> Change:
        """``headers`` follow the main tip; ``skip`` headers of the run were known."""
        result, marks = check_marked(self._packed, state.context, headers, max_time, base=self._main.base)
        rejected = self._verdict(result, Height(state.tip_height + 1), skip)
        if rejected is not None:
            return rejected
        after = TreeState.at(result.context, state.branches)
        commit = _commit(CommitKind.EXTEND, state, after, state.tip_height, headers=headers)
        return Accepted(commit, result.hashes, marks, state, after)

    def _plan_branch(self, state: TreeState, place: _Place, skip: int, max_time: int) -> Change:
        """The run leaves the main chain below its tip."""
        first_new = Height(place.fork_height + place.known + 1)
        passed = self._passed(state.tip_height)
        if first_new < passed:
            return Rejected(Reason.FORK_PRIOR_TO_CHECKPOINT, skip, f"height {first_new}, checkpoint at {passed}")
        context, held = self._context_in(place)
        result = check_run(self._packed, context, place.path[place.known * HEADER_SIZE :], max_time)
        rejected = self._verdict(result, first_new, skip)
        if rejected is not None:
            return rejected
        work = RunContext.unpack(result.context).chainwork
        branch = Branch(place.fork_height, place.path, held + result.hashes, result.context, work)
        others = [other for other in state.branches if other is not place.parent or place.known < len(other)]
        if self._passed(branch.tip_height) > self._passed(state.tip_height) or work > state.chainwork:
            return self._plan_reorganization(state, branch, others)
        return self._plan_fork(state, branch, others, skip)

    def _passed(self, tip_height: Height) -> int:
        """Height of the last built-in checkpoint in a chain of ours that ends at ``tip_height``; -1 before the first.

        A chain without a checkpoint that another has cannot go on past it, whatever its work: it has lost already.
        """
        passed = self._params.last_checkpoint(tip_height)
        return -1 if passed is None else passed

    def _context_in(self, place: _Place) -> tuple[bytes, bytes]:
        """Rule context after the known headers of ``place``, and their hashes."""
        parent, known = place.parent, place.known
        if parent is not None and known == len(parent):
            return parent.context, parent.hashes
        context = context_after(self._params, self._main, place.fork_height)
        if parent is None:
            return context, b""
        # They were checked when they came; this only recomputes what the rules carry along.
        prefix = check_run(self._packed, context, place.path[: known * HEADER_SIZE], NO_TIME_LIMIT)
        return prefix.context, prefix.hashes

    def _verdict(self, result: RunResult, first_height: Height, skip: int) -> Rejected | None:
        """The run's first fault, by the rules or by a built-in checkpoint."""
        for height, block_hash in self._checkpoints.items():
            at = height - first_height
            if 0 <= at < result.count and result.hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE] != block_hash:
                return Rejected(mismatch(self._params, height), skip + at, f"height {height}")
        if result.reason is None:
            return None
        return Rejected(result.reason, skip + result.count, f"height {first_height + result.count}")

    def _plan_fork(self, state: TreeState, branch: Branch, others: list[Branch], skip: int) -> Change:
        kept = within(self._limits, [*others, branch])
        if branch not in kept and self._checkpoints and state.tip_height < max(self._checkpoints):
            # A checkpoint will decide here, not work: the branch in hand may be the one that leads to it.
            kept = within(self._limits, [branch])
        if branch not in kept and self._vouched.get(branch.fork_height, 0) > state.chainwork:
            return self._plan_reorganization(state, branch, others)
        if branch not in kept:
            return Rejected(Reason.SIDE_BRANCH_LIMIT, skip, f"no room for {len(branch)} headers of this work")
        after = TreeState(state.context, state.tip_height, state.tip_hash, state.chainwork, kept)
        return ExtendedFork(_commit(CommitKind.FORK, state, after, state.tip_height), branch, state, after)

    def _plan_reorganization(self, state: TreeState, branch: Branch, others: list[Branch]) -> Change:
        fork_height = branch.fork_height
        undone = self._main.headers(Height(fork_height + 1), state.tip_height - fork_height)
        old = Branch(fork_height, undone, sha256d_headers(undone), state.context, state.chainwork)
        rebased = rebase(others, old, branch)
        if branch.chainwork > old.chainwork:  # else a checkpoint has refuted it, and it would outweigh what may win
            rebased.append(old)
        after = TreeState.at(branch.context, within(self._limits, rebased))
        commit = _commit(CommitKind.REORG, state, after, fork_height, headers=branch.headers, undone=undone)
        fork_context = context_after(self._params, self._main, fork_height)
        _, marks = check_marked(self._packed, fork_context, branch.headers, NO_TIME_LIMIT, base=self._main.base)
        return Reorganization(commit, fork_height, old.hashes, branch.hashes, marks, state, after)


def _commit(
    kind: CommitKind,
    before: TreeState,
    after: TreeState,
    fork_height: Height,
    *,
    headers: bytes = b"",
    undone: bytes = b"",
) -> HeaderCommit:
    """What the store must write to get from one state to the other; the header tree's nodes are not the tree's."""
    put, drop = _side_changes(before.branches, after.branches)
    return HeaderCommit(
        kind=kind,
        fork_height=fork_height,
        headers=headers,
        undone=undone,
        nodes=b"",
        tip_height=after.tip_height,
        tip_hash=after.tip_hash,
        chainwork=Work(after.chainwork),
        side_put=put,
        side_drop=drop,
    )


def _side_changes(
    before: tuple[Branch, ...], after: tuple[Branch, ...]
) -> tuple[tuple[SideBranch, ...], tuple[Hash32, ...]]:
    """Branches to write (new, longer, or leaving the main chain elsewhere), and tips of those no longer kept."""
    if before is after:
        return (), ()
    tips = {branch.tip_hash for branch in after}
    put = tuple(branch.stored() for branch in after if branch not in before)
    return put, tuple(branch.tip_hash for branch in before if branch.tip_hash not in tips)
