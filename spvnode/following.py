"""The words in which a chain and whoever follows it speak to each other. Standard library only.

Apart from both, so that a chain need not know the machine, nor the machine a chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from spvnode.types import Hash32, Height, Work


@dataclass(frozen=True, slots=True)
class Tip:
    """The end of a chain: what a peer claims to have, or what we have committed."""

    height: Height
    hash: Hash32
    work: Work


class Outcome(Enum):
    """What a run of items would do to the committed chain."""

    EXTENDS = "extends"
    """The main chain grows."""
    REORGANIZES = "reorganizes"
    """Another branch becomes the main chain."""
    FORK = "fork"
    """A competing branch is kept; the main chain stays."""
    DUPLICATE = "duplicate"
    """Nothing in it is new."""
    REJECTED = "rejected"
    """A rule is broken at ``index``."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a validation. ``change`` is the chain's own and only handed back to it."""

    outcome: Outcome
    items: int
    """How many items the run held."""
    change: object = None
    reason: str = ""
    """For REJECTED: the broken rule, in the field's name for it (``high-hash``, ``prev-blk-not-found``)."""
    last: int = -1
    """Unless REJECTED: number of the last item in its chain."""
    index: int = 0
    """For REJECTED: position in the run of the first offending item."""
