"""What goes through the chain, and what a link of it is."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from spvnode.rpc.caller import NO_SCOPES, Caller, Kind, Scope
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.response import Response
from spvnode.rpc.services import NO_PATIENCE

if TYPE_CHECKING:
    from spvnode.rpc.access import Peer
    from spvnode.rpc.pipeline.chain import Chain
    from spvnode.rpc.settings import Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON_RPC: Final = "json-rpc"
"""Name of the route that calls are made in."""
NOBODY = Caller(Kind.ANONYMOUS, "", NO_SCOPES)
"""Until it is known who calls."""


class Refused(RpcError):
    """A step's no. ``why`` is the word for the metrics."""

    def __init__(self, why: str, code: Code, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(code, message, retry_after=retry_after)
        self.why = why


@dataclass(slots=True)
class Request:
    """One HTTP request. ``caller`` is known after ``access``, ``named`` (the parameters in the path) and ``place`` (the
    path without a network before it) after routing."""

    method: str
    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    peer: Peer
    chain: Chain
    receive: Receive
    turn: Callable[[], Awaitable[None]]
    more_time: Callable[[], None]
    began: float
    """``time.perf_counter()``."""
    caller: Caller = NOBODY
    named: Mapping[str, str | None] = field(default_factory=dict)
    place: str = ""
    route: str = ""
    """Name of the route; empty where there is none."""
    calls: list[str] = field(default_factory=list)
    """Methods that were called, up to ``MAX_BATCH``."""
    after: ExitStack = field(default_factory=ExitStack)
    """What is to be done once the answer has left, or cannot."""
    id: str = ""
    """What ``request-id`` calls it; empty without that step."""

    @classmethod
    def of(cls, scope: Message, receive: Receive, chain: Chain) -> Request:
        """The request of an ASGI scope."""
        state = scope["state"]
        turn, more_time = state.get("turn", trio.lowlevel.checkpoint), state.get("more_time", NO_PATIENCE.more_time)
        path, query, headers = scope["path"], scope["query_string"], dict(scope["headers"])
        began, after = time.perf_counter(), state.get("after") or ExitStack()
        peer = state["peer"]
        return cls(scope["method"], path, query, headers, peer, chain, receive, turn, more_time, began, after=after)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self.began


@dataclass(slots=True)
class Visit:
    """What a caller asks for: a route, or, with ``is_call``, a method inside one. ``request`` is None where the
    dispatcher is asked directly."""

    caller: Caller
    settings: Settings
    request: Request | None = None
    is_call: bool = False
    name: str = "unknown"
    cost: int = 0
    """Units off the caller's rate; 0 for what counts itself."""
    scope: Scope | None = None
    """The one that it wants."""
    credentials: bool = False
    """Whether it wants any."""
    began: float = field(default_factory=time.perf_counter)
    outcome: str = "ok"
    """Of a call: ``ok``, ``error`` or ``fault``."""
    error: BaseException | None = None
    span: AbstractContextManager[None] | None = None

    def fail(self, outcome: str, error: BaseException) -> None:
        """Notes how a call ended."""
        self.outcome, self.error = outcome, error

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self.began


class Step:
    """One link. A step overrides the phases in which it takes part; the others cost nothing. It holds no state of a
    request: that is the request's."""

    name: ClassVar[str]
    blocks: ClassVar[bool] = False
    """Of a configured step: whether it may refuse. Such a one is left out where nothing may be in the way."""

    def pre_route(self, request: Request) -> None:
        """Before the route is looked for. Raises ``Refused``, or ``Unauthorized``."""

    def in_route(self, visit: Visit) -> float:
        """Before what is asked for answers: the seconds that the caller waits. Raises as ``pre_route``."""
        return 0.0

    def post_call(self, visit: Visit) -> None:
        """After a JSON-RPC call, also a refused one."""

    def post_route(self, request: Request, response: Response, headers: Headers) -> None:
        """Before the first byte of any answer leaves, also of a refusal; may add to ``headers``."""
