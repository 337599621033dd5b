"""What happens on one connection for as long as it stands: it is heard, served, and asked for addresses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from p2p.bitcoin import messages as m
from p2p.bitcoin.addrman import AddrMan
from p2p.bitcoin.events import Announced, EventQueue, Inv, PeerDown, PeerUp
from p2p.bitcoin.gossip import AddressGossip
from p2p.bitcoin.lines import Lines
from p2p.bitcoin.peer import REQUEST_COST, Kind, Line, Peer
from p2p.bitcoin.provider import Guarded
from p2p.bitcoin.session import Session
from p2p.faults import RemoteFault

FETCH_ADDRESSES_S: Final = 30.0
"""Seconds that a DNS seed, dialed as a peer, has to tell addresses."""
MAX_SERVE_WAIT_S: Final = 20.0
"""Longest wait of an answer because its asker is above its allowance; what it asks meanwhile is not read."""


class Attendant:
    """``attend`` is the roster's, for each connection. ``judge`` scores a fault, ``changed`` hears of new addresses."""

    def __init__(
        self,
        events: EventQueue,
        provider: Guarded,
        lines: Lines,
        gossip: AddressGossip,
        book: AddrMan,
        *,
        judge: Callable[[RemoteFault], object],
        changed: Callable[[], None],
        wall: Callable[[], float],
    ) -> None:
        self.events = events
        self.gossip = gossip
        self._provider = provider
        self._lines = lines
        self._book = book
        self._judge = judge
        self._changed = changed
        self._wall = wall
        self._up: set[str] = set()

    async def attend(self, peer: Peer) -> None:
        """Until the connection ends."""
        line = self._lines.get(peer.id)
        if line is None:
            return
        peer.line = line
        session = peer.session = Session(line.connected, _Ears(peer, self))
        if line.kind is not Kind.FEELER:  # of that one it is enough that it is there
            self._begin(peer, line)
            with trio.move_on_after(FETCH_ADDRESSES_S if line.kind is Kind.ADDRESSES else float("inf")):
                await self._run(session, line)
        await self._lines.disconnect(peer.id)

    def _begin(self, peer: Peer, line: Line) -> None:
        if line.kind is not Kind.INBOUND and line.kind.gossips:
            self.gossip.ask(peer)
        if line.kind is not Kind.ADDRESSES:
            remote = line.connected.remote
            self._up.add(peer.id)
            up = PeerUp(peer.id, remote.start_height, remote.services, remote.user_agent, line.inbound)
            self.events.publish(up)

    async def _run(self, session: Session, line: Line) -> None:
        fault = await session.run()
        if fault is not None:
            self._judge(fault)
        elif line.target.endpoint is not None:
            self._book.seen(line.target.endpoint, int(self._wall()))

    def gone(self, peer: str) -> None:
        """The connection has ended."""
        if peer in self._up:
            self._up.remove(peer)
            self.events.publish(PeerDown(peer))

    def told(self, peer: Peer, addresses: tuple[m.Address, ...]) -> None:
        """A peer tells of addresses; one that was asked for nothing else has done its work."""
        self.gossip.heard(peer, addresses)
        if peer.kind is Kind.ADDRESSES and peer.session is not None:
            self._changed()
            peer.session.stop()

    async def serve(self, peer: Peer, request: m.GetHeaders) -> m.Headers | None:
        """The answer, at the pace that the peer is granted."""
        headers = self._provider.headers_after(request.locator, request.stop, m.MAX_HEADERS)
        if headers is None:
            return None
        count = len(headers) // m.HEADER_SIZE
        peer.headers_served += count
        peer.shown.served(request.locator, headers)
        wait = peer.allowance.served.charge(REQUEST_COST + count, trio.current_time())
        await trio.sleep(min(wait, MAX_SERVE_WAIT_S))
        return m.Headers(headers)


@dataclass(frozen=True, slots=True)
class _Ears:
    """``session.Ears`` of one peer."""

    peer: Peer
    attendant: Attendant

    def headers(self, headers: bytes) -> None:
        self.peer.shown.headers(headers)
        self.attendant.events.publish(Announced(self.peer.id, headers))

    def inventory(self, hashes: tuple[bytes, ...]) -> None:
        self.peer.shown.add(*hashes)
        self.attendant.events.publish(Inv(self.peer.id, hashes))

    def addresses(self, addresses: tuple[m.Address, ...]) -> None:
        self.attendant.told(self.peer, addresses)

    def asks_addresses(self) -> None:
        self.attendant.gossip.asked(self.peer)

    async def asks_headers(self, request: m.GetHeaders) -> m.Headers | None:
        return await self.attendant.serve(self.peer, request)
