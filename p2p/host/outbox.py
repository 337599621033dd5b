"""Frames of a multiplexer on their way out, packed so that each data frame is one Noise message. No I/O, no libp2p.

Frame layout of Yamux: hashicorp/yamux spec.md; of mplex: ``mplex_frames``. Upstream writes 64 KiB frames
(stream_muxer/yamux/yamux.py:150), a little more than fits into a Noise message, so that each takes two messages and two
system calls.
"""

from __future__ import annotations

import struct
from collections import deque
from enum import IntEnum

HEADER = struct.Struct("!BBHII")  # version, type, flags, stream id, length
SYN, ACK, FIN, RST = 1, 2, 4, 8
GO_AWAY_NORMAL = 0
MAX_STREAM_ID = 2**32 - 1

MAX_PLAINTEXT = 65535 - 16
"""Plaintext of one Noise message: its two-byte length less the tag (Noise specification, sections 3 and 5.1)."""
MAX_PAYLOAD = MAX_PLAINTEXT - HEADER.size
BATCH = 4 * MAX_PLAINTEXT
"""Plaintext handed to the socket at once: 256 KiB amortize a system call and a task switch."""
NO_PAYLOAD = memoryview(b"")


class Kind(IntEnum):
    """Frame types (hashicorp/yamux spec.md, "Type Field")."""

    DATA = 0
    WINDOW_UPDATE = 1
    PING = 2
    GO_AWAY = 3


class FrameQueue:
    """Replies go before stream frames; stream frames keep their order."""

    def __init__(self, max_replies: int) -> None:
        self._max_replies = max_replies
        self._replies: deque[bytes] = deque()
        self._frames: deque[tuple[bytes, memoryview]] = deque()
        self.payload = 0
        """Payload bytes queued."""

    def __bool__(self) -> bool:
        return bool(self._replies or self._frames)

    def put_reply(self, frame: bytes) -> bool:
        """Queue a frame that cannot wait for room. False: the remote does not take the ones before it."""
        if len(self._replies) >= self._max_replies:
            return False
        self._replies.append(frame)
        return True

    def put(self, header: bytes, payload: memoryview = NO_PAYLOAD) -> None:
        """Queue a frame of at most MAX_PLAINTEXT bytes behind all others; the caller watches ``payload``."""
        self._frames.append((header, payload))
        self.payload += len(payload)

    def take(self) -> list[bytes]:
        """Remove about BATCH bytes of frames; return them as messages of at most MAX_PLAINTEXT bytes."""
        messages: list[bytes] = []
        parts: list[bytes | memoryview] = []
        size = total = 0
        while total < BATCH and self:
            header, payload = (self._replies.popleft(), NO_PAYLOAD) if self._replies else self._frames.popleft()
            length = len(header) + len(payload)
            if size + length > MAX_PLAINTEXT:
                messages.append(b"".join(parts))
                parts, size = [], 0
            parts += (header, payload)
            size += length
            total += length
            self.payload -= len(payload)
        messages.append(b"".join(parts))
        return messages


class Outbox(FrameQueue):
    """Of Yamux."""

    def reply(self, kind: Kind, flags: int, stream_id: int, value: int) -> bool:
        """Queue a frame that cannot wait for room. False: the remote does not take the ones before it."""
        return self.put_reply(HEADER.pack(0, kind, flags, stream_id, value))

    def data(self, stream_id: int, payload: memoryview) -> None:
        """Queue at most MAX_PAYLOAD bytes."""
        self.put(HEADER.pack(0, Kind.DATA, 0, stream_id, len(payload)), payload)

    def end_stream(self, flag: int, stream_id: int) -> None:
        """Queue FIN or RST behind what the stream has written: last words are worth hearing."""
        self.put(HEADER.pack(0, Kind.WINDOW_UPDATE, flag, stream_id, 0))

    def go_away(self) -> None:
        """Queue the end of the connection behind everything."""
        self.put(HEADER.pack(0, Kind.GO_AWAY, 0, 0, GO_AWAY_NORMAL))
