"""Mplex over two ends of a pipe in memory, and its frames on their own."""

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

# isort: split

from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamError,
    MuxedStreamReset,
)

from p2p.host.fences.mplex import MAX_OWED, MeshMplex, MplexStream
from p2p.host.limits import Limits
from p2p.host.mplex_frames import (
    MAX_MESSAGE,
    MAX_NAME,
    MAX_PAYLOAD,
    MAX_STREAM_ID,
    MAX_VARINT,
    BadFrame,
    Flag,
    Header,
    MplexOutbox,
    header,
    parse_header,
    varint,
)
from p2p.host.outbox import MAX_PLAINTEXT
from p2p.host.unread import UnreadBudget

KIB = 1024
CLOCK = trio.testing.MockClock


class MplexWire(MemoryWire):
    """That can tell what was sent."""

    def frames(self) -> list[tuple[int, int, bytes]]:
        """(stream id, flag, body) of all frames sent."""
        data, found, at = b"".join(self.sent), [], 0
        while at < len(data):
            head = parse_header(data, at)
            assert head is not None
            at += head.size
            found.append((head.stream_id, int(head.flag), data[at : at + head.length]))
            at += head.length
        return found


def pair(limits: Limits = Limits()) -> AbstractAsyncContextManager[tuple[MeshMplex, MeshMplex]]:  # noqa: B008 - immutable
    return muxed.pair(MeshMplex, MplexWire, limits)


def alone(limits: Limits = Limits()) -> AbstractAsyncContextManager[tuple[MeshMplex, MplexWire]]:  # noqa: B008 - immutable
    return muxed.alone(MeshMplex, MplexWire, limits)


def frame(stream_id: int, flag: int, body: bytes = b"") -> bytes:
    return varint(stream_id << 3 | flag) + varint(len(body)) + body


def opened(*numbers: int) -> bytes:
    return b"".join(frame(number, Flag.NEW_STREAM, b"name") for number in numbers)


# Frames.


@given(st.integers(0, MAX_STREAM_ID), st.sampled_from(Flag), st.integers(0, MAX_NAME), st.binary(max_size=9))
def test_a_header_is_read_back(stream_id: int, flag: Flag, length: int, before: bytes) -> None:
    data = header(stream_id, flag, length)
    assert parse_header(before + data + b"rest", len(before)) == Header(stream_id, flag, length, len(data))
    for cut in range(len(data)):
        assert parse_header(before + data[:cut], len(before)) is None


def test_bytes_of_the_specification() -> None:
    """libp2p specs, mplex/README.md: the header is id << 3 | flag."""
    assert header(0, Flag.NEW_STREAM, 1) == b"\x00\x01"
    assert header(17, Flag.MESSAGE_INITIATOR, 300) == bytes([17 << 3 & 127 | 2 | 128, 1, 0xAC, 0x02])


@pytest.mark.parametrize(
    "data",
    [
        b"\x07\x00",
        b"\xff" * MAX_VARINT,
        b"\x02" + b"\x80" * MAX_VARINT,
        b"\x02" + varint(MAX_MESSAGE + 1),
        b"\x00" + varint(MAX_NAME + 1),
        b"\x04" + varint(MAX_NAME + 1),
        b"\x06" + varint(MAX_MESSAGE),
    ],
)
def test_what_is_no_header(data: bytes) -> None:
    with pytest.raises(BadFrame):
        parse_header(data, 0)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_header_or_not(data: bytes) -> None:
    try:
        found = parse_header(data, 0)
    except BadFrame:
        return
    assert found is None or 2 <= found.size <= 2 * MAX_VARINT


def test_one_frame_is_one_message() -> None:
    outbox = MplexOutbox(10)
    for _ in range(3):
        outbox.data(MAX_STREAM_ID, True, memoryview(bytes(MAX_PAYLOAD)))
    assert [len(message) for message in outbox.take()] == [MAX_PLAINTEXT] * 3


# Streams between two ends.


def test_both_directions_and_half_close() -> None:
    async def main() -> None:
        async with pair() as (here, there):
            mine = await here.open_stream()
            theirs = await there.accept_stream()
            await mine.write(b"request")
            await mine.close()
            with pytest.raises(MuxedStreamClosed):
                await mine.write(b"more")
            assert await theirs.read() == b"request"
            with pytest.raises(MuxedStreamEOF):
                await theirs.read()
            await theirs.write(b"response")
            await theirs.close()
            assert await mine.read() == b"response"
            with pytest.raises(MuxedStreamEOF):
                await mine.read()
            await settle()
            assert here.streams == there.streams == {}

    trio.run(main)


def test_streams_of_both_sides_have_the_same_numbers() -> None:
    async def main() -> None:
        async with pair() as (here, there):
            ends = []
            for _ in range(3):
                mine, theirs = await here.open_stream(), await there.open_stream()
                ends += [(mine, await there.accept_stream()), (theirs, await here.accept_stream())]
                assert mine.number == theirs.number
            for number, (a, b) in enumerate(ends):
                await a.write(b"from %d" % number)
                await b.write(b"to %d" % number)
            for number, (a, b) in enumerate(ends):
                assert (await a.read(), await b.read()) == (b"to %d" % number, b"from %d" % number)

    trio.run(main)


def test_reset_ends_both_directions() -> None:
    async def main() -> None:
        async with pair() as (here, there):
            mine, theirs = await here.open_stream(), await there.accept_stream()
            await mine.write(b"last words")
            await mine.reset()
            await settle()
            assert await theirs.read() == b"last words"
            with pytest.raises(MuxedStreamReset):
                await theirs.read()
            with pytest.raises(MuxedStreamReset):
                await theirs.write(b"x")
            with pytest.raises(MuxedStreamReset):
                await mine.read()
            await theirs.close()
            assert here.streams == there.streams == {}

    trio.run(main)


def test_a_reset_behind_our_end_is_sent_when_the_remote_goes_on() -> None:
    """And not when it has ended the stream as well: to the remote there is no such stream then."""

    async def main() -> None:
        async with alone() as (conn, wire):
            streams = [await conn.open_stream() for _ in range(3)]
            for stream in streams:
                await stream.close()
                await stream.reset()
            await wire.send_to.send(frame(0, Flag.CLOSE_RECEIVER) + frame(1, Flag.RESET_RECEIVER))
            await settle()
            resets = [number for number, flag, _ in wire.frames() if flag == Flag.RESET_INITIATOR]
            assert (resets, conn.streams) == ([], {})
            await wire.send_to.send(frame(2, Flag.MESSAGE_RECEIVER, bytes(100)) * 2 + frame(2, Flag.CLOSE_RECEIVER))
            await settle()
            resets = [number for number, flag, _ in wire.frames() if flag == Flag.RESET_INITIATOR]
            assert resets == [2]
            assert not conn.is_closed

    trio.run(main)


def test_resets_that_are_owed_are_bounded() -> None:
    async def main() -> None:
        async with alone() as (conn, wire):
            for _ in range(3 * MAX_OWED):
                stream = await conn.open_stream()
                await stream.close()
                await stream.reset()
            assert len(conn._owed) == MAX_OWED
            await settle()
            resets = [number for number, flag, _ in wire.frames() if flag == Flag.RESET_INITIATOR]
            assert resets == list(range(2 * MAX_OWED))  # the oldest ones

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
                except MuxedStreamEOF:
                    pass
            assert bytes(got) == b"".join(sent)
            assert (here.unread, there.unread) == (0, 0)

    trio.run(main)


def test_the_end_of_a_connection_ends_all_waits() -> None:
    async def main() -> None:
        async with pair(Limits(mplex_stream_unread=KIB)) as (here, there):
            mine = await here.open_stream()
            full = await there.open_stream()
            await full.write(bytes(2 * KIB))  # holds the reading of the first connection
            await settle()
            outcomes: list[type] = []

            async def expect(action: Any) -> None:
                try:
                    await action
                except (MuxedStreamError, MuxedConnUnavailable) as error:
                    outcomes.append(type(error))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect, mine.read())
                nursery.start_soon(expect, full.read())
                nursery.start_soon(expect, there.accept_stream())
                await settle()
                await here.accept_stream()
                nursery.start_soon(expect, here.accept_stream())
                await settle()
                await here.close()
            assert sorted(kind.__name__ for kind in outcomes) == [
                "MuxedConnUnavailable",
                "MuxedStreamReset",
                "MuxedStreamReset",
            ]
            assert (here.is_closed, there.is_closed) == (True, True)
            with pytest.raises(MuxedStreamError):
                await here.open_stream()

    trio.run(main)


# Flow control, such as there is.


def test_a_reader_that_lags_stops_the_writer_and_loses_nothing() -> None:
    limits = Limits(mplex_stream_unread=128 * KIB, send_queue=64 * KIB, keepalive_interval=1_000)

    async def main() -> None:
        async with pair(limits) as (here, there):
            mine, theirs = await here.open_stream(), await there.accept_stream()
            done: list[str] = []

            async def send() -> None:
                for number in range(100):
                    await mine.write(bytes([number]) * 64 * KIB)
                done.append("written")
                await mine.close()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                await trio.sleep(limits.mplex_patience - 1)
                assert done == []
                assert theirs.unread <= limits.mplex_stream_unread + MAX_PLAINTEXT
                got = bytearray()
                try:
                    while True:
                        got += await theirs.read()
                        await trio.sleep(1)  # slow, but it reads
                        assert theirs.unread <= limits.mplex_stream_unread + MAX_PLAINTEXT
                except MuxedStreamEOF:
                    pass
            assert bytes(got) == b"".join(bytes([number]) * 64 * KIB for number in range(100))

    trio.run(main, clock=CLOCK(autojump_threshold=0))


def test_a_reader_that_does_not_read_loses_its_stream_only() -> None:
    limits = Limits(mplex_stream_unread=128 * KIB)

    async def main() -> None:
        async with alone(limits) as (conn, wire):
            await wire.send_to.send(opened(1, 2))
            for _ in range(4):
                await wire.send_to.send(frame(1, Flag.MESSAGE_INITIATOR, bytes(60 * KIB)))
            await wire.send_to.send(frame(2, Flag.MESSAGE_INITIATOR, b"hello"))
            unread, other = await conn.accept_stream(), await conn.accept_stream()
            await trio.sleep(limits.mplex_patience - 1)
            assert (unread.unread, other.unread) == (180 * KIB, 0)
            await trio.sleep(2)
            assert await other.read() == b"hello"
            assert (conn.unread, unread.unread) == (0, 0)
            with pytest.raises(MuxedStreamReset, match="too much"):
                await unread.read()
            assert (1, Flag.RESET_RECEIVER, b"") in wire.frames()
            assert len(conn.streams) == 2  # its user still has it
            await unread.reset()
            assert list(conn.streams.values()) == [other]
            assert wire.frames().count((1, Flag.RESET_RECEIVER, b"")) == 1

    trio.run(main, clock=CLOCK(autojump_threshold=0))


def test_what_is_unread_of_a_stream_that_is_over_is_not_counted_for_ever() -> None:
    async def main() -> None:
        async with alone(Limits(linger=30)) as (conn, wire):
            for number in range(20):
                await wire.send_to.send(opened(number))
                stream = await conn.accept_stream()
                await stream.close()  # its user writes no more, and has no interest in what comes
                await wire.send_to.send(frame(number, Flag.MESSAGE_INITIATOR, bytes(KIB)))
                await wire.send_to.send(frame(number, Flag.RESET_INITIATOR))
            await settle()
            assert conn.unread == 20 * KIB
            await trio.sleep(31)
            await wire.send_to.send(frame(99, Flag.RESET_INITIATOR))
            await trio.sleep(30)
            assert conn.unread == 0
            assert not [stream for stream in conn.streams.values() if stream.inbound]

    trio.run(main, clock=CLOCK(autojump_threshold=0))


def test_unread_data_of_a_connection_is_bounded() -> None:
    async def main() -> None:
        async with alone(Limits(unread_per_connection=1024 * KIB)) as (conn, wire):
            for number in range(8):
                await wire.send_to.send(opened(number) + frame(number, Flag.MESSAGE_INITIATOR, bytes(200 * KIB)))
            await settle()
            assert conn.closed_because == "violation: too much unread data"

    trio.run(main)


def test_connections_share_one_budget_with_others() -> None:
    limits = Limits(unread_total=300 * KIB)

    async def main() -> None:
        budget = UnreadBudget(limits.unread_total)
        wires = [MplexWire() for _ in range(2)]
        conns = [end_of(MeshMplex, wire, initiator=False, limits=limits, budget=budget) for wire in wires]
        async with trio.open_nursery() as nursery:
            for conn, wire in zip(conns, wires, strict=True):
                nursery.start_soon(conn.start)
                size = (250 if conn is conns[0] else 100) * KIB
                await wire.send_to.send(opened(0) + frame(0, Flag.MESSAGE_INITIATOR, bytes(size)))
                await settle()
            assert [conn.is_closed for conn in conns] == [True, False]
            assert budget.total == 100 * KIB
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_writer_waits_for_room() -> None:
    async def main() -> None:
        async with alone(Limits(send_queue=100 * KIB)) as (conn, wire), trio.open_nursery() as nursery:
            wire.holds = trio.Event()
            for _ in range(10):
                nursery.start_soon((await conn.open_stream()).write, bytes(256 * KIB))
            await settle()
            assert 0 < conn._outbox.payload < 100 * KIB + MAX_PAYLOAD
            wire.holds.set()
            await settle()
            sent = sum(len(body) for _, flag, body in wire.frames() if flag == Flag.MESSAGE_INITIATOR)
            assert sent == 10 * 256 * KIB

    trio.run(main)


# Liveness.


def test_a_silent_remote_is_asked_and_given_up() -> None:
    async def main() -> None:
        async with alone(Limits(keepalive_interval=20, keepalive_timeout=15)) as (conn, wire):
            await trio.sleep(21)
            (asked, (_, flag, body)) = wire.frames()
            assert asked[1] == Flag.NEW_STREAM
            assert (flag, body) == (Flag.MESSAGE_INITIATOR, b"\x13/multistream/1.0.0\n\x11/ipfs/ping/1.0.0\n")
            await wire.send_to.send(frame(asked[0], Flag.MESSAGE_RECEIVER, b"\x13/multistream/1.0.0\n\x03na\n"))
            await trio.sleep(21)
            assert not conn.is_closed
            assert (asked[0], Flag.RESET_INITIATOR, b"") in wire.frames()
            await trio.sleep(30)
            assert "vanished" in conn.closed_because

    trio.run(main, clock=CLOCK(autojump_threshold=0))


def test_the_question_leaves_nothing_behind_and_both_sides_live() -> None:
    async def main() -> None:
        async with pair(Limits(keepalive_interval=20, keepalive_timeout=15)) as (here, there), trio.open_nursery() as n:

            async def serve(conn: MeshMplex) -> None:
                while True:
                    stream = await conn.accept_stream()
                    await stream.read()
                    await stream.write(b"na")
                    await stream.close()

            n.start_soon(serve, here)
            n.start_soon(serve, there)
            await trio.sleep(3_600)
            assert (here.closed_because, there.closed_because) == ("", "")
            assert len(here.streams) + len(there.streams) <= 2
            n.cancel_scope.cancel()

    trio.run(main, clock=CLOCK(autojump_threshold=0))


def test_a_remote_that_takes_nothing_is_given_up_while_we_send() -> None:
    async def main() -> None:
        async with alone() as (conn, wire):
            wire.holds = trio.Event()
            await (await conn.open_stream()).write(b"x")
            await trio.sleep(40)
            assert "does not take" in conn.closed_because

    trio.run(main, clock=CLOCK(autojump_threshold=0))


def test_close_is_bounded_when_nothing_is_taken() -> None:
    async def main() -> None:
        async with alone() as (conn, wire):
            wire.holds = trio.Event()
            await (await conn.open_stream()).write(bytes(1000))
            started = trio.current_time()
            await conn.close()
            assert trio.current_time() - started == pytest.approx(Limits().close_flush)

    trio.run(main, clock=CLOCK(autojump_threshold=0))


def test_close_flushes_what_is_queued() -> None:
    async def main() -> None:
        async with pair() as (here, there):
            mine, theirs = await here.open_stream(), await there.accept_stream()
            await mine.write(bytes(100 * KIB))
            await here.close()
            await settle()
            assert theirs.unread == 100 * KIB
            assert there.closed_because == "closed by the remote"

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
            assert mine not in here.streams.values()

    trio.run(main, clock=CLOCK(autojump_threshold=0))


# Bounds.


VIOLATIONS = {
    "flag": [b"\x07\x00"],
    "varint": [b"\xff" * 10],
    "length": [opened(1), b"\x0a" + varint(MAX_MESSAGE + 1)],
    "name": [frame(1, Flag.NEW_STREAM, bytes(MAX_NAME + 1))],
    "the same stream again": [opened(1), opened(1)],
    "empty frames": [opened(1), *[frame(1, Flag.MESSAGE_INITIATOR)] * 2_100],
    "frames of no stream": [frame(9, Flag.MESSAGE_INITIATOR, b"x")] * 2_100,
    "resets of no stream": [frame(9, Flag.RESET_RECEIVER)] * 2_100,
    "frames after the end": [
        opened(1),
        frame(1, Flag.CLOSE_INITIATOR),
        *[frame(1, Flag.MESSAGE_INITIATOR, b"x")] * 2_100,
    ],
    "streams": [opened(number) for number in range(2_200)],
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
            await wire.send_to.send(opened(*range(8)))
            await settle()
            assert sorted(stream.number for stream in conn.streams.values()) == [0, 1, 2, 3, 4]
            assert wire.frames() == [(number, Flag.RESET_RECEIVER, b"") for number in (5, 6, 7)]

    trio.run(main)


def test_our_own_streams_are_bounded() -> None:
    async def main() -> None:
        async with alone(Limits(outbound_streams=2)) as (conn, _):
            for _ in range(2):
                await conn.open_stream()
            with pytest.raises(MuxedStreamError, match="2 streams"):
                await conn.open_stream()

    trio.run(main)


def test_a_remote_that_reads_no_replies_is_given_up() -> None:
    async def main() -> None:
        async with alone(Limits(control_queue=100, inbound_streams=0)) as (conn, wire):
            wire.holds = trio.Event()
            await wire.send_to.send(opened(*range(200)))
            await settle()
            assert conn.closed_because == "does not read our replies"

    trio.run(main)


def test_a_frame_is_taken_as_it_comes() -> None:
    """A frame of 1 MiB that never ends holds what has come of it, and no more."""

    async def main() -> None:
        async with alone() as (conn, wire):
            await wire.send_to.send(opened(1) + b"\x0a" + varint(MAX_MESSAGE) + b"begun")
            stream = await conn.accept_stream()
            assert await stream.read() == b"begun"
            assert conn.unread == 0

    trio.run(main)


def test_small_pieces_take_little_more_than_their_bytes() -> None:
    async def main() -> None:
        async with alone() as (conn, wire):
            await wire.send_to.send(opened(1) + frame(1, Flag.MESSAGE_INITIATOR, b"x") * 60_000)
            stream = await conn.accept_stream()
            await settle()
            assert stream.unread == 60_000
            assert len(stream._pieces) < 20

    trio.run(main)


@given(st.integers(1, 40), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_frames_are_parsed_wherever_messages_are_cut(size: int, rng: random.Random) -> None:
    async def main() -> None:
        async with alone() as (conn, wire):
            body = rng.randbytes(200)
            data = opened(700) + frame(700, Flag.MESSAGE_INITIATOR, body) + frame(700, Flag.CLOSE_INITIATOR, b"why")
            for at in range(0, len(data), size):
                await wire.send_to.send(data[at : at + size])
            await settle()
            (stream,) = conn.streams.values()
            assert await stream.read() == body
            assert stream.got_fin

    trio.run(main)


@given(st.binary(max_size=300), st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_bytes_end_the_connection_or_not(before: bytes, after: bytes) -> None:
    async def main() -> None:
        async with alone() as (conn, wire):
            await wire.send_to.send(before + opened(1) + after)
            await settle()
            assert all(isinstance(stream, MplexStream) for stream in conn.streams.values())
            assert conn.unread == sum(stream.unread for stream in conn.streams.values())
            assert not conn.is_closed or conn.closed_because.startswith("violation")

    trio.run(main)
