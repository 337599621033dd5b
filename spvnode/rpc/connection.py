"""One HTTP/1.1 connection: h11 between a trio stream and the ASGI application.

Each wait has its own bound: for a request to begin, for its head, and for everything after it. Every failure ends
this connection and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

import h11
import trio

from spvnode.logs import get_logger
from spvnode.rpc.access import Peer
from spvnode.rpc.limits import (
    HEADER_SECONDS,
    IDLE_SECONDS,
    LINGER_SECONDS,
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    REQUEST_SECONDS,
)
from spvnode.rpc.pipeline.step import Message, Receive, Send
from spvnode.rpc.response import UPGRADE, Upgrade

COPIED_BYTES = 64 << 10
"""Of a body, to go out in one write with its head."""
RECEIVE_BYTES = 64 << 10
"""Read at once from the socket."""
MAX_LEFT_PARTS = 8
"""Of a body that nobody wanted, looked at to let another request follow: one or two of an honest client. A part may be
one byte long, and 64 KB of such take 0.1 s; who left more is parted from. Any client can send them."""
ONCE = frozenset({b"authorization", b"host", b"origin"})
"""Headers of which there may be one: a server in front may look at another of them than we do."""
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]
Turn = Callable[[], Awaitable[None]]

log = get_logger("rpc")


class Connection:
    """Serves the requests of one client until either side has enough. ``turn`` is awaited before any work, ``rest`` in
    the middle of it."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        app: Asgi,
        peer: Peer,
        turn: Turn = trio.lowlevel.checkpoint_if_cancelled,
        rest: Turn = trio.lowlevel.checkpoint,
    ) -> None:
        self._turn = turn
        self._rest = rest
        self._stream = stream
        self._app = app
        self._peer = peer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._start: Message | None = None
        self._bodiless = False
        self._fresh = False
        """Whether no part of a body has been taken since bytes were last read."""
        self._upgrade: Upgrade | None = None

    async def run(self) -> None:
        """Returns when the connection is over. Raises only what the stream raises when the client is gone."""
        first = True
        while (request := await self._next_request(first)) is not None:
            first = False
            with trio.move_on_after(REQUEST_SECONDS) as patience:
                await self._serve(request, partial(_more_time, patience))
            if patience.cancelled_caught:  # perhaps in the middle of a reply: nothing may follow it
                return await self._refuse(503, f"the request took longer than {REQUEST_SECONDS:.0f} s")
            if self._upgrade is not None:
                return await self._hand_over(request, self._upgrade)
            if not self._recycle():
                return await self._linger()
        return None

    # -- reading

    async def _next_request(self, first: bool) -> h11.Request | None:
        """The next request's head; None when there is none: silence, a closed connection, or a bad head (answered)."""
        try:
            with trio.move_on_after(HEADER_SECONDS if first else IDLE_SECONDS) as patience:
                while (event := self._http.next_event()) is h11.NEED_DATA:
                    await self._receive()
                    # A head has its own time from its first byte on, also after a long silence.
                    patience.deadline = min(patience.deadline, trio.current_time() + HEADER_SECONDS)
                return event if isinstance(event, h11.Request) else None
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint, str(error))
            await self._linger()
        return None

    async def _receive(self) -> None:
        data = await self._stream.receive_some(RECEIVE_BYTES)
        await self._turn()
        self._http.receive_data(data)
        self._fresh = True

    async def _next_part(self) -> Message:
        """ASGI ``receive``."""
        if self._http.their_state is not h11.SEND_BODY:
            return await self._until_gone()
        if self._http.they_are_waiting_for_100_continue:
            await self._send_event(h11.InformationalResponse(status_code=100, headers=[]))
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                await self._receive()
            elif isinstance(event, h11.Data):
                if not self._fresh:  # what was read at once may be ten thousand parts
                    await self._turn()
                self._fresh = False
                return {"type": "http.request", "body": bytes(event.data), "more_body": True}
            elif isinstance(event, h11.EndOfMessage):
                return {"type": "http.request", "body": b"", "more_body": False}
            else:
                return {"type": "http.disconnect"}

    async def _until_gone(self) -> Message:
        """The body is over: what is still to come is the client's leaving, or its next request, after which its leaving
        is not looked for any more (REQUEST_SECONDS ends the wait)."""
        if data := await self._stream.receive_some(RECEIVE_BYTES):
            self._http.receive_data(data)
            await trio.sleep_forever()
        return {"type": "http.disconnect"}

    # -- answering

    async def _serve(self, request: h11.Request, more_time: Callable[[], None]) -> None:
        self._start = None
        self._bodiless = request.method == b"HEAD"
        try:
            if problem := _problem(request):
                return await self._refuse(*problem)
            with contextlib.ExitStack() as after:
                scope = _scope(request, self._peer, more_time, self._rest, after)
                await self._app(scope, self._next_part, self._answer)
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint, str(error))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise
        except Exception:  # the firewall of each request: whatever the application raised ends here
            log.exception("rpc request failed")
            await self._refuse(500, "internal error; see the log")

    async def _answer(self, message: Message) -> None:
        """ASGI ``send``. The head waits for the first part of the body, so that a reply is one write."""
        if message["type"] == UPGRADE:
            self._upgrade = message["upgrade"]
            return
        if message["type"] == "http.response.start":
            self._start = message
            return
        data = b""
        if self._start is not None:
            start, self._start = self._start, None
            data = self._encode(_response(start["status"], start["headers"]))
        body = self._encode(h11.Data(data=message["body"])) if message.get("body") else b""
        end = b"" if message.get("more_body", False) else self._encode(h11.EndOfMessage())
        # One write, where that is no second copy of much.
        for part in (data + body + end,) if len(body) <= COPIED_BYTES else (data, body, end):
            await self._stream.send_all(part)

    async def _refuse(self, status: int, why: str) -> None:
        """Answers with an error and ``Connection: close``, if no other answer has begun."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = f"{why}\n".encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        data = self._encode(_response(status, headers))
        if not self._bodiless:
            data += self._encode(h11.Data(data=body))
        data += self._encode(h11.EndOfMessage())
        with trio.move_on_after(LINGER_SECONDS):
            await self._stream.send_all(data)

    def _encode(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""

    async def _send_event(self, event: h11.Event) -> None:
        await self._stream.send_all(self._encode(event))

    # -- between requests

    async def _hand_over(self, request: h11.Request, upgrade: Upgrade) -> None:
        """To what speaks another protocol, with what was read behind the request."""
        event: object = None
        try:
            while event not in (h11.NEED_DATA, h11.PAUSED) and not isinstance(event, h11.ConnectionClosed):
                event = self._http.next_event()
        except h11.RemoteProtocolError as error:  # a body, and none that can be read
            await self._refuse(error.error_status_hint, str(error))
            await self._linger()
            return
        await upgrade(self._stream, request, bytes(self._http.trailing_data[0]))

    def _recycle(self) -> bool:
        """True when another request may follow."""
        with contextlib.suppress(h11.RemoteProtocolError):
            # What the application had no use for: at least the event that says there is no body.
            for _ in range(MAX_LEFT_PARTS):
                if self._http.their_state is not h11.SEND_BODY or self._http.next_event() is h11.NEED_DATA:
                    break
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False

    async def _linger(self) -> None:
        if self._http.their_state in (h11.SEND_BODY, h11.ERROR):
            await linger(self._stream)


async def linger(stream: trio.abc.Stream) -> None:
    """Lets a client that is still sending read our last answer: closing on unread bytes would reset the connection."""
    left = MAX_BODY_BYTES
    with contextlib.suppress(OSError, trio.BrokenResourceError), trio.move_on_after(LINGER_SECONDS):
        if isinstance(stream, trio.abc.HalfCloseableStream):  # TLS has no such thing
            await stream.send_eof()
        while left > 0 and (data := await stream.receive_some(RECEIVE_BYTES)):
            left -= len(data)


def _response(status: int, headers: list[tuple[bytes, bytes]]) -> h11.Response:
    return h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode())


def _problem(request: h11.Request) -> tuple[int, str] | None:
    """Status and reason for a head that h11 takes and we do not."""
    if not request.target.startswith(b"/"):
        return 400, "the request target must be a path"
    names = [name for name, _ in request.headers]
    if len(names) > MAX_HEADERS:
        return 431, f"more than {MAX_HEADERS} header lines"
    # RFC 9112, 6.3: whoever says both may mean to smuggle a request past a server in front, which goes by the other.
    if b"transfer-encoding" in names and b"content-length" in names:
        return 400, "Content-Length and Transfer-Encoding exclude each other"
    if repeated := next((name for name in ONCE if names.count(name) > 1), None):
        return 400, f"more than one {repeated.decode()} header"
    return None


def _more_time(patience: trio.CancelScope) -> None:
    """For a stream without end: as much time for what comes next as a request has."""
    patience.deadline = trio.current_time() + REQUEST_SECONDS


def _scope(
    request: h11.Request, peer: Peer, more_time: Callable[[], None], turn: Turn, after: contextlib.ExitStack
) -> dict[str, Any]:
    path, _, query = request.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.http_version.decode("ascii"),
        "method": request.method.decode("ascii"),  # case counts (RFC 9110, 9.1)
        "scheme": "http",
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": list(request.headers),
        "client": None,
        "server": None,
        "state": {"peer": peer, "more_time": more_time, "turn": turn, "after": after},
    }
