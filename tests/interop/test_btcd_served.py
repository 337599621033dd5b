"""What goes by Bitcoin's own protocol beside headers from btcd: blocks and filters; btcd's own packages as a light
client of ours; and the bridge to the mesh. `make interop` runs it."""

from __future__ import annotations

import time

import pytest

from spvnode.bitcoin import gcs
from tests.interop.btcd import TRUE_SCRIPT, Btcd, foreign_check, foreign_proof, spend
from tests.interop.btcd_nodes import BLOCKS, Nodes, events_of, meet_and_part, p2p_address, same
from tests.interop.full_node import NodeFailed
from tests.interop.js_peer import until
from tests.support.daemons import Daemon, RpcFailed

pytestmark = pytest.mark.interop


# Blocks and filters.


@pytest.fixture(scope="module")
def payments(long_lived: tuple[Btcd, Daemon]) -> tuple[str, list[str]]:
    """A block with a dozen transactions, and their txids in its order."""
    btcd, node = long_lived
    for height in range(1, 13):
        (coinbase,) = btcd.call("getblock", btcd.call("getblockhash", height), 1)["tx"]
        btcd.call("sendrawtransaction", spend(coinbase, outputs=height))
    (block_hash,) = btcd.mine(1)
    txids: list[str] = btcd.call("getblock", block_hash, 1)["tx"]
    assert len(txids) == 13
    same(node, btcd)
    return block_hash, txids


@pytest.mark.parametrize("chosen", [(0,), (5,), (12,), (1, 2), (0, 3, 7, 12), tuple(range(13))], ids=str)
def test_a_transaction_is_proven(
    long_lived: tuple[Btcd, Daemon], payments: tuple[str, list[str]], chosen: tuple[int, ...]
) -> None:
    """btcd's own proof of the same is the same, byte by byte, and the checker of another project accepts it."""
    btcd, node = long_lived
    block_hash, txids = payments
    wanted = [txids[at] for at in chosen]
    proof = node.call("gettxoutproof", wanted[::-1], block_hash)
    assert proof == foreign_proof(btcd.address, block_hash, wanted)
    assert foreign_check(proof) == {"block": block_hash, "holds": True, "matches": wanted, "transactions": 13}
    assert node.call("verifytxoutproof", proof) == wanted


def test_a_forged_proof_is_refused_as_others_do(
    long_lived: tuple[Btcd, Daemon], payments: tuple[str, list[str]]
) -> None:
    _, node = long_lived
    block_hash, txids = payments
    proof = bytearray.fromhex(node.call("gettxoutproof", [txids[4]], block_hash))
    proof[100] ^= 1  # inside a hash
    assert not foreign_check(proof.hex())["holds"]
    assert node.call("verifytxoutproof", proof.hex()) == []
    with pytest.raises(RpcFailed, match="Not all transactions found"):
        node.call("gettxoutproof", [txids[4], "ab" * 32], block_hash)


def test_btcd_has_no_rpc_that_would_take_the_proof(long_lived: tuple[Btcd, Daemon]) -> None:
    """Which is why its merkleblock stands in above. Should it get one, that is to be asked, too."""
    btcd, _ = long_lived
    with pytest.raises(NodeFailed, match=r"unimplemented|not found"):
        btcd.call("gettxoutproof", ["ab" * 32])
    with pytest.raises(NodeFailed, match=r"unimplemented|not found"):
        btcd.call("verifytxoutproof", "00")


def test_filters_are_btcds_and_match_what_was_mined(
    long_lived: tuple[Btcd, Daemon], payments: tuple[str, list[str]]
) -> None:
    btcd, node = long_lived
    absent = bytes.fromhex("0014") + bytes(20)
    for block_hash in (payments[0], *(btcd.call("getblockhash", height) for height in (1, 1_000, 2_001, BLOCKS))):
        told = node.call("getblockfilter", block_hash)
        assert told["filter"] == btcd.call("getcfilter", block_hash, 0)
        assert told["header"] == btcd.call("getcfilterheader", block_hash, 0)
        assert told["vouched_by"] == [f"btc:{btcd.address}"]
        assert (told["disbelieved"], told["disputed_by"]) == ([], [])
        assert match(told["filter"], block_hash, TRUE_SCRIPT) == gcs.PRESENT
        assert match(told["filter"], block_hash, absent) == gcs.ABSENT


def match(filter_hex: str, block_hash: str, script: bytes) -> int:
    held, items = gcs.pack([bytes.fromhex(filter_hex)]), gcs.pack([script])
    out = bytearray(1)
    key = bytes.fromhex(block_hash)[::-1][: gcs.KEY_SIZE]
    gcs.gcs_match(held, key, items, bytearray(gcs.gcs_workspace(1)), out)
    return out[0]


# The other direction.


@pytest.mark.parametrize("v2", [False, True], ids=["v1", "v2"])
def test_a_foreign_client_gets_its_headers_from_us(nodes: Nodes, v2: bool) -> None:
    """btcd's peer and btcd's header chain, which checks every rule and leaves who sends a header that does not fit."""
    btcd = nodes.btcd(blocks=BLOCKS)
    node = nodes.follower(btcd.address, "--p2p-listen", "127.0.0.1:0")
    same(node, btcd)
    client = nodes.client(p2p_address(node), v2=v2)
    client.wait_for(btcd.best())
    (version,) = client.events("version")
    assert version["agent"].startswith("/spvnode:")
    assert (version["services"], version["height"]) == (0, BLOCKS)  # no service that we do not offer
    assert [event["count"] for event in client.events("headers")] == [2_000, 2_000, BLOCKS - 4_000]
    row = next(row for row in node.call("getpeerinfo") if row["inbound"])
    assert row["transport_protocol_type"] == ("v2" if v2 else "v1")
    assert "/follow:1.0/" in row["subver"]
    assert row["headers_served"] == BLOCKS
    (news,) = btcd.mine(1)
    assert client.wait_for(news)["count"] == 1
    assert client.events("inv") == []  # it said sendheaders, and has what comes before
    client.ask_block(news)
    client.wait(lambda event: event == {"event": "notfound", "hash": news}, "an answer to getdata")
    btcd.call("invalidateblock", btcd.call("getblockhash", BLOCKS - 30))
    fresh = btcd.mine(33)
    client.wait_for(fresh[-1])
    btcd.call("invalidateblock", fresh[-1])
    short = btcd.mine(2)
    client.wait_for(short[-1])
    same(node, btcd)
    assert client.events("refused") == []
    assert client.events("gone") == []


def test_a_full_node_that_dials_us_sees_what_we_are_and_leaves(nodes: Nodes) -> None:
    """It wants blocks, which we do not offer, and hangs up in the handshake: no fault of its own."""
    btcd = nodes.btcd(blocks=20)
    node = nodes.follower(btcd.address, "--p2p-listen", "127.0.0.1:0")
    same(node, btcd)
    other = nodes.btcd(f"--connect={p2p_address(node)}", "--v2transport", "--debuglevel=SRVR=debug")
    until(lambda: "due to not providing desired services" in other.log(), "btcd to look at us")
    until(lambda: other.call("getconnectioncount") == 0, "btcd to leave")
    (news,) = btcd.mine(1)
    until(lambda: node.call("getbestblockhash") == news, "to go on")
    assert node.call("getsyncinfo")["faults"] == {}
    assert node.lines("peer fault") == []


# Between the two networks.


def test_the_mesh_and_bitcoins_network_are_bridged(nodes: Nodes) -> None:
    btcd, other = nodes.btcd(blocks=150), nodes.btcd()
    a = nodes.daemon("--connect", btcd.address, "--p2p-listen", "127.0.0.1:0")
    b = nodes.daemon("--no-p2p", "--peer", a.address())
    client = nodes.client(p2p_address(a), v2=True)
    same(b, btcd)
    (news,) = btcd.mine(1)
    same(b, btcd)
    client.wait_for(news)
    assert [row["transport_protocol_type"] for row in b.call("getpeerinfo")] == ["libp2p"]

    meet_and_part(other, btcd)
    fresh = other.mine(2)
    for block_hash in fresh:
        b.call("importheaders", other.call("getblockheader", block_hash, False))
        client.wait_for(block_hash)
        assert a.call("getbestblockhash") == block_hash  # committed before it was told
    assert btcd.best() == news

    ours = btcd.mine(3)  # and back: another branch, that has more work
    for node in (a, b):
        same(node, btcd)
        (event,) = events_of(node, "reorg")
        assert (event["undo"], event["redo"]) == (fresh[::-1], ours)
    client.wait_for(ours[-1])
    settled(a, b)
    for block_hash in (news, *fresh):
        assert len([event for event in client.events("headers") if event["hash"] == block_hash]) == 1
    assert client.events("refused") == []
    for node in (a, b):
        assert node.call("getsyncinfo")["faults"] == {}
        tips = [event["to"]["hash"] for kind in ("extend", "reorg") for event in events_of(node, kind)]
        assert len(set(tips)) == len(tips)  # each was a tip once


def settled(*daemons: Daemon) -> None:
    """Until they have nothing more to say to each other: a loop would go on for ever."""

    def counts() -> list[int]:
        return [row["headers_served"] + row["headers_received"] for node in daemons for row in node.call("getpeerinfo")]

    def still() -> bool:
        before = counts()
        time.sleep(1.5)
        return counts() == before

    until(still, "the nodes to be quiet")
