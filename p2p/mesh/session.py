"""A headers session: the stream that we opened to one peer for one network, on which we ask and it answers.

Requests are pipelined by id. One reader task owns parsing and matches every answer to its question; what is
not the answer ends the session. Bounds: ``MAX_IN_FLIGHT`` requests, one frame being read, and nothing else.

Time: the deadline of a request is the caller's, who simply stops waiting (a cancelled request keeps its
slot until its late answer has been dropped, so a slow peer is not asked for more). The session has its own,
longer one, for a remote that takes requests and goes silent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import trio

from p2p.bucket import TokenBucket
from p2p.faults import FaultReason, RemoteFault
from p2p.mesh.codec import (
    MAX_REQUEST_ID,
    NO_REQUEST,
    Announce,
    Error,
    ErrorCode,
    GetByLocator,
    GetRange,
    Headers,
    Hello,
    encode,
)
from p2p.mesh.wire import Ended, Frame, Wire
from p2p.port import Stream

MAX_IN_FLIGHT: Final = 8
"""Requests under way on one session: 8 * 645 kB cover 50 ms of round trip at 100 MB/s. Our own callers fill
it; what a remote can make us hold is one reply at a time, since replies are handed on whole."""

REPLY_DEADLINE_S: Final = 40.0
"""Seconds without any reply while one is owed, after which the session is over. Above the longest allowance
of one frame (25 s) and above any sensible deadline of a caller."""

ANNOUNCE_RATE: Final = 2.0
ANNOUNCE_BURST: Final = 20.0
"""Announcements a second, and in a row, that a peer may send unasked. The tip of a chain moves once in
minutes; a peer that is itself syncing paces its announcements far below this. Every reply grants one more,
because a server whose tip has moved says so before it answers."""


@dataclass(slots=True, eq=False)
class _Pending:
    """A request under way. ``waiting`` turns False when the caller gave up; ``answer`` stands once
    ``done`` is set."""

    request: GetByLocator | GetRange
    answer: Headers | RemoteFault
    done: trio.Event
    waiting: bool = True
    sent: bool = False


class Session:
    """Made by ``open_session``; alive while ``run`` runs."""

    def __init__(self, wire: Wire, hello: Hello, on_tip: Callable[[Hello], None]) -> None:
        self._wire = wire
        self._on_tip = on_tip
        self._pending: dict[int, _Pending] = {}
        self._slots = trio.Semaphore(MAX_IN_FLIGHT)
        self._to_send, self._sendable = trio.open_memory_channel[int](MAX_IN_FLIGHT)
        self._announces = TokenBucket(ANNOUNCE_RATE, ANNOUNCE_BURST, trio.current_time())
        self._next_id = NO_REQUEST
        self._owed = trio.Event()
        self._last_progress = trio.current_time()
        self._cause: RemoteFault | None = None
        self._over: RemoteFault | None = None
        self._scope = trio.CancelScope()
        self.hello = hello
        """What the peer has, as it last told."""
        self.headers_received = 0

    @property
    def peer(self) -> str:
        return self._wire.peer

    @property
    def in_flight(self) -> int:
        """Requests under way, given-up ones included; at most ``MAX_IN_FLIGHT``."""
        return len(self._pending)

    async def get_headers_by_locator(self, locator: tuple[bytes, ...], count: int) -> Headers | RemoteFault:
        """Up to ``count`` headers after the first hash of ``locator`` that is on the peer's main chain.

        No header means that the peer has nothing above that hash; ``start`` then still names the
        height above it. Cancel at will.
        """
        return await self._ask(GetByLocator(count, locator))

    async def get_headers_by_range(self, start: int, count: int) -> Headers | RemoteFault:
        """At least one and up to ``count`` headers from height ``start``; fewer only at the peer's tip."""
        return await self._ask(GetRange(start, count))

    async def _ask(self, request: GetByLocator | GetRange) -> Headers | RemoteFault:
        encode(MAX_REQUEST_ID, request)  # its ValueError is the caller's, not the sending task's
        await self._slots.acquire()
        if self._over is not None:
            self._slots.release()
            return self._over
        request_id = self._next_id = self._next_id % MAX_REQUEST_ID + 1
        unanswered = self._wire.fault(FaultReason.DISCONNECTED, "unanswered")
        pending = _Pending(request, unanswered, trio.Event())
        if not self._pending:
            self._last_progress = trio.current_time()
        self._pending[request_id] = pending
        self._owed.set()
        self._to_send.send_nowait(request_id)  # has room: it holds as many as there are slots
        try:
            await pending.done.wait()
        finally:
            pending.waiting = False
        return pending.answer

    async def run(self) -> RemoteFault | None:
        """Serve the session until it ends: None when the remote closed an idle stream or ``stop`` was called,
        else the fault, which has not been scored. The stream is gone afterwards in any case."""
        fault: RemoteFault | None = None
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write_requests)
                    nursery.start_soon(self._watch)
                    fault = await self._read()
                    nursery.cancel_scope.cancel()
            fault = fault or self._cause
        finally:
            self._finish(fault)
            with trio.CancelScope(shield=True):  # bounded: a reset never waits for the remote
                await self._wire.reset()
        return fault

    def stop(self) -> None:
        """End the session from our side."""
        self._scope.cancel()

    def _end(self, fault: RemoteFault) -> None:
        self._cause = self._cause or fault
        self._scope.cancel()

    def _finish(self, fault: RemoteFault | None) -> None:
        """Answer whoever still waits. The fault is scored by whom ``run`` returns to, once."""
        if fault is None:
            fault = self._wire.fault(FaultReason.DISCONNECTED, "the session has ended")
        self._over = replace(fault, scored=True)
        for request_id in list(self._pending):
            self._answer(request_id, self._over)

    def _answer(self, request_id: int, answer: Headers | RemoteFault) -> None:
        pending = self._pending.pop(request_id)
        pending.answer = answer
        pending.done.set()
        self._slots.release()
        if not self._pending:
            self._owed = trio.Event()

    async def _write_requests(self) -> None:
        async for request_id in self._sendable:
            pending = self._pending[request_id]
            if not pending.waiting:
                self._answer(request_id, self._wire.fault(FaultReason.TIMEOUT, "given up before it was sent"))
                continue
            pending.sent = True
            fault = await self._wire.send(request_id, pending.request)
            if fault is not None:
                self._end(fault)
                return

    async def _watch(self) -> None:
        """End the session when an answer is owed and nothing has come for too long."""
        while True:
            await self._owed.wait()
            silent_since = self._last_progress
            await trio.sleep_until(silent_since + REPLY_DEADLINE_S)
            if self._pending and silent_since == self._last_progress and not self._wire.receiving:
                self._end(self._wire.fault(FaultReason.STALLED, f"no reply within {REPLY_DEADLINE_S:g} s"))
                return
            if silent_since == self._last_progress:
                await trio.sleep(1.0)  # a frame is arriving, under its own allowance: look again

    async def _read(self) -> RemoteFault | None:
        while True:
            received = await self._wire.receive()
            if isinstance(received, RemoteFault):
                return received
            if isinstance(received, Ended):
                return self._ended(received)
            fault = self._handle(received)
            if fault is not None:
                return fault
            # A remote that keeps the buffer full must not keep this task from yielding to the others.
            await trio.lowlevel.checkpoint()

    def _ended(self, ended: Ended) -> RemoteFault | None:
        if self._pending:
            return self._wire.fault(FaultReason.DISCONNECTED, f"left owing {len(self._pending)} replies")
        return None

    def _handle(self, frame: Frame) -> RemoteFault | None:
        match frame.message:
            case Announce(hello):
                return self._announced(hello)
            case Headers() as headers:
                return self._replied(frame.request_id, headers)
            case Error() as error:
                return self._refused(frame.request_id, error)
            case message:
                return self._wire.fault(FaultReason.PROTOCOL, f"sent {type(message).__name__} as an answer")

    def _announced(self, hello: Hello) -> RemoteFault | None:
        if not self._announces.take(1, trio.current_time()):
            return self._wire.fault(FaultReason.FLOOD, f"more than {ANNOUNCE_BURST:g} announcements in a row")
        if hello.genesis != self.hello.genesis:
            return self._wire.fault(FaultReason.WRONG_NETWORK, "changed its genesis in an announcement")
        if hello != self.hello:
            self.hello = hello
            self._on_tip(hello)
        return None

    def _replied(self, request_id: int, headers: Headers) -> RemoteFault | None:
        pending = self._asked(request_id)
        if pending is None:
            return self._wire.fault(FaultReason.PROTOCOL, f"replied to request {request_id}, which is not open")
        fault = self._check(pending.request, headers)
        if fault is None:
            self._last_progress = trio.current_time()
            self._announces.give(1)
            self.headers_received += headers.count
            self._answer(request_id, headers)
        return fault

    def _asked(self, request_id: int) -> _Pending | None:
        """A request can be answered once, and not before it was sent: the remote may guess the next id."""
        pending = self._pending.get(request_id)
        return pending if pending is not None and pending.sent else None

    def _check(self, request: GetByLocator | GetRange, headers: Headers) -> RemoteFault | None:
        """Is this the answer to the question, and all of it that the peer claims to have?"""
        if headers.count > request.count:
            return self._wire.fault(FaultReason.PROTOCOL, f"{headers.count} headers for {request.count} asked")
        if isinstance(request, GetRange):
            if headers.start != request.start:
                return self._wire.fault(FaultReason.PROTOCOL, f"start {headers.start} for {request.start} asked")
            if not headers.headers:
                return self._wire.fault(FaultReason.PROTOCOL, "no header in answer to a range")
        # One header a reply would be a drip that no deadline of a single frame sees.
        if headers.count < request.count and headers.end <= self.hello.tip_height:
            return self._wire.fault(
                FaultReason.FALSE_CLAIM,
                f"{headers.count} of {request.count} headers, to {headers.end - 1}; its tip is {self.hello.tip_height}",
            )
        return None

    def _refused(self, request_id: int, error: Error) -> RemoteFault | None:
        text = f"{error.code.name}: {error.text}"
        if request_id == NO_REQUEST:
            return self._wire.fault(FaultReason.REFUSED, text)
        pending = self._asked(request_id)
        if pending is None:
            return self._wire.fault(FaultReason.PROTOCOL, f"refused request {request_id}, which is not open")
        not_found = error.code is ErrorCode.NOT_FOUND
        if not_found and isinstance(pending.request, GetRange) and self._claims(pending.request.start):
            return self._wire.fault(FaultReason.FALSE_CLAIM, f"claims height {pending.request.start}, then {text}")
        reason = FaultReason.NOT_FOUND if not_found else FaultReason.REFUSED
        self._last_progress = trio.current_time()
        self._answer(request_id, self._wire.fault(reason, text))
        return None

    def _claims(self, height: int) -> bool:
        return self.hello.base <= height <= self.hello.tip_height


async def open_session(
    stream: Stream, network: str, ours: Hello, on_tip: Callable[[Hello], None]
) -> Session | RemoteFault:
    """Exchange hellos on a stream that we just opened. On a fault the stream has been reset.

    ``on_tip`` is called, on the trio thread, with every later hello that differs from the last.
    """
    wire = Wire(stream, network)
    opened: Session | RemoteFault | None = None
    try:
        opened = await _exchange(wire, ours, on_tip)
    finally:
        if not isinstance(opened, Session):
            with trio.CancelScope(shield=True):  # bounded: a reset never waits for the remote
                await wire.reset()
    return opened


async def _exchange(wire: Wire, ours: Hello, on_tip: Callable[[Hello], None]) -> Session | RemoteFault:
    fault = await wire.send(NO_REQUEST, ours)
    if fault is not None:
        return fault
    hello = await wire.expect_hello(ours.genesis)
    return hello if isinstance(hello, RemoteFault) else Session(wire, hello, on_tip)
