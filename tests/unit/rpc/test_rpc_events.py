"""Events over a live server: order, cursors, filters, gaps, waiting calls, WebSocket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from event_node import EventNode, chain_of, live_events
from rpc_live import Live, parse
from trio.testing import MockClock, wait_all_tasks_blocked
from ws_client import websocket
from wsproto.events import CloseConnection, Ping, TextMessage

from spvnode.errors import InputError
from spvnode.rpc import connection
from spvnode.rpc import server as room
from spvnode.rpc.caller import LOCAL, Caller, Kind, Scope
from spvnode.rpc.events.cursor import parse_cursor, show_cursor
from spvnode.rpc.events.feed import KEEPALIVE_SECONDS, Choice, Item, begin, choose, feed
from spvnode.rpc.events.hub import TAIL, Entry, Hub
from spvnode.rpc.events.journal import Journal
from spvnode.rpc.events.sse import RETRY_MS
from spvnode.rpc.limits import MAX_USER_SUBSCRIPTIONS
from spvnode.rpc.settings import Desk, Settings
from spvnode.rpc.tokens import Keyring, mint

CHAIN = chain_of(60)
OTHER = chain_of(60, seed=5)
KEY = bytes(range(32))


class Reader:
    """A client of ``/events``: what it was told, and its last event id."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._raw = b""
        self.cursor = ""

    async def event(self) -> tuple[str, dict[str, Any]]:
        """The next event that listeners are told of; ids without data only move the cursor."""
        while True:
            while b"\n\n" not in self._raw:
                self._raw += await self._stream.receive_some()
            block, _, self._raw = self._raw.partition(b"\n\n")
            # chunk sizes stand on lines of their own between events
            lines = block.decode().replace("\r\n", "\n").split("\n")
            fields = dict(line.split(": ", 1) for line in lines if ": " in line)
            self.cursor = fields.get("id", self.cursor)
            if "data" in fields:
                return fields["event"], json.loads(fields["data"])

    async def rest(self) -> bytes:
        """Whatever comes until the reply ends."""
        while not self._raw.endswith(b"0\r\n\r\n"):
            self._raw += await self._stream.receive_some()
        return self._raw

    async def began(self) -> None:
        """Returns once the stream has told where it begins."""
        while b"\n\nid: " not in self._raw and b"\nid: " not in self._raw:
            self._raw += await self._stream.receive_some()


@asynccontextmanager
async def reading(server: Live, query: str = "", *, last: str = "", auth: str = "") -> AsyncIterator[Reader]:
    async with await server.tcp() as stream:
        lines = [f"GET /events{query} HTTP/1.1", "Host: localhost"]
        lines += [f"Last-Event-ID: {last}"] if last else []
        lines += [f"Authorization: {auth}"] if auth else []
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        reader = Reader(stream)
        await reader.began()
        yield reader


def run(tmp_path: Path, node: EventNode, body: Any, desk: Desk | None = None) -> None:
    async def main() -> None:
        with trio.fail_after(30):
            async with live_events(node, tmp_path, desk) as server:
                await body(server)

    trio.run(main)


def test_cursors_as_text() -> None:
    assert parse_cursor("bitcoin:17", "x") == {"bitcoin": 17}
    assert show_cursor(parse_cursor("bitcoin:17, node:0", "x")) == "bitcoin:17,node:0"
    for bad in ("", "bitcoin", "bitcoin:-1", "bitcoin:x", ":1", "a:99999999999999999999", "B:1", "a:1,,", "x" * 5_000):
        with pytest.raises(InputError):
            parse_cursor(bad, "x")


def test_events_come_in_order_and_a_reader_goes_on_where_it_was(tmp_path: Path) -> None:
    node = EventNode()

    async def body(server: Live) -> None:
        async with reading(server, "?kinds=extend") as reader:
            for _ in range(3):
                node.happen()
            assert [(await reader.event())[1]["seq"] for _ in range(3)] == [1, 2, 3]
            last = reader.cursor
        for _ in range(250):
            node.happen()
        async with reading(server, "?kinds=extend&cursor=regtest:0", last=last) as reader:
            assert [(await reader.event())[1]["seq"] for _ in range(250)] == list(range(4, 254))
            node.happen()
            assert (await reader.event())[1]["seq"] == 254

    run(tmp_path, node, body)


def test_a_reader_without_a_cursor_begins_now_and_is_told_where_that_is(tmp_path: Path) -> None:
    node = EventNode()
    for _ in range(5):
        node.happen()

    async def body(server: Live) -> None:
        async with reading(server) as reader:
            pass
        async with reading(server, "?networks=regtest&kinds=extend") as reader:
            node.happen()
            assert (await reader.event())[1]["seq"] == 6
            assert reader.cursor.startswith("regtest:6,node:")
        raw = await server.exchange(b"HEAD /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert parse(raw)[0] == 405
        assert b"retry: %d" % RETRY_MS

    run(tmp_path, node, body)


def test_filters(tmp_path: Path) -> None:
    node = EventNode("regtest", "signet")

    async def body(server: Live) -> None:
        async with reading(server, "?networks=signet&kinds=fork,fault&cursor=signet:0") as reader:
            node.happen("regtest", "fork")
            for kind in ("extend", "fork", "reorg", "fault"):
                node.happen("signet", kind)
            assert [await reader.event() for _ in range(2)] == [
                ("fork", {**node.log["signet"][1], "network": "signet"}),
                ("fault", {**node.log["signet"][3], "network": "signet"}),
            ]
        for query in ("networks=mainnet", "kinds=block", "cursor=x", "what=1", "cursor=a:b", "networks=" + "a," * 40):
            assert (await server.request(path=f"/events?{query}", auth=False))[0] == 400
        assert (await server.request(path="/events", auth=False, headers=("Last-Event-ID: \xff",)))[0] == 400

    run(tmp_path, node, body)


def test_a_network_that_is_named_again_and_again_is_looked_at_once(tmp_path: Path) -> None:
    hub = Hub(EventNode("regtest", "signet"), Journal(tmp_path / "watches.json"))
    assert choose(hub, LOCAL, ["signet"] * 2_000, ()).logs == ("signet", "node")


def test_what_is_no_longer_kept_is_a_gap_and_so_is_what_a_power_cut_took(tmp_path: Path) -> None:
    node = EventNode()
    for _ in range(10):
        node.happen()
    del node.log["regtest"][:6]

    async def body(server: Live) -> None:
        async with reading(server, "?kinds=extend", last="regtest:2,node:0") as reader:
            assert await reader.event() == ("gap", {"network": "regtest", "kind": "gap", "after": 2, "next": 7})
            assert [(await reader.event())[1]["seq"] for _ in range(4)] == [7, 8, 9, 10]
        async with reading(server, "?kinds=extend", last="regtest:40") as reader:
            assert await reader.event() == ("gap", {"network": "regtest", "kind": "gap", "after": 40, "next": 11})
            node.happen()
            assert (await reader.event())[1]["seq"] == 11

    run(tmp_path, node, body)


def test_a_burst_longer_than_the_tail_misses_nobody(tmp_path: Path) -> None:
    node = EventNode()

    async def body(server: Live) -> None:
        async with reading(server, "?kinds=extend") as one, reading(server, "?kinds=extend") as other:
            for count in (1, 3 * TAIL, 2, TAIL, 1):
                first = node.next_seq["regtest"]
                for _ in range(count):
                    node.happen()
                for reader in (one, other):
                    assert [(await reader.event())[1]["seq"] for _ in range(count)] == list(range(first, first + count))

    run(tmp_path, node, body)


def test_a_reader_who_is_there_before_the_first_look_is_woken_by_it(tmp_path: Path) -> None:
    node = EventNode()

    async def main() -> None:
        hub = Hub(node, Journal(tmp_path / "watches.json"))
        choice = choose(hub, LOCAL, (), ("extend",))
        told: list[Item] = []

        async def read() -> None:
            async with aclosing(feed(hub, choice, begin(hub, choice, None))) as items:
                async for some in items:
                    told.extend(item for item in some if item.kind)
                    if told:
                        nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            node.happen()
            nursery.start_soon(hub.run)
            nursery.cancel_scope.deadline = trio.current_time() + KEEPALIVE_SECONDS / 2
        assert [item.id for item in told] == ["regtest:1"]

    trio.run(main, clock=MockClock(autojump_threshold=0.01))


def test_readiness_is_told_once_for_each_change_and_kept(tmp_path: Path) -> None:
    node = EventNode()
    node.not_ready["regtest"] = ("no useful peer",)

    async def body(server: Live) -> None:
        async with reading(server, "?kinds=readiness", last="node:0") as reader:
            kind, data = await reader.event()
            assert (kind, data["ready"], data["reasons"]) == ("readiness", False, ["no useful peer"])
            node.not_ready.clear()
            assert (await reader.event())[1]["ready"] is True

    run(tmp_path, node, body)

    async def nothing(server: Live) -> None:
        await trio.sleep(0.3)

    run(tmp_path, node, nothing)

    async def again(server: Live) -> None:
        async with reading(server, "?kinds=readiness", last="node:0") as reader:
            assert [(await reader.event())[1]["seq"] for _ in range(2)] == [1, 2]
            node.not_ready["regtest"] = ("asleep",)
            data = (await reader.event())[1]
            assert (data["seq"], data["network"], data["ready"], data["reasons"]) == (3, "regtest", False, ["asleep"])

    run(tmp_path, node, again)


def test_only_so_many_may_listen_and_the_owner_always_can(tmp_path: Path) -> None:
    desk = Desk(Settings(subscriptions=3))

    async def body(server: Live) -> None:
        async with reading(server), reading(server), reading(server):
            status, headers, _ = await server.request(path="/events", auth=False)
            assert (status, headers["retry-after"]) == (429, "10")
            status, _, _ = await server.request(path="/ws", auth=False, headers=("Upgrade: websocket",))
            assert status == 429
            reply = await server.request(
                json.dumps({"jsonrpc": "2.0", "id": 1, "method": "waitfornewblock"}).encode(), auth=True
            )
            assert reply[0] == 429
            assert (await server.call("waitfornewblock", 1, unix=True))["height"] == 0
        with trio.fail_after(5):
            while (await server.request(path="/ws", auth=False))[0] != 426:
                pass
        async with reading(server):
            pass

    run(tmp_path, EventNode(), body, desk)


def test_listeners_without_credentials_leave_room_for_those_who_have_some(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(MAX_USER_SUBSCRIPTIONS):
                await stack.enter_async_context(reading(server))
            assert (await server.request(path="/events", auth=False))[0] == 429
            await stack.enter_async_context(reading(server, auth=server.auth))

    run(tmp_path, EventNode(), body)


def test_others_watches_are_not_told(tmp_path: Path) -> None:
    alice, bob = (Caller(Kind.TOKEN, f"token:{name}", frozenset({Scope.READ})) for name in ("alice", "bob"))
    entry = Entry("node", 1, "watch", "regtest", b"{}", owner="token:alice")
    logs = ("regtest", "node")
    told = [Choice(logs, frozenset(), caller).wants(entry) for caller in (alice, bob, LOCAL)]
    assert told == [True, False, True]
    assert not Choice(("signet", "node"), frozenset(), LOCAL).wants(entry)


def test_events_are_open_but_not_to_a_token_that_does_not_count(tmp_path: Path) -> None:
    desk = Desk(Settings(keyring=Keyring((KEY,))))
    token = mint(KEY, "a", [Scope.ADMIN], issued=1, expires=2**33)[0]

    async def body(server: Live) -> None:
        # On loopback all may listen, as it is public; a token that does not count is refused all the same.
        forged = (f"Authorization: Bearer {token}x",)
        assert (await server.request(path="/events", auth=False, headers=forged))[0] == 401
        async with reading(server, auth=f"Bearer {token}"):
            pass

    run(tmp_path, EventNode(), body, desk)


def test_a_stream_ends_when_its_token_is_revoked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, node = Desk(Settings(keyring=Keyring((KEY,)))), EventNode()
    auth = "Bearer " + mint(KEY, "a", [Scope.READ], issued=1, expires=2**33)[0]
    logged: list[str] = []
    for log in (room.log, connection.log):
        monkeypatch.setattr(log, "exception", lambda event, **_: logged.append(event), raising=False)

    async def body(server: Live) -> None:
        lines = "\r\n".join(
            ["GET /ws?kinds=extend HTTP/1.1", "Host: localhost", *HANDSHAKE, f"Authorization: {auth}", "", ""]
        )
        query = "?kinds=extend"
        async with (
            reading(server, query, auth=auth) as reader,
            await server.tcp() as socket,
            reading(server, query) as other,
        ):
            await socket.send_all(lines.encode())
            while b'"id"' not in await socket.receive_some():
                pass
            node.happen()
            assert (await reader.event())[0] == (await other.event())[0] == "extend"
            desk.now = Settings(keyring=Keyring((KEY,), frozenset({"sub:a"})))
            node.happen()
            assert (await reader.rest()).strip() == b"0"  # the chunk that ends the reply
            assert b'"seq":2' not in b"".join([part async for part in socket])
            assert (await other.event())[1]["seq"] == 2

    run(tmp_path, node, body, desk)
    assert not logged


@pytest.mark.parametrize("framing", [b"Content-Length: 3", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("left", [b"", b"no chunk\r\n"])
def test_a_body_that_breaks_off_ends_a_stream_and_is_no_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, framing: bytes, left: bytes
) -> None:
    logged: list[str] = []
    for log in (room.log, connection.log):
        monkeypatch.setattr(log, "exception", lambda event, **_: logged.append(event), raising=False)

    async def body(server: Live) -> None:
        async with await server.tcp() as stream:
            await stream.send_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n" + framing + b"\r\n\r\n")
            while b"id: " not in await stream.receive_some():
                pass
            await stream.send_all(left)
            await stream.send_eof()
            while await stream.receive_some():
                pass

    run(tmp_path, EventNode(), body)
    assert not logged


def test_waiting_calls(tmp_path: Path) -> None:
    node = EventNode()

    async def body(server: Live) -> None:
        found: dict[str, Any] = {}

        async def wait(name: str, method: str, *params: object) -> None:
            found[name] = await server.call(method, *params)

        async with trio.open_nursery() as nursery:
            for n in range(12):  # more than one user's requests in work: who waits holds no place
                nursery.start_soon(wait, f"height {n}", "waitforblockheight", 10)
            nursery.start_soon(wait, "block", "waitfornewblock")
            nursery.start_soon(wait, "never", "waitforblockheight", 99, 200)
            while "never" not in found:  # noqa: ASYNC110 - a reply to another task
                await trio.sleep(0.02)
            node.commit(CHAIN[:800])
        tip = {"height": 10, "hash": node.real["regtest"].tip_hash[::-1].hex()}
        for name, reply in found.items():
            assert tip.items() <= reply.items() if name != "never" else reply["height"] == 0
        assert (await server.call("waitforblockheight", 5))["height"] == 10
        assert (await server.call("waitfornewblock", 0, "00" * 32))["height"] == 10
        assert (await server.call("waitfornewblock", 1))["height"] == 10

    run(tmp_path, node, body)


def test_websocket_tells_the_same(tmp_path: Path) -> None:
    node = EventNode()

    async def body(server: Live) -> None:
        async with websocket(server.port, "/ws?kinds=extend") as client:
            first = await client.receive()
            assert first is not None
            assert first["id"].startswith("regtest:0")
            node.happen()
            message = await client.receive()
            assert message is not None
            assert (message["event"], message["data"]["seq"]) == ("extend", 1)
            await client.send(Ping(b"there?"))
            await client.send(CloseConnection(1000))
            assert await client.receive() is None
            assert client.closed == 1000
        node.happen()
        async with websocket(server.port, f"/ws?kinds=extend&cursor={message['id']}") as client:
            await client.receive()
            again = await client.receive()
            assert again is not None
            assert again["data"]["seq"] == 2
            await client.send(TextMessage("hello?"))
            assert await client.receive() is None
            assert client.closed == 1003

    run(tmp_path, node, body)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x89\xfe\x00\x7e" + bytes(200),  # a ping of 126 bytes, which may have 125
        b"\x8a\x80\x00\x00\x00\x00" * 2_000,  # pongs that nobody asked for
        b"\x81\x05hello",  # not masked
        b"\xff" * 64,
        b"\x82\xff" + b"\x7f" * 8 + bytes(4_200),  # a message of exabytes
        b"\x01\x84\x00\x00\x00\x00a\xff\xff\xff",
    ],
)
def test_frames_that_are_none_end_the_connection_and_nothing_else(tmp_path: Path, raw: bytes) -> None:
    async def body(server: Live) -> None:
        async with websocket(server.port, "/ws?kinds=extend") as client:
            with suppress(trio.BrokenResourceError):
                await client.raw(raw)
            while await client.receive() is not None:
                pass
        assert (await server.request(path="/livez", auth=False))[0] == 200

    run(tmp_path, EventNode(), body)


def test_ws_wants_a_query_that_means_something(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        assert (await server.request(path="/ws?kinds=nothing", auth=False))[0] == 400

    run(tmp_path, EventNode(), body)


HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: " + "A" * 22 + "==",
)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((), 426),
        (("Upgrade: h2c", "Connection: upgrade"), 426),
        (("Upgrade: websocket", "Connection: upgrade"), 400),
        (("Upgrade: websocket", "Connection: upgrade", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: x"), 426),
        (("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + "A" * 22 + "=="), 400),
        ((*HANDSHAKE, "Sec-WebSocket-Protocol: \xff"), 400),
        ((*HANDSHAKE, "Transfer-Encoding: chunked", "", "no chunk"), 400),
    ],
)
def test_handshakes_that_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...], status: int
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(room.log, "exception", lambda event, **_: logged.append(event), raising=False)

    async def body(server: Live) -> None:
        raw = "\r\n".join(["GET /ws HTTP/1.1", "Host: localhost", *lines, "", ""]).encode("latin-1")
        async with await server.tcp() as stream:
            await stream.send_all(raw)
            assert parse(await stream.receive_some())[0] == status

    run(tmp_path, EventNode(), body)
    assert not logged
