"""Files that commands write and read."""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from pathlib import Path

from spvnode.cli.exits import Exit
from spvnode.cli.shell import CommandFailed
from spvnode.errors import InputError

# The disk refused; anything else is wrong with the path that was given.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


def write_file(path: Path, data: bytes, flag: str) -> None:
    """Writes all of ``data`` or leaves nothing. InputError naming ``flag``, CommandFailed where the disk refuses."""
    try:
        path.write_bytes(data)
    except OSError as error:
        if error.errno not in _DISK:
            raise InputError(flag, f"{path}: {error.strerror}") from error
        with suppress(OSError):  # a proof that is cut short is of no use to anybody
            if path.is_file():
                path.unlink()
        raise CommandFailed(Exit.STORE, f"{flag}: {path}: {error.strerror}") from error


def read_file(file: str, limit: int, flag: str) -> bytes:
    """At most one byte more than ``limit``, so that a wrong file is refused and not loaded; ``-`` is standard input."""
    try:
        if file == "-":
            return sys.stdin.buffer.read(limit + 1)
        with Path(file).open("rb") as stream:
            return stream.read(limit + 1)
    except OSError as error:
        raise InputError(flag, f"{file}: {error.strerror}") from error
