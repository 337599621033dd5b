"""Identify and ping: what a peer says about itself is bounded, printable, and costs nothing but itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from hosts import SOMEBODY, hosts, until
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_peer import RawPeer, varint

# isort: split

from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.network.stream.exceptions import StreamEOF
from multiaddr import Multiaddr

from p2p.host.fences import identify
from p2p.host.limits import Limits

LIMITS = Limits(identify_message=2_000, identify_addrs=3)


class Script:
    """A stream of which ``data`` can be read, at most ``size`` bytes at a time, and then its end."""

    def __init__(self, data: bytes, size: int = 10_000) -> None:
        self._data, self._size = data, size

    async def read(self, count: int) -> bytes:
        if not self._data:
            raise StreamEOF
        taken = self._data[: min(count, self._size)]
        self._data = self._data[len(taken) :]
        return taken


def ask(data: bytes, size: int = 10_000) -> identify.Identity:
    said: identify.Identity = trio.run(identify.ask, Script(data, size), SOMEBODY, LIMITS)
    return said


def packed(**fields: Any) -> bytes:
    body: bytes = Identify(**fields).SerializeToString()
    return varint(len(body)) + body


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_what_a_peer_says(size: int) -> None:
    addrs = ["/ip4/192.0.2.1/tcp/9000", "/dns4/example.org/tcp/9000"]
    said = ask(packed(agent_version="node/1", listen_addrs=[Multiaddr(addr).to_bytes() for addr in addrs]), size)
    assert said == identify.Identity("node/1", tuple(f"{addr}/p2p/{SOMEBODY}" for addr in addrs))


def test_it_is_bounded_and_printable() -> None:
    addr = Multiaddr("/ip4/192.0.2.1/tcp/9000").to_bytes()
    name = Multiaddr("/dns4/" + "x." * 100 + "org/tcp/1").to_bytes()
    said = ask(packed(agent_version="a\x1b[31m\n" + "b" * 500, listen_addrs=[b"", b"\xff", addr, addr]))
    assert said.agent == ("a?[31m?" + "b" * 500)[: identify.MAX_TEXT]
    assert said.listen_addrs == (f"/ip4/192.0.2.1/tcp/9000/p2p/{SOMEBODY}",)
    assert ask(packed(listen_addrs=[name])).listen_addrs == ()


def test_protocols_are_bounded_and_printable() -> None:
    names = ["/a/1", "", "/b\x07/1", "/" + "c" * identify.MAX_TEXT, "/d/1"]
    said: identify.Identity = trio.run(
        identify.ask, Script(packed(protocols=names * 100)), SOMEBODY, Limits(identify_protocols=5)
    )
    assert said.protocols == ("/a/1", "/b?/1", "/d/1")


def test_a_push_says_what_has_changed() -> None:
    before = identify.Identity("node/1", ("/ip4/192.0.2.1/tcp/1",), ("/a/1", "/b/1"))
    assert before.updated(identify.NOTHING) == before
    news = identify.Identity("", (), ("/c/1",))
    assert before.updated(news) == identify.Identity("node/1", ("/ip4/192.0.2.1/tcp/1",), ("/c/1",))
    assert identify.NOTHING.updated(before) == before


@pytest.mark.parametrize(
    "data",
    [varint(2_001) + bytes(3_000), b"\xff\xff\x01", varint(20) + b"\xff" * 20, b"\x80\x80\x00"],
    ids=["too long", "far too long", "no protobuf", "three bytes of length"],
)
def test_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(identify.IdentifyError):
        ask(data)


def test_a_cut_answer() -> None:
    with pytest.raises(StreamEOF):
        ask(packed(agent_version="node/1")[:-1])


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_nothing_else_is_raised(garbage: bytes) -> None:
    for data in (garbage, varint(len(garbage)) + garbage):
        try:
            ask(data)
        except identify.FAILURES:
            continue


def test_our_own_answer() -> None:
    async def main() -> None:
        async with hosts(1) as (host,):
            data = identify.answer(host._node, "spvnode/1.2", ("192.0.2.7", 4000))
            said = await identify.ask(Script(data), host.peer_id, Limits())
            assert said == identify.Identity(
                "spvnode/1.2", tuple(host.addrs), tuple(sorted(host._node.get_mux().handlers))
            )
            message = Identify()
            message.ParseFromString(data[2:])
            assert str(Multiaddr(message.observed_addr)) == "/ip4/192.0.2.7/tcp/4000"
            assert {"/ipfs/id/1.0.0", "/ipfs/ping/1.0.0", "/test/echo/1"} <= set(message.protocols)

    trio.run(main)


def test_pushes_are_taken_at_a_bounded_rate_and_garbage_is_none() -> None:
    async def main() -> None:
        async with hosts(1, limits=Limits(identify_push_burst=4)) as (host,), RawPeer(host.addrs[0]) as peer:
            told: list[tuple[str, ...]] = []
            host.on_identified(lambda who: told.append(host.connections()[0].protocols))
            await peer.open(identify.PUSH, b"\x04\xff\xff\xff\xff")
            await peer.open(identify.PUSH, b"\xff\xff\xff")
            await peer.open(identify.PUSH, packed(protocols=["/first/1"]))
            await peer.open(identify.PUSH, packed(agent_version="node/2"))
            await until(lambda: len(told) == 2)
            for number in range(10):
                await peer.open(identify.PUSH, packed(protocols=[f"/late/{number}"]))
            assert await peer.settled()
            assert told == [("/first/1",)] * 2
            (info,) = host.connections()
            assert (info.agent, info.protocols) == ("node/2", ("/first/1",))

    trio.run(main)


def test_two_pings_at_once() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            await here.connect(there.addrs[0])
            streams = [await here.open_stream(there.peer_id, identify.PING) for _ in range(2)]
            for round_trip in (b"1" * 32, b"2" * 32):
                for stream in streams:
                    await stream.write(round_trip)
                for stream in streams:
                    assert await stream.read_exactly(32) == round_trip
            for stream in streams:
                await stream.close()
            (conn,) = there._node.swarm.get_connections()
            await until(lambda: all(stream.get_protocol() != identify.PING for stream in conn.streams))

    trio.run(main)


def test_ping_answers_at_a_bounded_rate() -> None:
    async def main() -> None:
        written: list[float] = []

        async def write(data: bytes) -> None:
            written.append(trio.current_time())

        stream = SimpleNamespace(read=Script(bytes(32 * 20)).read, write=write)
        with pytest.raises(StreamEOF):
            await identify.serve_ping(stream, Limits(ping_pause=0.5))
        assert written[-1] - written[0] == pytest.approx(19 * 0.5)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
