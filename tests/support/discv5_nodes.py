"""Discovery nodes for tests: keys, records, our own nodes on loopback, and one whose every packet a test decides."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from p2p.discv5 import Discovery, Enr, make_enr
from p2p.discv5 import messages as wire
from p2p.discv5.endpoint import Endpoint, packed_host
from p2p.discv5.fields import from_int
from p2p.discv5.messages import Message
from p2p.discv5.session import Delivered, Opened, Outgoing, Sessions
from p2p.discv5.socket import UdpSocket
from p2p.discv5.table import Node

FORK = bytes.fromhex("8cdad60305000001000a000000000000")
OTHER_FORK = bytes.fromhex("d2f1997f") + FORK[4:]
PATIENCE = 20.0
"""Seconds until something that must happen has failed to."""


def secret(number: int) -> bytes:
    """A private key."""
    return (number + 1).to_bytes(32, "big")


def record(number: int, host: str = "", port: int = 9_000, *, seq: int = 1, **fields: bytes) -> Enr:
    """The record of key ``number``, at ``host`` if it is given."""
    own = {key.encode(): value for key, value in fields.items()}
    if host:
        six = b"6" if ":" in host else b""
        own |= {b"ip" + six: packed_host(host), b"udp" + six: from_int(port)}
    return make_enr(secret(number), seq, own)


def node(number: int, host: str, port: int = 9_000) -> Node:
    """A node as the table holds it."""
    return Node(record(number, host, port), Endpoint(host, port))


def beacon(number: int, host: str, *, fork: bytes = FORK, seq: int = 1) -> Enr:
    """The record of a beacon node."""
    return record(number, host, seq=seq, tcp=from_int(9_000), eth2=fork)


def host_of(number: int) -> str:
    """An address of loopback in a /24 of its own."""
    return f"127.{1 + number // 250}.{number % 250}.1"


def discovery(
    number: int, bootnodes: Sequence[Enr] = (), found: Callable[[Enr], None] = lambda enr: None, **options: Any
) -> Discovery:
    """One of our nodes, on an address of its own."""
    given: dict[str, Any] = {"eth2": lambda: FORK, "accepts": lambda digest: digest == FORK[:4], "tcp": 9_000}
    bind = options.pop("bind", (host_of(number), 0))
    return Discovery(secret(number), bind, bootnodes, found=found, **{**given, **options})


async def start(nursery: trio.Nursery, one: Discovery) -> Discovery:
    """Bring it up."""
    await nursery.start(lambda task_status: one.run(task_status=task_status))
    return one


@asynccontextmanager
async def running(number: int, *args: Any, **options: Any) -> AsyncIterator[Discovery]:
    """One of our nodes, up; as ``discovery``."""
    async with trio.open_nursery() as nursery:
        yield await start(nursery, discovery(number, *args, **options))
        nursery.cancel_scope.cancel()


async def until(probe: Callable[[], bool]) -> None:
    """Wait for what real sockets bring about."""
    with trio.fail_after(PATIENCE):
        while not probe():  # noqa: ASYNC110  a node tells nobody when its table changes
            await trio.sleep(0.01)


class RawNode:
    """A node that does only what a test says, on a socket of its own. Its handshakes are real."""

    def __init__(self, number: int, socket: UdpSocket, fields: dict[str, bytes]) -> None:
        self.socket = socket
        self.enr = record(number, socket.local.host, socket.local.port, **fields)
        self._known: dict[bytes, Enr] = {}
        rng = random.Random(number)
        self.sessions = Sessions(secret(number), lambda: self.enr, self._known.get, rng.randbytes, trio.current_time())

    @classmethod
    @asynccontextmanager
    async def up(cls, number: int, **fields: bytes) -> AsyncIterator[RawNode]:
        """Listening."""
        async with UdpSocket.bound(host_of(number), 0) as socket:
            yield cls(number, socket, fields)

    async def say(self, to: Enr, message: Message) -> None:
        """Send a request or an answer to a node, in a session, which is opened if there is none."""
        at = to.udp_endpoints()[0]
        await self._send(self.sessions.request(to, at, wire.encode(message), trio.current_time()))

    async def hear(self) -> Message:
        """The next message that comes, handshakes being answered meanwhile."""
        with trio.fail_after(PATIENCE):
            while True:
                for event in await self._pump():
                    if isinstance(event, Delivered):
                        return wire.decode(event.message)

    async def raw(self) -> bytes:
        """The next datagram, whatever it is."""
        with trio.fail_after(PATIENCE):
            return (await self.socket.receive(2_048))[0]

    async def _pump(self) -> list[Delivered | Opened]:
        data, at = await self.socket.receive(2_048)
        events = self.sessions.receive(data, at, trio.current_time())
        await self._send([event for event in events if isinstance(event, Outgoing)])
        return [event for event in events if not isinstance(event, Outgoing)]

    async def _send(self, outs: Sequence[Outgoing]) -> None:
        for out in outs:
            await self.socket.send(out.data, out.to)


def book_path(folder: Path) -> Path:
    """Where a node keeps what it knows."""
    return folder / "discv5.json"
