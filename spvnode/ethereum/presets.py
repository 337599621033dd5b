"""The two presets: sizes that a network cannot change without changing its containers.

Source: consensus-specs v1.7.0-alpha.13, ``presets/mainnet`` and ``presets/minimal``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Preset:
    """``limits`` are the constants that container tables name (``merkle.ssz_types`` sizes), by the specs' names."""

    name: str
    slots_per_epoch: int
    epochs_per_sync_committee_period: int
    sync_committee_size: int
    limits: Mapping[str, int] = field(compare=False, repr=False)

    @property
    def update_timeout(self) -> int:
        """``UPDATE_TIMEOUT``, slots: one sync-committee period."""
        return self.slots_per_epoch * self.epochs_per_sync_committee_period


MIN_SYNC_COMMITTEE_PARTICIPANTS = 1
"""Both presets have the same."""

_SHARED = {
    "BYTES_PER_LOGS_BLOOM": 256,
    "DEPOSIT_PROOF_LENGTH": 33,  # DEPOSIT_CONTRACT_TREE_DEPTH + 1
    "HISTORICAL_ROOTS_LIMIT": 2**24,
    "INCLUSION_LIST_COMMITTEE_SIZE": 16,
    "JUSTIFICATION_BITS_LENGTH": 4,
    "MAX_ATTESTATIONS": 128,
    "MAX_ATTESTATIONS_ELECTRA": 8,
    "MAX_ATTESTER_SLASHINGS": 2,
    "MAX_ATTESTER_SLASHINGS_ELECTRA": 1,
    "MAX_BLOB_COMMITMENTS_PER_BLOCK": 4096,
    "MAX_BLS_TO_EXECUTION_CHANGES": 16,
    "MAX_BYTES_PER_TRANSACTION": 2**30,
    "MAX_CONSOLIDATION_REQUESTS_PER_PAYLOAD": 2,
    "MAX_DEPOSIT_REQUESTS_PER_PAYLOAD": 8192,
    "MAX_DEPOSITS": 16,
    "MAX_EXTRA_DATA_BYTES": 32,
    "MAX_PROPOSER_SLASHINGS": 16,
    "MAX_TRANSACTIONS_PER_PAYLOAD": 2**20,
    "MAX_VALIDATORS_PER_COMMITTEE": 2048,
    "MAX_VOLUNTARY_EXITS": 16,
    "MAX_WITHDRAWAL_REQUESTS_PER_PAYLOAD": 16,
    "PENDING_DEPOSITS_LIMIT": 2**27,
    "VALIDATOR_REGISTRY_LIMIT": 2**40,
}


def _limits(own: Mapping[str, int]) -> Mapping[str, int]:
    committees = own["MAX_COMMITTEES_PER_SLOT"] * _SHARED["MAX_VALIDATORS_PER_COMMITTEE"]
    return MappingProxyType({**_SHARED, **own, "MAX_VALIDATORS_PER_SLOT": committees})


MAINNET = Preset(
    name="mainnet",
    slots_per_epoch=32,
    epochs_per_sync_committee_period=256,
    sync_committee_size=512,
    limits=_limits(
        {
            "BUILDER_PENDING_PAYMENTS": 64,  # 2 * SLOTS_PER_EPOCH
            "EPOCHS_PER_HISTORICAL_VECTOR": 65536,
            "EPOCHS_PER_SLASHINGS_VECTOR": 8192,
            "ETH1_DATA_VOTES": 2048,  # EPOCHS_PER_ETH1_VOTING_PERIOD * SLOTS_PER_EPOCH
            "MAX_COMMITTEES_PER_SLOT": 64,
            "MAX_WITHDRAWALS_PER_PAYLOAD": 16,
            "PENDING_CONSOLIDATIONS_LIMIT": 2**18,
            "PENDING_PARTIAL_WITHDRAWALS_LIMIT": 2**27,
            "PROPOSER_LOOKAHEAD": 64,  # (MIN_SEED_LOOKAHEAD + 1) * SLOTS_PER_EPOCH
            "PTC_SIZE": 512,
            "PTC_WINDOW": 96,  # (2 + MIN_SEED_LOOKAHEAD) * SLOTS_PER_EPOCH
            "SLOTS_PER_HISTORICAL_ROOT": 8192,
            "SYNC_COMMITTEE_SIZE": 512,
        }
    ),
)

MINIMAL = Preset(
    name="minimal",
    slots_per_epoch=8,
    epochs_per_sync_committee_period=8,
    sync_committee_size=32,
    limits=_limits(
        {
            "BUILDER_PENDING_PAYMENTS": 16,
            "EPOCHS_PER_HISTORICAL_VECTOR": 64,
            "EPOCHS_PER_SLASHINGS_VECTOR": 64,
            "ETH1_DATA_VOTES": 32,
            "MAX_COMMITTEES_PER_SLOT": 4,
            "MAX_WITHDRAWALS_PER_PAYLOAD": 4,
            "PENDING_CONSOLIDATIONS_LIMIT": 64,
            "PENDING_PARTIAL_WITHDRAWALS_LIMIT": 64,
            "PROPOSER_LOOKAHEAD": 16,
            "PTC_SIZE": 16,
            "PTC_WINDOW": 24,
            "SLOTS_PER_HISTORICAL_ROOT": 64,
            "SYNC_COMMITTEE_SIZE": 32,
        }
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in (MAINNET, MINIMAL)})
