"""Lodestar's Req/Resp on js-libp2p asks our daemon, which has 21 periods of mainnet, and hears its gossip.
`make interop` runs it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.beacon_daemon import BeaconDaemon
from tests.interop.beacon_js import beacon_node, publish, topic
from tests.interop.js_peer import JsPeer, until
from tests.interop.recorded import MAINNET, Object

pytestmark = pytest.mark.interop

BOOTSTRAP = "light_client_bootstrap/1"
UPDATES = "light_client_updates_by_range/1"
FINALITY = "light_client_finality_update/1"
OPTIMISTIC = "light_client_optimistic_update/1"


class Client:
    """A js node that is connected to our daemon. ``source`` is where our daemon has its data from."""

    def __init__(self, node: BeaconDaemon, source: JsPeer, peer: JsPeer) -> None:
        self.node, self.source, self.peer = node, source, peer
        self.ours = peer.tell("dial", addr=node.beacon_address())

    def ask(self, name: str, body: Any = None) -> dict[str, Any]:
        """Chunks and error of one request."""
        found: dict[str, Any] = self.peer.tell("ask", peer=self.ours, name=name, body=body)
        return found

    def one(self, name: str, body: Any = None) -> Any:
        """The value of a response of one chunk without context."""
        found = self.ask(name, body)
        assert found["error"] is None
        [chunk] = found["chunks"]
        return chunk["value"]

    def objects(self, name: str, body: Any = None) -> list[tuple[str, bytes]]:
        """Context and SSZ of each chunk, as Lodestar's types read and write them."""
        found = self.ask(name, body)
        assert found["error"] is None, found["error"]
        return [(chunk["digest"], base64.b64decode(chunk["ssz"])) for chunk in found["chunks"]]


def pair(one: Object) -> tuple[str, bytes]:
    return one.digest, one.ssz


@pytest.fixture(scope="module")
def client(module_js: Callable[..., JsPeer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    genesis = MAINNET.genesis_now
    source = beacon_node(module_js, MAINNET, genesis, without=(OPTIMISTIC,))
    folder: Path = tmp_path_factory.mktemp("client") / "node"
    node = BeaconDaemon(folder, MAINNET, genesis=genesis, peers=[source.addr])
    node.start()
    peer = module_js(key="secp256k1", muxer="mplex", beacon=MAINNET.beacon(genesis))
    peer.tell("have", status=MAINNET.status(bytes(32), 0, 0), metadata={})
    peer.tell("join", digest=MAINNET.finality.digest)
    node.wait_finalized(MAINNET.finalized_slot)
    yield Client(node, source, peer)
    assert node.stop() == 0


def test_status_of_both_versions(client: Client) -> None:
    ours = MAINNET.status(MAINNET.finalized_root, MAINNET.finalized_slot, MAINNET.finality.slot)
    zero = "0x" + "00" * 32
    digest = client.peer.tell("digest")
    said = {"fork_digest": "0x" + digest, "finalized_root": zero, "head_root": zero}
    said |= {"finalized_epoch": "0", "head_slot": "0"}
    for version, more in ((1, {}), (2, {"earliest_available_slot": "0"})):
        found = client.one(f"status/{version}", {**said, **more})
        assert (found["fork_digest"], found["finalized_root"]) == ("0x" + digest, ours["finalized_root"])
        assert (found["finalized_epoch"], found["head_slot"]) == (ours["finalized_epoch"], ours["head_slot"])
    assert found["earliest_available_slot"] == str(MAINNET.bootstrap.slot)


def test_metadata_of_all_versions_and_ping(client: Client) -> None:
    fields = [{"seq_number", "attnets"}, {"syncnets"}, {"custody_group_count"}]
    for version in (1, 2):
        found = client.one(f"metadata/{version}")
        assert set(found) == set().union(*fields[:version])
        assert found["attnets"] == "0x" + "00" * 8
    found = client.one("metadata/3")
    assert found["custody_group_count"] == "4"  # less is out of range, and reason enough for a node to leave
    assert client.one("ping/1", "7") == found["seq_number"]


def test_bootstrap_by_root(client: Client) -> None:
    root = "0x" + MAINNET.root.hex()
    assert client.objects(BOOTSTRAP, root) == [pair(MAINNET.bootstrap)]
    found = client.ask(BOOTSTRAP, "0x" + MAINNET.finalized_root.hex())
    assert (found["chunks"], "RESOURCE_UNAVAILABLE" in found["error"]["code"]) == ([], True)


@pytest.mark.parametrize(
    ("start", "count", "periods"),
    [(800, 4, range(800, 804)), (815, 3, range(815, 818)), (800, 200, range(800, 821)), (821, 5, ()), (700, 10, ())],
    ids=["first", "middle", "beyond 128", "above", "below"],
)
def test_updates_by_range(client: Client, start: int, count: int, periods: range) -> None:
    """An answer ends where our data do; nothing at all is an answer too."""
    body = {"start_period": str(start), "count": str(count)}
    assert client.objects(UPDATES, body) == [pair(MAINNET.updates[period]) for period in periods]


def test_no_updates_asked(client: Client) -> None:
    found = client.ask(UPDATES, {"start_period": "800", "count": "0"})
    assert (found["chunks"], "INVALID_REQUEST" in found["error"]["code"]) == ([], True)


def test_finality_and_head_by_request_and_gossip(client: Client) -> None:
    """What our daemon takes is gossiped, under the id and the bytes that its source gave it, and served."""
    assert client.objects(FINALITY) == [pair(MAINNET.finality)]
    where = topic(MAINNET.optimistic.digest, "optimistic")
    until(lambda: client.ours in client.peer.tell("mesh", topic=where), "to hear our gossip")
    client.source.tell("join", digest=MAINNET.optimistic.digest)
    publish(client.source, "optimistic", MAINNET.optimistic, client.ours)
    until(lambda: MAINNET.optimistic.given in client.peer.tell("read", topic=where), "the gossip")
    until(lambda: client.node.optimistic_slot() == MAINNET.optimistic.slot, "the head")
    assert client.objects(OPTIMISTIC) == [pair(MAINNET.optimistic)]
    served = next(row for row in client.node.peers() if row["peer_id"] == client.peer.id)
    assert served["inbound"]
    assert served["objects_served"] >= 1 + 28 + 2
    assert served["score"] < 5  # it said that it has no head, which we lacked: one point


def test_goodbye(client: Client) -> None:
    client.peer.tell("ask", peer=client.ours, name="goodbye/1", body="1")
    until(lambda: not client.peer.connected_to(client.ours), "the end of the connection")
