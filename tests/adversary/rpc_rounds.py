"""``spvnode`` with a clock on its event loop: the longest round of all is kept in a file that tests read and clear.

    python rpc_rounds.py FILE run --datadir ...

The file holds two numbers (native doubles): seconds of the longest round, and seconds of CPU that the loop's thread
spent in the round that took most. What other processes, the kernel and worker threads do is in the first alone.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from functools import partial
from pathlib import Path

import trio

ROUND = struct.Struct("dd")


class Rounds(trio.abc.Instrument):
    """Times each round from where the loop has events to where it waits again."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), ROUND.size)
        self._wall = self._cpu = 0.0

    def after_io_wait(self, timeout: float) -> None:
        """A round begins."""
        self._wall, self._cpu = time.perf_counter(), time.thread_time()

    def before_io_wait(self, timeout: float) -> None:
        """It ends."""
        if self._wall:
            wall, cpu = time.perf_counter() - self._wall, time.thread_time() - self._cpu
            most_wall, most_cpu = ROUND.unpack(self._shared)
            if wall > most_wall or cpu > most_cpu:
                self._shared[:] = ROUND.pack(max(wall, most_wall), max(cpu, most_cpu))


def main() -> None:
    file = Path(sys.argv.pop(1))
    trio.run = partial(trio.run, instruments=[Rounds(file)])
    from spvnode.cli import main as cli  # noqa: PLC0415 - it finds trio.run as it is now

    cli()


if __name__ == "__main__":
    main()
