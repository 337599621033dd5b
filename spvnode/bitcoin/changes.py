"""What offering headers to a chain can lead to. Each is a value: planned first, stored, then applied.

The five outcomes follow Kyoto's ``AcceptHeaderChanges``; none of them is an error of ours, so none is an exception.
"""

from __future__ import annotations

from dataclasses import dataclass

from spvnode.bitcoin.branches import Branch
from spvnode.bitcoin.packing import RunContext
from spvnode.bitcoin.rules import Reason
from spvnode.types import Hash32, HeaderCommit, Height, Work


class StalePlanError(RuntimeError):
    """A change was applied to another state than it was planned on. Ours to prevent: plan and apply in turns."""


@dataclass(frozen=True, slots=True)
class TreeState:
    """All that a block tree knows beyond the committed main chain. Replaced whole, never edited, so that a plan in a
    worker thread sees one state. ``context`` is the packed rule context after the main tip; ``branches`` are in order
    of first sight."""

    context: bytes
    tip_height: Height
    tip_hash: Hash32
    chainwork: Work
    branches: tuple[Branch, ...] = ()

    @classmethod
    def at(cls, context: bytes, branches: tuple[Branch, ...] = ()) -> TreeState:
        """The state whose main tip is the parent that ``context`` describes."""
        after = RunContext.unpack(context)
        return cls(context, Height(after.height - 1), after.prev_hash, after.chainwork, branches)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The main chain grows. ``hashes`` (n * 32) are those of ``commit.headers``; ``marks`` see ``work``."""

    commit: HeaderCommit
    hashes: bytes
    marks: tuple[Work, ...]
    before: TreeState
    after: TreeState


@dataclass(frozen=True, slots=True)
class ExtendedFork:
    """A side branch is new or longer; the main chain stays, also on equal work (first seen)."""

    commit: HeaderCommit
    branch: Branch
    before: TreeState
    after: TreeState


@dataclass(frozen=True, slots=True)
class Reorganization:
    """A branch with more work becomes the main chain above ``fork_height``.

    ``undo`` and ``redo`` are packed hashes (n * 32), both ascending from ``fork_height + 1``.
    """

    commit: HeaderCommit
    fork_height: Height
    undo: bytes
    redo: bytes
    marks: tuple[Work, ...]
    before: TreeState
    after: TreeState


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Every header is known already; the last one has ``height``, on the main chain or on a side branch."""

    height: Height


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing of the run is taken. ``index`` is the position in the run of the header that fails by ``reason``."""

    reason: Reason
    index: int
    detail: str


Effective = Accepted | ExtendedFork | Reorganization
"""Changes that are committed and applied."""
Change = Effective | Duplicate | Rejected
"""Outcome of ``plan``."""
