"""Random trees with the branches of some of their leaves."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

HASH = 32


def node_hash(pair: bytes, double: bool) -> bytes:
    digest = sha256(pair).digest()
    return sha256(digest).digest() if double else digest


@dataclass(frozen=True, slots=True)
class Branches:
    """Arguments of ``verify_branches``."""

    leaves: bytes
    siblings: bytes
    indices: tuple[int, ...]
    depth: int
    root: bytes
    double: bool

    def arguments(self) -> tuple[bytes, bytes, bytes, int, bytes, bool]:
        packed = struct.pack(f"<{len(self.indices)}I", *self.indices)
        return self.leaves, self.siblings, packed, self.depth, self.root, self.double

    def with_sibling(self, leaf: int, level: int, value: bytes) -> Branches:
        at = (leaf * self.depth + level) * HASH
        return replace(self, siblings=self.siblings[:at] + value + self.siblings[at + HASH :])

    def sibling(self, leaf: int, level: int) -> bytes:
        at = (leaf * self.depth + level) * HASH
        return self.siblings[at : at + HASH]

    def flipped(self, bit: int) -> Branches:
        """One bit of leaves, siblings, root or an index turned over; ``bit`` counts through them in this order."""
        fields = [bytearray(self.leaves), bytearray(self.siblings), bytearray(self.root)]
        for data in fields:
            if bit < len(data) * 8:
                data[bit // 8] ^= 1 << bit % 8
                break
            bit -= len(data) * 8
        else:
            indices = list(self.indices)
            indices[bit // 32] ^= 1 << bit % 32
            return replace(self, indices=tuple(indices))
        leaves, siblings, root = map(bytes, fields)
        return replace(self, leaves=leaves, siblings=siblings, root=root)

    @property
    def bits(self) -> int:
        return 8 * (len(self.leaves) + len(self.siblings) + HASH) + 32 * len(self.indices)


def grow(rng: random.Random, indices: Sequence[int], depth: int, double: bool) -> Branches:
    """A tree of 2**depth leaves in which those at ``indices`` (any order, repeats allowed) have good branches; what
    lies off their paths is random."""
    level = {index: rng.randbytes(HASH) for index in indices}
    leaves = b"".join(level[index] for index in indices)
    rows: list[dict[int, bytes]] = []
    for _ in range(depth):
        row = dict(level)
        for index in level:
            row.setdefault(index ^ 1, rng.randbytes(HASH))
        rows.append(row)
        level = {i >> 1: node_hash(row[i & ~1] + row[i | 1], double) for i in level}
    siblings = b"".join(rows[at][(index >> at) ^ 1] for index in indices for at in range(depth))
    root = next(iter(level.values())) if level else rng.randbytes(HASH)
    return Branches(leaves, siblings, tuple(indices), depth, root, double)
