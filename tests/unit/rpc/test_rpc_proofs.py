"""getancestryproof, getheaderproofs, gettxproof, getconfirmations, why: each proof is checked by a second verifier."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import trio
from beacon_view import RealBeacon, followed
from blocks import In, MadeChain, Tx, key, signature
from mine import mine_run
from small_node import SmallNode, mainnet

from merkle.proofs import MAX_COLUMN_HEADERS, MAX_HEADERS
from merkle.pure import sha256d
from spvnode.bitcoin.params import NETWORKS
from spvnode.metrics import Metrics
from spvnode.proofs import verify_any
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.methods.grounds import MAX_SHOWN_REORGS
from spvnode.rpc.table import METHODS
from spvnode.types import Height, hash_hex
from tests.support.second_bytes import columns
from tests.support.second_verifier import check

WITNESSED = Tx((In(b"\x11" * 32, 0, b"", (signature(1), key(1))),), (b"\x51",))
SMALL = Tx((In(b"\x33" * 32),), (bytes(4),))
OTHERS = tuple(Tx((In(bytes((i,)) * 32, i, b"\x51"),), (b"\x52",)) for i in range(1, 6))


def ask(node: SmallNode, method: str, *params: object, **named: object) -> Any:
    """The result of a call; an error comes as (code, message)."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": named or list(params)}
    answer = json.loads(trio.run(Dispatcher(node, METHODS, Metrics()).answer, json.dumps(body).encode()).body)
    return answer["result"] if "result" in answer else (answer["error"]["code"], answer["error"]["message"])


@cache
def long() -> SmallNode:
    """Read only."""
    return mainnet(30_000)


def with_blocks() -> tuple[SmallNode, MadeChain]:
    """Regtest: block 2 holds eight transactions, and a peer gives it."""
    made = MadeChain()
    made.extend()
    made.extend([WITNESSED, *OTHERS, SMALL])
    made.extend()
    node = SmallNode("regtest")
    node.add("regtest", made.headers)
    node.blocks = {sha256d(raw[:80]): raw for raw in made.blocks}
    return node, made


# -- ancestry


@pytest.mark.parametrize(("old", "new"), [(0, 29_999), (1, 2), (4_095, 4_096), (17_000, 17_000), (29_998, None)])
def test_ancestry(old: int, new: int | None) -> None:
    reply = ask(long(), "getancestryproof", old, new)
    assert reply["descendant"]["height"] == (29_999 if new is None else new)
    check(reply["bundle"])
    for form in (reply["hex"], reply["bundle"], json.dumps(reply["bundle"])):
        verdict = verify_any(form, 0.0, trusted_root=reply["new_root"])
        assert verdict.rests_on == "trusted new root"
        assert verdict.fields["old_hash"] == reply["ancestor"]["hash"]
    assert verify_any(reply["hex"], 0.0, trusted_root=reply["old_root"]).ok
    assert reply["start"]["kind"] == "genesis"
    judged = ask(long(), "verifyheaderproof", reply["hex"])
    assert (judged["valid"], judged["root_matches"], judged["in_active_chain"]) == (True, True, True)


def test_ancestry_by_hash_and_its_refusals() -> None:
    node = mainnet(50)
    first, last = ask(node, "getblockhash", 3), ask(node, "getblockhash", 40)
    assert ask(node, "getancestryproof", first, last) == ask(node, "getancestryproof", 3, 40)
    assert ask(node, "getancestryproof", last, first)[0] == -8
    assert ask(node, "getancestryproof", 3, 50)[0] == -8
    assert ask(node, "getancestryproof", "ab" * 32)[0] == -5


# -- many headers


def test_thousands_of_headers_in_one_call() -> None:
    heights = random.Random(3).sample(range(29_000), MAX_HEADERS)
    named = [ask(long(), "getblockhash", height) if i % 500 == 0 else height for i, height in enumerate(heights)]
    reply = ask(long(), "getheaderproofs", named, 29_500)
    assert (reply["count"], reply["cp_height"]) == (MAX_HEADERS, 29_500)
    assert [row["height"] for row in reply["bundle"]["headers"]] == sorted(heights)
    check(reply["bundle"])
    raw = ask(long(), "getheaderproofs", blocks=heights, cp_height=29_500, format="hex")["hex"]
    verdict = verify_any(raw, 0.0, trusted_root=reply["root"])
    assert (verdict.rests_on, verdict.fields["count"]) == ("trusted root", MAX_HEADERS)
    judged = ask(long(), "verifyheaderproof", reply["bundle"])
    assert (judged["valid"], judged["root_matches"], judged["in_active_chain"]) == (True, True, True)


def test_the_root_is_that_of_the_columns_though_the_chain_is_another_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    node = SmallNode("regtest")
    genesis, time = NETWORKS["regtest"].genesis_hash, 1_700_000_000
    node.add("regtest", mine_run(genesis, time, 9, seed=1))
    chain = node.real["regtest"]
    before, proof = chain.root(Height(9)), chain.columns_proof

    def reorganized(heights: Sequence[Height], cp_height: Height) -> bytes:
        made = proof(heights, cp_height)
        node.add("regtest", mine_run(genesis, time, 10, seed=2))
        return made

    monkeypatch.setattr(chain, "columns_proof", reorganized)
    reply = ask(node, "getheaderproofs", blocks=[3, 4], cp_height=9, format="columns")
    assert chain.tip_height == 10
    assert reply["root"] == hash_hex(before)
    assert verify_any(reply["columns"][0], 0.0, trusted_root=reply["root"]).ok


def test_columns_come_in_pieces_that_the_kernel_takes() -> None:
    heights = list(range(10_000, 10_000 + MAX_COLUMN_HEADERS + 5))
    reply = ask(long(), "getheaderproofs", blocks=heights, format="columns")
    first, second = (bytes.fromhex(part) for part in reply["columns"])
    assert [height for height, _ in columns(first) + columns(second)] == heights
    verdict = verify_any(first, 0.0, trusted_root=reply["root"])
    assert (verdict.ok, verdict.fields["count"]) == (True, MAX_COLUMN_HEADERS)
    assert verify_any(second.hex(), 0.0).rests_on == "maker"
    assert verify_any(first, 0.0, trusted_root="00" * 32).reason == "trusted-root"
    assert not verify_any(first[:-1], 0.0).ok
    judged = ask(long(), "verifyheaderproof", reply["columns"][1])
    assert (judged["valid"], judged["root_matches"], judged["count"]) == (True, True, 5)


def test_what_a_batch_refuses() -> None:
    node = mainnet(50)
    assert ask(node, "getheaderproofs", [])[0] == -8
    assert ask(node, "getheaderproofs", [1] * (MAX_HEADERS + 1))[0] == -8
    assert ask(node, "getheaderproofs", [1, 50])[0] == -8
    assert ask(node, "getheaderproofs", [40], 39)[0] == -8
    assert ask(node, "getheaderproofs", [1.5])[0] == -3
    assert ask(node, "getheaderproofs", [7, 7, ask(node, "getblockhash", 7)])["count"] == 1


# -- transactions


@pytest.mark.parametrize("position", range(6))
def test_a_transaction_with_its_branch_and_header(position: int) -> None:
    node, made = with_blocks()
    tx = [WITNESSED, *OTHERS][position]
    txid, raw = hash_hex(tx.txid), tx.bytes(witness=False)
    reply = ask(node, "gettxproof", txid, 2)
    assert (reply["txid"], reply["position"], reply["tx_count"]) == (txid, position + 1, 8)
    assert (reply["height"], reply["confirmations"], reply["cp_height"]) == (2, 2, 3)
    check(reply["bundle"])
    assert reply["bundle"]["transaction"] == raw.hex()
    for form in (reply["hex"], reply["bundle"], json.dumps(reply["bundle"])):
        verdict = verify_any(form, 0.0, trusted_root=reply["root"])
        assert (verdict.rests_on, verdict.fields["txid"]) == ("trusted root", txid)
        assert verdict.fields["hash"] == hash_hex(sha256d(made.blocks[1][:80]))
    judged = ask(node, "verifyheaderproof", reply["hex"])
    assert (judged["valid"], judged["root_matches"], judged["in_active_chain"]) == (True, True, True)


def test_what_gettxproof_refuses() -> None:
    node, _ = with_blocks()
    assert ask(node, "gettxproof", hash_hex(SMALL.txid), 2)[0] == -8  # 64 bytes: could be an inner node
    missing = (-5, "Not all transactions found in specified or retrieved block")
    assert ask(node, "gettxproof", "ab" * 32, 2) == missing
    assert ask(node, "gettxproof", "ab", 2)[0] == -8
    assert ask(node, "gettxproof", hash_hex(WITNESSED.txid), 9)[0] == -8
    node.blocks.clear()
    code, message = ask(node, "gettxproof", hash_hex(WITNESSED.txid), 2)
    assert (code, message.startswith("Block not available")) == (-1, True)


# -- confirmations


def forked() -> SmallNode:
    node = SmallNode("regtest")
    genesis = NETWORKS["regtest"].genesis_header
    main = mine_run(NETWORKS["regtest"].genesis_hash, int.from_bytes(genesis[68:72], "little"), 12)
    node.add("regtest", main)
    fourth = sha256d(main[3 * 80 : 4 * 80])
    node.add("regtest", mine_run(fourth, int.from_bytes(main[308:312], "little"), 3, seed=9, spacing=100))
    return node


def test_confirmations_of_heights_and_hashes() -> None:
    node = forked()
    reply = ask(node, "getconfirmations", 5)
    assert (reply["confirmations"], reply["height"], reply["in_active_chain"]) == (8, 5, True)
    assert int(reply["work_above"], 16) == 2 * 7
    assert ask(node, "getconfirmations", reply["hash"]) == reply
    side = ask(node, "getchaintips")[1]["hash"]
    reply = ask(node, "getconfirmations", side)
    assert (reply["confirmations"], reply["in_active_chain"], int(reply["work_above"], 16)) == (-1, False, 0)
    assert ask(node, "getconfirmations", 13)[0] == -8
    assert ask(node, "getconfirmations", "ab" * 32)[0] == -5
    both = (-32602, "Only one of block and proof should be provided.")
    assert ask(node, "getconfirmations") == ask(node, "getconfirmations", 1, "00") == both


def test_confirmations_of_a_proven_transaction() -> None:
    node, _ = with_blocks()
    txid = hash_hex(OTHERS[2].txid)
    proof = ask(node, "gettxoutproof", [txid], ask(node, "getblockhash", 2))
    reply = ask(node, "getconfirmations", None, proof)
    assert (reply["txids"], reply["positions"], reply["confirmations"]) == ([txid], [4], 2)
    assert ask(node, "getconfirmations", None, proof[:-2])[0] == -8
    assert ask(node, "getconfirmations", None, "00" * 600_000)[0] == -8
    elsewhere = mainnet(5)
    assert ask(elsewhere, "getconfirmations", None, proof)[0] == -5


# -- why


def test_why_a_bitcoin_block_is_believed() -> None:
    node = forked()
    tip, side = ask(node, "getbestblockhash"), ask(node, "getchaintips")[1]["hash"]
    fifth = ask(node, "getblockhash", 5)
    node.known_peers = [
        {"id": 0, "bestblockhash": tip, "synced_headers": 12, "transport_protocol_type": "libp2p"},
        {"id": 1, "bestblockhash": fifth, "synced_headers": 5, "transport_protocol_type": "v2"},
        {"id": 2, "bestblockhash": side, "synced_headers": 7, "transport_protocol_type": "v1"},
        {"id": 3, "bestblockhash": "ab" * 32, "synced_headers": 90, "transport_protocol_type": "v1"},
        {"id": 4},
    ]
    tips = {"from": {"height": 1, "hash": tip}, "to": {"height": 1, "hash": tip}}
    counts = {"undo_count": 1, "redo_count": 2, "time": 1.0}
    forks = [0, 4, 5, *range(6, 20)]
    node.log = [{"seq": n, "kind": "reorg", "fork_height": at, **tips, **counts} for n, at in enumerate(forks, 1)]
    node.log.append({"seq": 90, "kind": "fault"})
    reply = ask(node, "why", 5)
    agreement = {"connected": 5, "agree": 2, "differ": 2, "behind": 0, "silent": 1}
    assert reply["peers"] == {**agreement, "transports": {"libp2p": 1, "v2": 1}}
    assert ask(node, "why", 6)["peers"]["behind"] == 1
    assert (reply["height"], reply["confirmations"], reply["vouched_by"]) == (5, 8, ["built in"])
    assert int(reply["work"]["above"], 16) == 14
    assert reply["work"]["counted_from_genesis"] is True
    history = reply["history"]
    assert (history["reorganizations"], history["touched"], history["faults"]) == (len(forks), 2, 1)
    assert [one["fork_height"] for one in history["newest"]] == forks[-MAX_SHOWN_REORGS:]
    assert "7 blocks are on top of it" in reply["says"]
    assert ask(node, "why")["height"] == 12
    beside = ask(node, "why", side)
    assert (beside["in_active_chain"], beside["peers"]["agree"]) == (False, 0)
    assert beside["says"].startswith("It is not")
    assert ask(node, "why", "ab" * 32)[0] == -5
    assert reply["checkpoints"] == {"passed": 1, "last": 0, "above_the_block": False}


def test_why_counts_the_checkpoints_that_a_chain_has_passed() -> None:
    reply = ask(long(), "why", 11_000)
    assert reply["checkpoints"] == {"passed": 1, "last": 11_111, "above_the_block": True}
    assert ask(long(), "why", 12_000)["checkpoints"]["above_the_block"] is False


def test_why_a_beacon_block_is_believed() -> None:
    node = SmallNode("bitcoin", beacons={"ethereum": followed()})
    final = ask(node, "getfinalizedheader")
    epoch = -(-final["slot"] // 32)
    status = {"finalized_epoch": epoch, "finalized_root": final["root"]}
    node.known_peers = [
        {"id": 0, "status": status, "transport_protocol_type": "libp2p"},
        {"id": 1, "status": {**status, "finalized_epoch": epoch + 3}, "transport_protocol_type": "libp2p"},
        {"id": 2, "status": {**status, "finalized_epoch": epoch - 1}},
        {"id": 3, "status": {**status, "finalized_root": "0x" + "ab" * 32}},
        {"id": 4, "status": None},
    ]
    reply = ask(node, "why", "finalized")
    assert (reply["network"], reply["finalized"], reply["root"]) == ("ethereum", True, final["root"])
    assert {name: reply["peers"][name] for name in ("agree", "differ", "behind", "silent")} == {
        "agree": 2, "differ": 1, "behind": 1, "silent": 1,
    }  # fmt: skip
    assert reply["grounds"]["vouched_by"] == reply["vouched_by"] == ["config"]
    assert reply["participation"] == final["participation"]
    newest = ask(node, "why", "optimistic")
    assert newest["slot"] == ask(node, "getoptimisticheader")["slot"]
    assert newest["participation"]["participants"] > 342
    kept = followed().records[0]
    older = ask(node, "why", "0x" + kept.block_hash.hex())
    assert (older["slot"], older["finalized"]) == (kept.slot, True)
    assert ask(node, "why", block=kept.block_number, network="ethereum")["slot"] == kept.slot
    assert ask(node, "why")["network"] == "bitcoin"
    assert ask(node, "why", "0x" + "ab" * 32)[0] == -5


def test_why_right_after_a_bootstrap() -> None:
    node = SmallNode(beacons={"ethereum": RealBeacon()})
    reply = ask(node, "why")
    assert (reply["participation"], reply["slots_above"]) == (None, 0)
    assert "nobody but the checkpoint" in reply["says"]
