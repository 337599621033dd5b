"""What goes on with one connected peer: statuses, pings, its metadata, and taking leave of it.

The dialler sends its Status first (phase0 p2p, "Status v1"); clients leave an inbound peer that has sent none after
10 to 15 s, and one that answers neither status, ping nor metadata after 40 s. A peer counts as up when its status was
accepted and identify has told that it serves light-client data.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from p2p.backoff import Backoff
from p2p.beacon import messages as m
from p2p.beacon.asking import Answer, Asker
from p2p.beacon.events import EventQueue, PeerStatus, PeerUp
from p2p.beacon.messages import GoodbyeReason
from p2p.beacon.peer import Peer
from p2p.beacon.protocols import GOODBYE, METADATA, PING, STATUS
from p2p.beacon.provider import Provider
from p2p.faults import FaultReason, RemoteFault

FIRST_STATUS_S: Final = 5.0
"""Seconds in which a peer that dialed us may send its Status before we ask: it has to, and often is about to."""

STATUS_RETRY_S: Final = 5.0
STATUS_RETRY_CAP_S: Final = 60.0
"""Between attempts to exchange statuses with a peer that did not answer."""

RESTATUS_S: Final = 300.0
"""Between two statuses, as the clients have it."""

RECHECK_S: Final = 12.0
"""A known peer whose status does not fit any more is asked once more after a slot: at a fork one of two honest clocks
is ahead, and a status can be under way across it."""

PING_S: Final = 30.0
"""Between two pings; the clients' own come every 15 to 30 s."""

UNUSED_S: Final = 60.0
"""A peer that serves no light-client data, or tells no status, is left after one to two of these, unless it asks us for
such data: there are more full nodes that do not serve it than our slots."""

GOODBYE_S: Final = 1.0
"""Seconds for a goodbye to go out before the connection is closed."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Attendant:
    """Attends the peers of one network. ``judge`` scores a fault, ``drop`` begins to take leave, ``opened`` hears of
    every peer that comes up."""

    asker: Asker
    provider: Provider
    network: str
    events: EventQueue
    metadata: m.MetaData
    rng: random.Random
    judge: Callable[[RemoteFault], object]
    drop: Callable[[Peer], None]
    opened: Callable[[Peer], None]

    async def attend(self, peer: Peer) -> None:
        """Until the peer is gone (cancelled from outside)."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._leave_when_told, peer)
            nursery.start_soon(self._keep_status, peer)
            nursery.start_soon(self._keep_pinging, peer)
            if not peer.static:
                nursery.start_soon(self._expect_use, peer)

    def heard(self, peer: Peer, status: m.Status) -> None:
        """A peer has told its status, asked or not."""
        why = self.provider.accepts(status)
        if why is None:
            changed, peer.status, peer.doubted = status != peer.status, status, False
            if peer.up and changed:
                self.events.publish(PeerStatus(peer.id, status))
        elif peer.status is not None and not peer.doubted:
            peer.doubted = True
            peer.again.set()  # the next one is due in a slot, whoever sent this one
        else:
            self.judge(RemoteFault(FaultReason.WRONG_NETWORK, peer.id, why, self.network))
        peer.news()
        self.consider(peer)

    def consider(self, peer: Peer) -> None:
        """Is it one that we can ask? Called when something was heard of it."""
        if peer.up or peer.leaving or peer.status is None or not peer.serves:
            return
        peer.up = True
        self.events.publish(PeerUp(peer.id, peer.status, peer.serves))
        self.opened(peer)

    async def say_goodbye(self, peer: Peer, reason: GoodbyeReason) -> None:
        """Tell it why it is left; its answer is not waited for long, and nothing about it is a fault."""
        with trio.move_on_after(GOODBYE_S):
            await self.asker.ask(peer, GOODBYE, lambda version: m.encode_uint64(reason))

    async def _leave_when_told(self, peer: Peer) -> None:
        await peer.left.wait()
        self.drop(peer)

    async def _keep_status(self, peer: Peer) -> None:
        if peer.inbound:
            with trio.move_on_after(FIRST_STATUS_S):
                await self._status_of(peer)
        retry = Backoff(STATUS_RETRY_S, STATUS_RETRY_CAP_S, self.rng)
        known = peer.status is not None
        while True:
            peer.again = trio.Event()
            if not known:
                await self._exchange(peer)
            known = False
            fine = peer.status is not None and not peer.doubted
            with trio.move_on_after(RESTATUS_S if fine else retry.next()):
                await peer.again.wait()
            if peer.doubted:
                await trio.sleep(RECHECK_S)

    async def _status_of(self, peer: Peer) -> None:
        while peer.status is None:
            await peer.heard.wait()

    async def _exchange(self, peer: Peer) -> None:
        def ours(version: int) -> bytes:
            return m.encode_status(self.provider.status(), version)

        answer = await self.asker.ask(peer, STATUS, ours)
        ssz = self._ssz(answer)
        if ssz is not None:
            self.heard(peer, m.decode_status(ssz))

    async def _keep_pinging(self, peer: Peer) -> None:
        while True:
            await trio.sleep(PING_S * self.rng.uniform(0.8, 1.0))
            answer = await self.asker.ask(peer, PING, lambda version: m.encode_uint64(self.metadata.seq_number))
            ssz = self._ssz(answer)
            if ssz is None:
                continue
            peer.seq_number = m.decode_uint64(ssz)
            if peer.metadata is None or peer.metadata.seq_number < peer.seq_number:
                await self._ask_metadata(peer)

    async def _ask_metadata(self, peer: Peer) -> None:
        answer = await self.asker.ask(peer, METADATA, lambda version: b"")
        ssz = self._ssz(answer)
        if ssz is not None and isinstance(answer, Answer):
            peer.metadata = m.decode_metadata(ssz, answer.version)

    def _ssz(self, answer: Answer | RemoteFault) -> bytes | None:
        """The one chunk of an answer. A fault is judged; a refusal, of what we have no need for, is not."""
        if isinstance(answer, RemoteFault):
            self.judge(answer)
            return None
        return answer.chunks[0].ssz if answer.chunks else None

    async def _expect_use(self, peer: Peer) -> None:
        unused = 0
        while unused < 2:
            await trio.sleep(UNUSED_S)
            unused = 0 if peer.in_use else unused + 1
        log.info("peer serves no light-client data", peer=peer.id, network=self.network)
        peer.part(GoodbyeReason.TOO_MANY_PEERS)
