"""Every method's reply has the fields that its schema names, all of them and no other: of small nodes, which have what
a daemon would have to wait for (blocks, old accounts), and of two real daemons that follow both kinds of chain."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import trio
from beacon_daemons import FINAL, NIMBUS, BeaconDaemon, apis
from beacon_view import RealBeacon, followed
from blocks import In, MadeChain, Tx, key, signature
from daemons import Daemon
from eth_vectors import real_json
from mine import mine_run
from reply_schemas import Replies
from rest_server import BeaconServer
from small_node import SmallNode, extended, mainnet

from merkle.pure import sha256d
from spvnode.bitcoin.params import REGTEST
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.networks import ETHEREUM
from spvnode.ethereum.upgrade import upgrade_lc_header
from spvnode.metrics import Metrics
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.table import METHODS
from spvnode.types import Hash32, hash_hex
from spvnode.view import BlockFilter, ExecutionRecord
from tests.support.eip1186 import answered, world

ROOT = str(real_json(NIMBUS, "manifest.json")["trusted_block_root"])
BLOCK = 17_463_226
"""Of the recorded account proofs."""
BLOCKS = 30
REPOSITORY = Path(__file__).resolve().parents[3]
OPEN = {"OpenRpc"}
"""A document of its own specification."""
UNSEEN = {
    "BlockHeader",  # REST's, as OneBlockHeader
    "Disagreement",  # wants a peer that stays on another branch
    "PluginState",  # wants a plugin
    "PluginFailure",
    ("WatchEntry", "txid"),  # want a peer that serves blocks with their filters
    ("WatchEntry", "scripts"),
    ("WatchEntry", "scanned"),
    ("WatchEntry", "waiting_for"),
}
"""What neither a small node nor two daemons without the real networks have; the tests of these things see it."""


def ask(node: SmallNode, method: str, *params: object, **named: object) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": named or list(params)}).encode()
    return json.loads(trio.run(Dispatcher(node, METHODS, Metrics()).answer, body).body)["result"]


def of_headers(replies: Replies) -> None:
    """Methods about headers and proofs of them."""
    node = mainnet(300)
    node.log.append({**extended(8), "kind": "reorg", "undo_count": 1, "undo": ["ab" * 32]})

    def held(method: str, *params: object) -> Any:
        return replies.hold(method, ask(node, method, *params))

    first = held("getblockhash", 0)
    for params in ((first,), (first, False), (held("getbestblockhash"),)):
        held("getblockheader", *params)
    for method in ("getblockchaininfo", "getblockcount", "getchaintips", "getconnectioncount", "getevents"):
        held(method)
    for method in ("getnetworkinfo", "getnodeinfo", "getpeerinfo", "getsyncinfo", "uptime", "why", "rpc.discover"):
        held(method)
    held("getcheckpoint", 0)
    held("help")
    bundles = [held("getheaderproof", 7)["hex"], held("getancestryproof", 7, 8)["hex"]]
    held("getheaderproofs", [7, 8])
    bundles.append(held("getheaderproofs", [7, 8], None, "hex")["hex"])
    bundles += held("getheaderproofs", [7, 8], None, "columns")["columns"]
    for bundle in (*bundles, "00"):
        assert held("verifyheaderproof", bundle)["valid"] is (bundle != "00")
    held("setban", "192.0.2.7", "add")
    assert held("listbanned")
    held("clearbanned")


def of_blocks(replies: Replies) -> None:
    """Methods that ask a peer for a block or its filter."""
    witnessed = Tx((In(b"\x11" * 32, 0, b"", (signature(1), key(1))),), (b"\x51",))
    made, node = MadeChain(), SmallNode("regtest")
    made.extend([witnessed])
    node.add("regtest", made.headers)
    node.blocks = {sha256d(raw[:80]): raw for raw in made.blocks}
    block, txid = Hash32(sha256d(made.blocks[0][:80])), hash_hex(witnessed.txid)
    node.filters[block] = BlockFilter(b"\1", Hash32(b"\2" * 32), ("a",), ("b",), ("c",))
    proof = replies.hold("gettxoutproof", ask(node, "gettxoutproof", [txid], hash_hex(block)))
    assert replies.hold("verifytxoutproof", ask(node, "verifytxoutproof", proof)) == [txid]
    replies.hold("getconfirmations", ask(node, "getconfirmations", proof=proof))
    bundle = replies.hold("gettxproof", ask(node, "gettxproof", txid, 1))["bundle"]
    assert replies.hold("verifyheaderproof", ask(node, "verifyheaderproof", bundle))["txid"] == txid
    replies.hold("getblockfilter", ask(node, "getblockfilter", hash_hex(block)))


def of_beacon_chains(replies: Replies) -> None:
    """Methods about headers, old blocks and accounts of a beacon chain."""
    slot, beacon = FINAL - 84_786, copy(followed())
    roots = [Hash32(root) for root in (world().trie.root, b"\x18" * 32, b"\x19" * 32)]
    old = ExecutionRecord(slot, Hash32(bytes(32)), BLOCK, Hash32(b"\x17" * 32), *roots, 0)
    beacon.records = [*followed().records, old]
    gloas = copy(followed())
    header = upgrade_lc_header(ETHEREUM, followed().finalized, Fork.GLOAS)
    gloas.store, gloas.records = replace(followed().store, finalized_header=header), []
    for view in (beacon, gloas, RealBeacon()):
        node = SmallNode(beacons={"ethereum": view})
        for method in ("getfinalizedheader", "getoptimisticheader", "why"):
            replies.hold(method, ask(node, method))
    node = SmallNode(beacons={"ethereum": beacon})
    replies.hold("getfinalizedheader", ask(node, "getfinalizedheader", BLOCK))
    for which in ("finalized", "optimistic"):
        for form in ("hex", "json"):
            proof = replies.hold("getbeaconheaderproof", ask(node, "getbeaconheaderproof", which, form))
            bundle = proof.get("hex") or proof["bundle"]
            assert replies.hold("verifyheaderproof", ask(node, "verifyheaderproof", bundle))["valid"]
    for given in (answered("contract")[0], {}):
        found = replies.hold("verifyaccountproof", ask(node, "verifyaccountproof", given, BLOCK))
        assert found["valid"] is bool(given)


class Both(BeaconDaemon):
    """Follows regtest, ethereum, and hoodi, which waits for a checkpoint. ``wire``: its settings for regtest."""

    wire = "enabled = false"

    def start(self, *arguments: str) -> None:
        self.folder.mkdir(mode=0o700, parents=True)
        tables = (
            ("wire", ['network = "regtest"', self.wire]),
            ("beacon", ['network = "ethereum"', 'listen = ["/ip4/127.0.0.1/tcp/0"]', *self.settings]),
            ("beacon", ['network = "hoodi"', "p2p = false"]),
        )
        text = "".join("\n".join([f"[[{name}]]", *lines, ""]) for name, lines in tables)
        (self.folder / "spvnode.toml").write_text(text)
        self.networks = ("regtest", "ethereum", "hoodi")
        Daemon.start(self, *arguments)


@contextmanager
def full_node(folder: Path) -> Iterator[str]:
    """A process that serves headers as a node of Bitcoin's network does; where."""
    file = folder / "headers"
    file.write_bytes(mine_run(REGTEST.genesis_hash, 1_296_688_602, BLOCKS))
    command = [sys.executable, "-m", "tests.bench.wire_peer", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def of_daemons(replies: Replies, folder: Path) -> None:
    """Methods about peers and synchronising, watches, and what changes something."""
    settings = (f'checkpoint = "{ROOT}"', "allow_stale_checkpoint = true")
    with apis(BeaconServer(NIMBUS)) as urls, full_node(folder) as address:
        first = Both(folder / "first", *settings, f"apis = {json.dumps([*urls, 'http://127.0.0.1:9'])}")
        first.wire = f'connect = ["{address}"]'
        daemons = [first]
        try:
            first.start()
            first.follow()
            first.wait_height(BLOCKS)
            daemons.append(Both(folder / "second", *settings, f'peers = ["{first.beacon_address()}"]'))
            daemons[1].start()
            of_running(replies, *daemons)
        finally:
            for one in daemons:
                one.kill()


def of_running(replies: Replies, first: Both, second: Both) -> None:
    def held(method: str, *params: object) -> Any:
        return replies.hold(method, first.call(method, *params))

    held("addnode", second.address(), "onetry")
    held("addnode", "127.0.0.1:9", "add")  # where nobody is: a named peer that is not connected
    second.follow()
    second.wait_height(BLOCKS)
    of_peers(replies, first, second)
    of_waits(replies, first)
    held("importheaders", first.header_hex(BLOCKS))
    held("getplugins")
    held("reload")
    held("disconnectnode", None, 0)
    assert held("stop") == "spvnode stopping"


def of_peers(replies: Replies, first: Both, second: Both) -> None:
    def kinds(network: str) -> set[str]:
        return {str(peer["transport_protocol_type"]) for peer in first.call("getpeerinfo", network)}

    first.wait(lambda: kinds("regtest") == {"libp2p", "v1"}, "connected by both wires")
    first.wait(lambda: kinds("ethereum") == {"libp2p", "http"}, "connected by both wires")
    for daemon in (first, second):
        daemon.wait(lambda one=daemon: all(peer["status"] for peer in one.call("getpeerinfo", "ethereum")
                                           if "status" in peer), "greeted")  # fmt: skip
        for network in ("regtest", "ethereum", "hoodi"):
            for method in ("getpeerinfo", "getsyncinfo", "getnetworkinfo", "getconnectioncount"):
                replies.hold(method, daemon.call(method, network))
            replies.hold("getevents", daemon.call("getevents", 0, 100, network))
        replies.hold("getnodeinfo", daemon.call("getnodeinfo"))
        for block, network in ((5, "regtest"), ("finalized", "ethereum"), ("optimistic", "ethereum")):
            replies.hold("why", daemon.call("why", block, network))
    silent = [one["peer"] for one in first.call("getsyncinfo", "ethereum")["apis"] if not one["up"]]
    assert silent == ["rest:127.0.0.1:9"]
    named = {peer["peer_id"] for peer in first.call("getpeerinfo", "ethereum")}
    assert not named & set(silent)
    assert first.call("getconnectioncount", "ethereum") == len(named)


def of_waits(replies: Replies, daemon: Daemon) -> None:
    def held(method: str, *params: object) -> Any:
        return replies.hold(method, daemon.call(method, *params))

    tip = daemon.call("getbestblockhash")
    made = [held("watch", "confirmations", tip, 100), held("watch", "time", None, None, int(time.time()) + 10**6)]
    made.append(held("watch", "reorg", tip))
    assert len(held("listwatches")) == len(made)
    assert held("unwatch", made[0]["id"]) is True
    held("waitfornewblock", 10)
    held("waitforblockheight", 1)


@pytest.fixture(scope="module")
def replies(tmp_path_factory: pytest.TempPathFactory) -> Replies:
    found = Replies()
    of_headers(found)
    of_blocks(found)
    of_beacon_chains(found)
    of_daemons(found, tmp_path_factory.mktemp("daemons"))
    return found


def test_every_methods_replies_have_the_fields_that_are_promised(replies: Replies) -> None:
    assert replies.methods == set(METHODS)


def test_every_field_is_to_be_seen(replies: Replies) -> None:
    """One that never comes would be a promise that nobody has checked."""
    promised = {(name, key) for name in replies.reached() for key in replies.components[name].get("properties", ())}
    unseen = {(name, key) for name, key in promised - replies.seen if not {name, (name, key)} & UNSEEN}
    assert sorted(unseen) == []


def test_no_result_is_left_open(replies: Replies) -> None:
    for name in replies.reached() - OPEN:
        assert replies.components[name].get("properties"), name
        for field, schema in replies.components[name]["properties"].items():
            for part in (schema, *schema.get("anyOf", ())):
                assert part.get("type") != "object" or part.get("additionalProperties"), (name, field)


@pytest.mark.parametrize("change", ["missing", "more", "type"])
def test_it_would_notice(change: str) -> None:
    found, reply = Replies(), dict(ask(mainnet(5), "getsyncinfo"))
    found.hold("getsyncinfo", reply)
    if change == "missing":
        del reply["state"]
    else:
        reply["news" if change == "more" else "state"] = 5
    with pytest.raises(jsonschema.ValidationError):
        found.hold("getsyncinfo", reply)
