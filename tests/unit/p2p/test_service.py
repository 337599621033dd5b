"""The mesh as a whole, between nodes on a simulated network."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from p2p import dialer, roster
from p2p.addressbook import AddressBook, Source
from p2p.addresses import AddressError, parse_address
from p2p.faults import FaultReason, RemoteFault
from p2p.memory import MemoryNetwork, address_of, peer_id_of
from p2p.mesh import gossip, inbound, service
from p2p.mesh.codec import Headers
from p2p.mesh.events import MeshEvent, PeerDown, PeerTip, PeerUp, TipGossip
from p2p.mesh.following import headers_protocol
from p2p.port import StreamClosed
from p2p.score import Action, ScoreBoard
from p2p.troubles import REMIND_S
from tests.support.mesh import ListChain, Node, node, simulate, wall

NET = "testnet"


def up(name: str, network: str = NET) -> object:
    return lambda event: isinstance(event, PeerUp) and (event.peer, event.network) == (peer_id_of(name), network)


def count(node: Node, kind: type[MeshEvent], name: str) -> int:
    return sum(isinstance(event, kind) and event.peer == peer_id_of(name) for event in node.seen)


async def until(condition: object, seconds: float = 600.0) -> None:
    with trio.fail_after(seconds):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110  simulated time
            await trio.sleep(0.25)


def test_two_nodes_find_each_other_ask_both_ways_and_leave() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chain = ListChain(100)
        async with node(net, "a", {NET: chain}) as a:
            async with node(net, "b", {NET: chain}, static=[address_of("a")]) as b:
                seen_by_a = await a.wait_for(up("b"))
                seen_by_b = await b.wait_for(up("a"))
                assert isinstance(seen_by_a, PeerUp)
                assert isinstance(seen_by_b, PeerUp)
                assert (seen_by_a.inbound, seen_by_b.inbound) == (True, False)
                assert seen_by_b.hello == chain.hello()
                for one, other in ((a, "b"), (b, "a")):
                    reply = await one.mesh.get_headers_by_range(peer_id_of(other), NET, 10, 5)
                    assert reply == Headers(10, chain.headers_range(10, 5))
                    assert await one.mesh.get_proof(peer_id_of(other), NET, 3, 99) == b"3/99"
                    missing = await one.mesh.get_proof(peer_id_of(other), NET, 3, 100)
                    assert isinstance(missing, RemoteFault)
                    assert missing.reason is FaultReason.NOT_FOUND
                info = b.mesh.peers()[0]
                assert (info.id, info.static, info.inbound, info.score) == (peer_id_of("a"), True, False, 0.0)
                assert info.tips == {NET: chain.hello()}
                assert (info.headers_received, info.headers_served) == (5, 5)
                assert info.bytes_received > 400
                assert info.bytes_sent > 400
                assert info.last_useful is None
                b.mesh.useful(info.id)
                assert b.mesh.peers()[0].last_useful == wall()
            await until(lambda: count(a, PeerDown, "b") == 1)
            assert a.mesh.peers() == []
            late = await a.mesh.get_headers_by_range(peer_id_of("b"), NET, 0, 1)
            assert isinstance(late, RemoteFault)
            assert late.scored

    simulate(main)


def test_a_tip_is_announced_to_neighbours_and_gossiped_beyond() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chains = {name: ListChain(10) for name in "abc"}
        async with (
            node(net, "a", {NET: chains["a"]}) as a,
            node(net, "b", {NET: chains["b"]}, static=[address_of("a")]) as b,
            node(net, "c", {NET: chains["c"]}, static=[address_of("b")]) as c,
        ):
            await a.wait_for(up("b"))
            await b.wait_for(up("a"))
            await c.wait_for(up("b"))
            chains["a"].grow(1)
            await a.mesh.announce(NET)
            tip = await b.wait_for(lambda event: isinstance(event, PeerTip))
            assert isinstance(tip, PeerTip)
            assert (tip.peer, tip.hello) == (peer_id_of("a"), chains["a"].hello())
            told = await c.wait_for(lambda event: isinstance(event, TipGossip))
            assert told == TipGossip(peer_id_of("b"), NET, 10, chains["a"].header(10), 11)
            assert count(c, PeerTip, "b") == 0  # b has not taken it

    simulate(main)


def test_gossip_without_proof_of_work_is_not_relayed_and_costs_its_forwarder() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        good = ListChain(10)

        def check(network: str, height: int, header: bytes) -> bool:
            return (network, height, header) == (NET, 9, good.header(9))

        async with (
            net.host("liar") as liar,
            node(net, "b", {NET: good}, static=[address_of("liar")], check_tip=check) as b,
            node(net, "c", {NET: good}, static=[address_of("b")], check_tip=check) as c,
        ):
            await c.wait_for(up("b"))
            await until(lambda: b.mesh.peers() and len(b.mesh.peers()) == 2)
            topic = f"/spvnode/{NET}/tip/1"
            message = (9).to_bytes(4, "big") + good.header(9) + bytes(32)
            await liar.publish(topic, message)
            await c.wait_for(lambda event: isinstance(event, TipGossip))
            await liar.publish(topic, (8).to_bytes(4, "big") + message[4:])
            await until(lambda: len(b.mesh.peers()) == 1)
            assert b.scores.faults[FaultReason.INVALID_HEADER] == 1
            assert count(c, TipGossip, "b") == 1

    simulate(main)


def test_a_provider_that_fails_costs_one_message_and_not_the_mesh() -> None:
    class Failing(ListChain):
        broken = False

        def headers_range(self, start: int, count: int) -> bytes:
            if self.broken:
                raise OSError("store gone")
            return super().headers_range(start, count)

    async def main() -> None:
        net = MemoryNetwork()
        chain = Failing(10)
        async with (
            node(net, "a", {NET: chain}) as a,
            node(net, "b", {NET: ListChain(10)}, static=[address_of("a")]) as b,
        ):
            await b.wait_for(up("a"))
            await a.wait_for(up("b"))
            chain.broken = True
            chain.grow(1)
            await a.mesh.announce(NET)
            await trio.sleep(5)
            chain.broken = False
            chain.grow(1)
            await a.mesh.announce(NET)
            told = await b.wait_for(lambda event: isinstance(event, TipGossip))
            assert isinstance(told, TipGossip)
            assert told.height == 11

    simulate(main)


def test_a_flood_of_gossip_is_cut_to_its_rate() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        checked = 0

        def check(network: str, height: int, header: bytes) -> bool:
            nonlocal checked
            checked += 1
            return True

        async with (
            net.host("flood") as flood,
            node(net, "b", {NET: ListChain()}, static=[address_of("flood")], check_tip=check) as b,
        ):
            await until(lambda: b.mesh.peers())
            for height in range(1_000):
                await flood.publish(f"/spvnode/{NET}/tip/1", height.to_bytes(4, "big") + bytes(112))
            await trio.sleep(10)
            assert checked <= 20 + 2 * 10 + 2
            assert len(b.mesh.events) == 0

    simulate(main)


def test_a_cut_peer_is_dialed_again_and_again_until_it_is_back() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chain = ListChain()
        async with (
            node(net, "a", {NET: chain}) as a,
            node(net, "b", {NET: chain}, static=[address_of("a")]) as b,
        ):
            await b.wait_for(up("a"))
            net.cut("a", "b")
            await until(lambda: count(b, PeerDown, "a") == 1)
            await trio.sleep(3_600)
            assert count(b, PeerUp, "a") == 1
            net.mend("a", "b")
            await until(lambda: count(b, PeerUp, "a") == 2, 121)
            assert count(a, PeerUp, "b") == 2

    simulate(main)


def test_redials_back_off_to_a_cap_with_jitter() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        times: list[float] = []
        async with net.host("b") as host, trio.open_nursery() as nursery:
            connect = host.connect

            async def counted(addr: str) -> str:
                times.append(trio.current_time())
                return await connect(addr)

            host.connect = counted  # type: ignore[method-assign]
            mesh = service.Mesh(
                host,
                {NET: ListChain()},
                AddressBook(),
                ScoreBoard(),
                check_tip=lambda *_: True,
                static=[address_of("nobody")],
                wall=wall,
                rng=random.Random(7),
            )
            await nursery.start(mesh.run)
            await trio.sleep(3_600)
            nursery.cancel_scope.cancel()
        gaps = [later - earlier for earlier, later in pairwise(times)]
        for n, gap in enumerate(gaps):
            nominal = min(120.0, 2.0**n)
            assert nominal / 2 <= gap <= nominal + 0.1
        assert len(set(gaps)) == len(gaps)

    simulate(main)


def test_another_genesis_ends_that_network_and_no_other() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        shared = ListChain(5)
        async with (
            node(net, "a", {NET: shared, "other": ListChain(seed=3)}) as a,
            node(net, "b", {NET: shared, "other": ListChain(seed=4)}, static=[address_of("a")]) as b,
        ):
            await b.wait_for(up("a"))
            await trio.sleep(3_600)
            assert list(b.mesh.peers()[0].tips) == [NET]
            assert count(b, PeerDown, "a") == 0
            # once by our own stream and once by the other's, not again and again
            assert b.scores.faults[FaultReason.WRONG_NETWORK] == 2
            assert isinstance(await b.mesh.get_headers_by_range(peer_id_of("a"), NET, 0, 5), Headers)
            assert len(a.mesh.peers()) == 1

    simulate(main)


def test_headers_of_another_network_end_the_session_of_that_network() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chains = {NET: ListChain(5), "other": ListChain(5, seed=3)}
        async with node(net, "a", chains), node(net, "b", chains, static=[address_of("a")]) as b:
            await b.wait_for(up("a"))
            await b.wait_for(up("a", "other"))
            fault = RemoteFault(FaultReason.WRONG_NETWORK, peer_id_of("a"), "mainnet headers", "other")
            await b.mesh.report(fault)
            await trio.sleep(600)
            assert list(b.mesh.peers()[0].tips) == [NET]

    simulate(main)


def test_a_network_that_starts_later_is_found_at_once() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chain = ListChain(5)
        async with net.host("a") as late, node(net, "b", {NET: chain}, static=[address_of("a")]) as b:
            await trio.sleep(100)  # b has asked in vain and waits, in the end up to a minute
            assert count(b, PeerUp, "a") == 0
            mesh = service.Mesh(late, {NET: chain}, AddressBook(), ScoreBoard(), check_tip=lambda *_: True, wall=wall)
            async with trio.open_nursery() as nursery:
                await nursery.start(mesh.run)
                with trio.fail_after(1):
                    await b.wait_for(up("a"))
                nursery.cancel_scope.cancel()

    simulate(main)


def test_an_offender_is_left_kept_out_and_remembered_across_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chain = ListChain(5)
        file = tmp_path / "discouraged.json"
        async with (
            node(net, "a", {NET: chain}, scores=ScoreBoard(file)) as a,
            node(net, "b", {NET: chain}, static=[address_of("a")]) as b,
        ):
            await a.wait_for(up("b"))
            fault = RemoteFault(FaultReason.INVALID_HEADER, peer_id_of("b"), "high-hash at 7", NET)
            judgement = await a.mesh.report(fault)
            assert judgement is not None
            assert judgement.action is Action.DISCOURAGE
            await until(lambda: a.mesh.peers() == [])
            await until(lambda: count(b, PeerDown, "a") == 1)
        async with (
            node(net, "a", {NET: chain}, scores=ScoreBoard(file)) as a,
            node(net, "b", {NET: chain}, static=[address_of("a")]) as b,
        ):
            (entry,) = a.scores.discouraged(wall())
            assert (entry.reason, entry.evidence) == (FaultReason.INVALID_HEADER, "high-hash at 7")
            await trio.sleep(entry.until - wall() - 1)
            assert count(a, PeerUp, "b") == 0
            await trio.sleep(125)  # it is over, and b has kept trying
            assert count(a, PeerUp, "b") == 1

    simulate(main)


def test_a_fault_that_is_scored_already_costs_nothing_more() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chain = ListChain(5)
        async with node(net, "a", {NET: chain}), node(net, "b", {NET: chain}, static=[address_of("a")]) as b:
            await b.wait_for(up("a"))
            fault = RemoteFault(FaultReason.BAD_FRAME, peer_id_of("a"), "seen before", NET, scored=True)
            assert await b.mesh.report(fault) is None
            assert b.mesh.peers()[0].score == 0

    simulate(main)


@pytest.mark.parametrize("keep_last", [True, False])
def test_the_last_useful_peer_is_scored_but_kept(keep_last: bool) -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chain = ListChain(5)
        async with (
            node(net, "a", {NET: chain}),
            node(net, "c", {NET: chain}),
            node(net, "b", {NET: chain}, static=[address_of("a"), address_of("c")], keep_last=keep_last) as b,
        ):
            await b.wait_for(up("a"))
            await b.wait_for(up("c"))
            b.mesh.useful(peer_id_of("a"))
            first = await b.mesh.report(RemoteFault(FaultReason.BAD_FRAME, peer_id_of("a"), "x", NET))
            assert first is not None
            assert first.action is (Action.SPARE if keep_last else Action.DISCOURAGE)
            never_useful = await b.mesh.report(RemoteFault(FaultReason.BAD_FRAME, peer_id_of("c"), "x", NET))
            assert never_useful is not None
            assert never_useful.action is Action.DISCOURAGE
            await trio.sleep(1)
            assert [info.id for info in b.mesh.peers()] == ([peer_id_of("a")] if keep_last else [])

    simulate(main)


def test_a_configured_offender_is_tried_again_after_two_minutes() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chain = ListChain(5)
        async with node(net, "a", {NET: chain}), node(net, "b", {NET: chain}, static=[address_of("a")]) as b:
            await b.wait_for(up("a"))
            await b.mesh.report(RemoteFault(FaultReason.BAD_FRAME, peer_id_of("a"), "x", NET))
            await trio.sleep(115)
            assert count(b, PeerUp, "a") == 1
            await trio.sleep(30)
            assert count(b, PeerUp, "a") == 2

    simulate(main)


def test_known_peers_are_dialed_without_configuration(tmp_path: Path) -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chain = ListChain(5)
        file = tmp_path / "peers.json"
        async with node(net, "a", {NET: chain}) as a:
            async with node(net, "b", {NET: chain}, static=[address_of("a")], book=AddressBook(file)) as b:
                await b.wait_for(up("a"))
            await trio.sleep(120)
            async with node(net, "b", {NET: chain}, book=AddressBook(file)) as b:
                await b.wait_for(up("a"))
            assert count(a, PeerUp, "b") == 2

    simulate(main)


def test_inbound_peers_become_known_where_they_come_from_and_nowhere_else() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chain = ListChain(5)
        async with node(net, "a", {NET: chain}) as a, node(net, "b", {NET: chain}, static=[address_of("a")]) as b:
            third_party = address_of("victim").replace(peer_id_of("victim"), peer_id_of("b"))
            same_host = address_of("b").replace(peer_id_of("b"), peer_id_of("victim"))
            b.host.addrs = ("nonsense", third_party, address_of("victim"), same_host, address_of("b"))
            await trio.sleep(service.IDENTIFY_WAIT_S + 1)
            assert [(e.addr, e.source) for e in a.book.entries()] == [(address_of("b"), Source.IDENTIFY)]

    simulate(main)


def test_discovered_addresses_are_believed_only_if_local() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chain = ListChain(5)
        async with node(net, "a", {NET: chain}), node(net, "b", {NET: chain}) as b:
            b.mesh.found(address_of("a"))
            b.mesh.found(f"/ip4/8.8.8.8/tcp/53/p2p/{peer_id_of('a')}")
            b.mesh.found("/ip4/8.8.8.8")
            b.mesh.found(address_of("b"))
            await b.wait_for(up("a"))
            assert [entry.addr for entry in b.book.entries()] == [address_of("a")]

    simulate(main)


def test_a_connection_that_nobody_uses_is_closed_unless_configured() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with (
            net.host("x") as stranger,
            net.host("y"),
            node(net, "b", {NET: ListChain()}, static=[address_of("y")]) as b,
        ):
            await stranger.connect(address_of("b"))
            await trio.sleep(service.UNUSED_S)
            assert len(b.mesh.peers()) == 2
            await trio.sleep(service.UNUSED_S + 1)
            assert [info.id for info in b.mesh.peers()] == [peer_id_of("y")]

    simulate(main)


def test_a_peer_may_hold_two_streams_and_no_more() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chain = ListChain()
        async with net.host("x") as greedy, node(net, "b", {NET: chain}) as b:
            peer = await greedy.connect(address_of("b"))
            streams = [await greedy.open_stream(peer, headers_protocol(NET)) for _ in range(10)]
            await trio.sleep(1)
            refused = 0
            for stream in streams:
                with trio.move_on_after(1):
                    try:
                        await stream.read_exactly(1)
                    except StreamClosed:
                        refused += 1
            assert refused == 10 - inbound.MAX_STREAMS_PER_PEER
            assert len(b.mesh.peers()) == 1

    simulate(main)


def test_a_node_without_peers_sleeps() -> None:
    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.count += 1

    async def main() -> None:
        async with node(MemoryNetwork(), "a", {NET: ListChain(), "other": ListChain(seed=2)}):
            await trio.sleep(10)
            steps = Steps()
            trio.lowlevel.add_instrument(steps)
            await trio.sleep(86_400)
            trio.lowlevel.remove_instrument(steps)
            assert steps.count < 10

    simulate(main)


def test_a_crash_in_one_peers_task_costs_that_peer_only() -> None:
    class Broken(ListChain):
        broken = False

        def hello(self):  # type: ignore[no-untyped-def]
            if self.broken:
                raise RuntimeError("bug")
            return super().hello()

    async def main() -> None:
        net = MemoryNetwork()
        chain, fine = Broken(5), ListChain(5)
        async with (
            node(net, "a", {NET: fine}),
            node(net, "c", {"other": fine}),
            node(net, "b", {NET: chain, "other": fine}, static=[address_of("c")]) as b,
        ):
            await b.wait_for(up("c", "other"))
            chain.broken = True
            b.mesh.found(address_of("a"))
            await trio.sleep(90)
            assert isinstance(await b.mesh.get_headers_by_range(peer_id_of("c"), "other", 0, 1), Headers)

    simulate(main)


def test_a_full_disk_does_not_stop_the_mesh(tmp_path: Path) -> None:
    book = AddressBook(tmp_path / "missing" / "peers.json")

    async def main() -> None:
        net = MemoryNetwork()
        chain = ListChain(5)
        async with node(net, "a", {NET: chain}), node(net, "b", {NET: chain}, static=[address_of("a")], book=book) as b:
            await b.wait_for(up("a"))
            await trio.sleep(60)
            assert isinstance(await b.mesh.get_headers_by_range(peer_id_of("a"), NET, 0, 1), Headers)

    simulate(main)
    (tmp_path / "missing").mkdir()
    job = book.unsaved()
    assert job is not None
    job()
    assert address_of("a") in AddressBook(tmp_path / "missing" / "peers.json")


def test_a_static_peer_must_be_a_full_multiaddr() -> None:
    async def main() -> None:
        async with MemoryNetwork().host("a") as host:
            with pytest.raises(AddressError, match="is not /ip4"):
                service.Mesh(
                    host,
                    {NET: ListChain()},
                    AddressBook(),
                    ScoreBoard(),
                    check_tip=lambda *_: True,
                    static=["/ip4/1.2.3.4/tcp/1"],
                )

    simulate(main)


def test_our_own_gossip_is_paced_and_ends_with_the_latest_tip() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chain = ListChain(10)
        got: list[bytes] = []
        async with net.host("ear") as ear, node(net, "a", {NET: chain}, static=[address_of("ear")]) as a:
            ear.subscribe(f"/spvnode/{NET}/tip/1", lambda peer, data: True, lambda peer, data: got.append(data))
            await until(lambda: a.mesh.peers())
            for _ in range(100):
                chain.grow(1)
                await a.mesh.announce(NET)
                await trio.sleep(0.05)
            await trio.sleep(2)
            assert len(got) <= 5 / gossip.GOSSIP_INTERVAL_S + 2
            assert got[-1] == (109).to_bytes(4, "big") + chain.header(109) + (110).to_bytes(32, "big")

    simulate(main)


def test_no_more_is_dialed_than_the_target_asks_for() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chain = ListChain()
        names = [f"n{i}" for i in range(12)]
        async with node(net, "b", {NET: chain}, target_outbound=3) as b, trio.open_nursery() as nursery:

            async def run(name: str) -> None:
                async with node(net, name, {NET: chain}):
                    await trio.sleep_forever()

            for name in names:
                nursery.start_soon(run, name)
            await trio.sleep(1)
            for name in names:
                b.mesh.found(address_of(name))
            await trio.sleep(3_600)
            outbound = [info.id for info in b.mesh.peers() if not info.inbound]
            assert len(outbound) == 3
            await b.host.disconnect(outbound[0])
            await trio.sleep(60)
            assert len([info for info in b.mesh.peers() if not info.inbound]) == 3
            nursery.cancel_scope.cancel()

    simulate(main)


def test_dead_addresses_cost_a_dial_a_second_at_most() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        times: list[float] = []
        async with node(net, "b", {NET: ListChain()}) as b:
            connect = b.host.connect

            async def counted(addr: str) -> str:
                times.append(trio.current_time())
                return await connect(addr)

            b.host.connect = counted  # type: ignore[method-assign]
            for n in range(200):
                b.mesh.found(address_of(f"dead{n}"))
            await trio.sleep(86_400)
            assert len(times) == 200 * 3  # three failures, and it is forgotten
            assert min(later - earlier for earlier, later in pairwise(times)) >= dialer.FILL_PAUSE_S
            assert len(b.book) == 0

    simulate(main)


def test_reconnecting_does_not_refill_the_allowance() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with net.host("x") as greedy, node(net, "b", {NET: ListChain()}) as b:
            seen = set()
            for _ in range(3):
                await greedy.connect(address_of("b"))
                seen.add(b.mesh._roster.peers[peer_id_of("x")].allowance)
                await greedy.disconnect(b.host.peer_id)
            assert len(seen) == 1
            for n in range(roster.MAX_ALLOWANCES + 10):
                b.mesh._roster._allowance(f"peer{n}")
            assert len(b.mesh._roster._allowances) == roster.MAX_ALLOWANCES

    simulate(main)


def test_a_peer_is_not_asked_to_list_its_addresses_for_ever() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        chain = ListChain()
        async with node(net, "a", {NET: chain}) as a, node(net, "b", {NET: chain}, static=[address_of("a")]) as b:
            b.host.addrs = ("nonsense",) * service.MAX_LISTEN_ADDRS + (address_of("b"),)
            await trio.sleep(service.IDENTIFY_WAIT_S + 1)
            assert len(a.book) == 0

    simulate(main)


def test_twenty_nodes_in_a_ring_all_hear_of_a_tip() -> None:
    async def main() -> None:
        net = MemoryNetwork(latency=0.05)
        names = [f"n{i}" for i in range(20)]
        chains = {name: ListChain(10) for name in names}
        async with trio.open_nursery() as nursery:
            nodes: dict[str, Node] = {}
            done = trio.Event()

            async def run(i: int) -> None:
                static = [address_of(names[i - 1])]
                async with node(net, names[i], {NET: chains[names[i]]}, static=static) as running:
                    nodes[names[i]] = running
                    await done.wait()

            for i in range(20):
                nursery.start_soon(run, i)
            await trio.sleep(30)
            chains["n0"].grow(1)
            await nodes["n0"].mesh.announce(NET)
            for name in names[1:]:
                told = await nodes[name].wait_for(lambda event: isinstance(event, TipGossip))
                assert isinstance(told, TipGossip)
                assert told.header == chains["n0"].header(10)
            done.set()

    simulate(main)


def test_addresses_of_this_file_are_well_formed() -> None:
    assert str(parse_address(address_of("a"))) == address_of("a")


def test_a_named_peer_that_is_not_there_is_told_of_and_not_at_each_try() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        with capture_logs() as logs:
            async with node(net, "b", {NET: ListChain()}, static=[address_of("a")]) as b:
                await trio.sleep(REMIND_S - 600)
                (missing,) = b.mesh.control.missing()
                assert missing.addr == address_of("a")
                assert missing.problem
                warned = [line for line in logs if line["log_level"] == "warning"]
                assert [(line["addr"], line["problem"]) for line in warned] == [(missing.addr, missing.problem)]
                await trio.sleep(REMIND_S)
                assert sum(line["log_level"] == "warning" for line in logs) == 2
                async with node(net, "a", {NET: ListChain()}):
                    await b.wait_for(up("a"))
                    assert b.mesh.control.missing() == []
                await until(lambda: [one.addr for one in b.mesh.control.missing()] == [address_of("a")])
                assert b.mesh.control.remove(address_of("a"))
                assert b.mesh.control.missing() == []

    simulate(main)
