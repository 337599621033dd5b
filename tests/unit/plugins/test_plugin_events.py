"""Filters over a live server: streams, WebSocket, webhooks; what is dropped moves the cursor."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from event_node import EventNode, with_hub
from rpc_live import Live, live
from structlog.testing import capture_logs
from wasm import FOREVER, checking, config, filtering, room_with
from ws_client import websocket

from spvnode.config_rpc import WebhookConfig
from spvnode.errors import InputError
from spvnode.plugins.room import MAX_FAULTS_IN_A_ROW, Room
from spvnode.rpc.caller import LOCAL
from spvnode.rpc.events.feed import Item, begin, choose, feed
from spvnode.rpc.events.hub import BATCH, Hub
from spvnode.rpc.events.webhooks import Webhook
from spvnode.rpc.services import Services

SHORT = "(i32.lt_u (local.get $len) (i32.const 600))"
"""Keeps events that are short: those without a long ``detail``."""
LONG = "x" * 600


@asynccontextmanager
async def serving(tmp_path: Path, node: EventNode, body: str = SHORT) -> AsyncIterator[tuple[Live, Hub, Room]]:
    """A server whose plugin ``p`` filters."""
    room = await room_with(config(tmp_path, filtering(body)))
    async with with_hub(node, tmp_path, filters=room) as hub:
        services = Services(hub=hub, plugins=room.states)
        async with live(tmp_path, node, services=services) as server:
            yield server, hub, room


async def take(hub: Hub, cursor: str, until: int, filter: str = "p") -> list[Item]:
    """All items from ``cursor`` to the event ``until`` of regtest, kept or not."""
    choice = choose(hub, LOCAL, ["regtest"], ["extend"], filter)
    items: list[Item] = []
    with trio.fail_after(20):
        async with aclosing(feed(hub, choice, begin(hub, choice, cursor))) as found:
            async for some in found:
                items += some
                if f"regtest:{until}," in items[-1].cursor:
                    break
    return items


def ids(items: list[Item]) -> list[str]:
    return [item.id for item in items if item.kind]


def test_a_stream_is_told_what_its_filter_keeps_and_comes_back_behind_what_it_dropped(tmp_path: Path) -> None:
    async def main() -> None:
        node = EventNode()
        for number in range(3 * BATCH):
            node.happen(detail=LONG if number % 3 else "")
        for _ in range(BATCH):
            node.happen(detail=LONG)
        last = node.last_event("regtest")
        async with serving(tmp_path, node) as (_, hub, room):
            items = await take(hub, "regtest:0", last)
            assert ids(items) == [f"regtest:{number + 1}" for number in range(0, 3 * BATCH, 3)]
            calls = room.states()[0]["calls"]
            assert calls == 4 * BATCH
            node.happen()
            assert ids(await take(hub, items[-1].cursor, last + 1)) == [f"regtest:{last + 1}"]
            assert room.states()[0]["calls"] == calls + 1
            assert len(ids(await take(hub, "regtest:0", last, filter=""))) == last

    trio.run(main)


def test_a_gap_is_told_whatever_the_filter_says(tmp_path: Path) -> None:
    async def main() -> None:
        node = EventNode()
        for _ in range(20):
            node.happen()
        del node.log["regtest"][:10]
        async with serving(tmp_path, node, "(i32.const 0)") as (_, hub, _room):
            assert ids(await take(hub, "regtest:3", 20)) == ["regtest:10.gap"]

    trio.run(main)


@pytest.mark.parametrize("body", ["unreachable", FOREVER])
def test_a_filter_that_fails_loses_nothing(tmp_path: Path, body: str) -> None:
    async def main() -> None:
        node = EventNode()
        for _ in range(30):
            node.happen()
        async with serving(tmp_path, node, body) as (server, hub, _):
            with capture_logs():
                items = await take(hub, "regtest:0", 30)
            assert ids(items) == [f"regtest:{number}" for number in range(1, 31)]
            state = (await server.call("getplugins"))[0]
            assert (state["name"], state["state"], state["faults"]) == ("p", "off", MAX_FAULTS_IN_A_ROW)

    trio.run(main)


async def lines(stream: trio.SocketStream) -> AsyncGenerator[str, None]:
    """Lines of a stream of events."""
    raw = b""
    while data := await stream.receive_some():
        raw += data
        *whole, raw = raw.split(b"\n")
        for line in whole:
            yield line.decode().strip()


def test_over_http(tmp_path: Path) -> None:
    async def main() -> None:
        node = EventNode()
        for number in range(6):
            node.happen(detail=LONG if number % 2 else "")
        async with serving(tmp_path, node) as (server, _, _room):
            async with await server.tcp() as stream, aclosing(lines(stream)) as reading:
                path = "/events?filter=p&networks=regtest&cursor=regtest:0"
                await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                seen: list[int] = []
                with trio.fail_after(20):
                    async for line in reading:
                        if line.startswith("data: "):
                            seen.append(json.loads(line[6:])["seq"])
                        if len(seen) == 3:
                            break
            assert seen == [1, 3, 5]
            status, _, body = await server.request(path="/events?filter=gone")
            assert (status, body) == (400, b"filter: 'gone' is no event filter of this node; there are: p\n")

    trio.run(main)


def test_over_a_websocket(tmp_path: Path) -> None:
    async def main() -> None:
        node = EventNode()
        for number in range(6):
            node.happen(detail=LONG if number % 2 else "")
        async with (
            serving(tmp_path, node) as (server, _, _room),
            websocket(server.port, "/ws?filter=p&networks=regtest&cursor=regtest:0") as client,
        ):
            seen: list[Any] = []
            with trio.fail_after(20):
                while len(seen) < 3:
                    message = await client.receive()
                    assert message is not None
                    if message.get("event") == "extend":
                        seen.append(message["data"]["seq"])
            assert seen == [1, 3, 5]

    trio.run(main)


def test_a_webhook_names_a_filter_that_there_is(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 40)
    secret.chmod(0o600)

    def hook(filter: str) -> WebhookConfig:
        return WebhookConfig(name="one", url="http://127.0.0.1:1/", secret_file=str(secret), filter=filter)

    async def main() -> None:
        room = await room_with(config(tmp_path, filtering(SHORT)), config(tmp_path, checking("(i32.const 0)"), "c"))
        async with with_hub(EventNode(), tmp_path, filters=room) as hub:
            Webhook(hub, hook("p"), tmp_path)
            for name in ("c", "gone"):
                with pytest.raises(InputError, match=f"filter: '{name}' is no event filter of this node; there are: p"):
                    Webhook(hub, hook(name), tmp_path)

    trio.run(main)
