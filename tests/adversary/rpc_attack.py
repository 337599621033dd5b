"""What attacks on the RPC's TCP side are made of, and the daemon that they go against."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import trio
from daemons import spvnode
from mine import regtest_chain
from rpc_victim import Victim

from spvnode.rpc.limits import MAX_BATCH, MAX_BODY_BYTES

UPTIME = {"jsonrpc": "2.0", "id": 1, "method": "uptime"}
HEADERS = 2_500
"""Of the victim's chain: more than one proof may hold."""
KEY = "A" * 22 + "=="
"""Of a WebSocket's handshake."""


def victim_in(folder: Path) -> Iterator[Victim]:
    """A daemon with a chain and a token key, warm; ended afterwards."""
    node = folder / "node"
    file = folder / "headers.bin"
    file.write_bytes(regtest_chain(HEADERS, spacing=60))
    assert spvnode("import", str(file), "--network", "regtest", "--datadir", str(node)).returncode == 0
    assert spvnode("token", "create", "reader", "--datadir", str(node)).returncode == 0
    (node / "spvnode.toml").write_text("[rpc.rates]\ntoken = 20\n")
    found = Victim(node)
    trio.run(warm_up, found)
    yield found
    found.daemon.stop()


async def warm_up(victim: Victim) -> None:
    """Once what is loaded on first use: of memory only what an attack adds is measured."""
    await post(victim, json.dumps([UPTIME] * MAX_BATCH).encode())
    await post(victim, b" " * (MAX_BODY_BYTES - 100) + json.dumps(UPTIME).encode())
    await say(victim, head("GET", "/metrics"))
    await say(victim, head("GET", "/livez", "Authorization: Bearer x.y.z"))


def head(method: str, path: str, *lines: str, host: str = "Host: localhost") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", host, *lines, "", ""]).encode("latin-1")


async def say(victim: Victim, *parts: bytes, patience: float = 20.0) -> bytes:
    """Sends ``parts`` for as long as it is listened to, then returns all that comes back."""
    got = b""
    with trio.move_on_after(patience), suppress(OSError, trio.BrokenResourceError):
        async with await trio.open_tcp_stream("127.0.0.1", victim.port) as stream:

            async def hear() -> None:
                nonlocal got
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    async for part in stream:
                        got += part
                nursery.cancel_scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(hear)
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    for part in parts:
                        await stream.send_all(part)
                    await stream.send_eof()
    return got


async def post(victim: Victim, body: bytes, *lines: str) -> tuple[int, bytes]:
    """(status, body) of one call with the cookie."""
    auth = f"Authorization: {victim.cookie}"
    ours = head("POST", "/", auth, f"Content-Length: {len(body)}", "Connection: close", *lines)
    reply = await say(victim, ours, body)
    first, _, rest = reply.partition(b"\r\n\r\n")
    return int(first.split()[1]) if first else 0, rest


def status_of(reply: bytes) -> int:
    return int(reply.split()[1]) if reply else 0


async def many(count: int, job: object, *arguments: object) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(job, *arguments)  # type: ignore[arg-type]
