"""A real host that takes mplex, in its own process, attacked over mplex; and what happens without that fence."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from contextlib import suppress

import pytest
import trio
from mplex_peer import CLOSE, MESSAGE, NEW_STREAM, RESET, MplexPeer, frame
from raw_peer import GONE, GREETING, message, varint
from victim import VictimProcess, ask, echoes, observer, victim

from p2p.host import Limits
from p2p.host.mplex_frames import MAX_MESSAGE, MAX_NAME
from p2p.port import MPLEX, YAMUX, PortError, Stream

BOTH = (YAMUX, MPLEX)
ONLY = (MPLEX,)
SLEEP = "/test/sleep/1"
KIB = 1024
MB = 1_000_000
FLAT = 8 * MB
"""Growth of a fenced process under attack: one connection's worth of buffers, and what the allocator keeps."""
SEED = 20
FOR_EVER = 30.0
"""Seconds after which a test fails; what it waits for takes a few."""


@pytest.fixture(scope="module")
def fenced() -> Iterator[VictimProcess]:
    with victim(muxers=BOTH, limits={"mplex_patience": 0.5}) as target:
        yield target


async def _serves(target: VictimProcess) -> bool:
    async with observer(muxers=ONLY) as host:
        return await echoes(host, await host.connect(target.addr))


async def _growth(target: VictimProcess, before: int) -> int:
    return await _rss(target) - before


async def _rss(target: VictimProcess) -> int:
    async with observer() as host:
        return int((await ask(host, await host.connect(target.addr)))["rss"])


# Memory.


def test_an_unread_stream_does_not_fill_the_memory(fenced: VictimProcess) -> None:
    """50 MB to a handler that never reads: the stream is reset, again and again, and the connection lives."""

    async def main() -> None:
        before = await _rss(fenced)
        async with MplexPeer(fenced.addr) as peer:
            sent = 0
            for _ in range(3):
                stream_id = await peer.open(SLEEP)
                for _ in range(4):
                    await peer.send(frame(stream_id, MESSAGE, bytes(MAX_MESSAGE)))
                    sent += MAX_MESSAGE
            assert await peer.settled()
            assert await _growth(fenced, before) < FLAT
            assert sent > FLAT

    trio.run(main)


def test_unread_streams_of_one_connection_are_bounded_together(fenced: VictimProcess) -> None:
    async def main() -> None:
        before = await _rss(fenced)
        async with MplexPeer(fenced.addr) as peer:
            try:
                for _ in range(60):
                    stream_id = await peer.open(SLEEP)
                    await peer.send(frame(stream_id, MESSAGE, bytes(900 * KIB)))
            except GONE:
                pass
            await peer.read_frames_until_closed()
        assert await _growth(fenced, before) < 2 * FLAT
        assert await _serves(fenced)

    trio.run(main)


def test_a_reader_that_lags_loses_nothing() -> None:
    """The echo reads byte by byte, much slower than we send: what it does not take waits in the sockets."""
    body = random.Random(SEED).randbytes(60_000)

    async def main() -> None:
        async with observer(muxers=ONLY) as host, trio.open_nursery() as nursery:
            stream = await host.open_stream(await host.connect(target.addr), "/test/echo/1")
            nursery.start_soon(stream.write, body)
            assert await stream.read_exactly(len(body)) == body
            await stream.close()

    with victim(muxers=ONLY, limits={"mplex_stream_unread": 4 * KIB}) as target:
        trio.run(main)


def test_what_never_ends_holds_only_what_came(fenced: VictimProcess) -> None:
    """A protocol id, and a frame, that are announced and not sent."""

    async def main() -> None:
        before = await _rss(fenced)
        async with MplexPeer(fenced.addr) as peer:
            for _ in range(50):
                await peer.open_raw(message(GREETING) + varint(8 * MB) + bytes(100))
            stream_id = await peer.open(SLEEP)
            await peer.send(frame(stream_id, MESSAGE, b"begun", length=MAX_MESSAGE))
            assert await _growth(fenced, before) < FLAT
        assert await _serves(fenced)

    trio.run(main)


# Streams.


async def _open_without_a_word(peer: MplexPeer, count: int) -> None:
    try:
        for start in range(0, count, 500):
            await peer.send(*(frame(number, NEW_STREAM, b"x") for number in range(start, start + 500)))
    except GONE:
        pass


def test_ten_thousand_streams(fenced: VictimProcess) -> None:
    async def main() -> None:
        async with observer() as host, MplexPeer(fenced.addr) as peer:
            honest = await host.connect(fenced.addr)
            await _open_without_a_word(peer, 1_000)
            assert (await ask(host, honest))["streams"] < 100
            await _open_without_a_word(peer, 10_000)
            await peer.read_frames_until_closed()
            assert peer.peer_id not in (await ask(host, honest))["connections"]
            assert await echoes(host, honest)

    trio.run(main)


def test_without_its_fence_streams_are_not_counted() -> None:
    async def main() -> None:
        async with observer() as host, MplexPeer(target.addr) as peer:
            honest = await host.connect(target.addr)
            await _open_without_a_word(peer, 1_000)
            with trio.fail_after(FOR_EVER):
                while (await ask(host, honest))["streams"] < 500:  # noqa: ASYNC110 - in another process
                    await trio.sleep(0.1)

    with victim(without=["mplex"], muxers=BOTH) as target:
        trio.run(main)


def test_streams_opened_and_reset_get_no_handler_each(fenced: VictimProcess) -> None:
    """Handlers of streams that were reset still run: they count."""

    async def main() -> None:
        async with observer() as host, MplexPeer(fenced.addr) as peer:
            honest = await host.connect(fenced.addr)
            for _ in range(200):
                stream_id = await peer.open(SLEEP)
                await peer.send(frame(stream_id, RESET))
            assert (await ask(host, honest))["streams"] < 100
            assert await echoes(host, honest)

    trio.run(main)


# Garbage.

FRAMES = {
    "oversized frame": frame(1, NEW_STREAM) + frame(1, MESSAGE, length=MAX_MESSAGE + 1),
    "oversized frame of no stream": frame(9, MESSAGE, length=2**31),
    "oversized length": frame(1, NEW_STREAM) + b"\x0a" + b"\xff" * 12,
    "oversized name": frame(1, NEW_STREAM, length=MAX_NAME + 1),
    "oversized reset": frame(1, RESET, length=MAX_MESSAGE),
    "flag": b"\x0f\x00",
    "endless varint": b"\xff" * 40,
    "the same stream again": frame(1, NEW_STREAM) * 2,
    "frames of no stream": frame(9, CLOSE) * 3_000,
}
"""Each of these costs the connection."""


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
def test_frames_that_end_the_connection(frames: bytes, fenced: VictimProcess) -> None:
    async def main() -> None:
        async with MplexPeer(fenced.addr) as peer:
            with suppress(GONE):
                await peer.send(frames)
            with trio.fail_after(FOR_EVER):
                await peer.read_frames_until_closed()
        assert await _serves(fenced)

    trio.run(main)


def test_a_name_that_is_no_text_costs_nothing(fenced: VictimProcess) -> None:
    async def main() -> None:
        async with MplexPeer(fenced.addr) as peer:
            await peer.send(frame(7_000, NEW_STREAM, b"\xff\xfe\xfd"))
            assert await peer.settled()

    trio.run(main)


def test_without_its_fence_such_a_name_kills() -> None:
    async def main() -> None:
        async with MplexPeer(target.addr) as peer:
            await peer.send(frame(7_000, NEW_STREAM, b"\xff\xfe\xfd"))
            await target.dies(5)

    with victim(without=["mplex", "task-firewall"], muxers=BOTH) as target:
        trio.run(main)
        assert not target.alive()


def test_frames_in_any_order(fenced: VictimProcess) -> None:
    """All flags, for streams that are open, closed, and were never there; and bytes that are no frames at all."""
    rng = random.Random(SEED)

    async def main() -> None:
        for number in range(40):
            async with MplexPeer(fenced.addr) as peer:
                try:
                    for _ in range(60):
                        body = rng.randbytes(rng.choice([0, 1, 12, 200]))
                        garbage = rng.randbytes(20) if number % 4 == 0 else b""
                        await peer.send(frame(rng.randrange(4), rng.randrange(7), body) + garbage)
                except GONE:
                    continue
        assert await _serves(fenced)

    trio.run(main)


# Silence.


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_remote_that_vanishes_is_noticed(busy: bool) -> None:
    """Its process is stopped: its kernel goes on acknowledging, and nothing else happens."""

    async def main() -> None:
        gone = trio.Event()
        quick = Limits(keepalive_interval=0.3, keepalive_timeout=0.3)
        async with observer(quick, ONLY) as host, trio.open_nursery() as nursery:
            host.on_peer(lambda peer, connected, addr, inbound: None if connected else gone.set())
            peer = await host.connect(target.addr)
            streams = [await host.open_stream(peer, SLEEP) for _ in range(40 * busy)]
            target.stop()
            for stream in streams:
                nursery.start_soon(_write, stream)
            with trio.fail_after(FOR_EVER):
                await gone.wait()
            assert host.connections() == []

    with victim(muxers=ONLY) as target:
        trio.run(main)


async def _write(stream: Stream) -> None:
    with suppress(PortError):
        await stream.write(bytes(MB))


def test_a_remote_that_is_only_silent_stays() -> None:
    """The question after a sign of life is answered, also by a host that knows nothing of it."""

    async def main() -> None:
        async with observer(Limits(keepalive_interval=0.2, keepalive_timeout=0.2), ONLY) as host:
            peer = await host.connect(target.addr)
            await trio.sleep(3)
            assert [info.peer for info in host.connections()] == [peer]
            assert await echoes(host, peer)
            assert (await ask(host, peer))["streams"] < 12

    with victim(muxers=ONLY) as target:
        trio.run(main)


def test_a_stopped_remote_does_not_hold_up_the_end() -> None:
    async def main() -> None:
        with trio.fail_after(FOR_EVER):
            async with observer(muxers=ONLY) as host, trio.open_nursery() as nursery:
                peer = await host.connect(target.addr)
                streams = [await host.open_stream(peer, SLEEP) for _ in range(20)]
                target.stop()
                for stream in streams:
                    nursery.start_soon(_write, stream)
                await trio.sleep(0.3)
                await host.disconnect(peer)
                assert host.connections() == []

    with victim(muxers=ONLY) as target:
        trio.run(main)
    gc.collect()
