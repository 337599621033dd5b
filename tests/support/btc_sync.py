"""A node that follows a chain over Bitcoin's wire: the real machine, driver, source, pump and wire on an in-memory
store, among simulated peers, on a clock that jumps."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import btc_peers as bp
import pytest
import trio
import trio.testing
from btc_net import wall, wire
from world import open_chain

from p2p.bitcoin.dialing import PREFIX
from p2p.bitcoin.net import BitcoinNet
from p2p.score import ScoreBoard
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.params import REGTEST, ChainParams
from spvnode.bitcoin.stored import StoredChain
from spvnode.follow.bitcoin_wire import Served
from spvnode.sync import events as ev
from spvnode.sync.driver import Driver
from spvnode.sync.mesh_gate import ProvenMesh
from spvnode.sync.source import Source
from spvnode.sync.sources import Routed
from spvnode.sync.wire import WireSource
from spvnode.sync.wire_pump import Pump
from spvnode.types import Work

T = TypeVar("T")


@pytest.fixture
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker threads run in place: the simulated clock would not wait for them."""

    async def in_place(job: Callable[..., T], *args: object, **how: object) -> T:
        await trio.lowlevel.checkpoint()
        return job(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", in_place)


def run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def with_minimum_work(blocks: int) -> ChainParams:
    """Regtest where a chain of fewer blocks is not believed; two hashes a block."""
    return replace(REGTEST, minimum_chain_work=Work(2 * blocks))


@dataclass
class Node:
    """What a test looks at; a ``follow.bitcoin_wire.Followed``."""

    params: ChainParams
    chain: StoredChain
    scores: ScoreBoard
    posted: list[ev.Event]
    driver: Driver
    net: BitcoinNet
    source: WireSource
    pump: Pump
    mesh: ProvenMesh | None = None

    @property
    def headers(self) -> HeaderChain:
        return self.chain.headers

    @property
    def tip(self) -> bytes:
        return self.chain.tip.hash

    @property
    def height(self) -> int:
        return self.chain.tip.height

    async def post(self, event: ev.Event) -> None:
        self.posted.append(event)
        await self.driver.post(event)

    def faults(self) -> dict[str, int]:
        return {str(reason): count for reason, count in self.scores.faults.items() if count}


@dataclass
class _Owner:
    params: ChainParams
    chain: StoredChain

    @property
    def headers(self) -> HeaderChain:
        return self.chain.headers

    async def post(self, event: ev.Event) -> None:
        raise NotImplementedError


@asynccontextmanager
async def node(
    street: bp.Street, params: ChainParams = REGTEST, *, mesh: Source | None = None, **settings: Any
) -> AsyncIterator[Node]:
    """Running, connected to every house of ``street``. ``mesh``: asked for the peers that are not of Bitcoin's wire."""
    chain, scores = open_chain(params), ScoreBoard()
    settings.setdefault("connect", list(street.houses))
    served = Served(_Owner(params, chain))
    async with wire(street, provider=served, scores=scores, **settings) as net:
        source = WireSource(params, lambda: net, lambda: chain.headers)
        proven = None
        if mesh is not None:
            proven = ProvenMesh(
                params,
                mesh,
                lambda: chain.headers,
                minimum=lambda: any(not known.inbound for known in source.peers.values()),
                chosen=lambda peer: peer.startswith("chosen"),
                tell=lambda event: made.post(event),
                clock=wall,
            )
        routed = source if proven is None else Routed(proven, {PREFIX: source})
        driver = Driver(chain, routed, jitter=random.Random(3).random, clock=wall)
        made: Node
        pump = Pump(net, source, _Ear(lambda event: made.post(event)), clock=wall)
        made = Node(params, chain, scores, [], driver, net, source, pump, proven)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.run)
            nursery.start_soon(pump.run)
            if proven is not None:
                nursery.start_soon(proven.run)
            yield made
            nursery.cancel_scope.cancel()


@dataclass
class _Ear:
    take: Callable[[ev.Event], Awaitable[None]]

    async def post(self, event: ev.Event) -> None:
        await self.take(event)


def street_of(*houses: bp.House) -> bp.Street:
    """At 11.1.1.1:18444, 12.1.1.1:18444, and so on."""
    street = bp.Street()
    for number, house in enumerate(houses):
        street.houses[f"{11 + number}.1.1.1:18444"] = house
    return street
