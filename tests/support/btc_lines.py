"""Lines with a round trip and a rate between simulated peers, and a trio that runs its tasks in the same order each
time: what is measured in simulated time is the same on every machine."""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from trio._core import _run

PIECE = 16_384
"""Bytes that travel together."""


@dataclass(frozen=True)
class Pace:
    """Of a line. ``rate``: bytes a second in each direction."""

    round_trip: float
    rate: float


QUICK = Pace(0.02, 10e6)
"""A liar's, who is near and has nothing else to do."""
LONG_WAY = Pace(0.5, 200e3)
"""An honest peer's, about as through Tor: 1.3 s for a message of 2,000 headers. A hundred of them take as long as
mainnet's 450 on an ordinary line (100 ms, 1 MB/s)."""


class Line:
    """Carries what is written to one end to the other, later."""

    def __init__(self, pace: Pace, nursery: trio.Nursery) -> None:
        self._pace = pace
        self._nursery = nursery

    def streams(self) -> tuple[trio.abc.Stream, trio.abc.Stream]:
        """Both ends."""
        ours, ours_far = trio.testing.memory_stream_pair()
        theirs, theirs_far = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._carry, ours_far, theirs_far)
        self._nursery.start_soon(self._carry, theirs_far, ours_far)
        return ours, theirs

    async def _carry(self, source: trio.abc.ReceiveStream, sink: trio.abc.SendStream) -> None:
        way, underway = trio.open_memory_channel[tuple[float, bytes]](1_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._arrive, underway, sink)
            free = 0.0  # when the line can take the next piece
            async with way:
                try:
                    while data := bytes(await source.receive_some(PIECE)):
                        free = max(free, trio.current_time()) + len(data) / self._pace.rate
                        await way.send((free + self._pace.round_trip / 2, data))
                        await trio.sleep_until(free)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass

    async def _arrive(self, underway: trio.abc.ReceiveChannel[tuple[float, bytes]], sink: trio.abc.SendStream) -> None:
        try:
            async with underway:
                async for due, data in underway:
                    await trio.sleep_until(due)
                    await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await trio.aclose_forcefully(sink)


CHANCE = random.Random(1)
"""What ``one_order`` draws from; seed it to have a run again."""


@pytest.fixture
def one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks run in an order that a seed decides (trio's own switch for it is private, and has no other door), and so
    are salts and nonces."""
    rng = CHANCE
    rng.seed(1)
    monkeypatch.setattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    monkeypatch.setattr(_run, "_r", rng)
    for name, draw in {"token_bytes": rng.randbytes, "randbelow": rng.randrange, "randbits": rng.getrandbits}.items():
        monkeypatch.setattr(secrets, name, draw)
