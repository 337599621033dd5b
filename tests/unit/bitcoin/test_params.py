"""The network tables against Bitcoin Core's own."""

from __future__ import annotations

import re
from typing import Any

import pytest

from spvnode.bitcoin.params import NETWORKS, REGTEST, ChainParams
from spvnode.bitcoin.pow import RETARGET_CLAMP, get_compact, target_of
from spvnode.types import hash_from_hex
from tests.support.vectors import document

CORE_NAMES = {
    "bitcoin": "Main",
    "testnet3": "TestNet",
    "testnet4": "TestNet4",
    "signet": "SigNet",
    "regtest": "RegTest",
}
CORE: dict[str, Any] = document("core_28.1_chainparams.json")


def first(value: Any) -> str:
    """The value of an entry that the conversion kept as a list (the default of an option, or a C++ cast)."""
    return str(value[0] if isinstance(value, list) else value)


def test_every_network_has_a_core_table() -> None:
    assert set(NETWORKS) == set(CORE_NAMES)
    assert set(CORE) == set(CORE_NAMES.values())


@pytest.mark.parametrize("name", CORE_NAMES)
def test_numbers_equal_core(name: str) -> None:
    ours, core = NETWORKS[name], CORE[CORE_NAMES[name]]
    assert ours.pow_limit == int(
        core.get("pow_limit", CORE["Main"]["pow_limit"]), 16
    )  # missing in the table of testnet4
    assert ours.default_port == int(core["port"])
    assert (ours.allow_min_difficulty, ours.no_retargeting, ours.bip94) == (
        core["min_diff"] == "true",
        core["no_retarget"] == "true",
        core["bip94"] == "true",
    )
    factors = [int(number) for number in re.findall(r"\d+", core["timespan"])]
    product = 1
    for factor in factors:
        product *= factor
    assert ours.timespan == product
    assert ours.spacing == 600
    heights = [int(first(core[bip])) for bip in ("bip34", "bip66", "bip65")]
    assert [ours.bip34_height, ours.bip66_height, ours.bip65_height] == heights
    assert ours.minimum_chain_work == int(first(core["minimum_chain_work"]) or "0", 16)
    expected = tuple((int(height), hash_from_hex(text)) for height, text in core["checkpoints"])
    assert ours.checkpoints == expected
    if core["magic"]:
        assert ours.magic.hex() == core["magic"]


@pytest.mark.parametrize("name", CORE_NAMES)
def test_genesis(name: str) -> None:
    ours, core = NETWORKS[name], CORE[CORE_NAMES[name]]
    numbers = re.findall(r"\b(?:0x[0-9a-f]+|\d{3,}|\d)\b", core["genesis_args"])
    time, nonce, bits = (int(number, 0) for number in numbers[:3])
    assert int.from_bytes(ours.genesis_header[68:72], "little") == time
    assert int.from_bytes(ours.genesis_header[76:80], "little") == nonce
    assert int.from_bytes(ours.genesis_header[72:76], "little") == bits == ours.pow_limit_bits
    if "genesis" in core:
        assert ours.genesis_hash == hash_from_hex(core["genesis"])
    # testnet4 is not in the table: its own proof of work vouches for every byte of it.
    assert int.from_bytes(ours.genesis_hash, "little") <= ours.pow_limit


@pytest.mark.parametrize("params", NETWORKS.values(), ids=str)
def test_limits_are_consistent(params: ChainParams) -> None:
    assert get_compact(params.pow_limit) == params.pow_limit_bits
    assert target_of(params.pow_limit_bits, params.pow_limit) is not None
    assert params.timespan % params.spacing == 0
    assert list(params.checkpoints) == sorted(params.checkpoints)
    if not params.no_retargeting:  # so that Core's product modulo 2**256 is the exact one
        assert params.pow_limit * params.timespan * RETARGET_CLAMP < 1 << 256


def test_intervals() -> None:
    intervals = {name: params.interval for name, params in NETWORKS.items()}
    assert intervals == {"bitcoin": 2016, "testnet3": 2016, "testnet4": 2016, "signet": 2016, "regtest": 144}


def test_last_checkpoint() -> None:
    bitcoin = NETWORKS["bitcoin"]
    assert bitcoin.last_checkpoint(11110) is None
    assert bitcoin.last_checkpoint(11111) == 11111
    assert bitcoin.last_checkpoint(33332) == 11111
    assert bitcoin.last_checkpoint(10**6) == 295000
    assert NETWORKS["signet"].last_checkpoint(10**6) is None


def test_bad_tables_are_refused() -> None:
    fields = {
        name: getattr(REGTEST, name) for name in REGTEST.__slots__ if name not in ("genesis_hash", "genesis_header")
    }
    with pytest.raises(ValueError, match="genesis_header: 79 bytes, expected 80"):
        ChainParams(genesis_header=bytes(79), **fields)
    with pytest.raises(ValueError, match="hash: 31 bytes, expected 32"):
        hash_from_hex("00" * 31)
