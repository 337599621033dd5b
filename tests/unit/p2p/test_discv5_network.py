"""Our nodes on loopback: they find each other, notice changes and deaths, and come back without a bootnode."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from p2p.discv5 import Discovery, Enr, Statistics, asking, service, session
from p2p.discv5.distance import log_distance
from p2p.discv5.endpoint import Endpoint
from p2p.discv5.messages import FindNode, Nodes, Pong
from p2p.discv5.packet import MIN_PACKET
from p2p.faults import FaultReason, RemoteFault
from tests.support.discv5_nodes import (
    FORK,
    OTHER_FORK,
    RawNode,
    book_path,
    discovery,
    host_of,
    record,
    running,
    secret,
    start,
    until,
)

SIZE = 20


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens once in a minute happens at once."""
    monkeypatch.setattr(service, "TEND_S", 0.02)
    monkeypatch.setattr(service, "CHECK_S", 0.2)
    monkeypatch.setattr(service, "EAGER_S", 1.0)


def test_twenty_nodes_that_know_one_find_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "EAGER_S", 0.5)

    async def main() -> None:
        found: list[set[bytes]] = [set() for _ in range(SIZE)]
        async with trio.open_nursery() as nursery:
            nodes = [await start(nursery, discovery(0, [], lambda enr: found[0].add(enr.node_id)))]
            for n in range(1, SIZE):
                one = discovery(n, [nodes[0].own], lambda enr, to=found[n]: to.add(enr.node_id))
                nodes.append(await start(nursery, one))
            everyone = {node.own.node_id for node in nodes}
            await until(lambda: all(len(heard) == SIZE - 1 for heard in found))
            assert all(heard | {node.own.node_id} == everyone for heard, node in zip(found, nodes, strict=True))
            await until(lambda: all(len(node.nodes()) >= SIZE * 3 // 4 for node in nodes))
            last = nodes[-1].own
            assert (await nodes[1].lookup(last.node_id))[0] == last
            seen = nodes[1].statistics()
            assert (seen.found, seen.packets_junk, seen.send_errors) == (SIZE - 1, 0, 0)
            assert seen.nodes == len(nodes[1].nodes())
            assert seen.sessions >= seen.nodes
            assert seen.packets_read > 0
            nursery.cancel_scope.cancel()
        assert nodes[0].statistics() == Statistics()

    trio.run(main)


def test_a_bootnode_is_a_candidate_as_any_other() -> None:
    async def main() -> None:
        found: list[Enr] = []
        async with running(1) as boot, running(2, [boot.own], found.append):
            await until(lambda: found == [boot.own])

    trio.run(main)


def test_in_a_network_of_three_even_a_close_neighbour_is_found() -> None:
    """Two whose ids begin alike: of the third's random targets, one in a hundred asks for that distance first."""
    one = record(1).node_id
    twin = next(n for n in range(2, 10_000) if 245 < log_distance(one, record(n).node_id) < 250)

    async def main() -> None:
        found: list[Enr] = []
        async with running(1) as first, running(twin, [first.own]) as second:
            await until(lambda: first.nodes() == [second.own])
            async with running(0, [first.own], found.append):
                await until(lambda: {enr.node_id for enr in found} == {one, second.own.node_id})

    trio.run(main)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::"])
def test_ping_and_findnode(host: str) -> None:
    async def main() -> None:
        async with running(1) as far, running(2, bind=(host, 0)) as near:
            if host == "::1":
                assert isinstance(await near.ping(far.own), RemoteFault), "no way from IPv6 to IPv4"
                return
            pong = await near.ping(far.own)
            assert isinstance(pong, Pong)
            assert pong.enr_seq == far.own.seq
            assert await near.find_node(far.own, [0]) == [far.own]
            assert await near.find_node(far.own, [log_distance(far.own.node_id, near.own.node_id)]) == []
            assert near.nodes() == [far.own]
            advertises = bool(near.own.udp_endpoints())
            assert advertises == (host != "::"), "on all interfaces it does not know its address"
            assert far.nodes() == ([near.own] if advertises else [])

    trio.run(main)


def test_two_nodes_over_ipv6() -> None:
    async def main() -> None:
        async with running(1, bind=("::1", 0)) as far, running(2, bind=("::", 0), advertise="::1") as near:
            assert isinstance(await near.ping(far.own), Pong)
            assert near.own.udp_endpoints()[0].host == "::1"
            assert isinstance(await far.ping(near.own), Pong)
            assert far.nodes() == [near.own]

    trio.run(main)


def test_who_is_not_there_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "REQUEST_S", 0.05)

    async def main() -> None:
        async with running(1) as node:
            fault = await node.ping(record(2, host_of(2), 9))
            assert isinstance(fault, RemoteFault)
            assert (fault.reason, fault.peer) == (FaultReason.TIMEOUT, record(2).node_id.hex())
            unreachable = await node.find_node(record(3), [0])
            assert isinstance(unreachable, RemoteFault)
            assert unreachable.reason is FaultReason.NOT_FOUND

    trio.run(main)


def test_a_fork_is_told_and_noticed(hurried: None) -> None:
    """A node whose ENRForkID changes signs a new record; a neighbour asks for it and looks at it again."""
    fork = [OTHER_FORK]
    found: list[Enr] = []

    async def main() -> None:
        async with running(1, eth2=lambda: fork[0]) as far, running(2, [far.own], found.append) as near:
            await until(lambda: near.nodes() == [far.own])
            assert found == []
            first = far.own.seq
            fork[0] = FORK
            await until(lambda: [enr.eth2 for enr in near.nodes()] == [FORK])
            assert far.own.seq > first
            await until(lambda: bool(found))
            assert found == [far.own]

    trio.run(main)


def test_a_node_that_goes_is_forgotten(hurried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "REQUEST_S", 0.3)

    async def main() -> None:
        async with running(1) as near:
            async with running(2) as far:
                assert isinstance(await near.ping(far.own), Pong)
                assert near.nodes() == [far.own]
            await until(lambda: near.nodes() == [])

    trio.run(main)


def test_a_restart_needs_no_bootnode(tmp_path: Path, hurried: None) -> None:
    async def main() -> None:
        path = book_path(tmp_path)
        async with running(1) as far:
            async with running(2, [far.own], path=path) as near:
                await until(lambda: near.nodes() == [far.own])
                before = near.own.seq
            async with running(2, path=path) as near:
                await until(lambda: near.nodes() == [far.own])
                assert near.own.seq > before

    trio.run(main)


def test_what_is_known_is_saved_while_running(tmp_path: Path, hurried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SAVE_S", 0.05)

    async def main() -> None:
        path = book_path(tmp_path)
        async with running(1) as far, running(2, [far.own], path=path):
            await until(path.exists)

    trio.run(main)


def test_a_full_disk_is_logged_and_survived(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(1) as far, running(2, path=tmp_path / "nowhere" / "discv5.json") as near:
            assert isinstance(await near.ping(far.own), Pong)

    trio.run(main)


def test_an_address_in_use_is_an_error() -> None:
    async def main() -> None:
        async with running(1) as node:
            at = node.own.udp_endpoints()[0]
            other = Discovery(secret(2), at, [], eth2=lambda: FORK, accepts=lambda digest: True, found=lambda enr: None)
            with pytest.raises(OSError, match="in use"):
                await other.run()

    trio.run(main)


def test_nothing_is_asked_before_it_runs() -> None:
    node = Discovery(
        secret(2), ("127.0.0.1", 0), [], eth2=lambda: FORK, accepts=lambda digest: True, found=lambda enr: None
    )
    with pytest.raises(RuntimeError, match="does not run"):
        trio.run(node.ping, record(1, "127.0.0.1"))


def test_a_node_behind_all_interfaces_learns_its_address(hurried: None) -> None:
    async def main() -> None:
        async with AsyncExitStack() as up:
            others = [await up.enter_async_context(running(n)) for n in range(1, 7)]
            node = await up.enter_async_context(running(9, bind=("0.0.0.0", 0)))  # noqa: S104  loopback alone is asked
            assert node.own.udp_endpoints() == []
            pongs = [await node.ping(other.own) for other in others]
            ports = {pong.port for pong in pongs if isinstance(pong, Pong)}
            assert node.own.udp_endpoints() == [Endpoint("127.0.0.1", port) for port in ports]

    trio.run(main)


def test_many_requests_at_once_share_one_handshake() -> None:
    async def main() -> None:
        async with running(1) as far, running(2) as near:
            answers: list[object] = []

            async def ask() -> None:
                answers.append(await near.find_node(far.own, [0]))

            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(ask)
            assert answers == [[far.own]] * 4
            assert near.statistics().sessions == 1
            assert far.statistics().packets_read == 1 + 4, "the opening packet, the handshake, three more"

    trio.run(main)


def test_request_ids_are_random_and_have_no_leading_zeros() -> None:
    """ChainSafe's discv5 echoes 00 01 as 01."""

    async def main() -> None:
        zeros = [bytes(8)] * 3

        def random(size: int) -> bytes:
            return zeros.pop() if size == 8 and zeros else os.urandom(size)

        async with RawNode.up(50) as raw, running(1, random=random) as node, trio.open_nursery() as nursery:
            ids = []
            for _ in range(6):
                nursery.start_soon(node.ping, raw.enr)
                request = await raw.hear()
                ids.append(request.request_id)
                await raw.say(node.own, Pong(request.request_id, 1, bytes([127, 0, 0, 1]), 9))
            assert {(len(one), one[0] >> 7) for one in ids} == {(8, 1)}
            assert len(set(ids)) >= 4
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_bootnodes_are_left_alone_once_enough_others_are_known(hurried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "BUCKET_SIZE", 2)
    monkeypatch.setattr(service, "EAGER_S", 0.2)

    async def main() -> None:
        async with AsyncExitStack() as up:
            others = [await up.enter_async_context(running(n)) for n in range(1, 4)]
            boot = await up.enter_async_context(RawNode.up(50))
            node = await up.enter_async_context(running(9, [boot.enr]))
            await boot.raw()
            for other in others:
                await node.ping(other.own)
            with trio.move_on_after(1.0):
                while True:
                    await boot.raw()
            with trio.move_on_after(1.0) as quiet:
                await boot.raw()
            assert quiet.cancelled_caught

    trio.run(main)


async def nothing(node: Discovery) -> None:
    """In the place of what a node does by itself."""
    await trio.sleep_forever()


def test_what_we_do_at_once_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "REQUEST_S", 0.1)
    monkeypatch.setattr(Discovery, "_seek", nothing)

    async def main() -> None:
        dead = [record(n, host_of(n), 9) for n in range(100, 200)]
        async with running(1, dead) as node, trio.open_nursery() as nursery:
            for enr in dead:
                nursery.start_soon(node.ping, enr)
            await wait_all_tasks_blocked(0.01)
            assert len(node._require_running().asker._waiting) == asking.MAX_REQUESTS
            for _ in range(service.MAX_LOOKUPS + 2):
                nursery.start_soon(node.lookup)
            await wait_all_tasks_blocked(0.01)
            assert node._lookups.statistics().tasks_waiting == 2
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_lookup_among_the_dead_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LOOKUP_S", 0.2)
    monkeypatch.setattr(Discovery, "_seek", nothing)

    async def main() -> None:
        async with running(1, [record(n, host_of(n), 9) for n in range(100, 200)]) as node:
            assert await node.lookup() == []

    trio.run(main)


def test_a_lonely_node_goes_on_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "EAGER_S", 0.02)
    monkeypatch.setattr(service, "LONELY_MAX_S", 0.05)
    monkeypatch.setattr(asking, "REQUEST_S", 0.05)
    monkeypatch.setattr(session, "OPENING_LIFE_S", 0.05)

    async def main() -> None:
        async with RawNode.up(50) as boot, running(1, [boot.enr]):
            for _ in range(6):
                assert len(await boot.raw()) > MIN_PACKET

    trio.run(main)


def test_a_pong_that_tells_of_a_newer_record_is_followed_up(hurried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Discovery, "_seek", nothing)

    async def main() -> None:
        async with RawNode.up(50) as raw, running(1) as node, trio.open_nursery() as nursery:
            nursery.start_soon(node.ping, raw.enr)
            asked = await raw.hear()
            newer = record(50, raw.socket.local.host, raw.socket.local.port, seq=2, eth2=FORK)
            await raw.say(node.own, Pong(asked.request_id, newer.seq, bytes([127, 0, 0, 1]), 9))
            while not isinstance(asked, FindNode):
                asked = await raw.hear()
            assert asked.distances == (0,)
            await raw.say(node.own, Nodes(asked.request_id, 1, (newer.encoded,)))
            await until(lambda: node.nodes() == [newer])
            nursery.cancel_scope.cancel()

    trio.run(main)
