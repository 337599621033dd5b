"""A simulated network of hosts in one trio run, behind the same port as the libp2p host.

Links have latency, bandwidth and a send window; they can be cut (connections die, dials fail) or frozen
(everything stays connected and nothing arrives). Time is trio's, so a ``MockClock`` makes hours pass at
once. Nothing here draws random numbers: runs differ only by the order in which trio wakes tasks that are
due at the same moment.

The hosts trust each other's identity; everything above the port is the real code.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import structlog
import trio

from p2p.addresses import AddressError, parse_address
from p2p.host.identity import Identity
from p2p.memory_stream import Link, MemoryStream, stream_pair
from p2p.port import (
    ConnectionInfo,
    DialFailed,
    IdentifiedCallback,
    MessageCallback,
    PeerCallback,
    PortError,
    StreamHandler,
    StreamRefused,
    Validator,
    content_id,
)

DIAL_TIMEOUT_S: Final = 10.0
"""A dial, or the opening of a stream, over a frozen link fails after this long."""

MAX_SEEN: Final = 1_024
"""Gossip message ids remembered per host; the network's traffic fills it."""

log = structlog.get_logger(__name__)


def peer_id_of(name: str) -> str:
    """The peer id of the host of that name: stable, and formed as that of an Ed25519 key."""
    public = hashlib.sha256(name.encode()).digest()
    return Identity(seed=b"", public=public).peer_id  # nobody here asks for a signature


def _ip_of(name: str) -> str:
    digest = hashlib.sha256(name.encode()).digest()
    return f"10.{digest[0]}.{digest[1]}.{digest[2]}"


def address_of(name: str) -> str:
    """Where the host of that name listens: a full multiaddr in 10.0.0.0/8."""
    return f"/ip4/{_ip_of(name)}/tcp/4001/p2p/{peer_id_of(name)}"


@dataclass(slots=True, eq=False)
class _Connection:
    dialer: MemoryHost
    listener: MemoryHost
    link: Link
    opened_at: float
    traffic: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Bytes in and out, by host."""
    streams: list[MemoryStream] = field(default_factory=list)
    protocols: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What each host, by peer id, has said that it serves."""

    def other(self, host: MemoryHost) -> MemoryHost:
        return self.listener if host is self.dialer else self.dialer

    def count(self, peer_id: str, received: int, sent: int) -> None:
        total_in, total_out = self.traffic.get(peer_id, (0, 0))
        self.traffic[peer_id] = (total_in + received, total_out + sent)


class MemoryNetwork:
    """Hosts by name, and the links between them. ``latency`` (seconds, one way), ``bandwidth`` (bytes/s
    each way) and ``window`` (unread bytes per stream and direction) are the defaults of every link."""

    def __init__(self, *, latency: float = 0.01, bandwidth: float = math.inf, window: int = 1 << 20) -> None:
        self._default = Link(latency, bandwidth, window)
        self._links: dict[frozenset[str], Link] = {}
        self._hosts: dict[str, MemoryHost] = {}

    @asynccontextmanager
    async def host(self, name: str) -> AsyncIterator[MemoryHost]:
        """A running host. Its connections die with the context; run again under the same name it is
        the same peer at the same address."""
        peer_id = peer_id_of(name)
        if peer_id in self._hosts:
            raise ValueError(f"host {name!r} runs already")
        async with trio.open_nursery() as nursery:
            host = self._hosts[peer_id] = MemoryHost(self, name, nursery)
            try:
                yield host
            finally:
                del self._hosts[peer_id]
                host.shut_down()
                nursery.cancel_scope.cancel()

    def link(self, a: str, b: str) -> Link:
        """The link between two hosts by name; its fields may be changed at any time."""
        return self.link_of(peer_id_of(a), peer_id_of(b))

    def link_of(self, a: str, b: str) -> Link:
        """The same by peer id."""
        return self._links.setdefault(frozenset((a, b)), replace(self._default))

    def cut(self, a: str, b: str) -> None:
        """Connections between the two die, and dials fail, until ``mend``."""
        self.link(a, b).up = False
        host = self._hosts.get(peer_id_of(a))
        if host is not None:
            host.lose(peer_id_of(b))

    def mend(self, a: str, b: str) -> None:
        """Dials between the two work again."""
        self.link(a, b).up = True

    def freeze(self, a: str, b: str) -> None:
        """From now on nothing arrives between the two, and nobody is told, until ``thaw``."""
        self.link(a, b).freeze()

    def thaw(self, a: str, b: str) -> None:
        """What was held back arrives."""
        self.link(a, b).thaw()

    def find(self, peer_id: str) -> MemoryHost | None:
        """The running host of a peer id."""
        return self._hosts.get(peer_id)


class MemoryHost:
    """One host of a ``MemoryNetwork``; see ``p2p.port.Host``."""

    def __init__(self, network: MemoryNetwork, name: str, nursery: trio.Nursery) -> None:
        self._network = network
        self._nursery = nursery
        self._handlers: dict[str, StreamHandler] = {}
        self._callbacks: list[PeerCallback] = []
        self._identified: list[IdentifiedCallback] = []
        self._connections: dict[str, _Connection] = {}
        self._topics: dict[str, tuple[Validator, MessageCallback]] = {}
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self.ip = _ip_of(name)
        self.peer_id = peer_id_of(name)
        self.addrs: Sequence[str] = (address_of(name),)

    async def connect(self, addr: str) -> str:
        """See ``Host``."""
        try:
            peer = parse_address(addr).peer
        except AddressError as error:
            raise DialFailed(str(error)) from None
        if peer == self.peer_id:
            raise DialFailed("that is ourselves")
        link = self._network.link_of(self.peer_id, peer)
        if not await _passes(link, 3):
            raise DialFailed("timed out")
        remote = self._network.find(peer)
        if peer in self._connections:
            return peer
        if remote is None or not link.up or addr not in remote.addrs:
            raise DialFailed("connection refused")
        connection = _Connection(self, remote, link, trio.current_time())
        remote.attach(self, connection)
        self.attach(remote, connection)
        return peer

    async def open_stream(self, peer: str, protocol: str | Sequence[str]) -> MemoryStream:
        """See ``Host``."""
        connection = self._connections.get(peer)
        if connection is None:
            await trio.lowlevel.checkpoint()
            raise StreamRefused("not connected")
        passed = await _passes(connection.link, 2)
        if not passed or self._connections.get(peer) is not connection:
            raise StreamRefused("timed out" if not passed else "connection lost")
        remote = connection.other(self)
        wanted = (protocol,) if isinstance(protocol, str) else protocol
        agreed = next((one for one in wanted if one in remote.protocols), None)
        if agreed is None:
            raise StreamRefused(f"remote has none of {', '.join(wanted)}")
        ours, theirs = stream_pair(
            connection.link,
            agreed,
            (self.peer_id, partial(connection.count, self.peer_id)),
            (remote.peer_id, partial(connection.count, remote.peer_id)),
        )
        connection.streams = [s for s in connection.streams if not s.dead] + [ours, theirs]
        remote.serve(theirs)
        return ours

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        """See ``Host``."""
        new = protocol not in self._handlers
        self._handlers[protocol] = handler
        for connection in self._connections.values() if new else ():
            self._nursery.start_soon(self._identify, connection)

    async def disconnect(self, peer: str) -> None:
        """See ``Host``."""
        await trio.lowlevel.checkpoint()
        self.lose(peer)

    def on_peer(self, callback: PeerCallback) -> None:
        """See ``Host``."""
        self._callbacks.append(callback)

    def on_identified(self, callback: IdentifiedCallback) -> None:
        """See ``Host``."""
        self._identified.append(callback)

    async def publish(self, topic: str, data: bytes) -> None:
        """See ``Host``."""
        await trio.lowlevel.checkpoint()
        self._see(topic, data)
        self._spread(topic, data, None)

    def subscribe(self, topic: str, validator: Validator, on_message: MessageCallback) -> None:
        """See ``Host``."""
        self._topics[topic] = (validator, on_message)

    def unsubscribe(self, topic: str) -> None:
        """See ``Host``."""
        self._topics.pop(topic, None)

    def connections(self) -> list[ConnectionInfo]:
        """See ``Host``."""
        return [self._info(peer, connection) for peer, connection in self._connections.items()]

    def _info(self, peer: str, connection: _Connection) -> ConnectionInfo:
        remote = connection.other(self)
        received, sent = connection.traffic.get(self.peer_id, (0, 0))
        return ConnectionInfo(
            peer=peer,
            addr=self._addr_of(connection),
            inbound=connection.listener is self,
            opened_at=connection.opened_at,
            listen_addrs=tuple(remote.addrs),
            protocols=connection.protocols.get(peer, ()),
            bytes_in=received,
            bytes_out=sent,
        )

    def _addr_of(self, connection: _Connection) -> str:
        port = 4001 if connection.dialer is self else 50_000
        return f"/ip4/{connection.other(self).ip}/tcp/{port}"

    # What the other ends of the simulation call.

    @property
    def protocols(self) -> tuple[str, ...]:
        """What is served here."""
        return tuple(sorted(self._handlers))

    def attach(self, remote: MemoryHost, connection: _Connection) -> None:
        """A connection with ``remote`` stands."""
        self._connections[remote.peer_id] = connection
        self._tell(remote.peer_id, True, connection)
        self._nursery.start_soon(self._identify, connection)

    async def _identify(self, connection: _Connection) -> None:
        """Tell the other end what we serve."""
        protocols = self.protocols
        if await _passes(connection.link, 1):
            connection.other(self).identified(self.peer_id, connection, protocols)

    def identified(self, peer: str, connection: _Connection, protocols: tuple[str, ...]) -> None:
        """The other end of a connection has said what it serves."""
        if self._connections.get(peer) is connection:
            connection.protocols[peer] = protocols
            for callback in self._identified:
                callback(peer)

    def lose(self, peer: str) -> None:
        """Both ends of the connection to ``peer``, if there is one, are told that it is gone."""
        connection = self._connections.get(peer)
        if connection is None:
            return
        for stream in connection.streams:
            stream.lose()
        for host in (connection.dialer, connection.listener):
            host.detach(connection)

    def detach(self, connection: _Connection) -> None:
        """A connection is gone."""
        peer = connection.other(self).peer_id
        if self._connections.pop(peer, None) is not None:
            self._tell(peer, False, connection)

    def _tell(self, peer: str, connected: bool, connection: _Connection) -> None:
        for callback in self._callbacks:
            callback(peer, connected, self._addr_of(connection), connection.listener is self)

    def serve(self, stream: MemoryStream) -> None:
        """Run the handler of the stream's protocol on its accepting end."""
        self._nursery.start_soon(self._serve, self._handlers[stream.protocol], stream)

    async def _serve(self, handler: StreamHandler, stream: MemoryStream) -> None:
        try:
            await handler(stream)
        except PortError:  # the stream broke, and the handler had nothing else to do
            await stream.reset()
        except Exception:  # the firewall that the port promises; nothing is hidden
            log.exception("stream handler failed", peer=stream.peer)
            await stream.reset()
        else:
            await stream.close()

    def shut_down(self) -> None:
        """All connections die."""
        for peer in list(self._connections):
            self.lose(peer)

    def _see(self, topic: str, data: bytes) -> bool:
        """True the first time."""
        message_id = content_id(topic, data)
        if message_id in self._seen:
            return False
        self._seen[message_id] = None
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        return True

    def _spread(self, topic: str, data: bytes, source: str | None) -> None:
        for peer, connection in self._connections.items():
            if peer != source:
                self._nursery.start_soon(self._send_gossip, connection, topic, data)

    async def _send_gossip(self, connection: _Connection, topic: str, data: bytes) -> None:
        remote = connection.other(self)
        if await _passes(connection.link, 1) and self._connections.get(remote.peer_id) is connection:
            remote.gossiped(self.peer_id, topic, data)

    def gossiped(self, forwarder: str, topic: str, data: bytes) -> None:
        """A gossip message arrives."""
        if topic not in self._topics or not self._see(topic, data):
            return
        validator, on_message = self._topics[topic]
        if validator(forwarder, data):
            on_message(forwarder, data)
            self._spread(topic, data, forwarder)


async def _passes(link: Link, trips: int) -> bool:
    """Wait for as many one-way trips; False when the link stays frozen for too long."""
    with trio.move_on_after(DIAL_TIMEOUT_S + trips * link.latency):
        await trio.sleep(trips * link.latency)
        await link.flowing()
        return True
    return False
