"""What the mesh tells the node, in a queue that no peer can fill: of tips only the latest of each (peer, network) is
kept, and a peer that comes and goes unseen leaves nothing. The number of peers is bounded by the host's connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from p2p.mesh.codec import Hello
from p2p.news import News


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A peer can be asked for headers of a network."""

    peer: str
    network: str
    hello: Hello
    addr: str
    inbound: bool


@dataclass(frozen=True, slots=True)
class PeerDown:
    """It no longer can. ``why`` is one line of plain words."""

    peer: str
    network: str
    why: str


@dataclass(frozen=True, slots=True)
class PeerTip:
    """A peer announced another tip."""

    peer: str
    network: str
    hello: Hello


@dataclass(frozen=True, slots=True)
class TipGossip:
    """A tip came by gossip, with its proof of work; ``peer`` forwarded it and need not have made it."""

    peer: str
    network: str
    height: int
    header: bytes
    chainwork: int


MeshEvent: TypeAlias = PeerUp | PeerDown | PeerTip | TipGossip


class EventQueue(News[MeshEvent]):
    """See ``News``; at most four events wait per (peer, network)."""

    def __init__(self) -> None:
        super().__init__(lambda event: (event.peer, event.network), _folded)


def _folded(events: list[MeshEvent], new: MeshEvent) -> list[MeshEvent]:
    """``events`` of one (peer, network) and then ``new``, without what ``new`` makes pointless."""
    if isinstance(new, PeerDown):
        kept: list[MeshEvent] = [event for event in events if isinstance(event, PeerDown)]
        # An arrival that nobody has seen and its departure cancel out.
        return kept if any(isinstance(event, PeerUp) for event in events) else [new]
    return [event for event in events if type(event) is not type(new)] + [new]
