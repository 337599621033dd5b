"""Small JSON state files that survive a power cut: replaced atomically, bounded, and set aside when
damaged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog

MAX_FILE: Final = 1 << 20
"""Bytes of a state file. The books that use it write at most half of that; anything bigger is not ours."""

MAX_SET_ASIDE: Final = 3
"""Damaged copies kept per file, newest first; who damages files must not fill the disk with them."""

log = structlog.get_logger(__name__)
T = TypeVar("T")


def load(path: Path, kind: type[T], limit: int = MAX_FILE) -> T | None:
    """The file's content as ``kind`` (a msgspec Struct), or None when it is missing or damaged, or has more
    than ``limit`` bytes.

    A damaged file is renamed to ``<name>.damaged-1`` (older ones move up) and logged; the node goes on
    without it. OSError other than a missing file is ours, and raised.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    try:
        if len(data) > limit:
            raise msgspec.ValidationError(f"larger than {limit} bytes")
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # DecodeError covers ValidationError
        log.warning("state file damaged, set aside", path=str(path), problem=str(error), kept=str(_set_aside(path)))
        return None


def save(path: Path, content: msgspec.Struct, indent: int = 1) -> None:
    """Replace the file: write beside it, fsync, rename, fsync the folder. Mode 0600. Raises OSError. A big file has
    no use for ``indent`` and says -1."""
    data = msgspec.json.format(msgspec.json.encode(content), indent=indent)
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """A rename is durable only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _set_aside(path: Path) -> Path:
    names = [path.with_name(f"{path.name}.damaged-{n}") for n in range(1, MAX_SET_ASIDE + 1)]
    for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
        if newer.exists():
            newer.replace(older)
    path.replace(names[0])
    return names[0]
