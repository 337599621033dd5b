"""Whose turn it is: nobody can hold the line for long, whatever he claims, repeats or calls himself; a wrong clock is
nobody's fault."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from mine import mine_run
from test_machine_sim import (
    LENGTH,
    Silent,
    at_checkpoint,
    at_tip,
    extend,
    fill,
    honest_chain,
    join,
    long_headers,
    tip_of,
)
from world import NOW, Ask, Peer, Reply, World, fake_tip, open_chain

from p2p.faults import FaultReason
from spvnode.bitcoin.branches import Limits
from spvnode.bitcoin.header import Header
from spvnode.bitcoin.params import REGTEST
from spvnode.bitcoin.stored import RUN_ITEMS, StoredChain
from spvnode.following import Tip
from spvnode.sync import events as ev
from spvnode.sync.effects import FetchAfter, FetchRange
from spvnode.sync.machine import BACKOFF_CAP
from spvnode.sync.source import Items
from spvnode.sync.table import State
from spvnode.types import Height, Work

DEADLINE = 8.0


def grow(world: World, served: StoredChain, count: int = 1) -> None:
    """The honest peer ``a`` has new blocks, and says so."""
    at = served.tip.height
    extend(served, long_headers()[at * 80 : (at + count) * 80])
    world.post(ev.PeerTip("a", served.tip, Height(0)))


# -- liars in the lead


class Repeater(Peer):
    """Claims everything, and answers as late as it may with headers that everybody has."""

    def claim(self) -> Tip:
        return fake_tip(2**32 - 1)

    def answer(self, ask: Ask, locator: list[bytes], rng: random.Random) -> tuple[float, Reply]:
        start = ask.start if isinstance(ask, FetchRange) else Height(1)
        return DEADLINE - 0.1, Items(start, long_headers()[: ask.count * 80])


def test_a_lead_that_repeats_our_own_chain_is_left() -> None:
    served = fill(long_headers()[: LENGTH * 80])
    world = World(1, fill(long_headers()[: LENGTH * 80]), run_items=LENGTH)
    join(world, Repeater, "bad", served)
    world.run(until=1.0)
    join(world, Peer, "a", served)
    grow(world, served)
    world.run(until=3_600, done=lambda: world.chain.tip == served.tip)
    assert world.chain.tip == served.tip
    assert world.now < 60
    assert world.machine.faults == {FaultReason.FALSE_CLAIM: 1}
    assert world.scores["a"] == 0


def test_one_that_raises_its_claim_block_by_block_holds_the_line_no_longer() -> None:
    """Small runs take as long as big ones."""
    served = fill(long_headers()[: LENGTH * 80])
    world = World(1, fill(long_headers()[: LENGTH * 80]), run_items=RUN_ITEMS)

    class Creeping(Repeater):
        end = LENGTH + 1

        def claim(self) -> Tip:
            return fake_tip(self.end)

        def answer(self, ask: Ask, locator: list[bytes], rng: random.Random) -> tuple[float, Reply]:
            whole = Items(ask.start if isinstance(ask, FetchRange) else Height(self.end), long_headers()[:80])
            self.end += 1
            world.at(1.0, lambda: world.post(ev.PeerTip("bad", self.claim(), Height(0))))
            return DEADLINE - 0.1, whole

    join(world, Creeping, "bad", served)
    world.run(until=1.0)
    join(world, Peer, "a", served)
    grow(world, served)
    world.run(until=3_600, done=lambda: world.chain.tip == served.tip)
    assert world.chain.tip == served.tip
    assert world.now < 13 * DEADLINE


@pytest.mark.parametrize("syncing", [False, True])
def test_ever_new_names_do_not_push_an_honest_peer_aside(syncing: bool) -> None:
    served = fill(long_headers()[: LENGTH * 80])
    world = World(2, open_chain() if syncing else fill(long_headers()[: LENGTH * 80]))

    def next_name(number: int) -> None:
        world.leave(f"s{number - 1}")
        join(world, Silent, f"s{number}", served)
        world.at(4.0, lambda: next_name(number + 1))

    next_name(1)
    world.run(until=1.0)
    join(world, Peer, "a", served)
    grow(world, served)
    world.run(until=3_600, done=lambda: world.chain.tip == served.tip)
    assert world.chain.tip == served.tip
    assert world.now < 5 * DEADLINE


def test_an_honest_peer_that_failed_gets_its_turn_again_among_ever_new_names() -> None:
    world, served, honest = at_tip()
    grow(world, served)
    world.run(until=2.0)
    assert world.chain.tip == served.tip
    world.machine.peers.get("a").failures = 6  # type: ignore[union-attr]  # its line was down for a while

    def next_name(number: int) -> None:
        world.leave(f"s{number - 1}")
        join(world, Silent, f"s{number}", served)
        world.at(4.0, lambda: next_name(number + 1))

    next_name(1)
    grow(world, served)
    world.run(until=3_600, done=lambda: world.chain.tip == served.tip)
    assert world.chain.tip == served.tip
    assert honest.asked["FetchAfter"] == 2
    assert world.now < 300


def test_one_whose_claims_come_to_nothing_does_not_stay_first() -> None:
    """Work unknown costs no points, and so must not buy a turn before those who deliver."""
    world, served, _ = at_tip()

    class Idler(Peer):
        def answer(self, ask: Ask, locator: list[bytes], rng: random.Random) -> tuple[float, Reply]:
            world.at(DEADLINE, lambda: world.post(ev.PeerTip("idler", fake_tip(2 * LENGTH, 0), Height(0))))
            return DEADLINE - 0.1, Items(Height(2 * LENGTH + 1), b"")

    join(world, Idler, "idler", served)
    world.machine.peers.proved("idler")
    world.post(ev.PeerTip("idler", fake_tip(2 * LENGTH, 0), Height(0)))
    for block in range(6):
        at = world.now
        grow(world, served)
        world.run(until=at + 60, done=lambda: world.chain.tip == served.tip)
        assert world.chain.tip == served.tip
        assert world.now < at + (3 if block == 0 else 2) * DEADLINE
        world.run(until=at + 60)


def test_helpers_that_repeat_do_not_end_a_burst() -> None:
    """The lead is asked before four helpers can have failed."""

    class Stray(Peer):
        def answer(self, ask: Ask, locator: list[bytes], rng: random.Random) -> tuple[float, Reply]:
            return 0.01, Items(getattr(ask, "start", Height(1)), long_headers()[: ask.count * 80])

    world = World(3, open_chain())
    lead = join(world, Peer, "lead")
    for name in ("1", "2", "3", "4", "5"):
        join(world, Stray, name)
    world.run(until=60, done=lambda: world.chain.tip.height == LENGTH)
    assert tip_of(world.chain) == tip_of(honest_chain())
    assert lead.asked["FetchAfter"] == 1
    assert world.machine.failures == 0


def test_a_lead_that_lies_about_where_its_run_lies_gets_nobody_else_blamed() -> None:
    """Its first run is good, but what follows would be asked for at the wrong place."""

    class Shifter(Peer):
        def answer(self, ask: Ask, locator: list[bytes], rng: random.Random) -> tuple[float, Reply]:
            whole = self.honest(ask, locator)
            return 0.01, Items(Height(whole.start + 1_000 * isinstance(ask, FetchAfter)), whole.items)

    world = World(8, open_chain(), run_items=100)
    join(world, Shifter, "bad")
    for name in ("a", "b"):
        join(world, Peer, name)
    world.run(until=60, done=lambda: world.chain.tip.height == LENGTH)
    assert tip_of(world.chain) == tip_of(honest_chain())
    assert world.machine.faults == {FaultReason.FALSE_CLAIM: 2}  # where it lies, and that it has what it claims
    assert world.scores["bad"] >= 99
    assert world.scores["a"] == world.scores["b"] == 0


def test_hollow_claims_do_not_hold_off_the_backfill() -> None:
    """Two that take turns, and cost nothing: their work is unknown."""
    chain, _ = at_checkpoint(3_000, long_headers())
    extend(chain, long_headers()[3_000 * 80 : LENGTH * 80])
    world = World(9, chain)

    class Idler(Peer):
        def claim(self) -> Tip:
            return fake_tip(2 * LENGTH, 0)

        def answer(self, ask: Ask, locator: list[bytes], rng: random.Random) -> tuple[float, Reply]:
            world.at(8.5, lambda: world.post(ev.PeerTip(self.name, self.claim(), Height(3_000))))
            return DEADLINE - 0.1, Items(Height(2 * LENGTH + 1), b"")

    for number in (0, 1):
        idler = Idler(f"idler{number}", honest_chain(), base=3_000)
        world.at(4.0 * number, lambda idler=idler: world.join(idler))
    world.run(until=1.0)
    join(world, Peer, "a")
    world.run(until=600, done=lambda: chain.whole)
    assert chain.whole
    assert not world.scores.total()


# -- a false start


def test_false_early_headers_do_not_keep_a_node_from_the_true_chain() -> None:
    """They cost little work, so that the true chain may need many headers to overtake; the next checkpoint decides."""
    true = long_headers()[: 4_000 * 80]
    known = [(Height(height), Header(true[(height - 1) * 80 : height * 80]).hash) for height in (100, 2_133)]
    params = replace(REGTEST, checkpoints=tuple(known))

    def chain(headers: bytes) -> StoredChain:
        made = open_chain(params)
        made.headers._tree._limits = Limits(side_branches=64, side_headers=2_117)
        extend(made, headers)
        return made

    fork = Header(true[99 * 80 : 100 * 80])
    world = World(4, chain(true[:80]), run_items=403)
    world.join(Peer("bad", chain(true[: 100 * 80] + mine_run(fork.hash, fork.time, 2_030, seed=5))))
    world.run(until=30)
    assert world.chain.tip.height == 2_130
    tree = world.chain.headers._tree
    tree.state = replace(tree.state, chainwork=Work(8_000))  # the true chain has 8,002 in all, 4,268 at the checkpoint
    world.post(ev.TipMoved(world.chain.tip, Height(0)))
    for name in "abc":
        world.join(Peer(name, chain(true)))
    world.run(until=600, done=lambda: world.chain.tip.height == 4_000)
    assert tip_of(world.chain) == Header(true[-80:]).hash
    assert not any(world.scores[name] for name in "abc")


def test_a_branch_that_we_have_no_room_for_is_nobodys_fault() -> None:
    """We may have been fed a false chain, and the honest be those who bring what does not fit."""
    chain = fill(long_headers()[: LENGTH * 80])
    chain.headers._tree._limits = Limits(side_branches=64, side_headers=1_000)
    fork = Header(long_headers()[999 * 80 : 1_000 * 80])
    world = World(4, chain)
    peer = join(world, Peer, "a", fill(long_headers()[: 1_000 * 80] + mine_run(fork.hash, fork.time, LENGTH, seed=6)))
    world.run(until=3_600)
    assert set(world.machine.faults) == {"side-branch-limit"}
    assert not world.scores.total()
    assert peer.asked["FetchAfter"] < 3_600 / (BACKOFF_CAP / 2) + 10


# -- a wrong clock


def test_headers_from_the_future_are_nobodys_fault_and_those_before_them_are_taken() -> None:
    world = World(5, open_chain())
    peer = join(world, Peer, "a")
    first_too_new = 3_457
    world.wall = Header(long_headers()[(first_too_new - 1) * 80 : first_too_new * 80]).time - 7_201
    world.run(until=3_600)
    assert world.chain.tip.height == first_too_new - 1
    assert world.announced[-1] == world.chain.tip
    assert set(world.machine.faults) == {"time-too-new"}
    assert not world.scores.total()
    assert peer.asked["FetchAfter"] < 3_600 / (BACKOFF_CAP / 2) + 10  # it is asked ever less
    world.wall = NOW
    world.run(until=3_800, done=lambda: world.chain.tip.height == LENGTH)
    assert tip_of(world.chain) == tip_of(honest_chain())


def test_a_known_branch_that_goes_on_in_the_future_is_asked_for_ever_less() -> None:
    world, served, _ = at_tip()
    last = Header(long_headers()[(LENGTH - 2) * 80 : (LENGTH - 1) * 80])
    branch = mine_run(last.hash, last.time, 2, seed=6)
    extend(world.chain, branch[:80])
    rival = fill(long_headers()[: (LENGTH - 1) * 80] + branch)
    world.leave("a")
    world.wall = Header(branch[-80:]).time - 7_201
    peer = join(world, Peer, "rival", rival)
    world.run(until=3_600)
    assert world.chain.tip.height == LENGTH
    assert peer.asked["FetchAfter"] < 3_600 / (BACKOFF_CAP / 2) + 10
    assert not world.scores.total()
    assert served.tip == world.chain.tip


# -- telling others


def test_what_a_broken_burst_has_brought_is_announced_all_the_same() -> None:
    class Half(Peer):
        def answer(self, ask: Ask, locator: list[bytes], rng: random.Random) -> tuple[float, Reply]:
            if isinstance(ask, FetchRange):
                world.at(0.0, lambda: world.leave(self.name))
                return 0.0, None
            return super().answer(ask, locator, rng)

    world = World(7, open_chain())
    join(world, Half, "half")
    world.run(until=120)
    assert world.machine.state is State.IDLE
    assert world.chain.tip.height == 500
    assert world.announced == [world.chain.tip]


def test_an_import_is_announced_by_who_made_it() -> None:
    world, served, _ = at_tip()
    extend(served, long_headers()[LENGTH * 80 : (LENGTH + 1) * 80])
    extend(world.chain, long_headers()[LENGTH * 80 : (LENGTH + 1) * 80])
    world.post(ev.TipMoved(world.chain.tip, Height(0)))
    world.run(until=5)
    assert not world.announced
    world.post(ev.PeerTip("a", Tip(served.tip.height, served.tip.hash, Work(0)), Height(0)))
    world.run(until=10)
    assert not world.announced
