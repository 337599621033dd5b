"""The steps that ``[[rpc.middleware]]`` may add."""

from __future__ import annotations

import random
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from structlog.contextvars import bind_contextvars, unbind_contextvars

from spvnode.config_middleware import (
    AccessLogConfig,
    AllowMethodsConfig,
    AnyMiddleware,
    DenyConfig,
    MaintenanceConfig,
    Middleware,
    RequestIdConfig,
    ResponseHeadersConfig,
    SlowLogConfig,
)
from spvnode.logs import get_logger
from spvnode.rpc.caller import Kind
from spvnode.rpc.errors import Code
from spvnode.rpc.limits import MAX_BATCH
from spvnode.rpc.pipeline.step import JSON_RPC, Headers, Refused, Request, Step, Visit
from spvnode.rpc.response import Response

MAX_LOGGED_PATH = 256
"""Characters of a path in a log line. Any client can fill it."""
MAX_REQUEST_ID = 64
"""Characters of a client's own id of a request: a UUID has 36, a trace context 55. Any client can send one."""
_ID_HEADER = b"x-request-id"
_ID_NAME = "request_id"
_ID = re.compile(rb"[A-Za-z0-9._-]{1,%d}" % MAX_REQUEST_ID)  # nothing of which can forge a line

log = get_logger("rpc")


class RequestId(Step):
    """See ``RequestIdConfig``."""

    name: ClassVar[str] = "request-id"

    def __init__(self, config: RequestIdConfig) -> None:
        self._accept = config.accept

    def pre_route(self, request: Request) -> None:
        """Names the request, for the log until ``forget``."""
        given = request.headers.get(_ID_HEADER, b"")
        known = self._accept and _ID.fullmatch(given)
        request.id = given.decode("ascii") if known else secrets.token_hex(8)
        bind_contextvars(**{_ID_NAME: request.id})

    def post_route(self, request: Request, response: Response, headers: Headers) -> None:
        """Tells the client."""
        if request.id:  # not of those that a step before this one refused
            headers.append((_ID_HEADER, request.id.encode()))


def forget() -> None:
    """What is logged from here on belongs to no request."""
    unbind_contextvars(_ID_NAME)


class Maintenance(Step):
    """See ``MaintenanceConfig``."""

    name: ClassVar[str] = "maintenance"
    blocks: ClassVar[bool] = True

    def __init__(self, config: MaintenanceConfig) -> None:
        self._kinds = _kinds(config.kinds)
        self._retry_after = config.retry_after

    def pre_route(self, request: Request) -> None:
        """Refuses callers of these kinds."""
        if request.caller.kind in self._kinds:
            problem = "under maintenance; try again later"
            raise Refused(self.name, Code.MAINTENANCE, problem, retry_after=self._retry_after)


class Deny(Step):
    """See ``DenyConfig``."""

    name: ClassVar[str] = "deny"
    blocks: ClassVar[bool] = True

    def __init__(self, config: DenyConfig) -> None:
        self._kinds = _kinds(config.kinds)
        self._methods = frozenset(config.methods)
        # ``/rest`` is denied as a whole, ``/restless`` is another path; ``/`` is the beginning of all.
        self._paths = tuple(path.rstrip("/") + "/" for path in config.paths)

    def in_route(self, visit: Visit) -> float:
        """Refuses these methods and paths."""
        if visit.caller.kind in self._kinds and self._names(visit):
            raise Refused(self.name, Code.FORBIDDEN, "Forbidden: the configuration denies it")
        return 0.0

    def _names(self, visit: Visit) -> bool:
        if visit.is_call or visit.request is None:
            return visit.name in self._methods
        return any(f"{path}/".startswith(self._paths) for path in (visit.request.path, visit.request.place))


class AllowMethods(Step):
    """See ``AllowMethodsConfig``."""

    name: ClassVar[str] = "allow-methods"
    blocks: ClassVar[bool] = True

    def __init__(self, config: AllowMethodsConfig) -> None:
        self._kinds = _kinds(config.kinds)
        self._methods = frozenset(config.methods)

    def in_route(self, visit: Visit) -> float:
        """Refuses all other methods."""
        if visit.is_call and visit.caller.kind in self._kinds and visit.name not in self._methods:
            raise Refused(self.name, Code.FORBIDDEN, "Forbidden: the configuration does not allow this method")
        return 0.0


class ResponseHeaders(Step):
    """See ``ResponseHeadersConfig``."""

    name: ClassVar[str] = "response-headers"

    def __init__(self, config: ResponseHeadersConfig) -> None:
        self._headers = [(name.encode(), value.encode()) for name, value in config.headers.items()]

    def post_route(self, request: Request, response: Response, headers: Headers) -> None:
        """Adds those that the route does not say itself: said twice, some count as not said at all."""
        said = {name for name, _ in response.headers}
        headers += [one for one in self._headers if one[0] not in said]


class AccessLog(Step):
    """See ``AccessLogConfig``. Told is the moment at which an answer is ready: a stream's first."""

    name: ClassVar[str] = "access-log"

    def __init__(self, config: AccessLogConfig, draw: Callable[[], float] = random.random) -> None:
        self._sample = config.sample
        self._draw = draw

    def post_call(self, visit: Visit) -> None:
        """Notes the method for the request's line."""
        if visit.request is not None and len(visit.request.calls) < MAX_BATCH:
            visit.request.calls.append(visit.name)

    def post_route(self, request: Request, response: Response, headers: Headers) -> None:
        """Logs the line."""
        if self._sample < 1 and self._draw() >= self._sample:
            return
        of_calls = {"call": request.calls[0], "calls": len(request.calls)} if request.calls else {}
        log.info(
            "request",
            who=request.caller.kind.value,
            user=request.caller.user,
            method=request.method,
            path=request.path[:MAX_LOGGED_PATH],
            route=request.route,
            **of_calls,
            status=response.status,
            ms=round(request.seconds * 1_000, 2),
            bytes=None if response.parts is not None else len(response.body),
        )


class SlowLog(Step):
    """See ``SlowLogConfig``."""

    name: ClassVar[str] = "slow-log"

    def __init__(self, config: SlowLogConfig) -> None:
        self._seconds = config.ms / 1_000
        self._ignore = frozenset(config.ignore)

    def post_call(self, visit: Visit) -> None:
        """Looks at a call."""
        if (taken := visit.seconds) >= self._seconds and visit.name not in self._ignore:
            self._tell(visit.name, visit.caller.kind, taken)

    def post_route(self, request: Request, response: Response, headers: Headers) -> None:
        """Looks at a request that is no JSON-RPC."""
        if request.route != JSON_RPC and (taken := request.seconds) >= self._seconds:
            self._tell(request.route or "no route", request.caller.kind, taken)

    @staticmethod
    def _tell(what: str, kind: Kind, taken: float) -> None:
        log.warning("slow", what=what, who=kind.value, ms=round(taken * 1_000, 2))


STEPS: Mapping[type[Middleware], type[Any]] = {
    RequestIdConfig: RequestId,
    MaintenanceConfig: Maintenance,
    DenyConfig: Deny,
    AllowMethodsConfig: AllowMethods,
    ResponseHeadersConfig: ResponseHeaders,
    AccessLogConfig: AccessLog,
    SlowLogConfig: SlowLog,
}
"""What makes a step of its table."""


def chosen(tables: Iterable[AnyMiddleware]) -> tuple[Step, ...]:
    """The steps of ``[[rpc.middleware]]``, in its order."""
    return tuple(STEPS[type(table)](table) for table in tables)


def _kinds(names: Iterable[str]) -> frozenset[Kind]:
    return frozenset(map(Kind, names))
