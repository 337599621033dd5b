"""What the mesh tells the node, in a queue that no peer can fill.

Publishing never blocks, because the reader task of a session publishes and must go on reading; so news is
folded instead: of tips only the latest of each (peer, network) is kept, and a peer that comes and goes
unseen leaves nothing. At most four events wait per (peer, network); their number is bounded by the host's
connections.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeAlias

import trio

from p2p.mesh.codec import Hello


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
_Key: TypeAlias = tuple[str, str]


class EventQueue:
    """One consumer: ``receive``, ``receive_nowait`` or ``async for``. Never ends."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[_Key, list[MeshEvent]] = OrderedDict()
        self._some = trio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def publish(self, event: MeshEvent) -> None:
        key = (event.peer, event.network)
        events = _folded(self._waiting.get(key, []), event)
        if events:
            self._waiting[key] = events
            self._some.set()
        else:
            self._waiting.pop(key, None)

    def receive_nowait(self) -> MeshEvent | None:
        """The next event, fair between peers; None when nothing waits."""
        if not self._waiting:
            return None
        key, events = next(iter(self._waiting.items()))
        event = events.pop(0)
        if events:
            self._waiting.move_to_end(key)
        else:
            del self._waiting[key]
        return event

    async def receive(self) -> MeshEvent:
        while True:
            await trio.lowlevel.checkpoint()
            event = self.receive_nowait()
            if event is not None:
                return event
            self._some = trio.Event()
            await self._some.wait()

    async def __aiter__(self) -> AsyncIterator[MeshEvent]:
        while True:
            yield await self.receive()


def _folded(events: list[MeshEvent], new: MeshEvent) -> list[MeshEvent]:
    """``events`` of one (peer, network) and then ``new``, without what ``new`` makes pointless."""
    if isinstance(new, PeerDown):
        kept: list[MeshEvent] = [event for event in events if isinstance(event, PeerDown)]
        # An arrival that nobody has seen and its departure cancel out.
        return kept if any(isinstance(event, PeerUp) for event in events) else [new]
    return [event for event in events if type(event) is not type(new)] + [new]
