"""A queue of news that no peer can fill.

Publishing never blocks, because whoever reads from a peer publishes and must go on reading; so news is folded
instead: what a newer event makes pointless is dropped. What waits is bounded by the number of keys (peers, or peers
and networks) times what ``fold`` leaves of the events of one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Generic, TypeVar

import trio

E = TypeVar("E")


class News(Generic[E]):
    """One consumer: ``receive``, ``receive_nowait`` or ``async for``. Never ends. ``key`` says whom an event is about;
    ``fold`` joins the events of one key that wait and a new one."""

    def __init__(self, key: Callable[[E], Hashable], fold: Callable[[list[E], E], list[E]]) -> None:
        self._key = key
        self._fold = fold
        self._waiting: OrderedDict[Hashable, list[E]] = OrderedDict()
        self._some = trio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def publish(self, event: E) -> None:
        key = self._key(event)
        events = self._fold(self._waiting.get(key, []), event)
        if events:
            self._waiting[key] = events
            self._some.set()
        else:
            self._waiting.pop(key, None)

    def receive_nowait(self) -> E | None:
        """The next event, fair between keys; None when nothing waits."""
        if not self._waiting:
            return None
        key, events = next(iter(self._waiting.items()))
        event = events.pop(0)
        if events:
            self._waiting.move_to_end(key)
        else:
            del self._waiting[key]
        return event

    async def receive(self) -> E:
        while True:
            await trio.lowlevel.checkpoint()
            event = self.receive_nowait()
            if event is not None:
                return event
            self._some = trio.Event()
            await self._some.wait()

    async def __aiter__(self) -> AsyncIterator[E]:
        while True:
            yield await self.receive()
