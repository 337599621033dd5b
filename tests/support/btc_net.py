"""A node's wire among simulated peers, on a clock that jumps."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from btc_peers import MAGIC, Street

from p2p.bitcoin.addrman import AddrMan
from p2p.bitcoin.net import BitcoinNet, NetParams
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


def new_book(**more: Any) -> AddrMan:
    return AddrMan(rng=random.Random(1), **more)


@asynccontextmanager
async def wire(street: Street, **settings: Any) -> AsyncIterator[BitcoinNet]:
    """Running; only configured peers unless told otherwise."""
    given: dict[str, Any] = {
        "provider": Nothing(),
        "book": new_book(),
        "scores": ScoreBoard(),
        "outbound": 0,
        "anchors": 0,
        "dial": street,
        "wall": wall,
        "rng": random.Random(2),
        "offload": in_place,
    }
    given.update(settings)
    net = BitcoinNet(PARAMS, **given)
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
