"""The client that blocks, on the standard library alone."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

from spvnode.client.errors import Passing, Refused, Unreachable
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
from spvnode.client.methods import Methods
from spvnode.client.place import Place
from spvnode.client.retries import Course, Retries
from spvnode.client.stream import SILENCE, Event, Parser
from spvnode.client.upload import UPLOAD_KIND, UPLOAD_PATH, ProofVerdict, Row, verdicts_of

if TYPE_CHECKING:
    import http.client

UNAUTHORIZED = 401
PART = 65_536
"""Bytes read of a stream at once."""


def _sockets() -> ModuleType:
    """With ``http.client``, half of what importing this package would cost: it comes with the first call."""
    from spvnode.client import sockets  # noqa: PLC0415 - see above

    return sockets


def _open(place: Place, timeout: float | None) -> http.client.HTTPConnection:
    connection: http.client.HTTPConnection = _sockets().open_connection(place, timeout)
    return connection


class Client(Methods):
    """One daemon. Its methods are the RPC's, by their names there (``rpc.discover`` as ``rpc_discover``).

    Every one may raise RpcFailed (the daemon's error), Refused, Unreachable or Busy; the last two only after
    ``retries``, Busy also at once where the daemon asks for more seconds than ``timeout`` has left (``error.wait``). A
    call that may have been carried out already is repeated only if that changes nothing. One connection is kept, and
    used by one call at a time: threads that shall not wait for each other take one each.
    """

    def __init__(self, place: Place, *, timeout: float = TIMEOUT, retries: Retries | None = None) -> None:
        self._place = place
        self._timeout = timeout
        self._retries = retries or Retries()
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; the next call opens another."""
        with self._lock:
            self._drop()

    def call(self, method: str, params: Params | None = None) -> Any:
        """The result of any method, its parameters by name or by position."""
        body = Request(encode(encode_call(method, params)))
        wait = patience(method, self._timeout)
        course = Course(self._retries, repeatable=repeatable(method), patience=wait)
        while True:
            try:
                return result_of(self._ask(body, wait, keep=repeatable(method)))
            except Passing as error:
                time.sleep(course.after(error))

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """A result for each call, or the RpcFailed or Busy that stands in its place."""
        if not calls:
            return []
        body = Request(encode([encode_call(method, params, at) for at, (method, params) in enumerate(calls, 1)]))
        every = all(repeatable(method) for method, _ in calls)
        course = Course(self._retries, repeatable=every, patience=self._timeout)
        while True:
            try:
                return results_of(self._ask(body, self._timeout, keep=every), len(calls))
            except Passing as error:
                time.sleep(course.after(error))

    def events(
        self,
        cursor: str | None = None,
        *,
        networks: Iterable[str] = (),
        kinds: Iterable[str] = (),
        filter: str = "",
        patience: float | None = None,
    ) -> Events:
        """What happens from now on, or after ``cursor``; over the daemon's restarts nothing is missed and nothing comes
        twice. ``filter``: name of a plugin of the daemon's. ``patience``: the seconds without a daemon after which
        Unreachable is raised; None for never."""
        course = Course(self._retries, endless=True, patience=patience)
        return Events(self._place, events_path(networks, kinds, filter), cursor, course)

    def verify_proofs(self, bundles: Iterable[bytes]) -> Iterator[ProofVerdict]:
        """The daemon's verdict on each of any number of bundles, their canonical bytes, in their order and as they
        come. Credentials of the scope ``proofs``. Refused(413) for one that is longer than the daemon takes here."""
        row = Row()
        for bundle in bundles:
            if row.is_full(bundle):
                yield from self._upload(*row.take())
            row.add(bundle)
        if row.count:
            yield from self._upload(*row.take())

    def _upload(self, body: bytes, count: int) -> list[ProofVerdict]:
        course = Course(self._retries, patience=self._timeout)
        while True:
            try:
                return verdicts_of(self._ask(Request(body, UPLOAD_PATH, UPLOAD_KIND), self._timeout, keep=True), count)
            except Passing as error:
                time.sleep(course.after(error))

    def _ask(self, request: Request, timeout: float, *, keep: bool) -> Reply:
        with self._lock:
            if not keep:
                self._drop()  # a connection that the daemon has just closed would leave open what became of the call
            kept = self._connection is not None
            headers = self._place.headers()
            try:
                reply = self._exchange(request, headers, timeout)
            except Unreachable as error:
                if not kept or isinstance(error.__cause__, TimeoutError):
                    raise
                reply = self._exchange(request, headers, timeout)  # the kept one had been closed; now on a new one
            if reply.status == UNAUTHORIZED and self._place.headers() != headers:
                raise Unreachable("the daemon was started anew", untouched=True)
            return reply

    def _exchange(self, request: Request, headers: dict[str, str], timeout: float) -> Reply:
        if self._connection is None:
            self._connection = _open(self._place, self._timeout)
        connection = self._connection
        try:
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            connection.request("POST", request.path, request.body, {"Content-Type": request.kind, **headers})
            response = connection.getresponse()
            reply = Reply(response.status, response.read(MAX_REPLY + 1), retry_after(response.getheader("Retry-After")))
        except _sockets().BROKEN as error:
            self._drop()
            raise Unreachable(f"{self._place} went away: {error or type(error).__name__}", untouched=False) from error
        if response.will_close or len(reply.body) > MAX_REPLY:
            self._drop()
        return reply

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Events(Iterator[Event]):
    """An endless iterator; ``cursor`` is where it is."""

    def __init__(self, place: Place, path: str, cursor: str | None, course: Course) -> None:
        self._place = place
        self._path = path
        self._course = course
        self._parser = Parser(cursor)
        self._waiting: deque[Event] = deque()
        self._taken = cursor
        self._connection: http.client.HTTPConnection | None = None
        self._response: http.client.HTTPResponse | None = None

    @property
    def cursor(self) -> str | None:
        """After the event that was last given out; where none waits, as far as the daemon has looked."""
        return self._taken if self._waiting else self._parser.cursor

    def __next__(self) -> Event:
        while not self._waiting:
            try:
                self._waiting.extend(self._parser.feed(self._read()))
                self._course.succeeded()
            except Passing as error:
                self.close()
                time.sleep(self._course.after(error))
        event = self._waiting.popleft()
        self._taken = event.cursor
        return event

    def close(self) -> None:
        """Ends the connection; the next event would open another."""
        self._parser.cut_off()
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
        self._connection = self._response = None

    def _read(self) -> bytes:
        if self._response is None:
            self._response = self._open()
        try:
            data = self._response.read1(PART)
        except (*_sockets().BROKEN, ValueError) as error:
            raise Unreachable(f"the stream ended: {error or type(error).__name__}", untouched=True) from error
        if not data:
            raise Unreachable("the stream ended", untouched=True)
        return data

    def _open(self) -> http.client.HTTPResponse:
        headers = self._place.headers()
        self._connection = _open(self._place, SILENCE)
        if self._parser.cursor is not None:
            headers["Last-Event-ID"] = self._parser.cursor
        try:
            self._connection.request("GET", self._path, headers={"Accept": "text/event-stream", **headers})
            response = self._connection.getresponse()
            if response.status == 200:
                return response
            reply = Reply(response.status, response.read(PART), retry_after(response.getheader("Retry-After")))
        except _sockets().BROKEN as error:
            raise Unreachable(f"{self._place}: {error or type(error).__name__}", untouched=True) from error
        problem = refusal(reply)
        if isinstance(problem, Refused) and problem.status == UNAUTHORIZED and self._place.token is None:
            raise Unreachable(str(problem), untouched=True) if self._began else problem
        raise problem

    @property
    def _began(self) -> bool:
        """Whether the daemon has let us in before: then it is the cookie of a new run that is not there yet."""
        return self._parser.cursor is not None
