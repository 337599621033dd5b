"""Opening a folder in whatever state it is: each remedy loses less than the next one.

1. Open it. LevelDB replays its log; a torn tail is normal after a crash and no fault.
2. Open it without the damaged part of the log.
3. Rebuild it from every table block whose checksum holds, and from the log.
4. Set the folder aside as ``store.damaged-<n>`` and begin a new one.

Only damage leads to the next remedy. A full disk, a lock, a folder that may not be written, a schema from the future
are for the operator, and nothing is touched.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from spvnode.errors import StoreError
from spvnode.store.errors import StoreDamaged
from spvnode.store.folder import make_folder, set_aside
from spvnode.store.leveldb import LevelEngine, repair
from spvnode.store.port import Engine

T = TypeVar("T")

Load = Callable[[Engine, tuple[str, ...]], T]
"""Reads the engine; the second argument says in words what opening it had met before."""
Remedy = Callable[[Path, int], Engine]
"""Opens the folder with a write buffer of so many bytes."""


def climb(
    path: Path, load: Load[T], write_buffer: int, notes: tuple[str, ...] = (), *, rebuild: bool = False
) -> tuple[Engine, T]:
    """Tries one remedy after the other, from the first or (``rebuild``) the third on. The caller holds the lock."""
    remedies: list[Remedy] = [_rebuilt] if rebuild else [_plain, _without_torn_log, _rebuilt]
    while remedies:
        try:
            engine = remedies.pop(0)(path, write_buffer)
            remedies = [_rebuilt] if _without_torn_log in remedies else remedies  # it opens, so the log is not to blame
            return engine, _loaded(engine, load, notes)
        except StoreDamaged as problem:
            notes += (str(problem),)
    notes += (f"set aside as {set_aside(path).name}",)
    engine = _plain(path, write_buffer)
    return engine, _loaded(engine, load, notes)


def _loaded(engine: Engine, load: Load[T], notes: tuple[str, ...]) -> T:
    try:
        return load(engine, notes)
    except StoreError:
        engine.close()
        raise


def _plain(path: Path, write_buffer: int) -> Engine:
    make_folder(path)
    return LevelEngine(path, write_buffer=write_buffer)


def _without_torn_log(path: Path, write_buffer: int) -> Engine:
    # Only to have the rest of the log written as tables: without strict checks, LevelDB would also merge bad blocks.
    LevelEngine(path, strict=False).close()
    return LevelEngine(path, write_buffer=write_buffer)


def _rebuilt(path: Path, write_buffer: int) -> Engine:
    repair(path)
    return LevelEngine(path, write_buffer=write_buffer)
