"""What the methods answer about a beacon chain: mainnet's recorded periods, and account proofs."""

from __future__ import annotations

import json
from copy import copy, deepcopy
from dataclasses import replace
from typing import Any

import pytest
import trio
from beacon_view import SET, TRUSTED_ROOT, RealBeacon, followed, recorded_updates
from eth_vectors import real_json
from small_node import SmallNode

from spvnode.ethereum.bundle import decode, from_json
from spvnode.ethereum.containers import LightClientHeader, beacon_root
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.networks import ETHEREUM
from spvnode.ethereum.upgrade import upgrade_lc_header
from spvnode.metrics import Metrics
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.errors import Code
from spvnode.rpc.table import METHODS
from spvnode.types import Hash32
from spvnode.view import ExecutionRecord
from tests.support.eip1186 import answered, world

FINALIZED_SLOT, HEAD_SLOT = 6730752, 6730830
FINAL = real_json(SET, "finality_update.json")["data"]
HEAD = real_json(SET, "optimistic_update.json")["data"]
BLOCK = 17463226
"""An execution block of the recorded time; its state is the made one."""
ASKED = ("account", "contract", "large contract", "nobody")
GROUNDS = {"kind": "root", "slot": 6553600, "root": "0x" + TRUSTED_ROOT.hex(), "vouched_by": ["config"]}
NOW = 1606824023 + 12 * HEAD_SLOT + 20.0


def ask(node: SmallNode, method: str, *params: object, path: str | None = None, **named: object) -> Any:
    """The result of a call; an error comes as (code, message)."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": named or list(params)}
    reply = trio.run(Dispatcher(node, METHODS, Metrics()).answer, json.dumps(body).encode(), path)
    answer = json.loads(reply.body)
    return answer["result"] if "result" in answer else (answer["error"]["code"], answer["error"]["message"])


@pytest.fixture(scope="module")
def node() -> SmallNode:
    found = SmallNode("regtest", beacons={"ethereum": followed(), "hoodi": None})
    found.clock = NOW
    return found


def test_the_finalized_header(node: SmallNode) -> None:
    reply = ask(node, "getfinalizedheader")
    beacon, execution = FINAL["finalized_header"]["beacon"], FINAL["finalized_header"]["execution"]
    for name in ("parent_root", "state_root", "body_root"):
        assert reply[name] == beacon[name]
    assert (reply["slot"], reply["epoch"], reply["proposer_index"]) == (
        FINALIZED_SLOT,
        FINALIZED_SLOT // 32,
        int(beacon["proposer_index"]),
    )
    assert reply["root"] == "0x" + beacon_root(followed().finalized.beacon).hex()
    assert reply["time"] == 1606824023 + 12 * FINALIZED_SLOT
    assert reply["age"] == NOW - reply["time"]
    for name in ("block_hash", "state_root", "receipts_root", "transactions_root", "parent_hash", "fee_recipient"):
        assert reply["execution"][name] == execution[name]
    for name in ("block_number", "timestamp", "gas_used", "base_fee_per_gas"):
        assert reply["execution"][name] == int(execution[name])
    signers = int.from_bytes(bytes.fromhex(FINAL["sync_aggregate"]["sync_committee_bits"][2:]), "little").bit_count()
    assert reply["participation"] == {
        "participants": signers,
        "committee_size": 512,
        "share": round(signers / 512, 4),
    }
    assert (reply["attested_slot"], reply["signature_slot"]) == (6730825, int(FINAL["signature_slot"]))
    assert (reply["finalized"], reply["network"], reply["ready"]) == (True, "ethereum", True)
    assert reply["grounds"] == GROUNDS
    assert reply["freshness"] == {"tip_age": 12.5, "last_useful_event_age": None}


def test_the_optimistic_header(node: SmallNode) -> None:
    reply = ask(node, "getoptimisticheader", network="ethereum")
    assert reply["slot"] == int(HEAD["attested_header"]["beacon"]["slot"]) == HEAD_SLOT
    assert (reply["finalized"], reply["finalized_slot"]) == (False, FINALIZED_SLOT)
    assert reply["execution"]["block_hash"] == HEAD["attested_header"]["execution"]["block_hash"]
    assert reply["signature_slot"] == int(HEAD["signature_slot"])
    assert reply["age"] == 20.0
    assert ask(node, "getoptimisticheader", "ethereum") == reply
    assert ask(node, "getoptimisticheader", path="ethereum") == reply


def test_an_older_finalized_block_by_number_and_hash(node: SmallNode) -> None:
    record = followed().records[4]
    by_number = ask(node, "getfinalizedheader", record.block_number)
    assert by_number["slot"] == record.slot
    assert by_number["root"] == "0x" + record.beacon_root.hex()
    assert by_number["execution"] == {
        "block_number": record.block_number,
        "block_hash": "0x" + record.block_hash.hex(),
        "state_root": "0x" + record.state_root.hex(),
        "receipts_root": "0x" + record.receipts_root.hex(),
        "transactions_root": "0x" + record.transactions_root.hex(),
        "timestamp": record.timestamp,
    }
    assert (by_number["finalized"], by_number["grounds"]) == (True, GROUNDS)
    for named in ({"hash": "0x" + record.block_hash.hex()}, {"number": str(record.block_number)}):
        assert ask(node, "getfinalizedheader", **named) == by_number


@pytest.mark.parametrize(
    ("block", "code", "message"),
    [
        (1, Code.INVALID_ADDRESS_OR_KEY, "Block not found"),
        ("0x" + "ab" * 32, Code.INVALID_ADDRESS_OR_KEY, "Block not found"),
        (-1, Code.INVALID_PARAMETER, "block: -1 is no block number"),
        (2**64, Code.INVALID_PARAMETER, "block: 18446744073709551616 is no block number"),
        ("0xab", Code.INVALID_PARAMETER, "block: '0xab' is neither a block number nor a hash"),
        ("ab" * 32, Code.INVALID_PARAMETER, "block: 'abab"),
        ("latest", Code.INVALID_PARAMETER, "block: 'latest' is neither"),
        (True, Code.TYPE_ERROR, "block: Expected"),
    ],
)
def test_a_block_that_is_not_held(node: SmallNode, block: object, code: Code, message: str) -> None:
    found, said = ask(node, "getfinalizedheader", block)
    assert (found, said[: len(message)]) == (code, message)


def test_right_after_the_start_nothing_but_the_checkpoint_vouches() -> None:
    fresh = SmallNode(beacons={"ethereum": RealBeacon()})
    for method in ("getfinalizedheader", "getoptimisticheader"):
        reply = ask(fresh, method)
        assert (reply["slot"], reply["root"], reply["finalized"]) == (6553600, GROUNDS["root"], True)
        assert (reply["participation"], reply["signature_slot"], reply["attested_slot"]) == (None, None, None)
    proof = ask(fresh, "getbeaconheaderproof")
    assert (proof["updates"], proof["root"]) == (0, proof["checkpoint_root"])


def test_a_header_that_came_with_a_period_shows_no_other_updates_signers() -> None:
    moved = RealBeacon()
    moved.add_update(recorded_updates()[0])
    moved.add_update(recorded_updates()[1])
    moved.finality_update = followed().finality_update  # of another header
    reply = ask(SmallNode(beacons={"ethereum": moved}), "getfinalizedheader")
    assert reply["slot"] > 6553600
    assert reply["participation"] is None


def test_headers_of_other_layouts() -> None:
    """Before capella nothing is known of execution; from gloas on the block hash, and the rest where it was kept."""
    gloas, altair = copy(followed()), copy(followed())
    header = upgrade_lc_header(ETHEREUM, followed().finalized, Fork.GLOAS)
    gloas.store = replace(followed().store, finalized_header=header)
    gloas.records = []
    block_hash = "0x" + followed().records[-1].block_hash.hex()
    assert ask(SmallNode(beacons={"ethereum": gloas}), "getfinalizedheader")["execution"] == {"block_hash": block_hash}
    account = {"proof": answer(), "block": "finalized"}
    assert ask(SmallNode(beacons={"ethereum": gloas}), "verifyaccountproof", **account)[0] == -5
    gloas.records = followed().records
    found = ask(SmallNode(beacons={"ethereum": gloas}), "getfinalizedheader")["execution"]
    assert (found["block_hash"], found["timestamp"]) == (block_hash, followed().records[-1].timestamp)
    assert ask(SmallNode(beacons={"ethereum": gloas}), "verifyaccountproof", **account)["block"]["finalized"] is True
    altair.store = replace(followed().store, finalized_header=LightClientHeader(Fork.ALTAIR, header.beacon))
    assert ask(SmallNode(beacons={"ethereum": altair}), "getfinalizedheader")["execution"] is None
    assert ask(SmallNode(beacons={"ethereum": altair}), "verifyaccountproof", **account)[0] == -5


@pytest.mark.parametrize("header", ["finalized", "optimistic"])
def test_a_proof_in_both_forms(node: SmallNode, header: str) -> None:
    reply = ask(node, "getbeaconheaderproof", header)
    raw = bytes.fromhex(reply["hex"])
    assert (len(raw), raw) == (reply["bytes"], followed().bundle(header, made_at=int(NOW)))
    assert reply["slot"] == (FINALIZED_SLOT if header == "finalized" else HEAD_SLOT)
    assert (reply["checkpoint_root"], reply["updates"]) == (GROUNDS["root"], 21)
    assert reply["grounds"] == GROUNDS
    as_json = ask(node, "getbeaconheaderproof", header=header, format="json", network="ethereum")
    assert from_json(as_json["bundle"]) == decode(raw)
    assert "hex" not in as_json
    recorded = (FINAL["finalized_header"] if header == "finalized" else HEAD["attested_header"])["execution"]
    assert reply["execution"]["state_root"]["value"] == recorded["state_root"]
    assert reply["execution"]["block_number"]["value"] == int(recorded["block_number"])


def test_a_proof_that_cannot_be_made_yet_is_no_fault_of_ours() -> None:
    gap = copy(followed())
    gap.best = {period: update for period, update in followed().best.items() if period != 810}
    code, message = ask(SmallNode(beacons={"ethereum": gap}), "getbeaconheaderproof")
    assert code == Code.MISC_ERROR
    assert message.startswith("no proof can be made yet: updates: 10 from period 800")


@pytest.mark.parametrize(("field", "value"), [("header", "head"), ("format", "ssz")])
def test_words_of_a_proof_are_checked(node: SmallNode, field: str, value: str) -> None:
    code, problem = ask(node, "getbeaconheaderproof", **{field: value})
    choices = {"header": "finalized, optimistic", "format": "hex, json"}[field]
    assert (code, problem) == (-8, f"{field}: Invalid enum value '{value}'; one of {choices}")


def test_a_proof_is_compared_with_what_this_node_knows(node: SmallNode) -> None:
    for header in ("finalized", "optimistic"):
        for form in ("hex", "bundle"):
            proof = ask(node, "getbeaconheaderproof", header, "json" if form == "bundle" else "hex")
            found = ask(node, "verifyheaderproof", proof[form])
            assert (found["valid"], found["reason"], found["header"]) == (True, "ok", header)
            assert (found["rests_on"], found["checkpoint_matches"]) == ("trusted checkpoint", True)
            assert (found["in_active_chain"], found["network"]) == (True, "ethereum")
            assert found["grounds"] == GROUNDS
    elsewhere = SmallNode("regtest")
    elsewhere.clock = NOW
    found = ask(elsewhere, "verifyheaderproof", "0x" + ask(node, "getbeaconheaderproof")["hex"])
    assert (found["valid"], found["rests_on"]) == (True, "maker")
    assert not {"checkpoint_matches", "grounds"} & set(found)


def test_a_node_that_is_elsewhere_cannot_tell_or_contradicts(node: SmallNode) -> None:
    proof = ask(node, "getbeaconheaderproof")["hex"]
    behind, other = RealBeacon(), copy(followed())
    behind.start = replace(behind.start, root=Hash32(bytes(32)))
    found = ask(at_now(behind), "verifyheaderproof", proof)
    assert (found["valid"], found["checkpoint_matches"], found["in_active_chain"]) == (True, False, None)
    assert found["rests_on"] == "maker"
    final = followed().finalized
    other.store = replace(other.store, finalized_header=replace(final, beacon=replace(final.beacon, proposer_index=1)))
    other.records = []
    assert ask(at_now(other), "verifyheaderproof", proof)["in_active_chain"] is False


def test_a_changed_or_early_beacon_proof_is_refused(node: SmallNode) -> None:
    proof = bytearray.fromhex(ask(node, "getbeaconheaderproof")["hex"])
    proof[-200] ^= 1
    found = ask(node, "verifyheaderproof", proof.hex())
    assert (found["valid"], found["rests_on"]) == (False, "nothing")
    proof[-200] ^= 1
    early = at_now(followed())
    early.clock = NOW - 365 * 86_400
    assert ask(early, "verifyheaderproof", proof.hex())["reason"] == "future-signature-slot"


def at_now(beacon: RealBeacon) -> SmallNode:
    found = SmallNode(beacons={"ethereum": beacon})
    found.clock = NOW
    return found


def answer(place: int = 0) -> dict[str, Any]:
    """An `eth_getProof` of block ``BLOCK``."""
    return answered(ASKED[place])[0]


@pytest.fixture(scope="module")
def knowing() -> SmallNode:
    """A node that has ``BLOCK`` among its finalized execution blocks."""
    slot = FINALIZED_SLOT - 84_786
    roots = [Hash32(root) for root in (world().trie.root, b"\x18" * 32, b"\x19" * 32)]
    beacon = copy(followed())
    record = ExecutionRecord(
        slot, Hash32(bytes(32)), BLOCK, Hash32(b"\x17" * 32), *roots, ETHEREUM.genesis_time + 12 * slot
    )
    beacon.records = [*followed().records, record]
    return SmallNode(beacons={"ethereum": beacon})


@pytest.mark.parametrize("place", range(4))
def test_accounts_of_a_finalized_block(knowing: SmallNode, place: int) -> None:
    given = answer(place)
    reply = ask(knowing, "verifyaccountproof", given, BLOCK)
    assert (reply["valid"], reply["reason"]) == (True, "")
    assert reply["account"]["address"] == given["address"]
    assert int(reply["account"]["balance"]) == int(given["balance"], 16)
    assert reply["account"]["nonce"] == int(given["nonce"], 16)
    assert reply["block"]["block_number"] == BLOCK
    assert reply["block"]["finalized"] is True
    assert reply["grounds"] == GROUNDS
    assert reply["says"].endswith(f"at finalized block {BLOCK} of ethereum")
    assert ask(knowing, "verifyaccountproof", proof=given, block="0x" + "17" * 32) == reply


def test_a_changed_answer_or_another_block_is_refused(knowing: SmallNode) -> None:
    richer = answer()
    richer["balance"] = hex(int(richer["balance"], 16) + 1)
    reply = ask(knowing, "verifyaccountproof", richer, BLOCK)
    assert (reply["valid"], reply["account"]) == (False, None)
    assert reply["reason"] == "balance: is not what the proof shows"
    broken = deepcopy(answer())
    broken["accountProof"][3] = broken["accountProof"][3][:-2] + "00"
    assert ask(knowing, "verifyaccountproof", broken, BLOCK)["reason"].startswith("accountProof: ")
    for block in ("finalized", "optimistic"):
        reply = ask(knowing, "verifyaccountproof", answer(), block)
        assert (reply["valid"], reply["block"]["finalized"]) == (False, block == "finalized")
    assert ask(knowing, "verifyaccountproof", {}, "finalized")["reason"] == "address: is missing"


def test_a_block_may_be_named_by_state_root(knowing: SmallNode) -> None:
    state_root = FINAL["finalized_header"]["execution"]["state_root"]
    found = ask(knowing, "verifyaccountproof", answer(), state_root)["block"]
    assert (found["state_root"], found["slot"], found["finalized"]) == (state_root, FINALIZED_SLOT, True)
    state_root = HEAD["attested_header"]["execution"]["state_root"]
    found = ask(knowing, "verifyaccountproof", answer(), state_root)["block"]
    assert (found["slot"], found["finalized"]) == (HEAD_SLOT, False)
    assert ask(knowing, "verifyaccountproof", answer(), "0x" + "cd" * 32)[0] == Code.INVALID_ADDRESS_OR_KEY


def test_methods_of_one_kind_find_their_network_and_refuse_the_other(node: SmallNode) -> None:
    assert ask(node, "getblockcount") == 0  # of regtest
    assert ask(node, "getfinalizedheader")["network"] == "ethereum"
    kind = "network: ethereum is an Ethereum network; ask with getfinalizedheader, getoptimisticheader or"
    for method in ("getblockchaininfo", "getblockcount", "getchaintips", "getbestblockhash"):
        code, message = ask(node, method, network="ethereum")
        assert (code, message[: len(kind)]) == (-8, kind)
    assert ask(node, "getfinalizedheader", network="regtest") == (
        -8,
        "network: regtest is a Bitcoin network; ask with getblockchaininfo, getblockheader or getheaderproof",
    )
    assert ask(node, "getblockcount", path="ethereum")[0] == -8
    assert ask(node, "getfinalizedheader", network="sepolia")[0] == -8
    begun = (-28, "hoodi has not begun: no checkpoint is trusted yet")
    assert ask(node, "getfinalizedheader", network="hoodi") == begun
    assert ask(SmallNode("regtest"), "getfinalizedheader")[0] == -8
    assert ask(SmallNode(beacons={"ethereum": followed()}), "getblockcount")[0] == -8


def test_a_method_of_a_kind_that_does_not_run_says_so(node: SmallNode) -> None:
    alone = SmallNode("regtest")
    assert ask(alone, "getfinalizedheader") == (-8, "network: no Ethereum network runs here; running: regtest")
    alone = SmallNode(beacons={"ethereum": followed()})
    assert ask(alone, "getblockcount") == (-8, "network: no Bitcoin network runs here; running: ethereum")


def test_general_methods_work_for_both_kinds(node: SmallNode) -> None:
    found = ask(node, "getsyncinfo", network="ethereum")
    assert (found["state"], found["network"], found["grounds"], found["reasons"]) == ("idle", "ethereum", GROUNDS, [])
    assert "start" not in found
    assert ask(node, "getsyncinfo", network="hoodi")["grounds"] is None
    assert ask(node, "getsyncinfo")["network"] == "regtest"
    assert ask(node, "getpeerinfo", network="ethereum")[0]["peer_id"] == "12D3KooWPeer"
    assert ask(node, "getevents", network="hoodi")["cursor"] == 7
    assert ask(node, "getnodeinfo")["networks"] == ["regtest", "ethereum", "hoodi"]


def test_help_names_words_that_a_parameter_takes(node: SmallNode) -> None:
    text = ask(node, "help", "getbeaconheaderproof")
    assert '1. header ("finalized" or "optimistic", optional)' in text
    assert '2. format ("hex" or "json", optional)' in text
    assert "1. proof (object, required)" in ask(node, "help", "verifyaccountproof")
    assert "2. block (number or string, optional)" in ask(node, "help", "verifyaccountproof")
