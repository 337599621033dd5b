"""Confirmations of a transaction: found in a named block, by a script that it pays, or in every block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from blocks import In, Tx, key, signature
from scan_node import ScanNode, caught_up, run_scan, told_of
from watch_desk import ALICE, Desk

from spvnode.bitcoin.prevouts import hash160
from spvnode.errors import Unavailable
from spvnode.rpc.methods.watch_blocks import MAX_EVERY
from spvnode.types import Hash32, hash_hex

SCRIPT = b"\x00\x14" + hash160(key(1))
SPENT_7 = b"\x00\x14" + hash160(key(7))
TX = Tx((In(b"\x11" * 32, 0, b"", (signature(7), key(7))),), (SCRIPT,))
TXID = hash_hex(TX.txid)
SILENT = Tx((In(b"\x11" * 32, 0, b"", (signature(7), key(7))),), (b"\x6a\x01\x01",))
"""It pays nothing that a filter holds."""


def grown(node: ScanNode, *transactions: Tx, count: int = 1) -> None:
    made = node.branch(len(node.made.blocks))
    for _ in range(count):
        made.extend(transactions, [SPENT_7] * len(transactions))
    node.follow(made)


def replaced(node: ScanNode, height: int, at: int, tip: int, tx: Tx = TX) -> None:
    """A branch from ``height`` up to ``tip`` that holds ``tx`` at the height ``at``."""
    made = node.branch(height)
    for now in range(height + 1, tip + 1):
        if now == at:
            made.extend([tx], [SPENT_7])
        else:
            made.extend(pays=b"\x53")
    node.follow(made)


def seen(told: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    return [(one["height"], one.get("confirmations"), bool(one.get("undone"))) for one in told]


def test_in_a_named_block(tmp_path: Path) -> None:
    node = ScanNode()
    grown(node, count=3)
    grown(node, TX)
    grown(node)

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="confirmations", txid=TXID, hash=desk.hash_at(4), confirmations=2)
        (told,) = desk.told()
        assert told["txid"] == TXID
        assert (told["hash"], told["height"], told["confirmations"]) == (desk.hash_at(4), 4, 2)
        assert await desk.call("listwatches") == []

    run_scan(tmp_path, node, body)
    assert node.blocks_fetched == [4]
    assert node.filters_fetched == []


def test_it_survives_a_reorganization_and_a_restart(tmp_path: Path) -> None:
    node = ScanNode()
    grown(node, count=3)
    grown(node, TX)

    async def before(desk: Desk) -> None:
        await desk.call("watch", kind="confirmations", txid=TXID, hash=desk.hash_at(4), confirmations=3)
        (shown,) = await desk.call("listwatches")
        assert (shown["txid"], shown["hash"], shown["scripts"]) == (TXID, desk.hash_at(4), [SCRIPT.hex()])

    async def after(desk: Desk) -> None:
        await told_of(desk, 1)
        await caught_up(desk)
        assert seen(desk.told()) == [(4, None, True)]
        (shown,) = await desk.call("listwatches")
        assert "hash" not in shown
        grown(node, TX)
        await caught_up(desk)
        grown(node, count=2)
        await told_of(desk, 2)
        assert seen(desk.told()) == [(4, None, True), (7, 3, False)]
        assert desk.told()[1]["hash"] == desk.hash_at(7)

    run_scan(tmp_path, node, before)
    replaced(node, 3, at=0, tip=6)
    run_scan(tmp_path, node, after)
    assert 5 not in node.blocks_fetched, "a filter that does not match spares the block"


@pytest.mark.parametrize("named", [True, False])
def test_by_a_script_or_in_every_block(tmp_path: Path, named: bool) -> None:
    node = ScanNode()
    grown(node, count=3)

    async def body(desk: Desk) -> None:
        more = {"scripts": [SCRIPT.hex()]} if named else {}
        await desk.call("watch", kind="confirmations", txid=TXID, confirmations=2, **more)
        grown(node, count=3)
        grown(node, TX)
        await caught_up(desk)
        (shown,) = await desk.call("listwatches")
        assert (shown["hash"], shown["scanned"], shown["waiting_for"]) == (desk.hash_at(7), 7, None)
        replaced(node, 6, at=8, tip=8)
        await told_of(desk, 1)
        await caught_up(desk)
        assert seen(desk.told()) == [(7, None, True)]
        grown(node)
        await told_of(desk, 2)
        assert seen(desk.told())[1:] == [(8, 2, False)]

    run_scan(tmp_path, node, body)
    assert node.blocks_fetched == ([7, 8] if named else [4, 5, 6, 7, 7, 8])
    assert bool(node.filters_fetched) is named


def test_a_block_that_nobody_gives_holds_up_only_who_needs_it(tmp_path: Path) -> None:
    node = ScanNode()
    gives = node.fetch_block

    async def refused(network: str, block_hash: Hash32) -> bytes:
        raise Unavailable("nobody has it")

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="confirmations", txid=TXID)
        await desk.call("watch", kind="script", scripts=[SCRIPT.hex()])
        node.fetch_block = refused  # type: ignore[method-assign]
        grown(node, count=3)
        with trio.fail_after(20):
            while not desk.hub.held or desk.hub.watches.watches[2].next_height < 4:  # noqa: ASYNC110 - of any state
                await trio.sleep(0.005)
        stuck, free = await desk.call("listwatches")
        assert (stuck["scanned"], stuck["waiting_for"]) == (0, "block 1: nobody has it")
        assert (free["scanned"], free["waiting_for"]) == (3, None)
        node.fetch_block = gives  # type: ignore[method-assign]
        grown(node, TX)
        await told_of(desk, 2)
        await caught_up(desk)
        assert sorted(one["watch"] for one in desk.told()) == [1, 2]

    run_scan(tmp_path, node, body)


def test_one_confirmation_is_told_with_the_block(tmp_path: Path) -> None:
    node = ScanNode()

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="confirmations", txid=TXID, scripts=[SCRIPT.hex()])
        grown(node, TX)
        await told_of(desk, 1)
        assert seen(desk.told()) == [(1, 1, False)]

    run_scan(tmp_path, node, body)


def test_a_token_names_a_script(tmp_path: Path) -> None:
    node = ScanNode()
    grown(node, SILENT)

    async def body(desk: Desk) -> None:
        for more in ({}, {"hash": desk.hash_at(1)}):
            txid = hash_hex(SILENT.txid)
            reply = await desk.reply("watch", caller=ALICE, kind="confirmations", txid=txid, confirmations=5, **more)
            assert "which only the operator may ask for" in reply["error"]["message"]
        assert "result" in await desk.reply(
            "watch", caller=ALICE, kind="confirmations", txid=TXID, scripts=[SCRIPT.hex()]
        )
        for _ in range(MAX_EVERY):
            await desk.call("watch", kind="confirmations", txid=TXID)
        reply = await desk.reply("watch", kind="confirmations", txid=TXID)
        assert "already have every block fetched" in reply["error"]["message"]

    run_scan(tmp_path, node, body)


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"txid": "xy"}, "txid: must be of length 64"),
        ({"txid": TXID, "hash": "22" * 32}, "Block not found"),
        ({"txid": "22" * 32, "hash": 1}, "txid: the block does not hold it"),
        ({"txid": TXID, "hash": 1, "since": 1}, "hash: names the block, so that"),
        ({"txid": TXID, "hash": 1, "scripts": ["51"]}, "hash: names the block, so that"),
        ({"txid": TXID, "hash": "side"}, "hash: Block is not in the active chain"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, params: dict[str, Any], problem: str) -> None:
    node = ScanNode()
    grown(node, TX)
    side = hash_hex(node.real["regtest"].block_hash(1))  # type: ignore[arg-type]
    replaced(node, 0, at=2, tip=2)
    named = {1: hash_hex(node.real["regtest"].tip_hash), "side": side}
    given = {name: named.get(value, value) if name == "hash" else value for name, value in params.items()}

    async def body(desk: Desk) -> None:
        reply = await desk.reply("watch", kind="confirmations", **given)
        assert reply["error"]["message"].startswith(problem)

    run_scan(tmp_path, node, body)
