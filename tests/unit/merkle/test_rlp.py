"""RLP: the official vectors, and that every value has one encoding."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkle import rlp
from merkle.errors import ProofError
from tests.support.small_trie import rlp as other_rlp

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/ethereum/eip1186/rlp.json").read_text())
ITEMS = st.recursive(st.binary(max_size=70), lambda inner: st.lists(inner, max_size=5).map(tuple), max_leaves=12)


def meant(value: Any) -> rlp.Item:
    """What the JSON of a vector stands for: strings, numbers (``#`` before those too large for JSON), lists."""
    if isinstance(value, list):
        return tuple(meant(part) for part in value)
    if isinstance(value, str) and not value.startswith("#"):
        return value.encode()
    number = int(value[1:] if isinstance(value, str) else value)
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


@pytest.mark.parametrize("name", VECTORS["valid"])
def test_official_values(name: str) -> None:
    case = VECTORS["valid"][name]
    data = bytes.fromhex(case["out"][2:])
    assert rlp.encode(meant(case["in"])) == data
    assert rlp.decode(data) == meant(case["in"])


@pytest.mark.parametrize("name", VECTORS["invalid"])
def test_official_refusals(name: str) -> None:
    with pytest.raises(ProofError):
        rlp.decode(bytes.fromhex(VECTORS["invalid"][name].removeprefix("0x")))


@given(ITEMS)
def test_round_trip_against_another_encoder(item: rlp.Item) -> None:
    data = rlp.encode(item)
    assert data == other_rlp(as_lists(item))
    assert rlp.decode(data) == item


def as_lists(item: rlp.Item) -> Any:
    return item if isinstance(item, bytes) else [as_lists(part) for part in item]


@given(st.binary(max_size=90))
def test_any_bytes_are_the_one_encoding_of_a_value_or_refused(data: bytes) -> None:
    try:
        item = rlp.decode(data)
    except ProofError:
        return
    assert rlp.encode(item) == data


@given(ITEMS, st.data())
def test_changed_bytes_are_another_value_or_refused(item: rlp.Item, data: st.DataObject) -> None:
    encoded = bytearray(rlp.encode(item))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    with suppress(ProofError):
        assert rlp.decode(bytes(encoded)) != item


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("", "cut short"),
        ("8100", "single byte"),
        ("817f", "single byte"),
        ("b800", "too long"),
        ("b837" + "11" * 55, "too long"),
        ("b90038" + "11" * 56, "too long"),
        ("f80180", "too long"),
        ("83aabb", "cut short"),
        ("c281", "cut short"),
        ("c2820102", "cut short"),
        ("b9", "cut short"),
        ("bfffffffffffffffff", "cut short"),
        ("8080", "followed"),
    ],
)
def test_refusals_name_the_problem(data: str, problem: str) -> None:
    with pytest.raises(ProofError, match=problem):
        rlp.decode(bytes.fromhex(data))


def test_a_part_does_not_reach_out_of_its_list() -> None:
    with pytest.raises(ProofError, match="cut short"):
        rlp.decode(bytes.fromhex("c4c2830102"))


@pytest.mark.parametrize(("levels", "holds"), [(rlp.MAX_NESTING, True), (rlp.MAX_NESTING + 1, False), (5_000, False)])
def test_nesting_is_bounded(levels: int, holds: bool) -> None:
    data = b"\xc0"
    for _ in range(levels - 1):
        head = bytes([0xC0 + len(data)]) if len(data) < 56 else b"\xfb" + len(data).to_bytes(4, "big")
        data = head.replace(b"\xfb\x00\x00\x00", b"\xf8").replace(b"\xfb\x00\x00", b"\xf9") + data
    if holds:
        assert rlp.encode(rlp.decode(data)) == data
    else:
        with pytest.raises(ProofError, match="nested"):
            rlp.decode(data)


def test_numbers() -> None:
    assert rlp.encode_uint(0) == b"\x80"
    assert rlp.encode_uint(127) == b"\x7f"
    assert rlp.encode_uint(1 << 64) == b"\x89\x01" + bytes(8)
    assert rlp.decode_uint(b"", 8) == 0
    assert rlp.decode_uint(b"\xff", 8) == 255
    for bad in (b"\x00", b"\x00\x01", b"\x01\x00", (b"\x01",)):
        with pytest.raises(ProofError):
            rlp.decode_uint(bad, 8)


def test_a_list_and_nothing_else() -> None:
    assert rlp.decode_list(b"\xc1\x80") == (b"",)
    with pytest.raises(ProofError, match="string where a list"):
        rlp.decode_list(b"\x80")
