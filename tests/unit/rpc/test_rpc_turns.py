"""How the two sides of the RPC share the event loop, and its memory of great replies."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack

import h11
import pytest
import trio
from small_node import mainnet
from trio.testing import MockClock, lockstep_stream_pair, wait_all_tasks_blocked

from spvnode.metrics import Metrics
from spvnode.rpc.access import Peer
from spvnode.rpc.bodies import Workload
from spvnode.rpc.caller import ALL_SCOPES, Caller, Kind
from spvnode.rpc.connection import Connection
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.limits import GREAT_REPLY_BYTES, MAX_BATCH, MAX_GREAT_REPLIES, PRIORITY_SECONDS, ROUND_SECONDS
from spvnode.rpc.pipeline.step import Message, Receive, Send
from spvnode.rpc.server import Door
from spvnode.rpc.services import Patience
from spvnode.rpc.table import METHODS


def user(name: str) -> Caller:
    return Caller(Kind.TOKEN, name, ALL_SCOPES)


@pytest.mark.parametrize("alone", [False, True])
def test_work_that_goes_on_lets_others_have_rounds(alone: bool) -> None:
    door = Door("tcp", lambda: 4, before=None if alone else Door("unix", lambda: 4))
    rounds = 0

    async def others() -> None:
        nonlocal rounds
        while True:
            await trio.lowlevel.checkpoint()
            rounds += 1

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            for _ in range(5):
                time.sleep(2 * ROUND_SECONDS)  # noqa: ASYNC251 - it is work
                await door.rest()
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert rounds >= 3


@pytest.mark.parametrize("crowd", [1, 40])
def test_after_long_work_the_unix_socket_has_its_time_all_the_same(crowd: int) -> None:
    unix = Door("unix", lambda: 4)
    tcp = Door("tcp", lambda: 64, before=unix, inside=crowd)
    clock = MockClock(autojump_threshold=0)

    async def main() -> None:
        await tcp.rest()
        await unix.turn()
        clock.jump(1.0)  # TCP's work, meanwhile
        began = trio.current_time()
        await tcp.rest()
        assert trio.current_time() == pytest.approx(began + PRIORITY_SECONDS)
        clock.jump(1.0)
        began = trio.current_time()
        await tcp.rest()
        assert trio.current_time() == began

    trio.run(main, clock=clock)


def test_few_great_replies_are_held_at_once_and_one_of_each_user() -> None:
    work = Workload()
    held: list[str] = []

    async def claim(name: str, after: ExitStack) -> None:
        room = work.room(user(name), after)
        await room.take()
        await room.take()  # it has it already
        held.append(name)

    async def main() -> None:
        first, second, rest = ExitStack(), ExitStack(), ExitStack()
        async with trio.open_nursery() as nursery:
            await claim("a", first)
            nursery.start_soon(claim, "a", rest)
            await wait_all_tasks_blocked()
            assert held == ["a"]
            for n in range(1, MAX_GREAT_REPLIES):
                await claim(f"b{n}", second if n == 1 else rest)
            nursery.start_soon(claim, "c", rest)
            await wait_all_tasks_blocked()
            assert len(held) == MAX_GREAT_REPLIES
            first.close()
            await wait_all_tasks_blocked()
            assert len(held) == MAX_GREAT_REPLIES + 1
            second.close()
        assert sorted(held) == ["a", "a", "b1", "c"]
        rest.close()

    trio.run(main)


def test_a_batch_waits_for_room_once_its_reply_is_great() -> None:
    node = mainnet(2_000)
    calls = [{"jsonrpc": "2.0", "id": n, "method": "getheaderproof", "params": [7]} for n in range(MAX_BATCH)]
    asked = 0

    async def room() -> None:
        nonlocal asked
        asked += 1

    async def main() -> None:
        dispatcher = Dispatcher(node, METHODS, Metrics())
        patience = Patience(room=room)
        reply = await dispatcher.answer(json.dumps(calls[:4]).encode(), patience=patience)
        assert asked == 0
        reply = await dispatcher.answer(json.dumps(calls).encode(), patience=patience)
        assert len(reply.body) > GREAT_REPLY_BYTES
        assert asked > 0
        great = {**calls[0], "method": "getheaderproofs", "params": [[1, 2]]}
        before = asked
        await dispatcher.answer(json.dumps(great).encode(), patience=patience)
        assert asked == before + 1  # before it is known how great

    trio.run(main)


def test_room_is_given_back_when_the_answer_has_left_and_not_before() -> None:
    events: list[str] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        scope["state"]["after"].callback(events.append, "left")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello"})

    async def main() -> None:
        ours, theirs = lockstep_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Connection(ours, app, Peer("tcp", vouched=False)).run)
            await theirs.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await wait_all_tasks_blocked()
            assert events == []
            client = h11.Connection(h11.CLIENT)
            client.send(h11.Request(method="GET", target="/", headers=[("Host", "localhost")]))
            client.receive_data(await theirs.receive_some())
            await wait_all_tasks_blocked()
            assert events == ["left"]
            nursery.cancel_scope.cancel()

    trio.run(main)
