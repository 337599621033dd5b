"""The tip of the one chain that is served, and a wake-up for who wants to hear of another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from spvnode.electrum.errors import Code, ElectrumError
from spvnode.electrum.limits import TIP_CHECK_SECONDS
from spvnode.types import Hash32, Height
from spvnode.view import ChainView, NodeView


@dataclass(frozen=True, slots=True)
class Tip:
    """A best header."""

    height: Height
    hash: Hash32


class Tips:
    """One server's. ``news`` returns when something may have happened to any chain (``rpc.events.Hub.news``)."""

    def __init__(self, node: NodeView, network: str, news: Callable[[], Awaitable[None]]) -> None:
        self.node = node
        self.network = network
        self._news = news
        self._changed = trio.Event()
        self._wanted = trio.Event()
        self._waiting = 0

    def chain(self) -> ChainView:
        """The chain. ElectrumError while it has not begun."""
        found = self.node.chains.get(self.network)
        if found is None:
            raise ElectrumError(Code.UNAVAILABLE, f"{self.network} has not begun: this node waits for its first header")
        return found

    def now(self) -> Tip | None:
        """The tip; None while the chain has not begun."""
        chain = self.node.chains.get(self.network)
        return None if chain is None else Tip(chain.tip_height, chain.tip_hash)

    async def change(self) -> None:
        """Returns at another tip than the one at the moment of the call, or soon after it."""
        self._waiting += 1
        self._wanted.set()
        try:
            await self._changed.wait()
        finally:
            self._waiting -= 1

    async def run(self) -> None:
        """Looks until cancelled; without anybody who waits, it does nothing."""
        seen = self.now()
        while True:
            if not self._waiting:
                self._wanted = trio.Event()
                await self._wanted.wait()
            tip = self.now()
            if tip != seen:
                seen = tip
                self._changed.set()
                self._changed = trio.Event()
            # An event is logged a moment before memory has the commit: one look too early is made good by the next.
            with trio.move_on_after(TIP_CHECK_SECONDS):
                await self._news()
