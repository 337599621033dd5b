"""The mesh on the real host: TCP, Noise, Yamux and gossipsub on loopback, three nodes in a line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from p2p.addressbook import AddressBook
from p2p.faults import FaultReason, RemoteFault
from p2p.host import open_host
from p2p.mesh.codec import MAX_HEADERS, Headers
from p2p.mesh.events import MeshEvent, PeerDown, PeerTip, PeerUp, TipGossip
from p2p.mesh.service import Mesh
from p2p.port import Host, HostConfig
from p2p.score import ScoreBoard
from tests.support.mesh import ListChain

NET = "regtest"


@asynccontextmanager
async def node(folder: Path, name: str, chain: ListChain, static: list[str]) -> AsyncIterator[tuple[Host, Mesh]]:
    async with open_host(HostConfig(folder / f"{name}.key")) as host, trio.open_nursery() as nursery:
        book = AddressBook(folder / f"{name}.json")
        mesh = Mesh(host, {NET: chain}, book, ScoreBoard(), check_tip=lambda *_: True, static=static)
        await nursery.start(mesh.run)
        yield host, mesh
        nursery.cancel_scope.cancel()


async def event(mesh: Mesh, wanted: Callable[[MeshEvent], bool]) -> MeshEvent:
    while True:
        found = await mesh.events.receive()
        if wanted(found):
            return found


def test_three_real_hosts_sync_announce_gossip_and_part(tmp_path: Path) -> None:
    chains = {name: ListChain(20_000) for name in "abc"}

    async def main() -> None:
        async with (
            node(tmp_path, "a", chains["a"], []) as (host_a, a),
            node(tmp_path, "b", chains["b"], [host_a.addrs[0]]) as (host_b, b),
            node(tmp_path, "c", chains["c"], [host_b.addrs[0]]) as (_, c),
        ):
            up = await event(b, lambda e: isinstance(e, PeerUp) and e.peer == host_a.peer_id)
            assert isinstance(up, PeerUp)
            assert (up.hello, up.inbound) == (chains["a"].hello(), False)
            await event(c, lambda e: isinstance(e, PeerUp))
            got: dict[int, Headers | RemoteFault] = {}

            async def fetch(start: int, count: int) -> None:
                got[start] = await b.get_headers_by_range(host_a.peer_id, NET, start, count)

            async with trio.open_nursery() as nursery:
                for start in range(0, 20_000, MAX_HEADERS):
                    nursery.start_soon(fetch, start, min(MAX_HEADERS, 20_000 - start))
            for start, reply in got.items():
                assert isinstance(reply, Headers)
                assert reply.headers == chains["a"].headers_range(start, MAX_HEADERS)
            assert await b.get_proof(host_a.peer_id, NET, 1, 2) == b"1/2"

            chains["a"].grow(1)
            told: list[MeshEvent] = []

            async def hear(mesh: Mesh, kind: type[MeshEvent]) -> None:
                told.append(await event(mesh, lambda e: isinstance(e, kind)))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(hear, b, PeerTip)
                nursery.start_soon(hear, c, TipGossip)
                while not told or len(told) < 2:  # gossipsub needs a heartbeat to know who listens
                    await a.announce(NET)
                    await trio.sleep(0.3)
            gossip = next(e for e in told if isinstance(e, TipGossip))
            assert (gossip.peer, gossip.height, gossip.header) == (host_b.peer_id, 20_000, chains["a"].header(20_000))

            assert {info.id for info in b.peers()} > {host_a.peer_id}
            await b.report(RemoteFault(FaultReason.INVALID_HEADER, host_a.peer_id, "high-hash", NET))
            await event(b, lambda e: isinstance(e, PeerDown) and e.peer == host_a.peer_id)
            assert {info.id for info in b.peers()} == {info.id for info in b.peers()} - {host_a.peer_id}

    async def limited() -> None:
        with trio.fail_after(60):
            await main()

    trio.run(limited)
    assert len(AddressBook(tmp_path / "b.json")) >= 1


def test_the_mesh_imports_no_network_library() -> None:
    code = (
        "import sys, p2p.mesh.service, p2p.memory, p2p.mdns;"
        "print([m for m in ('libp2p', 'multiaddr', 'zeroconf', 'cryptography', 'spvnode') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
