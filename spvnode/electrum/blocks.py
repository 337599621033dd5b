"""Proofs of transactions, from blocks that peers give. Nothing of a block is kept but its txids, of the last few."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from merkle.txtree import PAIR_SIZE, branch
from spvnode.bitcoin.block import read_block
from spvnode.electrum.errors import Code, ElectrumError
from spvnode.electrum.limits import MAX_BLOCK_FETCHES, MAX_CACHED_BLOCKS
from spvnode.electrum.tips import Tips
from spvnode.errors import Unavailable
from spvnode.types import HASH_SIZE, Hash32, Height, hash_hex
from spvnode.view import ChainView


@dataclass(frozen=True, slots=True)
class TxIds:
    """Of one block, in its order, 32 bytes each; ``unprovable`` are the positions of transactions of 64 bytes."""

    packed: bytes
    unprovable: frozenset[int]

    def find(self, txid: bytes) -> int | None:
        """Its position."""
        at = self.packed.find(txid)
        while at >= 0 and at % HASH_SIZE:
            at = self.packed.find(txid, at + 1)
        return None if at < 0 else at // HASH_SIZE

    def branch(self, position: int) -> list[str]:
        """Siblings up to the block's Merkle root, lowest first, as explorers print hashes. ElectrumError for what no
        proof can show."""
        if position in self.unprovable:  # CVE-2017-12842
            problem = "a transaction of 64 bytes: no proof tells it from an inner node of the tree"
            raise ElectrumError(Code.BAD_REQUEST, problem)
        txids = [self.packed[i : i + HASH_SIZE] for i in range(0, len(self.packed), HASH_SIZE)]
        return [hash_hex(sibling) for sibling in branch(txids, position)]


class Blocks:
    """Those of the chain of ``tips``."""

    def __init__(self, tips: Tips) -> None:
        self._tips = tips
        self._places = trio.CapacityLimiter(MAX_BLOCK_FETCHES)
        self._kept: OrderedDict[Hash32, TxIds] = OrderedDict()

    def cached(self, height: Height) -> bool:
        """Whether the block can be told of without asking a peer."""
        return hash_at(self._tips.chain(), height) in self._kept

    async def merkle(self, txid: bytes, height: Height) -> dict[str, Any]:
        """``blockchain.transaction.get_merkle``."""
        txids = await self._txids(height)
        position = txids.find(txid)
        if position is None:
            raise ElectrumError(Code.BAD_REQUEST, f"tx {hash_hex(txid)} not in block at height {height}")
        merkle = await self._branch(txids, position)
        return {"block_height": height, "merkle": merkle, "pos": position}

    async def at(self, height: Height, position: int, *, merkle: bool) -> object:
        """``blockchain.transaction.id_from_pos``."""
        txids = await self._txids(height)
        txid = txids.packed[position * HASH_SIZE : (position + 1) * HASH_SIZE]
        if not txid:
            raise ElectrumError(Code.BAD_REQUEST, f"no tx at position {position} in block at height {height}")
        if not merkle:
            return hash_hex(txid)
        return {"tx_hash": hash_hex(txid), "merkle": await self._branch(txids, position)}

    async def _branch(self, txids: TxIds, position: int) -> list[str]:
        return await trio.to_thread.run_sync(txids.branch, position)

    async def _txids(self, height: Height) -> TxIds:
        wanted = hash_at(self._tips.chain(), height)
        found = self._kept.get(wanted)
        if found is None:
            async with self._places:
                found = self._kept.get(wanted) or await self._fetch(wanted, height)
        self._kept[wanted] = found
        self._kept.move_to_end(wanted)
        if len(self._kept) > MAX_CACHED_BLOCKS:
            self._kept.popitem(last=False)
        if hash_at(self._tips.chain(), height) != wanted:
            raise ElectrumError(Code.UNAVAILABLE, f"the block at height {height} has changed meanwhile: ask again")
        return found

    async def _fetch(self, wanted: Hash32, height: Height) -> TxIds:
        header = self._tips.chain().header(height)
        try:
            raw = await self._tips.node.fetch_block(self._tips.network, wanted)
        except Unavailable as error:
            raise ElectrumError(Code.UNAVAILABLE, f"block {height} cannot be had now ({error})") from None
        return await trio.to_thread.run_sync(partial(_parse, raw, header))


def _parse(raw: bytes, header: bytes) -> TxIds:
    """In a worker thread: some 80 ms for a full block."""
    transactions = read_block(raw, header).transactions
    small = frozenset(i for i, tx in enumerate(transactions) if tx.base_size == PAIR_SIZE)
    return TxIds(b"".join(tx.txid for tx in transactions), small)


def hash_at(chain: ChainView, height: Height) -> Hash32:
    """The main chain's hash at ``height``; ElectrumError where this node has none."""
    require_height(chain, height)
    return chain.block_hash(height)


def require_height(chain: ChainView, height: int) -> Height:
    """``height`` if this node has its header; ElectrumError otherwise."""
    if not chain.base <= height <= chain.tip_height:
        problem = f"height {height} out of range: this node holds {chain.base} to {chain.tip_height}"
        raise ElectrumError(Code.BAD_REQUEST, problem)
    return Height(height)
