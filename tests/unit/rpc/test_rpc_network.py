"""Core's methods about peers, over a real mesh on the simulated network."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from mesh import ListChain, Node, node, simulate, wall
from small_node import SmallNode, mainnet

from p2p.bans import MAX_BANS, BanList
from p2p.memory import MemoryNetwork, address_of, peer_id_of
from spvnode.metrics import Metrics
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.table import METHODS

Ask = Callable[..., Awaitable[Any]]


class Meshed(SmallNode):
    """A small node whose peers are a mesh's, and whose clock is the simulation's."""

    def over(self, running: Node, bans: BanList) -> Meshed:
        self.running, self.bans = running, bans
        self.peer_controls = [running.mesh.control]
        return self

    def now(self) -> float:
        return wall()

    def peers(self, network: str) -> list[dict[str, Any]]:
        found = enumerate(self.running.mesh.peers())
        return [{"id": i, "peer_id": peer.id, "addr": peer.addr, "inbound": peer.inbound} for i, peer in found]


def asker(node: SmallNode) -> Ask:
    dispatcher = Dispatcher(node, METHODS, Metrics())

    async def ask(method: str, *params: object, **named: object) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": named or list(params)}
        answer = json.loads((await dispatcher.answer(json.dumps(body).encode())).body)
        return answer["result"] if "result" in answer else (answer["error"]["code"], answer["error"]["message"])

    return ask


def scene(play: Callable[[Ask, Node, Node], Awaitable[None]], path: Path | None = None) -> None:
    """``play`` with what asks our node, our mesh, and another's."""

    async def main() -> None:
        network, bans, chain = MemoryNetwork(), BanList(path), ListChain(5)
        async with (
            node(network, "b", {"regtest": chain}, target_outbound=0) as other,
            node(network, "a", {"regtest": chain}, target_outbound=0, bans=bans) as ours,
        ):
            await play(asker(Meshed("regtest").over(ours, bans)), ours, other)

    simulate(main)


async def count(ask: Ask, wanted: int) -> None:
    with trio.fail_after(600):
        while await ask("getconnectioncount") != wanted:  # noqa: ASYNC110  simulated time
            await trio.sleep(0.5)


def test_adding_disconnecting_and_removing_a_peer() -> None:
    async def play(ask: Ask, ours: Node, other: Node) -> None:
        address = address_of("b")
        assert await ask("getconnectioncount") == 0
        assert await ask("addnode", address, "add") is None
        assert await ask("addnode", address, "add") == (-23, "Error: Node already added")
        await count(ask, 1)
        info = await ask("getnetworkinfo")
        assert (info["connections"], info["connections_in"], info["connections_out"]) == (1, 0, 1)
        assert info["networkactive"] is True
        assert await ask("disconnectnode", "", 0) is None
        await count(ask, 0)
        await count(ask, 1)
        assert await ask("addnode", address, "remove") is None
        assert await ask("addnode", address, "remove") == (-24, "Error: Node has not been added.")
        assert await ask("disconnectnode", peer_id_of("b")) is None
        await count(ask, 0)
        assert await ask("addnode", node=address, command="onetry", v2transport=True) is None
        await count(ask, 1)

    scene(play)


def test_what_disconnectnode_and_addnode_refuse() -> None:
    async def play(ask: Ask, ours: Node, other: Node) -> None:
        unknown = (-29, "Node not found in connected nodes")
        both = (-32602, "Only one of address and nodeid should be provided.")
        assert await ask("disconnectnode", "nobody") == unknown
        assert await ask("disconnectnode", "", 7) == unknown
        assert await ask("disconnectnode") == both
        assert await ask("disconnectnode", "nobody", 0) == both
        assert (await ask("addnode", "192.0.2.7:8333", "add"))[0] == -8
        assert (await ask("addnode", "/ip4/192.0.2.7/tcp/1", "add"))[0] == -8
        assert (await ask("addnode", address_of("b"), "love"))[0] == -8
        assert (await ask("addnode", "x" * 513, "add"))[0] == -8

    scene(play)


def test_a_ban_disconnects_is_listed_ends_and_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "bans.json"

    async def play(ask: Ask, ours: Node, other: Node) -> None:
        await ask("addnode", address_of("b"), "add")
        await count(ask, 1)
        assert await ask("setban", peer_id_of("b"), "add", 600) is None
        assert [ban.subject for ban in BanList(path).entries(wall())] == [peer_id_of("b")]
        await count(ask, 0)
        (row,) = await ask("listbanned")
        assert row["address"] == peer_id_of("b")
        assert (row["ban_duration"], row["banned_until"] - row["ban_created"]) == (600, 600)
        assert 590 <= row["time_remaining"] <= 600
        assert await ask("setban", peer_id_of("b"), "add") == (-23, "Error: IP/Subnet already banned")
        await trio.sleep(605)
        assert await ask("listbanned") == []
        await count(ask, 1)
        assert await ask("setban", "192.0.2.0/24", "add") is None
        assert (await ask("listbanned"))[0]["ban_duration"] == 24 * 60 * 60
        assert await ask("clearbanned") is None
        assert await ask("listbanned") == []
        assert BanList(path).entries(wall()) == []

    scene(play, path)


def test_what_setban_refuses() -> None:
    async def play(ask: Ask, ours: Node, other: Node) -> None:
        assert (await ask("setban", "nobody", "add"))[0] == -30
        unbanned = "Error: Unban failed. Requested address/subnet was not previously manually banned."
        assert await ask("setban", "192.0.2.7", "remove") == (-30, unbanned)
        past = (-8, "Error: Absolute timestamp is in the past")
        assert await ask("setban", "192.0.2.7", "add", 1_000, True) == past
        assert await ask("setban", "192.0.2.7", "add", int(wall()) + 60, True) is None
        assert await ask("setban", "192.0.2.7/32", "remove") is None
        assert (await ask("setban", "192.0.2.7", "add", -1))[0] == -8
        assert (await ask("setban", "192.0.2.7", "add", 10**12))[0] == -30
        for i in range(MAX_BANS):
            assert await ask("setban", f"10.0.{i // 256}.{i % 256}", "add") is None
        assert (await ask("setban", "192.0.2.7", "add"))[0] == -30

    scene(play)


@pytest.mark.parametrize("call", [("addnode", address_of("b"), "add"), ("disconnectnode", "x")])
def test_without_a_wire_there_are_no_peers_to_manage(call: tuple[str, ...]) -> None:
    node = mainnet(5)
    found = trio.run(asker(node), *call)
    assert found == (-31, "Error: Peer-to-peer functionality missing or disabled")


def test_network_info_has_cores_fields_and_ours() -> None:
    info = trio.run(asker(mainnet(5)), "getnetworkinfo")
    core = (
        "version subversion protocolversion localservices localservicesnames localrelay timeoffset networkactive "
        "connections connections_in connections_out networks relayfee incrementalfee localaddresses warnings"
    )
    assert list(info)[: len(core.split())] == core.split()
    assert (info["version"], info["subversion"]) == (280_100, "/spvnode:0.0.test/")
    assert info["localaddresses"] == [{"address": "127.0.0.1", "port": 8343, "score": 1}]
    assert [row["name"] for row in info["networks"]] == ["ipv4", "ipv6", "onion", "i2p", "cjdns"]
    assert info["start"]["kind"] == "genesis"
