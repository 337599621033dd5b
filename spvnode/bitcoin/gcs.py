"""Golomb-coded sets, BIP158: the door to the native kernels, their plain Python twins, and the encoder.

A basic filter is CompactSize N and N sorted values as differences, each a unary quotient and 19 bits of remainder. A
value is an item's SipHash-2-4 under the first 16 bytes of the block's hash, scaled to 0 .. N * 784,931 - 1. The stub of
the kernels says what ``gcs_match``, ``gcs_decode`` and ``siphash_scaled`` do.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import native
from merkle.compact import compact_size, read_compact_size
from merkle.errors import ProofError
from native import BytesLike

REMAINDER_BITS: Final = 19
"""P: bits of each remainder."""
INVERSE_RATE: Final = 784_931
"""M: one script in so many matches a filter by accident."""
KEY_SIZE: Final = 16
"""Bytes of a block's hash that key its filter."""
ABSENT: Final = 0
PRESENT: Final = 1
MALFORMED: Final = 2

_MAX_VALUES: Final = 2**32 - 1
_MASK: Final = 2**64 - 1


def pack(items: Iterable[bytes]) -> bytes:
    """Items as the kernels take them: u32 little-endian size and the bytes, each."""
    return b"".join([part for item in items for part in (len(item).to_bytes(4, "little"), item)])


def encode(values: Iterable[int]) -> bytes:
    """The filter of distinct ``values``; scaled for as many as there are."""
    ordered = sorted(values)
    bits: list[str] = []
    last = 0
    for value in ordered:
        quotient, remainder = divmod(value - last, 1 << REMAINDER_BITS)
        bits.append("1" * quotient + "0" + format(remainder, f"0{REMAINDER_BITS}b"))
        last = value
    text = "".join(bits)
    size = -(-len(text) // 8)
    body = int(text.ljust(8 * size, "0"), 2).to_bytes(size, "big") if size else b""
    return compact_size(len(ordered)) + body


def values_of(data: bytes) -> tuple[int, ...] | None:
    """All values of a filter, ascending; None when it is malformed."""
    raw = gcs_decode(data)
    return None if raw is None else struct.unpack(f"<{len(raw) // 8}Q", raw)


class PlainFilters:
    """The twins of the kernels, under their names."""

    @staticmethod
    def gcs_workspace(items: int) -> int:
        """As the kernel's, which needs it."""
        return 8 * items + 8 * items + 4 * (items + 1) + 7

    @staticmethod
    def gcs_match(
        filters: bytes, keys: BytesLike, items: bytes, workspace: bytearray | memoryview, out: bytearray | memoryview
    ) -> int:
        """See the kernels' stub."""
        wanted, held, keys = list(_unpack(items, "items")), list(_unpack(filters, "filters")), bytes(keys)
        if len(keys) != len(held) * KEY_SIZE:
            raise ValueError(f"keys: {len(keys)} bytes, {len(held)} filters need {len(held) * KEY_SIZE}")
        needed = PlainFilters.gcs_workspace(len(wanted))
        if len(workspace) < needed:
            raise ValueError(f"workspace: {len(workspace)} bytes, {len(wanted)} items need {needed}")
        if len(out) < len(held):
            raise ValueError(f"out: {len(out)} bytes, {len(held)} filters need as many")
        for i, data in enumerate(held):
            out[i] = _match(data, keys[i * KEY_SIZE : (i + 1) * KEY_SIZE], wanted)
        return list(out[: len(held)]).count(PRESENT)

    @staticmethod
    def gcs_decode(data: bytes) -> bytes | None:
        """See the kernels' stub."""
        reader = _Reader.begin(data)
        if reader is None:
            return None
        values = list(reader)
        return struct.pack(f"<{len(values)}Q", *values) if reader.whole else None

    @staticmethod
    def siphash_scaled(key: BytesLike, items: bytes, modulus: int) -> bytes:
        """See the kernels' stub."""
        if len(key) != KEY_SIZE:
            raise ValueError(f"key: {len(key)} bytes, not {KEY_SIZE}")
        scaled = [siphash(bytes(key), item) * modulus >> 64 for item in _unpack(items, "items")]
        return struct.pack(f"<{len(scaled)}Q", *scaled)


def _match(data: bytes, key: bytes, items: list[bytes]) -> int:
    """Reads no further than the answer needs, as the kernel, so that both call the same filters malformed."""
    reader = _Reader.begin(data)
    if reader is None:
        return MALFORMED
    wanted = sorted(siphash(key, item) * (reader.count * INVERSE_RATE) >> 64 for item in items)
    if not wanted or not reader.count:
        return ABSENT
    at = 0
    for value in reader:
        at = bisect_left(wanted, value, at)
        if at == len(wanted):
            return ABSENT
        if wanted[at] == value:
            return PRESENT
    return ABSENT if reader.whole else MALFORMED


class _Reader:
    """Iterates over a filter's values; ``whole`` tells afterwards whether it held exactly its N values."""

    def __init__(self, count: int, body: bytes) -> None:
        self.count = count
        self.whole = False
        self._bits = format(int.from_bytes(body, "big"), f"0{8 * len(body)}b") if body else ""

    @classmethod
    def begin(cls, data: bytes) -> _Reader | None:
        """None when ``data`` cannot hold as many values as it says."""
        try:
            count, at = read_compact_size(data, 0)
        except ProofError:
            return None
        body = data[at:]
        impossible = count > min(_MAX_VALUES, 8 * len(body) // (REMAINDER_BITS + 1)) or (count == 0 and body)
        return None if impossible else cls(count, body)

    def __iter__(self) -> Iterator[int]:
        at = value = 0
        for _ in range(self.count):
            zero = self._bits.find("0", at)
            end = zero + 1 + REMAINDER_BITS
            if zero < 0 or end > len(self._bits):
                return
            value += (zero - at << REMAINDER_BITS) + int(self._bits[zero + 1 : end], 2)
            at = end
            yield value
        self.whole = len(self._bits) - at < 8


def _unpack(packed: bytes, what: str) -> Iterator[bytes]:
    at = 0
    while at < len(packed):
        size = int.from_bytes(packed[at : at + 4], "little")
        if at + 4 + size > len(packed):
            raise ValueError(f"{what}: {len(packed)} bytes are not items with their sizes")
        yield packed[at + 4 : at + 4 + size]
        at += 4 + size


def siphash(key: bytes, data: bytes) -> int:
    """SipHash-2-4 of ``data`` under 16 bytes of key (Aumasson, Bernstein, 2012), 64 bits."""
    k0, k1 = struct.unpack("<QQ", key)
    state = (k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573)
    padded = data + bytes(7 - len(data) % 8) + (len(data) & 0xFF).to_bytes(1, "little")
    for (word,) in struct.iter_unpack("<Q", padded):
        a, b, c, d = _sip_rounds(*state[:3], state[3] ^ word, 2)
        state = (a ^ word, b, c, d)
    a, b, c, d = _sip_rounds(*state[:2], state[2] ^ 0xFF, state[3], 4)
    return a ^ b ^ c ^ d


def _sip_rounds(a: int, b: int, c: int, d: int, rounds: int) -> tuple[int, int, int, int]:
    for _ in range(rounds):
        a = a + b & _MASK
        b = (b << 13 | b >> 51) & _MASK ^ a
        a = (a << 32 | a >> 32) & _MASK
        c = c + d & _MASK
        d = (d << 16 | d >> 48) & _MASK ^ c
        a = a + d & _MASK
        d = (d << 21 | d >> 43) & _MASK ^ a
        c = c + b & _MASK
        b = (b << 17 | b >> 47) & _MASK ^ c
        c = (c << 32 | c >> 32) & _MASK
    return a, b, c, d


if TYPE_CHECKING or native.kernels is not None:  # the type of both is the kernel's stub
    from native._kernels import gcs_decode, gcs_match, gcs_workspace, siphash_scaled
else:
    gcs_decode = PlainFilters.gcs_decode
    gcs_match = PlainFilters.gcs_match
    gcs_workspace = PlainFilters.gcs_workspace
    siphash_scaled = PlainFilters.siphash_scaled

__all__ = [
    "ABSENT",
    "INVERSE_RATE",
    "KEY_SIZE",
    "MALFORMED",
    "PRESENT",
    "REMAINDER_BITS",
    "PlainFilters",
    "encode",
    "gcs_decode",
    "gcs_match",
    "gcs_workspace",
    "pack",
    "siphash",
    "siphash_scaled",
    "values_of",
]
