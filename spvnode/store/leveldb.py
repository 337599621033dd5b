"""The ``Engine`` port over LevelDB. The only file that knows plyvel.

Choices, each measured on 1,000,000 headers:

* No compression: headers are hashes and do not shrink; without it blocks are read in place from the mapped table
  (2.2 us a read against 17).
* Checksums are verified on every read (+1 us) and LevelDB's ``paranoid_checks`` are on, so that neither a read nor a
  compaction ever passes a flipped bit on.
* A small write buffer: memory counts more here than the 3 % of bytes written that 8 MiB would save over 4.

Reads may come from any thread; one writer at a time, beside them. plyvel releases the interpreter lock in reads and
writes, so a sync in one thread does not stop another.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import plyvel

from spvnode.errors import StoreError
from spvnode.store.errors import StoreDamaged
from spvnode.store.folder import check_room, folder_size, refusal
from spvnode.store.port import WRITE_BUFFER_BYTES, Batch, EngineStats, Row
from spvnode.store.tables import unusable_tables

BLOCK_CACHE_BYTES = 1 << 20
"""Mapped blocks are not cached, so this serves only tables that could not be mapped."""
SPARE_BYTES = 1 << 20
"""What opening may write beside two buffers as tables: a manifest, a new log."""


class LevelEngine:
    """One LevelDB folder. The caller holds the folder's lock (``folder.take_lock``).

    ``strict`` False accepts a log with a damaged part and leaves that part out; for the first open after a crash only.
    """

    def __init__(self, path: Path, *, strict: bool = True, write_buffer: int = WRITE_BUFFER_BYTES) -> None:
        self._path = path
        self._write_buffer = write_buffer
        self._reading = Lock()
        self._writing = Lock()
        self._closed = False
        self._unsynced = False
        self._refused: Batch | None = None
        self._inverse: Batch | None = None
        self._db: Any = self._connect(strict=strict)

    @property
    def path(self) -> str:
        """The folder."""
        return str(self._path)

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        try:
            with self._reading:
                value: bytes | None = (self._db or self._opened()).get(key, verify_checksums=True)
        except plyvel.Error as problem:
            raise translated(self._path, problem) from problem
        return value

    def range(self, start: bytes, stop: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        """Rows with ``start <= key < stop``; 0.04 us a row, checksums included."""
        with self._reading:
            try:
                with self._opened().iterator(start=start, stop=stop, reverse=reverse, verify_checksums=True) as rows:
                    return list(islice(rows, limit))
            except plyvel.Error as problem:
                raise translated(self._path, problem) from problem

    def write(self, batch: Batch, *, sync: bool) -> None:
        """Applies ``batch`` atomically; ``sync`` adds one fdatasync (3-4 ms on flash), two after unsynced writes."""
        with self._writing:
            if self._refused is not None or self._db is None:
                self._mend()
            with self._refusing(batch):
                if sync and self._unsynced:
                    self._sync_logs()
                self._apply(batch, sync=sync)
            self._unsynced = not sync

    def reopen(self) -> None:
        """Closes and opens: tables that a scan has mapped (up to the size of the store) leave the process. 6 ms."""
        with self._writing:
            self._mend()

    def stats(self) -> EngineStats:
        """Sizes on disk, and LevelDB's table of levels."""
        with self._reading:
            detail: bytes = self._opened().get_property(b"leveldb.stats") or b""
        size, files = folder_size(self._path)
        return EngineStats(disk_bytes=size, files=files, detail=detail.decode())

    def close(self) -> None:
        """Waits for compactions, then closes."""
        with self._writing, self._reading:
            self._closed = True
            self._disconnect()

    def _connect(self, *, strict: bool) -> Any:
        if is_headless(self._path):
            raise StoreDamaged(f"{self._path}: CURRENT is missing")
        for table in unusable_tables(self._path):
            raise StoreDamaged(f"{self._path}: {table.name} is cut or overwritten")
        try:
            return plyvel.DB(
                str(self._path),
                create_if_missing=True,
                paranoid_checks=strict,
                compression=None,
                write_buffer_size=self._write_buffer,
                lru_cache_size=BLOCK_CACHE_BYTES,
            )
        except plyvel.Error as problem:
            raise translated(self._path, problem) from problem

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _opened(self) -> Any:
        if self._db is None:  # closed, or `_mend` could not open it again; the next write tries once more
            raise StoreError(f"{self._path}: {'closed' if self._closed else 'not open'}")
        return self._db

    def _apply(self, batch: Batch, *, sync: bool) -> None:
        out = self._opened().write_batch(sync=sync)
        for key in batch.deletes:
            out.delete(key)
        for key, value in batch.puts:
            out.put(key, value)
        out.write()

    @contextmanager
    def _refusing(self, batch: Batch) -> Iterator[None]:
        try:
            yield
        except plyvel.Error as problem:
            self._refused = batch
            raise translated(self._path, problem) from problem
        except OSError as problem:
            self._refused = batch
            raise refusal(self._path, str(problem)) from problem

    def _mend(self) -> None:
        """Opens the folder anew, and takes back what a refused write may have left.

        A write that fails may leave a torn record, behind which LevelDB would go on appending: a replay would then drop
        what follows it. And a failed sync may leave the whole record, to come back at the next open. Opening starts a
        new log; then every key of the refused batch gets its old value.
        """
        self._check_room()
        if self._inverse is None and self._refused is not None:
            self._inverse = self._undo(self._refused)
        with self._reading:
            self._check_open()
            self._disconnect()
            self._db = self._connect(strict=True)
        if self._inverse is not None:
            self._apply(self._inverse, sync=True)
        self._refused = self._inverse = None

    def _check_room(self) -> None:
        try:
            check_room(self._path, 2 * self._write_buffer + SPARE_BYTES)
        except OSError as problem:  # opening would fail half way, and end reading too
            raise refusal(self._path, str(problem)) from problem

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self._path}: closed")

    def _undo(self, batch: Batch) -> Batch:
        puts: list[Row] = []
        deletes: list[bytes] = []
        for key in {*batch.deletes, *(key for key, _ in batch.puts)}:
            value = self.get(key)
            if value is None:
                deletes.append(key)
            else:
                puts.append((key, value))
        return Batch(puts, deletes)

    def _sync_logs(self) -> None:
        """Makes earlier unsynced writes durable.

        LevelDB's synced write syncs the log it goes to. When the log was changed in between, the tail of the old one
        may still be in the page cache until its table is written.
        """
        for name in sorted(os.listdir(self._path)):
            if name.endswith(".log"):
                _sync(self._path / name)
        _sync(self._path)


def is_headless(path: Path) -> bool:
    """True when there is data but no CURRENT. LevelDB would take such a folder for a new one and delete the data."""
    return not (path / "CURRENT").exists() and (any(path.glob("*.ldb")) or any(path.glob("*.log")))


def repair(path: Path) -> None:
    """Rebuilds the folder from every table block whose checksum holds, and every log record, whose checksums LevelDB
    does not look at here. Raises ``StoreError``."""
    aside = path / "lost"  # where LevelDB puts what it cannot read, too; as big as the store at worst
    try:
        for table in unusable_tables(path, whole=True):
            aside.mkdir(exist_ok=True)
            table.rename(aside / table.name)
        plyvel.repair_db(str(path), paranoid_checks=True, compression=None)
    except plyvel.Error as problem:
        raise translated(path, problem) from problem
    except OSError as problem:
        raise refusal(path, str(problem)) from problem
    shutil.rmtree(aside, ignore_errors=True)


def translated(path: Path, problem: Exception) -> StoreError:
    """The typed error for one of plyvel's."""
    text = problem.args[0].decode(errors="replace") if problem.args else str(problem)
    return StoreDamaged(f"{path}: {text}") if isinstance(problem, plyvel.CorruptionError) else refusal(path, text)


def _sync(path: Path) -> None:
    try:
        held = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # its table has been written and synced since we looked
        return
    try:
        os.fsync(held)
    finally:
        os.close(held)
