"""The other stream multiplexer: mplex (libp2p specs, mplex/README.md), for peers that have nothing newer.

It has no flow control and no ping, so both are made of what there is. A stream whose reader lags stops the reading of
its connection, and TCP then stops the remote; a reader that reads nothing at all loses the stream. A remote that is
silent is asked for a protocol on a new stream: whatever it answers, it lives.

Upstream's connection is replaced, not patched:
    stream_muxer/mplex/mplex.py:348 a stream name that is not UTF-8 raises out of the read loop
    stream_muxer/mplex/mplex.py:194 no bound on the streams that a remote opens
    stream_muxer/mplex/mplex.py:385 a stream that nobody reads stops all others for 5 s
    stream_muxer/mplex/mplex.py:142 nobody asks whether the remote still lives
    stream_muxer/mplex/mplex.py:249 a writer waits without end for a remote that does not read
    stream_muxer/mplex/mplex.py:281 each frame is read byte by byte, through two loops
    stream_muxer/mplex/mplex_stream.py:276 closing a stream raises what no caller expects
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

import trio
from libp2p.stream_muxer.exceptions import MuxedStreamError

from p2p.host.fences.identify import PING
from p2p.host.fences.muxed_stream import MuxedStream
from p2p.host.fences.muxer import WORTH, MuxedConnection, Violation
from p2p.host.fences.negotiation import proposal
from p2p.host.fences.wire import NoiseWire
from p2p.host.limits import Limits
from p2p.host.mplex_frames import (
    CLOSES,
    MAX_PAYLOAD,
    MAX_STREAM_ID,
    MESSAGES,
    RESETS,
    BadFrame,
    Flag,
    Header,
    MplexOutbox,
    parse_header,
)
from p2p.host.unread import UnreadBudget

MAX_OWED = 128
"""Streams of one connection that we have reset without saying so yet, the latest of them: as many as can be open."""


class MplexStream(MuxedStream["MeshMplex"]):
    """``number`` is what the frames say; ``stream_id`` tells our streams from the remote's of the same number."""

    def __init__(self, number: int, conn: MeshMplex, *, inbound: bool) -> None:
        super().__init__(_key(number, inbound=inbound), conn, inbound=inbound)
        self.number = number
        self.read_some = trio.lowlevel.ParkingLot()

    @property
    def overfull(self) -> bool:
        """Whether it holds more than it may."""
        return self.unread > self.muxed_conn.limits.mplex_stream_unread

    def receive(self, piece: bytes) -> None:
        """Take ``piece`` of the body of a data frame; too much of it holds the connection up."""
        super().receive(piece)
        if self.overfull:
            self.muxed_conn.hold_for(self)

    def was_read(self, count: int) -> None:
        """Whoever waits for room here looks again."""
        self.read_some.unpark_all()

    def wake(self) -> None:
        """Let readers, writers, and the connection that waits for room here, look at the state again."""
        super().wake()
        self.read_some.unpark_all()

    def discard(self) -> None:
        """Forget what is unread."""
        super().discard()
        self.read_some.unpark_all()


def _key(number: int, *, inbound: bool) -> int:
    """Of the table of streams; its last bit says that we have opened the stream."""
    return number << 1 | (not inbound)


class MeshMplex(MuxedConnection[MplexStream]):
    """Runs in ``start`` until the connection ends; ``closed_because`` then says why."""

    max_payload = MAX_PAYLOAD

    def __init__(self, session: Any, peer_id: Any, wire: NoiseWire, limits: Limits, budget: UnreadBudget) -> None:
        super().__init__(session, peer_id, wire, limits, budget)
        self._outbox: MplexOutbox = MplexOutbox(limits.control_queue)
        self._next_number = 0
        self._probe: MplexStream | None = None
        self._full: deque[MplexStream] = deque()
        self._owed: OrderedDict[int, None] = OrderedDict()
        # Frame being parsed.
        self._partial = b""
        self._body: MplexStream | None = None
        self._body_left = 0

    def begin_stream(self) -> MplexStream:
        """Raise MuxedStreamError when the numbers are used up."""
        if self._next_number > MAX_STREAM_ID:
            raise MuxedStreamError("stream ids are used up")
        stream = MplexStream(self._next_number, self, inbound=False)
        self._next_number += 1
        self.streams[stream.stream_id] = stream
        self.queued(self._outbox.open(stream.number))
        return stream

    # Sending.

    def send_data(self, stream: MplexStream, payload: memoryview) -> None:
        """Queue a data frame of at most ``max_payload`` bytes."""
        self._outbox.data(stream.number, not stream.inbound, payload)
        self.queued()

    def send_fin(self, stream: MplexStream) -> None:
        """Queue the end of our direction."""
        self._outbox.end_stream(stream.number, not stream.inbound, reset=False)
        self.queued()

    def send_reset(self, stream: MplexStream) -> None:
        """Queue the end of both directions; behind the end of our own, only when the remote is heard again: it may have
        ended the stream meanwhile, and js-libp2p leaves who sends it six frames a second for streams that are over."""
        if not stream.sent_fin:
            self._reset_now(stream.stream_id)
        elif not stream.got_fin:
            self._owed[stream.stream_id] = None
            if len(self._owed) > MAX_OWED:
                self._reset_now(self._owed.popitem(last=False)[0])

    def give_up(self, stream: MplexStream) -> None:
        """The remote does not end a stream that we have ended, nor does it say anything: so we do."""
        super().give_up(stream)
        if stream.stream_id in self._owed:
            del self._owed[stream.stream_id]
            self._reset_now(stream.stream_id)

    def _reset_now(self, key: int) -> None:
        self._outbox.end_stream(key >> 1, bool(key & 1), reset=True)
        self.queued()

    def ask_for_life(self) -> None:
        """Open a stream and propose the ping protocol: a remote without it says so, which is as good."""
        if not self.is_closed:
            self._probe = self.begin_stream()
            if not self.is_closed:
                self.send_data(self._probe, memoryview(proposal(PING)))

    def stop_asking(self) -> None:
        """Drop that stream."""
        if self._probe is not None and not self.is_closed:
            self._probe.drop("has served as a sign of life")
        self._probe = None

    # Receiving. One pass over each message; waiting only between them.

    def hold_for(self, stream: MplexStream) -> None:
        """Read no further message before somebody has read from ``stream``."""
        if stream not in self._full:
            self._full.append(stream)

    async def digest(self) -> None:
        """Wait for the readers of streams that hold too much; one that reads nothing for a while loses its stream."""
        await super().digest()
        while self._full:
            stream = self._full.popleft()
            while stream.overfull and not self.is_closed:
                with trio.move_on_after(self.limits.mplex_patience) as waited:
                    await stream.read_some.park()
                if waited.cancelled_caught:
                    stream.sever("too much unread data")
                self._heard_at = trio.current_time()  # it is us who do not listen

    def feed(self, data: bytes) -> None:
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
                continue
            try:
                header = parse_header(data, at)
            except BadFrame as error:
                raise Violation(str(error)) from error
            if header is None:
                self._partial = data[at:]
                return
            at += header.size
            self._begin_frame(header)

    def _begin_frame(self, header: Header) -> None:
        """Bodies of frames without data, and of streams that are gone, are skipped as they come."""
        self._body, self._body_left = None, header.length
        if header.flag == Flag.NEW_STREAM:
            self._opened_by_remote(header.stream_id)
            return
        stream = self._stream_of(header)
        if stream is None and self._settle(header):
            return
        if header.flag in MESSAGES:
            if stream is None or not header.length or stream.got_fin:
                if header.length < WORTH:
                    self.idle_frame()
            else:
                self._body = stream
        elif stream is None:
            self.idle_frame()
        elif header.flag in CLOSES:
            stream.got_fin = True
            stream.wake()
            self.forget_if_done(stream)
        elif header.flag in RESETS:
            stream.kill("reset by the remote")
            self.forget_if_done(stream)

    def _stream_of(self, header: Header) -> MplexStream | None:
        # Flags of a sender that opened the stream are even: to us it is inbound.
        stream = self.streams.get(_key(header.stream_id, inbound=header.flag % 2 == 0))
        return None if stream is None or stream.reset_by else stream

    def _settle(self, header: Header) -> bool:
        """Whether this is the first frame of a stream since we have reset it: if it has data, say so now."""
        key = _key(header.stream_id, inbound=header.flag % 2 == 0)
        if key not in self._owed:
            return False
        del self._owed[key]
        if header.flag in MESSAGES:
            self._reset_now(key)
        return True

    def _opened_by_remote(self, number: int) -> None:
        if _key(number, inbound=True) in self.streams:
            raise Violation("opens a stream that is open")
        self._owed.pop(_key(number, inbound=True), None)
        if self.may_open():
            self.take_in(MplexStream(number, self, inbound=True))
        else:
            self.idle_frame()
            self.queued(self._outbox.refuse(number))
