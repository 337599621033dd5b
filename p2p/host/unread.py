"""Bytes that remotes sent and nobody has read yet, over all connections of a host."""

from __future__ import annotations

from typing import Protocol


class Holder(Protocol):
    """A connection, as far as this matters."""

    unread: int

    def abort(self, why: str) -> None:
        """Ends it now."""


class UnreadBudget:
    """Ends the connection that holds most, when together they hold more than ``limit`` bytes.

    Windows bound each stream and limits bound each connection; without this, all connections at their bounds would
    still be more than a small machine has.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0
        self._holders: set[Holder] = set()

    def join(self, holder: Holder) -> None:
        """A connection begins; it holds nothing yet."""
        self._holders.add(holder)

    def leave(self, holder: Holder) -> None:
        """What a connection that ended still holds is read or forgotten by its streams' users, uncounted."""
        if holder in self._holders:
            self._holders.remove(holder)
            self.total -= holder.unread

    def change(self, holder: Holder, count: int) -> None:
        """Add ``count`` (negative: read) bytes of ``holder``, whose ``unread`` already has them."""
        if holder not in self._holders:
            return
        self.total += count
        if self.total > self.limit:
            most = max(self._holders, key=lambda other: other.unread)
            self.leave(most)
            most.abort("holds most of too much unread data")
