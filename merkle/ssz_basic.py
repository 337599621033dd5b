"""SSZ types without elements: integers, byte strings, bits. The others are in ``merkle.ssz_types``, which says how
values look in Python and what ``decode`` promises.

Source: consensus-specs ``ssz/simple-serialize.md``; EIP-7916 for lists without a limit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

from merkle.errors import ProofError
from merkle.ssz import CHUNK, merkleize, merkleize_progressive, mix_in, pad_chunks, tree_depth


class SszType(ABC):
    """One SSZ type. ``size`` is its encoding's length in bytes, or None where that varies."""

    size: int | None

    @abstractmethod
    def encode(self, value: Any) -> bytes:
        """The one encoding of ``value``."""

    @abstractmethod
    def decode(self, data: bytes) -> Any:
        """The value that ``data`` encodes; ProofError when it encodes none."""

    @abstractmethod
    def hash_tree_root(self, value: Any) -> bytes:
        """32 bytes."""

    @abstractmethod
    def default(self) -> Any:
        """The all-zero value."""


def check_size(data: bytes, size: int, what: str) -> None:
    """ProofError unless ``data`` has exactly ``size`` bytes."""
    if len(data) != size:
        raise ProofError(what, f"{len(data)} bytes, its type has {size}", size)


@dataclass(frozen=True)
class Uint(SszType):
    """Unsigned little-endian integer of ``size`` bytes, 1 to 32."""

    size: int

    def encode(self, value: int) -> bytes:
        return value.to_bytes(self.size, "little")

    def decode(self, data: bytes) -> int:
        check_size(data, self.size, "uint")
        return int.from_bytes(data, "little")

    def hash_tree_root(self, value: int) -> bytes:
        return value.to_bytes(CHUNK, "little")

    def default(self) -> int:
        return 0


class Boolean(SszType):
    """One byte, 0 or 1."""

    size = 1

    def encode(self, value: bool) -> bytes:
        return b"\x01" if value else b"\x00"

    def decode(self, data: bytes) -> bool:
        if data not in (b"\x00", b"\x01"):
            raise ProofError("boolean", "is not one byte, 0 or 1")
        return data == b"\x01"

    def hash_tree_root(self, value: bool) -> bytes:
        return int(value).to_bytes(CHUNK, "little")

    def default(self) -> bool:
        return False


@dataclass(frozen=True)
class ByteVector(SszType):
    """Exactly ``size`` bytes."""

    size: int

    def encode(self, value: bytes) -> bytes:
        if len(value) != self.size:
            raise ValueError(f"byte vector: {len(value)} bytes, its type has {self.size}")
        return value

    def decode(self, data: bytes) -> bytes:
        check_size(data, self.size, "byte vector")
        return bytes(data)

    def hash_tree_root(self, value: bytes) -> bytes:
        if self.size == CHUNK:
            return value
        return merkleize(pad_chunks(value), tree_depth(-(-self.size // CHUNK)))

    def default(self) -> bytes:
        return bytes(self.size)


class Bitvector(ByteVector):
    """Exactly ``length`` bits, the first in the lowest bit of the first byte."""

    def __init__(self, length: int) -> None:
        super().__init__(-(-length // 8))
        object.__setattr__(self, "length", length)

    length: int

    def decode(self, data: bytes) -> bytes:
        value = super().decode(data)
        if self.length % 8 and value[-1] >> self.length % 8:
            raise ProofError("bit vector", "has bits set beyond its length", self.length)
        return value


@dataclass(frozen=True)
class ByteList(SszType):
    """Up to ``limit`` bytes."""

    limit: int
    size = None

    def encode(self, value: bytes) -> bytes:
        return value

    def decode(self, data: bytes) -> bytes:
        if len(data) > self.limit:
            raise ProofError("byte list", f"{len(data)} bytes", self.limit)
        return bytes(data)

    def hash_tree_root(self, value: bytes) -> bytes:
        return mix_in(list_root(pad_chunks(value), chunk_limit(self.limit, 1)), len(value))

    def default(self) -> bytes:
        return b""


class Bits(NamedTuple):
    """A bit list's value: ``length`` bits in ``data``, the first in the lowest bit of the first byte."""

    data: bytes
    length: int


@dataclass(frozen=True)
class Bitlist(SszType):
    """Up to ``limit`` bits (None: no limit of its own); on the wire one more bit marks the end."""

    limit: int | None
    size = None

    def encode(self, value: Bits) -> bytes:
        number = int.from_bytes(value.data, "little") | 1 << value.length
        return number.to_bytes(value.length // 8 + 1, "little")

    def decode(self, data: bytes) -> Bits:
        if not data or not data[-1]:
            raise ProofError("bit list", "has no end mark in its last byte")
        number = int.from_bytes(data, "little")
        length = number.bit_length() - 1
        if self.limit is not None and length > self.limit:
            raise ProofError("bit list", f"{length} bits", self.limit)
        return Bits((number ^ 1 << length).to_bytes(-(-length // 8), "little"), length)

    def hash_tree_root(self, value: Bits) -> bytes:
        limit = None if self.limit is None else -(-self.limit // (8 * CHUNK))
        return mix_in(list_root(pad_chunks(value.data), limit), value.length)

    def default(self) -> Bits:
        return Bits(b"", 0)


def chunk_limit(limit: int | None, element_size: int) -> int | None:
    """Chunks that ``limit`` elements of that many bytes fill, or None for no limit."""
    return None if limit is None else -(-limit * element_size // CHUNK)


def list_root(chunks: bytes, limit: int | None) -> bytes:
    """Root of a list's chunks before its length is mixed in; ``limit`` is in chunks, None is a progressive list."""
    if limit is None:
        return merkleize_progressive(chunks)
    return merkleize(chunks, tree_depth(limit))
