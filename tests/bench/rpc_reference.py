"""The server that ours is timed against, a process of its own: uvicorn as it comes (h11, asyncio) with the least
application that gives replies of the same size, and sse-starlette's streams.

    python -m tests.bench.rpc_reference SOCKET_FILE

tells its TCP port on standard output. ``POST /N`` reads the body and answers with N bytes; ``GET /events`` is a stream;
``POST /tell`` gives its body to each stream as one event.
"""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from functools import cache
from importlib.metadata import version
from typing import Any

import uvicorn
from sse_starlette import EventSourceResponse

NAME = f"uvicorn {version('uvicorn')}, h11, asyncio"
STREAMS = f"sse-starlette {version('sse-starlette')} on {NAME}"
BACKLOG = 2_048
IDLE_SECONDS = 600
"""Longer than any measurement."""
PING_SECONDS = 15
"""As ours sends."""
_SIZE = re.compile(r"/(\d+)\Z")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_listeners: set[asyncio.Queue[str]] = set()


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """ASGI 3."""
    path = scope["path"]
    if path == "/events":
        await EventSourceResponse(_events(), ping=PING_SECONDS)(scope, receive, send)
        return
    body = await _read(receive, keep=path == "/tell")
    if body:
        for queue in _listeners:
            queue.put_nowait(body.decode())
    size = _SIZE.match(path)
    reply = _filler(int(size[1]) if size else 2)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(reply))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": reply})


async def _read(receive: Receive, *, keep: bool) -> bytes:
    """The body, to its end; empty where it is not to be kept."""
    body, more = b"", True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        if keep:
            body += message.get("body", b"")
    return body


async def _events() -> AsyncIterator[dict[str, str]]:
    queue: asyncio.Queue[str] = asyncio.Queue()
    _listeners.add(queue)
    try:
        yield {"id": "0", "data": "{}"}
        while True:
            yield {"id": "1", "event": "extend", "data": await queue.get()}
    finally:
        _listeners.discard(queue)


@cache
def _filler(size: int) -> bytes:
    return b"[" + b"0" * (size - 2) + b"]"


def main() -> None:
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio sets no TCP_NODELAY
    tcp.bind(("127.0.0.1", 0))
    tcp.listen(BACKLOG)
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(sys.argv[1])
    unix.listen(BACKLOG)
    sys.stdout.write(f"{tcp.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(
        app, loop="asyncio", http="h11", ws="none", lifespan="off", log_level="error", access_log=False,
        backlog=BACKLOG, timeout_keep_alive=IDLE_SECONDS,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[tcp, unix])


if __name__ == "__main__":
    main()
