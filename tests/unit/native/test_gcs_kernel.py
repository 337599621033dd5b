"""The native filter kernels against their plain twins, on honest filters, on broken ones and on noise."""

from __future__ import annotations

import os
import random
import threading

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from merkle.compact import compact_size
from native import _kernels as kernels
from spvnode.bitcoin import gcs
from spvnode.bitcoin.gcs import ABSENT, MALFORMED, PRESENT, PlainFilters

FUZZ = os.environ.get("SPVNODE_TEST_PROFILE") == "fuzz"
EXAMPLES = settings(max_examples=20_000 if FUZZ else 300, deadline=None)
KEYS = st.binary(min_size=16, max_size=16)
ITEMS = st.lists(st.binary(max_size=40), max_size=30)


def make_filter(key: bytes, items: list[bytes]) -> bytes:
    distinct = set(items)
    modulus = len(distinct) * gcs.INVERSE_RATE
    return gcs.encode(gcs.siphash(key, item) * modulus >> 64 for item in distinct)


def both(filters: list[bytes], keys: bytes, items: list[bytes]) -> list[int]:
    """What kernel and twin say; they must say the same."""
    results = []
    for match in (kernels.gcs_match, PlainFilters.gcs_match):
        out = bytearray(len(filters))
        found = match(gcs.pack(filters), keys, gcs.pack(items), bytearray(kernels.gcs_workspace(len(items))), out)
        assert found == list(out).count(PRESENT)
        results.append(list(out))
    assert results[0] == results[1]
    return results[0]


@given(KEYS, ITEMS, st.integers(0, 2**64 - 1))
@EXAMPLES
def test_hashes(key: bytes, items: list[bytes], modulus: int) -> None:
    packed = gcs.pack(items)
    assert kernels.siphash_scaled(key, packed, modulus) == PlainFilters.siphash_scaled(key, packed, modulus)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 15, 16, 255, 256, 257, 10_000])
def test_hashes_of_every_length(size: int) -> None:
    packed = gcs.pack([bytes(i % 256 for i in range(size))])
    key = bytes(range(16))
    assert kernels.siphash_scaled(key, packed, 2**64 - 1) == PlainFilters.siphash_scaled(key, packed, 2**64 - 1)


@pytest.mark.fuzz
@given(KEYS, ITEMS, ITEMS)
@EXAMPLES
def test_honest_filters(key: bytes, held: list[bytes], wanted: list[bytes]) -> None:
    data = make_filter(key, held)
    assert kernels.gcs_decode(data) == PlainFilters.gcs_decode(data) is not None
    (found,) = both([data], key, wanted)
    assert found == PRESENT or not set(held) & set(wanted)


@pytest.mark.fuzz
@given(st.integers(0, 40), st.binary(max_size=100), KEYS, ITEMS)
@EXAMPLES
@example(2, b"\xff" * 90, bytes(16), [b"a"])
@example(1, b"\xff" * 8 + b"\x7f\xff\xff\xff", bytes(16), [b"a"])
@example(1, b"\xff" * 40 + b"\x00\x00\x00\x00", bytes(16), [b"a"])
def test_any_bytes(count: int, body: bytes, key: bytes, wanted: list[bytes]) -> None:
    for data in (body, compact_size(count) + body):
        assert kernels.gcs_decode(data) == PlainFilters.gcs_decode(data)
        both([data], key, wanted)


@pytest.mark.fuzz
@given(st.lists(st.integers(0, 2**28), min_size=1, max_size=20), st.integers(0, 7), KEYS, ITEMS)
@EXAMPLES
def test_long_quotients(steps: list[int], cut: int, key: bytes, wanted: list[bytes]) -> None:
    """Differences far above what an honest filter has: quotients across every alignment of a window."""
    value, chosen = 0, set()
    for step in steps:
        value += step
        chosen.add(value)
    data = gcs.encode(chosen)
    data = data[: len(data) - cut]
    assert kernels.gcs_decode(data) == PlainFilters.gcs_decode(data)
    both([data], key, wanted)


def test_a_full_blocks_filter_and_many_scripts() -> None:
    rng = random.Random(4)
    key = rng.randbytes(16)
    held = [rng.randbytes(22) for _ in range(8_000)]
    modulus = len(held) * gcs.INVERSE_RATE
    raw = kernels.siphash_scaled(key, gcs.pack(held), modulus)
    data = gcs.encode({int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)})
    assert kernels.gcs_decode(data) == PlainFilters.gcs_decode(data)
    strangers = [rng.randbytes(22) for _ in range(2_000)]
    for wanted in (strangers, [*strangers, held[0]], [*strangers, max(held)], [held[77]] * 500, held):
        assert both([data], key, wanted) == [PRESENT if set(wanted) & set(held) else ABSENT]


def test_filters_of_several_blocks_have_their_own_keys() -> None:
    rng = random.Random(5)
    keys = [rng.randbytes(16) for _ in range(40)]
    items = [[rng.randbytes(rng.randrange(1, 60)) for _ in range(rng.randrange(60))] for _ in keys]
    filters = [make_filter(key, held) for key, held in zip(keys, items, strict=True)]
    filters[11] = b"\xfd"
    found = both(filters, b"".join(keys), [items[3][0], items[20][-1], b"nobody's"])
    assert (found[3], found[20], found[11]) == (PRESENT, PRESENT, MALFORMED)
    assert found.count(PRESENT) == 2


def test_one_of_so_many_matches_by_accident() -> None:
    """M = 784,931: some 200,000 strangers against 8 values each time give about two."""
    key = bytes(16)
    data = make_filter(key, [b"%d" % i for i in range(8)])
    hits = 0
    for start in range(0, 200_000, 10):
        items = gcs.pack(b"x%d" % i for i in range(start, start + 10))
        hits += kernels.gcs_match(gcs.pack([data]), key, items, bytearray(kernels.gcs_workspace(10)), bytearray(1))
    assert hits < 12


@pytest.mark.parametrize("kind", [kernels, PlainFilters])
def test_wrong_arguments(kind: type[PlainFilters]) -> None:
    key, one, space, out = bytes(16), gcs.pack([b"\0"]), bytearray(100), bytearray(1)
    for arguments, problem in [
        ((b"\1", key, one, space, out), "filters: 1 bytes are not items"),
        ((b"\xff" * 8, key, one, space, out), "filters: 8 bytes are not items"),
        ((one, key[:15], one, space, out), "keys: 15 bytes, 1 filters need 16"),
        ((one, key, b"\5\0\0\0abcd", space, out), "items: 8 bytes are not items"),
        ((one, key, one, bytearray(30), out), "workspace: 30 bytes, 1 items need 31"),
        ((one, key, one, space, bytearray(0)), "out: 0 bytes, 1 filters need as many"),
    ]:
        with pytest.raises(ValueError, match=problem):
            kind.gcs_match(*arguments)
    with pytest.raises(ValueError, match="key: 3 bytes, not 16"):
        kind.siphash_scaled(b"abc", one, 5)
    with pytest.raises(ValueError, match="items: 5 bytes are not items"):
        kind.siphash_scaled(key, b"\2\0\0\0a", 5)
    assert kind.gcs_workspace(7) == 8 * 7 + 8 * 7 + 4 * 8 + 7
    assert kind.gcs_match(b"", b"", one, space, out) == 0


def test_bytes_only_where_sizes_lie_in_the_data() -> None:
    for arguments in [(bytearray(5), bytes(16), b""), (b"\1\0\0\0\0", bytes(16), bytearray())]:
        with pytest.raises(TypeError):
            kernels.gcs_match(*arguments, bytearray(100), bytearray(1))  # type: ignore[arg-type]


def test_any_address_of_the_workspace_will_do() -> None:
    data = make_filter(bytes(16), [b"a", b"b"])
    room = bytearray(200)
    for at in range(8):
        out = bytearray(1)
        assert kernels.gcs_match(gcs.pack([data]), bytes(16), gcs.pack([b"a"]), memoryview(room)[at:], out) == 1


def test_threads_that_share_a_workspace_harm_nobody_but_themselves() -> None:
    """The lock is released: wrong answers are the worst that may come of it."""
    rng = random.Random(9)
    held = [rng.randbytes(22) for _ in range(2_000)]
    packed = gcs.pack([make_filter(bytes(16), held)])
    sets = [gcs.pack(rng.randbytes(22) for _ in range(n)) for n in (10, 3_000)]
    room = bytearray(kernels.gcs_workspace(3_000))

    def work(items: bytes) -> None:
        for _ in range(100):
            kernels.gcs_match(packed, bytes(16), items, room, bytearray(1))

    threads = [threading.Thread(target=work, args=(items,)) for items in sets * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh = bytearray(kernels.gcs_workspace(1))
    assert kernels.gcs_match(packed, bytes(16), gcs.pack([held[5]]), fresh, bytearray(1)) == 1
