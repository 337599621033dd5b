"""Whatever a local process throws at the server, the server lives.

The cases are those that killed other servers on trio: an upgrade with a trailing byte, HTTP/2 by prior knowledge, h2c,
CONNECT, bad framing, junk, and connections that end in the middle of everything.
"""

from __future__ import annotations

import random
import socket
import struct
from pathlib import Path

import pytest
import trio
from rpc_live import Live, live

from spvnode.rpc import connection
from spvnode.rpc import server as server_room
from spvnode.rpc.limits import MAX_CONNECTIONS

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
CASES = (
    UPGRADE,
    UPGRADE + b"x",
    UPGRADE + b"\x81\x85\x00\x00\x00\x00hello",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" * 50,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\nxxxx",
    b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET /\r\n\r\n",
    b"\r\n" * 100,
    b"\x00" * 100,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 200,
    b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /%ff%fe%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n",
    b"GET / HTTP/1.1\nHost: localhost\n\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5, 6\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    CHUNKED + b"zz\r\n",
    CHUNKED + b"-1\r\n",
    CHUNKED + b"ffffffffffffffffffff\r\n",
    CHUNKED + b"1\r\nab\r\n",
    CHUNKED + b"1" * 20_000,
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
)


@pytest.fixture
def firewall(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the firewalls caught: nothing of this should get as far as them."""
    caught: list[str] = []
    for room in (connection, server_room):
        monkeypatch.setattr(room.log, "exception", lambda event, **_: caught.append(event), raising=False)
    return caught


async def alive(server: Live) -> None:
    assert await server.call("getblockcount", unix=True) == 19
    assert await server.call("getblockcount") == 19


def test_each_known_killer_on_both_listeners(tmp_path: Path, firewall: list[str]) -> None:
    async def main() -> None:
        with trio.fail_after(60):
            async with live(tmp_path) as server:
                for raw in CASES:
                    for unix in (False, True):
                        async with await (server.unix() if unix else server.tcp()) as stream:
                            await throw(stream, raw)
                            await stream.send_eof()
                            reply = b"".join([part async for part in stream])
                            assert reply == b"" or reply.startswith(b"HTTP/1.1 ")
                await alive(server)

    trio.run(main)
    assert firewall == []


async def throw(stream: trio.SocketStream, raw: bytes) -> None:
    """Sends what the server lets us send."""
    try:
        await stream.send_all(raw)
    except trio.BrokenResourceError:
        return


def test_connections_that_end_anywhere(tmp_path: Path, firewall: list[str]) -> None:
    rng = random.Random(8)

    async def rude(server: Live, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            stream = await (server.unix() if rng.random() < 0.2 else server.tcp())
            raw = rng.choice(CASES)
            valid = (
                f"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {server.auth}\r\nContent-Length: 999\r\n\r\n[1,2"
            )
            raw = valid.encode() if rng.random() < 0.3 else raw
            cut = raw[: rng.randrange(len(raw) + 1)]
            if rng.random() < 0.3:
                cut += rng.randbytes(rng.randrange(200))
            await throw(stream, cut)
            if stream.socket.family == socket.AF_INET and rng.random() < 0.5:
                # A reset instead of a farewell.
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await trio.aclose_forcefully(stream)

    async def main() -> None:
        with trio.fail_after(60):
            async with live(tmp_path) as server:
                limiter = trio.CapacityLimiter(MAX_CONNECTIONS - 4)
                async with trio.open_nursery() as nursery:
                    for _ in range(1_500):
                        nursery.start_soon(rude, server, limiter)
                await alive(server)

    trio.run(main)
    assert firewall == []
