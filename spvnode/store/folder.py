"""The folder around a store: where it lies, who holds it, and what the operating system's refusals mean."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NewType

from spvnode.errors import StoreError, StoreLocked
from spvnode.store.errors import StoreDamaged, StoreFull

STORE_FOLDER = "store"
MAX_SET_ASIDE = 2
"""``store.damaged-<n>`` folders kept per network. Each may be as big as the store; bad media could make many."""

_FULL = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_DAMAGED = tuple(os.strerror(code) for code in (errno.EIO, errno.EINVAL, errno.ENOENT, errno.EISDIR))
"""A bad sector, a table cut short (LevelDB answers "Invalid argument"), a file that is gone or no file."""

Lock = NewType("Lock", int)
"""A held file descriptor."""


def store_path(datadir: Path, network: str) -> Path:
    """The folder of one network's store."""
    return datadir / network / STORE_FOLDER


def stored_networks(datadir: Path) -> tuple[str, ...]:
    """Networks that have a store under ``datadir``, sorted. Empty when there is no such folder."""
    return tuple(sorted(found.parent.name for found in datadir.glob(f"*/{STORE_FOLDER}") if found.is_dir()))


def refusal(path: Path, text: str) -> StoreError:
    """The typed error for what the system or LevelDB said about ``path``."""
    if any(sign in text for sign in _FULL):
        return StoreFull(f"{path}: no room to write ({text}); {free_bytes(path):,} bytes are free")
    if "already held by process" in text or "/LOCK: Resource temporarily unavailable" in text:
        return StoreLocked(f"{path}: another process holds this store")
    if any(sign in text for sign in _DAMAGED):
        return StoreDamaged(f"{path}: {text}")
    return StoreError(f"{path}: {text}")


def free_bytes(path: Path) -> int:
    """Bytes that an ordinary user may still write beside ``path``; 0 when nobody can tell."""
    try:
        numbers = os.statvfs(path)
    except OSError:
        return 0
    return numbers.f_bavail * numbers.f_frsize


def check_room(path: Path, size: int) -> None:
    """Raises OSError unless a file of ``size`` bytes can be written in ``path``. Writes nothing itself."""
    with tempfile.TemporaryFile(dir=path) as probe:
        os.posix_fallocate(probe.fileno(), 0, size)


def folder_size(path: Path) -> tuple[int, int]:
    """Bytes and number of the files right in ``path``."""
    sizes = []
    for entry in os.scandir(path):
        with suppress(FileNotFoundError):  # a compaction removes tables at any time
            sizes.append(entry.stat().st_size)
    return sum(sizes), len(sizes)


def make_folder(path: Path) -> None:
    """Creates ``path`` and its parents."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise _system_error(path, problem) from problem


def take_lock(path: Path) -> Lock:
    """Holds ``<path>.lock`` until ``release_lock`` or the end of the process.

    LevelDB's own LOCK lies inside the folder and is free while a repair runs or the folder is renamed; this one is not.
    """
    name = path.with_name(path.name + ".lock")
    try:
        held = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise _system_error(name, problem) from problem
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        os.close(held)
        if isinstance(problem, BlockingIOError):
            raise StoreLocked(f"{path}: another process holds this store") from problem
        raise _system_error(name, problem) from problem
    return Lock(held)


@contextmanager
def opening_mark(path: Path) -> Iterator[bool]:
    """Marks, while it lasts, that the store is being opened. Yields whether the last opening ended with its process."""
    mark = path.with_name(path.name + ".opening")
    died = mark.exists()
    try:
        mark.touch()
        yield died
    except OSError as problem:
        raise _system_error(mark, problem) from problem
    finally:
        mark.unlink(missing_ok=True)


def release_lock(lock: Lock) -> None:
    """Lets others in."""
    os.close(lock)


def set_aside(path: Path) -> Path:
    """Renames a store that nothing could heal to ``store.damaged-<n>``; the oldest of more than ``MAX_SET_ASIDE``
    goes. Returns the new name."""
    aside = {int(p.suffix[9:]): p for p in path.parent.glob(f"{path.name}.damaged-*") if p.suffix[9:].isdigit()}
    target = path.with_name(f"{path.name}.damaged-{max(aside, default=0) + 1}")
    try:
        path.rename(target)
    except OSError as problem:
        raise _system_error(path, problem) from problem
    for number in sorted(aside)[: len(aside) + 1 - MAX_SET_ASIDE]:
        shutil.rmtree(aside[number], ignore_errors=True)
    return target


def _system_error(path: Path, problem: OSError) -> StoreError:
    # Not `refusal`: a missing or impossible path is the operator's to correct, and nothing that a repair could heal.
    if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFull(f"{path}: no room to write ({problem.strerror}); {free_bytes(path.parent):,} bytes are free")
    return StoreError(f"{path}: {problem.strerror}")
