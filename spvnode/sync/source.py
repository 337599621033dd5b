"""Where items come from: the mesh today, other networks beside it. The driver knows sources by this port only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from p2p.faults import RemoteFault
from spvnode.following import Tip
from spvnode.types import Height


@dataclass(frozen=True, slots=True)
class Items:
    """A reply: consecutive items, the first numbered ``start``."""

    start: Height
    items: bytes
    limited: bool = False
    """The peer gave what it gave and will not give more now (a rate limit): these are good, the rest is for later."""
    ends: bool = False
    """The peer has nothing after these, whatever it claimed: no fault where a claim says less than that exactly."""
    place: object = None
    """For a peer that cannot be asked by number: the locator that its next items follow."""


class Source(Protocol):
    """Asks peers and tells them. Deadlines are the driver's: every call may be cancelled at any time."""

    async def fetch_after(self, peer: str, locator: object, count: int) -> Items | RemoteFault:
        """Up to ``count`` items after the place that ``locator`` tells: the chain's own, or an earlier reply's."""

    async def fetch_range(self, peer: str, start: Height, count: int) -> Items | RemoteFault:
        """``count`` items from ``start``, fewer only at the peer's tip."""

    async def announce(self, tip: Tip) -> None:
        """Tells every peer about a committed tip."""

    async def report(self, fault: RemoteFault) -> None:
        """Scores a fault; may disconnect the peer."""

    def useful(self, peer: str) -> None:
        """What ``peer`` sent was checked and committed."""
