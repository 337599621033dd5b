"""Side branches: competing paths off the main chain, each held whole from the header it left.

Plain values and pure functions. Bounded by two limits together: a peer fills them only with headers that carry proof
of work, and the branches with the least work give way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spvnode.types import HASH_SIZE, HEADER_SIZE, Hash32, Height, SideBranch, Work


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of competing branches is kept; anyone with proof of work can fill it, which on test networks is cheap.

    ``side_branches``: real chains have a handful of stale tips within reach of a reorganization; 64 leaves room for a
    network under attack. ``side_headers``: 42,336 headers over all branches (21 mainnet periods, 4.7 MB with hashes)
    is the longest competing branch that can be followed piece by piece until it wins. More than lies between two
    built-in checkpoints: early headers cost little work, and whoever fed us false ones must not keep us from the next.
    """

    side_branches: int = 64
    side_headers: int = 42_336


@dataclass(frozen=True, slots=True)
class Branch:
    """A path from the main chain: ``headers`` (n * 80) and ``hashes`` (n * 32), the first at ``fork_height + 1``.

    ``context`` is the packed rule context after its tip, ``chainwork`` cumulative there.
    """

    fork_height: Height
    headers: bytes
    hashes: bytes
    context: bytes
    chainwork: Work

    def __len__(self) -> int:
        """Number of headers."""
        return len(self.headers) // HEADER_SIZE

    @property
    def tip_height(self) -> Height:
        """Height of its last header."""
        return Height(self.fork_height + len(self))

    @property
    def tip_hash(self) -> Hash32:
        """Hash of its last header."""
        return Hash32(self.hashes[-HASH_SIZE:])

    def index_of(self, block_hash: bytes) -> int | None:
        """Position of ``block_hash`` in the path."""
        at = self.hashes.find(block_hash)
        while at % HASH_SIZE and at > 0:  # found across two hashes: go on
            at = self.hashes.find(block_hash, at + 1)
        return None if at < 0 else at // HASH_SIZE

    def stored(self) -> SideBranch:
        """The form that the store keeps."""
        return SideBranch(self.fork_height, self.headers, self.tip_hash)


def common_records(left: bytes, right: bytes, size: int) -> int:
    """How many leading records of ``size`` bytes two packed runs share."""
    low, high = 0, min(len(left), len(right)) // size
    while low < high:
        middle = (low + high + 1) // 2
        if left[low * size : middle * size] == right[low * size : middle * size]:
            low = middle
        else:
            high = middle - 1
    return low


def longest_shared(branches: Iterable[Branch], fork_height: int, path: bytes) -> tuple[Branch | None, int]:
    """The branch that shares most leading headers with ``path`` from ``fork_height``, and how many; None and 0."""
    best: tuple[Branch | None, int] = (None, 0)
    for branch in branches:
        if branch.fork_height == fork_height:
            shared = common_records(branch.headers, path, HEADER_SIZE)
            if shared > best[1]:
                best = branch, shared
    return best


def _prefixed(branch: Branch, fork_height: Height, undone: Branch) -> Branch:
    """``branch`` that left the old main chain above the fork, as a path from the fork: old headers go first."""
    between = branch.fork_height - fork_height
    return Branch(
        fork_height,
        undone.headers[: between * HEADER_SIZE] + branch.headers,
        undone.hashes[: between * HASH_SIZE] + branch.hashes,
        branch.context,
        branch.chainwork,
    )


def _stripped(branch: Branch, shared: int) -> Branch:
    """``branch`` without its first headers, which are main chain now."""
    return Branch(
        Height(branch.fork_height + shared),
        branch.headers[shared * HEADER_SIZE :],
        branch.hashes[shared * HASH_SIZE :],
        branch.context,
        branch.chainwork,
    )


def rebase(branches: Iterable[Branch], undone: Branch, redone: Branch) -> list[Branch]:
    """The branches as paths from the new main chain, after ``undone`` left it and ``redone`` entered; both begin at
    the same fork. A branch that lies wholly on the new main chain is gone."""
    fork_height = undone.fork_height
    rebased = []
    for branch in branches:
        moved = _prefixed(branch, fork_height, undone) if branch.fork_height > fork_height else branch
        if moved.fork_height == fork_height:
            shared = common_records(moved.hashes, redone.hashes, HASH_SIZE)
            if shared == len(moved):
                continue
            moved = _stripped(moved, shared) if shared else moved
        rebased.append(moved)
    return rebased


def within(limits: Limits, branches: Sequence[Branch]) -> tuple[Branch, ...]:
    """The branches that ``limits`` let us keep, order kept: those with the least work go, of equals the newest."""
    kept = [branch for branch in branches if len(branch) <= limits.side_headers]
    while len(kept) > limits.side_branches or sum(map(len, kept)) > limits.side_headers:
        lightest = min(branch.chainwork for branch in kept)
        newest = max(at for at, branch in enumerate(kept) if branch.chainwork == lightest)
        del kept[newest]
    return tuple(kept)
