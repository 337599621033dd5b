"""What a block tells about the scripts that it spends: never wrong on real blocks, nor where it says it is sure."""

from __future__ import annotations

import hashlib

import pytest
from blocks import REAL, Bip158, In, Tx, bip158, key, make_block, push, real, signature

from spvnode.bitcoin.block import parse_block
from spvnode.bitcoin.prevouts import Spent, hash160, spent_scripts

FROM = b"\x77" * 32
SIG, KEY = signature(1), key(1)
LONG = b"\x04" + bytes(64)
REDEEM = b"\x52\x21" + KEY + b"\x51\xae"


def spent(script_sig: bytes = b"", witness: tuple[bytes, ...] = ()) -> Spent:
    block = parse_block(make_block(1, [Tx((In(FROM, 0, script_sig, witness),), (b"\x51",))]))
    (one,) = spent_scripts(block)
    return one


def p2sh(script: bytes) -> bytes:
    return b"\xa9\x14" + hash160(script) + b"\x87"


def test_hash160() -> None:
    """Of the genesis key, as its address has it."""
    genesis_key = parse_block(bip158()[0].raw).transactions[0].outputs[0][1:-1]
    assert hash160(genesis_key).hex() == "62e907b15cbf27d5425399ebf6f0fb50ebb88f18"


@pytest.mark.parametrize("case", bip158(), ids=lambda case: str(case.height))
def test_the_official_vectors(case: Bip158) -> None:
    found = spent_scripts(parse_block(case.raw))
    assert len(found) == len(case.prevouts)
    for one, script in zip(found, case.prevouts, strict=True):
        assert one.script in (None, script)
        assert one.script is not None or not one.sure


@pytest.mark.parametrize("name", REAL)
def test_spends_within_real_blocks(name: str) -> None:
    """Where the spent output is in the block itself, what the spend alone shows must be that."""
    block = parse_block(real(name))
    by_id = {tx.txid: tx for tx in block.transactions}
    for tx in block.transactions[1:]:
        alone = type(block)(block.header, (block.transactions[0], tx))
        for one, guess in zip(tx.inputs, spent_scripts(alone), strict=True):
            maker = by_id.get(one.prev_hash)  # type: ignore[call-overload]
            if maker is not None:
                assert guess.script in (None, maker.outputs[one.prev_index])
    known = [one for one in spent_scripts(block) if one.script is not None]
    assert len(known) >= 0.99 * len(spent_scripts(block))


def test_an_output_of_the_same_block() -> None:
    first = Tx((In(FROM),), (b"\x51", b"\x52"))
    second = Tx((In(first.txid, 1), In(first.txid, 2)), (b"\x51",))
    found = spent_scripts(parse_block(make_block(1, [first, second])))
    assert found == [Spent(None), Spent(b"\x52", sure=True), Spent(None)]


FORMS = {
    "P2PKH": (push(SIG) + push(KEY), (), b"\x76\xa9\x14" + hash160(KEY) + b"\x88\xac", False),
    "P2PKH, long key": (push(SIG) + push(LONG), (), b"\x76\xa9\x14" + hash160(LONG) + b"\x88\xac", False),
    "P2SH multisig": (b"\x00" + push(SIG) + push(REDEEM), (), p2sh(REDEEM), False),
    "P2SH, one push data": (b"\x00" + b"\x4c" + bytes((len(REDEEM),)) + REDEEM, (), p2sh(REDEEM), False),
    "P2SH, two": (b"\x4d\x00\x01" + REDEEM.ljust(256, b"\x61"), (), p2sh(REDEEM.ljust(256, b"\x61")), False),
    "P2WPKH": (b"", (SIG, KEY), b"\x00\x14" + hash160(KEY), False),
    "P2WSH": (b"", (b"", SIG, REDEEM), b"\x00\x20" + hashlib.sha256(REDEEM).digest(), False),
    "P2SH of P2WPKH": (push(b"\x00\x14" + hash160(KEY)), (SIG, KEY), p2sh(b"\x00\x14" + hash160(KEY)), True),
    "P2SH of P2WSH": (push(b"\x00\x20" + bytes(32)), (SIG, REDEEM), p2sh(b"\x00\x20" + bytes(32)), True),
    "P2PK": (push(SIG), (), None, False),
    "bare multisig": (b"\x00" + push(SIG) + push(signature(2)), (), None, False),
    "nothing": (b"", (), None, False),
    "an empty push": (b"\x00", (), None, False),
    "not only pushes": (b"\x51" + push(SIG) + push(KEY), (), None, False),
    "a cut push": (push(SIG) + b"\x21" + KEY[:-1], (), None, False),
    "a push longer than all": (b"\x4d\xff", (), None, False),
    "very many pushes": (push(KEY) * 30, (), None, False),
    "taproot, key path": (b"", (SIG[:64],), None, False),
    "taproot, script path": (b"", (b"\x51", b"\xc0" + bytes(32)), None, False),
    "taproot, script path, deeper": (b"", (SIG, b"\x51", b"\xc1" + bytes(64)), None, False),
    "an annex": (b"", (SIG, b"\x50abc"), None, False),
    "a nested program of a wrong size": (push(b"\x00\x14" + bytes(19)), (SIG, KEY), None, False),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str) -> None:
    script_sig, witness, script, sure = FORMS[form]
    assert spent(script_sig, witness) == Spent(script, sure)
