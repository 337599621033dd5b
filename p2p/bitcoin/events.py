"""What Bitcoin's wire tells the node, in a queue that no peer can fill: of a peer's announcements only the latest of
each kind is kept, which is enough to ask it what there is; a peer that comes and goes unseen leaves nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from p2p.news import News


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A handshake is over. What follows ``peer`` is its own word; ``services`` are bits, ``start_height`` may be
    negative."""

    peer: str
    start_height: int
    services: int
    agent: str
    inbound: bool = False


@dataclass(frozen=True, slots=True)
class PeerDown:
    """It is gone."""

    peer: str


@dataclass(frozen=True, slots=True)
class Announced:
    """Headers that we did not ask for: n * 80 bytes, 0 < n <= 2,000, nothing checked."""

    peer: str
    headers: bytes


@dataclass(frozen=True, slots=True)
class Inv:
    """Hashes of blocks (internal order), by which a peer says that there is something new."""

    peer: str
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Silent:
    """It has not told of a block for long: time to ask it what it has."""

    peer: str


WireEvent: TypeAlias = PeerUp | PeerDown | Announced | Inv | Silent


class EventQueue(News[WireEvent]):
    """See ``News``."""

    def __init__(self) -> None:
        super().__init__(lambda event: event.peer, _folded)


def _folded(events: list[WireEvent], new: WireEvent) -> list[WireEvent]:
    """``events`` of one peer and then ``new``, without what ``new`` makes pointless."""
    if isinstance(new, PeerDown):
        kept: list[WireEvent] = [event for event in events if isinstance(event, PeerDown)]
        # An arrival that nobody has seen and its departure cancel out.
        return kept if any(isinstance(event, PeerUp) for event in events) else [*kept, new]
    return [event for event in events if type(event) is not type(new)] + [new]
