"""The port between the mesh and whatever moves its bytes: a libp2p host (``p2p.host``) or a simulated one
(``p2p.memory``).

A host holds one identity and at most one connection per peer; connections carry streams, each opened for
one protocol id. All methods belong to the trio thread. Peer ids are base58 strings, addresses are multiaddr
strings.

What a remote did (a dial refused, a stream cut) reaches the caller as one of three exceptions, all
``PortError``: they are the only ones that an honest caller must expect, whatever the remote sends. A host
turns every error of its library into one of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias, runtime_checkable

YAMUX: Final = "/yamux/1.0.0"
MPLEX: Final = "/mplex/6.7.0"
"""Stream multiplexers, by protocol id (libp2p specs, yamux/README.md and mplex/README.md)."""

KeyType: TypeAlias = Literal["ed25519", "secp256k1"]
"""Kind of an identity key (libp2p specs, peer-ids/peer-ids.md, "Key Types")."""

MessageId: TypeAlias = Callable[[str, bytes], bytes]
"""(topic, data) of a gossip message -> its id: the same for everybody who sends the same."""


class PortError(Exception):
    """A connection or stream did not do what was asked of it, because of the remote or the network
    between."""


class DialFailed(PortError):
    """No connection: refused, unreachable, timed out, handshake failed, identity differs, or a limit
    was reached."""


class StreamRefused(PortError):
    """No stream: the peer is not connected, or does not speak the protocol, or has no room for one more
    stream."""


class StreamClosed(PortError):
    """The stream ended, by the remote's close or reset, ours, or the loss of the connection.

    ``clean`` is True only for an end of data with no byte of the current read received: a close between
    two messages.
    """

    def __init__(self, detail: str, *, clean: bool = False) -> None:
        super().__init__(detail)
        self.clean = clean


@runtime_checkable
class Stream(Protocol):
    """One ordered byte stream each way. One task may read while one other task writes; no two may do
    the same."""

    @property
    def peer(self) -> str:
        """Peer id of the remote, proven by the handshake."""

    @property
    def protocol(self) -> str:
        """What both sides agreed to speak on it."""

    async def read_exactly(self, count: int) -> bytes:
        """Return exactly ``count`` bytes (the caller bounds it); raise StreamClosed when the stream
        ends first.

        Cancelled in the middle, bytes may be lost: the caller then resets the stream.
        """

    async def write(self, data: bytes) -> None:
        """Hand over all of ``data``, of any length, waiting for room; raise StreamClosed when the
        stream is gone.

        Cancelled in the middle, a part may have been sent: the caller then resets the stream.
        """

    async def close(self) -> None:
        """Finish our direction after what was written; what the remote still sends can be read, so that a request
        may end before its response begins. Never raises a PortError, never waits for the remote long.

        A stream that its remote leaves open and silent after that is reset by the host in the end.
        """

    async def reset(self) -> None:
        """Drop both directions at once. Never raises a PortError, never waits for the remote."""


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """One live connection."""

    peer: str
    addr: str
    """Remote multiaddr without ``/p2p/``; for an inbound connection its port is usually not dialable."""
    inbound: bool
    opened_at: float
    """``trio.current_time()`` when it was made."""
    agent: str = ""
    """What the remote calls its software (libp2p identify); empty until known. Untrusted."""
    listen_addrs: tuple[str, ...] = ()
    """What the remote says it listens on (libp2p identify), full multiaddrs; empty until known. Untrusted."""
    protocols: tuple[str, ...] = ()
    """What the remote says it serves (libp2p identify, and identify push); empty until known. Untrusted, bounded."""
    bytes_in: int = 0
    """Stream payload bytes read from it."""
    bytes_out: int = 0
    """Stream payload bytes written to it."""


def content_id(topic: str, data: bytes) -> bytes:
    """First 20 bytes of SHA-256 over topic, the byte ``|``, and data: the id of a message in the mesh."""
    return hashlib.sha256(topic.encode() + b"|" + data).digest()[:20]


@dataclass(frozen=True, slots=True)
class GossipProfile:
    """How a host gossips: one set of rules for all its topics. The defaults are the mesh's own (libp2p specs,
    gossipsub-v1.0, "Parameters"); where None stands, the host's own limit counts. Times in seconds, sizes in bytes."""

    degree: int = 6
    """Peers in the mesh of a topic (D)."""
    degree_low: int = 4
    """Fewer ask for more (D_low)."""
    degree_high: int = 12
    """More are pruned (D_high)."""
    degree_lazy: int = 6
    """Peers outside the mesh told of messages in each heartbeat, or a quarter of them if that is more (D_lazy)."""
    heartbeat: float = 1.0
    """Between two rounds of mesh upkeep (heartbeat_interval)."""
    history: int = 5
    """Heartbeats for which a message can be asked for (mcache_len)."""
    history_gossip: int = 3
    """Heartbeats for which it is offered (mcache_gossip)."""
    message_id: MessageId = content_id
    """Names a message; called a few times for every message of our topics that peers send, whatever it holds: it must
    bound its own work, and not raise."""
    max_message: int | None = None
    """Longest message as it is on the wire; longer ones are dropped."""
    max_rpc: int | None = None
    """Longest RPC frame; a longer one costs the sender its stream."""
    topics: Callable[[str], bool] | None = None
    """Which topics that peers follow are worth remembering; None: all. Upstream remembers a hundred of each peer,
    and who follows more would be taken to follow what it named first."""
    rate: float | None = None
    burst: int | None = None
    """Frames, messages and subscriptions a second taken from one peer."""


MESH_GOSSIP: Final = GossipProfile()
"""The mesh's own."""


@dataclass(frozen=True, slots=True)
class HostConfig:
    """What a host needs to start. Limits are named constants of the host, not settings."""

    identity_path: Path
    """Private key file; made, mode 0600, when missing."""
    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)
    """Multiaddrs to listen on; empty: dial only."""
    max_connections: int = 64
    """All connections, in and out."""
    key_type: KeyType = "ed25519"
    """Of the key to make, and to expect in the file. Beacon nodes and their ENRs use secp256k1."""
    muxers: tuple[str, ...] = (YAMUX,)
    """Stream multiplexers: offered in this order when we dial, any of them taken from who dials us."""
    gossip: GossipProfile = MESH_GOSSIP


StreamHandler: TypeAlias = Callable[[Stream], Awaitable[None]]
"""Serves one inbound stream; the host runs it in its own task behind a firewall and resets the stream if it
raises."""

PeerCallback: TypeAlias = Callable[[str, bool, str, bool], None]
"""(peer, connected, addr, inbound), on the trio thread, before any handler sees a stream of that peer."""

IdentifiedCallback: TypeAlias = Callable[[str], None]
"""(peer), on the trio thread: what ``connections`` has of its agent, addresses and protocols is new."""

Validator: TypeAlias = Callable[[str, bytes], bool]
"""(forwarding peer, data) -> relay and deliver it? Quick and synchronous. False costs the forwarder nothing here."""

MessageCallback: TypeAlias = Callable[[str, bytes], None]
"""(forwarding peer, data) of a gossip message that its validator let pass, once per message id. Must not
block."""


@runtime_checkable
class Host(Protocol):
    """One libp2p node, already running; it stops when the context that opened it ends."""

    @property
    def peer_id(self) -> str:
        """Our own, base58."""

    @property
    def addrs(self) -> Sequence[str]:
        """Full multiaddrs that others can dial, each ending in ``/p2p/<peer id>``."""

    async def connect(self, addr: str) -> str:
        """Dial a multiaddr (with ``/p2p/``) and return the proven peer id; at once when already connected.

        Raise DialFailed. Bounded in time by the host.
        """

    async def open_stream(self, peer: str, protocol: str | Sequence[str]) -> Stream:
        """Open a stream to a connected peer and agree on ``protocol``, or on the first of several that the peer has
        (``Stream.protocol`` tells which); raise StreamRefused. Bounded in time."""

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        """Serve ``protocol`` from now on, one task per inbound stream; the stream is closed when
        the handler returns."""

    async def disconnect(self, peer: str) -> None:
        """Drop the connection, if any, within a bounded time."""

    def on_peer(self, callback: PeerCallback) -> None:
        """Call ``callback`` for every connection made (connected=True) and for its end (connected=False).

        Strictly alternating for one peer. Callbacks add up; connections that already stand are not replayed
        (``connections`` has them).
        """

    def on_identified(self, callback: IdentifiedCallback) -> None:
        """Call ``callback`` each time when a peer has said who it is and what it serves: once after it connected,
        and again when it tells of a change. Never for a peer that says nothing; callbacks add up."""

    async def publish(self, topic: str, data: bytes) -> None:
        """Send a gossip message (no author, no signature; id: ``GossipProfile.message_id``). Nobody there: no
        error."""

    def subscribe(self, topic: str, validator: Validator, on_message: MessageCallback) -> None:
        """Join a gossip topic, at any time. Our own messages do not come back. Again: the new functions count."""

    def unsubscribe(self, topic: str) -> None:
        """Leave a gossip topic; not joined: nothing happens. No message of it is delivered after this call."""

    def connections(self) -> list[ConnectionInfo]:
        """Every live connection, one per peer."""
