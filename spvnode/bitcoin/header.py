"""One block header as an immutable view over its 80 bytes.

For the edges (RPC, CLI, tests). Bulk work never builds these: it stays on packed runs of headers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from merkle.hashing import sha256d
from spvnode.types import HEADER_SIZE, PREV_HASH, Hash32

HEADER_STRUCT = struct.Struct("<i32s32sIII")
"""version, hashPrevBlock, hashMerkleRoot, nTime, nBits, nNonce."""


def header_hash(raw: bytes) -> Hash32:
    """SHA-256d of one 80-byte header."""
    return Hash32(sha256d(raw))


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
        """Hash of the block before it."""
        return Hash32(self.raw[PREV_HASH])

    @property
    def merkle_root(self) -> Hash32:
        """Root of the block's transactions."""
        return Hash32(self.raw[36:68])

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
        """What its miner varied."""
        return int.from_bytes(self.raw[76:80], "little")

    @property
    def hash(self) -> Hash32:
        """SHA-256d of the 80 bytes."""
        return header_hash(self.raw)
