"""Opening a store that may have been left by a crash, or may crash whoever opens it.

Most damage is an error that ``remedies`` deals with. Some kills the process: a bad sector under a mapped page (SIGBUS),
a size that LevelDB believes (SIGABRT). An opening that never ended leaves its mark, and the next one is then tried in a
child process first. So such a folder costs one death, not one at every start.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from spvnode.store.folder import Lock, make_folder, opening_mark, release_lock, set_aside, take_lock
from spvnode.store.port import WRITE_BUFFER_BYTES, Engine
from spvnode.store.remedies import Load, T, climb

TRIAL = "spvnode.store.trial"
FATAL = (signal.SIGABRT, signal.SIGBUS, signal.SIGSEGV, signal.SIGFPE, signal.SIGILL)
"""Signals that a process raises in itself. Any other came from outside and says nothing about the store."""


@dataclass(frozen=True, slots=True)
class Opened(Generic[T]):
    """An open folder, its lock, and what ``load`` made of it."""

    engine: Engine
    lock: Lock
    loaded: T


def open_healed(path: Path, load: Load[T], *, write_buffer: int = WRITE_BUFFER_BYTES) -> Opened[T]:
    """Opens the folder at ``path``, creating it if there is none, and calls ``load`` on it.

    ``load`` reads everything and raises StoreDamaged where it cannot; it may be called again, on what a remedy left.
    Raises StoreLocked, StoreFull, SchemaFromFuture, WrongChain, StoreError, with nothing held; StoreDamaged only if
    even a new folder fails.
    """
    make_folder(path.parent)
    with ExitStack() as held:
        lock = take_lock(path)
        held.callback(release_lock, lock)
        with opening_mark(path) as died:
            notes = _tried(path, write_buffer) if died else ()
            engine, loaded = climb(path, load, write_buffer, notes)
        held.pop_all()
    return Opened(engine, lock, loaded)


def _tried(path: Path, write_buffer: int) -> tuple[str, ...]:
    """Opens the folder in a child process, so that only the child can die of it. Returns what it met, in words.

    Whatever it could heal is healed afterwards; a folder that kills even when it is rebuilt is set aside.
    """
    for rebuild in (False, True):
        died, notes = _trial(path, write_buffer, rebuild=rebuild)
        if died is None:
            return notes
    return (f"opening it ended the process by {died}", f"set aside as {set_aside(path).name}")


def _trial(path: Path, write_buffer: int, *, rebuild: bool) -> tuple[str | None, tuple[str, ...]]:
    """The name of the signal that a trial died by, or None, and what it met."""
    command = [sys.executable, "-m", TRIAL, str(path), str(write_buffer), "rebuild" if rebuild else ""]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if -done.returncode in FATAL:
        return signal.Signals(-done.returncode).name, ()
    return None, tuple(done.stdout.splitlines())
