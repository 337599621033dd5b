"""js-libp2p peers that lie or send garbage: each is noticed for the right reason, and our daemon goes on serving an
honest one over the connection that it had before. `make interop` runs it."""

from __future__ import annotations

import base64
import json
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from p2p.mesh.gossip import tip_topic
from spvnode.bitcoin.params import NETWORKS
from tests.interop.js_peer import JsFailed, JsPeer, until
from tests.support.daemons import Daemon

pytestmark = pytest.mark.interop

Js = Callable[..., JsPeer]
NET = "bitcoin"
TIP = 32_259
GENESIS = NETWORKS[NET].genesis_hash.hex()
OTHER = NETWORKS["testnet3"].genesis_hash.hex()
NOTHING = {"version": 1, "genesis": GENESIS, "base": 0, "height": 0, "tip": GENESIS, "work": "00" * 32}
ALL_WORK = "ff" * 32
HEADERS = f"/spvnode/{NET}/headers/1"
PROOF = f"/spvnode/{NET}/proof/1"
TOPIC = tip_topic(NET)
NOISE = random.Random(7).randbytes(4096)
DISCOURAGED = "discourage"


def peer_id(node: Daemon) -> str:
    return node.address().rpartition("/")[2]


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def faults(node: Daemon, peer: JsPeer) -> list[dict[str, Any]]:
    """What our daemon says that ``peer`` did wrong, and what it did about it."""
    lines = [json.loads(line) for line in node.log().splitlines() if '"event":"peer fault"' in line]
    return [line for line in lines if line["peer"] == peer.id and "action" in line]


def left(node: Daemon, peer: JsPeer) -> list[str]:
    """Wait until our daemon has discouraged ``peer`` and let go of it; for what reasons?"""
    until(lambda: any(fault["action"] == DISCOURAGED for fault in faults(node, peer)), "a discouragement")
    until(lambda: not peer.connected_to(peer_id(node)), "the end of the connection")
    return [fault["reason"] for fault in faults(node, peer)]


@pytest.fixture(scope="module")
def honest(mainnet: Daemon, module_js: Js) -> JsPeer:
    """Connected from before the first hostile peer until after the last."""
    peer = module_js(topics=(TOPIC,))
    peer.tell("dial", addr=mainnet.address())
    peer.tell("session", peer=peer_id(mainnet), network=NET, hello=NOTHING)
    return peer


@pytest.fixture(autouse=True)
def unharmed(mainnet: Daemon, honest: JsPeer, mainnet_file: Path) -> Iterator[None]:
    """After each test: the same process, chain and connection, nothing of the hostile peer passed on, no failure of
    ours in the log."""
    link = honest.connected_to(peer_id(mainnet))
    yield
    assert mainnet.process is not None
    assert mainnet.process.poll() is None
    assert mainnet.poll() == TIP
    assert honest.connected_to(peer_id(mainnet)) == link != []
    [last] = honest.tell("ask", network=NET, requests=[{"type": "GET_RANGE", "start": TIP, "count": 1}])
    assert base64.b64decode(last["headers"]) == mainnet_file.read_bytes()[-80:]
    assert honest.heard(TOPIC) == []
    assert mainnet.faults() == []


@pytest.fixture
def hostile(mainnet: Daemon, js: Js) -> JsPeer:
    """Connected, and yet to show what it is."""
    peer = js(topics=(TOPIC,))
    peer.tell("dial", addr=mainnet.address())
    return peer


def test_a_client_of_another_network(mainnet: Daemon, hostile: JsPeer) -> None:
    """It is told who we are, so that it can tell for itself, and no more."""
    hello = hostile.tell(
        "session", peer=peer_id(mainnet), network=NET, hello={**NOTHING, "genesis": OTHER, "tip": OTHER}
    )
    assert (hello["genesis"], hello["height"]) == (GENESIS, TIP)
    until(lambda: hostile.tell("ended", network=NET), "the end of the stream")
    assert [fault["reason"] for fault in faults(mainnet, hostile)] == ["wrong-network"]
    assert hostile.tell("ping", peer=peer_id(mainnet)) >= 0, "it may serve another network well"


def test_a_server_of_another_network(mainnet: Daemon, js: Js, mainnet_file: Path) -> None:
    peer = js()
    peer.tell("serve", network=NET, file=str(mainnet_file), claim={"genesis": OTHER})
    peer.tell("dial", addr=mainnet.address())
    until(lambda: faults(mainnet, peer), "a fault")
    assert [fault["reason"] for fault in faults(mainnet, peer)] == ["wrong-network"]
    assert peer.tell("served", network=NET)["requests"] == []


def test_a_tip_that_is_not_there(mainnet: Daemon, js: Js, mainnet_file: Path) -> None:
    """It claims the most work and has nothing to show for it, also when asked again."""
    peer = js()
    peer.tell(
        "serve", network=NET, file=str(mainnet_file), claim={"height": 900_000, "tip": "07" * 32, "work": ALL_WORK}
    )
    peer.tell("dial", addr=mainnet.address())
    assert set(left(mainnet, peer)) == {"false-claim"}


def test_a_header_without_its_work(mainnet: Daemon, js: Js, mainnet_file: Path, tmp_path: Path) -> None:
    raw = mainnet_file.read_bytes()
    forged = bytearray(raw[-80:])
    forged[4:36] = bytes.fromhex(mainnet.call("getbestblockhash"))[::-1]
    file = tmp_path / "forged.bin"
    file.write_bytes(raw + forged)
    peer = js(key="secp256k1")
    peer.tell("serve", network=NET, file=str(file), claim={"work": ALL_WORK})
    peer.tell("dial", addr=mainnet.address())
    assert left(mainnet, peer) == ["invalid-header"]

    def come_back() -> None:
        peer.tell("dial", addr=mainnet.address())
        peer.tell("session", peer=peer_id(mainnet), network=NET, hello=NOTHING)

    with pytest.raises(JsFailed):
        come_back()


FRAMES = {
    "noise": (HEADERS, NOISE, {"bad-frame", "oversized"}),
    "a frame of 4 GB": (HEADERS, struct.pack(">IBI", 0xFFFF_FFFF, 3, 1), {"oversized"}),
    "a type that is none": (HEADERS, struct.pack(">IBI", 5, 99, 0), {"bad-frame"}),
    "noise for a proof": (PROOF, NOISE, {"bad-frame", "oversized"}),
}


@pytest.mark.parametrize("name", FRAMES)
def test_garbage_on_our_protocols(mainnet: Daemon, hostile: JsPeer, name: str) -> None:
    protocol, data, reasons = FRAMES[name]
    answer = hostile.tell("say", peer=peer_id(mainnet), protocol=protocol, data=text(data))
    assert answer["said"] == ""
    assert set(left(mainnet, hostile)) <= reasons


@pytest.mark.parametrize("protocol", ["/meshsub/1.1.0", "/ipfs/id/1.0.0"])
def test_garbage_on_libp2p_protocols(mainnet: Daemon, hostile: JsPeer, protocol: str) -> None:
    """Costs that stream at most."""
    us = peer_id(mainnet)
    answer = hostile.tell("say", peer=us, protocol=protocol, data=text(NOISE))
    assert answer["end"] == ("closed" if protocol == "/ipfs/id/1.0.0" else "StreamResetError")
    assert hostile.tell("ping", peer=us) >= 0
    assert hostile.tell("identify", peer=us)["peer"] == us


@pytest.mark.parametrize("protocol", [HEADERS, "/ipfs/id/1.0.0", "/meshsub/1.2.0"])
def test_garbage_on_streams_that_we_open(mainnet: Daemon, js: Js, protocol: str) -> None:
    peer = js()
    peer.tell("babble", protocol=protocol, data=text(NOISE))
    peer.tell("dial", addr=mainnet.address())
    if protocol == HEADERS:
        assert set(left(mainnet, peer)) <= {"bad-frame", "oversized"}
    else:
        assert peer.tell("ping", peer=peer_id(mainnet)) >= 0


GOSSIP = {
    "noise": (NOISE[:116], "invalid-header"),
    "of another size": (NOISE[:115], "bad-frame"),
}


@pytest.mark.parametrize("name", GOSSIP)
def test_gossip_of_what_is_no_tip(mainnet: Daemon, hostile: JsPeer, name: str) -> None:
    data, reason = GOSSIP[name]
    until(lambda: peer_id(mainnet) in hostile.tell("mesh", topic=TOPIC), "a place in the mesh")
    hostile.tell("publish", topic=TOPIC, data=text(data))
    assert left(mainnet, hostile) == [reason]
