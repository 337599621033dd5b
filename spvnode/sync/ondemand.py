"""What a node asks its network's peers for when somebody asks it: whole blocks, and compact filters."""

from __future__ import annotations

from typing import Protocol

from spvnode.errors import Unavailable, Undecided
from spvnode.sync.blocks import BlockFetcher, BlockPeers, Unfetched
from spvnode.sync.filters import UNSETTLED, FilterFetcher, FilterPeers, Headers
from spvnode.types import Hash32, Height, hash_hex
from spvnode.view import BlockFilter


class Chain(Headers, Protocol):
    """Committed headers, side branches included."""

    def height_of(self, block_hash: Hash32) -> Height | None:
        """Of a main-chain hash."""

    def side_header(self, block_hash: Hash32) -> tuple[Height, bytes] | None:
        """Of a hash on a side branch."""


class Peers(BlockPeers, FilterPeers, Protocol):
    """Peers that serve both."""


class OnDemand:
    """One network's. Both methods raise Unavailable, with what the peers did, when nobody gives what is asked."""

    def __init__(self, peers: Peers, chain: Chain, network: str) -> None:
        self._peers = peers
        self._chain = chain
        self._blocks = BlockFetcher(peers, network)
        self._filters = FilterFetcher(peers, self._blocks, chain, network)

    def unreachable(self, *, filters: bool) -> str | None:
        """Why nobody can be asked for a block (with ``filters``: for a filter) now; None where somebody can."""
        peers = self._peers.filter_peers() if filters else self._peers.block_peers()
        return None if peers else str(Unfetched(()))

    async def block(self, block_hash: Hash32) -> bytes:
        """A serialized block, checked against its committed header."""
        reply = await self._blocks.fetch(self._header(block_hash))
        if isinstance(reply, Unfetched):
            raise Unavailable(str(reply))
        return reply.raw

    async def filter(self, block_hash: Hash32) -> BlockFilter:
        """The basic filter of a main-chain block; Undecided where peers differ and the block does not settle it."""
        height = self._chain.height_of(block_hash)
        if height is None:
            raise Unavailable(f"{hash_hex(block_hash)} is not on the main chain, and peers serve no other filters")
        reply = await self._filters.fetch(height)
        if isinstance(reply, Unfetched):
            raise Undecided(str(reply)) if reply.says == UNSETTLED else Unavailable(str(reply))
        return BlockFilter(reply.filter, reply.header, reply.vouched_by, reply.disbelieved, reply.disputed_by)

    def _header(self, block_hash: Hash32) -> bytes:
        height = self._chain.height_of(block_hash)
        if height is not None:
            return self._chain.header(height)
        side = self._chain.side_header(block_hash)
        if side is None:
            raise Unavailable(f"{hash_hex(block_hash)} is not a block of this chain")
        return side[1]
