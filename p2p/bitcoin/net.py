"""Bitcoin's own network as the node uses it: peers come and go by themselves, events tell of them, requests reach them,
faults are scored, committed headers are served and announced. One chain each.

Everything that a peer can make grow is bounded where it grows (``session``, ``peer``), and multiplied by the number of
connections (``peers.OUTBOUND``, ``anchors.MAX_ANCHORS``, ``lines.MAX_INBOUND``, and what the operator configured).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import structlog
import trio

from p2p.bans import BanList
from p2p.bitcoin import messages as m
from p2p.bitcoin.addrman import AddrMan
from p2p.bitcoin.attending import Attendant
from p2p.bitcoin.connect import Greeter
from p2p.bitcoin.control import WireControl
from p2p.bitcoin.dialing import PREFIX, SocksDial, Target, TcpDial, parse_target
from p2p.bitcoin.events import EventQueue, Silent
from p2p.bitcoin.gossip import AddressGossip
from p2p.bitcoin.handshake import HEADERS_SERVICES, Introduction
from p2p.bitcoin.lines import Lines, Merits
from p2p.bitcoin.options import NetParams, Options
from p2p.bitcoin.peer import Allowance, Kind, Peer, PeerInfo
from p2p.bitcoin.peers import Population
from p2p.bitcoin.provider import Guarded, Provider
from p2p.bitcoin.questions import headers_after
from p2p.bitcoin.seeding import Seeder
from p2p.bitcoin.seeds import Seeds
from p2p.faults import RemoteFault, gone
from p2p.roster import Roster
from p2p.saving import Saver
from p2p.score import Judgement, ScoreBoard

log = structlog.get_logger(__name__)
A = TypeVar("A")


class Started(Protocol):
    """What ``nursery.start`` passes in (``trio.TaskStatus``)."""

    def started(self) -> None: ...


class BitcoinNet:
    """``run`` it once. All methods belong to the trio thread. NetAddressError for a configured peer that cannot be
    read."""

    def __init__(
        self,
        params: NetParams,
        provider: Provider,
        *,
        book: AddrMan,
        scores: ScoreBoard,
        options: Options = Options(),  # noqa: B008 - frozen
    ) -> None:
        self.params = params
        self.events = EventQueue()
        """What happens. One consumer."""
        self.listening: Sequence[tuple[str, int]] = ()
        """Where we can be dialed, once ``run`` has started."""
        self._options = options
        self._provider = Guarded(provider, params.name)
        self._book = book
        self._scores = scores
        self._bans = BanList() if options.bans is None else options.bans
        self._wall = wall = options.wall
        self._listeners: Sequence[trio.SocketListener] | None = None
        rng = options.rng or random.Random()  # noqa: S311  spreads load; an attacker gains nothing by knowing it
        manual = [parse_target(text, params.port) for text in options.connect]
        static = {target.peer for target in manual}
        self._saver = Saver((scores,), options.offload, seldom=(book,))
        self._lines = self._make_lines()
        self._roster = self._make_roster(static)
        gossip = AddressGossip(book, self._roster.peers, wall=wall, rng=rng, changed=self._saver.changed)
        self._gossip = gossip
        self._population = self._make_population(manual, rng)
        self.control = WireControl(self._population, self._roster, static, params.port)
        self._seeder = self._make_seeder(rng)
        self._attendant = Attendant(
            self.events,
            self._provider,
            self._lines,
            gossip,
            book,
            judge=self._roster.judge,
            changed=self._changed,
            wall=wall,
        )

    # Its parts. Each is told what it needs of the others.

    def _make_lines(self) -> Lines:
        proxy = self._options.proxy
        return Lines(
            Greeter(self.params.magic, self.params.name, self._introduction, self._wall),
            self._options.dial or (SocksDial(*proxy) if proxy is not None else TcpDial()),
            self._book,
            judge=self._judge,
            unwelcome=self._unwelcome,
            merits=self._merits,
            wall=self._wall,
            changed=self._changed,
            network=self.params.name,
        )

    def _make_roster(self, static: set[str]) -> Roster[Peer, Allowance]:
        return Roster(
            self._lines,
            self._scores,
            static=static,
            keep_last=self._options.keep_last,
            wall=self._wall,
            make=Peer,
            allow=Allowance.fresh,
            attend=self._attend,
            gone=lambda peer: self._attendant.gone(peer),
            changed=self._saver.changed,
            scored_as=self._scored_as,
            bans=self._options.bans,
        )

    def _make_population(self, manual: Sequence[Target], rng: random.Random) -> Population:
        options = self._options
        return Population(
            self._lines,
            self._roster.peers,
            self._book,
            manual=manual,
            outbound=options.outbound,
            anchors=options.anchors,
            anchor_path=options.anchor_path,
            height=self._provider.height,
            spacing=self.params.spacing,
            unwelcome=self._unwelcome,
            drop=self._roster.drop,
            ask=lambda peer: self.events.publish(Silent(peer)),
            wall=self._wall,
            rng=rng,
            offload=options.offload,
        )

    def _make_seeder(self, rng: random.Random) -> Seeder:
        options = self._options
        return Seeder(
            self._book,
            options.seeds if options.outbound else Seeds(),
            self.params.port,
            outbound=lambda: self._population.count(Kind.OUTBOUND),
            found=self._changed,
            wall=self._wall,
            rng=rng,
            resolve=options.resolve,
            fetch=partial(self._lines.dial, kind=Kind.ADDRESSES) if options.proxy is not None else None,
        )

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
        if self._options.listen is None or self._listeners is not None:
            return
        host, port = self._options.listen
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
        """Any question; see ``Session.ask``. ``large``: the answer may be a block or a filter, which else is not
        kept."""
        known = self._roster.peers.get(peer)
        if known is None or known.session is None or known.leaving:
            return gone(peer, self.params.name, "not connected")
        return await known.session.ask(message, take, large=large)

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

    def _introduction(self, asking: bool) -> Introduction:
        one_of = HEADERS_SERVICES if asking else 0
        return Introduction(self._options.services, self._options.agent, self._provider.height(), one_of=one_of)

    async def _accepted(self, stream: trio.SocketStream) -> None:
        try:
            host, port = stream.socket.getpeername()[:2]
        except OSError:  # gone already
            await trio.aclose_forcefully(stream)
            return
        await self.accept(stream, str(host), int(port))

    async def _attend(self, peer: Peer) -> None:
        await self._attendant.attend(peer)

    def _merits(self, peer: str) -> Merits:
        """Of one who dialed us, for ``eviction``."""
        known = self._roster.peers.get(peer)
        if known is None or known.session is None:
            return Merits()
        return Merits(known.session.best_ping_s, known.told_at if known.told_at > known.began else None)

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
