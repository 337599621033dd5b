"""The ASGI application: every request goes through the chain (``pipeline``) to its route (``routes``) and back.

``POST /`` and ``POST /<network>`` are JSON-RPC and want credentials, unless the server vouches for the caller (unix
socket), and so does ``POST /proofs/verify``. ``GET /metrics``, the documents, ``/rest/...``, ``/eth/...`` and the
events are open on loopback and want the scope ``read`` on a listener that other machines reach; ``/livez``,
``/readyz`` and the dashboard's files are open everywhere. No reply has CORS headers, so that other web pages read
nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Final

import trio

from spvnode.metrics import Metrics
from spvnode.rpc.access import Unauthorized, challenge
from spvnode.rpc.auth import Cookie
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.pipeline.chain import Pipeline
from spvnode.rpc.pipeline.chosen import forget
from spvnode.rpc.pipeline.step import Headers, Message, Receive, Request, Send
from spvnode.rpc.response import UPGRADE, Response, retry_after, until_gone
from spvnode.rpc.routes import find
from spvnode.rpc.services import NO_SERVICES, Services
from spvnode.rpc.settings import Desk
from spvnode.rpc.site import Site
from spvnode.view import NodeView

_STATUS: Final = {Code.LIMIT_EXCEEDED: 429, Code.MAINTENANCE: 503}
"""Of what stands between a caller and a path; 403 for the rest."""


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
        services: Services = NO_SERVICES,
    ) -> None:
        self._stop = stop
        desk = desk or Desk()
        self._pipeline = Pipeline(cookie, desk, metrics)
        self._site = Site(node, dispatcher, metrics, services, desk)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request. Websockets and lifespan have no business here and are refused by raising."""
        if scope["type"] != "http":
            raise ValueError(f"ASGI scope {scope['type']!r} is not served")
        chain = self._pipeline.chain(scope["path"], vouched=scope["state"]["peer"].vouched)
        request = Request.of(scope, receive, chain)
        response = await self._respond(request)
        headers: Headers = []
        chain.end(request, response, headers)
        try:
            await self._send(request, response, [*headers, *response.headers], send)
        finally:  # also where the client has left before it heard
            if response.stop:
                self._stop()
        if request.id:  # where something raised it stays, for the line that the connection's firewall logs
            forget()

    async def _respond(self, request: Request) -> Response:
        try:
            request.chain.begin(request)
            return await self._route(request)
        except Unauthorized as error:
            wanted = ((b"www-authenticate", challenge(request.chain.settings.keyring)),)
            return Response(401, f"authorization: {error}\n".encode(), headers=wanted)
        except RpcError as error:
            again = () if error.retry_after is None else (retry_after(error.retry_after),)
            return Response(_STATUS.get(error.code, 403), f"{error.message}\n".encode(), headers=again)

    async def _route(self, request: Request) -> Response:
        """The answer of the route. Raises what its chain refuses with."""
        found = find(request.method, request.path)
        if isinstance(found, Response):
            return found
        route, request.named = found
        network = request.named.get("network")
        request.place = request.path if network is None else request.path.removeprefix(f"/{network}") or "/"
        request.route = route.name
        await request.chain.admit(route.visit(request))
        return await route.answer(self._site, request)

    async def _send(self, request: Request, response: Response, headers: Headers, send: Send) -> None:
        if response.upgrade is not None:
            return await send({"type": UPGRADE, "upgrade": response.upgrade})
        if response.parts is not None:
            return await _stream(request, send, response, response.parts, headers)
        if response.status != 204:  # which has no body to describe (RFC 9110, 8.6)
            headers += [(b"content-type", response.kind), (b"content-length", b"%d" % len(response.body))]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        body = b"" if request.method == "HEAD" else response.body
        return await send({"type": "http.response.body", "body": body})


async def _stream(
    request: Request, send: Send, response: Response, parts: AsyncGenerator[bytes, None], headers: Headers
) -> None:
    """Sends ``parts`` as they come: chunked, or until the connection ends."""
    headers = [*headers, (b"content-type", response.kind)]
    async with aclosing(parts):
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if request.method != "HEAD" and response.endless:
            await _send_endless(request, send, parts)
        elif request.method != "HEAD":
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})


async def _send_endless(request: Request, send: Send, parts: AsyncGenerator[bytes, None]) -> None:
    """Until ``parts`` end, or the client leaves: at once, and not only with the next part, which may be far away."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_gone, request.receive, nursery.cancel_scope)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for part in parts:
                request.more_time()
                await send({"type": "http.response.body", "body": part, "more_body": True})
        nursery.cancel_scope.cancel()
