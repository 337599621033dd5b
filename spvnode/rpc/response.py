"""One HTTP answer, as the application hands it to whatever sends it."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import h11
import trio

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"
SSZ = b"application/octet-stream"
EVENTS = b"text/event-stream"


Upgrade = Callable[[Any, Any, bytes], Awaitable[None]]
"""What speaks another protocol from here on: takes the stream, the request (h11's) and what was read behind it."""
UPGRADE = "spvnode.upgrade"
"""Type of the message by which the application asks the server to hand the connection over; not ASGI's own, whose
websocket scope would want a second parser of the handshake."""


@dataclass(frozen=True, slots=True)
class Response:
    """``body`` whole, or ``parts`` as they come. ``stop``: the daemon shall end, once this is sent."""

    status: int
    body: bytes = b""
    kind: bytes = TEXT
    headers: tuple[tuple[bytes, bytes], ...] = ()
    stop: bool = False
    parts: AsyncGenerator[bytes, None] | None = None
    endless: bool = False
    """``parts`` have no end of their own: each part, and not all of them together, has the time of a request."""
    upgrade: Upgrade | None = None
    """Instead of an answer: the connection is handed over."""


def retry_after(seconds: float) -> tuple[bytes, bytes]:
    """A header of whole seconds (RFC 9110, 10.2.3), never too few."""
    return b"retry-after", b"%d" % max(1, math.ceil(seconds))


async def until_gone(receive: Callable[[], Awaitable[Mapping[str, Any]]], scope: trio.CancelScope) -> None:
    """Cancels ``scope`` when the client leaves, or sends what is no body; for where none is awaited any more."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
        while (await receive())["type"] != "http.disconnect":
            pass
    scope.cancel()
