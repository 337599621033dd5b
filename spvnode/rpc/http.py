"""The ASGI application: which path answers what, and to whom.

First comes what holds for every path: the names in ``Host`` and ``Origin`` (``guard``), who asks (``access``), and how
often (``gate``). ``POST /`` and ``POST /<network>`` are JSON-RPC and want credentials, unless the server vouches for
the caller (unix socket), and so does ``POST /proofs/verify`` (``upload``). ``GET /metrics``, the documents,
``/rest/...`` (``rest``) and ``/eth/...`` (``beacon_api``) are open on loopback and want the scope ``read`` on a
listener that other machines reach; ``/livez``, ``/readyz`` and the dashboard's files (``page``) are open everywhere. No
reply has CORS headers, so that other web pages read nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import msgspec
import trio

from spvnode.errors import InputError
from spvnode.logs import get_logger
from spvnode.metrics import CONTENT_TYPE, Metrics
from spvnode.rpc.access import NO_CREDENTIALS, Access, Peer, Unauthorized
from spvnode.rpc.auth import Cookie
from spvnode.rpc.beacon_api.app import PATH as BEACON_PATH
from spvnode.rpc.beacon_api.app import BeaconApi
from spvnode.rpc.bodies import Workload
from spvnode.rpc.caller import Caller, Kind, Scope
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.documents import OPENAPI_PATH, OPENRPC_PATH, document
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.events.sse import answer as answer_events
from spvnode.rpc.events.sse import read_wish
from spvnode.rpc.events.websocket import Socket
from spvnode.rpc.gate import Gate
from spvnode.rpc.guard import refusal
from spvnode.rpc.limits import MAX_BODY_BYTES
from spvnode.rpc.page import PAGE_COST, PAGES, page
from spvnode.rpc.response import JSON, UPGRADE, Response
from spvnode.rpc.rest import PATH as REST_PATH
from spvnode.rpc.rest import CoreRest
from spvnode.rpc.services import NO_PATIENCE, NO_SERVICES, Patience, Services
from spvnode.rpc.settings import Desk
from spvnode.rpc.upload import COST as UPLOAD_COST
from spvnode.rpc.upload import PATH as UPLOAD_PATH
from spvnode.rpc.upload import Uploads
from spvnode.view import NodeView

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

OPEN_PATHS = {"/livez": 1, "/readyz": 1, "/metrics": 20, OPENRPC_PATH: 20, OPENAPI_PATH: 20}
"""``GET`` paths about the daemon, and what one costs off the rate."""
EVENTS_PATH, SOCKET_PATH = "/events", "/ws"
EVENTS_COST = 10
"""Off the rate, for a stream to begin."""
EVERYWHERE = frozenset({"/livez", "/readyz"})
"""Open also beyond loopback: a supervisor elsewhere asks them, and they tell nobody anything worth having."""
_RPC_PATH = re.compile(r"/(?P<network>[a-z0-9-]{0,32})\Z")

log = get_logger("rpc")


class App:
    """One daemon's ASGI 3 application; ``scope["state"]["peer"]`` is a ``Peer``. ``stop`` ends the daemon."""

    def __init__(
        self,
        node: NodeView,
        dispatcher: Dispatcher,
        cookie: Cookie,
        metrics: Metrics,
        stop: Callable[[], None],
        *,
        desk: Desk | None = None,
        gate: Gate | None = None,
        services: Services = NO_SERVICES,
    ) -> None:
        self._node = node
        self._stop = stop
        self._dispatcher = dispatcher
        self._desk = desk or Desk()
        self._gate = gate or Gate(self._desk, metrics)
        self._access = Access(cookie, self._desk)
        self._metrics = metrics
        self._services = services
        self._beacon_api = BeaconApi(node)
        self._rest = CoreRest(node)
        self._uploads = {"tcp": Uploads(node), "unix": Uploads(node)}
        self._work = {"tcp": Workload(), "unix": Workload()}
        # One scrape at a time: a second one waits instead of taking a second thread.
        self._scrapes = trio.CapacityLimiter(1)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request. Websockets and lifespan have no business here and are refused by raising."""
        if scope["type"] != "http":
            raise ValueError(f"ASGI scope {scope['type']!r} is not served")
        response = await self._respond(scope, receive)
        if response.upgrade is not None:
            return await send({"type": UPGRADE, "upgrade": response.upgrade})
        headers = [(b"cache-control", b"no-store"), *response.headers]
        if response.parts is not None:
            return await _stream(scope, receive, send, response, response.parts, headers)
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
        peer: Peer = scope["state"]["peer"]
        if problem := refusal(headers, remote=peer.remote, names=self._desk.now.hosts):
            self._metrics.rpc_refused.labels(problem[0]).inc()
            return Response(403, problem[1])
        try:
            caller = self._access.caller(peer, headers.get(b"authorization"))
            return await self._route(scope, headers, caller, receive)
        except Unauthorized as error:
            self._metrics.rpc_refused.labels("authorization").inc()
            challenge = ((b"www-authenticate", self._access.challenge),)
            return Response(401, f"authorization: {error}\n".encode(), headers=challenge)
        except RpcError as error:
            return _refused(error)

    async def _route(self, scope: Message, headers: dict[bytes, bytes], caller: Caller, receive: Receive) -> Response:
        """The answer to ``caller``. Raises Unauthorized, and RpcError for a scope or a rate."""
        path: str = scope["path"]
        if path in OPEN_PATHS:
            if scope["method"] not in ("GET", "HEAD"):
                return Response(405, b"GET only\n", headers=((b"allow", b"GET, HEAD"),))
            await self._open(scope, caller, path, OPEN_PATHS[path])
            return await self._watch(path)
        if path in PAGES and not (path == "/" and scope["method"] not in ("GET", "HEAD")):  # which is JSON-RPC's too
            await self._gate.pace(caller, "/", PAGE_COST)
            return page(path, scope["method"])
        if beacon := BEACON_PATH.fullmatch(path):
            await self._open(scope, caller, "/eth", 1)
            query = scope["query_string"]
            return self._beacon_api.answer(scope["method"], beacon["network"], beacon["path"], query, headers)
        if rest := REST_PATH.fullmatch(path):
            await self._open(scope, caller, "/rest", 5)
            return self._rest.answer(scope["method"], rest["network"], rest["path"], scope["query_string"])
        if path in (EVENTS_PATH, SOCKET_PATH):
            await self._open(scope, caller, path, EVENTS_COST)
            return self._events(scope, headers, caller)
        if path == UPLOAD_PATH:
            return await self._upload(scope, headers, caller, receive)
        if not _RPC_PATH.match(path):
            return Response(404, b"no such path\n")
        if scope["method"] != "POST":
            allowed = b"GET, HEAD, POST" if path == "/" else b"POST"
            return Response(405, b"JSONRPC server handles only POST requests\n", headers=((b"allow", allowed),))
        return await self._rpc(path[1:] or None, headers, caller, scope["state"], receive)

    async def _open(self, scope: Message, caller: Caller, name: str, cost: int) -> None:
        """Lets a caller in to a path that wants no credentials on loopback. Raises Unauthorized, RpcError."""
        if scope["state"]["peer"].remote and name not in EVERYWHERE:
            if caller.kind is Kind.ANONYMOUS:
                raise Unauthorized(NO_CREDENTIALS)
            self._gate.require(caller, Scope.READ)
        await self._gate.pace(caller, name, cost)

    def _events(self, scope: Message, headers: dict[bytes, bytes], caller: Caller) -> Response:
        hub = self._services.hub
        if hub is None:
            return Response(404, b"no events here\n")
        if scope["method"] != "GET":
            return Response(405, b"GET only\n", headers=((b"allow", b"GET"),))
        try:
            wish = read_wish(hub, caller, scope["query_string"], headers)
        except InputError as error:
            return Response(400, f"{error}\n".encode())
        turn = scope["state"].get("turn", trio.lowlevel.checkpoint)
        if scope["path"] == EVENTS_PATH:
            return answer_events(hub, caller, wish, turn)
        if headers.get(b"upgrade", b"").lower() != b"websocket":
            needed = ((b"upgrade", b"websocket"), (b"connection", b"upgrade"))
            return Response(426, b"a WebSocket is spoken here\n", headers=needed)
        hub.require_room(caller)
        return Response(101, upgrade=Socket(hub, caller, wish, turn))

    async def _upload(self, scope: Message, headers: dict[bytes, bytes], caller: Caller, receive: Receive) -> Response:
        if scope["method"] != "POST":
            return Response(405, b"POST only\n", headers=((b"allow", b"POST"),))
        if caller.kind is Kind.ANONYMOUS:
            raise Unauthorized(NO_CREDENTIALS)
        self._gate.require(caller, Scope.PROOFS)
        await self._gate.pace(caller, UPLOAD_PATH, UPLOAD_COST)
        return await self._uploads[scope["state"]["peer"].listener].answer(headers, receive)

    async def _rpc(
        self, path_network: str | None, headers: dict[bytes, bytes], caller: Caller, state: Message, receive: Receive
    ) -> Response:
        # Before a byte of the body is read: who has no credentials costs nothing but this check.
        if caller.kind is Kind.ANONYMOUS:
            raise Unauthorized(NO_CREDENTIALS)
        if path_network is not None and path_network not in self._node.networks:
            running = ", ".join(self._node.networks)
            return Response(404, f"network {path_network!r} does not run here; running: {running}\n".encode())
        work = self._work[state["peer"].listener]
        async with work.body(caller, headers, receive) as body:
            if body is None:
                return Response(413, f"body: longer than {MAX_BODY_BYTES} bytes\n".encode())
            turn = state.get("turn", trio.lowlevel.checkpoint)
            more_time = state.get("more_time", NO_PATIENCE.more_time)
            patience = Patience(more_time, partial(work.away, caller), partial(until_gone, receive))
            reply = await self._dispatcher.answer(body, path_network, caller, turn, patience)
        again = () if reply.retry_after is None else (_retry_after(reply.retry_after),)
        return Response(reply.status, reply.body, JSON, headers=again, stop=reply.stop)

    async def _watch(self, path: str) -> Response:
        if path == "/livez":
            return Response(200, b"ok\n")
        if path == "/readyz":
            return self._readiness()
        if path in (OPENRPC_PATH, OPENAPI_PATH):
            return Response(200, document(path, self._node.version), JSON)
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
    scope: Message, receive: Receive, send: Send, response: Response, parts: AsyncGenerator[bytes, None],
    headers: Headers,
) -> None:  # fmt: skip
    """Sends ``parts`` as they come: chunked, or until the connection ends."""
    start = {
        "type": "http.response.start",
        "status": response.status,
        "headers": [*headers, (b"content-type", response.kind)],
    }
    async with aclosing(parts):
        await send(start)
        if scope["method"] != "HEAD" and response.endless:
            await _send_endless(scope["state"]["more_time"], receive, send, parts)
        elif scope["method"] != "HEAD":
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})


async def _send_endless(
    more_time: Callable[[], None], receive: Receive, send: Send, parts: AsyncGenerator[bytes, None]
) -> None:
    """Until ``parts`` end, or the client leaves: at once, and not only with the next part, which may be far away."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_gone, receive, nursery.cancel_scope)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for part in parts:
                more_time()
                await send({"type": "http.response.body", "body": part, "more_body": True})
        nursery.cancel_scope.cancel()


async def until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    """Cancels ``scope`` when the client leaves; for after the body."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while (await receive())["type"] != "http.disconnect":
            pass
    scope.cancel()


def _refused(error: RpcError) -> Response:
    """A scope or a rate that stands between a caller and a path."""
    if error.code is Code.LIMIT_EXCEEDED and error.retry_after is not None:
        return Response(429, f"{error.message}\n".encode(), headers=(_retry_after(error.retry_after),))
    return Response(403, f"{error.message}\n".encode())


def _retry_after(seconds: float) -> tuple[bytes, bytes]:
    """Whole seconds (RFC 9110, 10.2.3), never too few."""
    return b"retry-after", b"%d" % max(1, math.ceil(seconds))
