"""Merkle-Patricia proofs: tries of every shape, whose every key and every neighbour is asked.

The proofs come from two builders that share nothing with the reader: PyPI's py-trie, and one made for these tests."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkle.errors import ProofError
from merkle.patricia import (
    EMPTY_NODE,
    EMPTY_ROOT,
    MAX_KEY,
    MAX_NODE_SIZE,
    MAX_PROOF_NODES,
    keccak256,
    verify_proof,
)
from tests.support.eip1186 import PyTrie
from tests.support.small_trie import SmallTrie, rlp

WORDS: dict[str, dict[str, str]] = {
    "one": {"key": "value"},
    "one with an empty key": {"": "value"},
    "keys within keys": {"": "a", "r": "b", "ro": "c", "roo": "d", "root": "e", "roots": "f" * 40},
    "an end inside an extension": {"branch": "x", "branches": "y", "brand": "z" * 33},
    "a branch at every nibble": {"@": "4", "A": "4", "P": "5", "`": "6", "p": "7" * 32, "q": "7"},
    "values that are short, of 32 bytes, and long": {"aa": "1", "ab": "2" * 32, "b": "3" * 300},
    "an extension below a branch": {"\x12\x34\x56": "l", "\x12\x34\x57": "m", "\x22\x34": "n"},
}


@pytest.mark.parametrize("name", WORDS)
def test_tries_of_words(name: str) -> None:
    table = {key.encode(): value.encode() for key, value in WORDS[name].items()}
    trie = SmallTrie(table)
    assert trie.root == PyTrie(table).root
    assert_all_answers(table, trie)
    assert_all_proven(table, PyTrie(table))


def neighbours(table: dict[bytes, bytes]) -> set[bytes]:
    """The table's keys with any nibble changed, with any end cut off, and with more after them."""
    near = set()
    for key in table:
        digits = key.hex()
        near |= {bytes.fromhex(digits[:at]) for at in range(0, len(digits), 2)}
        near |= {key + bytes([low]) for low in (0, 1, 16, 255) if len(key) < MAX_KEY}
        for at in range(len(digits)):
            near |= {bytes.fromhex(digits[:at] + new + digits[at + 1 :]) for new in "0123456789abcdef"}
    return near | {b"", b"\x00", b"\xff" * 4}


def assert_all_answers(table: dict[bytes, bytes], trie: SmallTrie) -> None:
    for key in {*table, *neighbours(table)}:
        assert verify_proof(trie.root, key, trie.proof(key)) == table.get(key)
        assert verify_proof(trie.root, key, trie.proof(key, list_embedded=True)) == table.get(key)


def assert_all_proven(table: dict[bytes, bytes], trie: PyTrie) -> None:
    for key in {*table, *neighbours(table)}:
        assert verify_proof(trie.root, key, trie.proof(key)) == table.get(key)


def random_table(rng: random.Random) -> dict[bytes, bytes]:
    """Short keys over few nibbles, so that they share prefixes and end within each other; values short and long."""
    size = rng.choice((1, 1, 2, 4))
    fixed = rng.random() < 0.4
    nibbles = rng.choice(("01", "012f", "0123456789abcdef"))
    table = {}
    for _ in range(rng.randrange(1, 24)):
        length = size if fixed else rng.randrange(0, size + 1)
        key = bytes.fromhex("".join(rng.choice(nibbles) for _ in range(2 * length)))
        table[key] = rng.randbytes(rng.choice((1, 1, 2, 3, 27, 32, 60)))
    return table


def test_random_tries_exhaustively() -> None:
    rng = random.Random(1186)
    kinds: set[str] = set()
    embedding = 0
    for _ in range(60):
        table = random_table(rng)
        trie = SmallTrie(table)
        kinds |= trie.kinds
        embedding += trie.embedding
        assert_all_answers(table, trie)
    assert kinds == {"leaf", "extension", "branch", "branch with value"}
    assert 10 < embedding < 60


def test_random_tries_of_another_builder() -> None:
    """Its tries have had other keys in them, so that branches became extensions and leaves again."""
    rng = random.Random(1187)
    for _ in range(25):
        table = random_table(rng)
        trie = PyTrie(table, out=random_table(rng))
        assert trie.root == SmallTrie(table).root
        assert_all_proven(table, trie)


def test_what_was_taken_out_again_is_proven_absent() -> None:
    rng = random.Random(1188)
    kept, gone = ({keccak256(rng.randbytes(20)): rng.randbytes(70) for _ in range(300)} for _ in range(2))
    trie = PyTrie(kept, out=gone)
    assert trie.root == PyTrie(kept).root != PyTrie(kept | gone).root
    assert all(verify_proof(trie.root, key, trie.proof(key)) == kept.get(key) for key in {*kept, *gone})
    assert PyTrie({}, out=gone).root == EMPTY_ROOT


@pytest.mark.parametrize("builder", [SmallTrie, PyTrie])
def test_hashed_keys(builder: type[SmallTrie] | type[PyTrie]) -> None:
    rng = random.Random(7)
    table = {keccak256(rng.randbytes(20)): rng.randbytes(rng.choice((1, 32, 110))) for _ in range(400)}
    trie = builder(table)
    for key, value in table.items():
        assert verify_proof(trie.root, key, trie.proof(key)) == value
    for _ in range(400):
        key = keccak256(rng.randbytes(20))
        assert verify_proof(trie.root, key, trie.proof(key)) is None


@given(st.integers(0, 2**32), st.data())
def test_every_changed_byte_is_refused(seed: int, data: st.DataObject) -> None:
    table = random_table(random.Random(seed))
    trie = SmallTrie(table)
    key = data.draw(st.sampled_from(sorted(neighbours(table))))
    proof = trie.proof(key, list_embedded=data.draw(st.booleans()))
    node = data.draw(st.integers(0, len(proof) - 1))
    at = data.draw(st.integers(0, len(proof[node]) - 1))
    changed = bytearray(proof[node])
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProofError):
        verify_proof(trie.root, key, [*proof[:node], bytes(changed), *proof[node + 1 :]])


@given(st.integers(0, 2**32), st.data())
def test_nothing_may_be_left_out_added_or_moved(seed: int, data: st.DataObject) -> None:
    table = random_table(random.Random(seed))
    trie = SmallTrie(table)
    key = data.draw(st.sampled_from(sorted(neighbours(table))))
    proof = trie.proof(key)
    node = data.draw(st.integers(0, len(proof) - 1))
    other = data.draw(st.sampled_from([rlp(each) for each in trie.by_hash.values()] or [b"\xc0"]))
    cut, more = proof[:node] + proof[node + 1 :], [*proof[: node + 1], other, *proof[node + 1 :]]
    for wrong in (cut, more):
        with pytest.raises(ProofError):
            verify_proof(trie.root, key, wrong)
    with pytest.raises(ProofError):
        verify_proof(keccak256(trie.root), key, proof)


def test_the_empty_trie() -> None:
    assert EMPTY_ROOT.hex() == "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
    assert SmallTrie({}).root == EMPTY_ROOT
    assert verify_proof(EMPTY_ROOT, b"any", []) is None
    assert verify_proof(EMPTY_ROOT, b"any", [EMPTY_NODE]) is None
    with pytest.raises(ProofError, match="more than the key needs"):
        verify_proof(EMPTY_ROOT, b"any", [EMPTY_NODE, EMPTY_NODE])
    with pytest.raises(ProofError, match="ends before"):
        verify_proof(keccak256(b"other"), b"any", [])


def refused(node: Any, key: str, below: list[bytes] | None = None) -> str:
    data = rlp(node)
    with pytest.raises(ProofError) as caught:
        verify_proof(keccak256(data), bytes.fromhex(key), [data, *(below or [])])
    return caught.value.problem


BRANCH: list[Any] = [b""] * 17


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        (b"text", "neither leaf nor extension nor branch"),
        ([b"\x20"], "neither leaf nor extension nor branch"),
        ([b""] * 16, "neither leaf nor extension nor branch"),
        ([b"", b"v"], "without a valid prefix"),
        ([b"\x40\x12", b"v"], "without a valid prefix"),
        ([b"\x21\x12", b"v"], "not padded with zero"),
        ([b"\x01\x12", b"v"], "not padded with zero"),
        ([[b"\x20"], b"v"], "node where a value belongs"),
        ([b"\x20\x12", [b"v"]], "node where a value belongs"),
        ([b"\x20\x12", b""], "leaf without a value"),
        ([b"\x00", BRANCH], "extension without a path"),
        ([b"\x00\x12", b""], "does not lead to a branch"),
        ([b"\x00\x12", [b"\x20", b"v"]], "does not lead to a branch"),
        ([b"\x00\x12", b"x" * 31], "neither a hash nor a node"),
        ([b"\x00\x12", b"x" * 33], "neither a hash nor a node"),
        ([b"\x00\x12", [b"\x20", b"v" * 30]], "too long for that"),
        ([b"\x00\x12", b"x" * 32], "ends before the key"),
        ([b"\x00\x12", [*BRANCH[:16], [b"v"]]], "node where a value belongs"),
    ],
)
def test_malformed_nodes(node: Any, problem: str) -> None:
    assert problem in refused(node, "12")


def test_a_short_node_must_lie_in_its_parent() -> None:
    leaf = rlp([b"\x20", b"v"])
    assert "belongs into its parent" in refused([b"\x00\x12", keccak256(leaf)], "12", [leaf])


def test_bounds() -> None:
    node = rlp([b"\x20\x12", b"v"])
    root = keccak256(node)
    assert verify_proof(root, b"\x12", [node]) == b"v"
    assert verify_proof(root, bytes(MAX_KEY), [node]) is None
    long_node = rlp([b"\x20\x12", b"v" * (MAX_NODE_SIZE - 9)])
    assert len(long_node) == MAX_NODE_SIZE
    assert verify_proof(keccak256(long_node), b"\x12", [long_node]) == b"v" * (MAX_NODE_SIZE - 9)
    for field, arguments in (
        ("root", (root[:31], b"\x12", [node])),
        ("key", (root, bytes(MAX_KEY + 1), [node])),
        ("proof", (root, b"\x12", [node] * (MAX_PROOF_NODES + 1))),
        ("proof", (root, b"\x12", [node, bytes(MAX_NODE_SIZE + 1)])),
    ):
        with pytest.raises(ProofError) as caught:
            verify_proof(*arguments)
        assert caught.value.field == field
        assert caught.value.limit is not None


def test_the_longest_way_fits() -> None:
    """A branch at each nibble of a 32-byte key needs every node that is allowed."""
    key = bytes(MAX_KEY)
    digits = key.hex()
    table = {key: b"v" * 32}
    table |= {bytes.fromhex(digits[:at] + "f" + digits[at + 1 :]): b"w" * 32 for at in range(len(digits))}
    trie = SmallTrie(table)
    proof = trie.proof(key)
    assert len(proof) == MAX_PROOF_NODES
    assert verify_proof(trie.root, key, proof) == b"v" * 32
