"""The weak-subjectivity period against the tables in the specs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spvnode.ethereum.forks import Fork, ForkSchedule, ScheduledFork
from spvnode.ethereum.networks import ETHEREUM
from spvnode.ethereum.units import Epoch, Version
from spvnode.ethereum.weak_subjectivity import (
    ETH_TO_GWEI,
    Stake,
    compute_weak_subjectivity_period,
    is_within_weak_subjectivity_period,
)

BEFORE_ELECTRA = Epoch(300_000)
ELECTRA = Epoch(400_000)
GLOAS = Epoch(600_000)
WITH_GLOAS = replace(
    ETHEREUM,
    schedule=ForkSchedule(
        (*ETHEREUM.schedule.forks, ScheduledFork("gloas", Version(b"\x07\0\0\0"), GLOAS, Fork.GLOAS)),
    ),
)


@pytest.mark.parametrize(
    ("average", "validators", "epochs"),
    [
        (28, 32768, 504),
        (28, 65536, 752),
        (28, 131072, 1248),
        (28, 262144, 2241),
        (28, 524288, 2241),
        (28, 1048576, 2241),
        (32, 32768, 665),
        (32, 65536, 1075),
        (32, 131072, 1894),
        (32, 262144, 3532),
        (32, 524288, 3532),
        (32, 1048576, 3532),
    ],
)
def test_the_phase0_table(average: int, validators: int, epochs: int) -> None:
    stake = Stake(average * validators * ETH_TO_GWEI, validators)
    assert compute_weak_subjectivity_period(ETHEREUM, BEFORE_ELECTRA, stake) == epochs


@pytest.mark.parametrize(
    ("ether", "epochs"),
    [(2**20, 665), (2**21, 1075), (2**22, 1894), (2**23, 3532), (2**24, 3532), (2**25, 3532)],
)
def test_the_electra_table(ether: int, epochs: int) -> None:
    assert compute_weak_subjectivity_period(ETHEREUM, ELECTRA, Stake(ether * ETH_TO_GWEI)) == epochs


def test_a_low_average_balance_counts_top_ups() -> None:
    """The specs' other branch: 3 N D t / (200 Delta (T - t)), here with t = 16."""
    stake = Stake(16 * 65536 * ETH_TO_GWEI, 65536)
    expected = 256 + 3 * 65536 * 10 * 16 // (200 * 16 * 32 * 16)
    assert compute_weak_subjectivity_period(ETHEREUM, BEFORE_ELECTRA, stake) == expected


@pytest.mark.parametrize("epoch", [BEFORE_ELECTRA, ELECTRA, GLOAS])
def test_the_period_never_shrinks_as_the_stake_grows(epoch: Epoch) -> None:
    periods = [
        compute_weak_subjectivity_period(WITH_GLOAS, epoch, Stake(2**n * 32 * ETH_TO_GWEI, 2**n)) for n in range(14, 22)
    ]
    assert periods == sorted(periods)
    assert periods[0] > 256


def test_gloas_weighs_three_churns() -> None:
    """32 M ETH: exits 1,024, activations 256, consolidations 512 ETH an epoch."""
    total = 2**25 * ETH_TO_GWEI
    delta = 2 * 1024 * ETH_TO_GWEI // 3 + 256 * ETH_TO_GWEI // 3 + 512 * ETH_TO_GWEI
    expected = 256 + 10 * total // (200 * delta)
    assert compute_weak_subjectivity_period(WITH_GLOAS, GLOAS, Stake(total)) == expected


def test_within() -> None:
    assert is_within_weak_subjectivity_period(ETHEREUM, ELECTRA, Epoch(ELECTRA + 3532))
    assert not is_within_weak_subjectivity_period(ETHEREUM, ELECTRA, Epoch(ELECTRA + 3533))
    assert is_within_weak_subjectivity_period(ETHEREUM, ELECTRA, Epoch(ELECTRA - 5))
