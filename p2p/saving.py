"""Writes the books that outlive the process (addresses, discouragements) some time after they changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias

import structlog
import trio

SAVE_DELAY_S: Final = 5.0
"""From a change of a book to its file: changes come in bunches."""

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
    """``run`` it; ``changed`` tells it that there is something to save; ``save`` does so at once."""

    def __init__(self, books: Sequence[Book], offload: Offload) -> None:
        self._books = books
        self._offload = offload
        self._unsaved = trio.Event()

    def changed(self) -> None:
        self._unsaved.set()

    async def run(self) -> None:
        while True:
            await self._unsaved.wait()
            await trio.sleep(SAVE_DELAY_S)
            self._unsaved = trio.Event()
            await self.save()

    async def save(self) -> None:
        for book in self._books:
            job = book.unsaved()
            if job is None:
                continue
            try:
                await self._offload(job)
            except OSError as error:  # a full disk must not stop the wire; the next change tries again
                book.save_failed()
                log.warning("peer state not saved", problem=str(error))
