"""RLP (Recursive Length Prefix), strict: every value has one encoding, and only that one is read.

    single byte 00..7f      itself
    string of 0..55 bytes   80 + length | bytes
    longer string           b7 + length of length | length, big-endian | bytes
    list of 0..55 bytes     c0 + length | the items' encodings in a row
    longer list             f7 + length of length | length, big-endian | the items' encodings in a row

Refused: a byte below 80 that is written as a string of one; a length with a leading zero, or written long where it fits
the short form; anything after the value. A list is a tuple of items, a string is bytes. Source: Ethereum Yellow Paper,
appendix B; ethereum.org, "Recursive-length prefix (RLP) serialization".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias, Union

from merkle.errors import ProofError

MAX_NESTING = 16
"""Lists within lists. A trie node in its parent has three levels, a discovery message two; a remote fills it, and must
not choose how deep we recurse."""
MAX_LENGTH_BYTES = 4
"""Of a length, so 4 GiB: whoever reads remote data bounds it long before; this bounds the arithmetic."""

_SHORT = 55
"""Longest payload whose length fits the first byte."""
_STRING = 0x80
_LIST = 0xC0

Item: TypeAlias = Union[bytes, tuple["Item", ...]]  # noqa: UP007 -- a recursive alias needs the name at run time
Encodable: TypeAlias = Union[bytes, Sequence["Encodable"]]  # noqa: UP007


def encode(item: Encodable) -> bytes:
    """The encoding of a string (bytes) or of a list (any other sequence of items)."""
    if not isinstance(item, bytes):
        return _framed(_LIST, b"".join([encode(part) for part in item]))
    return item if len(item) == 1 and item[0] < _STRING else _framed(_STRING, item)


def encode_uint(number: int) -> bytes:
    """The encoding of a whole number: big-endian without leading zeros, 0 is the empty string."""
    return encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def decode(data: bytes) -> Item:
    """The one value that ``data`` encodes; ``ProofError`` when it is not one value in its only encoding.

    Costs as much as copying ``data``: bound it before.
    """
    item, end = _item(data, 0, len(data), 0)
    if end != len(data):
        raise ProofError("rlp", "is followed by something else")
    return item


def decode_list(data: bytes) -> tuple[Item, ...]:
    """As ``decode``, for a list."""
    item = decode(data)
    if isinstance(item, bytes):
        raise ProofError("rlp", "is a string where a list belongs")
    return item


def decode_uint(data: Item, bits: int) -> int:
    """The whole number of at most ``bits`` bits that a decoded string stands for; ``ProofError`` otherwise."""
    if not isinstance(data, bytes):
        raise ProofError("rlp", "is a list where a number belongs")
    if data[:1] == b"\x00":
        raise ProofError("rlp", "is a number with a leading zero")
    if 8 * len(data) > bits:
        raise ProofError("rlp", "is a number that is too large", bits)
    return int.from_bytes(data, "big")


def _framed(base: int, payload: bytes) -> bytes:
    if len(payload) <= _SHORT:
        return bytes([base + len(payload)]) + payload
    length = len(payload).to_bytes((len(payload).bit_length() + 7) // 8, "big")
    return bytes([base + _SHORT + len(length)]) + length + payload


def _item(data: bytes, at: int, end: int, depth: int) -> tuple[Item, int]:
    """The value that begins at ``at`` and does not reach beyond ``end``, and where it ends."""
    if at >= end:
        raise ProofError("rlp", "is cut short")
    first = data[at]
    if first < _STRING:
        return data[at : at + 1], at + 1
    start, stop = _extent(data, at, end, _STRING if first < _LIST else _LIST)
    if first >= _LIST:
        if depth == MAX_NESTING:
            raise ProofError("rlp", "has lists nested too deep", MAX_NESTING)
        return tuple(_items(data, start, stop, depth + 1)), stop
    if stop - start == 1 and data[start] < _STRING:
        raise ProofError("rlp", "writes a single byte as a string")
    return data[start:stop], stop


def _items(data: bytes, at: int, end: int, depth: int) -> Iterator[Item]:
    while at < end:
        item, at = _item(data, at, end, depth)
        yield item


def _extent(data: bytes, at: int, end: int, base: int) -> tuple[int, int]:
    """Where the payload of a string or list begins and ends."""
    size = data[at] - base
    start = at + 1
    if size > _SHORT:
        width = size - _SHORT
        start += width
        length = data[at + 1 : start]
        size = int.from_bytes(length, "big")
        if width > MAX_LENGTH_BYTES or start > end:
            raise ProofError("rlp", "is cut short")
        if length[:1] == b"\x00" or size <= _SHORT:
            raise ProofError("rlp", "has a length that is written too long")
    if start + size > end:
        raise ProofError("rlp", "is cut short")
    return start, start + size
