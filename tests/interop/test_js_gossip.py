"""Gossip of tips between our real daemon and js-libp2p: StrictNoSign, our own message id. `make interop` runs it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from p2p.mesh.gossip import GossipTip, encode_tip, tip_topic
from spvnode.bitcoin.params import REGTEST
from tests.interop.js_peer import JsPeer, until
from tests.support.daemons import Daemon
from tests.support.mine import mine_run, regtest_chain

pytestmark = pytest.mark.interop

Js = Callable[..., JsPeer]
NET = "regtest"
TOPIC = tip_topic(NET)
START = 20
"""Headers that the daemon has at first."""
SPACING = 600
GENESIS = REGTEST.genesis_hash.hex()
NOTHING = {"version": 1, "genesis": GENESIS, "base": 0, "height": 0, "tip": GENESIS, "work": "00" * 32}


class Growing:
    """A daemon of regtest, and the headers to come."""

    def __init__(self, node: Daemon) -> None:
        self.node = node
        self.headers = regtest_chain(START, spacing=SPACING)

    def begin(self, *arguments: str) -> None:
        self.node.start(*arguments)
        self.node.address()
        self.node.call("importheaders", self.headers.hex())

    def next(self, *, seed: int) -> bytes:
        """A header on the first tip, another one for each seed."""
        last = self.headers[-80:]
        digest = hashlib.sha256(hashlib.sha256(last).digest()).digest()
        return mine_run(digest, int.from_bytes(last[68:72], "little"), 1, seed=seed, spacing=SPACING)

    def message(self, header: bytes, height: int) -> bytes:
        """As gossip carries it; each regtest block is worth two hashes, the genesis block too."""
        return encode_tip(GossipTip(height, header, 2 * (height + 1)))


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Growing]:
    one = Growing(Daemon(tmp_path / "node", NET))
    yield one
    assert one.node.stop() == 0


def peer_id(node: Daemon) -> str:
    return node.address().rpartition("/")[2]


def joined(js: Js, node: Daemon, **options: Any) -> JsPeer:
    """A js peer of the topic, connected to our daemon, and in its mesh."""
    peer = js(topics=(TOPIC,), **options)
    peer.tell("dial", addr=node.address())
    until(lambda: peer_id(node) in peer.tell("mesh", topic=TOPIC), "a place in the mesh")
    return peer


def check_heard(peer: JsPeer, node: Daemon, *messages: bytes) -> None:
    """``peer`` took these, each once, unsigned, from our daemon."""
    until(lambda: set(messages) <= heard(peer).keys(), "the messages")
    for data in messages:
        [taken] = heard(peer)[data]
        assert (taken["from"], taken["kind"]) == (peer_id(node), "unsigned")


def heard(peer: JsPeer) -> dict[bytes, list[dict[str, Any]]]:
    """What ``peer`` took, by content. Tips of before it came may be among it: they are offered for some seconds."""
    taken: dict[bytes, list[dict[str, Any]]] = {}
    for message in peer.heard(TOPIC):
        taken.setdefault(base64.b64decode(message["data"]), []).append(message)
    return taken


def publish(peer: JsPeer, data: bytes) -> list[str]:
    return list(peer.tell("publish", topic=TOPIC, data=base64.b64encode(data).decode()))


def test_our_tip_reaches_js(growing: Growing, js: Js) -> None:
    """By gossip, and as an announcement on a headers stream."""
    growing.begin()
    node = growing.node
    peer = joined(js, node)
    hello = peer.tell("session", peer=peer_id(node), network=NET, hello=NOTHING)
    assert hello["height"] == START
    header = growing.next(seed=1)
    node.call("importheaders", header.hex())
    check_heard(peer, node, growing.message(header, START + 1))
    announced = until(lambda: peer.tell("announced", network=NET), "an announcement")
    tip = bytes.fromhex(node.call("getbestblockhash"))[::-1].hex()
    told = {"height": START + 1, "tip": tip, "work": f"{2 * (START + 2):064x}"}
    assert announced == [{**hello, **told, "type": "ANNOUNCE"}]


def test_a_tip_of_js_is_taken_and_relayed(growing: Growing, js: Js) -> None:
    """Relayed by the gossip itself: the second header competes with our tip, which we do not leave for it, so we would
    not tell of it on our own."""
    growing.begin()
    node = growing.node
    first, second = joined(js, node), joined(js, node, key="secp256k1")
    ahead, beside = growing.next(seed=2), growing.next(seed=3)
    messages = [growing.message(header, START + 1) for header in (ahead, beside)]
    assert publish(first, messages[0]) == [peer_id(node)]
    node.wait_height(START + 1)
    assert node.header_hex(START + 1) == ahead.hex()
    publish(first, messages[1])
    check_heard(second, node, *messages)
    assert not heard(first).keys() & set(messages), "what it said itself does not come back"
    tips = until(lambda: [one for one in node.call("getchaintips") if one["status"] != "active"], "a side branch")
    assert [one["height"] for one in tips] == [START + 1]
    assert node.header_hex(START + 1) == ahead.hex()


@pytest.fixture
def lazy(growing: Growing, js: Js) -> JsPeer:
    """A js peer that has refused to be in our mesh."""
    peer = js(topics=(TOPIC,), lazy=True)
    growing.begin("--peer", peer.addr)
    until(lambda: peer.tell("controls")["grafts"], "our request to join its mesh")
    peer.tell("ping", peer=peer_id(growing.node))  # its answer to that request was on the wire before
    return peer


def test_a_message_of_a_peer_outside_the_mesh(growing: Growing, js: Js, lazy: JsPeer) -> None:
    """It can only offer it: we ask for it by its id."""
    other = joined(js, growing.node)
    data = growing.message(growing.next(seed=4), START + 1)
    assert publish(lazy, data) == []
    growing.node.wait_height(START + 1)
    check_heard(other, growing.node, data)


def test_a_peer_outside_the_mesh_is_told_by_id(growing: Growing, lazy: JsPeer) -> None:
    """And our id is the one that js computes."""
    header = growing.next(seed=5)
    data = growing.message(header, START + 1)
    growing.node.call("importheaders", header.hex())
    check_heard(lazy, growing.node, data)
    [taken] = heard(lazy)[data]
    assert base64.b64decode(taken["id"] + "==").hex() in lazy.tell("controls")["offered"]
