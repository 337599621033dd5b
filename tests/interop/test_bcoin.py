"""Our daemon follows a bcoin on loopback, another full node than btcd: of 2018, without BIP324, and silent where it has
nothing to say. `make interop` runs it."""

from __future__ import annotations

import socket
import statistics
import time

import pytest

from p2p.bitcoin.connect import MAX_OUR_GARBAGE
from spvnode.sync.driver import FETCH_DEADLINE
from tests.interop.bcoin import BAN_SCORE, FRAMING_SCORE, Bcoin
from tests.interop.btcd_nodes import BLOCKS, Nodes, Tell, events_of, peer_of, same
from tests.interop.js_peer import until
from tests.support.daemons import Daemon

pytestmark = pytest.mark.interop

PROMPT_S = 2.0
"""Seconds within which a new block is to be followed."""
FRAME_HEAD = 24
V2_KEY = 64
"""Bytes of a public key as BIP324 encodes it, and of the head of a v1 frame."""


def test_thousands_of_headers(nodes: Nodes, tell: Tell) -> None:
    bcoin = nodes.bcoin(blocks=BLOCKS)
    node = nodes.follower(bcoin.address)
    began = time.monotonic()
    assert same(node, bcoin) == BLOCKS
    tell(f"{BLOCKS} headers: {time.monotonic() - began:.2f} s")
    for height in (1, 1_999, 2_000, 2_001, 4_000, BLOCKS):
        block_hash = bcoin.call("getblockhash", height)
        assert node.call("getblockhash", height) == block_hash
        assert node.header_hex(height) == bcoin.call("getblockheader", block_hash, False)
    theirs = peer_of(node)
    assert (theirs["transport_protocol_type"], theirs["subver"]) == ("v1", "/bcoin:v1.0.2/")
    assert (theirs["version"], theirs["startingheight"], theirs["synced_headers"]) == (70_015, BLOCKS, BLOCKS)
    (ours,) = bcoin.call("getpeerinfo")
    assert ours["subver"].startswith("/spvnode:")
    assert ours["inbound"] is True
    assert node.call("getsyncinfo")["faults"] == {}


def test_new_blocks_are_followed(long_lived_bcoin: tuple[Bcoin, Daemon], tell: Tell) -> None:
    bcoin, node = long_lived_bcoin
    same(node, bcoin)
    took = []
    for _ in range(7):
        (block_hash,) = bcoin.mine(1)
        began = time.monotonic()
        until(lambda: node.call("getbestblockhash") == block_hash, "to follow", pause=0.005)  # noqa: B023 - now
        took.append(time.monotonic() - began)
    tell(f"a new block: {statistics.median(took):.3f} s, {max(took):.3f} s at most")
    assert statistics.median(took) < PROMPT_S
    bcoin.mine(300)
    same(node, bcoin)
    assert events_of(node, "reorg") == []


# Reorganizations.


def test_a_reorganization_of_20_blocks(nodes: Nodes) -> None:
    bcoin = nodes.bcoin(blocks=100)
    node = nodes.follower(bcoin.address)
    same(node, bcoin)
    left = [node.call("getblockhash", height) for height in range(100, 80, -1)]
    bcoin.call("invalidateblock", left[-1])
    assert bcoin.height() == 80
    fresh = bcoin.mine(21)
    same(node, bcoin)
    (event,) = events_of(node, "reorg")
    assert (event["fork_height"], event["undo_count"], event["redo_count"]) == (80, 20, 21)
    assert (event["undo"], event["redo"]) == (left, fresh)
    active, side = node.call("getchaintips")
    assert (active["hash"], side["hash"], side["branchlen"]) == (fresh[-1], left[0], 20)
    assert node.call("getsyncinfo")["faults"] == {}


def test_a_reorganization_of_1000_blocks(nodes: Nodes, tell: Tell) -> None:
    """Two nodes of bcoin mine apart and then meet."""
    ours, other = nodes.bcoin(blocks=200), nodes.bcoin()
    meet(other, ours)
    other.call("disconnectnode", ours.address)
    ours.mine(1_000)
    fresh = other.mine(1_001)
    node = nodes.follower(ours.address)
    assert same(node, ours) == 1_200
    left = node.call("getbestblockhash")
    meet(ours, other)
    began = time.monotonic()
    assert same(node, ours) == 1_201
    tell(f"a reorganization of 1,000 blocks, after bcoin's own: {time.monotonic() - began:.2f} s")
    (event,) = events_of(node, "reorg")
    assert (event["fork_height"], event["undo_count"], event["redo_count"]) == (200, 1_000, 1_001)
    assert (event["from"]["hash"], event["to"]["hash"]) == (left, fresh[-1])
    assert node.call("getsyncinfo")["faults"] == {}


def meet(one: Bcoin, other: Bcoin) -> None:
    """``one`` gets what ``other`` has."""
    one.call("addnode", other.address, "onetry")
    until(lambda: one.best() == other.best(), "one bcoin to follow the other")


# Restarts.


def test_our_daemon_is_killed_and_starts_again(nodes: Nodes) -> None:
    bcoin = nodes.bcoin(blocks=2_500)
    node = nodes.follower(bcoin.address)
    same(node, bcoin)
    node.kill()
    bcoin.mine(30)
    node.start("--no-mesh", "--connect", bcoin.address)
    assert node.wait_answer() >= 2_500
    assert same(node, bcoin) == 2_530


def test_bcoin_is_killed_and_starts_again(nodes: Nodes) -> None:
    bcoin = nodes.bcoin(blocks=400)
    node = nodes.follower(bcoin.address)
    same(node, bcoin)
    bcoin.kill()
    until(lambda: node.call("getconnectioncount") == 0, "the connection to be gone")
    assert node.poll() == 400
    bcoin.start()
    kept = bcoin.height()
    bcoin.mine(401 - kept)
    assert same(node, bcoin) == 401
    assert node.call("getsyncinfo")["faults"] == {}


# Where bcoin is unlike others.


def test_bcoin_says_nothing_at_its_tip(nodes: Nodes) -> None:
    """Where others answer ``getheaders`` with an empty message. That is no fault, however long it lasts."""
    bcoin = nodes.bcoin()
    node = nodes.follower(bcoin.address)
    until(lambda: node.call("getconnectioncount") == 1, "a connection")
    since = peer_of(node)["conntime"]
    time.sleep(2 * FETCH_DEADLINE)
    assert peer_of(node)["conntime"] == since
    assert node.call("getsyncinfo")["faults"] == {}
    bcoin.mine(10)
    assert same(node, bcoin) == 10
    assert peer_of(node)["conntime"] == since


def test_bcoin_bans_nobody_for_our_v2_key(nodes: Nodes) -> None:
    """It knows no v2, takes the key for frames of a wrong magic, and at the tenth bans the address for a day. Ours is
    short enough at any length of its garbage."""
    bcoin = nodes.bcoin(blocks=3)
    for _ in range(5):
        node = nodes.follower(bcoin.address)
        same(node, bcoin)
    assert "Invalid magic value" in bcoin.log()
    assert bcoin.call("listbanned") == []
    strange(bcoin, V2_KEY + MAX_OUR_GARBAGE)
    assert bcoin.call("listbanned") == []
    strange(bcoin, FRAME_HEAD * BAN_SCORE // FRAMING_SCORE)
    until(lambda: bcoin.call("listbanned"), "bcoin to ban")


def strange(bcoin: Bcoin, size: int) -> None:
    """Sends so many bytes that are no message, and waits until bcoin has read them."""
    heads = bcoin.log().count("Invalid magic value")
    with socket.create_connection(("127.0.0.1", bcoin.port)) as remote:
        remote.sendall(bytes(size))
        until(lambda: bcoin.log().count("Invalid magic value") == heads + size // FRAME_HEAD, "bcoin to look")


def test_two_implementations_at_once(nodes: Nodes) -> None:
    """Which follow each other, and part: we are where the work is, whoever has it, and blame nobody."""
    btcd, bcoin = nodes.btcd(blocks=120), nodes.bcoin()
    bcoin.call("addnode", btcd.address, "onetry")
    until(lambda: bcoin.best() == btcd.best(), "bcoin to follow btcd")
    node = nodes.daemon("--no-mesh", "--connect", btcd.address, "--connect", bcoin.address)
    until(lambda: node.call("getconnectioncount") == 2, "two peers")
    for miner in (bcoin, btcd, bcoin):
        (news,) = miner.mine(1)
        for other in (btcd, bcoin):
            until(lambda: other.best() == news, "each to follow the other")  # noqa: B023 - now
        assert same(node, miner) == btcd.height()
    bcoin.call("disconnectnode", btcd.address)
    btcd.mine(5)
    same(node, btcd)
    bcoin.mine(9)
    same(node, bcoin)
    btcd.mine(7)
    assert same(node, btcd) == 135
    assert [(event["fork_height"], event["undo_count"]) for event in events_of(node, "reorg")] == [(123, 5), (123, 9)]
    bcoin.kill()
    until(lambda: node.call("getconnectioncount") == 1, "one peer to be left")
    btcd.mine(1)
    assert same(node, btcd) == 136
    assert node.call("getsyncinfo")["faults"] == {}
