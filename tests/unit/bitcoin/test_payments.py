"""What blocks say of watched scripts: real ones, and made ones with every kind of spend."""

from __future__ import annotations

import pytest
from blocks import REAL, In, Tx, bip158, key, make_block, push, real, signature

from spvnode.bitcoin.basicfilter import held_scripts, output_elements
from spvnode.bitcoin.block import Block, parse_block
from spvnode.bitcoin.payments import Direction, Ground, Payment, possible, read_payments, shows_when_spent
from spvnode.bitcoin.prevouts import hash160
from spvnode.types import Hash32

RECEIVED, SPENT = Direction.RECEIVED, Direction.SPENT
KEY_HASH = b"\x00\x14" + hash160(key(1))
LEGACY = b"\x76\xa9\x14" + hash160(key(2)) + b"\x88\xac"
TAPROOT = b"\x51\x20" + key(3)[1:]
ELSEWHERE = b"\x11" * 32


def block_of(*transactions: Tx) -> Block:
    return parse_block(make_block(1, transactions))


def pays(*scripts: bytes, inputs: tuple[In, ...] = (In(ELSEWHERE, 9),)) -> Tx:
    return Tx(inputs, scripts, amount=1_000)


def test_outputs_are_summed_by_script() -> None:
    tx = pays(KEY_HASH, b"\x51", KEY_HASH, TAPROOT)
    reading = read_payments(block_of(pays(b"\x51"), tx), {KEY_HASH, TAPROOT}, {})
    assert reading.payments == (
        Payment(KEY_HASH, RECEIVED, Ground.OUTPUT, Hash32(tx.txid), (0, 2), 2_000),
        Payment(TAPROOT, RECEIVED, Ground.OUTPUT, Hash32(tx.txid), (3,), 1_000),
    )


def test_spends_show_by_the_key_the_outpoint_or_the_block_itself() -> None:
    made = pays(TAPROOT, TAPROOT)
    inputs = (
        In(ELSEWHERE, 0, b"", (signature(1), key(1))),
        In(ELSEWHERE, 1, push(signature(2)) + push(key(2))),
        In(b"\x22" * 32, 5, b"", (bytes(64),)),
        In(made.txid, 1, b"", (bytes(64),)),
    )
    spender = pays(b"\x51", inputs=inputs)
    block = block_of(made, spender)
    reading = read_payments(block, {KEY_HASH, LEGACY, TAPROOT}, {(b"\x22" * 32, 5): TAPROOT})
    spent = [one for one in reading.payments if one.direction is SPENT]
    assert [(one.script, one.ground, one.places) for one in spent] == [
        (KEY_HASH, Ground.REVEALED, (0,)),
        (LEGACY, Ground.REVEALED, (1,)),
        (TAPROOT, Ground.SPENT_OUTPUT, (2, 3)),
    ]
    assert {one.txid for one in spent} == {spender.txid}
    assert all(one.value is None for one in spent)


def test_a_spend_that_does_not_show_is_possible_where_the_filter_says_so() -> None:
    hidden = block_of(pays(b"\x51", inputs=(In(ELSEWHERE, 0, b"", (bytes(64),)),)))
    reading = read_payments(hidden, {TAPROOT, KEY_HASH}, {})
    assert reading.payments == ()
    assert reading.hidden
    assert possible(reading, {TAPROOT, KEY_HASH}) == [Payment(TAPROOT, SPENT, Ground.FILTER)]
    assert possible(reading, set()) == []


def test_where_every_spend_shows_a_match_is_chance() -> None:
    plain = block_of(pays(b"\x51", inputs=(In(ELSEWHERE, 0, b"", (signature(1), key(1))),)))
    reading = read_payments(plain, {TAPROOT}, {})
    assert not reading.hidden
    assert possible(reading, {TAPROOT}) == []


def test_a_script_that_is_paid_is_not_possible_besides() -> None:
    block = block_of(pays(TAPROOT, inputs=(In(ELSEWHERE, 0, b"", (bytes(64),)),)))
    assert possible(read_payments(block, {TAPROOT}, {}), {TAPROOT}) == []


@pytest.mark.parametrize(
    ("script", "shows"),
    [
        (KEY_HASH, True),
        (LEGACY, True),
        (b"\x00\x20" + bytes(32), True),
        (b"\xa9\x14" + bytes(20) + b"\x87", True),
        (TAPROOT, False),
        (b"\x21" + key(1) + b"\xac", False),
        (b"\x51", False),
        (b"\x00\x20" + bytes(20), False),
    ],
)
def test_which_kinds_show(script: bytes, shows: bool) -> None:
    assert shows_when_spent(script) is shows


@pytest.mark.parametrize("name", REAL)
def test_real_blocks(name: str) -> None:
    """Each script's payments are what its outputs sum up to, and every txid is found."""
    block = parse_block(real(name))
    scripts = sorted(output_elements(block))[:50]
    txids = [tx.txid for tx in block.transactions]
    reading = read_payments(block, set(scripts), {}, txids)
    assert reading.txids == frozenset(txids)
    for script in scripts:
        expected = sum(tx.values[at] for tx in block.transactions for at, one in enumerate(tx.outputs) if one == script)
        found = [one for one in reading.payments if one.script == script and one.direction is RECEIVED]
        assert sum(one.value or 0 for one in found) == expected
    assert {one.script for one in reading.payments} == set(scripts)


def test_the_subsidy_of_real_blocks() -> None:
    assert [parse_block(real("bcoin_block1.raw")).transactions[0].values] == [(50_0000_0000,)]


@pytest.mark.parametrize("row", bip158(), ids=lambda row: str(row.height))
def test_official_filters_hold_what_is_paid_and_spent(row: object) -> None:
    (vector,) = [one for one in bip158() if one is row]
    block = parse_block(vector.raw)
    scripts = output_elements(block) | {script for script in vector.prevouts if script}
    strangers = {bytes((0, 20, at)) + bytes(19) for at in range(50)}
    found = held_scripts(vector.filter, Hash32(vector.block_hash), scripts | strangers)
    assert found is not None
    assert found >= scripts
    assert len(found - scripts) <= 1, "one in 784,931 by chance"


def test_what_is_no_filter() -> None:
    assert held_scripts(b"\xff", Hash32(bytes(32)), {KEY_HASH}) is None
    assert held_scripts(b"\x00", Hash32(bytes(32)), {KEY_HASH}) == frozenset()
    assert held_scripts(bip158()[0].filter, Hash32(bip158()[0].block_hash), ()) == frozenset()
