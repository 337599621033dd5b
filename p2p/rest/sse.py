"""Server-sent events: the parser, and a reader that stays on one stream until it ends or must be left.

Format: WHATWG HTML, 9.2.6. The fields ``id`` and ``retry`` are ignored: a beacon node does not replay events, and how
soon we come back is ours to say. Held per stream: one event of at most ``MAX_EVENT`` bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import trio

from p2p.bucket import TokenBucket
from p2p.faults import FaultReason, RemoteFault
from p2p.rest.client import OK, RestClient
from p2p.rest.endpoint import Endpoint

MEDIA = "text/event-stream"
MAX_EVENT = 64 << 10
"""Bytes of one event, or of one line of it. The largest, a finality update in JSON, takes 6 kB; the server fills it."""
BYTES_PER_SECOND = 16 << 10
"""Two events and a comment a slot are 1 kB a second; the server may send more for a while (``BYTES_BURST``)."""
BYTES_BURST = 1 << 20
"""After an hour's sleep of ours the stream may hold as much."""
EVENTS_PER_SECOND = 4.0
EVENTS_BURST = 64.0
"""Events of a few slots at once, after a pause; each costs a decode."""


@dataclass(frozen=True, slots=True)
class Event:
    """``name``: the ``event`` field, ``message`` where there was none. ``data``: its lines, joined by newlines."""

    name: str
    data: bytes


class Oversized(ValueError):
    """A line or an event above ``MAX_EVENT``."""


class EventParser:
    """Sans-IO. However the bytes are cut, the events are the same."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._first = True
        self._skip_newline = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """Events that ``data`` completes. ``Oversized`` ends the stream."""
        if not data:
            return
        if self._skip_newline:
            data = data.removeprefix(b"\n")  # the second half of a CR LF
        self._skip_newline = data.endswith(b"\r")
        self._line += data
        if b"\n" in data or b"\r" in data:
            yield from self._lines()
        if len(self._line) > MAX_EVENT:
            raise Oversized(f"a line of more than {MAX_EVENT} bytes")

    def _lines(self) -> Iterator[Event]:
        lines = bytes(self._line).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._line = bytearray(lines.pop())
        for line in lines:
            event = self._take(line)
            if event is not None:
                yield event

    def _take(self, line: bytes) -> Event | None:
        if self._first:
            line = line.removeprefix(b"\xef\xbb\xbf")
            self._first = False
        if not line:
            return self._dispatch()
        if len(line) > MAX_EVENT:
            raise Oversized(f"a line of more than {MAX_EVENT} bytes")
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._name = value[:100].decode("utf-8", "replace")
        elif name == b"data":
            self._size += len(value) + 1
            if self._size > MAX_EVENT:
                raise Oversized(f"an event of more than {MAX_EVENT} bytes")
            self._data.append(value)
        return None

    def _dispatch(self) -> Event | None:
        data = b"\n".join(self._data)
        event = Event(self._name or "message", data) if data else None
        self._name, self._data, self._size = "", [], 0
        return event


async def follow_events(
    client: RestClient,
    endpoint: Endpoint,
    route: str,
    *,
    silence: float,
    deliver: Callable[[Event], Awaitable[RemoteFault | None]],
) -> RemoteFault:
    """Hands the stream's events to ``deliver`` until it ends, or ``deliver`` finds a fault; returns why.

    ``silence``: seconds without a byte after which it counts as hung.
    """
    from p2p.rest.blame import FAILURES, blame  # noqa: PLC0415 - see p2p.rest.client

    name = endpoint.name
    try:
        async with client.open(endpoint, route, accept=MEDIA, idle=silence) as head:
            if head.status != OK or head.media != MEDIA:
                return RemoteFault(FaultReason.REFUSED, name, f"events: HTTP {head.status}, {head.media[:80]}")
            parser, fence = EventParser(), _Fence()
            async for chunk in head.chunks:
                for event in parser.feed(chunk):
                    fault = None if fence.admits(event) else RemoteFault(FaultReason.FLOOD, name, "too many events")
                    fault = fault or await deliver(event)
                    if fault is not None:
                        return fault
                if not fence.pays(chunk):
                    return RemoteFault(FaultReason.FLOOD, name, "too many bytes in the event stream")
    except FAILURES as error:
        return blame(name, error)
    except Oversized as error:
        return RemoteFault(FaultReason.OVERSIZED, name, str(error))
    return RemoteFault(FaultReason.DISCONNECTED, name, "ended its event stream")


class _Fence:
    def __init__(self) -> None:
        now = trio.current_time()
        self._bytes = TokenBucket(BYTES_PER_SECOND, BYTES_BURST, now)
        self._events = TokenBucket(EVENTS_PER_SECOND, EVENTS_BURST, now)

    def admits(self, event: Event) -> bool:
        return self._events.take(1, trio.current_time())

    def pays(self, chunk: bytes) -> bool:
        return self._bytes.take(len(chunk), trio.current_time())
