"""The chain of a request: its order, what the configuration can and cannot change, and the change while it runs."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from itertools import combinations
from pathlib import Path
from typing import get_args

import pytest
import trio
from rpc_live import Live, live, parse
from small_node import SmallNode, mainnet

from spvnode.config_middleware import (
    STEP_NAMES,
    AccessLogConfig,
    AllowMethodsConfig,
    AnyMiddleware,
    DenyConfig,
    MaintenanceConfig,
    RequestIdConfig,
    ResponseHeadersConfig,
    SlowLogConfig,
)
from spvnode.config_rpc import RpcConfig
from spvnode.metrics import Metrics
from spvnode.rpc.auth import Cookie
from spvnode.rpc.caller import Scope
from spvnode.rpc.documents import openapi
from spvnode.rpc.pipeline.chain import ALWAYS, Chain, Pipeline
from spvnode.rpc.pipeline.chosen import STEPS, chosen
from spvnode.rpc.pipeline.fixed import Rate
from spvnode.rpc.pipeline.step import Step
from spvnode.rpc.response import Response
from spvnode.rpc.routes import ROUTES, Door, find
from spvnode.rpc.settings import Desk, Settings, load_settings
from spvnode.rpc.table import METHODS
from spvnode.rpc.tokens import Keyring, mint

KEY = bytes(range(32))
COUNT = b'{"jsonrpc":"2.0","id":1,"method":"getblockcount"}'
BEFORE, AFTER = ["guard", "access", "tracing", "scope"], ["rate", "no-store", "metrics"]
TABLES: tuple[AnyMiddleware, ...] = (
    *(table() for table in (RequestIdConfig, MaintenanceConfig, AccessLogConfig, SlowLogConfig)),
    DenyConfig(paths=("/",)),
    AllowMethodsConfig(methods=("uptime",), kinds=("operator", "token", "anonymous")),
    ResponseHeadersConfig(headers={"x-a": "1"}),
)  # fmt: skip


def token(*scopes: Scope) -> str:
    now = int(time.time())
    return "Bearer " + mint(KEY, "alice", scopes or tuple(Scope), issued=now, expires=now + 600)[0]


def desk(*tables: AnyMiddleware) -> Desk:
    return Desk(Settings(keyring=Keyring((KEY,)), steps=chosen(tables)))


def pipeline(table: Desk) -> Pipeline:
    return Pipeline(Cookie(Path("/nowhere"), b"x"), table, Metrics())


def names(chain: Chain) -> list[str]:
    return [step.name for step in chain.steps]


def served(
    tmp_path: Path, body: Callable[[Live], Awaitable[None]], table: Desk | None = None, node: SmallNode | None = None
) -> None:
    """Runs ``body`` against a live server with that desk."""

    async def main() -> None:
        with trio.fail_after(30):
            async with live(tmp_path, node, desk=table or desk()) as server:
                await body(server)

    trio.run(main)


async def post(server: Live, auth: str, method: str, *params: object) -> tuple[int, dict[str, str], bytes]:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    return await server.request(body, auth=False, headers=(f"Authorization: {auth}",))


# -- order


def test_the_order_is_as_documented() -> None:
    table = desk(*TABLES)
    chain = pipeline(table).chain("/", vouched=False)
    assert names(chain) == [*BEFORE, *(step.name for step in table.now.steps), *AFTER]
    phases = {phase: [call.__self__.name for call in getattr(chain, phase)] for phase in PHASES}  # type: ignore[attr-defined]
    assert phases == {
        "pre_route": ["guard", "access", "request-id", "maintenance"],
        "in_route": ["tracing", "scope", "deny", "allow-methods", "rate"],
        "post_call": ["tracing", "access-log", "slow-log", "metrics"],
        "post_route": ["request-id", "access-log", "slow-log", "response-headers", "no-store"],
    }


PHASES = ("pre_route", "in_route", "post_call", "post_route")


@pytest.mark.parametrize("count", [0, 1, 2, len(TABLES)])
def test_no_configuration_takes_a_built_in_step_away_or_moves_it(count: int) -> None:
    for tables in combinations(TABLES, count):
        made = pipeline(desk(*tables))
        for path, vouched in (("/", False), ("/", True), ("/livez", False)):
            found = names(made.chain(path, vouched=vouched))
            assert (found[: len(BEFORE)], found[-len(AFTER) :]) == (BEFORE, AFTER)
    assert not set(STEP_NAMES) & {*BEFORE, *AFTER}


def test_every_table_makes_a_step_of_its_name_and_those_that_refuse_say_so() -> None:
    assert set(STEPS) == set(get_args(AnyMiddleware)) == {type(table) for table in TABLES}
    for table in TABLES:
        step = chosen([table])[0]
        assert step.name == table.__struct_config__.tag
        refuses = type(step).in_route is not Step.in_route or isinstance(table, MaintenanceConfig)
        assert step.blocks is refuses


def test_rates_and_all_built_in_steps_outlive_a_change_of_the_settings() -> None:
    table = desk(RequestIdConfig())
    made = pipeline(table)
    before = made.chain("/", vouched=False)
    assert made.chain("/", vouched=False) is before
    table.now = desk(MaintenanceConfig()).now
    after = made.chain("/", vouched=False)
    assert names(after) == [*BEFORE, "maintenance", *AFTER]
    assert [step for step in before.steps if isinstance(step, Rate)] == [
        step for step in after.steps if isinstance(step, Rate)
    ]
    assert after.settings is table.now


# -- what nothing stands before


def test_an_operator_can_always_undo_it(tmp_path: Path) -> None:
    """Everything that can refuse, at once: the unix socket and the probes answer all the same."""

    async def body(server: Live) -> None:
        for path in ALWAYS:
            status, headers, _ = await server.request(path=path, auth=False)
            assert (status, headers["x-a"]) == (200, "1")
        for method in METHODS:
            status, _, reply = await server.request(
                json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode(), unix=True, auth=False
            )
            assert status not in (401, 403, 429, 503)
            assert json.loads(reply).get("error", {}).get("code") != -32010
        assert server.stopped.is_set()
        assert (await server.request(COUNT))[0] == 403
        assert (await server.request(path="/metrics", auth=False))[0] == 503
        assert (await server.request(path="/livez", auth=False, headers=("Host: evil.example",)))[0] == 403

    served(tmp_path, body, desk(*TABLES))


def test_what_is_always_open_is_served() -> None:
    assert {route.name for route in ROUTES} >= ALWAYS


# -- a refusal ends it


def test_what_a_step_refuses_never_reaches_what_would_answer(tmp_path: Path) -> None:
    node = mainnet(5)

    async def body(server: Live) -> None:
        operator = server.auth
        for method, params in (("stop", ()), ("setban", ("192.0.2.7", "add"))):
            status, _, reply = await post(server, operator, method, *params)
            assert (status, json.loads(reply)["error"]["code"]) == (403, -32010)
        calls = [{"jsonrpc": "2.0", "id": n, "method": name} for n, name in enumerate(("getblockcount", "stop"))]
        found = json.loads((await server.request(json.dumps(calls).encode()))[2])
        assert (found[0]["result"], found[1]["error"]["code"]) == (4, -32010)
        assert not server.stopped.is_set()
        assert await server.call("listbanned", unix=True) == []
        text = (await server.request(path="/metrics", auth=False))[2].decode()
        assert 'spvnode_rpc_refused_total{why="deny"} 3.0' in text
        assert await server.call("stop", unix=True) == "spvnode stopping"

    served(tmp_path, body, desk(DenyConfig(methods=("stop", "setban"))), node)


# -- the change


def test_a_request_ends_with_the_chain_that_it_began_with(tmp_path: Path) -> None:
    old = desk(ResponseHeadersConfig(headers={"x-chain": "old"})).now
    table = Desk(old)

    async def body(server: Live) -> None:
        lines = ["POST / HTTP/1.1", "Host: localhost", "Connection: close", f"Authorization: {token()}"]
        head = "\r\n".join([*lines, f"Content-Length: {len(COUNT)}", "Expect: 100-continue", "", ""])
        async with await server.tcp() as stream:
            await stream.send_all(head.encode())
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")  # it is in its route, and reads the body
            table.now = desk(DenyConfig(paths=("/",)), ResponseHeadersConfig(headers={"x-chain": "new"})).now
            status, headers, _ = await server.request(COUNT)
            assert (status, headers["x-chain"]) == (403, "new")
            await stream.send_all(COUNT)
            status, headers, reply = parse(b"".join([part async for part in stream]))
            assert (status, headers["x-chain"], json.loads(reply)["result"]) == (200, "old", 19)

    served(tmp_path, body, table)


def test_settings_carry_the_steps(tmp_path: Path) -> None:
    config = RpcConfig(middleware=(DenyConfig(methods=("stop",)), RequestIdConfig()))
    assert [step.name for step in load_settings(config, tmp_path, {}).steps] == ["deny", "request-id"]
    assert load_settings(RpcConfig(), tmp_path, {}).steps == ()


# -- the table of routes


def test_the_document_shows_every_row_and_every_path_in_it_is_served() -> None:
    document = openapi(METHODS, "1")["paths"]
    for route in ROUTES:
        assert route.shown
        for path in route.shown:
            verb = (route.methods or ("GET",))[0]
            assert document[path][verb.lower()]["description"]
            found = find(verb, path.replace("{network}", "signet").replace("{", "").replace("}", ""))
            assert not isinstance(found, Response)
            assert found[0] is route
    shown = {path for route in ROUTES for path in route.shown}
    assert shown == set(document)


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("POST", "/livez", 405, b"GET, HEAD"),
        ("DELETE", "/", 405, b"GET, HEAD, POST"),
        ("GET", "/bitcoin", 405, b"POST"),
        ("HEAD", "/events", 405, b"GET"),
        ("GET", "/proofs/verify", 405, b"POST"),
        ("GET", "/nope/nope", 404, None),
        ("GET", "/Bitcoin", 404, None),
    ],
)
def test_no_row(method: str, path: str, status: int, allow: bytes | None) -> None:
    found = find(method, path)
    assert isinstance(found, Response)
    assert (found.status, dict(found.headers).get(b"allow")) == (status, allow)


def test_only_what_tells_nothing_is_open_beyond_loopback() -> None:
    everybody = {path for route in ROUTES if route.door is Door.EVERYBODY for path in route.shown}
    assert everybody == {"/livez", "/readyz", "/", "/style.css", "/app.js", "/text.js", "/verify.js"}
    changing = {path for route in ROUTES if "POST" in (route.methods or ()) for path in route.shown}
    assert changing == {path for route in ROUTES if route.door is Door.CREDENTIALS for path in route.shown}
