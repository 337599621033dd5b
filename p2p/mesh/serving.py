"""The answering side of the mesh protocols: what we tell the peers that opened a stream to us.

The next request is read only after the last reply has been taken, so what a peer asks for beyond its share
waits in its own send window. Bounds per stream: one request, one reply; per peer: ``MAX_STREAMS_PER_PEER``
streams of each protocol, and the rates below, which delay and never refuse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import structlog
import trio

from p2p.bucket import TokenBucket
from p2p.faults import FaultReason, RemoteFault
from p2p.mesh.codec import (
    NO_REQUEST,
    Announce,
    Error,
    ErrorCode,
    GetByLocator,
    GetProof,
    GetRange,
    Headers,
    Hello,
    Message,
    Proof,
)
from p2p.mesh.wire import Ended, Frame, Received, Wire

REQUEST_RATE: Final = 500.0
REQUEST_BURST: Final = 1_000.0
"""Requests a second, and in a row, of one peer over all its streams. A sync at 1,000,000 headers/s in full
replies makes 124 a second."""

REPLY_RATE: Final = 192.0e6
REPLY_BURST: Final = 64.0e6
"""Reply bytes a second, and in a row, to one peer: 2.4 times what 1,000,000 headers/s take."""

PROOF_RATE: Final = 50.0
PROOF_BURST: Final = 100.0
"""Proofs a second, and in a row, to one peer; each hashes some 60 tree nodes and may read a header from
disk."""

MAX_STREAMS_PER_PEER: Final = 2
"""Inbound streams of one protocol and network that a peer may hold: one, and one while it replaces a broken
one."""

ANNOUNCE_INTERVAL_S: Final = 1.0
"""Least seconds between unasked announcements on one stream; those in between are folded into the latest.
Half the rate at which the other side calls it a flood."""

PROOF_IDLE_S: Final = 30.0
"""Seconds that a proof stream may stay open without a request."""

log = structlog.get_logger(__name__)


class Provider(Protocol):
    """What we serve of one network, from committed state only. Called on the trio thread; must not
    block for long."""

    def hello(self) -> Hello: ...

    def headers_after(self, locator: tuple[bytes, ...], count: int) -> tuple[int, bytes] | None:
        """(height of the first, up to ``count`` headers) after the first hash of ``locator`` that
        is on the main chain, whole up to the tip; None when none is."""

    def headers_range(self, start: int, count: int) -> bytes:
        """Up to ``count`` headers from ``start``, whole up to the tip; empty when ``start`` is
        outside base..tip."""

    def proof(self, height: int, cp_height: int) -> bytes | None:
        """The proof bundle, or None when a height is outside what we have."""


class Allowance:
    """What one peer may cost us, over all its streams."""

    __slots__ = ("_bytes", "_proofs", "_requests")

    def __init__(self, now: float) -> None:
        self._requests = TokenBucket(REQUEST_RATE, REQUEST_BURST, now)
        self._bytes = TokenBucket(REPLY_RATE, REPLY_BURST, now)
        self._proofs = TokenBucket(PROOF_RATE, PROOF_BURST, now)

    async def spend(self, reply: Message) -> None:
        """Account for one request and its reply, and wait while the peer is in debt."""
        now = trio.current_time()
        delay = self._requests.charge(1, now)
        if isinstance(reply, Headers):
            delay = max(delay, self._bytes.charge(len(reply.headers), now))
        elif isinstance(reply, Proof):
            delay = max(delay, self._proofs.charge(1, now))
        await trio.sleep(delay)


class HeadersServer:
    """One inbound stream of the headers protocol."""

    def __init__(self, wire: Wire, provider: Provider, allowance: Allowance) -> None:
        self._wire = wire
        self._provider = provider
        self._allowance = allowance
        self._news = trio.Event()
        self._told: Hello | None = None
        self.headers_served = 0

    def notify(self) -> None:
        """The tip has changed; what exactly is read when it is told."""
        self._news.set()

    async def run(self) -> RemoteFault | None:
        """Serve until the peer leaves (None) or is at fault. The stream is gone afterwards."""
        fault: RemoteFault | None = None
        clean = False
        try:
            fault = await self._greet() or await self._serve()
            clean = fault is None
        finally:
            with trio.CancelScope(shield=True):  # bounded: neither waits for the remote long
                await (self._wire.close() if clean else self._wire.reset())
        return fault

    async def _greet(self) -> RemoteFault | None:
        ours = self._provider.hello()
        theirs = await self._wire.expect_hello(ours.genesis)
        if isinstance(theirs, RemoteFault):
            if theirs.reason is FaultReason.WRONG_NETWORK:
                await self._wire.send(NO_REQUEST, ours)  # so that it can tell for itself
            return theirs
        async with self._wire.write_lock:
            self._told = self._provider.hello()
            return await self._wire.send_locked(NO_REQUEST, self._told)

    async def _serve(self) -> RemoteFault | None:
        fault: RemoteFault | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._announce_changes)
            while fault is None:
                received = await self._wire.receive()
                if isinstance(received, Ended):
                    break
                fault = received if isinstance(received, RemoteFault) else await self._answer(received)
            nursery.cancel_scope.cancel()
        return fault

    async def _answer(self, frame: Frame) -> RemoteFault | None:
        request = frame.message
        if not isinstance(request, GetByLocator | GetRange):
            return self._wire.fault(FaultReason.PROTOCOL, f"sent {type(request).__name__} as a request")
        async with self._wire.write_lock:
            # The change is told before an answer that already shows it: the asker checks
            # answers against claims.
            fault = await self._tell()
            reply = guarded(self._wire, lambda: self._reply(request))
            fault = fault or await self._wire.send_locked(frame.request_id, reply)
        if isinstance(reply, Headers):
            self.headers_served += reply.count
        if fault is None:
            await self._allowance.spend(reply)
        return fault

    def _reply(self, request: GetByLocator | GetRange) -> Headers | Error:
        if isinstance(request, GetRange):
            headers = self._provider.headers_range(request.start, request.count)
            if headers:
                return Headers(request.start, headers)
            return Error(ErrorCode.NOT_FOUND, f"no header at height {request.start}")
        found = self._provider.headers_after(request.locator, request.count)
        if found is None:
            return Error(ErrorCode.NOT_FOUND, "no hash of the locator is on the main chain")
        return Headers(*found)

    async def _tell(self) -> RemoteFault | None:
        """Announce the tip if it differs from what this peer was told. The caller holds the write
        lock, and what is sent next was read after the last checkpoint in here or agrees with it."""
        fault: RemoteFault | None = None
        while fault is None and (hello := self._provider.hello()) != self._told:
            self._told = hello
            fault = await self._wire.send_locked(NO_REQUEST, Announce(hello))
        return fault

    async def _announce_changes(self) -> None:
        while True:
            await self._news.wait()
            self._news = trio.Event()
            async with self._wire.write_lock:
                fault = await self._tell()
            if fault is not None:
                return  # the reading side sees the same end of the stream, or the next answer does
            await trio.sleep(ANNOUNCE_INTERVAL_S)


async def serve_proofs(wire: Wire, provider: Provider, allowance: Allowance) -> RemoteFault | None:
    """One inbound stream of the proof protocol, until the peer leaves (None) or is at fault."""
    fault: RemoteFault | None = None
    clean = False
    try:
        while fault is None:
            received = await wire.receive_within(PROOF_IDLE_S)
            if isinstance(received, Ended) or _idle(received):
                break
            fault = received if isinstance(received, RemoteFault) else await _prove(wire, received, provider, allowance)
        clean = fault is None
    finally:
        with trio.CancelScope(shield=True):  # bounded: neither waits for the remote long
            await (wire.close() if clean else wire.reset())
    return fault


def guarded(wire: Wire, produce: Callable[[], Headers | Proof | Error]) -> Headers | Proof | Error:
    """Firewall around the provider: what fails in it is ours, and must not look like a cut stream to
    the peer."""
    try:
        return produce()
    except Exception:  # see above; nothing is hidden
        log.exception("provider failed", peer=wire.peer, network=wire.network)
        return Error(ErrorCode.INTERNAL, "internal error")


def _idle(received: Received) -> bool:
    """An open stream without a request is no fault; it is closed like any other."""
    return isinstance(received, RemoteFault) and received.reason is FaultReason.STALLED


async def _prove(wire: Wire, frame: Frame, provider: Provider, allowance: Allowance) -> RemoteFault | None:
    request = frame.message
    if not isinstance(request, GetProof):
        return wire.fault(FaultReason.PROTOCOL, f"sent {type(request).__name__} on a proof stream")

    def prove() -> Proof | Error:
        bundle = provider.proof(request.height, request.cp_height)
        if bundle is None:
            return Error(ErrorCode.NOT_FOUND, f"no header tree over {request.height}..{request.cp_height}")
        return Proof(bundle)

    reply = guarded(wire, prove)
    fault = await wire.send(frame.request_id, reply)
    if fault is None:
        await allowance.spend(reply)
    return fault
