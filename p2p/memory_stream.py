"""Links and streams of the simulated network: bytes that take time and room, on trio's clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

import trio

from p2p.port import StreamClosed

CHUNK: Final = 65_536
"""Bytes that travel as one piece."""


class _Mark(Enum):
    """What can be under way beside data."""

    END = auto()
    RESET = auto()


@dataclass(slots=True, eq=False)
class Link:
    """The way between two hosts, shared by all their streams. Fields may be changed at any time."""

    latency: float
    """Seconds, one way."""
    bandwidth: float
    """Bytes a second, each way."""
    window: int
    """Unread bytes of one stream in one direction, those under way included, after which its writer waits."""
    up: bool = True
    _free_at: dict[str, float] = field(default_factory=dict)
    _flowing: trio.Event | None = None

    def freeze(self) -> None:
        """From now on nothing arrives."""
        if self._flowing is None:
            self._flowing = trio.Event()

    def thaw(self) -> None:
        """Everything that is due arrives."""
        if self._flowing is not None:
            self._flowing.set()
            self._flowing = None

    async def flowing(self) -> None:
        """Wait while the link is frozen."""
        while self._flowing is not None:
            await self._flowing.wait()

    def arrival(self, sender: str, size: int) -> float:
        """When ``size`` bytes that ``sender`` sends now will be there; they occupy its direction
        until they left."""
        left_at = max(trio.current_time(), self._free_at.get(sender, 0.0)) + size / self.bandwidth
        self._free_at[sender] = left_at
        return left_at + self.latency


class _Half:
    """One direction of a stream."""

    def __init__(self, link: Link, sender: str) -> None:
        self.link = link
        self.sender = sender
        self.queue: deque[tuple[float, memoryview | _Mark]] = deque()
        self.buffered = 0
        self.finished = False
        """The writer has closed it."""
        self.ended = False
        """The reader has seen its end."""
        self.broken = False
        self._lot = trio.lowlevel.ParkingLot()

    async def put(self, data: memoryview) -> None:
        while not self.broken and not self.finished and self.buffered >= self.link.window:
            await self._lot.park()
        if self.broken or self.finished:
            await self.link.flowing()  # news of a reset does not pass a frozen link either
            raise StreamClosed("stream is closed")
        self.buffered += len(data)
        self._send(data, len(data))

    def mark(self, mark: _Mark) -> None:
        if not self.finished:
            self.finished = True
            self._send(mark, 0)

    def _send(self, item: memoryview | _Mark, size: int) -> None:
        self.queue.append((self.link.arrival(self.sender, size), item))
        self._lot.unpark_all()

    def break_(self) -> None:
        self.broken = True
        self.queue.clear()
        self.buffered = 0
        self._lot.unpark_all()

    async def take(self, limit: int) -> memoryview | None:
        """Up to ``limit`` bytes as soon as some are there; None at the end; StreamClosed after a reset."""
        while True:
            await self.link.flowing()
            if self.broken:
                raise StreamClosed("stream was reset")
            if self.ended:
                return None
            wait_until = self.queue[0][0] if self.queue else float("inf")
            if wait_until <= trio.current_time():
                return self._pop(limit)
            with trio.move_on_at(wait_until):
                await self._lot.park()

    def _pop(self, limit: int) -> memoryview | None:
        at, item = self.queue.popleft()
        if item is _Mark.RESET:
            self.break_()
            raise StreamClosed("stream was reset")
        if isinstance(item, _Mark):
            self.ended = True
            return None
        if len(item) > limit:
            self.queue.appendleft((at, item[limit:]))
            item = item[:limit]
        self.buffered -= len(item)
        self._lot.unpark_all()
        return item


class MemoryStream:
    """One end of a stream; see ``p2p.port.Stream``. ``count(received, sent)`` hears of every payload byte."""

    def __init__(
        self, peer: str, protocol: str, inward: _Half, outward: _Half, count: Callable[[int, int], None]
    ) -> None:
        self.peer = peer
        self.protocol = protocol
        self._in = inward
        self._out = outward
        self._count = count

    @property
    def unread(self) -> int:
        """Bytes that the other end has written and this end has not read: what the connection holds
        for it."""
        return self._in.buffered

    @property
    def dead(self) -> bool:
        """Nothing can travel on it any more."""
        return (self._in.broken or self._in.ended) and (self._out.broken or self._out.finished)

    async def read_exactly(self, count: int) -> bytes:
        """See ``Stream``."""
        await trio.lowlevel.checkpoint()
        parts: list[memoryview] = []
        missing = count
        while missing:
            part = await self._in.take(missing)
            if part is None:
                raise StreamClosed(f"stream ended {missing} bytes short of {count}", clean=missing == count)
            parts.append(part)
            missing -= len(part)
        self._count(count, 0)
        return b"".join(parts)

    async def write(self, data: bytes) -> None:
        """See ``Stream``."""
        await trio.lowlevel.checkpoint()
        view = memoryview(data)
        for start in range(0, len(view), CHUNK):
            chunk = view[start : start + CHUNK]
            await self._out.put(chunk)
            self._count(0, len(chunk))

    async def close(self) -> None:
        """See ``Stream``."""
        await trio.lowlevel.checkpoint()
        self._out.mark(_Mark.END)

    async def reset(self) -> None:
        """See ``Stream``."""
        await trio.lowlevel.checkpoint()
        self._out.mark(_Mark.RESET)
        self._in.break_()

    def lose(self) -> None:
        """The connection is gone."""
        self._in.break_()
        self._out.break_()


def stream_pair(
    link: Link,
    protocol: str,
    opener: tuple[str, Callable[[int, int], None]],
    acceptor: tuple[str, Callable[[int, int], None]],
) -> tuple[MemoryStream, MemoryStream]:
    """Both ends of a new stream of ``protocol``; the last two are the (peer id, byte counter) of one host each."""
    forth, back = _Half(link, opener[0]), _Half(link, acceptor[0])
    return (
        MemoryStream(acceptor[0], protocol, back, forth, opener[1]),
        MemoryStream(opener[0], protocol, forth, back, acceptor[1]),
    )
