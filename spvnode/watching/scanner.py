"""Looks into the blocks of one Bitcoin network for watches: compact filters first, then the blocks that match.

A filter is fetched once for all watches, and a block, too. What cannot be had is waited for: cursors stay, nothing is
passed over. In memory: the filters of ``interest.CHUNK`` blocks, and one block.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import structlog
import trio

from p2p.backoff import Backoff
from spvnode.bitcoin.basicfilter import held_scripts
from spvnode.bitcoin.block import parse_block
from spvnode.bitcoin.payments import Reading, read_payments
from spvnode.errors import StoreError, Unavailable, Undecided
from spvnode.rpc.events.hub import Hub
from spvnode.rpc.events.journal import Watch
from spvnode.rpc.events.scanning import Seen, advance, settle, unsettled
from spvnode.types import PREV_HASH, Hash32, Height
from spvnode.view import BlockFilter, ChainView
from spvnode.watching.interest import Interest, Task, tasks

IN_FLIGHT: Final = 4
"""Filters fetched at once: a search far back is bound by round trips."""
SAVE_BLOCKS: Final = 48
"""Blocks looked at in vain after which cursors are written all the same: what a crash has looked at again, 1 MB of
filters. Writing takes up to some MB, too."""
RETRY_FIRST: Final = 1.0
"""Seconds before what could not be had is asked for again, at first."""
RETRY_CAP: Final = 30.0
"""Seconds at most between tries."""

log = structlog.get_logger("watches")


class Source(Protocol):
    """What is looked into (``spvnode.view.NodeView``)."""

    @property
    def chains(self) -> Mapping[str, ChainView]:
        """Networks of Bitcoin's kind that have begun."""

    def now(self) -> float:
        """Unix seconds."""

    async def fetch_block(self, network: str, block_hash: Hash32) -> bytes:
        """A checked block. Raises Unavailable."""

    async def fetch_filter(self, network: str, block_hash: Hash32) -> BlockFilter:
        """The cross-checked filter of a main-chain block. Raises Unavailable, Undecided."""


@dataclass(frozen=True, slots=True)
class _Place:
    height: Height
    hash: Hash32
    previous: Hash32


class Scanner:
    """One network's. ``run`` it."""

    def __init__(self, source: Source, hub: Hub, network: str, *, retry: float = RETRY_FIRST) -> None:
        self._source = source
        self._hub = hub
        self._network = network
        self._limiter = trio.CapacityLimiter(IN_FLIGHT)
        self._backoff = Backoff(retry, max(retry, RETRY_CAP), random.Random())  # noqa: S311 - spreads, hides nothing
        self._turns = 0
        self._unsaved = 0
        self._problem = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._problem = ""
            try:
                progress = await self._turn()
            except StoreError as error:
                self._problem, progress = f"watches cannot be written: {error}", False
            if self._problem:
                self._hold(self._problem)
                await trio.sleep(self._backoff.next())
                continue
            self._hub.held.pop(self._network, None)
            if progress:
                self._backoff.reset()
            else:
                await self._hub.looked()

    async def _turn(self) -> bool:
        """One look at what there is to do. True where some of it was done; ``_problem`` says why some was not."""
        chain, watches = self._source.chains.get(self._network), self._watches()
        if chain is None or not watches:
            return False
        if any(unsettled(watch, chain) for watch in watches):
            await self._hub.change(partial(settle, network=self._network, chain=chain, now=self._source.now()))
            return True
        self._turns += 1
        for task in tasks(watches, chain.tip_height, oldest_first=bool(self._turns % 2)):
            if await self._do(task, chain):
                return True
        return False

    def _watches(self) -> list[Watch]:
        every = self._hub.watches.watches.values()
        return [watch for watch in every if watch.network == self._network and watch.scans]

    def _hold(self, reason: str) -> None:
        if self._hub.held.get(self._network) != reason:
            log.info("search of blocks waits", network=self._network, reason=reason)
        self._hub.held[self._network] = reason

    # -- one task

    async def _do(self, task: Task, chain: ChainView) -> bool:
        """True where at least one block was looked at."""
        places = _places(chain, task)  # in one step: of one chain
        interest = Interest.of(task.watches)
        present = await self._filters(interest, places)
        served: Sequence[Watch] = task.watches
        seen: list[Seen] = []
        for place in places:
            try:
                seen.append(await self._look(interest, place, present[place.height]))
            except Unavailable as error:
                self._problem = f"block {place.height}: {error}"
                others = [watch for watch in served if watch.scripts]
                if present[place.height] != frozenset() or not others:
                    break
                served, interest.every = others, False  # who needs no block here goes on
                seen.append(Seen(place.height, place.hash, place.previous, frozenset(), None))
        if seen:
            await self._tell(served, seen)
        return bool(seen)

    async def _tell(self, served: Iterable[Watch], seen: Sequence[Seen]) -> None:
        ids = frozenset(watch.id for watch in served)
        self._unsaved += len(seen)
        edit = partial(advance, sight=self._hub.sight(self._network), seen=seen, ids=ids, now=self._source.now())
        if await self._hub.change(edit, only_if_told=self._unsaved < SAVE_BLOCKS):
            self._unsaved = 0

    async def _filters(
        self, interest: Interest, places: Sequence[_Place]
    ) -> dict[Height, frozenset[bytes] | Unavailable | None]:
        """By height: which scripts the block's filter holds; None where filters do not tell; or why there is none."""
        found: dict[Height, frozenset[bytes] | Unavailable | None] = {}

        async def one(place: _Place) -> None:
            async with self._limiter:
                try:
                    found[place.height] = await self._present(interest, place)
                except Unavailable as error:
                    found[place.height] = error

        async with trio.open_nursery() as nursery:
            for place in places:
                nursery.start_soon(one, place)
        return found

    async def _present(self, interest: Interest, place: _Place) -> frozenset[bytes] | None:
        if not interest.scripts:
            return frozenset()
        try:
            found = await self._source.fetch_filter(self._network, place.hash)
        except Undecided as error:
            log.info("filters contradict each other; the block is read", height=place.height, problem=str(error))
            return None
        return await trio.to_thread.run_sync(held_scripts, found.filter, place.hash, interest.scripts)

    async def _look(self, interest: Interest, place: _Place, present: frozenset[bytes] | Unavailable | None) -> Seen:
        """Raises Unavailable."""
        if isinstance(present, Unavailable):
            raise present
        reading: Reading | None = None
        if present is None or present or interest.every:
            raw = await self._source.fetch_block(self._network, place.hash)
            reading = await trio.to_thread.run_sync(_read, raw, interest)
            interest.learn(reading)
        return Seen(place.height, place.hash, place.previous, present, reading)


def _read(raw: bytes, interest: Interest) -> Reading:
    """Some 0.2 s for a full block: a worker's business."""
    return read_payments(parse_block(raw), interest.scripts, interest.coins, interest.txids)


def _places(chain: ChainView, task: Task) -> list[_Place]:
    heights = [Height(height) for height in range(task.start, task.end + 1)]
    return [_Place(height, chain.block_hash(height), Hash32(chain.header(height)[PREV_HASH])) for height in heights]
