"""Framing of items: what goes in comes out, and whatever else comes is told from a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spvnode.ethereum.containers import max_size
from spvnode.ethereum.forks import LAYOUTS
from spvnode.ethereum.items import HEAD_SIZE, LENGTH_SIZE, MAX_ITEM, Item, Kind, count, cut, join, split
from spvnode.ethereum.presets import PRESETS
from spvnode.ethereum.received import CLASSES

ITEMS = st.lists(st.builds(Item, st.sampled_from(Kind), st.binary(min_size=4, max_size=4), st.binary(max_size=40)))


@given(ITEMS, st.integers(0, 12))
def test_a_run_is_its_items(items: list[Item], n: int) -> None:
    data = join(items)
    assert split(data) == items
    assert count(data) == len(items)
    assert cut(data, n) == join(items[:n])


@given(ITEMS, st.binary(min_size=1, max_size=60), st.integers(0, 12))
def test_a_broken_run_is_refused_and_counted(items: list[Item], rest: bytes, n: int) -> None:
    data = join(items) + rest
    try:
        whole = split(data)
    except ValueError:
        assert count(data) >= len(items) + 1
        assert cut(data, len(items)) == join(items)
    else:
        assert join(whole) == data
    assert data.startswith(cut(data, n))
    assert count(cut(data, n)) == min(n, count(data))


def test_the_layout_is_the_documented_one() -> None:
    item = Item(Kind.FINALITY, b"\xaa\xbb\xcc\xdd", b"ssz")
    assert join([item]) == b"\x08\x00\x00\x00" + b"\x02" + b"\xaa\xbb\xcc\xdd" + b"ssz"


@pytest.mark.parametrize(
    "data", [b"\x05", b"\x04\0\0\0\0\0\0\0", b"\x06\0\0\0" + bytes(5), b"\xff\xff\xff\xff" + bytes(99)]
)
def test_what_is_no_frame_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="announced"):
        split(data)
    assert count(data) == 1


def test_an_unknown_kind_is_a_value_error_but_counts() -> None:
    data = b"\x05\0\0\0" + b"\x04" + bytes(4)
    with pytest.raises(ValueError, match="4"):
        split(data)
    assert count(data) == 1


def test_every_object_fits_and_nothing_much_bigger() -> None:
    sizes = [
        max_size(preset, fork, cls.__name__) + HEAD_SIZE
        for preset in PRESETS
        for fork in LAYOUTS
        for cls in CLASSES.values()
    ]
    assert max(sizes) <= MAX_ITEM < 2 * max(sizes)
    limit = MAX_ITEM - HEAD_SIZE
    assert len(join([Item(Kind.UPDATE, bytes(4), bytes(limit))])) == LENGTH_SIZE + MAX_ITEM
    for item in (Item(Kind.UPDATE, bytes(4), bytes(limit + 1)), Item(Kind.UPDATE, bytes(3), b"")):
        with pytest.raises(ValueError, match="item"):
            join([item])
    with pytest.raises(ValueError, match="announced"):
        split((MAX_ITEM + 1).to_bytes(LENGTH_SIZE, "little") + bytes(MAX_ITEM + 1))
