"""The beacon wire as the node uses it: peers come and go by themselves, events tell of them, requests reach them,
faults are scored, what we have is served and gossiped. One network each, over a host of its own.

Everything that a peer can make grow is bounded where it grows, and multiplied by the number of connections, which the
host bounds.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
import trio

from p2p.addressbook import AddressBook, Source
from p2p.addresses import AddressError, PeerAddress, Reach, parse_address
from p2p.bans import BanList
from p2p.beacon import messages as m
from p2p.beacon.allowance import Allowance
from p2p.beacon.asking import Answer, Asker
from p2p.beacon.attending import GOODBYE_S, Attendant
from p2p.beacon.events import EventQueue, PeerDown
from p2p.beacon.gossip import LOOK_S, Topics
from p2p.beacon.messages import GoodbyeReason, MetaData
from p2p.beacon.peer import BeaconPeerInfo, Peer
from p2p.beacon.protocols import (
    BOOTSTRAP,
    EXCHANGES,
    FINALITY,
    MAX_REQUEST_LIGHT_CLIENT_UPDATES,
    OPTIMISTIC,
    UPDATES,
    Exchange,
)
from p2p.beacon.provider import Chunk, Provider
from p2p.beacon.serving import Door
from p2p.control import Control
from p2p.dialer import Dialer
from p2p.discv5.enr import EnrError, parse
from p2p.faults import FaultReason, RemoteFault
from p2p.port import Host
from p2p.roster import Roster
from p2p.saving import Offload, Saver
from p2p.score import Judgement, ScoreBoard

TARGET_OUTBOUND: Final = 8
"""Connections that we make ourselves from known addresses: inbound ones alone would be chosen by strangers. Of full
nodes about a half serve light-client data."""

CUSTODY_GROUP_COUNT: Final = 4
"""What our MetaData says: the least that a node of the network may say (fulu, ``CUSTODY_REQUIREMENT``). We hold no
column and offer no protocol to ask for one; but a 0 is out of range, and clients leave whoever says it."""

MAX_WAIT_S: Final = 3.0
"""An update request that would go above our own share with a peer waits so long for it; beyond that it comes back
empty-handed, so that another peer can be asked."""

RETELL_S: Final = 15.0
"""Between two rounds of telling every peer that another epoch is final: Lodestar grants five statuses in 15 s."""

log = structlog.get_logger(__name__)


class Started(Protocol):
    """What ``nursery.start`` passes in (``trio.TaskStatus``)."""

    def started(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Updates:
    """A response to LightClientUpdatesByRange. ``limited``: the peer stopped before its end, or would not begin, as a
    rate limit has it; what came is good, and the rest is for later."""

    chunks: tuple[Chunk, ...]
    limited: bool


class BeaconNet:
    """``run`` it once, inside the host's context. All methods belong to the trio thread.

    ``static`` are the configured peers (multiaddrs or ENRs; AddressError when one does not parse), ``book`` has further
    ones, ``wall`` gives Unix seconds. With ``local``, discovered addresses of loopback and private ranges are dialed,
    too (a devnet). With ``keep_last`` the last peer that has been useful is scored but never left; ``bans`` shut out
    whoever it is.
    """

    def __init__(
        self,
        host: Host,
        provider: Provider,
        scores: ScoreBoard,
        *,
        static: Sequence[str] = (),
        network: str,
        book: AddressBook | None = None,
        target_outbound: int = TARGET_OUTBOUND,
        local: bool = False,
        keep_last: bool = True,
        bans: BanList | None = None,
        wall: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        offload: Offload = trio.to_thread.run_sync,
    ) -> None:
        self.events = EventQueue()
        """What happens: ``PeerUp``, ``PeerDown``, ``PeerStatus``, ``Gossiped``. One consumer."""
        self._host = host
        self._provider = provider
        self._network = network
        self._scores = scores
        self._local = local
        self._up: set[str] = set()
        self._wall = wall
        self._book = AddressBook() if book is None else book
        self._saver = Saver((self._book, scores), offload)
        rng = rng or random.Random()  # noqa: S311  spreads load; an attacker gains nothing by knowing it
        addrs = [static_address(text) for text in static]
        self._dialer = Dialer(
            host, self._book, scores, addrs, target=target_outbound, wall=wall, rng=rng, bans=bans, network=network
        )
        self._roster = self._make_roster(keep_last, bans)
        self.control = Control(self._dialer, self._roster)
        """For the operator."""
        self._asker = Asker(host, provider, network)
        self._attendant = self._make_attendant(MetaData(custody_group_count=CUSTODY_GROUP_COUNT), rng)
        self._door = Door(network, provider, self._roster, self._attendant)
        self._topics = Topics(host, network, provider, self._roster, self.events)

    def _make_roster(self, keep_last: bool, bans: BanList | None) -> Roster[Peer, Allowance]:
        return Roster(
            self._host,
            self._scores,
            static=self._dialer.static_peers,
            keep_last=keep_last,
            wall=self._wall,
            make=Peer,
            allow=Allowance,
            attend=self._attend,
            gone=self._gone,
            changed=self._saver.changed,
            part=self._part,
            bans=bans,
        )

    def _make_attendant(self, metadata: MetaData, rng: random.Random) -> Attendant:
        return Attendant(
            self._asker,
            self._provider,
            self._network,
            self.events,
            metadata,
            rng,
            judge=self._roster.judge,
            drop=self._roster.drop,
            opened=self._opened,
        )

    async def run(self, *, task_status: Started = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Says goodbye to everybody, and saves what is worth it, at the end."""
        for exchange in EXCHANGES:
            for protocol in exchange.ids:
                self._host.handle(protocol, self._door.handle)
        self._host.on_identified(self._identified)
        try:
            async with trio.open_nursery() as nursery:
                for task in (self._roster.run, self._dialer.run, self._saver.run, self._topics.run, self._tell_changes):
                    nursery.start_soon(task)
                task_status.started()
        finally:
            with trio.CancelScope(shield=True):  # bounded by GOODBYE_S, and two small files
                await self._shut()
                await self._saver.save()

    # Requests. The deadline is the caller's: cancel at will. Report every fault; a scored one costs nothing.

    async def get_bootstrap(self, peer: str, root: bytes) -> Chunk | RemoteFault:
        """The bootstrap of a block root (32 bytes, natural order): not looked into."""
        return await self._one(peer, BOOTSTRAP, root)

    async def get_finality_update(self, peer: str) -> Chunk | RemoteFault:
        """The peer's latest."""
        return await self._one(peer, FINALITY)

    async def get_optimistic_update(self, peer: str) -> Chunk | RemoteFault:
        """The peer's latest."""
        return await self._one(peer, OPTIMISTIC)

    async def get_updates(self, peer: str, start_period: int, count: int) -> Updates | RemoteFault:
        """The peer's best updates from ``start_period`` on, up to ``count`` (<= 128, else ValueError): not looked into,
        so their periods are yet to be checked. None at all where it has nothing from there on.

        What came before a fault that may be the line's, or before a refusal, is kept, and ``limited``.
        """
        if not 1 <= count <= MAX_REQUEST_LIGHT_CLIENT_UPDATES:
            raise ValueError(f"count {count} outside 1..{MAX_REQUEST_LIGHT_CLIENT_UPDATES}")
        known = self._askable(peer)
        if known is None:
            return _not_connected(peer, self._network)
        await trio.lowlevel.checkpoint()
        if known.pause_left(UPDATES) or not await self._afford(known, count):
            return Updates((), limited=True)
        request = m.encode_range(start_period, count)
        answer = await self._asker.ask(known, UPDATES, lambda version: request, most=count)
        return answer if isinstance(answer, RemoteFault) else self._updates(known, answer)

    # What the node tells.

    async def announce(self) -> None:
        """The provider has something newer, committed: gossip it, once."""
        self._topics.notify()
        await trio.lowlevel.checkpoint()

    async def report(self, fault: RemoteFault) -> Judgement | None:
        """Score a fault; over the limit the peer is left and discouraged. None when it was scored already."""
        await trio.lowlevel.checkpoint()
        return self._roster.judge(fault)

    def useful(self, peer: str) -> None:
        """The peer brought something that was checked and taken."""
        self._roster.useful(peer)

    def found(self, addr: str) -> None:
        """An address was discovered: a multiaddr with ``/p2p/``."""
        try:
            parsed = parse_address(addr)
        except AddressError as error:
            log.debug("discovered address ignored", problem=str(error))
            return
        # Else any stranger could make us dial into the networks around us.
        near = parsed.reach is not Reach.PUBLIC and not self._local
        if parsed.peer != self._host.peer_id and not near and self._book.add(parsed, Source.DISCV5, self._wall()):
            self._saver.changed()
            self._dialer.notify()

    def peers(self) -> list[BeaconPeerInfo]:
        """Every connected peer."""
        now = self._wall()
        connections = {connection.peer: connection for connection in self._host.connections()}
        return [
            peer.info(self._scores.score(peer.id, now), connections.get(peer.id))
            for peer in self._roster.peers.values()
        ]

    # How it is done.

    def _askable(self, peer: str) -> Peer | None:
        known = self._roster.peers.get(peer)
        return None if known is None or known.leaving else known

    async def _one(self, peer: str, exchange: Exchange, request: bytes = b"") -> Chunk | RemoteFault:
        known = self._askable(peer)
        if known is None:
            return _not_connected(peer, self._network)
        pause = known.pause_left(exchange)
        if pause:
            evidence = f"{exchange.name}: wants to be left alone for {pause:.0f} s"
            return RemoteFault(FaultReason.REFUSED, peer, evidence, self._network, scored=True)
        answer = await self._asker.ask(known, exchange, lambda version: request)
        if isinstance(answer, RemoteFault):
            return answer
        if answer.chunks:
            return answer.chunks[0]
        return self._refused(known, exchange, answer)

    def _refused(self, peer: Peer, exchange: Exchange, answer: Answer) -> RemoteFault:
        """A refusal is a fault of the mildest kind, and none where it is about our pace."""
        refusal = answer.refusal
        if refusal is None:
            raise RuntimeError("an answer without chunk, refusal and fault")
        evidence = f"{exchange.name}: code {refusal.code}: {refusal.text}"
        return RemoteFault(refusal.reason, peer.id, evidence, self._network, scored=refusal.rate_limited)

    async def _afford(self, peer: Peer, count: int) -> bool:
        """Wait for our own share of updates with a peer, if not for long."""
        delay = peer.updates.charge(count, trio.current_time())
        if delay > MAX_WAIT_S:
            peer.updates.give(count)
            return False
        try:
            await trio.sleep(delay)
        except trio.Cancelled:  # nobody asks any more: what was not asked is not spent
            peer.updates.give(count)
            raise
        return True

    def _updates(self, peer: Peer, answer: Answer) -> Updates | RemoteFault:
        chunks, refusal, fault = tuple(answer.chunks), answer.refusal, answer.fault
        if fault is not None and fault.reason not in (FaultReason.TIMEOUT, FaultReason.DISCONNECTED):
            return fault
        if fault is not None:
            self._roster.judge(fault)
        if refusal is not None and not chunks and not refusal.rate_limited:
            return self._refused(peer, UPDATES, answer)
        return Updates(chunks, limited=refusal is not None or fault is not None or answer.cut)

    async def _attend(self, peer: Peer) -> None:
        self._identified(peer.id)
        await self._attendant.attend(peer)

    def _identified(self, peer_id: str) -> None:
        peer = self._roster.peers.get(peer_id)
        if peer is None:
            return
        for connection in self._host.connections():
            if connection.peer == peer_id:
                peer.protocols = frozenset(connection.protocols)
        self._attendant.consider(peer)

    def _opened(self, peer: Peer) -> None:
        self._up.add(peer.id)
        self._dialer.opened(peer.id)
        self._saver.changed()

    def _gone(self, peer_id: str) -> None:
        self._dialer.gone(peer_id)
        if peer_id in self._up:
            self._up.remove(peer_id)
            self.events.publish(PeerDown(peer_id))

    async def _part(self, peer: Peer) -> None:
        if peer.goodbye is None:
            await trio.sleep(GOODBYE_S)  # our answer to its own is on the way
        else:
            await self._attendant.say_goodbye(peer, peer.goodbye)
        await self._host.disconnect(peer.id)

    async def _shut(self) -> None:
        """Goodbyes to all at once; a connection that is gone by then is nobody's fault."""
        async with trio.open_nursery() as nursery:
            for connection in self._host.connections():
                peer = Peer(connection.peer, connection.addr, connection.inbound, False, 0.0, Allowance(0.0))
                nursery.start_soon(self._attendant.say_goodbye, peer, GoodbyeReason.CLIENT_SHUTDOWN)

    async def _tell_changes(self) -> None:
        """When our fork digest changes, or another epoch is final, everybody is told, and asked. Who follows by us
        alone, and came when we had little, would else wait for the next status for minutes."""
        said, told_at = self._said(), trio.current_time()
        while True:
            await trio.sleep(LOOK_S)
            digest, epoch = self._said()
            soon = trio.current_time() < told_at + RETELL_S
            if digest == said[0] and (epoch == said[1] or soon):
                continue
            log.debug("status told", network=self._network, digest=digest.hex(), epoch=epoch)
            said, told_at = (digest, epoch), trio.current_time()
            for peer in self._roster.peers.values():
                peer.again.set()

    def _said(self) -> tuple[bytes, int]:
        try:
            status = self._provider.status()
        except Exception:  # firewall around the provider: it is asked again soon; nothing is hidden
            log.exception("provider failed", network=self._network)
            return b"", 0
        return status.fork_digest, status.finalized_epoch


def static_address(text: str) -> PeerAddress:
    """Where to dial a configured peer, a multiaddr with ``/p2p/`` or an ENR; AddressError."""
    if not text.startswith("enr:"):
        return parse_address(text)
    try:
        addr = parse(text).multiaddr()
    except EnrError as error:
        raise AddressError(f"{text[:40]}...: {error}") from None
    if addr is None:
        raise AddressError(f"{text[:40]}... names no TCP address")
    return parse_address(addr)


def _not_connected(peer: str, network: str) -> RemoteFault:
    """Nobody's offence: the caller asked too late."""
    return RemoteFault(FaultReason.DISCONNECTED, peer, "not connected", network, scored=True)
