"""What the beacon wire keeps about one connected peer, and what it shows of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import trio

from p2p.beacon.allowance import Allowance
from p2p.beacon.messages import GoodbyeReason, MetaData, Status
from p2p.beacon.protocols import EXCHANGES, LIGHT_CLIENT_IDS, Exchange
from p2p.bucket import TokenBucket
from p2p.port import ConnectionInfo

MAX_CONCURRENT_REQUESTS: Final = 2
"""Requests of one protocol under way with one peer (phase0 p2p, ``MAX_CONCURRENT_REQUESTS``)."""

UPDATES_RATE: Final = 12.0
UPDATES_BURST: Final = 120.0
"""Updates a second, and in a row, that we ask of one peer: below Lodestar's bucket of 128 per 10 s, for running into it
costs more than a pause there."""

GOSSIP_RATE: Final = 2.0
GOSSIP_BURST: Final = 16.0
"""Gossip messages a second, and in a row, that we look at from one forwarding peer: a slot of 2 s to 12 s has one of
each name per digest. The rest is dropped unchecked and not relayed; not a fault, for a forwarder does not choose how
many there are. Checking one costs a signature."""

IN_USE_S: Final = 300.0
"""A peer that asked us for light-client data within this time is of use: to it."""


@dataclass(frozen=True, slots=True)
class BeaconPeerInfo:
    """One connected peer, for ``getpeerinfo``. Times are Unix seconds."""

    id: str
    addr: str
    """Remote multiaddr of the connection."""
    inbound: bool
    static: bool
    """Configured by the operator."""
    since: float
    status: Status | None
    """What it last said to have; None while it has said nothing that we accept."""
    metadata: MetaData | None
    protocols: tuple[str, ...]
    """Light-client protocols that it serves, by id."""
    score: float
    """Fault points; 100 is too many."""
    agent: str
    """What it calls its software; untrusted."""
    bytes_received: int
    bytes_sent: int
    objects_received: int
    objects_served: int
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
    leaving: bool = False
    last_useful: float | None = None
    status: Status | None = None
    """The last one that was accepted."""
    metadata: MetaData | None = None
    seq_number: int = 0
    """Of its metadata, as its pings tell."""
    protocols: frozenset[str] = frozenset()
    up: bool = False
    """``PeerUp`` was told."""
    doubted: bool = False
    """Its last status was not accepted, which a fork right now may explain."""
    goodbye: GoodbyeReason | None = GoodbyeReason.FAULT
    """What it is told when we leave it; None: nothing, for it has said goodbye itself."""
    objects_received: int = 0
    objects_served: int = 0
    asked_at: float = float("-inf")
    """trio time of its last request for light-client data."""
    heard: trio.Event = field(default_factory=trio.Event)
    """It has told a status, or has been identified."""
    again: trio.Event = field(default_factory=trio.Event)
    """Set to have statuses exchanged now."""
    left: trio.Event = field(default_factory=trio.Event)
    """Set to leave it, with ``goodbye``."""
    paused: dict[str, float] = field(default_factory=dict)
    """Until when (trio time) it does not want to be asked; at most one entry an exchange."""
    slots: dict[str, trio.Semaphore] = field(
        default_factory=lambda: {one.name: trio.Semaphore(MAX_CONCURRENT_REQUESTS) for one in EXCHANGES}
    )
    """For what we ask of it."""
    updates: TokenBucket = field(default_factory=lambda: TokenBucket(UPDATES_RATE, UPDATES_BURST, trio.current_time()))
    gossip: TokenBucket = field(default_factory=lambda: TokenBucket(GOSSIP_RATE, GOSSIP_BURST, trio.current_time()))

    @property
    def useful(self) -> bool:
        """It has brought something, and can bring more."""
        return self.last_useful is not None and self.up and not self.leaving

    @property
    def in_use(self) -> bool:
        """We have use for it, or it for us."""
        return self.up or trio.current_time() - self.asked_at < IN_USE_S

    @property
    def serves(self) -> tuple[str, ...]:
        """The light-client protocols that it serves."""
        return tuple(sorted(self.protocols & LIGHT_CLIENT_IDS))

    def leave(self, network: str) -> None:
        """It is of another network: there is nothing else that we could have in common."""
        self.part(GoodbyeReason.IRRELEVANT_NETWORK)

    def part(self, reason: GoodbyeReason | None) -> None:
        """Leave it, soon; None where it has said goodbye itself."""
        self.goodbye = reason
        self.left.set()

    def news(self) -> None:
        """Something was heard of it: whoever waits looks again."""
        self.heard.set()
        self.heard = trio.Event()

    def pause_left(self, exchange: Exchange) -> float:
        """Seconds for which it does not want to be asked."""
        return max(0.0, self.paused.get(exchange.name, 0.0) - trio.current_time())

    def info(self, score: float, connection: ConnectionInfo | None) -> BeaconPeerInfo:
        """The row of ``getpeerinfo``; ``connection`` is None in the moment in which it ends."""
        return BeaconPeerInfo(
            id=self.id,
            addr=self.addr,
            inbound=self.inbound,
            static=self.static,
            since=self.since,
            status=self.status,
            metadata=self.metadata,
            protocols=self.serves,
            score=score,
            agent=connection.agent if connection else "",
            bytes_received=connection.bytes_in if connection else 0,
            bytes_sent=connection.bytes_out if connection else 0,
            objects_received=self.objects_received,
            objects_served=self.objects_served,
            last_useful=self.last_useful,
        )
