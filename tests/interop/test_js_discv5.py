"""Discovery against another implementation, ChainSafe's discv5 on Node.js: handshakes begun by either side, PING,
FINDNODE, TALKREQ, lookups, records of each read by the other. `make interop` runs it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p.discv5 import Discovery, Enr, asking, parse_enr, session
from p2p.discv5.distance import log_distance
from p2p.discv5.messages import Pong

pytestmark = pytest.mark.interop

FORK = bytes.fromhex("8cdad60305000001000a000000000000")
OTHER_FORK = bytes.fromhex("d2f1997f") + FORK[4:]
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine their first handshake, in plain JavaScript, can take longer than the protocol's second."""
    monkeypatch.setattr(asking, "REQUEST_S", 10.0)
    for name in ("CHALLENGE_LIFE_S", "SENT_LIFE_S", "OPENING_LIFE_S"):
        monkeypatch.setattr(session, name, 10.0)


class JsNode:
    """Their node in its own process."""

    def __init__(self, host: str, fork: bytes) -> None:
        fields = {"eth2": fork.hex(), "tcp": "2328", "attnets": "00" * 8}
        self._process = subprocess.Popen(
            ["node", str(Path(__file__).parent / "discv5.mjs"), json.dumps({"host": host, "fields": fields})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "NODE_NO_WARNINGS": "1"},
        )
        self.known = self.tell("id")
        self.enr: Enr = parse_enr(self.known["enr"])

    def tell(self, command: str, **given: Any) -> Any:
        """The answer to one command."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **given}).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "their node ended"
        answer = json.loads(line)
        assert "error" not in answer, answer
        return answer["result"]

    async def ask(self, command: str, **given: Any) -> Any:
        """The same while our side runs."""
        with trio.fail_after(PATIENCE):
            return await trio.to_thread.run_sync(partial(self.tell, command, **given))

    def end(self) -> None:
        """Close its input, at which it stops."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
        assert code == 0


@contextmanager
def theirs(*hosts: str, fork: bytes = FORK) -> Iterator[list[JsNode]]:
    nodes: list[JsNode] = []
    try:
        for host in hosts:
            nodes.append(JsNode(host, fork))
        yield nodes
    finally:
        for node in nodes:
            node.end()


@asynccontextmanager
async def ours(host: str, bootnodes: list[Enr], found: list[Enr] | None = None) -> AsyncIterator[Discovery]:
    discovery = Discovery(
        bytes([7]) * 32,
        (host, 0),
        bootnodes,
        eth2=lambda: FORK,
        accepts=lambda digest: digest == FORK[:4],
        found=(found if found is not None else []).append,
        tcp=9_000,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: discovery.run(task_status=task_status))
        yield discovery
        nursery.cancel_scope.cancel()


async def until(probe: Callable[[], bool]) -> None:
    """Wait for what another process brings about."""
    with trio.fail_after(PATIENCE):
        while not probe():  # noqa: ASYNC110  the node tells nobody when its table grows
            await trio.sleep(0.05)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_we_ask_and_they_answer(host: str) -> None:
    async def main(js: JsNode) -> None:
        async with ours(host, []) as node:
            pong = await node.ping(js.enr)
            assert isinstance(pong, Pong)
            assert pong.enr_seq == js.enr.seq
            assert pong.port == node.own.udp_endpoints()[0].port
            itself = await node.find_node(js.enr, [0])
            assert isinstance(itself, list)
            assert [enr.text for enr in itself] == [js.enr.text]
            assert [enr.node_id for enr in node.nodes()] == [js.enr.node_id]

    with theirs(host) as [js]:
        trio.run(main, js)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_they_ask_and_we_answer(host: str) -> None:
    async def main(js: JsNode) -> None:
        async with ours(host, []) as node:
            text = node.own.text
            port = js.enr.udp_endpoints()[0].port
            assert await js.ask("ping", enr=text) == {"seq": node.own.seq, "port": port}
            assert await js.ask("find", enr=text, distances=[0]) == [text]
            assert await js.ask("talk", enr=text) == ""  # we know no protocol on top
            assert [enr.node_id for enr in node.nodes()] == [js.enr.node_id], "it has proven itself by its handshake"

    with theirs(host) as [js]:
        trio.run(main, js)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_records_are_read_alike(host: str) -> None:
    async def main(js: JsNode) -> None:
        async with ours(host, []) as node:
            seen = await js.ask("read", enr=node.own.text)
            assert seen == {
                "node": node.own.node_id.hex(),
                "peer": node.own.peer_id,
                "seq": node.own.seq,
                "tcp": node.own.multiaddr(),
                "eth2": FORK.hex(),
            }
        assert js.enr.node_id.hex() == js.known["node"]
        assert js.enr.peer_id == js.known["peer"]
        assert js.enr.eth2 == FORK
        family = "ip6" if ":" in host else "ip4"
        assert js.enr.multiaddr() == f"/{family}/{host}/tcp/9000/p2p/{js.known['peer']}"

    with theirs(host) as [js]:
        trio.run(main, js)


def test_we_find_them_through_each_other() -> None:
    """They know each other in a chain; we know the first only."""

    async def main(nodes: list[JsNode]) -> None:
        for one, other in pairwise(nodes):
            await one.ask("ping", enr=other.enr.text)
            await one.ask("add", enr=other.enr.text)
        found: list[Enr] = []
        async with ours("127.0.90.1", [nodes[0].enr], found) as node:
            everyone = {js.enr.node_id for js in nodes}
            await until(lambda: {enr.node_id for enr in found} == everyone)
            await until(lambda: {enr.node_id for enr in node.nodes()} == everyone)

    with theirs(*(f"127.0.{n}.1" for n in range(91, 96))) as nodes:
        trio.run(main, nodes)


def test_they_find_each_other_through_us() -> None:
    async def main(nodes: list[JsNode]) -> None:
        async with ours("127.0.80.1", [js.enr for js in nodes]) as node:
            await until(lambda: len(node.nodes()) == len(nodes))
            first, last = nodes[0], nodes[-1]
            distance = log_distance(node.own.node_id, last.enr.node_id)
            told = await first.ask("find", enr=node.own.text, distances=[distance])
            assert last.enr.text in told
            await first.ask("add", enr=node.own.text)
            assert last.enr.text in await first.ask("lookup", target=last.enr.node_id.hex())

    with theirs(*(f"127.0.{n}.1" for n in range(81, 85))) as nodes:
        trio.run(main, nodes)


def test_a_node_of_another_network_is_a_neighbour_but_not_handed_on() -> None:
    async def main(js: JsNode) -> None:
        found: list[Enr] = []
        async with ours("127.0.0.1", [js.enr], found) as node:
            await until(lambda: len(node.nodes()) == 1)
            assert isinstance(await node.find_node(js.enr, [0]), list)
            assert found == []

    with theirs("127.0.0.1", fork=OTHER_FORK) as [js]:
        trio.run(main, js)
