"""Bitcoin's Merkle tree as plainly as it can be written: the model that merkle/ is tested against."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256


@lru_cache(maxsize=100_000)
def join(left: bytes, right: bytes) -> bytes:
    return sha256(sha256(left + right).digest()).digest()


def leaf(tag: int) -> bytes:
    """A made-up block hash."""
    return sha256(b"leaf %d" % tag).digest()


def rows(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Every level, leaves first, root last; the last of an odd level is paired with itself."""
    return _rows(tuple(leaves))


@lru_cache(maxsize=16)
def _rows(leaves: tuple[bytes, ...]) -> list[list[bytes]]:
    out = [list(leaves)]
    while len(out[-1]) > 1:
        row = out[-1] + out[-1][-1:] * (len(out[-1]) % 2)
        out.append([join(row[i], row[i + 1]) for i in range(0, len(row), 2)])
    return out


def root(leaves: Sequence[bytes]) -> bytes:
    return rows(leaves)[-1][0]


def branch(leaves: Sequence[bytes], position: int) -> list[bytes]:
    out = []
    for row in rows(leaves)[:-1]:
        row = row + row[-1:]
        out.append(row[position ^ 1])
        position >>= 1
    return out


def multiproof(leaves: Sequence[bytes], positions: Sequence[int]) -> list[bytes]:
    """Siblings of the paths from ``positions`` that are on none of these paths, bottom up and left to right."""
    out = []
    for level, row in enumerate(rows(leaves)[:-1]):
        path = {position >> level for position in positions}
        out += [row[i] for i in sorted({i ^ 1 for i in path} - path) if i < len(row)]
    return out


def peaks(leaves: Sequence[bytes]) -> list[bytes]:
    """Roots of the perfect trees that ``leaves`` split into, biggest first."""
    if not leaves:
        return []
    size = 1 << len(leaves).bit_length() - 1
    return [root(leaves[:size]), *peaks(leaves[size:])]
