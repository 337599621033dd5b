"""SSZ: one encoding per value and nothing else decodes; roots and branches against a plain tree."""

from __future__ import annotations

from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkle.errors import ProofError
from merkle.pure import sha256_pairs as pure_sha256_pairs
from merkle.ssz import (
    MAX_DEPTH,
    ZERO_HASHES,
    compute_merkle_branch_root,
    concat_generalized_indices,
    floorlog2,
    get_subtree_index,
    is_valid_merkle_branch,
    is_valid_normalized_merkle_branch,
    merkleize,
    merkleize_progressive,
    mix_in,
    normalize_merkle_branch,
    progressive_branch,
    progressive_gindex,
    tree_branch,
    tree_depth,
)
from merkle.ssz_json import MAX_DIGITS, from_json, to_json
from merkle.ssz_types import (
    Bitlist,
    Bits,
    Bitvector,
    Boolean,
    ByteList,
    ByteVector,
    Container,
    List,
    SszType,
    Uint,
    Vector,
    path_branch,
    path_gindex,
)

U64 = Uint(8)
ROOT = ByteVector(32)
KEY = ByteVector(48)
INNER = Container("Inner", {"a": U64, "b": ByteList(8)}, SimpleNamespace)
FIXED = Container("Fixed", {"a": U64, "b": Boolean(), "c": ByteVector(3)}, SimpleNamespace)
OUTER = Container(
    "Outer",
    {
        "number": Uint(32),
        "inner": INNER,
        "flags": Bitvector(10),
        "votes": Bitlist(20),
        "roots": Vector(ROOT, 3),
        "balances": List(U64, 10),
        "keys": List(KEY, 5),
        "inners": List(INNER, 4),
        "fixed": List(FIXED, None),
        "payloads": List(ByteList(4), 4),
        "pair": Vector(INNER, 2),
    },
    SimpleNamespace,
)
PROGRESSIVE = Container(
    "Progressive", {f"f{n}": U64 for n in range(23)} | {"inner": INNER}, SimpleNamespace, progressive=True
)


def sha(left: bytes, right: bytes) -> bytes:
    return sha256(left + right).digest()


def plain_root(leaves: list[bytes], depth: int) -> bytes:
    level = leaves + [bytes(32)] * ((1 << depth) - len(leaves))
    while len(level) > 1:
        level = [sha(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return level[0]


def plain_progressive(leaves: list[bytes], size: int = 1) -> bytes:
    if not leaves:
        return bytes(32)
    return sha(plain_root(leaves[:size], tree_depth(size)), plain_progressive(leaves[size:], size * 4))


leaf_lists = st.lists(st.binary(min_size=32, max_size=32), max_size=40)


@given(leaf_lists, st.integers(0, 3))
def test_merkleize_against_a_plain_tree(leaves: list[bytes], spare: int) -> None:
    depth = tree_depth(len(leaves)) + spare
    assert merkleize(b"".join(leaves), depth) == plain_root(leaves, depth)


@given(leaf_lists)
def test_merkleize_progressive_against_a_plain_tree(leaves: list[bytes]) -> None:
    assert merkleize_progressive(b"".join(leaves)) == plain_progressive(leaves)


def test_deep_trees_cost_nothing() -> None:
    assert merkleize(b"", MAX_DEPTH) == ZERO_HASHES[MAX_DEPTH]
    assert merkleize(b"\x01" * 32, 40) == compute_merkle_branch_root(b"\x01" * 32, b"".join(ZERO_HASHES[:40]), 0)
    assert ZERO_HASHES[1] == pure_sha256_pairs(bytes(64))


def test_more_chunks_than_leaves_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="3, a tree of depth 1 has 2 leaves"):
        merkleize(bytes(96), 1)


@given(st.integers(1, 40), st.data())
def test_branches_lead_to_the_root(count: int, data: st.DataObject) -> None:
    leaves = [bytes([n]) * 32 for n in range(1, count + 1)]
    index = data.draw(st.integers(0, count - 1))
    depth = tree_depth(count) + data.draw(st.integers(0, 2))
    chunks = b"".join(leaves)
    branch = tree_branch(chunks, depth, index)
    root = merkleize(chunks, depth)
    assert is_valid_merkle_branch(leaves[index], branch, depth, index, root)
    assert not is_valid_merkle_branch(leaves[index - 1] if count > 1 else bytes(32), branch, depth, index, root)
    progressive = progressive_branch(chunks, index)
    gindex = progressive_gindex(index)
    assert compute_merkle_branch_root(leaves[index], progressive, gindex) == merkleize_progressive(chunks)
    assert is_valid_normalized_merkle_branch(leaves[index], progressive, gindex, merkleize_progressive(chunks))


def test_branches_of_other_shapes_are_refused() -> None:
    leaf, sibling = b"\x01" * 32, b"\x02" * 32
    root = sha(leaf, sibling)
    assert is_valid_merkle_branch(leaf, sibling, 1, 0, root)
    assert not is_valid_merkle_branch(leaf, sibling, 1, 2, root)  # a position that the tree does not have
    assert not is_valid_merkle_branch(leaf, sibling, 2, 0, root)
    assert not is_valid_merkle_branch(leaf, sibling + b"\x00", 1, 0, root)
    assert not is_valid_merkle_branch(leaf, bytes(32 * 33), 33, 0, root)
    assert is_valid_normalized_merkle_branch(leaf, bytes(32) + sibling, 2, root)
    assert not is_valid_normalized_merkle_branch(leaf, b"", 2, root)
    assert normalize_merkle_branch(sibling, 8) == bytes(64) + sibling
    with pytest.raises(ProofError, match="longer than its generalized index allows"):
        normalize_merkle_branch(bytes(64), 2)


def test_generalized_indices() -> None:
    assert [floorlog2(n) for n in (1, 2, 3, 4, 735)] == [0, 1, 1, 2, 9]
    assert [get_subtree_index(n) for n in (1, 2, 3, 735)] == [0, 0, 1, 223]
    assert concat_generalized_indices((5, 3)) == 11
    assert concat_generalized_indices(()) == 1
    assert [progressive_gindex(n) for n in (0, 1, 4, 5, 20, 21)] == [2, 24, 27, 224, 239, 1920]
    with pytest.raises(ValueError, match="below 1"):
        floorlog2(0)


inners = st.builds(SimpleNamespace, a=st.integers(0, 2**64 - 1), b=st.binary(max_size=8))
fixed = st.builds(SimpleNamespace, a=st.integers(0, 2**64 - 1), b=st.booleans(), c=st.binary(min_size=3, max_size=3))


def packed(size: int, most: int) -> st.SearchStrategy[bytes]:
    return st.integers(0, most).flatmap(lambda count: st.binary(min_size=count * size, max_size=count * size))


bits = st.integers(0, 20).flatmap(
    lambda length: st.integers(0, (1 << length) - 1).map(
        lambda number: Bits(number.to_bytes(-(-length // 8), "little"), length)
    )
)
outers = st.builds(
    SimpleNamespace,
    number=st.integers(0, 2**256 - 1),
    inner=inners,
    flags=st.integers(0, 1023).map(lambda number: number.to_bytes(2, "little")),
    votes=bits,
    roots=st.binary(min_size=96, max_size=96),
    balances=packed(8, 10),
    keys=packed(48, 5),
    inners=st.lists(inners, max_size=4).map(tuple),
    fixed=st.lists(fixed, max_size=30).map(tuple),
    payloads=st.lists(st.binary(max_size=4), max_size=4).map(tuple),
    pair=st.tuples(inners, inners),
)


@given(outers)
def test_what_we_encode_decodes_to_the_same(value: SimpleNamespace) -> None:
    data = OUTER.encode(value)
    assert OUTER.decode(data) == value
    assert from_json(OUTER, to_json(OUTER, value)) == value


@given(outers, st.data())
def test_damaged_bytes_are_refused_or_are_another_values_one_encoding(
    value: SimpleNamespace, data: st.DataObject
) -> None:
    encoded = bytearray(OUTER.encode(value))
    place = data.draw(st.integers(0, len(encoded) - 1))
    how = data.draw(st.sampled_from(("flip", "cut", "insert", "append")))
    if how == "flip":
        encoded[place] ^= 1 << data.draw(st.integers(0, 7))
    elif how == "cut":
        del encoded[place:]
    elif how == "insert":
        encoded.insert(place, data.draw(st.integers(0, 255)))
    else:
        encoded += b"\x00"
    try:
        other = OUTER.decode(bytes(encoded))
    except ProofError:
        return
    assert OUTER.encode(other) == bytes(encoded)


@given(st.binary(max_size=400))
def test_random_bytes_never_raise_anything_else(data: bytes) -> None:
    for kind in (OUTER, INNER, FIXED, *OUTER.fields.values()):
        try:
            value = kind.decode(data)
        except ProofError:
            continue
        assert kind.encode(value) == data


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Uint(8), bytes(7)),
        (Uint(8), bytes(9)),
        (Boolean(), b"\x02"),
        (Boolean(), b""),
        (ByteVector(4), bytes(5)),
        (Bitvector(10), b"\x00\x04"),
        (Bitvector(10), b"\x00"),
        (Bitlist(8), b""),
        (Bitlist(8), b"\x01\x00"),
        (Bitlist(8), b"\x00\x02"),
        (ByteList(4), bytes(5)),
        (List(U64, 2), bytes(24)),
        (List(U64, 2), bytes(7)),
        (Vector(U64, 2), bytes(8)),
        (List(ByteList(4), 4), b"\x04\x00\x00"),
        (List(ByteList(4), 4), b"\x00\x00\x00\x00"),
        (List(ByteList(4), 4), b"\x05\x00\x00\x00\x00"),
        (List(ByteList(4), 4), b"\xff\x00\x00\x00"),
        (List(ByteList(4), 1), b"\x08\x00\x00\x00\x08\x00\x00\x00"),
        (List(ByteList(4), 4), b"\x08\x00\x00\x00\x09\x00\x00\x00"),
        (List(ByteList(4), 4), b"\x0c\x00\x00\x00\x0d\x00\x00\x00\x0c\x00\x00\x00\x00"),
        (Vector(ByteList(4), 2), b"\x04\x00\x00\x00"),
        (INNER, bytes(11)),
        (INNER, bytes(8) + b"\x0b\x00\x00\x00"),
        (INNER, bytes(8) + b"\x0d\x00\x00\x00\x00"),
        (FIXED, bytes(13)),
    ],
)
def test_what_is_no_encoding_is_refused(kind: SszType, data: bytes) -> None:
    with pytest.raises(ProofError):
        kind.decode(data)


@pytest.mark.parametrize(("kind", "value"), [(ByteVector(4), b"abc"), (Vector(U64, 2), bytes(8)), (Uint(1), 256)])
def test_values_of_the_wrong_size_are_our_mistake(kind: SszType, value: Any) -> None:
    with pytest.raises((ValueError, OverflowError)):
        kind.encode(value)


@pytest.mark.parametrize(("length", "end"), [(0, b"\x01"), (7, b"\x80"), (8, b"\x00\x01"), (15, b"\x00\x80")])
def test_the_end_mark_of_a_bit_list(length: int, end: bytes) -> None:
    value = Bits(bytes(-(-length // 8)), length)
    assert Bitlist(20).encode(value) == end
    assert Bitlist(20).decode(end) == value


def test_roots_of_basic_kinds() -> None:
    assert U64.hash_tree_root(5) == b"\x05" + bytes(31)
    assert Boolean().hash_tree_root(True) == b"\x01" + bytes(31)
    assert ROOT.hash_tree_root(b"\x07" * 32) == b"\x07" * 32
    key = b"\x09" * 48
    assert KEY.hash_tree_root(key) == sha(key[:32], key[32:] + bytes(16))
    assert ByteList(8).hash_tree_root(b"ab") == sha(b"ab" + bytes(30), b"\x02" + bytes(31))
    assert Bitlist(8).hash_tree_root(Bits(b"\x03", 2)) == sha(b"\x03" + bytes(31), b"\x02" + bytes(31))


def test_roots_of_rows() -> None:
    length = b"\x02" + bytes(31)
    assert Vector(U64, 5).hash_tree_root(bytes(range(40))) == sha(bytes(range(32)), bytes(range(32, 40)) + bytes(24))
    assert List(U64, 8).hash_tree_root(bytes(16)) == sha(sha(bytes(32), bytes(32)), length)
    keys = bytes(range(96))
    leaves = [KEY.hash_tree_root(keys[:48]), KEY.hash_tree_root(keys[48:])]
    assert List(KEY, 4).hash_tree_root(keys) == sha(plain_root(leaves, 2), length)
    assert List(KEY, None).hash_tree_root(keys) == sha(plain_progressive(leaves), length)
    assert List(KEY, 4).hash_tree_root(b"") == sha(ZERO_HASHES[2], bytes(32))
    items = (SimpleNamespace(a=1, b=b""), SimpleNamespace(a=2, b=b"x"))
    roots = [INNER.hash_tree_root(item) for item in items]
    assert Vector(INNER, 2).hash_tree_root(items) == sha(*roots)
    assert List(INNER, None).hash_tree_root(items) == sha(plain_progressive(roots), length)


def test_defaults_are_all_zeros() -> None:
    value = OUTER.default()
    assert OUTER.decode(OUTER.encode(value)) == value
    assert value.number == 0
    assert value.roots == bytes(96)
    assert value.keys == b""
    assert value.inners == value.fixed == value.payloads == ()
    assert value.pair == (INNER.default(), INNER.default())


@pytest.mark.parametrize("kind", [OUTER, PROGRESSIVE], ids=["plain", "progressive"])
def test_every_field_of_a_container_can_be_proven(kind: Container) -> None:
    value = kind.default()
    root = kind.hash_tree_root(value)
    paths = [(name,) for name in kind.fields] + [("inner", "a"), ("inner", "b")]
    gindices = set()
    for path in paths:
        leaf, branch = path_branch(kind, value, path)
        gindex = path_gindex(kind, path)
        assert is_valid_normalized_merkle_branch(leaf, branch, gindex, root)
        gindices.add(gindex)
    assert len(gindices) == len(paths)
    with pytest.raises(TypeError, match="its parent is no container"):
        path_branch(kind, value, ("inner", "a", "x"))


@pytest.mark.parametrize(
    ("kind", "data", "field"),
    [
        (INNER, [], "value"),
        (INNER, {"a": "1"}, "value.b"),
        (INNER, {"a": "1", "b": "00"}, "value.b"),
        (INNER, {"a": "1", "b": "0x0"}, "value.b"),
        (INNER, {"a": "1", "b": "0x00 00"}, "value.b"),
        (INNER, {"a": "1", "b": "0xzz"}, "value.b"),
        (INNER, {"a": "1", "b": "0x" + "00" * 9}, "value.b"),
        (INNER, {"a": "-1", "b": "0x"}, "value.a"),
        (INNER, {"a": -1, "b": "0x"}, "value.a"),
        (INNER, {"a": "1.0", "b": "0x"}, "value.a"),
        (INNER, {"a": 1.0, "b": "0x"}, "value.a"),
        (INNER, {"a": True, "b": "0x"}, "value.a"),
        (INNER, {"a": str(2**64), "b": "0x"}, "value.a"),
        (INNER, {"a": "9" * (MAX_DIGITS + 1), "b": "0x"}, "value.a"),
        (INNER, {"a": "٣", "b": "0x"}, "value.a"),
        (Boolean(), "true", "value"),
        (Vector(ROOT, 2), ["0x" + "00" * 32], "value"),
        (List(U64, 1), ["1", "2"], "value"),
        (List(U64, 1), {"0": "1"}, "value"),
        (List(INNER, 4), [{"a": "1", "b": "0x"}, 5], "value"),
        (Bitvector(10), "0x0004", "value"),
        (Bitlist(4), "0x00", "value"),
    ],
)
def test_json_that_is_no_value_is_refused_by_name(kind: SszType, data: Any, field: str) -> None:
    with pytest.raises(ProofError) as caught:
        from_json(kind, data)
    assert caught.value.field == field


def test_json_reads_bare_numbers_and_ignores_what_it_does_not_know() -> None:
    assert from_json(INNER, {"a": 7, "b": "0xAb", "new": []}) == SimpleNamespace(a=7, b=b"\xab")


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 12, 20, 31, 33, 40, 48, 64, 65, 72, 96, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_rows_of_any_width_hash_as_their_elements_do(size: int, count: int) -> None:
    kind = List(ByteVector(size), 8)
    rows = [bytes((7 * row + column) % 256 for column in range(size)) for row in range(count)]
    leaves = b"".join(kind.element.hash_tree_root(row) for row in rows)
    assert kind.hash_tree_root(b"".join(rows)) == mix_in(merkleize(leaves, 3), count)
