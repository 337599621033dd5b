"""Proofs of ancestry, transactions and many headers: true ones hold by two verifiers, altered ones by neither."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from blocks import real as real_block
from hypothesis import given
from hypothesis import strategies as st

from merkle import verify_columns, verify_more
from merkle.errors import ProofError
from merkle.proofs import (
    MAX_COLUMN_HEADERS,
    MAX_HEADERS,
    AncestryProof,
    HeadersProof,
    TxProof,
    encode,
    make_tx_proof,
    to_json,
)
from merkle.pure import sha256d
from merkle.txtree import root
from spvnode.bitcoin.block import base_bytes, parse_block
from tests.support.mine import mine
from tests.support.proof_maker import Maker, ancestry, columns_proof, headers, mainnet, regtest
from tests.support.second_bytes import columns
from tests.support.second_verifier import Refuted, check


def column(maker: Maker, heights: list[int], cp_height: int) -> bytes:
    return columns_proof(maker, heights, cp_height).encode()


def both_hold(proof: AncestryProof | HeadersProof | TxProof, **trusted: Any) -> verify_more.Verdict:
    form = to_json(proof)
    check(form)
    verdicts = [verify_more.verify(given, **trusted) for given in (encode(proof), form, json.dumps(form))]
    assert all(verdict.ok for verdict in verdicts), verdicts
    assert verdicts[0] == verdicts[1] == verdicts[2]
    return verdicts[0]


# -- ancestry


@pytest.mark.parametrize(("base", "with_peaks"), [(0, False), (5, False), (5, True), (64, True)])
def test_every_pair_of_tips_has_its_proof(base: int, with_peaks: bool) -> None:
    maker = regtest(34, base, with_peaks) if base else mainnet()
    for old in range(base, base + 34):
        for new in range(old, base + 34):
            both_hold(ancestry(maker, old, new))


def test_what_an_ancestry_proof_says_depends_on_whose_root_is_trusted() -> None:
    maker = mainnet()
    proof = ancestry(maker, 12_345, 32_000)
    new, old, other = (maker.forest.root(height) for height in (32_000, 12_345, 12_346))
    assert both_hold(proof).rests_on == "maker"
    found = both_hold(proof, trusted_root=new)
    assert (found.rests_on, found.claimed) == ("trusted new root", ())
    assert found.fields["old_hash"] == maker.hash(12_345)[::-1].hex()
    assert both_hold(proof, trusted_root=old).claimed == ("new_height",)
    refused = verify_more.verify(encode(proof), trusted_root=other)
    assert (refused.ok, refused.reason) == (False, "trusted-root")
    assert len(encode(proof)) < 1_500
    with pytest.raises(ValueError, match="does not apply"):
        verify_more.verify(encode(proof), trusted_tip=maker.hash(32_000))


def test_another_chain_of_the_same_length_is_no_ancestor() -> None:
    maker, other = regtest(34, 64, True), Maker("regtest", regtest(34, 70, True).raw, 64)
    mixed = to_json(ancestry(maker, 80, 90)) | {"old_header": other.header(80).hex()}
    assert not verify_more.verify(mixed).ok
    with pytest.raises(Refuted):
        check(mixed)


# -- many headers


def test_many_headers_share_one_multiproof() -> None:
    maker = mainnet()
    heights = random.Random(7).sample(range(32_000), MAX_HEADERS)
    proof = headers(maker, heights, 32_100)
    verdict = both_hold(proof, trusted_root=maker.forest.root(32_100))
    assert (verdict.rests_on, verdict.fields["count"], verdict.claimed) == ("trusted root", MAX_HEADERS, ())
    assert [row["height"] for row in verdict.fields["headers"]] == sorted(heights)
    assert verdict.fields["hashes"][0] == maker.hash(min(heights))[::-1].hex()
    alone = len(encode(headers(maker, heights[:1], 32_100)))
    assert len(encode(proof)) < alone * MAX_HEADERS / 4
    with pytest.raises(ProofError, match="2017"):
        headers(maker, list(range(MAX_HEADERS + 1)), 32_100)


@pytest.mark.parametrize("heights", [[0], [0, 1, 2], [32_100], [5, 32_100, 32_099], list(range(100, 164))])
def test_at_the_edges_of_the_tree(heights: list[int]) -> None:
    both_hold(headers(mainnet(), heights, 32_100))


def test_columns_are_as_good_as_a_multiproof() -> None:
    maker = mainnet()
    heights = random.Random(8).sample(range(32_101), MAX_COLUMN_HEADERS)
    data = column(maker, heights, 32_100)
    found = verify_columns.verify(data)
    assert (found.count, found.cp_height, found.root) == (len(heights), 32_100, maker.forest.root(32_100))
    assert columns(data) == [(height, maker.hash(height)) for height in heights]
    with pytest.raises(ProofError):
        column(maker, [*heights, 1], 32_100)


@pytest.mark.parametrize(("base", "with_peaks"), [(5, False), (64, True)])
def test_columns_of_a_chain_that_begins_at_a_checkpoint(base: int, with_peaks: bool) -> None:
    maker = regtest(34, base, with_peaks)
    data = column(maker, [base, base + 20, base + 33], base + 33)
    assert verify_columns.verify(data).range_start == (0 if with_peaks else base)
    assert columns(data)[1] == (base + 20, maker.hash(base + 20))


def test_columns_do_not_count_a_header_twice() -> None:
    with pytest.raises(ProofError, match="name one header twice"):
        columns_proof(mainnet(), [3, 3], 8)
    one = columns_proof(mainnet(), [3], 8)
    twice = replace(one, heights=2 * one.heights, headers=2 * one.headers, branches=2 * one.branches)
    with pytest.raises(ProofError, match="name one header twice"):
        verify_columns.verify(twice.encode())
    with pytest.raises(Refuted, match="a height twice"):
        columns(twice.encode())


def test_columns_refuse_a_root_of_another_size() -> None:
    """The last leaf's branch binds the size: 33 leaves have the root of 34 where the last is repeated
    (CVE-2012-2459)."""
    maker = regtest(33, 64, False)
    data = bytearray(column(maker, [70], 64 + 32))
    at = 2 + len("regtest") + 32 + 4 + 4 + 32
    assert int.from_bytes(data[at : at + 4], "little") == 96
    data[at : at + 4] = (97).to_bytes(4, "little")
    with pytest.raises(ProofError):
        verify_columns.verify(bytes(data))


def test_columns_without_proof_of_work_are_refused() -> None:
    maker = regtest(4, 64, False)
    broken = bytearray(maker.header(66))
    while int.from_bytes(sha256d(bytes(broken)), "little") <= (1 << 255) - 1:
        broken[76] = (broken[76] + 1) % 256
    forged = Maker("regtest", maker.raw[: 2 * 80] + bytes(broken) + maker.raw[3 * 80 :], 64)
    with pytest.raises(ProofError, match="target"):
        verify_columns.verify(column(forged, [66], 67))


# -- transactions


def with_block(merkle_root: bytes) -> Maker:
    """A regtest chain whose last block, at height 104, has these transactions."""
    maker = regtest(40, 64, True)
    last, _ = mine(maker.hash(103), time=1_700_000_000, merkle_root=merkle_root)
    return Maker("regtest", maker.raw + last, 64)


def tx_proof(raw: bytes, position: int) -> TxProof:
    maker = with_block(raw[36:68])
    found = base_bytes(raw, {0, position})
    return make_tx_proof(maker.bundle(104), parse_block(raw).txids, position, found[0], found[position])


@pytest.mark.parametrize("name", ["bcoin_block300025.raw.xz", "bcoin_block898352.raw.xz"])
def test_transactions_of_real_blocks(name: str) -> None:
    raw = real_block(name)
    txids = parse_block(raw).txids
    for position in (0, 1, len(txids) // 2, len(txids) - 1):
        verdict = both_hold(tx_proof(raw, position))
        assert verdict.fields["txid"] == txids[position][::-1].hex()
        assert verdict.fields["tx_count"] == len(txids)
        assert sha256d(bytes.fromhex(verdict.fields["transaction"])) == txids[position]


def test_a_transaction_that_could_be_an_inner_node_is_not_proven() -> None:
    coinbase = bytes(4) + b"\x01" + bytes(32) + b"\xff" * 4 + bytes(30)
    inner = bytes(range(64))
    txids = [sha256d(coinbase), sha256d(inner)]
    bundle = with_block(root(txids)[0]).bundle(104)
    with pytest.raises(ProofError, match="64 bytes"):
        make_tx_proof(bundle, txids, 1, coinbase, inner)
    forged = TxProof(bundle, 2, 1, coinbase, inner, ())
    assert verify_more.verify(encode(forged)).reason == "transaction"


def test_half_of_a_transaction_of_64_bytes_is_no_transaction_id() -> None:
    """CVE-2017-12842: the coinbase's depth shows that the leaf below the 64 bytes is one level too deep."""
    coinbase = bytes(4) + b"\x01" + bytes(32) + b"\xff" * 4 + bytes(30)
    wanted = b"a transaction that nobody made"
    inner = sha256d(b"left") + sha256d(wanted)
    bundle = with_block(root([sha256d(coinbase), sha256d(inner)])[0]).bundle(104)
    for nodes in ((sha256d(b"left"),), (sha256d(b"left"), sha256d(coinbase)), (sha256d(coinbase), sha256d(b"left"))):
        forged = TxProof(bundle, 4, 3, coinbase, wanted, nodes)
        assert not verify_more.verify(encode(forged)).ok


# -- lies


def small_proofs() -> dict[str, bytes]:
    maker = regtest(40, 64, True)
    return {
        "ancestry": encode(ancestry(maker, 70, 99)),
        "headers": encode(headers(maker, [66, 80, 81], 99)),
        "transaction": encode(tx_proof(real_block("bcoin_block898352.raw.xz"), 1)),
    }


@pytest.mark.parametrize("kind", ["ancestry", "headers"])
def test_no_byte_can_be_changed_without_a_refusal(kind: str) -> None:
    data = small_proofs()[kind]
    for at in range(len(data)):
        for change in (1, 0x80):
            lie = bytearray(data)
            lie[at] ^= change
            assert not verify_more.verify(bytes(lie)).ok, at


def test_no_byte_of_a_transaction_proof_can_be_changed_but_the_makers_claims() -> None:
    data = small_proofs()["transaction"]
    unchanged = []
    for at in range(len(data)):
        lie = bytearray(data)
        lie[at] ^= 1
        if verify_more.verify(bytes(lie)).ok:
            unchanged.append(at)
    count, *others = unchanged
    assert 1 <= count < 5  # tx_count
    assert others == list(range(others[0], others[0] + 32 + 4))  # chainwork and made_at of the header bundle
    assert "tx_count" in verify_more.verify(data).claimed


def test_no_byte_of_the_columns_can_be_changed() -> None:
    data = column(regtest(40, 64, True), [66, 80, 81], 99)
    for at in range(len(data)):
        lie = bytearray(data)
        lie[at] ^= 1
        with pytest.raises(ProofError):
            verify_columns.verify(bytes(lie))


@pytest.mark.parametrize("kind", ["ancestry", "headers", "transaction"])
def test_nothing_may_be_missing_added_or_written_otherwise(kind: str) -> None:
    data = small_proofs()[kind]
    for length in (*range(0, len(data), 7), len(data) - 1):
        assert not verify_more.verify(data[:length]).ok
    assert not verify_more.verify(data + bytes(32)).ok
    _, found = verify_more._read(data)
    form = verify_more._shown(data[0], found)
    assert verify_more.verify(form).ok
    for name in form:
        assert not verify_more.verify({key: value for key, value in form.items() if key != name}).ok
        assert not verify_more.verify({**form, name: True}).ok
        assert not verify_more.verify({**form, name: None}).ok
    assert not verify_more.verify({**form, "more": 1}).ok


@pytest.mark.fuzz
@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"\x03", b"\x04", b"\x05", b"\x06", b"\x07", b"\x08", b"\x07\x07regtest"]),
)
def test_junk_is_refused_and_never_raises(data: bytes, begins: bytes) -> None:
    assert not verify_more.verify(begins + data).ok
    with pytest.raises(ProofError):
        verify_columns.verify(begins + data)
