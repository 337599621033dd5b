"""The words in which a chain and whoever follows it speak to each other. Standard library only.

Apart from both, so that a chain need not know the machine, nor the machine a chain.
"""

from __future__ import annotations

from collections.abc import Callable
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


class Blame(Enum):
    """Whose doing a broken rule is."""

    SENDER = "sender"
    """Nobody sends this by accident."""
    UNLINKED = "unlinked"
    """The run does not follow from what we have: an honest peer on another branch sends such a one, too."""
    CLOCK = "clock"
    """From the future: as likely our clock is wrong. What comes before it in the run may be good."""
    NOBODY = "nobody"
    """The peer may be honest, and what we have the reason: a false chain that we followed, or a limit of ours."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a chain's runs are counted and cut, and at what pace it is followed. A run is opaque bytes to who follows."""

    count: Callable[[bytes], int]
    """How many items a run holds. Never raises, whatever the bytes: a broken run is found out by ``plan``."""
    cut: Callable[[bytes, int], bytes]
    """The first so many of them."""
    run_items: int
    """Items a fetch."""
    common_depth: int
    """Items below both tips from which on two peers with different tips are asked for the same chain."""
    sync_every: int
    """Items between durable writes inside a long burst: what a power cut may cost."""
    max_known: int
    """Items that a lead may send in one burst although we have them, a run counting as a full one. One that repeats
    our own chain would hold the line for ever."""


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
    undone: int = 0
    """For REORGANIZES: how many items leave the main chain."""
    index: int = 0
    """For REJECTED: position in the run of the first offending item."""
    blame: Blame = Blame.SENDER
    """For REJECTED: whose doing that is."""
    known: int = 0
    """Unless REJECTED: how many of the items we had."""
