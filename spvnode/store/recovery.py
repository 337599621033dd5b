"""Opening a folder in whatever state it is: each remedy loses less than the next one.

1. Open it. LevelDB replays its log; a torn tail is normal after a crash and no fault.
2. Open it without the damaged part of the log.
3. Rebuild it from every table block whose checksum holds, and from the log.
4. Set the folder aside as ``store.damaged-<n>`` and begin a new one.

Only damage leads to the next remedy. A full disk, a lock, a folder that may not be written, a schema from the future
are for the operator, and nothing is touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from spvnode.errors import StoreError
from spvnode.store.errors import StoreDamaged
from spvnode.store.folder import Lock, make_folder, release_lock, set_aside, take_lock
from spvnode.store.leveldb import LevelEngine, repair
from spvnode.store.port import WRITE_BUFFER_BYTES, Engine

T = TypeVar("T")


Load = Callable[[Engine, tuple[str, ...]], T]
"""Reads the engine; the second argument says in words what opening it had met before."""
Remedy = Callable[[Path, int], Engine]
"""Opens the folder with a write buffer of so many bytes."""


@dataclass(frozen=True, slots=True)
class Opened(Generic[T]):
    """An open folder, its lock, and what ``load`` made of it."""

    engine: Engine
    lock: Lock
    loaded: T


def open_healed(path: Path, load: Load[T], *, write_buffer: int = WRITE_BUFFER_BYTES) -> Opened[T]:
    """Opens the folder at ``path``, creating it if there is none, and calls ``load`` on it.

    ``load`` reads everything and raises StoreDamaged where it cannot; it may be called again, on what a remedy left.
    Raises StoreLocked, StoreFull, SchemaFromFuture,
    WrongChain, StoreError, with nothing held; StoreDamaged only if even a new folder fails.
    """
    make_folder(path.parent)
    with ExitStack() as held:
        lock = take_lock(path)
        held.callback(release_lock, lock)
        opened = _climb(path, lock, load, write_buffer)
        held.pop_all()
    return opened


def _climb(path: Path, lock: Lock, load: Load[T], write_buffer: int) -> Opened[T]:
    notes: list[str] = []
    remedies: list[Remedy] = [_plain, _without_torn_log, _rebuilt]
    while remedies:
        try:
            engine = remedies.pop(0)(path, write_buffer)
            remedies = [_rebuilt] if _without_torn_log in remedies else remedies  # it opens, so the log is not to blame
            return Opened(engine, lock, _loaded(engine, load, tuple(notes)))
        except StoreDamaged as problem:
            notes.append(str(problem))
    notes.append(f"set aside as {set_aside(path).name}")
    engine = _plain(path, write_buffer)
    return Opened(engine, lock, _loaded(engine, load, tuple(notes)))


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
    shutil.rmtree(path / "lost", ignore_errors=True)  # what could not be read; as big as the store at worst
    return LevelEngine(path, write_buffer=write_buffer)
