"""Our daemon follows a btcd on loopback by Bitcoin's own protocol: headers, news, reorganizations, restarts and cuts.
`make interop` runs it."""

from __future__ import annotations

import statistics
import time

import pytest

from tests.interop.btcd import Btcd
from tests.interop.btcd_nodes import BLOCKS, Nodes, Tell, events_of, meet_and_part, peer_of, same
from tests.interop.js_peer import until
from tests.support.daemons import Daemon, spvnode

pytestmark = pytest.mark.interop

PROMPT_S = 2.0
"""Seconds within which a new block is to be followed."""
BTCD_PATIENCE_S = 50.0
"""Seconds after which btcd 0.26 has left who owes it an answer: 30, looked at every 15."""


# Headers from btcd.


@pytest.mark.parametrize("transport", ["v1", "v2"])
def test_handshake_and_thousands_of_headers(nodes: Nodes, transport: str, tell: Tell) -> None:
    btcd = nodes.btcd(*(["--v2transport"] if transport == "v2" else []), blocks=BLOCKS)
    node = nodes.follower(btcd.address)
    began = time.monotonic()
    assert same(node, btcd) == BLOCKS
    tell(f"{BLOCKS} headers by {transport}: {time.monotonic() - began:.2f} s")
    for height in (1, 1_999, 2_000, 2_001, 4_000, BLOCKS):
        block_hash = btcd.call("getblockhash", height)
        assert node.call("getblockhash", height) == block_hash
        assert node.header_hex(height) == btcd.call("getblockheader", block_hash, False)
    theirs = peer_of(node)
    assert theirs["transport_protocol_type"] == transport
    assert "/btcd:0.26.2/" in theirs["subver"]
    assert theirs["connection_type"] == "manual"
    assert (theirs["version"], theirs["startingheight"], theirs["synced_headers"]) == (70_016, BLOCKS, BLOCKS)
    (ours,) = btcd.call("getpeerinfo")
    assert ours["subver"].startswith("/spvnode:")
    assert ours["v2_connection"] is (transport == "v2")
    assert node.call("getsyncinfo")["faults"] == {}


def test_new_blocks_are_followed(long_lived: tuple[Btcd, Daemon], tell: Tell) -> None:
    btcd, node = long_lived
    same(node, btcd)
    took = []
    for _ in range(7):
        (block_hash,) = btcd.mine(1)
        began = time.monotonic()
        until(lambda: node.call("getbestblockhash") == block_hash, "to follow", pause=0.005)  # noqa: B023 - now
        took.append(time.monotonic() - began)
    tell(f"a new block: {statistics.median(took):.3f} s, {max(took):.3f} s at most")
    assert statistics.median(took) < PROMPT_S  # hundredths of a second; nothing that polls comes near
    before = len(events_of(node, "extend"))
    btcd.mine(300)
    same(node, btcd)
    assert len(events_of(node, "extend")) > before
    assert events_of(node, "reorg") == []


# Reorganizations.


def test_a_reorganization_of_20_blocks(nodes: Nodes) -> None:
    btcd = nodes.btcd(blocks=100)
    node = nodes.follower(btcd.address)
    same(node, btcd)
    left = [node.call("getblockhash", height) for height in range(100, 80, -1)]
    btcd.call("invalidateblock", left[-1])
    assert btcd.height() == 80
    fresh = btcd.mine(21)
    same(node, btcd)
    (event,) = events_of(node, "reorg")
    assert (event["fork_height"], event["undo_count"], event["redo_count"]) == (80, 20, 21)
    assert event["undo"] == left
    assert event["redo"] == fresh
    (line,) = node.lines("reorganization")
    assert (line["undone"], line["tip"]) == (20, 101)
    active, side = node.call("getchaintips")
    assert (active["height"], active["hash"]) == (101, fresh[-1])
    assert (side["height"], side["hash"], side["branchlen"]) == (100, left[0], 20)
    assert node.call("getsyncinfo")["faults"] == {}
    btcd.call("reconsiderblock", left[-1])
    btcd.mine(3)
    same(node, btcd)


def test_a_reorganization_of_3000_blocks(nodes: Nodes, tell: Tell) -> None:
    """Two nodes of btcd mine apart and then meet."""
    ours, other = nodes.btcd(blocks=200), nodes.btcd()
    meet_and_part(other, ours)
    for _ in range(3):
        ours.mine(1_000)
        other.mine(1_000)
    fresh = other.mine(1)
    node = nodes.follower(ours.address)
    assert same(node, ours) == 3_200
    left = node.call("getbestblockhash")
    ours.call("addnode", other.address, "add")
    until(lambda: ours.best() == fresh[-1], "the first btcd to reorganize")
    began = time.monotonic()
    assert same(node, ours) == 3_201
    tell(f"a reorganization of 3,000 blocks, after btcd's own: {time.monotonic() - began:.2f} s")
    (event,) = events_of(node, "reorg")
    assert (event["fork_height"], event["undo_count"], event["redo_count"]) == (200, 3_000, 3_001)
    assert (event["from"]["hash"], event["to"]["hash"]) == (left, fresh[-1])
    listed = len(event["redo"])  # the log has the counts in full, of the hashes a day's
    assert listed >= 144
    assert event["redo"] == [ours.call("getblockhash", height) for height in range(201, 201 + listed)]
    assert event["undo"][0] == left
    for height in (200, 201, 1_700, 3_201):
        assert node.call("getblockhash", height) == ours.call("getblockhash", height)
    assert node.call("getsyncinfo")["faults"] == {}


# Restarts and cuts.


def test_our_daemon_is_killed_and_starts_again(nodes: Nodes) -> None:
    btcd = nodes.btcd(blocks=2_500)
    node = nodes.follower(btcd.address)
    same(node, btcd)
    node.kill()
    btcd.mine(30)
    node.start("--no-mesh", "--connect", btcd.address)
    assert node.wait_answer() >= 2_500
    assert same(node, btcd) == 2_530


def test_btcd_is_killed_and_starts_again(nodes: Nodes) -> None:
    """On regtest btcd begins with nothing then, and gets its blocks from another: meanwhile it is behind us, which is
    no fault."""
    second = nodes.btcd()
    first = nodes.btcd(f"--addpeer={second.address}", blocks=400)
    until(lambda: second.height() == 400, "the second btcd to follow")
    node = nodes.follower(first.address)
    same(node, first)
    first.kill()
    until(lambda: node.call("getconnectioncount") == 0, "the connection to be gone")
    assert node.poll() == 400
    second.mine(25)
    first.start()
    until(lambda: first.height() == 425, "btcd to catch up")
    assert same(node, first) == 425
    first.mine(1)
    assert same(node, first) == 426
    assert events_of(node, "reorg") == []
    assert node.call("getsyncinfo")["faults"] == {}


def test_the_network_stops_and_comes_back(nodes: Nodes) -> None:
    btcd = nodes.btcd(blocks=300)
    cable = nodes.cable(btcd)
    node = nodes.follower(cable.address)
    same(node, btcd)
    cable.down()
    until(lambda: node.call("getconnectioncount") == 0, "the connection to be gone")
    btcd.mine(40)
    assert node.poll() == 300
    cable.up()
    assert same(node, btcd) == 340
    btcd.mine(1)
    assert same(node, btcd) == 341


def test_the_network_stands_still_for_a_while(nodes: Nodes) -> None:
    btcd = nodes.btcd(blocks=300)
    cable = nodes.cable(btcd)
    node = nodes.follower(cable.address)
    same(node, btcd)
    since = peer_of(node)["conntime"]
    cable.hold()
    btcd.mine(40)
    assert node.poll() == 300
    cable.release()
    assert same(node, btcd) == 340
    assert peer_of(node)["conntime"] == since


# For those who run it.


def test_status_tells_a_reader_what_goes_on(long_lived: tuple[Btcd, Daemon]) -> None:
    btcd, node = long_lived
    height = same(node, btcd)
    done = spvnode("status", "--datadir", str(node.folder))
    assert done.returncode == 0, done.stderr
    rows = dict(line.strip().split("  ", 1) for line in done.stdout.splitlines() if "  " in line.strip())
    told = {name: value.strip() for name, value in rows.items()}
    assert told["height"] == str(height)
    assert told["ready"] == "yes"
    assert told["sync"] == "IDLE"
    assert told["peers"].startswith("1 (1 v2")


def test_btcd_stays(long_lived: tuple[Btcd, Daemon]) -> None:
    """It leaves who owes it an answer. Through all of the above it never did."""
    btcd, node = long_lived
    row = peer_of(node)
    btcd.mine(1)
    same(node, btcd)
    time.sleep(max(0.0, row["conntime"] + BTCD_PATIENCE_S - time.time()))
    assert peer_of(node)["conntime"] == row["conntime"]
    assert len(node.lines("peer connected")) == 1 + len([row for row in node.call("getpeerinfo") if row["inbound"]])
    assert node.call("getsyncinfo")["faults"] == {}
