"""The stream multiplexer of one connection: Yamux (hashicorp/yamux spec.md), bounded in everything a remote can fill.

Upstream's connection is replaced, not patched:
    stream_muxer/yamux/yamux.py:1544 the receive window is not enforced
    stream_muxer/yamux/yamux.py:1292 no bound on the streams that a remote opens
    stream_muxer/yamux/yamux.py:719  nobody looks whether a ping was answered: a vanished remote is never noticed
    stream_muxer/yamux/yamux.py:794  close writes GO_AWAY behind a writer that may be blocked for ever
    stream_muxer/yamux/yamux.py:1487 the read loop itself answers: a remote that does not read stops it for ever
    stream_muxer/yamux/yamux.py:880  opening the 257th stream waits without end
and stream_muxer/muxer_multistream.py:143 names the class, so that a subclass given as ``muxer_opt`` is ignored.
"""

from __future__ import annotations

from typing import Any

from libp2p.stream_muxer.exceptions import MuxedStreamError

from p2p.host.fences.muxer import WORTH, MuxedConnection, Violation
from p2p.host.fences.wire import NoiseWire
from p2p.host.fences.yamux_stream import MeshStream
from p2p.host.limits import Limits
from p2p.host.outbox import ACK, FIN, HEADER, MAX_PAYLOAD, MAX_STREAM_ID, RST, SYN, Kind, Outbox
from p2p.host.unread import UnreadBudget

MAX_SEND_WINDOW = 2**31
"""What a remote may grant; more is a mistake or an attempt to overflow."""


class MeshYamux(MuxedConnection[MeshStream]):
    """Runs in ``start`` until the connection ends; ``closed_because`` then says why."""

    max_payload = MAX_PAYLOAD

    def __init__(self, session: Any, peer_id: Any, wire: NoiseWire, limits: Limits, budget: UnreadBudget) -> None:
        super().__init__(session, peer_id, wire, limits, budget)
        self._outbox: Outbox = Outbox(limits.control_queue)
        self._next_id = 1 if self._initiator else 2
        # Frame being parsed.
        self._partial = b""
        self._body: MeshStream | None = None
        self._body_left = 0
        self._body_flags = 0

    def begin_stream(self) -> MeshStream:
        """Raise MuxedStreamError when the ids are used up."""
        if self._next_id > MAX_STREAM_ID:
            raise MuxedStreamError("stream ids are used up")
        stream = MeshStream(self._next_id, self, inbound=False)
        self._next_id += 2
        self.streams[stream.stream_id] = stream
        self._reply(Kind.WINDOW_UPDATE, SYN, stream.stream_id, 0)
        return stream

    # Sending.

    def send_data(self, stream: MeshStream, payload: memoryview) -> None:
        """Queue a data frame of at most ``max_payload`` bytes."""
        self._outbox.data(stream.stream_id, payload)
        self.queued()

    def send_fin(self, stream: MeshStream) -> None:
        """Queue the end of our direction."""
        self._outbox.end_stream(FIN, stream.stream_id)
        self.queued()

    def send_reset(self, stream: MeshStream) -> None:
        """Queue the end of both directions."""
        self._outbox.end_stream(RST, stream.stream_id)
        self.queued()

    def send_credit(self, stream_id: int, increment: int) -> None:
        """Let the remote send ``increment`` more bytes."""
        self._reply(Kind.WINDOW_UPDATE, 0, stream_id, increment)

    def say_goodbye(self) -> None:
        """A GO_AWAY."""
        self._outbox.go_away()

    def ask_for_life(self) -> None:
        """A ping."""
        self._reply(Kind.PING, SYN, 0, 0)

    def _reply(self, kind: Kind, flags: int, stream_id: int, value: int) -> None:
        """Queue a frame that must not wait, because the read loop may be the one who sends it."""
        if not self.is_closed:
            self.queued(self._outbox.reply(kind, flags, stream_id, value))

    # Receiving. One pass over each message, without waiting for anything.

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
            self.idle_frame()
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
            self.idle_frame()
        return None

    def _opened_by_remote(self, stream_id: int) -> MeshStream | None:
        if stream_id % 2 == int(self._initiator) or stream_id == 0:
            raise Violation("opens a stream with an id of ours")
        if stream_id in self.streams or not self.may_open():
            self.idle_frame()
            self._reply(Kind.WINDOW_UPDATE, RST, stream_id, 0)
            return None
        stream = MeshStream(stream_id, self, inbound=True)
        self._reply(Kind.WINDOW_UPDATE, ACK, stream_id, 0)
        self.take_in(stream)
        return stream

    def _begin_body(self, stream: MeshStream | None, flags: int, length: int) -> None:
        if length > (self.limits.stream_window_max if stream is None else stream.receive_credit):
            raise Violation("receive window exceeded")
        if stream is not None:
            stream.receive_credit -= length
        if length == 0:
            if not flags:
                self.idle_frame()
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
