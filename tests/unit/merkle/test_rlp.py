"""RLP: values and refusals by the rules of the Yellow Paper's Appendix B, and another implementation's opinion."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import rlp as pypi_rlp
from hypothesis import example, given
from hypothesis import strategies as st

from merkle import rlp
from merkle.errors import ProofError
from merkle.patricia import EMPTY_ROOT, keccak256
from tests.support.small_trie import rlp as other_rlp

ITEMS = st.recursive(st.binary(max_size=70), lambda inner: st.lists(inner, max_size=5).map(tuple), max_leaves=12)
SIXTEEN = b"sixteen letters!"

VALUES: list[tuple[str, rlp.Item, str]] = [
    ("empty string", b"", "80"),
    ("byte 00", b"\x00", "00"),
    ("byte 7f, the last that stands for itself", b"\x7f", "7f"),
    ("byte 80, the first with a head", b"\x80", "8180"),
    ("byte ff", b"\xff", "81ff"),
    ("two bytes", b"\x04\x00", "820400"),
    ("a word", b"cat", "83636174"),
    ("zeros are kept", bytes(3), "83000000"),
    ("55 bytes, the longest short string", b"a" * 55, "b7" + "61" * 55),
    ("56 bytes, the shortest long string", b"a" * 56, "b838" + "61" * 56),
    ("255 bytes, one byte of length", b"a" * 255, "b8ff" + "61" * 255),
    ("256 bytes, two bytes of length", b"a" * 256, "b90100" + "61" * 256),
    ("65,536 bytes, three bytes of length", b"a" * 65_536, "ba010000" + "61" * 65_536),
    ("empty list", (), "c0"),
    ("list of an empty string", (b"",), "c180"),
    ("list of an empty list", ((),), "c1c0"),
    ("words", (b"cat", b"dog"), "c88363617483646f67"),
    ("the numbers 0, 1, 1024", (b"", b"\x01", b"\x04\x00"), "c58001820400"),
    ("three, as sets", ((), ((),), ((), ((),))), "c7c0c1c0c3c0c1c0"),
    ("mixed", (b"\x7f", (b"\x80", ()), b"cat"), "c97fc38180c083636174"),
    ("55 bytes of parts, the longest short list", (b"a",) * 55, "f7" + "61" * 55),
    ("56 bytes of parts, the shortest long list", (b"a",) * 56, "f838" + "61" * 56),
    ("lists in a long list", ((SIXTEEN,),) * 16, "f90120" + ("d190" + SIXTEEN.hex()) * 16),
]

REFUSED: list[tuple[str, str]] = [
    ("nothing", ""),
    # Appendix B (180): a byte under 128 is its own encoding.
    ("byte 00 with a head", "8100"),
    ("byte 01 with a head", "8101"),
    ("byte 7f with a head", "817f"),
    ("byte 00 with a head, in a list", "c28100"),
    # (180), (183): the long forms are for 56 bytes and more.
    ("no bytes, long form", "b800"),
    ("1 byte, long form", "b80180"),
    ("55 bytes, long form", "b837" + "61" * 55),
    ("no parts, long form", "f800"),
    ("55 bytes of parts, long form", "f837" + "61" * 55),
    ("3 bytes, long form, in a list", "c5b803636174"),
    # (181): a length has no leading zeros.
    ("length 00", "b900" + "00"),
    ("length 0038", "b90038" + "61" * 56),
    ("length 0100 in three bytes", "ba000100" + "61" * 256),
    ("list of length 0038", "f90038" + "61" * 56),
    ("length in eight bytes, seven of them zero", "bf0000000000000038" + "61" * 56),
    # What is announced is there.
    ("string head alone", "81"),
    ("string a byte short", "836361"),
    ("longest short string, nothing there", "b7"),
    ("length missing", "b8"),
    ("length a byte short", "b901"),
    ("long string a byte short", "b838" + "61" * 55),
    ("list head alone", "c1"),
    ("list a byte short", "c88363617483646f"),
    ("list's length missing", "f8"),
    ("list's length a byte short", "f901"),
    ("long list a byte short", "f838" + "61" * 55),
    ("length of 2^32 - 1", "bbffffffff" + "61" * 8),
    ("length of 2^63", "bf8000000000000000" + "61" * 8),
    ("length of 2^64 - 1", "bfffffffffffffffff" + "61" * 8),
    ("list's length of 2^64 - 1", "ffffffffffffffffff" + "c0" * 8),
    # A part lies within its list.
    ("a part longer than its list", "c28363" + "6174"),
    ("a part's length outside of its list", "c1b8" + "38" + "61" * 56),
    ("a list longer than the one it lies in", "c2c38080" + "80"),
    # One value, and nothing after it.
    ("byte and byte", "0000"),
    ("string and byte", "8363617400"),
    ("empty string and empty string", "8080"),
    ("list and empty string", "c080"),
    ("list and list", "c0c0"),
]


@pytest.mark.parametrize(("item", "data"), [case[1:] for case in VALUES], ids=[case[0] for case in VALUES])
def test_values_by_the_rules(item: rlp.Item, data: str) -> None:
    assert rlp.encode(item).hex() == data
    assert rlp.decode(bytes.fromhex(data)) == item
    assert pypi_rlp.encode(item).hex() == data


@pytest.mark.parametrize("data", [case[1] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refusals_by_the_rules(data: str) -> None:
    with pytest.raises(ProofError):
        rlp.decode(bytes.fromhex(data))


def test_the_genesis_block_of_the_yellow_paper() -> None:
    """Appendix I; the hash of its header's encoding is the one that the whole network calls block 0."""
    no_uncles = keccak256(rlp.encode(()))
    state_root = bytes.fromhex("d7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544")
    extra = bytes.fromhex("11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa")
    roots = (state_root, EMPTY_ROOT, EMPTY_ROOT, bytes(256))
    numbers = tuple(number.to_bytes((number.bit_length() + 7) // 8, "big") for number in (2**34, 0, 5000, 0, 0))
    header = (bytes(32), no_uncles, bytes(20), *roots, *numbers, extra, bytes(32), (0x42).to_bytes(8, "big"))
    digest = keccak256(rlp.encode(header))
    assert digest.hex() == "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"
    assert rlp.decode(rlp.encode(header)) == header


@given(ITEMS)
def test_round_trip_against_other_encoders(item: rlp.Item) -> None:
    data = rlp.encode(item)
    assert data == other_rlp(as_lists(item)) == pypi_rlp.encode(item)
    assert rlp.decode(data) == item
    assert pypi_rlp.decode(data) == as_lists(item)


def as_lists(item: rlp.Item) -> Any:
    return item if isinstance(item, bytes) else [as_lists(part) for part in item]


@given(st.binary(max_size=90))
def test_any_bytes_are_the_one_encoding_of_a_value_or_refused(data: bytes) -> None:
    try:
        item = rlp.decode(data)
    except ProofError:
        return
    assert rlp.encode(item) == data


def judged_by_another(data: bytes) -> Any:
    """What PyPI's ``rlp`` makes of it; None where it refuses."""
    try:
        return pypi_rlp.decode(data)
    except pypi_rlp.DecodingError:
        return None


def broken(item: rlp.Item, at: int, by: int) -> bytes:
    """Encoded, and a byte of it changed: nearly always near the heads, where the rules are."""
    data = bytearray(rlp.encode(item))
    data[at % len(data)] ^= by
    return bytes(data)


@given(st.one_of(st.binary(max_size=90), st.builds(broken, ITEMS, st.integers(0, 200), st.integers(1, 255))))
@example(bytes.fromhex("c28100"))
def test_what_another_decoder_refuses_is_refused_and_nothing_else(data: bytes) -> None:
    other = judged_by_another(data)
    if other is None:
        with pytest.raises(ProofError):
            rlp.decode(data)
    else:
        assert as_lists(rlp.decode(data)) == other


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
