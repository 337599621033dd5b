"""The client that blocks and the one that does not: against a real server over both transports, and against servers
that fail."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from daemons import Daemon
from event_node import EventNode, chain_of, live_events
from fake_http import FakeHttp
from rpc_live import live_thread
from small_node import SmallNode, mainnet

from spvnode import client
from spvnode.client.async_methods import AsyncMethods
from spvnode.client.exchange import (
    MAX_REPLY,
    MAX_RETRY_AFTER,
    MAX_TOLD,
    MAX_WAIT,
    TIMEOUT,
    Reply,
    patience,
    refusal,
    result_of,
    retry_after,
)
from spvnode.client.methods import Methods
from spvnode.client.place import MAX_COOKIE
from spvnode.client.retries import Course
from spvnode.client.stream import MAX_EVENT, SILENCE, Parser
from spvnode.errors import InputError
from spvnode.method_names import METHODS as NAMES
from spvnode.method_names import NOT_REPEATED
from spvnode.rpc.caller import Scope
from spvnode.rpc.client_code import async_methods_page, methods_page, names_page
from spvnode.rpc.events.feed import KEEPALIVE_SECONDS
from spvnode.rpc.limits import MAX_REPLY_BYTES
from spvnode.rpc.methods.waiting import MAX_WAIT_SECONDS
from spvnode.rpc.table import METHODS

ROOT = Path(__file__).resolve().parents[3]
QUICK = client.Retries(attempts=3, first=0.001, most=0.01)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, SmallNode]]:
    place = tmp_path_factory.mktemp("client")
    with live_thread(place, mainnet(50)) as found:
        yield place, found


def once(*where: Any, method: str = "uptime", **how: Any) -> Any:
    """One call."""
    with client.connect(*where, **how) as one:
        return one.call(method)


def both(node: tuple[Path, SmallNode]) -> list[Callable[..., Any]]:
    """Ways to name the node."""
    place, found = node
    return [partial(client.connect, place), partial(client.connect, found.url, cookie=place)]


# -- the methods, all of them


@pytest.mark.parametrize(
    ("file", "page"),
    [
        ("method_names.py", names_page),
        ("client/methods.py", methods_page),
        ("client/async_methods.py", async_methods_page),
    ],
)
def test_written_code_is_that_of_the_table(file: str, page: Callable[[], str]) -> None:
    assert (ROOT / "spvnode" / file).read_text() == page()


def test_every_result_has_a_type() -> None:
    for kind in (Methods, AsyncMethods):
        for name in METHODS:
            result = inspect.signature(getattr(kind, name.replace(".", "_"))).return_annotation
            assert not {"Any", "Json", "dict"} & set(re.findall(r"\w+", result)), (name, result)


@pytest.mark.parametrize("kind", [Methods, AsyncMethods])
def test_none_is_missing(kind: type) -> None:
    for name, row in METHODS.items():
        call = getattr(kind, name.replace(".", "_"))
        taken = list(inspect.signature(call).parameters.values())[1:]
        assert [one.name for one in taken] == [field.name for field in row.parameters]
        assert [one.default is inspect.Parameter.empty for one in taken] == [one.required for one in row.parameters]
    assert set(NAMES) == set(METHODS)
    assert {name for name, row in METHODS.items() if row.scope is Scope.ADMIN} | {"watch", "unwatch"} == NOT_REPEATED


def test_every_method_reaches_the_daemon_with_its_parameters() -> None:
    class Recorder(Methods):
        def call(self, method: str, params: Any = None) -> Any:
            asked.append((method, params or {}))

    asked: list[tuple[str, Any]] = []
    for name, row in METHODS.items():
        given = {field.name: object() for field in row.parameters}
        getattr(Recorder(), name.replace(".", "_"))(**given)
        assert asked.pop() == (name, given)


# -- calls


def test_calls_over_both_transports(node: tuple[Path, SmallNode]) -> None:
    for connect in both(node):
        with connect() as one:
            assert one.getblockcount() == 49
            found = one.getblockheader(one.getblockhash(7))
            assert not isinstance(found, str)
            assert found["height"] == 7
            assert one.call("getblockhash", [7]) == found["hash"]
            with pytest.raises(client.RpcFailed) as caught:
                one.getblockhash(50)
            assert caught.value.code == -8
            first, second = one.batch([("getblockcount", {}), ("getblockhash", [99])])
            assert first == 49
            assert isinstance(second, client.RpcFailed)
            assert one.batch([]) == []


@pytest.mark.parametrize("run", ["trio", "asyncio"])
def test_async_calls_beside_each_other(node: tuple[Path, SmallNode], run: str) -> None:
    place, found = node

    async def main() -> None:
        for one in (client.connect_async(place), client.connect_async(found.url, cookie=place / ".cookie")):
            assert await one.getblockcount() == 49
            with pytest.raises(client.RpcFailed):
                await one.getblockhash(50)
            assert [type(each) for each in await one.batch([("uptime", {}), ("nothing", [])])] == [
                int,
                client.RpcFailed,
            ]
            assert await one.batch([]) == []

    trio.run(main) if run == "trio" else asyncio.run(main())


def test_what_credentials_are_wanted(node: tuple[Path, SmallNode], tmp_path: Path) -> None:
    _, found = node
    with pytest.raises(client.Refused) as caught:
        once(found.url)
    assert caught.value.status == 401
    with pytest.raises(client.Refused):
        once(found.url, token="none")  # noqa: S106 - no such token
    with pytest.raises(client.Unreachable, match="cookie"):
        once(found.url, cookie=tmp_path / ".cookie", retries=QUICK)
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"__cookie__:00" + b"x" * MAX_COOKIE)
    with pytest.raises(client.Refused):
        once(found.url, cookie=wrong)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(client.Unreachable):
        once(tmp_path, retries=QUICK)

    async def main() -> None:
        await client.connect_async(tmp_path, retries=QUICK).uptime()

    with pytest.raises(client.Unreachable):
        trio.run(main)


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://a:b@c", "http://x/path", "http://x:99999", "http://[x"])
def test_places_that_are_none(url: str) -> None:
    with pytest.raises(InputError):
        client.connect(url)


def test_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPVNODE_DATADIR", str(tmp_path))
    assert client.find_place().socket == tmp_path / "rpc.sock"
    monkeypatch.delenv("SPVNODE_DATADIR")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert client.find_place().socket == tmp_path / "spvnode" / "rpc.sock"


# -- retries


OK = b'{"jsonrpc":"2.0","id":1,"result":5}'
LIMITED = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"slow","data":{"retry_after":0.01}}}'


def ask(url: str, way: str, method: str = "uptime", timeout: float = TIMEOUT) -> Any:
    if way == "blocking":
        return once(url, method=method, retries=QUICK, timeout=timeout)
    return trio.run(partial(client.connect_async(url, retries=QUICK, timeout=timeout).call, method))


@pytest.mark.parametrize("way", ["blocking", "trio"])
@pytest.mark.parametrize(
    "failure",
    [(503, b""), (429, LIMITED), (200, LIMITED), (500, b"oops"), None],
    ids=["503", "429", "rate", "500", "cut"],
)
def test_failures_that_pass(way: str, failure: tuple[int, bytes] | None) -> None:
    with FakeHttp([failure, failure, (200, OK)]) as server:
        assert ask(server.url, way) == 5
        assert len(server.asked) == 3


@pytest.mark.parametrize("way", ["blocking", "trio"])
@pytest.mark.parametrize(("failure", "asked"), [(None, 1), ((500, b"oops"), 1), ((503, b""), 3), ((429, LIMITED), 3)])
def test_what_changes_something_is_not_called_twice(way: str, failure: tuple[int, bytes] | None, asked: int) -> None:
    with FakeHttp([failure] * 9) as server:
        with pytest.raises(client.Passing):
            ask(server.url, way, "watch")
        assert len(server.asked) == asked


@pytest.mark.parametrize("way", ["blocking", "trio"])
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b"{}", b"nothing", b'{"error": 5}', b"[" * 100_000, b'{"error":{"code":"x"}}']
)
def test_replies_that_are_none(way: str, body: bytes) -> None:
    with FakeHttp([(200, body)]) as server, pytest.raises(client.ClientError):
        ask(server.url, way)


def test_replies_that_are_too_long() -> None:
    with pytest.raises(client.ClientError, match="more than"):
        result_of(Reply(200, bytes(MAX_REPLY + 1)))
    assert len(str(refusal(Reply(404, b"x" * 9_999)))) <= MAX_TOLD + len("404: ")


@pytest.mark.parametrize(("told", "wait"), [("1e400", 7.0), ("NaN", 7.0), ("-1", 7.0), ("86401", 7.0), ("3", 3.0)])
def test_nobody_makes_a_client_wait_for_ever(told: str, wait: float) -> None:
    with pytest.raises(client.Busy) as caught:
        result_of(Reply(429, LIMITED.replace(b"0.01", told.encode()), 7.0))
    assert caught.value.wait == wait
    assert retry_after("999999") == MAX_RETRY_AFTER


@pytest.mark.parametrize("way", ["blocking", "trio"])
def test_a_wait_beyond_the_timeout_is_told_at_once(way: str) -> None:
    long = LIMITED.replace(b"0.01", b"1.5")
    with FakeHttp([(429, long)] * 9) as server:
        with pytest.raises(client.Busy) as caught:
            ask(server.url, way, timeout=1.0)
        assert (caught.value.wait, len(server.asked)) == (1.5, 1)


@pytest.mark.parametrize("run", [trio.run, lambda main: asyncio.run(main())])
def test_the_client_that_does_not_block_as_a_context(node: tuple[Path, SmallNode], run: Callable[..., Any]) -> None:
    async def main() -> int:
        async with client.connect_async(node[0]) as one:
            return await one.getblockcount()

    assert run(main) == 49


def test_a_kept_connection_that_the_daemon_has_closed(node: tuple[Path, SmallNode]) -> None:
    with client.connect(node[0], retries=client.Retries(attempts=1)) as one:
        assert one.getblockcount() == 49
        assert one._connection is not None
        assert one._connection.sock is not None
        one._connection.sock.shutdown(socket.SHUT_RDWR)
        assert one.getblockcount() == 49


def test_a_batch_that_is_not_answered_whole() -> None:
    answers = [[{"id": 1, "result": 1}], [{"id": 1, "result": 1}, {"id": 9, "result": 2}], {"id": None, "error": 1},
               [{"id": [1], "result": 1}], [1], [{"id": {}, "error": {"code": 1}}]]  # fmt: skip
    for answer in answers:
        body = json.dumps(answer).encode()
        with FakeHttp([(200, body)]) as server, client.connect(server.url) as one, pytest.raises(client.ClientError):
            one.batch([("uptime", {}), ("uptime", {})])


def test_a_cookie_of_a_new_run_is_read(tmp_path: Path) -> None:
    cookie = tmp_path / ".cookie"
    cookie.write_text("__cookie__:old")

    def started_anew() -> tuple[int, bytes]:
        cookie.write_text("__cookie__:new")
        return 401, b"wrong"

    with FakeHttp([started_anew, (200, OK)]) as server:
        assert once(server.url, cookie=tmp_path, retries=QUICK) == 5
        assert len({request.partition(b"Basic ")[2].split(b"\r")[0] for request in server.asked}) == 2


def test_waits_grow_and_end() -> None:
    course = Course(client.Retries(4, 0.1, 0.3), chance=lambda: 0.0)
    error = client.Unreachable("gone", untouched=False)
    assert [round(course.after(error), 6) for _ in range(3)] == [0.1, 0.2, 0.3]
    with pytest.raises(client.Unreachable):
        course.after(error)
    assert Course(client.Retries(4, 0.1, 0.3), patience=7.0).after(client.Busy("slow", 7.0)) == 7.0
    assert 0.05 <= Course(client.Retries(4, 0.1, 0.3)).after(error) <= 0.1


def test_patience_of_a_stream() -> None:
    times = iter([0.0, 1.0, 2.0, 50.0, 53.0])
    course = Course(client.Retries(1, 1.0, 1.0), endless=True, patience=3.0, clock=times.__next__, chance=lambda: 0.0)
    error = client.Unreachable("gone", untouched=True)
    assert [course.after(error) for _ in range(3)] == [1.0] * 3
    course.succeeded()
    assert course.after(error) == 1.0
    with pytest.raises(client.Unreachable):
        course.after(error)


def test_patience_of_a_call() -> None:
    times = iter([0.0, 5.0, 9.0, 0.0, 50.0])
    course = Course(client.Retries(9, 1.0, 1.0), patience=10.0, clock=times.__next__, chance=lambda: 0.0)
    assert [course.after(client.Busy("slow", 5.0)) for _ in range(2)] == [5.0] * 2
    with pytest.raises(client.Busy):
        course.after(client.Busy("slow", 5.0))
    course.succeeded()
    gone = client.Unreachable("gone", untouched=True)  # asks for no wait: the attempts bound it
    assert [course.after(gone) for _ in range(2)] == [1.0] * 2


def test_numbers_that_belong_to_the_daemons() -> None:
    assert MAX_REPLY >= 2 * MAX_REPLY_BYTES
    assert MAX_WAIT == MAX_WAIT_SECONDS
    assert SILENCE == 3 * KEEPALIVE_SECONDS
    assert patience("waitfornewblock", TIMEOUT) == TIMEOUT + MAX_WAIT
    assert patience("uptime", 3.0) == 3.0


def test_importing_the_client_loads_nothing_heavy() -> None:
    script = (
        "import sys; from spvnode import client;"
        "heavy = {'trio', 'anyio', 'h11', 'asyncio', 'msgspec', 'click', 'dataclasses', 'platformdirs'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules);"
        "assert not [name for name in sys.modules if name.startswith(('spvnode.rpc', 'spvnode.ethereum', 'p2p'))]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


# -- events


def test_the_parser_at_every_cut() -> None:
    raw = b'retry: 5\n\nid: r:1\n\nid: r:2\nevent: extend\ndata: {"network": "r", "seq": 2}\n\nid: r:3\n\nid: r:4\nev'
    for cut in range(len(raw)):
        parser = Parser(None)
        found = [*parser.feed(raw[:cut]), *parser.feed(raw[cut:])]
        assert found == [client.Event("r:2", "extend", "r", {"network": "r", "seq": 2})]
        assert parser.cursor == "r:3"


@pytest.mark.parametrize(
    "raw", [b"data: 5\n\n", b"data: {\n\n", b"data: \xff\n\n", b"data: " + b"[" * 99_999 + b"\n\n"]
)
def test_streams_that_are_none(raw: bytes) -> None:
    with pytest.raises(client.ClientError):
        list(Parser(None).feed(raw))
    with pytest.raises(client.ClientError):
        list(Parser(None).feed(b"data: " + bytes(MAX_EVENT)))


@pytest.mark.parametrize("over_tcp", [False, True])
def test_async_events_of_a_live_server(tmp_path: Path, over_tcp: bool) -> None:
    async def main() -> None:
        node = EventNode()
        async with live_events(node, tmp_path):
            one = client.connect_async(node.url, cookie=tmp_path) if over_tcp else client.connect_async(tmp_path)
            async with one.events(networks=["regtest"], kinds=["extend"]) as events:
                with trio.move_on_after(0.3):
                    await anext(events)
                assert events.cursor is not None
                node.commit(chain_of(3))
                first = await anext(events)
                assert (first.kind, first.network, first.data["to"]["height"]) == ("extend", "regtest", 3)
                assert first.cursor == events.cursor
                node.happen(kind="fault")
                node.commit(chain_of(5))
                assert (await anext(events)).data["seq"] == 3
            again = one.events(cursor=first.cursor, kinds=["fault"])
            assert (await anext(again)).data["seq"] == 2
            await again.aclose()
            with pytest.raises(client.Refused) as caught:
                await anext(one.events(kinds=["nothing"]))
            assert caught.value.status == 400

    trio.run(main)


def test_patience_ends_a_stream(tmp_path: Path) -> None:
    with pytest.raises(client.Unreachable):
        next(client.connect(tmp_path, retries=QUICK).events(patience=0.05))


def test_events_over_restarts_of_a_daemon(tmp_path: Path) -> None:
    """Imports make events; the daemon is killed between them. Each is seen once."""
    daemon = Daemon(tmp_path / "node", "regtest")
    headers = chain_of(40)
    seen: list[int] = []
    daemon.start("--no-mesh")
    daemon.wait_answer()
    try:
        with client.connect(daemon.folder, retries=QUICK) as one:
            events = one.events(cursor="regtest:0,node:0", kinds=["extend"], patience=60)
            for at in range(0, 40, 10):
                one.importheaders(headers[at * 80 : (at + 10) * 80].hex())
                event = next(events)
                seen.append(event.data["to"]["height"])
                daemon.kill()
                daemon.start("--no-mesh")
                daemon.wait_answer()
            assert seen == [10, 20, 30, 40]
            one.close()
        with client.connect(daemon.folder) as one:
            later = one.events(cursor="regtest:0,node:0", kinds=["extend"])
            assert [next(later).data["to"]["height"] for _ in range(4)] == seen
            later.close()
        events.close()
    finally:
        daemon.kill()
