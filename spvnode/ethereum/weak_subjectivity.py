"""How old a trusted checkpoint may be: the weak-subjectivity period.

A light client does not hold the state that the specs compute this from, so the stake is an argument. The period never
shrinks as the stake grows: a stake known to be smaller than the true one gives a period that is safe.
Source: consensus-specs ``{phase0,electra,gloas}/weak-subjectivity.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from spvnode.ethereum.forks import Fork
from spvnode.ethereum.networks import ChurnLimits, Network
from spvnode.ethereum.presets import Preset
from spvnode.ethereum.units import Epoch

SAFETY_DECAY = 10
"""Per cent of the one-third safety margin that may be lost within the period."""
ETH_TO_GWEI = 10**9
MAX_EFFECTIVE_BALANCE = 32 * ETH_TO_GWEI
EFFECTIVE_BALANCE_INCREMENT = ETH_TO_GWEI
MAX_DEPOSITS = 16
MIN_TOTAL_ACTIVE_BALANCE = 8_388_608 * ETH_TO_GWEI
"""Gwei: a quarter of mainnet's in 2026, where electra's period stops growing (3,532 epochs, 15.7 days)."""


@dataclass(frozen=True, slots=True)
class Stake:
    """``total_active_balance`` in Gwei; ``validators`` are the active ones (only the rule before electra needs it)."""

    total_active_balance: int = MIN_TOTAL_ACTIVE_BALANCE
    validators: int = MIN_TOTAL_ACTIVE_BALANCE // MAX_EFFECTIVE_BALANCE


def compute_weak_subjectivity_period(network: Network, epoch: Epoch, stake: Stake | None = None) -> int:
    """Epochs for which a checkpoint of ``epoch`` can be trusted. A network with a smaller stake must give its own."""
    stake = stake or Stake()
    schedule, churn = network.schedule, network.churn
    if epoch < schedule.epoch_of(Fork.ELECTRA):
        return churn.min_validator_withdrawability_delay + _validator_churn_epochs(network.preset, churn, stake)
    balance = stake.total_active_balance
    delta = (
        _gloas_churn(churn, balance)
        if epoch >= schedule.epoch_of(Fork.GLOAS)
        else _balance_churn(churn.min_per_epoch_churn_limit_electra, churn.churn_limit_quotient, balance)
    )
    return churn.min_validator_withdrawability_delay + SAFETY_DECAY * balance // (2 * delta * 100)


def is_within_weak_subjectivity_period(
    network: Network, checkpoint_epoch: Epoch, current_epoch: Epoch, stake: Stake | None = None
) -> bool:
    """Whether a checkpoint of ``checkpoint_epoch`` is young enough to begin from at ``current_epoch``."""
    return current_epoch <= checkpoint_epoch + compute_weak_subjectivity_period(network, checkpoint_epoch, stake)


def _validator_churn_epochs(preset: Preset, churn: ChurnLimits, stake: Stake) -> int:
    count = stake.validators
    average = stake.total_active_balance // count // ETH_TO_GWEI
    largest = MAX_EFFECTIVE_BALANCE // ETH_TO_GWEI
    delta = max(churn.min_per_epoch_churn_limit, count // churn.churn_limit_quotient)
    top_ups = MAX_DEPOSITS * preset.slots_per_epoch
    decay = SAFETY_DECAY
    if average * (200 + 12 * decay) <= largest * (200 + 3 * decay):
        return 3 * count * decay * average // (200 * top_ups * (largest - average))
    set_churn = count * (average * (200 + 12 * decay) - largest * (200 + 3 * decay))
    return max(
        set_churn // (600 * delta * (2 * average + largest)),
        count * (200 + 3 * decay) // (600 * top_ups),
    )


def _balance_churn(minimum: int, quotient: int, balance: int) -> int:
    limit = max(minimum, balance // quotient)
    return limit - limit % EFFECTIVE_BALANCE_INCREMENT


def _gloas_churn(churn: ChurnLimits, balance: int) -> int:
    """Exits weigh two thirds, activations one third, consolidations fully (EIP-8061)."""
    exits = _balance_churn(churn.min_per_epoch_churn_limit_electra, churn.churn_limit_quotient_gloas, balance)
    activations = min(churn.max_per_epoch_activation_churn_limit_gloas, exits)
    consolidations = _balance_churn(0, churn.consolidation_churn_limit_quotient, balance)
    return 2 * exits // 3 + activations // 3 + consolidations
