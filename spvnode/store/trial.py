"""Opens a store of any kind in a process of its own, which may die of it:
``python -m spvnode.store.trial PATH BUFFER [rebuild]``.

The caller holds the store's lock. Exits 0 with a line on stdout for each fault that it met; with an error where the
store refuses for a reason that the caller will meet too.
"""

from __future__ import annotations

import sys
from pathlib import Path

from spvnode.store.port import Engine
from spvnode.store.remedies import climb
from spvnode.store.rows import walk

ROWS = 64
"""Rows held at once, of any kind of store: 10 MB of the largest."""


def look(engine: Engine, notes: tuple[str, ...]) -> tuple[str, ...]:
    """Reads everything. Raises StoreDamaged."""
    for _ in walk(engine, b"\0", b"\xff", limit=ROWS):
        pass
    return notes


def main(path: Path, write_buffer: int, mode: str) -> None:
    """Opens with every remedy, or with the last ones, and tells what it met. Raises StoreError."""
    engine, notes = climb(path, look, write_buffer, rebuild=mode == "rebuild")
    engine.close()
    sys.stdout.writelines(f"{note}\n" for note in notes)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
