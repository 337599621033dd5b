"""One connection after its handshake: a task that reads, one that writes, one that looks at the clock.

The protocol has no request ids. A question is therefore followed by a ``ping``: a node handles what one peer sends in
order, so once the ``pong`` is here there is no answer to come. That makes the silence of a node that has nothing (bcoin
sends no empty ``headers``) as quick as any answer, and tells a late answer from the next.

Bounds, for each connection: ``MAX_QUESTIONS`` questions, ``MAX_OUTBOX`` bytes waiting to be sent, the transport's one
message in the making, and ``BYTES_RATE`` bytes a second of what we did not ask for.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import trio

from p2p.bitcoin import messages as m
from p2p.bitcoin.connect import Connected
from p2p.bitcoin.framing import Fed
from p2p.bitcoin.handshake import Refuse
from p2p.bucket import TokenBucket
from p2p.faults import FaultReason, RemoteFault, gone

MAX_QUESTIONS: Final = 4
"""Questions under way, those that their asker gave up included. Our own callers fill it."""
REPLY_S: Final = 60.0
"""Seconds without an answer while one is owed, after which the session is over: far above any asker's deadline, for a
node that checks a block answers late."""
FRAME_S: Final = 90.0
"""Seconds for one message, from its first byte to its last. 4 MB at 45 kB/s; a drip is found out."""
PING_S: Final = 120.0
"""Seconds between pings, as Core's."""
PONG_S: Final = 120.0
"""Seconds for its answer. Core waits for 20 minutes; a light client has no use for a peer that long."""
WRITE_S: Final = 30.0
"""Seconds in which a remote must take 64 kB."""

MAX_OUTBOX: Final = 1 << 20
"""Bytes waiting to be sent. A remote that asks and does not read fills it to ``BUSY_OUTBOX`` and one answer (162 kB);
above that, what is no answer (news, addresses) is dropped."""
BUSY_OUTBOX: Final = 256 << 10
"""Bytes above which we read no further requests."""
MAX_WRITE: Final = 65_536

BYTES_RATE: Final = 100_000.0
BYTES_BURST: Final = 10_000_000.0
"""Bytes a second, and at once, that a remote may send unasked: two of the greatest messages. What answers a question is
given back."""
MESSAGE_COST: Final = 500
"""Bytes that a message counts beyond its own: 200 empty ones a second are enough for anybody."""
ANSWER_COST: Final = 2 * MESSAGE_COST + 100
"""Given back for an answer beside its own bytes: that it is a message, and the ``pong`` behind it another, both in
their frames. We choose how many questions there are."""
MAX_NOT_FOUND: Final = 1_000
"""Rows of a ``getdata`` that are answered: we serve no data, and must not echo megabytes."""

A = TypeVar("A")


class Ears(Protocol):
    """Who hears what a peer says unasked. None of it blocks or raises."""

    def headers(self, headers: bytes) -> None:
        """Announced, or an answer that nobody waits for any more; n * 80 bytes, n > 0."""

    def inventory(self, hashes: tuple[bytes, ...]) -> None:
        """Hashes of blocks."""

    def addresses(self, addresses: tuple[m.Address, ...]) -> None:
        """Addresses of nodes."""

    def asks_addresses(self) -> None:
        """``getaddr``."""

    async def asks_headers(self, request: m.GetHeaders) -> m.Headers | None:
        """The answer to a ``getheaders``; may take its time, and nothing more is read until then."""


@dataclass(slots=True, eq=False)
class _Question(Generic[A]):
    take: Callable[[m.Message], A | None]
    message: m.Spoken
    fence: int
    done: trio.Event
    large: bool
    answer: A | RemoteFault | None = None


class Session:
    """Made of a link whose handshake is over; alive while ``run`` runs."""

    def __init__(self, connected: Connected, ears: Ears) -> None:
        self.link = connected.link
        self.remote = connected.remote
        self.wants_headers = connected.remote.wants_headers
        """It has said ``sendheaders``: tell it of blocks by their headers."""
        self.ping_s: float | None = None
        """Seconds of the last round trip."""
        self.best_ping_s: float | None = None
        """Of the shortest, which nobody can better by waiting."""
        self._handshake = connected.handshake
        self._early = connected.early
        self._ears = ears
        self._questions: deque[_Question[object]] = deque()
        self._slots = trio.Semaphore(MAX_QUESTIONS)
        self._owed_since = 0.0
        self._outbox: deque[bytes] = deque()
        self._outbox_size = 0
        self._some = trio.Event()
        self._room = trio.Event()
        self._allowance = TokenBucket(BYTES_RATE, BYTES_BURST, trio.current_time())
        self._ping: tuple[int, float] | None = None
        self._scope = trio.CancelScope()
        self._over: RemoteFault | None = None

    async def ask(
        self, message: m.Spoken, take: Callable[[m.Message], A | None], *, large: bool = False
    ) -> A | RemoteFault | None:
        """Sends ``message`` and waits for the first message that ``take`` makes something of; None where the remote
        has no answer. ``large``: it may be a block or a filter, which else is not kept. Cancel at will: a late answer
        is still one, and no burden to its sender, but nobody hears it."""
        await self._slots.acquire()
        if self._over is not None:
            self._slots.release()
            return self._over
        question = _Question[object](take, message, secrets.randbits(64), trio.Event(), large)
        if not self._questions:
            self._owed_since = trio.current_time()
        self._questions.append(question)
        self._expect()
        self.send(message)
        self.send(m.Ping(question.fence))
        await question.done.wait()
        return question.answer  # type: ignore[return-value]  # what ``take`` gave, or a fault

    def send(self, message: m.Spoken, *, news: bool = False) -> bool:
        """Queues a message. ``news`` is dropped, False, where too much waits already."""
        if self._over is not None or (news and self._outbox_size > BUSY_OUTBOX):
            return False
        data = self.link.transport.encode(message)
        if self._outbox_size + len(data) > MAX_OUTBOX:
            return False
        self._outbox.append(data)
        self._outbox_size += len(data)
        self._some.set()
        return True

    def stop(self) -> None:
        """Ends it from our side."""
        self._scope.cancel()

    async def run(self) -> RemoteFault | None:
        """Until the connection ends: None when the remote left owing nothing or ``stop`` was called, else the fault,
        not scored yet. The stream is closed afterwards."""
        fault: RemoteFault | None = None
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._watch)
                    fault = await self._read()
                    nursery.cancel_scope.cancel()
            fault = fault or self._over
        finally:
            self._end(gone(self.link.peer, self.link.network, "the session has ended"))
            while self._questions:
                self._settle(self._questions[0], self._over)
            await self.link.close()
        return fault

    def _end(self, fault: RemoteFault) -> None:
        self._over = self._over or fault
        self._scope.cancel()

    # Reading.

    async def _read(self) -> RemoteFault | None:
        fault = await self._handle_all(self._early)
        self._early = []
        began: float | None = None  # when the message in the making did
        while fault is None:
            with trio.move_on_at(began + FRAME_S if began is not None else float("inf")) as scope:
                before = self.link.bytes_in
                fed = await self.link.receive()
            if scope.cancelled_caught:
                return self.link.fault(FaultReason.DRIP, f"a message is under way for {FRAME_S:g} s")
            if fed is None:
                owing = len(self._questions)
                return self.link.fault(FaultReason.DISCONNECTED, f"left owing {owing} answers") if owing else None
            if not self._allowance.take(self.link.bytes_in - before, trio.current_time()):
                return self.link.fault(FaultReason.FLOOD, f"above {BYTES_RATE:g} bytes a second unasked")
            if not self.link.transport.midway:
                began = None
            elif fed or began is None:
                began = trio.current_time()
            fault = await self._handle_all(fed)
            # A remote that keeps the buffer full must not keep this task from yielding to the others.
            await trio.lowlevel.checkpoint()
        return fault

    async def _handle_all(self, fed: list[Fed]) -> RemoteFault | None:
        for one in fed:
            if isinstance(one, RemoteFault):
                return one
            fault = await self._handle(one)
            if fault is not None:
                return fault
        return None

    async def _handle(self, message: m.Message) -> RemoteFault | None:
        if not self._allowance.take(MESSAGE_COST, trio.current_time()):
            return self.link.fault(FaultReason.FLOOD, f"above {BYTES_RATE / MESSAGE_COST:g} messages a second")
        for refusal in self._handshake.handle(message):
            if isinstance(refusal, Refuse):
                return refusal.fault
        if not self._answers(message):
            self._hear(message)
            await self._serve(message)
        return None

    def _hear(self, message: m.Message) -> None:
        """What needs no answer. All that is not named here is nothing that a light client has a use for."""
        match message:
            case m.Pong(nonce):
                self._ponged(nonce)
            case m.SendHeaders():
                self.wants_headers = True
            case m.Headers(headers) if headers:
                self._ears.headers(headers)
            case m.Inv():
                self._inventory(message)
            case m.Addr(addresses) | m.AddrV2(addresses):
                self._ears.addresses(addresses)
            case _:
                pass

    async def _serve(self, message: m.Message) -> None:
        match message:
            case m.Ping(nonce):
                self.send(m.Pong(nonce))
            case m.GetAddr():
                self._ears.asks_addresses()
            case m.GetHeaders():
                reply = await self._ears.asks_headers(message)
                if reply is not None:
                    self.send(reply)
            case m.GetData(rows):
                self.send(m.NotFound(rows[: MAX_NOT_FOUND * m.INVENTORY_SIZE]), news=True)
            case m.Unknown("getblocks"):  # of no use to us, but btcd leaves who does not answer: there is nothing more
                self.send(m.Inv(b""), news=True)
            case _:
                return
        await self._wait_for_room()

    def _answers(self, message: m.Message) -> bool:
        for question in self._questions:
            answer = question.take(message)
            if answer is not None:
                if isinstance(message, m.Headers | m.Block | m.CFilter | m.CFHeaders | m.CFCheckpt):
                    self._allowance.give(_size(message) + ANSWER_COST)
                self._settle(question, answer)
                return True
        return False

    def _settle(self, question: _Question[object], answer: object) -> None:
        self._questions.remove(question)
        self._expect()
        self._owed_since = trio.current_time()
        question.answer = answer
        question.done.set()
        self._slots.release()

    def _expect(self) -> None:
        """What is large is kept while an answer may be, even one whose asker has given up: it is paid back."""
        self.link.transport.large = any(question.large for question in self._questions)

    def _ponged(self, nonce: int) -> None:
        if self._ping is not None and nonce == self._ping[0]:
            self.ping_s, self._ping = trio.current_time() - self._ping[1], None
            self.best_ping_s = min(self.ping_s, self.best_ping_s or self.ping_s)
            return
        if any(question.fence == nonce for question in self._questions):
            while self._questions:
                question = self._questions[0]
                self._settle(question, None)
                if question.fence == nonce:
                    return

    def _inventory(self, inv: m.Inv) -> None:
        """Blocks only: we have told that we do not want transactions."""
        hashes = inv.last_blocks(MAX_BLOCK_HASHES)
        if hashes:
            self._ears.inventory(hashes)

    async def _wait_for_room(self) -> None:
        """Nothing is read meanwhile: who does not take our answers need not ask on."""
        while self._outbox_size > BUSY_OUTBOX:
            self._room = trio.Event()
            await self._room.wait()

    # Writing, and the clock.

    async def _write(self) -> None:
        while True:
            while self._outbox:
                data = self._outbox.popleft()
                for at in range(0, len(data), MAX_WRITE):
                    if not await self._write_piece(data[at : at + MAX_WRITE]):
                        return
                self._outbox_size -= len(data)
                self._room.set()
            self._some = trio.Event()
            await self._some.wait()

    async def _write_piece(self, piece: bytes) -> bool:
        sent = False
        with trio.move_on_after(WRITE_S) as scope:
            sent = await self.link.send(piece)
        if scope.cancelled_caught:
            self._end(self.link.fault(FaultReason.STALLED, f"does not read: {len(piece)} bytes in {WRITE_S:g} s"))
        return sent  # False: the reading side sees the same end, and knows what was owed

    async def _watch(self) -> None:
        while True:
            self._ping = self._ping or (secrets.randbits(64), trio.current_time())
            self.send(m.Ping(self._ping[0]))
            due = trio.current_time() + PING_S
            while trio.current_time() < due:
                await trio.sleep(min(REPLY_S / 4, max(0.0, due - trio.current_time())))
                now = trio.current_time()
                if self._questions and now - self._owed_since > REPLY_S:
                    self._end(self.link.fault(FaultReason.STALLED, f"no answer in {REPLY_S:g} s"))
                if self._ping is not None and now - self._ping[1] > PONG_S:
                    self._end(self.link.fault(FaultReason.TIMEOUT, f"no pong in {PONG_S:g} s"))


MAX_BLOCK_HASHES: Final = 16
"""Hashes of blocks in one ``inv`` that are looked at, the last ones: one alone makes us ask what there is."""


def _size(message: m.Headers | m.Block | m.CFilter | m.CFHeaders | m.CFCheckpt) -> int:
    """About how many bytes of the wire an answer took."""
    match message:
        case m.Headers(headers):
            return len(headers) + message.count
        case m.Block(raw):
            return len(raw)
        case m.CFilter():
            return len(message.filter)
        case m.CFHeaders():
            return len(message.filter_hashes)
        case _:
            return len(message.filter_headers)
