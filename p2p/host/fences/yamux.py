"""The stream multiplexer of one connection: Yamux (hashicorp/yamux spec.md), bounded in everything a remote can fill.

Upstream's connection is replaced, not patched:
    stream_muxer/yamux/yamux.py:1544 the receive window is not enforced
    stream_muxer/yamux/yamux.py:1292 no bound on the streams that a remote opens
    stream_muxer/yamux/yamux.py:719  nobody looks whether a ping was answered: a vanished remote is never noticed
    stream_muxer/yamux/yamux.py:794  close writes GO_AWAY behind a writer that may be blocked for ever
    stream_muxer/yamux/yamux.py:1487 the read loop itself answers: a remote that does not read stops it for ever
    stream_muxer/yamux/yamux.py:880  opening the 257th stream waits without end
and stream_muxer/muxer_multistream.py:143 names the class, so that a subclass given as ``muxer_opt`` is ignored.

Everything that parses or queues is synchronous. Two tasks per connection do I/O (read, write), a third watches.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import trio
from libp2p.abc import IMuxedConn
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamError

from p2p.bucket import TokenBucket
from p2p.host.fences.wire import NoiseWire, WireError
from p2p.host.fences.yamux_stream import MeshStream
from p2p.host.limits import Limits
from p2p.host.outbox import ACK, FIN, HEADER, MAX_PAYLOAD, MAX_STREAM_ID, RST, SYN, Kind, Outbox
from p2p.host.unread import UnreadBudget

MIN_WATCH = 0.5
"""Seconds between two looks of the watching task at least."""
WORTH = 512
"""Payload from which a frame of a stream that is gone is no idle frame: a window of data may be under way when we reset
a stream, and sending it costs the remote more than skipping it costs us."""
MAX_SEND_WINDOW = 2**31
"""What a remote may grant; more is a mistake or an attempt to overflow."""


class Violation(Exception):
    """The remote broke the protocol or one of our limits."""


class MeshYamux(IMuxedConn):  # type: ignore[misc]
    """Runs in ``start`` until the connection ends; ``closed_because`` then says why."""

    max_payload = MAX_PAYLOAD

    def __init__(
        self,
        session: Any,
        peer_id: Any,
        wire: NoiseWire,
        limits: Limits,
        budget: UnreadBudget,
    ) -> None:
        self.secured_conn = session
        self.peer_id = peer_id
        self.limits = limits
        self.event_started = trio.Event()
        self.event_closed = trio.Event()
        self.closed_because = ""
        self.streams: dict[int, MeshStream] = {}
        self.unread = 0
        self._initiator: bool = session.is_initiator
        self._wire = wire
        self._budget = budget
        self._next_id = 1 if self._initiator else 2
        self._accepted: deque[MeshStream] = deque()
        self._acceptors = trio.lowlevel.ParkingLot()
        self._outbox = Outbox(limits.control_queue)
        self._work = trio.lowlevel.ParkingLot()
        self._progress = trio.lowlevel.ParkingLot()
        self._sending = False
        # Frame being parsed.
        self._partial = b""
        self._body: MeshStream | None = None
        self._body_left = 0
        self._body_flags = 0
        now = trio.current_time()
        self._heard_at = now
        self._openings = TokenBucket(limits.stream_rate, limits.stream_burst, now)
        self._idle_frames = TokenBucket(limits.idle_frame_rate, limits.idle_frame_burst, now)

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
        """Send what is queued and a GO_AWAY if that takes at most ``close_flush``; then end the connection."""
        self._outbox.go_away()
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

    async def open_stream(self) -> MeshStream:
        """Raise MuxedStreamError when the connection has ended or too many of our streams are open."""
        await trio.lowlevel.checkpoint()  # first: who is cancelled here has opened nothing
        if self.is_closed:
            raise MuxedStreamError(f"connection ended: {self.closed_because}")
        if sum(not stream.inbound for stream in self.streams.values()) >= self.limits.outbound_streams:
            raise MuxedStreamError(f"{self.limits.outbound_streams} streams of ours are open")
        if self._next_id > MAX_STREAM_ID:
            raise MuxedStreamError("stream ids are used up")
        stream = MeshStream(self._next_id, self, inbound=False)
        self._next_id += 2
        self.streams[stream.stream_id] = stream
        self._reply(Kind.WINDOW_UPDATE, SYN, stream.stream_id, 0)
        return stream

    async def accept_stream(self) -> MeshStream:
        """Next stream that the remote began; raise MuxedConnUnavailable when the connection has ended."""
        while not self._accepted:
            if self.is_closed:
                raise MuxedConnUnavailable(self.closed_because)
            await self._acceptors.park()
        return self._accepted.popleft()

    def forget_if_done(self, stream: MeshStream) -> None:
        """A stream counts until its user has ended it, too: whoever resets what it opened must not get a new handler
        each time while the old ones still run."""
        finished = stream.reset_by or (stream.sent_fin and stream.got_fin and not stream.unread)
        if finished and stream.ended_by_user:
            self.streams.pop(stream.stream_id, None)

    def account(self, change: int) -> None:
        """Count unread bytes; raise Violation when the remote added one too many."""
        self.unread += change
        self._budget.change(self, change)
        if change > 0 and self.unread > self.limits.unread_per_connection:
            raise Violation("too much unread data")

    # Sending.

    def has_room(self) -> bool:
        """Whether a stream may queue more payload."""
        return self._outbox.payload < self.limits.send_queue

    async def wait_for_room(self) -> None:
        """Wait for the writer's next progress; then look again."""
        await self._progress.park()

    def send_data(self, stream_id: int, payload: memoryview) -> None:
        """Queue a data frame of at most ``max_payload`` bytes."""
        self._outbox.data(stream_id, payload)
        self._work.unpark_all()

    def send_fin(self, stream_id: int) -> None:
        """Queue the end of our direction."""
        self._outbox.end_stream(FIN, stream_id)
        self._work.unpark_all()

    def send_reset(self, stream_id: int) -> None:
        """Queue the end of both directions."""
        self._outbox.end_stream(RST, stream_id)
        self._work.unpark_all()

    def send_credit(self, stream_id: int, increment: int) -> None:
        """Let the remote send ``increment`` more bytes."""
        self._reply(Kind.WINDOW_UPDATE, 0, stream_id, increment)

    def _reply(self, kind: Kind, flags: int, stream_id: int, value: int) -> None:
        """Queue a frame that must not wait, because the read loop may be the one who sends it."""
        if self.is_closed:
            return
        if not self._outbox.reply(kind, flags, stream_id, value):
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

    # Receiving. One pass over each message, without waiting for anything.

    async def _read_loop(self) -> None:
        try:
            while not self.is_closed:
                messages = await self._wire.receive()
                self._heard_at = trio.current_time()
                for message in messages:
                    self._feed(message)
                    await trio.lowlevel.checkpoint()  # 5,000 frames fit into one: others have waited long enough
        except WireError as error:
            self.abort(str(error))
        except Violation as violation:
            self.abort(f"violation: {violation}")

    def _feed(self, data: bytes) -> None:
        """Frames need not end where messages end: keep what is incomplete. Raise Violation."""
        if self._partial:
            data, self._partial = self._partial + data, b""
        at, end = 0, len(data)
        while at < end and not self.is_closed:
            if self._body_left:
                stop = min(end, at + self._body_left)
                if self._body is not None:
                    self._body.receive(data[at:stop])
                self._body_left -= stop - at
                at = stop
                if not self._body_left:
                    self._end_frame(self._body, self._body_flags)
            elif end - at < HEADER.size:
                self._partial = data[at:]
                return
            else:
                self._begin_frame(*HEADER.unpack_from(data, at))
                at += HEADER.size

    def _begin_frame(self, version: int, kind: int, flags: int, stream_id: int, value: int) -> None:
        if version != 0:
            raise Violation(f"version {version}")
        if kind == Kind.DATA:
            self._begin_body(self._stream_of(flags, stream_id, value), flags, value)
        elif kind == Kind.WINDOW_UPDATE:
            stream = self._stream_of(flags, stream_id, 0)
            if stream is not None:
                if stream.send_window + value > MAX_SEND_WINDOW:
                    raise Violation("send window overflows")
                stream.grant(value)
            self._end_frame(stream, flags)
        elif kind == Kind.PING:
            self._idle_frame()
            if flags & SYN:
                self._reply(Kind.PING, ACK, 0, value)
        elif kind == Kind.GO_AWAY:
            self.abort(f"closed by the remote, code {value}")
        else:
            raise Violation(f"frame type {kind}")

    def _stream_of(self, flags: int, stream_id: int, payload: int) -> MeshStream | None:
        if flags & SYN:
            return self._opened_by_remote(stream_id)
        stream = self.streams.get(stream_id)
        if stream is not None and not stream.reset_by:
            return stream
        if payload < WORTH:
            self._idle_frame()
        return None

    def _opened_by_remote(self, stream_id: int) -> MeshStream | None:
        if stream_id % 2 == int(self._initiator) or stream_id == 0:
            raise Violation("opens a stream with an id of ours")
        inbound = sum(stream.inbound for stream in self.streams.values())
        if (
            stream_id in self.streams
            or inbound >= self.limits.inbound_streams
            or not self._openings.take(1, trio.current_time())
        ):
            self._idle_frame()
            self._reply(Kind.WINDOW_UPDATE, RST, stream_id, 0)
            return None
        stream = self.streams[stream_id] = MeshStream(stream_id, self, inbound=True)
        self._reply(Kind.WINDOW_UPDATE, ACK, stream_id, 0)
        self._accepted.append(stream)
        self._acceptors.unpark()
        return stream

    def _begin_body(self, stream: MeshStream | None, flags: int, length: int) -> None:
        if length > (self.limits.stream_window_max if stream is None else stream.receive_credit):
            raise Violation("receive window exceeded")
        if stream is not None:
            stream.receive_credit -= length
        if length == 0:
            if not flags:
                self._idle_frame()
            self._end_frame(stream, flags)
            return
        self._body, self._body_left, self._body_flags = stream, length, flags

    def _end_frame(self, stream: MeshStream | None, flags: int) -> None:
        if stream is None or not flags & (FIN | RST):
            return
        if flags & RST:
            stream.kill("reset by the remote")
        else:
            stream.got_fin = True
            stream.wake()
        self.forget_if_done(stream)

    def _idle_frame(self) -> None:
        if not self._idle_frames.take(1, trio.current_time()):
            raise Violation("flood of frames that carry nothing")

    # Watching.

    async def _watch(self) -> None:
        """Notice a remote that is gone without a word, whether we were idle or blocked in sending to it."""
        interval, timeout = self.limits.keepalive_interval, self.limits.keepalive_timeout
        while True:
            await trio.sleep(max(MIN_WATCH, self._heard_at + interval - trio.current_time()))
            self._sweep()
            asked_at = trio.current_time()
            if asked_at - self._heard_at < interval:
                continue
            self._reply(Kind.PING, SYN, 0, 0)
            await trio.sleep(timeout)
            # Had this process itself been stopped, the answer waits in the socket: let the read loop run first.
            await trio.sleep(MIN_WATCH)
            if self._heard_at < asked_at:
                self.abort("vanished: no answer to our ping")
                return

    def _sweep(self) -> None:
        before = trio.current_time() - self.limits.linger
        for stream in list(self.streams.values()):
            if stream.sent_fin and stream.active_at < before:
                stream.drop("not closed by the remote")
