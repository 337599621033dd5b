"""Peers that serve blocks and compact filters of a made chain, well or badly, behind the ports of ``spvnode.sync``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import trio
from blocks import MadeChain, bip158

from merkle.pure import sha256d
from p2p.faults import FaultReason, RemoteFault
from spvnode.bitcoin.basicfilter import GENESIS_PREVIOUS, build, filter_hash, filter_header
from spvnode.bitcoin.block import Block, parse_block
from spvnode.bitcoin.filters import CHECKPOINT_INTERVAL, FilterHashes
from spvnode.bitcoin.params import REGTEST
from spvnode.types import Hash32, Height

NETWORK = "regtest"


class Ledger:
    """Blocks and headers of regtest, genesis first, and their honest filters."""

    def __init__(self, made: MadeChain) -> None:
        genesis = REGTEST.genesis_header + bip158()[0].raw[80:]  # every network's genesis holds the same transaction
        self.raw = [genesis, *made.blocks]
        self.hashes = [Hash32(sha256d(raw[:80])) for raw in self.raw]
        prevouts = [(), *made.prevouts]
        self.blocks: list[Block] = [parse_block(raw) for raw in self.raw]
        self.filters = [build(block, scripts) for block, scripts in zip(self.blocks, prevouts, strict=True)]
        self.heights = {block_hash: Height(i) for i, block_hash in enumerate(self.hashes)}

    def header(self, height: Height) -> bytes:
        return self.raw[height][:80]

    def block_hash(self, height: Height) -> Hash32:
        return self.hashes[height]

    def height_of(self, block_hash: Hash32) -> Height | None:
        return self.heights.get(block_hash)

    def side_header(self, block_hash: Hash32) -> tuple[Height, bytes] | None:
        return None


def refuse(peer: str, reason: FaultReason = FaultReason.NOT_FOUND) -> RemoteFault:
    return RemoteFault(reason, peer, "says that it does not have it", NETWORK)


@dataclass
class Peer:
    """An honest one, where nothing else is said. ``filters`` replaces filters by height; ``headers`` replaces filter
    headers (after chaining, so that they do not link)."""

    ledger: Ledger
    filters: Mapping[int, bytes] = field(default_factory=dict)
    headers: Mapping[int, bytes] = field(default_factory=dict)
    give: Mapping[int, bytes] = field(default_factory=dict)
    """Filters that it sends in the place of those that it has named."""
    block: Callable[[str, Hash32], Awaitable[bytes | RemoteFault]] | None = None
    delay: float = 0.0
    silent: frozenset[str] = frozenset()
    """Questions that it never answers: ``block``, ``checkpoints``, ``hashes``, ``filter``."""
    short: frozenset[str] = frozenset()
    """Questions that it answers with a row too few."""

    def chain(self) -> tuple[list[bytes], list[bytes]]:
        """Its filter hashes and headers, from genesis."""
        hashes, headers = [], []
        previous = GENESIS_PREVIOUS
        for height, honest in enumerate(self.ledger.filters):
            hashes.append(filter_hash(self.filters.get(height, honest)))
            previous = filter_header(hashes[-1], previous)
            headers.append(self.headers.get(height, previous))
        return hashes, headers


class Peers:
    """All of them by name. ``faults`` is what was reported, ``asked`` every question in order."""

    def __init__(self, peers: Mapping[str, Peer]) -> None:
        self.peers = dict(peers)
        self.faults: list[RemoteFault] = []
        self.asked: list[tuple[str, str]] = []
        self.open = self.most_open = 0

    def block_peers(self) -> Sequence[str]:
        return tuple(self.peers)

    def filter_peers(self) -> Sequence[str]:
        return tuple(self.peers)

    async def report(self, fault: RemoteFault) -> None:
        self.faults.append(fault)

    @property
    def reasons(self) -> dict[str, FaultReason]:
        return {fault.peer: fault.reason for fault in self.faults}

    async def _answer(self, peer: str, question: str) -> Peer:
        self.asked.append((peer, question))
        one = self.peers[peer]
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await trio.sleep(float("inf") if question in one.silent else one.delay)
        finally:
            self.open -= 1
        return one

    async def ask_block(self, peer: str, block_hash: Hash32) -> bytes | RemoteFault:
        one = await self._answer(peer, "block")
        if one.block is not None:
            return await one.block(peer, block_hash)
        return one.ledger.raw[one.ledger.heights[block_hash]]

    async def ask_filter_checkpoints(self, peer: str, stop: Hash32) -> bytes | RemoteFault:
        one = await self._answer(peer, "checkpoints")
        end = one.ledger.heights[stop]
        rows = one.chain()[1][CHECKPOINT_INTERVAL : end + 1 : CHECKPOINT_INTERVAL]
        return b"".join(rows[: -1 if "checkpoints" in one.short else None])

    async def ask_filter_hashes(self, peer: str, start: Height, stop: Hash32) -> FilterHashes | RemoteFault:
        one = await self._answer(peer, "hashes")
        hashes, headers = one.chain()
        end = one.ledger.heights[stop] + (0 if "hashes" in one.short else 1)
        previous = headers[start - 1] if start else GENESIS_PREVIOUS
        return FilterHashes(Hash32(previous), b"".join(hashes[start:end]))

    async def ask_filter(self, peer: str, height: Height, block_hash: Hash32) -> bytes | RemoteFault:
        one = await self._answer(peer, "filter")
        assert one.ledger.heights[block_hash] == height
        return one.give.get(height, one.filters.get(height, one.ledger.filters[height]))
