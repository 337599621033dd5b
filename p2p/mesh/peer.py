"""What the mesh keeps about one connected peer, and what it shows of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

import trio

from p2p.bucket import TokenBucket
from p2p.mesh.codec import Hello
from p2p.mesh.serving import Allowance, HeadersServer
from p2p.mesh.session import Session
from p2p.port import ConnectionInfo

Network: TypeAlias = str

GOSSIP_RATE: Final = 2.0
GOSSIP_BURST: Final = 20.0
"""Gossip messages a second, and in a row, that we take from one forwarding peer; the rest is dropped
unchecked and not relayed. Not a fault: a forwarder does not choose how many tips there are."""


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """One connected peer, for ``getpeerinfo``. Times are Unix seconds."""

    id: str
    addr: str
    """Remote multiaddr of the connection."""
    inbound: bool
    static: bool
    """Configured by the operator."""
    since: float
    tips: dict[Network, Hello]
    """What it has, by network, for every session that stands."""
    score: float
    """Fault points; 100 is too many."""
    agent: str
    """What it calls its software; untrusted."""
    bytes_received: int
    bytes_sent: int
    headers_received: int
    headers_served: int
    last_useful: float | None
    """When it last brought us something that we took, None when never."""


@dataclass(slots=True, eq=False)
class Peer:
    """State of one connection; it ends with it."""

    id: str
    addr: str
    inbound: bool
    static: bool
    since: float
    allowance: Allowance
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    gossip: TokenBucket = field(default_factory=lambda: TokenBucket(GOSSIP_RATE, GOSSIP_BURST, trio.current_time()))
    sessions: dict[Network, Session] = field(default_factory=dict)
    servers: dict[Network, set[HeadersServer]] = field(default_factory=dict)
    proof_streams: int = 0
    retry: dict[Network, trio.Event] = field(default_factory=dict)
    """Set to make a follower that waits before its next attempt go on at once."""
    left: set[Network] = field(default_factory=set)
    """Networks that we have given up with it, until it reconnects."""
    leaving: bool = False
    last_useful: float | None = None
    headers_received: int = 0
    headers_served: int = 0

    @property
    def in_use(self) -> bool:
        return bool(self.sessions) or any(self.servers.values()) or self.proof_streams > 0

    @property
    def useful(self) -> bool:
        """It has brought something, and can bring more."""
        return self.last_useful is not None and bool(self.sessions) and not self.leaving

    def nudge(self, network: Network) -> None:
        event = self.retry.get(network)
        if event is not None:
            event.set()

    def leave(self, network: Network) -> None:
        """Give up one network with it, for as long as it stays connected; the others go on."""
        self.left.add(network)
        session = self.sessions.get(network)
        if session is not None:
            session.stop()

    def info(self, score: float, connection: ConnectionInfo | None) -> PeerInfo:
        """The row of ``getpeerinfo``; ``connection`` is None in the moment in which it ends."""
        received = sum(session.headers_received for session in self.sessions.values())
        served = sum(server.headers_served for servers in self.servers.values() for server in servers)
        return PeerInfo(
            id=self.id,
            addr=self.addr,
            inbound=self.inbound,
            static=self.static,
            since=self.since,
            tips={network: session.hello for network, session in self.sessions.items()},
            score=score,
            agent=connection.agent if connection else "",
            bytes_received=connection.bytes_in if connection else 0,
            bytes_sent=connection.bytes_out if connection else 0,
            headers_received=self.headers_received + received,
            headers_served=self.headers_served + served,
            last_useful=self.last_useful,
        )
