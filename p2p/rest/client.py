"""One HTTP client for all endpoints, on trio: bounded answers, deadlines, nothing followed and nothing remembered.

It stands on httpcore2, the connection pool inside httpx2, rather than on httpx2's client: a server's redirects,
cookies, authentication challenges and compressed bodies are so never acted upon, and a body that is left unread closes
in order (httpx2's wrapper leaves that to the garbage collector). httpcore2 is imported by the first request.

What a server can make grow: a body up to the limit that its caller gives for its type (``ERROR_BODY`` for a refusal),
headers up to httpcore2's 100 KiB.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from p2p.faults import FaultReason, RemoteFault
from p2p.rest.endpoint import Endpoint

if TYPE_CHECKING:
    import httpcore2

CONNECT_TIMEOUT = 5.0
"""Seconds for TCP and TLS together with the name's lookup."""
IDLE_TIMEOUT = 5.0
"""Seconds of silence inside one answer."""
DEADLINE = 7.0
"""Seconds for a whole answer: below ``sync.driver.FETCH_DEADLINE``, so that what went wrong is said in more words."""
ERROR_BODY = 4_096
"""Bytes read of a refusal: a beacon node says in one line of JSON why; a proxy's error page may go on."""
MAX_CONNECTIONS = 128
"""At once, to all endpoints: an event stream, a poll and two fetches for each of ``endpoint.MAX_ENDPOINTS``."""
KEEPALIVE = 30.0
"""Seconds that an idle connection is kept: longer than a poll's interval of one slot."""
USER_AGENT = "spvnode"
OK = 200


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds; see the constants."""

    connect: float = CONNECT_TIMEOUT
    idle: float = IDLE_TIMEOUT
    deadline: float = DEADLINE


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, whatever its status. ``media`` is the content type without parameters, in lower case."""

    status: int
    media: str
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case."""
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Head:
    """An answer of which the body is still to come, in ``chunks`` (which raises ``blame.FAILURES``)."""

    status: int
    media: str
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class RestClient:
    """Made once and shared. ``cafile``: PEM certificates to trust instead of the system's. ``aclose`` at the end."""

    def __init__(self, *, cafile: str | None = None, timing: Timing | None = None) -> None:
        self._cafile = cafile
        self._timing = timing or Timing()
        self._pools: dict[bool, httpcore2.AsyncConnectionPool] = {}
        self._opening = trio.Lock()

    async def get(
        self, endpoint: Endpoint, route: str, *, accept: str, limits: Mapping[str, int]
    ) -> Answer | RemoteFault:
        """GET ``route`` (path and query). ``limits``: per acceptable media type of a 200, the most bytes of body.

        Errors of ours (no certificates to be read, say) are raised: OSError, ssl.SSLError.
        """
        from p2p.rest.blame import FAILURES, blame  # noqa: PLC0415 - imports httpcore2

        got = bytearray()
        with trio.move_on_after(self._timing.deadline):
            try:
                async with self.open(endpoint, route, accept=accept) as head:
                    return await _whole(endpoint.name, head, limits, got)
            except FAILURES as error:
                return blame(endpoint.name, error)
        if got:
            return RemoteFault(FaultReason.DRIP, endpoint.name, f"{len(got)} bytes in {self._timing.deadline:g} s")
        return RemoteFault(FaultReason.TIMEOUT, endpoint.name, f"no answer in {self._timing.deadline:g} s")

    @asynccontextmanager
    async def open(
        self, endpoint: Endpoint, route: str, *, accept: str, idle: float | None = None
    ) -> AsyncIterator[Head]:
        """The answer's head, its body to be read inside the block. Raises ``blame.FAILURES``; has no deadline."""
        import httpcore2  # noqa: PLC0415 - see above

        pool = await self._pool(endpoint.secure)
        timing = self._timing
        limits = {"connect": timing.connect, "read": idle or timing.idle, "write": timing.idle, "pool": timing.connect}
        headers: dict[bytes | str, bytes | str] = {
            "Host": endpoint.base.split("/", 3)[2],
            "Accept": accept,
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
        }
        if endpoint.authorization:
            headers["Authorization"] = endpoint.authorization
        request = httpcore2.Request("GET", endpoint.base + route, headers=headers, extensions={"timeout": limits})
        response = await pool.handle_async_request(request)
        try:
            found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            media = found.get("content-type", "").partition(";")[0].strip().lower()
            async with aclosing(_chunks(response)) as chunks:
                yield Head(response.status, media, found, chunks)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + timing.connect):
                await response.aclose()

    async def aclose(self) -> None:
        """Closes every connection."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.aclose()

    async def _pool(self, secure: bool) -> httpcore2.AsyncConnectionPool:
        async with self._opening:
            if secure not in self._pools:
                import httpcore2  # noqa: PLC0415 - see above

                context = await trio.to_thread.run_sync(self._context) if secure else _no_tls()
                self._pools[secure] = httpcore2.AsyncConnectionPool(
                    ssl_context=context,
                    max_connections=MAX_CONNECTIONS,
                    max_keepalive_connections=MAX_CONNECTIONS // 2,
                    keepalive_expiry=KEEPALIVE,
                )
            return self._pools[secure]

    def _context(self) -> ssl.SSLContext:
        if self._cafile is not None:
            return ssl.create_default_context(cafile=self._cafile)
        import httpcore2  # noqa: PLC0415 - see above

        return httpcore2.default_ssl_context()


def _chunks(response: httpcore2.Response) -> AsyncGenerator[bytes, None]:
    stream = response.stream
    body = aiter(stream) if isinstance(stream, AsyncIterable) else None
    if not isinstance(body, AsyncGenerator):
        raise TypeError(f"a body of {type(stream).__name__}")
    return body


def _no_tls() -> ssl.SSLContext:
    """For plain HTTP: trusts no certificate at all, should it ever be used."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def _whole(peer: str, head: Head, limits: Mapping[str, int], got: bytearray) -> Answer | RemoteFault:
    limit = ERROR_BODY
    if head.status == OK:
        if head.headers.get("content-encoding", "identity").lower() != "identity":
            return RemoteFault(FaultReason.PROTOCOL, peer, "a compressed answer, unasked")
        if head.media not in limits:
            return RemoteFault(FaultReason.PROTOCOL, peer, f"content type {head.media or 'missing'!r}")
        limit = limits[head.media]
        said = head.headers.get("content-length", "")[:20]
        if said.isascii() and said.isdecimal() and int(said) > limit:
            return RemoteFault(FaultReason.OVERSIZED, peer, f"{said} bytes announced, at most {limit}")
    async for part in head.chunks:
        got += part
        if len(got) > limit:
            if head.status != OK:
                break  # enough to see why it refused
            return RemoteFault(FaultReason.OVERSIZED, peer, f"more than {limit} bytes")
    return Answer(head.status, head.media, head.headers, bytes(got[:limit]))


def retry_after(answer: Answer, most: float) -> float:
    """Seconds that a refusal asks to wait (RFC 9110, 10.2.3), 0 when it does not say; a date counts as ``most``."""
    text = answer.headers.get("retry-after", "").strip()
    if not text:
        return 0.0
    return min(most, float(text[:12])) if text.isdecimal() and text.isascii() else most
