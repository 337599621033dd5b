"""The mesh as the node uses it: peers come and go by themselves, events tell of them, requests reach them,
faults are scored, and what we have is served. Without peers, addresses or requests it sleeps.

Everything that a peer can make grow is bounded where it grows, and multiplied by the number of connections,
which the host bounds: one state, and per network one session and two served streams.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog
import trio

from p2p.addressbook import AddressBook, Source
from p2p.addresses import AddressError, PeerAddress, Reach, host_of, parse_address
from p2p.bans import BanList
from p2p.control import Control
from p2p.dialer import Dialer
from p2p.faults import FaultReason, RemoteFault
from p2p.mesh.codec import Headers
from p2p.mesh.events import EventQueue
from p2p.mesh.following import Follower, headers_protocol
from p2p.mesh.gossip import TipCheck, TipTopic
from p2p.mesh.inbound import Door
from p2p.mesh.peer import Peer, PeerInfo
from p2p.mesh.proofs import fetch_proof, proof_protocol
from p2p.mesh.serving import Allowance, Provider
from p2p.mesh.session import Session
from p2p.port import ConnectionInfo, Host
from p2p.roster import Roster
from p2p.saving import Offload, Saver
from p2p.score import Judgement, ScoreBoard

TARGET_OUTBOUND: Final = 8
"""Connections that we make ourselves from known addresses, as many as Bitcoin Core's full-relay ones:
inbound ones alone would be chosen by strangers."""

IDENTIFY_WAIT_S: Final = 10.0
"""Before an inbound peer's listen addresses are looked at; identify runs right after the handshake."""

MAX_LISTEN_ADDRS: Final = 16
"""Of the addresses that a peer claims, how many are looked at; it fills the list."""

UNUSED_S: Final = 60.0
"""A connection without any mesh stream for one to two of these is closed: it speaks none of our protocols."""

log = structlog.get_logger(__name__)


class Started(Protocol):
    """What ``nursery.start`` passes in (``trio.TaskStatus``)."""

    def started(self) -> None: ...


class Mesh:
    """``run`` it once, inside the host's context. All methods belong to the trio thread.

    ``static`` are the configured peers (multiaddr texts; AddressError when one does not parse),
    ``wall`` gives Unix seconds. With ``keep_last`` the last peer that has been useful is scored but
    never left; ``bans`` shut out whoever it is.
    """

    def __init__(
        self,
        host: Host,
        networks: Mapping[str, Provider],
        book: AddressBook,
        scores: ScoreBoard,
        *,
        check_tip: TipCheck,
        static: Sequence[str] = (),
        target_outbound: int = TARGET_OUTBOUND,
        keep_last: bool = True,
        bans: BanList | None = None,
        wall: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        offload: Offload = trio.to_thread.run_sync,
    ) -> None:
        self.events = EventQueue()
        """What happens: ``PeerUp``, ``PeerDown``, ``PeerTip``, ``TipGossip``. One consumer."""
        self._host = host
        self._networks = dict(networks)
        self._book = book
        self._scores = scores
        self._wall = wall
        self._saver = Saver((book, scores), offload)
        rng = rng or random.Random()  # noqa: S311  spreads load; an attacker gains nothing by knowing it
        self._dialer = Dialer(
            host,
            book,
            scores,
            [parse_address(text) for text in static],
            target=target_outbound,
            wall=wall,
            rng=rng,
            bans=bans,
        )
        self._roster = self._make_roster(keep_last, bans)
        self.control = Control(self._dialer, self._roster)
        """For the operator."""
        self._follower = Follower(host, self.events, self._roster.judge, self._opened, rng)
        self._topics = {
            network: TipTopic(host, network, provider, self._roster, self.events, check_tip)
            for network, provider in self._networks.items()
        }

    def _make_roster(self, keep_last: bool, bans: BanList | None) -> Roster[Peer, Allowance]:
        return Roster(
            self._host,
            self._scores,
            make=Peer,
            allow=Allowance,
            static=self._dialer.static_peers,
            keep_last=keep_last,
            wall=self._wall,
            attend=self._attend,
            gone=self._dialer.gone,
            changed=self._saver.changed,
            bans=bans,
        )

    async def run(self, *, task_status: Started = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Saves the address book and the discouragements at the end."""
        for network, provider in self._networks.items():
            door = Door(network, provider, self._roster)
            self._host.handle(headers_protocol(network), door.headers)
            self._host.handle(proof_protocol(network), door.proofs)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._roster.run)
                nursery.start_soon(self._dialer.run)
                nursery.start_soon(self._saver.run)
                for topic in self._topics.values():
                    nursery.start_soon(topic.run)
                task_status.started()
        finally:
            with trio.CancelScope(shield=True):  # two small files
                await self._saver.save()

    async def get_headers_by_locator(
        self, peer: str, network: str, locator: Sequence[bytes], count: int
    ) -> Headers | RemoteFault:
        """Up to ``count`` (<= 8,064) headers after the first hash of ``locator`` (<= 64 hashes,
        internal byte order) on the peer's main chain; none when the peer has nothing above it.

        ValueError outside these limits. The deadline is the caller's: cancel at will. Report every
        fault; one that is already scored costs nothing.
        """
        session = self._session(peer, network)
        if session is None:
            return _not_connected(peer, network)
        return await session.get_headers_by_locator(tuple(locator), count)

    async def get_headers_by_range(self, peer: str, network: str, start: int, count: int) -> Headers | RemoteFault:
        """``count`` (<= 8,064) headers of the peer's main chain from ``start``, fewer only at its
        tip. Otherwise as ``get_headers_by_locator``."""
        session = self._session(peer, network)
        if session is None:
            return _not_connected(peer, network)
        return await session.get_headers_by_range(start, count)

    async def get_proof(self, peer: str, network: str, height: int, cp_height: int) -> bytes | RemoteFault:
        """The peer's proof bundle for ``height`` in its header tree up to ``cp_height``: bytes, not
        looked into."""
        return await fetch_proof(self._host, peer, network, height, cp_height)

    async def announce(self, network: str) -> None:
        """The network's provider has a new committed tip: tell every peer that listens, and gossip it."""
        for peer in self._roster.peers.values():
            for server in peer.servers.get(network, ()):
                server.notify()
        self._topics[network].notify()
        await trio.lowlevel.checkpoint()

    async def report(self, fault: RemoteFault) -> Judgement | None:
        """Score a fault; over the limit the peer is disconnected and discouraged. None when it was
        scored already."""
        await trio.lowlevel.checkpoint()
        return self._roster.judge(fault)

    def useful(self, peer: str) -> None:
        """The peer brought something that was checked and taken. Only useful peers are spared as
        the last one."""
        self._roster.useful(peer)

    def found(self, addr: str) -> None:
        """An address was discovered on the local network (mDNS). One that is not local is not believed."""
        try:
            parsed = parse_address(addr)
        except AddressError as error:
            log.debug("discovered address ignored", problem=str(error))
            return
        if parsed.reach is not Reach.PUBLIC:
            self._learn(parsed, Source.MDNS)

    def peers(self) -> list[PeerInfo]:
        """Every connected peer."""
        now = self._wall()
        traffic = {connection.peer: connection for connection in self._host.connections()}
        return [self._info(peer, traffic.get(peer.id), now) for peer in self._roster.peers.values()]

    def _info(self, peer: Peer, connection: ConnectionInfo | None, now: float) -> PeerInfo:
        return peer.info(self._scores.score(peer.id, now), connection)

    def _session(self, peer: str, network: str) -> Session | None:
        state = self._roster.peers.get(peer)
        return state.sessions.get(network) if state is not None else None

    async def _attend(self, peer: Peer) -> None:
        async with trio.open_nursery() as nursery:
            for network, provider in self._networks.items():
                nursery.start_soon(self._follower.follow, peer, network, provider)
            if peer.inbound:
                nursery.start_soon(self._identify, peer)
            if not peer.static:
                nursery.start_soon(self._expect_use, peer)

    def _opened(self, peer: Peer) -> None:
        self._dialer.opened(peer.id)
        self._saver.changed()

    async def _expect_use(self, peer: Peer) -> None:
        unused = 0
        while unused < 2:
            await trio.sleep(UNUSED_S)
            unused = 0 if peer.in_use else unused + 1
        log.info("peer speaks none of our protocols", peer=peer.id)
        self._roster.drop(peer)

    async def _identify(self, peer: Peer) -> None:
        """Learn where an inbound peer of the mesh listens. Only at the address that it comes from:
        it must not be able to make us dial third parties."""
        await trio.sleep(IDENTIFY_WAIT_S)
        for connection in self._host.connections():
            if connection.peer == peer.id and peer.in_use:
                for addr in _listening(connection):
                    self._learn(addr, Source.IDENTIFY)

    def _learn(self, addr: PeerAddress, source: Source) -> None:
        if addr.peer != self._host.peer_id and self._book.add(addr, source, self._wall()):
            self._saver.changed()
            self._dialer.notify()


def _listening(connection: ConnectionInfo) -> list[PeerAddress]:
    """Of what the remote says about itself, what can be believed."""
    believed = []
    for text in connection.listen_addrs[:MAX_LISTEN_ADDRS]:
        try:
            addr = parse_address(text)
        except AddressError:
            continue
        if addr.peer == connection.peer and addr.host == host_of(connection.addr):
            believed.append(addr)
    return believed


def _not_connected(peer: str, network: str) -> RemoteFault:
    """Nobody's offence: the caller asked too late."""
    return RemoteFault(FaultReason.DISCONNECTED, peer, "no session", network, scored=True)
