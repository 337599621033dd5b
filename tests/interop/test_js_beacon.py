"""Our daemon follows a beacon node of js-libp2p and Lodestar's packages that has recorded data: by request and by
gossip, on mainnet and across a fork, through restarts, and hands on what it has. `make interop` runs it."""

from __future__ import annotations

import pytest

from tests.interop.beacon_js import BY_REQUEST, Daemons, Js, asked, beacon_node, publish, topic
from tests.interop.js_peer import until
from tests.interop.recorded import DEVNET, MAINNET

pytestmark = pytest.mark.interop

SECRET = "5b" * 32
"""Of a peer that comes back."""
PREFIX = "/eth2/beacon_chain/req"
FINAL_ROOT = "0x881b19be7db00a7bdbd34e840d09d77eb64265fea2a11346d2e1249ce1823dfc"
FINAL_BLOCK = (17_548_012, "0x6503ce5050033922afb8c370e6ddc7446716b007cdb52300161d5b47a594f1b7")
"""Mainnet's block 17,548,012, in slot 6,730,752."""


@pytest.mark.parametrize("muxer", ["mplex", "yamux"])
def test_mainnet_by_request(js: Js, daemon: Daemons, muxer: str) -> None:
    """21 periods, finality and the head, under today's fork digest: the js node takes it from Lodestar's tables."""
    peer = beacon_node(js, MAINNET, 0, muxer=muxer)
    node = daemon(MAINNET, genesis=0)
    node.start("--network", "ethereum", "--checkpoint", f"ethereum:{MAINNET.root.hex()}", "--beacon-peer", peer.addr)
    found = node.wait_finalized(MAINNET.finalized_slot)
    assert (found["slot"], found["root"]) == (MAINNET.finalized_slot, FINAL_ROOT)
    assert (found["execution"]["block_number"], found["execution"]["block_hash"]) == FINAL_BLOCK
    assert found["grounds"]["root"] == "0x" + MAINNET.root.hex()
    assert not found["ready"]  # three years old, and it says so
    until(lambda: node.optimistic_slot() == MAINNET.optimistic.slot, "the head")
    [status] = asked(peer, "status")
    assert (status["version"], status["body"]["fork_digest"]) == (2, "0x" + peer.tell("digest"))
    assert [one["body"] for one in asked(peer, "light_client_bootstrap")] == ["0x" + MAINNET.root.hex()]
    [row] = node.peers()
    assert (row["peer_id"], row["inbound"], row["objects_received"]) == (peer.id, False, 1 + 21 + 2)
    assert {f"{PREFIX}/{name}/ssz_snappy" for name in BY_REQUEST} <= set(row["protocols"])
    assert node.stop() == 0
    assert [one["body"] for one in asked(peer, "goodbye")] == ["1"]


def test_gossip(js: Js, daemon: Daemons) -> None:
    """Finality and the head by gossip alone, from a node with status 1 and metadata 1; told on under the same names."""
    genesis = MAINNET.genesis_now
    source = beacon_node(js, MAINNET, genesis, without=(*BY_REQUEST, "status/2", "metadata/3", "metadata/2"))
    node = daemon(MAINNET, genesis=genesis, peers=[source.addr])
    node.start()
    node.wait_finalized(6_718_400)  # of the update of period 820
    reader = beacon_node(js, MAINNET, genesis, muxer="mplex")
    digest = MAINNET.finality.digest
    for peer in (source, reader):
        peer.tell("join", digest=digest)
    ours = node.identity()["peer_id"]
    reader.tell("dial", addr=node.beacon_address())
    until(lambda: ours in reader.tell("mesh", topic=topic(digest, "finality")), "to hear our gossip")
    publish(source, "finality", MAINNET.finality, ours)
    found = node.wait_finalized(MAINNET.finalized_slot)
    assert (found["root"], found["ready"]) == (FINAL_ROOT, True)
    publish(source, "optimistic", MAINNET.optimistic, ours)
    until(lambda: node.optimistic_slot() == MAINNET.optimistic.slot, "the head")
    for one, where in (
        (MAINNET.finality, topic(digest, "finality")),
        (MAINNET.optimistic, topic(digest, "optimistic")),
    ):
        until(lambda one=one, where=where: one.given in reader.tell("read", topic=where), f"gossip in {where}")
    assert {one["version"] for one in asked(source, "status")} == {1}


def test_the_past_of_a_fork(js: Js, daemon: Daemons) -> None:
    """A bootstrap before the fork and updates on both sides of it, from a devnet of Lodestar's."""
    genesis = DEVNET.genesis_now
    peer = beacon_node(js, DEVNET, genesis, muxer="mplex")
    node = daemon(DEVNET, genesis=genesis, peers=[peer.addr])
    node.start()
    found = node.wait_finalized(DEVNET.finalized_slot)
    assert (found["slot"], found["root"]) == (128, "0x" + DEVNET.finalized_root.hex())
    until(lambda: node.optimistic_slot() == DEVNET.optimistic.slot, "the head")
    assert node.call("getoptimisticheader")["ready"]


def test_a_fork_while_it_runs(js: Js, daemon: Daemons) -> None:
    """Slot 80 begins electra: both sides change their digest, and the finality of slot 88 comes by the new topic."""
    fast = DEVNET.faster(1000)
    genesis = fast.genesis_for(75)
    before, after = fast.updates[0].digest, fast.updates[1].digest
    peer = js(key="secp256k1", preset="minimal", beacon=fast.beacon(genesis, without=BY_REQUEST))
    old, _ = fast.live(0)
    root, slot = fast.finalized_of(old)
    have = {"bootstraps": {fast.root.hex(): fast.bootstrap.given}, "updates": {"0": fast.updates[0].given}}
    peer.tell("have", **have, status=fast.status(root, slot, old.slot), metadata={})
    for digest in (before, after):
        peer.tell("join", digest=digest)
    node = daemon(fast, genesis=genesis, peers=[peer.addr])
    node.start()
    until(lambda: node.optimistic_slot() == fast.updates[0].slot, "the update before the fork")
    until(lambda: len({one["body"]["fork_digest"] for one in asked(peer, "status")}) == 2, "a status on either side")
    assert [one["body"]["fork_digest"] for one in asked(peer, "status")] == ["0x" + before, "0x" + after]
    finality, _ = fast.live(1)
    until(lambda: peer.tell("slot") > finality.slot + 1, "the slot of the signature to be over")
    publish(peer, "finality", finality, node.identity()["peer_id"])
    assert node.wait_finalized(72)["slot"] == 72
    assert node.finalized_slot() == fast.finalized_of(finality)[1]


def test_restarts(js: Js, daemon: Daemons) -> None:
    """The peer goes and comes back with more; our daemon dies and goes on from what it has."""
    genesis = DEVNET.genesis_now
    first = js(key="secp256k1", preset="minimal", secret=SECRET, beacon=DEVNET.beacon(genesis))
    old, head = DEVNET.live(0)
    root, slot = DEVNET.finalized_of(old)
    have = DEVNET.everything() | {"updates": {"0": DEVNET.updates[0].given}, "finality": old.given}
    first.tell("have", **(have | {"optimistic": head.given, "status": DEVNET.status(root, slot, head.slot)}))
    node = daemon(DEVNET, genesis=genesis, peers=[first.addr])
    node.start()
    until(lambda: node.optimistic_slot() == head.slot, "what the peer has")
    first.leave()
    first.wait()
    until(lambda: not node.peers(), "to notice that the peer is gone")
    port = int(first.addr.split("/")[4])
    second = beacon_node(js, DEVNET, genesis, secret=SECRET, port=port)
    assert second.addr == first.addr
    node.wait_finalized(DEVNET.finalized_slot)
    assert asked(second, "light_client_bootstrap") == []
    node.kill()
    node.start()
    assert node.wait_finalized(DEVNET.finalized_slot)["root"] == "0x" + DEVNET.finalized_root.hex()
    until(lambda: [row["status"] for row in node.peers()] not in ([], [None]), "to be connected again")
    assert asked(second, "light_client_bootstrap") == []


def test_a_daemon_that_knows_only_another(js: Js, daemon: Daemons) -> None:
    """The chain by request, its news by gossip, through the first."""
    genesis = MAINNET.genesis_now
    peer = beacon_node(js, MAINNET, genesis, without=BY_REQUEST[1:])
    first = daemon(MAINNET, genesis=genesis, peers=[peer.addr])
    first.start()
    first.wait_finalized(MAINNET.finalized_slot)
    second = daemon(MAINNET, genesis=genesis, peers=[first.beacon_address()])
    second.start()
    assert second.wait_finalized(MAINNET.finalized_slot)["root"] == FINAL_ROOT
    assert [row["peer_id"] for row in second.peers()] == [first.identity()["peer_id"]]
    peer.tell("join", digest=MAINNET.optimistic.digest)
    publish(peer, "optimistic", MAINNET.optimistic, first.identity()["peer_id"])
    for node in (first, second):
        until(lambda node=node: node.optimistic_slot() == MAINNET.optimistic.slot, "the head")
        assert node.call("getoptimisticheader")["ready"]
    assert {row["inbound"] for row in first.peers()} == {True, False}
