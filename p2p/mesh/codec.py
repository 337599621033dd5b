"""Frames of ``/spvnode/<network>/headers/1`` and ``/proof/1``: bytes to typed messages and back. Sans-IO.

A frame is ``u32 length | u8 type | u32 request id | payload``, integers big-endian; ``length`` counts what
follows it. The one who opened the stream asks: HELLO once, then GET_BY_LOCATOR, GET_RANGE (or GET_PROOF on
a proof stream, which has no HELLO). The other answers: HELLO once, then HEADERS, PROOF or ERROR under the
request's id, and ANNOUNCE whenever its tip changes. HELLO and ANNOUNCE carry id 0; an ERROR with id 0 is
about the whole stream.

Every payload has exactly one encoding, and every type its own size limits, which the nine bytes of the
prefix are checked against before any payload is read. Decoders return ``Malformed`` for whatever is not a
message, never raise. Hashes are in internal byte order; header bytes are not looked into.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from p2p.faults import FaultReason, Malformed

HEADER_SIZE: Final = 80
"""Bytes of one block header."""

MAX_FRAME: Final = 1 << 20
"""Bytes of a whole frame. Above the biggest legal one (a full HEADERS, 645,133), so it needs no exception."""

MAX_HEADERS: Final = 8_064
"""Headers in one reply: four retarget periods, 645,120 bytes. A peer may make us hold one such frame per
stream."""

MAX_LOCATOR: Final = 64
"""Hashes in a locator. An exponential one over 2**32 heights needs 10 + 32; each costs the server a
look-up."""

MAX_ERROR_TEXT: Final = 200
"""UTF-8 bytes of an error's text; the remote fills it and it may reach a log."""

MAX_PROOF: Final = 16_384
"""Bytes of a proof bundle. Three branches of at most 32 hashes and two headers are 3.3 kB."""

PREFIX_SIZE: Final = 9
NO_REQUEST: Final = 0
"""Request id of what answers no request."""
MAX_REQUEST_ID: Final = 0xFFFF_FFFF

_PREFIX: Final = struct.Struct(">IBI")
_HELLO: Final = struct.Struct(">H32sII32s32s")
_RANGE: Final = struct.Struct(">IH")
_LOCATOR: Final = struct.Struct(">HB")
_U32: Final = struct.Struct(">I")
_PAIR: Final = struct.Struct(">II")
_AFTER_LENGTH: Final = PREFIX_SIZE - 4
_MAX_U32: Final = 0xFFFF_FFFF


class FrameType(IntEnum):
    HELLO = 0
    GET_BY_LOCATOR = 1
    GET_RANGE = 2
    HEADERS = 3
    ERROR = 4
    ANNOUNCE = 5
    GET_PROOF = 6
    PROOF = 7


class ErrorCode(IntEnum):
    """Why a request (or, with id 0, a stream) is refused."""

    NOT_FOUND = 1
    """No block in common, or a height outside what the server has."""
    BUSY = 2
    """A limit of the server is reached; later may do."""
    BAD_REQUEST = 3
    """The server could not make sense of it; the stream ends."""
    INTERNAL = 4
    """The server failed, by its own fault."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a node has. As a HELLO it opens a stream; as an ANNOUNCE it replaces the earlier one."""

    version: int
    """u16, the sender's protocol revision; revisions differ only in what both sides may ignore."""
    genesis: bytes
    base: int
    """Lowest height that the sender serves."""
    tip_height: int
    tip_hash: bytes
    chainwork: int
    """Cumulative work at the tip, 0 .. 2**256 - 1, as far as the sender counts it. A claim, never a fact."""


@dataclass(frozen=True, slots=True)
class Announce:
    hello: Hello


@dataclass(frozen=True, slots=True)
class GetByLocator:
    """Asks for up to ``count`` headers after the first hash of ``locator`` on the server's main chain."""

    count: int
    locator: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class GetRange:
    """Asks for ``count`` headers of the main chain from height ``start``."""

    start: int
    count: int


@dataclass(frozen=True, slots=True)
class Headers:
    """``headers`` holds n * 80 bytes, the first at height ``start``. n is 0 only in answer to a locator."""

    start: int
    headers: bytes

    @property
    def count(self) -> int:
        return len(self.headers) // HEADER_SIZE

    @property
    def end(self) -> int:
        """Height after the last header."""
        return self.start + self.count


@dataclass(frozen=True, slots=True)
class Error:
    code: ErrorCode
    text: str


@dataclass(frozen=True, slots=True)
class GetProof:
    """Asks for the proof bundle of ``height`` in the header tree up to ``cp_height``."""

    height: int
    cp_height: int


@dataclass(frozen=True, slots=True)
class Proof:
    bundle: bytes


Message: TypeAlias = Hello | Announce | GetByLocator | GetRange | Headers | Error | GetProof | Proof


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first nine bytes of a frame, within the limits of its type."""

    type: FrameType
    request_id: int
    payload_size: int


def _bad(evidence: str) -> Malformed:
    return Malformed(FaultReason.BAD_FRAME, evidence)


# Least and greatest payload of each type, bytes.
_SIZES: Final[dict[FrameType, tuple[int, int]]] = {
    FrameType.HELLO: (_HELLO.size, _HELLO.size),
    FrameType.GET_BY_LOCATOR: (_LOCATOR.size + 32, _LOCATOR.size + 32 * MAX_LOCATOR),
    FrameType.GET_RANGE: (_RANGE.size, _RANGE.size),
    FrameType.HEADERS: (_U32.size, _U32.size + HEADER_SIZE * MAX_HEADERS),
    FrameType.ERROR: (1, 1 + MAX_ERROR_TEXT),
    FrameType.ANNOUNCE: (_HELLO.size, _HELLO.size),
    FrameType.GET_PROOF: (_PAIR.size, _PAIR.size),
    FrameType.PROOF: (1, MAX_PROOF),
}
_WITHOUT_ID: Final = frozenset({FrameType.HELLO, FrameType.ANNOUNCE})
_EITHER_ID: Final = frozenset({FrameType.ERROR})
_TYPES: Final = {int(kind): kind for kind in FrameType}
_ERROR_CODES: Final = {int(code): code for code in ErrorCode}


def decode_prefix(data: bytes) -> Prefix | Malformed:
    """Read the nine bytes that begin a frame; no payload beyond its type's limit is ever waited for."""
    length, number, request_id = _PREFIX.unpack(data)
    kind = _TYPES.get(number)
    if kind is None:
        return _bad(f"frame type {number} is unknown")
    size = length - _AFTER_LENGTH
    least, most = _SIZES[kind]
    if length + 4 > MAX_FRAME or size > most:
        return Malformed(FaultReason.OVERSIZED, f"{kind.name} payload of {size} bytes is above its limit {most}")
    if size < least:
        return _bad(f"{kind.name} payload of {size} bytes is below its least {least}")
    if kind not in _EITHER_ID and (request_id == NO_REQUEST) != (kind in _WITHOUT_ID):
        return _bad(f"{kind.name} with request id {request_id}")
    return Prefix(kind, request_id, size)


def decode_payload(kind: FrameType, payload: bytes) -> Message | Malformed:
    """Decode a payload whose size already passed ``decode_prefix``."""
    return _DECODERS[kind](payload)


def _decode_hello(payload: bytes) -> Hello | Malformed:
    version, genesis, base, height, tip, work = _HELLO.unpack(payload)
    if base > height:
        return _bad(f"base {base} is above the tip {height}")
    if height == 0 and tip != genesis:
        return _bad("a tip at height 0 that is not the genesis")
    return Hello(version, genesis, base, height, tip, int.from_bytes(work, "big"))


def _decode_announce(payload: bytes) -> Announce | Malformed:
    hello = _decode_hello(payload)
    return hello if isinstance(hello, Malformed) else Announce(hello)


def _decode_locator(payload: bytes) -> GetByLocator | Malformed:
    count, hashes = _LOCATOR.unpack_from(payload)
    if hashes > MAX_LOCATOR:
        return Malformed(FaultReason.OVERSIZED, f"locator of {hashes} hashes is above {MAX_LOCATOR}")
    if len(payload) != _LOCATOR.size + 32 * hashes:
        return _bad(f"locator of {hashes} hashes in {len(payload)} bytes")
    if not 1 <= count <= MAX_HEADERS:
        return _bad(f"count {count} outside 1..{MAX_HEADERS}")
    cuts = range(_LOCATOR.size, len(payload), 32)
    return GetByLocator(count, tuple(payload[i : i + 32] for i in cuts))


def _decode_range(payload: bytes) -> GetRange | Malformed:
    start, count = _RANGE.unpack(payload)
    if not 1 <= count <= MAX_HEADERS:
        return _bad(f"count {count} outside 1..{MAX_HEADERS}")
    if start + count - 1 > _MAX_U32:
        return _bad(f"range from {start} ends above height {_MAX_U32}")
    return GetRange(start, count)


def _decode_headers(payload: bytes) -> Headers | Malformed:
    if (len(payload) - _U32.size) % HEADER_SIZE:
        return _bad(f"{len(payload) - _U32.size} bytes are no whole number of headers")
    return Headers(_U32.unpack_from(payload)[0], payload[_U32.size :])


def _decode_error(payload: bytes) -> Error | Malformed:
    code = _ERROR_CODES.get(payload[0])
    if code is None:
        return _bad(f"error code {payload[0]} is unknown")
    try:
        return Error(code, payload[1:].decode())
    except UnicodeDecodeError:
        return _bad("error text is not UTF-8")


def _decode_get_proof(payload: bytes) -> GetProof | Malformed:
    height, cp_height = _PAIR.unpack(payload)
    if height > cp_height:
        return _bad(f"height {height} is above cp_height {cp_height}")
    return GetProof(height, cp_height)


_DECODERS: Final[dict[FrameType, Callable[[bytes], Message | Malformed]]] = {
    FrameType.HELLO: _decode_hello,
    FrameType.GET_BY_LOCATOR: _decode_locator,
    FrameType.GET_RANGE: _decode_range,
    FrameType.HEADERS: _decode_headers,
    FrameType.ERROR: _decode_error,
    FrameType.ANNOUNCE: _decode_announce,
    FrameType.GET_PROOF: _decode_get_proof,
    FrameType.PROOF: Proof,
}


def encode(request_id: int, message: Message) -> bytes:
    """One whole frame. ValueError or struct.error when ``message`` is one that no honest peer would
    accept: that is our bug, and must not leave the house."""
    kind, payload = _encode_payload(message)
    size = len(payload)
    least, most = _SIZES[kind]
    if not least <= size <= most:
        raise ValueError(f"{kind.name} payload of {size} bytes is outside {least}..{most}")
    if kind is not FrameType.HEADERS:  # those were checked above, and are big
        refused = decode_payload(kind, payload)
        if isinstance(refused, Malformed):
            raise ValueError(refused.evidence)
    return b"".join((_PREFIX.pack(size + _AFTER_LENGTH, kind, request_id), payload))


def _encode_hello(hello: Hello) -> bytes:
    return _HELLO.pack(
        hello.version,
        hello.genesis,
        hello.base,
        hello.tip_height,
        hello.tip_hash,
        hello.chainwork.to_bytes(32, "big"),
    )


def _encode_payload(message: Message) -> tuple[FrameType, bytes]:
    match message:
        case Headers(start, headers):
            if len(headers) % HEADER_SIZE:
                raise ValueError(f"{len(headers)} bytes are no whole number of headers")
            return FrameType.HEADERS, _U32.pack(start) + headers
        case GetRange(start, count):
            return FrameType.GET_RANGE, _RANGE.pack(start, count)
        case GetByLocator(count, locator):
            return FrameType.GET_BY_LOCATOR, _LOCATOR.pack(count, len(locator)) + b"".join(locator)
        case Announce(hello):
            return FrameType.ANNOUNCE, _encode_hello(hello)
        case Hello():
            return FrameType.HELLO, _encode_hello(message)
        case Error(code, text):
            return FrameType.ERROR, bytes((code,)) + _cut_utf8(text)
        case GetProof(height, cp_height):
            return FrameType.GET_PROOF, _PAIR.pack(height, cp_height)
        case Proof(bundle):
            return FrameType.PROOF, bundle


def _cut_utf8(text: str) -> bytes:
    """Cut to the limit without splitting a character."""
    return text.encode()[:MAX_ERROR_TEXT].decode(errors="ignore").encode()
