"""The client for trio and asyncio: h11 over anyio's streams, a connection a call."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import Any, Self

import anyio
import h11
from anyio.abc import ByteStream

from spvnode.client.async_methods import AsyncMethods
from spvnode.client.blocking import PART, UNAUTHORIZED
from spvnode.client.errors import ClientError, Passing, Refused, Unreachable
from spvnode.client.exchange import (
    MAX_REPLY,
    TIMEOUT,
    Call,
    Params,
    Reply,
    Request,
    encode,
    encode_call,
    events_path,
    patience,
    refusal,
    repeatable,
    result_of,
    results_of,
    retry_after,
)
from spvnode.client.place import Place
from spvnode.client.retries import Course, Retries
from spvnode.client.stream import SILENCE, Event, Parser
from spvnode.client.upload import UPLOAD_KIND, UPLOAD_PATH, ProofVerdict, Row, verdicts_of

Bundles = Iterable[bytes] | AsyncIterable[bytes]
_GONE = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, h11.ProtocolError)


class _Connection:
    """One request and its reply."""

    def __init__(self, place: Place, stream: ByteStream) -> None:
        self._place = place
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)

    @classmethod
    async def open(cls, place: Place) -> Self:
        """Raises Unreachable."""
        try:
            if place.socket is not None:
                return cls(place, await anyio.connect_unix(str(place.socket)))
            if place.tls:
                context = ssl.create_default_context()
                return cls(place, await anyio.connect_tcp(place.host, place.port, ssl_context=context))
            return cls(place, await anyio.connect_tcp(place.host, place.port))
        except (OSError, anyio.BrokenResourceError) as error:
            raise Unreachable(f"no daemon answers at {place} ({error})", untouched=True) from error

    async def request(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Reply:
        """Sends it, and returns the reply's status without a body."""
        every = {"Host": self._place.authority, **headers}
        if body:
            every["Content-Length"] = str(len(body))
        data = self._http.send(h11.Request(method=method, target=path, headers=list(every.items()))) or b""
        data += (self._http.send(h11.Data(data=body)) or b"") if body else b""
        data += self._http.send(h11.EndOfMessage()) or b""
        await self._stream.send(data)
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                found = dict(event.headers)
                return Reply(event.status_code, b"", retry_after(found.get(b"retry-after", b"").decode("latin-1")))

    async def part(self) -> bytes:
        """The next bytes of the body; empty at its end."""
        while True:
            event = await self._event()
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return b""

    async def whole(self, limit: int) -> bytes:
        """All of the body, or a little more than ``limit`` bytes of it."""
        parts = bytearray()
        while (part := await self.part()) and len(parts) <= limit:
            parts += part
        return bytes(parts)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            try:
                self._http.receive_data(await self._stream.receive(PART))
            except anyio.EndOfStream:
                self._http.receive_data(b"")
        return event


class AsyncClient(AsyncMethods):
    """One daemon, as ``Client``: on trio, or on asyncio, with ``async with`` or without. Calls may run beside each
    other; each has its own connection. A call that is cancelled may have been carried out."""

    def __init__(self, place: Place, *, timeout: float = TIMEOUT, retries: Retries | None = None) -> None:
        self._place = place
        self._timeout = timeout
        self._retries = retries or Retries()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing: no connection outlasts its call."""

    async def call(self, method: str, params: Params | None = None) -> Any:
        """The result of any method, its parameters by name or by position."""
        body = Request(encode(encode_call(method, params)))
        wait = patience(method, self._timeout)
        course = Course(self._retries, repeatable=repeatable(method), patience=wait)
        while True:
            try:
                return result_of(await self._ask(body, wait))
            except Passing as error:
                await anyio.sleep(course.after(error))

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """A result for each call, or the RpcFailed or Busy that stands in its place."""
        if not calls:
            return []
        body = Request(encode([encode_call(method, params, at) for at, (method, params) in enumerate(calls, 1)]))
        every = all(repeatable(method) for method, _ in calls)
        course = Course(self._retries, repeatable=every, patience=self._timeout)
        while True:
            try:
                return results_of(await self._ask(body, self._timeout), len(calls))
            except Passing as error:
                await anyio.sleep(course.after(error))

    def events(
        self,
        cursor: str | None = None,
        *,
        networks: Iterable[str] = (),
        kinds: Iterable[str] = (),
        filter: str = "",
        patience: float | None = None,
    ) -> AsyncEvents:
        """As ``Client.events``, for ``async for``; with ``async with`` around it the connection ends with the block."""
        course = Course(self._retries, endless=True, patience=patience)
        return AsyncEvents(self._place, events_path(networks, kinds, filter), cursor, course)

    async def verify_proofs(self, bundles: Bundles) -> AsyncGenerator[ProofVerdict, None]:
        """As ``Client.verify_proofs``, for ``async for``; the bundles may come from an async iterable."""
        row = Row()
        async for bundle in _each(bundles):
            if row.is_full(bundle):
                for verdict in await self._upload(*row.take()):
                    yield verdict
            row.add(bundle)
        if row.count:
            for verdict in await self._upload(*row.take()):
                yield verdict

    async def _upload(self, body: bytes, count: int) -> list[ProofVerdict]:
        course = Course(self._retries, patience=self._timeout)
        while True:
            try:
                return verdicts_of(await self._ask(Request(body, UPLOAD_PATH, UPLOAD_KIND), self._timeout), count)
            except Passing as error:
                await anyio.sleep(course.after(error))

    async def _ask(self, sent: Request, seconds: float) -> Reply:
        headers = self._place.headers()
        connection = await self._open()
        try:
            with anyio.fail_after(seconds):
                wanted = {"Content-Type": sent.kind, "Connection": "close", **headers}
                reply = await connection.request("POST", sent.path, wanted, sent.body)
                reply = Reply(reply.status, await connection.whole(MAX_REPLY), reply.retry_after)
        except _GONE as error:  # fail_after's TimeoutError is an OSError
            what = str(error) or type(error).__name__
            raise Unreachable(f"{self._place} went away: {what}", untouched=False) from error
        finally:
            with anyio.CancelScope(shield=True):
                await connection.aclose()
        if reply.status == UNAUTHORIZED and self._place.headers() != headers:
            raise Unreachable("the daemon was started anew", untouched=True)
        return reply

    async def _open(self) -> _Connection:
        try:
            with anyio.fail_after(self._timeout):
                return await _Connection.open(self._place)
        except TimeoutError as error:
            raise Unreachable(f"no daemon answers at {self._place} (timed out)", untouched=True) from error


async def _each(bundles: Bundles) -> AsyncGenerator[bytes, None]:
    if isinstance(bundles, AsyncIterable):
        async for bundle in bundles:
            yield bundle
    else:
        for bundle in bundles:
            yield bundle


class AsyncEvents(AsyncIterator[Event]):
    """An endless iterator; ``cursor`` is where it is."""

    def __init__(self, place: Place, path: str, cursor: str | None, course: Course) -> None:
        self._place = place
        self._path = path
        self._course = course
        self._parser = Parser(cursor)
        self._waiting: deque[Event] = deque()
        self._taken = cursor
        self._connection: _Connection | None = None

    @property
    def cursor(self) -> str | None:
        """After the event that was last given out; where none waits, as far as the daemon has looked."""
        return self._taken if self._waiting else self._parser.cursor

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def __anext__(self) -> Event:
        while not self._waiting:
            try:
                self._waiting.extend(self._parser.feed(await self._read()))
                self._course.succeeded()
            except Passing as error:
                await self.aclose()
                await anyio.sleep(self._course.after(error))
        event = self._waiting.popleft()
        self._taken = event.cursor
        return event

    async def aclose(self) -> None:
        """Ends the connection; the next event would open another."""
        self._parser.cut_off()
        connection, self._connection = self._connection, None
        if connection is not None:
            with anyio.CancelScope(shield=True):
                await connection.aclose()

    async def _read(self) -> bytes:
        try:
            with anyio.fail_after(SILENCE):
                if self._connection is None:
                    await self._open()
                data = b"" if self._connection is None else await self._connection.part()
        except _GONE as error:
            raise Unreachable(f"the stream ended: {error or type(error).__name__}", untouched=True) from error
        if not data:
            raise Unreachable("the stream ended", untouched=True)
        return data

    async def _open(self) -> None:
        headers = {"Accept": "text/event-stream", **self._place.headers()}
        if self._parser.cursor is not None:
            headers["Last-Event-ID"] = self._parser.cursor
        self._connection = await _Connection.open(self._place)
        reply = await self._connection.request("GET", self._path, headers)
        if reply.status != 200:
            problem = refusal(Reply(reply.status, await self._connection.whole(PART), reply.retry_after))
            await self.aclose()
            raise self._passing(problem)

    def _passing(self, problem: ClientError) -> ClientError:
        """A cookie that no longer counts, after one that did: the daemon has not written the new one yet."""
        cookie = self._place.token is None and self._parser.cursor is not None
        if cookie and isinstance(problem, Refused) and problem.status == UNAUTHORIZED:
            return Unreachable(str(problem), untouched=True)
        return problem
