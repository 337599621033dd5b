"""Nodes of the beacon wire over the simulated network, serving objects that obey no consensus rule: the wire looks into
none."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from p2p.addressbook import AddressBook
from p2p.beacon.events import BeaconEvent
from p2p.beacon.messages import Status
from p2p.beacon.provider import Chunk, Gossip, GossipName, KindName
from p2p.beacon.service import BeaconNet
from p2p.memory import MemoryHost, MemoryNetwork
from p2p.score import ScoreBoard
from tests.support.mesh import in_place, wall

NET = "devnet"
DIGEST = bytes.fromhex("8c9f62fe")
NEXT_DIGEST = bytes.fromhex("01020304")
SIZES: dict[KindName, int] = {"bootstrap": 25_700, "update": 26_900, "finality": 2_200, "optimistic": 1_100}


class ListProvider:
    """A ``Provider`` over random objects, the same for the same ``seed``."""

    def __init__(self, periods: int = 8, *, seed: int = 1, base: int = 100) -> None:
        rng = random.Random(seed)
        self.base = base
        self.digest = DIGEST
        self.known = {DIGEST, NEXT_DIGEST}
        self.digests: list[bytes] = [DIGEST]
        self.chunks = [Chunk(DIGEST, rng.randbytes(SIZES["update"] - 500)) for _ in range(periods)]
        self.bootstraps = {bytes(32): Chunk(DIGEST, rng.randbytes(20_000))}
        self.finality: Chunk | None = Chunk(DIGEST, rng.randbytes(2_000))
        self.optimistic: Chunk | None = Chunk(DIGEST, rng.randbytes(1_000))
        self.head_slot = 5_000
        self.verdict = Gossip.ACCEPT
        self.judged: list[tuple[GossipName, bytes, bytes]] = []
        self.asked: list[tuple[int, int]] = []

    def status(self) -> Status:
        return Status(self.digest, b"f" * 32, self.base + len(self.chunks), b"h" * 32, self.head_slot, 0)

    def accepts(self, status: Status) -> str | None:
        return None if status.fork_digest == self.digest else f"fork digest {status.fork_digest.hex()}"

    def topic_digests(self) -> Sequence[bytes]:
        return self.digests

    def enr_fork_id(self) -> bytes:
        return self.digest + bytes(12)

    def max_size(self, kind_name: KindName, digest: bytes) -> int | None:
        return SIZES[kind_name] if digest in self.known else None

    def bootstrap(self, root: bytes) -> Chunk | None:
        return self.bootstraps.get(root)

    def updates(self, start_period: int, count: int) -> Sequence[Chunk]:
        self.asked.append((start_period, count))
        if start_period < self.base:
            return []
        return self.chunks[start_period - self.base :][:count]

    def finality_update(self) -> Chunk | None:
        return self.finality

    def optimistic_update(self) -> Chunk | None:
        return self.optimistic

    def judge(self, name: GossipName, digest: bytes, ssz: bytes) -> Gossip:
        self.judged.append((name, digest, ssz))
        return self.verdict


@dataclass(slots=True)
class Node:
    """A running node and everything that it was told."""

    name: str
    host: MemoryHost
    net: BeaconNet
    provider: Any
    scores: ScoreBoard
    seen: list[BeaconEvent]
    _news: trio.Event = field(default_factory=trio.Event)
    _collecting: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def wait_for(self, wanted: Callable[[BeaconEvent], bool]) -> BeaconEvent:
        """The first event, past or future, that fits; trio.TooSlowError after a simulated hour."""
        with trio.fail_after(3_600):
            while True:
                for event in self.seen:
                    if wanted(event):
                        return event
                await self._news.wait()
        raise AssertionError

    async def collect(self) -> None:
        with self._collecting:
            async for event in self.net.events:
                self.seen.append(event)
                self._news.set()
                self._news = trio.Event()

    def stop_collecting(self) -> None:
        """From now on events stay in the wire's queue, for another reader."""
        self._collecting.cancel()

    def count(self, kind: type[BeaconEvent]) -> int:
        return sum(isinstance(event, kind) for event in self.seen)


@asynccontextmanager
async def node(
    network: MemoryNetwork,
    name: str,
    provider: Any,
    *,
    static: Sequence[str] = (),
    scores: ScoreBoard | None = None,
    **settings: Any,
) -> AsyncIterator[Node]:
    """A node with its wire running. Unix time is trio's plus 1.7e9, so that a mock clock moves both."""
    async with network.host(name) as host, trio.open_nursery() as nursery:
        scores = ScoreBoard() if scores is None else scores
        settings.setdefault("book", AddressBook(rng=random.Random(name)))
        net = BeaconNet(
            host,
            provider,
            scores,
            static=static,
            network=NET,
            wall=wall,
            rng=random.Random(name),
            offload=in_place,
            **settings,
        )
        running = Node(name, host, net, provider, scores, [])
        await nursery.start(net.run)
        nursery.start_soon(running.collect)
        yield running
        nursery.cancel_scope.cancel()
