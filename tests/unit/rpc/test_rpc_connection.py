"""How long one connection may make the server wait, on a simulated clock; and what one bad handler costs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from spvnode.metrics import Metrics
from spvnode.rpc import connection
from spvnode.rpc import server as room
from spvnode.rpc.access import Peer
from spvnode.rpc.connection import MAX_LEFT_PARTS, Asgi, Connection
from spvnode.rpc.http import Message, Receive, Send
from spvnode.rpc.limits import HEADER_SECONDS, IDLE_SECONDS, LINGER_SECONDS, REQUEST_SECONDS
from spvnode.rpc.server import Door, Server

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD_OF_POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
Stream = trio.abc.HalfCloseableStream


async def hello(scope: Message, receive: Receive, send: Send) -> None:
    """Reads the body, answers with it."""
    message = await receive()
    body = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def lasts(
    client: Callable[[Stream], Awaitable[Any]], app: Asgi = hello, pair: Callable[[], Any] = memory_stream_pair
) -> float:
    """Seconds of simulated time that a connection lives while ``client`` does its part and then holds still."""

    async def main() -> float:
        ours, theirs = pair()
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_cut_off, client, theirs)
            await Connection(ours, app, Peer("tcp", vouched=False)).run()
            ended = trio.current_time()
            await ours.aclose()
            nursery.cancel_scope.deadline = ended + 1.0  # for the client to read what is left
        return ended - begun

    return trio.run(main, clock=MockClock(autojump_threshold=0))


async def until_cut_off(client: Callable[[Stream], Awaitable[Any]], stream: Stream) -> None:
    """The client's part, as far as it comes."""
    with suppress(trio.BrokenResourceError):
        await client(stream)


async def drip(stream: Stream, data: bytes, pause: float) -> None:
    """Sends byte by byte."""
    for at in range(len(data)):
        await stream.send_all(data[at : at + 1])
        await trio.sleep(pause)


def test_silence_ends_after_the_time_for_a_head() -> None:
    async def client(stream: Stream) -> None:
        await trio.sleep_forever()

    assert lasts(client) == pytest.approx(HEADER_SECONDS)


def test_a_dripped_head_ends_after_the_time_for_a_head() -> None:
    async def client(stream: Stream) -> None:
        await drip(stream, GET, 1.0)

    assert lasts(client) == pytest.approx(HEADER_SECONDS)


def test_a_kept_connection_may_idle_longer() -> None:
    async def client(stream: Stream) -> None:
        await stream.send_all(GET)
        await stream.receive_some()

    assert lasts(client) == pytest.approx(IDLE_SECONDS)


def test_a_head_dripped_after_a_while_has_no_more_time_than_any_other() -> None:
    async def client(stream: Stream) -> None:
        await stream.send_all(GET)
        await stream.receive_some()
        await trio.sleep(20)
        await drip(stream, GET, 1.0)

    assert lasts(client) == pytest.approx(20 + HEADER_SECONDS)


def test_a_dripped_body_ends_after_the_time_for_a_request() -> None:
    received: list[bytes] = []

    async def client(stream: Stream) -> None:
        await stream.send_all(HEAD_OF_POST)
        with trio.move_on_after(REQUEST_SECONDS):
            await drip(stream, b"123456789", 20.0)
        received.append(bytes(await stream.receive_some()))

    assert lasts(client) == pytest.approx(REQUEST_SECONDS)
    assert received[0].startswith(b"HTTP/1.1 503 Service Unavailable\r\n")


def test_a_client_that_does_not_read_ends_after_the_time_for_a_request() -> None:
    async def client(stream: Stream) -> None:
        await stream.send_all(GET)
        await trio.sleep_forever()

    async def big(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": b"123456789"})

    assert lasts(client, big, lockstep_stream_pair) == pytest.approx(REQUEST_SECONDS)


def test_a_handler_that_hangs_ends_after_the_time_for_a_request() -> None:
    received: list[bytes] = []

    async def client(stream: Stream) -> None:
        await stream.send_all(GET)
        received.append(bytes(await stream.receive_some()))

    async def hang(scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await receive()  # nothing follows the body: this waits

    assert lasts(client, hang) == pytest.approx(REQUEST_SECONDS)
    assert b"the request took longer than 60 s" in received[0]


def test_a_refused_client_that_goes_on_sending_is_heard_out_for_a_moment_only() -> None:
    async def client(stream: Stream) -> None:
        await stream.send_all(HEAD_OF_POST)
        await trio.sleep_forever()

    async def refuse(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    assert lasts(client, refuse) == pytest.approx(LINGER_SECONDS)


@pytest.mark.parametrize("begun", [False, True])
def test_a_handler_that_raises_costs_its_request_alone(monkeypatch: pytest.MonkeyPatch, begun: bool) -> None:
    logged: list[str] = []
    monkeypatch.setattr(connection.log, "exception", logged.append, raising=False)
    received: list[bytes] = []

    async def client(stream: Stream) -> None:
        await stream.send_all(GET)
        received.append(b"".join([part async for part in stream]))

    async def broken(scope: Message, receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
            await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        raise RuntimeError("secret")

    async def main() -> None:
        ours, theirs = memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client, theirs)
            await Connection(ours, broken, Peer("tcp", vouched=False)).run()
            await ours.aclose()

    trio.run(main)
    assert logged == ["rpc request failed"]
    assert received[0].startswith(b"HTTP/1.1 200 OK" if begun else b"HTTP/1.1 500 Internal Server Error")
    assert b"secret" not in received[0]


def test_a_connection_that_fails_in_any_way_leaves_the_server_running(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __init__(self, *_: object) -> None:
            pass

        async def run(self) -> None:
            raise KeyError("ours")

    logged: list[str] = []
    monkeypatch.setattr(room, "Connection", Broken)
    monkeypatch.setattr(room.log, "exception", lambda event, **_: logged.append(event), raising=False)

    async def main() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Server(hello, Metrics()).serve, Door("tcp", lambda: 4), listeners)
            for _ in range(8):
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    assert await stream.receive_some() == b""
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert logged == ["rpc connection failed"] * 8


CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(("parts", "kept"), [(MAX_LEFT_PARTS - 1, True), (MAX_LEFT_PARTS, False), (5_000, False)])
def test_a_body_that_nobody_wants_is_not_read_to_its_end(parts: int, kept: bool) -> None:
    async def refuse(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def client(stream: Stream) -> None:
        await stream.send_all(CHUNKED + b"1\r\nx\r\n" * parts + b"0\r\n\r\n")

    assert lasts(client, refuse) == pytest.approx(IDLE_SECONDS if kept else LINGER_SECONDS)


def test_many_small_parts_of_a_body_wait_for_their_turns() -> None:
    turns: list[float] = []
    received: list[bytes] = []

    async def turn() -> None:
        turns.append(trio.current_time())
        await trio.lowlevel.checkpoint()

    async def client(stream: Stream) -> None:
        await stream.send_all(CHUNKED + b"1\r\nx\r\n" * 1_000 + b"0\r\n\r\n")
        received.append(await stream.receive_some())
        await stream.aclose()

    async def main() -> None:
        ours, theirs = memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client, theirs)
            await Connection(ours, hello, Peer("tcp", vouched=False), turn).run()

    trio.run(main)
    assert received[0].endswith(b"x" * 1_000)
    assert len(turns) >= 1_000


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Origin: http://evil.example\r\nOrigin: http://localhost\r\n",
        b"Authorization: Basic eA==\r\nAuthorization: Basic eQ==\r\n",
    ],
)
def test_heads_that_two_servers_may_read_in_two_ways_are_refused(lines: bytes) -> None:
    received: list[bytes] = []

    async def client(stream: Stream) -> None:
        await stream.send_all(GET.replace(b"\r\n\r\n", b"\r\n" + lines + b"\r\n") + b"0\r\n\r\n" + GET)
        received.append(b"".join([part async for part in stream]))

    lasts(client)
    assert received[0].startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert received[0].count(b"HTTP/1.1") == 1
