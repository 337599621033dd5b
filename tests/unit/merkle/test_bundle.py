"""One bundle, one encoding: what is written can be read back, and nothing else can be read at all."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkle.bundle import (
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_JSON_BYTES,
    MAX_CHAINWORK,
    MAX_HEIGHT,
    MAX_NETWORK_NAME,
    MAX_NODES,
    MAX_TIME,
    HeaderBundle,
    decode,
    encode,
    from_json,
    to_json,
)
from merkle.errors import ProofError
from merkle.shape import multiproof_nodes
from merkle.verify import verify
from tests.support.proof_maker import mainnet, regtest

VECTORS = Path(__file__).parents[2] / "vectors" / "merkle"
BUNDLE = mainnet().bundle(12_345, 32_255, chainwork=32_256 * 4_295_032_833)


def refused(field: str, call: Callable[[], object]) -> ProofError:
    with pytest.raises(ProofError) as caught:
        call()
    assert caught.value.field == field
    return caught.value


@st.composite
def bundles(draw: st.DrawFn) -> HeaderBundle:
    """Well-formed, not true."""
    hashes = st.binary(min_size=32, max_size=32)
    heights = st.one_of(st.integers(0, 40), st.integers(0, MAX_HEIGHT))
    start, height, tip = sorted(draw(st.lists(heights, min_size=3, max_size=3)))
    first = draw(st.sampled_from([0, start]))
    count = len(list(multiproof_nodes(tip - first + 1, [start - first, height - first, tip - first])))
    return HeaderBundle(
        network=draw(st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True)),
        genesis=draw(hashes),
        range_start=first,
        start_height=start,
        start_hash=draw(hashes),
        height=height,
        header=draw(st.binary(min_size=80, max_size=80)),
        cp_height=tip,
        tip_header=draw(st.binary(min_size=80, max_size=80)),
        root=draw(hashes),
        chainwork=draw(st.integers(0, MAX_CHAINWORK)),
        made_at=draw(st.integers(0, MAX_TIME)),
        nodes=tuple(draw(st.lists(hashes, min_size=count, max_size=count))),
    )


def test_the_stored_bundle_is_written_and_read_alike() -> None:
    """Pins version 1: these bytes must be readable for ever."""
    raw = (VECTORS / "mainnet_12345_of_32255.bundle").read_bytes()
    form = json.loads((VECTORS / "mainnet_12345_of_32255.json").read_text())
    assert encode(BUNDLE) == raw
    assert to_json(BUNDLE) == form
    assert decode(raw) == from_json(form) == BUNDLE


@given(bundles())
def test_both_forms_round_trip(bundle: HeaderBundle) -> None:
    raw, form = encode(bundle), to_json(bundle)
    assert len(raw) <= MAX_BUNDLE_BYTES
    assert decode(raw) == bundle
    assert from_json(form) == from_json(json.dumps(form)) == from_json(json.dumps(form).encode()) == bundle
    assert len(json.dumps(form, indent=4)) <= MAX_BUNDLE_JSON_BYTES


def test_size_of_a_proof() -> None:
    """What 32,256 headers cost; docs name 1.9 KB for 900,000, from the same arithmetic."""
    assert len(encode(BUNDLE)) == 1_565
    worst = max(len(list(multiproof_nodes(900_000, [0, p, 899_999]))) for p in range(0, 900_000, 4_999))
    assert 317 + 32 * worst <= 1_917


def test_a_checkpoint_bundle_names_its_range() -> None:
    """Both kinds of checkpoint tree: one that begins there, and the genesis tree known by peaks."""
    alone, genesis_tree = regtest(60, 100).bundle(130), regtest(60, 100, True).bundle(130)
    assert (alone.range_start, alone.start_height) == (100, 100)
    assert (genesis_tree.range_start, genesis_tree.start_height) == (0, 100)
    assert alone.start_hash == genesis_tree.start_hash == regtest(60, 100).hash(100)
    assert decode(encode(genesis_tree)) == genesis_tree


@given(st.binary(max_size=64))
def test_any_cut_or_longer_bytes_are_refused(more: bytes) -> None:
    raw = encode(BUNDLE)
    if more:
        with pytest.raises(ProofError):
            decode(raw + more)
    for cut in {len(more), len(raw) - len(more) - 1}:
        with pytest.raises(ProofError):
            decode(raw[:cut])


@given(st.binary(max_size=4_000))
def test_random_bytes_are_refused_by_name(data: bytes) -> None:
    for tail in (data, b"\x01\x07bitcoin" + data, encode(BUNDLE)[:200] + data):
        with pytest.raises(ProofError):
            decode(tail)


@given(st.data())
def test_any_changed_byte_decodes_to_another_bundle_or_not_at_all(data: st.DataObject) -> None:
    raw = bytearray(encode(BUNDLE))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        bundle = decode(bytes(raw))
    except ProofError:
        return
    assert bundle != BUNDLE
    assert encode(bundle) == raw


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.text(max_size=300) | st.binary(max_size=300) | st.dictionaries(st.text(max_size=8), json_values, max_size=5))
def test_random_json_is_refused_by_name(form: str | bytes | dict[str, Any]) -> None:
    with pytest.raises(ProofError):
        from_json(form)


@given(st.sampled_from(sorted(to_json(BUNDLE))), json_values)
def test_random_values_in_any_field_are_refused_or_read_as_they_are(field: str, value: Any) -> None:
    form = to_json(BUNDLE) | {field: value}
    try:
        bundle = from_json(form)
    except ProofError:
        return
    assert json.dumps(to_json(bundle)) == json.dumps(form)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("version", True),
        ("version", 1.0),
        ("network", ""),
        ("network", "x" * (MAX_NETWORK_NAME + 1)),
        ("network", "Bitcoin"),
        ("network", "bitcoin\n"),
        ("network", 7),
        ("genesis", "00" * 31),
        ("root", "AB" * 32),
        ("root", " " + "ab" * 31 + "a"),
        ("root", None),
        ("start_hash", "zz" * 32),
        ("header", "00" * 79),
        ("tip_header", "00" * 81),
        ("chainwork", "1"),
        ("range_start", 5),
        ("range_start", False),
        ("height", 12_345.0),
        ("height", 32_256),
        ("height", -1),
        ("cp_height", MAX_HEIGHT + 1),
        ("made_at", MAX_TIME + 1),
        ("made_at", -1),
        ("made_at", "5"),
        ("nodes", {}),
        ("nodes", "ab"),
        ("nodes", []),
        ("nodes", ["00" * 32] * (MAX_NODES + 1)),
        ("nodes", [None] * 39),
    ],
)
def test_each_field_names_itself(field: str, value: object) -> None:
    refused(field, lambda: from_json(to_json(BUNDLE) | {field: value}))


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("network", "x" * 33, MAX_NETWORK_NAME),
        ("genesis", b"", 32),
        ("start_hash", bytes(33), 32),
        ("root", bytes(31), 32),
        ("header", bytes(79), 80),
        ("tip_header", bytes(81), 80),
        ("cp_height", MAX_HEIGHT + 1, MAX_HEIGHT),
        ("chainwork", MAX_CHAINWORK + 1, MAX_CHAINWORK),
        ("chainwork", -1, MAX_CHAINWORK),
        ("made_at", MAX_TIME + 1, MAX_TIME),
        ("range_start", 1, 0),
        ("start_height", 12_346, 12_345),
        ("height", 32_256, 32_255),
        ("nodes", BUNDLE.nodes[1:], 39),
        ("nodes", (*BUNDLE.nodes[1:], bytes(31)), 32),
    ],
)
def test_no_bundle_beyond_a_limit_can_be_made(field: str, value: Any, limit: int) -> None:
    with pytest.raises(ProofError) as caught:
        replace(BUNDLE, **{field: value})
    assert caught.value.limit == limit


def test_long_input_is_refused_before_it_is_read() -> None:
    assert refused("bundle", lambda: decode(bytes([1]) * (MAX_BUNDLE_BYTES + 1))).limit == MAX_BUNDLE_BYTES
    text = json.dumps(to_json(BUNDLE))
    assert from_json(text.ljust(MAX_BUNDLE_JSON_BYTES)) == BUNDLE
    assert refused("bundle", lambda: from_json(text.ljust(MAX_BUNDLE_JSON_BYTES + 1))).limit == MAX_BUNDLE_JSON_BYTES


def test_text_that_is_not_one_json_object_of_version_1() -> None:
    text = json.dumps(to_json(BUNDLE))
    for bad in ("", "[]", "5", "[" * 5_000, '{"a":' * 2_000, text[:-1], text + "x", b"\xff\xfe", '"\\ud800"'):
        refused("bundle", lambda bad=bad: from_json(bad))  # type: ignore[misc]
    refused("bundle", lambda: from_json(text[:-1] + ', "height": 12345}'))
    refused("bundle", lambda: from_json(text[:-1] + ', "extra": 1}'))
    form = to_json(BUNDLE)
    del form["root"]
    refused("bundle", lambda: from_json(form))


def test_an_empty_object_is_no_empty_list() -> None:
    form = to_json(mainnet().bundle(0, 0))
    assert form["nodes"] == []
    empty: list[Any] = [{}, "", None]
    for nodes in empty:
        refused("nodes", lambda nodes=nodes: from_json(json.dumps(form | {"nodes": nodes})))  # type: ignore[misc]
        assert not verify(json.dumps(form | {"nodes": nodes})).ok


def test_bytes_of_another_version_or_name() -> None:
    raw = encode(BUNDLE)
    refused("version", lambda: decode(b""))
    refused("version", lambda: decode(b"\x02" + raw[1:]))
    refused("bundle", lambda: decode(b"\x01"))
    refused("bundle", lambda: decode(raw[:316]))
    refused("nodes", lambda: decode(raw[:-1]))
    refused("network", lambda: decode(raw[:2] + b"\xffitcoin" + raw[9:]))
    refused("network", lambda: decode(raw[:1] + b"\x00" + raw[9:]))


def test_heights_that_the_forest_does_not_hold() -> None:
    refused("cp_height", lambda: mainnet().bundle(1, 32_260))
    refused("height", lambda: mainnet().bundle(9, 8))
    refused("height", lambda: regtest(60, 100, True).bundle(99))


def test_layout_is_the_documented_one() -> None:
    raw = encode(BUNDLE)
    assert raw[:9] == b"\x01\x07bitcoin"
    assert struct.unpack_from("<II", raw, 41) == (0, 0)
    assert struct.unpack_from("<I", raw, 81) == (12_345,)
    assert raw[85:165] == mainnet().header(12_345)
    assert struct.unpack_from("<I", raw, 165) == (32_255,)
    assert raw[169:249] == mainnet().header(32_255)
    assert raw[249:281] == mainnet().forest.root(32_255)
    assert int.from_bytes(raw[281:313], "little") == 32_256 * 4_295_032_833
    assert struct.unpack_from("<I", raw, 313) == (1_700_000_000,)
    assert raw[317:] == b"".join(BUNDLE.nodes)
