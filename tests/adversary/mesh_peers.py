"""Hostile peers of the headers protocol. Each is a handler for ``Host.handle`` on a host of its own; it
speaks raw frames and believes nothing. ``claim`` is the hello that it shows."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import trio

from p2p.mesh import codec
from p2p.mesh.codec import Announce, GetByLocator, GetRange, Headers, Hello, Malformed, Message
from p2p.port import Stream

Handler = Callable[[Stream], Awaitable[None]]
Behaviour = Callable[["Hostile"], Awaitable[None]]


async def read_frame(stream: Stream) -> tuple[int, Message]:
    prefix = codec.decode_prefix(await stream.read_exactly(codec.PREFIX_SIZE))
    assert not isinstance(prefix, Malformed)
    message = codec.decode_payload(prefix.type, await stream.read_exactly(prefix.payload_size))
    assert not isinstance(message, Malformed)
    return prefix.request_id, message


@dataclass(frozen=True, slots=True)
class Hostile:
    """What a behaviour has in hand once the hellos are exchanged."""

    stream: Stream
    claim: Hello

    async def request(self) -> tuple[int, GetByLocator | GetRange]:
        request_id, message = await read_frame(self.stream)
        assert isinstance(message, GetByLocator | GetRange)
        return request_id, message

    async def send(self, request_id: int, message: Message) -> None:
        await self.stream.write(codec.encode(request_id, message))


def start_of(request: GetByLocator | GetRange) -> int:
    return request.start if isinstance(request, GetRange) else 0


def answer_to(request: GetByLocator | GetRange) -> Headers:
    """An answer that the mesh must believe, made of zeros."""
    return Headers(start_of(request), bytes(codec.HEADER_SIZE * request.count))


def peer(claim: Hello, behaviour: Behaviour) -> Handler:
    """Exchanges hellos as an honest peer would, then behaves."""

    async def handler(stream: Stream) -> None:
        await read_frame(stream)
        await stream.write(codec.encode(codec.NO_REQUEST, claim))
        await behaviour(Hostile(stream, claim))

    return handler


# Before or instead of a hello.


async def mute(stream: Stream) -> None:
    """Accepts and never says a word."""
    await trio.sleep_forever()


async def garbage(stream: Stream) -> None:
    """Begins with bytes that are no frame."""
    await stream.write(b"GET / HTTP/1.1\r\n\r\n" * 100)
    await trio.sleep_forever()


def wrong_network(claim: Hello) -> Handler:
    """Has another genesis under this network's name."""
    return peer(replace(claim, genesis=b"\x66" * 32), silent)


# After the hellos.


async def silent(hostile: Hostile) -> None:
    """Takes requests and never answers."""
    while True:
        await hostile.request()


async def deaf(hostile: Hostile) -> None:
    """Does not even read."""
    await trio.sleep_forever()


async def dripping_bytes(hostile: Hostile) -> None:
    """Answers at one byte a second."""
    request_id, request = await hostile.request()
    for byte in codec.encode(request_id, answer_to(request)):
        await hostile.stream.write(bytes((byte,)))
        await trio.sleep(1)


async def dripping_headers(hostile: Hostile) -> None:
    """Answers every request with one header, a second late."""
    while True:
        request_id, request = await hostile.request()
        await trio.sleep(1)
        await hostile.send(request_id, Headers(start_of(request), bytes(codec.HEADER_SIZE)))


async def oversized_frame(hostile: Hostile) -> None:
    """Announces a frame of 4 GiB and begins to send it."""
    request_id, _ = await hostile.request()
    await hostile.stream.write(struct.pack(">IBI", 2**32 - 1, codec.FrameType.HEADERS, request_id))
    while True:
        await hostile.stream.write(bytes(65_536))


async def truncated_frame(hostile: Hostile) -> None:
    """Ends the stream in the middle of a frame."""
    request_id, request = await hostile.request()
    await hostile.stream.write(codec.encode(request_id, answer_to(request))[:50])
    await hostile.stream.close()


async def wrong_id(hostile: Hostile) -> None:
    """Answers a request that nobody made."""
    request_id, request = await hostile.request()
    await hostile.send(request_id + 1, answer_to(request))
    await trio.sleep_forever()


async def twice(hostile: Hostile) -> None:
    """Answers every request twice."""
    while True:
        request_id, request = await hostile.request()
        for _ in range(2):
            await hostile.send(request_id, answer_to(request))


async def too_many(hostile: Hostile) -> None:
    """Sends one header more than was asked for."""
    request_id, request = await hostile.request()
    more = bytes(codec.HEADER_SIZE * (request.count + 1))
    await hostile.send(request_id, Headers(start_of(request), more))
    await trio.sleep_forever()


async def empty(hostile: Hostile) -> None:
    """Answers a range with no header, from above its own tip on, so that nothing seems to be missing."""
    while True:
        request_id, _ = await hostile.request()
        await hostile.send(request_id, Headers(hostile.claim.tip_height + 1, b""))


async def repeating(hostile: Hostile) -> None:
    """Announces one and the same tip again and again, at the allowed rate."""
    while True:
        await hostile.send(codec.NO_REQUEST, Announce(hostile.claim))
        await trio.sleep(0.5)


async def wrong_start(hostile: Hostile) -> None:
    """Answers with another range than was asked for."""
    request_id, request = await hostile.request()
    await hostile.send(request_id, Headers(start_of(request) + 1, answer_to(request).headers))
    await trio.sleep_forever()


async def denying(hostile: Hostile) -> None:
    """Claims heights in its hello and then does not know them."""
    while True:
        request_id, _ = await hostile.request()
        await hostile.send(request_id, codec.Error(codec.ErrorCode.NOT_FOUND, "what header?"))


async def asking(hostile: Hostile) -> None:
    """Sends a request where only answers belong."""
    await hostile.send(1, GetRange(0, 1))
    await trio.sleep_forever()


async def announcing(hostile: Hostile) -> None:
    """Floods announcements, each of another tip."""
    height = hostile.claim.tip_height
    while True:
        height += 1
        tip = replace(hostile.claim, tip_height=height, tip_hash=height.to_bytes(32, "big"))
        await hostile.send(codec.NO_REQUEST, Announce(tip))


async def changing(hostile: Hostile) -> None:
    """Says hello as one network and announces tips of another."""
    await hostile.send(codec.NO_REQUEST, Announce(replace(hostile.claim, genesis=b"\x67" * 32)))
    await trio.sleep_forever()


async def leaving(hostile: Hostile) -> None:
    """Breaks the stream off in the middle of an answer."""
    request_id, request = await hostile.request()
    await hostile.stream.write(codec.encode(request_id, answer_to(request))[:50])
    await hostile.stream.reset()


# Hostile askers: they open the stream.


async def flood_requests(stream: Stream, hello: Hello, count: int) -> int:
    """Asks ``count`` times for the most there is, reading nothing; returns how many requests found room."""
    await stream.write(codec.encode(codec.NO_REQUEST, hello))
    for request_id in range(1, count + 1):
        with trio.move_on_after(5) as scope:
            await stream.write(codec.encode(request_id, GetRange(0, codec.MAX_HEADERS)))
        if scope.cancelled_caught:
            return request_id - 1
    return count
