"""The steps that are always there."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from prometheus_client import Counter, Histogram

from spvnode.metrics import Metrics
from spvnode.rpc.access import NO_CREDENTIALS, Unauthorized, caller_of
from spvnode.rpc.auth import Cookie
from spvnode.rpc.caller import Kind
from spvnode.rpc.errors import Code
from spvnode.rpc.guard import refusal
from spvnode.rpc.pipeline.step import Headers, Refused, Request, Step, Visit
from spvnode.rpc.rates import Throttle
from spvnode.rpc.response import Response
from spvnode.tracing import span


class Guard(Step):
    """From which names a request may come."""

    name: ClassVar[str] = "guard"

    def pre_route(self, request: Request) -> None:
        """Looks at ``Host`` and ``Origin``."""
        names = request.chain.settings.hosts
        if problem := refusal(request.headers, remote=request.peer.remote, names=names):
            raise Refused(problem[0], Code.FORBIDDEN, problem[1])


class Access(Step):
    """Who calls."""

    name: ClassVar[str] = "access"

    def __init__(self, cookie: Cookie) -> None:
        self._cookie = cookie

    def pre_route(self, request: Request) -> None:
        """Looks at ``Authorization``."""
        keyring = request.chain.settings.keyring
        request.caller = caller_of(request.peer, request.headers.get(b"authorization"), self._cookie, keyring)


class Tracing(Step):
    """A span around each call, what follows of the chain included."""

    name: ClassVar[str] = "tracing"

    def in_route(self, visit: Visit) -> float:
        """Begins the span."""
        if visit.is_call:
            visit.span = span("rpc", method=visit.name)
            visit.span.__enter__()
        return 0.0

    def post_call(self, visit: Visit) -> None:
        """Ends it."""
        if visit.span is not None:
            error = visit.error
            visit.span.__exit__(None if error is None else type(error), error, None)


class Scopes(Step):
    """Whether a caller may ask for it at all."""

    name: ClassVar[str] = "scope"

    def in_route(self, visit: Visit) -> float:
        """Looks at the caller's scopes."""
        if visit.credentials and visit.caller.kind is Kind.ANONYMOUS:
            raise Unauthorized(NO_CREDENTIALS)
        if visit.scope is not None and visit.scope not in visit.caller.scopes:
            problem = f"Forbidden: wants the scope {visit.scope.value!r}, which the token has not"
            raise Refused("scope", Code.FORBIDDEN, problem)
        return 0.0


class Rate(Step):
    """How often. A caller who is a little too fast waits."""

    name: ClassVar[str] = "rate"

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._throttle = Throttle()

    def in_route(self, visit: Visit) -> float:
        """Counts what the visit costs."""
        rate = visit.settings.rate(visit.caller.kind)
        if rate <= 0 or not visit.cost:
            return 0.0
        found = self._throttle.admit(visit.caller.user, visit.name, visit.cost, rate, self._clock())
        if found.retry_after is None:
            return found.delay
        problem = f"Too many calls; try again in {found.retry_after:.1f} s"
        raise Refused("rate", Code.LIMIT_EXCEEDED, problem, retry_after=found.retry_after)


class NoStore(Step):
    """Nothing that is said here is to be kept by a cache."""

    name: ClassVar[str] = "no-store"

    def post_route(self, request: Request, response: Response, headers: Headers) -> None:
        """Adds the header."""
        headers.append((b"cache-control", b"no-store"))


class Measure(Step):
    """How many calls, how they ended, and how long they took."""

    name: ClassVar[str] = "metrics"

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._known: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        """By method and outcome; looking for labels takes longer than counting. Grows with the registry only."""

    def post_call(self, visit: Visit) -> None:
        """Counts the call."""
        key = visit.name, visit.outcome
        found = self._known.get(key)
        if found is None:
            found = self._metrics.rpc_requests.labels(*key), self._metrics.rpc_seconds.labels(visit.name)
            self._known[key] = found
        found[0].inc()
        found[1].observe(visit.seconds)
