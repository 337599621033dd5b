"""Headers that a presync has released, on their way to the machine: filled by whoever downloads, emptied by fetches.

What was handed out is kept until the next fetch says that it has it, so a fetch may be cancelled at any time.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from spvnode.types import HEADER_SIZE, Height

MAX_SUPPLY = 16_128
"""Headers above which no more is downloaded, two fetches' worth: 1.3 MB, of a chain whose work is proven. With the last
release of a presync on top it stays below 2.7 MB."""


class Supply:
    """One peer's. ``start``: height of the first header that is held."""

    def __init__(self, start: Height) -> None:
        self.start = start
        self.done = False
        """Nothing more will be put."""
        self.whole = False
        """When ``done``: all of it is here whose work was to be proven."""
        self._headers = bytearray()
        self._changed = trio.Event()

    def __len__(self) -> int:
        return len(self._headers) // HEADER_SIZE

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return len(self._headers)

    @property
    def end(self) -> Height:
        """Height right above the last header."""
        return Height(self.start + len(self))

    def put(self, headers: bytes) -> None:
        """The next ones."""
        self._headers += headers
        self._tell()

    def finish(self, *, whole: bool) -> None:
        """See ``done`` and ``whole``; the first word stands."""
        self.whole = self.whole if self.done else whole
        self.done = True
        self._tell()

    def acknowledge(self, height: Height) -> bool:
        """Everything up to ``height`` has arrived, and goes. False where that is not a place in here."""
        if not self.start - 1 <= height < self.end:
            return False
        del self._headers[: (height + 1 - self.start) * HEADER_SIZE]
        self.start = Height(height + 1)
        self._tell()
        return True

    async def take(self, count: int, patience: float) -> bytes:
        """Up to ``count`` headers from ``start``, fewer when ``patience`` seconds have passed or there are no more."""
        with trio.move_on_after(patience):
            await self._until(lambda: self.done or len(self) >= count)
        return bytes(memoryview(self._headers)[: count * HEADER_SIZE])

    async def room(self, patience: float) -> bool:
        """Waits until more is wanted; False after ``patience`` seconds."""
        with trio.move_on_after(patience) as scope:
            await self._until(lambda: len(self) < MAX_SUPPLY)
        return not scope.cancelled_caught

    @property
    def last(self) -> bytes:
        """The last header; empty where there is none."""
        return bytes(self._headers[-HEADER_SIZE:])

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            changed = self._changed
            await changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
