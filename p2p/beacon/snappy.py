"""Snappy as the beacon wire uses it: framed in Req/Resp, block in gossip. Sans-IO.

No byte is decompressed before what it claims to become has been compared with what it may be: a block says its own
length, and so does every block of a frame. Sources: google/snappy ``framing_format.txt``, ``format_description.txt``;
consensus-specs ``phase0/p2p-interface.md`` ("SSZ-snappy encoding strategy").
"""

from __future__ import annotations

from typing import Final

import cramjam

from p2p.beacon.reading import Reading, varint_at
from p2p.faults import FaultReason, Malformed

IDENTIFIER: Final = b"\xff\x06\x00\x00sNaPpY"
"""The chunk that every framed stream begins with."""

MAX_FRAME_DATA: Final = 65_536
"""Bytes of data in one frame (framing_format.txt, 4.2)."""

_CHECKSUM: Final = 4
_HEADER: Final = 4
_COMPRESSED: Final = 0x00
_UNCOMPRESSED: Final = 0x01
_FIRST_SKIPPABLE: Final = 0x80
_STREAM: Final = 0xFF


def max_compressed_len(size: int) -> int:
    """The most bytes that ``size`` bytes may take on the wire (phase0 p2p, ``max_compressed_len``)."""
    return 32 + size + size // 6


def encode_frames(data: bytes) -> bytes:
    """Framed snappy."""
    return bytes(cramjam.snappy.compress(data))


def encode_block(data: bytes) -> bytes:
    """Block snappy."""
    return bytes(cramjam.snappy.compress_raw(data))


def decode_block(data: bytes, limit: int) -> bytes | Malformed:
    """Block snappy of at most ``limit`` bytes of data; more is refused by what the block claims."""
    size = varint_at(data)
    if size is None:
        return Malformed(FaultReason.BAD_FRAME, "snappy block without a length")
    if size > limit:
        return Malformed(FaultReason.OVERSIZED, f"snappy block of {size} bytes is above {limit}")
    out = bytearray(size)
    try:
        written = cramjam.snappy.decompress_raw_into(data, out)
    except cramjam.DecompressionError as error:
        return Malformed(FaultReason.BAD_FRAME, f"snappy block: {error}")
    if written != size:
        return Malformed(FaultReason.BAD_FRAME, f"snappy block of {written} bytes claims {size}")
    return bytes(out)


def frames(size: int) -> Reading[bytes | Malformed]:
    """Reads a framed stream up to the frame with which it holds exactly ``size`` bytes, at least 1."""
    if (yield len(IDENTIFIER)) != IDENTIFIER:
        return Malformed(FaultReason.BAD_FRAME, "no snappy stream identifier")
    pieces = [IDENTIFIER]
    room, held = max_compressed_len(size) - len(IDENTIFIER), 0
    while held < size:
        head = yield _HEADER
        length = int.from_bytes(head[1:], "little")
        room -= _HEADER + length
        if room < 0:
            return Malformed(FaultReason.OVERSIZED, f"snappy frames of {size} bytes take more than they may")
        body = yield length
        more = _data_of(head[0], body)
        if isinstance(more, Malformed):
            return more
        held += more
        pieces += (head, body)
    if held > size:
        return Malformed(FaultReason.OVERSIZED, f"snappy frames of {held} bytes where {size} were announced")
    return _decompressed(b"".join(pieces), size)


def _data_of(kind: int, body: bytes) -> int | Malformed:
    """Bytes of data that a frame claims to hold."""
    if kind >= _FIRST_SKIPPABLE:  # padding, the reserved skippable ones, and the identifier once more
        if kind == _STREAM and body != IDENTIFIER[_HEADER:]:
            return Malformed(FaultReason.BAD_FRAME, "wrong snappy stream identifier")
        return 0
    if kind not in (_COMPRESSED, _UNCOMPRESSED) or len(body) < _CHECKSUM:
        return Malformed(FaultReason.BAD_FRAME, f"snappy frame of kind {kind} with {len(body)} bytes")
    data = varint_at(body, _CHECKSUM) if kind == _COMPRESSED else len(body) - _CHECKSUM
    if data is None or data > MAX_FRAME_DATA:
        return Malformed(FaultReason.BAD_FRAME, f"snappy frame of {data} bytes")
    return data


def _decompressed(stream: bytes, size: int) -> bytes | Malformed:
    """What the claims add up to fits ``size``; whether they and the checksums are true is seen here."""
    out = bytearray(size)
    try:
        written = cramjam.snappy.decompress_into(stream, out)
    except cramjam.DecompressionError as error:
        return Malformed(FaultReason.BAD_FRAME, f"snappy frames: {error}")
    if written != size:
        return Malformed(FaultReason.BAD_FRAME, f"snappy frames of {written} bytes claim {size}")
    return bytes(out)
