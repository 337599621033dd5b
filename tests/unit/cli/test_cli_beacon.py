"""The commands on an Ethereum network, against a real RPC server with mainnet's recorded periods behind it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from beacon_view import TRUSTED_ROOT, followed
from eth_world import branch, sparse_tree
from rpc_live import live_thread
from small_node import SmallNode, vector

from spvnode.cli.shell import run_command
from spvnode.cli.verify import MAX_ANSWER_BYTES
from spvnode.ethereum.bundle import BeaconBundle, encode, to_json
from spvnode.ethereum.containers import (
    BeaconBlockHeader,
    LightClientBootstrap,
    LightClientHeader,
    beacon_root,
    execution_root,
    hash_tree_root,
)
from spvnode.ethereum.containers import encode as encode_object
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.gindices import GINDICES
from spvnode.ethereum.items import Item, Kind
from spvnode.ethereum.networks import ETHEREUM
from spvnode.ethereum.records import wire_digest
from spvnode.ethereum.units import Root
from spvnode.types import Hash32
from tests.support.eip1186 import answered, shown

FINALIZED_SLOT, HEAD_SLOT = 6730752, 6730830
NOW = 1606824023 + 12 * HEAD_SLOT + 20.0
ROOT = "0x" + TRUSTED_ROOT.hex()
FINAL_ROOT = "0x" + beacon_root(followed().finalized.beacon).hex()
BLOCK = 17463226
ASKED = ("account", "contract", "large contract", "nobody")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def datadir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("daemon")
    node = SmallNode("bitcoin", beacons={"ethereum": followed(), "hoodi": None})
    node.add("bitcoin", vector("mainnet_0-32259")[80 : 80 * 20])
    node.clock = NOW
    node.not_ready["hoodi"] = ("waiting for the checkpoint",)
    with live_thread(place, node):
        yield place


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line: (exit code, stdout, stderr)."""
    monkeypatch.delenv("SPVNODE_DATADIR", raising=False)

    def run_it(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()  # what the server's thread has logged
        code = run_command([str(word) for word in words])
        done = capsys.readouterr()
        return code, done.out, done.err

    return run_it


def rows(text: str) -> dict[str, str]:
    """Names and values of aligned lines."""
    pairs = (line.strip().partition("  ") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs if value}


def test_status_tells_what_a_beacon_chain_rests_on(run: Run, datadir: Path) -> None:
    code, out, err = run("status", "--datadir", datadir)
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if line.endswith(":")] == ["bitcoin:", "ethereum:", "hoodi:"]
    found = rows(out.partition("ethereum:\n")[2].partition("hoodi:\n")[0])
    assert found["finalized"] == f"slot {FINALIZED_SLOT}, 16 min old, {FINAL_ROOT}"
    assert found["optimistic"].startswith(f"slot {HEAD_SLOT}, 20 s old, 0x")
    assert found["execution block"] == "17548012 finalized, 17548090 signed"
    assert found["signed by"].endswith(" of 512, in slot 6730831")
    assert found["rests on"] == f"block {ROOT} at slot 6553600, named by config (root)"
    assert (found["peers"], found["ready"]) == ("1 (1 libp2p)", "yes")
    found = rows(out.partition("hoodi:\n")[2])
    assert (found["finalized"], found["ready"]) == (
        "none yet: no checkpoint is trusted (`spvnode doctor` says how to begin)",
        "no: waiting for the checkpoint",
    )


def test_status_tells_a_checkpoint_that_is_named_from_none(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = SmallNode(beacons={"hoodi": None})
    told = {"state": "IDLE", "waiting_for": "the checkpoint: named, but no source has it yet"}
    monkeypatch.setattr(node, "sync_info", lambda network: told)
    with live_thread(tmp_path, node):
        _, out, _ = run("status", "--datadir", tmp_path)
    assert rows(out)["finalized"] == (
        "none yet: checkpoint named, but no source has it yet (`spvnode doctor` says how to begin)"
    )


def test_status_shows_apis_that_do_not_answer_and_counts_them_not(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = SmallNode(beacons={"ethereum": followed()})
    fault = {"reason": "disconnected", "evidence": "cannot connect"}
    apis = [{"peer": f"rest:{name}", "up": name == "good", "last_fault": fault} for name in ("good", "127.0.0.1:9")]
    told = {**node.sync_info("ethereum"), "apis": apis}
    monkeypatch.setattr(node, "sync_info", lambda network: told)
    with live_thread(tmp_path, node):
        _, out, _ = run("status", "--datadir", tmp_path)
    assert rows(out)["not connected"] == "127.0.0.1:9: unreachable (cannot connect)"
    assert rows(out)["peers"] == "1 (1 libp2p)"


def test_status_for_programs(run: Run, datadir: Path) -> None:
    found = json.loads(run("status", "--datadir", datadir, "--json")[1])
    bitcoin, ethereum, hoodi = found["chains"]
    assert (bitcoin["blocks"], bitcoin["network"], "grounds" in bitcoin) == (19, "bitcoin", False)
    assert (ethereum["network"], ethereum["finalized"]["root"]) == ("ethereum", FINAL_ROOT)
    assert ethereum["grounds"]["vouched_by"] == ["config"]
    assert (hoodi["finalized"], hoodi["optimistic"], hoodi["grounds"], hoodi["ready"]) == (None, None, None, False)
    alone = json.loads(run("status", "--network", "ethereum", "--datadir", datadir, "--json")[1])
    assert (alone["optimistic"]["slot"], alone["sync"]["state"]) == (HEAD_SLOT, "idle")


def test_the_two_headers(run: Run, datadir: Path) -> None:
    code, out, _ = run("header", "finalized", "--datadir", datadir)
    found = rows(out)
    assert (code, found["slot"], found["root"], found["finalized"]) == (0, str(FINALIZED_SLOT), FINAL_ROOT, "yes")
    assert found["time"] == "1687593047 (2023-06-24 07:50:47 UTC)"
    assert found["execution block"] == "17548012"
    assert found["rests on"].startswith(f"block {ROOT} ")
    code, out, _ = run("header", "optimistic", "--network", "ethereum", "--datadir", datadir)
    found = rows(out)
    assert (code, found["slot"], found["age"]) == (0, str(HEAD_SLOT), "20 s")
    assert found["finalized"] == f"no, slot {FINALIZED_SLOT} is"
    as_json = json.loads(run("header", "optimistic", "--datadir", datadir, "--json")[1])
    assert (as_json["slot"], as_json["network"]) == (HEAD_SLOT, "ethereum")


def test_an_older_execution_block(run: Run, datadir: Path) -> None:
    record = followed().records[3]
    by_hash = run("header", "0x" + record.block_hash.hex(), "--datadir", datadir)
    by_number = run("header", record.block_number, "--network", "ethereum", "--datadir", datadir)
    assert by_hash == by_number
    assert rows(by_hash[1])["execution state root"] == "0x" + record.state_root.hex()
    assert "signed by" not in rows(by_hash[1])
    # A bare number without a network is of the daemon's first one.
    assert rows(run("header", "7", "--datadir", datadir)[1])["height"] == "7"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("header", "5", "--network", "ethereum"), "X: Block not found: of the finalized execution blocks only those"),
        (("header", "0x12"), "block: '0x12' is neither a block number nor a hash"),
        (("header", "newest"), "X: 'newest' is neither a height"),
        (("header", "finalized", "--network", "bitcoin"), "network: bitcoin is a Bitcoin network; ask with"),
        (("header", "finalized", "--network", "hoodi"), "network: hoodi has not begun: no checkpoint is trusted yet"),
        (("proof", "finalized", "--cp-height", "5"), "--cp-height: is for Bitcoin networks"),
        (("proof", "5", "--network", "ethereum"), "network: ethereum is an Ethereum network; ask with"),
        (("proof", "optimistic", "--out", "/nonexistent/x"), "-o: /nonexistent/x: No such file or directory"),
        (("verify",), "FILE: is missing"),
        (("verify", "--account", "/nonexistent/x"), "--account: /nonexistent/x: No such file or directory"),
        (("verify", "--trusted-checkpoint", "0x12", "f"), "--trusted-checkpoint: must be of length 64 (not 2"),
    ],
)
def test_what_is_refused_is_bad_input(run: Run, datadir: Path, words: tuple[str, ...], message: str) -> None:
    code, out, err = run(*words, "--datadir", datadir)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")


@pytest.mark.parametrize("suffix", ["bin", "json"])
@pytest.mark.parametrize("header", ["finalized", "optimistic"])
def test_a_proof_is_written_and_verified_offline(
    run: Run, datadir: Path, tmp_path: Path, header: str, suffix: str
) -> None:
    file = tmp_path / f"x.{suffix}"
    code, out, _ = run("proof", header, "--network", "ethereum", "--out", file, "--datadir", datadir)
    found = rows(out)
    assert (code, found["header"], found["checkpoint_root"], found["updates"]) == (0, header, ROOT, "21")
    assert found["bytes"] == str(file.stat().st_size)
    code, out, _ = run("verify", file, "--trusted-checkpoint", ROOT)
    assert code == 0
    assert out.startswith(f"valid: Block {found['root']} at slot {found['slot']} of ethereum ")
    as_json = json.loads(run("verify", file, "--json")[1])
    assert (as_json["valid"], as_json["rests_on"], as_json["header"]) == (True, "maker", header)
    assert run("verify", file, "--trusted-checkpoint", FINAL_ROOT)[0] == 1
    code, _, err = run("verify", file, "--trusted-tip", "ab" * 32)
    assert (code, err) == (2, "error: trusted_tip: does not apply to a proof of a beacon chain\n")


def test_the_json_form_is_printed_without_a_file(run: Run, datadir: Path, tmp_path: Path) -> None:
    code, out, _ = run("proof", "finalized", "--datadir", datadir)
    assert (code, json.loads(out)["checkpoint_root"]) == (0, ROOT)
    changed = json.loads(out)
    changed["items"][5]["ssz"] = changed["items"][6]["ssz"]
    (tmp_path / "x").write_text(json.dumps(changed))
    code, out, _ = run("verify", tmp_path / "x")
    assert (code, out.split(":")[0]) == (1, "INVALID")


def answer(place: int = 0) -> tuple[dict[str, Any], str]:
    """An `eth_getProof` answer, and the state root of the block ``BLOCK`` that it is about."""
    given, state_root = answered(ASKED[place])
    return given, shown(state_root)


def bundle_of(state_root: str) -> BeaconBundle:
    """A proof that rests on a checkpoint of our own making, around any state root: sound, and its maker's word."""
    start, gindices = followed().bootstrap, GINDICES[Fork.CAPELLA]
    rng = random.Random(7)
    assert start.header.execution is not None
    execution = replace(start.header.execution, state_root=Hash32(bytes.fromhex(state_root[2:])), block_number=BLOCK)
    body = sparse_tree({gindices.execution: execution_root(Fork.CAPELLA, execution)}, rng)
    committee = hash_tree_root(ETHEREUM.preset, start.current_sync_committee)
    state = sparse_tree({gindices.current_sync_committee: committee}, rng)
    old = start.header.beacon
    beacon = BeaconBlockHeader(old.slot, old.proposer_index, old.parent_root, Root(state[1]), Root(body[1]))
    header = LightClientHeader(Fork.CAPELLA, beacon, execution, execution_branch=branch(body, gindices.execution))
    proof = branch(state, gindices.current_sync_committee)
    bootstrap = LightClientBootstrap(Fork.CAPELLA, header, start.current_sync_committee, proof)
    item = Item(Kind.BOOTSTRAP, wire_digest(ETHEREUM, old.slot), encode_object(ETHEREUM.preset, bootstrap))
    return BeaconBundle("ethereum", ETHEREUM.genesis_validators_root, beacon_root(beacon), int(NOW), (item,))


@pytest.mark.parametrize("place", range(4))
def test_an_account_under_the_state_root_that_a_file_proves(run: Run, tmp_path: Path, place: int) -> None:
    given, state_root = answer(place)
    bundle = bundle_of(state_root)
    (tmp_path / "x.bin").write_bytes(encode(bundle))
    (tmp_path / "x.json").write_text(json.dumps(to_json(bundle)))
    # As curl saves it: with JSON-RPC around it.
    (tmp_path / "account.json").write_text(json.dumps({"jsonrpc": "2.0", "id": 1, "result": given}))
    for file in ("x.bin", "x.json"):
        code, out, _ = run("verify", tmp_path / file, "--account", tmp_path / "account.json")
        found = rows(out)
        assert (code, out.split(":")[0]) == (0, "valid")
        assert (found["address"], found["balance"]) == (given["address"], f"{int(given['balance'], 16)} wei")
    as_json = json.loads(run("verify", tmp_path / "x.bin", "--account", tmp_path / "account.json", "--json")[1])
    assert (as_json["valid"], as_json["account"]["nonce"]) == (True, int(given["nonce"], 16))


def test_an_account_of_another_block_or_a_changed_one_is_refused(run: Run, datadir: Path, tmp_path: Path) -> None:
    given, state_root = answer()
    (tmp_path / "account.json").write_text(json.dumps(given))
    run("proof", "finalized", "--datadir", datadir, "-o", tmp_path / "other")
    code, out, _ = run("verify", tmp_path / "other", "--account", tmp_path / "account.json")
    assert (code, out.splitlines()[1].split(":")[0]) == (1, "INVALID account")
    given["nonce"] = hex(int(given["nonce"], 16) + 1)
    (tmp_path / "account.json").write_text(json.dumps(given))
    (tmp_path / "x").write_bytes(encode(bundle_of(state_root)))
    found = json.loads(run("verify", tmp_path / "x", "--account", tmp_path / "account.json", "--json")[1])
    assert (found["valid"], found["reason"]) == (False, "nonce: is not what the proof shows")


def test_an_account_under_the_daemons_header(run: Run, datadir: Path, tmp_path: Path) -> None:
    given, _ = answer()
    file = tmp_path / "account.json"
    file.write_text(json.dumps(given))
    for block in ((), ("--block", "optimistic"), ("--block", "17548012", "--network", "ethereum")):
        code, out, _ = run("verify", "--account", file, *block, "--datadir", datadir)
        assert (code, out.split(":")[0]) == (1, "INVALID")  # the answer is of an older block
    found = json.loads(run("verify", "--account", file, "--datadir", datadir, "--json")[1])
    assert found["block"]["block_number"] == 17548012
    code, _, err = run("verify", "--account", file, "--block", "5", "--datadir", datadir)
    assert (code, err.split(":")[1]) == (2, " --account")
    assert run("verify", "x", "--account", file, "--block", "5")[0] == 2


@pytest.mark.parametrize("text", ["", "[]", "{", "7", '"x"', "[" * 100_000])
def test_a_file_that_is_no_answer(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    code, _, err = run("verify", "x", "--account", tmp_path / "x")
    assert code == 2
    assert err.startswith("error: --account: ")


def test_a_file_that_is_too_long_is_refused_unread(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(" " * MAX_ANSWER_BYTES + "{}")
    code, _, err = run("verify", "x", "--account", tmp_path / "x")
    assert (code, err) == (2, f"error: --account: {tmp_path / 'x'}: longer than {MAX_ANSWER_BYTES} bytes\n")


def test_a_proof_of_bitcoin_has_no_accounts(run: Run, datadir: Path, tmp_path: Path) -> None:
    run("proof", "7", "--datadir", datadir, "-o", tmp_path / "x")
    (tmp_path / "account.json").write_text("{}")
    code, _, err = run("verify", tmp_path / "x", "--account", tmp_path / "account.json")
    assert (code, err) == (2, "error: --account: FILE proves no state root of an execution block\n")
