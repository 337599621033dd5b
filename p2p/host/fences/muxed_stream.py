"""One stream of a multiplexed connection: what came and is unread, who waits for what, and how it ends.

What Yamux and mplex have in common; flow control is each one's own (``yamux_stream``, ``mplex``).
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio
from libp2p.abc import IMuxedStream
from libp2p.stream_muxer.exceptions import MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset

if TYPE_CHECKING:
    from p2p.host.fences.muxer import MuxedConnection

MERGE_BELOW = 4 * 1024
"""Smaller pieces are merged as they arrive: one object per one-byte frame would take 40 times its share of memory."""

Conn = TypeVar("Conn", bound="MuxedConnection[Any]")


class MuxedStream(IMuxedStream, Generic[Conn]):  # type: ignore[misc]
    """Reads by one task, writes by any, one after the other. Raises only upstream's MuxedStreamError family."""

    def __init__(self, stream_id: int, conn: Conn, *, inbound: bool) -> None:
        self.stream_id = stream_id
        self.muxed_conn = conn
        self.inbound = inbound
        self.unread = 0
        self.sent_fin = False
        self.got_fin = False
        self.reset_by = ""
        self.ended_by_user = False
        self.active_at = trio.current_time()
        self._pieces: deque[bytes | bytearray] = deque()
        self._offset = 0
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._writing = trio.Lock()

    # What the connection calls.

    def receive(self, piece: bytes) -> None:
        """Take ``piece`` of the body of a data frame."""
        if self.reset_by:
            return
        self.unread += len(piece)
        self.muxed_conn.account(len(piece))
        if len(piece) >= MERGE_BELOW:
            self._pieces.append(piece)
        elif self._pieces and isinstance(self._pieces[-1], bytearray) and len(self._pieces[-1]) < MERGE_BELOW:
            self._pieces[-1] += piece
        else:
            self._pieces.append(bytearray(piece))
        self.wake()

    def wake(self) -> None:
        """Let readers and writers look at the state again."""
        self._readers.unpark_all()
        self._writers.unpark_all()

    def kill(self, why: str) -> None:
        """End both directions; what arrived before can still be read."""
        self.reset_by = self.reset_by or why
        self.wake()

    def discard(self) -> None:
        """Forget what is unread."""
        self._pieces.clear()
        self._offset = 0
        self.muxed_conn.account(-self.unread)
        self.unread = 0

    # What differs.

    def was_read(self, count: int) -> None:
        """``count`` bytes have left the buffer for our user."""

    async def room(self) -> int:
        """Wait until something may be written; return how many bytes, at most one frame."""
        while not self.muxed_conn.has_room():
            self.check_writable()
            await self.muxed_conn.wait_for_room()
        self.check_writable()
        return self.muxed_conn.max_payload

    def check_writable(self) -> None:
        """Raise MuxedStreamReset or MuxedStreamClosed when nothing can be written any more."""
        if self.reset_by:
            raise MuxedStreamReset(self.reset_by)
        if self.sent_fin:
            raise MuxedStreamClosed("closed for writing")

    # What the stream's user calls.

    async def read(self, n: int | None = None) -> bytes:
        """At least one and at most ``n`` bytes (None, -1: all there is); raise MuxedStreamEOF or MuxedStreamReset."""
        while not self.unread:
            if self.reset_by:
                raise MuxedStreamReset(self.reset_by)
            if self.got_fin:
                raise MuxedStreamEOF("closed by the remote")
            await self._readers.park()
        data = self._take(self.unread if n is None or n < 0 else min(n, self.unread))
        self.active_at = trio.current_time()
        self.was_read(len(data))
        self.muxed_conn.forget_if_done(self)
        return data

    def _take(self, count: int) -> bytes:
        parts: list[bytes | bytearray] = []
        left = count
        while left:
            head = self._pieces[0]
            stop = min(len(head), self._offset + left)
            whole = self._offset == 0 and stop == len(head)
            parts.append(head if whole else head[self._offset : stop])
            left -= stop - self._offset
            if stop == len(head):
                self._pieces.popleft()
                self._offset = 0
            else:
                self._offset = stop
        self.unread -= count
        self.muxed_conn.account(-count)
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    async def write(self, data: bytes) -> None:
        """Queue all of ``data``, waiting for room; raise MuxedStreamClosed or MuxedStreamReset."""
        async with self._writing:
            view = memoryview(bytes(data))
            while view:
                room = await self.room()
                piece, view = view[:room], view[room:]
                self.active_at = trio.current_time()
                self.put(piece)

    def put(self, piece: memoryview) -> None:
        """Queue at most ``room`` bytes."""
        self.muxed_conn.send_data(self, piece)

    async def close(self) -> None:
        """Finish our direction behind what was written; reading may go on."""
        self.ended_by_user = True
        if self.reset_by:
            self.discard()
        elif not self.sent_fin:
            self.sent_fin = True
            self.muxed_conn.send_fin(self)
            self.wake()
        self.muxed_conn.forget_if_done(self)
        await trio.lowlevel.checkpoint()

    async def reset(self) -> None:
        """End both directions at once and drop what is unread."""
        self.drop("reset by us")
        await trio.lowlevel.checkpoint()

    def drop(self, why: str) -> None:
        """As reset, for callers that cannot wait."""
        self.ended_by_user = True
        self.sever(why)

    def sever(self, why: str) -> None:
        """End both directions and drop what is unread, while our user still holds the stream: he finds it reset."""
        if not self.reset_by:
            self.kill(why)
            self.muxed_conn.send_reset(self)
        self.discard()
        self.muxed_conn.forget_if_done(self)

    def set_deadline(self, ttl: int) -> None:
        """There are no deadlines here; the host's callers use cancel scopes. Nothing calls this."""

    def get_remote_address(self) -> tuple[str, int] | None:
        """Of the connection."""
        return self.muxed_conn.get_remote_address()

    async def __aenter__(self) -> MuxedStream[Conn]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
