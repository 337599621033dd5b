"""Compact filters on demand: several peers are asked for a block's filter header; where they agree, one gives the
filter. Where they do not, the first block at which their chains of headers part is found, fetched, and made the judge.

A block does not always tell: key-path spends of Taproot show nothing of the script that they spend. Such a dispute goes
on in all later filter headers, but not in later filters: what all peers say of a later filter itself is believed, and
the reply tells who disputes its header.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

import structlog
import trio

from p2p.faults import FaultReason, RemoteFault
from spvnode.bitcoin.basicfilter import GENESIS_PREVIOUS, filter_hash
from spvnode.bitcoin.filters import (
    CHECKPOINT_INTERVAL,
    FilterHashes,
    Finding,
    Lie,
    Statement,
    first_split,
    group,
    judge,
)
from spvnode.sync.blocks import BlockFetcher, Unfetched
from spvnode.types import HASH_SIZE, Hash32, Height

MAX_ASKED: Final = 8
"""Peers whose filter headers are compared: all outbound ones. One honest among them is enough."""
ASK_SECONDS: Final = 10.0
"""For one reply: 64 kB of hashes or 512 kB of filter at most."""
FETCH_SECONDS: Final = 50.0
"""For all of it, disputes included: inside the RPC's 60 s for a request."""
MAX_DISPUTES: Final = MAX_ASKED
"""Disputes settled for one filter. Each leaves at least one peer out, so peers cannot make more."""

_MOVED = "the chain was reorganized meanwhile; ask again"
UNSETTLED = "peers disagree about filters, and the block at which they part does not settle it"

T = TypeVar("T")
log = structlog.get_logger("sync")


class FilterPeers(Protocol):
    """The peers that serve compact filters (BIP157). Every call may be cancelled at any time; replies are well formed
    and of the block asked for, and otherwise unchecked."""

    def filter_peers(self) -> Sequence[str]:
        """Who is connected and serves them, best first."""

    async def ask_filter_checkpoints(self, peer: str, stop: Hash32) -> bytes | RemoteFault:
        """``cfcheckpt``: n * 32 bytes."""

    async def ask_filter_hashes(self, peer: str, start: Height, stop: Hash32) -> FilterHashes | RemoteFault:
        """``cfheaders`` from ``start`` up to the block ``stop``."""

    async def ask_filter(self, peer: str, height: Height, block_hash: Hash32) -> bytes | RemoteFault:
        """``cfilter`` of one block."""

    async def report(self, fault: RemoteFault) -> None:
        """Scores a fault; may disconnect the peer."""


class Headers(Protocol):
    """Committed headers."""

    def header(self, height: Height) -> bytes:
        """80 bytes of the main chain; KeyError where it is not stored."""

    def block_hash(self, height: Height) -> Hash32:
        """Of the main chain; KeyError where it is not stored."""


@dataclass(frozen=True, slots=True)
class AgreedFilter:
    """A filter whose header all of ``vouched_by`` name; ``disbelieved`` named another one and lost; ``disputed_by``
    name the same filter with another header, because of an earlier block that does not settle it."""

    filter: bytes
    header: Hash32
    vouched_by: tuple[str, ...]
    disbelieved: tuple[str, ...] = ()
    disputed_by: tuple[str, ...] = ()


class FilterFetcher:
    """``fetch`` may run several times at once."""

    def __init__(self, peers: FilterPeers, blocks: BlockFetcher, headers: Headers, network: str) -> None:
        self._peers = peers
        self._blocks = blocks
        self._headers = headers
        self._network = network

    async def fetch(self, height: Height) -> AgreedFilter | Unfetched:
        """The filter of the main chain's block at ``height``. KeyError where its header is not stored."""
        search = _Search(self._peers, self._blocks, self._headers, self._network, height)
        with trio.move_on_after(FETCH_SECONDS):
            reply = await search.run(height)
            return Unfetched(tuple(search.faults), _MOVED) if search.moved else reply
        return Unfetched(tuple(search.faults))


class _Search:
    """One filter being looked for."""

    def __init__(
        self, peers: FilterPeers, blocks: BlockFetcher, headers: Headers, network: str, height: Height
    ) -> None:
        self.faults: list[RemoteFault] = []
        self._height = height
        self._stop = headers.block_hash(height)
        self._peers = peers
        self._blocks = blocks
        self._headers = headers
        self._network = network
        self._left = list(peers.filter_peers()[:MAX_ASKED])
        self._disbelieved: list[str] = []

    @property
    def moved(self) -> bool:
        """Whether our chain has left the block: two replies may then be of two chains, which is nobody's fault."""
        try:
            return self._headers.block_hash(self._height) != self._stop
        except KeyError:
            return True

    async def run(self, height: Height) -> AgreedFilter | Unfetched:
        for _ in range(MAX_DISPUTES):
            said = await self._hashes(height, height)
            if not said:
                break
            claims = {peer: one.headers() for peer, one in said.items()}
            if first_split(claims) is None:
                return await self._get(height, said)
            before = len(self._left)
            await self._dispute(height, claims)
            if len(self._left) == before:
                return await self._unsettled(height, said, claims)
        return Unfetched(tuple(self.faults))

    async def _unsettled(
        self, height: Height, said: Mapping[str, FilterHashes], claims: Mapping[str, bytes]
    ) -> AgreedFilter | Unfetched:
        """The parting is below, and nobody can be left out for it. The greatest group's header, if all name one
        filter."""
        if len({one.hash_at(0) for one in said.values()}) > 1:
            return Unfetched(tuple(self.faults), UNSETTLED)
        (_, most), *others = group(claims)
        reply = await self._get(height, {peer: said[peer] for peer in most})
        if isinstance(reply, Unfetched):
            return reply
        return replace(reply, disputed_by=tuple(peer for _, peers in others for peer in peers))

    async def _get(self, height: Height, said: Mapping[str, FilterHashes]) -> AgreedFilter | Unfetched:
        """From the first that gives what all have named."""
        wanted = next(iter(said.values()))
        for peer in said:
            data = (await self._ask([peer], lambda p: self._filter(p, height))).get(peer)
            if data is not None and filter_hash(data) == wanted.hash_at(0):
                header = Hash32(wanted.headers())
                return AgreedFilter(data, header, tuple(p for p in said if p in self._left), tuple(self._disbelieved))
            if data is not None:
                await self._drop(peer, FaultReason.BAD_FILTER, f"{Lie.OTHER_HASH} at height {height}")
        return Unfetched(tuple(self.faults))

    # -- a dispute

    async def _dispute(self, height: Height, claims: Mapping[str, bytes]) -> None:
        """Finds where the chains of filter headers part, and leaves out whoever lied there."""
        rows = await self._checkpoints(height)
        if len(rows) < len(claims):
            return  # somebody left: begin again with the others
        split = first_split(rows)
        interval = height // CHECKPOINT_INTERVAL if split is None else split.index
        start = Height(interval * CHECKPOINT_INTERVAL + 1 if interval else 0)
        end = Height(min((interval + 1) * CHECKPOINT_INTERVAL, height))
        ends = claims if split is None else {peer: _row(one, interval) for peer, one in rows.items()}
        begins = {peer: _row(one, interval - 1) if interval else GENESIS_PREVIOUS for peer, one in rows.items()}
        if start > end:  # all checkpoints agree, and the last one is of this very block
            await self._contradicts(peer for peer in claims if claims[peer] != begins[peer])
            return
        said = await self._hashes(start, end)
        chains = {peer: one.headers() for peer, one in said.items()}
        consistent = {peer: (begins[peer], ends[peer]) for peer in said}
        links = {peer: (one.previous, chains[peer][-HASH_SIZE:]) for peer, one in said.items()}
        await self._contradicts(peer for peer in said if links[peer] != consistent[peer])
        chains = {peer: chain for peer, chain in chains.items() if peer in self._left}
        parting = first_split(chains)
        if parting is not None and len(chains) == len(claims):
            await self._judge(Height(start + parting.index), {p: said[p].hash_at(parting.index) for p in chains})

    async def _judge(self, height: Height, hashes: Mapping[str, Hash32]) -> None:
        filters = await self._ask(hashes, lambda peer: self._filter(peer, height), drop=False)
        fetched = await self._blocks.fetch(self._headers.header(height))
        if isinstance(fetched, Unfetched):
            self.faults += fetched.faults
            return
        said = {peer: Statement(hashes[peer], filters.get(peer)) for peer in hashes}
        verdict = await trio.to_thread.run_sync(judge, fetched.block, said)
        log.warning("filters disputed", network=self._network, height=height, findings=len(verdict.findings))
        for finding in verdict.findings:
            if finding.proved or verdict.honest:
                await self._disbelieve(finding, height)

    async def _disbelieve(self, finding: Finding, height: Height) -> None:
        if finding.proved:
            await self._drop(finding.peer, FaultReason.BAD_FILTER, f"{finding.lie} at height {height}")
        else:
            self._leave(finding.peer)
        self._disbelieved.append(finding.peer)

    async def _contradicts(self, peers: Iterable[str]) -> None:
        for peer in tuple(peers):
            await self._drop(peer, FaultReason.BAD_FILTER, str(Lie.SELF_CONTRADICTION))
            self._disbelieved.append(peer)

    # -- asking

    async def _hashes(self, start: Height, end: Height) -> dict[str, FilterHashes]:
        stop = self._headers.block_hash(end)
        said = await self._ask(self._left, lambda peer: self._peers.ask_filter_hashes(peer, start, stop))
        return await self._complete(said, {peer: one.count for peer, one in said.items()}, end - start + 1)

    async def _checkpoints(self, height: Height) -> dict[str, bytes]:
        stop = self._headers.block_hash(height)
        said = await self._ask(self._left, lambda peer: self._peers.ask_filter_checkpoints(peer, stop))
        counts = {peer: len(rows) / HASH_SIZE for peer, rows in said.items()}
        return await self._complete(said, counts, height // CHECKPOINT_INTERVAL)

    async def _complete(self, said: dict[str, T], counts: Mapping[str, float], wanted: int) -> dict[str, T]:
        """Without those whose reply is not as long as asked: BIP157 leaves no choice."""
        for peer, count in counts.items():
            if count != wanted:
                await self._drop(peer, FaultReason.PROTOCOL, f"{count:g} rows about filters, {wanted} were asked for")
                del said[peer]
        return said

    def _filter(self, peer: str, height: Height) -> Awaitable[bytes | RemoteFault]:
        return self._peers.ask_filter(peer, height, self._headers.block_hash(height))

    async def _ask(
        self, peers: Iterable[str], ask: Callable[[str], Awaitable[T | RemoteFault]], *, drop: bool = True
    ) -> dict[str, T]:
        """Replies of all that answered in time, in the order of ``peers``. The others are left out from now on."""
        replies: dict[str, T | RemoteFault] = {}

        async def one(peer: str) -> None:
            replies[peer] = RemoteFault(FaultReason.TIMEOUT, peer, f"no answer within {ASK_SECONDS:g} s", self._network)
            with trio.move_on_after(ASK_SECONDS):
                replies[peer] = await ask(peer)

        asked = list(peers)
        async with trio.open_nursery() as nursery:
            for peer in asked:
                nursery.start_soon(one, peer)
        for peer in asked:
            reply = replies[peer]
            if isinstance(reply, RemoteFault):
                self.faults.append(reply)
                await self._peers.report(reply)
                if drop:
                    self._leave(peer)
        return {peer: reply for peer in asked if not isinstance(reply := replies[peer], RemoteFault)}

    async def _drop(self, peer: str, reason: FaultReason, evidence: str) -> None:
        if self.moved:
            self._leave(peer)
            return
        fault = RemoteFault(reason, peer, evidence, self._network)
        self.faults.append(fault)
        await self._peers.report(fault)
        self._leave(peer)

    def _leave(self, peer: str) -> None:
        if peer in self._left:
            self._left.remove(peer)


def _row(rows: bytes, index: int) -> bytes:
    return rows[index * HASH_SIZE : (index + 1) * HASH_SIZE]
