"""One client: its lines, one after another, and what it is told of new tips.

What is answered at once is answered in order. A line that needs a block waits in a task of its own, so that pings
behind it are answered. While ``MAX_IN_FLIGHT`` such lines wait, or the client does not read, nothing more is read from
it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from dataclasses import dataclass
from math import inf

import trio

from spvnode.electrum.errors import Code, ElectrumError
from spvnode.electrum.limits import (
    BLOCK_SECONDS,
    FIRST_LINE_SECONDS,
    IDLE_SECONDS,
    LINE_SECONDS,
    LINGER_SECONDS,
    MAX_IN_FLIGHT,
    MAX_LINE,
    MAX_REPLY_BYTES,
    RECEIVE_BYTES,
    TURNS,
)
from spvnode.electrum.messages import Call, Line, failure, joined, notification, parse_line, result
from spvnode.electrum.methods import (
    HEADERS,
    KNOWN,
    PLAIN,
    SLOW,
    SUBSCRIBE,
    VERSION,
    Served,
    Talk,
    cost,
    describe_tip,
    not_served,
    read_params,
    server_version,
)
from spvnode.electrum.outflow import Outflow
from spvnode.logs import get_logger
from spvnode.metrics import Metrics
from spvnode.rpc.rates import Throttle

log = get_logger("electrum")


class Shared:
    """What the sessions of one server share. ``rate``: units a second of one caller; 0 for no limit."""

    def __init__(self, served: Served, metrics: Metrics, rate: float) -> None:
        self.served = served
        self.metrics = metrics
        self.rate = rate
        self.throttle = Throttle()
        self.outflow = Outflow()
        self._turns = trio.Semaphore(TURNS)

    async def turn(self) -> None:
        """Returns in a round of the event loop in which few others of ours do: a place is held for one round."""
        async with self._turns:
            await trio.lowlevel.checkpoint()


@dataclass(frozen=True, slots=True)
class _Answer:
    """To one call; None for a notification. ``ends``: nothing follows it."""

    data: bytes | None
    ends: bool = False


class Session:
    """Serves ``stream``. ``caller`` names whose rate is counted."""

    def __init__(self, stream: trio.abc.Stream, shared: Shared, caller: str) -> None:
        self._stream = stream
        self._shared = shared
        self._caller = caller
        self._talk = Talk()
        self._subscribed = trio.Event()
        self._writing = trio.Lock()
        self._in_flight = trio.Semaphore(MAX_IN_FLIGHT)
        self._ending = False

    async def run(self) -> None:
        """Returns when the conversation is over. Raises what the stream raises when the client is gone, and
        ``TooSlow``, alone or in a group."""
        async with trio.open_nursery() as telling:
            telling.start_soon(self._tell)
            async with trio.open_nursery() as working:
                await self._listen(working)
                if self._ending:
                    working.cancel_scope.cancel()
            telling.cancel_scope.cancel()

    # -- reading

    async def _listen(self, working: trio.Nursery) -> None:
        """Until the client ends, is silent for too long, or has to be parted from."""
        buffer = bytearray()
        patience = trio.current_time() + FIRST_LINE_SECONDS
        while not self._ending:
            data = b""
            with trio.move_on_at(patience):
                data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
            if not data:
                return
            if not buffer:
                patience = min(patience, trio.current_time() + LINE_SECONDS)
            known = len(buffer)
            buffer += data
            if await self._take_all(buffer, known, working):
                patience = trio.current_time() + (LINE_SECONDS if buffer else IDLE_SECONDS)
            if len(buffer) > MAX_LINE:
                await self._part(ElectrumError(Code.INVALID_REQUEST, f"a line of more than {MAX_LINE} bytes"))

    async def _take_all(self, buffer: bytearray, known: int, working: trio.Nursery) -> bool:
        """Takes the whole lines off ``buffer``, of which the first ``known`` bytes are of one line. True if there were
        any."""
        start, end = 0, buffer.find(b"\n", known)
        while end >= 0 and not self._ending:
            line, start = bytes(buffer[start:end]), end + 1
            await self._take(line, working)
            end = buffer.find(b"\n", start)
        del buffer[:start]
        return start > 0

    async def _take(self, raw: bytes, working: trio.Nursery) -> None:
        await self._shared.turn()
        try:
            line = parse_line(raw)
        except ElectrumError as error:
            if error.ends:
                return await self._part(error)
            return await self._send(failure(None, error))
        refusal = await self._pay(line)
        if refusal is None and _names(line) & SLOW.keys():
            if HEADERS in _names(line):  # a long reply would lie in memory while blocks are awaited
                refusal = ElectrumError(Code.INVALID_REQUEST, f"a batch has {HEADERS} or what needs blocks, not both")
            else:
                await self._in_flight.acquire()
                working.start_soon(self._answer_slowly, line, working)
                return None
        if await self._answer(line, inf, refusal):
            await self._end()
        return None

    # -- answering

    async def _answer_slowly(self, line: Line, working: trio.Nursery) -> None:
        try:
            if await self._answer(line, trio.current_time() + BLOCK_SECONDS):
                working.cancel_scope.cancel()  # the reader among it, who alone may wait for the client to go
        finally:
            self._in_flight.release()

    async def _answer(self, line: Line, deadline: float, refusal: ElectrumError | None = None) -> bool:
        """True where nothing may follow. ``refusal``: the answer to all of it."""
        answer = await self._whole(line, deadline, refusal)
        ends, sending = answer.ends, None if answer.data is None else self._send(answer.data)
        del answer  # it may be long until the client has read it: only who sends it holds it
        if sending is not None:
            await sending
        if self._talk.subscribed:
            self._subscribed.set()
        return ends

    async def _whole(self, line: Line, deadline: float, refusal: ElectrumError | None) -> _Answer:
        """The answer to a line. Waits for nothing but blocks, so that few are in the making at once."""
        replies: list[bytes] = []
        size, ends = 0, False
        for call in line.calls:
            if refusal is not None:
                answer = _failed(call, refusal)
            elif size > MAX_REPLY_BYTES:
                problem = f"the reply to this batch is longer than {MAX_REPLY_BYTES} bytes"
                answer = _failed(call, ElectrumError(Code.EXCESSIVE_USE, problem))
            else:
                answer = await self._one(call, deadline)
            ends = ends or answer.ends
            if answer.data is not None:
                replies.append(answer.data)
                size += len(answer.data)
            if ends:
                break
        if not replies:
            return _Answer(None, ends)
        return _Answer(joined(replies) if line.batch else replies[0], ends)

    async def _one(self, call: Call | ElectrumError, deadline: float) -> _Answer:
        """The answer to one call. The firewall of each: whatever a method raises ends here."""
        if isinstance(call, ElectrumError):
            return _failed(call, call)
        began = time.monotonic()
        name = _known(call)
        outcome = "ok"
        try:
            value = await self._result(call, deadline)
            return _Answer(result(call, value) if call.reply else None)
        except ElectrumError as error:
            outcome = "error"
            return _failed(call, error)
        except Exception:  # a fault of ours: logged whole, and told without its words
            outcome = "failed"
            log.exception("electrum call failed", method=name)
            return _failed(call, ElectrumError(Code.INTERNAL_ERROR, "internal error; see the log"))
        finally:
            self._shared.metrics.rpc_requests.labels(f"electrum:{name}", outcome).inc()
            self._shared.metrics.rpc_seconds.labels(f"electrum:{name}").observe(time.monotonic() - began)

    async def _result(self, call: Call, deadline: float) -> object:
        served, talk = self._shared.served, self._talk
        first, talk.silent = talk.silent, False
        if call.method == VERSION:
            return server_version(served, talk, call.params(), first=first)
        if found := PLAIN.get(call.method):
            method, shape = found
            value = method(served, talk, read_params(call.params(), shape))
            if call.method == SUBSCRIBE:
                talk.modern = call.modern
            return value
        if slow := SLOW.get(call.method):
            answer, shape = slow
            params = read_params(call.params(), shape)
            with trio.move_on_at(deadline):
                return await answer(served, params)
            raise ElectrumError(Code.UNAVAILABLE, f"no block within {BLOCK_SECONDS:.0f} s")
        raise not_served(call.method)

    async def _pay(self, line: Line) -> ElectrumError | None:
        """Waits where the caller is a little early; the refusal of one who is much too early."""
        calls, shared = [call for call in line.calls if isinstance(call, Call)], self._shared
        units = sum(cost(call) for call in calls) + len(line.calls) - len(calls)
        name = "batch" if line.batch or not calls else _known(calls[0])
        admitted = shared.throttle.admit(self._caller, name, units, shared.rate, trio.current_time())
        if admitted.retry_after is not None:
            problem = f"excessive resource usage: ask again in {admitted.retry_after:.1f} s"
            return ElectrumError(Code.EXCESSIVE_USE, problem)
        if admitted.delay:
            await trio.sleep(admitted.delay)
        return None

    # -- telling

    async def _tell(self) -> None:
        """Each new tip, one line; who reads slowly is told the last of several."""
        await self._subscribed.wait()
        tips = self._shared.served.tips
        while True:
            tip = tips.now()
            if tip is None or tip == self._talk.told:
                await tips.change()
                continue
            self._talk.told = tip
            told = [describe_tip(tips.chain())]
            await self._send(notification(SUBSCRIBE, told, modern=self._talk.modern))
            await self._shared.turn()

    def _send(self, data: bytes) -> Awaitable[None]:
        return self._shared.outflow.send(self._stream, self._writing, data)

    async def _part(self, error: ElectrumError) -> None:
        await self._send(failure(None, error))
        await self._end()

    async def _end(self) -> None:
        """Nothing more is read; what was sent is left time to arrive: closing on unread bytes would reset it."""
        self._ending = True
        left = MAX_LINE
        with trio.move_on_after(LINGER_SECONDS):
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            while left > 0 and (data := await self._stream.receive_some(RECEIVE_BYTES)):
                left -= len(data)


def _failed(call: Call | ElectrumError, error: ElectrumError) -> _Answer:
    if isinstance(call, ElectrumError):
        return _Answer(failure(None, error), error.ends)
    return _Answer(failure(call, error) if call.reply or error.ends else None, error.ends)


def _known(call: Call) -> str:
    """Its method, or one word for all that are not ours: names what is counted, and does not grow."""
    return call.method if call.method in KNOWN else "unknown"


def _names(line: Line) -> set[str]:
    return {call.method for call in line.calls if isinstance(call, Call)}
