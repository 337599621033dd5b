"""Random sequences of updates, forced updates and upgrades: after every step, the same store as the plain reference's.

One world per fork schedule, its updates drawn again and again in random order, so that every signature is real and is
verified for real once per library: blspy here, arkworks there. py_ecc, the specs' own, has the last word on a good and
a bad one of each world (on all of them it takes minutes). ``SPVNODE_TEST_PROFILE=fuzz`` goes through ten worlds each.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import fields
from types import SimpleNamespace

import pytest

from spvnode.bls import BlsReason, SignatureSet, Verifier, fast_aggregate_verify
from spvnode.bls_backends import make_backend
from spvnode.ethereum.containers import LightClientUpdate
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.light_client import (
    initialize_light_client_store,
    process_light_client_store_force_update,
    process_light_client_update,
)
from spvnode.ethereum.reasons import Reason, Rejection
from spvnode.ethereum.store import LightClientStore
from spvnode.ethereum.units import Slot
from spvnode.ethereum.upgrade import LAYOUT_ORDER, upgrade_lc_store
from tests.support.eth_reference import Reference, beacon_root
from tests.support.eth_world import PERIOD_SLOTS, World, small_network

SEQUENCES = 10_000
WORLDS = range(10 if os.environ.get("SPVNODE_TEST_PROFILE") == "fuzz" else 1)
STEPS = 8
POOL = 250
PERIODS = 4
FORKS = (Fork.ALTAIR, Fork.BELLATRIX, Fork.CAPELLA, Fork.DENEB, Fork.ELECTRA, Fork.FULU, Fork.GLOAS)
SCHEDULES = {
    "all-crossings": dict(zip(FORKS, (0, 1, 5, 10, 15, 17, 22), strict=True)),
    "at-period-starts": dict(zip(FORKS, (0, 0, 8, 8, 16, 16, 24), strict=True)),
    "electra-from-genesis": dict(zip(FORKS[:-1], (0,) * 6, strict=True)),
    "gloas-from-genesis": dict(zip(FORKS, (0,) * 7, strict=True)),
    "altair-alone": {Fork.ALTAIR: 0},
}


class RememberingVerifier(Verifier):
    """Verifies each claim once; the sequences repeat them thousands of times."""

    def __init__(self) -> None:
        super().__init__(make_backend("blspy"))
        self.seen: dict[SignatureSet, BlsReason | None] = {}

    def verify(self, item: SignatureSet, *, lazy: bool = False) -> BlsReason | None:
        if item not in self.seen:
            self.seen[item] = super().verify(item, lazy=lazy)
        return self.seen[item]


Claim = tuple[tuple[bytes, ...], bytes, bytes]
"""Public keys, message, signature."""


def remembering_check(seen: dict[Claim, bool]) -> Callable[[Sequence[bytes], bytes, bytes], bool]:
    backend = make_backend("arkworks")

    def check(pubkeys: Sequence[bytes], message: bytes, signature: bytes) -> bool:
        claim = (tuple(pubkeys), message, signature)
        if claim not in seen:
            seen[claim] = fast_aggregate_verify(backend, pubkeys, message, signature)
        return seen[claim]

    return check


class Arena:
    def __init__(self, name: str, number: int) -> None:
        self.network = small_network(SCHEDULES[name])
        self.world = World(self.network, random.Random(f"{name} {number}"), PERIODS)
        self.verifier = RememberingVerifier()
        self.claims: dict[Claim, bool] = {}
        self.reference = Reference(self.network, remembering_check(self.claims))
        self.updates = sorted(
            (self.world.random_update() for _ in range(POOL)), key=lambda update: update.attested_header.beacon.slot
        )
        self.reasons: set[Reason] = set()
        self.accepted = 0


def same(store: LightClientStore, other: SimpleNamespace) -> bool:
    return all(getattr(store, field.name) == getattr(other, field.name) for field in fields(store))


def reference_accepts(action: object, *arguments: object) -> bool:
    try:
        action(*arguments)  # type: ignore[operator]
    except AssertionError:
        return False
    return True


def choose(rng: random.Random, updates: Sequence[LightClientUpdate], store: LightClientStore) -> LightClientUpdate:
    """Mostly one that is near the store's finalized slot, so that chains of them get somewhere."""
    if rng.random() < 0.2:
        return rng.choice(updates)
    slot = store.finalized_header.beacon.slot
    near = [update for update in updates if -8 <= update.attested_header.beacon.slot - slot <= PERIOD_SLOTS]
    return rng.choice(near or updates)


def run_sequence(arena: Arena, rng: random.Random) -> None:
    network, reference = arena.network, arena.reference
    block = rng.choice(arena.world.blocks[: len(arena.world.blocks) // 2])
    first = LAYOUT_ORDER.index(block.header.fork)
    layout = rng.choice(LAYOUT_ORDER[first:])
    root = beacon_root(block.header.beacon)
    bootstrap = arena.world.bootstrap(block)
    store = initialize_light_client_store(network, root, bootstrap, layout)  # type: ignore[arg-type]
    assert isinstance(store, LightClientStore)
    other = reference.initialize(root, bootstrap, layout)
    assert same(store, other)
    for _ in range(STEPS):
        kind = rng.random()
        if kind < 0.06:
            now = Slot(store.finalized_header.beacon.slot + PERIOD_SLOTS + rng.randrange(-1, 3))
            store = process_light_client_store_force_update(network, store, now)
            reference.force(other, now)
        elif kind < 0.12:
            layout = rng.choice(LAYOUT_ORDER[LAYOUT_ORDER.index(store.fork) :])
            store = upgrade_lc_store(network, store, layout)
            reference.upgrade_store(other, layout)
        else:
            update = choose(rng, arena.updates, store)
            now = Slot(update.signature_slot + rng.choice((0, 0, 0, 5, -1)))
            result = process_light_client_update(network, store, update, now, arena.verifier)
            accepted = reference_accepts(reference.process, other, update, now)
            assert accepted == isinstance(result, LightClientStore), result
            if isinstance(result, Rejection):
                arena.reasons.add(result.reason)
            else:
                store = result
                arena.accepted += 1
        assert same(store, other)


@pytest.mark.fuzz
@pytest.mark.parametrize("number", WORLDS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_random_sequences_give_equal_stores(name: str, number: int) -> None:
    rng = random.Random(f"sequences of {name} {number}")
    arena = Arena(name, number)
    for _ in range(SEQUENCES // len(SCHEDULES)):
        run_sequence(arena, rng)
    # The drawing reaches what it is for: many acceptances, and nearly every way to be refused.
    assert arena.accepted > SEQUENCES // (2 * len(SCHEDULES))
    assert len(arena.reasons) >= 8
    assert_py_ecc_agrees(arena.claims)


def assert_py_ecc_agrees(claims: dict[Claim, bool]) -> None:
    """On the good and the bad claim with the fewest keys: each takes it 20 ms."""
    make_backend("py_ecc")  # imports the library without its recursion limit
    from py_ecc.bls import G2ProofOfPossession  # noqa: PLC0415 - not before that

    for good in (True, False):
        keys, message, signature = min((claim for claim in claims if claims[claim] is good), key=lambda c: len(c[0]))
        assert G2ProofOfPossession.FastAggregateVerify(list(keys), message, signature) is good
