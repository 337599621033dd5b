"""Connections: one task each, one per peer, with an end that everybody is told of.

Upstream's swarm:
    network/swarm.py:2617 runs a connection's tasks in the service at large; one that is cancelled on its way through
        SwarmConn.close leaves the connection in the table, and nobody hears of its end
    network/connection/swarm_connection.py:218 sleeps in close, and the swarm closes one connection after the other
    network/swarm.py:393 starts an auto-connector that dials whatever addresses the peerstore has
Here each connection is one nursery; its last act, whatever ended it, is to leave the table and say so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
import trio
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.net_stream import NetStream, StreamState
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2p.addresses import parse_address
from p2p.host.admission import Gate
from p2p.host.fences.listener import MeshTCPStream
from p2p.host.limits import Limits

log = structlog.get_logger(__name__)

ADDRESS_TTL = 120
"""Seconds for which the peerstore keeps an address that it is given to dial."""
SIMULTANEOUS = 5.0
"""Seconds within which two connections of one pair count as both sides dialing at once."""


class MeshConn(SwarmConn):  # type: ignore[misc]
    """A connection; closing it ends its multiplexer, and the task that runs it does the rest."""

    def __init__(self, muxed_conn: Any, swarm: Any, direction: str) -> None:
        super().__init__(muxed_conn, swarm, direction=direction)
        self.set_transport_info(muxed_conn.get_transport_addresses(), muxed_conn.get_connection_type())
        self.inbound = direction == "inbound"
        self.opened_at = trio.current_time()
        self.peer = str(muxed_conn.peer_id)

    async def _add_stream(self, muxed_stream: Any) -> NetStream:
        """Without an await: a caller that is cancelled between opening a stream and having it would leak it."""
        stream = NetStream(muxed_stream, self, None)
        stream._state = StreamState.OPEN
        self.streams.add(stream)
        return stream

    async def close(self) -> None:
        """End its multiplexer; returns when that is done."""
        if not self.muxed_conn.is_closed:
            await self.muxed_conn.close()


class MeshSwarm(Swarm):  # type: ignore[misc]
    """Keeps the connections. ``on_change`` is called, synchronously, for each that comes and goes."""

    limits: Limits
    gate: Gate
    on_change: Callable[[MeshConn, bool], None]

    async def run(self) -> None:
        """The nursery of all connections, until cancelled."""
        async with trio.open_nursery() as nursery:
            self.background_nursery = nursery
            self.event_background_nursery_created.set()
            await trio.sleep_forever()

    async def add_conn(self, muxed_conn: Any, direction: str = "unknown") -> MeshConn:
        """Run a multiplexed connection; return when its peer is in the table, by this connection or another.

        Raise SwarmException when there is no room.
        """
        conn = MeshConn(muxed_conn, self, direction)
        decided = trio.Event()
        self.manager.run_task(self._run_connection, conn, decided)
        try:
            await decided.wait()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await conn.close()
            raise
        kept = self.connection_of(muxed_conn.peer_id)
        if kept is None:
            raise SwarmException("connection refused or lost at once")
        return kept

    def connection_of(self, peer_id: ID) -> MeshConn | None:
        """The one connection with a peer, or None."""
        conns = self.connections.get(peer_id)
        return conns[0] if conns else None

    async def _run_connection(self, conn: MeshConn, decided: trio.Event) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_muxer, conn, nursery.cancel_scope)
                await conn.muxed_conn.event_started.wait()
                if self._enter(conn):
                    decided.set()
                    await conn.start()  # returns when the connection has ended and all handlers of its streams
                nursery.cancel_scope.cancel()
        finally:
            self._leave(conn)
            decided.set()

    async def _run_muxer(self, conn: MeshConn, scope: trio.CancelScope) -> None:
        try:
            await conn.muxed_conn.start()
        finally:
            self._leave(conn)
        await trio.sleep(self.limits.handler_grace)
        scope.cancel()

    def _enter(self, conn: MeshConn) -> bool:
        peer_id = conn.muxed_conn.peer_id
        old = self.connection_of(peer_id)
        if old is not None:
            if not self._replaces(conn, old):
                return False
            self._leave(old)
            self.manager.run_task(old.close)
        elif len(self.connections) >= self.connection_config.max_connections:
            return False
        self.connections[peer_id] = [conn]
        self.on_change(conn, True)
        return True

    def _leave(self, conn: MeshConn) -> None:
        """At most once per connection that entered."""
        if self.connection_of(conn.muxed_conn.peer_id) is conn:
            del self.connections[conn.muxed_conn.peer_id]
            conn.event_closed.set()
            self.on_change(conn, False)

    def _replaces(self, new: MeshConn, old: MeshConn) -> bool:
        """Both sides must keep the same one of two: the one that the smaller peer id dialed, when both dialed at once.

        Otherwise the newer: its remote has given up the older, which we have not heard of yet.
        """
        if new.inbound == old.inbound or new.opened_at - old.opened_at > SIMULTANEOUS:
            return True
        we_are_smaller = self.self_id.to_bytes() < new.muxed_conn.peer_id.to_bytes()
        return bool(new.inbound != we_are_smaller)

    async def shake_hands(self, raw: RawConnection, peer_id: ID | None) -> Any:
        """Security and multiplexer on a TCP connection (to ``peer_id``; None: from whoever dialed us)."""
        secured = await self.upgrader.upgrade_security(raw, raw.is_initiator, peer_id)
        remote = secured.get_remote_peer()
        if remote == self.self_id:
            raise SwarmException("the remote is this node itself")
        return await self.upgrader.upgrade_connection(secured, remote)

    async def listen(self, *multiaddrs: Multiaddr) -> bool:
        """Raise ListenError for the first address that cannot be listened on; upstream returns False."""
        await self.event_background_nursery_created.wait()
        for maddr in multiaddrs:
            listener = self.transport_manager.get_transports()[0].create_listener(self._listener_handler(maddr))
            listener.background_nursery = self.background_nursery
            await listener.listen(maddr)
            self.listeners[str(maddr)] = listener
        return True

    def _listener_handler(self, maddr: Multiaddr) -> Callable[[Any], Any]:
        async def handler(stream: Any) -> None:
            await self._handle_inbound_connection(stream, maddr)

        return handler

    async def dial(self, peer_id: ID, maddr: Multiaddr) -> None:
        """Connect through the peerstore, as upstream's host does."""
        self.peerstore.add_addrs(peer_id, [maddr], ADDRESS_TTL)
        await self.dial_peer(peer_id)

    async def close(self) -> None:
        """End all connections at once, in the time that one takes."""
        self._closing = True
        for listener in self.listeners.values():
            await listener.close()
        async with trio.open_nursery() as nursery:
            for conn in self.get_connections():
                nursery.start_soon(conn.close)

    async def close_peer(self, peer_id: ID) -> None:
        """End the connection with a peer, if there is one; it has left the table on return."""
        conn = self.connection_of(peer_id)
        if conn is not None:
            await conn.close()
            self._leave(conn)


class Admitting:
    """Mixin: inbound connections are counted by address, before and after their handshake.

    network/swarm.py:2060 waits for the end of the *swarm* with the slot of a connection in hand, so 250 inbound
    connections in a lifetime are all; network/swarm.py:1982 gives a slot to a socket that says nothing, for 10 s.
    """

    async def _handle_inbound_connection(self: Any, stream: Any, maddr: Multiaddr) -> None:
        remote = stream.get_remote_address()
        scope = trio.CancelScope()
        ticket = remote and self.gate.knock(remote[0], scope.cancel, trio.current_time())
        if not ticket:
            await trio.aclose_forcefully(stream.stream)
            return
        try:
            scope.deadline = trio.current_time() + self.limits.handshake_deadline
            muxed = None
            with scope:
                muxed = await self.shake_hands(RawConnection(stream, False), None)
            if muxed is not None and self.gate.promote(ticket):
                await self.add_conn(muxed, "inbound")
                await muxed.event_closed.wait()
        except Exception as error:  # noqa: BLE001
            # Firewall: what a stranger does before it has an identity fails its own connection only.
            log.debug("inbound connection failed", ip=remote[0], error=repr(error))
        finally:
            self.gate.release(ticket)
            await trio.aclose_forcefully(stream.stream)


class DirectDialing:
    """Mixin: a dial is one attempt at the address that was asked for.

    network/swarm.py:936 waits 250 ms after every dial, also after success; network/swarm.py:114 refuses a peer for
    60 s after one failure; network/swarm.py:1588 dials addresses that remotes put into the peerstore, when a stream
    to an unconnected peer is asked for.
    """

    async def dial(self: Any, peer_id: ID, maddr: Multiaddr) -> None:
        """Connect to ``peer_id`` at ``maddr``, once; raise what came in the way."""
        where = parse_address(str(maddr))
        if len(self.connections) >= self.connection_config.max_connections:
            raise SwarmException(f"{len(self.connections)} connections are all that we keep")
        async with self._global_dial_limiter:
            with trio.fail_after(self.limits.dial_deadline):
                stream = MeshTCPStream(await trio.open_tcp_stream(where.host, where.port))
                await self._shake_and_add(stream, peer_id)

    async def _shake_and_add(self: Any, stream: TrioTCPStream, peer_id: ID) -> None:
        try:
            with trio.fail_after(self.limits.handshake_deadline):
                muxed = await self.shake_hands(RawConnection(stream, True), peer_id)
            await self.add_conn(muxed, "outbound")
        except BaseException:  # closing is owed whatever happened, and what happened goes on
            await trio.aclose_forcefully(stream.stream)
            raise

    async def dial_peer(self, peer_id: ID) -> list[MeshConn]:
        """Refuse: nothing but ``dial`` connects."""
        raise SwarmException(f"not connected to {peer_id}")
