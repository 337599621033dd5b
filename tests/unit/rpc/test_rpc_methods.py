"""What the methods answer, on real mainnet headers and on regtest forks."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from mine import mine_run
from small_node import SmallNode, mainnet, vector

from merkle.verify import verify
from spvnode.bitcoin.params import NETWORKS
from spvnode.bitcoin.start import Checkpoint
from spvnode.errors import StoreError
from spvnode.metrics import Metrics
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.docs import render
from spvnode.rpc.errors import MEANINGS, Code
from spvnode.rpc.limits import MAX_EVENTS
from spvnode.rpc.table import METHODS
from spvnode.types import Hash32, Height, Work

HASH_1 = "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048"
HASH_49 = "00000000f067c09041ff0fcee3d91aeb7fbcc5654d3f766af2b4377aaee68d00"


def ask(node: SmallNode, method: str, *params: object, path: str | None = None, **named: object) -> Any:
    """The result of a call; an error comes as (code, message)."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": named or list(params)}
    reply = trio.run(Dispatcher(node, METHODS, Metrics()).answer, json.dumps(body).encode(), path)
    answer = json.loads(reply.body)
    return answer["result"] if "result" in answer else (answer["error"]["code"], answer["error"]["message"])


@pytest.fixture(scope="module")
def node() -> SmallNode:
    return mainnet(50)


def forked() -> tuple[SmallNode, bytes, bytes]:
    """Regtest: a main chain of 12, and a branch of 3 from height 4 whose first header is 5's competitor."""
    node = SmallNode("regtest")
    genesis = NETWORKS["regtest"].genesis_header
    main = mine_run(NETWORKS["regtest"].genesis_hash, int.from_bytes(genesis[68:72], "little"), 12)
    node.add("regtest", main)
    fourth = node.real["regtest"].block_hash(Height(4))
    side = mine_run(fourth, int.from_bytes(main[3 * 80 + 68 : 3 * 80 + 72], "little"), 3, seed=9, spacing=100)
    node.add("regtest", side)
    return node, main, side


def test_tip_count_and_hashes_are_bare_values(node: SmallNode) -> None:
    assert ask(node, "getblockcount") == 49
    assert ask(node, "getbestblockhash") == HASH_49
    assert ask(node, "getblockhash", 1) == HASH_1


@pytest.mark.parametrize("height", [-1, 50, 2**70])
def test_a_height_that_is_not_held_is_cores_minus_8(node: SmallNode, height: int) -> None:
    assert ask(node, "getblockhash", height) == (-8, "Block height out of range (this node holds 0 to 49)")


def test_blockchaininfo_has_cores_fields_and_ours(node: SmallNode) -> None:
    info = ask(node, "getblockchaininfo")
    core = "chain blocks headers bestblockhash difficulty time mediantime verificationprogress initialblockdownload"
    assert list(info)[: len(core.split())] == core.split()
    assert {"chainwork", "size_on_disk", "pruned", "warnings"} <= set(info)
    assert (info["chain"], info["blocks"], info["headers"], info["difficulty"]) == ("main", 49, 49, 1.0)
    assert info["chainwork"] == f"{50 * 0x100010001:064x}"
    assert info["initialblockdownload"] is True
    assert info["verificationprogress"] < 0.01
    assert info["freshness"] == {"tip_age": 12.5, "last_useful_event_age": None}
    assert info["start"]["kind"] == "genesis"
    assert info["start"]["complete"] is True


def test_a_fresh_tip_ends_the_initial_download_only_with_enough_work(node: SmallNode) -> None:
    young = mainnet(50)
    young.clock = 1231613802 + 60.0
    info = ask(young, "getblockchaininfo")
    assert info["verificationprogress"] == 1.0
    assert info["initialblockdownload"] is True  # mainnet's minimum chain work is far away
    regtest, _, _ = forked()
    regtest.clock = 1296688602 + 12 * 600 + 60.0
    assert ask(regtest, "getblockchaininfo")["initialblockdownload"] is False


def test_header_in_verbose_form_is_cores(node: SmallNode) -> None:
    reply = ask(node, "getblockheader", HASH_1)
    genesis = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    expected = {
        "hash": HASH_1,
        "confirmations": 49,
        "height": 1,
        "version": 1,
        "versionHex": "00000001",
        "merkleroot": "0e3e2357e806b6cdb1f70b54c3a3a17b6714ee1f0e68bebb44a74b1efd512098",
        "time": 1231469665,
        "mediantime": 1231469665,
        "nonce": 2573394689,
        "bits": "1d00ffff",
        "difficulty": 1.0,
        "chainwork": f"{0x200020002:064x}",
        "nTx": 0,
        "previousblockhash": genesis,
        "nextblockhash": "000000006a625f06636b8bb6ac7b960a8d03705d1ace08b1a19da3fdcc99ddbd",
    }
    assert dict(list(reply.items())[: len(expected)]) == expected
    assert "previousblockhash" not in ask(node, "getblockheader", genesis)
    assert "nextblockhash" not in ask(node, "getblockheader", HASH_49)


def test_header_in_hex(node: SmallNode) -> None:
    assert bytes.fromhex(ask(node, "getblockheader", HASH_1, False)) == vector("mainnet_0-32259")[80:160]


def test_unknown_and_malformed_hashes(node: SmallNode) -> None:
    assert ask(node, "getblockheader", "00" * 32) == (-5, "Block not found")
    assert ask(node, "getblockheader", "abc") == (
        -8,
        "blockhash: must be of length 64 (not 3, for 'abc')",
    )
    assert ask(node, "getblockheader", "zz" * 32)[0] == -8


def test_a_side_branch_is_told_apart(node: SmallNode) -> None:
    forked_node, main, _ = forked()
    tips = ask(forked_node, "getchaintips")
    assert [(tip["height"], tip["branchlen"], tip["status"]) for tip in tips] == [
        (12, 0, "active"),
        (7, 3, "headers-only"),
    ]
    reply = ask(forked_node, "getblockheader", tips[1]["hash"])
    assert (reply["height"], reply["confirmations"]) == (7, -1)
    assert "nextblockhash" not in reply
    # Regtest work is 2 a header: genesis and seven more, whichever branch they are on.
    assert int(reply["chainwork"], 16) == 16
    times = [1296688602 + 600 * height for height in range(5)]
    times += [times[-1] + 100 * step for step in (1, 2, 3)]
    assert reply["mediantime"] == sorted(times)[len(times) // 2]
    assert ask(forked_node, "getheaderproof", tips[1]["hash"]) == (-5, "Block is not in the active chain")
    assert len(main) == 12 * 80


def test_peers_and_node_info(node: SmallNode) -> None:
    assert ask(node, "getpeerinfo")[0]["peer_id"] == "12D3KooWPeer"
    info = ask(node, "getnodeinfo")
    assert info == {
        "version": "0.0.test",
        "peer_id": "12D3KooWTest",
        "listen_addrs": ["/ip4/127.0.0.1/tcp/8343/p2p/12D3KooWTest"],
        "networks": ["bitcoin"],
        "uptime": 1000,
        "rpc": [],
        "beacon": {},
    }
    assert ask(node, "uptime") == 1000


@pytest.mark.parametrize("block", [0, 1, 20, 49, HASH_1])
def test_a_proof_checks_out_with_the_offline_verifier(node: SmallNode, block: int | str) -> None:
    reply = ask(node, "getheaderproof", block)
    height = 1 if isinstance(block, str) else block
    assert (reply["height"], reply["cp_height"], reply["confirmations"]) == (height, 49, 50 - height)
    for form in (bytes.fromhex(reply["hex"]), reply["bundle"], json.dumps(reply["bundle"])):
        verdict = verify(form, trusted_root=reply["root"])
        assert verdict.ok
        assert (verdict.fields["hash"], verdict.fields["height"]) == (reply["hash"], height)


def test_a_proof_against_an_older_tip(node: SmallNode) -> None:
    reply = ask(node, "getheaderproof", block=5, cp_height=30)
    assert reply["cp_height"] == 30
    assert verify(reply["bundle"]).ok
    assert ask(node, "getheaderproof", block=5, cp_height=4) == (-8, "cp_height: 4 is below the block's height 5")
    assert ask(node, "getheaderproof", block=5, cp_height=50)[0] == -8
    assert ask(node, "getheaderproof", block="5x")[0] == -8


def test_verifying_tells_what_this_node_adds(node: SmallNode) -> None:
    reply = ask(node, "getheaderproof", 7)
    for form in (reply["hex"], reply["bundle"]):
        found = ask(node, "verifyheaderproof", form)
        assert found["valid"] is True
        assert (found["rests_on"], found["root_matches"], found["in_active_chain"]) == ("trusted root", True, True)
    elsewhere = ask(SmallNode("regtest"), "verifyheaderproof", reply["hex"])
    assert (elsewhere["rests_on"], elsewhere["root_matches"]) == ("maker", None)


def test_a_changed_proof_is_refused(node: SmallNode) -> None:
    bundle = bytearray.fromhex(ask(node, "getheaderproof", 7)["hex"])
    bundle[-1] ^= 1
    found = ask(node, "verifyheaderproof", bundle.hex())
    assert (found["valid"], found["reason"]) == (False, "root")
    assert ask(node, "verifyheaderproof", "ab")["valid"] is False
    assert ask(node, "verifyheaderproof", "xy") == (-8, "bundle: must be hexadecimal string (not 'xy')")
    assert ask(node, "verifyheaderproof", "01" * 3415)["reason"] == "format"
    assert ask(node, "verifyheaderproof", {"a": 1})["valid"] is False


def test_a_proof_of_a_fork_does_not_match() -> None:
    node, main, _ = forked()
    other = SmallNode("regtest")
    other.add("regtest", main[: 4 * 80])
    fifth = mine_run(
        other.real["regtest"].tip_hash, int.from_bytes(main[3 * 80 + 68 : 3 * 80 + 72], "little"), 2, seed=5
    )
    other.add("regtest", fifth)
    found = ask(node, "verifyheaderproof", ask(other, "getheaderproof", 6)["hex"])
    assert (found["valid"], found["root_matches"], found["in_active_chain"]) == (True, False, False)


def test_syncinfo_carries_the_machine_and_its_standing(node: SmallNode) -> None:
    info = ask(node, "getsyncinfo")
    assert (info["state"], info["reasons"], info["ready"]) == ("idle", [], True)
    assert info["freshness"]["tip_age"] == 12.5


def test_import_commits_or_refuses_whole_runs() -> None:
    node, headers = mainnet(10), vector("mainnet_0-32259")
    reply = ask(node, "importheaders", headers[10 * 80 : 20 * 80].hex())
    assert (reply["accepted"], reply["height"], reply["network"]) == (10, 19, "bitcoin")
    bad = bytearray(headers[20 * 80 : 30 * 80])
    bad[5 * 80 + 40] ^= 1
    assert ask(node, "importheaders", bad.hex()) == (-25, "headers: high-hash at header 5")
    assert node.real["bitcoin"].tip_height == 19
    for text in ("", "00" * 79, "00" * 81, "00" * 80 * 8065):
        assert ask(node, "importheaders", text)[0] == -8
    assert ask(node, "importheaders", "00" * 79)[1].endswith("must be 1 to 8064 headers of 80")


def test_a_checkpoint_of_one_node_starts_another() -> None:
    node = mainnet(4100)
    given = ask(node, "getcheckpoint", 4032)
    assert ask(node, "getcheckpoint", 4031) == (
        -8,
        "height: 4031 is no multiple of 2016, where a trust start must be",
    )
    start = Checkpoint(
        Height(given["height"]),
        Hash32(bytes.fromhex(given["hash"])[::-1]),
        bytes.fromhex(given["header"]),
        Work(int(given["chainwork"], 16)),
        tuple(bytes.fromhex(peak) for peak in given["peaks"]),
    )
    other = SmallNode("bitcoin", checkpoints={"bitcoin": start})
    other.add("bitcoin", vector("mainnet_0-32259")[4033 * 80 : 4100 * 80])
    mine, theirs = ask(node, "getblockchaininfo"), ask(other, "getblockchaininfo")
    assert (mine["bestblockhash"], mine["chainwork"]) == (theirs["bestblockhash"], theirs["chainwork"])
    assert theirs["start"]["kind"] == "checkpoint"
    assert ask(node, "getheaderproof", 4050)["root"] == ask(other, "getheaderproof", 4050)["root"]
    assert ask(other, "getblockhash", 4031) == (-8, "Block height out of range (this node holds 4032 to 4099)")
    # It can hand the same on, since it knows work and peaks from genesis.
    assert {**ask(other, "getcheckpoint", 4032), "start": None} == {**given, "start": None}


def test_a_bare_checkpoint_hands_on_neither_work_nor_peaks() -> None:
    raw = vector("mainnet_0-32259")
    header = raw[2016 * 80 : 2017 * 80]
    tip = mainnet(2017).real["bitcoin"].tip_hash
    bare = SmallNode("bitcoin", checkpoints={"bitcoin": Checkpoint(Height(2016), tip, header)})
    given = ask(bare, "getcheckpoint", 2016)
    assert (given["chainwork"], given["peaks"]) == (None, [])


def test_a_network_is_chosen_by_parameter_or_path() -> None:
    node = SmallNode("regtest", "bitcoin")
    node.add("bitcoin", vector("mainnet_0-32259")[80:800])
    assert ask(node, "getblockcount") == 0  # the first configured
    assert ask(node, "getblockcount", "bitcoin") == 9
    assert ask(node, "getblockcount", network="bitcoin") == 9
    assert ask(node, "getblockcount", path="bitcoin") == 9
    assert ask(node, "getblockhash", 1, "bitcoin") == HASH_1
    assert ask(node, "getblockcount", network="signet") == (
        -8,
        "network: 'signet' does not run here; running: regtest, bitcoin",
    )


def test_before_a_chain_has_begun_the_node_says_so() -> None:
    waiting = SmallNode("bitcoin")
    del waiting.real["bitcoin"]
    assert ask(waiting, "getblockcount") == (-28, "bitcoin has not begun: waiting for the checkpoint's header")
    assert ask(waiting, "importheaders", "00" * 80)[0] == -28
    assert ask(waiting, "getnodeinfo")["networks"] == ["bitcoin"]
    assert len(ask(waiting, "getpeerinfo")) == 1
    info = ask(waiting, "getsyncinfo")
    assert (info["network"], info["start"], info["state"]) == ("bitcoin", None, "idle")


def test_a_store_that_refuses_is_cores_minus_20(node: SmallNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("d/store: no room to write")

    monkeypatch.setattr(node, "add", refuse)
    assert ask(node, "importheaders", "00" * 80) == (-20, "d/store: no room to write")


def test_events_are_read_on_from_a_cursor(node: SmallNode) -> None:
    first = ask(node, "getevents", 0, 5)
    assert [event["seq"] for event in first["events"]] == [1, 2, 3, 4, 5]
    assert [event["seq"] for event in ask(node, "getevents", first["cursor"])["events"]] == [6, 7]
    assert ask(node, "getevents", 7) == {"events": [], "cursor": 7}
    assert ask(node, "getevents", 0, MAX_EVENTS + 1)[0] == -8
    assert ask(node, "getevents", -1)[0] == -8


def test_a_proof_is_asked_for_by_height_or_hash_under_those_names(node: SmallNode) -> None:
    by_block = ask(node, "getheaderproof", 5)["hex"]
    found = ask(node, "getblockhash", 5)
    assert ask(node, "getheaderproof", height=5)["hex"] == by_block
    assert ask(node, "getheaderproof", hash=found)["hex"] == by_block


def test_help_lists_all_and_explains_one(node: SmallNode) -> None:
    usages = ask(node, "help").splitlines()
    assert [usage.split()[0] for usage in usages] == sorted(METHODS)
    assert "getblockheader blockhash ( verbose network )" in usages
    text = ask(node, "help", "getblockheader")
    assert "- nTx (integer) Always 0: headers do not tell how many transactions a block has." in text
    assert "- network, freshness, ready, start (HeaderStanding)" in text
    assert '- status ("active" or "headers-only")' in ask(node, "help", "getchaintips")
    assert "1. blockhash (string, required) Hash of the block, 64 hex digits." in text
    assert "2. verbose (boolean, optional)" in text
    assert "`" not in ask(node, "help", "getblockchaininfo")
    assert ask(node, "help", "nope") == (-8, "help: unknown command: 'nope'")


def test_every_error_code_has_a_meaning_in_the_reference() -> None:
    assert set(MEANINGS) == set(Code)
    page = render()
    for code, meaning in MEANINGS.items():
        assert f"| {int(code)} | {meaning} |" in page
