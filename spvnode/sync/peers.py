"""What each peer claims, and who is asked next.

Holds one small record a peer, at most ``MAX_PEERS``; nothing else grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spvnode.sync.chain import Tip
from spvnode.types import Height

MAX_PEERS = 512
"""Claims kept. The mesh admits fewer connections than this; the bound holds even if a source forgets to."""


@dataclass(slots=True)
class PeerClaim:
    """A peer's word, not yet believed."""

    peer: str
    tip: Tip
    base: Height
    failures: int = 0
    """Fetches from it that came to nothing since its last good one."""
    in_flight: int = 0


class PeerTable:
    """Claims by peer, and the choice among them."""

    def __init__(self) -> None:
        self._claims: dict[str, PeerClaim] = {}

    def __len__(self) -> int:
        return len(self._claims)

    def get(self, peer: str) -> PeerClaim | None:
        """The claim of ``peer``, or None once it has left."""
        return self._claims.get(peer)

    def claim(self, peer: str, tip: Tip, base: Height) -> None:
        """Records what a peer says it has."""
        known = self._claims.get(peer)
        if known is not None:
            known.tip, known.base = tip, base
        elif len(self._claims) < MAX_PEERS:
            self._claims[peer] = PeerClaim(peer, tip, base)

    def left(self, peer: str) -> None:
        """Forgets a peer."""
        self._claims.pop(peer, None)

    def leaders(self, ours: Tip) -> list[PeerClaim]:
        """Peers that claim a better chain than ours: the most dependable first, then the most work.

        One that serves only what lies above our tip (it began at a checkpoint) cannot be connected to yet.
        """
        ahead = [c for c in self._claims.values() if c.base <= ours.height and is_ahead(c.tip, ours)]
        return sorted(ahead, key=lambda c: (c.failures, -c.tip.work, -c.tip.height, c.peer))

    def holders(self, start: Height, count: int, avoid: Iterable[str] = ()) -> list[PeerClaim]:
        """Peers that claim to serve all of ``start .. start + count - 1``, the least busy first."""
        avoided = set(avoid)
        able = [
            claim
            for claim in self._claims.values()
            if claim.base <= start and claim.tip.height >= start + count - 1 and claim.peer not in avoided
        ]
        return sorted(able, key=lambda c: (c.failures, c.in_flight, c.peer))

    def lowest_base(self, base: Height) -> Height:
        """The lowest item that anybody serves in one piece up to ``base``; ``base`` itself when nobody goes lower."""
        return min((c.base for c in self._claims.values() if c.base < base <= c.tip.height + 1), default=base)


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
