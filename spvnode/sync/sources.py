"""Several sources as one: the mesh, the chain's own network, REST endpoints. A peer belongs to the source whose prefix
its name has."""

from __future__ import annotations

from collections.abc import Mapping

from p2p.faults import RemoteFault
from spvnode.following import Tip
from spvnode.sync.source import Items, Source
from spvnode.types import Height


class Routed:
    """``Source`` over ``by_prefix``; ``others`` has every peer whose name begins with none of the prefixes."""

    def __init__(self, others: Source, by_prefix: Mapping[str, Source]) -> None:
        self._others = others
        self._by_prefix = dict(by_prefix)

    def _of(self, peer: str) -> Source:
        found = (source for prefix, source in self._by_prefix.items() if peer.startswith(prefix))
        return next(found, self._others)

    async def fetch_after(self, peer: str, locator: object, count: int) -> Items | RemoteFault:
        """See ``Source``."""
        return await self._of(peer).fetch_after(peer, locator, count)

    async def fetch_range(self, peer: str, start: Height, count: int) -> Items | RemoteFault:
        """See ``Source``."""
        return await self._of(peer).fetch_range(peer, start, count)

    async def announce(self, tip: Tip) -> None:
        """Tells all of them: what came by one network goes on to the others."""
        for source in (self._others, *self._by_prefix.values()):
            await source.announce(tip)

    async def report(self, fault: RemoteFault) -> None:
        """See ``Source``."""
        await self._of(fault.peer).report(fault)

    def useful(self, peer: str) -> None:
        """See ``Source``."""
        self._of(peer).useful(peer)
