"""The stream of events, on a simulated clock: what is told, when it is cut, how many may follow."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from beacon_view import RealBeacon, recorded, recorded_updates
from eth_vectors import real_json
from small_node import SmallNode
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from spvnode.ethereum.containers import LightClientFinalityUpdate, LightClientOptimisticUpdate
from spvnode.metrics import Metrics
from spvnode.rpc.access import Peer
from spvnode.rpc.auth import Cookie
from spvnode.rpc.beacon_api.events import FINALITY, KEEPALIVE_SECONDS, MAX_SUBSCRIBERS, OPTIMISTIC, POLL_SECONDS
from spvnode.rpc.connection import Connection
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.http import App
from spvnode.rpc.limits import REQUEST_SECONDS
from spvnode.rpc.table import METHODS

SET = "mainnet-capella-nimbus21"
BOTH = f"{FINALITY},{OPTIMISTIC}"
Stream = trio.abc.HalfCloseableStream


def request(topics: str) -> bytes:
    return f"GET /eth/v1/events?topics={topics} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


class Stage:
    """One application, and connections to it over streams in memory."""

    def __init__(self, beacon: RealBeacon, nursery: trio.Nursery) -> None:
        self.beacon = beacon
        self.node = SmallNode(beacons={"ethereum": beacon})
        metrics = Metrics()
        dispatcher = Dispatcher(self.node, METHODS, metrics)
        self.app = App(self.node, dispatcher, Cookie(Path("/nowhere"), b"x"), metrics, lambda: None)
        self.nursery = nursery

    def connect(self, topics: str = BOTH, pair: Callable[[], Any] = memory_stream_pair) -> tuple[Stream, trio.Event]:
        """The client's end, its request sent by a task; and what is set when the server has let go of it."""
        ours, theirs = pair()
        over = trio.Event()

        async def serve() -> None:
            with suppress(trio.BrokenResourceError):
                await Connection(ours, self.app, Peer("tcp", vouched=False)).run()
            await ours.aclose()
            over.set()

        self.nursery.start_soon(serve)
        self.nursery.start_soon(theirs.send_all, request(topics))
        return theirs, over


def play(scene: Callable[[Stage], Awaitable[None]]) -> None:
    """Runs ``scene`` before a chain that knows its periods and no live update yet."""

    async def main() -> None:
        beacon = RealBeacon()
        for update in recorded_updates():
            beacon.add_update(update)
        async with trio.open_nursery() as nursery:
            await scene(Stage(beacon, nursery))
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def head_of(stream: Stream) -> bytes:
    """The head of the answer and the comment that goes out with it."""
    data = bytes(await stream.receive_some())
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-type: text/event-stream\r\n" in data
    assert data.endswith(b":\n\n\r\n")
    return data


async def event(stream: Stream) -> tuple[str, Any]:
    """The next event; comments before it are passed over."""
    chunk = b""
    while not (chunk.endswith(b"\n\n\r\n") and b"event: " in chunk):
        chunk += await stream.receive_some()
    _, _, text = chunk.decode().partition("event: ")
    name, data = text.strip().split("\n")
    return name, json.loads(data.removeprefix("data: "))


def test_each_new_update_is_told_once() -> None:
    async def scene(stage: Stage) -> None:
        stream, _ = stage.connect()
        await head_of(stream)
        begun = trio.current_time()
        stage.beacon.add_finality(recorded("finality_update", LightClientFinalityUpdate))
        name, found = await event(stream)
        assert name == FINALITY
        assert found == {"version": "capella", "data": real_json(SET, "finality_update.json")["data"]}
        stage.beacon.add_optimistic(recorded("optimistic_update", LightClientOptimisticUpdate))
        name, found = await event(stream)
        assert (name, found["data"]) == (OPTIMISTIC, real_json(SET, "optimistic_update.json")["data"])
        assert trio.current_time() - begun <= 2 * POLL_SECONDS
        assert (await stream.receive_some()).endswith(b":\n\n\r\n")  # then nothing but comments
        assert trio.current_time() - begun >= KEEPALIVE_SECONDS

    play(scene)


def test_only_the_topics_that_were_asked_for() -> None:
    async def scene(stage: Stage) -> None:
        stream, _ = stage.connect(OPTIMISTIC)
        await head_of(stream)
        stage.beacon.add_finality(recorded("finality_update", LightClientFinalityUpdate))
        stage.beacon.add_optimistic(recorded("optimistic_update", LightClientOptimisticUpdate))
        assert (await event(stream))[0] == OPTIMISTIC

    play(scene)


def test_a_stream_outlives_a_request_and_the_reopening_of_the_store() -> None:
    async def scene(stage: Stage) -> None:
        stream, over = stage.connect(FINALITY)
        await head_of(stream)
        stage.node.beacon_views["ethereum"] = None
        with trio.move_on_after(5 * REQUEST_SECONDS):
            while True:
                assert (await stream.receive_some()).endswith(b":\n\n\r\n")
        assert not over.is_set()
        stage.node.beacon_views["ethereum"] = stage.beacon
        stage.beacon.add_finality(recorded("finality_update", LightClientFinalityUpdate))
        assert (await event(stream))[0] == FINALITY

    play(scene)


def test_who_does_not_read_is_cut_off() -> None:
    async def scene(stage: Stage) -> None:
        begun = trio.current_time()
        stream, over = stage.connect(pair=lockstep_stream_pair)  # sends nothing before it is read
        await head_of(stream)
        await over.wait()
        # The first comment that finds no reader has the time of a request.
        assert trio.current_time() - begun == pytest.approx(KEEPALIVE_SECONDS + REQUEST_SECONDS, abs=2 * POLL_SECONDS)

    play(scene)


def test_who_left_is_noticed_and_no_more_than_so_many_may_follow() -> None:
    async def scene(stage: Stage) -> None:
        streams = [stage.connect() for _ in range(MAX_SUBSCRIBERS)]
        for stream, _ in streams:
            await head_of(stream)
        refused, _ = stage.connect()
        assert (await refused.receive_some()).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        left, over = streams[0]
        await left.aclose()
        with trio.fail_after(2 * KEEPALIVE_SECONDS):
            await over.wait()
        again, _ = stage.connect()
        await head_of(again)

    play(scene)
