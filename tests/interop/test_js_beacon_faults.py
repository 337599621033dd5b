"""A js beacon node that answers too little, or of another network, and our daemon. `make interop` runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.interop.beacon_daemon import BeaconDaemon
from tests.interop.beacon_js import Daemons, Js, asked, beacon_node
from tests.interop.js_peer import JsPeer, until
from tests.interop.recorded import DEVNET, MAINNET

pytestmark = pytest.mark.interop

UPDATES = "light_client_updates_by_range"
FOREIGN = "deadbeef"
"""A fork digest of no network."""
AFTER = 12
"""Updates that a peer gives before it refuses, of 21."""
IRRELEVANT_NETWORK = "2"
FAULT = "3"


def faults(node: BeaconDaemon) -> list[dict[str, Any]]:
    """What it held against its peers."""
    return [one for one in map(json.loads, node.log().splitlines()) if one["event"] == "peer fault"]


@pytest.fixture(scope="module")
def limited(
    module_js: Callable[..., JsPeer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[JsPeer, BeaconDaemon]]:
    """A peer that refuses in the middle of a response; the pause that it gets is long, and spent on the other tests."""
    genesis = MAINNET.genesis_now
    peer = beacon_node(module_js, MAINNET, genesis, muxer="mplex")
    peer.tell("wrong", cut={"after": AFTER, "text": "REQUEST_ERROR_RATE_LIMITED"})
    node = BeaconDaemon(tmp_path_factory.mktemp("limited") / "node", MAINNET, genesis=genesis, peers=[peer.addr])
    node.start()
    yield peer, node
    assert node.stop() == 0


@pytest.mark.usefixtures("limited")
def test_a_status_of_another_network(js: Js, daemon: Daemons) -> None:
    """Left with a goodbye that says why, before anything was asked of it."""
    genesis = DEVNET.genesis_now
    peer = beacon_node(js, DEVNET, genesis)
    peer.tell("wrong", statusDigest=FOREIGN)
    node = daemon(DEVNET, genesis=genesis, peers=[peer.addr])
    node.start()
    until(lambda: asked(peer, "goodbye"), "a goodbye")
    assert asked(peer, "goodbye")[0]["body"] == IRRELEVANT_NETWORK
    until(lambda: not peer.connected_to(node.identity()["peer_id"]), "the end of the connection")
    assert asked(peer, "light_client_bootstrap") == []
    assert {one["reason"] for one in faults(node)} == {"wrong-network"}
    assert node.ask("getfinalizedheader") is None


@pytest.mark.parametrize(
    ("method", "digest", "reason", "goodbye", "slot"),
    [
        ("light_client_bootstrap", FOREIGN, "wrong-network", IRRELEVANT_NETWORK, -1),
        (UPDATES, FOREIGN, "wrong-network", IRRELEVANT_NETWORK, 16),
        (UPDATES, DEVNET.updates[1].digest, "bad-frame", FAULT, 16),
    ],
    ids=["bootstrap", "updates", "another fork"],
)
def test_chunks_of_another_network(
    js: Js, daemon: Daemons, method: str, digest: str, reason: str, goodbye: str, slot: int
) -> None:
    """Nothing of it is stored, and the fault has a name; the contexts of the others are right."""
    genesis = DEVNET.genesis_now
    peer = beacon_node(js, DEVNET, genesis)
    peer.tell("wrong", digests={method: digest})
    node = daemon(DEVNET, genesis=genesis, peers=[peer.addr])
    node.start()
    until(lambda: reason in {one["reason"] for one in faults(node)}, "the fault")
    until(lambda: asked(peer, "goodbye"), "a goodbye")
    assert asked(peer, "goodbye")[0]["body"] == goodbye
    assert node.finalized_slot() == slot


def test_good_chunks_before_a_refusal_are_kept(limited: tuple[JsPeer, BeaconDaemon]) -> None:
    """Code 2 in the middle of a response: the rest is asked for from there on, and nothing is held against the peer."""
    peer, node = limited
    node.wait_finalized(MAINNET.finalized_slot)
    starts = [int(one["body"]["start_period"]) for one in asked(peer, UPDATES)]
    assert [start for start in starts if start < 821] == [800, 800 + AFTER]
    until(lambda: node.optimistic_slot() == MAINNET.optimistic.slot, "the head")
    assert {one["reason"] for one in faults(node)} <= {"refused"}  # for period 821, which it does not have yet
    assert [row["score"] < 5 for row in node.peers()] == [True]
