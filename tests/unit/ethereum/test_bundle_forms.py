"""The two forms of a beacon bundle: each bundle has one encoding, and nothing else is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkle.errors import ProofError
from spvnode.ethereum.bundle import (
    MAX_BRACKETS,
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_JSON_BYTES,
    MAX_ITEMS,
    MAX_PERIODS,
    MAX_TIME,
    BeaconBundle,
    decode,
    encode,
    from_json,
    to_json,
)
from spvnode.ethereum.bundle_verify import verify
from spvnode.ethereum.items import MAX_ITEM, Item, Kind
from tests.support.beacon_bundles import (
    DEVNET,
    MADE_AT,
    NIMBUS,
    bundle,
    source,
)


@pytest.mark.parametrize("name", [NIMBUS, DEVNET])
def test_json_is_the_same_bundle(name: str) -> None:
    form = to_json(bundle(name))
    assert list(form) == ["version", "network", "genesis_validators_root", "checkpoint_root", "made_at", "items"]
    text = json.dumps(form)
    assert from_json(form) == from_json(text) == from_json(text.encode()) == bundle(name)
    assert verify(form, source(name).params, source(name).end).ok
    assert len(text) < MAX_BUNDLE_JSON_BYTES


def test_bytes_are_as_the_table_says() -> None:
    small, chain = bundle(DEVNET), source(DEVNET)
    data = encode(small)
    head = b"\x02\x08recorded" + chain.params.genesis_validators_root + chain.root
    assert data.startswith(head + MADE_AT.to_bytes(4, "little") + (4).to_bytes(2, "little"))
    first = data[len(head) + 6 :]
    assert int.from_bytes(first[:4], "little") == 5 + len(small.items[0].ssz)
    assert first[4:9] == b"\x00" + small.items[0].digest
    assert sum(9 + len(item.ssz) for item in small.items) + len(head) + 6 == len(data)


@given(st.integers(0, 12_000), st.integers(1, 255))
def test_other_bytes_are_another_bundle_or_none(at: int, change: int) -> None:
    data = bytearray(encode(bundle(DEVNET)))
    data[at] ^= change
    try:
        changed = decode(bytes(data))
    except ProofError:
        return
    assert changed != bundle(DEVNET)
    assert encode(changed) == bytes(data)


@pytest.mark.parametrize("cut", [0, 1, 2, 9, 10, 50, 79, 80, 81, 85, 90, 2000, -1])
def test_cut_or_longer_bytes_are_refused(cut: int) -> None:
    data = encode(bundle(DEVNET))
    for wrong in (data[:cut], data + b"\x00", data + data[80:100]):
        with pytest.raises(ProofError):
            decode(wrong)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("network", lambda good: replace(good, network="")),
        ("network", lambda good: replace(good, network="n" * 33)),
        ("network", lambda good: replace(good, network="Main\n")),
        ("genesis_validators_root", lambda good: replace(good, genesis_validators_root=bytes(31))),
        ("checkpoint_root", lambda good: replace(good, checkpoint_root=bytes(33))),
        ("made_at", lambda good: replace(good, made_at=-1)),
        ("made_at", lambda good: replace(good, made_at=MAX_TIME + 1)),
        ("items", lambda good: replace(good, items=())),
        ("items", lambda good: replace(good, items=good.items[1:])),
        ("items", lambda good: replace(good, items=(*good.items, good.items[-1]))),
        ("items", lambda good: replace(good, items=(good.items[0], good.items[-1], good.items[1]))),
        ("items", lambda good: replace(good, items=(good.items[0], *good.items))),
        ("items", lambda good: replace(good, items=(good.items[0], *[good.items[1]] * (MAX_PERIODS + 1)))),
        ("items", lambda good: replace(good, items=(good.items[0], *[good.items[1]] * MAX_ITEMS))),
        ("items", lambda good: replace(good, items=(Item(Kind.BOOTSTRAP, b"abc", b""),))),
        ("items", lambda good: replace(good, items=(Item(Kind.BOOTSTRAP, b"abcd", bytes(MAX_ITEM)),))),
    ],
)
def test_fields_out_of_bounds(field: str, change: Callable[[BeaconBundle], BeaconBundle]) -> None:
    with pytest.raises(ProofError) as caught:
        change(bundle(DEVNET))
    assert caught.value.field == field


def test_as_many_items_as_allowed() -> None:
    first, update, *_, last = bundle(DEVNET).items
    full = replace(bundle(DEVNET), items=(first, *[update] * MAX_PERIODS, last))
    assert len(full.items) == MAX_ITEMS
    assert decode(encode(full)) == full
    text = json.dumps(to_json(full))
    assert text.count("{") + text.count("[") == MAX_BRACKETS
    assert from_json(text) == full
    with pytest.raises(ProofError, match="brackets"):
        from_json(text.replace('"recorded"', '"recorded["'))
    largest = Item(Kind.UPDATE, bytes(4), bytes(MAX_ITEM - 5))
    most = replace(full, network="n" * 32, items=(first, *[largest] * MAX_PERIODS, last))
    assert len(encode(most)) <= MAX_BUNDLE_BYTES
    assert MAX_BUNDLE_BYTES - len(encode(most)) < 2 * (MAX_ITEM + 4)


def test_too_long_is_refused_unread() -> None:
    with pytest.raises(ProofError, match="too long"):
        decode(bytes([2]) * (MAX_BUNDLE_BYTES + 1))
    with pytest.raises(ProofError, match="too long"):
        from_json(" " * (MAX_BUNDLE_JSON_BYTES + 1))


def change_item(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda form: form["items"][1].update({name: value})


BAD_JSON: list[Callable[[dict[str, Any]], Any]] = [
    lambda form: form.pop("made_at"),
    lambda form: form.update(more=1),
    lambda form: form.update(version=1),
    lambda form: form.update(version=True),
    lambda form: form.update(version="2"),
    lambda form: form.update(made_at=1.0),
    lambda form: form.update(made_at=True),
    lambda form: form.update(network=5),
    lambda form: form.update(checkpoint_root=form["checkpoint_root"].upper()),
    lambda form: form.update(checkpoint_root=form["checkpoint_root"][2:]),
    lambda form: form.update(checkpoint_root=None),
    lambda form: form.update(items={}),
    lambda form: form.update(items=[None]),
    lambda form: form.update(items=[{}] * (MAX_ITEMS + 1)),
    lambda form: form["items"][1].pop("kind"),
    lambda form: form["items"][1].update(more=1),
    change_item("kind", "Update"),
    change_item("kind", 1),
    change_item("kind", []),
    change_item("fork_digest", "0x00"),
    change_item("ssz", "0x0"),
    change_item("ssz", "0xAA"),
    change_item("ssz", "0x" + "00" * (MAX_ITEM + 2)),
    change_item("ssz", 5),
]


@pytest.mark.parametrize("change", BAD_JSON)
def test_json_written_in_another_way(change: Callable[[dict[str, Any]], Any]) -> None:
    form = to_json(bundle(DEVNET))
    change(form)
    with pytest.raises(ProofError):
        from_json(form)
    assert verify(form, source(DEVNET).params, source(DEVNET).end).reason == "format"


@pytest.mark.parametrize(
    "text", ["", "[]", "5", "{", '{"a":1,"a":1}', "[" * 500_000, "[" * 500, b"\xff{}", '{"version": NaN}']
)
def test_text_that_is_no_bundle(text: str | bytes) -> None:
    with pytest.raises(ProofError):
        from_json(text)


def test_a_field_named_twice_inside_an_item() -> None:
    text = json.dumps(to_json(bundle(DEVNET)))
    twice = text.replace('"kind": "update"', '"kind": "update", "kind": "update"', 1)
    assert twice != text
    with pytest.raises(ProofError):
        from_json(twice)
