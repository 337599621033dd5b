"""Each refusal of the sync protocol by its own cause, in a made-up chain where everything else is right."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from spvnode.bls import MAX_BATCH, Verifier
from spvnode.ethereum.catchup import process_light_client_updates
from spvnode.ethereum.containers import LightClientUpdate, beacon_root, default_header
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.full_node import create_light_client_finality_update, create_light_client_optimistic_update
from spvnode.ethereum.light_client import (
    apply_light_client_update,
    as_light_client_update,
    check_light_client_update,
    initialize_light_client_store,
    process_light_client_finality_update,
    process_light_client_optimistic_update,
    process_light_client_store_force_update,
    process_light_client_update,
)
from spvnode.ethereum.reasons import Reason, Rejection
from spvnode.ethereum.store import LightClientStore, is_next_sync_committee_known
from spvnode.ethereum.units import Root, Slot
from spvnode.ethereum.upgrade import upgrade_lc_header
from tests.support.eth_world import PERIOD_SLOTS, SIZE, Made, World, small_network

ALL = dict.fromkeys(list(Fork)[1:-1], 0)
NETWORK = small_network(ALL)


@cache
def world() -> World:
    return World(NETWORK, random.Random(11), 3)


@cache
def start() -> tuple[LightClientStore, list[Made]]:
    """A store at an early block of period 0, and the blocks after it that finalize something later."""
    made = world()
    first = next(block for block in made.blocks if block.slot > 8)
    store = initialize_light_client_store(NETWORK, beacon_root(first.header.beacon), made.bootstrap(first))
    assert isinstance(store, LightClientStore)
    later = [block for block in made.blocks if block.finalized and block.finalized.slot > first.slot]
    return store, later


def block_in(period: int) -> Made:
    """A block of that period which finalizes another of it."""
    _, later = start()
    return next(
        block
        for block in later
        if block.finalized
        and block.finalized.slot // PERIOD_SLOTS
        == period
        == (block.slot + 1) // PERIOD_SLOTS
        == block.slot // PERIOD_SLOTS
    )


def good(period: int = 0, participants: int = SIZE, **parts: bool) -> LightClientUpdate:
    attested = block_in(period)
    chosen = {"committee": True, "finality": True, **parts}
    return world().update(attested, Slot(attested.slot + 1), participants, **chosen)


def process(update: LightClientUpdate, store: LightClientStore | None = None) -> LightClientStore | Rejection:
    return process_light_client_update(NETWORK, store or start()[0], update, update.signature_slot, Verifier())


def advanced(*updates: LightClientUpdate) -> LightClientStore:
    store = start()[0]
    for update in updates:
        new = process(update, store)
        assert isinstance(new, LightClientStore)
        store = new
    return store


def reason_of(result: LightClientStore | Rejection) -> Reason | None:
    return result.reason if isinstance(result, Rejection) else None


def beacon(update: LightClientUpdate, **changes: object) -> LightClientUpdate:
    header = update.attested_header
    return replace(update, attested_header=replace(header, beacon=replace(header.beacon, **changes)))  # type: ignore[arg-type]


OTHER = Root(b"\x55" * 32)
SPOILED: dict[Reason, Callable[[LightClientUpdate], LightClientUpdate]] = {
    Reason.INSUFFICIENT_PARTICIPANTS: lambda update: replace(
        update, sync_aggregate=replace(update.sync_aggregate, sync_committee_bits=bytes(SIZE // 8))
    ),
    Reason.INVALID_ATTESTED_HEADER: lambda update: beacon(update, body_root=OTHER),
    Reason.SLOT_ORDER: lambda update: replace(update, signature_slot=update.attested_header.beacon.slot),
    Reason.SKIPPED_PERIOD: lambda update: replace(update, signature_slot=Slot(update.signature_slot + PERIOD_SLOTS)),
    Reason.FINALIZED_HEADER_NOT_EMPTY: lambda update: replace(update, finality_branch=bytes(7 * 32)),
    Reason.INVALID_FINALITY_BRANCH: lambda update: replace(update, finality_branch=bytes(6 * 32) + OTHER),
    Reason.NEXT_COMMITTEE_NOT_EMPTY: lambda update: replace(update, next_sync_committee_branch=bytes(6 * 32)),
    Reason.INVALID_NEXT_COMMITTEE_BRANCH: lambda update: replace(update, next_sync_committee=world().committees[3]),
    Reason.INVALID_SIGNATURE: lambda update: beacon(update, proposer_index=2**40),
}


def test_the_unspoiled_update_is_accepted() -> None:
    store = advanced(good())
    assert is_next_sync_committee_known(store)
    assert store.finalized_header == good().finalized_header
    assert store.optimistic_header == good().attested_header
    assert store.current_max_active_participants == SIZE


@pytest.mark.parametrize("reason", SPOILED)
def test_each_cause_has_its_reason(reason: Reason) -> None:
    assert reason_of(process(SPOILED[reason](good()))) is reason


def test_a_finalized_header_whose_execution_data_does_not_hold() -> None:
    finalized = good().finalized_header
    spoiled = replace(good(), finalized_header=replace(finalized, execution_branch=bytes(128)))
    assert reason_of(process(spoiled)) is Reason.INVALID_FINALIZED_HEADER


def test_signed_in_the_future() -> None:
    update = good()
    early = Slot(update.signature_slot - 1)
    result = process_light_client_update(NETWORK, start()[0], update, early, Verifier())
    assert reason_of(result) is Reason.FUTURE_SIGNATURE_SLOT


def test_nothing_new() -> None:
    store = advanced(good())
    older = next(block for block in world().blocks if 0 < block.slot < store.finalized_header.beacon.slot)
    update = world().update(older, Slot(older.slot + 1), SIZE, committee=True, finality=False)
    assert reason_of(process(update, store)) is Reason.IRRELEVANT
    # The same is of use to a store that knows no next committee.
    bare = replace(store, next_sync_committee=start()[0].next_sync_committee)
    assert isinstance(process(update, bare), LightClientStore)


def test_another_next_committee_for_the_same_period() -> None:
    store = replace(advanced(good()), next_sync_committee=world().committees[3])
    later = block_in(0)
    update = world().update(later, Slot(later.slot + 1), SIZE, committee=True, finality=True)
    assert reason_of(process(update, store)) is Reason.NEXT_COMMITTEE_MISMATCH


def test_the_next_committee_signs_only_when_it_is_known() -> None:
    assert reason_of(process(good(1))) is Reason.SKIPPED_PERIOD
    store = advanced(good(), good(1))
    assert store.current_sync_committee == world().committees[1]
    assert store.next_sync_committee == world().committees[2]


def test_a_store_of_an_older_layout_must_be_upgraded_first() -> None:
    network = small_network({**ALL, Fork.GLOAS: 0})
    gloas = World(network, random.Random(12), 1)
    first, second = gloas.blocks[:2]
    update = gloas.update(second, Slot(second.slot + 1), SIZE, committee=True, finality=False)
    checked = check_light_client_update(network, start()[0], update, update.signature_slot)
    assert isinstance(checked, Rejection)
    assert checked.reason is Reason.WRONG_LAYOUT
    bootstrap = gloas.bootstrap(first)
    root = beacon_root(first.header.beacon)
    refused = initialize_light_client_store(network, root, bootstrap, Fork.ELECTRA)
    assert isinstance(refused, Rejection)
    assert refused.reason is Reason.WRONG_LAYOUT
    with pytest.raises(ValueError, match="cannot be downgraded"):
        upgrade_lc_header(network, first.header, Fork.ALTAIR)


def test_bootstraps() -> None:
    block = world().blocks[3]
    bootstrap = world().bootstrap(block)
    root = beacon_root(block.header.beacon)
    assert isinstance(initialize_light_client_store(NETWORK, root, bootstrap), LightClientStore)

    def refusal(**changes: object) -> Reason | None:
        return reason_of(initialize_light_client_store(NETWORK, root, replace(bootstrap, **changes)))  # type: ignore[arg-type]

    assert reason_of(initialize_light_client_store(NETWORK, OTHER, bootstrap)) is Reason.UNTRUSTED_ROOT
    assert refusal(current_sync_committee=world().committees[1]) is Reason.INVALID_CURRENT_COMMITTEE_BRANCH
    assert refusal(current_sync_committee_branch=bytes(192)) is Reason.INVALID_CURRENT_COMMITTEE_BRANCH
    header = replace(block.header, execution_branch=bytes(128))
    assert refusal(header=header) is Reason.INVALID_ATTESTED_HEADER


def test_a_bootstrap_brings_no_next_committee() -> None:
    assert not is_next_sync_committee_known(start()[0])


def test_a_minority_moves_nothing_but_the_best_update() -> None:
    update = good(participants=21)  # two thirds of 32 is 21.3
    store = advanced(update)
    assert store.best_valid_update == update
    assert store.finalized_header == start()[0].finalized_header
    assert not is_next_sync_committee_known(store)
    assert advanced(good(participants=22)).best_valid_update is None


def test_an_optimistic_header_needs_more_than_half_of_what_was_seen() -> None:
    store = advanced(good())
    _, later = start()
    newer = next(block for block in later if block.slot > store.optimistic_header.beacon.slot)
    weak = world().update(newer, Slot(newer.slot + 1), SIZE // 2, committee=False, finality=False)
    strong = world().update(newer, Slot(newer.slot + 1), SIZE // 2 + 1, committee=False, finality=False)
    same, moved = process(weak, store), process(strong, store)
    assert isinstance(same, LightClientStore)
    assert isinstance(moved, LightClientStore)
    assert same.optimistic_header == store.optimistic_header
    assert moved.optimistic_header == newer.header


def test_the_smaller_updates_do_what_the_whole_one_does() -> None:
    verifier = Verifier()
    store = advanced(good())
    _, later = start()
    newer = next(block for block in later if block.slot > store.optimistic_header.beacon.slot)
    update = world().update(newer, Slot(newer.slot + 1), SIZE, committee=False, finality=True)
    whole = process(update, store)
    finality = create_light_client_finality_update(update)
    assert as_light_client_update(NETWORK, finality) == update
    assert process_light_client_finality_update(NETWORK, store, finality, update.signature_slot, verifier) == whole
    optimistic = create_light_client_optimistic_update(finality)
    moved = process_light_client_optimistic_update(NETWORK, store, optimistic, update.signature_slot, verifier)
    assert isinstance(moved, LightClientStore)
    assert moved.optimistic_header == newer.header
    assert moved.finalized_header == store.finalized_header


def test_nothing_is_forced_before_the_timeout() -> None:
    store = advanced(good(participants=21))
    timeout = Slot(store.finalized_header.beacon.slot + PERIOD_SLOTS)
    assert process_light_client_store_force_update(NETWORK, store, timeout) is store
    forced = process_light_client_store_force_update(NETWORK, store, Slot(timeout + 1))
    assert forced.finalized_header == good().finalized_header
    assert forced.best_valid_update is None
    assert process_light_client_store_force_update(NETWORK, forced, Slot(10**6)) is forced


def test_forcing_an_update_without_finality_takes_its_attested_header() -> None:
    update = good(participants=21, finality=False)
    forced = process_light_client_store_force_update(NETWORK, advanced(update), Slot(10**6))
    assert forced.finalized_header == update.attested_header
    assert is_next_sync_committee_known(forced)


def test_applying_finality_of_another_period_without_a_next_committee() -> None:
    result = apply_light_client_update(NETWORK, start()[0], good(1))
    assert reason_of(result) is Reason.FINALITY_NOT_IN_PERIOD


def test_genesis_finality_is_an_empty_header_with_a_branch() -> None:
    made = World(NETWORK, random.Random(14), 1)
    attested = next(block for block in made.blocks[2:] if block.finalized is None)
    first = made.blocks[0]
    store = initialize_light_client_store(NETWORK, beacon_root(first.header.beacon), made.bootstrap(first))
    assert isinstance(store, LightClientStore)
    update = made.update(attested, Slot(attested.slot + 1), SIZE, committee=True, finality=True)
    assert update.finalized_header == default_header(Fork.ELECTRA)
    assert isinstance(process(update, store), LightClientStore)
    at_genesis = replace(update.finalized_header, beacon=replace(update.finalized_header.beacon, proposer_index=1))
    assert reason_of(process(replace(update, finalized_header=at_genesis), store)) is Reason.FINALIZED_HEADER_NOT_EMPTY


def test_a_batch_above_the_limit_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        process_light_client_updates(NETWORK, start()[0], [good()] * (MAX_BATCH + 1), Slot(10**6), Verifier())


def test_an_empty_batch() -> None:
    caught_up = process_light_client_updates(NETWORK, start()[0], [], Slot(0), Verifier())
    assert caught_up.store == start()[0]
    assert caught_up.outcomes == ()
