"""The header-sync machine: events in, effects out; no I/O, no clock, no randomness of its own.

It follows one chain. A *burst* starts when a peer (the *lead*) claims a better chain: its first reply, after our
locator, shows where its chain leaves ours; from there ranges by height are spread over all peers that claim to have
them, and committed strictly in order. A range that does not link is fetched again from another peer; the lead's own
bad range ends the burst.

What can grow: the window (``window.MAX_WINDOW`` jobs), the peer table (``peers.MAX_PEERS``), the counters (one entry a
transition or fault reason).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from p2p.faults import FaultReason, RemoteFault
from spvnode.following import Outcome, Tip
from spvnode.sync import effects as fx
from spvnode.sync import events as ev
from spvnode.sync.burst import MAX_KNOWN, NOTHING, Burst
from spvnode.sync.peers import PeerTable, is_ahead
from spvnode.sync.rejection import NOBODYS_FAULT, TOO_NEW, rule
from spvnode.sync.table import State, Trigger, step
from spvnode.sync.window import MAX_ATTEMPTS, Job, JobKind, Window, queue_below
from spvnode.types import HEADER_SIZE, Height

IN_FLIGHT = 4
"""Fetches at the same time, by default: enough to hide a round trip of 50 ms, few enough for a small device."""
RUN_ITEMS = 8_064
"""Items a fetch: four retarget periods, 645 kB of headers."""
SYNC_EVERY = 100_000
"""Items between durable writes inside a long burst: what a power cut may cost, a second's worth of fetching."""
BACKOFF_FIRST = 0.5
"""Seconds before the first new try."""
BACKOFF_CAP = 60.0
"""Seconds at most between tries."""


class Machine:
    """``handle`` is the only door. ``jitter`` gives numbers in [0, 1)."""

    def __init__(
        self,
        tip: Tip,
        base: Height,
        *,
        whole: bool,
        jitter: Callable[[], float],
        in_flight: int = IN_FLIGHT,
        run_items: int = RUN_ITEMS,
        item_size: int = HEADER_SIZE,
    ) -> None:
        self.state = State.IDLE
        self.tip, self.base, self.whole = tip, base, whole
        self.peers = PeerTable()
        self.window = Window()
        self.transitions: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.items_committed = 0
        self.failures = 0
        self.refuted = False
        """The headers below the checkpoint break a rule: it is not on a valid chain."""
        self._jitter = jitter
        self._in_flight = in_flight
        self._run_items = run_items
        self._item_size = item_size
        self._burst = Burst()
        self._fruitless = False
        self._unsynced = 0
        self._announced = tip.hash
        self._timer = 0
        self._out: list[fx.Effect] = []

    def handle(self, event: ev.Event) -> list[fx.Effect]:
        """Takes one event; returns what is to be done, in order."""
        self._out = []
        self._dispatch(event)
        self._advance()
        return self._out

    def _dispatch(self, event: ev.Event) -> None:
        match event:
            case ev.PeerTip():
                self._peer_tip(event)
            case ev.PeerLeft():
                self.peers.left(event.peer)
            case ev.Pushed():
                self._pushed(event)
            case ev.Fetched():
                self._fetched(event)
            case ev.FetchFailed():
                self._fetch_failed(event)
            case ev.Validated():
                self._validated(event)
            case ev.Committed():
                self._committed(event)
            case ev.CommitFailed():
                self._commit_failed()
            case ev.TipMoved():
                self.tip, self.base = event.tip, event.base
                self._announced = event.tip.hash  # by whoever moved it
            case ev.TimerFired():
                self._timer_fired(event)

    # -- what happened ---------------------------------------------------------------------------------------------

    def _peer_tip(self, event: ev.PeerTip) -> None:
        self.peers.claim(event.peer, event.tip, event.base)
        if event.peer == self._burst.lead and self._burst.last_start != NOTHING:
            self._burst.last_start = Height(max(self._burst.last_start, event.tip.height))
        if self.state is State.RECOVERING and self._good_leader():
            self._step(Trigger.NEWS)  # no reason to let somebody else's failures delay this one

    def _pushed(self, event: ev.Pushed) -> None:
        """A pushed run is taken only when the line is free: the claim that comes with it gets it fetched otherwise."""
        if self.state is State.IDLE and event.items and event.start <= self.tip.height + 1:
            count = len(event.items) // self._item_size
            self.window.add(JobKind.PUSH, event.start, count, peer=event.peer, items=event.items)
            self._start_burst(None)

    def _fetched(self, event: ev.Fetched) -> None:
        job = self.window.get(event.job)
        if job is None or job.peer is None:
            return
        self.peers.released(job.peer, good=True)
        got = len(event.items) // self._item_size
        if job.kind is JobKind.AFTER:
            self._first_reply(job, event.start, got)
            if not got:
                self.window.clear()  # it has nothing for us: the burst ends here
        elif got < job.count:
            # It claimed to have them all. A reorganization between claim and answer explains that now and then, so
            # the fault is a mild one; but a peer that drips must not hold the line.
            self._fault(job.peer, FaultReason.DRIP, f"{got} of {job.count} items from {job.start}")
            self._unassign(job)
            return
        job.items = event.items

    def _first_reply(self, job: Job, start: Height, got: int) -> None:
        claim = self.peers.get(job.peer or "")
        end = claim.tip.height if claim is not None else Height(-1)
        if 0 < got < min(job.count, end - start + 1):
            self._fault(job.peer or "", FaultReason.DRIP, f"{got} items from {start}, claimed up to {end}")
        job.start, job.count = start, got
        self._burst.next_start = Height(start + got)
        self._burst.last_start = end if got else NOTHING

    def _fetch_failed(self, event: ev.FetchFailed) -> None:
        job = self.window.get(event.job)
        if job is None or job.peer is None:
            return
        self.peers.released(job.peer, good=False)
        self._count_and_report(event.fault)
        self._unassign(job)

    def _validated(self, event: ev.Validated) -> None:
        job = self.window.head
        if job is None or job.id != event.job or self.state is not State.VALIDATING:
            return
        verdict = event.verdict
        if job.kind is JobKind.AFTER and verdict.last not in (NOTHING, job.start + job.count - 1):
            # Others would be asked for what comes after a place that is not there, and be blamed for it.
            self._fault(job.peer or "", FaultReason.FALSE_CLAIM, f"items up to {verdict.last} as from {job.start}")
            self._stop_after(job)
        if verdict.outcome is Outcome.REJECTED:
            self._rejected(job, verdict.reason, verdict.index)
        elif verdict.outcome is Outcome.DUPLICATE:
            self._nothing_new(job)
        else:
            self._step(Trigger.VALID)
            self._unsynced += verdict.items
            sync = self._unsynced >= SYNC_EVERY or (len(self.window) == 1 and not self._burst.more)
            if sync:
                self._unsynced = 0
            self._out.append(fx.Commit(job.id, verdict, sync, below=job.below))

    def _nothing_new(self, job: Job) -> None:
        """Only the lead is believed when it sends what we have: another peer may be on the branch that it leaves."""
        if job.kind is JobKind.RANGE and job.peer is not None and job.peer != self._burst.lead:
            self._stray(job.peer)
            self._step(Trigger.RETRY)
            return
        if job.peer is not None:
            self._burst.known += max(job.count, self._run_items)  # small runs take as long as full ones
            if self._burst.known > MAX_KNOWN:
                self._fault(job.peer, FaultReason.FALSE_CLAIM, "only sends what we have")
                self.peers.distrust(job.peer)
                self._give_up()
                return
        self._burst.previous = job.peer
        self.window.pop()
        self._step(Trigger.NOTHING_NEW)

    def _stray(self, peer: str) -> None:
        """All that this peer has sent in this burst is fetched again, from others; it is not at fault."""
        self._burst.strayed.add(peer)
        for job in self.window:
            if job.peer == peer and job.items is not None:
                job.items = None
                self._unassign(job)

    def _rejected(self, job: Job, reason: str, index: int) -> None:
        if reason == TOO_NEW and index > 0:
            self._cut(job, index)
            return
        ruling = rule(job, reason, index, self._burst)
        if job.kind is JobKind.FINISH:
            self.refuted = True
            self.faults[f"checkpoint refuted: {reason}"] += 1
        elif ruling.fault is not None:
            self._fault(job.peer or "", ruling.fault, f"{reason} at {job.start + index}")
        elif reason in NOBODYS_FAULT:
            self.faults[reason] += 1
        self.peers.distrust(ruling.distrusted)
        job.items = None
        self._unassign(job)
        if job.kind is JobKind.PUSH:
            self.window.pop()
            self._step(Trigger.NOTHING_NEW)
        elif ruling.ends:
            self._give_up()
        else:
            self._step(Trigger.RETRY)

    def _cut(self, job: Job, index: int) -> None:
        """Ends the burst right before an item from the future; what comes before it is as good as any."""
        job.items, job.count = (job.items or b"")[: index * self._item_size], index
        self._stop_after(job)
        self._burst.cut = True
        self.faults[TOO_NEW] += 1
        self.peers.distrust(job.peer or "")
        self._step(Trigger.RETRY)

    def _stop_after(self, job: Job) -> None:
        """Nothing that comes after the head, ``job``, is wanted."""
        self.peers.abandoned(self.window.drop_behind(job))
        self._burst.last_start = NOTHING

    def _committed(self, event: ev.Committed) -> None:
        self.base = event.base
        self.tip = event.tip
        job = self.window.head
        if job is None or job.id != event.job or self.state not in (State.COMMITTING, State.VALIDATING):
            return
        self.window.pop()
        self._burst.previous = job.peer
        self.failures = 0
        self._fruitless = False
        self.items_committed += job.count
        if job.peer is not None:
            self.peers.proved(job.peer)
            self._out.append(fx.Useful(job.peer))
        if self.state is State.VALIDATING:  # a FINISH job has no commit of its own: the chain is whole
            self.whole = True
            self._step(Trigger.NOTHING_NEW)
        else:
            self._step(Trigger.STORED)

    def _commit_failed(self) -> None:
        self.faults["store"] += 1
        if self.state in (State.COMMITTING, State.VALIDATING):
            self._give_up(ours=True)

    def _timer_fired(self, event: ev.TimerFired) -> None:
        if event.generation == self._timer and self.state is State.RECOVERING:
            self._step(Trigger.TIMER)

    # -- what follows ----------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Runs until the machine has to wait for somebody."""
        while True:
            if self.state is State.IDLE and not self._begin():
                self._announce()
                return
            if self.state is State.RECOVERING:
                return
            self._fill()
            if self.state is not State.FETCHING:
                return
            head = self.window.head
            if head is None:
                self._end_burst()
            elif head.items is not None:
                self._step(Trigger.HEAD_READY)
                done = head.kind is JobKind.FINISH
                self._out.append(fx.Finish(head.id) if done else fx.Validate(head.id, head.items, head.below))
                return
            elif head.peer is None and self.window.in_flight() < self._in_flight:
                self._give_up()  # nobody is left to ask for the run that everything waits for
            else:
                return

    def _begin(self) -> bool:
        """Starts a burst if there is a reason for one: a better chain first, then the backfill. The other way round
        after a lead that brought nothing: hollow claims must not hold the backfill off."""
        if self._fruitless:
            self._queue_below()
        lead = None if self.window else self.peers.lead(self.tip)
        if lead is not None:
            self.window.add(JobKind.AFTER, Height(0), self._run_items)
        elif not self.window:
            self._queue_below()
        self._fruitless = lead is not None  # until it commits something
        if self.window:
            self._start_burst(lead.peer if lead is not None else None)
        return bool(self.window)

    def _start_burst(self, lead: str | None) -> None:
        self._burst = Burst(lead)
        self._step(Trigger.NEWS)

    def _queue_below(self) -> None:
        if not self.whole and not self.refuted:
            queue_below(self.window, self.base, self.peers.lowest_base(self.base), self._run_items)

    def _fill(self) -> None:
        """Tops the window up and hands unassigned jobs out, the head first, within the pool's bound."""
        while self._burst.more and not self.window.full:
            self.window.add(JobKind.RANGE, *self._burst.take(self._run_items))
        for job in self.window.unassigned():
            if self.window.in_flight() >= self._in_flight:
                return
            self._assign(job)

    def _assign(self, job: Job) -> None:
        claim = self._burst.helper(self.peers, job) if len(job.tried) < MAX_ATTEMPTS else None
        if claim is None:
            return
        job.peer = claim.peer
        claim.in_flight += 1
        if job.kind is JobKind.AFTER:
            self._out.append(fx.FetchAfter(job.id, claim.peer, job.count))
        else:
            self._out.append(fx.FetchRange(job.id, claim.peer, job.start, job.count))

    def _end_burst(self) -> None:
        if self._burst.cut:  # there is more, for later: neither a hollow claim nor a reason to ask again at once
            self._give_up()
            self._announce()
            return
        self._step(Trigger.EXHAUSTED)
        claim = self.peers.get(self._burst.lead or "")
        if claim is not None and is_ahead(claim.tip, self.tip):
            # All that it had has been fetched and is not better than ours: its claim was hollow (or, with work
            # unknown on one side, simply no better). It is believed again when it makes another one.
            if claim.tip.work and self.tip.work:
                self._fault(
                    claim.peer, FaultReason.FALSE_CLAIM, f"claimed work {claim.tip.work:x} at {claim.tip.height}"
                )
            self.peers.claim(claim.peer, self.tip, claim.base)
            claim.proven = False
        self._burst = Burst()
        self._announce()

    def _announce(self) -> None:
        if self._announced != self.tip.hash:
            self._announced = self.tip.hash
            self._out.append(fx.Announce(self.tip))

    def _give_up(self, *, ours: bool = False) -> None:
        """Drops the burst and waits: exponential, capped, with jitter so that a mesh does not retry in step. Unless the
        fault is ``ours``, whose turn it is now does not wait for the failures of others."""
        self._step(Trigger.FAULT)
        self.peers.abandoned(self.window)
        self.window.clear()
        self._burst = Burst()
        failures = 0 if not ours and self._good_leader() else self.failures
        delay = min(BACKOFF_CAP, BACKOFF_FIRST * 2 ** min(failures, 16))
        self.failures += 1
        self._timer += 1
        self._out.append(fx.CancelFetches())
        self._out.append(fx.SetTimer(self._timer, delay * (0.5 + 0.5 * self._jitter())))

    def _good_leader(self) -> bool:
        """Whether the next to lead has not failed."""
        leaders = self.peers.leaders(self.tip)
        return bool(leaders) and not leaders[0].failures

    # -- small things ----------------------------------------------------------------------------------------------

    def _step(self, trigger: Trigger) -> None:
        before = self.state
        self.state = step(before, trigger)
        self.transitions[f"{before}>{self.state}"] += 1

    def _unassign(self, job: Job) -> None:
        if job.peer is not None:
            job.tried.add(job.peer)
        job.peer = None

    def _fault(self, peer: str, reason: FaultReason, evidence: str) -> None:
        self._count_and_report(RemoteFault(reason, peer, evidence))

    def _count_and_report(self, fault: RemoteFault) -> None:
        self.faults[str(fault.reason)] += 1
        self._out.append(fx.Report(fault))
