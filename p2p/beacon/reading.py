"""Parsers that ask for bytes: a generator yields how many it needs next, is sent exactly these, and returns what it
made of them. So one parser serves a stream, a buffer and a test, and never holds a byte more than it asked for.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, TypeAlias, TypeVar

from p2p.faults import FaultReason, Malformed
from p2p.port import Stream, StreamClosed

T = TypeVar("T")

Reading: TypeAlias = Generator[int, bytes, T]

MAX_VARINT: Final = 10
"""Bytes of an unsigned LEB128 of 64 bits; a longer one is refused (phase0 p2p)."""


def varint() -> Reading[int | Malformed]:
    """An unsigned protobuf varint of at most 64 bits."""
    value = 0
    for place in range(MAX_VARINT):
        byte = (yield 1)[0]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            if value >> 64:
                break
            return value
    return Malformed(FaultReason.BAD_FRAME, "varint above 64 bits")


def varint_at(data: bytes, start: int = 0) -> int | None:
    """The varint at ``start`` of ``data``; None when there is none."""
    done = parse(varint(), data[start : start + MAX_VARINT])
    return done[0] if done is not None and isinstance(done[0], int) else None


def encode_varint(value: int) -> bytes:
    """``value`` as an unsigned protobuf varint."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def parse(reading: Reading[T], data: bytes) -> tuple[T, bytes] | None:
    """What ``reading`` makes of ``data``, and what it leaves of it; None where the data ends first."""
    at = 0
    try:
        needed = next(reading)
        while at + needed <= len(data):
            at += needed
            needed = reading.send(data[at - needed : at])
    except StopIteration as done:
        return done.value, data[at:]
    return None


async def read(reading: Reading[T], stream: Stream) -> T:
    """What ``reading`` makes of a stream. Raises StreamClosed."""
    return await _go_on(reading, next(reading), stream)


async def read_or_end(reading: Reading[T], stream: Stream) -> T | None:
    """The same, or None where the stream ends before its first byte, as one that is over does."""
    needed = next(reading)
    try:
        first = await stream.read_exactly(needed)
    except StreamClosed as closed:
        if closed.clean:
            return None
        raise
    try:
        needed = reading.send(first)
    except StopIteration as done:
        value: T = done.value
        return value
    return await _go_on(reading, needed, stream)


async def _go_on(reading: Reading[T], needed: int, stream: Stream) -> T:
    try:
        while True:
            needed = reading.send(await stream.read_exactly(needed))
    except StopIteration as done:
        value: T = done.value
        return value
