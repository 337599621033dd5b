"""Who is connected, how it behaves, and what follows from that.

One task group per connection, under a firewall: whatever goes wrong in it ends that connection and nothing
else. What is kept of a peer is the wire's own: the mesh's and the beacon wire's rosters differ in that only. Bounds:
one peer per connection of the host, ``MAX_ALLOWANCES``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Final, Generic, Protocol, TypeVar

import structlog
import trio

from p2p.bans import BanList
from p2p.faults import FaultReason, RemoteFault
from p2p.score import Action, Judgement, ScoreBoard

MAX_ALLOWANCES: Final = 512
"""Peers whose serving allowance outlives their connection, so that reconnecting does not refill it;
strangers fill it, the longest unused makes room."""

log = structlog.get_logger(__name__)


class Connection(Protocol):
    """One connection, as far as the roster looks at it."""

    @property
    def peer(self) -> str: ...

    @property
    def addr(self) -> str: ...

    @property
    def inbound(self) -> bool: ...


class Connections(Protocol):
    """What has them: a libp2p host, or a chain's own wire."""

    def on_peer(self, callback: Callable[[str, bool, str, bool], None], /) -> None:
        """As ``port.Host.on_peer``."""

    def connections(self) -> Sequence[Connection]:
        """Those that stand."""

    async def disconnect(self, peer: str) -> None:
        """Soon, and in bounded time."""


class Attended(Protocol):
    """One connected peer, as far as the roster looks at it."""

    id: str
    addr: str
    scope: trio.CancelScope
    leaving: bool
    last_useful: float | None

    @property
    def useful(self) -> bool:
        """It has brought something, and can bring more."""

    def leave(self, network: str) -> None:
        """Give up one network with it."""


P = TypeVar("P", bound=Attended)
A = TypeVar("A")


class Roster(Generic[P, A]):
    """``make`` a peer of (id, addr, inbound, static, since, allowance) and ``allow`` what it may cost us, from now;
    ``attend`` runs for every connection until it ends; ``part`` takes leave of one, within a bounded time, and ends
    with ``Host.disconnect``; ``gone`` hears of its end, ``changed`` of what is worth saving. ``scored_as``: under which
    name a peer's faults count, where its own is new with every connection. ``bans``: whom to part from at once."""

    def __init__(
        self,
        host: Connections,
        scores: ScoreBoard,
        *,
        static: AbstractSet[str],
        keep_last: bool,
        wall: Callable[[], float],
        make: Callable[[str, str, bool, bool, float, A], P],
        allow: Callable[[float], A],
        attend: Callable[[P], Awaitable[None]],
        gone: Callable[[str], None],
        changed: Callable[[], None],
        part: Callable[[P], Awaitable[None]] | None = None,
        scored_as: Callable[[str], str] = lambda peer: peer,
        bans: BanList | None = None,
    ) -> None:
        self._host = host
        self._scores = scores
        self._static = static
        self._keep_last = keep_last
        self._wall = wall
        self._make = make
        self._allow = allow
        self._attend = attend
        self._part = part
        self._gone = gone
        self._changed = changed
        self._scored_as = scored_as
        self._bans = BanList() if bans is None else bans
        self._allowances: OrderedDict[str, A] = OrderedDict()
        self._nursery: trio.Nursery | None = None
        self.peers: dict[str, P] = {}

    async def run(self) -> None:
        unwatch = self._bans.watch(self._enforce_bans)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._host.on_peer(self._on_peer)
                for connection in self._host.connections():
                    self._on_peer(connection.peer, True, connection.addr, connection.inbound)
                await trio.sleep_forever()
        finally:
            unwatch()
            self._nursery = None
            self.peers.clear()

    def judge(self, fault: RemoteFault) -> Judgement | None:
        """Score a fault and do what its judgement asks for; None when it was scored already."""
        if fault.scored:
            return None
        peer = self.peers.get(fault.peer)
        judgement = self._scores.report(
            replace(fault, peer=self._scored_as(fault.peer)),
            self._wall(),
            connected=len(self.peers),
            static=fault.peer in self._static,
            last=self._keep_last and peer is not None and self._is_last_useful(peer),
        )
        # A peer can commit many small faults; only what has a consequence may fill the log.
        tell = log.debug if judgement.action is Action.KEEP else log.info
        tell(
            "peer fault",
            peer=fault.peer,
            network=fault.network,
            reason=fault.reason,
            evidence=fault.evidence,
            action=judgement.action,
            score=round(judgement.score, 1),
        )
        if peer is not None:
            self._act(peer, fault, judgement)
        self._changed()
        return judgement

    def drop(self, peer: P) -> None:
        """Disconnect, soon."""
        if not peer.leaving and self._nursery is not None:
            peer.leaving = True
            self._nursery.start_soon(self._disconnect, peer)

    def useful(self, peer_id: str) -> None:
        peer = self.peers.get(peer_id)
        if peer is not None:
            peer.last_useful = self._wall()

    def _act(self, peer: P, fault: RemoteFault, judgement: Judgement) -> None:
        if judgement.action is Action.DISCOURAGE:
            self.drop(peer)
        elif fault.reason is FaultReason.WRONG_NETWORK:
            peer.leave(fault.network)

    def _is_last_useful(self, peer: P) -> bool:
        others = (other for other in self.peers.values() if other is not peer)
        return peer.useful and not any(other.useful for other in others)

    def _on_peer(self, peer_id: str, connected: bool, addr: str, inbound: bool) -> None:
        if self._nursery is None:
            return
        if not connected:
            self._disconnected(peer_id)
        elif peer_id not in self.peers:
            static = peer_id in self._static
            peer = self._make(peer_id, addr, inbound, static, self._wall(), self._allowance(self._scored_as(peer_id)))
            self.peers[peer_id] = peer
            log.info("peer connected", peer=peer_id, addr=addr, inbound=inbound)
            if self._unwanted(peer):
                self.drop(peer)
            else:
                self._nursery.start_soon(self._firewalled, peer)

    def _unwanted(self, peer: P) -> bool:
        """It is left alone for a time, or the operator has banned it."""
        now = self._wall()
        return (
            self._scores.discouraged_until(self._scored_as(peer.id), now) is not None
            or self._bans.until(peer.id, peer.addr, now) is not None
        )

    def _enforce_bans(self) -> None:
        for peer in list(self.peers.values()):
            if self._bans.until(peer.id, peer.addr, self._wall()) is not None:
                self.drop(peer)

    def _disconnected(self, peer_id: str) -> None:
        peer = self.peers.pop(peer_id, None)
        if peer is not None:
            log.info("peer disconnected", peer=peer_id)
            peer.scope.cancel()
            self._gone(peer_id)
            self._changed()

    async def _firewalled(self, peer: P) -> None:
        try:
            with peer.scope:
                await self._attend(peer)
        except Exception:  # firewall: one peer must not take the others down; nothing is hidden
            log.exception("peer task failed", peer=peer.id)
            self.drop(peer)

    async def _disconnect(self, peer: P) -> None:
        try:
            if self._part is None:
                await self._host.disconnect(peer.id)
            else:
                await self._part(peer)
        except Exception:  # firewall, as above
            log.exception("disconnect failed", peer=peer.id)

    def _allowance(self, peer_id: str) -> A:
        """Of this peer, as it left it."""
        allowance = self._allowances.pop(peer_id, None) or self._allow(trio.current_time())
        self._allowances[peer_id] = allowance
        if len(self._allowances) > MAX_ALLOWANCES:
            self._allowances.popitem(last=False)
        return allowance
