"""What the routes answer with, one function a route. Their table is ``routes``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
import trio

from spvnode.errors import InputError
from spvnode.metrics import CONTENT_TYPE, Metrics
from spvnode.rpc.access import Standing
from spvnode.rpc.beacon_api.app import BeaconApi
from spvnode.rpc.bodies import Workload
from spvnode.rpc.caller import Kind
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.documents import OPENAPI_PATH, OPENRPC_PATH, document
from spvnode.rpc.events.feed import KINDS
from spvnode.rpc.events.hub import Hub
from spvnode.rpc.events.sse import Wish, read_wish
from spvnode.rpc.events.sse import answer as answer_events
from spvnode.rpc.events.websocket import Socket
from spvnode.rpc.limits import MAX_BODY_BYTES
from spvnode.rpc.page import PAGES
from spvnode.rpc.pipeline.step import Request
from spvnode.rpc.response import EVENTS, JSON, Response, retry_after, until_gone
from spvnode.rpc.rest import CoreRest
from spvnode.rpc.route import PLAIN, STRING, About, Query, Schema, about
from spvnode.rpc.services import Patience, Services
from spvnode.rpc.settings import Desk
from spvnode.rpc.upload import Uploads
from spvnode.view import NodeView

_READY: Final[Schema] = {
    "type": "object",
    "required": ["ready", "networks"],
    "properties": {"ready": {"type": "boolean"}, "networks": {"type": "object"}},
}
_LISTED: Final = "Names with commas between; all without."
_ENTRY: Final = "[a-z][a-z0-9-]{0,31}:[0-9]{1,18}"
_CURSOR: Final[Schema] = {"type": "string", "pattern": f"^({_ENTRY}(,{_ENTRY}){{0,64}})?$"}
_EVENT_QUERY: Final = (
    Query("networks", STRING, text=_LISTED),
    Query("kinds", STRING, text=f"{_LISTED} {', '.join(sorted(KINDS))}."),
    Query("filter", STRING, text="A plugin that events go through."),
    Query("cursor", _CURSOR, text="The last event's id, to go on after it; without it events begin now."),
)
_LAST_EVENT: Final = (Query("Last-Event-ID", _CURSOR, text="As `cursor`, which it overrides."),)


class Site:
    """One daemon's."""

    def __init__(
        self, node: NodeView, dispatcher: Dispatcher, metrics: Metrics, services: Services, desk: Desk
    ) -> None:
        self._node = node
        self._desk = desk
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._services = services
        self._beacon_api = BeaconApi(node)
        self._rest = CoreRest(node)
        self._uploads = {"tcp": Uploads(node), "unix": Uploads(node)}
        self._work = {"tcp": Workload(), "unix": Workload()}
        # One scrape at a time: a second one waits instead of taking a second thread.
        self._scrapes = trio.CapacityLimiter(1)

    # -- about the daemon

    @about(PLAIN)
    async def livez(self, request: Request) -> Response:
        """The process lives."""
        return Response(200, b"ok\n")

    @about(About(replies={JSON: _READY}, errors={503: _READY}))
    async def readyz(self, request: Request) -> Response:
        """Whether replies deserve belief, with the reasons by network; 503 while they do not."""
        found = {name: self._node.readiness(name) for name in self._node.networks}
        ready = bool(found) and all(state.ready for state in found.values())
        networks = {
            name: {"ready": state.ready, "reasons": list(state.reasons), **self._node.freshness(name)}
            for name, state in found.items()
        }
        return Response(200 if ready else 503, msgspec.json.encode({"ready": ready, "networks": networks}), JSON)

    @about(PLAIN)
    async def metrics(self, request: Request) -> Response:
        """Prometheus metrics."""
        self._metrics.observe(self._node)
        text = await trio.to_thread.run_sync(self._metrics.render, limiter=self._scrapes)
        return Response(200, text, CONTENT_TYPE.encode())

    async def describe_methods(self, request: Request) -> Response:
        """The methods, as an OpenRPC document."""
        return Response(200, document(OPENRPC_PATH, self._node.version), JSON)

    async def describe_paths(self, request: Request) -> Response:
        """The paths, as an OpenAPI document."""
        return Response(200, document(OPENAPI_PATH, self._node.version), JSON)

    async def page(self, request: Request) -> Response:
        """One of the dashboard's files."""
        return PAGES[request.path]()

    # -- other interfaces

    async def rest(self, request: Request) -> Response:
        """Bitcoin Core's."""
        return self._rest.answer(request.method, request.named["network"], request.named["path"] or "", request.query)

    async def beacon(self, request: Request) -> Response:
        """Ethereum's Beacon API."""
        named = request.named
        return self._beacon_api.answer(
            request.method, named["network"], named["path"] or "", request.query, request.headers
        )

    # -- events

    @about(
        About(replies={EVENTS: STRING}, query=_EVENT_QUERY, headers=_LAST_EVENT, errors={400: None, 404: None}),
    )
    async def events(self, request: Request) -> Response:
        """Server-sent events without end, from the durable logs. The id of each is a cursor: who comes back with the
        last one misses nothing."""
        found = self._wish(request)
        if isinstance(found, Response):
            return found
        return answer_events(found[0], request.caller, found[1], self._turn(request))

    @about(
        About(
            success=101,
            replies={},
            query=_EVENT_QUERY,
            headers=_LAST_EVENT,
            errors={400: None, 404: None, 426: None},
        )
    )
    async def websocket(self, request: Request) -> Response:
        """The events of `/events` as WebSocket messages (RFC 6455), each a JSON object with `id`, `event` and `data`.
        426 for a request that is no handshake."""
        found = self._wish(request)
        if isinstance(found, Response):
            return found
        if request.headers.get(b"upgrade", b"").lower() != b"websocket":
            needed = ((b"upgrade", b"websocket"), (b"connection", b"upgrade"))
            return Response(426, b"a WebSocket is spoken here\n", headers=needed)
        hub, wish = found
        hub.require_room(request.caller)
        return Response(101, upgrade=Socket(hub, request.caller, wish, self._turn(request)))

    def _turn(self, request: Request) -> Callable[[], Awaitable[None]]:
        """The turns of a stream, which ends with the token that it was asked for with."""
        if request.caller.kind is not Kind.TOKEN:
            return request.turn
        return Standing(request.turn, request.headers[b"authorization"], lambda: self._desk.now.keyring).turn

    def _wish(self, request: Request) -> tuple[Hub, Wish] | Response:
        hub = self._services.hub
        if hub is None:
            return Response(404, b"no events here\n")
        try:
            return hub, read_wish(hub, request.caller, request.query, request.headers)
        except InputError as error:
            return Response(400, f"{error}\n".encode())

    # -- what takes a body

    async def upload(self, request: Request) -> Response:
        """Proofs by the thousand."""
        return await self._uploads[request.peer.listener].answer(request.headers, request.receive)

    async def json_rpc(self, request: Request) -> Response:
        """A call, or a batch."""
        network, caller = request.named.get("network"), request.caller
        if network is not None and network not in self._node.networks:
            running = ", ".join(self._node.networks)
            return Response(404, f"network {network!r} does not run here; running: {running}\n".encode())
        work = self._work[request.peer.listener]
        async with work.body(caller, request.headers, request.receive) as body:
            if body is None:
                return Response(413, f"body: longer than {MAX_BODY_BYTES} bytes\n".encode())
            leaves = partial(until_gone, request.receive)
            away, room = partial(work.away, caller), work.room(caller, request.after)
            patience = Patience(request.more_time, away, leaves, room.take)
            reply = await self._dispatcher.answer(body, network, caller, request.turn, patience, request)
        again = () if reply.retry_after is None else (retry_after(reply.retry_after),)
        return Response(reply.status, reply.body, JSON, headers=again, stop=reply.stop)
