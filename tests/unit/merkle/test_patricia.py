"""Merkle-Patricia proofs: official tries, and random ones of every shape, whose every key and every neighbour is asked.

The proofs come from a builder that shares nothing with the reader."""

from __future__ import annotations

import json
import random
from pathlib import Path
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
from tests.support.small_trie import SmallTrie, rlp

TRIES = json.loads((Path(__file__).parents[2] / "vectors/ethereum/eip1186/tries.json").read_text())
OFFICIAL = [(kind, name) for kind, group in TRIES.items() for name in group["tests"]]


def meant(text: str) -> bytes:
    return bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode()


def official_table(case: dict[str, Any], secure: bool) -> dict[bytes, bytes]:
    """The pairs in order, None taking one out again."""
    table: dict[bytes, bytes] = {}
    for key, value in case["in"]:
        place = keccak256(meant(key)) if secure else meant(key)
        if value is None:
            table.pop(place)
        else:
            table[place] = meant(value)
    return table


@pytest.mark.parametrize(("kind", "name"), OFFICIAL)
def test_official_tries(kind: str, name: str) -> None:
    case = TRIES[kind]["tests"][name]
    table = official_table(case, "Secure" in kind)
    trie = SmallTrie(table)
    assert "0x" + trie.root.hex() == case["root"]
    assert_all_answers(table, trie)


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
    near = neighbours(table)
    # Of the largest official trie, 500 keys of 20 bytes, every tenth neighbour.
    for key in {*table, *sorted(near)[:: 1 + len(near) // 20_000 * 10]}:
        assert verify_proof(trie.root, key, trie.proof(key)) == table.get(key)
        assert verify_proof(trie.root, key, trie.proof(key, list_embedded=True)) == table.get(key)


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


def test_hashed_keys() -> None:
    rng = random.Random(7)
    table = {keccak256(rng.randbytes(20)): rng.randbytes(rng.choice((1, 32, 110))) for _ in range(400)}
    trie = SmallTrie(table)
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
