"""Abuse of the RPC's TCP side against a real daemon: its owner is answered, its memory stays, nothing passes a
firewall. ``test_rpc_greed`` has what asks for much."""

from __future__ import annotations

import json
import random
import resource
import time
from collections.abc import Iterator
from contextlib import suppress

import jwt
import pytest
import trio
from rpc_attack import KEY, UPTIME, head, say, status_of, victim_in
from rpc_victim import Victim

from spvnode.rpc.limits import MAX_BODY_BYTES, MAX_CONNECTIONS, MAX_HEADER_BYTES


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    yield from victim_in(tmp_path_factory.mktemp("rpc"))


def test_slow_loris(victim: Victim) -> None:
    async def drip(data: bytes) -> None:
        with suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", victim.port) as stream:
                for at in range(len(data)):
                    await stream.send_all(data[at : at + 1])
                    await trio.sleep(0.05)

    async def main() -> None:
        slow_head = head("GET", "/livez", "X: " + "y" * 400)
        slow_body = head("POST", "/", f"Authorization: {victim.cookie}", f"Content-Length: {MAX_BODY_BYTES}")
        with trio.move_on_after(4):
            async with trio.open_nursery() as nursery:
                for _ in range(MAX_CONNECTIONS):
                    nursery.start_soon(drip, slow_head)
                    nursery.start_soon(drip, slow_body)

    with victim.attacked("slow loris"):
        trio.run(main)


def test_ten_thousand_connections(victim: Victim) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(10_000, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))

    async def main() -> None:
        opened = refused = 0
        limiter = trio.CapacityLimiter(200)  # more would fill the backlog, and come back after a second

        async def hold() -> None:
            nonlocal opened, refused
            async with limiter:
                with trio.move_on_after(8):
                    try:
                        stream = await trio.open_tcp_stream("127.0.0.1", victim.port)
                    except OSError:
                        refused += 1
                        return
            opened += 1
            if opened + refused >= wanted:
                all_there.set()
            async with stream:
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(b"GET /livez HTTP/1.1\r\n")
                await leave.wait()

        leave = trio.Event()
        all_there = trio.Event()
        async with trio.open_nursery() as nursery:
            for _ in range(wanted):
                nursery.start_soon(hold)
            with trio.move_on_after(15):
                await all_there.wait()
            leave.set()
            nursery.cancel_scope.deadline = trio.current_time() + 2
        assert opened >= wanted // 2
        with trio.fail_after(20):
            while status_of(await say(victim, head("GET", "/livez", "Connection: close"))) != 200:
                pass

    with victim.attacked("10,000 connections"):
        trio.run(main)


def test_junk_upgrades_and_junk(victim: Victim) -> None:
    rng = random.Random(5)
    upgrade = "Connection: Upgrade"
    websocket = (upgrade, "Upgrade: websocket")
    junk = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100),
        head("GET", "/", upgrade, "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA") + bytes(50),
        head("GET", "/ws", upgrade, "Upgrade: websocket") + b"trailing",
        head("GET", "/ws", *websocket, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: !!") + b"\xff",
        head("GET", "/ws", *websocket, "Sec-WebSocket-Version: 99", f"Sec-WebSocket-Key: {KEY}"),
        head("GET", "/ws", *websocket, "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}") + b"\xff" * 4_000,
        head("GET", "/livez", *websocket, f"Sec-WebSocket-Key: {KEY}") + b"\x81\xff" * 40,
        head("CONNECT", "/", upgrade) + bytes(10),
        head("GET", "/livez", "Transfer-Encoding: chunked", "Content-Length: 5"),
        head("POST", "/", "Content-Length: 5", "Content-Length: 6"),
        head("POST", "/", "Content-Length: -1"),
        head("POST", "/", "Content-Length: " + "9" * 400),
        head("GET", "/livez", *[f"X-{n}: y" for n in range(2_000)]),
        head("GET", "/livez", "X: " + "y" * (2 * MAX_HEADER_BYTES)),
        b"GET /livez HTTP/1.1\r\n: nothing\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(500),  # TLS to a plain port
        b"\r\n" * 20_000,
    ]
    junk += [rng.randbytes(rng.randrange(1, 2_000)) for _ in range(200)]

    async def one(raw: bytes) -> None:
        assert status_of(await say(victim, raw)) in (0, 101, 200, 400, 401, 404, 405, 411, 413, 426, 431, 503)

    async def main() -> None:
        limiter = trio.CapacityLimiter(MAX_CONNECTIONS // 2)

        async def limited(raw: bytes) -> None:
            async with limiter:
                await one(raw)

        async with trio.open_nursery() as nursery:
            for raw in junk:
                nursery.start_soon(limited, raw)

    with victim.attacked("junk"):
        trio.run(main)


PATHS = [
    "/../../etc/passwd",
    "/..%2f..%2fetc%2fpasswd",
    "/%2e%2e/%2e%2e/.cookie",
    "//.cookie",
    "/.cookie",
    "/token.key",
    "/./metrics/../.cookie",
    "/eth/v1/../../.cookie",
    "/eth/v1/beacon/headers/..%2f..%2f.cookie",
    "/regtest/../.cookie",
    "/rest/../.cookie",
    "/%00",
    "/\xff\xfe",
    "/livez%00.html",
    "/metrics/",
    "/LIVEZ",
    "/eth/v1/" + "a/" * 4_000,
    "/" + "%41" * 4_000,
    "/nope?" + "a=b&" * 3_000,
    "/eth/v1/events?" + "topics=x&" * 1_000,
    "\\..\\.cookie",
    "http://localhost/livez",
    "*",
]


def test_path_tricks(victim: Victim) -> None:
    async def main() -> None:
        for path in PATHS:
            for method in ("GET", "POST", "HEAD", "PUT", "TRACE", "OPTIONS"):
                reply = await say(victim, head(method, path, "Connection: close"))
                assert status_of(reply) in (400, 401, 404, 405), (method, path, reply)
                assert b"__cookie__" not in reply

    with victim.attacked("path tricks"):
        trio.run(main)


FOREIGN = [
    ("Host: evil.example",),
    ("Host: evil.example:8342",),
    ("Host: 127.0.0.1.evil.example",),
    ("Host: localhost@evil.example",),
    ("Host: localhost/evil",),
    ("Host: ",),
    ("Host: 192.168.0.1",),
    ("Host: localhost", "Origin: http://evil.example"),
    ("Host: localhost", "Origin: null"),
    ("Host: localhost", "Origin: http://localhost:1"),
    ("Host: localhost", "Origin: file://"),
    ("Host: localhost", "Origin: chrome-extension://localhost"),
]


ROUTES = ["/", "/regtest", "/livez", "/readyz", "/metrics", "/eth/v1/node/version", "/rest/chaininfo.json", "/events",
          "/ws", "/nope"]  # fmt: skip


def test_foreign_names_get_nothing_on_any_route(victim: Victim) -> None:
    async def main() -> None:
        for lines in FOREIGN:
            for path in ROUTES:
                for method in ("GET", "POST"):
                    auth = f"Authorization: {victim.cookie}"
                    reply = await say(victim, head(method, path, *lines[1:], auth, "Connection: close", host=lines[0]))
                    assert status_of(reply) == 403, (path, lines, reply)

    with victim.attacked("foreign names"):
        trio.run(main)


def test_tokens_that_do_not_count(victim: Victim) -> None:
    key = bytes.fromhex((victim.daemon.folder / "token.key").read_text())
    now = int(time.time())
    good = {"sub": "reader", "exp": now + 600, "scope": "read", "jti": "a1"}
    none = jwt.encode(good, "", "none")
    forged = {
        "expired": jwt.encode({**good, "exp": now - 1}, key, "HS256"),
        "not yet": jwt.encode({**good, "nbf": now + 600}, key, "HS256"),
        "foreign key": jwt.encode(good, bytes(range(32)), "HS256"),
        "empty key": none.rpartition(".")[0] + ".",
        "none": none,
        "None": none.replace("eyJhbGciOiJub25l", "eyJhbGciOiJOb25l"),
        "HS512": jwt.encode(good, key + key, "HS512"),
        "no end": jwt.encode({"sub": "reader", "scope": "read"}, key, "HS256"),
        "no subject": jwt.encode({"exp": now + 600, "scope": "read"}, key, "HS256"),
        "subject 1": jwt.encode({**good, "sub": "a b"}, key, "HS256"),
        "end of the world": jwt.encode({**good, "exp": 1e300}, key, "HS256") + "x",
        "scope list": jwt.encode({**good, "scope": ["read"]}, key, "HS256"),
        "cut": jwt.encode(good, key, "HS256")[:-3],
        "grown": jwt.encode({**good, "x": "y" * 2_000}, key, "HS256"),
        "deep": "W1tbW1tbW1tbW1tbW1tb" * 40 + ".e30.AA",
        "dots": "." * 900,
        "empty": "",
        "bytes": "\xff\xfe",
    }

    async def ask(token: str, method: str) -> bytes:
        body = json.dumps({**UPTIME, "method": method}).encode()
        lines = (f"Authorization: Bearer {token}", f"Content-Length: {len(body)}", "Connection: close")
        return await say(victim, head("POST", "/", *lines), body)

    async def main() -> None:
        assert status_of(await ask(jwt.encode(good, key, "HS256"), "uptime")) == 200
        assert status_of(await ask(jwt.encode(good, key, "HS256"), "stop")) == 403
        assert status_of(await ask(jwt.encode({**good, "scope": ""}, key, "HS256"), "uptime")) == 403
        for name, token in forged.items():
            for _ in range(10):
                assert status_of(await ask(token, "uptime")) == 401, name
                assert status_of(await ask(token, "stop")) == 401, name

    with victim.attacked("tokens"):
        trio.run(main)
