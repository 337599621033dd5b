"""The sync protocol: a trusted bootstrap makes a store, signed updates move it. Pure functions.

Source: consensus-specs ``altair/light-client/sync-protocol.md`` as amended up to gloas; names are the specs'. Where the
specs assert, these return a ``Rejection``; where they change the store, these return a new one. An update is first
brought into the store's layout. Nothing here calls ``process_light_client_store_force_update``: it gives up finality to
get on, and whoever runs the node must ask for that.

Checking a signature takes a ``Verifier`` (``spvnode.bls``), 1.3 ms, and the first time per committee 35 ms more: call
the ``process_`` functions in a worker thread.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from merkle.ssz import is_valid_normalized_merkle_branch
from spvnode.bls import SignatureSet, Verifier
from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientOptimisticUpdate,
    LightClientUpdate,
    SyncCommittee,
    beacon_root,
    default_committee,
    default_header,
    hash_tree_root,
)
from spvnode.ethereum.forks import Fork, compute_fork_data_root
from spvnode.ethereum.gindices import GINDICES
from spvnode.ethereum.headers import gindices_at_slot, is_valid_light_client_header
from spvnode.ethereum.networks import Network
from spvnode.ethereum.presets import MIN_SYNC_COMMITTEE_PARTICIPANTS
from spvnode.ethereum.ranking import has_supermajority, is_better_update, is_finality_update, is_sync_committee_update
from spvnode.ethereum.reasons import Reason, Rejection
from spvnode.ethereum.store import LightClientStore, get_safety_threshold, is_next_sync_committee_known, no_committee
from spvnode.ethereum.units import (
    GENESIS_SLOT,
    Period,
    Root,
    Slot,
    compute_epoch_at_slot,
    compute_sync_committee_period_at_slot,
)
from spvnode.ethereum.upgrade import is_newer_layout, upgrade_lc_bootstrap, upgrade_lc_update

DOMAIN_SYNC_COMMITTEE = bytes.fromhex("07000000")
_CHUNK = 32


def initialize_light_client_store(
    network: Network, trusted_block_root: Root, bootstrap: LightClientBootstrap, fork: Fork | None = None
) -> LightClientStore | Rejection:
    """The store that ``bootstrap`` begins, in the layout ``fork`` (by default the schedule's newest)."""
    layout = fork or network.schedule.newest_layout
    if is_newer_layout(bootstrap.fork, layout):
        return Rejection(Reason.WRONG_LAYOUT, f"{bootstrap.fork} data for a {layout} store")
    bootstrap = upgrade_lc_bootstrap(network, bootstrap, layout)
    header = bootstrap.header
    if not is_valid_light_client_header(network, header):
        return Rejection(Reason.INVALID_ATTESTED_HEADER, f"bootstrap at slot {header.beacon.slot}")
    if beacon_root(header.beacon) != trusted_block_root:
        return Rejection(Reason.UNTRUSTED_ROOT, f"bootstrap at slot {header.beacon.slot}")
    if not is_valid_normalized_merkle_branch(
        hash_tree_root(network.preset, bootstrap.current_sync_committee),
        bootstrap.current_sync_committee_branch,
        gindices_at_slot(network, header.beacon.slot, layout).current_sync_committee,
        header.beacon.state_root,
    ):
        return Rejection(Reason.INVALID_CURRENT_COMMITTEE_BRANCH, f"bootstrap at slot {header.beacon.slot}")
    return LightClientStore(
        fork=layout,
        finalized_header=header,
        current_sync_committee=bootstrap.current_sync_committee,
        next_sync_committee=no_committee(bootstrap.current_sync_committee),
        best_valid_update=None,
        optimistic_header=header,
    )


def restore_light_client_store(
    network: Network,
    stored: LightClientStore,
    proof: LightClientUpdate | None,
    current_slot: Slot,
    verifier: Verifier,
) -> LightClientStore | Rejection:
    """``stored``, read back from our own disk, without a next committee that ``proof`` does not prove once more.

    ``proof`` is the update that brought it (the best one of the period serves). Without one, or without a next
    committee, the store comes back not knowing any: the node asks its peers again.
    """
    bare = replace(stored, next_sync_committee=no_committee(stored.current_sync_committee))
    if proof is None or not is_next_sync_committee_known(stored):
        return bare
    rejection = validate_light_client_update(network, bare, proof, current_slot, verifier)
    if rejection is not None:
        return rejection
    if proof.next_sync_committee != stored.next_sync_committee:
        return Rejection(Reason.NEXT_COMMITTEE_MISMATCH, "the stored committee is not the proven one")
    return stored


def validate_light_client_update(
    network: Network, store: LightClientStore, update: LightClientUpdate, current_slot: Slot, verifier: Verifier
) -> Rejection | None:
    """None when ``update`` is valid for ``store``."""
    checked = check_light_client_update(network, store, update, current_slot)
    return checked if isinstance(checked, Rejection) else verify_signature(checked, verifier)


def verify_signature(claim: SignatureSet, verifier: Verifier) -> Rejection | None:
    """None when it holds."""
    reason = verifier.verify(claim)
    return None if reason is None else Rejection(Reason.INVALID_SIGNATURE, reason.value)


def check_light_client_update(
    network: Network, store: LightClientStore, update: LightClientUpdate, current_slot: Slot
) -> SignatureSet | Rejection:
    """All of ``validate_light_client_update`` but the signature, which it returns for the caller to verify."""
    if is_newer_layout(update.fork, store.fork):
        return Rejection(Reason.WRONG_LAYOUT, f"{update.fork} data for a {store.fork} store")
    update = in_layout_of(network, store, update)
    rejection = (
        _check_slots(network, store, update, current_slot)
        or _check_finality(network, update)
        or _check_next_committee(network, store, update)
    )
    return rejection or _signature(network, store, update)


def in_layout_of(network: Network, store: LightClientStore, update: LightClientUpdate) -> LightClientUpdate:
    """``update`` in the store's layout; one that is of a newer layout as it is, to be refused."""
    return update if is_newer_layout(update.fork, store.fork) else upgrade_lc_update(network, update, store.fork)


def _period(network: Network, slot: Slot) -> Period:
    return compute_sync_committee_period_at_slot(network.preset, slot)


def _check_slots(
    network: Network, store: LightClientStore, update: LightClientUpdate, current_slot: Slot
) -> Rejection | None:
    # Sufficient participants
    if update.sync_aggregate.participants < MIN_SYNC_COMMITTEE_PARTICIPANTS:
        return Rejection(Reason.INSUFFICIENT_PARTICIPANTS)

    # It does not skip a sync committee period
    attested_slot = update.attested_header.beacon.slot
    if not is_valid_light_client_header(network, update.attested_header):
        return Rejection(Reason.INVALID_ATTESTED_HEADER, f"slot {attested_slot}")
    if update.signature_slot > current_slot:
        return Rejection(Reason.FUTURE_SIGNATURE_SLOT, f"{update.signature_slot}, now is {current_slot}")
    if not update.signature_slot > attested_slot >= update.finalized_header.beacon.slot:
        return Rejection(Reason.SLOT_ORDER)
    store_period = _period(network, store.finalized_header.beacon.slot)
    signature_period = _period(network, update.signature_slot)
    known = is_next_sync_committee_known(store)
    if not store_period <= signature_period <= store_period + int(known):
        return Rejection(Reason.SKIPPED_PERIOD, f"{signature_period}, the store is in {store_period}")

    # It is relevant
    brings_committee = (
        not known and is_sync_committee_update(update) and _period(network, attested_slot) == store_period
    )
    if attested_slot <= store.finalized_header.beacon.slot and not brings_committee:
        return Rejection(Reason.IRRELEVANT, f"slot {attested_slot}")
    return None


def _check_finality(network: Network, update: LightClientUpdate) -> Rejection | None:
    # The finality branch, if present, confirms the finalized header to match the finalized checkpoint root in the
    # attested state. The genesis checkpoint's root is zeros there, and no header stands for it.
    attested = update.attested_header.beacon
    finalized = update.finalized_header
    branch_present = is_finality_update(update)
    if not branch_present or finalized.beacon.slot == GENESIS_SLOT:
        if finalized != default_header(update.fork):
            return Rejection(Reason.FINALIZED_HEADER_NOT_EMPTY)
        finalized_root = Root(bytes(_CHUNK))
    else:
        if not is_valid_light_client_header(network, finalized):
            return Rejection(Reason.INVALID_FINALIZED_HEADER, f"slot {finalized.beacon.slot}")
        finalized_root = beacon_root(finalized.beacon)
    if branch_present and not is_valid_normalized_merkle_branch(
        finalized_root,
        update.finality_branch,
        gindices_at_slot(network, attested.slot, update.fork).finalized_root,
        attested.state_root,
    ):
        return Rejection(Reason.INVALID_FINALITY_BRANCH, f"slot {attested.slot}")
    return None


def _check_next_committee(network: Network, store: LightClientStore, update: LightClientUpdate) -> Rejection | None:
    # The next committee, if present, actually is the next committee in the attested state
    attested = update.attested_header.beacon
    if not is_sync_committee_update(update):
        if update.next_sync_committee != no_committee(store.current_sync_committee):
            return Rejection(Reason.NEXT_COMMITTEE_NOT_EMPTY)
        return None
    same_period = _period(network, attested.slot) == _period(network, store.finalized_header.beacon.slot)
    if same_period and is_next_sync_committee_known(store) and update.next_sync_committee != store.next_sync_committee:
        return Rejection(Reason.NEXT_COMMITTEE_MISMATCH)
    if not is_valid_normalized_merkle_branch(
        hash_tree_root(network.preset, update.next_sync_committee),
        update.next_sync_committee_branch,
        gindices_at_slot(network, attested.slot, update.fork).next_sync_committee,
        attested.state_root,
    ):
        return Rejection(Reason.INVALID_NEXT_COMMITTEE_BRANCH, f"slot {attested.slot}")
    return None


def _signature(network: Network, store: LightClientStore, update: LightClientUpdate) -> SignatureSet:
    store_period = _period(network, store.finalized_header.beacon.slot)
    committee = (
        store.current_sync_committee
        if _period(network, update.signature_slot) == store_period
        else store.next_sync_committee
    )
    return signature_set(network, committee, update)


def signature_set(
    network: Network,
    committee: SyncCommittee,
    update: LightClientUpdate | LightClientFinalityUpdate | LightClientOptimisticUpdate,
) -> SignatureSet:
    """What ``update`` claims that ``committee`` signed."""
    aggregate = update.sync_aggregate
    return SignatureSet(
        pubkeys=committee.pubkeys,
        aggregate_pubkey=committee.aggregate_pubkey,
        bits=aggregate.sync_committee_bits,
        message=compute_sync_committee_signing_root(
            network, beacon_root(update.attested_header.beacon), update.signature_slot
        ),
        signature=aggregate.sync_committee_signature,
    )


def compute_sync_committee_signing_root(network: Network, block_root: Root, signature_slot: Slot) -> bytes:
    """What the committee signs: the attested block's root, under the fork in force one slot before the signature."""
    fork_version_slot = Slot(max(signature_slot, 1) - 1)
    version = network.schedule.compute_fork_version(compute_epoch_at_slot(network.preset, fork_version_slot))
    fork_data_root = compute_fork_data_root(version, network.genesis_validators_root)
    return sha256(block_root + DOMAIN_SYNC_COMMITTEE + fork_data_root[:28]).digest()


def apply_light_client_update(
    network: Network, store: LightClientStore, update: LightClientUpdate
) -> LightClientStore | Rejection:
    """The store after a valid update that finalizes: committees move on, then headers."""
    finalized_slot = update.finalized_header.beacon.slot
    store_period = _period(network, store.finalized_header.beacon.slot)
    finalized_period = _period(network, finalized_slot)
    if not is_next_sync_committee_known(store):
        if finalized_period != store_period:
            return Rejection(Reason.FINALITY_NOT_IN_PERIOD, f"{finalized_period}, the store is in {store_period}")
        store = replace(store, next_sync_committee=update.next_sync_committee)
    elif finalized_period == store_period + 1:
        store = replace(
            store,
            current_sync_committee=store.next_sync_committee,
            next_sync_committee=update.next_sync_committee,
            previous_max_active_participants=store.current_max_active_participants,
            current_max_active_participants=0,
        )
    if finalized_slot > store.finalized_header.beacon.slot:
        store = replace(store, finalized_header=update.finalized_header)
        if finalized_slot > store.optimistic_header.beacon.slot:
            store = replace(store, optimistic_header=update.finalized_header)
    return store


def process_light_client_store_force_update(
    network: Network, store: LightClientStore, current_slot: Slot
) -> LightClientStore:
    """After a period without finality, takes the best update seen, and its attested header for finalized.

    That header was signed but never finalized. Only for a node whose operator asked for it.
    """
    best = store.best_valid_update
    if best is None or current_slot <= store.finalized_header.beacon.slot + network.preset.update_timeout:
        return store
    if best.finalized_header.beacon.slot <= store.finalized_header.beacon.slot:
        best = replace(best, finalized_header=best.attested_header)
    forced = apply_light_client_update(network, store, best)
    # It cannot be refused: without a next committee, best was validated within the store's own period.
    return store if isinstance(forced, Rejection) else replace(forced, best_valid_update=None)


def process_light_client_update(
    network: Network, store: LightClientStore, update: LightClientUpdate, current_slot: Slot, verifier: Verifier
) -> LightClientStore | Rejection:
    """The store after ``update``, or why it was refused (then nothing changes)."""
    update = in_layout_of(network, store, update)
    rejection = validate_light_client_update(network, store, update, current_slot, verifier)
    return rejection or advance_light_client_store(network, store, update)


def advance_light_client_store(
    network: Network, store: LightClientStore, update: LightClientUpdate
) -> LightClientStore | Rejection:
    """``process_light_client_update`` after validation."""
    update = upgrade_lc_update(network, update, store.fork)
    attested = update.attested_header
    finalized_slot = update.finalized_header.beacon.slot
    participants = update.sync_aggregate.participants

    # The best update, in case of a forced update
    best = store.best_valid_update
    if best is None or is_better_update(network.preset, update, best):
        store = replace(store, best_valid_update=update)
    # The most participants seen
    if participants > store.current_max_active_participants:
        store = replace(store, current_max_active_participants=participants)
    # The optimistic header
    if participants > get_safety_threshold(store) and attested.beacon.slot > store.optimistic_header.beacon.slot:
        store = replace(store, optimistic_header=attested)
    # The finalized header
    finalizes_next_committee = (
        not is_next_sync_committee_known(store)
        and is_sync_committee_update(update)
        and is_finality_update(update)
        and _period(network, finalized_slot) == _period(network, attested.beacon.slot)
    )
    newer = finalized_slot > store.finalized_header.beacon.slot
    if not has_supermajority(update) or not (newer or finalizes_next_committee):
        return store
    applied = apply_light_client_update(network, store, update)
    return applied if isinstance(applied, Rejection) else replace(applied, best_valid_update=None)


def as_light_client_update(
    network: Network, update: LightClientFinalityUpdate | LightClientOptimisticUpdate
) -> LightClientUpdate:
    """The update that a smaller one stands for, its missing parts all zeros."""
    depths = GINDICES[update.fork].depths
    finalized_header, finality_branch = default_header(update.fork), bytes(depths["FINALITY_DEPTH"] * _CHUNK)
    if isinstance(update, LightClientFinalityUpdate):
        finalized_header, finality_branch = update.finalized_header, update.finality_branch
    return LightClientUpdate(
        fork=update.fork,
        attested_header=update.attested_header,
        next_sync_committee=default_committee(network.preset.sync_committee_size),
        next_sync_committee_branch=bytes(depths["COMMITTEE_DEPTH"] * _CHUNK),
        finalized_header=finalized_header,
        finality_branch=finality_branch,
        sync_aggregate=update.sync_aggregate,
        signature_slot=update.signature_slot,
    )


def process_light_client_finality_update(
    network: Network,
    store: LightClientStore,
    finality_update: LightClientFinalityUpdate,
    current_slot: Slot,
    verifier: Verifier,
) -> LightClientStore | Rejection:
    """As ``process_light_client_update``."""
    update = as_light_client_update(network, finality_update)
    return process_light_client_update(network, store, update, current_slot, verifier)


def process_light_client_optimistic_update(
    network: Network,
    store: LightClientStore,
    optimistic_update: LightClientOptimisticUpdate,
    current_slot: Slot,
    verifier: Verifier,
) -> LightClientStore | Rejection:
    """As ``process_light_client_update``."""
    update = as_light_client_update(network, optimistic_update)
    return process_light_client_update(network, store, update, current_slot, verifier)
