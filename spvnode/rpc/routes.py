"""The table of all that is served over HTTP: a path, what answers, whom it wants and what it costs. The OpenAPI
document is made of the same rows (``documents``)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from spvnode.rpc.beacon_api.app import EVENTS_ROUTE
from spvnode.rpc.beacon_api.app import PATH as BEACON_PATH
from spvnode.rpc.beacon_api.app import ROUTES as BEACON_ROUTES
from spvnode.rpc.beacon_api.events import Events
from spvnode.rpc.caller import Scope
from spvnode.rpc.documents import OPENAPI_PATH, OPENRPC_PATH
from spvnode.rpc.page import PAGE_COST, PAGES
from spvnode.rpc.pipeline.step import JSON_RPC, Request, Visit
from spvnode.rpc.response import Response
from spvnode.rpc.rest import PATH as REST_PATH
from spvnode.rpc.rest import ROUTES as REST_ROUTES
from spvnode.rpc.site import Site
from spvnode.rpc.upload import COST as UPLOAD_COST
from spvnode.rpc.upload import PATH as UPLOAD_PATH
from spvnode.rpc.upload import Uploads

EVENTS_COST = 10
"""Off the rate, for a stream to begin."""
DOCUMENT_COST = 20
"""Off the rate, for what takes some ms to write, or some hundred kB to send."""
_NETWORK_PATH = re.compile(r"/(?P<network>[a-z0-9-]{1,32})")

Answer = Callable[[Site, Request], Awaitable[Response]]
Shown = Mapping[str, Callable[..., object]]
"""Paths as OpenAPI writes them, and what tells about each (``route.about``)."""


class Door(Enum):
    """Whom a route lets in."""

    EVERYBODY = "everybody"
    """Wherever they come from: it tells nobody anything worth having."""
    LOOPBACK = "loopback"
    """Everybody on this machine; on a listener that others reach, callers with the route's scope."""
    CREDENTIALS = "credentials"
    """Callers with credentials, and with the route's scope, if it has one."""


@dataclass(frozen=True, slots=True)
class Route:
    """A row. ``name`` is what the rate counts and the log says. Without ``pattern`` it is one path, ``name`` itself."""

    name: str
    answer: Answer
    shown: Shown
    methods: tuple[str, ...] | None = ("GET", "HEAD")
    """HTTP methods; the first stands in the document. None: the interface behind it refuses the others in its own
    form."""
    cost: int = 1
    door: Door = Door.LOOPBACK
    scope: Scope | None = Scope.READ
    path: str = ""
    """Where it is not the name."""
    pattern: re.Pattern[str] | None = None
    told: str = "GET only"
    """To who comes with another HTTP method."""

    def visit(self, request: Request) -> Visit:
        """What ``request`` asks for here."""
        closed = self.door is Door.CREDENTIALS or (self.door is Door.LOOPBACK and request.peer.remote)
        scope = self.scope if closed else None
        return Visit(
            request.caller, request.chain.settings, request, name=self.name, cost=self.cost, scope=scope,
            credentials=closed,
        )  # fmt: skip


def _one(
    path: str, answer: Answer, cost: int = 1, door: Door = Door.LOOPBACK, methods: tuple[str, ...] = ("GET", "HEAD")
) -> Route:
    """A row of one path whose function tells about it."""
    return Route(path, answer, {path: answer}, methods, cost, door)


def _json_rpc(path: str, pattern: re.Pattern[str] | None = None) -> Route:
    # Each call is paid for by itself. The words are Core's.
    told = "JSONRPC server handles only POST requests"
    return Route(
        JSON_RPC, Site.json_rpc, {path: Site.json_rpc}, ("POST",), 0, Door.CREDENTIALS, None, path, pattern, told
    )


ROUTES: Final = (
    _one("/livez", Site.livez, door=Door.EVERYBODY),
    _one("/readyz", Site.readyz, door=Door.EVERYBODY),
    _one("/metrics", Site.metrics, cost=DOCUMENT_COST),
    _one(OPENRPC_PATH, Site.describe_methods, cost=DOCUMENT_COST),
    _one(OPENAPI_PATH, Site.describe_paths, cost=DOCUMENT_COST),
    *(
        Route("/", Site.page, {path: tells}, cost=PAGE_COST, door=Door.EVERYBODY, path=path)
        for path, tells in PAGES.items()
    ),
    _json_rpc("/"),
    _one("/events", Site.events, methods=("GET",), cost=EVENTS_COST),
    _one("/ws", Site.websocket, methods=("GET",), cost=EVENTS_COST),
    Route(
        UPLOAD_PATH, Site.upload, {UPLOAD_PATH: Uploads.answer}, ("POST",), UPLOAD_COST, Door.CREDENTIALS, Scope.PROOFS,
        told="POST only",
    ),
    Route("/eth", Site.beacon, {**BEACON_ROUTES, EVENTS_ROUTE: Events.answer}, None, pattern=BEACON_PATH),
    Route("/rest", Site.rest, REST_ROUTES, None, cost=5, pattern=REST_PATH),
    _json_rpc("/{network}", _NETWORK_PATH),
)  # fmt: skip
"""All rows. Patterns are tried in this order, after the single paths."""


def _by_path() -> Mapping[str, list[Route]]:
    found: dict[str, list[Route]] = {}
    for row in ROUTES:
        if row.pattern is None:
            found.setdefault(row.path or row.name, []).append(row)
    return found


_BY_PATH: Final = _by_path()
_PATTERNS: Final = [(row.pattern, row) for row in ROUTES if row.pattern is not None]


def find(method: str, path: str) -> tuple[Route, Mapping[str, str | None]] | Response:
    """The row for a request, with the parameters in the path; 404 or 405 where there is none."""
    rows, named = _rows(path)
    for row in rows:
        if row.methods is None or method in row.methods:
            return row, named
    if not rows:
        return Response(404, b"no such path\n")
    allowed = ", ".join(method for row in rows for method in row.methods or ())
    return Response(405, f"{rows[-1].told}\n".encode(), headers=((b"allow", allowed.encode()),))


def _rows(path: str) -> tuple[list[Route], Mapping[str, str | None]]:
    if rows := _BY_PATH.get(path):
        return rows, {}
    for pattern, row in _PATTERNS:
        if match := pattern.fullmatch(path):
            return [row], match.groupdict()
    return [], {}
