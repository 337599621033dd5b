"""Fork schedules: versions, digests with blob-parameter forks, the horizon; and the networks built on them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spvnode.ethereum.forks import (
    MAX_SCHEDULE_ENTRIES,
    BlobParameters,
    Fork,
    ForkSchedule,
    HorizonState,
    ScheduledFork,
)
from spvnode.ethereum.headers import fork_at_slot
from spvnode.ethereum.networks import (
    ETHEREUM,
    HOODI,
    NETWORKS,
    SEPOLIA,
    TABLE_GOOD_UNTIL,
    Network,
    fork_digests,
)
from spvnode.ethereum.units import (
    FAR_FUTURE_EPOCH,
    Epoch,
    ForkDigest,
    Period,
    Root,
    Slot,
    Version,
    compute_epoch_at_slot,
    compute_start_slot_at_epoch,
    compute_start_slot_at_sync_committee_period,
    compute_sync_committee_period,
    compute_sync_committee_period_at_slot,
)

PUBLISHED_DIGESTS = {
    "ethereum": "b5303f2a afcaaba0 4a26c58b bba4da96 6a95a1a9 ad532ceb cc2c5cdb cb0d1acc 8c9f62fe",
    "sepolia": "a8fee8ee 60725ca1 36fa5013 47eb72b3 d31f6191 14045b5a 7e0d3447 fd32b622 74d01459",
}


def schedule_of(*entries: tuple[str, int], **options: object) -> ForkSchedule:
    """Fork versions are 0x00000000, 0x01000000, ... in the order given."""
    known = {fork.value: fork for fork in Fork}
    forks = tuple(
        ScheduledFork(name, Version(bytes([number % 256, 0, 0, 0])), Epoch(epoch), known.get(name))
        for number, (name, epoch) in enumerate(entries)
    )
    return ForkSchedule(forks, **options)  # type: ignore[arg-type]


SMALL = (("phase0", 0), ("altair", 0), ("bellatrix", 0), ("capella", 5), ("deneb", 5), ("electra", 9))


@pytest.mark.parametrize("name", PUBLISHED_DIGESTS)
def test_digests_of_the_public_networks(name: str) -> None:
    network = NETWORKS[name]
    digests = network.schedule.digests(network.genesis_validators_root)
    assert " ".join(entry.digest.hex() for entry in digests) == PUBLISHED_DIGESTS[name]
    assert digests[-1].fork is Fork.FULU


def test_a_context_digest_names_its_fork() -> None:
    digests = fork_digests(ETHEREUM)
    assert digests[ForkDigest(bytes.fromhex("8c9f62fe"))].epoch == 419_072
    assert [entry.fork for entry in digests.values()][4:] == [Fork.DENEB, Fork.ELECTRA, Fork.FULU, Fork.FULU, Fork.FULU]
    assert ForkDigest(bytes(4)) not in digests
    assert fork_digests(ETHEREUM) is digests


def test_forks_that_share_an_epoch_count_as_the_last_of_them() -> None:
    entries = HOODI.schedule.digests(HOODI.genesis_validators_root)
    assert [entry.fork for entry in entries] == [Fork.DENEB, Fork.ELECTRA, Fork.FULU, Fork.FULU, Fork.FULU]
    assert HOODI.schedule.boundaries() == (0, 2048, 50688, 52480, 54016)
    schedule = schedule_of(*SMALL)
    assert schedule.entry_at(Epoch(4)).fork is Fork.BELLATRIX
    assert schedule.entry_at(Epoch(5)).fork is Fork.DENEB


def test_blob_parameters_of_the_specs_test() -> None:
    """Values of the reference test of compute_fork_digest (zero genesis root, all forks at genesis up to fulu at 9)."""
    blobs = tuple(
        BlobParameters(Epoch(epoch), count)
        for epoch, count in ((9, 9), (100, 100), (150, 175), (200, 200), (250, 275), (300, 300))
    )
    forks = tuple(
        ScheduledFork(fork.value, Version(bytes([number, 0, 0, 0])), Epoch(9 if fork is Fork.FULU else 0), fork)
        for number, fork in enumerate(Fork)
        if fork is not Fork.GLOAS
    )
    schedule = ForkSchedule(forks, blobs)
    root = Root(bytes(32))
    assert schedule.compute_fork_digest(root, Epoch(9)).hex() == "ab3ae6c8"
    assert schedule.compute_fork_digest(root, Epoch(99)).hex() == "ab3ae6c8"
    assert schedule.compute_fork_digest(root, Epoch(100)).hex() == "df67557b"
    assert schedule.next_boundary(Epoch(99)) == 100
    assert schedule.next_boundary(Epoch(300)) is None


def test_before_the_first_blob_fork_electras_limit_counts() -> None:
    schedule = schedule_of(*SMALL, ("fulu", 12), blob_schedule=(BlobParameters(Epoch(20), 15),))
    assert schedule.get_blob_parameters(Epoch(12)) == BlobParameters(Epoch(9), 9)
    assert schedule.get_blob_parameters(Epoch(20)) == BlobParameters(Epoch(20), 15)


@pytest.mark.parametrize(
    "entries",
    [
        (),
        (("phase0", 1),),
        (("phase0", 0), ("altair", 9), ("bellatrix", 8)),
        (("phase0", 0), *((f"f{n}", n) for n in range(MAX_SCHEDULE_ENTRIES))),
    ],
    ids=["empty", "late-start", "out-of-order", "too-many"],
)
def test_wrong_schedules_are_refused(entries: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(ValueError, match=r"forks: "):
        schedule_of(*entries)


def test_wrong_blob_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="blob_schedule: epochs do not ascend"):
        schedule_of(*SMALL, blob_schedule=(BlobParameters(Epoch(2), 1), BlobParameters(Epoch(1), 1)))


def test_the_newest_layout_is_of_the_last_fork_we_understand() -> None:
    assert schedule_of(*SMALL).newest_layout is Fork.ELECTRA
    assert schedule_of(*SMALL, ("fulu", 12)).newest_layout is Fork.ELECTRA
    assert schedule_of(*SMALL, ("fulu", 12), ("gloas", 13)).newest_layout is Fork.GLOAS
    assert schedule_of(*SMALL, ("heze", 20)).newest_layout is Fork.ELECTRA
    with pytest.raises(ValueError, match="light-client data"):
        _ = schedule_of(("phase0", 0)).newest_layout


def test_an_unknown_fork_ends_the_horizon() -> None:
    schedule = schedule_of(*SMALL, ("heze", 100))
    assert schedule.horizon == 99
    states = [schedule.horizon_state(Epoch(epoch), 10) for epoch in (89, 90, 99, 100)]
    assert states == [HorizonState.CLEAR, HorizonState.NEAR, HorizonState.NEAR, HorizonState.PASSED]
    assert schedule.digests(Root(bytes(32)))[-1].fork is None
    network = replace(ETHEREUM, schedule=schedule)
    assert fork_at_slot(network, Slot(99 * 32)) is Fork.ELECTRA
    assert fork_at_slot(network, Slot(100 * 32)) is None


def test_without_an_end_the_horizon_is_clear() -> None:
    assert schedule_of(*SMALL).horizon is None
    assert schedule_of(*SMALL).horizon_state(Epoch(10**9), 10) is HorizonState.CLEAR


def test_the_table_ends_where_nobody_vouches_any_more() -> None:
    schedule = schedule_of(*SMALL, ("heze", 100), known_until=Epoch(60))
    assert schedule.horizon == 60
    assert schedule.horizon_state(Epoch(61), 10) is HorizonState.PASSED


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_public_networks_warn_four_weeks_ahead(network: Network) -> None:
    horizon = network.schedule.horizon
    assert horizon is not None
    end = network.start_of(compute_start_slot_at_epoch(network.preset, horizon))
    assert TABLE_GOOD_UNTIL - 384 < end <= TABLE_GOOD_UNTIL
    warned = compute_epoch_at_slot(network.preset, network.slot_at(end - 27 * 86_400))
    clear = compute_epoch_at_slot(network.preset, network.slot_at(end - 29 * 86_400))
    assert network.schedule.horizon_state(warned, network.horizon_warning_epochs) is HorizonState.NEAR
    assert network.schedule.horizon_state(clear, network.horizon_warning_epochs) is HorizonState.CLEAR


def test_a_fork_that_peers_announce_moves_the_horizon_nearer() -> None:
    schedule = schedule_of(*SMALL, known_until=Epoch(500))
    announced = schedule.with_announced_fork(Version(b"\x09\0\0\0"), Epoch(300))
    assert announced.horizon == 299
    assert announced.forks == schedule.forks
    assert announced.with_announced_fork(Version(b"\x0a\0\0\0"), Epoch(400)).horizon == 299
    assert schedule.with_announced_fork(Version(b"\x01\0\0\0"), Epoch(3)) is schedule
    assert schedule.with_announced_fork(Version(b"\x09\0\0\0"), FAR_FUTURE_EPOCH) is schedule
    assert schedule_of(*SMALL).with_announced_fork(Version(b"\x09\0\0\0"), Epoch(0)).horizon == 0


def test_time_arithmetic() -> None:
    preset = ETHEREUM.preset
    assert ETHEREUM.slot_at(ETHEREUM.genesis_time - 100) == 0
    assert ETHEREUM.slot_at(ETHEREUM.genesis_time + 11.9) == 0
    assert ETHEREUM.slot_at(ETHEREUM.genesis_time + 12) == 1
    assert ETHEREUM.start_of(Slot(14_562_031)) == 1_781_568_395
    assert compute_epoch_at_slot(preset, Slot(64)) == 2
    assert compute_sync_committee_period(preset, Epoch(256)) == 1
    assert compute_sync_committee_period_at_slot(preset, Slot(8191)) == 0
    assert compute_sync_committee_period_at_slot(preset, Slot(8192)) == 1
    assert compute_start_slot_at_sync_committee_period(preset, Period(1777)) == 1777 * 8192
    assert SEPOLIA.preset.update_timeout == 8192
