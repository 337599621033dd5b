"""Headers that a presync has released, on their way to the machine: filled by whoever downloads, emptied by fetches.

What was handed out is kept until the next fetch says that it has it, so a fetch may be cancelled at any time.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from spvnode.types import HEADER_SIZE, Height

MAX_SUPPLY = 16_128
"""Headers above which no more is downloaded, two fetches' worth: 1.3 MB, of a chain whose work is proven. With the last
release of a presync on top it stays below 1.5 MB."""
MAX_SUPPLIES = 4 * MAX_SUPPLY * HEADER_SIZE
"""Bytes of all supplies of one source above which only what a fetch waits for grows, 5.2 MB: peers that are proven fill
it, and the later of them stop where they are until it is emptied. Each may be one release above it."""


class Shelf:
    """What the supplies of one source hold together: ``held`` gives the bytes. They tell each other of every change."""

    def __init__(self, held: Callable[[], int]) -> None:
        self._held = held
        self._changed = trio.Event()

    @property
    def crowded(self) -> bool:
        """Whether there is no place for more."""
        return self._held() >= MAX_SUPPLIES

    def tell(self) -> None:
        """Something has come or gone."""
        self._changed.set()
        self._changed = trio.Event()

    async def change(self) -> None:
        """Waits for that."""
        await self._changed.wait()


class Supply:
    """One peer's. ``start``: height of the first header that is held. ``shelf``: where it stands; alone, if None."""

    def __init__(self, start: Height, shelf: Shelf | None = None) -> None:
        self.start = start
        self.done = False
        """Nothing more will be put."""
        self.whole = False
        """When ``done``: all of it is here whose work was to be proven."""
        self._headers = bytearray()
        self._shelf = Shelf(lambda: 0) if shelf is None else shelf
        self._takers = 0

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
        self._shelf.tell()

    def finish(self, *, whole: bool) -> None:
        """See ``done`` and ``whole``; the first word stands."""
        self.whole = self.whole if self.done else whole
        self.done = True
        self._shelf.tell()

    def acknowledge(self, height: Height) -> bool:
        """Everything up to ``height`` has arrived, and goes. False where that is not a place in here."""
        if not self.start - 1 <= height < self.end:
            return False
        del self._headers[: (height + 1 - self.start) * HEADER_SIZE]
        self.start = Height(height + 1)
        self._shelf.tell()
        return True

    async def take(self, count: int, patience: float) -> bytes:
        """Up to ``count`` headers from ``start``, fewer when ``patience`` seconds have passed or there are no more."""
        self._takers += 1
        self._shelf.tell()
        try:
            with trio.move_on_after(patience):
                await self._until(lambda: self.done or len(self) >= count)
        finally:
            self._takers -= 1
        return bytes(memoryview(self._headers)[: count * HEADER_SIZE])

    async def room(self, patience: float) -> bool:
        """Waits until more is wanted; False after ``patience`` seconds."""
        with trio.move_on_after(patience) as scope:
            await self._until(lambda: len(self) < MAX_SUPPLY and (self.awaited or not self._shelf.crowded))
        return not scope.cancelled_caught

    @property
    def awaited(self) -> bool:
        """Whether a fetch waits for more of it."""
        return self._takers > 0

    @property
    def last(self) -> bytes:
        """The last header; empty where there is none."""
        return bytes(self._headers[-HEADER_SIZE:])

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._shelf.change()
