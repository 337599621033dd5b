"""``GET /events``: server-sent events (WHATWG HTML, 9.2) from the durable logs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import parse_qs

from spvnode.errors import InputError
from spvnode.rpc.caller import Caller
from spvnode.rpc.events.feed import Choice, Item, Turn, begin, choose, feed
from spvnode.rpc.events.hub import Hub
from spvnode.rpc.response import EVENTS, Response

MAX_QUERY_FIELDS = 16
"""Parameters of a query; there are four."""
_FIELDS = ("networks", "kinds", "filter", "cursor")
RETRY_MS = 1_000
"""After which a browser that was cut off comes back."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request for events asks for: its choice, and where it goes on."""

    choice: Choice
    cursor: dict[str, int]


def read_wish(hub: Hub, caller: Caller, query: bytes, headers: Mapping[bytes, bytes]) -> Wish:
    """``networks`` and ``kinds`` (lists with commas), ``filter`` and ``cursor`` of the query; ``Last-Event-ID``
    overrides the last: a browser that comes back repeats the query of its first time. Raises InputError."""
    try:
        fields = parse_qs(query.decode("ascii"), max_num_fields=MAX_QUERY_FIELDS)
        last = headers.get(b"last-event-id", b"").decode("ascii").strip()
    except ValueError as error:
        raise InputError("query", "is no short list of name=value pairs") from error
    for name in fields:
        if name not in _FIELDS:
            raise InputError("query", f"{name[:32]!r} is none of {', '.join(_FIELDS)}")
    choice = choose(hub, caller, _listed(fields, "networks"), _listed(fields, "kinds"), _first(fields, "filter") or "")
    given = last or _first(fields, "cursor")
    return Wish(choice, begin(hub, choice, given))


def _first(fields: Mapping[str, Sequence[str]], name: str) -> str | None:
    return next(iter(fields.get(name, ())), None)


def _listed(fields: Mapping[str, Sequence[str]], name: str) -> list[str]:
    return [part for value in fields.get(name, ()) for part in value.split(",") if part]


def answer(hub: Hub, caller: Caller, wish: Wish, turn: Turn) -> Response:
    """The stream. Raises RpcError where too many listen."""
    hub.require_room(caller)
    return Response(200, kind=EVENTS, parts=_parts(hub, caller, wish, turn), endless=True)


async def _parts(hub: Hub, caller: Caller, wish: Wish, turn: Turn) -> AsyncGenerator[bytes, None]:
    with hub.subscription(caller):
        yield b"retry: %d\n\n" % RETRY_MS
        async with aclosing(feed(hub, wish.choice, wish.cursor, turn)) as items:
            async for some in items:
                yield b"".join(map(encode, some))


def encode(item: Item) -> bytes:
    """One event; one without a kind moves the client's cursor and is not told to its listeners."""
    head = b"id: " + item.cursor.encode() + b"\n"
    return head + b"event: " + item.kind.encode() + b"\ndata: " + item.data + b"\n\n" if item.kind else head + b"\n"
