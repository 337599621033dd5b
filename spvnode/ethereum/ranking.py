"""Which of two updates is better: the order in which one update per period is kept and served.

Source: consensus-specs ``altair/light-client/sync-protocol.md``, ``is_better_update``.
"""

from __future__ import annotations

from spvnode.ethereum.containers import LightClientFinalityUpdate, LightClientUpdate
from spvnode.ethereum.presets import Preset
from spvnode.ethereum.units import compute_sync_committee_period_at_slot


def is_sync_committee_update(update: LightClientUpdate) -> bool:
    """Whether it brings a next committee: its branch is not all zeros."""
    return any(update.next_sync_committee_branch)


def is_finality_update(update: LightClientUpdate | LightClientFinalityUpdate) -> bool:
    """Whether it brings a finalized header: its branch is not all zeros."""
    return any(update.finality_branch)


def has_supermajority(update: LightClientUpdate | LightClientFinalityUpdate) -> bool:
    """Whether at least two thirds of the committee signed."""
    aggregate = update.sync_aggregate
    return aggregate.participants * 3 >= len(aggregate.sync_committee_bits) * 8 * 2


def is_better_update(preset: Preset, new_update: LightClientUpdate, old_update: LightClientUpdate) -> bool:
    """Whether ``new_update`` should replace ``old_update``. Both are in one layout; equal ones are not better."""
    return _rank(preset, new_update) > _rank(preset, old_update)


def _rank(preset: Preset, update: LightClientUpdate) -> tuple[int, ...]:
    """A tuple that sorts as the spec's comparisons do, the most important first, larger is better."""
    participants = update.sync_aggregate.participants
    supermajority = has_supermajority(update)
    attested_period = compute_sync_committee_period_at_slot(preset, update.attested_header.beacon.slot)
    relevant_committee = is_sync_committee_update(update) and (
        attested_period == compute_sync_committee_period_at_slot(preset, update.signature_slot)
    )
    finality = is_finality_update(update)
    finalized_period = compute_sync_committee_period_at_slot(preset, update.finalized_header.beacon.slot)
    return (
        supermajority,
        0 if supermajority else participants,  # below two thirds, participation comes before everything else
        relevant_committee,
        finality,
        finality and finalized_period == attested_period,  # finality of the committee itself
        participants,
        -update.attested_header.beacon.slot,  # older data first: fewer changes to the best update
        -update.signature_slot,
    )
