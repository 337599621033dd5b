"""Requests and replies as bytes, for the client that blocks and the one that does not. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from spvnode.client.errors import Busy, ClientError, Refused, RpcFailed, Unreachable
from spvnode.method_names import NOT_REPEATED

TIMEOUT = 90.0
"""Seconds for a reply: longer than the daemon itself gives a request."""
MAX_WAIT = 300.0
"""Seconds that the daemon lets a call wait for news, before it answers all the same."""
MAX_REPLY = 64 << 20
"""Bytes of a reply that are read: twice what the daemon sends. Whoever listens there can fill it."""
MAX_TOLD = 300
"""Characters of a refusal that an error repeats."""
MAX_RETRY_AFTER = 86_400.0
"""Seconds that a refusal may make a client wait; the daemon's own longest. Whoever listens there can say any number."""
EVENTS_PATH = "/events"
LIMIT_EXCEEDED = -32005
IN_WARMUP = -28
_LONG = ("waitfornewblock", "waitforblockheight")

Params = Mapping[str, Any] | Sequence[Any]
Call = tuple[str, Params]


class Reply(NamedTuple):
    """Of HTTP. ``retry_after``: seconds, 0 where nothing is said."""

    status: int
    body: bytes
    retry_after: float = 0.0


class Request(NamedTuple):
    """A POST."""

    body: bytes
    path: str = "/"
    kind: str = "application/json"


def encode_call(method: str, params: Params | None, number: int = 1) -> dict[str, Any]:
    """A JSON-RPC 2.0 call. Named parameters that are None are left out."""
    given: Params = {} if params is None else params
    if isinstance(given, Mapping):
        given = {name: value for name, value in given.items() if value is not None}
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": given}


def encode(message: object) -> bytes:
    """As JSON."""
    return json.dumps(message, separators=(",", ":")).encode()


def repeatable(method: str) -> bool:
    """Whether a call that may have been answered may be made again."""
    return method not in NOT_REPEATED


def patience(method: str, timeout: float) -> float:
    """Seconds for the reply."""
    return timeout + MAX_WAIT if method in _LONG else timeout


def result_of(reply: Reply) -> Any:
    """The result of one call. Raises RpcFailed, Refused, Busy, Unreachable."""
    return _outcome(_parsed(reply), reply)


def results_of(reply: Reply, count: int) -> list[Any]:
    """Of a batch: a result, or the RpcFailed, for each call in its order."""
    parsed = _parsed(reply)
    if not isinstance(parsed, list):
        return [_outcome(parsed, reply)]
    found: dict[int, Any] = {}
    for answer in parsed:
        outcome: Any
        try:
            outcome = _outcome(answer, reply)
        except (RpcFailed, Busy) as error:
            outcome = error
        if not isinstance(number := answer.get("id"), int):
            raise ClientError("the reply answers something that was not asked")
        found[number] = outcome
    if set(found) != set(range(1, count + 1)):
        raise ClientError(f"the reply answers {len(found)} calls of {count}")
    return [found[number] for number in range(1, count + 1)]


def _parsed(reply: Reply) -> Any:
    if len(reply.body) > MAX_REPLY:
        raise ClientError(f"a reply of more than {MAX_REPLY} bytes")
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        raise refusal(reply) from None


def _outcome(answer: Any, reply: Reply) -> Any:
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict) and isinstance(error.get("code"), int):
        message, data = str(error.get("message")), error.get("data")
        if error["code"] == LIMIT_EXCEEDED:
            wait = data.get("retry_after") if isinstance(data, dict) else None
            if not isinstance(wait, int | float) or not 0 <= wait <= MAX_RETRY_AFTER:  # NaN is no number between
                wait = reply.retry_after
            raise Busy(message, float(wait))
        raise RpcFailed(error["code"], message)
    if not isinstance(answer, dict) or "result" not in answer:
        raise refusal(reply)
    return answer["result"]


def refusal(reply: Reply) -> ClientError:
    """What an HTTP reply that is no JSON-RPC means."""
    told = " ".join(reply.body[: MAX_TOLD * 4].decode("utf-8", "replace").split())[:MAX_TOLD]
    if reply.status in (429, 503):
        return Busy(told or str(reply.status), reply.retry_after)
    if reply.status >= 500:
        return Unreachable(f"{reply.status}: {told}", untouched=False)
    return Refused(reply.status, told or "no JSON-RPC reply")


def retry_after(text: str | None) -> float:
    """Seconds of a ``Retry-After`` header."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 6:
        return 0.0
    return min(float(text), MAX_RETRY_AFTER)


def events_path(networks: Iterable[str], kinds: Iterable[str], filter: str = "") -> str:
    """The path of a stream of events."""
    lists = {"networks": ",".join(networks), "kinds": ",".join(kinds), "filter": filter}
    query = urlencode({name: text for name, text in lists.items() if text})
    return f"{EVENTS_PATH}?{query}" if query else EVENTS_PATH
