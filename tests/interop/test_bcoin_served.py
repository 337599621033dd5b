"""What goes between us and bcoin beside headers: transaction proofs, which its RPC takes and makes; and a light client
made of its parts, which follows us. `make interop` runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.interop.bcoin import WITNESS_SCRIPT, Bcoin, BcoinSpv, spend_witness
from tests.interop.btcd import spend
from tests.interop.btcd_nodes import BLOCKS, Nodes, events_of, p2p_address, same
from tests.interop.js_peer import until
from tests.support import second_verifier
from tests.support.daemons import Daemon, RpcFailed, spvnode

pytestmark = pytest.mark.interop


# Proofs.


@pytest.fixture(scope="module")
def payments(long_lived_bcoin: tuple[Bcoin, Daemon]) -> tuple[str, list[str]]:
    """A block with a dozen transactions, every other with a witness, and their txids in its order."""
    bcoin, node = long_lived_bcoin
    sent: list[str] = []
    for height in range(1, 7):
        (coinbase,) = bcoin.call("getblock", bcoin.call("getblockhash", height))["tx"]
        paid = bcoin.call("sendrawtransaction", spend(coinbase, outputs=height, script=WITNESS_SCRIPT))
        sent += [paid, bcoin.call("sendrawtransaction", spend_witness(paid))]
    until(lambda: set(bcoin.call("getrawmempool")) == set(sent), "bcoin to take the transactions")
    same(node, bcoin)
    (block_hash,) = bcoin.mine(1)
    txids: list[str] = bcoin.call("getblock", block_hash)["tx"]
    assert set(txids[1:]) == set(sent)
    same(node, bcoin)
    return block_hash, txids


@pytest.mark.parametrize("chosen", [(0,), (5,), (12,), (1, 2), (0, 3, 7, 12), tuple(range(13))], ids=str)
def test_bcoins_rpc_accepts_our_proofs_and_we_accept_its(
    long_lived_bcoin: tuple[Bcoin, Daemon], payments: tuple[str, list[str]], chosen: tuple[int, ...]
) -> None:
    """Ours is made of a block that was fetched from it. Both are the same, byte by byte."""
    bcoin, node = long_lived_bcoin
    block_hash, txids = payments
    wanted = [txids[at] for at in chosen]
    ours = node.call("gettxoutproof", wanted[::-1], block_hash)
    assert bcoin.call("verifytxoutproof", ours) == wanted
    theirs = bcoin.call("gettxoutproof", wanted, block_hash)
    assert node.call("verifytxoutproof", theirs) == wanted
    assert ours == theirs


def test_a_forged_proof_is_refused_by_both(
    long_lived_bcoin: tuple[Bcoin, Daemon], payments: tuple[str, list[str]]
) -> None:
    bcoin, node = long_lived_bcoin
    block_hash, txids = payments
    proof = bytearray.fromhex(node.call("gettxoutproof", [txids[4]], block_hash))
    proof[100] ^= 1  # inside a hash
    assert bcoin.call("verifytxoutproof", proof.hex()) == []
    assert node.call("verifytxoutproof", proof.hex()) == []


def test_proofs_of_a_block_with_one_transaction(long_lived_bcoin: tuple[Bcoin, Daemon]) -> None:
    bcoin, node = long_lived_bcoin
    for height in (1, 1_000, 2_001, BLOCKS):  # the first without a witness, the others with
        block_hash = bcoin.call("getblockhash", height)
        txids = bcoin.call("getblock", block_hash)["tx"]
        assert bcoin.call("verifytxoutproof", node.call("gettxoutproof", txids, block_hash)) == txids


@pytest.mark.parametrize("at", [0, 1, 2, 12])
def test_a_portable_proof_holds_without_any_node(
    long_lived_bcoin: tuple[Bcoin, Daemon], payments: tuple[str, list[str]], tmp_path: Path, at: int
) -> None:
    _, node = long_lived_bcoin
    block_hash, txids = payments
    proof = node.call("gettxproof", txids[at], block_hash)
    assert (proof["txid"], proof["position"], proof["tx_count"], proof["hash"]) == (txids[at], at, 13, block_hash)
    second_verifier.check(proof["bundle"])
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(proof["bundle"]))
    done = spvnode("verify", "--trusted-root", proof["root"], str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert txids[at] in done.stdout
    other = spvnode("verify", "--trusted-root", "00" * 32, str(file))
    assert other.returncode == 1


def test_filters_it_has_none_to_give(long_lived_bcoin: tuple[Bcoin, Daemon]) -> None:
    """Which is said, and is no fault of its."""
    bcoin, node = long_lived_bcoin
    same(node, bcoin)
    with pytest.raises(RpcFailed, match="Filter not found"):
        node.call("getblockfilter", bcoin.best())
    assert node.call("getsyncinfo")["faults"] == {}


def test_transactions_that_wait_are_none_of_our_business(
    long_lived_bcoin: tuple[Bcoin, Daemon], payments: tuple[str, list[str]]
) -> None:
    """We say that we want none, and bcoin heeds it: what was in its mempool did not come to us."""
    bcoin, _ = long_lived_bcoin
    (row,) = bcoin.call("getpeerinfo")
    assert (row["relaytxes"], row["banscore"]) == (False, 0)
    log = bcoin.log()
    assert log.count("to mempool") >= len(payments[1]) - 1
    assert "blocks with getdata" in log
    assert "txs with getdata" not in log


# The other direction.


def test_bcoins_peer_and_chain_get_their_headers_from_us(nodes: Nodes) -> None:
    """bcoin never says ``sendheaders``: news come to it by ``inv``."""
    bcoin = nodes.bcoin(blocks=BLOCKS)
    node = nodes.follower(bcoin.address, "--p2p-listen", "127.0.0.1:0")
    same(node, bcoin)
    client = nodes.bcoin_client(p2p_address(node))
    client.wait_for(bcoin.best())
    (version,) = client.events("version")
    assert version["agent"].startswith("/spvnode:")
    assert (version["services"], version["height"]) == (0, BLOCKS)
    heard = client.events("headers")
    assert [event["count"] for event in heard] == [2_000, 2_000, BLOCKS - 4_000]
    assert (heard[-1]["height"], heard[-1]["hash"]) == (BLOCKS, bcoin.best())
    row = next(row for row in node.call("getpeerinfo") if row["inbound"])
    assert (row["transport_protocol_type"], row["headers_served"]) == ("v1", BLOCKS)
    (news,) = bcoin.mine(1)
    client.wait_for(news)
    assert client.events("inv") == [{"event": "inv", "hash": news}]
    client.ask_block(news)
    client.wait(lambda event: event == {"event": "notfound", "hash": news}, "an answer to getdata")
    bcoin.call("invalidateblock", bcoin.call("getblockhash", BLOCKS - 30))
    fresh = bcoin.mine(33)
    client.wait_for(fresh[-1])
    same(node, bcoin)
    assert len(events_of(node, "reorg")) == 1
    assert client.events("refused") == client.events("problem") == client.events("gone") == []


@pytest.mark.parametrize("kind", [Bcoin, BcoinSpv])
def test_a_bcoin_that_dials_us_sees_that_we_have_no_blocks_and_leaves(nodes: Nodes, kind: type[Bcoin]) -> None:
    """The SPV node, too: it wants blocks, filtered (BIP37). That it leaves is no fault."""
    bcoin = nodes.bcoin(blocks=20)
    node = nodes.follower(bcoin.address, "--p2p-listen", "127.0.0.1:0")
    same(node, bcoin)
    other = nodes.bcoin(f"--only={p2p_address(node)}", kind=kind)
    until(lambda: "Peer does not support network services" in other.log(), "bcoin to look at us")
    (news,) = bcoin.mine(1)
    until(lambda: node.call("getbestblockhash") == news, "to go on")
    assert other.height() == 0
    assert node.call("getsyncinfo")["faults"] == {}
    assert node.lines("peer fault") == []


def test_bcoin_stays_and_is_never_blamed(long_lived_bcoin: tuple[Bcoin, Daemon]) -> None:
    """Through all of the above."""
    bcoin, node = long_lived_bcoin
    same(node, bcoin)
    assert len(node.lines("peer connected")) == 1
    assert node.call("listbanned") == []
    assert bcoin.call("listbanned") == []
    assert node.call("getsyncinfo")["faults"] == {}
    assert node.lines("peer fault") == []
