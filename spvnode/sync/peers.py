"""What each peer claims, and who is asked next.

Holds one small record a peer, at most ``MAX_PEERS``; nothing else grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from spvnode.following import Tip
from spvnode.sync.window import Job
from spvnode.types import Height, Work

MAX_PEERS = 512
"""Claims kept. The mesh admits fewer connections than this; the bound holds even if a source forgets to."""
FAILURE_TURNS = 4
"""Turns that a peer waits longer for each failure: a newcomer goes before it, a hundred newcomers do not."""
MAX_FAILURE_TURNS = 32
"""The longest such wait: an honest peer may have been away for a night."""


@dataclass(slots=True)
class PeerClaim:
    """A peer's word, not yet believed."""

    peer: str
    tip: Tip
    base: Height
    turn: int = 0
    """When it came or last led a burst, on a clock that ticks with each of these."""
    failures: int = 0
    """Fetches from it that came to nothing since its last good one."""
    in_flight: int = 0
    ranged: bool = True
    """Whether it can be asked by number."""
    proven: bool = False
    """What it sent was committed, and no claim of it has come to nothing since."""

    def has(self, start: Height, count: int) -> bool:
        """Whether it claims all of ``start .. start + count - 1``."""
        return self.base <= start and self.tip.height >= start + count - 1

    @property
    def order(self) -> tuple[bool, int, int, str]:
        """Who leads first is lowest: a proven peer that has not failed since, by work. All others take turns, so that
        one who returns under ever new names waits behind those who were here before."""
        if self.proven and not self.failures:
            return False, -self.tip.work, -self.tip.height, self.peer
        return True, self.turn + min(FAILURE_TURNS * self.failures, MAX_FAILURE_TURNS), -self.tip.height, self.peer


class PeerTable:
    """Claims by peer, and the choice among them."""

    def __init__(self) -> None:
        self._claims: dict[str, PeerClaim] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._claims)

    def get(self, peer: str) -> PeerClaim | None:
        """The claim of ``peer``, or None once it has left."""
        return self._claims.get(peer)

    def claim(self, peer: str, tip: Tip, base: Height, *, ranged: bool = True) -> None:
        """Records what a peer says it has."""
        known = self._claims.get(peer)
        if known is not None:
            known.tip, known.base, known.ranged = tip, base, ranged
        elif len(self._claims) < MAX_PEERS:
            self._claims[peer] = PeerClaim(peer, tip, base, self._next_turn(), ranged=ranged)

    def hollow(self, peer: str | None, ours: Tip) -> Tip | None:
        """All that ``peer`` had has been fetched. Where that is not better than what we have, its claim was hollow, or
        (with work unknown on one side) simply no better: returns it, and does not believe it until it makes another."""
        claim = self._claims.get(peer or "")
        if claim is None or not is_ahead(claim.tip, ours):
            return None
        claimed, claim.tip, claim.proven = claim.tip, ours, False
        return claimed

    def left(self, peer: str) -> None:
        """Forgets a peer."""
        self._claims.pop(peer, None)

    def released(self, peer: str, *, good: bool | None) -> None:
        """A fetch from ``peer`` has ended: well, badly, or (None) by our own choice."""
        claim = self._claims.get(peer)
        if claim is None:
            return
        claim.in_flight = max(0, claim.in_flight - 1)
        if good is not None:
            claim.failures = 0 if good else claim.failures + 1

    def abandoned(self, jobs: Iterable[Job]) -> None:
        """What is being fetched for ``jobs`` is not wanted any more."""
        for job in jobs:
            if job.peer is not None and job.items is None:
                self.released(job.peer, good=None)

    def proved(self, peer: str) -> None:
        """What ``peer`` sent was committed."""
        claim = self._claims.get(peer)
        if claim is not None:
            claim.proven = True

    def ends(self, peer: str, last: Height) -> None:
        """``peer`` has nothing for us above ``last``. What work that is nobody has said."""
        claim = self._claims.get(peer)
        if claim is not None and claim.tip.height > last:
            claim.tip = replace(claim.tip, height=last, work=Work(0))

    def distrust(self, peer: str) -> None:
        """What ``peer`` sent turned out to be of no use."""
        claim = self._claims.get(peer)
        if claim is not None:
            claim.failures += 1

    def lead(self, ours: Tip) -> PeerClaim | None:
        """The peer whose turn it is to lead a burst; None when nobody claims a better chain than ours."""
        leaders = self.leaders(ours)
        if not leaders:
            return None
        leaders[0].turn = self._next_turn()
        return leaders[0]

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn

    def leaders(self, ours: Tip) -> list[PeerClaim]:
        """Peers that claim a better chain than ours, in the order of ``PeerClaim.order``.

        One that serves only what lies above our tip (it began at a checkpoint) cannot be connected to yet.
        """
        ahead = [c for c in self._claims.values() if c.base <= ours.height and is_ahead(c.tip, ours)]
        return sorted(ahead, key=lambda c: c.order)

    def good_leader(self, ours: Tip) -> bool:
        """Whether the next to lead has not failed."""
        leaders = self.leaders(ours)
        return bool(leaders) and not leaders[0].failures

    def holders(self, start: Height, count: int, avoid: Iterable[str] = ()) -> list[PeerClaim]:
        """Peers that claim to serve all of ``start .. start + count - 1``, the least busy first."""
        avoided = set(avoid)
        able = [
            claim
            for claim in self._claims.values()
            if claim.ranged and claim.has(start, count) and claim.peer not in avoided
        ]
        return sorted(able, key=lambda c: (c.failures, c.in_flight, c.peer))

    def lowest_base(self, base: Height) -> Height:
        """The lowest item that anybody serves in one piece up to ``base``; ``base`` itself when nobody goes lower."""
        able = (claim for claim in self._claims.values() if claim.ranged)
        return min((c.base for c in able if c.base < base <= c.tip.height + 1), default=base)


def is_ahead(theirs: Tip, ours: Tip) -> bool:
    """Whether a claimed tip is worth asking for.

    Work decides. Work 0 stands for unknown (the chain is only known from a checkpoint on): then height does, which is
    good enough to ask and never good enough to believe.
    """
    if theirs.hash == ours.hash:
        return False
    if theirs.work and ours.work:
        return theirs.work > ours.work
    return theirs.height > ours.height
