"""One headers session between the real asking and the real answering side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

from p2p.faults import FaultReason, RemoteFault
from p2p.memory import MemoryNetwork, address_of
from p2p.mesh import codec, serving, session
from p2p.mesh.codec import Headers, Hello, Proof
from p2p.mesh.serving import Allowance, HeadersServer, serve_proofs
from p2p.mesh.session import Session, open_session
from p2p.mesh.wire import Wire
from p2p.port import Stream
from tests.support.mesh import ListChain, header_hash, simulate

PROTOCOL = "/spvnode/testnet/headers/1"


@dataclass(slots=True)
class Pair:
    """An asker and an answerer; ``server`` is there once the stream is."""

    session: Session
    servers: list[HeadersServer]
    ended: list[RemoteFault | None]
    tips: list[Hello]
    network: MemoryNetwork
    nursery: trio.Nursery


@asynccontextmanager
async def pair(chain: ListChain, ours: ListChain | None = None, **link: float) -> AsyncIterator[Pair]:
    network = MemoryNetwork(**link)  # type: ignore[arg-type]
    servers: list[HeadersServer] = []
    served: list[RemoteFault | None] = []

    async def serve(stream: Stream) -> None:
        server = HeadersServer(Wire(stream, "testnet"), chain, Allowance(trio.current_time()))
        servers.append(server)
        served.append(await server.run())

    async with network.host("server") as server_host, network.host("client") as client, trio.open_nursery() as nursery:
        server_host.handle(PROTOCOL, serve)
        peer = await client.connect(address_of("server"))
        tips: list[Hello] = []
        opened = await open_session(
            await client.open_stream(peer, PROTOCOL), "testnet", (ours or chain).hello(), tips.append
        )
        assert isinstance(opened, Session)
        ended: list[RemoteFault | None] = []

        async def run() -> None:
            ended.append(await opened.run())

        nursery.start_soon(run)
        yield Pair(opened, servers, ended, tips, network, nursery)
        opened.stop()
        nursery.cancel_scope.cancel()


def test_a_session_begins_with_what_the_peer_has() -> None:
    async def main() -> None:
        chain = ListChain(10)
        async with pair(chain) as p:
            assert p.session.hello == chain.hello()

    simulate(main)


def test_ranges_and_locators_bring_exactly_what_was_asked() -> None:
    async def main() -> None:
        chain = ListChain(10_000)
        async with pair(chain) as p:
            assert await p.session.get_headers_by_range(5, 3) == Headers(5, chain.headers_range(5, 3))
            full = await p.session.get_headers_by_range(0, codec.MAX_HEADERS)
            assert full == Headers(0, chain.headers_range(0, codec.MAX_HEADERS))
            rest = await p.session.get_headers_by_range(9_990, 100)
            assert rest == Headers(9_990, chain.headers_range(9_990, 10))
            locator = (b"?" * 32, header_hash(chain.header(41)), header_hash(chain.header(0)))
            after = await p.session.get_headers_by_locator(locator, 2)
            assert after == Headers(42, chain.headers_range(42, 2))
            at_tip = await p.session.get_headers_by_locator((header_hash(chain.header(9_999)),), 2)
            assert at_tip == Headers(10_000, b"")
            assert p.session.headers_received == 3 + 8_064 + 10 + 2
            assert p.servers[0].headers_served == p.session.headers_received

    simulate(main)


def test_what_the_peer_never_claimed_is_not_found_and_the_session_goes_on() -> None:
    async def main() -> None:
        chain = ListChain(100, base=10)
        async with pair(chain) as p:
            for start in (5, 100):
                reply = await p.session.get_headers_by_range(start, 1)
                assert isinstance(reply, RemoteFault)
                assert (reply.reason, reply.scored) == (FaultReason.NOT_FOUND, False)
            reply = await p.session.get_headers_by_locator((b"?" * 32,), 1)
            assert isinstance(reply, RemoteFault)
            assert reply.reason is FaultReason.NOT_FOUND
            assert isinstance(await p.session.get_headers_by_range(10, 1), Headers)

    simulate(main)


def test_requests_are_pipelined_within_their_limit() -> None:
    async def main() -> None:
        chain = ListChain(3_000)
        async with pair(chain, latency=1.0) as p:
            got: dict[int, Headers | RemoteFault] = {}
            most = 0

            async def ask(start: int) -> None:
                nonlocal most
                got[start] = await p.session.get_headers_by_range(start, 100)
                most = max(most, p.session.in_flight)

            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                for start in range(0, 2_400, 100):
                    nursery.start_soon(ask, start)
                await trio.testing.wait_all_tasks_blocked()
                most = p.session.in_flight
            assert most == session.MAX_IN_FLIGHT == 8
            assert got == {s: Headers(s, chain.headers_range(s, 100)) for s in range(0, 2_400, 100)}
            # 24 requests, 8 at a time, 2 s a round trip
            assert trio.current_time() - began == 6.0

    simulate(main)


def test_a_cancelled_request_leaves_the_session_usable_and_its_late_answer_is_dropped() -> None:
    async def main() -> None:
        chain = ListChain(100)
        async with pair(chain, latency=1.0) as p:
            for _ in range(50):
                with trio.move_on_after(0.5):
                    await p.session.get_headers_by_range(0, 100)
            assert p.session.in_flight <= session.MAX_IN_FLIGHT
            assert await p.session.get_headers_by_range(7, 1) == Headers(7, chain.header(7))
            assert p.session.in_flight == 0
            assert p.ended == []

    simulate(main)


def test_requests_given_up_before_they_were_sent_are_not_sent() -> None:
    async def main() -> None:
        chain = ListChain(100)
        async with pair(chain) as p:
            with trio.CancelScope() as scope:
                scope.cancel()
                await p.session.get_headers_by_range(0, 100)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(p.session.get_headers_by_range, 0, 100)
                await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            await trio.sleep(1)
            assert p.session.in_flight == 0
            assert p.session.headers_received in (0, 100)
            assert isinstance(await p.session.get_headers_by_range(0, 1), Headers)

    simulate(main)


def test_a_new_tip_is_announced_and_told_before_answers_that_show_it() -> None:
    async def main() -> None:
        chain = ListChain(100)
        async with pair(chain) as p:
            chain.grow(1)
            p.servers[0].notify()
            await trio.sleep(0.5)
            assert p.tips == [chain.hello()]
            chain.grow(20)  # not notified: the answer brings it
            reply = await p.session.get_headers_by_range(100, 1_000)
            assert reply == Headers(100, chain.headers_range(100, 21))
            assert p.tips[-1] == p.session.hello == chain.hello()

    simulate(main)


def test_a_server_whose_tip_moves_all_the_time_is_not_taken_for_a_flood() -> None:
    async def main() -> None:
        chain = ListChain(10)
        async with pair(chain) as p:
            for _ in range(300):
                chain.grow(1)
                p.servers[0].notify()
                assert isinstance(await p.session.get_headers_by_range(chain.tip_height, 1), Headers)
            for _ in range(300):
                chain.grow(1)
                p.servers[0].notify()
                await trio.sleep(0.1)
            await trio.sleep(2)
            assert p.session.hello == chain.hello()
            assert p.ended == []
            # 30 s, one a second: the rest was folded
            assert len(p.tips) <= 300 + 32

    simulate(main)


def test_other_networks_are_refused_by_both_sides() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        served: list[RemoteFault | None] = []

        async def serve(stream: Stream) -> None:
            server = HeadersServer(Wire(stream, "testnet"), ListChain(seed=1), Allowance(trio.current_time()))
            served.append(await server.run())

        async with network.host("server") as host, network.host("client") as client:
            host.handle(PROTOCOL, serve)
            peer = await client.connect(address_of("server"))
            stream = await client.open_stream(peer, PROTOCOL)
            opened = await open_session(stream, "testnet", ListChain(seed=2).hello(), lambda hello: None)
            await trio.sleep(1)
        for fault in (opened, served[0]):
            assert isinstance(fault, RemoteFault)
            assert fault.reason is FaultReason.WRONG_NETWORK
            assert fault.network == "testnet"

    simulate(main)


def test_a_lost_connection_fails_what_is_open_once_and_for_all() -> None:
    async def main() -> None:
        async with pair(ListChain(100), latency=1.0) as p:
            replies: list[Headers | RemoteFault] = []

            async def ask() -> None:
                replies.append(await p.session.get_headers_by_range(0, 1))

            async with trio.open_nursery() as nursery:
                for _ in range(20):  # more than fit in flight: those who wait for a slot are told as well
                    nursery.start_soon(ask)
                await trio.sleep(0.5)
                p.network.cut("server", "client")
            assert {type(reply) for reply in replies} == {RemoteFault}
            assert {reply.reason for reply in replies if isinstance(reply, RemoteFault)} == {FaultReason.DISCONNECTED}
            assert all(reply.scored for reply in replies if isinstance(reply, RemoteFault))
            fault = p.ended[0]
            assert fault is not None
            assert (fault.reason, fault.scored) == (FaultReason.DISCONNECTED, False)
            again = await p.session.get_headers_by_range(0, 1)
            assert isinstance(again, RemoteFault)

    simulate(main)


def test_an_idle_session_may_last_and_end_without_fault() -> None:
    async def main() -> None:
        async with pair(ListChain(100)) as p:
            await trio.sleep(86_400)
            assert isinstance(await p.session.get_headers_by_range(0, 1), Headers)
            p.network.cut("server", "client")
            await trio.sleep(1)
            assert p.ended == [None]

    simulate(main)


def test_a_frozen_link_is_a_stall_after_the_reply_deadline() -> None:
    async def main() -> None:
        async with pair(ListChain(100)) as p:
            p.network.freeze("server", "client")
            began = trio.current_time()
            reply = await p.session.get_headers_by_range(0, 1)
            assert isinstance(reply, RemoteFault)
            assert (reply.reason, reply.scored) == (FaultReason.STALLED, True)
            assert trio.current_time() - began == session.REPLY_DEADLINE_S

    simulate(main)


def test_a_slow_link_above_the_least_rate_is_no_drip() -> None:
    async def main() -> None:
        chain = ListChain(20_000)
        async with pair(chain, bandwidth=40_000.0) as p:
            for start in (0, 8_064):
                reply = await p.session.get_headers_by_range(start, 8_064)
                assert reply == Headers(start, chain.headers_range(start, 8_064))
            assert trio.current_time() > 2 * 645_120 / 40_000

    simulate(main)


def test_a_link_below_the_least_rate_is_a_drip() -> None:
    async def main() -> None:
        async with pair(ListChain(20_000), bandwidth=10_000.0) as p:
            reply = await p.session.get_headers_by_range(0, 8_064)
            assert isinstance(reply, RemoteFault)
            assert reply.reason is FaultReason.DRIP

    simulate(main)


def test_the_allowance_lets_a_million_headers_a_second_through_and_delays_more() -> None:
    async def main() -> None:
        allowance = Allowance(trio.current_time())
        full = Headers(0, bytes(codec.HEADER_SIZE * codec.MAX_HEADERS))
        began = trio.current_time()
        for _ in range(0, 10_000_000, codec.MAX_HEADERS):
            await trio.sleep(codec.MAX_HEADERS / 1e6)
            await allowance.spend(full)
        assert trio.current_time() - began < 10.02
        began = trio.current_time()
        for _ in range(2_000):  # 1.29 GB as fast as it goes
            await allowance.spend(full)
        elapsed = trio.current_time() - began
        assert (2_000 * 645_120 - serving.REPLY_BURST) / serving.REPLY_RATE <= elapsed < 8

    simulate(main)


def test_small_requests_beyond_the_burst_are_delayed_to_their_rate() -> None:
    async def main() -> None:
        chain = ListChain(10)
        async with pair(chain, latency=0.0) as p:
            began = trio.current_time()

            async def ask(times: int) -> None:
                for _ in range(times):
                    assert isinstance(await p.session.get_headers_by_range(0, 1), Headers)

            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(ask, 250)
            least = (2_000 - serving.REQUEST_BURST) / serving.REQUEST_RATE
            assert least - 0.1 <= trio.current_time() - began < least + 1

    simulate(main)


def test_proofs_beyond_the_burst_are_delayed_to_their_rate() -> None:
    async def main() -> None:
        allowance = Allowance(trio.current_time())
        began = trio.current_time()
        for _ in range(200):
            await allowance.spend(Proof(b"x"))
        assert trio.current_time() - began == (200 - serving.PROOF_BURST) / serving.PROOF_RATE

    simulate(main)


def test_a_provider_that_fails_is_our_error_and_not_the_end_of_the_stream() -> None:
    class Failing(ListChain):
        def headers_range(self, start: int, count: int) -> bytes:
            if start == 3:
                raise RuntimeError("disk on fire")
            return super().headers_range(start, count)

    async def main() -> None:
        async with pair(Failing(10)) as p:
            reply = await p.session.get_headers_by_range(3, 1)
            assert isinstance(reply, RemoteFault)
            assert (reply.reason, reply.evidence) == (FaultReason.REFUSED, "INTERNAL: internal error")
            assert isinstance(await p.session.get_headers_by_range(4, 1), Headers)

    simulate(main)


def test_a_proof_stream_without_a_request_is_closed_and_nobody_blamed() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        served: list[tuple[float, RemoteFault | None]] = []

        async def serve(stream: Stream) -> None:
            fault = await serve_proofs(Wire(stream, "testnet"), ListChain(5), Allowance(trio.current_time()))
            served.append((trio.current_time(), fault))

        async with network.host("server") as host, network.host("client") as client:
            host.handle("/proof", serve)
            peer = await client.connect(address_of("server"))
            await client.open_stream(peer, "/proof")
            await trio.sleep(serving.PROOF_IDLE_S + 1)
        assert [fault for _, fault in served] == [None]

    simulate(main)


def test_a_request_beyond_the_limits_is_the_callers_error_and_never_sent() -> None:
    async def main() -> None:
        async with pair(ListChain(10)) as p:
            for _ in range(20):
                with pytest.raises(ValueError, match="count 8065"):
                    await p.session.get_headers_by_range(0, 8_065)
                with pytest.raises(ValueError, match="payload"):
                    await p.session.get_headers_by_locator((bytes(32),) * 65, 1)
            assert isinstance(await p.session.get_headers_by_range(0, 1), Headers)
            assert p.session.in_flight == 0

    simulate(main)


def test_request_ids_wrap_without_ever_being_zero() -> None:
    async def main() -> None:
        async with pair(ListChain(10)) as p:
            p.session._next_id = codec.MAX_REQUEST_ID - 1
            for _ in range(3):
                assert isinstance(await p.session.get_headers_by_range(0, 1), Headers)
            assert p.session._next_id == 2

    simulate(main)
