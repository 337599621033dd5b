"""Compact bits, work and retarget against Bitcoin Core's test tables and against their definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spvnode.bitcoin.params import BITCOIN
from spvnode.bitcoin.pow import (
    MAX_TARGET,
    block_proof,
    calculate_next_work,
    difficulty,
    get_compact,
    set_compact,
    target_of,
    total_proof,
)
from tests.support.vectors import document

COMPACT = document("core_nbits_compact.json")
NEXT_WORK = document("core_next_work.json")


@pytest.mark.parametrize("row", [row for row in COMPACT if "nbits" in row], ids=lambda row: f"{row['nbits']:08x}")
def test_compact_decodes_as_core(row: dict[str, object]) -> None:
    compact = set_compact(int(str(row["nbits"])))
    assert (compact.negative, compact.overflow) == (row["negative"], row["overflow"])
    if not compact.overflow:
        assert compact.target == int(str(row["target"]), 16)
        sign = 0x00800000 if row["recompact_negative"] else 0
        assert get_compact(compact.target) | sign == row["recompact"]


def test_compact_encodes_without_sign() -> None:
    row = next(row for row in COMPACT if "nbits" not in row)
    assert get_compact(int(row["target"], 16)) == row["recompact"]


@pytest.mark.parametrize(
    "bits",
    [
        0x00000000,  # zero
        0x1D000000,  # zero mantissa
        0x01003456,  # zero once shifted
        0x1D80FFFF,  # negative
        0x04923456,  # negative
        0x23000001,  # overflow: size 35
        0x22000100,  # overflow: size 34, two mantissa bytes
        0x21010000,  # overflow: size 33, three mantissa bytes
        0xFF123456,  # overflow
        0x1D010000,  # just above the limit of mainnet
        0x207FFFFF,  # the limit of regtest
    ],
    ids=hex,
)
def test_bits_that_no_header_may_carry(bits: int) -> None:
    assert target_of(bits, BITCOIN.pow_limit) is None


@pytest.mark.parametrize("bits", [0x22000080, 0x21008000, 0x20123456])
def test_largest_sizes_do_not_overflow(bits: int) -> None:
    compact = set_compact(bits)
    assert not compact.overflow
    assert compact.target == (bits & 0x7FFFFF) << 8 * ((bits >> 24) - 3)


def test_limit_itself_is_allowed() -> None:
    assert target_of(0x1D00FFFF, BITCOIN.pow_limit) == 0xFFFF << 208


@given(st.integers(0, MAX_TARGET))
def test_compact_keeps_the_top(target: int) -> None:
    compact = set_compact(get_compact(target))
    assert not compact.negative
    assert not compact.overflow
    assert compact.target <= target
    assert target - compact.target <= target >> 15
    assert get_compact(compact.target) == get_compact(target)


@given(st.integers(1, MAX_TARGET))
def test_work_is_two_to_the_256_over_target_plus_one(target: int) -> None:
    bits = get_compact(target)
    rounded = set_compact(bits).target
    # Core: (~target / (target + 1)) + 1, in 256 bits.
    assert block_proof(bits) == (~rounded & MAX_TARGET) // (rounded + 1) + 1


@pytest.mark.parametrize("bits", [0, 0x1D80FFFF, 0xFF123456])
def test_no_work_without_target(bits: int) -> None:
    assert block_proof(bits) == 0


def test_genesis_work() -> None:
    assert block_proof(0x1D00FFFF) == 0x100010001
    assert block_proof(0x207FFFFF) == 2


@given(st.lists(st.sampled_from([0x1D00FFFF, 0x207FFFFF, 0x1B0404CB, 0])))
def test_total_work_is_the_sum(all_bits: list[int]) -> None:
    assert total_proof(all_bits) == sum(map(block_proof, all_bits))


@pytest.mark.parametrize("row", NEXT_WORK, ids=lambda row: row["name"])
def test_retarget_as_core(row: dict[str, int]) -> None:
    bits = calculate_next_work(
        row["last_nbits"],
        row["first_block_time"],
        row["last_time"],
        timespan=BITCOIN.timespan,
        pow_limit=BITCOIN.pow_limit,
    )
    assert bits == row["expected_nbits"]
    assert bits != row.get("not_permitted_nbits")


@pytest.mark.parametrize(
    ("seconds", "counted"),
    [(-5, 302_400), (302_399, 302_400), (302_401, 302_401), (4_838_399, 4_838_399), (4_838_401, 4_838_400)],
)
def test_retarget_clamp(seconds: int, counted: int) -> None:
    bits = calculate_next_work(
        0x1B0404CB, 10**9, 10**9 + seconds, timespan=BITCOIN.timespan, pow_limit=BITCOIN.pow_limit
    )
    assert bits == get_compact(set_compact(0x1B0404CB).target * counted // 1_209_600)


@pytest.mark.parametrize(
    ("bits", "printed"),
    # Values of Bitcoin Core's src/test/blockchain_tests.cpp.
    [
        (0x1F111111, 0.000001),
        (0x1EF88F6F, 0.000016),
        (0x1DF88F6F, 0.004023),
        (0x1CF88F6F, 1.029916),
        (0x12345678, 5913134931067755359633408.0),
        (0x1D00FFFF, 1.0),
        (0, 0.0),
    ],
)
def test_difficulty_as_core_prints_it(bits: int, printed: float) -> None:
    assert difficulty(bits) == pytest.approx(printed, abs=0.0000005, rel=1e-12)
