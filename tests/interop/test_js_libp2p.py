"""Our real daemon and a foreign libp2p, js-libp2p, dialing each other over loopback. `make interop` runs it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from p2p.host.limits import DEFAULT_LIMITS
from spvnode.bitcoin.params import NETWORKS
from spvnode.version import VERSION
from tests.interop.js_peer import JsPeer, missing, until
from tests.support.daemons import Daemon, spvnode

pytestmark = pytest.mark.interop

Js = Callable[..., JsPeer]
KEYS = ("Ed25519", "secp256k1")
NET = "bitcoin"
GENESIS = NETWORKS[NET].genesis_hash.hex()
TIP = 32_259
RUN = 8_064
"""Headers in a full reply."""
NOT_FOUND = 1
NOTHING = {"version": 1, "genesis": GENESIS, "base": 0, "height": 0, "tip": GENESIS, "work": "00" * 32}
"""Hello of a node that has the genesis block."""
PROTOCOLS = {
    "/ipfs/id/1.0.0",
    "/ipfs/id/push/1.0.0",
    "/ipfs/ping/1.0.0",
    "/meshsub/1.1.0",
    "/meshsub/1.2.0",
    f"/spvnode/{NET}/headers/1",
    f"/spvnode/{NET}/proof/1",
}


def id_of(addr: str) -> str:
    return addr.rpartition("/")[2]


def work_of(node: Daemon) -> str:
    return str(node.call("getblockchaininfo")["chainwork"])


def check_link(peer: JsPeer, node: Daemon, direction: str) -> None:
    """One connection of Noise and Yamux in that direction, over which identify and ping work."""
    us = id_of(node.address())
    [link] = peer.connected_to(us)
    assert (link["direction"], link["encryption"], link["multiplexer"]) == (direction, "/noise", "/yamux/1.0.0")
    said = peer.tell("identify", peer=us)
    assert said["peer"] == us
    assert said["agent"] == f"spvnode/{VERSION}"
    assert said["protocol"] == "ipfs/0.1.0"
    assert set(said["protocols"]) == PROTOCOLS
    assert [f"{addr}/p2p/{us}" for addr in said["listens"]] == [node.address()]
    assert peer.tell("ping", peer=us) >= 0


def seen(node: Daemon, peer: JsPeer) -> dict[str, Any]:
    """What our daemon tells of ``peer``, once their session stands."""
    known = until(lambda: [one for one in node.call("getpeerinfo") if one["peer_id"] == peer.id], "a session")
    return dict(known[0])


def gone(node: Daemon, peer: JsPeer) -> bool:
    return any('"event":"peer disconnected"' in line and peer.id in line for line in node.log().splitlines())


def all_headers(peer: JsPeer, node: Daemon) -> bytes:
    """Every header of our daemon, as ``peer`` gets them: five requests in one write."""
    peer.tell("session", peer=id_of(node.address()), network=NET, hello=NOTHING)
    requests = [{"type": "GET_RANGE", "start": start, "count": RUN} for start in range(0, TIP + 1, RUN)]
    answers = peer.tell("ask", network=NET, requests=requests)
    assert [answer["start"] for answer in answers] == [request["start"] for request in requests]
    return b"".join(base64.b64decode(answer["headers"]) for answer in answers)


@dataclass(frozen=True, slots=True)
class Lasting:
    """Connections that are left alone while the other tests run."""

    peers: list[JsPeer]
    links: list[list[dict[str, Any]]]
    since: float


@pytest.fixture(scope="module", autouse=True)
def lasting(mainnet: Daemon, module_js: Js, mainnet_file: Path) -> Lasting:
    """One from a js peer that sends nothing unasked, so that it is our ping that it has to answer; and one from a js
    peer as js-libp2p comes, which pings us every ten seconds and ends the connection when we do not answer."""
    us = id_of(mainnet.address())
    peers = [module_js(quiet=True), module_js()]
    for peer in peers:
        # Without it we would ask for the protocol again and again, and the refusals were a sign of life.
        peer.tell("serve", network=NET, file=str(mainnet_file), claim={"work": work_of(mainnet)})
        peer.tell("dial", addr=mainnet.address())
        peer.tell("session", peer=us, network=NET, hello=NOTHING)
    return Lasting(peers, [peer.connected_to(us) for peer in peers], time.monotonic())


def test_a_run_without_a_fitting_node_says_so(tmp_path: Path) -> None:
    assert "node is not installed" in str(missing(str(tmp_path)))
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v18.20.4\n")
    old.chmod(0o755)
    assert f"{old} is v18.20.4" in str(missing(str(tmp_path)))


@pytest.mark.parametrize("key", KEYS)
def test_js_dials_us(mainnet: Daemon, js: Js, mainnet_file: Path, key: str) -> None:
    peer = js(key=key)
    peer.tell("serve", network=NET, file=str(mainnet_file), claim={"work": work_of(mainnet)})
    assert peer.tell("dial", addr=mainnet.address()) == id_of(mainnet.address())
    check_link(peer, mainnet, "outbound")
    known = seen(mainnet, peer)
    assert known["inbound"]
    assert known["synced_headers"] == TIP
    assert peer.tell("identify", peer=id_of(mainnet.address()))["observed"] == known["addr"]


def test_we_dial_js_and_sync_from_it(mainnet: Daemon, empty: Daemon, js: Js, mainnet_file: Path) -> None:
    """From two at once, one of each kind of key; then another js peer fetches everything from us."""
    servers = [js(key=key) for key in KEYS]
    for server in servers:
        server.tell("serve", network=NET, file=str(mainnet_file), claim={"work": work_of(mainnet)})
    empty.start(*(word for server in servers for word in ("--peer", server.addr)))
    empty.wait_height(TIP)
    for server in servers:
        known = seen(empty, server)
        assert (known["connection_type"], f"{known['addr']}/p2p/{server.id}") == ("manual", server.addr)
        check_link(server, empty, "inbound")
        served = server.tell("served", network=NET)
        assert {hello["genesis"] for hello in served["hellos"]} == {GENESIS}
        assert all(1 <= request["count"] <= RUN for request in served["requests"])
    asked = [request for server in servers for request in server.tell("served", network=NET)["requests"]]
    assert [GENESIS] in [request.get("locator") for request in asked], "the first question, of whoever it asked first"
    assert sum(seen(empty, server)["headers_received"] for server in servers) >= TIP
    reader = js()
    reader.tell("dial", addr=empty.address())
    assert all_headers(reader, empty) == mainnet_file.read_bytes()


def test_js_dials_us_and_we_sync_from_it(mainnet: Daemon, empty: Daemon, js: Js, mainnet_file: Path) -> None:
    """And what it says of itself by identify, where it listens, gets into our address book."""
    empty.start()
    server = js(key="secp256k1")
    server.tell("serve", network=NET, file=str(mainnet_file), claim={"work": work_of(mainnet)})
    server.tell("dial", addr=empty.address())
    empty.wait_height(TIP)
    assert empty.header_hex(TIP) == mainnet_file.read_bytes()[-80:].hex()
    assert seen(empty, server)["headers_received"] == TIP
    book = empty.folder / "peers.json"
    entries = until(lambda: book.exists() and json.loads(book.read_text())["peers"], "an address in the book")
    assert [(entry["addr"], entry["source"]) for entry in entries] == [(server.addr, "identify")]


def test_js_gets_headers_by_locator_and_by_range(mainnet: Daemon, js: Js, mainnet_file: Path) -> None:
    peer, us, raw = js(), id_of(mainnet.address()), mainnet_file.read_bytes()
    peer.tell("dial", addr=mainnet.address())
    hello = peer.tell("session", peer=us, network=NET, hello=NOTHING)
    tip = bytes.fromhex(mainnet.call("getbestblockhash"))[::-1].hex()
    expected = {"type": "HELLO", "id": 0, "version": 1, "genesis": GENESIS, "base": 0, "height": TIP, "tip": tip}
    assert hello == {**expected, "work": work_of(mainnet)}

    first, last, unknown, above = peer.tell(
        "ask",
        network=NET,
        requests=[
            {"type": "GET_BY_LOCATOR", "count": RUN, "locator": ["ab" * 32, GENESIS]},
            {"type": "GET_BY_LOCATOR", "count": RUN, "locator": [tip, GENESIS]},
            {"type": "GET_BY_LOCATOR", "count": RUN, "locator": ["ab" * 32]},
            {"type": "GET_RANGE", "start": TIP + 1, "count": 1},
        ],
    )
    assert first["start"] == 1
    assert base64.b64decode(first["headers"]) == raw[80 : 80 * (RUN + 1)]
    assert (last["start"], last["headers"]) == (TIP + 1, ""), "nothing above the tip"
    assert (unknown["start"], unknown["headers"]) == (1, first["headers"]), "from the genesis on, as Core answers"
    assert above["code"] == NOT_FOUND
    assert all_headers(peer, mainnet) == raw


def test_js_gets_a_proof_that_verifies(mainnet: Daemon, js: Js, tmp_path: Path) -> None:
    peer = js()
    peer.tell("dial", addr=mainnet.address())
    height, cp_height = 20_000, 32_000
    requests = [
        {"type": "GET_PROOF", "height": height, "cp_height": cp_height},
        {"type": "GET_PROOF", "height": height, "cp_height": TIP + 1},
    ]
    proof, refused = peer.tell("prove", peer=id_of(mainnet.address()), network=NET, requests=requests)
    assert refused["code"] == NOT_FOUND
    file = tmp_path / "header.proof"
    file.write_bytes(base64.b64decode(proof["bundle"]))
    root = mainnet.call("getheaderproof", height, cp_height)["root"]
    verified = spvnode("verify", str(file), "--trusted-root", root, "--json")
    assert verified.returncode == 0, verified.stderr
    told = json.loads(verified.stdout)
    assert (told["valid"], told["height"], told["cp_height"]) == (True, height, cp_height)
    assert told["hash"] == mainnet.call("getblockhash", height)


def test_connections_outlive_our_keepalive(mainnet: Daemon, lasting: Lasting) -> None:
    us = id_of(mainnet.address())
    # Past the first ping and the end of the wait for its answer, with a margin.
    needed = DEFAULT_LIMITS.keepalive_interval + DEFAULT_LIMITS.keepalive_timeout + 5
    time.sleep(max(0.0, lasting.since + needed - time.monotonic()))
    assert [peer.connected_to(us) for peer in lasting.peers] == lasting.links
    for peer in lasting.peers:
        [header] = peer.tell("ask", network=NET, requests=[{"type": "GET_RANGE", "start": 7, "count": 1}])
        assert header["start"] == 7
        peer.tell("hangup", peer=us)
        until(partial(gone, mainnet, peer), "our notice of its leave")
