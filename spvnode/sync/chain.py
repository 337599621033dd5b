"""The one small door through which the machine and the driver see a chain.

Whatever a chain is made of (headers by height, committee periods), it is followed as a sequence of numbered items that
must be checked and committed in order. Bitcoin's item is a header and its number the height.
"""

from __future__ import annotations

from typing import Protocol

from spvnode.following import Terms, Tip, Verdict
from spvnode.types import Height


class Chain(Protocol):
    """One chain as the driver uses it. ``plan``, ``write`` and their kin may run in a worker thread; they never run
    at the same time as each other or as ``apply``, which belongs to the event loop's thread."""

    @property
    def network(self) -> str:
        """Its name."""

    @property
    def tip(self) -> Tip:
        """Where the committed chain ends."""

    @property
    def base(self) -> Height:
        """Lowest committed item; above 0 while a node that began at a checkpoint is still being backfilled."""

    @property
    def whole(self) -> bool:
        """True when everything from item 0 on is stored and was checked by all rules."""

    @property
    def terms(self) -> Terms:
        """How its runs are counted, and at what pace it is followed."""

    def locator(self) -> object:
        """Where the committed chain ends, in the words that its sources take: for Bitcoin hashes, densest near the tip,
        ending at its base; for Ethereum the next period that is needed."""

    def plan(self, items: bytes, now: int) -> Verdict:
        """Checks a run against every rule. Reads only."""

    def write(self, verdict: Verdict, *, now: int, sync: bool) -> None:
        """Stores what ``plan`` found, in one atomic write."""

    def apply(self, verdict: Verdict) -> Tip:
        """Makes the stored change visible; returns the new tip."""

    def plan_below(self, items: bytes) -> Verdict:
        """Checks a run that must end right below ``base``, by its links upward."""

    def write_below(self, verdict: Verdict, *, sync: bool) -> None:
        """Stores a run checked by ``plan_below``."""

    def apply_below(self, verdict: Verdict) -> Height:
        """Makes it visible; returns the new base."""

    def finish_below(self) -> Verdict:
        """With every item down to 0 stored: checks them all upward by every rule and makes the chain whole."""
