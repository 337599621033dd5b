"""A node's wire among simulated peers, on a clock that jumps."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing
from btc_peers import MAGIC, Remote, Street

from p2p.bitcoin import messages as m
from p2p.bitcoin.addrman import AddrMan
from p2p.bitcoin.net import BitcoinNet
from p2p.bitcoin.options import NetParams, Options
from p2p.bitcoin.v2 import V1Transport
from p2p.score import ScoreBoard

PARAMS = NetParams("regtest", MAGIC, 18_444)
WALL = 2_000_000_000.0


def wall() -> float:
    """Unix seconds that go with trio's clock."""
    return WALL + trio.current_time()


async def in_place(job: Callable[[], None]) -> None:
    job()


class Nothing:
    """A provider without headers."""

    tip = 0

    def height(self) -> int:
        return self.tip

    def headers_after(self, locator: Sequence[bytes], stop: bytes, count: int) -> bytes:
        return b""


class Chained(Nothing):
    """Serves ``chain`` from its beginning, whatever is asked for."""

    def __init__(self, chain: bytes) -> None:
        self.chain = chain
        self.tip = len(chain) // 80

    def headers_after(self, locator: Sequence[bytes], stop: bytes, count: int) -> bytes:
        return self.chain[: count * 80]


def new_book(**more: Any) -> AddrMan:
    return AddrMan(rng=random.Random(1), **more)


@asynccontextmanager
async def wire(street: Street, **settings: Any) -> AsyncIterator[BitcoinNet]:
    """Running; only configured peers unless told otherwise."""
    provider, book = settings.pop("provider", None) or Nothing(), settings.pop("book", None)
    scores = settings.pop("scores", None)
    given: dict[str, Any] = {
        "outbound": 0,
        "anchors": 0,
        "dial": street,
        "wall": wall,
        "rng": random.Random(2),
        "offload": in_place,
    }
    given.update(settings)
    net = BitcoinNet(
        PARAMS,
        provider,
        book=new_book() if book is None else book,
        scores=ScoreBoard() if scores is None else scores,
        options=Options(**given),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(street.run)
        await nursery.start(net.run)
        yield net
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], object], seconds: float = 600.0, step: float = 0.05) -> None:
    """Waits, in simulated time; TooSlowError."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - of any state there is
            await trio.sleep(step)


async def dial_in(net: BitcoinNet, nursery: trio.Nursery, host: str, port: int) -> Remote:
    """Somebody dials us, by v1."""
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(net.accept, theirs, host, port)
    remote = Remote(ours, V1Transport(MAGIC))
    await remote.send(remote.version())
    await remote.wait_for(m.Version)
    await remote.wait_for(m.Verack)
    await remote.send(m.Verack())
    return remote
