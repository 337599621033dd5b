"""Domain types of the beacon chain, and the time arithmetic between them. Names are the consensus specs'."""

from __future__ import annotations

from typing import NewType

from spvnode.ethereum.presets import Preset
from spvnode.types import Hash32

Slot = NewType("Slot", int)
"""12 seconds on the public networks; genesis is 0."""
Epoch = NewType("Epoch", int)
"""``preset.slots_per_epoch`` slots."""
Period = NewType("Period", int)
"""Sync-committee period: ``preset.epochs_per_sync_committee_period`` epochs, 27 hours on the public networks."""
Root = Hash32
"""An SSZ ``hash_tree_root``."""
Version = NewType("Version", bytes)
"""4 bytes; one per fork and network."""
ForkDigest = NewType("ForkDigest", bytes)
"""4 bytes; separates forks on the wire."""

GENESIS_SLOT = Slot(0)
FAR_FUTURE_EPOCH = Epoch(2**64 - 1)
"""How a config says that a fork has no date yet."""


def compute_epoch_at_slot(preset: Preset, slot: Slot) -> Epoch:
    """The epoch that ``slot`` belongs to."""
    return Epoch(slot // preset.slots_per_epoch)


def compute_start_slot_at_epoch(preset: Preset, epoch: Epoch) -> Slot:
    """The first slot of ``epoch``."""
    return Slot(epoch * preset.slots_per_epoch)


def compute_sync_committee_period(preset: Preset, epoch: Epoch) -> Period:
    """The sync-committee period that ``epoch`` belongs to."""
    return Period(epoch // preset.epochs_per_sync_committee_period)


def compute_sync_committee_period_at_slot(preset: Preset, slot: Slot) -> Period:
    """The sync-committee period that ``slot`` belongs to."""
    return Period(slot // (preset.slots_per_epoch * preset.epochs_per_sync_committee_period))


def compute_start_slot_at_sync_committee_period(preset: Preset, period: Period) -> Slot:
    """The first slot of ``period``."""
    return Slot(period * preset.slots_per_epoch * preset.epochs_per_sync_committee_period)
