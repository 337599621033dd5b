"""``p2p.port.Host`` on libp2p: TCP, Noise, Yamux or mplex, identify, ping, gossipsub, behind the fences."""

from __future__ import annotations

# First, because it makes libp2p importable the light way, whoever imports this module.
import p2p.host.fences  # noqa: F401

# isort: split

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
import trio
from libp2p.host.exceptions import StreamFailure
from libp2p.io.exceptions import IOException
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedStreamError
from multiaddr import Multiaddr

from p2p.addresses import parse_address
from p2p.bucket import TokenBucket
from p2p.host.fences import identify
from p2p.host.fences.node import Node
from p2p.host.fences.swarm import MeshConn
from p2p.host.fences.table import ALL, build_parts
from p2p.host.identification import Identification
from p2p.host.identity import load_or_create
from p2p.host.limits import Limits
from p2p.host.listening import multiaddr_of, parse_listen, reachable
from p2p.host.streams import LibP2PStream, Peer
from p2p.host.topics import Topics
from p2p.port import (
    MPLEX,
    YAMUX,
    ConnectionInfo,
    DialFailed,
    HostConfig,
    IdentifiedCallback,
    MessageCallback,
    PeerCallback,
    StreamHandler,
    StreamRefused,
    Validator,
)
from p2p.troubles import cause

log = structlog.get_logger(__name__)


class LibP2PHost:
    """See ``p2p.port.Host``. Made by ``open_host`` only."""

    def __init__(self, node: Node, limits: Limits, agent: str) -> None:
        self._node = node
        self._limits = limits
        self._peers: dict[str, Peer] = {}
        self._dialing: dict[str, trio.Lock] = {}
        self._callbacks: list[PeerCallback] = []
        self._closing = False
        self._identification = Identification(node, limits, agent, self._peers)
        self._topics = Topics(node)
        node.swarm.on_change = self._changed
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
            raise DialFailed(f"{addr}: {cause(error)}") from error

    async def disconnect(self, peer: str) -> None:
        """See ``Host``."""
        known = self._peers.get(peer)
        if known is not None:
            await self._node.swarm.close_peer(known.conn.muxed_conn.peer_id)

    def on_peer(self, callback: PeerCallback) -> None:
        """See ``Host``."""
        self._callbacks.append(callback)

    def on_identified(self, callback: IdentifiedCallback) -> None:
        """See ``Host``."""
        self._identification.callbacks.append(callback)

    def connections(self) -> list[ConnectionInfo]:
        """See ``Host``."""
        return [peer.info() for peer in self._peers.values()]

    def _changed(self, conn: MeshConn, connected: bool) -> None:
        """Called by the swarm within the step in which the connection enters or leaves its table."""
        pubsub, peer_id = self._node.pubsub, conn.muxed_conn.peer_id
        if connected:
            remote = conn.muxed_conn.get_remote_address()
            pushes = TokenBucket(self._limits.identify_push_rate, self._limits.identify_push_burst, trio.current_time())
            peer = self._peers[conn.peer] = Peer(conn, multiaddr_of(*remote) if remote else "", pushes)
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
            self._node.swarm.manager.run_task(self._identification.ask, peer)
        else:
            pubsub._handle_dead_peer(peer_id)

    # Streams.

    async def open_stream(self, peer: str, protocol: str | Sequence[str]) -> LibP2PStream:
        """See ``Host``."""
        wanted = [protocol] if isinstance(protocol, str) else list(protocol)
        known = self._peers.get(peer)
        if known is None:
            raise StreamRefused(f"not connected to {peer}")
        try:
            with trio.fail_after(self._limits.negotiation_deadline):
                stream = await self._node.new_stream(known.conn.muxed_conn.peer_id, wanted)
        except trio.TooSlowError as error:
            raise StreamRefused(f"{', '.join(wanted)}: no answer within the deadline") from error
        except (SwarmException, IOException, MuxedStreamError, StreamFailure) as error:
            raise StreamRefused(f"{', '.join(wanted)}: {cause(error)}") from error
        return LibP2PStream(stream, known)

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        """See ``Host``."""

        async def serve(stream: Any) -> None:
            known = self._peers.get(str(stream.muxed_conn.peer_id))
            if known is not None:
                await handler(LibP2PStream(stream, known))

        new = protocol not in self._node.get_mux().handlers
        self._node.set_stream_handler(protocol, serve)
        if new:
            self._identification.changed()

    async def _serve_ping(self, stream: Any) -> None:
        await identify.serve_ping(stream, self._limits)

    # Gossip.

    async def publish(self, topic: str, data: bytes) -> None:
        """See ``Host``."""
        await self._node.pubsub.publish(topic, data)

    def subscribe(self, topic: str, validator: Validator, on_message: MessageCallback) -> None:
        """See ``Host``."""
        self._topics.join(topic, validator, on_message)

    def unsubscribe(self, topic: str) -> None:
        """See ``Host``."""
        self._topics.leave(topic)

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
    unknown = set(config.muxers) - {YAMUX, MPLEX}
    if unknown or not config.muxers:
        raise ValueError(f"no such stream multiplexer: {', '.join(sorted(unknown)) or 'none is named'}")
    identity = load_or_create(config.identity_path, config.key_type)
    parts = build_parts(limits, ALL - set(without), config.gossip)
    node = Node(identity, parts, config)
    host = LibP2PHost(node, limits, agent)
    async with node.run(config.listen):
        try:
            yield host
        finally:
            host.stop()
