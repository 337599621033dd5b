"""A WebSocket client on a trio stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, Request, TextMessage


class WsClient:
    """``receive`` gives messages as JSON; ``closed`` is the code that the server ended with."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._events: list[Event] = []
        self.closed: int | None = None

    async def open(self, path: str) -> None:
        await self.send(Request(host="localhost", target=path))
        assert isinstance(await self._next(), AcceptConnection)

    async def send(self, event: Event) -> None:
        await self._stream.send_all(self._ws.send(event))

    async def raw(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def receive(self) -> dict[str, Any] | None:
        """None when the connection is over."""
        text = ""
        while (event := await self._next()) is not None:
            if isinstance(event, Ping):
                await self.send(event.response())
            elif isinstance(event, CloseConnection):
                self.closed = event.code
                return None
            elif isinstance(event, TextMessage):
                text += event.data
                if event.message_finished:
                    found: dict[str, Any] = json.loads(text)
                    return found
        return None

    async def _next(self) -> Event | None:
        while not self._events:
            try:
                data = await self._stream.receive_some()
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self._ws.receive_data(data)
            self._events.extend(self._ws.events())
        return self._events.pop(0)


@asynccontextmanager
async def websocket(port: int, path: str) -> AsyncIterator[WsClient]:
    """A connection that is open."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        client = WsClient(stream)
        await client.open(path)
        yield client
