"""With whom we are connected, and why: configured peers for ever, eight from the book and two anchors, each in a
network group of its own; a feeler now and then; one more when the chain stands still, or when too few serve compact
filters, and the worst of them left again.

Never more than one peer is left in one look around, so that no mistake about the chain can take all of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import trio

from p2p.backoff import Backoff
from p2p.bitcoin.addrman import AddrMan
from p2p.bitcoin.anchors import MAX_ANCHORS, load_anchors, save_anchors
from p2p.bitcoin.dialing import Target, target_of
from p2p.bitcoin.lagging import MAX_PROTECTED, MIN_CONNECTED_S, STALE_BLOCKS, Step
from p2p.bitcoin.lines import Lines
from p2p.bitcoin.messages import Services
from p2p.bitcoin.netaddr import Endpoint
from p2p.bitcoin.peer import Kind, Peer
from p2p.dialer import MAX_KEPT, STABLE_S, STATIC_CAP_S, STATIC_FIRST_S, TooManyKept
from p2p.saving import Offload
from p2p.troubles import Missing

OUTBOUND: Final = 8
"""Connections to addresses of the book (Core's MAX_OUTBOUND_FULL_RELAY_CONNECTIONS)."""
FILTER_PEERS: Final = 2
"""Peers of our choice that serve compact filters are looked for until there are so many: fewer cannot be compared, and
of eight drawn blindly there may be none. What an address is said to serve may be a lie: so no more than these are
chosen for it at a time, those included that turn out to serve none, and whoever tells lies wins these two places."""
MAX_DIALS: Final = 3
"""Dials under way: a book of dead addresses costs ten seconds each."""
PAUSE_S: Final = 0.5
"""Between two dials."""
LOOK_S: Final = 60.0
"""Longest wait before the book is looked into again: attempts become due without anybody telling."""
FEELER_S: Final = 120.0
"""Mean time between feelers (Core's FEELER_INTERVAL)."""
TEND_S: Final = 45.0
"""Between two looks at who is of use (Core's EXTRA_PEER_CHECK_INTERVAL)."""
ASK_ALL_S: Final = 600.0
"""Between two rounds of asking everybody, and one more, while the tip is stale (Core's STALE_CHECK_INTERVAL): a lost
announcement must not make us deaf."""

log = structlog.get_logger(__name__)


class Population:
    """``run`` it; ``notify`` it of connections that come and go, and of a book that has grown."""

    def __init__(
        self,
        lines: Lines,
        peers: Mapping[str, Peer],
        book: AddrMan,
        *,
        manual: Sequence[Target],
        outbound: int,
        anchors: int,
        anchor_path: Path | None,
        height: Callable[[], int],
        spacing: float,
        unwelcome: Callable[[str], bool],
        drop: Callable[[Peer], None],
        ask: Callable[[str], None],
        wall: Callable[[], float],
        rng: random.Random,
        offload: Offload,
    ) -> None:
        self._lines = lines
        self._peers = peers
        self._book = book
        self._manual = {target: trio.CancelScope() for target in manual}
        for target in manual:
            lines.troubles.expect(str(target))
        self._nursery: trio.Nursery | None = None
        self._waiting: list[Target] = []
        self._outbound = outbound
        self._anchors = min(anchors, MAX_ANCHORS)
        self._anchor_path = anchor_path
        self._height = height
        self._stale_s = STALE_BLOCKS * spacing
        self._unwelcome = unwelcome
        self._drop = drop
        self._ask = ask
        self._wall = wall
        self._rng = rng
        self._offload = offload
        self._change = trio.Event()
        self._dialing: dict[str, tuple[Target, Kind]] = {}
        self._promised: set[str] = set()  # peers chosen for the filters that somebody said they serve
        self._kept: list[Endpoint] = []  # anchors of the last run that are yet to be dialed
        self._saved: list[Endpoint] = []
        self._moved_at = 0.0
        self._asked_at = 0.0
        self._extra = 0  # peers wanted beyond the usual number
        self.stale = False
        """Our tip has not moved for longer than chance explains."""

    async def run(self) -> None:
        """Until cancelled."""
        self._moved_at = self._asked_at = trio.current_time()
        if self._anchor_path is not None and self._anchors:
            self._kept = self._saved = load_anchors(self._anchor_path)[: self._anchors]
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            waiting, self._waiting = self._waiting, []
            for target in waiting:
                self.once(target)
            for target, scope in self._manual.items():
                nursery.start_soon(self._keep_within, target, scope)
            if self._outbound + self._anchors:
                nursery.start_soon(self._fill, nursery)
                nursery.start_soon(self._feel)
                nursery.start_soon(self._save_anchors)
            nursery.start_soon(self._tend)

    def notify(self) -> None:
        """Something has changed."""
        self._change.set()
        self._change = trio.Event()

    def moved(self) -> None:
        """Our tip is another one."""
        self._moved_at = trio.current_time()
        self._extra, self.stale = 0, False

    def count(self, kind: Kind) -> int:
        """Connections of that kind, dials included."""
        dialing = sum(one is kind for _, one in self._dialing.values())
        return dialing + sum(line.kind is kind for line in self._lines.connections())

    # Configured peers.

    # What the operator asks for.

    def keep(self, target: Target) -> bool:
        """Keep connected to ``target`` from now on; False where it is kept already. TooManyKept."""
        if target in self._manual:
            return False
        if len(self._manual) >= MAX_KEPT:
            raise TooManyKept(f"{MAX_KEPT} peers are kept already; remove one first")
        scope = self._manual[target] = trio.CancelScope()
        self._lines.troubles.expect(str(target))
        if self._nursery is not None:
            self._nursery.start_soon(self._keep_within, target, scope)
        return True

    def leave(self, target: Target) -> bool:
        """Keep it no longer; False where it was not kept. The connection stays as long as it does."""
        scope = self._manual.pop(target, None)
        if scope is not None:
            scope.cancel()
            self._lines.troubles.forget(str(target))
        return scope is not None

    def missing(self) -> list[Missing]:
        """Those kept that are not connected, and why."""
        return [self._lines.troubles.of(str(one)) for one in self._manual if self._lines.get(one.peer) is None]

    def once(self, target: Target) -> None:
        """Dial it once, soon, unless it is connected. What is asked for before ``run`` waits for it."""
        if self._nursery is None:
            self._waiting = [*self._waiting, target][-MAX_KEPT:]
        elif self._lines.get(target.peer) is None:
            self._nursery.start_soon(self._lines.dial, target, Kind.MANUAL)

    async def _keep_within(self, target: Target, scope: trio.CancelScope) -> None:
        with scope:
            await self._keep(target)

    async def _keep(self, target: Target) -> None:
        backoff = Backoff(STATIC_FIRST_S, STATIC_CAP_S, self._rng)
        while True:
            if self._unwelcome(target.peer):
                self._lines.troubles.failed(str(target), "banned, or left alone for its faults")
            else:
                began = trio.current_time()
                if self._lines.get(target.peer) is not None or await self._lines.dial(target, Kind.MANUAL):
                    await self._until_gone(target.peer)
                    if trio.current_time() - began >= STABLE_S:
                        backoff.reset()
            await trio.sleep(backoff.next())

    async def _until_gone(self, peer: str) -> None:
        while True:
            change = self._change
            if self._lines.get(peer) is None:
                return
            await change.wait()

    # Peers of the book.

    async def _fill(self, nursery: trio.Nursery) -> None:
        while True:
            change = self._change
            wanted = self._next() if len(self._dialing) < MAX_DIALS else None
            if wanted is None:
                with trio.move_on_after(LOOK_S):
                    await change.wait()
                continue
            target, kind = wanted
            self._dialing[target.peer] = wanted
            nursery.start_soon(self._attempt, target, kind)
            await trio.sleep(PAUSE_S)

    def _next(self) -> tuple[Target, Kind] | None:
        while self._kept and self.count(Kind.ANCHOR) < self._anchors:
            target = target_of(self._kept.pop(0))
            if target.group not in self._groups() and not self._busy(target):
                return target, Kind.ANCHOR
        for kind, most in ((Kind.OUTBOUND, self._outbound + self._extra), (Kind.ANCHOR, self._anchors)):
            if self.count(kind) < most:
                target_now = self._draw()
                return (target_now, kind) if target_now is not None else None
        return None

    def _draw(self) -> Target | None:
        """An address in a group where we have nobody; one that serves filters, where too few do."""
        groups, now = self._groups(), int(self._wall())
        server = self._filter_server() if self._filters_wanted() else None
        endpoint = server or self._book.select(now, groups=groups)
        if endpoint is None:
            return None
        target = target_of(endpoint)
        if self._busy(target):
            self._book.attempt(endpoint, now)  # not to be drawn again at once
            return None
        if server is not None:
            self._promised.add(target.peer)
        return target

    def _filter_server(self) -> Endpoint | None:
        """An address that is said to be one."""
        return self._book.select(int(self._wall()), groups=self._groups(), services=Services.COMPACT_FILTERS)

    def _filters_wanted(self) -> bool:
        """Whether one more is to be chosen for what it is said to serve."""
        self._promised &= self._dialing.keys() | {line.peer for line in self._lines.connections()}
        return len(self._filter_peers() | self._promised) < FILTER_PEERS

    def _filter_peers(self) -> set[str]:
        """Those that we chose and that serve filters."""
        chosen = [line for line in self._lines.connections() if not line.inbound]
        return {line.peer for line in chosen if line.connected.remote.services & Services.COMPACT_FILTERS}

    def _groups(self) -> set[bytes]:
        """Those in which we have somebody that we chose."""
        made = {line.target.group for line in self._lines.connections() if not line.inbound}
        return made | {target.group for target, _ in self._dialing.values()}

    def _busy(self, target: Target) -> bool:
        taken = target.peer in self._dialing or self._lines.get(target.peer) is not None
        return taken or target.peer in self._lines.ourselves or self._unwelcome(target.peer)

    async def _attempt(self, target: Target, kind: Kind) -> None:
        try:
            await self._lines.dial(target, kind)
        finally:
            del self._dialing[target.peer]
            self.notify()

    async def _feel(self) -> None:
        while True:
            await trio.sleep(min(self._rng.expovariate(1 / FEELER_S), 10 * FEELER_S))
            if self.count(Kind.OUTBOUND) < self._outbound:
                continue  # every dial is a feeler then
            endpoint = self._book.feeler(int(self._wall()))
            if endpoint is not None and not self._busy(target_of(endpoint)):
                await self._lines.dial(target_of(endpoint), Kind.FEELER)

    async def _save_anchors(self) -> None:
        """Whenever they change, for a killed process saves nothing. None left: those of before are still the best."""
        while self._anchor_path is not None:
            change = self._change
            lines = [line for line in self._lines.connections() if line.kind is Kind.ANCHOR]
            now = [line.target.endpoint for line in lines if line.target.endpoint is not None]
            if now and now != self._saved:
                self._saved = now
                try:
                    await self._offload(partial(save_anchors, self._anchor_path, now))
                except OSError as error:  # a full disk must not stop the wire; the next change tries again
                    log.warning("anchors not saved", problem=str(error))
            await change.wait()

    # Who is of use.

    async def _tend(self) -> None:
        while True:
            await trio.sleep(TEND_S)
            now = trio.current_time()
            self._look_at_tip(now)
            self._look_for_filters()
            left = self._lagging(now) or self._surplus(now) or self._disappointing()
            if left is not None:
                log.info("peer left for another", peer=left.id, height=left.height, ours=self._height())
                if left.line is not None and left.line.target.endpoint is not None:
                    self._book.attempt(left.line.target.endpoint, int(self._wall()))  # not to be dialed again at once
                self._drop(left)

    def _look_at_tip(self, now: float) -> None:
        if now - self._moved_at <= self._stale_s or (self.stale and now - self._asked_at < ASK_ALL_S):
            return
        log.info("tip is stale: all are asked, and one more peer is looked for", seconds=int(now - self._moved_at))
        self.stale, self._extra, self._asked_at = True, 1, now
        self.notify()
        for peer in self._peers.values():
            self._ask(peer.id)

    def _look_for_filters(self) -> None:
        full = 0 < self._outbound <= self.count(Kind.OUTBOUND)
        if full and not self._extra and self._filters_wanted() and self._filter_server() is not None:
            self._extra = 1
            self.notify()

    def _ours(self) -> list[Peer]:
        """Peers that we chose ourselves from the book."""
        return [peer for peer in self._peers.values() if peer.kind in (Kind.OUTBOUND, Kind.ANCHOR) and not peer.leaving]

    def _lagging(self, now: float) -> Peer | None:
        height, peers = self._height(), self._ours()
        protected = sum(peer.lag.protected for peer in peers)
        found = None
        for peer in peers:
            theirs = max(peer.height, 0)  # everybody has genesis
            if theirs >= height and not peer.lag.protected and protected < MAX_PROTECTED:
                peer.lag.protected = peer.kind is Kind.OUTBOUND
                protected += peer.lag.protected
            step = peer.lag.consider(theirs, height, now)
            if step is Step.ASK:
                self._ask(peer.id)
            elif step is Step.LEAVE and found is None and len(self._peers) > 1:
                found = peer
        return found

    def _surplus(self, now: float) -> Peer | None:
        """More than wanted, for one was added: whoever told of a block longest ago goes. Not those that serve filters,
        while they are few."""
        outbound = [peer for peer in self._ours() if peer.kind is Kind.OUTBOUND]
        if len(outbound) <= self._outbound:
            return None
        serving = self._filter_peers()
        few = serving if len(serving) <= FILTER_PEERS else set[str]()
        able = [peer for peer in outbound if now - peer.began >= MIN_CONNECTED_S and not peer.lag.protected]
        able = [peer for peer in able if peer.id not in few]
        self._extra = 0  # until the next round
        return min(able, key=lambda peer: peer.told_at, default=None)

    def _disappointing(self) -> Peer | None:
        """One that was chosen for its filters and serves none, where another address promises them."""
        serving = self._filter_peers()
        if len(serving) >= FILTER_PEERS or self._filter_server() is None:
            return None
        broken = self._promised - serving
        return next((peer for peer in self._ours() if peer.id in broken), None)
