"""One network being followed: its store, its chain, its driver, and what becomes of them after a failure.

A node that begins at a checkpoint knows its hash only; until a peer has sent the header itself there is no chain, and
``chain`` is None.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import structlog
import trio

from p2p.faults import FaultReason, RemoteFault
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.header import Header, header_hash
from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.pow import target_of
from spvnode.bitcoin.start import Checkpoint, check_checkpoint, genesis_of
from spvnode.bitcoin.stored import StoredChain
from spvnode.config import CheckpointConfig, SyncConfig
from spvnode.errors import InputError
from spvnode.following import Outcome
from spvnode.memory import trim
from spvnode.opening import checkpoint_of, record_of
from spvnode.store.errors import StoreDamaged
from spvnode.store.folder import store_path
from spvnode.store.headers import HeaderStore
from spvnode.sync import events as ev
from spvnode.sync.driver import Driver
from spvnode.sync.source import Items, Source
from spvnode.types import HEADER_SIZE, Height, Work, hash_hex

RETRY_CHECKPOINT = 5.0
"""Seconds between rounds of asking every peer for the checkpoint's header."""
GOSSIP_DEPTH = 6
"""Blocks below our tip at which a gossiped tip may still compete; older ones are no news."""

log = structlog.get_logger("node")


class Followed:
    """``open`` it (in a worker thread), ``run`` it (again after a failure), ``close`` it."""

    def __init__(
        self,
        params: ChainParams,
        datadir: Path,
        checkpoint: CheckpointConfig | None,
        source: Source,
        *,
        sync: SyncConfig,
        write_buffer: int,
        pool: trio.CapacityLimiter,
        clock: Callable[[], float],
    ) -> None:
        self.params = params
        self.datadir = datadir
        self._write_buffer = write_buffer
        self.checkpoint = checkpoint
        self.store: HeaderStore | None = None
        self.chain: StoredChain | None = None
        self.driver: Driver | None = None
        self._source = source
        self._sync = sync
        self._pool = pool
        self._clock = clock
        self._fresh = False  # opened, and not run since
        self._claims: dict[str, ev.PeerTip] = {}
        self._claimed = trio.Event()

    @property
    def headers(self) -> HeaderChain | None:
        """The chain as its readers see it."""
        return self.chain.headers if self.chain is not None else None

    # -- store and chain

    def open(self) -> None:
        """Opens store and chain, checking every stored header. Blocking: 0.3 s for 1,000,000 headers.

        Raises StoreError, and InputError where the configured checkpoint contradicts what is stored.
        """
        self.store = HeaderStore.open(
            store_path(self.datadir, self.params.name),
            genesis_hash=self.params.genesis_hash,
            start=None if self.checkpoint else record_of(genesis_of(self.params)),
            now=self._clock(),
            write_buffer=self._write_buffer,
        )
        for fault in self.store.faults:
            log.warning("store healed", network=self.params.name, what=fault)
        if self.store.start is not None:
            self._load(checkpoint_of(self.store.start))
            self._agree()
        self._fresh = True

    def close(self) -> None:
        """Lets go of the store."""
        if self.store is not None:
            self.store.close()
        self.store = self.chain = self.driver = None

    def _load(self, start: Checkpoint | None) -> None:
        if self.store is None:
            raise RuntimeError("open comes first")
        chain = StoredChain(self.params, self.store, start, clock=self._clock)
        if chain.report.fault is not None:
            log.warning("store cut", network=self.params.name, reason=str(chain.report.fault), tip=chain.tip.height)
        log.info("chain loaded", network=self.params.name, base=chain.headers.base, tip=chain.tip.height)
        self.chain = chain
        trim()

    def _agree(self) -> None:
        """What was begun stays; a checkpoint that contradicts it is an error of the configuration."""
        wanted, headers = self.checkpoint, self.headers
        if wanted is None or headers is None or not headers.base <= wanted.height <= headers.tip_height:
            return
        stored = headers.block_hash(Height(wanted.height))
        if stored != wanted.block_hash:
            raise InputError("checkpoint", f"height {wanted.height} is {hash_hex(stored)} in {self.datadir}")

    # -- what others tell

    def judge_tip(self, height: int, header: bytes) -> bool | None:
        """A gossiped tip: True when it is news that keeps every rule where our chain ends, False when it lacks its
        proof of work, None when it lies elsewhere (one of us is behind), or is known, and was passed on by then: old
        headers have their proof of work, too, and must not go round the mesh for nothing."""
        raw = Header(header)
        target = target_of(raw.bits, self.params.pow_limit)
        if target is None or int.from_bytes(raw.hash, "little") > target:
            return False
        chain = self.chain
        if chain is None or not -GOSSIP_DEPTH <= height - chain.tip.height <= 1:
            return None
        verdict = chain.plan(header, int(self._clock()))
        news = verdict.outcome in (Outcome.EXTENDS, Outcome.REORGANIZES, Outcome.FORK)
        return True if news and verdict.last == height else None

    # -- following

    async def post(self, event: ev.Event) -> None:
        """An event from a source: to the driver, or kept for when there is one."""
        if isinstance(event, ev.PeerTip):
            self._claims[event.peer] = event  # one a connected peer, which the mesh bounds
            self._claimed.set()
        elif isinstance(event, ev.PeerLeft):
            self._claims.pop(event.peer, None)
        if self.driver is not None:
            await self.driver.post(event)

    async def run(self) -> None:
        """Follows until cancelled. When run again after a failure, it begins with a store opened anew."""
        if not self._fresh:
            await self._reopen()
        self._fresh = False
        if self.chain is None:
            await self._await_checkpoint()
        if self.chain is None:
            raise RuntimeError("no chain after its checkpoint came")
        self.driver = Driver(
            self.chain,
            self._source,
            pool=self._pool,
            deadline=self._sync.deadline,
            in_flight=self._sync.in_flight,
            jitter=random.random,
            clock=self._clock,
            broken=StoreDamaged,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.driver.run)
            for peer, claim in list(self._claims.items()):
                if self._claims.get(peer) is claim:  # else newer news of that peer has overtaken us
                    await self.driver.post(claim)

    async def _reopen(self) -> None:
        """First the views go: nobody may come upon a store that is being closed."""
        store, self.store, self.chain, self.driver = self.store, None, None, None
        if store is not None:
            await trio.to_thread.run_sync(store.close)
        await trio.to_thread.run_sync(self.open)

    async def _await_checkpoint(self) -> None:
        """Asks every peer that can have it, until one sends the header that hashes to the checkpoint. One that has
        another there is asked again when it has another tip."""
        denied: dict[str, ev.PeerTip] = {}
        while self.chain is None:
            self._claimed = trio.Event()
            denied = {peer: claim for peer, claim in denied.items() if peer in self._claims}
            for peer, claim in list(self._claims.items()):
                if denied.get(peer) is not claim and await self._denies_checkpoint(claim):
                    denied[peer] = claim
                if self.chain is not None:
                    return
            with trio.move_on_after(RETRY_CHECKPOINT):
                await self._claimed.wait()

    async def _denies_checkpoint(self, claim: ev.PeerTip) -> bool:
        """Asks for the checkpoint's header and begins the chain with it. True where the peer has another one: its
        fault, or the operator's, so nobody is scored for it."""
        wanted, store = self.checkpoint, self.store
        if wanted is None or store is None or not claim.base <= wanted.height <= claim.tip.height:
            return False
        reply: Items | RemoteFault | None = None
        with trio.move_on_after(self._sync.deadline):
            reply = await self._source.fetch_range(claim.peer, Height(wanted.height), 1)
        if isinstance(reply, RemoteFault):
            await self._source.report(reply)
        elif reply is None:
            fault = RemoteFault(FaultReason.TIMEOUT, claim.peer, "no checkpoint header", self.params.name)
            await self._source.report(fault)
        elif len(reply.items) != HEADER_SIZE or header_hash(reply.items) != wanted.block_hash:
            log.warning("a peer has another block at the checkpoint", network=self.params.name, peer=claim.peer,
                        height=wanted.height, hash=hash_hex(header_hash(reply.items)))  # fmt: skip
            return True
        else:
            work = Work(wanted.work or 0)
            start = Checkpoint(Height(wanted.height), wanted.block_hash, reply.items, work, wanted.peak_hashes)
            check_checkpoint(self.params, start)
            await trio.to_thread.run_sync(store.set_start, record_of(start))
            await trio.to_thread.run_sync(self._load, start)
        return False
