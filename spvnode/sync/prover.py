"""Peers whose chain shows too little work at first sight go through presync here, before the machine hears of them.

One begins at once. Another joins in when the first is slow, or after a while in any case, so that no liar holds the
line; each is only ever asked for the next 2,000 headers. What the second pass releases goes into a ``Supply``.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
import trio

from p2p.faults import FaultReason, RemoteFault
from spvnode.bitcoin.first_look import Doubtful, Enough
from spvnode.bitcoin.header import header_hash
from spvnode.bitcoin.presync import (
    SALT_SIZE,
    Continue,
    LowWork,
    Presync,
    Proven,
    Refused,
    Release,
)
from spvnode.bitcoin.rules import Reason
from spvnode.following import Blame
from spvnode.sync.proving import FULL, Known, Proving
from spvnode.sync.supply import Shelf, Supply
from spvnode.types import HEADER_SIZE, Height

MAX_PROVING = 16
"""Presyncs at once: 0.8 MB each, and a part of the line. Peers fill it. A turn may take hours, for a peer that answers
just in time is at no fault: so there is one for every peer that we chose, and whoever is honest gets his."""
MAX_PROVING_INBOUND = 4
"""Of these by peers that dialed us, which cost nobody anything."""
REPLY_S = 10.0
"""Seconds for one reply of a presync: 162 kB at 16 kB/s."""
STALLED_S = 2.0
"""Seconds for one reply after which another peer may begin beside, and need not wait for who says nothing."""
LOOK_S = 5.0
"""Between two looks at how the running ones go."""
BRISK = 1_000.0
"""Headers a second from which on a presync counts as brisk."""
JOIN_SLOW_S = 10.0
JOIN_BRISK_S = 60.0
"""Seconds until one more joins in, where none of the running ones is brisk, and where one is."""
REST_S = 3_600.0
"""A peer whose chain has too little work, or is too long for our clock, is not looked at again so soon: it is syncing
itself, or a liar, or we are wrong."""
PIECE = FULL // HEADER_SIZE
"""Headers that go from a presync into its supply at once, as many as a message has."""
FLOOD_HEADERS = 20_000
"""A chain of too little work that is longer than this is counted as a fault, of the mildest kind: a node that is itself
syncing serves no headers (Core), or fewer."""

log = structlog.get_logger("sync")


@dataclass(slots=True, eq=False)
class _Running:
    began: float
    inbound: bool = False
    headers: int = 0
    seen: int = 0  # at the last look
    brisk: bool = True
    presync: Presync | None = None
    asked: float | None = None  # when, while the answer is owed
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Prover:
    """``run`` it; ``wanted`` tells it of a peer with a ``doubt``. ``proven`` hears of one whose supply has begun to
    flow, with the height that its work was proven for."""

    def __init__(
        self,
        source: Proving,
        *,
        proven: Callable[[Known, Height], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._proven = proven
        self._clock = clock
        self._waiting: dict[str, Known] = {}
        self._running: dict[str, _Running] = {}
        self._some = trio.Event()
        self._looked = float("-inf")
        self._shelf = Shelf(lambda: source.nbytes)
        self.low_work = 0
        """Chains of too little work met so far."""

    @property
    def running(self) -> int:
        """Presyncs under way."""
        return len(self._running)

    @property
    def nbytes(self) -> int:
        """Bytes that these hold."""
        return sum(one.presync.nbytes for one in self._running.values() if one.presync is not None)

    def proves(self, peer: str) -> bool:
        """Whether the presync of this one is under way."""
        return peer in self._running

    def wanted(self, known: Known, doubt: Doubtful) -> None:
        """``known`` has sent the first message of a chain in doubt."""
        if known.peer not in self._running and trio.current_time() >= known.proven_after:
            known.doubt = doubt
            self._waiting[known.peer] = known
            self._some.set()

    def left(self, peer: str) -> None:
        """It is gone."""
        self._waiting.pop(peer, None)
        running = self._running.get(peer)
        if running is not None:
            running.scope.cancel()

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                self._some = trio.Event()
                known = self._next() if self._turn() else None
                if known is not None:
                    del self._waiting[known.peer]
                    if known.doubt is not None:
                        self._running[known.peer] = _Running(trio.current_time(), known.inbound)
                        nursery.start_soon(self._prove, known, known.doubt)
                    continue
                with trio.move_on_after(STALLED_S / 2):
                    await self._some.wait()
                self._measure(trio.current_time())

    def _next(self) -> Known | None:
        """Who has waited longest, of those that we chose ourselves if any wait."""
        for known in self._waiting.values():
            if not known.inbound:
                return known
        full = sum(one.inbound for one in self._running.values()) >= MAX_PROVING_INBOUND
        return None if full else next(iter(self._waiting.values()), None)

    def _turn(self) -> bool:
        if not self._running:
            return True
        if len(self._running) >= MAX_PROVING:
            return False
        now = trio.current_time()
        if all(one.asked is not None and now - one.asked >= STALLED_S for one in self._running.values()):
            return True
        patience = JOIN_BRISK_S if any(one.brisk for one in self._running.values()) else JOIN_SLOW_S
        return now - max(one.began for one in self._running.values()) >= patience

    def _measure(self, now: float) -> None:
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        for one in self._running.values():
            one.brisk = one.headers - one.seen >= BRISK * LOOK_S
            one.seen = one.headers
        self._clear()

    async def _prove(self, known: Known, doubt: Doubtful) -> None:
        running = self._running[known.peer]
        known.doubt = None
        try:
            with running.scope:
                fault = await self._passes(known, doubt, running)
                if fault is not None:
                    await self._source.report(fault)
        except Exception:  # firewall: one peer must not take the others down; nothing is hidden
            log.exception("presync failed", peer=known.peer)
        finally:
            del self._running[known.peer]
            if known.supply is not None:
                known.supply.finish(whole=False)
            self._some.set()

    async def _passes(self, known: Known, doubt: Doubtful, running: _Running) -> RemoteFault | None:
        salt, offset = secrets.token_bytes(SALT_SIZE), secrets.randbelow(self._source.params.presync.commitment_period)
        presync = running.presync = Presync(
            self._source.params, doubt.start, doubt.threshold, salt=salt, offset=offset, now=int(self._clock())
        )
        log.info("presync", network=self._source.params.name, peer=known.peer, start=doubt.start.height)
        headers: bytes | RemoteFault = doubt.headers
        full = True
        while True:
            if isinstance(headers, RemoteFault):
                return headers
            running.headers += len(headers) // HEADER_SIZE
            step = presync.take(headers, full, keep=True)
            match step:
                case LowWork():
                    return self._low(known, running, step)
                case Refused():
                    return self._refused(known, step)
                case Release():
                    if not await self._hand_on(known, presync, step):
                        return None
                case Proven():
                    log.info("presync proven", peer=known.peer, height=step.height)
                    self._source.vouch(Height(doubt.start.height - 1), step.work)
                    known.height = max(known.height, step.height)
                case Continue():
                    pass
            if known.supply is None and isinstance(self._source.look(doubt.headers), Enough):
                known.again.set()  # another peer was faster, and by now we have the beginning of this chain
                return None
            running.asked = trio.current_time()
            headers = await self._ask(known, step.place)
            running.asked = None
            full = isinstance(headers, bytes) and len(headers) >= FULL

    async def _ask(self, known: Known, place: tuple[bytes, ...]) -> bytes | RemoteFault:
        with trio.move_on_after(REPLY_S):
            return await self._source.ask(known.peer, place)  # type: ignore[arg-type]  # hashes, both
        return self._source.fault(known.peer, FaultReason.TIMEOUT, f"no headers for a presync in {REPLY_S:g} s")

    async def _hand_on(self, known: Known, presync: Presync, step: Release) -> bool:
        """Hands on what was released, and once the work is shown what is still held, as there is room; False when that
        was all, or is wanted no more."""
        if known.supply is None:
            known.supply = Supply(step.start, self._shelf)
        supply = known.supply
        while await self._release(known, supply, step):
            if not presync.whole:
                return True
            step = presync.rest(PIECE)
        return False

    async def _release(self, known: Known, supply: Supply, step: Release) -> bool:
        supply.put(step.headers)
        if step.done:
            supply.finish(whole=True)
            known.again.set()
        await self._proven(known, Height(max(known.height, supply.end - 1)))
        while not step.done and not await supply.room(LOOK_S):
            if known.supply is not supply or self._source.height_of(header_hash(supply.last)) is not None:
                known.again.set()  # another peer was faster: we have all of this
                return False
        return not step.done and known.supply is supply

    def _clear(self) -> None:
        """Takes away what nobody fetches any more: others were faster."""
        for known in self._source.peers.values():
            supply = known.supply
            done = supply is not None and supply.done and not supply.awaited
            if supply is not None and done and self._source.height_of(header_hash(supply.last)) is not None:
                known.supply = None
                known.again.set()
                self._shelf.tell()

    def _low(self, known: Known, running: _Running, step: LowWork) -> RemoteFault | None:
        self.low_work += 1
        known.proven_after = trio.current_time() + REST_S
        log.info("chain of low work left", peer=known.peer, height=step.height, work=hex(step.work))
        if running.headers < FLOOD_HEADERS:
            return None
        evidence = f"work {step.work:x} in {running.headers} headers"
        return self._source.fault(known.peer, FaultReason.LOW_WORK, evidence)

    def _refused(self, known: Known, step: Refused) -> RemoteFault | None:
        evidence = f"{step.reason}: {step.detail}"
        self._source.contradictions += step.reason is Reason.OPERATOR_CHECKPOINT_MISMATCH
        if step.blame is Blame.NOBODY:
            known.proven_after = trio.current_time() + REST_S
            log.warning("chain refused", network=self._source.params.name, peer=known.peer, reason=evidence)
            return None
        if step.blame is Blame.UNLINKED:
            known.again.set()
            return self._source.fault(known.peer, FaultReason.UNLINKED, evidence)
        reason = FaultReason.INVALID_HEADER
        if step.blame is Blame.CLOCK:  # not again and again: it adds up, and may be our doing
            reason, known.proven_after = FaultReason.TIME_TOO_NEW, trio.current_time() + REST_S
        return self._source.fault(known.peer, reason, evidence)
