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

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable


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
        """Finish our direction after what was written. Never raises a PortError, never waits for
        the remote long."""

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
    bytes_in: int = 0
    """Stream payload bytes read from it."""
    bytes_out: int = 0
    """Stream payload bytes written to it."""


@dataclass(frozen=True, slots=True)
class HostConfig:
    """What a host needs to start. Limits are named constants of the host, not settings."""

    identity_path: Path
    """Private key file; made, mode 0600, when missing."""
    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)
    """Multiaddrs to listen on; empty: dial only."""
    max_connections: int = 64
    """All connections, in and out."""


StreamHandler: TypeAlias = Callable[[Stream], Awaitable[None]]
"""Serves one inbound stream; the host runs it in its own task behind a firewall and resets the stream if it
raises."""

PeerCallback: TypeAlias = Callable[[str, bool, str, bool], None]
"""(peer, connected, addr, inbound), on the trio thread, before any handler sees a stream of that peer."""

Validator: TypeAlias = Callable[[str, bytes], bool]
"""(forwarding peer, data) -> relay and deliver it? Quick and synchronous."""

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

    async def open_stream(self, peer: str, protocol: str) -> Stream:
        """Open a stream to a connected peer and agree on ``protocol``; raise StreamRefused. Bounded
        in time."""

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

    async def publish(self, topic: str, data: bytes) -> None:
        """Send a gossip message (no author, no signature; id: first 20 bytes of SHA-256 over topic, ``|``, data).
        Nobody there: no error."""

    def subscribe(self, topic: str, validator: Validator, on_message: MessageCallback) -> None:
        """Join a gossip topic. Our own messages do not come back."""

    def connections(self) -> list[ConnectionInfo]:
        """Every live connection, one per peer."""
