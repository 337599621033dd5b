"""Property: whatever is offered in whatever order, a followed chain is what the pure functions make of it, before and
after it is opened again."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import pytest

from spvnode.bls import Verifier
from spvnode.ethereum.planning import Signed
from spvnode.ethereum.ranking import is_better_update
from spvnode.ethereum.units import Slot
from spvnode.ethereum.upgrade import upgrade_lc_update
from spvnode.following import Outcome
from spvnode.store.memory import MemoryEngine
from tests.support.beacon_chains import begun, offer, open_rows, reopened, run
from tests.support.beacon_world import complete_update, crossing_world, fold, late, random_signed, without_best
from tests.support.eth_world import PERIOD_SLOTS, World

SEEDS = range(40 if os.environ.get("SPVNODE_TEST_PROFILE") == "fuzz" else 4)
STEPS = 120


def some_values(world: World, rng: random.Random, period: int, seen: Sequence[Signed]) -> list[Signed]:
    """A run: mostly what comes next, with old, early, bad and repeated things in between."""
    values: list[Signed] = []
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        kind = rng.random()
        if kind < 0.35 and period < len(world.members) - 2:
            values.append(complete_update(world, period, rng))
            period += 1
        elif kind < 0.5 and seen:
            values.append(rng.choice(seen))
        else:
            values.append(random_signed(world, rng))
    if rng.random() < 0.2:
        rng.shuffle(values)
    return values


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", SEEDS)
def test_a_followed_chain_is_what_the_pure_functions_make(seed: int) -> None:
    rng, world = random.Random(seed), crossing_world(seed)
    network, verifier = world.network, Verifier()
    engine = MemoryEngine()
    rows = open_rows(engine, network)
    chain = begun(network, rows, world.bootstrap(rng.choice(world.blocks[:10])), verifier=verifier)
    seen: list[Signed] = []
    outcomes = set()
    for step in range(STEPS):
        slot = Slot(rng.choice((late(world), chain.optimistic.beacon.slot + 5)))
        values = some_values(world, rng, chain.locator(), seen)
        wanted, reason, place = fold(network, chain.store, values, slot, verifier)
        tip = chain.tip
        verdict = offer(chain, run(network, values), now=network.start_of(slot), sync=False)
        outcomes.add(verdict.outcome)
        if reason is not None:
            assert (verdict.outcome, verdict.reason, verdict.index) == (Outcome.REJECTED, reason, place), step
        assert without_best(chain.store) == without_best(wanted), step
        assert chain.tip.height >= tip.height
        known = chain.store.finalized_header.beacon.slot // PERIOD_SLOTS
        assert chain.tip.height in (known, known - 1)
        seen += [] if reason else values
        if rng.random() < 0.2:
            rows = open_rows(engine, network)
            again = reopened(network, rows, verifier)
            assert (rows.faults, again.faults) == ((), ()), step
            assert without_best(again.store) == without_best(chain.store), step
            assert (again.finality_update, again.optimistic_update) == (chain.finality_update, chain.optimistic_update)
            assert (again.tip, again.periods) == (chain.tip, chain.periods)
            chain = again
    assert outcomes == {Outcome.EXTENDS, Outcome.DUPLICATE, Outcome.REJECTED}
    assert chain.tip.height >= 4, "it moved"


def test_only_a_better_update_replaces_the_best_of_its_period() -> None:
    rng, world = random.Random(1), crossing_world(1)
    network, layout = world.network, world.network.schedule.newest_layout
    rows = open_rows(MemoryEngine(), network)
    chain = begun(network, rows, world.bootstrap(world.blocks[0]))
    replaced = kept = 0
    for period in range(3):
        best = None
        for _ in range(12):
            update = complete_update(world, period, rng)
            verdict = offer(chain, run(network, [update]), now=network.start_of(late(world)))
            assert verdict.outcome is not Outcome.REJECTED
            stored = chain.updates(period, 1)[0]
            if best is None:
                assert stored == update
            elif stored != best:
                new, old = (upgrade_lc_update(network, entry, layout) for entry in (stored, best))
                assert is_better_update(network.preset, new, old)
                replaced += 1
            else:
                kept += 1
            best = stored
    assert replaced >= 2
    assert kept >= 2
