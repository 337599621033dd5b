"""JSON-RPC over one request body: decode, call, encode. No I/O.

2.0 as its specification has it: errors inside a 200, notifications without an answer. Anything without
``"jsonrpc": "2.0"`` is spoken to as Bitcoin Core 28.1 speaks 1.x: ``result``, ``error`` and ``id`` always there, and
an HTTP status that tells the error (``src/httprpc.cpp``: 400 invalid request, 404 no such method, 500 the rest).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec
import trio
from msgspec import Raw, Struct

from merkle.errors import ProofError
from spvnode.errors import InputError, StoreError
from spvnode.inputs import shown
from spvnode.logs import get_logger
from spvnode.metrics import Metrics
from spvnode.rpc.caller import LOCAL, Caller
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.limits import (
    GREAT_REPLY_BYTES,
    INLINE_BODY_BYTES,
    MAX_BATCH,
    MAX_JSON_DEPTH,
    MAX_JSON_TOKENS,
    MAX_METHOD_NAME,
    MAX_REPLY_BYTES,
)
from spvnode.rpc.pipeline.chain import call_chain
from spvnode.rpc.pipeline.step import Request, Visit
from spvnode.rpc.registry import Context, Method
from spvnode.rpc.services import NO_PATIENCE, NO_SERVICES, Patience, Services
from spvnode.view import NodeView

_NO_ID = Raw(b"null")
_ABSENT = Raw(b"")
_HTTP_STATUS = {Code.INVALID_REQUEST: 400, Code.METHOD_NOT_FOUND: 404}
# Told by the HTTP status in both dialects: what stands between the client and the call is HTTP's business too.
_DOOR_STATUS = {Code.FORBIDDEN: 403, Code.LIMIT_EXCEEDED: 429}
_BRACKETS_AND_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.decode
log = get_logger("rpc")


class _Request(Struct):
    """One call, undecoded, so that each bad field gets its own error. Unknown fields are ignored, as in Core."""

    method: Raw = _ABSENT
    params: Raw = _ABSENT
    id: Raw = _ABSENT
    jsonrpc: Raw = _ABSENT


@dataclass(frozen=True, slots=True)
class Reply:
    """What HTTP must answer; 204 has no body. ``stop``: the daemon shall end, once this is sent. ``retry_after``: the
    seconds after which a refused call may come again."""

    status: int
    body: bytes
    stop: bool = False
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """One call's answer: ``v2`` and ``request_id`` say how to write it; ``request_id`` None is a notification's."""

    request_id: Raw | None
    v2: bool
    result: object = None
    error: RpcError | None = None

    def encode(self) -> bytes:
        """The answer as one JSON object, in its dialect."""
        body: dict[str, Any] = {"jsonrpc": "2.0"} if self.v2 else {}
        error = None if self.error is None else _error_object(self.error)
        if error is None or not self.v2:
            body["result"] = self.result if error is None else None
        if error is not None or not self.v2:
            body["error"] = error
        return _encode({**body, "id": self.request_id})

    @property
    def status(self) -> int:
        """HTTP status of this answer when it comes alone."""
        if self.error is not None and self.error.code in _DOOR_STATUS:
            return _DOOR_STATUS[self.error.code]
        if self.error is None or self.v2:
            return 200
        return _HTTP_STATUS.get(self.error.code, 500)

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the call may come again, where that is why it was refused."""
        return None if self.error is None else self.error.retry_after


def _alone(answer: _Answer) -> Reply:
    """The reply to a call that is no part of a batch."""
    body = b"" if answer.request_id is None else answer.encode()
    return Reply(204 if answer.request_id is None else answer.status, body, retry_after=answer.retry_after)


def _error_object(error: RpcError) -> dict[str, Any]:
    data = {} if error.retry_after is None else {"data": {"retry_after": round(error.retry_after, 3)}}
    return {"code": int(error.code), "message": error.message, **data}


class Dispatcher:
    """Answers request bodies for one node. Each call goes through the chain of its request; what comes by no request
    goes through ``call_chain``."""

    def __init__(
        self,
        node: NodeView,
        methods: Mapping[str, Method],
        metrics: Metrics,
        services: Services = NO_SERVICES,
    ) -> None:
        self._node = node
        self._methods = methods
        self._chain = call_chain(metrics)
        self._services = services
        self._parsing = trio.CapacityLimiter(1)

    async def answer(
        self,
        body: bytes,
        path_network: str | None = None,
        caller: Caller = LOCAL,
        turn: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
        patience: Patience = NO_PATIENCE,
        request: Request | None = None,
    ) -> Reply:
        """The reply to one POST body, a call or a batch, by ``caller``. ``turn`` is awaited between the calls of a
        batch, ``patience`` is for those that wait. Never raises for what the body holds."""
        # The search for depth takes 1 us a string: what is long is a worker's business, one worker's at a time.
        long = len(body) > INLINE_BODY_BYTES
        parsed = await trio.to_thread.run_sync(_parse, body, limiter=self._parsing) if long else _parse(body)
        if isinstance(parsed, RpcError):
            return _alone(_Answer(_NO_ID, v2=False, error=parsed))
        stops: list[bool] = []
        stop = partial(stops.append, True)
        context = Context(self._node, self._methods, stop, path_network, caller, self._services, patience)
        if isinstance(parsed, list):
            reply = await self._batch(parsed, context, turn, request)
        else:
            reply = _alone(await self._call(parsed, context, request))
        return replace(reply, stop=bool(stops))

    async def _batch(
        self, parsed: list[Raw], context: Context, turn: Callable[[], Awaitable[None]], request: Request | None
    ) -> Reply:
        parts: list[bytes] = []
        size = 0
        retry_after: float | None = None
        for raw in parsed:
            answer = await self._call(raw, context, request) if size <= MAX_REPLY_BYTES else _too_much(raw)
            if answer.request_id is not None:
                parts += (b"," if parts else b"[", answer.encode())
                size += len(parts[-1])
                if size > GREAT_REPLY_BYTES:
                    await context.patience.room()
            if answer.retry_after is not None:
                retry_after = max(retry_after or 0.0, answer.retry_after)
            await turn()  # a batch must not hold up the loop
        if parsed and not parts:
            return Reply(204, b"")
        return Reply(200, b"".join([*parts, b"]"]) if parts else b"[]", retry_after=retry_after)

    async def _call(self, raw: Raw, context: Context, request: Request | None) -> _Answer:
        chain = self._chain if request is None else request.chain
        visit = Visit(context.caller, chain.settings, request, is_call=True)
        request_id: Raw | None = _NO_ID
        v2 = False
        try:
            given = _read_request(raw)
            v2 = _is_v2(given.jsonrpc)
            request_id = _read_id(given.id, v2=v2)
            method = _find(context.methods, given.method)
            visit.name, visit.scope, visit.cost = method.name, method.scope, method.cost
            await chain.admit(visit)
            result = method.call(context, method.bind(_read_params(given.params)))
            if inspect.isawaitable(result):
                result = await result
            return _Answer(request_id, v2, result)
        except (RpcError, InputError, ProofError) as error:
            visit.fail("error", error)
            return _Answer(request_id, v2, error=_as_rpc_error(error))
        except StoreError as error:
            visit.fail("error", error)
            log.warning("the store refused", method=visit.name, error=str(error))
            return _Answer(request_id, v2, error=RpcError(Code.DATABASE_ERROR, str(error)))
        except Exception as error:  # the firewall of each call: logged whole, and nothing of it told to the caller
            visit.fail("fault", error)
            log.exception("rpc call failed", method=visit.name)
            return _Answer(request_id, v2, error=RpcError(Code.INTERNAL_ERROR, "Internal error; see the log"))
        finally:
            chain.end_call(visit)
            visit.error = None  # which holds this very frame


def json_depth(body: bytes) -> int:
    """Levels of ``[`` and ``{`` in JSON text; a bound for any text. No recursion. RpcError for more than
    ``MAX_JSON_TOKENS``."""
    brackets = body.count(b"[") + body.count(b"{")
    if brackets <= MAX_JSON_DEPTH:
        return brackets  # cannot be deeper than that: the long way is not needed
    depth = deepest = 0
    for count, match in enumerate(_BRACKETS_AND_STRINGS.finditer(body)):
        if count >= MAX_JSON_TOKENS:
            raise RpcError(Code.PARSE_ERROR, f"Parse error: more than {MAX_JSON_TOKENS} strings and brackets")
        token = match.group()
        if token in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif token in (b"]", b"}"):
            depth -= 1
    return deepest


def _parse(body: bytes) -> Raw | list[Raw] | RpcError:
    """A call or a batch, or what is wrong with it: an error that a worker raised would hold the worker's frames, and in
    them the body, until the next search for cycles."""
    try:
        if json_depth(body) > MAX_JSON_DEPTH:
            return RpcError(Code.PARSE_ERROR, f"Parse error: nested deeper than {MAX_JSON_DEPTH} levels")
        parsed = _decode(body, type=Raw)
        if bytes(memoryview(parsed)[:1]) != b"[":
            return parsed
        calls = _decode(body, type=list[Raw])
    except RpcError as error:
        return error.with_traceback(None)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return RpcError(Code.PARSE_ERROR, "Parse error")
    if len(calls) > MAX_BATCH:
        return RpcError(Code.INVALID_REQUEST, f"Batch of {len(calls)} calls, at most {MAX_BATCH}")
    return calls


def _read_request(raw: Raw) -> _Request:
    try:
        return _decode(raw, type=_Request)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RpcError(Code.INVALID_REQUEST, "Invalid Request object") from error


def _is_v2(jsonrpc: Raw) -> bool:
    version: object = _value(jsonrpc)
    if version not in (None, "1.0", "1.1", "2.0"):
        raise RpcError(Code.INVALID_REQUEST, "JSON-RPC version not supported")
    return version == "2.0"


def _read_id(raw: Raw, *, v2: bool) -> Raw | None:
    """The id as it was written; None for a notification, which only 2.0 has (a 1.x call without id gets null)."""
    if not bytes(raw):
        return None if v2 else _NO_ID
    if isinstance(_value(raw), list | dict | bool):
        raise RpcError(Code.INVALID_REQUEST, "id must be a string, a number or null")
    return raw


def _find(methods: Mapping[str, Method], raw: Raw) -> Method:
    if not bytes(raw):
        raise RpcError(Code.INVALID_REQUEST, "Missing method")
    name = _value(raw)
    if not isinstance(name, str):
        raise RpcError(Code.INVALID_REQUEST, "Method must be a string")
    if name not in methods:
        raise RpcError(Code.METHOD_NOT_FOUND, f"Method not found: {shown(name[:MAX_METHOD_NAME])}")
    return methods[name]


def _read_params(raw: Raw) -> list[object] | dict[str, object]:
    params = _value(raw)
    if params is None:
        return []
    if not isinstance(params, list | dict):
        raise RpcError(Code.INVALID_REQUEST, "Params must be an array or object")
    return params


def _value(raw: Raw) -> Any:
    try:
        return _decode(raw) if bytes(raw) else None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RpcError(Code.INVALID_REQUEST, "Invalid Request object") from error


def _as_rpc_error(error: RpcError | InputError | ProofError) -> RpcError:
    return error if isinstance(error, RpcError) else RpcError(Code.INVALID_PARAMETER, str(error))


def _too_much(raw: Raw) -> _Answer:
    problem = f"The replies before this one passed {MAX_REPLY_BYTES} bytes; make smaller batches"
    try:
        request = _read_request(raw)
        v2 = _is_v2(request.jsonrpc)
        return _Answer(_read_id(request.id, v2=v2), v2, error=RpcError(Code.MISC_ERROR, problem))
    except RpcError as error:
        return _Answer(_NO_ID, v2=False, error=error)
