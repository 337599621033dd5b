"""Requests and response chunks of Req/Resp, to bytes and back. Sans-IO.

    request  = varint(length of ssz) | snappy frames of ssz            nothing at all where the request has no body
    chunk    = code | context, 4 bytes, where there is one | varint(length of ssz) | snappy frames of ssz
    error    = code | varint(length of text) | snappy frames of text

Whatever the bytes, a reading returns a message or ``Malformed``, and never asks for more than the type's bound allows.
Source: consensus-specs ``phase0/p2p-interface.md``, "Req/Resp interaction" and "SSZ-snappy encoding strategy".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from p2p.beacon.provider import Chunk
from p2p.beacon.reading import Reading, encode_varint, varint
from p2p.beacon.snappy import encode_frames, frames
from p2p.faults import FaultReason, Malformed

DIGEST_SIZE: Final = 4
"""Bytes of a context."""

MAX_ERROR_TEXT: Final = 256
"""Bytes of an error's text (``ErrorMessage: List[byte, 256]``); the remote fills it and it may reach a log."""

RATE_LIMITED: Final = 139
"""Lighthouse's own code for what others say in words."""


class Code(IntEnum):
    """How a request went (``result``)."""

    SUCCESS = 0
    INVALID_REQUEST = 1
    SERVER_ERROR = 2
    RESOURCE_UNAVAILABLE = 3


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error chunk: no further chunk follows. ``code`` may be any from 1 to 255."""

    code: int
    text: str

    @property
    def rate_limited(self) -> bool:
        """The peer wants to be asked less often. Each client says it in words of its own."""
        text = self.text.lower()
        return self.code == RATE_LIMITED or "rate_limit" in text or "rate limit" in text or "too many requests" in text

    @property
    def reason(self) -> FaultReason:
        return FaultReason.NOT_FOUND if self.code == Code.RESOURCE_UNAVAILABLE else FaultReason.REFUSED


Sizes: TypeAlias = tuple[int, int]
"""Least and greatest SSZ bytes."""
Bounds: TypeAlias = Callable[[bytes], Sizes | None]
"""Context -> sizes of what may follow it; None where the context is not known."""


def encode_request(ssz: bytes) -> bytes:
    """The whole request; empty for one without a body."""
    return encode_varint(len(ssz)) + encode_frames(ssz) if ssz else b""


def encode_chunk(chunk: Chunk) -> bytes:
    """One response chunk; ``digest`` is empty where the protocol has no context."""
    return b"".join((bytes((Code.SUCCESS,)), chunk.digest, encode_varint(len(chunk.ssz)), encode_frames(chunk.ssz)))


def encode_refusal(refusal: Refusal) -> bytes:
    """An error chunk; the text is cut to its limit, between characters."""
    text = refusal.text.encode()[:MAX_ERROR_TEXT].decode(errors="ignore").encode()
    return bytes((refusal.code,)) + encode_varint(len(text)) + (encode_frames(text) if text else b"")


def payload(sizes: Sizes) -> Reading[bytes | Malformed]:
    """Length and frames of something of that many bytes: a request's body, and what follows a chunk's context."""
    least, most = sizes
    size = yield from varint()
    if isinstance(size, Malformed):
        return size
    if size > most:
        return Malformed(FaultReason.OVERSIZED, f"{size} bytes announced, at most {most}")
    if size < least:
        return Malformed(FaultReason.BAD_FRAME, f"{size} bytes announced, at least {least}")
    if not size:
        return b""
    return (yield from frames(size))


def response_chunk(bounds: Bounds, context: bool) -> Reading[Chunk | Refusal | Malformed]:
    """One chunk of a response. ``context`` says whether the protocol has one."""
    code = (yield 1)[0]
    if code != Code.SUCCESS:
        return (yield from _error(code))
    digest = (yield DIGEST_SIZE) if context else b""
    sizes = bounds(digest)
    if sizes is None:
        return Malformed(FaultReason.WRONG_NETWORK, f"context {digest.hex()} is no fork digest of this network")
    ssz = yield from payload(sizes)
    return ssz if isinstance(ssz, Malformed) else Chunk(digest, ssz)


def _error(code: int) -> Reading[Refusal | Malformed]:
    text = yield from payload((0, MAX_ERROR_TEXT))
    return text if isinstance(text, Malformed) else Refusal(code, text.decode(errors="replace"))
