"""What the beacon wire tells the node, in a queue that no peer can fill: of statuses, and of each kind of gossip, only
the latest of each peer is kept, and a peer that comes and goes unseen leaves nothing. At most five events wait per
peer, whose number the host bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from p2p.beacon.messages import Status
from p2p.beacon.provider import GossipName
from p2p.news import News


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A peer of our network that serves light-client data. ``protocols``: ids of those that it serves."""

    peer: str
    status: Status
    protocols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PeerDown:
    """It is gone."""

    peer: str


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """A peer that is up has told a new status."""

    peer: str
    status: Status


@dataclass(frozen=True, slots=True)
class Gossiped:
    """An accepted object; ``peer`` forwarded it and need not have made it."""

    peer: str
    name: GossipName
    digest: bytes
    ssz: bytes


BeaconEvent: TypeAlias = PeerUp | PeerDown | PeerStatus | Gossiped


class EventQueue(News[BeaconEvent]):
    """See ``News``."""

    def __init__(self) -> None:
        super().__init__(lambda event: event.peer, _folded)


def _folded(events: list[BeaconEvent], new: BeaconEvent) -> list[BeaconEvent]:
    """``events`` of one peer and then ``new``, without what ``new`` makes pointless. Gossip outlives its forwarder."""
    if isinstance(new, PeerDown):
        kept: list[BeaconEvent] = [event for event in events if isinstance(event, PeerDown | Gossiped)]
        # An arrival that nobody has seen and its departure cancel out.
        return kept if any(isinstance(event, PeerUp) for event in events) else [*kept, new]
    return [event for event in events if _about(event) != _about(new)] + [new]


def _about(event: BeaconEvent) -> object:
    return event.name if isinstance(event, Gossiped) else type(event)
