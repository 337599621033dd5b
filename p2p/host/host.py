"""``p2p.port.Host`` on libp2p: TCP, Noise, Yamux, identify, ping, gossipsub, behind the fences."""

from __future__ import annotations

# First, because it makes libp2p importable the light way, whoever imports this module.
import p2p.host.fences  # noqa: F401

# isort: split

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
import trio
from libp2p.host.exceptions import StreamFailure
from libp2p.io.exceptions import IOException
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError
from multiaddr import Multiaddr

from p2p.addresses import parse_address
from p2p.host.fences import identify
from p2p.host.fences.node import Node
from p2p.host.fences.swarm import MeshConn
from p2p.host.fences.table import ALL, build_parts
from p2p.host.identity import load_or_create
from p2p.host.limits import Limits
from p2p.host.listening import multiaddr_of, parse_listen, reachable
from p2p.port import (
    ConnectionInfo,
    DialFailed,
    HostConfig,
    MessageCallback,
    PeerCallback,
    StreamClosed,
    StreamHandler,
    StreamRefused,
    Validator,
)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Peer:
    """What we know of a connected peer, from its connection to its end."""

    conn: MeshConn
    addr: str
    said: identify.Identity = identify.NOTHING
    bytes_in: int = 0
    bytes_out: int = 0

    def info(self) -> ConnectionInfo:
        return ConnectionInfo(
            peer=self.conn.peer,
            addr=self.addr,
            inbound=self.conn.inbound,
            opened_at=self.conn.opened_at,
            agent=self.said.agent,
            listen_addrs=self.said.listen_addrs,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
        )


def _why(error: BaseException) -> str:
    """The first cause of an error: libp2p wraps each in one that says less."""
    while error.__cause__ is not None and str(error.__cause__):
        error = error.__cause__
    return str(error) or type(error).__name__


class LibP2PStream:
    """``p2p.port.Stream``. Reads and writes go to the multiplexer directly, past libp2p's bookkeeping of states."""

    def __init__(self, stream: Any, peer: _Peer) -> None:
        self._stream = stream
        self._muxed = stream.muxed_stream
        self._peer = peer

    @property
    def peer(self) -> str:
        """See ``Stream``."""
        return self._peer.conn.peer

    async def read_exactly(self, count: int) -> bytes:
        """See ``Stream``."""
        parts: list[bytes] = []
        left = count
        while left:
            try:
                part = await self._muxed.read(left)
            except (MuxedStreamError, IOException) as error:
                clean = isinstance(error, MuxedStreamEOF) and left == count
                raise StreamClosed(str(error), clean=clean) from error
            parts.append(part)
            left -= len(part)
        self._peer.bytes_in += count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def write(self, data: bytes) -> None:
        """See ``Stream``."""
        try:
            await self._muxed.write(data)
        except (MuxedStreamError, IOException) as error:
            raise StreamClosed(str(error)) from error
        self._peer.bytes_out += len(data)

    async def close(self) -> None:
        """See ``Stream``."""
        await self._stream.close()

    async def reset(self) -> None:
        """See ``Stream``."""
        await self._stream.reset()


class LibP2PHost:
    """See ``p2p.port.Host``. Made by ``open_host`` only."""

    def __init__(self, node: Node, limits: Limits, agent: str) -> None:
        self._node = node
        self._limits = limits
        self._agent = agent
        self._peers: dict[str, _Peer] = {}
        self._dialing: dict[str, trio.Lock] = {}
        self._callbacks: list[PeerCallback] = []
        self._closing = False
        node.swarm.on_change = self._changed
        node.set_stream_handler(identify.IDENTIFY, self._serve_identify)
        node.set_stream_handler(identify.PING, self._serve_ping)

    @property
    def peer_id(self) -> str:
        """See ``Host``."""
        return str(self._node.peer_id)

    @property
    def addrs(self) -> list[str]:
        """See ``Host``."""
        bound = [str(addr) for addr in self._node.get_transport_addrs()]
        return [f"{addr}/p2p/{self.peer_id}" for listener in bound for addr in reachable(listener)]

    # Connections.

    async def connect(self, addr: str) -> str:
        """See ``Host``."""
        try:
            target = parse_address(addr)
            peer_id = ID.from_base58(target.peer)
        except ValueError as error:
            raise DialFailed(str(error)) from error
        if target.peer == self.peer_id:
            raise DialFailed(f"{addr} is this node itself")
        lock = self._dialing.setdefault(target.peer, trio.Lock())
        try:
            async with lock:
                if target.peer not in self._peers:
                    await self._dial(peer_id, str(target))
        finally:
            if not lock.locked():
                self._dialing.pop(target.peer, None)
        return target.peer

    async def _dial(self, peer_id: ID, addr: str) -> None:
        try:
            with trio.fail_after(self._limits.dial_deadline):
                await self._node.swarm.dial(peer_id, Multiaddr(addr))
        except trio.TooSlowError as error:
            raise DialFailed(f"{addr}: no connection within the deadline") from error
        except Exception as error:
            # Firewall: handshake code of three libraries fed by a stranger; whatever it raises, the dial has failed.
            raise DialFailed(f"{addr}: {_why(error)}") from error

    async def disconnect(self, peer: str) -> None:
        """See ``Host``."""
        known = self._peers.get(peer)
        if known is not None:
            await self._node.swarm.close_peer(known.conn.muxed_conn.peer_id)

    def on_peer(self, callback: PeerCallback) -> None:
        """See ``Host``."""
        self._callbacks.append(callback)

    def connections(self) -> list[ConnectionInfo]:
        """See ``Host``."""
        return [peer.info() for peer in self._peers.values()]

    def _changed(self, conn: MeshConn, connected: bool) -> None:
        """Called by the swarm within the step in which the connection enters or leaves its table."""
        pubsub, peer_id = self._node.pubsub, conn.muxed_conn.peer_id
        if connected:
            remote = conn.muxed_conn.get_remote_address()
            peer = self._peers[conn.peer] = _Peer(conn, multiaddr_of(*remote) if remote else "")
        else:
            peer = self._peers.pop(conn.peer)
        if self._closing:
            return
        for callback in self._callbacks:
            try:
                callback(conn.peer, connected, peer.addr, conn.inbound)
            except Exception:
                # Firewall: what listens to us must not decide whether a connection is kept.
                log.exception("peer callback failed", peer=conn.peer)
        if connected:
            pubsub.manager.run_task(pubsub._handle_new_peer_with_retry, peer_id)
            self._node.swarm.manager.run_task(self._identify, peer)
        else:
            pubsub._handle_dead_peer(peer_id)

    # Streams.

    async def open_stream(self, peer: str, protocol: str) -> LibP2PStream:
        """See ``Host``."""
        known = self._peers.get(peer)
        if known is None:
            raise StreamRefused(f"not connected to {peer}")
        try:
            with trio.fail_after(self._limits.negotiation_deadline):
                stream = await self._node.new_stream(known.conn.muxed_conn.peer_id, [protocol])
        except trio.TooSlowError as error:
            raise StreamRefused(f"{protocol}: no answer within the deadline") from error
        except (SwarmException, IOException, MuxedStreamError, StreamFailure) as error:
            raise StreamRefused(f"{protocol}: {_why(error)}") from error
        return LibP2PStream(stream, known)

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        """See ``Host``."""

        async def serve(stream: Any) -> None:
            known = self._peers.get(str(stream.muxed_conn.peer_id))
            if known is not None:
                await handler(LibP2PStream(stream, known))

        self._node.set_stream_handler(protocol, serve)

    async def _serve_identify(self, stream: Any) -> None:
        await stream.write(identify.answer(self._node, self._agent, stream.get_remote_address()))

    async def _serve_ping(self, stream: Any) -> None:
        await identify.serve_ping(stream, self._limits)

    async def _identify(self, peer: _Peer) -> None:
        """Ask a new peer who it says it is. What goes wrong here is no reason to leave it."""
        try:
            with trio.fail_after(self._limits.negotiation_deadline):
                stream = await self._node.new_stream(peer.conn.muxed_conn.peer_id, [identify.IDENTIFY])
                try:
                    peer.said = await identify.ask(stream, peer.conn.peer, self._limits)
                finally:
                    with trio.CancelScope(shield=True):
                        await stream.reset()
        except (trio.TooSlowError, *identify.FAILURES) as error:
            log.debug("peer did not identify itself", peer=peer.conn.peer, error=repr(error))

    # Gossip.

    async def publish(self, topic: str, data: bytes) -> None:
        """See ``Host``."""
        await self._node.pubsub.publish(topic, data)

    def subscribe(self, topic: str, validator: Validator, on_message: MessageCallback) -> None:
        """See ``Host``."""

        def validate_and_deliver(forwarder: ID, message: Any) -> bool:
            if forwarder == self._node.peer_id:
                return True
            if not validator(str(forwarder), message.data):
                return False
            on_message(str(forwarder), message.data)
            return True

        pubsub = self._node.pubsub
        pubsub.set_topic_validator(topic, validate_and_deliver, is_async_validator=False)
        pubsub.manager.run_task(pubsub.subscribe, topic)

    def stop(self) -> None:
        """The host is about to end, and with it all connections: nobody is told of each."""
        self._closing = True


@asynccontextmanager
async def run_host(
    config: HostConfig, limits: Limits, agent: str, without: Collection[str]
) -> AsyncIterator[LibP2PHost]:
    """See ``p2p.host.open_host``."""
    for addr in config.listen:
        parse_listen(addr)
    identity = load_or_create(config.identity_path)
    parts = build_parts(limits, ALL - set(without))
    node = Node(identity.seed, parts, config.max_connections)
    host = LibP2PHost(node, limits, agent)
    async with node.run(config.listen):
        try:
            yield host
        finally:
            host.stop()
