"""Hostile peers of the beacon wire. Each behaviour answers one request of ours in its own way; ``serve`` puts it on a
host that is otherwise honest, so that it gets as far as being asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import trio

from p2p.beacon import messages as m
from p2p.beacon.codec import Refusal, encode_chunk, encode_refusal, payload
from p2p.beacon.protocols import GOODBYE, LIGHT_CLIENT, METADATA, PING, STATUS, Exchange, exchange_of
from p2p.beacon.provider import Chunk
from p2p.beacon.reading import encode_varint, read
from p2p.beacon.snappy import IDENTIFIER, encode_frames
from p2p.memory import MemoryHost
from p2p.port import Stream
from tests.support.beacon import DIGEST, ListProvider

Behaviour = Callable[[Stream], Awaitable[None]]
SSZ = bytes(range(256)) * 4


def chunk(ssz: bytes = SSZ, digest: bytes = DIGEST) -> bytes:
    return encode_chunk(Chunk(digest, ssz))


def serve(
    host: MemoryHost,
    behaviour: Behaviour,
    *,
    on: tuple[Exchange, ...] = LIGHT_CLIENT,
    status: Callable[[], m.Status] | None = None,
) -> None:
    """An honest node but for the protocols ``on``."""
    tell = status or ListProvider().status

    async def honest(stream: Stream) -> None:
        exchange, version = exchange_of(stream.protocol)
        answers: Mapping[str, Callable[[], bytes]] = {
            STATUS.name: lambda: m.encode_status(tell(), version),
            METADATA.name: lambda: m.encode_metadata(m.MetaData(), version),
            PING.name: lambda: m.encode_uint64(0),
        }
        await stream.write(chunk(answers[exchange.name](), b""))

    for exchange in (STATUS, METADATA, PING):
        for one in exchange.ids:
            host.handle(one, honest)
    for exchange in on:
        for one in exchange.ids:
            host.handle(one, behaviour)
    for exchange in LIGHT_CLIENT:  # so that it is taken for a server
        for one in exchange.ids:
            if exchange not in on:
                host.handle(one, silent)


async def request_of(stream: Stream) -> bytes:
    exchange, version = exchange_of(stream.protocol)
    size = exchange.requests[version]
    ssz = await read(payload((size, size)), stream) if size else b""
    assert isinstance(ssz, bytes)
    return ssz


# Time.


async def silent(stream: Stream) -> None:
    """Takes requests and never answers."""
    await request_of(stream)
    await trio.sleep_forever()


async def deaf(stream: Stream) -> None:
    """Does not even read."""
    await trio.sleep_forever()


async def dripping(stream: Stream) -> None:
    """Answers at one byte a second."""
    for byte in chunk():
        await stream.write(bytes((byte,)))
        await trio.sleep(1)


async def dripping_chunks(stream: Stream) -> None:
    """A good chunk, and the next ones just before each is given up."""
    while True:
        await stream.write(chunk())
        await trio.sleep(9)


async def breaking_off(stream: Stream) -> None:
    """Ends in the middle of a chunk."""
    await stream.write(chunk()[:50])
    await stream.close()


async def resetting(stream: Stream) -> None:
    """Breaks the stream off in the middle of a chunk."""
    await stream.write(chunk()[:50])
    await stream.reset()


# Content.


async def empty(stream: Stream) -> None:
    """Ends the response before it begins."""
    await stream.close()


async def wrong_digest(stream: Stream) -> None:
    """A context of no network that we know."""
    await stream.write(chunk(digest=b"\x00\x01\x02\x03"))


async def oversized(stream: Stream) -> None:
    """Announces 4 GiB and begins to send them."""
    await stream.write(b"\x00" + DIGEST + encode_varint(2**32) + IDENTIFIER)
    while True:
        await stream.write(bytes(65_536))


async def bomb(stream: Stream) -> None:
    """20 kB that would become 400 kB, announced as 20 kB."""
    frames = encode_frames(bytes(400_000))
    await stream.write(b"\x00" + DIGEST + encode_varint(20_000) + frames)
    await trio.sleep_forever()


async def padding(stream: Stream) -> None:
    """Frames that hold nothing, for ever."""
    await stream.write(b"\x00" + DIGEST + encode_varint(1_000) + IDENTIFIER)
    while True:
        await stream.write(b"\xfe\x00\x00\x00" * 1_000)


async def junk_snappy(stream: Stream) -> None:
    """Right sizes around bytes that are no snappy."""
    await stream.write(b"\x00" + DIGEST + encode_varint(1_000) + b"\x55" * 1_100)
    await trio.sleep_forever()


async def false_checksum(stream: Stream) -> None:
    """One bit in the checksum."""
    data = bytearray(chunk())
    data[1 + 4 + 2 + len(IDENTIFIER) + 4] ^= 1
    await stream.write(bytes(data))
    await trio.sleep_forever()


async def endless_varint(stream: Stream) -> None:
    """A length that does not end."""
    await stream.write(b"\x00" + DIGEST + b"\xff" * 100)
    await trio.sleep_forever()


async def long_error(stream: Stream) -> None:
    """An error text of a megabyte."""
    await stream.write(b"\x02" + encode_varint(1 << 20) + encode_frames(bytes(1 << 20)))
    await trio.sleep_forever()


async def garbage(stream: Stream) -> None:
    """Bytes of another protocol."""
    await stream.write(b"GET / HTTP/1.1\r\n\r\n" * 100)
    await trio.sleep_forever()


# Manners.


async def rate_limiting(stream: Stream) -> None:
    """Never has time."""
    await stream.write(encode_refusal(Refusal(139, "Rate limited. Wait 10s")))


async def refusing(stream: Stream) -> None:
    """Says no, in words that must not reach a terminal as they are."""
    await stream.write(encode_refusal(Refusal(2, "\x1b[2J no\n")))


async def without_end(stream: Stream) -> None:
    """One chunk after the other, whatever was asked for."""
    while True:
        await stream.write(chunk())


def sending(*chunks: Chunk) -> Behaviour:
    """Answers with these: in a wrong order, twice, or of other periods than were asked for."""

    async def behaviour(stream: Stream) -> None:
        await request_of(stream)
        for one in chunks:
            await stream.write(encode_chunk(one))

    return behaviour


# Hostile askers: they open the stream.


async def half_a_request(host: MemoryHost, peer: str, exchange: Exchange) -> Stream:
    """Begins a request and leaves it there."""
    stream = await host.open_stream(peer, exchange.ids)
    await stream.write(b"\x10\xff\x06\x00")
    return stream


async def says(host: MemoryHost, peer: str, exchange: Exchange, data: bytes) -> Stream:
    """Sends bytes where a request belongs."""
    stream = await host.open_stream(peer, exchange.ids)
    await stream.write(data)
    return stream


async def coming_and_going(host: MemoryHost, peer: str) -> None:
    """Says goodbye with a reason that nobody knows."""
    stream = await host.open_stream(peer, GOODBYE.ids)
    ssz = m.encode_uint64(2**64 - 1)
    await stream.write(encode_varint(len(ssz)) + encode_frames(ssz))
    await stream.close()
