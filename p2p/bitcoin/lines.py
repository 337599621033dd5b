"""The connections that stand: made by us or accepted, told to the roster, closed for it. ``roster.Connections``.

Whoever dials us while all places for that are taken gets that of the one who deserves it least (``eviction``).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
import trio
from trio.abc import Stream

from p2p.bitcoin.addrman import AddrMan
from p2p.bitcoin.connect import Connected, Greeter, NotWanted, Outcome
from p2p.bitcoin.dialing import Dial, Target, target_of
from p2p.bitcoin.eviction import Candidate, choose
from p2p.bitcoin.handshake import Refusal
from p2p.bitcoin.messages import Services
from p2p.bitcoin.netaddr import NetAddressError, endpoint_of_ip
from p2p.bitcoin.peer import Kind, Line
from p2p.bucket import TokenBucket
from p2p.faults import FaultReason, RemoteFault
from p2p.port import DialFailed
from p2p.troubles import Troubles

MAX_INBOUND: Final = 32
"""Inbound connections, handshakes included. Strangers fill it; then who deserves it least makes room for the next, and
those that we made ourselves, which are the ones that we follow, are as before."""
MAX_PER_HOST: Final = 4
"""Of these from one address; the others share what is left."""
ACCEPT_RATE: Final = 2.0
ACCEPT_BURST: Final = 32.0
"""Connections a second, and at once, that are accepted at all: a v2 handshake costs a millisecond. No faster can
strangers push each other out."""
MAX_OURSELVES: Final = 16
"""Addresses under which we have met ourselves: our own, as others see them."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Merits:
    """Of one who dialed us; see ``eviction.Candidate``."""

    ping_s: float | None = None
    news_at: float | None = None


@dataclass(slots=True)
class _Shaking:
    """An inbound handshake under way."""

    target: Target
    began: float
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Lines:
    """``dial`` and ``accept`` make them; ``changed`` hears of every one that comes or goes. ``merits``: of a peer that
    dialed us."""

    def __init__(
        self,
        greeter: Greeter,
        dial: Dial,
        book: AddrMan,
        *,
        judge: Callable[[RemoteFault], object],
        unwelcome: Callable[[str], bool],
        merits: Callable[[str], Merits],
        wall: Callable[[], float],
        changed: Callable[[], None],
        network: str = "bitcoin",
    ) -> None:
        self._greeter = greeter
        self._dial = dial
        self._book = book
        self._judge = judge
        self._unwelcome = unwelcome
        self._merits = merits
        self._wall = wall
        self._changed = changed
        self._key = secrets.token_bytes(16)
        self._callbacks: list[Callable[[str, bool, str, bool], None]] = []
        self._lines: dict[str, Line] = {}
        self._shaking: dict[str, _Shaking] = {}
        self._accepts = TokenBucket(ACCEPT_RATE, ACCEPT_BURST, 0.0)
        self.troubles = Troubles(network)
        """With the targets that the operator named, as they are written."""
        self.ourselves: dict[str, None] = {}
        """Peers that turned out to be ourselves, in order."""

    # roster.Connections

    def on_peer(self, callback: Callable[[str, bool, str, bool], None]) -> None:
        self._callbacks.append(callback)

    def connections(self) -> list[Line]:
        return list(self._lines.values())

    async def disconnect(self, peer: str) -> None:
        line = self._lines.pop(peer, None)
        if line is not None:
            self._greeter.forget(line.connected.nonce)
            await line.connected.link.close()
            line.ended.set()
            self._tell(line, False)

    def get(self, peer: str) -> Line | None:
        return self._lines.get(peer)

    # Making them.

    async def dial(self, target: Target, kind: Kind) -> bool:
        """One attempt; False where nothing came of it. Faults of the handshake are judged here."""
        endpoint, now = target.endpoint, int(self._wall())
        entry = self._book.get(endpoint) if endpoint is not None else None
        # Whoever has shown that he speaks no v2 need not hang up on us first.
        v2 = entry is None or not entry.last_success or bool(entry.services & Services.P2P_V2)
        if endpoint is not None:
            self._book.attempt(endpoint, now)
        try:
            outcome = await self._greeter.dial(target, self._dial, v2=v2, named=kind is Kind.MANUAL)
        except DialFailed as failed:
            self.troubles.failed(str(target), str(failed))
            return False
        except Exception:  # firewall: one address must not take the wire down; nothing is hidden
            log.exception("dialing failed", addr=str(target))
            return False
        if isinstance(outcome, NotWanted):
            self.troubles.failed(str(target), outcome.text)
            self._not_wanted(target.peer, outcome)
            return False
        if endpoint is not None:
            self._book.good(endpoint, int(self._wall()), outcome.remote.services)
        return await self._enter(Line(target, kind, outcome))

    async def accept(self, stream: Stream, host: str, port: int) -> None:
        """Somebody has dialed us from there. Returns when the connection has ended."""
        target = _from(host, port)
        admitted = self._admits(target)
        crowded = admitted and self._inbound() >= MAX_INBOUND
        leaves = self._least_deserving() if crowded else None
        if not admitted or (crowded and leaves is None):
            await trio.aclose_forcefully(stream)
            return
        shaking = self._shaking[target.peer] = _Shaking(target, trio.current_time())
        outcome: Outcome = NotWanted(Refusal.CROWDED, "made room for another")
        try:
            if leaves is not None:
                await self._make_room(leaves)
            with shaking.scope:
                outcome = await self._greeter.answer(stream, target.peer)
        finally:
            if self._shaking.get(target.peer) is shaking:
                del self._shaking[target.peer]
        if isinstance(outcome, Connected):
            line = Line(target, Kind.INBOUND, outcome)
            if await self._enter(line):
                await line.ended.wait()
        else:
            if outcome.fault is not None and outcome.fault.reason is FaultReason.DISCONNECTED:
                outcome = replace(outcome, fault=None)  # a full node that dialed us, and saw that we have no blocks
            self._not_wanted(target.peer.rpartition(":")[0], outcome)  # the next time its port is another

    def _admits(self, target: Target) -> bool:
        lines = [line.target.host for line in self._lines.values() if line.inbound]
        hosts = lines + [shaking.target.host for shaking in self._shaking.values()]
        if hosts.count(target.host) >= MAX_PER_HOST:
            return False
        if target.peer in self._lines or target.peer in self._shaking or self._unwelcome(target.peer):
            return False
        return self._accepts.take(1, trio.current_time())

    def _inbound(self) -> int:
        return sum(line.inbound for line in self._lines.values()) + len(self._shaking)

    def _least_deserving(self) -> str | None:
        """Who leaves, without any fault of his, where one more comes."""
        candidates = [Candidate(peer, one.target.group, one.began) for peer, one in self._shaking.items()]
        for line in self._lines.values():
            if line.inbound:
                merits = self._merits(line.peer)
                candidates.append(Candidate(line.peer, line.target.group, line.began, merits.ping_s, merits.news_at))
        return choose(candidates, self._key)

    async def _make_room(self, peer: str) -> None:
        log.debug("peer makes room for another", peer=peer)
        shaking = self._shaking.pop(peer, None)
        if shaking is None:
            await self.disconnect(peer)
        else:
            shaking.scope.cancel()

    def _not_wanted(self, peer: str, outcome: NotWanted) -> None:
        log.debug("peer not wanted", peer=peer, why=outcome.why, text=outcome.text)
        if outcome.why is Refusal.SELF:
            self.ourselves[peer] = None
            if len(self.ourselves) > MAX_OURSELVES:
                del self.ourselves[next(iter(self.ourselves))]
        if outcome.fault is not None:
            self._judge(replace(outcome.fault, peer=peer))

    async def _enter(self, line: Line) -> bool:
        if line.peer in self._lines:  # it was faster the other way
            self._greeter.forget(line.connected.nonce)
            await line.connected.link.close()
            return False
        self._lines[line.peer] = line
        self.troubles.cleared(str(line.target))
        self._tell(line, True)
        return True

    def _tell(self, line: Line, connected: bool) -> None:
        for callback in self._callbacks:
            callback(line.peer, connected, line.addr, line.inbound)
        self._changed()


def _from(host: str, port: int) -> Target:
    try:
        return target_of(endpoint_of_ip(host, port))
    except NetAddressError:  # a socket of another family
        return Target(host, port)
