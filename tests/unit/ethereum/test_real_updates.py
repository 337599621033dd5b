"""Recorded updates of mainnet, goerli and devnets across forks: all of them must verify."""

from __future__ import annotations

from dataclasses import replace

import pytest

from merkle.ssz_json import from_json, to_json
from spvnode.bls import Verifier
from spvnode.ethereum.catchup import process_light_client_updates
from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientHeader,
    LightClientObject,
    LightClientOptimisticUpdate,
    LightClientUpdate,
    SyncCommittee,
    beacon_root,
    container,
    decode,
    default_committee,
    encode,
    hash_tree_root,
    max_size,
)
from spvnode.ethereum.forks import LAYOUTS, Fork
from spvnode.ethereum.light_client import (
    initialize_light_client_store,
    process_light_client_finality_update,
    process_light_client_optimistic_update,
    process_light_client_update,
    restore_light_client_store,
    validate_light_client_update,
)
from spvnode.ethereum.networks import Network
from spvnode.ethereum.reasons import Reason, Rejection
from spvnode.ethereum.store import LightClientStore, is_next_sync_committee_known
from spvnode.ethereum.units import Root, Slot, compute_epoch_at_slot
from spvnode.ethereum.upgrade import upgrade_lc_header
from tests.support.eth_vectors import archive, real_json, real_network, real_sets, real_updates, unhex

SETS_RECORDED = 9
NIMBUS = "mainnet-capella-nimbus21"
PORTAL = "mainnet-capella-portal"
FULU = "mainnet-fulu-sp1helios2026"
WITH_BOOTSTRAP = [name for name in real_sets() if f"{name}/bootstrap.ssz" in archive("real") and name != PORTAL]
EUREKA = [name for name in real_sets() if "eureka" in name]
STORE_LAYOUTS = [Fork.ELECTRA, Fork.GLOAS]
CLASSES: dict[str, type[LightClientObject]] = {
    "bootstrap": LightClientBootstrap,
    "finality_update": LightClientFinalityUpdate,
    "optimistic_update": LightClientOptimisticUpdate,
}


def recorded(name: str, network: Network, file: str) -> LightClientObject:
    entry = real_json(name, "manifest.json")["files"][file]
    data = archive("real")[f"{name}/{file}.ssz"]
    value = decode(network.preset, Fork(entry["version"]), CLASSES[file], data)
    assert encode(network.preset, value) == data
    assert hash_tree_root(network.preset, value) == unhex(entry["hash_tree_root"])
    return value


def begin(name: str, network: Network, layout: Fork | None = None) -> LightClientStore:
    bootstrap = recorded(name, network, "bootstrap")
    assert isinstance(bootstrap, LightClientBootstrap)
    root = Root(unhex(real_json(name, "manifest.json")["trusted_block_root"]))
    store = initialize_light_client_store(network, root, bootstrap, layout)
    assert isinstance(store, LightClientStore)
    return store


def follow(
    network: Network, store: LightClientStore, updates: list[LightClientUpdate], verifier: Verifier
) -> LightClientStore:
    for update in updates:
        new = process_light_client_update(network, store, update, update.signature_slot, verifier)
        assert isinstance(new, LightClientStore)
        store = new
    return store


def follow_live(name: str, network: Network, store: LightClientStore, verifier: Verifier) -> LightClientStore:
    """The set's finality and optimistic updates, where it has them."""
    files = real_json(name, "manifest.json")["files"]
    if "finality_update" in files:
        finality = recorded(name, network, "finality_update")
        assert isinstance(finality, LightClientFinalityUpdate)
        new = process_light_client_finality_update(network, store, finality, finality.signature_slot, verifier)
        assert isinstance(new, LightClientStore)
        assert new.finalized_header.beacon == finality.finalized_header.beacon
        store = new
    if "optimistic_update" in files:
        optimistic = recorded(name, network, "optimistic_update")
        assert isinstance(optimistic, LightClientOptimisticUpdate)
        new = process_light_client_optimistic_update(network, store, optimistic, optimistic.signature_slot, verifier)
        # Some sets recorded both at once, for the same header: then there is nothing new in it.
        if isinstance(new, LightClientStore):
            assert new.optimistic_header.beacon == optimistic.attested_header.beacon
            store = new
        else:
            assert new.reason is Reason.IRRELEVANT
    return store


def test_every_recorded_set_is_here() -> None:
    assert len(real_sets()) == SETS_RECORDED
    assert {*WITH_BOOTSTRAP, *EUREKA, PORTAL, FULU} == set(real_sets())


@pytest.mark.parametrize("name", real_sets())
def test_updates_decode_to_their_recorded_roots(name: str) -> None:
    network = real_network(name)
    entries = real_json(name, "manifest.json")["files"]["updates"]["entries"]
    updates = real_updates(name, network)
    assert len(updates) == len(entries)
    for update, entry in zip(updates, entries, strict=True):
        assert update.fork is LAYOUTS[Fork(entry["version"])]
        assert hash_tree_root(network.preset, update) == unhex(entry["hash_tree_root"])
        assert update.sync_aggregate.participants == entry["participants"]
        epoch = compute_epoch_at_slot(network.preset, update.attested_header.beacon.slot)
        digest = network.schedule.compute_fork_digest(network.genesis_validators_root, epoch)
        assert digest == unhex(entry["context_digest"])
        data = encode(network.preset, update)
        assert len(data) <= max_size(network.preset.name, update.fork, "LightClientUpdate") <= len(data) + 64


@pytest.mark.parametrize("name", real_sets())
def test_json_and_ssz_are_the_same(name: str) -> None:
    network = real_network(name)
    files = real_json(name, "manifest.json")["files"]
    pairs = [(file, recorded(name, network, file)) for file in CLASSES if file in files]
    for file, value in pairs:
        kind = container(network.preset, value.fork, type(value))
        data = real_json(name, f"{file}.json")["data"]
        assert from_json(kind, data) == value
        assert to_json(kind, value) == data
    if f"{name}/updates.json" in archive("real"):
        for update, entry in zip(real_updates(name, network), real_json(name, "updates.json"), strict=True):
            kind = container(network.preset, update.fork, LightClientUpdate)
            assert from_json(kind, entry["data"]) == update


@pytest.mark.parametrize("layout", STORE_LAYOUTS)
@pytest.mark.parametrize("name", WITH_BOOTSTRAP)
def test_recorded_chain_verifies(name: str, layout: Fork) -> None:
    network = real_network(name)
    verifier = Verifier()
    updates = real_updates(name, network)
    store = follow(network, begin(name, network, layout), updates, verifier)
    newest = max((update.finalized_header for update in updates), key=lambda header: header.beacon.slot)
    if newest.beacon.slot > begin(name, network).finalized_header.beacon.slot:
        assert store.finalized_header == upgrade_lc_header(network, newest, layout)
    assert is_next_sync_committee_known(store)
    follow_live(name, network, store, verifier)


@pytest.mark.parametrize("name", EUREKA)
def test_devnet_updates_verify_against_their_committees(name: str) -> None:
    network = real_network(name)
    committees = real_json(name, "active_sync_committees.json")
    kind = container(network.preset, Fork.ALTAIR, SyncCommittee)
    empty = default_committee(network.preset.sync_committee_size)
    period_slots = network.preset.update_timeout
    for update, entry in zip(real_updates(name, network), committees, strict=True):
        committee = from_json(kind, entry["committee"])
        current = entry["kind"] == "Current"
        # The store that the update was made for: one period earlier when its signers are the next committee.
        slot = Slot(update.signature_slot // period_slots * period_slots - (0 if current else 1))
        trusted = replace(update.finalized_header.beacon, slot=slot)
        header = upgrade_lc_header(network, LightClientHeader(Fork.ALTAIR, trusted), Fork.ELECTRA)
        store = LightClientStore(
            fork=Fork.ELECTRA,
            finalized_header=header,
            current_sync_committee=committee if current else empty,
            next_sync_committee=empty if current else committee,
            best_valid_update=None,
            optimistic_header=header,
        )
        assert validate_light_client_update(network, store, update, update.signature_slot, Verifier()) is None


def test_updates_that_lead_up_to_a_bootstrap() -> None:
    network = real_network(PORTAL)
    first, *rest = real_updates(PORTAL, network)
    bootstrap = recorded(PORTAL, network, "bootstrap")
    assert isinstance(bootstrap, LightClientBootstrap)
    store = begin(PORTAL, network)
    verifier = Verifier()
    for update in (first, *rest):
        refused = process_light_client_update(network, store, update, update.signature_slot, verifier)
        assert isinstance(refused, Rejection)
        assert refused.reason is Reason.SKIPPED_PERIOD
    header = upgrade_lc_header(network, first.finalized_header, store.fork)
    before = replace(
        store,
        finalized_header=header,
        optimistic_header=header,
        current_sync_committee=first.next_sync_committee,
        next_sync_committee=first.next_sync_committee,
    )
    reached = follow(network, before, rest, verifier)
    assert reached.next_sync_committee == bootstrap.current_sync_committee
    follow_live(PORTAL, network, store, verifier)


def test_mainnet_in_fulu() -> None:
    network = real_network(FULU)
    initial = real_json(FULU, "initial_store.json")
    header_kind = container(network.preset, Fork.FULU, LightClientHeader)
    committee = from_json(container(network.preset, Fork.FULU, SyncCommittee), initial["current_sync_committee"])
    store = LightClientStore(
        fork=Fork.ELECTRA,
        finalized_header=from_json(header_kind, initial["finalized_header"]),
        current_sync_committee=committee,
        next_sync_committee=default_committee(network.preset.sync_committee_size),
        best_valid_update=None,
        optimistic_header=from_json(header_kind, initial["optimistic_header"]),
    )
    assert beacon_root(store.finalized_header.beacon) == unhex(
        real_json(FULU, "manifest.json")["initial_store"]["finalized_block_root"]
    )
    verifier = Verifier()
    store = follow(network, store, real_updates(FULU, network), verifier)
    assert is_next_sync_committee_known(store)
    follow_live(FULU, network, store, verifier)


def test_batch_gives_the_same_store_as_one_by_one() -> None:
    network = real_network(NIMBUS)
    updates = real_updates(NIMBUS, network)
    verifier = Verifier()
    start = begin(NIMBUS, network)
    one_by_one = follow(network, start, updates, verifier)
    batch = process_light_client_updates(network, start, updates, updates[-1].signature_slot, verifier)
    assert batch.outcomes == (None,) * len(updates)
    assert batch.store == one_by_one


@pytest.mark.parametrize("place", [0, 7, 20])
def test_batch_names_the_culprit_and_keeps_what_came_before(place: int) -> None:
    network = real_network(NIMBUS)
    updates = real_updates(NIMBUS, network)
    start = begin(NIMBUS, network)
    verifier = Verifier()
    other = updates[place - 1].sync_aggregate.sync_committee_signature
    aggregate = replace(updates[place].sync_aggregate, sync_committee_signature=other)
    forged = [*updates[:place], replace(updates[place], sync_aggregate=aggregate), *updates[place + 1 :]]
    batch = process_light_client_updates(network, start, forged, updates[-1].signature_slot, verifier)
    assert batch.outcomes == (*(None,) * place, Rejection(Reason.INVALID_SIGNATURE, "signature"))
    assert batch.store == follow(network, start, updates[:place], verifier)


def test_batch_steps_over_what_is_not_new_and_stops_at_what_is_wrong() -> None:
    network = real_network(NIMBUS)
    updates = real_updates(NIMBUS, network)
    start = begin(NIMBUS, network)
    mixed = [updates[0], updates[0], updates[1], updates[5], updates[2]]
    batch = process_light_client_updates(network, start, mixed, updates[-1].signature_slot, Verifier())
    reasons = [outcome and outcome.reason for outcome in batch.outcomes]
    # The first one once more still has a newer header than the finalized one, so it is not refused.
    assert reasons == [None, None, None, Reason.SKIPPED_PERIOD]
    assert batch.store == follow(network, start, [updates[0], updates[0], updates[1]], Verifier())


def test_a_stored_next_committee_counts_only_with_its_proof() -> None:
    network = real_network(NIMBUS)
    updates = real_updates(NIMBUS, network)
    verifier = Verifier()
    stored = follow(network, begin(NIMBUS, network), updates[:3], verifier)
    now = updates[-1].signature_slot
    assert restore_light_client_store(network, stored, updates[2], now, verifier) == stored

    unproven = restore_light_client_store(network, stored, None, now, verifier)
    assert isinstance(unproven, LightClientStore)
    assert not is_next_sync_committee_known(unproven)
    assert unproven.current_sync_committee == stored.current_sync_committee

    planted = replace(stored, next_sync_committee=updates[7].next_sync_committee)
    refused = restore_light_client_store(network, planted, updates[2], now, verifier)
    assert isinstance(refused, Rejection)
    assert refused.reason is Reason.NEXT_COMMITTEE_MISMATCH

    aggregate = replace(
        updates[2].sync_aggregate, sync_committee_signature=updates[3].sync_aggregate.sync_committee_signature
    )
    refused = restore_light_client_store(network, stored, replace(updates[2], sync_aggregate=aggregate), now, verifier)
    assert isinstance(refused, Rejection)
    assert refused.reason is Reason.INVALID_SIGNATURE
