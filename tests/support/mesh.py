"""Mesh nodes over the simulated network, serving headers that obey no consensus rule: the mesh looks into none."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from trio.testing import MockClock

from p2p.addressbook import AddressBook
from p2p.memory import MemoryHost, MemoryNetwork
from p2p.mesh.codec import HEADER_SIZE, MAX_HEADERS, Hello
from p2p.mesh.events import MeshEvent
from p2p.mesh.service import Mesh
from p2p.score import ScoreBoard


def header_hash(header: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(header).digest()).digest()


class ListChain:
    """A ``Provider`` over ``count`` random headers, the same for the same ``seed``."""

    def __init__(self, count: int = 1, *, seed: int = 1, base: int = 0) -> None:
        self._rng = random.Random(seed)
        self.base = base
        self.headers = bytearray(self._rng.randbytes(HEADER_SIZE * count))
        self.genesis = header_hash(bytes(self.headers[:HEADER_SIZE]))

    @property
    def tip_height(self) -> int:
        return len(self.headers) // HEADER_SIZE - 1

    def grow(self, count: int) -> None:
        self.headers += self._rng.randbytes(HEADER_SIZE * count)

    def header(self, height: int) -> bytes:
        return bytes(self.headers[height * HEADER_SIZE : (height + 1) * HEADER_SIZE])

    def hello(self) -> Hello:
        tip = self.tip_height
        return Hello(1, self.genesis, self.base, tip, header_hash(self.header(tip)), tip + 1)

    def headers_range(self, start: int, count: int) -> bytes:
        if start < self.base:
            return b""
        return bytes(self.headers[start * HEADER_SIZE : (start + count) * HEADER_SIZE])

    def headers_after(self, locator: tuple[bytes, ...], count: int) -> tuple[int, bytes] | None:
        heights = {header_hash(self.header(h)): h for h in range(self.base, self.tip_height + 1)}
        for block_hash in locator:
            if block_hash in heights:
                start = heights[block_hash] + 1
                return start, self.headers_range(start, min(count, MAX_HEADERS))
        return None

    def proof(self, height: int, cp_height: int) -> bytes | None:
        return f"{height}/{cp_height}".encode() if cp_height <= self.tip_height else None


@dataclass(slots=True)
class Node:
    """A running mesh node and everything that it was told."""

    name: str
    host: MemoryHost
    mesh: Mesh
    book: AddressBook
    scores: ScoreBoard
    seen: list[MeshEvent]
    _news: trio.Event = field(default_factory=trio.Event)
    _collecting: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def wait_for(self, wanted: Callable[[MeshEvent], bool]) -> MeshEvent:
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
            async for event in self.mesh.events:
                self.seen.append(event)
                self._news.set()
                self._news = trio.Event()

    def stop_collecting(self) -> None:
        """From now on events stay in the mesh's queue."""
        self._collecting.cancel()


@asynccontextmanager
async def node(
    network: MemoryNetwork,
    name: str,
    chains: Mapping[str, Any],
    *,
    static: Sequence[str] = (),
    book: AddressBook | None = None,
    scores: ScoreBoard | None = None,
    check_tip: Callable[[str, int, bytes], bool] = lambda network, height, header: True,
    **settings: Any,
) -> AsyncIterator[Node]:
    """A node with its mesh running. Unix time is trio's plus 1.7e9, so that a mock clock moves both."""
    async with network.host(name) as host, trio.open_nursery() as nursery:
        book = AddressBook(rng=random.Random(name)) if book is None else book
        scores = ScoreBoard() if scores is None else scores
        mesh = Mesh(
            host,
            chains,
            book,
            scores,
            check_tip=check_tip,
            static=static,
            wall=wall,
            rng=random.Random(name),
            offload=in_place,
            **settings,
        )
        running = Node(name, host, mesh, book, scores, [])
        await nursery.start(mesh.run)
        nursery.start_soon(running.collect)
        yield running
        nursery.cancel_scope.cancel()


async def in_place(job: Callable[[], None]) -> None:
    """A simulated clock does not wait for threads."""
    await trio.lowlevel.checkpoint()
    job()


def wall() -> float:
    return 1.7e9 + trio.current_time()


SIMULATED_LIMIT_S = 30 * 86_400


def simulate(main: Callable[[], Awaitable[None]]) -> None:
    """Run with time that jumps whenever everybody waits; trio.TooSlowError after a month of it."""

    async def limited() -> None:
        with trio.fail_after(SIMULATED_LIMIT_S):
            await main()

    trio.run(limited, clock=MockClock(autojump_threshold=0))
