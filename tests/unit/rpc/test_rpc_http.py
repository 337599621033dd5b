"""The HTTP face: paths, authorisation, hosts, limits; over real sockets."""

from __future__ import annotations

import json
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from rpc_live import Live, live, parse
from small_node import SmallNode

from spvnode.errors import InputError, StoreLocked
from spvnode.inputs import Endpoint
from spvnode.metrics import Metrics
from spvnode.rpc.access import Peer
from spvnode.rpc.auth import Cookie
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.guard import host_is_local
from spvnode.rpc.http import App
from spvnode.rpc.limits import MAX_BODY_BYTES, MAX_CONNECTIONS, MAX_HEADER_BYTES
from spvnode.rpc.server import open_unix, serve_rpc
from spvnode.rpc.table import METHODS

COUNT = b'{"jsonrpc":"2.0","id":1,"method":"getblockcount"}'


def with_server(tmp_path: Path, body: Callable[[Live], Awaitable[None]], node: SmallNode | None = None) -> None:
    """Runs ``body`` against a live server."""

    async def main() -> None:
        with trio.fail_after(30):
            async with live(tmp_path, node) as server:
                await body(server)

    trio.run(main)


def test_tcp_wants_the_cookie_and_unix_does_not(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        status, headers, reply = await server.request(COUNT)
        assert (status, headers["content-type"], json.loads(reply)["result"]) == (200, "application/json", 19)
        status, headers, reply = await server.request(COUNT, auth=False)
        assert (status, headers["www-authenticate"]) == (401, 'Basic realm="jsonrpc"')
        assert reply.startswith(b"authorization: wants the content of <datadir>/.cookie")
        assert await server.call("getblockcount", unix=True) == 19

    with_server(tmp_path, body)


def test_files_are_private_and_gone_at_the_end(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        assert stat.S_IMODE((tmp_path / "rpc.sock").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / ".cookie").stat().st_mode) == 0o600

    with_server(tmp_path, body)
    assert list(tmp_path.iterdir()) == []


def test_who_has_no_cookie_is_answered_before_the_body_is_read(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n"
        assert parse(await server.exchange(head))[0] == 401

    with_server(tmp_path, body)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("HEAD", "/livez", 200),
        ("POST", "/livez", 405),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/", 200),
        ("GET", "/bitcoin", 405),
        ("DELETE", "/", 405),
        ("GET", "/nope/nope", 404),
        ("POST", "/wallet/x", 404),
        ("GET", "/favicon.ico", 404),
        ("head", "/livez", 405),
        ("post", "/", 405),
        ("OPTIONS", "*", 400),
        ("GET", "http://127.0.0.1/livez", 400),
    ],
)
def test_paths_and_methods(tmp_path: Path, method: str, path: str, status: int) -> None:
    async def body(server: Live) -> None:
        found, headers, reply = await server.request(method=method, path=path, auth=False)
        assert found == status
        if method == "HEAD":
            assert (headers["content-length"], reply) == ("3", b"")

    with_server(tmp_path, body)


def test_the_path_names_the_network(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        assert json.loads((await server.request(COUNT, path="/bitcoin"))[2])["result"] == 19
        status, _, reply = await server.request(COUNT, path="/signet")
        assert (status, reply) == (404, b"network 'signet' does not run here; running: bitcoin\n")

    with_server(tmp_path, body)


def test_readiness_tells_why_not(tmp_path: Path) -> None:
    node = SmallNode("regtest", "signet")
    node.not_ready["signet"] = ("no useful peer",)

    async def body(server: Live) -> None:
        status, _, reply = await server.request(path="/readyz", auth=False)
        found = json.loads(reply)
        assert (status, found["ready"]) == (503, False)
        assert found["networks"]["regtest"]["ready"] is True
        assert found["networks"]["signet"]["reasons"] == ["no useful peer"]
        assert found["networks"]["signet"]["tip_age"] == 12.5
        node.not_ready.clear()
        assert (await server.request(path="/readyz", auth=False))[0] == 200

    with_server(tmp_path, body, node)


def test_a_node_without_a_chain_is_not_ready(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        assert (await server.request(path="/readyz", auth=False))[0] == 503
        assert (await server.request(path="/livez", auth=False))[0] == 200
        assert (await server.request(path="/metrics", auth=False))[0] == 200

    with_server(tmp_path, body, SmallNode())


def test_metrics_show_the_node(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        await server.call("getblockcount")
        _, headers, reply = await server.request(path="/metrics", auth=False)
        text = reply.decode()
        assert headers["content-type"].startswith("text/plain; version=")
        assert 'spvnode_tip_height{network="bitcoin"} 19.0' in text
        assert 'spvnode_ready{network="bitcoin"} 1.0' in text
        assert 'spvnode_last_useful_event_age_seconds{network="bitcoin"} NaN' in text
        assert 'spvnode_info{version="0.0.test"} 1.0' in text
        assert "process_resident_memory_bytes" in text

    with_server(tmp_path, body)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        (None, True),
        (b"localhost", True),
        (b"LOCALHOST:8342", True),
        (b"127.0.0.1:8342", True),
        (b"127.1.2.3", True),
        (b"[::1]:8342", True),
        (b"evil.example", False),
        (b"127.0.0.1.evil.example:8342", False),
        (b"localhost.evil.example", False),
        (b"192.168.1.4:8342", False),
        (b"[::1", False),
        (b"", False),
        (b"127.0.0.1:8342@evil.example", False),
    ],
)
def test_only_loopback_hosts_are_taken(host: bytes | None, local: bool) -> None:
    assert host_is_local(host) is local


def test_a_rebound_name_gets_nothing(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        for path in ("/", "/livez", "/metrics"):
            assert (await server.request(path=path, headers=("Host: evil.example:8342",)))[0] == 403
        assert (await server.request(COUNT, headers=("Host: evil.example",)))[0] == 403

    with_server(tmp_path, body)


@pytest.mark.parametrize(
    ("site", "mode", "dest", "status"),
    [
        ("cross-site", "no-cors", "empty", 403),  # fetch(..., {mode: "no-cors"}) of a foreign page
        ("same-site", "no-cors", "image", 403),  # an image in a page of another port of this machine
        ("cross-site", "navigate", "iframe", 403),
        ("cross-site", "navigate", "document", 200),  # a link that somebody followed
        ("same-origin", "cors", "empty", 200),
        ("none", "navigate", "document", 200),
    ],
)
def test_foreign_pages_may_not_even_ask_blindly(tmp_path: Path, site: str, mode: str, dest: str, status: int) -> None:
    told = (f"Sec-Fetch-Site: {site}", f"Sec-Fetch-Mode: {mode}", f"Sec-Fetch-Dest: {dest}")

    async def body(server: Live) -> None:
        assert (await server.request(path="/livez", auth=False, headers=told))[0] == status

    with_server(tmp_path, body)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(tmp_path: Path, chunked: bool) -> None:
    async def body(server: Live) -> None:
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {MAX_BODY_BYTES + 1}"
        head = f"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {server.auth}\r\n{framing}\r\n\r\n".encode()
        piece = b"10000\r\n" + b" " * 65_536 + b"\r\n" if chunked else b" " * 65_536
        status, _, reply = parse(await server.exchange(head + piece * 33))
        assert (status, reply) == (413, f"body: longer than {MAX_BODY_BYTES} bytes\n".encode())
        assert await server.call("getblockcount") == 19

    with_server(tmp_path, body)


def test_a_body_of_the_limit_is_taken(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        status, _, reply = await server.request(COUNT + b" " * (MAX_BODY_BYTES - len(COUNT)))
        assert (status, json.loads(reply)["result"]) == (200, 19)

    with_server(tmp_path, body)


def test_a_head_over_the_limit_is_refused(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        head = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * MAX_HEADER_BYTES
        assert parse(await server.exchange(head))[0] == 431

    with_server(tmp_path, body)


def test_one_connection_serves_many_requests_also_sent_ahead(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        head = f"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {server.auth}\r\n"
        one = f"{head}Content-Length: {len(COUNT)}\r\n\r\n".encode() + COUNT
        last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        reply = await server.exchange(one * 5 + b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + last)
        assert reply.count(b'"result":19') == 6
        assert reply.count(b"HTTP/1.1 200 OK") == 7

    with_server(tmp_path, body)


def test_expectations_are_met(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        head = f"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {server.auth}\r\nConnection: close\r\n"
        head += f"Expect: 100-continue\r\nContent-Length: {len(COUNT)}\r\n\r\n"
        async with await server.tcp() as stream:
            await stream.send_all(head.encode())
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
            await stream.send_all(COUNT)
            assert json.loads(parse(b"".join([part async for part in stream]))[2])["result"] == 19

    with_server(tmp_path, body)


def test_http_1_0_without_host_is_served(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        assert (await server.exchange(b"GET /livez HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")

    with_server(tmp_path, body)


def test_connections_beyond_the_limit_are_turned_away_and_unix_stays_free(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        held = [await server.tcp() for _ in range(MAX_CONNECTIONS)]
        await until(server, f'listener="tcp"}} {MAX_CONNECTIONS}.0')
        assert (await server.exchange(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
        assert await server.call("getblockcount", unix=True) == 19
        for stream in held:
            await stream.aclose()
        await until(server, 'listener="tcp"} 0.0')
        assert await server.call("getblockcount") == 19

    async def until(server: Live, sample: str) -> None:
        while sample not in (await server.request(path="/metrics", unix=True))[2].decode():
            pass

    with_server(tmp_path, body)


def test_stop_is_answered_first(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        assert await server.call("stop") == "spvnode stopping"
        await server.stopped.wait()

    with_server(tmp_path, body)


def test_stop_counts_also_where_nobody_waits_for_the_answer(tmp_path: Path) -> None:
    node, metrics, stops = SmallNode("regtest"), Metrics(), list[bool]()
    app = App(node, Dispatcher(node, METHODS, metrics), Cookie.create(tmp_path), metrics, lambda: stops.append(True))
    scope = {
        "type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [(b"host", b"localhost")],
        "state": {"peer": Peer("unix", vouched=True)},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b'{"method": "stop"}', "more_body": False}

    async def send(message: Any) -> None:
        raise trio.BrokenResourceError

    with pytest.raises(trio.BrokenResourceError):
        trio.run(app, scope, receive, send)
    assert stops == [True]


def test_another_daemon_in_the_same_place_is_not_displaced(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        with pytest.raises(StoreLocked, match="another daemon answers"):
            await open_unix(tmp_path / "rpc.sock")
        assert await server.call("getblockcount", unix=True) == 19

    with_server(tmp_path, body)


def test_the_socket_file_of_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    async def main() -> None:
        dead = await open_unix(tmp_path / "rpc.sock")
        await dead.aclose()
        assert (tmp_path / "rpc.sock").exists()
        async with live(tmp_path) as server:
            assert await server.call("getblockcount", unix=True) == 19

    trio.run(main)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])  # noqa: S104 - refused, which is the point
def test_no_address_beyond_loopback(tmp_path: Path, host: str) -> None:
    async def main() -> None:
        await serve_rpc(
            SmallNode("regtest"), datadir=tmp_path, bind=Endpoint(host, 0), metrics=Metrics(), stop=lambda: None
        )

    with pytest.raises(InputError, match=r"rpc\.bind: .* only loopback is allowed"):
        trio.run(main)


def test_a_taken_port_is_a_typed_error(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        (tmp_path / "other").mkdir()
        with pytest.raises(InputError, match=r"rpc\.bind: 127\.0\.0\.1:\d+: "):
            await serve_rpc(
                SmallNode("regtest"),
                datadir=tmp_path / "other",
                bind=Endpoint("127.0.0.1", server.port),
                metrics=Metrics(),
                stop=lambda: None,
            )

    with_server(tmp_path, body)
