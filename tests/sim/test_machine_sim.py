"""The real machine on a real chain in a simulated network: honest peers, liars, losses, restarts of every kind."""

from __future__ import annotations

import random
from functools import cache

import pytest
from mine import mine, mine_run, regtest_chain
from world import Ask, Peer, Reply, World, fake_tip, open_chain

from p2p.faults import FaultReason
from spvnode.bitcoin.header import Header
from spvnode.bitcoin.params import NETWORKS, REGTEST
from spvnode.bitcoin.start import Checkpoint
from spvnode.bitcoin.stored import StoredChain
from spvnode.following import Outcome, Tip
from spvnode.sync import events as ev
from spvnode.sync.effects import FetchRange
from spvnode.sync.machine import BACKOFF_CAP, IN_FLIGHT
from spvnode.sync.source import Items
from spvnode.sync.table import TRANSITIONS, State
from spvnode.sync.window import MAX_JOBS
from spvnode.types import Hash32, Height, Work

LENGTH = 6_000
NOW = 2_000_000_000


@cache
def long_headers() -> bytes:
    return regtest_chain(LENGTH + 200)


def fill(headers: bytes) -> StoredChain:
    chain = open_chain()
    extend(chain, headers)
    return chain


def extend(chain: StoredChain, headers: bytes) -> None:
    verdict = chain.plan(headers, NOW)
    assert verdict.outcome is not Outcome.REJECTED, verdict
    chain.write(verdict, now=NOW, sync=False)
    chain.apply(verdict)


@cache
def honest_chain() -> StoredChain:
    return fill(long_headers()[: LENGTH * 80])


def tip_of(chain: StoredChain) -> bytes:
    return chain.headers.tip_hash


def synced(world: World) -> bool:
    return world.chain.tip.height >= LENGTH and world.machine.state is State.IDLE


# -- hostile peers ------------------------------------------------------------------------------------------------


class Liar(Peer):
    """Claims the most work of all."""

    def claim(self) -> Tip:
        return fake_tip(LENGTH + 100)


class Silent(Liar):
    def answer(self, ask: Ask, locator: list[Hash32], rng: random.Random) -> tuple[float, Reply]:
        return 0.0, None


class Late(Liar):
    """Answers, truly, but always after the deadline."""

    def answer(self, ask: Ask, locator: list[Hash32], rng: random.Random) -> tuple[float, Reply]:
        return 9.0, self.honest(ask, locator)


class Dripping(Peer):
    """One header a reply."""

    def answer(self, ask: Ask, locator: list[Hash32], rng: random.Random) -> tuple[float, Reply]:
        whole = self.honest(ask, locator)
        return 1.0, Items(whole.start, whole.items[:80])


class Garbage(Liar):
    def answer(self, ask: Ask, locator: list[Hash32], rng: random.Random) -> tuple[float, Reply]:
        whole = self.honest(ask, locator)
        return 0.02, Items(whole.start, rng.randbytes(len(whole.items) or 800))


class OneBad(Liar):
    """One flipped bit somewhere in each reply."""

    def answer(self, ask: Ask, locator: list[Hash32], rng: random.Random) -> tuple[float, Reply]:
        whole = self.honest(ask, locator)
        if not whole.items:
            return 0.02, whole
        broken = bytearray(whole.items)
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        return 0.02, Items(whole.start, bytes(broken))


class WrongNetwork(Liar):
    """Mainnet headers under regtest's name."""

    def answer(self, ask: Ask, locator: list[Hash32], rng: random.Random) -> tuple[float, Reply]:
        genesis = NETWORKS["bitcoin"].genesis_header
        return 0.02, Items(Height(1), genesis * 3)


class Empty(Liar):
    """Claims everything and has nothing."""

    def answer(self, ask: Ask, locator: list[Hash32], rng: random.Random) -> tuple[float, Reply]:
        return 0.02, Items(Height(0), b"")


class Vanishing(Peer):
    """Leaves at its second question."""

    world: World | None = None

    def answer(self, ask: Ask, locator: list[Hash32], rng: random.Random) -> tuple[float, Reply]:
        if self.asked.total() > 1 and self.world is not None:
            world = self.world
            world.at(0.0, lambda: world.leave(self.name))
            return 0.0, None
        return super().answer(ask, locator, rng)


HOSTILE = [Silent, Late, Dripping, Garbage, OneBad, WrongNetwork, Empty, Vanishing]


def join(world: World, kind: type[Peer], name: str, chain: StoredChain | None = None) -> Peer:
    peer = kind(name, chain or honest_chain())
    if isinstance(peer, Vanishing):
        peer.world = world
    world.join(peer)
    return peer


# -- the honest way -----------------------------------------------------------------------------------------------


def test_one_peer_from_genesis_to_tip() -> None:
    world = World(1, open_chain())
    join(world, Peer, "a")
    world.run(done=lambda: synced(world))
    assert tip_of(world.chain) == tip_of(honest_chain())
    assert world.announced == [world.chain.tip]
    assert world.machine.failures == 0
    assert not world.machine.faults
    assert world.most_in_flight == IN_FLIGHT
    assert world.most_window <= MAX_JOBS


def test_ranges_are_spread_over_all_peers() -> None:
    world = World(2, open_chain())
    peers = [join(world, Peer, name) for name in "abcd"]
    world.run(done=lambda: synced(world))
    assert sum(peer.asked["FetchRange"] for peer in peers) == LENGTH // 500 - 1
    assert all(peer.asked["FetchRange"] >= 1 for peer in peers)


def test_fetching_overlaps_committing() -> None:
    world = World(3, open_chain())
    join(world, Peer, "a")
    overlapping = []
    world.run(done=lambda: overlapping.append(
        world.machine.state is State.COMMITTING and world.machine.window.in_flight() > 0) or synced(world))  # fmt: skip
    assert any(overlapping)


def test_same_seed_same_trace() -> None:
    traces = []
    for _ in range(2):
        world = World(4, open_chain())
        for i, kind in enumerate([Peer, *HOSTILE[:4]]):
            join(world, kind, f"{i}")
        world.run(done=lambda world=world: synced(world))
        traces.append(world.log)
    assert traces[0] == traces[1]


@pytest.mark.parametrize("seed", range(12))
def test_one_honest_peer_among_eight_wins(seed: int) -> None:
    rng = random.Random(seed)
    world = World(seed, open_chain())
    kinds = [Peer, *rng.choices(HOSTILE, k=7)]
    rng.shuffle(kinds)
    for i, kind in enumerate(kinds):
        join(world, kind, f"{kind.__name__}{i}")
    world.run(until=2_000, done=lambda: synced(world))
    assert tip_of(world.chain) == tip_of(honest_chain())
    assert world.most_in_flight <= IN_FLIGHT
    assert world.most_window <= MAX_JOBS
    assert any(name.startswith("Peer") for name in world.peers), "the honest peer was dropped"


@pytest.mark.parametrize("kind", HOSTILE)
def test_each_kind_of_hostile_peer_is_scored_and_left_behind(kind: type[Peer]) -> None:
    world = World(5, open_chain())
    join(world, kind, "bad")
    world.run(until=0.01)
    join(world, Peer, "good")
    world.run(until=600, done=lambda: synced(world))
    assert tip_of(world.chain) == tip_of(honest_chain())
    assert world.scores["bad"] > 0 or "bad" in world.left
    assert world.scores["good"] == 0


def test_half_the_peers_hostile_delays_an_honest_sync_by_bounded_time() -> None:
    """Each liar may cost one deadline before it is passed over, and liars cost no more the longer the chain is."""
    world = World(6, open_chain())
    for i, kind in enumerate([Silent, Garbage, Empty, WrongNetwork]):
        join(world, kind, f"bad{i}")
        join(world, Peer, f"good{i}")
    world.run(until=600, done=lambda: world.chain.tip.height >= LENGTH)
    assert tip_of(world.chain) == tip_of(honest_chain())
    assert world.now < 4 * 8.0 + 10


# -- at the tip ---------------------------------------------------------------------------------------------------


def at_tip(seed: int = 7) -> tuple[World, StoredChain, Peer]:
    served = fill(long_headers()[: LENGTH * 80])
    world = World(seed, fill(long_headers()[: LENGTH * 80]))
    peer = Peer("a", served)
    world.join(peer)
    world.run(until=1)
    return world, served, peer


def test_a_new_tip_is_followed_and_announced() -> None:
    world, served, peer = at_tip()
    extend(served, long_headers()[LENGTH * 80 : (LENGTH + 1) * 80])
    world.post(ev.PeerTip("a", served.tip, Height(0)))
    world.run(until=5)
    assert world.chain.tip == served.tip
    assert world.announced == [served.tip]
    assert peer.asked == {"FetchAfter": 1}


def test_a_pushed_header_needs_no_question() -> None:
    world, _, peer = at_tip()
    header = long_headers()[LENGTH * 80 : (LENGTH + 1) * 80]
    world.post(ev.Pushed("a", Height(LENGTH + 1), header))
    world.run(until=5)
    assert world.chain.tip.height == LENGTH + 1
    assert peer.asked.total() == 0
    assert world.announced


def test_a_pushed_lie_is_scored_and_stores_nothing() -> None:
    world, _, _ = at_tip()
    bad, _ = mine(tip_of(world.chain), time=NOW - 10, good=False)
    world.post(ev.Pushed("a", Height(LENGTH + 1), bad))
    world.run(until=5)
    assert world.chain.tip.height == LENGTH
    assert world.machine.faults[FaultReason.INVALID_HEADER] == 1
    assert world.machine.state is State.IDLE


def test_a_pushed_header_that_does_not_connect_is_nobodys_fault() -> None:
    world, _, _ = at_tip()
    stray, _ = mine(bytes(32), time=NOW - 10)
    world.post(ev.Pushed("a", Height(LENGTH + 1), stray))
    world.run(until=5)
    assert not world.machine.faults
    assert world.machine.state is State.IDLE


@pytest.mark.parametrize("depth", [1, 20, 3_000])
def test_a_better_branch_is_followed_at_any_depth(depth: int) -> None:
    world, _, _ = at_tip()
    common = long_headers()[: (LENGTH - depth) * 80]
    last = Header(common[-80:])
    rival = fill(common + mine_run(last.hash, last.time, depth + 1, seed=9))
    world.join(Peer("rival", rival))
    world.run(until=60)
    assert world.chain.tip == rival.tip
    assert world.scores["rival"] == 0


def test_equal_work_keeps_the_first_seen() -> None:
    world, _, _ = at_tip()
    last = Header(long_headers()[(LENGTH - 2) * 80 : (LENGTH - 1) * 80])
    rival = fill(long_headers()[: (LENGTH - 1) * 80] + mine_run(last.hash, last.time, 1, seed=10))
    world.join(Peer("rival", rival))
    world.run(until=60)
    assert tip_of(world.chain) == tip_of(honest_chain())
    assert world.scores["rival"] == 0


def test_a_hollow_claim_costs_points_and_is_not_asked_for_ever() -> None:
    world, _, _ = at_tip()
    peer = join(world, Empty, "empty")
    world.run(until=300)
    assert world.machine.faults[FaultReason.FALSE_CLAIM] == 1
    assert peer.asked.total() == 1
    assert world.machine.state is State.IDLE


def test_unknown_work_is_asked_for_but_not_scored() -> None:
    """A peer that began at a checkpoint cannot say its work."""
    world, served, _ = at_tip()
    world.leave("a")
    tip = Tip(Height(LENGTH + 5), Hash32(bytes([9]) * 32), Work(0))
    world.peers["b"] = Peer("b", served)
    world.post(ev.PeerTip("b", tip, Height(0)))
    world.run(until=60)
    assert not world.machine.faults
    assert world.peers["b"].asked.total() == 1


# -- faults of our own --------------------------------------------------------------------------------------------


def test_a_full_disk_is_waited_out_without_blaming_anybody() -> None:
    world = World(8, open_chain())
    join(world, Peer, "a")
    world.fail_writes = 5
    world.run(until=600, done=lambda: synced(world))
    assert tip_of(world.chain) == tip_of(honest_chain())
    assert world.machine.faults == {"store": 5}
    assert world.scores["a"] == 0


def test_backoff_doubles_is_jittered_and_capped() -> None:
    world = World(9, open_chain())
    join(world, Peer, "a")
    world.fail_writes = 14
    world.run(until=3_600, done=lambda: synced(world))
    full = [min(BACKOFF_CAP, 0.5 * 2**n) for n in range(14)]
    assert all(top / 2 <= delay <= top for delay, top in zip(world.delays, full, strict=True))
    assert len({round(delay / top, 6) for delay, top in zip(world.delays, full, strict=True)}) > 5


def test_every_way_taken_is_in_the_table() -> None:
    taken: set[str] = set()
    for seed in range(6):
        world = World(seed, open_chain())
        for i, kind in enumerate([Peer, *HOSTILE]):
            join(world, kind, f"{i}")
        world.fail_writes = seed % 2
        world.run(until=900, done=lambda world=world: synced(world))
        taken |= set(world.machine.transitions)
    world, _, _ = at_tip()
    world.post(ev.Pushed("a", Height(LENGTH), long_headers()[(LENGTH - 1) * 80 : LENGTH * 80]))
    world.run(until=5)
    taken |= set(world.machine.transitions)
    known = {f"{source}>{target}" for (source, _), (target, _) in TRANSITIONS.items()}
    assert taken == known


def test_stray_answers_are_ignored() -> None:
    world, _, _ = at_tip()
    before = world.machine.state
    for event in (
        ev.Fetched(99, Height(1), b""),
        ev.Validated(99, world.chain.plan(long_headers()[:80], NOW)),
        ev.TimerFired(99),
        ev.CommitFailed(99, "late"),
    ):
        world.post(event)
    assert world.machine.state is before is State.IDLE
    assert not world.scores


# -- a start at a checkpoint --------------------------------------------------------------------------------------


def at_checkpoint(height: int, headers: bytes) -> tuple[StoredChain, Checkpoint]:
    raw = headers[(height - 1) * 80 : height * 80]
    start = Checkpoint(Height(height), Header(raw).hash, raw)
    return open_chain(REGTEST, start), start


def test_backfill_follows_the_tip_and_completes_the_chain() -> None:
    chain, _ = at_checkpoint(3_000, long_headers())
    world = World(10, chain)
    join(world, Peer, "a")
    join(world, Peer, "b")
    world.run(until=600, done=lambda: chain.whole and world.machine.state is State.IDLE)
    assert chain.whole
    assert chain.base == 0
    assert chain.tip == honest_chain().tip
    assert chain.headers.root(Height(LENGTH)) == honest_chain().headers.root(Height(LENGTH))
    assert world.scores["a"] == world.scores["b"] == 0


def test_a_lying_backfill_peer_is_passed_over() -> None:
    chain, _ = at_checkpoint(3_000, long_headers())
    world = World(11, chain)
    join(world, OneBad, "bad")
    join(world, Peer, "good")
    world.run(until=600, done=lambda: chain.whole and world.machine.state is State.IDLE)
    assert chain.whole
    assert chain.headers.root(Height(LENGTH)) == honest_chain().headers.root(Height(LENGTH))
    assert world.scores["good"] == 0


def test_a_checkpoint_on_a_chain_that_breaks_a_rule_is_refuted() -> None:
    """Below it stands a header older than its median time: linked and with proof of work, but invalid."""
    good = long_headers()[: 500 * 80]
    bad, bad_hash = mine(Header(good[-80:]).hash, time=Header(good[:80]).time)
    top = mine_run(bad_hash, Header(good[-80:]).time, 1_500, seed=12)
    chain, _ = at_checkpoint(1_000, good + bad + top)
    extend(chain, (good + bad + top)[1_000 * 80 :])

    class Accomplice(Peer):
        def claim(self) -> Tip:
            return Tip(Height(2_001), chain.headers.tip_hash, Work(0))

        def answer(self, ask: Ask, locator: list[Hash32], rng: random.Random) -> tuple[float, Reply]:
            start = ask.start if isinstance(ask, FetchRange) else Height(2_002)
            whole = REGTEST.genesis_header + good + bad + top
            return 0.01, Items(start, whole[start * 80 : (start + ask.count) * 80])

    world = World(12, chain)
    world.join(Accomplice("a", honest_chain()))
    world.run(until=120)
    assert world.machine.refuted
    assert not chain.whole
    assert chain.base == 1_000  # what the lie rested on is gone
    assert any("time-too-old" in reason for reason in world.machine.faults)
