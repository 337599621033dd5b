"""Requests in work: how many at once, of whom, and how much of their bodies lies in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

import trio

from spvnode.rpc.caller import Caller, Kind
from spvnode.rpc.limits import (
    MAX_BIG_BODIES,
    MAX_BODY_BYTES,
    MAX_CONCURRENT_REQUESTS,
    MAX_GREAT_REPLIES,
    MAX_USER_REQUESTS,
    SMALL_BODY_BYTES,
)

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Room:
    """One request's claim to the memory of a great reply: ``take`` waits for it, and keeps it until the answer has
    left. A request takes it once, however many calls it has."""

    def __init__(self, places: tuple[trio.Semaphore, ...], after: ExitStack) -> None:
        self._missing = list(places)
        self._after = after

    async def take(self) -> None:
        """Returns when it is this request's."""
        while self._missing:
            await self._missing[0].acquire()
            self._after.callback(self._missing.pop(0).release)


class Workload:
    """The requests of one listener. What one user holds is bounded, so that no other has to wait for it."""

    def __init__(self) -> None:
        self._all = trio.Semaphore(MAX_CONCURRENT_REQUESTS)
        self._big = trio.Semaphore(MAX_BIG_BODIES)
        self._great = trio.Semaphore(MAX_GREAT_REPLIES)
        self._greats: WeakValueDictionary[str, trio.Semaphore] = WeakValueDictionary()
        """Of each user who has a request, or an answer on its way: who does not read keeps nobody else away."""
        self._users: dict[str, tuple[trio.Semaphore, int]] = {}
        """Places of each user who has a request now, and how many want one: at most the connections."""

    @asynccontextmanager
    async def body(
        self, caller: Caller, headers: Mapping[bytes, bytes], receive: Receive
    ) -> AsyncIterator[bytes | None]:
        """Waits for a place, and holds it while the context lasts, with the request's body; None when that is longer
        than ``MAX_BODY_BYTES``."""
        async with self._place(caller), AsyncExitStack() as stack:
            announced = headers.get(b"content-length", b"0")
            if not announced.isdigit() or int(announced) > MAX_BODY_BYTES:
                yield None
                return
            big = False
            body = bytearray()
            more = True
            while more:
                message = await receive()
                more = message["type"] != "http.disconnect" and message.get("more_body", False)
                body += message.get("body", b"")
                if len(body) > MAX_BODY_BYTES:
                    yield None
                    return
                if len(body) > SMALL_BODY_BYTES and not big:
                    big = True
                    await stack.enter_async_context(self._big)
            yield bytes(body)

    def room(self, caller: Caller, after: ExitStack) -> Room:
        """For a request of ``caller``; ``after`` is closed when its answer has left."""
        mine = self._greats.setdefault(caller.user, trio.Semaphore(1))
        return Room((mine, self._great), after)

    @asynccontextmanager
    async def away(self, caller: Caller) -> AsyncIterator[None]:
        """Inside ``body``: gives the place to others while the context lasts, for a call that waits."""
        held = [self._all] if caller.kind is Kind.LOCAL else [self._users[caller.user][0], self._all]
        for places in held:
            places.release()
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):  # ``body`` gives them back in any case; they are had within a request
                for places in held:
                    await places.acquire()

    @asynccontextmanager
    async def _place(self, caller: Caller) -> AsyncIterator[None]:
        if caller.kind is Kind.LOCAL:  # one user anyway
            async with self._all:
                yield
            return
        places, count = self._users.get(caller.user, (trio.Semaphore(MAX_USER_REQUESTS), 0))
        self._users[caller.user] = places, count + 1
        try:
            async with places, self._all:
                yield
        finally:
            places, count = self._users[caller.user]
            self._users[caller.user] = places, count - 1
            if count == 1:
                del self._users[caller.user]
