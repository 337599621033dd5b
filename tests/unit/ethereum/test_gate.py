"""Which gossiped updates are passed on: the specs' rules for light clients, one by one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from spvnode.bls import Verifier
from spvnode.ethereum.containers import (
    LightClientFinalityUpdate,
    LightClientOptimisticUpdate,
    beacon_root,
    encode,
)
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.full_node import create_light_client_finality_update, create_light_client_optimistic_update
from spvnode.ethereum.gate import MAXIMUM_GOSSIP_CLOCK_DISPARITY, Gate, Judgement, sync_message_due_ms
from spvnode.ethereum.items import Item, Kind
from spvnode.ethereum.light_client import initialize_light_client_store
from spvnode.ethereum.networks import ETHEREUM
from spvnode.ethereum.store import LightClientStore
from spvnode.ethereum.units import Slot
from tests.support.beacon_chains import item
from tests.support.beacon_world import process
from tests.support.eth_world import SIZE, Made, World, small_network

Gossiped = LightClientFinalityUpdate | LightClientOptimisticUpdate
GOOD, BARE, FEW = SIZE, 22, 12
"""Participants: all, two thirds, fewer."""


class Scene:
    """A chain of one fork whose first state begins a store."""

    def __init__(self) -> None:
        self.world = World(small_network({Fork.ALTAIR: 0, Fork.CAPELLA: 0}), random.Random(8), 3)
        self.network, self.verifier = self.world.network, Verifier()
        self.gate = Gate(self.network, self.verifier)
        start = self.world.blocks[0]
        root = beacon_root(start.header.beacon)
        store = initialize_light_client_store(self.network, root, self.world.bootstrap(start))
        assert isinstance(store, LightClientStore)
        self.store = store

    def finality(self, block: Made, participants: int = GOOD) -> LightClientFinalityUpdate:
        update = self.world.update(block, Slot(block.slot + 1), participants, committee=False, finality=True)
        return create_light_client_finality_update(update)

    def optimistic(self, block: Made, participants: int = GOOD) -> LightClientOptimisticUpdate:
        update = self.world.update(block, Slot(block.slot + 1), participants, committee=False, finality=False)
        return create_light_client_optimistic_update(update)

    def due(self, slot: int) -> float:
        """The first moment at which an update signed in ``slot`` may be passed on, by a clock that is right."""
        return self.network.start_of(Slot(slot)) + sync_message_due_ms(self.network, Slot(slot)) / 1000

    def judge(
        self, update: LightClientFinalityUpdate | LightClientOptimisticUpdate, now: float | None = None
    ) -> Judgement:
        moment = self.due(update.signature_slot) if now is None else now
        return self.gate.judge(self.store, item(self.network, update), moment)

    def take(self, update: Gossiped) -> None:
        after = process(self.network, self.store, update, update.signature_slot, self.verifier)
        assert isinstance(after, LightClientStore)
        self.store = after

    def finalizing(self, after: int = 0) -> list[Made]:
        """Blocks of the first period whose states finalize later blocks, each later than the one before."""
        found: list[Made] = []
        last = max(after, self.store.finalized_header.beacon.slot)
        for block in self.world.blocks[:-1]:
            if block.slot < 62 and block.finalized is not None and block.finalized.slot > last:
                found.append(block)
                last = block.finalized.slot
        return found


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_third_of_the_slot_less_the_disparity_must_have_passed(scene: Scene) -> None:
    update = scene.finality(scene.finalizing()[0])
    early = MAXIMUM_GOSSIP_CLOCK_DISPARITY / 1000
    due = scene.due(update.signature_slot)
    assert due == scene.network.start_of(update.signature_slot) + 1.999
    assert scene.judge(update, due - early - 0.01) is Judgement.IGNORE
    assert scene.judge(update, due - early + 0.01) is Judgement.ACCEPT
    optimistic = scene.optimistic(scene.world.blocks[12])
    due = scene.due(optimistic.signature_slot)
    assert scene.judge(optimistic, due - early - 0.01) is Judgement.IGNORE
    assert scene.judge(optimistic, due - early + 0.01) is Judgement.ACCEPT


def test_gloas_blocks_are_due_earlier() -> None:
    network = small_network({Fork.ALTAIR: 0, Fork.GLOAS: 4})
    assert sync_message_due_ms(network, Slot(31)) == 1999
    assert sync_message_due_ms(network, Slot(32)) == 1500
    assert sync_message_due_ms(ETHEREUM, Slot(14_000_000)) == 3999


def test_only_later_finality_is_passed_on(scene: Scene) -> None:
    first, second = (scene.finality(block) for block in scene.finalizing()[:2])
    assert scene.judge(second) is Judgement.ACCEPT
    assert scene.judge(second) is Judgement.IGNORE, "passed on already"
    assert scene.judge(first) is Judgement.IGNORE, "older than what was passed on"
    scene.take(second)
    other = Gate(scene.network, scene.verifier)
    assert other.judge(scene.store, item(scene.network, first), scene.due(first.signature_slot)) is Judgement.IGNORE
    assert other.judge(scene.store, item(scene.network, second), scene.due(second.signature_slot)) is Judgement.IGNORE


def test_finality_without_a_supermajority_does_not_advance_us(scene: Scene) -> None:
    block = scene.finalizing()[0]
    assert scene.judge(scene.finality(block, FEW)) is Judgement.IGNORE
    assert scene.judge(scene.finality(block, BARE)) is Judgement.ACCEPT
    assert scene.judge(scene.finality(block, GOOD)) is Judgement.IGNORE, "had a supermajority before"


def test_optimistic_updates_must_be_later_and_advance_us(scene: Scene) -> None:
    older, newer = (scene.optimistic(scene.world.blocks[place]) for place in (8, 12))
    assert scene.judge(newer) is Judgement.ACCEPT
    assert scene.judge(newer) is Judgement.IGNORE
    assert scene.judge(older) is Judgement.IGNORE
    scene.take(newer)
    fresh = Gate(scene.network, scene.verifier)
    assert fresh.judge(scene.store, item(scene.network, older), scene.due(older.signature_slot)) is Judgement.IGNORE
    few = scene.optimistic(scene.world.blocks[14], FEW)
    assert fresh.judge(scene.store, item(scene.network, few), scene.due(few.signature_slot)) is Judgement.IGNORE


def test_an_optimistic_update_that_belongs_to_passed_on_finality_is_passed_on(scene: Scene) -> None:
    finality = scene.finality(scene.finalizing()[0])
    same = create_light_client_optimistic_update(finality)
    assert scene.judge(finality) is Judgement.ACCEPT
    scene.take(finality)
    assert scene.judge(same) is Judgement.ACCEPT, "although our header does not move any more"
    assert scene.judge(same) is Judgement.IGNORE


@pytest.mark.parametrize("kind", ["finality", "optimistic"])
def test_what_does_not_hold_is_rejected(scene: Scene, kind: str) -> None:
    block = scene.finalizing()[0]
    update = scene.finality(block) if kind == "finality" else scene.optimistic(block)
    other = scene.optimistic(scene.world.blocks[20]).sync_aggregate.sync_committee_signature
    forged = replace(update, sync_aggregate=replace(update.sync_aggregate, sync_committee_signature=other))
    nobody = replace(update, sync_aggregate=replace(update.sync_aggregate, sync_committee_bits=bytes(SIZE // 8)))
    for bad in (forged, nobody):
        assert scene.judge(bad) is Judgement.REJECT
    assert scene.judge(update) is Judgement.ACCEPT, "a forgery does not stand in the way"


def test_a_wrong_branch_is_rejected(scene: Scene) -> None:
    update = scene.finality(scene.finalizing()[0])
    assert scene.judge(replace(update, finality_branch=bytes(32) + update.finality_branch[32:])) is Judgement.REJECT


def test_what_cannot_be_read_is_rejected_and_what_is_of_an_unknown_fork_ignored(scene: Scene) -> None:
    update = scene.finality(scene.finalizing()[0])
    good, now = item(scene.network, update), scene.due(update.signature_slot)
    judge = scene.gate.judge
    assert judge(scene.store, replace(good, ssz=good.ssz[:90]), now) is Judgement.REJECT
    assert judge(scene.store, replace(good, kind=Kind.OPTIMISTIC), now) is Judgement.REJECT
    assert judge(scene.store, replace(good, digest=b"????"), now) is Judgement.IGNORE
    bootstrap = item(scene.network, scene.world.bootstrap(scene.world.blocks[0]))
    assert judge(scene.store, bootstrap, now) is Judgement.REJECT
    assert judge(scene.store, Item(Kind.FINALITY, good.digest, b""), now) is Judgement.REJECT
    assert len(encode(scene.network.preset, update)) == len(good.ssz)


def test_a_client_that_is_behind_rejects_nothing_that_is_right(scene: Scene) -> None:
    later = next(block for block in scene.world.blocks if block.slot > 130 and block.finalized is not None)
    assert scene.judge(scene.finality(later)) is Judgement.IGNORE
    assert scene.judge(scene.optimistic(later)) is Judgement.IGNORE
