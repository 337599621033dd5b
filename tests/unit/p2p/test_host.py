"""``LibP2PHost`` against itself: what the port promises."""

from __future__ import annotations

import gc
import socket
from pathlib import Path

import pytest
import trio
import trio.testing
from hosts import ECHO, PATIENCE, SOMEBODY, call, echo, hosts, until

from p2p.addresses import parse_address
from p2p.host import Limits, ListenError, open_host
from p2p.host.host import LibP2PHost
from p2p.port import DialFailed, Host, HostConfig, Stream, StreamClosed, StreamRefused


def connected(host: LibP2PHost) -> list[str]:
    return [info.peer for info in host.connections()]


# Connections.


def test_is_a_host() -> None:
    async def main() -> None:
        async with hosts(1) as (host,):
            assert isinstance(host, Host)
            (addr,) = host.addrs
            assert addr.startswith("/ip4/127.0.0.1/tcp/")
            assert addr.endswith("/p2p/" + host.peer_id)

    trio.run(main)


def test_connects_and_echoes() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            assert await here.connect(there.addrs[0]) == there.peer_id
            assert await call(here, there.peer_id, b"hello") == b"hello"
            assert await call(there, here.peer_id, b"and back over the same connection") != b""

    trio.run(main)


def test_connection_info() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            await here.connect(there.addrs[0])
            await until(lambda: connected(there) == [here.peer_id])
            await call(here, there.peer_id, bytes(1000))
            await until(lambda: all(host.connections()[0].listen_addrs for host in (here, there)))
            (outbound,), (inbound,) = here.connections(), there.connections()
            assert (outbound.inbound, inbound.inbound) == (False, True)
            assert outbound.addr + "/p2p/" + there.peer_id == there.addrs[0]
            assert outbound.listen_addrs == tuple(there.addrs)
            assert inbound.listen_addrs == tuple(here.addrs)
            assert (outbound.bytes_out, outbound.bytes_in) == (1004, 1004)
            await until(lambda: there.connections()[0].bytes_out == 1004)

    trio.run(main)


def test_identify_carries_our_agent(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            hosts(1) as (here,),
            open_host(HostConfig(tmp_path / "identity"), agent="spvnode/9.9") as there,
        ):
            await here.connect(there.addrs[0])
            await until(lambda: here._peers[there.peer_id].said.agent == "spvnode/9.9")

    trio.run(main)


def test_callbacks_alternate_and_come_before_streams() -> None:
    seen: list[tuple[str, str, bool]] = []

    async def main() -> None:
        async with hosts(2) as (here, there):

            async def handler(stream: Stream) -> None:
                seen.append(("stream", stream.peer, True))

            there.handle("/test/order/1", handler)
            there.on_peer(lambda peer, up, addr, inbound: seen.append(("peer", peer, up)))
            for _ in range(3):
                await here.connect(there.addrs[0])
                await here.open_stream(there.peer_id, "/test/order/1")
                await until(lambda: seen[-1][0] == "stream")
                await here.disconnect(there.peer_id)
                await until(lambda: seen[-1] == ("peer", here.peer_id, False))
            one_round = [("peer", here.peer_id, True), ("stream", here.peer_id, True), ("peer", here.peer_id, False)]
            assert seen == one_round * 3

    trio.run(main)


def test_a_failing_callback_changes_nothing() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            here.on_peer(lambda *_: 1 / 0)
            await here.connect(there.addrs[0])
            assert await call(here, there.peer_id, b"x") == b"x"

    trio.run(main)


def test_connecting_twice_is_one_connection() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            events: list[bool] = []
            here.on_peer(lambda peer, up, addr, inbound: events.append(up))
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(here.connect, there.addrs[0])
            await here.connect(there.addrs[0])
            assert events == [True]
            assert connected(here) == [there.peer_id]

    trio.run(main)


def test_dialing_each_other_at_once_leaves_one_connection() -> None:
    async def main() -> None:
        for _ in range(5):
            async with hosts(2) as (here, there):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(here.connect, there.addrs[0])
                    nursery.start_soon(there.connect, here.addrs[0])
                await until(lambda: connected(here) == [there.peer_id] and connected(there) == [here.peer_id])
                await trio.testing.wait_all_tasks_blocked(0.05)
                (one,), (other,) = here.connections(), there.connections()
                assert one.inbound != other.inbound
                assert await call(here, there.peer_id, b"x") == b"x"
                assert await call(there, here.peer_id, b"y") == b"y"

    trio.run(main)


def test_the_newer_connection_of_a_peer_counts(tmp_path: Path) -> None:
    """A peer that was restarted dials again before we have noticed the end of its first life."""

    async def main() -> None:
        config = HostConfig(tmp_path / "identity", ())
        async with hosts(1) as (here,), open_host(config) as first, open_host(config) as second:
            events: list[bool] = []
            here.on_peer(lambda peer, up, addr, inbound: events.append(up))
            await first.connect(here.addrs[0])
            await until(lambda: events == [True])
            await second.connect(here.addrs[0])
            await until(lambda: events == [True, False, True])
            await until(lambda: connected(first) == [])
            assert await call(second, here.peer_id, b"x") == b"x"

    trio.run(main)


@pytest.mark.parametrize(
    "addr",
    [
        "/ip4/127.0.0.1/tcp/1",
        f"/ip4/127.0.0.1/udp/1/quic-v1/p2p/{SOMEBODY}",
        f"/ip4/127.0.0.1/tcp/1/p2p/{SOMEBODY}",
        "/ip4/127.0.0.1/tcp/1/p2p/1111111111111111111111111111111111111111111111",
        "nonsense",
    ],
    ids=["no peer id", "not tcp", "refused", "no such kind of id", "nonsense"],
)
def test_dial_failures(addr: str) -> None:
    async def main() -> None:
        async with hosts(1) as (host,):
            with pytest.raises(DialFailed):
                await host.connect(addr)

    trio.run(main)


def test_dialing_somebody_else_than_who_answers_fails() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            with pytest.raises(DialFailed, match="does not correspond"):
                await here.connect(there.addrs[0].replace(there.peer_id, SOMEBODY))
            assert connected(here) == []
            with pytest.raises(DialFailed, match="itself"):
                await here.connect(here.addrs[0])

    trio.run(main)


def test_a_listener_that_says_nothing_is_given_up() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            async with hosts(1, limits=Limits(handshake_deadline=0.2)) as (host,):
                with pytest.raises(DialFailed, match="deadline"):
                    await host.connect(f"/ip4/127.0.0.1/tcp/{port}/p2p/{SOMEBODY}")

    trio.run(main)


@pytest.mark.parametrize("limits", [Limits(handshake_deadline=60, dial_deadline=0.2)])
def test_all_of_a_dial_has_a_deadline(limits: Limits) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            async with hosts(1, limits=limits) as (host,):
                with pytest.raises(DialFailed, match="deadline"):
                    await host.connect(f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}/p2p/{SOMEBODY}")

    trio.run(main)


def test_a_stranger_that_says_nothing_is_dropped() -> None:
    async def main() -> None:
        async with hosts(1, limits=Limits(handshake_deadline=0.2)) as (host,):
            where = parse_address(host.addrs[0])
            stream = await trio.open_tcp_stream(where.host, where.port)
            async with stream:
                with trio.fail_after(PATIENCE):
                    while await stream.receive_some():
                        pass
            await until(lambda: host._node.swarm.gate.pending == 0)

    trio.run(main)


async def _refused_then_there(without: list[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = HostConfig(tmp_path / "identity", (f"/ip4/127.0.0.1/tcp/{port}",))
    async with hosts(1, without=without) as (here,):
        async with open_host(config) as there:
            addr = there.addrs[0]
        with pytest.raises(DialFailed):
            await here.connect(addr)
        async with open_host(config):
            await here.connect(addr)


def test_a_peer_that_was_away_can_be_dialed_at_once(tmp_path: Path) -> None:
    trio.run(_refused_then_there, [], tmp_path)


def test_without_dialing_fence_it_cannot(tmp_path: Path) -> None:
    with pytest.raises(DialFailed, match="negative cache"):
        trio.run(_refused_then_there, ["dialing"], tmp_path)


def test_no_stream_to_whom_we_are_not_connected() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            with pytest.raises(StreamRefused):
                await here.open_stream(there.peer_id, ECHO)
            await here.connect(there.addrs[0])
            await here.disconnect(there.peer_id)
            with pytest.raises(StreamRefused):
                await here.open_stream(there.peer_id, ECHO)
            await here.disconnect(SOMEBODY)

    trio.run(main)


def test_connections_are_limited() -> None:
    async def main() -> None:
        async with hosts(1, max_connections=10) as (crowded,), hosts(4) as others:
            for other in others[:2]:  # 10, less the 8 kept for our own dials
                await other.connect(crowded.addrs[0])
            for other in others[2:]:
                with pytest.raises(DialFailed):
                    await other.connect(crowded.addrs[0])
            for other in others[2:]:
                await crowded.connect(other.addrs[0])
            await until(lambda: len(connected(crowded)) == 4)

    trio.run(main)


def test_the_end_of_a_host_is_heard() -> None:
    async def main() -> None:
        async with hosts(1) as (here,):
            async with hosts(3) as others:
                for other in others:
                    await here.connect(other.addrs[0])
                assert len(connected(here)) == 3
            await until(lambda: connected(here) == [])

    trio.run(main)


def test_what_was_written_before_a_host_ends_is_heard() -> None:
    async def main() -> None:
        async with hosts(1) as (here,):
            for inbound in (True, False):
                async with hosts(1) as (there,):
                    if inbound:
                        await here.connect(there.addrs[0])
                    else:
                        await there.connect(here.addrs[0])
                        await until(lambda: connected(here) == [there.peer_id])
                    opened = trio.Event()

                    async def speak(stream: Stream) -> None:
                        opened.set()  # noqa: B023 - of this round
                        await stream.write(b"goodbye")
                        await trio.sleep_forever()

                    there.handle("/test/goodbye/1", speak)
                    stream = await here.open_stream(there.peer_id, "/test/goodbye/1")
                    await opened.wait()
                assert await stream.read_exactly(7) == b"goodbye"

    trio.run(main)


# Listening.


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with hosts(1) as (host,):
            listen = host.addrs[0].split("/p2p/")[0]
            with pytest.raises(ListenError, match="in use"):
                async with open_host(HostConfig(tmp_path / "identity", (listen,))):
                    pass

    trio.run(main)


def test_without_listener_fence_it_is_shared(tmp_path: Path) -> None:
    async def main() -> None:
        async with hosts(1, without=["listener"]) as (host,):
            listen = host.addrs[0].split("/p2p/")[0]
            config = HostConfig(tmp_path / "identity", (listen,))
            async with open_host(config, without=["listener"]) as other:
                assert other.addrs[0].startswith(listen)

    trio.run(main)


@pytest.mark.parametrize("listen", ["/ip4/127.0.0.1/udp/1", "/ip4/127.0.0.1/tcp/70000", "/ip6/127.0.0.1/tcp/1", "x"])
def test_a_bad_listen_address_is_refused(listen: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_host(HostConfig(tmp_path / "identity", (listen,))):
            pass

    with pytest.raises(ListenError):
        trio.run(main)


def test_an_unspecified_address_is_shown_as_dialable_ones() -> None:
    async def main() -> None:
        async with hosts(1, listen=["/ip4/0.0.0.0/tcp/0"]) as (host,), hosts(1) as (other,):
            assert host.addrs[0].startswith("/ip4/127.0.0.1/tcp/")
            assert all("/0.0.0.0/" not in addr for addr in host.addrs)
            await other.connect(host.addrs[0])

    trio.run(main)


def test_ipv6() -> None:
    async def main() -> None:
        async with hosts(2, listen=["/ip6/::1/tcp/0", "/ip4/127.0.0.1/tcp/0"]) as (here, there):
            (addr,) = [addr for addr in there.addrs if addr.startswith("/ip6/")]
            await here.connect(addr)
            await until(lambda: connected(there) == [here.peer_id])
            assert there.connections()[0].addr.startswith("/ip6/::1/tcp/")

    trio.run(main)


def test_a_name_can_be_dialed() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            await here.connect(there.addrs[0].replace("/ip4/127.0.0.1/", "/dns4/localhost/"))
            assert await call(here, there.peer_id, b"x") == b"x"

    trio.run(main)


def test_a_body_raises_what_it_raises(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_host(HostConfig(tmp_path / "identity")):
            raise LookupError("ours")

    with pytest.raises(LookupError, match="ours"):
        trio.run(main)


# Streams.


def test_large_messages_both_ways() -> None:
    size = 5_000_000

    async def main() -> None:
        async with hosts(2) as (here, there):
            await here.connect(there.addrs[0])
            stream = await here.open_stream(there.peer_id, ECHO)
            message = bytes(range(256)) * (size // 256)

            async def send() -> None:
                await stream.write(len(message).to_bytes(4, "big"))
                await stream.write(message)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                await stream.read_exactly(4)
                assert await stream.read_exactly(len(message)) == message

    trio.run(main)


def test_a_reader_in_small_pieces_gets_all() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            got = bytearray()
            done = trio.Event()

            async def slow(stream: Stream) -> None:
                while len(got) < 30_000:
                    got.extend(await stream.read_exactly(7))
                done.set()

            there.handle("/test/slow/1", slow)
            await here.connect(there.addrs[0])
            stream = await here.open_stream(there.peer_id, "/test/slow/1")
            for number in range(10_002):
                await stream.write(number.to_bytes(3, "big"))
            await done.wait()
            assert got[:30_000] == b"".join(number.to_bytes(3, "big") for number in range(10_000))

    trio.run(main)


def test_a_close_between_messages_is_clean() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):

            async def handler(stream: Stream) -> None:
                await stream.write(b"abc")

            there.handle("/test/three/1", handler)
            await here.connect(there.addrs[0])
            stream = await here.open_stream(there.peer_id, "/test/three/1")
            assert await stream.read_exactly(3) == b"abc"
            with pytest.raises(StreamClosed) as caught:
                await stream.read_exactly(1)
            assert caught.value.clean
            stream = await here.open_stream(there.peer_id, "/test/three/1")
            with pytest.raises(StreamClosed) as caught:
                await stream.read_exactly(4)
            assert not caught.value.clean

    trio.run(main)


def test_after_reset_nothing_is_read_or_written() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            await here.connect(there.addrs[0])
            stream = await here.open_stream(there.peer_id, ECHO)
            await stream.reset()
            await stream.reset()
            await stream.close()
            with pytest.raises(StreamClosed):
                await stream.read_exactly(1)
            with pytest.raises(StreamClosed):
                await stream.write(b"x")

    trio.run(main)


def test_a_lost_connection_ends_its_streams() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            ended = trio.Event()

            async def handler(stream: Stream) -> None:
                try:
                    await stream.read_exactly(1)
                except StreamClosed:
                    ended.set()
                    raise

            there.handle("/test/wait/1", handler)
            await here.connect(there.addrs[0])
            stream = await here.open_stream(there.peer_id, "/test/wait/1")
            await here.disconnect(there.peer_id)
            with pytest.raises(StreamClosed):
                await stream.read_exactly(1)
            with trio.fail_after(PATIENCE):
                await ended.wait()

    trio.run(main)


def test_what_was_received_before_the_end_can_be_read() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):

            async def handler(stream: Stream) -> None:
                await stream.write(b"last words")
                await there.disconnect(stream.peer)

            there.handle("/test/last/1", handler)
            await here.connect(there.addrs[0])
            stream = await here.open_stream(there.peer_id, "/test/last/1")
            await until(lambda: connected(here) == [])
            assert await stream.read_exactly(10) == b"last words"

    trio.run(main)


def test_a_failing_handler_resets_its_stream_only() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):

            async def handler(stream: Stream) -> None:
                raise ZeroDivisionError

            there.handle("/test/bug/1", handler)
            await here.connect(there.addrs[0])
            stream = await here.open_stream(there.peer_id, "/test/bug/1")
            with pytest.raises(StreamClosed):
                await stream.read_exactly(1)
            assert await call(here, there.peer_id, b"x") == b"x"

    trio.run(main)


def test_handlers_of_an_ended_connection_are_cancelled() -> None:
    async def main() -> None:
        async with hosts(2, limits=Limits(handler_grace=0.05)) as (here, there):
            state: list[str] = []

            async def handler(stream: Stream) -> None:
                try:
                    state.append("serving")
                    await trio.sleep_forever()
                finally:
                    state.append("over")

            there.handle("/test/deaf/1", handler)
            await here.connect(there.addrs[0])
            await here.open_stream(there.peer_id, "/test/deaf/1")
            await until(lambda: state == ["serving"])
            await here.disconnect(there.peer_id)
            await until(lambda: state == ["serving", "over"])

    trio.run(main)


async def _cancelled_in_write(without: list[str]) -> bytes:
    """Cancel a writer whose message is half on the wire, then use the connection."""
    async with hosts(2, without=without) as (here, there):

        async def sink(stream: Stream) -> None:
            while True:
                await stream.read_exactly(1 << 20)

        there.handle("/test/sink/1", sink)
        await here.connect(there.addrs[0])
        stream = await here.open_stream(there.peer_id, "/test/sink/1")
        for _ in range(10):
            with trio.move_on_after(0.01):
                while True:
                    await stream.write(bytes(4 << 20))
        await stream.reset()
        with trio.fail_after(5):
            return await call(here, there.peer_id, b"still there")


def test_a_cancelled_writer_leaves_the_connection_usable() -> None:
    assert trio.run(_cancelled_in_write, []) == b"still there"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_yamux_fence_a_cancelled_writer_breaks_it() -> None:
    with pytest.raises((StreamRefused, StreamClosed, trio.TooSlowError)):
        trio.run(_cancelled_in_write, ["yamux"])
    gc.collect()  # upstream's sockets


def test_a_stream_that_nobody_waits_for_any_more_is_not_leaked() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            await here.connect(there.addrs[0])
            for number in range(200):
                with trio.move_on_after(0.00003 * number):
                    stream = await here.open_stream(there.peer_id, ECHO)
                    await stream.reset()
            (conn,) = here._node.swarm.get_connections()
            await until(lambda: sum(not stream.inbound for stream in conn.muxed_conn.streams.values()) <= 2)

    trio.run(main)


def test_streams_of_ours_are_limited() -> None:
    async def main() -> None:
        async with hosts(2, limits=Limits(outbound_streams=8)) as (here, there):
            await here.connect(there.addrs[0])
            await until(lambda: len(here._node.pubsub.peers) == 1 and bool(here.connections()[0].listen_addrs))
            (conn,) = here._node.swarm.get_connections()
            taken = sum(not stream.inbound for stream in conn.muxed_conn.streams.values())
            streams = [await here.open_stream(there.peer_id, ECHO) for _ in range(8 - taken)]
            with pytest.raises(StreamRefused, match="8 streams"):
                await here.open_stream(there.peer_id, ECHO)
            for stream in streams:
                await stream.reset()
            assert await call(here, there.peer_id, b"x") == b"x"

    trio.run(main)


def test_many_streams_after_each_other() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            await here.connect(there.addrs[0])
            for _ in range(200):
                assert await call(here, there.peer_id, b"x") == b"x"
            conns = [*here._node.swarm.get_connections(), *there._node.swarm.get_connections()]
            await until(lambda: all(len(conn.muxed_conn.streams) < 10 for conn in conns))

    trio.run(main)


def test_a_handler_can_be_replaced() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):

            async def other(stream: Stream) -> None:
                await stream.write(b"other")

            await here.connect(there.addrs[0])
            there.handle(ECHO, other)
            stream = await here.open_stream(there.peer_id, ECHO)
            assert await stream.read_exactly(5) == b"other"
            there.handle(ECHO, echo)
            assert await call(here, there.peer_id, b"x") == b"x"

    trio.run(main)
