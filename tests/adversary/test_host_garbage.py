"""Bytes that mean nothing, at every layer of a real host in its own process, and the two ways around its identity."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
import trio
from raw_peer import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    GONE,
    GREETING,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    RawPeer,
    frame,
    gossip,
    message,
    varint,
)
from victim import VictimProcess, ask, echoes, observer, victim

from p2p.addresses import parse_address
from p2p.port import DialFailed, StreamRefused

TOPIC = "/test/topic/1"
GOSSIP = "/meshsub/1.1.0"
IDENTIFY = "/ipfs/id/1.0.0"
PING_PROTOCOL = "/ipfs/ping/1.0.0"
SEED = 20
SOMEBODY = "12D3KooWMwUGMDWAorm9xseMzsafUs1j19CYr2BcGVnwdE7gM9UM"


@pytest.fixture(scope="module")
def fenced() -> Iterator[VictimProcess]:
    with victim() as target:
        yield target


async def _tcp(target: VictimProcess) -> trio.SocketStream:
    where = parse_address(target.addr)
    return await trio.open_tcp_stream(where.host, where.port)


async def _serves(target: VictimProcess) -> bool:
    async with observer() as host:
        return await echoes(host, await host.connect(target.addr))


# Below the handshake.

BEFORE_NOISE = {
    "nothing": b"",
    "zeros": bytes(4096),
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "endless length": b"\xff" * 64,
    "zero length": b"\x00" * 64,
    "no newline": varint(5) + b"/abcd",
    "wrong greeting": message(b"/multistream/9.9.9"),
    "no such protocol": message(GREETING) + message(b"/no/such/thing") * 40,
    "list": message(GREETING) + message(b"ls") * 40,
    "bad noise": message(GREETING) + message(b"/noise") + b"\x00\x20" + bytes(32),
    "long noise": message(GREETING) + message(b"/noise") + b"\xff\xff" + bytes(65535),
    "short noise": message(GREETING) + message(b"/noise") + b"\x00\x00",
}


@pytest.mark.parametrize("garbage", BEFORE_NOISE.values(), ids=BEFORE_NOISE)
def test_before_the_handshake(garbage: bytes, fenced: VictimProcess) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            stream = await stack.enter_async_context(await _tcp(fenced))
            try:
                await stream.send_all(garbage)
                await stream.send_eof()
                while await stream.receive_some():  # until the other side closes
                    pass
            except (OSError, trio.BrokenResourceError):  # it already has
                pass
        assert await _serves(fenced)

    trio.run(main)


# Above it.

YAMUX = {
    "version": struct.pack("!BBHII", 1, DATA, 0, 1, 0),
    "type": frame(7, 0, 0, 0),
    "stream zero": frame(WINDOW_UPDATE, SYN, 0, 0),
    "a stream of theirs": frame(WINDOW_UPDATE, SYN, 2, 0),
    "too long a frame": frame(WINDOW_UPDATE, SYN, 1, 0) + frame(DATA, 0, 1, 2**31),
    "too long a frame of no stream": frame(DATA, 0, 99, 2**32 - 1),
    "window overflow": frame(WINDOW_UPDATE, SYN, 1, 2**32 - 1),
    "window overflow in steps": frame(WINDOW_UPDATE, SYN, 1, 0) + frame(WINDOW_UPDATE, 0, 1, 2**31 - 1) * 3,
    "go away": frame(GO_AWAY, 0, 0, 2),
}
"""Each of these costs the connection."""


@pytest.mark.parametrize("frames", YAMUX.values(), ids=YAMUX)
def test_frames_that_end_the_connection(frames: bytes, fenced: VictimProcess) -> None:
    async def main() -> None:
        async with RawPeer(fenced.addr) as peer:
            await peer.send(frames)
            await peer.read_until_closed()
        assert await _serves(fenced)

    trio.run(main)


def test_frames_in_any_order(fenced: VictimProcess) -> None:
    """All combinations of type and flags, for streams that are open, closed, and were never there."""
    rng = random.Random(SEED)

    async def main() -> None:
        for _ in range(40):
            async with RawPeer(fenced.addr) as peer:
                try:
                    for _ in range(60):
                        kind, flags = rng.choice([DATA, WINDOW_UPDATE, PING]), rng.randrange(16)
                        size = rng.choice([0, 1, 12, 300])
                        body = rng.randbytes(size) if kind == DATA else b""
                        await peer.send(frame(kind, flags, rng.choice([1, 3, 5, 7]), size, body))
                except GONE:
                    continue
        assert await _serves(fenced)

    trio.run(main)


STREAMS = {
    "empty": [b""],
    "half a greeting": [message(GREETING)[:7]],
    "end after greeting": [message(GREETING)],
    "gossip of zeros": [message(GREETING) + message(GOSSIP.encode()) + bytes(100)],
    "gossip too long": [message(GREETING) + message(GOSSIP.encode()) + varint(2**31)],
    "gossip length without end": [message(GREETING) + message(GOSSIP.encode()) + b"\x80" * 20],
    "gossip without topic": [message(GREETING) + message(GOSSIP.encode()) + gossip(publish=[{"data": b"x"}])],
    "gossip too big": [
        message(GREETING) + message(GOSSIP.encode()) + gossip(publish=[{"topicIDs": [TOPIC], "data": bytes(20_000)}])
    ],
    "identify with a request": [message(GREETING) + message(IDENTIFY.encode()) + bytes(100)],
    "ping cut": [message(GREETING) + message(PING_PROTOCOL.encode()) + bytes(31)],
}


@pytest.mark.parametrize("ending", [FIN, RST], ids=["fin", "rst"])
@pytest.mark.parametrize("payloads", STREAMS.values(), ids=STREAMS)
def test_streams_that_cost_themselves_only(payloads: list[bytes], ending: int, fenced: VictimProcess) -> None:
    async def main() -> None:
        async with RawPeer(fenced.addr) as peer:
            for payload in payloads:
                stream_id = await peer.open_raw(payload)
                await peer.send(frame(WINDOW_UPDATE, ending, stream_id, 0))
            assert await peer.settled()
        assert await _serves(fenced)

    trio.run(main)


def test_random_bytes_in_every_protocol(fenced: VictimProcess) -> None:
    rng = random.Random(SEED)
    protocols = [GOSSIP, IDENTIFY, PING_PROTOCOL, "/test/echo/1", "/test/ask/1"]

    async def main() -> None:
        async with RawPeer(fenced.addr) as peer:
            for _ in range(50):
                stream_id = await peer.open(rng.choice(protocols), rng.randbytes(rng.randrange(500)))
                await peer.send(frame(WINDOW_UPDATE, rng.choice([FIN, RST, ACK]), stream_id, 0))
            assert await peer.settled()
        assert await _serves(fenced)

    trio.run(main)


def test_a_dialer_survives_a_listener_that_talks_nonsense() -> None:
    """The other direction: we dial, negotiate and identify with somebody who answers with noise."""
    rng = random.Random(SEED)

    async def nonsense(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(rng.randbytes(3_000))

    async def main() -> None:
        async with observer() as host, trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, nonsense, 0)
            port = listeners[0].socket.getsockname()[1]
            with pytest.raises(DialFailed):
                await host.connect(f"/ip4/127.0.0.1/tcp/{port}/p2p/{SOMEBODY}")
            nursery.cancel_scope.cancel()

    trio.run(main)


# Identity.


async def _plaintext_answer(target: VictimProcess) -> bytes:
    async with await _tcp(target) as stream:
        await stream.send_all(message(GREETING) + message(b"/plaintext/2.0.0"))
        expected = len(message(GREETING)) + 3
        answer = b""
        while len(answer) < expected:
            answer += await stream.receive_some()
        return answer[len(message(GREETING)) :]


def test_plaintext_is_refused(fenced: VictimProcess) -> None:
    assert trio.run(_plaintext_answer, fenced) == message(b"na")


def test_without_its_fence_plaintext_is_accepted() -> None:
    with victim(without=["noise-only"]) as target:
        assert trio.run(_plaintext_answer, target).startswith(message(b"/plaintext/2.0.0")[:3])


def test_messages_with_an_author_are_refused(fenced: VictimProcess) -> None:
    async def main() -> None:
        async with observer() as host, RawPeer(fenced.addr) as peer:
            honest = await host.connect(fenced.addr)
            before = (await ask(host, honest))["delivered"]
            message = {"topicIDs": [TOPIC], "data": b"signed"}
            await peer.open(
                GOSSIP,
                gossip(publish=[message | {"from_id": b"me"}]),
                gossip(publish=[message | {"seqno": b"1"}]),
                gossip(publish=[message | {"signature": b"s"}]),
                gossip(publish=[message | {"key": b"k"}]),
                gossip(publish=[message | {"topicIDs": [TOPIC, TOPIC]}]),
                gossip(publish=[message | {"topicIDs": ["/another"]}]),
                gossip(publish=[message]),
            )
            assert await peer.settled()
            assert (await ask(host, honest))["delivered"] == before + 1

    trio.run(main)


def test_an_unknown_protocol_is_refused(fenced: VictimProcess) -> None:
    async def main() -> None:
        async with observer() as host:
            with pytest.raises(StreamRefused):
                await host.open_stream(await host.connect(fenced.addr), "/no/such/protocol")

    trio.run(main)


# Relaying.


async def _relayed(target: VictimProcess) -> int:
    """How many of 20 messages that a raw peer publishes to the victim reach an honest peer behind it."""
    got: set[bytes] = set()
    async with observer() as host, RawPeer(target.addr) as peer:
        host.subscribe(TOPIC, lambda peer, data: data.startswith(b"relayed"), lambda peer, data: got.add(data))
        honest = await host.connect(target.addr)
        with trio.fail_after(20):
            while host.peer_id not in (await ask(host, honest))["mesh"]:  # noqa: ASYNC110 - in another process
                await trio.sleep(0.05)
        frames = [gossip(publish=[{"topicIDs": [TOPIC], "data": b"relayed %d" % n}]) for n in range(20)]
        await peer.open(GOSSIP, *frames)
        with trio.move_on_after(2):
            while len(got) < 20:  # noqa: ASYNC110 - filled by a callback
                await trio.sleep(0.02)
    return len(got)


def test_messages_without_author_are_relayed(fenced: VictimProcess) -> None:
    assert trio.run(_relayed, fenced) == 20


def test_without_its_fence_only_the_first_one_is() -> None:
    with victim(without=["content-ids"]) as target:
        assert trio.run(_relayed, target) == 1
