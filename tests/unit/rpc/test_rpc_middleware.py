"""The steps that the configuration may add, one by one, and what their tables refuse."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from rpc_live import Live, live
from small_node import SmallNode

from spvnode import logs
from spvnode.config_middleware import (
    MAX_ADDED_HEADERS,
    MAX_HEADER_NAME,
    MAX_HEADER_VALUE,
    MAX_MIDDLEWARE,
    MAX_NAMED,
    MAX_PATH,
    AccessLogConfig,
    AllowMethodsConfig,
    AnyMiddleware,
    DenyConfig,
    MaintenanceConfig,
    RequestIdConfig,
    ResponseHeadersConfig,
    SlowLogConfig,
)
from spvnode.config_sources import load_config
from spvnode.errors import InputError
from spvnode.rpc.caller import Caller, Kind, Scope
from spvnode.rpc.pipeline.chosen import MAX_LOGGED_PATH, MAX_REQUEST_ID, AccessLog, SlowLog, chosen
from spvnode.rpc.pipeline.step import Visit
from spvnode.rpc.settings import Desk, Settings
from spvnode.rpc.tokens import Keyring, mint
from spvnode.view import Readiness

KEY = bytes(range(32))
COUNT = b'{"jsonrpc":"2.0","id":1,"method":"getblockcount"}'


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What has been logged, one object a line."""
    stream = io.BytesIO()
    logs.configure("info", "json", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logs.configure()


def token(*scopes: Scope) -> str:
    now = int(time.time())
    return "Bearer " + mint(KEY, "alice", scopes or tuple(Scope), issued=now, expires=now + 600)[0]


def served(
    tmp_path: Path, body: Callable[[Live], Awaitable[None]], *tables: AnyMiddleware, node: SmallNode | None = None
) -> None:
    """Runs ``body`` against a live server with these steps."""

    async def main() -> None:
        with trio.fail_after(30):
            table = Desk(Settings(keyring=Keyring((KEY,)), steps=chosen(tables)))
            async with live(tmp_path, node, desk=table) as server:
                await body(server)

    trio.run(main)


async def status(server: Live, method: str, auth: str, path: str = "/", body: bytes | None = None) -> int:
    headers = (f"Authorization: {auth}",) if auth else ()
    return (await server.request(body, path=path, method=method, auth=False, headers=headers))[0]


async def call(server: Live, method: str, auth: str) -> int:
    return await status(server, "POST", auth, body=json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode())


# -- deny and allow


@pytest.mark.parametrize(
    ("path", "denied"),
    [
        ("/rest", True),
        ("/rest/chaininfo.json", True),
        ("/bitcoin/rest/chaininfo.json", True),
        ("/%72est/chaininfo.json", True),
        ("/nowhere/rest/x", True),
        ("/eth/v1/node/version", False),
        ("/metrics", False),
        ("/livez", False),
    ],
)
def test_paths_are_denied_with_a_network_before_them_and_without(tmp_path: Path, path: str, denied: bool) -> None:
    async def body(server: Live) -> None:
        # ``/rest`` alone has no row to be denied in: as any unknown path of one word it is JSON-RPC's.
        assert (await status(server, "GET", "", path) in (403, 405)) is denied

    served(tmp_path, body, DenyConfig(paths=("/rest",)))


def test_a_beginning_is_of_whole_segments(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        auth = server.auth
        assert await status(server, "GET", auth, "/metrics") == 200
        assert await status(server, "POST", auth, "/bitcoin", COUNT) == 403
        assert await status(server, "POST", auth, "/", COUNT) == 200
        assert await status(server, "GET", auth, "/style.css") == 403

    served(tmp_path, body, DenyConfig(paths=("/met", "/bitcoin", "/style.css")))


def test_only_callers_of_the_given_kinds_are_denied(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        assert await call(server, "uptime", token()) == 403
        assert await call(server, "uptime", server.auth) == 200
        assert await call(server, "getblockcount", token()) == 200
        assert await status(server, "GET", "", "/metrics") == 403
        assert await status(server, "GET", token(), "/metrics") == 200

    tables = (DenyConfig(methods=("uptime",), kinds=("token",)), DenyConfig(paths=("/metrics",), kinds=("anonymous",)))
    served(tmp_path, body, *tables)


def test_tokens_may_use_the_named_methods_and_no_others(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        assert await call(server, "getblockcount", token(Scope.READ)) == 200
        assert await call(server, "uptime", token(Scope.READ)) == 403
        assert await call(server, "getblockcount", token(Scope.PROOFS)) == 403  # the scope is asked for all the same
        assert await call(server, "uptime", server.auth) == 200
        assert await status(server, "GET", token(), "/metrics") == 200

    served(tmp_path, body, AllowMethodsConfig(methods=("getblockcount",)))


# -- maintenance


def test_under_maintenance_all_but_the_operator_are_told_when_to_come_again(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        for auth in ("", token()):
            lines = (f"Authorization: {auth}",) if auth else ()
            for path in ("/metrics", "/", "/nowhere"):
                found, headers, reply = await server.request(path=path, auth=False, headers=lines)
                assert (found, headers["retry-after"]) == (503, "90")
                assert reply == b"under maintenance; try again later\n"
            assert await status(server, "GET", auth, "/livez") == 200
        assert await call(server, "getblockcount", token()) == 503
        assert await call(server, "getblockcount", server.auth) == 200
        assert await server.call("getblockcount", unix=True) == 19

    served(tmp_path, body, MaintenanceConfig(retry_after=90))


# -- headers


def test_headers_are_added_to_every_answer(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        for path, auth, wanted in (
            ("/livez", "", 200),
            ("/", "Bearer x", 401),
            ("/a/b", "", 404),
            ("/events", "", 404),
        ):
            lines = (f"Authorization: {auth}",) if auth else ()
            found, headers, _ = await server.request(path=path, auth=False, headers=lines)
            assert (found, headers["strict-transport-security"], headers["x-node"]) == (wanted, "max-age=60", "attic")
            assert headers["cache-control"] == "no-store"

    added = {"strict-transport-security": "max-age=60", "x-node": "attic"}
    served(tmp_path, body, ResponseHeadersConfig(headers=added))


def test_a_header_that_a_route_says_itself_is_not_said_twice(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        for path, wanted in (("/", b"same-origin"), ("/livez", b"unsafe-none")):
            raw = await server.exchange(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            found = re.findall(rb"\r\ncross-origin-opener-policy: ([a-z-]+)\r\n", raw)
            assert found == [wanted]

    served(tmp_path, body, ResponseHeadersConfig(headers={"cross-origin-opener-policy": "unsafe-none"}))


# -- ids


def test_an_id_is_taken_or_made_told_and_logged(tmp_path: Path, lines: Callable[[], list[dict[str, Any]]]) -> None:
    async def body(server: Live) -> None:
        given = "req-7.a_B"
        _, headers, _ = await server.request(COUNT, headers=(f"X-Request-Id: {given}",))
        assert headers["x-request-id"] == given
        made = []
        for junk in ("a b", "x" * (MAX_REQUEST_ID + 1), "a\tb", "é", '"}{"'):
            _, headers, _ = await server.request(COUNT, headers=(f"X-Request-Id: {junk}",))
            made.append(headers["x-request-id"])
        assert len(set(made)) == len(made)
        assert all(len(one) == 16 and set(one) <= set("0123456789abcdef") for one in made)
        assert [line["request_id"] for line in lines() if line["event"] == "request"] == [given, *made]

    served(tmp_path, body, RequestIdConfig(), AccessLogConfig())


def test_an_id_is_of_one_request_also_where_another_follows(
    tmp_path: Path, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    table = Desk(Settings(steps=chosen([RequestIdConfig(), AccessLogConfig()])))

    async def main() -> None:
        async with live(tmp_path, desk=table) as server, await server.tcp() as stream:
            for n in range(3):
                end = "Connection: close\r\n" if n == 2 else ""
                head = f"GET /livez HTTP/1.1\r\nHost: localhost\r\n{end}X-Request-Id: id{n}\r\n\r\n"
                await stream.send_all(head.encode())
                assert f"x-request-id: id{n}\r\n".encode() in await stream.receive_some()
                if n == 1:
                    table.now = Settings(steps=chosen([AccessLogConfig()]))
                    await stream.send_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: none\r\n\r\n")
                    assert b"x-request-id" not in await stream.receive_some()
                    table.now = Settings(steps=chosen([RequestIdConfig(), AccessLogConfig()]))

    trio.run(main)
    assert [line.get("request_id") for line in lines() if line["event"] == "request"] == ["id0", "id1", None, "id2"]


def test_a_fault_is_logged_with_the_id_of_its_request(
    tmp_path: Path, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    async def body(server: Live) -> None:
        server.node.not_ready = None  # type: ignore[assignment]  # a node that is broken inside
        found, _, _ = await server.request(path="/readyz", auth=False, headers=("X-Request-Id: bad-one",))
        assert found == 500

    served(tmp_path, body, RequestIdConfig())
    assert [line["request_id"] for line in lines() if line["event"] == "rpc request failed"] == ["bad-one"]


def test_an_id_of_the_clients_own_is_not_taken_where_that_is_off(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        _, headers, _ = await server.request(path="/livez", headers=("X-Request-Id: mine",))
        assert headers["x-request-id"] != "mine"

    served(tmp_path, body, RequestIdConfig(accept=False))


# -- logs


def test_a_line_a_request_without_credentials_or_parameters(
    tmp_path: Path, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    secret = token(Scope.READ)

    async def body(server: Live) -> None:
        await status(server, "POST", secret, "/", COUNT)
        await status(server, "POST", secret, "/", b"[" + COUNT + b"," + COUNT + b"]")
        await status(server, "GET", "", "/livez?secret=1")
        await status(server, "GET", "", "/" + "x" * 300 + "/")
        await status(server, "GET", "Bearer junk", "/metrics")
        await server.call("getblockhash", 7, unix=True)

    served(tmp_path, body, AccessLogConfig())
    found = [line for line in lines() if line["event"] == "request"]
    keys = ("who", "method", "path", "route", "call", "calls", "status")
    long = "/" + "x" * (MAX_LOGGED_PATH - 1)
    assert [tuple(line.get(key) for key in keys) for line in found] == [
        ("token", "POST", "/", "json-rpc", "getblockcount", 1, 200),
        ("token", "POST", "/", "json-rpc", "getblockcount", 2, 200),
        ("anonymous", "GET", "/livez", "/livez", None, None, 200),
        ("anonymous", "GET", long, "", None, None, 404),
        ("anonymous", "GET", "/metrics", "", None, None, 401),
        ("local", "POST", "/", "json-rpc", "getblockhash", 1, 200),
    ]
    assert found[0]["user"] == "token:alice"
    assert found[2]["bytes"] == 3
    assert all(line["ms"] >= 0 for line in found)
    text = json.dumps(found)
    assert secret.removeprefix("Bearer ") not in text
    assert "junk" not in text
    assert "secret" not in text


def test_a_share_of_the_requests_is_logged(tmp_path: Path, lines: Callable[[], list[dict[str, Any]]]) -> None:
    draws = iter([0.1, 0.3, 0.2, 0.29])
    step = AccessLog(AccessLogConfig(sample=0.25), lambda: next(draws))

    async def main() -> None:
        async with live(tmp_path, desk=Desk(Settings(steps=(step,)))) as server:
            for n in range(4):
                await server.request(path=f"/n/{n}", auth=False)

    trio.run(main)
    assert [line["path"] for line in lines() if line["event"] == "request"] == ["/n/0", "/n/2"]


def test_what_took_long_is_told(tmp_path: Path, lines: Callable[[], list[dict[str, Any]]]) -> None:
    step = SlowLog(SlowLogConfig(ms=5, ignore=("uptime",)))
    for name, seconds in (("getblockcount", 0.004), ("getblockcount", 0.2), ("uptime", 0.2)):
        caller = Caller(Kind.TOKEN, "alice", frozenset())
        step.post_call(Visit(caller, Settings(), is_call=True, name=name, began=time.perf_counter() - seconds))
    found = [line for line in lines() if line["event"] == "slow"]
    assert [(line["what"], line["who"], line["ms"] >= 200) for line in found] == [("getblockcount", "token", True)]

    async def body(server: Live) -> None:
        await server.request(path="/readyz", auth=False)

    served(tmp_path, body, SlowLogConfig(ms=1), node=SlowNode("regtest"))
    assert [line["what"] for line in lines() if line["event"] == "slow"] == ["getblockcount", "/readyz"]


class SlowNode(SmallNode):
    def readiness(self, network: str) -> Readiness:
        time.sleep(0.005)
        return super().readiness(network)


# -- tables


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('step = "guard"', "rpc.middleware[0].step (in FILE): unknown step 'guard'; one of request-id, maintenance,"),
        ("foo = 1", "rpc.middleware[0].step (in FILE): missing"),
        ("step = 1", "rpc.middleware[0].step (in FILE): Expected str"),
        ('step = "access-log"\nsampel = 1', "rpc.middleware[0].sampel (in FILE): unknown key"),
        ('step = "access-log"\nsample = 0', "rpc.middleware[0].sample (in FILE): Expected float > 0"),
        ('step = "maintenance"\nretry_after = "x"', "rpc.middleware[0].retry_after (in FILE): Expected int, got str"),
        ('step = "maintenance"\nkinds = []', "rpc.middleware[0].kinds (in FILE): names nobody"),
        ('step = "maintenance"\nkinds = ["local"]', "rpc.middleware[0].kinds[0] (in FILE): 'local' is none of"),
        ('step = "deny"', "rpc.middleware[0].methods (in FILE): names nothing to deny"),
        ('step = "deny"\nmethods = ["stop", "stpo"]', "rpc.middleware[0].methods[1] (in FILE): 'stpo' is no method"),
        ('step = "deny"\npaths = ["rest"]', "rpc.middleware[0].paths[0] (in FILE): 'rest': must begin with /"),
        ('step = "deny"\npaths = ["/rest/"]', "rpc.middleware[0].paths[0] (in FILE): '/rest/': must begin with / and"),
        (f'step = "deny"\npaths = ["/{"x" * MAX_PATH}"]', f"paths[0] (in FILE): longer than {MAX_PATH} characters"),
        (f'step = "deny"\npaths = {["/x"] * (MAX_NAMED + 1)}', f"129 entries, at most {MAX_NAMED}"),
        ('step = "allow-methods"', "rpc.middleware[0].methods (in FILE): missing"),
        ('step = "allow-methods"\nmethods = []', "rpc.middleware[0].methods (in FILE): names no method"),
        ('step = "response-headers"\nheaders = {"X-A" = "1"}', "headers (in FILE): 'X-A' is no header name"),
        ('step = "response-headers"\nheaders = {"content-length" = "1"}', "content-length (in FILE): is said by"),
        ('step = "response-headers"\nheaders = {"access-control-allow-origin" = "*"}', "would open the RPC to"),
        ('step = "response-headers"\nheaders = {"x-a" = "1\\r\\nx-b: 2"}', f"1 to {MAX_HEADER_VALUE} printable"),
        (
            f'step = "response-headers"\nheaders = {{{", ".join(f"x{n} = {n!r}" for n in "abcdefghi")}}}',
            f"9 entries, at most {MAX_ADDED_HEADERS}",
        ),
        (f'step = "response-headers"\nheaders = {{{"x" * (MAX_HEADER_NAME + 1)} = "1"}}', "of up to 64 characters"),
        (f'step = "response-headers"\nheaders = {{x-a = "{"x" * (MAX_HEADER_VALUE + 1)}"}}', "must be 1 to 256"),
        ('step = "slow-log"\nignore = ["x"]', "rpc.middleware[0].ignore[0] (in FILE): 'x' is no method"),
        ('step = "slow-log"\n[[rpc.middleware]]\nstep = "slow-log"', "[1].step (in FILE): is there already"),
        (
            "\n[[rpc.middleware]]\n".join(['step = "deny"\nmethods = ["stop"]'] * (MAX_MIDDLEWARE + 1)),
            f"rpc.middleware (in FILE): 17 entries, at most {MAX_MIDDLEWARE}",
        ),
    ],
)  # fmt: skip
def test_what_does_not_hold_is_named(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "spvnode.toml"
    file.write_text(f"[[rpc.middleware]]\n{text}\n")
    with pytest.raises(InputError) as caught:
        load_config(config_file=file, environ={}, flags={}, flag_names={})
    assert problem in str(caught.value).replace(str(file), "FILE")


def test_tables_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "spvnode.toml"
    words = ('step = "slow-log"', 'step = "deny"\npaths = ["/rest"]', 'step = "request-id"\naccept = false')
    file.write_text("".join(f"[[rpc.middleware]]\n{word}\n" for word in words))
    found = load_config(config_file=file, environ={}, flags={}, flag_names={}).rpc.middleware
    assert found == (SlowLogConfig(), DenyConfig(paths=("/rest",)), RequestIdConfig(accept=False))
    with pytest.raises(InputError, match="SPVNODE_RPC__MIDDLEWARE"):
        load_config(config_file=file, environ={"SPVNODE_RPC__MIDDLEWARE": "deny"}, flags={}, flag_names={})
