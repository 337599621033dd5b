"""Who may come in, and by which door: names, tokens, scopes, rates, TLS, listeners beyond loopback."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from certificates import self_signed
from rpc_live import Live, live, parse
from small_node import SmallNode, mainnet
from trio.testing import MockClock

from spvnode.config_rpc import RatesConfig, RpcConfig
from spvnode.errors import InputError
from spvnode.inputs import Endpoint
from spvnode.metrics import Metrics
from spvnode.rpc.access import LOOK_SECONDS, Ended, Standing
from spvnode.rpc.caller import Scope
from spvnode.rpc.guard import refusal, same_origin
from spvnode.rpc.server import serve_rpc, tls_context
from spvnode.rpc.settings import Desk, Settings, load_settings
from spvnode.rpc.tokens import Keyring, mint

KEY = bytes(range(32))


def token(*scopes: Scope, subject: str = "alice", seconds: int = 600) -> str:
    now = int(time.time())
    return mint(KEY, subject, scopes, issued=now, expires=now + seconds)[0]


def test_a_token_that_ends_ends_what_goes_on_with_it() -> None:
    ring = Keyring((KEY,))
    lasting, over = (f"Bearer {token(seconds=seconds)}".encode() for seconds in (600, -1))
    rounds: list[float] = []

    async def turn() -> None:
        rounds.append(trio.current_time())

    async def main() -> None:
        standings = [Standing(turn, authorization, lambda: ring) for authorization in (lasting, over)]
        for one in standings:
            await one.turn()  # it was looked at when the stream began
        await trio.sleep(LOOK_SECONDS)
        await standings[0].turn()
        with pytest.raises(Ended):
            await standings[1].turn()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert len(rounds) == 4


def desk(**changes: Any) -> Desk:
    return Desk(Settings(keyring=Keyring((KEY,)), **changes))


async def ask(
    server: Live, auth: str | None, method: str = "getblockcount", *params: object
) -> tuple[int, dict[str, Any]]:
    """(HTTP status, the reply's JSON; empty when it is none)."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    lines = () if auth is None else (f"Authorization: {auth}",)
    status, headers, reply = await server.request(body, auth=False, headers=lines)
    found = json.loads(reply) if headers["content-type"] == "application/json" else {}
    return status, {**found, "headers": headers}


def test_scopes_are_enforced_for_each_method(tmp_path: Path) -> None:
    wants = {"getblockcount": Scope.READ, "getheaderproof": Scope.PROOFS, "importheaders": Scope.ADMIN}
    params: dict[str, tuple[object, ...]] = {"getheaderproof": (5,), "importheaders": ("00",)}

    async def main() -> None:
        async with live(tmp_path, desk=desk()) as server:
            for scope in Scope:
                for method, wanted in wants.items():
                    status, reply = await ask(server, f"Bearer {token(scope)}", method, *params.get(method, ()))
                    if scope is wanted:
                        assert status == 200
                    else:
                        assert (status, reply["error"]["code"]) == (403, -32010)
            batch = [
                {"jsonrpc": "2.0", "id": n, "method": method} for n, method in enumerate(("getblockcount", "stop"))
            ]
            lines = (f"Authorization: Bearer {token(Scope.READ)}",)
            status, _, reply_body = await server.request(json.dumps(batch).encode(), auth=False, headers=lines)
            assert status == 200
            assert [one.get("result", one.get("error", {}).get("code")) for one in json.loads(reply_body)] == [
                19,
                -32010,
            ]
            assert not server.stopped.is_set()

    trio.run(main)


def test_a_token_comes_as_bearer_or_as_a_password(tmp_path: Path) -> None:
    async def main() -> None:
        async with live(tmp_path, desk=desk()) as server:
            good = token(Scope.READ)
            basic = base64.b64encode(f"__token__:{good}".encode()).decode()
            for auth in (f"Bearer {good}", f"bearer  {good}", f"Basic {basic}"):
                assert (await ask(server, auth))[0] == 200
            for auth in (
                good,
                "Bearer",
                f"Digest {good}",
                f"Basic {basic}x",
                "Basic !",
                f"Bearer {good}, Bearer {good}",
            ):
                status, reply = await ask(server, auth)
                assert (status, reply["headers"]["www-authenticate"]) == (
                    401,
                    'Basic realm="jsonrpc", Bearer realm="jsonrpc"',
                )
            status, _ = await ask(server, f"Bearer {token(Scope.READ, seconds=-5)}")
            assert status == 401
            assert (await server.request(path="/livez", auth=False, headers=("Authorization: Bearer x",)))[0] == 401

    trio.run(main)


def test_settings_change_while_it_runs(tmp_path: Path) -> None:
    async def main() -> None:
        table = Desk()
        async with live(tmp_path, desk=table) as server:
            good = f"Bearer {token(Scope.READ)}"
            assert (await ask(server, good))[0] == 401
            table.now = Settings(keyring=Keyring((KEY,)))
            assert (await ask(server, good))[0] == 200
            table.now = Settings(keyring=Keyring((KEY,), frozenset({"sub:alice"})))
            assert (await ask(server, good))[0] == 401
            table.now = Settings(connections=0)
            assert (await server.request(path="/livez", auth=False))[0] == 503
            assert await server.call("getblockcount", unix=True) == 19

    trio.run(main)


def test_a_user_who_is_too_fast_is_told_when_to_come_again(tmp_path: Path) -> None:
    async def main() -> None:
        slow = desk(rates=RatesConfig(token=1.0, operator=0, anonymous=1.0))
        async with live(tmp_path, desk=slow) as server:
            mine, other = f"Bearer {token(Scope.PROOFS)}", f"Bearer {token(Scope.PROOFS, subject='bob')}"
            assert (await ask(server, mine, "getheaderproof", 3))[0] == 200
            status, reply = await ask(server, mine, "getheaderproof", 3)
            assert (status, reply["error"]["code"]) == (429, -32005)
            assert reply["error"]["data"]["retry_after"] > 1
            assert int(reply["headers"]["retry-after"]) >= reply["error"]["data"]["retry_after"]
            assert (await ask(server, other, "getheaderproof", 3))[0] == 200
            assert (await server.request(path="/metrics", auth=False))[0] == 200
            for _ in range(20):
                assert await server.call("getblockcount") == 19
                assert await server.call("getblockcount", unix=True) == 19

    trio.run(main)


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        (b"http://localhost:8342", b"localhost:8342", True),
        (b"https://node.lan", b"NODE.lan", True),
        (b"http://localhost:8343", b"localhost:8342", False),
        (b"http://evil.example", b"localhost:8342", False),
        (b"null", b"localhost", False),
        (b"file://", b"localhost", False),
        (b"http://localhost", None, False),
        (b"", b"", False),
    ],
)
def test_only_our_own_pages_may_ask(origin: bytes, host: bytes | None, same: bool) -> None:
    assert same_origin(origin, host) is same


@pytest.mark.parametrize(
    ("host", "remote", "let_in"),
    [
        (b"node.lan:8342", True, True),
        (b"node.lan", False, False),
        (b"192.0.2.7:8342", True, True),
        (b"[2001:db8::1]:8342", True, True),
        (b"evil.example", True, False),
        (b"localhost", True, True),
        (b"", True, False),
    ],
)
def test_names_beyond_loopback(host: bytes, remote: bool, let_in: bool) -> None:
    found = refusal({b"host": host}, remote=remote, names=("node.lan",))
    assert (found is None) is let_in
    if found is not None:
        assert ("rpc.hosts" if remote else "localhost") in found[1]


@asynccontextmanager
async def beyond(datadir: Path, tls: ssl.SSLContext | None, **settings: Any) -> AsyncIterator[Live]:
    """A server on every address."""
    async with trio.open_nursery() as nursery:
        serve = partial(
            serve_rpc, mainnet(20), datadir=datadir, bind=Endpoint("0.0.0.0", 0), metrics=Metrics(),  # noqa: S104
            stop=lambda: None, tls=tls, **settings,
        )  # fmt: skip
        yield Live(SmallNode(), datadir, await nursery.start(serve))
        nursery.cancel_scope.cancel()


def test_tls_beyond_loopback_where_everything_wants_a_token(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path, "localhost")
    client = ssl.create_default_context(cafile=str(cert))

    async def say(server: Live, path: str, auth: str | None) -> int:
        stream = await trio.open_ssl_over_tcp_stream(
            "localhost", server.port, ssl_context=client, https_compatible=True
        )
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close"]
        lines += [] if auth is None else [f"Authorization: Bearer {auth}"]
        async with stream:
            await stream.send_all("\r\n".join([*lines, "", ""]).encode())
            return parse(b"".join([part async for part in stream]))[0]

    async def main() -> None:
        async with beyond(tmp_path, tls_context(str(cert), str(key)), desk=desk()) as server:
            assert await say(server, "/livez", None) == 200
            assert await say(server, "/metrics", None) == 401
            assert await say(server, "/eth/v1/node/version", None) == 401
            assert await say(server, "/metrics", token(Scope.READ)) == 200
            assert await say(server, "/metrics", token(Scope.PROOFS)) == 403
            assert await server.exchange(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""  # plain text

    trio.run(main)


@pytest.mark.parametrize("given", [{}, {"desk": desk()}, {"desk": Desk()}])
def test_no_listener_beyond_loopback_without_tls_and_a_key(tmp_path: Path, given: dict[str, Any]) -> None:
    async def main(tls: ssl.SSLContext | None, **more: Any) -> None:
        async with beyond(tmp_path, tls, **more):
            pass

    with pytest.RaisesGroup(pytest.RaisesExc(InputError, match="only loopback is allowed without TLS and a token key")):
        trio.run(partial(main, None, **given))
    assert not (tmp_path / ".cookie").exists()
    trio.run(partial(main, None, insecure=True, **given))


def test_config_beyond_loopback(tmp_path: Path) -> None:
    beyond_it = {"bind": "0.0.0.0:8342"}
    with pytest.raises(InputError, match=r"rpc\.bind: .* only loopback is allowed without TLS"):
        RpcConfig(**beyond_it)
    with pytest.raises(InputError, match=r"rpc\.tls_cert: goes together with rpc\.tls_key"):
        RpcConfig(**beyond_it, tls_cert="c")
    with_tls = RpcConfig(**beyond_it, tls_cert="c", tls_key="k")
    with pytest.raises(InputError, match="there is no token key"):
        load_settings(with_tls, tmp_path, {})
    assert load_settings(with_tls, tmp_path, {"SPVNODE_TOKEN_KEY": KEY.hex()}).keyring.keys == (KEY,)
    assert load_settings(RpcConfig(**beyond_it, insecure=True), tmp_path, {}).keyring == Keyring()


def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("no certificate")
    for cert in ("x.pem", "gone.pem"):
        with pytest.raises(InputError, match=r"rpc\.tls_cert"):
            tls_context(str(tmp_path / cert), str(tmp_path / cert))
    assert tls_context("", "") is None
