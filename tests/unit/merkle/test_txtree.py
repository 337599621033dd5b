"""Bitcoin's transaction tree: real proofs, and every way to cheat in one."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from blocks import REAL, real
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors import VECTORS, document

from merkle.compact import compact_size, read_compact_size
from merkle.errors import ProofError
from merkle.pure import sha256d
from merkle.txtree import (
    MAX_MONEY,
    MAX_PROOF,
    MAX_TRANSACTIONS,
    MerkleBlock,
    PartialTree,
    branch,
    fold,
    reads_as_transaction,
    root,
)
from spvnode.bitcoin.block import parse_block

FUZZ = os.environ.get("SPVNODE_TEST_PROFILE") == "fuzz"
EXAMPLES = settings(max_examples=20_000 if FUZZ else 200, deadline=None)
MERKLEBLOCK = (VECTORS / "bitcoin" / "merkleblocks" / "bcoin_merkle300025.raw").read_bytes()
IDS = st.integers(1, 60).flatmap(lambda n: st.sets(st.integers(0, n - 1)).map(lambda chosen: (n, chosen)))


def ids(count: int, seed: int = 0) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(32) for _ in range(count)]


def naive_root(txids: list[bytes]) -> bytes:
    if len(txids) == 1:
        return txids[0]
    if len(txids) % 2:
        txids = [*txids, txids[-1]]
    return naive_root([sha256d(txids[i] + txids[i + 1]) for i in range(0, len(txids), 2)])


# -- CompactSize


@given(st.integers(0, 2**64 - 1))
def test_compact_size_round_trips_and_is_shortest(value: int) -> None:
    data = compact_size(value)
    assert read_compact_size(b"x" + data + b"y", 1) == (value, 1 + len(data))
    for cut in range(len(data)):
        with pytest.raises(ProofError):
            read_compact_size(data[:cut], 0)


@pytest.mark.parametrize("data", ["fdfc00", "feffff0000", "ffffffffff00000000"])
def test_a_longer_form_than_needed_is_refused(data: str) -> None:
    with pytest.raises(ProofError, match="shortest"):
        read_compact_size(bytes.fromhex(data), 0)


# -- roots and branches


@pytest.mark.parametrize("name", REAL)
def test_roots_of_real_blocks(name: str) -> None:
    block = parse_block(real(name))
    assert root(block.txids) == (block.header[36:68], False)


@pytest.mark.parametrize("count", [*range(1, 34), 255, 256, 257])
def test_root_and_every_branch_against_the_naive_tree(count: int) -> None:
    txids = ids(count)
    expected = naive_root(txids)
    assert root(txids) == (expected, False)
    for index in {0, count // 2, count - 1}:
        siblings = branch(txids, index)
        assert len(siblings) == (count - 1).bit_length()
        assert fold(txids[index], index, siblings) == expected


def test_branches_outside_the_tree() -> None:
    for index in (-1, 5):
        with pytest.raises(IndexError):
            branch(ids(5), index)
    with pytest.raises(ProofError, match="index"):
        fold(ids(5)[0], 8, branch(ids(5), 0))


# -- CVE-2012-2459


@pytest.mark.parametrize(
    "case", document("txtree/cve_2012_2459_from_real_blocks.json"), ids=lambda case: case["block_file"]
)
def test_repeated_transactions_of_real_blocks_keep_the_root_and_are_seen(case: dict[str, str]) -> None:
    txids = parse_block(real(case["block_file"] + ".xz")).txids
    repeated = txids + txids[-int(case["duplicate_last"]) :]
    assert len(repeated) == case["mutated_ntx"]
    assert root(repeated) == (bytes.fromhex(case["merkle_root"])[::-1], True)


@given(st.integers(1, 70))
def test_whenever_repeating_the_end_keeps_the_root_it_is_seen(count: int) -> None:
    txids = ids(count)
    for extra in range(1, count + 1):
        found, mutated = root(txids + txids[-extra:])
        assert mutated or found != root(txids)[0]


def test_a_proof_of_a_repeated_leaf_is_refused() -> None:
    txids = ids(7)
    repeated = [*txids, txids[-1]]
    tree = PartialTree.build(repeated, [])
    assert tree.extract().root == root(txids)[0]  # nothing is proven, so nothing is wrong yet
    with pytest.raises(ProofError, match="CVE-2012-2459"):
        PartialTree.build(repeated, [txids[-1]]).extract()
    siblings = branch(repeated, 7)
    with pytest.raises(ProofError, match="itself"):
        fold(txids[-1], 7, siblings)
    assert fold(txids[-1], 6, branch(txids, 6)) == root(txids)[0]


# -- CVE-2017-12842


def forged_pair(seed: int = 1, *, script_sig: int = 0, amount: int = 5_000) -> bytes:
    """A transaction of 64 bytes; its second half is free for the hash of another, but for some bytes of its form."""
    rng = random.Random(seed)
    tx = bytearray(rng.randbytes(64))
    tx[4] = 1
    tx[41] = script_sig
    tx[46 + script_sig] = 1
    tx[47 + script_sig : 55 + script_sig] = amount.to_bytes(8, "little")
    tx[55 + script_sig] = 4 - script_sig
    return bytes(tx)


@pytest.mark.parametrize("script_sig", range(5))
def test_every_form_of_a_64_byte_transaction_is_recognised(script_sig: int) -> None:
    assert reads_as_transaction(forged_pair(script_sig=script_sig))
    assert reads_as_transaction(forged_pair(script_sig=script_sig, amount=MAX_MONEY))
    assert not reads_as_transaction(forged_pair(script_sig=script_sig, amount=MAX_MONEY + 1))
    assert not reads_as_transaction(forged_pair(script_sig=script_sig) + b"\0")


@pytest.mark.parametrize("at", [4, 41, 46, 55])
def test_no_other_64_bytes_are(at: int) -> None:
    pair = bytearray(forged_pair())
    pair[at] ^= 0x40
    assert not reads_as_transaction(bytes(pair))


def test_random_pairs_hardly_ever_are() -> None:
    rng = random.Random(7)
    assert not any(reads_as_transaction(rng.randbytes(64)) for _ in range(200_000))


def test_cores_vector_of_a_transaction_made_of_two_ids() -> None:
    case = document("txtree/cve_2017_12842_core.json")
    pair = bytes.fromhex(case["tx3"])
    assert pair == bytes.fromhex(case["txid1"])[::-1] + bytes.fromhex(case["txid2"])[::-1]
    assert sha256d(pair) == bytes.fromhex(case["txid3"])[::-1]
    # It parses, but has no inputs: no block can hold it, so there is nothing to pass off.
    assert not reads_as_transaction(pair)


def test_a_txid_below_a_64_byte_transaction_is_refused() -> None:
    """The attack: a block with the leaf T, 64 bytes, whose second half is a txid that is in no block."""
    forged = forged_pair(script_sig=2)
    honest = ids(7)
    leaves = [*honest[:3], sha256d(forged), *honest[3:]]
    found, _ = root(leaves)
    siblings = (forged[:32], *branch(leaves, 3))
    assert sha256d(forged) == leaves[3]
    with pytest.raises(ProofError, match="64 bytes"):
        fold(forged[32:], 7, siblings)
    deeper = [half for leaf in leaves for half in ((forged[:32], forged[32:]) if leaf == leaves[3] else (leaf, leaf))]
    tree = PartialTree.build(deeper, [forged[32:]])
    with pytest.raises(ProofError, match="64 bytes"):
        tree.extract()
    assert fold(leaves[3], 3, branch(leaves, 3)) == found


# -- partial trees


@given(IDS)
def test_partial_trees_prove_exactly_what_was_chosen(case: tuple[int, set[int]]) -> None:
    count, chosen = case
    txids = ids(count)
    tree = PartialTree.build(txids, [txids[i] for i in chosen])
    found = tree.extract()
    assert found.root == root(txids)[0]
    assert found.matches == tuple((i, txids[i]) for i in sorted(chosen))
    proof = MerkleBlock(bytes(36) + found.root + bytes(12), tree)
    assert MerkleBlock.decode(proof.encode()) == proof
    assert proof.prove() == found


@pytest.mark.fuzz
@given(IDS, st.data())
@EXAMPLES
def test_a_changed_proof_proves_nothing_else(case: tuple[int, set[int]], data: st.DataObject) -> None:
    """Any one changed byte: refused, or it leads elsewhere, or (in unused flag positions) it says the same."""
    count, chosen = case
    txids = ids(count)
    honest = MerkleBlock(bytes(36) + root(txids)[0] + bytes(12), PartialTree.build(txids, [txids[i] for i in chosen]))
    raw = bytearray(honest.encode())
    at = data.draw(st.integers(80, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        found = MerkleBlock.decode(bytes(raw)).prove()
    except ProofError:
        return
    known = set(txids)
    assert all(txid in known for _, txid in found.matches)


@pytest.mark.fuzz
@given(st.binary(max_size=400), st.booleans())
@EXAMPLES
def test_any_bytes_are_a_proof_or_a_proof_error(data: bytes, real_header: bool) -> None:
    try:
        MerkleBlock.decode(MERKLEBLOCK[:80] + data if real_header else data).prove()
    except ProofError:
        return
    raise AssertionError("random bytes prove something")


def test_a_real_merkleblock() -> None:
    proof = MerkleBlock.decode(MERKLEBLOCK)
    block = parse_block(real("bcoin_block300025.raw.xz"))
    found = proof.prove()
    assert (proof.header, proof.tree.total) == (block.header, 461)
    assert found.matches == tuple((i, txid) for i, txid in enumerate(block.txids) if (i, txid) in found.matches)
    assert len(found.matches) == 2
    again = MerkleBlock(block.header, PartialTree.build(block.txids, [txid for _, txid in found.matches]))
    assert again.encode() == MERKLEBLOCK


BROKEN = {
    "no transactions": lambda tree: replace(tree, total=0),
    "more than a block holds": lambda tree: replace(tree, total=MAX_TRANSACTIONS + 1),
    "more hashes than transactions": lambda tree: replace(tree, hashes=tree.hashes * 60),
    "a hash too many": lambda tree: replace(tree, hashes=(*tree.hashes, bytes(32))),
    "a hash missing": lambda tree: replace(tree, hashes=tree.hashes[:-1]),
    "no hashes": lambda tree: replace(tree, hashes=()),
    "no flags": lambda tree: replace(tree, flags=b""),
    "a flag byte too many": lambda tree: replace(tree, flags=tree.flags + b"\0"),
    "a flag byte missing": lambda tree: replace(tree, flags=tree.flags[:-1]),
    "padding in the flags": lambda tree: replace(tree, flags=tree.flags[:-1] + bytes((tree.flags[-1] | 0x80,))),
    "another number of transactions": lambda tree: replace(tree, total=200),
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_partial_trees_are_refused(how: str) -> None:
    proof = MerkleBlock.decode(MERKLEBLOCK)
    with pytest.raises(ProofError):
        replace(proof, tree=BROKEN[how](proof.tree)).prove()


# Not the first: what it matches is of a block that the conversion left out, with the second's in its place.
@pytest.mark.parametrize(
    "case", document("merkleblocks/core_bloom_merkle_blocks.json")[1:], ids=lambda case: case["name"]
)
def test_blocks_that_bitcoin_core_filters(case: dict[str, Any]) -> None:
    """Which transactions match is Core's; where its test has the bytes of the proof, so are they."""
    block = parse_block(bytes.fromhex(case["block_hex"]))
    matched = [bytes.fromhex(txid)[::-1] for txid in case["matched"]]
    made = MerkleBlock(block.header, PartialTree.build(block.txids, matched))
    assert made.encode() == reference_proof(block.header, block.txids, {block.txids.index(txid) for txid in matched})
    if case["expected_merkleblock_hex"]:
        assert made.encode().hex() == case["expected_merkleblock_hex"]
    found = MerkleBlock.decode(made.encode()).prove()
    assert {txid for _, txid in found.matches} == set(matched)


def reference_proof(header: bytes, txids: Sequence[bytes], chosen: set[int]) -> bytes:
    """By BIP37's words: depth first, a bit for every node that is met, a hash for every one that is not entered."""
    bits, hashes = [], []

    def visit(first: int, width: int) -> None:
        inside = any(first <= index < first + width for index in chosen)
        bits.append(inside)
        if width == 1 or not inside:
            leaves = list(txids[first : first + width])
            while width > 1:
                leaves += leaves[-1:] * (len(leaves) % 2)
                leaves = [sha256d(leaves[at] + leaves[at + 1]) for at in range(0, len(leaves), 2)]
                width //= 2
            hashes.append(leaves[0])
            return
        visit(first, width // 2)
        if first + width // 2 < len(txids):
            visit(first + width // 2, width // 2)

    visit(0, 1 << (len(txids) - 1).bit_length())
    flags = bytearray((len(bits) + 7) // 8)
    for place, bit in enumerate(bits):
        flags[place // 8] |= bit << place % 8
    parts = [header, len(txids).to_bytes(4, "little"), compact_size(len(hashes)), *hashes]
    return b"".join([*parts, compact_size(len(flags)), flags])


def test_the_reference_gives_the_recorded_merkleblock() -> None:
    block = parse_block(real("bcoin_block300025.raw.xz"))
    chosen = {index for index, _ in MerkleBlock.decode(MERKLEBLOCK).prove().matches}
    assert reference_proof(block.header, block.txids, chosen) == MERKLEBLOCK


def choices(count: int) -> list[set[int]]:
    """None, one at either end, the last two, everything, and some of all over."""
    some = {0, 1, 15, 20, 115, count * 2 // 3, count - 5, count - 1}
    every = [set(), {0}, {count - 1}, {count - 2, count - 1}, {count // 2}, set(range(count)), some]
    return [{index for index in chosen if 0 <= index < count} for chosen in every]


@pytest.mark.parametrize("name", REAL)
def test_proofs_of_real_blocks(name: str) -> None:
    block = parse_block(real(name))
    for chosen in choices(len(block.txids)):
        raw = reference_proof(block.header, block.txids, chosen)
        proof = MerkleBlock.decode(raw)
        assert proof.tree.total == len(block.txids)
        assert proof.prove().matches == tuple((index, block.txids[index]) for index in sorted(chosen))
        assert proof.encode() == raw
        assert MerkleBlock(block.header, PartialTree.build(block.txids, [block.txids[i] for i in chosen])) == proof


@pytest.mark.parametrize("count", [1851, 2048, 2355])
def test_proofs_of_blocks_as_large_as_todays(count: int) -> None:
    txids = ids(count)
    header = bytes(36) + root(txids)[0] + bytes(12)
    for chosen in choices(count):
        proof = MerkleBlock.decode(reference_proof(header, txids, chosen))
        assert proof.tree.extract().matches == tuple((index, txids[index]) for index in sorted(chosen))
        assert proof.tree == PartialTree.build(txids, [txids[index] for index in chosen])


def test_frames_around_a_proof_are_refused() -> None:
    for data in (b"", MERKLEBLOCK[:80], MERKLEBLOCK[:84], MERKLEBLOCK[:-1], MERKLEBLOCK + b"\0", bytes(MAX_PROOF + 1)):
        with pytest.raises(ProofError):
            MerkleBlock.decode(data)


def test_the_greatest_proof_fits_its_bound() -> None:
    txids = ids(MAX_TRANSACTIONS)
    tree = PartialTree.build(txids, txids)
    raw = MerkleBlock(bytes(36) + root(txids)[0] + bytes(12), tree).encode()
    assert len(raw) <= MAX_PROOF
    assert len(MerkleBlock.decode(raw).prove().matches) == MAX_TRANSACTIONS
