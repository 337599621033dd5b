"""The check of every proof in every reply: it hears each kind where it is written, and no damaged one passes it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from beacon_view import RealBeacon, followed
from blocks import In, MadeChain, Tx
from electrum_live import electrum
from rpc_live import live
from small_node import SmallNode, mainnet

from merkle.pure import sha256d
from spvnode.bitcoin.chain import HeaderChain
from spvnode.electrum.blocks import TxIds
from spvnode.metrics import Metrics
from spvnode.rpc import dispatch
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.table import METHODS
from spvnode.types import hash_hex
from tests.support.daemons import unheard
from tests.support.recheck import HEADER_BRANCH, KINDS, LIGHT_CLIENT, RECHECK, TX_BRANCH, ProofDoesNotHold, Recheck
from tests.support.recheck_hooks import public_chains

OTHERS = tuple(Tx((In(bytes((i,)) * 32, i, b"\x51"),), (b"\x52",)) for i in range(1, 12))
TIMES = 20
"""Of each kind, but those of beacon chains."""
BEACON_TIMES = 4
LIGHT = "/eth/v1/beacon/light_client"
Result = dict[str, Any]


class World:
    """A node with real headers of two chains, and a made-up chain whose second block a peer gives."""

    def __init__(self) -> None:
        made = MadeChain()
        for transactions in ([], OTHERS, []):
            made.extend(transactions)
        self.node = mainnet(300)
        regtest = SmallNode("regtest")
        regtest.add("regtest", made.headers)
        self.node.real |= regtest.real
        self.node.stores |= regtest.stores
        self.node.blocks = {sha256d(raw[:80]): raw for raw in made.blocks}
        self.node.beacon_views["ethereum"] = followed()
        self.block = hash_hex(sha256d(made.blocks[1][:80]))
        self.txids = [tx.txid[::-1].hex() for tx in OTHERS]

    def ask(self, method: str, *params: object) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        return json.loads(trio.run(Dispatcher(self.node, METHODS, Metrics()).answer, body).body)["result"]

    def calls(self, at: int) -> dict[str, tuple[str, tuple[object, ...]]]:
        """By kind: a method, and what it is asked."""
        txid = self.txids[at % len(self.txids)]
        return {
            "header": ("getheaderproof", (at, 299 - at)),
            "transaction": ("gettxproof", (txid, 2, 3, "regtest")),
            "headers": ("getheaderproofs", ([at, at + 3, 200], 299, "json" if at % 2 else "hex")),
            "ancestry": ("getancestryproof", (at, 299 - at)),
            "columns": ("getheaderproofs", ([at, 5, 7], 250, "columns")),
            "txoutproof": ("gettxoutproof", ([txid], self.block, "regtest")),
            "beacon header": (
                "getbeaconheaderproof",
                ("finalized" if at % 2 else "optimistic", "json" if at % 4 > 1 else "hex"),
            ),
        }

    def electrum(self, *calls: tuple[str, tuple[object, ...]], network: str) -> list[Any]:
        async def main() -> list[Any]:
            async with electrum(self.node, network=network) as server:
                client = await server.client()
                return [await client.ask(method, *params) for method, params in calls]

        return trio.run(main)

    def rest(self, folder: Path, *requests: tuple[str, str]) -> list[int]:
        async def main() -> list[int]:
            async with live(folder, self.node) as server:
                return [(await server.request(path=LIGHT + path, headers=(f"Accept: {kind}",)))[0]
                        for path, kind in requests]  # fmt: skip

        return trio.run(main)


def header_calls(at: int) -> tuple[str, tuple[object, ...]]:
    return ("blockchain.block.header", (at, 299 - at)) if at % 2 else ("blockchain.block.headers", (at, 9, 299 - at))


def test_proofs_of_every_kind_are_heard_and_checked(tmp_path: Path) -> None:
    world = World()
    RECHECK.settle()
    before = RECHECK.counts.copy()
    for at in range(TIMES):
        for kind, (method, params) in world.calls(at).items():
            if kind != "beacon header" or at < BEACON_TIMES:
                world.ask(method, *params)
    world.electrum(*(header_calls(at) for at in range(1, TIMES + 1)), network="bitcoin")
    merkle = [("blockchain.transaction.get_merkle", (txid, 2)) for txid in world.txids]
    places = [("blockchain.transaction.id_from_pos", (2, at, True)) for at in range(TIMES - len(merkle))]
    world.electrum(*merkle, *places, network="regtest")
    root = "0x" + followed().start.root.hex()
    for path in (f"/bootstrap/{root}", "/updates?start_period=800&count=9", "/finality_update", "/optimistic_update"):
        kinds = ("application/json", "application/octet-stream")
        assert world.rest(tmp_path, *((path, kind) for kind in kinds)) == [200, 200]
    RECHECK.settle()
    found = {kind: RECHECK.counts[kind] - before[kind] for kind in KINDS}
    assert found.pop("beacon header") == BEACON_TIMES
    assert found.pop(LIGHT_CLIENT) == 2 * (1 + 9 + 1 + 1)
    both = dict.fromkeys(("header", "transaction", "ancestry"), 2 * TIMES)  # bytes and JSON in one reply
    alone = dict.fromkeys(("headers", "columns", "txoutproof", HEADER_BRANCH, TX_BRANCH), TIMES)
    assert found == both | alone


VERIFIERS = ("second_verifier", "second_bytes", "beacon_check", "beacon_bundle_check", "light_client_bytes")


@pytest.mark.parametrize("name", VERIFIERS)
def test_each_verifier_can_be_read_in_one_go_and_shares_no_code_with_us(name: str) -> None:
    source = (Path(__file__).resolve().parents[2] / "support" / f"{name}.py").read_text()
    assert len(source.splitlines()) <= 200
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    named = {one.name for node in imports if isinstance(node, ast.Import) for one in node.names}
    named |= {str(node.module) for node in imports if isinstance(node, ast.ImportFrom)}
    theirs = {f"tests.support.{one}" for one in VERIFIERS}
    assert named - theirs <= {
        "__future__", "collections.abc", "dataclasses", "functools", "hashlib", "itertools", "struct", "typing",
    }  # fmt: skip


# -- a server that gives damaged proofs


def flipped(text: str, at: int = -1) -> str:
    """Another hex digit at a place."""
    at %= len(text)
    return text[:at] + f"{int(text[at], 16) ^ 1:x}" + text[at + 1 :]


def with_hex(at: int = -1) -> Callable[[Any], Any]:
    return lambda result: result | {"hex": flipped(result["hex"], at)}


def with_bundle(name: str) -> Callable[[Any], Any]:
    def damage(result: Result) -> Result:
        given = result["bundle"][name]
        wrong = [*given[:-1], flipped(given[-1])] if isinstance(given, list) else flipped(given)
        return result | {"bundle": result["bundle"] | {name: wrong}}

    return damage


def with_other(**claims: Any) -> Callable[[Any], Any]:
    return lambda result: result | {name: flipped(result[name]) if new is None else new for name, new in claims.items()}


LIES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "a header's bytes": ("header", with_hex()),
    "a header's JSON": ("header", with_bundle("nodes")),
    "a header's root": ("header", with_other(root=None)),
    "a header's hash": ("header", with_other(hash=None)),
    "a header's height": ("header", with_other(height=2)),
    "a transaction's bytes": ("transaction", with_hex()),
    "a transaction's JSON": ("transaction", with_bundle("transaction")),
    "a transaction's id": ("transaction", with_other(txid=None)),
    "a transaction's place": ("transaction", with_bundle("nodes")),
    "an ancestry's bytes": ("ancestry", with_hex()),
    "an ancestry's start": ("ancestry", with_bundle("start_path")),
    "an ancestry's peaks": ("ancestry", with_bundle("old_peaks")),
    "an ancestry's root": ("ancestry", with_other(new_root=None)),
    "headers": ("headers", with_bundle("nodes")),
    "the root of headers": ("headers", with_other(root=None)),
    "columns": ("columns", lambda result: result | {"columns": [flipped(result["columns"][0])]}),
    "the root of columns": ("columns", with_other(root=None)),
    "a txoutproof": ("txoutproof", lambda result: flipped(result, 2 * 40)),
    "a txoutproof's hashes": ("txoutproof", lambda result: flipped(result, 2 * 90)),
    "a beacon header's bytes": ("beacon header", lambda result: with_hex(len(result["hex"]) // 2)(result)),
    "a beacon header's signature": ("beacon header", lambda result: with_hex(-2 * 8 - 1)(result)),
    "a beacon header's root": ("beacon header", with_other(root=None)),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_damaged_proof_in_a_reply_fails_the_test(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, damage = LIES[lie]
    world = World()
    encode = dispatch._encode
    monkeypatch.setattr(dispatch, "_encode", lambda reply: encode(reply | {"result": damage(reply["result"])}))
    method, params = world.calls(1)[kind]
    if kind == "beacon header":
        params = ("finalized", "hex")
    RECHECK.settle()
    world.ask(method, *params)
    with pytest.raises(ProofDoesNotHold):
        RECHECK.settle()
    RECHECK.settle()  # it is told once


def test_a_damaged_branch_from_the_electrum_server_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    branch = HeaderChain.branch
    monkeypatch.setattr(HeaderChain, "branch", lambda self, *heights: [*branch(self, *heights)[:-1], bytes(32)])
    world.electrum(header_calls(1), network="bitcoin")
    with pytest.raises(ProofDoesNotHold):
        RECHECK.settle()
    world.electrum(header_calls(2), network="bitcoin")
    with pytest.raises(ProofDoesNotHold):
        RECHECK.settle()
    of_block = TxIds.branch
    monkeypatch.setattr(TxIds, "branch", lambda self, at: [*of_block(self, at)[:-1], "00" * 32])
    for call in (("get_merkle", (world.txids[3], 2)), ("id_from_pos", (2, 4, True))):
        world.electrum((f"blockchain.transaction.{call[0]}", call[1]), network="regtest")
        with pytest.raises(ProofDoesNotHold):
            RECHECK.settle()


@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream"])
def test_a_damaged_light_client_object_fails_the_test(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world, view = World(), RealBeacon().follow()
    world.node.beacon_views["ethereum"] = view
    update, signed = view.best[801], view.finality_update
    assert signed is not None
    assert world.rest(tmp_path, ("/updates?start_period=800&count=21", kind), ("/finality_update", kind)) == [200, 200]
    RECHECK.settle()  # from here on its committees are known
    view.best[801] = replace(update, next_sync_committee_branch=bytes(32) + update.next_sync_committee_branch[32:])
    world.rest(tmp_path, ("/updates?start_period=801&count=1", kind))
    with pytest.raises(ProofDoesNotHold):
        RECHECK.settle()
    signature = signed.sync_aggregate.sync_committee_signature
    other = replace(signed.sync_aggregate, sync_committee_signature=update.sync_aggregate.sync_committee_signature)
    assert signature != other.sync_committee_signature
    view.finality_update = replace(signed, sync_aggregate=other)
    world.rest(tmp_path, ("/finality_update", kind))
    with pytest.raises(ProofDoesNotHold, match="no committee"):
        RECHECK.settle()


def test_the_failure_is_the_tests(tmp_path: Path) -> None:
    """In a run of its own, with the fixture that every test has."""
    (tmp_path / "conftest.py").write_text("from tests.conftest import every_proof_is_checked_again\n")
    lines = ("from tests.support.recheck import RECHECK", "def test_honest(): pass", "def test_lied_to():",
             "    RECHECK.reply(b'{\"result\":{\"hex\":\"01ff\"}}', dict)")  # fmt: skip
    (tmp_path / "test_it.py").write_text("\n".join(lines) + "\n")
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(root / "pyproject.toml")]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False, cwd=root, timeout=60)
    assert done.returncode == 1, done.stdout
    assert "ERROR" in done.stdout
    assert "test_lied_to" in done.stdout
    assert "ProofDoesNotHold" in done.stdout
    assert "test_honest" not in done.stdout


def test_what_holds_no_proof_is_let_pass() -> None:
    heard = Recheck()
    for body in (b"", b"{}", b'{"jsonrpc":"2.0","result":"' + b"ab" * 80 + b'","id":1}', b'{"result":7}'):
        heard.reply(body, public_chains)
    assert not heard.waiting
    heard.reply(b'{"result":{"nodes":3,"version":"1","items":[]}}', public_chains)
    heard.reply(b'{"result":{"valid":false,"version":1,"nodes":["00"]}}', public_chains)
    heard.settle()
    unheard(b"")
    assert not heard.counts
