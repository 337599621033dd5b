"""What following a network is, whatever its kind: open the store, begin somewhere, drive, and begin again after a
failure.

A kind fills in four things (``open``, ``_begin``, ``_shut``, ``reasons``) and says which services feed it.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import structlog
import trio

from spvnode.bitcoin.chain import HeaderChain
from spvnode.config import SyncConfig
from spvnode.errors import StoreError
from spvnode.store.errors import StoreDamaged
from spvnode.store.events import Event
from spvnode.sync import events as ev
from spvnode.sync.chain import Chain
from spvnode.sync.driver import Driver
from spvnode.sync.source import Source
from spvnode.types import Hash32
from spvnode.view import BeaconView, PeerControl

if TYPE_CHECKING:
    from spvnode.sync.ondemand import OnDemand

Service = tuple[str, Callable[[], Awaitable[None]]]
"""A name for the log, and what runs until cancelled; restarted when it fails."""

log = structlog.get_logger("node")


class Follower(ABC):
    """``open`` it (in a worker thread), ``run`` it (again after a failure), ``close`` it."""

    imports: ClassVar[bool]
    """Whether a user may bring headers of it."""

    def __init__(
        self, network: str, source: Source, *, sync: SyncConfig, pool: trio.CapacityLimiter, clock: Callable[[], float]
    ) -> None:
        self.network = network
        self.driver: Driver | None = None
        self.source = source
        self.sync = sync
        self.clock = clock
        self.claims: dict[str, ev.PeerTip] = {}
        """What each connected peer says that it has; sources bound their number."""
        self.claimed = trio.Event()
        self._pool = pool
        self._fresh = False  # opened, and not run since

    # -- what a kind fills in

    @staticmethod
    @abstractmethod
    def hash_text(block_hash: Hash32) -> str:
        """A hash as this kind's tools print it."""

    @property
    @abstractmethod
    def chain(self) -> Chain | None:
        """What is followed; None until it has begun."""

    @abstractmethod
    def _open(self) -> None:
        """Opens the store, and the chain where it has begun. Blocking. Raises StoreError, and InputError where the
        configuration contradicts what is stored."""

    @abstractmethod
    def _shut(self) -> Callable[[], None] | None:
        """Takes chain and store out of sight at once; returns what then closes the store, blocking."""

    @abstractmethod
    async def _begin(self) -> None:
        """Returns once there is a chain."""

    @abstractmethod
    def reasons(self) -> Mapping[str, bool]:
        """Why replies would not deserve belief, and whether that is so now. Asked once there is a driver."""

    @property
    def why(self) -> str:
        """Why it still waits, as far as is known; empty otherwise."""
        return ""

    @property
    @abstractmethod
    def waits_for(self) -> str:
        """What a network without a chain waits for, in words."""

    @property
    def waits(self) -> bool:
        """Whether it is open and still waits for ``waits_for``."""
        return self.chain is None

    @property
    @abstractmethod
    def tip_time(self) -> float | None:
        """When the best header says that it was made, Unix seconds; None before there is one."""

    @abstractmethod
    def events(self, cursor: int, limit: int) -> Sequence[Event]:
        """Up to ``limit`` entries of the durable log above ``cursor``."""

    @property
    @abstractmethod
    def last_event(self) -> int:
        """Number of the newest entry; 0 when there is none, or no store."""

    @abstractmethod
    def peers(self) -> Sequence[Mapping[str, Any]]:
        """Peers that it hears of this network, under Core's ``getpeerinfo`` names where it has them."""

    @property
    def headers(self) -> HeaderChain | None:
        """Its chain as readers see it, where it is of Bitcoin's kind and has begun."""
        return None

    @property
    def beacon(self) -> BeaconView | None:
        """Its chain as readers see it, where it is of Ethereum's kind and has begun."""
        return None

    @property
    def identity(self) -> Mapping[str, Any]:
        """Who we are on a network of its own, JSON-ready; empty where it has none, or that is not up."""
        return {}

    def controls(self) -> Sequence[PeerControl]:
        """The wires that are up on which its peers are met, for the operator."""
        return ()

    @property
    def on_demand(self) -> OnDemand | None:
        """Where its blocks and filters come from, while its own network is up."""
        return None

    def services(self) -> Sequence[Service]:
        """What else runs for it alone."""
        return ()

    def details(self) -> Mapping[str, Any]:
        """What ``getsyncinfo`` tells of this kind alone."""
        return {}

    # -- following

    def open(self) -> None:
        """See ``_open``."""
        self._open()
        self._fresh = True

    def close(self) -> None:
        """Lets go of the store."""
        shut = self._shut()
        self.driver = None
        if shut is not None:
            shut()

    async def post(self, event: ev.Event) -> None:
        """An event from a source: to the driver, or kept for when there is one."""
        if isinstance(event, ev.PeerTip):
            self.claims[event.peer] = event
            self.claimed.set()
        elif isinstance(event, ev.PeerLeft):
            self.claims.pop(event.peer, None)
        if self.driver is not None:
            await self.driver.post(event)

    async def run(self) -> None:
        """Follows until cancelled. When run again after a failure, it begins with a store opened anew."""
        if not self._fresh:
            await self._reopen()
        self._fresh = False
        if self.chain is None:
            await self._begin()
        if self.chain is None:
            raise StoreError(f"{self.network}: no chain after its beginning")
        self.driver = Driver(
            self.chain,
            self.source,
            pool=self._pool,
            deadline=self.sync.deadline,
            in_flight=self.sync.in_flight,
            jitter=random.random,
            clock=self.clock,
            broken=StoreDamaged,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.driver.run)
            for peer, claim in list(self.claims.items()):
                if self.claims.get(peer) is claim:  # else newer news of that peer has overtaken us
                    await self.driver.post(claim)

    async def _reopen(self) -> None:
        """First the views go: nobody may come upon a store that is being closed."""
        shut = self._shut()
        self.driver = None
        if shut is not None:
            await trio.to_thread.run_sync(shut)
        await trio.to_thread.run_sync(self.open)
