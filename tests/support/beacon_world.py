"""Made-up chains offered to a followed one, and what the pure functions make of the same offers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from spvnode.bls import Verifier
from spvnode.ethereum.containers import LightClientUpdate
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.full_node import create_light_client_finality_update, create_light_client_optimistic_update
from spvnode.ethereum.light_client import (
    process_light_client_finality_update,
    process_light_client_optimistic_update,
    process_light_client_update,
)
from spvnode.ethereum.networks import Network
from spvnode.ethereum.planning import Signed
from spvnode.ethereum.reasons import Reason, Rejection
from spvnode.ethereum.store import LightClientStore
from spvnode.ethereum.units import Slot
from tests.support.eth_world import PERIOD_SLOTS, SIZE, Made, World, small_network

CROSSING = {Fork.ALTAIR: 0, Fork.BELLATRIX: 0, Fork.CAPELLA: 8, Fork.DENEB: 20, Fork.ELECTRA: 36}
"""Epochs; a period has 8, so that the forks lie within periods, and at the edge of one."""


def crossing_world(seed: int, periods: int = 7) -> World:
    return World(small_network(CROSSING), random.Random(seed), periods)


def late(world: World) -> Slot:
    """After everything in it."""
    return Slot(len(world.members) * PERIOD_SLOTS)


def complete_update(world: World, period: int, rng: random.Random) -> LightClientUpdate:
    """A best update as a full node has it: in its period, signed by nearly all, final within the period."""
    blocks = [block for block in world.blocks if block.slot // PERIOD_SLOTS == period]
    fitting = [
        block
        for block in blocks
        if block.finalized is not None
        and block.finalized.slot // PERIOD_SLOTS == period
        and block.slot + 1 < (period + 1) * PERIOD_SLOTS
    ]
    attested: Made = rng.choice(fitting)
    signers = rng.choice((SIZE, SIZE - 2, 23))
    return world.update(attested, Slot(attested.slot + 1), signers, committee=True, finality=True)


def random_signed(world: World, rng: random.Random) -> Signed:
    """An update of any kind, often good, often old or early, now and then spoiled."""
    update = world.random_update()
    kind = rng.random()
    if kind < 0.4:
        return update
    if kind < 0.7:
        return create_light_client_finality_update(update)
    return create_light_client_optimistic_update(update)


def process(
    network: Network, store: LightClientStore, value: Signed, slot: Slot, verifier: Verifier
) -> LightClientStore | Rejection:
    """The specs' function for ``value``."""
    if isinstance(value, LightClientUpdate):
        return process_light_client_update(network, store, value, slot, verifier)
    if hasattr(value, "finality_branch"):
        return process_light_client_finality_update(network, store, value, slot, verifier)
    return process_light_client_optimistic_update(network, store, value, slot, verifier)  # type: ignore[arg-type]


def fold(
    network: Network, store: LightClientStore, values: Sequence[Signed], slot: Slot, verifier: Verifier
) -> tuple[LightClientStore, Reason | None, int]:
    """The store after ``values`` one by one; or, where one is refused that is neither old nor irrelevant, the store as
    it was, why, and its place."""
    before = store
    for place, value in enumerate(values):
        after = process(network, store, value, slot, verifier)
        if not isinstance(after, Rejection):
            store = after
            continue
        period = store.finalized_header.beacon.slot // PERIOD_SLOTS
        old = value.signature_slot // PERIOD_SLOTS < period
        if after.reason is not Reason.IRRELEVANT and not old:
            return before, after.reason, place
    return store, None, 0


def without_best(store: LightClientStore) -> LightClientStore:
    """What is followed: ``best_valid_update`` is for forced updates only."""
    return replace(store, best_valid_update=None)
