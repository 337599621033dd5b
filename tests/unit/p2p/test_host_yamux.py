"""The multiplexer over two ends of a pipe in memory, and its parts on their own."""

from __future__ import annotations

import random
from contextlib import AbstractAsyncContextManager
from typing import Any

import muxed
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from muxed import MemoryWire, end_of, settle

import p2p.host.fences  # noqa: F401 - makes libp2p importable the light way

# isort: split

from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamError,
    MuxedStreamReset,
)

from p2p.host.fences.yamux import MeshYamux
from p2p.host.limits import Limits
from p2p.host.outbox import ACK, BATCH, FIN, HEADER, MAX_PAYLOAD, MAX_PLAINTEXT, RST, SYN, Kind, Outbox
from p2p.host.unread import UnreadBudget

KIB = 1024
WINDOW = 256 * KIB


class YamuxWire(MemoryWire):
    """That can tell what was sent."""

    def frames(self) -> list[tuple[int, int, int, int]]:
        """(kind, flags, stream id, value) of all frames sent."""
        data, found, at = b"".join(self.sent), [], 0
        while at < len(data):
            _, kind, flags, stream_id, value = HEADER.unpack_from(data, at)
            found.append((kind, flags, stream_id, value))
            at += HEADER.size + (value if kind == Kind.DATA else 0)
        return found


def yamux(wire: MemoryWire, *, initiator: bool, limits: Limits, budget: UnreadBudget | None = None) -> MeshYamux:
    return end_of(MeshYamux, wire, initiator=initiator, limits=limits, budget=budget)


def pair(limits: Limits = Limits()) -> AbstractAsyncContextManager[tuple[MeshYamux, MeshYamux]]:  # noqa: B008 - immutable
    return muxed.pair(MeshYamux, YamuxWire, limits)


def alone(limits: Limits = Limits()) -> AbstractAsyncContextManager[tuple[MeshYamux, YamuxWire]]:  # noqa: B008 - immutable
    return muxed.alone(MeshYamux, YamuxWire, limits)


def frame(kind: int, flags: int, stream_id: int, value: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(0, kind, flags, stream_id, value) + payload


# Streams between two ends.


def test_both_directions_and_half_close() -> None:
    async def main() -> None:
        async with pair() as (here, there):
            mine = await here.open_stream()
            theirs = await there.accept_stream()
            assert (mine.stream_id, theirs.stream_id) == (1, 1)
            await mine.write(b"question")
            await mine.close()
            assert await theirs.read() == b"question"
            with pytest.raises(MuxedStreamEOF):
                await theirs.read()
            await theirs.write(b"answer")
            await theirs.close()
            assert await mine.read() == b"answer"
            with pytest.raises(MuxedStreamClosed):
                await mine.write(b"more")
            await settle()
            assert (here.streams, there.streams) == ({}, {})

    trio.run(main)


def test_what_was_written_before_a_reset_is_heard() -> None:
    async def main() -> None:
        async with pair() as (here, there):
            mine = await here.open_stream()
            theirs = await there.accept_stream()
            await mine.write(b"last words")
            await mine.reset()
            await settle()
            assert await theirs.read() == b"last words"
            with pytest.raises(MuxedStreamReset):
                await theirs.read()
            with pytest.raises(MuxedStreamReset):
                await theirs.write(b"x")

    trio.run(main)


def test_a_reset_stream_counts_until_its_user_is_done() -> None:
    async def main() -> None:
        async with pair(Limits(inbound_streams=2)) as (here, there):
            served = []
            for _ in range(2):
                mine = await here.open_stream()
                served.append(await there.accept_stream())
                await mine.reset()
            await settle()
            refused = await here.open_stream()
            with pytest.raises(MuxedStreamReset):
                await refused.read()
            await served[0].reset()
            taken = await here.open_stream()
            await there.accept_stream()
            assert not taken.reset_by

    trio.run(main)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_pieces_arrive_in_order(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(0, 300_000), min_size=1, max_size=6))
    seed = data.draw(st.integers(0, 2**32))

    async def main() -> None:
        rng = random.Random(seed)
        async with pair() as (here, there):
            mine, theirs = await here.open_stream(), await there.accept_stream()
            sent = [rng.randbytes(size) for size in sizes]

            async def send() -> None:
                for piece in sent:
                    await mine.write(piece)
                await mine.close()

            got = bytearray()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                try:
                    while True:
                        got += await theirs.read(rng.choice([1, 100, 65_536, None]) or -1)
                        if len(got) % 7 == 0:
                            await settle()
                except MuxedStreamEOF:
                    pass
            assert bytes(got) == b"".join(sent)
            assert (here.unread, there.unread) == (0, 0)

    trio.run(main)


def test_a_writer_waits_for_its_window_and_no_longer_than_the_deadline() -> None:
    async def main() -> None:
        async with pair(Limits(window_deadline=10)) as (here, there):
            mine, theirs = await here.open_stream(), await there.accept_stream()
            done = []

            async def send() -> None:
                await mine.write(bytes(WINDOW + 1))
                done.append("written")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                await trio.sleep(9)
                assert (done, there.unread) == ([], WINDOW)
                assert len(await theirs.read(WINDOW)) == WINDOW
            assert done == ["written"]
            await theirs.read()
            with pytest.raises(MuxedStreamReset):
                await mine.write(bytes(4 * 1024 * KIB))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_window_grows_for_a_reader_that_keeps_up_and_not_otherwise() -> None:
    async def main() -> None:
        async with pair() as (here, there):
            mine, theirs = await here.open_stream(), await there.accept_stream()
            idle, unread = await here.open_stream(), await there.accept_stream()
            await idle.write(bytes(WINDOW))
            for _ in range(60):
                await mine.write(bytes(100 * KIB))
                for _ in range(100):
                    await theirs.read(KIB)
            assert theirs.window == Limits().stream_window_max
            assert unread.window == WINDOW
            updates = [frame for frame in there._wire.frames() if frame[:2] == (Kind.WINDOW_UPDATE, 0)]
            assert len(updates) < 60  # 6,000 reads

    trio.run(main)


def test_a_stream_that_the_remote_does_not_close_is_reset_after_a_while() -> None:
    async def main() -> None:
        async with pair(Limits(linger=30)) as (here, there):
            mine, theirs = await here.open_stream(), await there.accept_stream()
            await mine.close()
            await trio.sleep(20)
            await theirs.write(b"still here")
            assert await mine.read() == b"still here"
            await trio.sleep(25)
            assert not theirs.reset_by
            await trio.sleep(60)
            assert mine.reset_by
            assert theirs.reset_by
            assert here.streams == {}

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_end_of_a_connection_ends_all_waits() -> None:
    async def main() -> None:
        async with pair() as (here, there):
            mine = await here.open_stream()
            outcomes: list[type] = []

            async def expect(action: Any) -> None:
                try:
                    await action
                except (MuxedStreamError, MuxedConnUnavailable) as error:
                    outcomes.append(type(error))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect, mine.read())
                nursery.start_soon(expect, mine.write(bytes(2 * WINDOW)))
                nursery.start_soon(expect, here.accept_stream())
                nursery.start_soon(expect, (await here.open_stream()).write(bytes(2 * WINDOW)))
                await settle()
                await there.close()
            assert sorted(kind.__name__ for kind in outcomes) == [
                "MuxedConnUnavailable",
                "MuxedStreamReset",
                "MuxedStreamReset",
                "MuxedStreamReset",
            ]
            assert (here.is_closed, there.is_closed) == (True, True)
            with pytest.raises(MuxedStreamError):
                await here.open_stream()

    trio.run(main)


def test_close_flushes_what_is_queued() -> None:
    async def main() -> None:
        async with pair() as (here, there):
            mine, theirs = await here.open_stream(), await there.accept_stream()
            await mine.write(bytes(WINDOW))
            await here.close()
            await settle()
            assert theirs.unread == WINDOW
            assert there.closed_because == "closed by the remote, code 0"

    trio.run(main)


# Liveness.


def test_a_silent_remote_is_pinged_and_given_up() -> None:
    limits = Limits(keepalive_interval=20, keepalive_timeout=15)

    async def main() -> None:
        async with alone(limits) as (conn, wire):
            await trio.sleep(21)
            assert (Kind.PING, SYN, 0, 0) in wire.frames()
            await wire.send_to.send(frame(Kind.PING, ACK, 0, 0))
            await trio.sleep(21)
            assert not conn.is_closed
            await trio.sleep(20)
            assert "vanished" in conn.closed_because

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_remote_that_takes_nothing_is_given_up_while_we_send() -> None:
    async def main(limits: Limits, why: str) -> None:
        async with alone(limits) as (conn, wire):
            stream = await conn.open_stream()
            wire.holds = trio.Event()
            await stream.write(b"x")
            await trio.sleep(40)
            assert why in conn.closed_because

    clock = trio.testing.MockClock
    trio.run(main, Limits(keepalive_interval=5), "vanished", clock=clock(autojump_threshold=0))
    trio.run(main, Limits(), "does not take", clock=clock(autojump_threshold=0))


def test_close_is_bounded_when_nothing_is_taken() -> None:
    async def main() -> None:
        async with alone() as (conn, wire):
            wire.holds = trio.Event()
            await (await conn.open_stream()).write(bytes(1000))
            started = trio.current_time()
            await conn.close()
            assert trio.current_time() - started == pytest.approx(Limits().close_flush)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# Bounds.


VIOLATIONS = {
    "window": [frame(Kind.WINDOW_UPDATE, SYN, 1, 0), frame(Kind.DATA, 0, 1, WINDOW + 1)],
    "window in two": [
        frame(Kind.DATA, SYN, 1, WINDOW, bytes(WINDOW)),
        frame(Kind.DATA, 0, 1, 1),
    ],
    "version": [HEADER.pack(1, 0, 0, 0, 0)],
    "type": [frame(4, 0, 0, 0)],
    "stream id of ours": [frame(Kind.WINDOW_UPDATE, SYN, 2, 0)],
    "stream zero": [frame(Kind.WINDOW_UPDATE, SYN, 0, 0)],
    "send window": [frame(Kind.WINDOW_UPDATE, SYN, 1, 2**31)],
    "frame of no stream": [frame(Kind.DATA, 0, 7, Limits().stream_window_max + 1)],
    "pings": [frame(Kind.PING, SYN, 0, number) for number in range(2_100)],
    "empty frames": [frame(Kind.WINDOW_UPDATE, SYN, 1, 0), *[frame(Kind.DATA, 0, 1, 0)] * 2_100],
    "frames of no stream": [frame(Kind.WINDOW_UPDATE, 0, 9, 1)] * 2_100,
    "streams": [frame(Kind.WINDOW_UPDATE, SYN, 2 * number + 1, 0) for number in range(2_200)],
}


@pytest.mark.parametrize("frames", VIOLATIONS.values(), ids=VIOLATIONS)
def test_violations_end_the_connection(frames: list[bytes]) -> None:
    async def main() -> None:
        async with alone() as (conn, wire):
            await wire.send_to.send(b"".join(frames))
            await settle()
            assert conn.is_closed
            assert "violation" in conn.closed_because or "replies" in conn.closed_because

    trio.run(main)


def test_streams_beyond_the_limit_are_reset() -> None:
    async def main() -> None:
        async with alone(Limits(inbound_streams=5)) as (conn, wire):
            opened = [frame(Kind.WINDOW_UPDATE, SYN, 2 * number + 1, 0) for number in range(8)]
            await wire.send_to.send(b"".join(opened))
            await settle()
            assert sorted(conn.streams) == [1, 3, 5, 7, 9]
            resets = [stream_id for kind, flags, stream_id, _ in wire.frames() if flags == RST]
            assert resets == [11, 13, 15]

    trio.run(main)


def test_streams_beyond_the_rate_are_reset() -> None:
    async def main() -> None:
        async with alone(Limits(inbound_streams=100, stream_rate=1, stream_burst=10)) as (conn, wire):
            opened = [frame(Kind.WINDOW_UPDATE, SYN, 2 * number + 1, 0) for number in range(12)]
            await wire.send_to.send(b"".join(opened))
            await trio.sleep(0.1)
            assert len(conn.streams) == 10
            await trio.sleep(1)
            await wire.send_to.send(frame(Kind.WINDOW_UPDATE, SYN, 101, 0))
            await trio.sleep(0.1)
            assert len(conn.streams) == 11

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_remote_that_reads_no_replies_is_given_up() -> None:
    async def main() -> None:
        async with alone(Limits(control_queue=100)) as (conn, wire):
            wire.holds = trio.Event()
            await wire.send_to.send(frame(Kind.PING, SYN, 0, 0) * 200)
            await settle()
            assert conn.closed_because == "does not read our replies"

    trio.run(main)


def test_what_is_queued_for_a_connection_is_bounded() -> None:
    async def main() -> None:
        async with alone(Limits(send_queue=100 * KIB)) as (conn, wire), trio.open_nursery() as nursery:
            wire.holds = trio.Event()
            for _ in range(10):
                nursery.start_soon((await conn.open_stream()).write, bytes(WINDOW))
            await settle()
            assert 0 < conn._outbox.payload < 100 * KIB + MAX_PAYLOAD
            wire.holds.set()
            await settle()
            assert conn._outbox.payload == 0
            assert sum(value for kind, _, _, value in wire.frames() if kind == Kind.DATA) == 10 * WINDOW

    trio.run(main)


def test_unread_data_of_a_connection_is_bounded() -> None:
    async def main() -> None:
        async with alone(Limits(unread_per_connection=1024 * KIB)) as (conn, wire):
            frames = [frame(Kind.DATA, SYN, 2 * number + 1, 200 * KIB, bytes(200 * KIB)) for number in range(8)]
            await wire.send_to.send(b"".join(frames))
            await settle()
            assert conn.closed_because == "violation: too much unread data"

    trio.run(main)


def test_of_all_connections_the_fullest_one_makes_room() -> None:
    limits = Limits(unread_total=1000 * KIB)

    async def main() -> None:
        budget = UnreadBudget(limits.unread_total)
        wires = [YamuxWire() for _ in range(3)]
        conns = [yamux(wire, initiator=False, limits=limits, budget=budget) for wire in wires]
        async with trio.open_nursery() as nursery:
            for conn in conns:
                nursery.start_soon(conn.start)
            for wire, streams in zip(wires, (1, 3, 1), strict=True):
                for number in range(streams):
                    await wire.send_to.send(frame(Kind.DATA, SYN, 2 * number + 1, 200 * KIB, bytes(200 * KIB)))
            await settle()
            assert [conn.is_closed for conn in conns] == [False, False, False]
            await wires[0].send_to.send(frame(Kind.DATA, SYN, 101, 1 * KIB, bytes(1 * KIB)))
            await settle()
            assert [conn.is_closed for conn in conns] == [False, True, False]
            assert budget.total == 401 * KIB
            stream = await conns[0].accept_stream()
            await stream.read()
            assert budget.total == 201 * KIB
            nursery.cancel_scope.cancel()
        assert budget.total == 0

    trio.run(main)


def test_small_pieces_take_little_more_than_their_bytes() -> None:
    async def main() -> None:
        async with alone() as (conn, wire):
            await wire.send_to.send(frame(Kind.WINDOW_UPDATE, SYN, 1, 0) + frame(Kind.DATA, 0, 1, 1, b"x") * 60_000)
            await settle()
            (stream,) = conn.streams.values()
            assert stream.unread == 60_000
            assert len(stream._pieces) < 20
            assert await stream.read() == b"x" * 60_000

    trio.run(main)


@given(st.integers(1, 40), st.randoms(use_true_random=False))
def test_frames_are_parsed_wherever_messages_are_cut(size: int, rng: random.Random) -> None:
    async def main() -> None:
        async with alone() as (conn, wire):
            body = rng.randbytes(200)
            data = (
                frame(Kind.WINDOW_UPDATE, SYN, 1, 0) + frame(Kind.DATA, 0, 1, 200, body) + frame(Kind.DATA, FIN, 1, 0)
            )
            for at in range(0, len(data), size):
                await wire.send_to.send(data[at : at + size])
            await settle()
            (stream,) = conn.streams.values()
            assert await stream.read() == body
            assert stream.got_fin

    trio.run(main)


# The outbox.


def test_one_frame_is_one_message() -> None:
    outbox = Outbox(10)
    for number in range(3):
        outbox.data(number, memoryview(bytes(MAX_PAYLOAD)))
    assert [len(message) for message in outbox.take()] == [MAX_PLAINTEXT] * 3
    assert (bool(outbox), outbox.payload) == (False, 0)


def test_small_frames_share_a_message_and_replies_go_first() -> None:
    outbox = Outbox(2)
    outbox.data(1, memoryview(b"data"))
    outbox.end_stream(FIN, 1)
    outbox.go_away()
    assert outbox.reply(Kind.PING, ACK, 0, 7)
    assert outbox.reply(Kind.PING, ACK, 0, 8)
    assert not outbox.reply(Kind.PING, ACK, 0, 9)
    assert outbox.take() == [
        frame(Kind.PING, ACK, 0, 7)
        + frame(Kind.PING, ACK, 0, 8)
        + frame(Kind.DATA, 0, 1, 4, b"data")
        + frame(Kind.WINDOW_UPDATE, FIN, 1, 0)
        + frame(Kind.GO_AWAY, 0, 0, 0)
    ]


@given(st.lists(st.integers(0, MAX_PAYLOAD), min_size=1, max_size=30))
def test_messages_hold_all_frames_in_order_and_no_more_than_fits(sizes: list[int]) -> None:
    outbox = Outbox(10)
    for number, size in enumerate(sizes):
        outbox.data(number, memoryview(bytes(size)))
    messages: list[bytes] = []
    while outbox:
        batch = outbox.take()
        assert sum(map(len, batch)) <= BATCH + MAX_PLAINTEXT
        messages += batch
    assert all(0 < len(message) <= MAX_PLAINTEXT for message in messages)
    expected = b"".join(frame(Kind.DATA, 0, number, size, bytes(size)) for number, size in enumerate(sizes))
    assert b"".join(messages) == expected
