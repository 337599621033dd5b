"""The words in which a beacon chain and its store speak to each other: rows are bytes to the store. Standard library
only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from spvnode.types import Hash32


class StepKind(StrEnum):
    """What a commit did to the headers; also the kind of its event-log entry."""

    ADVANCE = "advance"
    """Only the optimistic header moved, or a committee became known."""
    FINALITY = "finality"
    """The finalized header moved."""


@dataclass(frozen=True, slots=True)
class Block:
    """A beacon block: ``root`` in its natural order."""

    slot: int
    root: Hash32


@dataclass(frozen=True, slots=True)
class Step:
    """How the header that ``kind`` names went from ``old`` to ``new``, and how many committees became known."""

    kind: StepKind
    old: Block
    new: Block
    periods: int = 0


@dataclass(frozen=True, slots=True)
class ExecutionRow:
    """A record of an execution block under the two names that it is found by."""

    number: int
    block_hash: Hash32
    value: bytes


@dataclass(frozen=True, slots=True)
class BeaconCommit:
    """Everything that one atomic write must hold; None and () leave what is stored.

    ``updates``: best update by period. ``marks``: what of the chain's state is in no update. ``bootstraps`` by root;
    ``dropped_bootstraps`` go. Without ``step`` no event is logged.
    """

    step: Step | None = None
    updates: tuple[tuple[int, bytes], ...] = ()
    finality: bytes | None = None
    optimistic: bytes | None = None
    marks: bytes | None = None
    executions: tuple[ExecutionRow, ...] = ()
    bootstraps: tuple[tuple[Hash32, bytes], ...] = ()
    dropped_bootstraps: tuple[Hash32, ...] = ()
