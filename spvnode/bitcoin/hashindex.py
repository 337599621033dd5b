"""Hash -> height of a main chain, in memory: the native ``HashIndex`` (fingerprints, 9 to 16 bytes per header) where
it was built, else a dict of whole hashes (some 180 bytes per header) with the same interface.

Neither is stored: it is rebuilt from the headers at open. What bounds both is the length of the chain, and a chain only
grows by headers whose proof of work was checked.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import native
from native import BytesLike
from spvnode.types import HASH_SIZE


class DictHashIndex:
    """The twin: see native/_kernels.pyi for the methods. ``candidates`` gives the one right height, or none."""

    __slots__ = ("_heights", "base_height")

    def __init__(self, base_height: int = 0) -> None:
        self.base_height = base_height
        self._heights: dict[bytes, int] = {}
        """In insertion order, which is that of the heights: truncating pops from the end. A chain repeats no hash."""

    @property
    def tip(self) -> int:
        """Height of the last hash; ``base_height - 1`` when there is none."""
        return self.base_height + len(self._heights) - 1

    @property
    def nbytes(self) -> int:
        """Memory taken, in bytes, estimated."""
        hashes_and_heights = len(self._heights) * (sys.getsizeof(bytes(HASH_SIZE)) + sys.getsizeof(2**31))
        return sys.getsizeof(self._heights) + hashes_and_heights

    def append(self, hashes: BytesLike) -> None:
        """Adds n * 32 bytes of hashes at the heights after ``tip``. ValueError on a broken one."""
        data = bytes(hashes)
        if len(data) % HASH_SIZE:
            raise ValueError(f"hashes: {len(data)} bytes are no multiple of {HASH_SIZE}")
        start = self.tip + 1
        self._heights.update((data[i : i + HASH_SIZE], start + i // HASH_SIZE) for i in range(0, len(data), HASH_SIZE))

    def truncate(self, height: int) -> None:
        """Forgets the heights above ``height``; ValueError below ``base_height - 1``."""
        if height < self.base_height - 1:
            raise ValueError(f"height: {height} is below {self.base_height - 1}")
        while self.tip > height:
            self._heights.popitem()

    def candidates(self, hash32: BytesLike) -> tuple[int, ...]:
        """The height of ``hash32``, or nothing. ValueError unless 32 bytes."""
        key = bytes(hash32)
        if len(key) != HASH_SIZE:
            raise ValueError(f"hash32: {len(key)} bytes, not {HASH_SIZE}")
        height = self._heights.get(key)
        return () if height is None else (height,)


if TYPE_CHECKING or native.kernels is not None:  # the type of both is the kernel's stub
    from native._kernels import HashIndex
else:
    HashIndex = DictHashIndex

__all__ = ["DictHashIndex", "HashIndex"]
