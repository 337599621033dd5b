"""Puts the parts together: swarm, stream handlers and gossip of one identity."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from libp2p.crypto.ed25519 import Ed25519PrivateKey
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.secp256k1 import Secp256k1PrivateKey
from libp2p.host.exceptions import StreamFailure
from libp2p.network.config import ConnectionConfig
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.protocol_muxer.exceptions import MultiselectClientError, MultiselectError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, PROTOCOL_ID_V12
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from p2p.host.admission import Gate
from p2p.host.fences.gossip import message_id
from p2p.host.fences.swarm import MeshSwarm
from p2p.host.fences.table import Parts, StreamHandler
from p2p.host.identity import Identity
from p2p.host.unread import UnreadBudget
from p2p.port import MPLEX, YAMUX, HostConfig

CLOSE_DEADLINE = 3.0
"""Seconds that ending all connections may take when the host stops; then they are cut."""
PRIVATE_KEYS = {"ed25519": Ed25519PrivateKey, "secp256k1": Secp256k1PrivateKey}
"""By key type of the identity."""


class MeshMuxer(MuxerMultistream):  # type: ignore[misc]
    """Makes the multiplexer that the parts name, which stream_muxer/muxer_multistream.py:143 does not."""

    parts: Parts
    budget: UnreadBudget

    async def new_conn(self, conn: Any, peer_id: Any) -> Any:
        """Agree on the multiplexer, then make it."""
        protocol, _ = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        make = {YAMUX: self.parts.muxer, MPLEX: self.parts.mplex}[protocol]
        return self._annotate_connection(make(conn, peer_id, self.budget), conn, protocol)


def _upgrader(keys: KeyPair, parts: Parts, muxers: Sequence[str]) -> TransportUpgrader:
    upgrader = TransportUpgrader(parts.security(keys), {})
    # The class beside each name is upstream's way to say what to make; ours is MeshMuxer.new_conn.
    upgrader.muxer_multistream = MeshMuxer(dict.fromkeys(muxers, Yamux))
    upgrader.muxer_multistream.parts = parts
    upgrader.muxer_multistream.budget = UnreadBudget(parts.limits.unread_total)
    for layer in (upgrader.security_multistream, upgrader.muxer_multistream):
        layer._selector.multiselect = parts.multiselect(dict(layer.multiselect.handlers))
        layer._selector.multiselect_client = parts.multiselect_client()
    return upgrader


class Node:
    """One identity on the network: what upstream calls a host, as far as gossip and we use it."""

    def __init__(self, identity: Identity, parts: Parts, config: HostConfig) -> None:
        private = PRIVATE_KEYS[identity.key_type].from_bytes(identity.seed)
        max_connections = config.max_connections
        keys = KeyPair(private, private.get_public_key())
        self.parts = parts
        self.peer_id = ID.from_pubkey(keys.public_key)
        self.peerstore = PeerStore()
        self.peerstore.add_key_pair(self.peer_id, keys)
        self.multiselect = parts.multiselect({})
        self.multiselect_client = parts.multiselect_client()
        self.swarm: MeshSwarm = parts.swarm(
            self.peer_id,
            self.peerstore,
            _upgrader(keys, parts, config.muxers),
            [parts.transport()],
            # No auto-connector and no pruning: both begin at watermarks.
            connection_config=ConnectionConfig(
                max_connections=max_connections, min_connections=0, low_watermark=0, high_watermark=max_connections
            ),
        )
        self.swarm.limits = parts.limits
        self.swarm.gate = Gate(parts.limits, max_connections)
        self.swarm.set_stream_handler(parts.guard(self._serve))
        self.gossip = parts.gossipsub(
            [PROTOCOL_ID_V12, PROTOCOL_ID_V11],
            degree=parts.gossip.degree,
            degree_low=parts.gossip.degree_low,
            degree_high=parts.gossip.degree_high,
            heartbeat_interval=parts.gossip.heartbeat,  # upstream's default is 120 s; the specification's is 1 s
            spam_protection_enabled=False,  # also counts our own messages, and what we forward
            adaptive_gossip_enabled=False,
            eclipse_protection_enabled=False,
        )
        name = partial(message_id, name=parts.gossip.message_id)
        self.pubsub = parts.pubsub(self, self.gossip, msg_id_constructor=name, **parts.pubsub_options)
        # Gossip hears of connections from us, in order, not from notifees through two queues.
        self.swarm.notifees.clear()

    # What gossip asks of a host.

    def get_id(self) -> ID:
        """Our peer id."""
        return self.peer_id

    def get_public_key(self) -> Any:
        """Of the identity, as identify tells it."""
        return self.peerstore.pubkey(self.peer_id)

    def get_private_key(self) -> Any:
        """Of the identity."""
        return self.peerstore.privkey(self.peer_id)

    def get_network(self) -> MeshSwarm:
        """The swarm."""
        return self.swarm

    def get_peerstore(self) -> PeerStore:
        """Where upstream keeps keys and addresses."""
        return self.peerstore

    def get_mux(self) -> Any:
        """The table of stream protocols."""
        return self.multiselect

    def get_transport_addrs(self) -> list[Multiaddr]:
        """Where we listen, without ``/p2p/``."""
        return [addr for listener in self.swarm.listeners.values() for addr in listener.get_addrs()]

    get_addrs = get_transport_addrs

    def set_stream_handler(self, protocol: str, handler: StreamHandler) -> None:
        """Serve ``protocol`` from now on."""
        self.multiselect.add_handler(protocol, handler)

    async def new_stream(self, peer_id: ID, protocols: Sequence[str]) -> Any:
        """Open a stream and agree on one of ``protocols``; raise StreamFailure or SwarmException."""
        stream = await self.swarm.new_stream(peer_id)
        try:
            agreed = await self.multiselect_client.select_one_of(list(protocols), MultiselectCommunicator(stream))
        except BaseException as error:  # a stream that nobody will use is reset, whatever happened
            with trio.CancelScope(shield=True):
                await stream.reset()
            if isinstance(error, MultiselectClientError):
                raise StreamFailure(str(error)) from error
            raise
        stream.set_protocol(agreed)
        return stream

    async def _serve(self, stream: Any) -> None:
        """Negotiate and handle one stream that a remote opened."""
        try:
            protocol, handler = await self.multiselect.negotiate(MultiselectCommunicator(stream))
        except MultiselectError:
            await stream.reset()
            return
        stream.set_protocol(protocol)
        await handler(stream)
        await stream.close()

    @asynccontextmanager
    async def run(self, listen: Sequence[str]) -> AsyncIterator[None]:
        """Raise ListenError when an address cannot be listened on, and what the body raises, as it is."""
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            for service in (self.swarm, self.pubsub, self.gossip):
                manager = self.parts.manager(service)
                nursery.start_soon(manager.run)
                await manager.wait_started()
            await self.pubsub.wait_until_ready()
            try:
                await self.swarm.listen(*map(Multiaddr, listen))
                yield
            except Exception as error:  # noqa: BLE001 - raised again below, outside the nursery, which would wrap it
                failure = error
            finally:
                with trio.CancelScope(deadline=trio.current_time() + CLOSE_DEADLINE, shield=True):
                    await self.swarm.close()
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
