"""Peers of Bitcoin's network that can be mixed: honest ones, and liars of every kind. Sans-IO but for a stream that is
given to them, real framing and either transport; they believe nothing. ``Street`` has them live at addresses and is a
way out (``dialing.Dial``) for the node under test."""

from __future__ import annotations

import secrets
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256

import trio
import trio.testing
from btc_lines import Line, Pace

from merkle.hashing import sha256d_headers
from p2p.bitcoin import ellswift
from p2p.bitcoin import messages as m
from p2p.bitcoin.dialing import Target
from p2p.bitcoin.framing import HEADER
from p2p.bitcoin.net import Started
from p2p.bitcoin.netaddr import Endpoint, Network
from p2p.bitcoin.payloads import NOWHERE
from p2p.bitcoin.v2 import Transport, V1Transport, V2Transport
from p2p.faults import RemoteFault
from p2p.port import DialFailed
from spvnode.bitcoin.params import REGTEST

MAGIC = REGTEST.magic
GENESIS = REGTEST.genesis_header
FULL = 2_000


def hash_of(header: bytes) -> bytes:
    return sha256(sha256(header).digest()).digest()


@lru_cache(maxsize=64)
def places_of(chain: bytes) -> dict[bytes, int]:
    """Heights by hash; genesis is there too."""
    digests = sha256d_headers(chain)
    heights = {digests[at : at + 32]: at // 32 + 1 for at in range(0, len(digests), 32)}
    return {hash_of(GENESIS): 0} | heights


class Left(Exception):
    """The node has hung up, or sent what is no message."""


@dataclass
class Remote:
    """One connection, from the other side. ``chain`` is n * 80 bytes from height 1 on."""

    stream: trio.abc.Stream
    transport: Transport
    chain: bytes = b""
    claims: int | None = None
    """Height in its ``version``; the chain's own if None."""
    services: int = int(m.Services.NETWORK | m.Services.WITNESS)
    heard: list[m.Message] = field(default_factory=list)
    _inbox: deque[m.Message] = field(default_factory=deque)

    @property
    def height(self) -> int:
        return len(self.chain) // 80

    async def send(self, *messages: m.Spoken) -> None:
        for message in messages:
            await self.raw(self.transport.encode(message))

    async def raw(self, data: bytes) -> None:
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Left from None

    async def receive(self) -> m.Message:
        while not self._inbox:
            await self._more()
        message = self._inbox.popleft()
        self.heard.append(message)
        return message

    async def _more(self) -> None:
        try:
            data = await self.stream.receive_some(65_536)
            if not data:
                raise Left
            for fed in self.transport.feed(bytes(data)):
                if isinstance(fed, RemoteFault):
                    raise Left
                self._inbox.append(fed)
            await self.stream.send_all(self.transport.outgoing())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Left from None

    async def wait_for(self, kind: type[m.Message]) -> m.Message:
        while True:
            message = await self.receive()
            if isinstance(message, kind):
                return message

    def version(self) -> m.Version:
        height = self.height if self.claims is None else self.claims
        nonce = secrets.randbits(64)
        return m.Version(70_016, self.services, 0, NOWHERE, 0, NOWHERE, 0, nonce, "/other:1/", height, False)

    async def shake(self) -> None:
        await self.wait_for(m.Version)
        await self.send(self.version(), m.Verack())
        await self.wait_for(m.Verack)

    def headers_after(self, request: m.GetHeaders) -> bytes:
        """As Core answers: after the first hash that is on the chain, from genesis where none is."""
        places = places_of(self.chain)
        if not request.locator:
            at = places.get(request.stop, 0)
            return self.chain[(at - 1) * 80 : at * 80] if at else b""
        after = next((places[one] for one in request.locator if one in places), 0)
        return self.chain[after * 80 : (after + FULL) * 80]

    async def answer(self, message: m.Message) -> None:
        """What an honest node says to it."""
        match message:
            case m.Ping(nonce):
                await self.send(m.Pong(nonce))
            case m.GetHeaders():
                await self.send(m.Headers(self.headers_after(message)))
            case _:
                pass


Behaviour = Callable[[Remote], Awaitable[None]]


@dataclass
class House:
    """Who answers at one address."""

    behaviour: Behaviour
    v2: bool = False
    patient: bool = False
    """A v1 node that waits instead of hanging up on a v2 key."""
    chain: bytes = b""
    claims: int | None = None
    shakes: bool = True
    services: int = int(m.Services.NETWORK | m.Services.WITNESS)
    magic: bytes = MAGIC
    pace: Pace | None = None
    """Of the line to it; None: no time passes on it."""
    remotes: list[Remote] = field(default_factory=list)


class Street:
    """``houses`` by HOST:PORT. ``run`` it; ``dials`` counts who was dialed."""

    def __init__(self, *, pair: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]] | None = None) -> None:
        self.houses: dict[str, House] = {}
        self.dials: Counter[str] = Counter()
        self._pair = pair or trio.testing.memory_stream_pair
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: Started = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def __call__(self, target: Target) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.dials[str(target)] += 1
        house = self.houses.get(str(target))
        if house is None or self._nursery is None:
            raise DialFailed(f"nobody at {target}")
        ours, theirs = self._pair() if house.pace is None else Line(house.pace, self._nursery).streams()
        self._nursery.start_soon(self._live, house, theirs)
        return ours

    async def _live(self, house: House, stream: trio.abc.Stream) -> None:
        transport: Transport = V1Transport(house.magic)
        if house.v2:
            secret, randomness = ellswift.new_secret(), secrets.token_bytes(32)
            transport = V2Transport(house.magic, initiator=False, secret=secret, randomness=randomness)
        remote = Remote(stream, transport, house.chain, house.claims, house.services)
        house.remotes.append(remote)
        try:
            if house.shakes:
                await remote.shake()
            await house.behaviour(remote)
        except* Left:
            if house.patient:
                await trio.sleep_forever()
        finally:
            await trio.aclose_forcefully(stream)


def endpoint(text: str) -> Endpoint:
    """Of an IPv4 HOST:PORT."""
    host, _, port = text.partition(":")
    return Endpoint(Network.IPV4, bytes(int(part) for part in host.split(".")), int(port))


# Honest, or nearly.


async def honest(remote: Remote) -> None:
    """Answers as Core does, with an empty message where it has nothing."""
    while True:
        await remote.answer(await remote.receive())


async def like_bcoin(remote: Remote) -> None:
    """Says nothing where it has nothing."""
    while True:
        message = await remote.receive()
        if not isinstance(message, m.GetHeaders) or remote.headers_after(message):
            await remote.answer(message)


async def unsynced(remote: Remote) -> None:
    """A node that thinks that it is itself syncing: ignores getheaders, is otherwise polite."""
    while True:
        message = await remote.receive()
        if not isinstance(message, m.GetHeaders):
            await remote.answer(message)


# Time.


async def silent(remote: Remote) -> None:
    """Takes everything and never says a word."""
    while True:
        await remote.receive()


async def deaf(remote: Remote) -> None:
    """Does not even read."""
    await trio.sleep_forever()


async def dripping_bytes(remote: Remote) -> None:
    """Answers at a byte a second."""
    request = await remote.wait_for(m.GetHeaders)
    assert isinstance(request, m.GetHeaders)
    for byte in remote.transport.encode(m.Headers(remote.headers_after(request) or remote.chain[:80])):
        await remote.raw(bytes((byte,)))
        await trio.sleep(1)


async def dripping_news(remote: Remote) -> None:
    """Announces a block at a byte a second, and answers nothing."""
    for byte in remote.transport.encode(m.Headers(remote.chain[-8 * 80 :])):
        await remote.raw(bytes((byte,)))
        await trio.sleep(1)


async def dripping_nonsense(remote: Remote) -> None:
    """A message that nobody asked for, of 4 MB, at a byte a second."""
    await remote.raw(HEADER.pack(MAGIC, b"tx", 4_000_000, bytes(4)))
    while True:
        await remote.raw(b"x")
        await trio.sleep(1)


async def dripping_headers(remote: Remote) -> None:
    """One header an answer."""
    while True:
        message = await remote.receive()
        if isinstance(message, m.GetHeaders):
            await remote.send(m.Headers(remote.headers_after(message)[:80]))
        else:
            await remote.answer(message)


async def slow(remote: Remote) -> None:
    """Half a minute late."""
    while True:
        message = await remote.receive()
        if isinstance(message, m.GetHeaders):
            await trio.sleep(30)
        await remote.answer(message)


# Frames.


async def garbage(remote: Remote) -> None:
    """Bytes of another protocol."""
    await remote.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
    await trio.sleep_forever()


async def oversized(remote: Remote) -> None:
    """Announces 4 GiB of headers and begins to send them."""
    await remote.raw(MAGIC + b"headers\0\0\0\0\0" + b"\xff\xff\xff\xff" + bytes(4))
    while True:
        await remote.raw(bytes(65_536))
        await trio.sleep(0.01)


async def truncated(remote: Remote) -> None:
    """Hangs up in the middle of an answer."""
    await remote.wait_for(m.GetHeaders)
    await remote.raw(remote.transport.encode(m.Headers(remote.chain[:800]))[:100])


async def false_checksum(remote: Remote) -> None:
    """One bit of an answer."""
    await remote.wait_for(m.GetHeaders)
    data = bytearray(remote.transport.encode(m.Headers(remote.chain[:800])))
    data[-1] ^= 1
    await remote.raw(bytes(data))
    await trio.sleep_forever()


# Manners.


async def leaving(remote: Remote) -> None:
    """Hangs up as soon as the handshake is over."""


async def versions(remote: Remote) -> None:
    """Introduces itself again and again."""
    while True:
        await remote.send(remote.version())
        await trio.lowlevel.checkpoint()


async def flooding(remote: Remote) -> None:
    """Pings without end."""
    while True:
        await remote.send(*(m.Ping(number) for number in range(100)))
        await trio.sleep(0.01)


async def unknown_flood(remote: Remote) -> None:
    """Megabytes that nobody asked for."""
    while True:
        await remote.send(m.Inv(m.inventory_row(m.InvKind.TX, bytes(32)) * 50_000))
        await trio.sleep(0.1)


def addresses(count: int) -> tuple[m.Address, ...]:
    """Of one group, as an attacker has them."""
    hosts = (bytes((93, 184, number >> 8 & 255, number & 255)) for number in range(count))
    return tuple(m.Address(2_000_000_000, 1, Endpoint(Network.IPV4, host, 8_333)) for host in hosts)


async def addr_flood(remote: Remote) -> None:
    """A thousand addresses at a time."""
    while True:
        await remote.send(m.Addr(addresses(1_000)))
        message = await remote.receive()
        await remote.answer(message)
        await trio.sleep(1)


# Content.


def announcing(headers: bytes, *, pause: float = 1.0) -> Behaviour:
    """Answers honestly of ``chain``, and announces ``headers`` again and again."""

    async def behaviour(remote: Remote) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(honest, remote)
            while True:
                await remote.send(m.Headers(headers))
                await trio.sleep(pause)

    return behaviour


async def fake_invs(remote: Remote) -> None:
    """Announces blocks that nobody has."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(honest, remote)
        while True:
            await remote.send(m.Inv(m.inventory_row(m.InvKind.BLOCK, secrets.token_bytes(32))))
            await trio.sleep(0.5)


def switching(first: bytes, second: bytes, after: int) -> Behaviour:
    """Shows ``first`` for ``after`` requests of headers, then ``second``: a forger who hopes for one look."""

    async def behaviour(remote: Remote) -> None:
        asked = 0
        while True:
            message = await remote.receive()
            if isinstance(message, m.GetHeaders):
                asked += 1
                remote.chain = first if asked <= after else second
            await remote.answer(message)

    return behaviour


def equivocating(*chains: bytes) -> Behaviour:
    """Another chain with every connection."""
    turn = iter(chains)

    async def behaviour(remote: Remote) -> None:
        remote.chain = next(turn, chains[-1])
        await honest(remote)

    return behaviour
