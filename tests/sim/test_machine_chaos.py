"""Everything at once, many seeds: peers of every kind join, leave, announce and push while two branches race."""

from __future__ import annotations

import os
import random

import pytest
from mine import mine_run
from test_machine_sim import HOSTILE, LENGTH, Silent, at_tip, extend, fill, join, long_headers, tip_of
from world import Peer, World, fake_tip, open_chain

from spvnode.bitcoin.header import Header
from spvnode.sync import events as ev
from spvnode.sync.machine import IN_FLIGHT
from spvnode.sync.table import State
from spvnode.sync.window import MAX_JOBS
from spvnode.types import Height

SEEDS = 400 if os.environ.get("SPVNODE_TEST_PROFILE") == "fuzz" else 40


def disturb(world: World, rng: random.Random, end: float) -> None:
    """Random news at random times until ``end``; the honest peer stays."""
    at = 0.0
    while at < end:
        at += rng.expovariate(2.0)
        kind = rng.choice(HOSTILE)
        name = f"{kind.__name__}{rng.randrange(6)}"
        push = ev.Pushed(name, Height(rng.randrange(LENGTH)), rng.randbytes(80 * rng.randrange(3)))
        claim = ev.PeerTip(name, fake_tip(rng.randrange(2 * LENGTH), rng.choice([0, 1, 1 << 200])), Height(0))
        action = rng.choice(
            [
                lambda name=name, kind=kind: name in world.left or join(world, kind, name),
                lambda name=name: world.leave(name),
                lambda push=push: world.post(push),
                lambda claim=claim: claim.peer in world.peers and world.post(claim),
            ]
        )
        world.at(at, action)


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_honest_chain_is_reached_whatever_happens(seed: int) -> None:
    rng = random.Random(seed)
    world = World(seed, open_chain(), run_items=rng.choice([50, 500, 8_064]))
    honest = Peer("honest", fill(long_headers()[: LENGTH * 80]), latency=rng.choice([0.01, 0.5]))
    world.join(honest)
    disturb(world, rng, 60.0)
    world.fail_writes = rng.choice([0, 0, 3])
    fork = rng.randrange(1, LENGTH)
    last = Header(long_headers()[(fork - 1) * 80 : fork * 80])
    rival = mine_run(last.hash, last.time, LENGTH - fork + 2, seed=seed)

    def reorganize() -> None:
        extend(honest.chain, rival)
        world.post(ev.PeerTip("honest", honest.claim(), Height(0)))

    world.at(rng.uniform(0.0, 60.0), reorganize)
    world.run(until=5_000, done=lambda: world.now > 60 and world.chain.tip == honest.chain.tip)
    assert tip_of(world.chain) == tip_of(honest.chain)
    assert "honest" in world.peers
    assert world.most_in_flight <= IN_FLIGHT
    assert world.most_window <= MAX_JOBS


@pytest.mark.parametrize("seed", range(10))
def test_helpers_on_the_losing_branch_are_not_blamed(seed: int) -> None:
    world, _, _ = at_tip(seed)
    for name in ("b", "c", "d"):
        world.join(Peer(name, fill(long_headers()[: LENGTH * 80])))
    depth = random.Random(seed).randrange(1, LENGTH)
    common = long_headers()[: (LENGTH - depth) * 80]
    last = Header(common[-80:]) if common else Header(world.chain.headers.header(Height(0)))
    rival = fill(common + mine_run(last.hash, last.time, depth + 1, seed=seed))
    world.join(Peer("rival", rival))
    world.run(until=120, done=lambda: world.chain.tip == rival.tip)
    assert world.chain.tip == rival.tip
    assert not world.scores.total()


def test_news_from_a_good_peer_ends_the_waiting() -> None:
    world = World(3, open_chain())
    join(world, Silent, "silent")
    world.run(until=200)
    world.run(until=300, done=lambda: world.machine.state is State.RECOVERING)
    began = world.now
    join(world, Peer, "good")
    assert world.machine.state is State.FETCHING
    world.run(until=began + 30, done=lambda: world.chain.tip.height == LENGTH)
    assert world.chain.tip.height == LENGTH


def test_a_liar_left_alone_is_asked_ever_less() -> None:
    world = World(4, open_chain())
    peer = join(world, Silent, "silent")
    world.scores.clear()
    world.report = lambda fault: None  # type: ignore[method-assign]  # as if it were the last peer, which is kept
    world.run(until=3_600)
    assert 0 < peer.asked.total() < 3_600 / 30
