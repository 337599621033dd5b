"""One Yamux stream: its receive buffer, its two windows, and who waits for what.

Upstream's stream polls a zero send window every 10 ms and fails after 5 s (stream_muxer/yamux/yamux.py:280), sends a
window update for nearly every read (stream_muxer/yamux/yamux.py:581), copies the rest of the buffer on each partial
read (stream_muxer/yamux/yamux.py:1116), and stores what exceeds the window (stream_muxer/yamux/yamux.py:1544).
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING

import trio
from libp2p.abc import IMuxedStream
from libp2p.stream_muxer.exceptions import MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset

if TYPE_CHECKING:
    from p2p.host.fences.yamux import MeshYamux

INITIAL_WINDOW = 256 * 1024
"""Window of a new stream each way (Yamux specification, "Flow Control")."""
MERGE_BELOW = 4 * 1024
"""Smaller pieces are merged as they arrive: one object per one-byte frame would take 40 times its share of memory."""


class MeshStream(IMuxedStream):  # type: ignore[misc]
    """Reads by one task, writes by any, one after the other. Raises only upstream's MuxedStreamError family."""

    def __init__(self, stream_id: int, conn: MeshYamux, *, inbound: bool) -> None:
        self.stream_id = stream_id
        self.muxed_conn = conn
        self.inbound = inbound
        self.send_window = INITIAL_WINDOW
        self.receive_credit = INITIAL_WINDOW
        self.window = INITIAL_WINDOW
        self.unread = 0
        self.sent_fin = False
        self.got_fin = False
        self.reset_by = ""
        self.ended_by_user = False
        self.active_at = trio.current_time()
        self._consumed = 0
        self._pieces: deque[bytes | bytearray] = deque()
        self._offset = 0
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._writing = trio.Lock()

    # What the connection calls.

    def receive(self, piece: bytes) -> None:
        """Take ``piece`` of the body of a data frame; the connection has checked it against the window."""
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

    def grant(self, increment: int) -> None:
        """The remote allows ``increment`` more bytes."""
        self.send_window += increment
        self._writers.unpark_all()

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
        self._return_credit(len(data))
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

    def _return_credit(self, count: int) -> None:
        """Grant the remote what our user has read, half a window at a time; grow the window while it is used up."""
        self._consumed += count
        if self.reset_by or self.got_fin:
            return
        if self._consumed * 2 >= self.window:
            growth = min(self.window, self.muxed_conn.limits.stream_window_max - self.window)
            self.window += growth
            self.muxed_conn.send_credit(self.stream_id, self._consumed + growth)
            self.receive_credit += self._consumed + growth
            self._consumed = 0

    async def write(self, data: bytes) -> None:
        """Queue all of ``data``, waiting for window and room; raise MuxedStreamClosed or MuxedStreamReset."""
        async with self._writing:
            view = memoryview(bytes(data))
            while view:
                room = await self._room()
                piece, view = view[:room], view[room:]
                self.send_window -= len(piece)
                self.active_at = trio.current_time()
                self.muxed_conn.send_data(self.stream_id, piece)

    async def _room(self) -> int:
        """Wait until something may be written; return how many bytes, at most one frame."""
        conn = self.muxed_conn
        while True:
            if self.reset_by:
                raise MuxedStreamReset(self.reset_by)
            if self.sent_fin:
                raise MuxedStreamClosed("closed for writing")
            if self.send_window <= 0:
                with trio.move_on_after(conn.limits.window_deadline) as waited:
                    await self._writers.park()
                if waited.cancelled_caught:
                    await self.reset()
            elif not conn.has_room():
                await conn.wait_for_room()
            else:
                return min(self.send_window, conn.max_payload)

    async def close(self) -> None:
        """Finish our direction (FIN) behind what was written; reading may go on."""
        self.ended_by_user = True
        if self.reset_by:
            self.discard()
        elif not self.sent_fin:
            self.sent_fin = True
            self.muxed_conn.send_fin(self.stream_id)
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
        if not self.reset_by:
            self.kill(why)
            self.muxed_conn.send_reset(self.stream_id)
        self.discard()
        self.muxed_conn.forget_if_done(self)

    def set_deadline(self, ttl: int) -> None:
        """Yamux has no deadlines; the host's callers use cancel scopes. Nothing calls this."""

    def get_remote_address(self) -> tuple[str, int] | None:
        """Of the connection."""
        return self.muxed_conn.get_remote_address()

    async def __aenter__(self) -> MeshStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
