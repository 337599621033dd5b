"""Keeps us connected: every configured peer for ever, and known peers up to a target. Idle when there is
neither."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

import structlog
import trio

from p2p.addressbook import AddressBook, Source
from p2p.addresses import PeerAddress, parse_address
from p2p.backoff import Backoff
from p2p.bans import BanList
from p2p.port import DialFailed, Host
from p2p.score import ScoreBoard
from p2p.troubles import Missing, Troubles

STATIC_FIRST_S: Final = 1.0
STATIC_CAP_S: Final = 120.0
"""Redial of a configured peer: after 1 s, 2 s, ... and in the end every one to two minutes, for ever."""

STABLE_S: Final = 60.0
"""A connection that lasted this long makes the next redial quick again; one that is cut at once does not."""

FILL_PAUSE_S: Final = 1.0
"""Between two dials of known peers, so that a book of dead addresses costs one dial a second at most."""

MAX_KEPT: Final = 64
"""Peers to which the operator may ask us to keep connected, those of the configuration included: each has a task."""

FILL_LOOK_S: Final = 600.0
"""Longest sleep while the book has addresses: discouragements end without anybody telling."""

log = structlog.get_logger(__name__)


class TooManyKept(ValueError):
    """``MAX_KEPT`` peers are kept already."""


class Dialer:
    """``run`` in a nursery; tell it of connections with ``opened``, ``gone`` and ``notify``. ``bans``: whom not to
    dial, whoever asks for it."""

    def __init__(
        self,
        host: Host,
        book: AddressBook,
        scores: ScoreBoard,
        static: Sequence[PeerAddress],
        *,
        target: int,
        wall: Callable[[], float],
        rng: random.Random,
        bans: BanList | None = None,
        network: str = "mesh",
    ) -> None:
        self._host = host
        self._book = book
        self._scores = scores
        self._bans = BanList() if bans is None else bans
        self._kept = {addr: trio.CancelScope() for addr in static if addr.peer != host.peer_id}
        self._troubles = Troubles(network)
        for addr in self._kept:
            self._troubles.expect(str(addr))
        self._target = target
        self._wall = wall
        self._rng = rng
        self._change = trio.Event()
        self._dialed: dict[str, PeerAddress] = {}
        self._in_session: set[str] = set()
        self._nursery: trio.Nursery | None = None
        self._waiting: list[PeerAddress] = []
        self.static_peers = {addr.peer for addr in self._kept}
        """Those we keep connected to; grows and shrinks with ``keep`` and ``leave``."""

    async def run(self) -> None:
        unwatch = self._bans.watch(self.notify)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                waiting, self._waiting = self._waiting, []
                for addr in waiting:
                    self.once(addr)
                for addr, scope in self._kept.items():
                    nursery.start_soon(self._keep_within, addr, scope)
                nursery.start_soon(self._fill)
        finally:
            self._nursery = None
            unwatch()

    # What the operator asks for.

    def keep(self, addr: PeerAddress) -> bool:
        """Keep connected to ``addr`` from now on; False where it is kept already. TooManyKept."""
        if addr in self._kept or addr.peer == self._host.peer_id:
            return False
        if len(self._kept) >= MAX_KEPT:
            raise TooManyKept(f"{MAX_KEPT} peers are kept already; remove one first")
        scope = self._kept[addr] = trio.CancelScope()
        self.static_peers.add(addr.peer)
        self._troubles.expect(str(addr))
        if self._nursery is not None:
            self._nursery.start_soon(self._keep_within, addr, scope)
        return True

    def leave(self, addr: PeerAddress) -> bool:
        """Keep ``addr`` no longer; False where it was not kept. The connection stays as long as it does."""
        scope = self._kept.pop(addr, None)
        if scope is None:
            return False
        scope.cancel()
        self._troubles.forget(str(addr))
        self.static_peers.clear()
        self.static_peers.update(kept.peer for kept in self._kept)
        self.notify()
        return True

    def missing(self) -> list[Missing]:
        """Those kept that are not connected, and why."""
        up = {connection.peer for connection in self._host.connections()}
        return [self._troubles.of(str(addr)) for addr in self._kept if addr.peer not in up]

    def once(self, addr: PeerAddress) -> None:
        """Dial ``addr`` once, soon, unless it is connected. What is asked for before ``run`` waits for it."""
        if self._nursery is None:
            self._waiting = [*self._waiting, addr][-MAX_KEPT:]
        elif not self._connected(addr.peer):
            self._nursery.start_soon(self._dial, addr)

    async def _keep_within(self, addr: PeerAddress, scope: trio.CancelScope) -> None:
        with scope:
            await self._keep(addr)

    def notify(self) -> None:
        """A connection came or went, or the book has grown."""
        self._change.set()
        self._change = trio.Event()

    def opened(self, peer: str) -> None:
        """A session with ``peer`` is open: the address that we dialed is a good one."""
        self._in_session.add(peer)
        for kept in self._kept:
            if kept.peer == peer:
                self._troubles.cleared(str(kept))
        addr = self._dialed.pop(peer, None)
        if addr is not None:
            self._book.add(addr, Source.DIALED, self._wall())
            self._book.succeeded(addr, self._wall())

    def gone(self, peer: str) -> None:
        """The connection has ended; if it never carried a session, that counts as a failed dial."""
        self._in_session.discard(peer)
        addr = self._dialed.pop(peer, None)
        if addr is not None:
            self._book.failed(addr, self._wall())
            self._troubles.failed(str(addr), "connected, but left without speaking any of our protocols")
        self.notify()

    async def _dial(self, addr: PeerAddress) -> bool:
        self._book.tried(addr, self._wall())
        if self._bans.until(addr.peer, addr.host, self._wall()) is not None:
            self._book.failed(addr, self._wall())
            return False
        self._dialed[addr.peer] = addr
        try:
            await self._host.connect(str(addr))
        except DialFailed as failed:
            self._dialed.pop(addr.peer, None)
            self._book.failed(addr, self._wall())
            self._troubles.failed(str(addr), str(failed))
            return False
        if addr.peer in self._in_session:  # it was faster and came to us
            self.opened(addr.peer)
        return True

    async def _keep(self, addr: PeerAddress) -> None:
        backoff = Backoff(STATIC_FIRST_S, STATIC_CAP_S, self._rng)
        while True:
            await self._until_pardoned(addr)
            if self._connected(addr.peer) or await self._dial(addr):
                began = trio.current_time()
                await self._until_gone(addr.peer)
                if trio.current_time() - began >= STABLE_S:
                    backoff.reset()
            await trio.sleep(backoff.next())

    async def _until_pardoned(self, addr: PeerAddress) -> None:
        until = self._scores.discouraged_until(addr.peer, self._wall())
        if until is not None:
            self._troubles.failed(str(addr), "left alone for its faults")
            await trio.sleep(until - self._wall())
        while (until := self._bans.until(addr.peer, addr.host, self._wall())) is not None:
            self._troubles.failed(str(addr), "banned")
            change = self._change
            with trio.move_on_after(min(FILL_LOOK_S, until - self._wall())):
                await change.wait()  # a ban may be lifted before its time

    def _connected(self, peer: str) -> bool:
        return any(connection.peer == peer for connection in self._host.connections())

    async def _until_gone(self, peer: str) -> None:
        while True:
            change = self._change
            if not self._connected(peer):
                return
            await change.wait()

    async def _fill(self) -> None:
        while True:
            change = self._change
            connections = self._host.connections()
            if sum(not connection.inbound for connection in connections) >= self._target:
                await change.wait()
                continue
            busy = {connection.peer for connection in connections} | self.static_peers | {self._host.peer_id}
            now = self._wall()
            busy |= {entry.peer for entry in self._scores.discouraged(now)}
            addr = self._book.pick(now, peers=busy, groups=self._groups())
            if addr is not None:
                await self._dial(addr)
                await trio.sleep(FILL_PAUSE_S)
                continue
            with trio.move_on_after(self._patience(now, busy)):
                await change.wait()

    def _groups(self) -> set[str]:
        """Address groups of the outbound connections that stand."""
        outbound = (c for c in self._host.connections() if not c.inbound)
        return {parse_address(f"{c.addr}/p2p/{c.peer}").group for c in outbound}

    def _patience(self, now: float, busy: set[str]) -> float:
        """Seconds until it is worth looking into the book again, unless something changes."""
        due = self._book.next_due(peers=busy)
        if due is not None:
            return min(FILL_LOOK_S, max(FILL_PAUSE_S, due - now))
        return FILL_LOOK_S if len(self._book) else float("inf")
