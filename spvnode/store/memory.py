"""Rows in memory: the second engine behind the port, for tests and simulations."""

from __future__ import annotations

from bisect import bisect_left, insort
from threading import Lock

from spvnode.store.port import Batch, EngineStats, Row


class MemoryEngine:
    """The ``Engine`` port over a dict and a sorted list of its keys. ``sync`` means nothing here."""

    def __init__(self, name: str = "memory") -> None:
        self._name = name
        self._rows: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._lock = Lock()

    @property
    def path(self) -> str:
        """The name given at birth."""
        return self._name

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        with self._lock:
            return self._rows.get(key)

    def range(self, start: bytes, stop: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        """Rows with ``start <= key < stop``."""
        with self._lock:
            first, last = bisect_left(self._keys, start), bisect_left(self._keys, stop)
            keys = (
                self._keys[max(first, last - limit) : last] if reverse else self._keys[first : min(last, first + limit)]
            )
            rows = [(key, self._rows[key]) for key in keys]
        return rows[::-1] if reverse else rows

    def write(self, batch: Batch, *, sync: bool) -> None:
        """Applies the batch."""
        with self._lock:
            for key in batch.deletes:
                if self._rows.pop(key, None) is not None:
                    del self._keys[bisect_left(self._keys, key)]
            for key, value in batch.puts:
                if key not in self._rows:
                    insort(self._keys, key)
                self._rows[key] = value

    def reopen(self) -> None:
        """Nothing is mapped."""

    def stats(self) -> EngineStats:
        """Nothing is on disk."""
        return EngineStats(disk_bytes=0, files=0, detail=f"{len(self._keys)} rows")

    def close(self) -> None:
        """Keeps the rows, so that a test can open them again."""
