"""The ASGI application: which path answers what, and to whom.

``POST /`` and ``POST /<network>`` are JSON-RPC and want the cookie, unless the server vouches for the caller (unix
socket). ``GET /livez``, ``/readyz``, ``/metrics`` and ``/eth/...`` (``beacon_api``) are open: the server listens on
loopback only, and a web page that reaches it anyway, by a name of its own (DNS rebinding), is refused by that name;
without CORS headers it could read no reply either.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec
import trio

from spvnode.logs import get_logger
from spvnode.metrics import CONTENT_TYPE, Metrics
from spvnode.rpc.auth import Cookie
from spvnode.rpc.beacon_api.app import PATH as BEACON_PATH
from spvnode.rpc.beacon_api.app import BeaconApi
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.limits import MAX_BODY_BYTES, MAX_CONCURRENT_REQUESTS
from spvnode.rpc.response import JSON, Response
from spvnode.view import NodeView

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_NO_COOKIE = b'authorization: wants the content of <datadir>/.cookie as Basic credentials: curl -u "$(cat .cookie)"\n'
_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?\Z")
_RPC_PATH = re.compile(r"/(?P<network>[a-z0-9-]{0,32})\Z")

log = get_logger("rpc")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as the server knows it. ``vouched``: needs no cookie."""

    listener: str
    vouched: bool


class App:
    """One daemon's ASGI 3 application; ``scope["state"]["peer"]`` is a ``Peer``. ``stop`` ends the daemon."""

    def __init__(
        self, node: NodeView, dispatcher: Dispatcher, cookie: Cookie, metrics: Metrics, stop: Callable[[], None]
    ) -> None:
        self._node = node
        self._stop = stop
        self._dispatcher = dispatcher
        self._cookie = cookie
        self._metrics = metrics
        self._beacon_api = BeaconApi(node)
        self._slots = trio.Semaphore(MAX_CONCURRENT_REQUESTS)
        # One scrape at a time: a second one waits instead of taking a second thread.
        self._scrapes = trio.CapacityLimiter(1)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request. Websockets and lifespan have no business here and are refused by raising."""
        if scope["type"] != "http":
            raise ValueError(f"ASGI scope {scope['type']!r} is not served")
        response = await self._respond(scope, receive)
        headers = [(b"cache-control", b"no-store"), *response.headers]
        if response.parts is not None:
            return await _stream(scope, send, response, response.parts, headers)
        if response.status != 204:  # which has no body to describe (RFC 9110, 8.6)
            headers += [(b"content-type", response.kind), (b"content-length", b"%d" % len(response.body))]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else response.body
        await send({"type": "http.response.body", "body": body})
        if response.stop:
            self._stop()
        return None

    async def _respond(self, scope: Message, receive: Receive) -> Response:
        headers = dict(scope["headers"])
        if not host_is_local(headers.get(b"host")):
            self._metrics.rpc_refused.labels("host").inc()
            return Response(403, b"Host header names no loopback address\n")
        path: str = scope["path"]
        if path in ("/livez", "/readyz", "/metrics"):
            if scope["method"] not in ("GET", "HEAD"):
                return Response(405, b"GET only\n", headers=((b"allow", b"GET, HEAD"),))
            return await self._watch(path)
        if beacon := BEACON_PATH.fullmatch(path):
            query = scope["query_string"]
            return self._beacon_api.answer(scope["method"], beacon["network"], beacon["path"], query, headers)
        if not _RPC_PATH.match(path):
            return Response(404, b"no such path\n")
        if scope["method"] != "POST":
            return Response(405, b"JSONRPC server handles only POST requests\n", headers=((b"allow", b"POST"),))
        return await self._rpc(path[1:] or None, headers, scope["state"]["peer"], receive)

    async def _rpc(
        self, path_network: str | None, headers: dict[bytes, bytes], peer: Peer, receive: Receive
    ) -> Response:
        # Before a byte of the body is read: who has no cookie costs nothing but this check.
        if not peer.vouched and not self._cookie.admits(headers.get(b"authorization")):
            self._metrics.rpc_refused.labels("authorization").inc()
            return Response(401, _NO_COOKIE, headers=((b"www-authenticate", b'Basic realm="jsonrpc"'),))
        if path_network is not None and path_network not in self._node.networks:
            running = ", ".join(self._node.networks)
            return Response(404, f"network {path_network!r} does not run here; running: {running}\n".encode())
        async with self._slots:
            body = await _read_body(headers, receive)
            if body is None:
                return Response(413, f"body: longer than {MAX_BODY_BYTES} bytes\n".encode())
            reply = await self._dispatcher.answer(body, path_network)
        return Response(reply.status, reply.body, JSON, stop=reply.stop)

    async def _watch(self, path: str) -> Response:
        if path == "/livez":
            return Response(200, b"ok\n")
        if path == "/readyz":
            return self._readiness()
        self._metrics.observe(self._node)
        text = await trio.to_thread.run_sync(self._metrics.render, limiter=self._scrapes)
        return Response(200, text, CONTENT_TYPE.encode())

    def _readiness(self) -> Response:
        found = {name: self._node.readiness(name) for name in self._node.networks}
        ready = bool(found) and all(state.ready for state in found.values())
        networks = {
            name: {"ready": state.ready, "reasons": list(state.reasons), **self._node.freshness(name)}
            for name, state in found.items()
        }
        return Response(200 if ready else 503, msgspec.json.encode({"ready": ready, "networks": networks}), JSON)


async def _stream(
    scope: Message, send: Send, response: Response, parts: AsyncGenerator[bytes, None], headers: Headers
) -> None:
    """Sends ``parts`` as they come: chunked, or until the connection ends."""
    start = {
        "type": "http.response.start",
        "status": response.status,
        "headers": [*headers, (b"content-type", response.kind)],
    }
    async with aclosing(parts):
        await send(start)
        if scope["method"] != "HEAD":
            async for part in parts:
                if response.endless:
                    scope["state"]["more_time"]()
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})


def host_is_local(value: bytes | None) -> bool:
    """True unless a ``Host`` header names something other than this machine.

    Against DNS rebinding: a web page whose name was made to resolve to 127.0.0.1 still sends that name. HTTP/1.0
    clients may send none; browsers always do.
    """
    if value is None:
        return True
    match = _HOST.match(value.decode("latin-1").strip())
    if match is None:
        return False
    host = match["host"].strip("[]").lower()
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _read_body(headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
    """The whole body; None when it is longer than ``MAX_BODY_BYTES``."""
    announced = headers.get(b"content-length", b"0")
    if not announced.isdigit() or int(announced) > MAX_BODY_BYTES:
        return None
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)
