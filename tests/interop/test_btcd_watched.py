"""Watches on a daemon that follows a btcd: btcd mines to the script, pays it, and reorganizes; the daemon, which holds
headers only, tells of each. `make interop` runs it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.interop.btcd import TRUE_ADDRESS, TRUE_SCRIPT, Btcd, spend
from tests.interop.btcd_nodes import Nodes, Tell, same
from tests.interop.js_peer import until
from tests.support.daemons import Daemon

pytestmark = pytest.mark.interop

BLOCKS = 120
"""A coinbase can be spent after 100."""


def told(node: Daemon, watch: int) -> list[dict[str, Any]]:
    events = node.call("getevents", 0, 1_000, "node")["events"]
    return [event for event in events if event["kind"] == "watch" and event["watch"] == watch]


def coinbase(btcd: Btcd, height: int) -> str:
    return str(btcd.call("getblock", btcd.call("getblockhash", height))["tx"][0])


def watch(node: Daemon, **params: Any) -> int:
    names = ("kind", "hash", "confirmations", "time", "txid", "scripts", "addresses", "since")
    return int(node.call("watch", *[params.get(name) for name in names])["id"])


def test_an_address_that_is_mined_to_and_paid(nodes: Nodes, tell: Tell) -> None:
    btcd = nodes.btcd(blocks=BLOCKS)
    node = nodes.follower(btcd.address)
    same(node, btcd)
    old = watch(node, kind="script", addresses=[TRUE_ADDRESS], since=101)
    until(lambda: len(told(node, old)) == 20, "twenty coinbases to be found")
    assert [one["txid"] for one in told(node, old)] == [coinbase(btcd, height) for height in range(101, 121)]
    new = watch(node, kind="script", scripts=[TRUE_SCRIPT.hex()])
    payment = btcd.call("sendrawtransaction", spend(coinbase(btcd, 1), outputs=3))
    (block,) = btcd.mine(1)
    began = time.monotonic()
    until(lambda: len(told(node, new)) == 3, "the coinbase, the payment and the spend", pause=0.01)
    tell(f"told of a payment after its block: {time.monotonic() - began:.2f} s")
    own, paid, spent = told(node, new)
    assert (own["txid"], own["direction"]) == (coinbase(btcd, 121), "received")
    assert (paid["txid"], paid["hash"], paid["height"]) == (payment, block, 121)
    assert (paid["direction"], paid["value"], paid["outputs"]) == ("received", 3_000_000, [0, 1, 2])
    assert (spent["txid"], spent["direction"], spent["rests_on"]) == (payment, "spent", "revealed script")
    assert [one["txid"] for one in told(node, old)[20:]] == [one["txid"] for one in told(node, new)]


def test_a_payment_is_undone_by_a_reorganization_and_comes_again(nodes: Nodes) -> None:
    btcd = nodes.btcd(blocks=BLOCKS)
    node = nodes.follower(btcd.address)
    same(node, btcd)
    payment = btcd.call("sendrawtransaction", spend(coinbase(btcd, 1), outputs=1))
    (block,) = btcd.mine(1)
    same(node, btcd)
    named = watch(node, kind="confirmations", txid=payment, hash=block, confirmations=3)
    btcd.call("invalidateblock", block)
    fresh = btcd.mine(2)
    until(lambda: told(node, named), "the watch to hear of it")
    undone = told(node, named)[0]
    assert (undone["txid"], undone["hash"], undone["undone"]) == (payment, block, True)
    again = next(one for one in fresh if payment in btcd.call("getblock", one)["tx"])
    btcd.mine(2)
    until(lambda: len(told(node, named)) == 2, "its confirmations")
    last = told(node, named)[1]
    assert (last["txid"], last["hash"]) == (payment, again)
    assert last["confirmations"] >= 3


@pytest.mark.parametrize("by", [{"addresses": [TRUE_ADDRESS]}, {}], ids=["by a script", "in every block"])
def test_a_transaction_is_found_when_it_is_mined(nodes: Nodes, by: dict[str, Any]) -> None:
    btcd = nodes.btcd(blocks=BLOCKS)
    node = nodes.follower(btcd.address)
    same(node, btcd)
    payment = btcd.call("sendrawtransaction", spend(coinbase(btcd, 1), outputs=2))
    number = watch(node, kind="confirmations", txid=payment, confirmations=2, **by)
    (block,) = btcd.mine(1)
    until(lambda: [one for one in node.call("listwatches") if one.get("hash") == block], "it to be found")
    btcd.mine(1)
    until(lambda: told(node, number), "its confirmations")
    assert [(one["hash"], one["confirmations"]) for one in told(node, number)] == [(block, 2)]


def test_what_is_mined_while_the_daemon_is_down(nodes: Nodes) -> None:
    btcd = nodes.btcd(blocks=BLOCKS)
    node = nodes.follower(btcd.address)
    same(node, btcd)
    number = watch(node, kind="script", addresses=[TRUE_ADDRESS])
    node.kill()
    btcd.mine(30)
    node.start("--no-mesh", "--connect", btcd.address)
    same(node, btcd)
    until(lambda: len(told(node, number)) == 30, "all that was missed")
    assert [one["height"] for one in told(node, number)] == list(range(BLOCKS + 1, BLOCKS + 31))
