"""Follows one peer on one network: opens our headers session, keeps it, and opens it again after it broke."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from p2p.backoff import Backoff
from p2p.faults import RemoteFault
from p2p.mesh.events import EventQueue, PeerDown, PeerTip, PeerUp
from p2p.mesh.peer import Peer
from p2p.mesh.serving import Provider
from p2p.mesh.session import Session, open_session
from p2p.port import Host, StreamRefused

RETRY_FIRST_S: Final = 1.0
RETRY_CAP_S: Final = 60.0
"""Between two sessions with a peer that stays connected. One that does not speak the protocol is asked
again at this pace too, and at once when it opens a stream of that protocol to us."""

STABLE_S: Final = 60.0
"""A session that lasted this long makes the next retry quick again."""


def headers_protocol(network: str) -> str:
    return f"/spvnode/{network}/headers/1"


@dataclass(frozen=True, slots=True)
class Follower:
    """What following needs from the mesh. ``judge`` scores a fault, ``opened`` hears of every session."""

    host: Host
    events: EventQueue
    judge: Callable[[RemoteFault], object]
    opened: Callable[[Peer], None]
    rng: random.Random

    async def follow(self, peer: Peer, network: str, provider: Provider) -> None:
        """Until the peer is gone (cancelled from outside) or the network is given up with it."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_CAP_S, self.rng)
        while network not in peer.left:
            began = trio.current_time()
            retry = peer.retry[network] = trio.Event()
            await self._session(peer, network, provider)
            if trio.current_time() - began >= STABLE_S:
                backoff.reset()
            with trio.move_on_after(backoff.next()):
                await retry.wait()

    async def _session(self, peer: Peer, network: str, provider: Provider) -> None:
        try:
            stream = await self.host.open_stream(peer.id, headers_protocol(network))
        except StreamRefused:
            return  # it need not serve this network
        session = await open_session(
            stream,
            network,
            provider.hello(),
            lambda hello: self.events.publish(PeerTip(peer.id, network, hello)),
        )
        if isinstance(session, RemoteFault):
            self.judge(session)
        else:
            await self._keep(peer, network, session)

    async def _keep(self, peer: Peer, network: str, session: Session) -> None:
        peer.sessions[network] = session
        self.events.publish(PeerUp(peer.id, network, session.hello, peer.addr, peer.inbound))
        self.opened(peer)
        why = "disconnected"
        try:
            fault = await session.run()
            why = f"{fault.reason}: {fault.evidence}" if fault else "the session was closed"
        finally:
            del peer.sessions[network]
            peer.headers_received += session.headers_received
            self.events.publish(PeerDown(peer.id, network, why))
        if fault is not None:
            self.judge(fault)
