"""CompactSize: how Bitcoin writes a count. One byte below 0xfd, else a prefix and 2, 4 or 8 bytes, little-endian; only
the shortest form is read, as Bitcoin Core's ``ReadCompactSize``."""

from __future__ import annotations

from merkle.errors import ProofError

_WIDTHS = {0xFD: (2, 0xFD), 0xFE: (4, 0x1_0000), 0xFF: (8, 0x1_0000_0000)}
"""By prefix: bytes that follow, and the least value that needs them."""


def compact_size(value: int) -> bytes:
    """The shortest form of 0 .. 2**64 - 1."""
    if value < 0xFD:
        return value.to_bytes(1, "little")
    prefix = 0xFD if value <= 0xFFFF else 0xFE if value <= 0xFFFF_FFFF else 0xFF
    return bytes((prefix,)) + value.to_bytes(_WIDTHS[prefix][0], "little")


def read_compact_size(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """(value, where what follows begins) of the count at ``at``. ProofError where it is cut or not the shortest."""
    if at >= len(data):
        raise ProofError("count", "is missing")
    first = data[at]
    if first < 0xFD:
        return first, at + 1
    width, least = _WIDTHS[first]
    end = at + 1 + width
    value = int.from_bytes(data[at + 1 : end], "little")
    if end > len(data) or value < least:
        raise ProofError("count", "is cut, or not in its shortest form")
    return value, end
