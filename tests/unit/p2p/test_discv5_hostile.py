"""What hostile nodes do to a running one over real sockets, and what forged senders do to its receiving side."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import structlog.testing
import trio

from p2p.discv5 import Discovery, Enr, asking, packet, service
from p2p.discv5.asking import Asker
from p2p.discv5.candidates import Candidates
from p2p.discv5.distance import log_distance
from p2p.discv5.endpoint import Endpoint
from p2p.discv5.fence import ALL_BURST, MACHINE_BURST, MAX_ANSWER_PACKETS, Fence
from p2p.discv5.inbound import Inbound
from p2p.discv5.messages import MAX_RECORDS, MAX_TOTAL, FindNode, Nodes, Ping, Pong, TalkReq, TalkResp, encode
from p2p.discv5.neighbours import Neighbours
from p2p.discv5.packet import MIN_PACKET
from p2p.discv5.session import CHALLENGE_BURST, MAX_CHALLENGES, Sessions
from p2p.discv5.socket import UdpSocket
from p2p.discv5.table import MAX_PER_SUBNET, Table
from p2p.faults import FaultReason, RemoteFault
from tests.support.discv5_nodes import (
    FORK,
    PATIENCE,
    RawNode,
    beacon,
    discovery,
    record,
    running,
    secret,
    start,
    until,
)

EVERY = tuple(range(1, 257))


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our node does nothing by itself."""

    async def nothing(self: Discovery) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(Discovery, "_seek", nothing)
    monkeypatch.setattr(Discovery, "_tend", nothing)


def with_prefix(own: bytes, level: int, first: int) -> Enr:
    """A record at a logarithmic distance from ``own``, its key found by trying from ``first`` on."""
    return next(one for n in range(first, first + 10_000) if log_distance(own, (one := record(n)).node_id) == level)


# A node that we ask.


@pytest.mark.usefixtures("still")
def test_an_endless_answer_is_cut_and_ends() -> None:
    """A hundred records that were asked for, in packets that announce more than there may be."""

    async def main() -> None:
        async with RawNode.up(50) as raw, running(1) as node, trio.open_nursery() as nursery:
            answer: list[object] = []

            async def ask() -> None:
                answer.append(await node.find_node(raw.enr, [256, 255]))

            nursery.start_soon(ask)
            request = await raw.hear()
            assert isinstance(request, FindNode)
            fits = [n for n in range(300, 500) if log_distance(raw.enr.node_id, record(n).node_id) in request.distances]
            for at in range(0, 98, 7):
                told = tuple(record(n).encoded for n in fits[at : at + 7])
                await raw.say(node.own, Nodes(request.request_id, 1 << 60, told))
            await until(lambda: bool(answer))
            assert isinstance(answer[0], list)
            assert len(answer[0]) == MAX_RECORDS
            assert node.statistics().packets_read <= 1 + MAX_ANSWER_PACKETS + MACHINE_BURST

    trio.run(main)


@pytest.mark.usefixtures("still")
def test_an_answer_of_nothing_ends_with_the_most_packets_it_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "REQUEST_S", 3 * PATIENCE)

    async def main() -> None:
        async with RawNode.up(50) as raw, running(1) as node, trio.open_nursery() as nursery:
            answer: list[object] = []

            async def ask() -> None:
                answer.append(await node.find_node(raw.enr, [256]))

            nursery.start_soon(ask)
            request = await raw.hear()
            for _ in range(MAX_TOTAL - 1):
                await raw.say(node.own, Nodes(request.request_id, 1 << 60, ()))
            await trio.sleep(0.05)
            assert answer == []
            await raw.say(node.own, Nodes(request.request_id, 1 << 60, ()))
            await until(lambda: answer == [[]])

    trio.run(main)


@pytest.mark.usefixtures("still")
def test_records_that_were_not_asked_for_are_left_out() -> None:
    async def main() -> None:
        found: list[Enr] = []
        async with RawNode.up(50) as raw, running(1, [], found.append) as node, trio.open_nursery() as nursery:
            asked = with_prefix(raw.enr.node_id, 255, 300)
            other = with_prefix(raw.enr.node_id, 256, 300)
            bad = bytearray(with_prefix(raw.enr.node_id, 255, 400).encoded)
            bad[20] ^= 1
            answer: list[object] = []

            async def ask() -> None:
                answer.append(await node.find_node(raw.enr, [255]))

            nursery.start_soon(ask)
            request = await raw.hear()
            told = (other.encoded, bytes(bad), b"\xc0", asked.encoded, asked.encoded)
            await raw.say(node.own, Nodes(request.request_id, 1, told))
            await until(lambda: bool(answer))
            assert answer == [[asked]]
            assert found == []

    trio.run(main)


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize("kind", ["another id", "another type", "nothing but noise", "no message"])
def test_a_false_answer_is_no_answer(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "REQUEST_S", 0.3)

    async def main() -> None:
        async with RawNode.up(50) as raw, running(1) as node, trio.open_nursery() as nursery:
            answer: list[object] = []

            async def ask() -> None:
                answer.append(await node.ping(raw.enr))

            nursery.start_soon(ask)
            request = await raw.hear()
            if kind == "another id":
                await raw.say(node.own, Pong(bytes(8), 1, bytes([127, 0, 0, 1]), 9))
            elif kind == "another type":
                await raw.say(node.own, Nodes(request.request_id, 1, ()))
            elif kind == "no message":
                await raw.say(node.own, TalkResp(request.request_id, b""))
            else:
                await raw.socket.send(random.Random(1).randbytes(200), node.own.udp_endpoints()[0])
            await until(lambda: bool(answer))
            [fault] = answer
            assert isinstance(fault, RemoteFault)
            assert (fault.reason, fault.peer) == (FaultReason.TIMEOUT, raw.enr.node_id.hex())

    trio.run(main)


def test_a_swarm_in_one_network_gets_few_places_and_hides_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """More live nodes of one /24 than there are places, each telling of the others, and first in the list."""
    monkeypatch.setattr(service, "EAGER_S", 0.5)

    async def main() -> None:
        found: list[Enr] = []
        async with trio.open_nursery() as nursery:
            swarm: list[Discovery] = []
            for n in range(MAX_PER_SUBNET + 4):
                known = [one.own for one in swarm]
                swarm.append(await start(nursery, discovery(100 + n, known, bind=(f"127.77.7.{n + 1}", 0))))
            honest: list[Discovery] = []
            for n in range(1, 5):
                honest.append(await start(nursery, discovery(n, [one.own for one in honest])))
            boot = [*(one.own for one in swarm), honest[0].own]
            victim = await start(nursery, discovery(90, boot, found.append))
            everyone = {one.own.node_id for one in honest}
            await until(lambda: everyone <= {enr.node_id for enr in victim.nodes()})
            await until(lambda: everyone <= {enr.node_id for enr in found})
            of_swarm = [enr for enr in victim.nodes() if (enr.ip or "").startswith("127.77.7.")]
            assert 0 < len(of_swarm) <= MAX_PER_SUBNET
            nursery.cancel_scope.cancel()

    trio.run(main)


@pytest.mark.usefixtures("still")
def test_what_is_told_does_not_make_us_knock_at_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes at ports below 1025 are not asked anything, nor are we ourselves."""
    sent: list[Endpoint] = []
    send = UdpSocket.send

    async def noted(self: UdpSocket, data: bytes, to: Endpoint) -> None:
        sent.append(to)
        await send(self, data, to)

    monkeypatch.setattr(UdpSocket, "send", noted)
    monkeypatch.setattr(asking, "REQUEST_S", 0.2)

    async def main() -> None:
        async with RawNode.up(50) as raw, running(1, [raw.enr]) as node, trio.open_nursery() as nursery:
            result: list[list[Enr]] = []

            async def look() -> None:
                result.append(await node.lookup(bytes(one ^ 0xFF for one in raw.enr.node_id)))

            nursery.start_soon(look)
            request = await raw.hear()
            assert isinstance(request, FindNode)
            records = [record(n, "127.0.0.1", (53, 1_024, 1_025)[n % 3]) for n in range(300, 330)]
            told = [one for one in records if log_distance(raw.enr.node_id, one.node_id) in request.distances]
            for at in range(0, 9, 3):
                await raw.say(node.own, Nodes(request.request_id, 4, tuple(one.encoded for one in told[at : at + 3])))
            await raw.say(node.own, Nodes(request.request_id, 4, (node.own.encoded,)))
            await until(lambda: bool(result))
            assert result == [[raw.enr]]
            known = {raw.socket.local, node.own.udp_endpoints()[0]}
            assert set(sent) - known == {Endpoint("127.0.0.1", 1_025)}

    trio.run(main)


@pytest.mark.usefixtures("still")
def test_nodes_outside_do_not_send_us_into_our_own_network() -> None:
    async def main() -> None:
        async with running(1) as node:
            inside = record(5, "127.0.0.1")
            assert node._contact(inside, "8.8.8.8") is None
            assert node._contact(inside, "127.0.0.2") is not None
            assert node._contact(record(5, "127.0.0.1", 53), None) is not None, "who configures it may"

    trio.run(main)


# A node that asks us.


@pytest.mark.usefixtures("still")
def test_requests_are_answered_with_what_the_protocol_needs() -> None:
    async def main() -> None:
        async with RawNode.up(50) as raw, running(1) as node:
            await raw.say(node.own, Ping(b"\x01", raw.enr.seq))
            at = raw.socket.local
            assert await raw.hear() == Pong(b"\x01", node.own.seq, bytes([127, 1, 50, 1]), at.port)
            await raw.say(node.own, TalkReq(b"\x02", b"anything", b"x" * 500))
            assert await raw.hear() == TalkResp(b"\x02", b"")
            await raw.say(node.own, FindNode(b"\x03", (0,)))
            assert await raw.hear() == Nodes(b"\x03", 1, (node.own.encoded,))
            await raw.say(node.own, FindNode(b"\x04", EVERY))
            assert await raw.hear() == Nodes(b"\x04", 1, ()), "who asks is not told of itself"

    trio.run(main)


@pytest.mark.usefixtures("still")
def test_messages_that_are_none_are_counted_and_the_session_stands() -> None:
    async def main() -> None:
        async with RawNode.up(50) as raw, running(1) as node:
            await raw.say(node.own, Ping(b"\x01", 1))
            await raw.hear()
            at = node.own.udp_endpoints()[0]
            for junk in (b"", b"\x00", b"\x07\xc0", b"\x01\xff", b"\x03" + b"\xc1" * 100):
                for out in raw.sessions.request(node.own, at, junk, trio.current_time()):
                    await raw.socket.send(out.data, out.to)
            await raw.say(node.own, Ping(b"\x02", 1))
            answer = await raw.hear()
            assert answer.request_id == b"\x02"
            assert node.statistics().packets_junk == 5

    trio.run(main)


@pytest.mark.usefixtures("still")
def test_a_replayed_request_is_answered_once() -> None:
    async def main() -> None:
        async with RawNode.up(50) as raw, running(1) as node:
            await raw.say(node.own, Ping(b"\x01", 1))
            await raw.hear()
            at = node.own.udp_endpoints()[0]
            request = encode(FindNode(b"\x02", (256, 0)))
            [out] = raw.sessions.request(node.own, at, request, trio.current_time())
            for _ in range(10):
                await raw.socket.send(out.data, at)
            await raw.say(node.own, Ping(b"\x03", 1))
            assert [(await raw.hear()).request_id for _ in range(2)] == [b"\x02", b"\x03"]

    trio.run(main)


@pytest.mark.usefixtures("still")
def test_junk_and_oversized_datagrams_are_met_with_silence() -> None:
    async def main() -> None:
        rng = random.Random(9)
        async with RawNode.up(50) as raw, running(1) as node:
            at = node.own.udp_endpoints()[0]
            for size in (0, 1, 62, 63, 71, 500, 1_280, 1_281, 9_000):
                await raw.socket.send(rng.randbytes(size), at)
            nonce = bytes(12)
            whole = packet.random_packet(node.own.node_id, raw.enr.node_id, bytes(16), nonce, bytes(2_000))
            await raw.socket.send(whole, at)
            await raw.socket.send(whole[:100], at)
            answer = await raw.raw()
            assert isinstance(packet.decode(answer, raw.enr.node_id), packet.WhoAreYou), (
                "the first answer is to the last"
            )
            assert node.statistics().packets_junk == 10

    trio.run(main)


@pytest.mark.usefixtures("still")
def test_one_machine_that_floods_does_not_shut_out_another() -> None:
    async def main() -> None:
        async with RawNode.up(50) as raw, RawNode.up(51) as honest, running(1) as node:
            await raw.say(node.own, Ping(b"\x01", 1))
            await raw.hear()
            for n in range(300):
                await raw.say(node.own, FindNode(bytes([n & 127, n >> 7]), (0,)))
            await honest.say(node.own, Ping(b"\x05", 1))
            assert (await honest.hear()).request_id == b"\x05"
            await until(lambda: node.statistics().packets_dropped > 200)

    trio.run(main)


# Forged senders.


class Victim:
    """The receiving side of a node, without what it does by itself."""

    def __init__(self, socket: UdpSocket) -> None:
        self.own = record(1, "8.8.8.8")
        self.table = Table(self.own.node_id)
        self.fence = Fence(0.0)
        self.found: list[Enr] = []
        candidates = Candidates(self.own.node_id, lambda digest: digest == FORK[:4], self.found.append)
        neighbours = Neighbours(self.table, candidates)
        rng = random.Random(1)
        self.sessions = Sessions(secret(1), lambda: self.own, neighbours.record_of, rng.randbytes, 0.0)
        asker = Asker(socket, self.sessions, self.fence, rng.randbytes)
        self.inbound = Inbound(self.sessions, self.fence, asker, neighbours, lambda: self.own)

    def meet(self, enr: Enr, key: int, at: Endpoint, now: float) -> int:
        """A whole handshake by a node that is really at ``at``; how many bytes we sent."""
        rng = random.Random(key)
        other = Sessions(secret(key), lambda: enr, lambda node_id: None, rng.randbytes, now)
        pending = [out.data for out in other.request(self.own, at, b"\x01\xc2\x01\x01", now)]
        sent = 0
        while pending:
            outs = self.inbound.take(pending.pop(), at, now)
            sent += sum(len(out.data) for out in outs)
            heard = [event for out in outs for event in other.receive(out.data, at, now)]
            pending += [event.data for event in heard if isinstance(event, type(outs[0]))]
        return sent


def on_victim(body: object) -> None:
    async def main() -> None:
        async with UdpSocket.bound("127.0.0.1", 0) as socket:
            assert callable(body)
            body(Victim(socket))

    trio.run(main)


def test_a_flood_of_forged_openings_sends_little_and_keeps_little() -> None:
    """Fifty thousand in ten seconds, from all over: at most 63 bytes for each of the few that are answered."""

    def body(victim: Victim) -> None:
        rng = random.Random(2)
        opening = packet.random_packet(victim.own.node_id, bytes(32), bytes(16), bytes(12), bytes(44))
        received = sent = answered = 0
        for n in range(50_000):
            data = (
                packet.random_packet(victim.own.node_id, rng.randbytes(32), bytes(16), bytes(12), bytes(44))
                if n < 3_000
                else opening
            )
            at = Endpoint(f"{1 + n % 200}.{n // 200 % 250}.{n % 7}.{n % 251}", 1_024 + n % 60_000)
            outs = victim.inbound.take(data, at, n / 5_000)
            received += len(data)
            sent += sum(len(out.data) for out in outs)
            answered += len(outs)
            assert all(len(out.data) == MIN_PACKET and out.to == at for out in outs)
        assert answered <= CHALLENGE_BURST + 50 * 10 + 1
        assert sent * 20 < received
        assert victim.inbound.read <= ALL_BURST + 200 * 10 + 1
        assert victim.sessions.challenges <= MAX_CHALLENGES
        assert victim.sessions.count == 0

    on_victim(body)


def test_nobody_is_flooded_by_way_of_us() -> None:
    """All in the name of one address: it gets no more than one machine's share."""

    def body(victim: Victim) -> None:
        rng = random.Random(3)
        sent = 0
        for n in range(5_000):
            data = packet.random_packet(victim.own.node_id, rng.randbytes(32), bytes(16), bytes(12), bytes(44))
            sent += len(victim.inbound.take(data, Endpoint("9.9.9.9", 1_025 + n), n / 1_000))
        assert sent <= MACHINE_BURST + 5 * 5 + 1

    on_victim(body)


def test_who_proves_himself_is_a_neighbour_and_a_candidate() -> None:
    def body(victim: Victim) -> None:
        enr = beacon(7, "9.9.9.9")
        assert victim.meet(enr, 7, Endpoint("9.9.9.9", 9_000), 0.0) > MIN_PACKET
        assert [one.enr for one in victim.table.nodes()] == [enr]
        assert victim.found == [enr]

    on_victim(body)


def test_many_keys_in_one_network_fill_neither_table_nor_candidates() -> None:
    def body(victim: Victim) -> None:
        for n in range(200):
            host = f"9.9.9.{n + 1}"
            victim.meet(beacon(1_000 + n, host), 1_000 + n, Endpoint(host, 9_000), float(n))
        assert victim.sessions.count == 200, "each has proven itself"
        assert 0 < len(victim.table) <= MAX_PER_SUBNET
        assert 0 < len(victim.found) <= 8

    on_victim(body)


def test_a_fault_of_ours_is_logged_and_costs_one_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(victim: Victim) -> None:
        enr = beacon(7, "9.9.9.9")

        def broken(told: Enr) -> None:
            raise LookupError("a bug in what was plugged in")

        victim.found = []
        monkeypatch.setattr(victim.inbound._neighbours._candidates, "_found", broken)
        with structlog.testing.capture_logs() as logs:
            victim.meet(enr, 7, Endpoint("9.9.9.9", 9_000), 0.0)
        assert [line["event"] for line in logs] == ["packet not handled"]
        assert victim.meet(replace(enr), 7, Endpoint("9.9.9.9", 9_000), 2.0) > MIN_PACKET

    on_victim(body)
