"""One HTTP answer, as the application hands it to whatever sends it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"
SSZ = b"application/octet-stream"
EVENTS = b"text/event-stream"


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
