"""Blocks: real ones, and every way in which one is not the block that was asked for."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable

import pytest
from blocks import REAL, In, Tx, bip158, coinbase, key, make_block, real, serialize, signature
from hypothesis import given, settings
from hypothesis import strategies as st
from mine import mine

from merkle.compact import compact_size
from merkle.errors import ProofError
from merkle.pure import sha256d
from merkle.txtree import MerkleBlock, root
from spvnode.bitcoin.block import (
    KEPT_WITNESS_ITEMS,
    MAX_BASE,
    MAX_BLOCK,
    Block,
    BlockError,
    BlockFault,
    base_bytes,
    check_transactions,
    parse_block,
    read_block,
    txout_proof,
)

FUZZ = os.environ.get("SPVNODE_TEST_PROFILE") == "fuzz"
EXAMPLES = settings(max_examples=20_000 if FUZZ else 200, deadline=None)
SPEND = Tx((In(b"\x11" * 32, 3, b"", (signature(1), key(1))),), (b"\x00\x14" + bytes(20), b"\x6a"))
PLAIN = Tx((In(b"\x22" * 32, 0, b"\x51"),), (b"\x51",))


def fault(raw: bytes, header: bytes | None = None) -> BlockFault:
    with pytest.raises(BlockError) as caught:
        read_block(raw, raw[:80] if header is None else header)
    return caught.value.fault


def with_root(header: bytes, transactions: list[bytes], txids: list[bytes]) -> bytes:
    """A block whose header commits to ``txids``."""
    return serialize(header[:36] + root(txids)[0] + header[68:], transactions)


@pytest.mark.parametrize("name", REAL)
def test_real_blocks_are_theirs(name: str) -> None:
    raw = real(name)
    block = read_block(raw, raw[:80])
    assert block.hash == sha256d(raw[:80])
    assert block.transactions[0].is_coinbase
    sizes = [tx.base_size for tx in block.transactions]
    assert 80 < sum(sizes) + 80 < len(raw)


@pytest.mark.parametrize("case", bip158(), ids=lambda case: str(case.height))
def test_blocks_of_the_filter_vectors(case: object) -> None:
    assert read_block(case.raw, case.raw[:80]).hash == case.block_hash  # type: ignore[attr-defined]


def test_what_is_kept_of_a_transaction() -> None:
    block = read_block(raw := make_block(1, [SPEND, PLAIN]), raw[:80])
    _, spend, plain = block.transactions
    assert (spend.txid, spend.wtxid) == (SPEND.txid, sha256d(SPEND.bytes()))
    assert (plain.txid, plain.wtxid) == (PLAIN.txid, PLAIN.txid)
    assert spend.base_size == len(SPEND.bytes(witness=False))
    assert spend.outputs == SPEND.outputs
    (one,) = spend.inputs
    assert (one.prev_hash, one.prev_index, one.script_sig) == (b"\x11" * 32, 3, b"")
    assert (one.stack, one.witness) == (2, (signature(1), key(1)))
    assert not spend.is_coinbase


def test_only_the_end_of_a_long_witness_is_kept() -> None:
    stack = tuple(bytes((i,)) * i for i in range(200))
    block = parse_block(make_block(1, [Tx((In(bytes(31) + b"\x01", 0, b"", stack),), (b"",))]))
    (one,) = block.transactions[1].inputs
    assert (one.stack, one.witness) == (200, stack[-KEPT_WITNESS_ITEMS:])


def test_transactions_without_their_witnesses() -> None:
    raw = make_block(1, [SPEND, PLAIN])
    found = base_bytes(raw, {1, 2, 9})
    assert found == {1: SPEND.bytes(witness=False), 2: PLAIN.bytes(witness=False)}


# -- not the block wanted


def test_another_block() -> None:
    assert fault(make_block(1, []), make_block(2, [])[:80]) is BlockFault.OTHER_BLOCK


def test_other_transactions() -> None:
    raw = make_block(1, [SPEND])
    assert fault(raw.replace(b"\x11" * 32, b"\x12" * 32)) is BlockFault.MERKLE_ROOT
    first, *_ = parse_block(raw).transactions
    assert first.is_coinbase
    assert fault(serialize(raw[:80], [PLAIN.bytes()])) is BlockFault.MERKLE_ROOT


def test_repeated_transactions_of_a_real_block() -> None:
    """CVE-2012-2459 as a peer would send it: same header, same root, the last transaction twice."""
    raw = real("bcoin_block300025.raw.xz")
    last = base_bytes(raw, {460})[460]
    assert raw.endswith(last)
    repeated = raw[:80] + compact_size(462) + raw[83:] + last
    assert fault(repeated) is BlockFault.DUPLICATE


def test_inner_nodes_passed_off_as_transactions() -> None:
    """CVE-2017-12842: half as many transactions of 64 bytes, each two ids in a row. The ids are found by trying until
    they read as a transaction: four bytes here, by writing them instead."""
    pairs = []
    for seed in range(4):
        pair = bytearray(random.Random(seed).randbytes(64))
        pair[4], pair[41], pair[46], pair[55] = 1, 0, 1, 4
        pairs.append(bytes(pair))
    ids = [half for pair in pairs for half in (pair[:32], pair[32:])]
    header, _ = mine(bytes(32), time=0, merkle_root=root(ids)[0])
    forged = serialize(header, pairs)
    assert parse_block(forged).txids == [sha256d(pair) for pair in pairs]
    assert root(parse_block(forged).txids)[0] == header[36:68]
    assert fault(forged) is BlockFault.NO_COINBASE


def test_two_coinbases_or_none() -> None:
    base = make_block(1, [])
    for every in ([PLAIN, SPEND], [coinbase(1, [b""]), coinbase(2, [b""])]):
        raw = with_root(base[:80], [tx.bytes() for tx in every], [tx.txid for tx in every])
        assert fault(raw) is BlockFault.NO_COINBASE


def test_witnesses_that_are_not_committed_to() -> None:
    raw = make_block(1, [SPEND])
    changed = raw.replace(signature(1), signature(2))
    assert parse_block(changed).txids == parse_block(raw).txids
    assert fault(changed) is BlockFault.WITNESS
    bare = coinbase(1, [b"\x51"])
    assert fault(with_root(raw[:80], [bare.bytes(), SPEND.bytes()], [bare.txid, SPEND.txid])) is BlockFault.WITNESS
    short = coinbase(1, list(parse_block(raw).transactions[0].outputs), (bytes(31),))
    assert fault(with_root(raw[:80], [short.bytes(), SPEND.bytes()], [short.txid, SPEND.txid])) is BlockFault.WITNESS


def test_the_last_commitment_counts() -> None:
    raw = make_block(1, [SPEND])
    good = parse_block(raw).transactions[0].outputs[1]
    decoy = good[:6] + bytes(32)
    for outputs, holds in (([decoy, good], True), ([good, decoy], False)):
        first = coinbase(1, outputs, (bytes(32),))
        block = with_root(raw[:80], [first.bytes(), SPEND.bytes()], [first.txid, SPEND.txid])
        if holds:
            read_block(block, block[:80])
        else:
            assert fault(block) is BlockFault.WITNESS


def test_a_stripped_block_has_the_same_ids() -> None:
    raw = make_block(1, [SPEND])
    whole = read_block(raw, raw[:80])
    bare = serialize(raw[:80], list(base_bytes(raw, {0, 1}).values()))
    assert read_block(bare, bare[:80]).txids == whole.txids


MALFORMED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda raw: b"",
    "a header alone": lambda raw: raw[:80],
    "no transactions": lambda raw: raw[:80] + b"\0",
    "cut": lambda raw: raw[:-1],
    "something after it": lambda raw: raw + b"\0",
    "more transactions than bytes": lambda raw: raw[:80] + b"\xfe\xff\xff\xff\xff" + raw[81:],
    "one transaction too many": lambda raw: raw[:80] + b"\x03" + raw[81:],
    "a transaction without inputs": lambda raw: raw[:80] + b"\x01" + bytes(4) + b"\x00\x01\x00" + bytes(80),
    "an unknown marker": lambda raw: raw[:80] + b"\x01" + bytes(4) + b"\x00\x02" + bytes(80),
    "inputs without end": lambda raw: raw[:80] + b"\x01" + bytes(4) + b"\xfe\xff\xff\xff\x7f" + bytes(200),
    "a script without end": lambda raw: (
        raw[:80] + b"\x01" + bytes(4) + b"\x01" + bytes(36) + b"\xfe" + bytes(3) + b"\x7f"
    ),
    "a count not in its shortest form": lambda raw: raw[:80] + b"\xfd\x02\x00" + raw[81:],
}


@pytest.mark.parametrize("how", MALFORMED)
def test_malformed(how: str) -> None:
    with pytest.raises(BlockError) as caught:
        parse_block(MALFORMED[how](make_block(1, [SPEND])))
    assert caught.value.fault is BlockFault.MALFORMED


def test_a_marker_without_witnesses() -> None:
    tx = SPEND.bytes()
    stack = compact_size(2) + compact_size(len(signature(1))) + signature(1) + compact_size(33) + key(1)
    assert tx.count(stack) == 1
    with pytest.raises(BlockError, match="marker"):
        parse_block(serialize(bytes(80), [tx.replace(stack, b"\0")]))


def test_limits_of_size() -> None:
    """A million bytes without witnesses and not one more, and never a weight above four million."""
    header, count = bytes(80), 1
    room = MAX_BASE - 80 - count
    lone = coinbase(1, [bytes(room - len(coinbase(1, [b""]).bytes()) - 4)])  # a longer script has a longer count
    assert len(lone.bytes()) == room
    assert len(parse_block(serialize(header, [lone.bytes()])).transactions) == 1
    one_more = coinbase(1, [lone.outputs[0] + b"\0"])
    assert fault(serialize(header, [one_more.bytes()])) is BlockFault.TOO_BIG
    heavy = Tx((In(b"\x01" * 32, 0, b"", (bytes(3_000_000),)),), (bytes(300_000),))
    assert fault(serialize(header, [heavy.bytes()])) is BlockFault.TOO_BIG
    assert fault(bytes(MAX_BLOCK + 1)) is BlockFault.TOO_BIG


def test_a_witness_of_a_million_items_holds_two() -> None:
    tx = bytearray(Tx((In(b"\x01" * 32, 0, b"", (b"\x07",)),), (b"",)).bytes())
    at = tx.rindex(b"\x01\x01\x07")
    tx[at : at + 3] = compact_size(1_000_000) + bytes(1_000_000)
    (one,) = parse_block(serialize(bytes(80), [bytes(tx)])).transactions[0].inputs
    assert (one.stack, one.witness) == (1_000_000, (b"", b""))


@pytest.mark.fuzz
@given(st.binary(max_size=300), st.sampled_from(REAL[:1]))
@EXAMPLES
def test_any_bytes_are_a_block_or_a_block_error(data: bytes, name: str) -> None:
    for raw in (data, real(name)[:81] + data):
        with contextlib.suppress(BlockError):
            parse_block(raw)


@pytest.mark.fuzz
@given(st.data())
@EXAMPLES
def test_a_changed_byte_of_a_real_block_never_passes(data: st.DataObject) -> None:
    raw = bytearray(real("bcoin_block482683.raw.xz"))
    header = bytes(raw[:80])
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BlockError):
        read_block(bytes(raw), header)


# -- proofs


def test_a_proof_of_a_real_blocks_transactions() -> None:
    block = parse_block(raw := real("bcoin_block300025.raw.xz"))
    chosen = [block.txids[0], block.txids[460], block.txids[17]]
    proof = MerkleBlock.decode(txout_proof(block, chosen))
    assert proof.header == raw[:80]
    assert proof.prove().matches == tuple((i, block.txids[i]) for i in (0, 17, 460))


def test_no_proof_of_what_is_not_there_or_ambiguous() -> None:
    small = Tx((In(b"\x33" * 32),), (bytes(4),))
    assert len(small.bytes()) == 64
    block = read_block(raw := make_block(1, [small]), raw[:80])  # such a block is valid
    assert isinstance(block, Block)
    with pytest.raises(KeyError):
        txout_proof(block, [bytes(32)])
    with pytest.raises(ProofError, match="64 bytes"):
        txout_proof(block, [small.txid])
    assert txout_proof(block, [block.txids[0]])


def test_transactions_are_checked_before_witnesses() -> None:
    raw = make_block(1, [SPEND])
    check_transactions(parse_block(raw.replace(signature(1), signature(2))))
