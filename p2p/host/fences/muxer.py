"""A multiplexed connection: its life, its streams, its bounds. What Yamux and mplex have in common.

Everything that parses or queues is synchronous. Two tasks per connection do I/O (read, write), a third watches.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from typing import Any, ClassVar, Generic, TypeVar

import trio
from libp2p.abc import IMuxedConn
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamError

from p2p.bucket import TokenBucket
from p2p.host.fences.muxed_stream import MuxedStream
from p2p.host.fences.wire import NoiseWire, WireError
from p2p.host.limits import Limits
from p2p.host.outbox import FrameQueue
from p2p.host.unread import UnreadBudget

MIN_WATCH = 0.5
"""Seconds between two looks of the watching task at least."""
WORTH = 512
"""Payload from which a frame of a stream that is gone is no idle frame: a window of data may be under way when we reset
a stream, and sending it costs the remote more than skipping it costs us."""


class Violation(Exception):
    """The remote broke the protocol or one of our limits."""


Stream = TypeVar("Stream", bound=MuxedStream[Any])


class MuxedConnection(IMuxedConn, Generic[Stream]):  # type: ignore[misc]
    """Runs in ``start`` until the connection ends; ``closed_because`` then says why."""

    max_payload: ClassVar[int]
    """Bytes of one data frame at most."""
    _outbox: FrameQueue

    def __init__(self, session: Any, peer_id: Any, wire: NoiseWire, limits: Limits, budget: UnreadBudget) -> None:
        self.secured_conn = session
        self.peer_id = peer_id
        self.limits = limits
        self.event_started = trio.Event()
        self.event_closed = trio.Event()
        self.closed_because = ""
        self.streams: dict[int, Stream] = {}
        self.unread = 0
        self._initiator: bool = session.is_initiator
        self._wire = wire
        self._budget = budget
        self._accepted: deque[Stream] = deque()
        self._acceptors = trio.lowlevel.ParkingLot()
        self._work = trio.lowlevel.ParkingLot()
        self._progress = trio.lowlevel.ParkingLot()
        self._sending = False
        now = trio.current_time()
        self._heard_at = now
        self._openings = TokenBucket(limits.stream_rate, limits.stream_burst, now)
        self._idle_frames = TokenBucket(limits.idle_frame_rate, limits.idle_frame_burst, now)

    # What differs.

    @abstractmethod
    def begin_stream(self) -> Stream:
        """Number a stream of ours, enter it, and tell the remote; raise MuxedStreamError."""

    @abstractmethod
    def send_data(self, stream: Stream, payload: memoryview) -> None:
        """Queue a data frame of at most ``max_payload`` bytes."""

    @abstractmethod
    def send_fin(self, stream: Stream) -> None:
        """Queue the end of our direction."""

    @abstractmethod
    def send_reset(self, stream: Stream) -> None:
        """Queue the end of both directions."""

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Handle what one message holds, without waiting for anything; raise Violation."""

    async def digest(self) -> None:
        """Wait before the next message is looked at: 5,000 frames fit into one, and others have waited long enough."""
        await trio.lowlevel.checkpoint()

    @abstractmethod
    def ask_for_life(self) -> None:
        """Send what any remote that lives answers."""

    def stop_asking(self) -> None:
        """The time for the answer is over."""

    def give_up(self, stream: Stream) -> None:
        """The remote does not end a stream that we have ended."""
        stream.drop("not closed by the remote")

    def say_goodbye(self) -> None:
        """Queue what tells the remote that the connection ends."""

    # Life.

    async def start(self) -> None:
        """Read, write and watch until the connection ends. Does not raise for anything that a remote does."""
        self._budget.join(self)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_loop)
                nursery.start_soon(self._watch)
                self.event_started.set()
                await self._read_loop()
                nursery.cancel_scope.cancel()
        finally:
            self.abort("cancelled")
            self._budget.leave(self)

    def abort(self, why: str) -> None:
        """End the connection now, without a word to the remote."""
        if self.event_closed.is_set():
            return
        self.closed_because = why
        self.event_closed.set()
        self._wire.abort()
        for stream in self.streams.values():
            stream.kill(why)
        self.streams.clear()
        for lot in (self._acceptors, self._work, self._progress):
            lot.unpark_all()

    async def close(self) -> None:
        """Send what is queued and a goodbye if that takes at most ``close_flush``; then end the connection."""
        self.say_goodbye()
        self._work.unpark_all()
        with trio.move_on_after(self.limits.close_flush):
            while (self._outbox or self._sending) and not self.is_closed:
                await self._progress.park()
        self.abort("closed by us")

    @property
    def is_initiator(self) -> bool:
        """Whether we dialed."""
        return self._initiator

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self.event_closed.is_set()

    @property
    def is_established(self) -> bool:
        """Whether streams can be opened."""
        return self.event_started.is_set() and not self.is_closed

    def get_remote_address(self) -> tuple[str, int] | None:
        """IP address and port of the remote; None when it had left before they were known."""
        return self.secured_conn.get_remote_address()  # type: ignore[no-any-return]

    def get_transport_addresses(self) -> Any:
        """As the secured connection below has them."""
        return self.secured_conn.get_transport_addresses()

    def get_connection_type(self) -> Any:
        """As the secured connection below has it."""
        return self.secured_conn.get_connection_type()

    # Streams.

    async def open_stream(self) -> Stream:
        """Raise MuxedStreamError when the connection has ended or too many of our streams are open."""
        await trio.lowlevel.checkpoint()  # first: who is cancelled here has opened nothing
        if self.is_closed:
            raise MuxedStreamError(f"connection ended: {self.closed_because}")
        if sum(not stream.inbound for stream in self.streams.values()) >= self.limits.outbound_streams:
            raise MuxedStreamError(f"{self.limits.outbound_streams} streams of ours are open")
        return self.begin_stream()

    async def accept_stream(self) -> Stream:
        """Next stream that the remote began; raise MuxedConnUnavailable when the connection has ended."""
        while not self._accepted:
            if self.is_closed:
                raise MuxedConnUnavailable(self.closed_because)
            await self._acceptors.park()
        return self._accepted.popleft()

    def may_open(self) -> bool:
        """Whether the remote may open one more stream now."""
        inbound = sum(stream.inbound for stream in self.streams.values())
        return inbound < self.limits.inbound_streams and self._openings.take(1, trio.current_time())

    def take_in(self, stream: Stream) -> None:
        """A stream that the remote has opened, for whoever accepts the next one."""
        self.streams[stream.stream_id] = stream
        self._accepted.append(stream)
        self._acceptors.unpark()

    def forget_if_done(self, stream: Stream) -> None:
        """A stream counts until its user has ended it, too: whoever resets what it opened must not get a new handler
        each time while the old ones still run. And until what it holds is read or dropped: it is counted here."""
        finished = stream.reset_by or (stream.sent_fin and stream.got_fin)
        if finished and stream.ended_by_user and not stream.unread:
            self.streams.pop(stream.stream_id, None)

    def account(self, change: int) -> None:
        """Count unread bytes; raise Violation when the remote added one too many."""
        self.unread += change
        self._budget.change(self, change)
        if change > 0 and self.unread > self.limits.unread_per_connection:
            raise Violation("too much unread data")

    def idle_frame(self) -> None:
        """Count a frame that carries nothing; raise Violation when there are too many."""
        if not self._idle_frames.take(1, trio.current_time()):
            raise Violation("flood of frames that carry nothing")

    # Sending.

    def has_room(self) -> bool:
        """Whether a stream may queue more payload."""
        return self._outbox.payload < self.limits.send_queue

    async def wait_for_room(self) -> None:
        """Wait for the writer's next progress; then look again."""
        await self._progress.park()

    def queued(self, taken: bool = True) -> None:
        """Something was put into the outbox; or, not ``taken``, it was a reply too many, and the connection ends."""
        if not taken:
            self.abort("does not read our replies")
        self._work.unpark_all()

    async def _write_loop(self) -> None:
        while not self.is_closed:
            if not self._outbox:
                await self._work.park()
                continue
            self._sending = True
            try:
                with trio.fail_after(self.limits.send_deadline):
                    await self._wire.send(self._outbox.take())
            except trio.TooSlowError:
                self.abort("does not take what we send")
            except WireError as error:
                self.abort(str(error))
            self._sending = False
            self._progress.unpark_all()

    # Receiving and watching.

    async def _read_loop(self) -> None:
        try:
            while not self.is_closed:
                messages = await self._wire.receive()
                self._heard_at = trio.current_time()
                for message in messages:
                    self.feed(message)
                    await self.digest()
        except WireError as error:
            self.abort(str(error))
        except Violation as violation:
            self.abort(f"violation: {violation}")

    async def _watch(self) -> None:
        """Notice a remote that is gone without a word, whether we were idle or blocked in sending to it."""
        interval, timeout = self.limits.keepalive_interval, self.limits.keepalive_timeout
        while True:
            await trio.sleep(max(MIN_WATCH, self._heard_at + interval - trio.current_time()))
            self._sweep()
            asked_at = trio.current_time()
            if asked_at - self._heard_at < interval:
                continue
            self.ask_for_life()
            await trio.sleep(timeout)
            # Had this process itself been stopped, the answer waits in the socket: let the read loop run first.
            await trio.sleep(MIN_WATCH)
            self.stop_asking()
            if self._heard_at < asked_at:
                self.abort("vanished: no answer when asked for a sign of life")
                return

    def _sweep(self) -> None:
        before = trio.current_time() - self.limits.linger
        for stream in list(self.streams.values()):
            if stream.sent_fin and stream.active_at < before:
                self.give_up(stream)
