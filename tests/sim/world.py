"""A simulated network around the real machine and a real chain: events on a heap, time that jumps, one seed.

The world does what the driver does, without trio: it answers fetches by asking simulated peers, plans and commits on a
real ``StoredChain`` over the in-memory engine, fires timers, scores faults with the real score table. Thousands of
times faster than real time; a failing seed replays.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from p2p.faults import FaultReason, RemoteFault
from p2p.score import POINTS, THRESHOLD
from spvnode.bitcoin.params import REGTEST, ChainParams
from spvnode.bitcoin.start import Checkpoint, genesis_of
from spvnode.bitcoin.stored import StoredChain
from spvnode.errors import StoreError
from spvnode.following import Outcome, Tip
from spvnode.store.headers import HeaderStore
from spvnode.store.memory import MemoryEngine
from spvnode.store.schema import StartRecord
from spvnode.sync import effects as fx
from spvnode.sync import events as ev
from spvnode.sync.machine import Machine
from spvnode.sync.source import Items
from spvnode.types import Hash32, Height, Work

NOW = 2_000_000_000
DEADLINE = 8.0

Ask = fx.FetchAfter | fx.FetchRange
Reply = Items | RemoteFault | None
"""None: never."""


def open_chain(params: ChainParams = REGTEST, start: Checkpoint | None = None) -> StoredChain:
    """A fresh chain on an in-memory store."""
    origin = start or genesis_of(params)
    record = StartRecord(origin.height, origin.header, origin.chainwork, origin.peaks)
    store = HeaderStore.open(MemoryEngine(), genesis_hash=params.genesis_hash, start=record, now=NOW)
    return StoredChain(params, store, start, clock=lambda: NOW)


@dataclass
class Peer:
    """An honest peer; the hostile ones override ``answer`` or ``claim``."""

    name: str
    chain: StoredChain
    latency: float = 0.05
    base: int = 0
    asked: Counter[str] = field(default_factory=Counter)

    def claim(self) -> Tip:
        return self.chain.tip

    def honest(self, ask: Ask, locator: list[Hash32]) -> Items:
        chain = self.chain.headers
        if isinstance(ask, fx.FetchAfter):
            return Items(*(chain.headers_after_locator(locator, ask.count) or (0, b"")))
        if ask.start > chain.tip_height:
            return Items(ask.start, b"")
        return Items(ask.start, chain.headers(ask.start, ask.count))

    def answer(self, ask: Ask, locator: list[Hash32], rng: random.Random) -> tuple[float, Reply]:
        return self.latency * (0.5 + rng.random()), self.honest(ask, locator)


class World:
    """One node and its peers."""

    def __init__(self, seed: int, chain: StoredChain, *, in_flight: int = 4, run_items: int = 500) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.wall = NOW
        """What this node takes for the time."""
        self.chain = chain
        self.machine = Machine(
            chain.tip,
            chain.base,
            whole=chain.whole,
            terms=replace(chain.terms, run_items=run_items),
            jitter=self.rng.random,
            in_flight=in_flight,
        )
        self.peers: dict[str, Peer] = {}
        self.scores: Counter[str] = Counter()
        self.left: set[str] = set()
        self.log: list[str] = []
        self.announced: list[Tip] = []
        self.delays: list[float] = []
        self.most_in_flight = self.most_window = 0
        self.fail_writes = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._fetches: set[int] = set()

    # -- time

    def at(self, delay: float, what: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (self.now + delay, self._order, what))

    def run(self, until: float = 600.0, done: Callable[[], bool] = lambda: False) -> None:
        """Runs until ``done``, or until nothing more happens, or the simulated time is up."""
        while self._heap and self._heap[0][0] <= until and not done():
            self.now, _, what = heapq.heappop(self._heap)
            what()

    # -- peers

    def join(self, peer: Peer) -> None:
        self.peers[peer.name] = peer
        self.post(ev.PeerTip(peer.name, peer.claim(), Height(peer.base)))

    def leave(self, name: str) -> None:
        self.left.add(name)
        if self.peers.pop(name, None) is not None:
            self.post(ev.PeerLeft(name))

    # -- the driver's part

    def post(self, event: ev.Event) -> None:
        before = self.machine.state
        out = self.machine.handle(event)
        self.most_in_flight = max(self.most_in_flight, self.machine.window.in_flight())
        self.most_window = max(self.most_window, len(self.machine.window))
        self.log.append(f"{self.now:.3f} {type(event).__name__} {before}>{self.machine.state}")
        for effect in out:
            self.interpret(effect)

    def interpret(self, effect: fx.Effect) -> None:
        match effect:
            case fx.FetchAfter() | fx.FetchRange():
                self.fetch(effect)
            case fx.CancelFetches():
                self._fetches.clear()
            case fx.Validate():
                self.at(0.001, lambda: self.validate(effect))
            case fx.Commit():
                self.at(0.002, lambda: self.commit(effect))
            case fx.Finish():
                self.at(0.01, lambda: self.finish(effect))
            case fx.Report():
                self.report(effect.fault)
            case fx.Announce():
                self.announced.append(effect.tip)
            case fx.SetTimer():
                self.delays.append(effect.delay)
                self.at(effect.delay, lambda: self.post(ev.TimerFired(effect.generation)))
            case fx.Useful():
                self.scores[effect.peer] = max(0, self.scores[effect.peer] - 1)

    def fetch(self, ask: Ask) -> None:
        self._fetches.add(ask.job)
        peer = self.peers.get(ask.peer)
        if peer is None:
            fault = RemoteFault(FaultReason.DISCONNECTED, ask.peer, "gone", scored=True)
            self.at(0.0, lambda: self.deliver(ask, fault))
            return
        peer.asked[type(ask).__name__] += 1
        delay, reply = peer.answer(ask, getattr(ask, "place", None) or self.chain.locator(), self.rng)
        if reply is None or delay > DEADLINE:
            delay, reply = DEADLINE, RemoteFault(FaultReason.TIMEOUT, ask.peer, "no reply")
        self.at(delay, lambda: self.deliver(ask, reply))

    def deliver(self, ask: Ask, reply: Items | RemoteFault) -> None:
        if ask.job not in self._fetches:
            return
        self._fetches.discard(ask.job)
        if isinstance(reply, RemoteFault):
            self.post(ev.FetchFailed(ask.job, reply))
        else:
            self.post(ev.Fetched(ask.job, reply.start, reply.items, reply.limited, reply.ends, reply.place))

    def validate(self, effect: fx.Validate) -> None:
        chain = self.chain
        verdict = chain.plan_below(effect.items) if effect.below else chain.plan(effect.items, self.wall)
        self.post(ev.Validated(effect.job, verdict))

    def commit(self, effect: fx.Commit) -> None:
        try:
            self.write(effect)
        except StoreError as error:
            self.post(ev.CommitFailed(effect.job, str(error)))
            return
        self.post(ev.Committed(effect.job, self.chain.tip, self.chain.base))

    def write(self, effect: fx.Commit) -> None:
        if self.fail_writes:
            self.fail_writes -= 1
            raise StoreError("disk full")
        if effect.below:
            self.chain.write_below(effect.verdict, sync=effect.sync)
            self.chain.apply_below(effect.verdict)
        else:
            self.chain.write(effect.verdict, now=NOW, sync=effect.sync)
            self.chain.apply(effect.verdict)

    def finish(self, effect: fx.Finish) -> None:
        verdict = self.chain.finish_below()
        if verdict.outcome is Outcome.REJECTED:
            self.post(ev.Validated(effect.job, verdict))
        else:
            self.post(ev.Committed(effect.job, self.chain.tip, self.chain.base))

    def report(self, fault: RemoteFault) -> None:
        if not fault.scored:
            self.scores[fault.peer] += int(POINTS[fault.reason])
        if self.scores[fault.peer] >= THRESHOLD and fault.peer in self.peers:
            name = fault.peer
            self.at(0.0, lambda: self.leave(name))


def fake_tip(height: int, work: int = 1 << 200) -> Tip:
    """What a liar claims."""
    return Tip(Height(height), Hash32(bytes([7]) * 32), Work(work))
