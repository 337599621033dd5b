"""``GET /ws``: the events of ``/events`` as WebSocket messages (RFC 6455), each a JSON object with ``id`` (the cursor),
``event`` and ``data``. Nothing is expected of the client but pongs and its farewell.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing

import h11
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Message, Ping, Request
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from spvnode.rpc.caller import Caller
from spvnode.rpc.errors import RpcError
from spvnode.rpc.events.feed import Item, Turn, feed
from spvnode.rpc.events.hub import Hub
from spvnode.rpc.events.sse import Wish
from spvnode.rpc.limits import LINGER_SECONDS, REQUEST_SECONDS

MAX_SENT = 4_096
"""Bytes that a client may send between two of our messages: pings of 125 bytes, and a farewell. Who sends more is cut
off."""
RECEIVE_BYTES = 4_096
"""Read at once."""
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Socket:
    """One client's connection, from its upgrade to its end."""

    def __init__(self, hub: Hub, caller: Caller, wish: Wish, turn: Turn) -> None:
        self._hub = hub
        self._caller = caller
        self._wish = wish
        self._turn = turn
        self._ws = WSConnection(ConnectionType.SERVER)
        self._sending = trio.Lock()
        self._received = 0

    async def __call__(self, stream: trio.abc.Stream, request: h11.Request, rest: bytes) -> None:
        """Takes over ``stream`` after ``request``; ``rest`` is what was read behind it. Raises what the stream raises
        when the client is gone."""
        try:
            headers = [(bytes(name), bytes(value)) for name, value in request.headers]
            self._ws.initiate_upgrade_connection(headers, request.target)
            handshake = next(iter(self._ws.events()))
        except RemoteProtocolError as error:
            answer = self._ws.send(error.event_hint) if error.event_hint is not None else b""
            return await self._say(stream, answer)
        except UnicodeDecodeError:  # wsproto reads header values as ASCII
            return await self._say(stream, _BAD_REQUEST)
        if not isinstance(handshake, Request):
            return None
        try:
            with self._hub.subscription(self._caller):
                await self._say(stream, self._ws.send(AcceptConnection()))
                await self._serve(stream, rest)
        except RpcError:  # another was quicker: nothing has been said yet
            return None
        return None

    async def _serve(self, stream: trio.abc.Stream, rest: bytes) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, stream, rest, nursery.cancel_scope)
                await self._tell(stream)
        except* (RemoteProtocolError, LocalProtocolError):
            pass  # its frames are none, or it said farewell meanwhile
        except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass  # it left, or does not read

    async def _tell(self, stream: trio.abc.Stream) -> None:
        async with aclosing(feed(self._hub, self._wish.choice, self._wish.cursor, self._turn)) as items:
            async for some in items:
                self._received = 0
                await self._send(stream, b"".join(self._encode(item) for item in some))

    def _encode(self, item: Item) -> bytes:
        cursor = item.cursor.encode()
        if not item.kind:  # also shows whether the client is still there
            return self._ws.send(Message(data=f'{{"id":"{item.cursor}"}}')) + self._ws.send(Ping())
        text = b'{"id":"' + cursor + b'","event":"' + item.kind.encode() + b'","data":' + item.data + b"}"
        return self._ws.send(Message(data=text.decode()))

    async def _listen(self, stream: trio.abc.Stream, rest: bytes, scope: trio.CancelScope) -> None:
        """Answers pings; ends with the client's farewell, or with the first thing that it should not have said."""
        data: bytes | bytearray = rest
        while True:
            if data:
                self._received += len(data)
                self._ws.receive_data(bytes(data))
                answer, over = self._replies(self._ws.events())
                if answer:
                    await self._send(stream, answer)
                if over:
                    break
            data = await stream.receive_some(RECEIVE_BYTES)
            await self._turn()
            if not data:
                break
        scope.cancel()

    def _replies(self, events: Iterator[object]) -> tuple[bytes, bool]:
        """What to say to the client's frames, one after the other, and whether that is the end."""
        answer = b""
        for event in events:
            if isinstance(event, Ping):
                answer += self._ws.send(event.response())
            elif isinstance(event, CloseConnection):
                return answer + self._ws.send(event.response()), True
            elif isinstance(event, Message):
                return answer + self._farewell(CloseReason.UNSUPPORTED_DATA, "nothing is expected"), True
        if self._received > MAX_SENT:
            return answer + self._farewell(CloseReason.POLICY_VIOLATION, "too much"), True
        return answer, False

    def _farewell(self, code: CloseReason, why: str) -> bytes:
        return self._ws.send(CloseConnection(code=code, reason=why))

    async def _send(self, stream: trio.abc.Stream, data: bytes) -> None:
        async with self._sending:
            with trio.fail_after(REQUEST_SECONDS):
                await stream.send_all(data)

    async def _say(self, stream: trio.abc.Stream, data: bytes) -> None:
        with trio.move_on_after(LINGER_SECONDS):
            await stream.send_all(data)
