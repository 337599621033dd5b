"""The beacon wire as a whole, between nodes on a simulated network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from p2p.addresses import AddressError
from p2p.beacon import attending, gossip, peer, serving
from p2p.beacon import messages as m
from p2p.beacon.codec import Refusal, encode_chunk, encode_refusal, encode_request, payload, response_chunk
from p2p.beacon.events import EventQueue, Gossiped, PeerDown, PeerStatus, PeerUp
from p2p.beacon.gossip import NAMES, topic_of
from p2p.beacon.protocols import EXCHANGES, GOODBYE, LIGHT_CLIENT, METADATA, OPTIMISTIC, PING, STATUS, UPDATES
from p2p.beacon.provider import Chunk, Gossip
from p2p.beacon.reading import read
from p2p.beacon.service import CUSTODY_GROUP_COUNT, Updates, static_address
from p2p.beacon.snappy import encode_block
from p2p.faults import FaultReason, RemoteFault
from p2p.memory import MemoryNetwork, address_of, peer_id_of
from p2p.port import Stream, StreamClosed
from tests.support.beacon import DIGEST, NEXT_DIGEST, ListProvider, node
from tests.support.mesh import simulate

A, B = peer_id_of("a"), peer_id_of("b")


def up(name: str) -> object:
    return lambda event: isinstance(event, PeerUp) and event.peer == peer_id_of(name)


def clean(faults: dict[FaultReason, int]) -> bool:
    return not any(faults.values())


def test_two_nodes_meet_ask_and_part() -> None:
    async def main() -> None:
        net, theirs = MemoryNetwork(), ListProvider(20)
        async with node(net, "b", ListProvider(3, seed=2)) as b:
            async with node(net, "a", theirs, static=[address_of("b")]) as a:
                seen = await b.wait_for(up("a"))
                assert isinstance(seen, PeerUp)
                assert seen.status == theirs.status()
                assert len(seen.protocols) == len(LIGHT_CLIENT)
                await a.wait_for(up("b"))
                assert trio.current_time() < 1
                assert await b.net.get_updates(A, 100, 32) == Updates(tuple(theirs.chunks), limited=False)
                assert await b.net.get_updates(A, 105, 2) == Updates(tuple(theirs.chunks[5:7]), limited=False)
                assert await b.net.get_updates(A, 500, 32) == Updates((), limited=False)
                assert await b.net.get_bootstrap(A, bytes(32)) == theirs.bootstraps[bytes(32)]
                assert await b.net.get_finality_update(A) == theirs.finality
                assert await b.net.get_optimistic_update(A) == theirs.optimistic
                refused = await b.net.get_bootstrap(A, b"x" * 32)
                assert isinstance(refused, RemoteFault)
                assert refused.reason is FaultReason.NOT_FOUND
                await trio.sleep(3_600)
                assert clean(a.scores.faults)
                assert clean(b.scores.faults)
                info = b.net.peers()[0]
                assert (info.id, info.objects_received, info.inbound) == (A, 25, True)
                assert info.metadata == m.MetaData(custody_group_count=CUSTODY_GROUP_COUNT)
                b.net.useful(A)
                assert b.net.peers()[0].last_useful == 1.7e9 + trio.current_time()
            await b.wait_for(lambda event: event == PeerDown(A))
            late = await b.net.get_updates(A, 100, 1)
            assert isinstance(late, RemoteFault)
            assert (late.reason, late.scored) == (FaultReason.DISCONNECTED, True)
            with pytest.raises(ValueError, match="count"):
                await b.net.get_updates(A, 100, 129)

    simulate(main)


async def ask(stream: Stream, exchange: object, version: int, ssz: bytes, digest: bytes = DIGEST) -> object:
    """One request as another client would send it; the first chunk of the response."""
    await stream.write(encode_request(ssz))
    await stream.close()
    size = exchange.responses.get(version, 30_000)  # type: ignore[attr-defined]
    low = size if exchange.kind is None else 1  # type: ignore[attr-defined]
    return await read(response_chunk(lambda _: (low, size), exchange.kind is not None), stream)  # type: ignore[attr-defined]


def test_every_version_of_every_protocol_is_served() -> None:
    """And light-client data before, and without, any status, as other clients do."""

    async def main() -> None:
        net, ours = MemoryNetwork(), ListProvider(4)
        requests = {
            STATUS.name: lambda version: m.encode_status(ours.status(), version),
            GOODBYE.name: lambda version: m.encode_uint64(1),
            PING.name: lambda version: m.encode_uint64(7),
            "light_client_bootstrap": lambda version: bytes(32),
            UPDATES.name: lambda version: m.encode_range(100, 1),
        }
        async with net.host("x") as other, node(net, "a", ours) as a:
            await other.connect(address_of("a"))
            answers = {}
            for exchange in sorted(EXCHANGES, key=lambda one: one is GOODBYE):
                for one in exchange.ids:
                    version = int(one.split("/")[-2])
                    stream = await other.open_stream(A, one)
                    ssz = requests.get(exchange.name, lambda version: b"")(version)
                    answers[exchange.name, version] = await ask(stream, exchange, version, ssz)
            assert answers["status", 1] == Chunk(b"", m.encode_status(ours.status(), 1))
            assert answers["status", 2] == Chunk(b"", m.encode_status(ours.status(), 2))
            metadata = m.MetaData(custody_group_count=CUSTODY_GROUP_COUNT)
            for version in (1, 2, 3):
                assert answers["metadata", version] == Chunk(b"", m.encode_metadata(metadata, version))
            assert answers["ping", 1] == Chunk(b"", m.encode_uint64(0))
            assert answers["goodbye", 1] == Chunk(b"", m.encode_uint64(1))
            assert answers["light_client_bootstrap", 1] == ours.bootstraps[bytes(32)]
            assert answers["light_client_updates_by_range", 1] == ours.chunks[0]
            assert answers["light_client_finality_update", 1] == ours.finality
            assert answers["light_client_optimistic_update", 1] == ours.optimistic
            await trio.sleep(3)
            assert other.connections() == []  # it said goodbye
            assert clean(a.scores.faults)

    simulate(main)


def test_the_dialler_sends_its_status_first() -> None:
    async def main() -> None:
        net, order = MemoryNetwork(), []

        async with net.host("x") as other:

            async def note(stream: Stream) -> None:
                order.append((stream.protocol, trio.current_time()))
                await trio.sleep_forever()

            for exchange in EXCHANGES:
                for one in exchange.ids:
                    other.handle(one, note)
            async with node(net, "a", ListProvider(), static=[address_of("x")]):
                await trio.sleep(60)
        assert order[0][0] == STATUS.ids[0]
        assert order[0][1] < 1

    simulate(main)


def test_one_who_dials_us_and_says_nothing_is_asked_in_time() -> None:
    """Clients leave a peer that has told no status after 10 s."""

    async def main() -> None:
        net, asked = MemoryNetwork(), []
        async with net.host("x") as other, node(net, "a", ListProvider()):

            async def note(stream: Stream) -> None:
                asked.append(trio.current_time())
                await trio.sleep_forever()

            other.handle(STATUS.ids[1], note)
            await other.connect(address_of("a"))
            await trio.sleep(9)
        assert len(asked) == 1
        assert attending.FIRST_STATUS_S <= asked[0] < 9

    simulate(main)


def test_a_node_that_knows_the_first_versions_only_is_spoken_to() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        old = ListProvider()
        async with net.host("x") as other, node(net, "a", ListProvider(), static=[address_of("x")]) as a:

            async def status(stream: Stream) -> None:
                assert stream.protocol == STATUS.ids[1]
                await read_request(stream, 84)
                await stream.write(chunk_of(m.encode_status(old.status(), 1)))

            async def metadata(stream: Stream) -> None:
                await stream.write(chunk_of(m.encode_metadata(m.MetaData(3), 1)))

            async def ping(stream: Stream) -> None:
                await read_request(stream, 8)
                await stream.write(chunk_of(m.encode_uint64(3)))

            for protocol, handler in (
                (STATUS.ids[1], status),
                (METADATA.ids[2], metadata),
                (PING.ids[0], ping),
                (UPDATES.ids[0], ping),
            ):
                other.handle(protocol, handler)
            await a.wait_for(up("x"))
            await trio.sleep(60)
            info = a.net.peers()[0]
            assert info.metadata == m.MetaData(3)
            assert info.status is not None
            assert info.status.earliest_available_slot is None
            assert clean(a.scores.faults)

    simulate(main)


async def read_request(stream: Stream, size: int) -> bytes:
    ssz = await read(payload((size, size)), stream)
    assert isinstance(ssz, bytes)
    return ssz


def chunk_of(ssz: bytes, digest: bytes = b"") -> bytes:
    return encode_chunk(Chunk(digest, ssz))


def test_a_peer_of_another_network_is_told_goodbye_and_left() -> None:
    async def main() -> None:
        net, other = MemoryNetwork(), ListProvider()
        other.digest = NEXT_DIGEST
        other.accepts = lambda status: None  # type: ignore[method-assign]
        async with node(net, "x", other), node(net, "a", ListProvider(), static=[address_of("x")]) as a:
            await trio.sleep(0.4)  # then it is dialed again
            assert a.net.peers() == []
            assert a.scores.faults[FaultReason.WRONG_NETWORK] == 1
            assert a.count(PeerUp) == 0

    simulate(main)


def test_goodbyes_tell_why() -> None:
    async def main() -> None:
        net, reasons = MemoryNetwork(), []
        async with net.host("x") as other:

            async def status(stream: Stream) -> None:
                await read_request(stream, 92)
                await stream.write(chunk_of(m.encode_status(replace(ListProvider().status(), fork_digest=b"zzzz"), 2)))

            async def goodbye(stream: Stream) -> None:
                reasons.append(m.decode_uint64(await read_request(stream, 8)))

            other.handle(STATUS.ids[0], status)
            other.handle(GOODBYE.ids[0], goodbye)
            async with node(net, "a", ListProvider(), static=[address_of("x")]):
                await trio.sleep(0.4)
            async with node(net, "a", ListProvider()):
                await other.connect(address_of("a"))
                await trio.sleep(1)
        assert reasons == [m.GoodbyeReason.IRRELEVANT_NETWORK, m.GoodbyeReason.CLIENT_SHUTDOWN]

    simulate(main)


def test_at_a_fork_one_clock_is_ahead_and_nobody_is_left() -> None:
    """Topics of both digests for a while, statuses anew, and a second look at one that does not fit."""

    async def main() -> None:
        net, pa, pb = MemoryNetwork(), ListProvider(), ListProvider(seed=2)
        async with node(net, "a", pa) as a, node(net, "b", pb, static=[address_of("a")]) as b:
            await a.wait_for(up("b"))
            await trio.sleep(30)
            pa.digests = pb.digests = [DIGEST, NEXT_DIGEST]
            await trio.sleep(gossip.LOOK_S + 1)
            assert set(a.host._topics) == {topic_of(digest, name) for digest in pa.digests for name in NAMES}
            pa.digest = NEXT_DIGEST
            await trio.sleep(gossip.LOOK_S + 1)
            pb.digest = NEXT_DIGEST
            await trio.sleep(attending.RECHECK_S * 3)
            assert [len(a.net.peers()), len(b.net.peers())] == [1, 1]
            assert clean(a.scores.faults)
            assert clean(b.scores.faults)
            assert b.net.peers()[0].status == pa.status()
            await b.wait_for(lambda event: event == PeerStatus(A, pa.status()))
            pa.digests = [NEXT_DIGEST]
            await trio.sleep(gossip.LOOK_S + 1)
            assert set(a.host._topics) == {topic_of(NEXT_DIGEST, name) for name in NAMES}
            pb.optimistic = Chunk(NEXT_DIGEST, b"after the fork")
            await b.net.announce()
            await a.wait_for(lambda event: event == Gossiped(B, "optimistic", NEXT_DIGEST, b"after the fork"))

    simulate(main)


def test_one_that_stays_behind_a_fork_is_left() -> None:
    async def main() -> None:
        net, pa, pb = MemoryNetwork(), ListProvider(), ListProvider(seed=2)
        pb.accepts = lambda status: None  # type: ignore[method-assign]
        async with node(net, "a", pa) as a, node(net, "b", pb, static=[address_of("a")]):
            await a.wait_for(up("b"))
            pa.digest = NEXT_DIGEST
            await trio.sleep(60)
            await a.wait_for(lambda event: event == PeerDown(B))
            assert a.scores.faults[FaultReason.WRONG_NETWORK] >= 1

    simulate(main)


def test_gossip_is_judged_relayed_and_told_once() -> None:
    async def main() -> None:
        net, providers = MemoryNetwork(), {name: ListProvider(seed=ord(name)) for name in "abc"}
        async with (
            node(net, "a", providers["a"]) as a,
            node(net, "b", providers["b"], static=[address_of("a")]) as b,
            node(net, "c", providers["c"], static=[address_of("b")]) as c,
        ):
            await c.wait_for(up("b"))
            await b.wait_for(up("a"))
            await a.net.announce()
            ours = providers["a"]
            for name, chunk in (("finality", ours.finality), ("optimistic", ours.optimistic)):
                assert chunk is not None
                await c.wait_for(lambda e, name=name, ssz=chunk.ssz: e == Gossiped(B, name, DIGEST, ssz))  # type: ignore[misc]
            await trio.sleep(5)
            await a.net.announce()  # the same again: nothing
            providers["c"].finality, providers["c"].optimistic = ours.finality, ours.optimistic
            await c.net.announce()  # what it has heard: nothing either
            await trio.sleep(5)
            assert len(providers["b"].judged) == 2
            assert a.count(Gossiped) == 0
            assert c.count(Gossiped) == 2
            providers["b"].verdict = Gossip.IGNORE
            ours.optimistic = Chunk(DIGEST, b"too early")
            await a.net.announce()
            await trio.sleep(5)
            assert c.count(Gossiped) == 2
            assert clean(b.scores.faults)

    simulate(main)


def test_bad_gossip_costs_its_forwarder() -> None:
    async def main() -> None:
        net, ours = MemoryNetwork(), ListProvider()
        topic = topic_of(DIGEST, "optimistic")
        for data, verdict, reason in (
            (b"junk", Gossip.ACCEPT, FaultReason.BAD_FRAME),
            (encode_block(bytes(5_000)), Gossip.ACCEPT, FaultReason.OVERSIZED),
            (encode_block(b"forged"), Gossip.REJECT, FaultReason.INVALID_HEADER),
        ):
            async with net.host("x") as other, node(net, "a", ours) as a:
                ours.verdict = verdict
                await other.connect(address_of("a"))
                await other.publish(topic, data)
                await trio.sleep(3)
                assert a.scores.faults[reason] == 1
                assert a.net.peers() == []
                assert a.count(Gossiped) == 0

    simulate(main)


def test_gossip_of_one_peer_is_looked_at_at_its_pace_only() -> None:
    async def main() -> None:
        net, ours = MemoryNetwork(), ListProvider()
        ours.verdict = Gossip.IGNORE
        async with net.host("x") as other, node(net, "a", ours) as a:
            await other.connect(address_of("a"))
            for number in range(200):
                await other.publish(topic_of(DIGEST, "optimistic"), encode_block(str(number).encode()))
            await trio.sleep(1)
            assert peer.GOSSIP_BURST <= len(ours.judged) <= peer.GOSSIP_BURST + 3
            assert clean(a.scores.faults)

    simulate(main)


def test_one_that_serves_no_light_client_data_is_left_politely() -> None:
    async def main() -> None:
        net, reasons = MemoryNetwork(), []
        async with net.host("x") as full_node, node(net, "a", ListProvider()) as a:

            async def status(stream: Stream) -> None:
                await read_request(stream, 92)
                await stream.write(chunk_of(m.encode_status(ListProvider().status(), 2)))

            async def ping(stream: Stream) -> None:
                await stream.write(chunk_of(m.encode_uint64(0)))

            async def goodbye(stream: Stream) -> None:
                reasons.append(m.decode_uint64(await read_request(stream, 8)))

            for protocol, handler in ((STATUS.ids[0], status), (PING.ids[0], ping), (GOODBYE.ids[0], goodbye)):
                full_node.handle(protocol, handler)
            await full_node.connect(address_of("a"))
            await trio.sleep(30)
            assert len(a.net.peers()) == 1
            await trio.sleep(2 * attending.UNUSED_S)
            assert reasons == [m.GoodbyeReason.TOO_MANY_PEERS]
            assert full_node.connections() == []
            assert a.count(PeerUp) == 0
            assert not a.scores.discouraged(1.7e9 + trio.current_time())

    simulate(main)


def test_one_that_asks_us_may_stay_and_one_that_begins_to_serve_comes_up() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with net.host("x") as other, node(net, "a", ListProvider()) as a:

            async def status(stream: Stream) -> None:
                await read_request(stream, 92)
                await stream.write(chunk_of(m.encode_status(ListProvider().status(), 2)))

            async def ping(stream: Stream) -> None:
                await stream.write(chunk_of(m.encode_uint64(0)))

            other.handle(STATUS.ids[0], status)
            other.handle(PING.ids[0], ping)
            await other.connect(address_of("a"))
            for _ in range(8):
                await trio.sleep(60)
                await ask(await other.open_stream(A, OPTIMISTIC.ids[0]), OPTIMISTIC, 1, b"")
            assert len(a.net.peers()) == 1
            assert a.count(PeerUp) == 0
            other.handle(OPTIMISTIC.ids[0], status)
            await a.wait_for(up("x"))

    simulate(main)


def test_requests_to_one_peer_are_two_at_a_time_and_at_the_pace_that_it_grants() -> None:
    async def main() -> None:
        net, under_way, most = MemoryNetwork(), 0, 0

        async with net.host("x") as other, node(net, "a", ListProvider(), static=[address_of("x")]) as a:

            async def slow(stream: Stream) -> None:
                nonlocal under_way, most
                under_way += 1
                most = max(most, under_way)
                await trio.sleep(1)
                under_way -= 1
                await stream.write(chunk_of(b"u", DIGEST))

            other.handle(UPDATES.ids[0], slow)
            await trio.sleep(1)
            answers: list[Updates | RemoteFault] = []

            async def one() -> None:
                answers.append(await a.net.get_updates(peer_id_of("x"), 100, 32))

            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(one)
            assert most == peer.MAX_CONCURRENT_REQUESTS
            # 120 updates at once, then 12 a second: what would take longer to afford comes back empty-handed.
            given = [answer for answer in answers if isinstance(answer, Updates) and answer.chunks]
            spared = [answer for answer in answers if answer == Updates((), limited=True)]
            assert (len(given), len(spared)) == (4, 4)
            # Who stops waiting has spent nothing.
            await trio.sleep(10)
            for _ in range(3):
                await a.net.get_updates(peer_id_of("x"), 100, 32)
            for _ in range(20):
                with trio.move_on_after(0.01):
                    await a.net.get_updates(peer_id_of("x"), 100, 48)
            assert await a.net.get_updates(peer_id_of("x"), 100, 32) == given[0]

    simulate(main)


def test_a_rate_limit_is_a_pause_and_no_fault() -> None:
    async def main() -> None:
        net, asked = MemoryNetwork(), 0
        async with net.host("x") as other, node(net, "a", ListProvider(), static=[address_of("x")]) as a:

            async def limiting(stream: Stream) -> None:
                nonlocal asked
                asked += 1
                if stream.protocol == UPDATES.ids[0]:
                    await stream.write(chunk_of(b"first", DIGEST) + chunk_of(b"second", DIGEST))
                await stream.write(encode_refusal(Refusal(2, "REQUEST_ERROR_RATE_LIMITED")))

            other.handle(UPDATES.ids[0], limiting)
            other.handle(OPTIMISTIC.ids[0], limiting)
            await trio.sleep(1)
            x = peer_id_of("x")
            assert await a.net.get_updates(x, 1, 5) == Updates(
                (Chunk(DIGEST, b"first"), Chunk(DIGEST, b"second")), True
            )
            assert await a.net.get_updates(x, 3, 5) == Updates((), limited=True)
            for _ in range(2):
                limited = await a.net.get_optimistic_update(x)
                assert isinstance(limited, RemoteFault)
                assert (limited.reason, limited.scored) == (FaultReason.REFUSED, True)
            assert asked == 2
            await trio.sleep(13)
            await a.net.get_optimistic_update(x)
            assert asked == 3

    simulate(main)


def test_what_came_before_the_end_of_what_a_peer_has_is_kept() -> None:
    """Lodestar ends a range that goes past its head with code 2."""

    async def main() -> None:
        net = MemoryNetwork()
        async with net.host("x") as other, node(net, "a", ListProvider(), static=[address_of("x")]) as a:
            good = 1

            async def handler(stream: Stream) -> None:
                text = "No partialUpdate available for period 1"
                await stream.write(chunk_of(b"good", DIGEST) * good + encode_refusal(Refusal(2, text)))

            other.handle(UPDATES.ids[0], handler)
            await trio.sleep(1)
            assert await a.net.get_updates(peer_id_of("x"), 0, 32) == Updates((Chunk(DIGEST, b"good"),), limited=True)
            good = 0
            nothing = await a.net.get_updates(peer_id_of("x"), 1, 32)
            assert isinstance(nothing, RemoteFault)
            assert nothing.reason is FaultReason.REFUSED
            assert "partialUpdate" in nothing.evidence

    simulate(main)


def test_a_slow_response_is_taken_as_far_as_it_came() -> None:
    async def main() -> None:
        net, ours = MemoryNetwork(bandwidth=40_000), ListProvider(32)  # 27 kB each: 0.7 s
        async with node(net, "a", ours), node(net, "b", ListProvider(seed=2), static=[address_of("a")]) as b:
            await b.wait_for(up("a"))
            began = trio.current_time()
            reply = await b.net.get_updates(A, 100, 32)
            assert isinstance(reply, Updates)
            assert reply.limited
            assert 5 <= len(reply.chunks) < 32
            assert reply.chunks == tuple(ours.chunks[: len(reply.chunks)])
            assert trio.current_time() - began < 8
            await trio.sleep(5)
            assert clean(b.scores.faults)

    simulate(main)


def test_serving_delays_a_greedy_peer_and_bounds_what_it_holds() -> None:
    async def main() -> None:
        net, ours = MemoryNetwork(), ListProvider(128)
        async with net.host("x") as other, node(net, "a", ours) as a:
            await other.connect(address_of("a"))
            done: list[float] = []

            async def one() -> None:
                stream = await other.open_stream(A, UPDATES.ids[0])
                try:
                    await ask(stream, UPDATES, 1, m.encode_range(100, 128))
                except StreamClosed:
                    return
                done.append(trio.current_time())
                await stream.reset()

            async with trio.open_nursery() as nursery:
                for _ in range(serving.MAX_STREAMS + 2):
                    nursery.start_soon(one)
            assert len(done) == serving.MAX_STREAMS  # the two above were refused
            assert max(done) > 15  # two are in the burst, two wait for theirs
            assert max(count for _, count in ours.asked) == serving.SERVE_BATCH
            await trio.sleep(1)
            assert a.net._door._open == {}
            assert a.net._door._slots == {}
            assert a.scores.faults[FaultReason.STALLED] == 0

    simulate(main)


def test_a_failing_provider_costs_one_request() -> None:
    async def main() -> None:
        net, broken = MemoryNetwork(), ListProvider()
        async with node(net, "a", broken) as a, node(net, "b", ListProvider(seed=2), static=[address_of("a")]) as b:
            await b.wait_for(up("a"))

            def fails(*_: object) -> None:
                raise RuntimeError("store is gone")

            broken.updates = broken.max_size = broken.topic_digests = broken.finality_update = fails  # type: ignore[assignment, method-assign]
            reply = await b.net.get_updates(A, 100, 5)
            assert isinstance(reply, RemoteFault)
            assert (reply.reason, reply.evidence) == (
                FaultReason.REFUSED,
                "light_client_updates_by_range: code 2: internal error",
            )
            await b.net.announce()
            await a.net.announce()
            await trio.sleep(20)
            assert await b.net.get_optimistic_update(A) == broken.optimistic
            assert len(b.net.peers()) == 1
            assert clean(a.scores.faults)

    simulate(main)


def test_static_peers_are_multiaddrs_or_enrs() -> None:
    assert str(static_address(address_of("a"))) == address_of("a")
    with pytest.raises(AddressError, match="enr:"):
        static_address("enr:junk")
    lighthouse = (
        "enr:-Le4QPUXJS2BTORXxyx2Ia-9ae4YqA_JWX3ssj4E_J-3z1A-HmFGrU8BpvpqhNabayXeOZ2Nq_sbeDgtzMJpLLnXFgAChGV0aDKQtTA_KgEAAAAAIgEA"
        "AAAAAIJpZIJ2NIJpcISsaa0Zg2lwNpAkAIkHAAAAAPA8kv_-awoTiXNlY3AyNTZrMaEDHAD2JKYevx89W0CcFJFiskdcEzkH_Wdv9iW42qLK79ODdWRwgiMo"
        "hHVkcDaCI4I"
    )
    with pytest.raises(AddressError, match="no TCP address"):  # a boot node of mainnet, which listens on UDP only
        static_address(lighthouse)


def test_found_addresses_are_dialed_and_near_ones_only_where_wanted() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with node(net, "a", ListProvider()) as a:
            async with node(net, "b", ListProvider(seed=2)) as b:
                b.net.found(address_of("a"))  # 10.0.0.0/8
                b.net.found("/ip4/1.2.3.4/udp/9000")
                await trio.sleep(10)
                assert b.net.peers() == []
            async with node(net, "b", ListProvider(seed=2), local=True) as b:
                b.net.found(address_of("b"))
                b.net.found(address_of("a"))
                await a.wait_for(up("b"))
                assert [info.id for info in b.net.peers()] == [A]

    simulate(main)


def test_events_of_a_peer_are_folded() -> None:
    queue, status = EventQueue(), ListProvider().status()
    queue.publish(PeerUp("p", status, ()))
    for slot in range(100):
        queue.publish(PeerStatus("p", replace(status, head_slot=slot)))
        for name in NAMES:
            queue.publish(Gossiped("p", name, DIGEST, str(slot).encode()))
    assert len(queue) == 4
    queue.publish(PeerDown("p"))
    kinds = [type(event) for event in iter(queue.receive_nowait, None)]
    assert kinds == [Gossiped, Gossiped]  # an arrival that nobody saw is no departure; the gossip is good
    queue.publish(PeerUp("p", status, ()))
    queue.receive_nowait()
    queue.publish(PeerDown("p"))
    queue.publish(PeerUp("p", status, ()))
    assert [type(event) for event in iter(queue.receive_nowait, None)] == [PeerDown, PeerUp]
