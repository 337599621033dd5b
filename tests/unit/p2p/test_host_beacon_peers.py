"""What beacon peers need of a real host: mplex, secp256k1, half-closed streams, one of several
protocols, and the list of those that a peer has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from hosts import ECHO, PATIENCE, call, hosts, until

from p2p.host import open_host
from p2p.host.fences.identify import PUSH
from p2p.host.host import LibP2PHost
from p2p.port import MPLEX, YAMUX, DialFailed, HostConfig, Stream, StreamClosed, StreamRefused

ORDERS = [(YAMUX,), (MPLEX,), (YAMUX, MPLEX), (MPLEX, YAMUX)]


def muxer_of(host: LibP2PHost) -> str:
    (conn,) = host._node.swarm.get_connections()
    return str(conn.muxed_conn.negotiated_muxer_protocol)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_the_first_multiplexer_that_both_have(order: tuple[str, ...]) -> None:
    async def main() -> None:
        async with hosts(1, muxers=order) as (here,), hosts(1, muxers=(MPLEX, YAMUX)) as (there,):
            peer = await here.connect(there.addrs[0])
            assert [muxer_of(here), muxer_of(there)] == [order[0]] * 2
            assert await call(here, peer, bytes(300_000)) == bytes(300_000)

    trio.run(main)


@pytest.mark.parametrize("we_dial", [True, False])
def test_with_the_mplex_of_stock_py_libp2p(we_dial: bool) -> None:
    async def main() -> None:
        async with hosts(1, muxers=(MPLEX,)) as (here,), hosts(1, muxers=(MPLEX,), without=["mplex"]) as (stock,):
            if we_dial:
                await here.connect(stock.addrs[0])
            else:
                await stock.connect(here.addrs[0])
                await until(lambda: len(here.connections()) == 1)
            for length in (1, 70_000, 700_000):
                assert await call(here, stock.peer_id, bytes(length)) == bytes(length)
                assert await call(stock, here.peer_id, bytes(length)) == bytes(length)

    trio.run(main)


def test_no_multiplexer_in_common_is_no_connection() -> None:
    async def main() -> None:
        async with hosts(1, muxers=(MPLEX,)) as (here,), hosts(1) as (there,):
            with pytest.raises(DialFailed):
                await here.connect(there.addrs[0])
            assert here.connections() == there.connections() == []

    trio.run(main)


@pytest.mark.parametrize("muxers", [(), ("/no/such/muxer",)])
def test_a_multiplexer_that_is_none(muxers: tuple[str, ...], tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="multiplexer"):
            async with open_host(HostConfig(tmp_path / "identity", muxers=muxers)):
                pass

    trio.run(main)
    assert not (tmp_path / "identity").exists()


@pytest.mark.parametrize("muxer", [YAMUX, MPLEX])
def test_a_request_ends_before_its_response_begins(muxer: str) -> None:
    """As the beacon chain's request-response protocols want it: the server reads to the end, then answers."""

    async def serve(stream: Stream) -> None:
        request = await stream.read_exactly(len(b"request"))
        with pytest.raises(StreamClosed) as ended:
            await stream.read_exactly(1)
        assert ended.value.clean
        for _ in range(10):
            await stream.write(request[::-1] * 10_000)

    async def main() -> None:
        async with hosts(2, muxers=(muxer,)) as (here, there):
            there.handle("/test/ask/1", serve)
            stream = await here.open_stream(await here.connect(there.addrs[0]), "/test/ask/1")
            await stream.write(b"request")
            await stream.close()
            for _ in range(10):
                assert await stream.read_exactly(70_000) == b"tseuqer" * 10_000
            with pytest.raises(StreamClosed) as ended:
                await stream.read_exactly(1)
            assert ended.value.clean
            with pytest.raises(StreamClosed):
                await stream.write(b"more")
            await stream.close()
            for host in (here, there):
                (conn,) = host._node.swarm.get_connections()
                await until(lambda conn=conn: not ended_streams(conn))

    trio.run(main)


def ended_streams(conn: Any) -> list[Any]:
    """Streams that are over and still known; those of gossip are not over."""
    return [stream for stream in conn.muxed_conn.streams.values() if stream.sent_fin or stream.reset_by]


def test_one_of_several_protocols() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            peer = await here.connect(there.addrs[0])
            seen: list[str] = []

            async def note(stream: Stream) -> None:
                seen.append(stream.protocol)

            for name in ("/test/status/1", "/test/status/2"):
                there.handle(name, note)
            wanted = ["/test/status/3", "/test/status/2", "/test/status/1"]
            stream = await here.open_stream(peer, wanted)
            assert stream.protocol == "/test/status/2"
            await until(lambda: seen == ["/test/status/2"])
            assert (await here.open_stream(peer, ECHO)).protocol == ECHO
            with pytest.raises(StreamRefused, match="/test/none/2"):
                await here.open_stream(peer, ("/test/none/1", "/test/none/2"))

    trio.run(main)


def protocols_of(host: LibP2PHost) -> tuple[str, ...]:
    (info,) = host.connections()
    return info.protocols


def test_protocols_are_known_when_it_is_told() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            told: list[tuple[str, bool]] = []
            here.on_identified(lambda peer: told.append((peer, ECHO in protocols_of(here))))
            peer = await here.connect(there.addrs[0])
            await until(lambda: told == [(peer, True)])
            assert {"/meshsub/1.1.0", PUSH} <= set(protocols_of(here))

    trio.run(main)


def test_a_change_is_pushed() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            told: list[str] = []
            here.on_identified(told.append)
            peer = await here.connect(there.addrs[0])
            await until(lambda: bool(told) and bool(protocols_of(there)))
            for number in range(3):
                there.handle(f"/test/late/{number}", lambda stream: stream.close())
            await until(lambda: "/test/late/2" in protocols_of(here))
            assert told == [peer, peer]
            assert ECHO in protocols_of(here)
            there.handle("/test/late/2", lambda stream: stream.close())  # nothing new
            await trio.sleep(0.2)
            assert told == [peer, peer]

    trio.run(main)


def broken(peer: str) -> None:
    raise RuntimeError(f"a bug, met by {peer}")


def test_a_callback_that_fails_costs_nothing() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            told: list[str] = []
            here.on_identified(broken)
            here.on_identified(told.append)
            peer = await here.connect(there.addrs[0])
            await until(lambda: told == [peer])
            assert await call(here, peer, b"x") == b"x"

    trio.run(main)


@pytest.mark.parametrize("muxer", [YAMUX, MPLEX])
def test_both_kinds_of_identity(muxer: str, tmp_path: Path) -> None:
    async def main() -> None:
        config = HostConfig(tmp_path / "identity", key_type="secp256k1", muxers=(muxer,))
        async with hosts(2, muxers=(muxer,)) as (first, second), open_host(config) as beacon:
            assert beacon.peer_id.startswith("16Uiu2HA")
            beacon.handle(ECHO, lambda stream: stream.close())
            assert await beacon.connect(first.addrs[0]) == first.peer_id
            assert await second.connect(beacon.addrs[0]) == beacon.peer_id
            assert await call(beacon, first.peer_id, b"hello") == b"hello"
            with trio.fail_after(PATIENCE):
                await second.open_stream(beacon.peer_id, ECHO)

    trio.run(main)
