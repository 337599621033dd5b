"""A look at LevelDB's table files before LevelDB looks: it ends the whole process over some of them.

A table ends in a footer of 48 bytes: two block handles (offset and size as varints: of the meta index and the index),
padding, and a magic number (LevelDB's table_format.md). Blocks have checksums, the footer has none, and LevelDB 1.22
allocates whatever size it reads there: a garbled one ends in ``std::bad_alloc``, which nobody catches.
"""

from __future__ import annotations

import os
from pathlib import Path

FOOTER_SIZE = 48
TRAILER_SIZE = 5
"""Behind each block: its type and checksum."""
MAGIC = bytes.fromhex("57fb808b247547db")
MAX_VARINT_BYTES = 10
READ_BYTES = 1 << 20


def unusable_tables(folder: Path, *, whole: bool = False) -> list[Path]:
    """Tables that LevelDB must not see: a footer that points out of the file, a file that cannot be read.

    ``whole`` reads each file to its end. LevelDB maps tables, and a bad sector under a mapped page is a signal that
    kills; in a plain read it is an error.
    """
    return [table for table in sorted(folder.glob("*.ldb")) if not _is_usable(table, whole=whole)]


def _is_usable(table: Path, *, whole: bool) -> bool:
    try:
        with table.open("rb") as file:
            while whole and file.read(READ_BYTES):
                pass
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - FOOTER_SIZE))
            footer = file.read()
    except OSError:
        return False
    # A file without the magic number is left to LevelDB, which says so itself.
    return not footer.endswith(MAGIC) or _points_inside(footer, size - len(footer) - TRAILER_SIZE)


def _points_inside(footer: bytes, room: int) -> bool:
    at = 0
    for _ in range(2):
        offset, at = _varint(footer, at)
        size, at = _varint(footer, at)
        if offset + size > room:
            return False
    return True


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """The number at ``at`` (seven bits a byte, lowest first), and where it ends."""
    number = 0
    for shift, byte in enumerate(raw[at : at + MAX_VARINT_BYTES]):
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return number, at + shift + 1
    return number, len(raw)
