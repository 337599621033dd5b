"""What clients have been answered and have not read yet, over all connections: bounded, at the cost of the slowest."""

from __future__ import annotations

from collections import OrderedDict

import trio

from spvnode.electrum.limits import MAX_UNSENT, SEND_BYTES, SEND_SECONDS


class TooSlow(Exception):
    """The client did not read; its stream is in no known state, and must be closed."""


class Outflow:
    """One server's."""

    def __init__(self, most: int = MAX_UNSENT) -> None:
        self._most = most
        self._unsent: OrderedDict[trio.CancelScope, int] = OrderedDict()
        """By what cuts each send: its bytes left. The one that has made no progress for the longest comes first."""
        self._total = 0

    @property
    def total(self) -> int:
        """Bytes that wait."""
        return self._total

    async def send(self, stream: trio.abc.SendStream, turn: trio.Lock, data: bytes) -> None:
        """Sends a line and its end, without a copy of the whole, once ``turn`` (the stream's) is had; what waits for it
        counts already. Raises TooSlow."""
        left = memoryview(data)
        with trio.CancelScope() as scope:
            self._unsent[scope] = len(data)
            self._total += len(data)
            self._cut()
            try:
                async with turn:
                    while left:
                        scope.deadline = trio.current_time() + SEND_SECONDS
                        part, left = left[:SEND_BYTES], left[SEND_BYTES:]
                        await stream.send_all(part if left else bytes(part) + b"\n")
                        self._progress(scope, len(part))
            finally:
                # An exception keeps this frame for as long as it is looked at, and longer: it lies in a cycle.
                data, left, part = b"", memoryview(b""), memoryview(b"")
                self._total -= self._unsent.pop(scope, 0)
        if scope.cancelled_caught:
            raise TooSlow

    def _progress(self, scope: trio.CancelScope, size: int) -> None:
        if scope in self._unsent:
            self._unsent[scope] -= size
            self._unsent.move_to_end(scope)
            self._total -= size

    def _cut(self) -> None:
        while self._total > self._most and len(self._unsent) > 1:
            scope, left = self._unsent.popitem(last=False)
            self._total -= left
            scope.cancel()
