"""Multiplexers over two ends of a pipe in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

import trio
import trio.testing

import p2p.host.fences  # noqa: F401 - makes libp2p importable the light way

# isort: split

from p2p.host.fences.muxer import MuxedConnection
from p2p.host.fences.wire import WireError
from p2p.host.limits import Limits
from p2p.host.unread import UnreadBudget

Conn = TypeVar("Conn", bound=MuxedConnection[Any])


class MemoryWire:
    """What NoiseWire is to a connection, without noise: messages in, messages out."""

    def __init__(self) -> None:
        self.send_to, self._incoming = trio.open_memory_channel[bytes](64)
        self.remote: MemoryWire | None = None
        self.sent: list[bytes] = []
        self.holds = trio.Event()
        self.holds.set()

    async def receive(self) -> list[bytes]:
        try:
            return [await self._incoming.receive()]
        except (trio.EndOfChannel, trio.ClosedResourceError) as error:
            raise WireError("closed by the remote") from error

    async def send(self, plaintexts: list[bytes]) -> None:
        await self.holds.wait()
        for message in plaintexts:
            self.sent.append(message)
            if self.remote is not None:
                try:
                    await self.remote.send_to.send(message)
                except trio.BrokenResourceError as error:
                    raise WireError("connection lost") from error

    def abort(self) -> None:
        self._incoming.close()
        if self.remote is not None:
            self.remote.send_to.close()


Wire = TypeVar("Wire", bound=MemoryWire)


def end_of(
    kind: type[Conn], wire: MemoryWire, *, initiator: bool, limits: Limits, budget: UnreadBudget | None = None
) -> Conn:
    session: Any = SimpleNamespace(is_initiator=initiator)
    return kind(session, "peer", wire, limits, budget or UnreadBudget(limits.unread_total))  # type: ignore[arg-type]


@asynccontextmanager
async def pair(kind: type[Conn], wire: type[MemoryWire], limits: Limits) -> AsyncIterator[tuple[Conn, Conn]]:
    """Two ends of one connection, running."""
    wires = wire(), wire()
    wires[0].remote, wires[1].remote = wires[1], wires[0]
    here, there = (end_of(kind, wire, initiator=end == 0, limits=limits) for end, wire in enumerate(wires))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.start)
        nursery.start_soon(there.start)
        await here.event_started.wait()
        await there.event_started.wait()
        yield here, there
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def alone(kind: type[Conn], wire: type[Wire], limits: Limits) -> AsyncIterator[tuple[Conn, Wire]]:
    """One end, whose remote is the test."""
    ours = wire()
    conn = end_of(kind, ours, initiator=False, limits=limits)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conn.start)
        await conn.event_started.wait()
        yield conn, ours
        nursery.cancel_scope.cancel()


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()
