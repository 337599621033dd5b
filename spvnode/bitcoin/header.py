"""One block header as an immutable view over its 80 bytes.

For the edges (RPC, CLI, tests). Bulk work never builds these: it stays on packed runs of headers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha256

from spvnode.types import HEADER_SIZE, Hash32

HEADER_STRUCT = struct.Struct("<i32s32sIII")
"""version, hashPrevBlock, hashMerkleRoot, nTime, nBits, nNonce."""

PREV_HASH_END = 36
"""A header's ``hashPrevBlock`` is bytes 4..36."""


def header_hash(raw: bytes) -> Hash32:
    """SHA-256d of one 80-byte header."""
    return Hash32(sha256(sha256(raw).digest()).digest())


@dataclass(frozen=True, slots=True)
class Header:
    """A serialized header; fields are read from ``raw`` when asked for. ValueError unless 80 bytes."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != HEADER_SIZE:
            raise ValueError(f"header: {len(self.raw)} bytes, expected {HEADER_SIZE}")

    @classmethod
    def of(cls, *, version: int, prev_hash: bytes, merkle_root: bytes, time: int, bits: int, nonce: int = 0) -> Header:
        """A header from its fields; struct.error where one does not fit."""
        return cls(HEADER_STRUCT.pack(version, prev_hash, merkle_root, time, bits, nonce))

    @property
    def version(self) -> int:
        """Signed 32 bits, as consensus compares it."""
        return int.from_bytes(self.raw[:4], "little", signed=True)

    @property
    def prev_hash(self) -> Hash32:
        return Hash32(self.raw[4:PREV_HASH_END])

    @property
    def merkle_root(self) -> Hash32:
        return Hash32(self.raw[PREV_HASH_END:68])

    @property
    def time(self) -> int:
        """Unix seconds, as its miner claims."""
        return int.from_bytes(self.raw[68:72], "little")

    @property
    def bits(self) -> int:
        """The target in compact form."""
        return int.from_bytes(self.raw[72:76], "little")

    @property
    def nonce(self) -> int:
        return int.from_bytes(self.raw[76:80], "little")

    @property
    def hash(self) -> Hash32:
        return header_hash(self.raw)
