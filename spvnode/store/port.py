"""The port between the store and whatever keeps its rows: an ordered map of bytes with atomic batches.

Two engines stand behind it: ``leveldb.LevelEngine`` (a folder) and ``memory.MemoryEngine`` (nothing survives). Rows
are ordered by key, as unsigned bytes. Engines may be read from any thread while one thread writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Row = tuple[bytes, bytes]
"""Key and value."""


WRITE_BUFFER_BYTES = 4 << 20
"""What an engine gathers in memory before it writes a table, twice at most; both are replayed after a crash (0.1 s)."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One atomic write. The deletes come first: a key that is in both ends up with the put's value."""

    puts: Sequence[Row] = ()
    deletes: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class EngineStats:
    """``disk_bytes`` and ``files`` count what lies in the folder (0 in memory); ``detail`` is the engine's own text."""

    disk_bytes: int
    files: int
    detail: str


class Engine(Protocol):
    """An ordered map. Reads raise ``StoreDamaged`` where a checksum fails, ``StoreError`` where the system refuses."""

    @property
    def path(self) -> str:
        """Where the rows are, for messages."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""

    def range(self, start: bytes, stop: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        """Up to ``limit`` rows with ``start <= key < stop`` of one consistent snapshot; ``reverse``: the last ones,
        backwards."""

    def write(self, batch: Batch, *, sync: bool) -> None:
        """All of ``batch`` or nothing. With ``sync``, it and everything written before it survive a power cut.

        After a raised ``StoreError`` nothing of the batch is visible, now or after a later successful write; only a
        process that dies in between may find it, whole.
        """

    def reopen(self) -> None:
        """Gives back what reading has mapped into memory. Rows stay."""

    def stats(self) -> EngineStats:
        """Sizes."""

    def close(self) -> None:
        """Ends all use. Closing twice is harmless."""
