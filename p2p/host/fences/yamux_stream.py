"""One Yamux stream: its two windows on top of what any stream has.

Upstream's stream polls a zero send window every 10 ms and fails after 5 s (stream_muxer/yamux/yamux.py:280), sends a
window update for nearly every read (stream_muxer/yamux/yamux.py:581), copies the rest of the buffer on each partial
read (stream_muxer/yamux/yamux.py:1116), and stores what exceeds the window (stream_muxer/yamux/yamux.py:1544).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from p2p.host.fences.muxed_stream import MuxedStream

if TYPE_CHECKING:
    from p2p.host.fences.yamux import MeshYamux

INITIAL_WINDOW = 256 * 1024
"""Window of a new stream each way (Yamux specification, "Flow Control")."""


class MeshStream(MuxedStream["MeshYamux"]):
    """A remote that sends more than its window is refused by the connection; a writer waits for the remote's."""

    def __init__(self, stream_id: int, conn: MeshYamux, *, inbound: bool) -> None:
        super().__init__(stream_id, conn, inbound=inbound)
        self.send_window = INITIAL_WINDOW
        self.receive_credit = INITIAL_WINDOW
        self.window = INITIAL_WINDOW
        self._consumed = 0

    def grant(self, increment: int) -> None:
        """The remote allows ``increment`` more bytes."""
        self.send_window += increment
        self._writers.unpark_all()

    def was_read(self, count: int) -> None:
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

    async def room(self) -> int:
        """Wait for send window and room in the queue; a window that stays shut costs the stream."""
        conn = self.muxed_conn
        while True:
            self.check_writable()
            if self.send_window <= 0:
                with trio.move_on_after(conn.limits.window_deadline) as waited:
                    await self._writers.park()
                if waited.cancelled_caught:
                    await self.reset()
            elif not conn.has_room():
                await conn.wait_for_room()
            else:
                return min(self.send_window, conn.max_payload)

    def put(self, piece: memoryview) -> None:
        """Queue at most ``room`` bytes, out of the send window."""
        self.send_window -= len(piece)
        super().put(piece)
