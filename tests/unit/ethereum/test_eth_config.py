"""config.yaml of a devnet becomes a network, and mistakes in it are named."""

from __future__ import annotations

import pytest

from spvnode.errors import InputError
from spvnode.ethereum.config import MAX_CONFIG_BYTES, load_config
from spvnode.ethereum.forks import MAX_SCHEDULE_ENTRIES, BlobParameters, Fork
from spvnode.ethereum.networks import ETHEREUM, Network
from spvnode.ethereum.presets import MINIMAL
from spvnode.ethereum.units import Root

ROOT = Root(b"\x05" * 32)
DEVNET = """
# Kurtosis writes files like this one
PRESET_BASE: 'minimal'
CONFIG_NAME: devnet
MIN_GENESIS_TIME: 1600000000
GENESIS_DELAY: 60
GENESIS_FORK_VERSION: 0x10000038
ALTAIR_FORK_VERSION: 0x20000038
ALTAIR_FORK_EPOCH: 0
BELLATRIX_FORK_VERSION: "0x30000038"
BELLATRIX_FORK_EPOCH: 0
CAPELLA_FORK_VERSION: 0x40000038
CAPELLA_FORK_EPOCH: 0
DENEB_FORK_VERSION: 0x50000038
DENEB_FORK_EPOCH: 0
ELECTRA_FORK_VERSION: 0x60000038
ELECTRA_FORK_EPOCH: 3
FULU_FORK_VERSION: 0x70000038
FULU_FORK_EPOCH: 5
GLOAS_FORK_VERSION: 0x80000038
GLOAS_FORK_EPOCH: 18446744073709551615
SECONDS_PER_SLOT: 3
CHURN_LIMIT_QUOTIENT: 32
MAX_BLOBS_PER_BLOCK_ELECTRA: 12
TERMINAL_TOTAL_DIFFICULTY: 115792089237316195423570985008687907853269984665640564039457584007913129638912
BLOB_SCHEDULE:
  - EPOCH: 9
    MAX_BLOBS_PER_BLOCK: 15
  - {EPOCH: 7, MAX_BLOBS_PER_BLOCK: 13}
"""


def load(text: str) -> Network:
    return load_config(text, name="devnet", genesis_validators_root=ROOT)


def test_a_devnet() -> None:
    network = load(DEVNET)
    assert network.preset is MINIMAL
    assert network.genesis_time == 1_600_000_060
    assert network.slot_duration_ms == 3_000
    assert network.churn.churn_limit_quotient == 32
    assert network.churn.min_per_epoch_churn_limit == 4
    schedule = network.schedule
    assert [entry.fork for entry in schedule.forks] == list(Fork)[:-1]
    assert schedule.compute_fork_version(schedule.epoch_of(Fork.FULU)) == bytes.fromhex("70000038")
    assert schedule.blob_schedule == (BlobParameters(7, 13), BlobParameters(9, 15))  # type: ignore[arg-type]
    assert schedule.max_blobs_per_block_electra == 12
    assert schedule.horizon is None
    assert load_config(DEVNET, name="d", genesis_validators_root=ROOT, genesis_time=5).genesis_time == 5


def test_a_fork_that_we_do_not_know_ends_the_horizon() -> None:
    network = load(f"{DEVNET}\nHEZE_FORK_VERSION: 0x90000038\nHEZE_FORK_EPOCH: 40\n")
    assert network.schedule.horizon == 39
    assert network.schedule.forks[-1].name == "heze"


def test_an_unscheduled_fork_is_left_out() -> None:
    network = load(f"{DEVNET}\nEIP9999_FORK_EPOCH: 18446744073709551615\n")
    assert network.schedule.horizon is None


def test_slot_duration_in_milliseconds_comes_first() -> None:
    assert load(f"{DEVNET}\nSLOT_DURATION_MS: 2500\n").slot_duration_ms == 2500


def test_the_table_of_mainnet_reads_back() -> None:
    schedule = ETHEREUM.schedule
    lines = ["PRESET_BASE: mainnet", "GENESIS_FORK_VERSION: 0x00000000", "SECONDS_PER_SLOT: 12", "BLOB_SCHEDULE:"]
    lines += [
        f"  - EPOCH: {entry.epoch}\n    MAX_BLOBS_PER_BLOCK: {entry.max_blobs_per_block}"
        for entry in schedule.blob_schedule
    ]
    for entry in schedule.forks[1:]:
        lines.append(f"{entry.name.upper()}_FORK_VERSION: 0x{entry.version.hex()}")
        lines.append(f"{entry.name.upper()}_FORK_EPOCH: {entry.epoch}")
    network = load_config(
        "\n".join(lines),
        name="ethereum",
        genesis_validators_root=ETHEREUM.genesis_validators_root,
        genesis_time=ETHEREUM.genesis_time,
    )
    assert network.schedule.forks == schedule.forks
    assert network.schedule.blob_schedule == schedule.blob_schedule
    assert network.churn == ETHEREUM.churn


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("PRESET_BASE: 'minimal'", "PRESET_BASE: gnosis", "PRESET_BASE"),
        ("PRESET_BASE: 'minimal'", "", "PRESET_BASE"),
        ("GENESIS_FORK_VERSION: 0x10000038", "GENESIS_FORK_VERSION: 0x100000", "GENESIS_FORK_VERSION"),
        ("ALTAIR_FORK_VERSION: 0x20000038", "ALTAIR_FORK_VERSION: twenty", "ALTAIR_FORK_VERSION"),
        ("ALTAIR_FORK_VERSION: 0x20000038", "", "ALTAIR_FORK_VERSION"),
        ("ALTAIR_FORK_EPOCH: 0", "ALTAIR_FORK_EPOCH: -1", "ALTAIR_FORK_EPOCH"),
        ("ALTAIR_FORK_EPOCH: 0", "ALTAIR_FORK_EPOCH: [0]", "ALTAIR_FORK_EPOCH"),
        ("ALTAIR_FORK_EPOCH: 0", f"ALTAIR_FORK_EPOCH: 1{'0' * 90}", "ALTAIR_FORK_EPOCH"),
        ("MIN_GENESIS_TIME: 1600000000", "", "MIN_GENESIS_TIME"),
        ("SECONDS_PER_SLOT: 3", "", "SECONDS_PER_SLOT"),
        ("SECONDS_PER_SLOT: 3", "SECONDS_PER_SLOT: 0", "SECONDS_PER_SLOT"),
        ("  - EPOCH: 9", "  - EPOCH: nine", "EPOCH"),
        ("  - EPOCH: 9", f"  - EPOCH: {2**64}", "EPOCH"),
        ("BLOB_SCHEDULE:", "BLOB_SCHEDULE: many\nOTHER:", "BLOB_SCHEDULE"),
        ("BLOB_SCHEDULE:", f"BLOB_SCHEDULE: [{'{EPOCH: 1}, ' * (MAX_SCHEDULE_ENTRIES + 1)}]\nX:", "BLOB_SCHEDULE"),
        ("# Kurtosis", "\t: [", "config"),
        ("# Kurtosis", "- a\n#", "config"),
        ("# Kurtosis", f"# {'x' * MAX_CONFIG_BYTES}", "config"),
        ("# Kurtosis", f"deep: {'[' * 5000}\n#", "config"),
    ],
)
def test_mistakes_are_named(old: str, new: str, field: str) -> None:
    assert old in DEVNET
    with pytest.raises(InputError) as caught:
        load(DEVNET.replace(old, new, 1))
    assert caught.value.field == field


@pytest.mark.parametrize("text", ["", "[]", "just words", "null"])
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="config: is not a table"):
        load(text)


def test_a_short_genesis_root_is_refused() -> None:
    with pytest.raises(InputError, match="genesis_validators_root: 31 bytes"):
        load_config(DEVNET, name="devnet", genesis_validators_root=Root(bytes(31)))


def test_the_same_fork_twice_in_disorder_is_refused() -> None:
    with pytest.raises(InputError, match="forks"):
        load(DEVNET + "".join(f"\nX{n}_FORK_EPOCH: {n}\nX{n}_FORK_VERSION: 0x00000001" for n in range(1100)))
