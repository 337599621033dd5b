"""The header-sync machine: events in, effects out; no I/O, no clock, no randomness of its own.

It follows one chain. A *burst* starts when a peer (the *lead*) claims a better chain: its first reply, after our
locator, shows where its chain leaves ours; from there ranges by height are spread over all peers that claim to have
them, and committed strictly in order. A range that does not link is fetched again from another peer; the lead's own
bad range ends the burst. A lead that cannot be asked by number is asked for what follows its last reply.

What can grow: the window (``window.MAX_JOBS`` jobs), the pushes (``PUSHES``), the peer table (``peers.MAX_PEERS``), the
counters (one entry a transition or fault reason).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from p2p.faults import FaultReason, RemoteFault
from spvnode.following import Blame, Outcome, Terms, Tip, Verdict
from spvnode.sync import effects as fx
from spvnode.sync import events as ev
from spvnode.sync.burst import NOTHING, Burst
from spvnode.sync.peers import PeerTable
from spvnode.sync.rejection import rule
from spvnode.sync.table import State, Trigger, step
from spvnode.sync.window import MAX_ATTEMPTS, Job, JobKind, Window, queue_below
from spvnode.types import Height

IN_FLIGHT = 4
"""Fetches at the same time, by default: enough to hide a round trip of 50 ms, few enough for a small device."""
PUSHES = 4
"""Pushed runs that wait for their turn: the newest of each kind and a peer's second try. Any peer may fill them."""
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
        terms: Terms,
        jitter: Callable[[], float],
        in_flight: int = IN_FLIGHT,
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
        self._terms = terms
        self._burst = Burst()
        self._pushes: deque[ev.Pushed] = deque(maxlen=PUSHES)
        self._was_push = False
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
        self.peers.claim(event.peer, event.tip, event.base, ranged=event.ranged)
        if event.peer == self._burst.lead and self._burst.last_start != NOTHING:
            self._burst.last_start = Height(max(self._burst.last_start, event.tip.height))
        if self.state is State.RECOVERING and self.peers.good_leader(self.tip):
            self._step(Trigger.NEWS)  # no reason to let somebody else's failures delay this one

    def _pushed(self, event: ev.Pushed) -> None:
        """Waits for its turn. One that we are not ready for is dropped: the claim that comes with it has it fetched."""
        if event.items and event.start <= self.tip.height + 1:
            self._pushes.append(event)

    def _fetched(self, event: ev.Fetched) -> None:
        job = self.window.get(event.job)
        if job is None or job.peer is None:
            return
        got = self._terms.count(event.items)
        busy = event.limited and not got
        self.peers.released(job.peer, good=not busy)
        claim = self.peers.get(job.peer)
        if event.ends and claim is not None and claim.tip == job.claimed:
            self.peers.ends(job.peer, Height(event.start + got - 1))
        if busy:
            job.unassign()
        elif job.kind is JobKind.AFTER:
            self._take_after(job, event, got)
        else:
            self._take_range(job, event, got)

    def _take_after(self, job: Job, event: ev.Fetched, got: int) -> None:
        claim = self.peers.get(job.peer or "")
        end = claim.tip.height if claim is not None else NOTHING
        if not self._burst.begun(job, event.start, got, end, event.place) and not (event.limited or event.ends):
            self._fault(job.peer or "", FaultReason.DRIP, f"{got} items from {event.start}, claimed up to {end}")
        if got:
            job.items = event.items
        else:
            self.window.remove(job)  # it has nothing more for us: the burst ends here

    def _take_range(self, job: Job, event: ev.Fetched, got: int) -> None:
        """Its sender claimed to have all of them. A reorganization between claim and answer explains fewer now and
        then, so the fault is a mild one; but a peer that drips must not hold the line."""
        if got < job.count and not (event.limited or event.ends):
            self._fault(job.peer or "", FaultReason.DRIP, f"{got} of {job.count} items from {job.start}")
        if got < job.count and not self.window.split(job, got):
            job.unassign()
        else:
            job.items = event.items

    def _fetch_failed(self, event: ev.FetchFailed) -> None:
        job = self.window.get(event.job)
        if job is None or job.peer is None:
            return
        self.peers.released(job.peer, good=False)
        self._count_and_report(event.fault)
        job.unassign()

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
            self._rejected(job, verdict)
        elif verdict.outcome is Outcome.DUPLICATE:
            self._nothing_new(job)
        else:
            self._step(Trigger.VALID)
            self._unsynced += verdict.items
            sync = self._unsynced >= self._terms.sync_every or (len(self.window) == 1 and not self._burst.more)
            if sync:
                self._unsynced = 0
            self._out.append(fx.Commit(job.id, verdict, sync, below=job.below))

    def _nothing_new(self, job: Job) -> None:
        """Only the lead is believed when it sends what we have: another peer may be on the branch that it leaves."""
        if job.kind is JobKind.RANGE and job.peer is not None and job.peer != self._burst.lead:
            self._stray(job.peer)
            self._step(Trigger.RETRY)
            return
        if job.peer is not None and self._burst.repeats(job, self._terms):
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
                job.unassign()

    def _rejected(self, job: Job, verdict: Verdict) -> None:
        reason, index = verdict.reason, verdict.index
        if verdict.blame is Blame.CLOCK and index > 0:
            self._cut(job, verdict)
            return
        ruling = rule(job, verdict.blame, index, self._burst)
        if job.kind is JobKind.FINISH:
            self.refuted = True
            self.faults[f"checkpoint refuted: {reason}"] += 1
        elif ruling.fault is not None:
            self._fault(job.peer or "", ruling.fault, f"{reason} at {job.start + index}")
        elif verdict.blame in (Blame.CLOCK, Blame.NOBODY):
            self.faults[reason] += 1
        self.peers.distrust(ruling.distrusted)
        job.items = None
        job.unassign()
        if job.kind is JobKind.PUSH:
            self.window.pop()
            self._step(Trigger.NOTHING_NEW)
        elif ruling.ends:
            self._give_up()
        else:
            self._step(Trigger.RETRY)

    def _cut(self, job: Job, verdict: Verdict) -> None:
        """Ends the burst right before an item from the future; what comes before it is as good as any."""
        job.items, job.count = self._terms.cut(job.items or b"", verdict.index), verdict.index
        self._stop_after(job)
        self._burst.cut = True
        self.faults[verdict.reason] += 1
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
        after a lead that brought nothing: hollow claims must not hold the backfill off. What was pushed goes before
        both, but not twice in a row while somebody claims more."""
        if self._pushes and not (self._was_push and self.peers.leaders(self.tip)):
            return self._begin_push(self._pushes.popleft())
        self._was_push = False
        if self._fruitless:
            self._queue_below()
        lead = None if self.window else self.peers.lead(self.tip)
        if lead is not None:
            self.window.add(JobKind.AFTER, Height(0), self._terms.run_items)
        elif not self.window:
            self._queue_below()
        self._fruitless = lead is not None  # until it commits something
        if not self.window:
            return False
        depth = self._terms.common_depth
        self._burst = Burst(lead.peer, depth, sequential=not lead.ranged) if lead is not None else Burst()
        self._step(Trigger.NEWS)
        return True

    def _begin_push(self, push: ev.Pushed) -> bool:
        self._was_push, self._burst = True, Burst()
        count = self._terms.count(push.items)
        self.window.add(JobKind.PUSH, push.start, count, peer=push.peer, items=push.items)
        self._step(Trigger.NEWS)
        return True

    def _queue_below(self) -> None:
        if not self.whole and not self.refuted:
            queue_below(self.window, self.base, self.peers.lowest_base(self.base), self._terms.run_items)

    def _fill(self) -> None:
        """Tops the window up and hands unassigned jobs out, the head first, within the pool's bound."""
        burst = self._burst
        while burst.more and not self.window.full and not (burst.sequential and burst.place is None):
            kind = JobKind.AFTER if burst.sequential else JobKind.RANGE
            job = self.window.add(kind, *burst.take(self._terms.run_items))
            job.place, burst.place = burst.place, None
        for job in self.window.unassigned():
            if self.window.in_flight() >= self._in_flight:
                return
            self._assign(job)

    def _assign(self, job: Job) -> None:
        claim = self._burst.helper(self.peers, job) if len(job.tried) < MAX_ATTEMPTS else None
        if claim is None:
            return
        job.peer, job.claimed = claim.peer, claim.tip
        claim.in_flight += 1
        if job.kind is JobKind.AFTER:
            self._out.append(fx.FetchAfter(job.id, claim.peer, job.count, job.place))
        else:
            self._out.append(fx.FetchRange(job.id, claim.peer, job.start, job.count))

    def _end_burst(self) -> None:
        if self._burst.cut:  # there is more, for later: neither a hollow claim nor a reason to ask again at once
            self._give_up()
            self._announce()
            return
        self._step(Trigger.EXHAUSTED)
        claimed = self.peers.hollow(self._burst.lead, self.tip)
        if claimed is not None and claimed.work and self.tip.work:
            evidence = f"claimed work {claimed.work:x} at {claimed.height}"
            self._fault(self._burst.lead or "", FaultReason.FALSE_CLAIM, evidence)
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
        failures = 0 if not ours and self.peers.good_leader(self.tip) else self.failures
        delay = min(BACKOFF_CAP, BACKOFF_FIRST * 2 ** min(failures, 16))
        self.failures += 1
        self._timer += 1
        self._out.append(fx.CancelFetches())
        self._out.append(fx.SetTimer(self._timer, delay * (0.5 + 0.5 * self._jitter())))

    # -- small things ----------------------------------------------------------------------------------------------

    def _step(self, trigger: Trigger) -> None:
        before = self.state
        self.state = step(before, trigger)
        self.transitions[f"{before}>{self.state}"] += 1

    def _fault(self, peer: str, reason: FaultReason, evidence: str) -> None:
        self._count_and_report(RemoteFault(reason, peer, evidence))

    def _count_and_report(self, fault: RemoteFault) -> None:
        self.faults[str(fault.reason)] += 1
        self._out.append(fx.Report(fault))
