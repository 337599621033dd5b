"""Where items come from: the mesh today, other networks beside it. The driver knows sources by this port only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from p2p.faults import RemoteFault
from spvnode.following import Tip
from spvnode.types import Hash32, Height


@dataclass(frozen=True, slots=True)
class Items:
    """A reply: consecutive items, the first numbered ``start``."""

    start: Height
    items: bytes


class Source(Protocol):
    """Asks peers and tells them. Deadlines are the driver's: every call may be cancelled at any time."""

    async def fetch_after(self, peer: str, locator: Sequence[Hash32], count: int) -> Items | RemoteFault:
        """Up to ``count`` items after the last locator hash that is on the peer's chain."""

    async def fetch_range(self, peer: str, start: Height, count: int) -> Items | RemoteFault:
        """``count`` items from ``start``, fewer only at the peer's tip."""

    async def announce(self, tip: Tip) -> None:
        """Tells every peer about a committed tip."""

    async def report(self, fault: RemoteFault) -> None:
        """Scores a fault; may disconnect the peer."""

    def useful(self, peer: str) -> None:
        """What ``peer`` sent was checked and committed."""
