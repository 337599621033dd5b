"""The event stream: the parser, and what becomes of servers that hang, flood, or send no stream."""

from __future__ import annotations

from itertools import pairwise

import trio
from hypothesis import given
from hypothesis import strategies as st
from rest_server import Asked, Script, answer, serving

from p2p.faults import FaultReason, RemoteFault
from p2p.rest.client import RestClient, Timing
from p2p.rest.sse import EVENTS_BURST, MAX_EVENT, Event, EventParser, Oversized, follow_events

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
STREAM = (
    b"\xef\xbb\xbfevent: head\r\ndata: 1\r\ndata:2\r\n\r\n: comment\n\nid: 7\nretry: 1\n\rdata\n\n"
    b'data: {"a": 1}\r\revent: light_client_finality_update\ndata:  x\n\nevent: unfinished\ndata: y\n'
)
EVENTS = [Event("head", b"1\n2"), Event("message", b'{"a": 1}'), Event("light_client_finality_update", b" x")]


@given(st.lists(st.integers(0, len(STREAM))))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    parser, found = EventParser(), []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(edges):
        found += list(parser.feed(STREAM[start:end]))
    assert found == EVENTS


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_are_events_or_nothing(chunks: list[bytes]) -> None:
    parser = EventParser()
    for chunk in chunks:
        assert all(event.data for event in parser.feed(chunk))


def test_an_event_and_a_line_are_bounded_even_when_they_come_in_one_piece() -> None:
    lines = b"data: " + b"x" * 1000 + b"\n"
    for data in (b"data: " + b"x" * MAX_EVENT, b": " + b"x" * MAX_EVENT + b"\n", lines * (MAX_EVENT // 1000 + 1)):
        parser = EventParser()
        try:
            for at in range(0, len(data), 4096):
                assert list(parser.feed(data[at : at + 4096])) == []
        except Oversized:
            continue
        raise AssertionError("not bounded")


def follow(script: Script, *, refuse: bool = False) -> tuple[RemoteFault, list[Event]]:
    """Why the stream was left, and what it brought."""
    heard: list[Event] = []
    faults: list[RemoteFault] = []

    async def deliver(event: Event) -> RemoteFault | None:
        heard.append(event)
        return RemoteFault(FaultReason.BAD_FRAME, "x", "no") if refuse else None

    async def main() -> None:
        async with serving(script) as endpoint:
            client = RestClient(timing=Timing(connect=0.5, idle=0.2, deadline=0.2))
            with trio.fail_after(10):
                faults.append(await follow_events(client, endpoint, "/e", silence=0.4, deliver=deliver))
            await client.aclose()

    trio.run(main)
    return faults[0], heard


def stream(*parts: bytes, then: str = "close", again: bool = False) -> Script:
    async def script(connection: trio.abc.Stream, asked: Asked) -> None:
        assert asked.headers["accept"] == "text/event-stream"
        await connection.send_all(HEAD)
        while True:
            for part in parts:
                await connection.send_all(part)
            if not again:
                break
        if then == "hang":
            await trio.sleep_forever()
        await connection.aclose()

    return script


def test_events_are_delivered_until_the_server_ends() -> None:
    fault, heard = follow(stream(STREAM))
    assert (fault.reason, heard) == (FaultReason.DISCONNECTED, EVENTS)


def test_a_stream_outlives_a_requests_deadline_and_is_left_when_it_hangs() -> None:
    async def script(connection: trio.abc.Stream, asked: Asked) -> None:
        await connection.send_all(HEAD)
        for _ in range(5):
            await connection.send_all(b"data: 1\n\n")
            await trio.sleep(0.1)
        await trio.sleep_forever()

    fault, heard = follow(script)
    assert (fault.reason, len(heard)) == (FaultReason.STALLED, 5)


def test_a_flood_of_events_or_of_comments_is_left() -> None:
    fault, heard = follow(stream(b"data: 1\n\n" * 50, again=True))
    assert fault.reason is FaultReason.FLOOD
    assert len(heard) <= EVENTS_BURST + 20
    fault, heard = follow(stream(b": keep alive\n" * 1000, again=True))
    assert (fault.reason, heard) == (FaultReason.FLOOD, [])


def test_an_endless_line_is_left() -> None:
    fault, _ = follow(stream(b"data: " + b"x" * 9000, b"x" * 9000, again=True))
    assert fault.reason in (FaultReason.OVERSIZED, FaultReason.FLOOD)
    fault, _ = follow(stream(b"data: " + b"x" * (MAX_EVENT + 1), then="hang"))
    assert fault.reason is FaultReason.OVERSIZED


def test_what_deliver_refuses_ends_the_stream() -> None:
    fault, heard = follow(stream(b"data: 1\n\ndata: 2\n\n", then="hang"), refuse=True)
    assert (fault.reason, len(heard)) == (FaultReason.BAD_FRAME, 1)


def test_no_stream_is_a_refusal() -> None:
    for reply in (answer(b"{}"), answer(b"", status="404 Not Found"), answer(b"", "text/event-stream", "400 Bad")):

        async def script(connection: trio.abc.Stream, asked: Asked, reply: bytes = reply) -> None:
            await connection.send_all(reply)

        fault, heard = follow(script)
        assert (fault.reason, heard) == (FaultReason.REFUSED, [])
