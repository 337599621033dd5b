"""Mplex frames (libp2p specs, mplex/README.md, "Message format"): parsed and made. No I/O, no libp2p.

A frame is a varint of stream id and flag, a varint of the length, and so many bytes. Each side numbers the streams that
it opens, so an id means two streams: the flag says whether the sender opened the one that is meant.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from p2p.host.outbox import MAX_PLAINTEXT, FrameQueue

MAX_MESSAGE: Final = 1 << 20
"""Longest body of a frame ("the maximum message length is 1MiB"); a longer one is refused by its length."""
MAX_NAME: Final = 256
"""Longest body of a frame that carries no data: a stream's name, which nothing uses; go-libp2p and js-libp2p send the
stream's number."""
MAX_VARINT: Final = 9
"""Bytes of a varint (multiformats/unsigned-varint, "Practical maximum of 9 bytes"): 60 bits of stream id."""
MAX_HEADER: Final = MAX_VARINT + 3
"""Of a frame that we make: its length is below 2**21."""
MAX_STREAM_ID: Final = 2**60 - 1
MAX_PAYLOAD: Final = MAX_PLAINTEXT - MAX_HEADER


class Flag(IntEnum):
    """What a frame is; "initiator" is said of its sender."""

    NEW_STREAM = 0
    MESSAGE_RECEIVER = 1
    MESSAGE_INITIATOR = 2
    CLOSE_RECEIVER = 3
    CLOSE_INITIATOR = 4
    RESET_RECEIVER = 5
    RESET_INITIATOR = 6


MESSAGES: Final = (Flag.MESSAGE_RECEIVER, Flag.MESSAGE_INITIATOR)
CLOSES: Final = (Flag.CLOSE_RECEIVER, Flag.CLOSE_INITIATOR)
RESETS: Final = (Flag.RESET_RECEIVER, Flag.RESET_INITIATOR)


class BadFrame(Exception):
    """What stands there is no frame of mplex."""


class Header(NamedTuple):
    """Of one frame. ``size`` is its own length in bytes, ``length`` that of the body behind it."""

    stream_id: int
    flag: Flag
    length: int
    size: int


def varint(value: int) -> bytes:
    """Unsigned LEB128, as short as can be."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def header(stream_id: int, flag: Flag, length: int = 0) -> bytes:
    """Of a frame with a body of ``length`` bytes."""
    return varint(stream_id << 3 | flag) + varint(length)


def parse_header(data: bytes, at: int) -> Header | None:
    """The header that begins at ``at``, or None while it is incomplete; raise BadFrame."""
    first = _parse_varint(data, at)
    if first is None:
        return None
    second = _parse_varint(data, first[1])
    if second is None:
        return None
    flag = first[0] & 7
    if flag > Flag.RESET_INITIATOR:
        raise BadFrame(f"flag {flag}")
    length, end = second
    if length > (MAX_MESSAGE if flag in MESSAGES else MAX_NAME):
        raise BadFrame(f"body of {length} bytes in a frame of flag {flag}")
    return Header(first[0] >> 3, Flag(flag), length, end - at)


def _parse_varint(data: bytes, at: int) -> tuple[int, int] | None:
    """(value, where it ends), or None while it is incomplete."""
    value = 0
    for place, byte in enumerate(data[at : at + MAX_VARINT]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    if len(data) - at >= MAX_VARINT:
        raise BadFrame(f"varint of more than {MAX_VARINT} bytes")
    return None


class MplexOutbox(FrameQueue):
    """Frames that wait to be sent. ``ours``: we opened the stream."""

    def open(self, stream_id: int) -> bool:
        """Queue the beginning of a stream of ours, named by its number. False: see ``put_reply``."""
        name = str(stream_id).encode()
        return self.put_reply(header(stream_id, Flag.NEW_STREAM, len(name)) + name)

    def refuse(self, stream_id: int) -> bool:
        """Queue the reset of a stream that the remote wanted to open. False: see ``put_reply``."""
        return self.put_reply(header(stream_id, Flag.RESET_RECEIVER))

    def data(self, stream_id: int, ours: bool, payload: memoryview) -> None:
        """Queue at most MAX_PAYLOAD bytes."""
        self.put(header(stream_id, MESSAGES[ours], len(payload)), payload)

    def end_stream(self, stream_id: int, ours: bool, *, reset: bool) -> None:
        """Queue the end of our direction, or of both, behind what the stream has written."""
        self.put(header(stream_id, (RESETS if reset else CLOSES)[ours]))
