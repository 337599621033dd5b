"""Bitcoin's own network as the node uses it: peers come and go by themselves, events tell of them, requests reach them,
faults are scored, committed headers are served and announced. One chain each.

Everything that a peer can make grow is bounded where it grows (``session``, ``peer``), and multiplied by the number of
connections (``peers.OUTBOUND``, ``anchors.MAX_ANCHORS``, ``lines.MAX_INBOUND``, and what the operator configured).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

import structlog
import trio

from p2p.bans import BanList
from p2p.bitcoin import messages as m
from p2p.bitcoin.addrman import AddrMan
from p2p.bitcoin.anchors import MAX_ANCHORS
from p2p.bitcoin.connect import Greeter
from p2p.bitcoin.control import WireControl
from p2p.bitcoin.dialing import PREFIX, Dial, SocksDial, TcpDial, parse_target
from p2p.bitcoin.events import Announced, EventQueue, Inv, PeerDown, PeerUp, Silent
from p2p.bitcoin.gossip import AddressGossip
from p2p.bitcoin.handshake import HEADERS_SERVICES, Introduction
from p2p.bitcoin.lines import Lines
from p2p.bitcoin.peer import REQUEST_COST, Allowance, Kind, Peer, PeerInfo
from p2p.bitcoin.peers import OUTBOUND, Population
from p2p.bitcoin.questions import headers_after
from p2p.bitcoin.seeding import Resolve, Seeder, system_resolve
from p2p.bitcoin.seeds import Seeds
from p2p.bitcoin.session import Session
from p2p.faults import RemoteFault, gone
from p2p.roster import Roster
from p2p.saving import Offload, Saver
from p2p.score import Judgement, ScoreBoard

FETCH_ADDRESSES_S: Final = 30.0
"""Seconds that a DNS seed, dialed as a peer, has to tell addresses."""
MAX_SERVE_WAIT_S: Final = 20.0
"""Longest wait of an answer because its asker is above its allowance; what it asks meanwhile is not read."""

log = structlog.get_logger(__name__)
A = TypeVar("A")


class Started(Protocol):
    """What ``nursery.start`` passes in (``trio.TaskStatus``)."""

    def started(self) -> None: ...


class Provider(Protocol):
    """What we have: committed, always. Called on the trio thread."""

    def height(self) -> int:
        """Of our tip; 0 before there is a chain."""

    def headers_after(self, locator: Sequence[bytes], stop: bytes, count: int) -> bytes:
        """Up to ``count`` headers (n * 80 bytes) after the first hash of ``locator`` that is on our main chain, up to
        ``stop`` (zeros: no end); none where no hash is."""


@dataclass(frozen=True, slots=True)
class NetParams:
    """What tells one network from another. ``spacing``: seconds between blocks."""

    name: str
    magic: bytes
    port: int
    spacing: float = 600.0


class BitcoinNet:
    """``run`` it once. All methods belong to the trio thread.

    ``connect`` are configured peers, HOST[:PORT] each (NetAddressError where one does not parse). ``proxy``: a SOCKS5
    proxy, as (host, port), for every connection. ``listen``: (host, port) for those who dial us; port 0 for any.
    ``outbound`` and ``anchors`` are how many peers of the book are dialed; with 0 of both only the configured ones are.
    ``wall`` gives Unix seconds. ``dial``, ``resolve``: ways out other than the system's.
    """

    def __init__(
        self,
        params: NetParams,
        provider: Provider,
        *,
        book: AddrMan,
        scores: ScoreBoard,
        connect: Sequence[str] = (),
        proxy: tuple[str, int] | None = None,
        listen: tuple[str, int] | None = None,
        seeds: Seeds = Seeds(),  # noqa: B008 - frozen
        outbound: int = OUTBOUND,
        anchors: int = MAX_ANCHORS,
        anchor_path: Path | None = None,
        agent: str = "/spvnode/",
        services: int = 0,
        keep_last: bool = True,
        bans: BanList | None = None,
        dial: Dial | None = None,
        resolve: Resolve = system_resolve,
        wall: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        offload: Offload = trio.to_thread.run_sync,
    ) -> None:
        self.params = params
        self.events = EventQueue()
        """What happens. One consumer."""
        self.listening: Sequence[tuple[str, int]] = ()
        """Where we can be dialed, once ``run`` has started."""
        self._provider = provider
        self._scores = scores
        self._bans = BanList() if bans is None else bans
        self._wall = wall
        self._listen = listen
        self._listeners: Sequence[trio.SocketListener] | None = None
        self._agent = agent
        self._services = services
        self._up: set[str] = set()
        rng = rng or random.Random()  # noqa: S311  spreads load; an attacker gains nothing by knowing it
        manual = [parse_target(text, params.port) for text in connect]
        self._saver = Saver((scores,), offload, seldom=(book,))
        greeter = Greeter(params.magic, params.name, self._introduction, wall)
        way = dial or (SocksDial(*proxy) if proxy is not None else TcpDial())
        self._lines = Lines(
            greeter, way, book, judge=self._judge, unwelcome=self._unwelcome, wall=wall, changed=self._changed
        )
        self._roster: Roster[Peer, Allowance] = Roster(
            self._lines,
            scores,
            static=(static := {target.peer for target in manual}),
            keep_last=keep_last,
            wall=wall,
            make=Peer,
            allow=Allowance.fresh,
            attend=self._attend,
            gone=self._gone,
            changed=self._saver.changed,
            scored_as=self._scored_as,
            bans=bans,
        )
        peers = self._roster.peers
        self._gossip = AddressGossip(book, peers, wall=wall, rng=rng, changed=self._saver.changed)
        self._population = Population(
            self._lines,
            peers,
            book,
            manual=manual,
            outbound=outbound,
            anchors=anchors,
            anchor_path=anchor_path,
            height=self._height,
            spacing=params.spacing,
            unwelcome=self._unwelcome,
            drop=self._roster.drop,
            ask=lambda peer: self.events.publish(Silent(peer)),
            wall=wall,
            rng=rng,
            offload=offload,
        )
        self.control = WireControl(self._population, self._roster, static, params.port)
        self._seeder = Seeder(
            book,
            seeds if outbound else Seeds(),
            params.port,
            outbound=lambda: self._population.count(Kind.OUTBOUND),
            found=self._changed,
            wall=wall,
            rng=rng,
            resolve=resolve,
            fetch=partial(self._lines.dial, kind=Kind.ADDRESSES) if proxy is not None else None,
        )
        self._book = book

    async def run(self, *, task_status: Started = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Saves what is worth it at the end. OSError as ``bind``."""
        await self.bind()
        listeners, self._listeners = self._listeners, None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._roster.run)
                if listeners:
                    nursery.start_soon(partial(trio.serve_listeners, self._accepted, listeners))
                for task in (self._population.run, self._seeder.run, self._gossip.run, self._saver.run):
                    nursery.start_soon(task)
                task_status.started()
        finally:
            with trio.CancelScope(shield=True):  # bounded: sockets are closed at once, two small files are written
                for line in self._lines.connections():
                    await self._lines.disconnect(line.peer)
                await self._saver.save()

    async def bind(self) -> None:
        """Opens the sockets for ``listen``; ``run`` does it where nobody has before. OSError where they cannot be
        had."""
        if self._listen is None or self._listeners is not None:
            return
        host, port = self._listen
        self._listeners = await trio.open_tcp_listeners(port, host=host)
        self.listening = [listener.socket.getsockname()[:2] for listener in self._listeners]

    async def accept(self, stream: trio.abc.Stream, host: str, port: int) -> None:
        """Takes a connection that somebody has made to us; returns when it has ended."""
        try:
            await self._lines.accept(stream, host, port)
        except Exception:  # firewall: one stranger must not take the others down; nothing is hidden
            log.exception("handshake failed", host=host)
            await trio.aclose_forcefully(stream)

    # Requests. The deadline is the caller's: cancel at will. Report every fault; a scored one costs nothing.

    async def get_headers(
        self, peer: str, locator: Sequence[bytes], stop: bytes = bytes(m.HASH_SIZE)
    ) -> bytes | RemoteFault:
        """Up to 2,000 headers after ``locator`` (up to 101 hashes), not checked; none where the peer has nothing, be it
        by an empty answer or by silence. With no locator: the header of ``stop`` itself."""
        reply = await self.ask(peer, m.GetHeaders(tuple(locator), stop), headers_after(locator, stop))
        known = self._roster.peers.get(peer)
        if isinstance(reply, bytes) and known is not None:
            known.headers_received += len(reply) // m.HEADER_SIZE
            known.shown.headers(reply)
        return b"" if reply is None else reply

    async def ask(
        self, peer: str, message: m.Spoken, take: Callable[[m.Message], A | None], *, large: bool = False
    ) -> A | RemoteFault | None:
        """Any question; see ``Session.ask``. ``large``: the answer may be a block, which is not kept otherwise."""
        known = self._roster.peers.get(peer)
        if known is None or known.session is None or known.leaving:
            return gone(peer, self.params.name, "not connected")
        known.awaits_large(+large)
        try:
            return await known.session.ask(message, take)
        finally:
            known.awaits_large(-large)

    # What the node tells.

    async def announce(self, headers: bytes) -> None:
        """Our tip is another one, committed: ``headers`` (n * 80 bytes) end with it. Who has it is not told."""
        self._population.moved()
        for peer in self._roster.peers.values() if headers else ():
            if peer.session is None or peer.kind in (Kind.FEELER, Kind.ADDRESSES):
                continue
            if news := peer.shown.news(headers, wants_headers=peer.session.wants_headers):
                peer.session.send(news, news=True)
        await trio.lowlevel.checkpoint()

    async def report(self, fault: RemoteFault) -> Judgement | None:
        """Score a fault; over the limit the peer is left and discouraged. None when it was scored already."""
        await trio.lowlevel.checkpoint()
        return self._judge(fault)

    def useful(self, peer: str) -> None:
        """The peer brought something that was checked and taken, or confirmed what we have."""
        self._roster.useful(peer)

    def has(self, peer: str, height: int, *, news: bool = False) -> None:
        """The peer has shown that it has our header of ``height``; ``news``: and was the first to."""
        known = self._roster.peers.get(peer)
        if known is not None:
            known.height = height
            if news:
                known.told_at = trio.current_time()

    def peers(self) -> list[PeerInfo]:
        """Every connected peer whose handshake is over."""
        now = self._wall()
        score = self._scores.score
        rows = (peer.info(score(self._scored_as(peer.id), now)) for peer in self._roster.peers.values())
        return [row for row in rows if row is not None]

    @property
    def addresses(self) -> int:
        """Addresses in the book."""
        return len(self._book)

    @property
    def stale(self) -> bool:
        """Whether the tip has not moved for longer than chance explains."""
        return self._population.stale

    # How it is done.

    def _introduction(self, outbound: bool) -> Introduction:
        one_of = HEADERS_SERVICES if outbound else 0
        return Introduction(self._services, self._agent, self._height(), one_of=one_of)

    def _height(self) -> int:
        try:
            return self._provider.height()
        except Exception:  # firewall around the provider: it is asked again soon; nothing is hidden
            log.exception("provider failed", network=self.params.name)
            return 0

    async def _accepted(self, stream: trio.SocketStream) -> None:
        try:
            host, port = stream.socket.getpeername()[:2]
        except OSError:  # gone already
            await trio.aclose_forcefully(stream)
            return
        await self.accept(stream, str(host), int(port))

    async def _attend(self, peer: Peer) -> None:
        line = self._lines.get(peer.id)
        if line is None:
            return
        peer.line = line
        peer.session = Session(line.connected, _Ears(peer, self))
        follows = line.kind not in (Kind.FEELER, Kind.ADDRESSES)
        if line.kind is Kind.FEELER:
            await self._lines.disconnect(peer.id)
            return
        if line.kind is not Kind.INBOUND and (line.kind.gossips or not follows):
            self._gossip.ask(peer)
        if follows:
            remote = line.connected.remote
            self._up.add(peer.id)
            up = PeerUp(peer.id, remote.start_height, remote.services, remote.user_agent, line.inbound)
            self.events.publish(up)
        with trio.move_on_after(float("inf") if follows else FETCH_ADDRESSES_S):
            fault = await peer.session.run()
            if fault is not None:
                self._judge(fault)
            elif line.target.endpoint is not None:
                self._book.seen(line.target.endpoint, int(self._wall()))
        await self._lines.disconnect(peer.id)

    def _gone(self, peer: str) -> None:
        if peer in self._up:
            self._up.remove(peer)
            self.events.publish(PeerDown(peer))

    def _changed(self) -> None:
        self._population.notify()
        self._saver.changed()

    def _judge(self, fault: RemoteFault) -> Judgement | None:
        return self._roster.judge(fault)

    def _scored_as(self, peer: str) -> str:
        """The port of one who dialed us is new each time: his host answers for him."""
        line = self._lines.get(peer)
        return peer.rpartition(":")[0] if line is not None and line.inbound else peer

    def _unwelcome(self, peer: str) -> bool:
        # A peer of the configuration does not answer for who dials us from its host: through an onion service, or NAT.
        names = {peer} if peer in self.control.static else {peer, peer.rpartition(":")[0]}
        banned = self._bans.until(peer, peer.removeprefix(PREFIX), self._wall()) is not None
        return banned or any(self._scores.discouraged_until(name, self._wall()) is not None for name in names)

    def _told(self, peer: Peer, addresses: tuple[m.Address, ...]) -> None:
        self._gossip.heard(peer, addresses)
        if peer.kind is Kind.ADDRESSES and peer.session is not None:
            self._changed()
            peer.session.stop()

    async def _serve(self, peer: Peer, request: m.GetHeaders) -> m.Headers | None:
        try:
            headers = self._provider.headers_after(request.locator, request.stop, m.MAX_HEADERS)
        except Exception:  # firewall around the provider: what fails in it is ours; nothing is hidden
            log.exception("provider failed", network=self.params.name)
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
    net: BitcoinNet

    def headers(self, headers: bytes) -> None:
        self.peer.shown.headers(headers)
        self.net.events.publish(Announced(self.peer.id, headers))

    def inventory(self, hashes: tuple[bytes, ...]) -> None:
        self.peer.shown.add(*hashes)
        self.net.events.publish(Inv(self.peer.id, hashes))

    def addresses(self, addresses: tuple[m.Address, ...]) -> None:
        self.net._told(self.peer, addresses)

    def asks_addresses(self) -> None:
        self.net._gossip.asked(self.peer)

    async def asks_headers(self, request: m.GetHeaders) -> m.Headers | None:
        return await self.net._serve(self.peer, request)
