"""Writes the books that outlive the process (addresses, discouragements) some time after they changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias

import structlog
import trio

SAVE_DELAY_S: Final = 5.0
"""From a change of a book to its file: changes come in bunches."""
SELDOM_S: Final = 900.0
"""Between two times that a big book is written: 3 MB every five seconds would be 43 GB a day for what gossip brings."""

Offload: TypeAlias = Callable[[Callable[[], None]], Awaitable[None]]
"""Runs a short blocking job off the trio thread; a simulation, whose clock would not wait for a thread,
runs it in place."""

log = structlog.get_logger(__name__)


class Book(Protocol):
    """Something that is kept in a file (``AddressBook``, ``ScoreBoard``)."""

    def unsaved(self) -> Callable[[], None] | None:
        """A job that writes it as it is now (it raises OSError); None when that has been done."""

    def save_failed(self) -> None:
        """The job has raised."""


class Saver:
    """``run`` it; ``changed`` tells it that there is something to save; ``save`` does so at once. ``seldom`` are books
    that are big and always changing: what a killed process loses of them comes back by itself."""

    def __init__(self, books: Sequence[Book], offload: Offload, *, seldom: Sequence[Book] = ()) -> None:
        self._books = books
        self._seldom = seldom
        self._seldom_due = float("-inf")
        self._offload = offload
        self._unsaved = trio.Event()

    def changed(self) -> None:
        self._unsaved.set()

    async def run(self) -> None:
        while True:
            await self._unsaved.wait()
            await trio.sleep(SAVE_DELAY_S)
            self._unsaved = trio.Event()
            if trio.current_time() >= self._seldom_due:
                self._seldom_due = trio.current_time() + SELDOM_S
                await self.save()
            else:
                await self._save(self._books)

    async def save(self) -> None:
        await self._save((*self._books, *self._seldom))

    async def _save(self, books: Sequence[Book]) -> None:
        for book in books:
            job = book.unsaved()
            if job is None:
                continue
            try:
                await self._offload(job)
            except OSError as error:  # a full disk must not stop the wire; the next change tries again
                book.save_failed()
                log.warning("peer state not saved", problem=str(error))
