"""A real RPC server on loopback and on a unix socket, and raw HTTP towards it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import trio
from small_node import SmallNode, mainnet

from spvnode.inputs import Endpoint
from spvnode.metrics import Metrics
from spvnode.rpc.server import Addresses, serve_rpc


class Live:
    """The running server as a client sees it."""

    def __init__(self, node: SmallNode, datadir: Path, addresses: Addresses) -> None:
        self.node = node
        self.datadir = datadir
        self.addresses = addresses
        self.stopped = trio.Event()

    @property
    def port(self) -> int:
        return self.addresses.tcp[0].port

    @property
    def auth(self) -> str:
        secret = (self.datadir / ".cookie").read_bytes()
        return "Basic " + base64.b64encode(secret).decode()

    async def tcp(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def unix(self) -> trio.SocketStream:
        return await trio.open_unix_socket(str(self.addresses.unix))

    async def exchange(self, raw: bytes, *, unix: bool = False) -> bytes:
        """Sends ``raw`` and returns all that comes back until the server closes."""
        async with await (self.unix() if unix else self.tcp()) as stream:
            await stream.send_all(raw)
            return b"".join([part async for part in stream])

    async def request(
        self,
        body: bytes | None = None,
        *,
        path: str = "/",
        method: str | None = None,
        auth: bool = True,
        unix: bool = False,
        headers: tuple[str, ...] = (),
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of one request on its own connection."""
        lines = [f"{method or ('GET' if body is None else 'POST')} {path} HTTP/1.1"]
        if not any(line.lower().startswith("host:") for line in headers):
            lines.append(f"Host: 127.0.0.1:{self.port}")
        lines += ["Connection: close", *headers]
        if auth:
            lines.append(f"Authorization: {self.auth}")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join(lines).encode("latin-1")
        return parse(await self.exchange(head + b"\r\n\r\n" + (body or b""), unix=unix))

    async def call(self, method: str, *params: object, unix: bool = False) -> Any:
        """The result of a call."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        return json.loads((await self.request(body, unix=unix, auth=not unix))[2])["result"]


def parse(reply: bytes) -> tuple[int, dict[str, str], bytes]:
    """Splits an HTTP reply."""
    head, _, body = reply.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return int(first.split()[1]), headers, body


@asynccontextmanager
async def live(datadir: Path, node: SmallNode | None = None, **settings: Any) -> AsyncIterator[Live]:
    """A server in ``datadir``; ended with the context. ``settings`` as ``serve_rpc`` takes them."""
    node = node or mainnet(20)
    stopped: list[Live] = []
    async with trio.open_nursery() as nursery:
        serve = partial(
            serve_rpc,
            node,
            datadir=datadir,
            bind=Endpoint("127.0.0.1", 0),
            metrics=Metrics(),
            stop=lambda: stopped[0].stopped.set(),
            **settings,
        )
        server = Live(node, datadir, await nursery.start(serve))
        stopped.append(server)
        node.url, node.auth = f"http://127.0.0.1:{server.port}", server.auth
        yield server
        nursery.cancel_scope.cancel()


@contextmanager
def live_thread(
    datadir: Path,
    node: SmallNode | None = None,
    serve: Callable[[Path, SmallNode], AbstractAsyncContextManager[Live]] = live,
) -> Iterator[SmallNode]:
    """A server in a thread of its own, for clients that block."""
    node = node or mainnet(20)
    began: Queue[tuple[trio.lowlevel.TrioToken, trio.Event]] = Queue()

    async def main() -> None:
        async with serve(datadir, node):
            done = trio.Event()
            began.put((trio.lowlevel.current_trio_token(), done))
            await done.wait()

    thread = Thread(target=trio.run, args=(main,))
    thread.start()
    token, done = began.get(timeout=30)
    try:
        yield node
    finally:
        token.run_sync_soon(done.set)
        thread.join(30)
