"""A node whose blocks and filters come, through the real fetchers and their cross-check, from peers that are simulated
behind the ports; and a running hub and scanner over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from blocks import MadeChain
from demand_peers import Ledger, Peer, Peers
from event_node import EventNode, with_hub
from watch_desk import Desk

from spvnode.errors import Unavailable
from spvnode.sync.ondemand import OnDemand
from spvnode.types import Hash32, hash_from_hex, hash_hex
from spvnode.view import BlockFilter
from spvnode.watching.scanner import Scanner

NETWORK = "regtest"
RETRY = 0.02


class ScanNode(EventNode):
    """``follow`` a chain; ``peers`` serve it. ``blocks_fetched`` and ``filters_fetched`` are what was asked for."""

    def __init__(self, *peers: str) -> None:
        super().__init__(NETWORK)
        self.made = MadeChain()
        self.peers = Peers({name: Peer(Ledger(self.made)) for name in peers or ("a",)})
        self.demand = OnDemand(self.peers, self.real[NETWORK], NETWORK)
        self.blocks_fetched: list[int] = []
        self.filters_fetched: list[int] = []

    def follow(self, made: MadeChain) -> None:
        """Our chain and the peers' become this one."""
        self.made = made
        ledger = Ledger(made)
        for peer in self.peers.peers.values():
            peer.ledger = ledger
        self.commit(made.headers)

    def branch(self, height: int) -> MadeChain:
        """The chain up to a height, to be made longer in another way."""
        return MadeChain(self.made.blocks[:height], self.made.prevouts[:height])

    def unreachable(self, network: str, *, filters: bool) -> str | None:
        return self.demand.unreachable(filters=filters)

    async def fetch_block(self, network: str, block_hash: Hash32) -> bytes:
        self.blocks_fetched.append(self._height(block_hash))
        return await self.demand.block(block_hash)

    async def fetch_filter(self, network: str, block_hash: Hash32) -> BlockFilter:
        self.filters_fetched.append(self._height(block_hash))
        return await self.demand.filter(block_hash)

    def _height(self, block_hash: Hash32) -> int:
        height = self.real[NETWORK].height_of(block_hash)
        if height is None:
            raise Unavailable("it has left the chain")
        return height


@asynccontextmanager
async def scanning(node: ScanNode, folder: Path) -> AsyncIterator[Desk]:
    """A running hub and scanner, with their journal in ``folder``."""
    async with with_hub(node, folder) as hub, trio.open_nursery() as nursery:
        nursery.start_soon(Scanner(node, hub, NETWORK, retry=RETRY).run)
        yield Desk(node, hub)
        nursery.cancel_scope.cancel()


def run_scan(folder: Path, node: ScanNode, *bodies: Callable[[Desk], Awaitable[None]]) -> None:
    """Each body with a daemon's start and end around it."""

    async def main() -> None:
        for body in bodies:
            async with scanning(node, folder) as desk:
                await body(desk)

    trio.run(main)


async def caught_up(desk: Desk) -> None:
    """Returns when all blocks of the tip's chain have been looked into."""
    chain = desk.node.real[NETWORK]
    with trio.fail_after(20):
        while not all(  # noqa: ASYNC110 - nothing tells that there was nothing to tell
            watch.at == hash_hex(chain.tip_hash) or chain.height_of(hash_from_hex(watch.hash or "00" * 32)) is not None
            for watch in desk.hub.watches.watches.values()
            if watch.scans
        ):
            await trio.sleep(0.005)


async def told_of(desk: Desk, count: int) -> None:
    """Returns when watches have told so many things."""
    with trio.fail_after(20):
        while len(desk.told()) < count:  # noqa: ASYNC110 - as above
            await trio.sleep(0.005)


def brief(told: Sequence[dict[str, object]]) -> list[tuple[object, ...]]:
    """What watches for scripts told: direction, height, whether undone."""
    return [(one["direction"], one["height"], bool(one.get("undone"))) for one in told]
