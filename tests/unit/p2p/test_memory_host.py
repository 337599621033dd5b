"""The simulated network keeps the promises of the port, and time on its links is what it should be; and the
small pure pieces: token bucket and backoff."""

from __future__ import annotations

import random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from p2p.backoff import MIN_SHARE, Backoff
from p2p.bucket import TokenBucket
from p2p.memory import MemoryHost, MemoryNetwork, address_of, peer_id_of
from p2p.port import DialFailed, Host, Stream, StreamClosed, StreamRefused
from tests.support.mesh import simulate


async def echo(stream: Stream) -> None:
    while True:
        await stream.write(await stream.read_exactly(4))


def test_it_is_a_host() -> None:
    async def main() -> None:
        async with MemoryNetwork().host("a") as host:
            assert isinstance(host, Host)

    simulate(main)


def test_bytes_arrive_in_order_after_latency_and_bandwidth() -> None:
    async def main() -> None:
        net = MemoryNetwork(latency=0.5, bandwidth=1_000.0)
        async with net.host("a") as a, net.host("b") as b:
            a.handle("/echo", echo)
            peer = await b.connect(address_of("a"))
            assert peer == peer_id_of("a")
            stream = await b.open_stream(peer, "/echo")
            assert isinstance(stream, Stream)
            began = trio.current_time()
            await stream.write(b"abcdefgh")
            assert await stream.read_exactly(8) == b"abcdefgh"
            assert trio.current_time() - began == pytest.approx(1.0 + 0.008 + 0.008)
            info = b.connections()[0]
            assert (info.bytes_in, info.bytes_out, info.inbound) == (8, 8, False)
            assert a.connections()[0].inbound

    simulate(main)


def test_one_of_several_protocols_and_what_a_peer_serves() -> None:
    async def main() -> None:
        async with MemoryNetwork(latency=0.1).host("a") as a, a._network.host("b") as b:
            told: list[tuple[str, tuple[str, ...]]] = []
            b.on_identified(lambda peer: told.append((peer, b.connections()[0].protocols)))
            a.handle("/status/1", echo)
            peer = await b.connect(address_of("a"))
            assert b.connections()[0].protocols == ()
            await trio.sleep(1)
            a.handle("/status/2", echo)
            a.handle("/status/2", echo)
            await trio.sleep(1)
            assert told == [(peer, ("/status/1",)), (peer, ("/status/1", "/status/2"))]
            stream = await b.open_stream(peer, ["/status/3", "/status/2", "/status/1"])
            assert stream.protocol == "/status/2"
            assert (await b.open_stream(peer, "/status/1")).protocol == "/status/1"
            with pytest.raises(StreamRefused):
                await b.open_stream(peer, ["/none/1", "/none/2"])

    simulate(main)


def test_a_request_ends_before_its_response_begins() -> None:
    async def answer(stream: Stream) -> None:
        request = await stream.read_exactly(4)
        with pytest.raises(StreamClosed):
            await stream.read_exactly(1)
        await stream.write(request * 2)

    async def main() -> None:
        async with MemoryNetwork().host("a") as a, a._network.host("b") as b:
            a.handle("/ask", answer)
            stream = await b.open_stream(await b.connect(address_of("a")), "/ask")
            await stream.write(b"1234")
            await stream.close()
            assert await stream.read_exactly(8) == b"12341234"

    simulate(main)


def test_nothing_is_heard_of_a_topic_that_was_left() -> None:
    async def main() -> None:
        async with MemoryNetwork().host("a") as a, a._network.host("b") as b:
            heard: list[bytes] = []
            b.subscribe("/topic", lambda peer, data: True, lambda peer, data: heard.append(data))
            await b.connect(address_of("a"))
            await a.publish("/topic", b"1")
            await trio.sleep(1)
            b.unsubscribe("/topic")
            b.unsubscribe("/topic")
            await a.publish("/topic", b"2")
            await trio.sleep(1)
            assert heard == [b"1"]

    simulate(main)


def test_a_writer_waits_for_its_window() -> None:
    async def main() -> None:
        net = MemoryNetwork(window=100_000)
        sink: list[Stream] = []

        async def hold(stream: Stream) -> None:
            sink.append(stream)
            await trio.sleep_forever()

        async with net.host("a") as a, net.host("b") as b:
            a.handle("/hold", hold)
            stream = await b.open_stream(await b.connect(address_of("a")), "/hold")
            with trio.move_on_after(1) as scope:
                await stream.write(bytes(1_000_000))
            assert scope.cancelled_caught
            assert sink[0].unread <= 100_000 + 65_536  # type: ignore[attr-defined]

    simulate(main)


def test_close_is_clean_between_messages_and_reset_never() -> None:
    async def main() -> None:
        net = MemoryNetwork()

        async def say(stream: Stream) -> None:
            await stream.write(b"12345678")

        async def slam(stream: Stream) -> None:
            await stream.write(b"1234")
            await stream.reset()

        async def crash(stream: Stream) -> None:
            raise RuntimeError("handler bug")

        async with net.host("a") as a, net.host("b") as b:
            for name, handler in (("/say", say), ("/slam", slam), ("/crash", crash)):
                a.handle(name, handler)
            peer = await b.connect(address_of("a"))
            stream = await b.open_stream(peer, "/say")
            assert await stream.read_exactly(8) == b"12345678"
            with pytest.raises(StreamClosed) as clean:
                await stream.read_exactly(1)
            assert clean.value.clean
            stream = await b.open_stream(peer, "/say")
            with pytest.raises(StreamClosed) as torn:
                await stream.read_exactly(9)
            assert not torn.value.clean
            for name in ("/slam", "/crash"):
                stream = await b.open_stream(peer, name)
                with pytest.raises(StreamClosed) as cut:
                    await stream.read_exactly(5)
                assert not cut.value.clean
                with pytest.raises(StreamClosed):
                    await stream.write(b"x")

    simulate(main)


def test_refusals_are_typed() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with net.host("a") as a, net.host("b") as b:
            for addr in ("nonsense", address_of("nobody"), address_of("b")):
                with pytest.raises(DialFailed):
                    await b.connect(addr)
            with pytest.raises(StreamRefused):
                await b.open_stream(a.peer_id, "/x")
            await b.connect(address_of("a"))
            with pytest.raises(StreamRefused):
                await b.open_stream(a.peer_id, "/x")
            net.cut("a", "b")
            with pytest.raises(DialFailed):
                await b.connect(address_of("a"))
            with pytest.raises(ValueError, match="runs already"):
                async with net.host("a"):
                    pass

    simulate(main)


def test_peers_are_told_alternately_and_by_both_sides() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        seen: list[tuple[str, str, bool, bool]] = []

        def watch(name: str, host: MemoryHost) -> None:
            host.on_peer(lambda peer, connected, addr, inbound: seen.append((name, peer, connected, inbound)))

        async with net.host("a") as a, net.host("b") as b:
            watch("a", a)
            watch("b", b)
            async with trio.open_nursery() as nursery:  # both dial at once: one connection comes of it
                nursery.start_soon(a.connect, address_of("b"))
                nursery.start_soon(b.connect, address_of("a"))
            assert len(a.connections()) == len(b.connections()) == 1
            await a.disconnect(b.peer_id)
            await a.disconnect(b.peer_id)
            assert [(name, connected) for name, _, connected, _ in seen if name == "a"] == [("a", True), ("a", False)]
            assert [(name, connected) for name, _, connected, _ in seen if name == "b"] == [("b", True), ("b", False)]

    simulate(main)


def test_a_frozen_link_tells_nobody() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with net.host("a") as a, net.host("b") as b:
            a.handle("/echo", echo)
            stream = await b.open_stream(await b.connect(address_of("a")), "/echo")
            net.freeze("a", "b")
            await stream.write(b"abcd")
            with trio.move_on_after(3_600) as scope:
                await stream.read_exactly(4)
            assert scope.cancelled_caught
            assert len(b.connections()) == 1
            with pytest.raises(StreamRefused):
                await b.open_stream(a.peer_id, "/echo")
            net.thaw("a", "b")
            assert await stream.read_exactly(4) == b"abcd"

    simulate(main)


def test_gossip_reaches_everybody_once_and_stops_where_it_is_refused() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        got: list[tuple[str, bytes]] = []
        async with net.host("a") as a, net.host("b") as b, net.host("c") as c, net.host("d") as d:
            for name, host in zip("abcd", (a, b, c, d), strict=True):
                host.subscribe(
                    "t",
                    lambda peer, data: data != b"bad",
                    lambda peer, data, name=name: got.append((name, data)),  # type: ignore[misc]
                )
            for dialer, listener in ((a, "b"), (b, "c"), (c, "a"), (c, "d")):
                await dialer.connect(address_of(listener))
            await a.publish("t", b"good")
            await trio.sleep(1)
            assert sorted(got) == [("b", b"good"), ("c", b"good"), ("d", b"good")]
            got.clear()
            await a.publish("t", b"bad")
            await a.publish("t", b"good")
            await trio.sleep(1)
            assert got == []

    simulate(main)


@given(st.floats(0.1, 100), st.floats(1, 100), st.lists(st.tuples(st.floats(0, 10), st.floats(0, 20)), max_size=50))
def test_a_bucket_never_gives_more_than_burst_plus_rate(
    rate: float, burst: float, steps: list[tuple[float, float]]
) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now = taken = 0.0
    for wait, amount in steps:
        now += wait
        if bucket.take(amount, now):
            taken += amount
        assert taken <= burst + rate * now + 1e-6


def test_a_debt_says_how_long_to_wait() -> None:
    bucket = TokenBucket(10.0, 20.0, 0.0)
    assert bucket.charge(20, 0.0) == 0
    assert bucket.charge(5, 0.0) == 0.5
    assert bucket.charge(0, 0.5) == 0
    assert not bucket.take(1, 0.5)
    bucket.give(100)
    assert bucket.take(20, 0.5)
    assert not bucket.take(1, 0.5)
    assert bucket.charge(0, -100.0) == 0  # a clock that goes back gives nothing and takes nothing


def test_backoff_doubles_to_its_cap_within_its_jitter() -> None:
    backoff = Backoff(1.0, 60.0, random.Random(3))
    for _ in range(2):
        for nominal in (1, 2, 4, 8, 16, 32, 60, 60):
            assert nominal * MIN_SHARE <= backoff.next() <= nominal
        backoff.reset()
