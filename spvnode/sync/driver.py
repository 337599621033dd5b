"""Interprets the machine's effects on trio: fetches in a bounded pool, worker threads for rules and store.

One driver a chain. Events come in through one bounded channel, so the machine sees them one at a time. A run is
checked and stored under one lock that an import shares, so nothing moves under a verdict before it is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
import trio

from p2p.faults import FaultReason, RemoteFault
from spvnode.errors import StoreError
from spvnode.following import Outcome, Verdict
from spvnode.sync import effects as fx
from spvnode.sync import events as ev
from spvnode.sync.chain import Chain
from spvnode.sync.lag import Lag
from spvnode.sync.machine import IN_FLIGHT, Machine
from spvnode.sync.rate import BurstReport, Rate
from spvnode.sync.source import Items, Source
from spvnode.sync.table import State
from spvnode.tracing import span

FETCH_DEADLINE = 8.0
"""Seconds for one fetch. 645 kB in 8 s is 80 kB/s: a slow line passes, a stalled one does not hold its slot."""
EVENT_BUFFER = 256
"""Events waiting for the machine. Producers wait when it is full, so a flood of announcements slows only itself."""

log = structlog.get_logger("sync")


class Driver:
    """Runs one chain's machine against one source."""

    def __init__(
        self,
        chain: Chain,
        source: Source,
        *,
        pool: trio.CapacityLimiter | None = None,
        deadline: float = FETCH_DEADLINE,
        jitter: Callable[[], float],
        clock: Callable[[], float] = time.time,
        in_flight: int = IN_FLIGHT,
        broken: type[StoreError] | tuple[type[StoreError], ...] = (),
    ) -> None:
        """``broken``: what the store raises when only opening it anew helps. It ends ``run`` instead of a burst."""
        self.chain = chain
        self.machine = Machine(
            chain.tip, chain.base, whole=chain.whole, terms=chain.terms, jitter=jitter, in_flight=in_flight
        )
        self.rate = Rate()
        self._lag = Lag()
        self.committed = 0
        """Items stored since the start that we had not, by whatever door."""
        self.last_useful: float | None = None
        """Clock time of the last peer event that told us something: a claim, or items."""
        self._source = source
        self._pool = pool or trio.CapacityLimiter(in_flight)
        self._deadline = deadline
        self._clock = clock
        self._inbox_send, self._inbox = trio.open_memory_channel[ev.Event](EVENT_BUFFER)
        self._fetches: dict[int, trio.CancelScope] = {}
        self._chain_free = trio.Semaphore(1)
        self._over = False
        self._broken = broken
        self._began = (0.0, 0)  # when the running burst began, and what had been committed by then
        self._last_burst = BurstReport(0.0, 0)

    # -- the doors -------------------------------------------------------------------------------------------------

    async def post(self, event: ev.Event) -> None:
        """Hands the machine an event; waits while its inbox is full. Once ``run`` has ended nobody hears it."""
        if isinstance(event, ev.PeerTip | ev.Pushed):
            self.last_useful = self._clock()
        with suppress(trio.BrokenResourceError):
            await self._inbox_send.send(event)

    async def import_items(self, items: bytes) -> Verdict:
        """Checks and commits items that a user brought. Same rules, same lock, same atomic write. StoreError where the
        store fails, or ``run`` has ended."""
        async with self._chain_free:
            if self._over:
                raise StoreError(f"{self.chain.network}: the store is being opened anew")
            verdict = await trio.to_thread.run_sync(self.chain.plan, items, int(self._clock()))
            if verdict.outcome in (Outcome.REJECTED, Outcome.DUPLICATE):
                return verdict
            await self._write(verdict, sync=True, below=False)
        with trio.CancelScope(shield=True):  # a machine that does not know would blame the peers that do
            await self.post(ev.TipMoved(self.chain.tip, self.chain.base))
        await self._source.announce(self.chain.tip)
        return verdict

    @property
    def behind(self) -> bool:
        """Whether peers claim a better chain, and not just the next block; see ``Lag``."""
        return self._lag.matters(self.machine.peers, self.machine.tip, trio.current_time())

    def info(self) -> dict[str, Any]:
        """The state of the synchronisation, JSON-ready (``getsyncinfo``)."""
        machine, pool = self.machine, self._pool.statistics()
        return {
            "state": str(machine.state),
            "blocks": machine.tip.height,
            "base": machine.base,
            "complete": machine.whole,
            "checkpoint_refuted": machine.refuted,
            "transitions": dict(machine.transitions),
            "pool": {"limit": int(pool.total_tokens), "in_use": pool.borrowed_tokens, "window": len(machine.window)},
            "headers_committed": self.committed,
            "headers_per_second": round(self.rate.per_second(trio.current_time()), 1),
            "last_burst": self._last_burst.info(),
            "failures_in_a_row": machine.failures,
            "faults": dict(machine.faults),
            "claims": len(machine.peers),
        }

    # -- the pump --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Interprets until cancelled. What ends it, ends this driver: nobody is left waiting at its doors."""
        try:
            async with self._inbox, trio.open_nursery() as nursery:
                async for event in self._inbox:
                    self._handle(nursery, event)
        finally:
            self._over = True
            self._chain_free.release()  # whoever held it is gone; each that waits sees that and lets the next in

    def _handle(self, nursery: trio.Nursery, event: ev.Event) -> None:
        before = self.machine.state
        for effect in self.machine.handle(event):
            self._interpret(nursery, effect)
        self._lag.note(self.machine.peers, self.machine.tip, trio.current_time())
        if before is not self.machine.state:
            self._note_burst(before)
            log.debug("state", network=self.chain.network, was=str(before), now=str(self.machine.state))

    def _note_burst(self, before: State) -> None:
        """Times each stretch from IDLE back to IDLE that committed something."""
        now, committed = trio.current_time(), self.machine.items_committed
        began, had = self._began
        if before is State.IDLE:
            self._began = (now, committed)
        elif self.machine.state is State.IDLE and committed > had:
            self._last_burst = BurstReport(now - began, committed - had)
            tip = self.machine.tip.height
            log.info("headers committed", network=self.chain.network, tip=tip, **self._last_burst.info())

    def _interpret(self, nursery: trio.Nursery, effect: fx.Effect) -> None:
        match effect:
            case fx.FetchAfter() | fx.FetchRange():
                nursery.start_soon(self._fetch, effect)
            case fx.CancelFetches():
                for scope in self._fetches.values():
                    scope.cancel()
            case fx.Validate():
                nursery.start_soon(self._validate, effect)
            case fx.Commit():
                nursery.start_soon(self._commit, effect)
            case fx.Finish():
                nursery.start_soon(self._finish, effect)
            case fx.Report():
                log.info(
                    "peer fault",
                    network=self.chain.network,
                    peer=effect.fault.peer,
                    reason=str(effect.fault.reason),
                    evidence=effect.fault.evidence,
                )
                nursery.start_soon(self._source.report, effect.fault)
            case fx.Useful():
                self._source.useful(effect.peer)
            case fx.Announce():
                nursery.start_soon(self._source.announce, effect.tip)
            case fx.SetTimer():
                nursery.start_soon(self._timer, effect)

    async def _fetch(self, effect: fx.FetchAfter | fx.FetchRange) -> None:
        with trio.CancelScope() as scope:
            self._fetches[effect.job] = scope
            async with self._pool:
                with span("fetch", network=self.chain.network):
                    reply = await self._ask(effect)
        if self._fetches.get(effect.job) is scope:
            del self._fetches[effect.job]
        if scope.cancelled_caught:
            return
        if isinstance(reply, RemoteFault):
            await self._inbox_send.send(ev.FetchFailed(effect.job, reply))
        else:
            self.last_useful = self._clock()
            fetched = ev.Fetched(effect.job, reply.start, reply.items, reply.limited, reply.ends, reply.place)
            await self._inbox_send.send(fetched)

    async def _ask(self, effect: fx.FetchAfter | fx.FetchRange) -> Items | RemoteFault:
        with trio.move_on_after(self._deadline):
            if isinstance(effect, fx.FetchAfter):
                place = self.chain.locator() if effect.place is None else effect.place
                return await self._source.fetch_after(effect.peer, place, effect.count)
            return await self._source.fetch_range(effect.peer, effect.start, effect.count)
        return RemoteFault(FaultReason.TIMEOUT, effect.peer, f"no reply in {self._deadline:g} s", self.chain.network)

    async def _validate(self, effect: fx.Validate) -> None:
        await self._chain_free.acquire()
        with span("validate", network=self.chain.network, bytes=len(effect.items)):
            if effect.below:
                verdict = await trio.to_thread.run_sync(self.chain.plan_below, effect.items)
            else:
                verdict = await trio.to_thread.run_sync(self.chain.plan, effect.items, int(self._clock()))
        if verdict.outcome in (Outcome.REJECTED, Outcome.DUPLICATE):
            self._chain_free.release()  # otherwise the Commit that follows lets go
        await self._inbox_send.send(ev.Validated(effect.job, verdict))

    async def _commit(self, effect: fx.Commit) -> None:
        try:
            with span("commit", network=self.chain.network, items=effect.verdict.items):
                await self._write(effect.verdict, sync=effect.sync, below=effect.below)
        except StoreError as error:
            await self._failed(effect, error)
            return
        finally:
            self._chain_free.release()
        await self._inbox_send.send(ev.Committed(effect.job, self.chain.tip, self.chain.base))

    async def _failed(self, effect: fx.Commit | fx.Finish, error: StoreError) -> None:
        """A full disk is waited out; a damaged store is for whoever can open it anew."""
        if isinstance(error, self._broken):
            raise error
        log.warning("commit failed", network=self.chain.network, error=str(error))
        await self._inbox_send.send(ev.CommitFailed(effect.job, str(error)))

    async def _write(self, verdict: Verdict, *, sync: bool, below: bool) -> None:
        """Store first, then memory: what is visible is always stored. Not to be torn by a cancellation between."""
        with trio.CancelScope(shield=True):
            if below:
                await trio.to_thread.run_sync(lambda: self.chain.write_below(verdict, sync=sync))
                self.chain.apply_below(verdict)
            else:
                now = int(self._clock())
                if verdict.outcome is Outcome.REORGANIZES:
                    # It replaces headers in place: nobody may read between its write and its apply.
                    self.chain.write(verdict, now=now, sync=sync)
                    log.info("reorganization", network=self.chain.network, undone=verdict.undone, tip=verdict.last)
                else:
                    await trio.to_thread.run_sync(lambda: self.chain.write(verdict, now=now, sync=sync))
                self.chain.apply(verdict)
        self.rate.add(trio.current_time(), verdict.items)
        self.committed += verdict.items - verdict.known

    async def _finish(self, effect: fx.Finish) -> None:
        try:
            async with self._chain_free:
                verdict = await trio.to_thread.run_sync(self.chain.finish_below)
        except StoreError as error:
            await self._failed(effect, error)
            return
        if verdict.outcome is Outcome.REJECTED:
            log.error("checkpoint refuted", network=self.chain.network, reason=verdict.reason, height=verdict.index)
            await self._inbox_send.send(ev.TipMoved(self.chain.tip, self.chain.base))  # what was below is gone
            await self._inbox_send.send(ev.Validated(effect.job, verdict))
        else:
            await self._inbox_send.send(ev.Committed(effect.job, self.chain.tip, self.chain.base))

    async def _timer(self, effect: fx.SetTimer) -> None:
        await trio.sleep(effect.delay)
        await self._inbox_send.send(ev.TimerFired(effect.generation))
