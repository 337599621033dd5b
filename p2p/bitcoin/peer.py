"""What the wire keeps about one connected peer, and what it shows of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import trio

from p2p.bitcoin.connect import Connected
from p2p.bitcoin.dialing import Target
from p2p.bitcoin.lagging import Lag
from p2p.bitcoin.messages import Address
from p2p.bitcoin.news import Shown
from p2p.bitcoin.session import Session
from p2p.bucket import TokenBucket

SERVED_RATE: Final = 40_000.0
SERVED_BURST: Final = 400_000.0
"""Headers a second, and at once, that one peer (inbound: one host) is served: a whole chain in half a minute, and
3 MB/s of our line at most."""
REQUEST_COST: Final = 200
"""Headers that a request counts beyond those that it gets."""

ADDRESSES_RATE: Final = 0.1
ADDRESSES_BURST: Final = 1_000.0
"""Addresses a second, and after a ``getaddr`` of ours at once, that one peer may tell us (Core's
MAX_ADDR_RATE_PER_SECOND and MAX_ADDR_TO_SEND); the rest is dropped, which is no fault."""
MAX_RELAYED: Final = 64
"""Addresses that wait to be passed on to one peer; others fill it, the oldest go."""


class Kind(StrEnum):
    """What a connection is for, under Core's names."""

    OUTBOUND = "outbound-full-relay"
    ANCHOR = "block-relay-only"
    """Followed like any other, but no addresses go over it: nobody learns from them that we are connected."""
    MANUAL = "manual"
    FEELER = "feeler"
    """Just to see whether it is there."""
    ADDRESSES = "addr-fetch"
    """A DNS seed behind a proxy: asked for addresses, then left."""
    INBOUND = "inbound"

    @property
    def gossips(self) -> bool:
        """Whether addresses go over it."""
        return self not in (Kind.ANCHOR, Kind.FEELER)


@dataclass(slots=True)
class Allowance:
    """What a peer may cost us; it outlives its connection."""

    served: TokenBucket
    addresses: TokenBucket

    @classmethod
    def fresh(cls, now: float) -> Allowance:
        """Full for headers, one address for the rest: a ``getaddr`` of ours gives more."""
        addresses = TokenBucket(ADDRESSES_RATE, ADDRESSES_BURST, now)
        addresses.take(ADDRESSES_BURST - 1, now)
        return cls(TokenBucket(SERVED_RATE, SERVED_BURST, now), addresses)


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """One connected peer, for ``getpeerinfo``. Times are Unix seconds."""

    id: str
    addr: str
    kind: Kind
    since: float
    version: int
    services: int
    agent: str
    start_height: int
    height: int
    """The highest of our headers that it is known to have; -1: none."""
    transport: int
    """1 or 2."""
    clock_offset: int
    ping_s: float | None
    bytes_received: int
    bytes_sent: int
    headers_received: int
    headers_served: int
    last_useful: float | None
    score: float


@dataclass(frozen=True, slots=True)
class Line:
    """A connection that stands, whoever attends it."""

    target: Target
    kind: Kind
    connected: Connected
    ended: trio.Event = field(default_factory=trio.Event)
    began: float = field(default_factory=trio.current_time)

    @property
    def peer(self) -> str:
        """Name."""
        return self.target.peer

    @property
    def addr(self) -> str:
        """HOST:PORT."""
        return str(self.target)

    @property
    def inbound(self) -> bool:
        """Whether it dialed us."""
        return self.kind is Kind.INBOUND


@dataclass(slots=True, eq=False)
class Peer:
    """State of one connection; it ends with it. ``roster.Attended``."""

    id: str
    addr: str
    inbound: bool
    static: bool
    since: float
    allowance: Allowance
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    leaving: bool = False
    last_useful: float | None = None
    line: Line | None = None
    session: Session | None = None
    began: float = field(default_factory=trio.current_time)
    height: int = -1
    """See ``PeerInfo``."""
    told_at: float = field(default_factory=trio.current_time)
    """trio time when it last told us of a block that was new to us."""
    headers_received: int = 0
    headers_served: int = 0
    shown: Shown = field(default_factory=Shown)
    lag: Lag = field(default_factory=Lag)
    relay: deque[Address] = field(default_factory=lambda: deque(maxlen=MAX_RELAYED))
    answered_addresses: bool = False
    """It has had its answer to ``getaddr``: one a connection."""

    @property
    def useful(self) -> bool:
        """It has brought something, and can bring more."""
        return self.last_useful is not None and self.session is not None and not self.leaving

    @property
    def kind(self) -> Kind:
        """What it is for."""
        return self.line.kind if self.line is not None else Kind.INBOUND

    def leave(self, network: str) -> None:
        """It is of another network: there is nothing else that we could have in common."""
        self.leaving = True
        self.scope.cancel()

    def info(self, score: float) -> PeerInfo | None:
        """The row of ``getpeerinfo``; None before its session begins."""
        if self.line is None or self.session is None:
            return None
        remote, link = self.session.remote, self.session.link
        return PeerInfo(
            id=self.id,
            addr=self.addr,
            kind=self.line.kind,
            since=self.since,
            version=remote.version,
            services=remote.services,
            agent=remote.user_agent,
            start_height=remote.start_height,
            height=self.height,
            transport=link.transport.version,
            clock_offset=remote.clock_offset,
            ping_s=self.session.ping_s,
            bytes_received=link.bytes_in,
            bytes_sent=link.bytes_out,
            headers_received=self.headers_received,
            headers_served=self.headers_served,
            last_useful=self.last_useful,
            score=score,
        )
