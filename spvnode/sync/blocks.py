"""Blocks on demand: one block by its header, from any of several peers, checked and handed on. Nothing is kept.

Peers are asked in their port's order. One that refuses or lies makes room for the next at once; beside one that is slow
the next is asked as well, and the first good block wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import structlog
import trio

from p2p.faults import FaultReason, RemoteFault
from spvnode.bitcoin.block import Block, BlockError, BlockFault, read_block
from spvnode.bitcoin.header import header_hash
from spvnode.errors import WANT_BLOCK_PEERS
from spvnode.types import Hash32, hash_hex

ASK_SECONDS: Final = 20.0
"""For one peer to give a block: 4 MB at 1.6 Mbit/s."""
HEDGE_SECONDS: Final = 4.0
"""After which a second peer is asked beside the first."""
FETCH_SECONDS: Final = 45.0
"""For all of it, waiting for others' fetches included: inside the RPC's 60 s for a request."""
MAX_ASKED: Final = 6
"""Peers asked for one block."""
MAX_AT_ONCE: Final = 3
"""Blocks fetched at once, 4 MB from two peers each: RPC clients fill it, further ones wait."""

FAULTS: Final = {
    BlockFault.MALFORMED: FaultReason.BAD_FRAME,
    BlockFault.TOO_BIG: FaultReason.OVERSIZED,
    BlockFault.OTHER_BLOCK: FaultReason.PROTOCOL,
}
"""What a bad block says about its sender; any other fault of one is ``BAD_BLOCK``."""

log = structlog.get_logger("sync")


class BlockPeers(Protocol):
    """The peers that serve blocks. Deadlines are the caller's: every ``ask`` may be cancelled at any time."""

    def block_peers(self) -> Sequence[str]:
        """Who is connected and serves blocks with witnesses, best first."""

    async def ask_block(self, peer: str, block_hash: Hash32) -> bytes | RemoteFault:
        """The serialized block, unchecked. NOT_FOUND where the peer says that it does not have it."""

    async def report(self, fault: RemoteFault) -> None:
        """Scores a fault; may disconnect the peer."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A block that is the header's, and whom it came from."""

    raw: bytes
    block: Block
    peer: str


@dataclass(frozen=True, slots=True)
class Unfetched:
    """Nobody gave it: what each peer that was asked did."""

    faults: tuple[RemoteFault, ...]
    says: str = ""

    def __str__(self) -> str:
        if self.says:
            return self.says
        if not self.faults:
            return f"no peer that serves it is connected now, or none answered in time: {WANT_BLOCK_PEERS}"
        return "asked in vain: " + ", ".join(f"{fault.peer} ({fault.reason})" for fault in self.faults)


class BlockFetcher:
    """``fetch`` may run several times at once."""

    def __init__(self, peers: BlockPeers, network: str) -> None:
        self._peers = peers
        self._network = network
        self._limiter = trio.CapacityLimiter(MAX_AT_ONCE)

    async def fetch(self, header: bytes) -> Fetched | Unfetched:
        """The block of a committed header (80 bytes)."""
        search = _Search(self._peers, self._network, header)
        with trio.move_on_after(FETCH_SECONDS):
            async with self._limiter:
                await search.run()
        if search.found is None:
            log.info("block not fetched", network=self._network, block=hash_hex(search.hash), asked=len(search.faults))
            return Unfetched(tuple(search.faults))
        return search.found


class _Search:
    """One block being looked for."""

    def __init__(self, peers: BlockPeers, network: str, header: bytes) -> None:
        self.hash = header_hash(header)
        self.found: Fetched | None = None
        self.faults: list[RemoteFault] = []
        self._peers = peers
        self._network = network
        self._header = header
        self._over = trio.Event()

    async def run(self) -> None:
        queue = iter(self._peers.block_peers()[:MAX_ASKED])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask_on, queue, nursery.cancel_scope)
            with trio.move_on_after(HEDGE_SECONDS):
                await self._over.wait()
            await self._ask_on(queue, nursery.cancel_scope)

    async def _ask_on(self, queue: Iterator[str], scope: trio.CancelScope) -> None:
        """Asks one peer after the other until there is a block or nobody left."""
        for peer in queue:
            reply = await self._ask(peer)
            if isinstance(reply, Fetched):
                self.found = reply
                scope.cancel()
                return
            self.faults.append(reply)
            await self._peers.report(reply)
        self._over.set()

    async def _ask(self, peer: str) -> Fetched | RemoteFault:
        with trio.move_on_after(ASK_SECONDS):
            reply = await self._peers.ask_block(peer, self.hash)
            if isinstance(reply, RemoteFault):
                return reply
            return await self._check(peer, reply)
        return RemoteFault(FaultReason.TIMEOUT, peer, f"no block within {ASK_SECONDS:g} s", self._network)

    async def _check(self, peer: str, raw: bytes) -> Fetched | RemoteFault:
        """Parsing a full block takes some 80 ms: a worker's business."""
        try:
            block = await trio.to_thread.run_sync(partial(read_block, raw, self._header))
        except BlockError as error:
            reason = FAULTS.get(error.fault, FaultReason.BAD_BLOCK)
            return RemoteFault(reason, peer, f"block {hash_hex(self.hash)}: {error}", self._network)
        return Fetched(raw, block, peer)
