"""Proofs beside the header bundle: of ancestry, of a transaction, and of many headers at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import trio
from msgspec import Meta

from merkle.bundle import decode
from merkle.proofs import MAX_COLUMN_HEADERS, MAX_HEADERS, HeadersProof, encode, make_tx_proof, to_json
from spvnode.bitcoin.block import base_bytes, read_block
from spvnode.errors import InputError, Unavailable
from spvnode.inputs import parse_hash
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.methods.lookup import find_active, standing
from spvnode.rpc.methods.proof import find_cp_height
from spvnode.rpc.registry import ChainParams, Context
from spvnode.types import Hash32, Height, hash_hex
from spvnode.view import ChainView

_WORKERS = trio.CapacityLimiter(1)
"""Parsing a full block takes some 80 ms of one core: one at a time."""


class GetAncestryProof(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``getancestryproof``."""

    ancestor: Annotated[int | str, Meta(description="Height, or hash on the active chain, of the older tip.")]
    descendant: Annotated[int | str | None, Meta(description="The same of the newer tip. Default: the tip.")] = None


class GetHeaderProofs(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``getheaderproofs``."""

    blocks: Annotated[
        list[int | str],
        Meta(
            min_length=1,
            max_length=MAX_HEADERS,
            description=f"Heights, or hashes on the active chain; to {MAX_HEADERS}.",
        ),
    ]
    cp_height: Annotated[int | None, Meta(description="Height that the tree ends at. Default: the tip.")] = None
    format: Annotated[
        Literal["json", "hex", "columns"],
        Meta(
            description="One shared multiproof as JSON object or bytes in hex; or `columns`: version 8 bundles, "
            f"{MAX_COLUMN_HEADERS} headers each, for `POST /proofs/verify`."
        ),
    ] = "json"


class GetTxProof(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``gettxproof``."""

    txid: Annotated[str, Meta(description="Id of the transaction, 64 hex digits.")]
    block: Annotated[int | str, Meta(description="Height or hash of its block on the active chain.")]
    cp_height: Annotated[int | None, Meta(description="Height that the header tree ends at. Default: the tip.")] = None


def get_ancestry_proof(context: Context, params: GetAncestryProof) -> dict[str, Any]:
    """``ancestor`` and ``descendant`` (``height`` and ``hash``), ``old_root`` and ``new_root`` of the trees that end
    with them; ``hex`` and ``bundle`` (version 7), each enough for ``spvnode verify``: who trusts either root, or keeps
    the old one from an earlier proof, learns that the chain has only grown since. 1 to 3 kB."""
    chain = context.chain(params.network)
    old = find_active(chain, params.ancestor, "ancestor")
    new = chain.tip_height if params.descendant is None else find_active(chain, params.descendant, "descendant")
    if old > new:
        raise InputError("ancestor", f"height {old} is above the descendant's, {new}")
    proof = chain.ancestry_proof(old, new)
    return {
        "ancestor": {"height": old, "hash": hash_hex(chain.block_hash(old))},
        "descendant": {"height": new, "hash": hash_hex(chain.block_hash(new))},
        "old_root": hash_hex(chain.root(old)),
        "new_root": hash_hex(chain.root(new)),
        "hex": encode(proof).hex(),
        "bundle": to_json(proof),
        **standing(context, chain.network),
    }


async def get_header_proofs(context: Context, params: GetHeaderProofs) -> dict[str, Any]:
    """``cp_height``, ``root``, ``count``; and by ``format`` ``bundle`` (version 5: every header, and the nodes that
    join all of them to the root once), ``hex`` (its bytes), or ``columns`` (a list of version 8 bundles in hex).
    Headers come by rising height, each once. Enough for ``spvnode verify``."""
    await context.patience.room()
    chain = context.chain(params.network)
    heights = sorted({find_active(chain, block, "blocks") for block in params.blocks})
    cp_height = find_cp_height(chain, params.cp_height, heights[-1])
    root = chain.root(cp_height)
    found: dict[str, Any]
    if params.format == "columns":
        parts = [heights[at : at + MAX_COLUMN_HEADERS] for at in range(0, len(heights), MAX_COLUMN_HEADERS)]
        found = {"columns": [part async for part in _columns(chain, parts, cp_height)]}
    else:
        proof = await _by_steps(chain, heights, cp_height)
        found = {"bundle": to_json(proof)} if params.format == "json" else {"hex": encode(proof).hex()}
    return {
        "cp_height": cp_height,
        "root": hash_hex(root),
        "count": len(heights),
        **found,
        **standing(context, chain.network),
    }


async def _by_steps(chain: ChainView, heights: Sequence[Height], cp_height: Height) -> HeadersProof:
    """Each step in a round of the event loop of its own. Raises RpcError where the tree changes between."""
    root, steps = chain.root(cp_height), chain.headers_proof_steps(heights, cp_height)
    while True:
        _require_same(chain, cp_height, root)
        try:
            next(steps)
        except StopIteration as end:
            found: HeadersProof = end.value
            return found
        await trio.lowlevel.checkpoint()


async def _columns(chain: ChainView, parts: Sequence[Sequence[Height]], cp_height: Height) -> AsyncIterator[str]:
    """Each part in a round of the event loop of its own: 20 ms. Raises RpcError where the tree changes between."""
    root = chain.root(cp_height)
    for heights in parts:
        _require_same(chain, cp_height, root)
        yield chain.columns_proof(heights, cp_height).hex()
        await trio.lowlevel.checkpoint()


def _require_same(chain: ChainView, cp_height: Height, root: Hash32) -> None:
    if chain.tip_height < cp_height or chain.root(cp_height) != root:
        raise RpcError(Code.MISC_ERROR, "The chain was reorganized meanwhile; ask again")


async def get_tx_proof(context: Context, params: GetTxProof) -> dict[str, Any]:
    """``txid``, ``position``, ``tx_count``, ``height``, ``hash``, ``confirmations``, ``cp_height``, ``root``; ``hex``
    and ``bundle`` (version 3): the transaction without its witnesses (its id does not commit to them), its branch
    beside the coinbase's, and the proof of the block's header, enough for ``spvnode verify``. The block is asked of a
    peer and checked; error -5 where the transaction is not in it, -1 where no peer gives the block."""
    chain = context.chain(params.network)
    txid = parse_hash(params.txid, "txid")
    height = find_active(chain, params.block, "block")
    block_hash, header = chain.block_hash(height), chain.header(height)
    try:
        raw = await context.node.fetch_block(chain.network, block_hash)
    except Unavailable as error:
        raise RpcError(Code.MISC_ERROR, f"Block not available ({error})") from None
    found = await trio.to_thread.run_sync(_look_for, raw, header, txid, limiter=_WORKERS)
    if found is None:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Not all transactions found in specified or retrieved block")
    chain = context.chain(params.network)  # it may have moved on while the block was on its way
    height = find_active(chain, hash_hex(block_hash), "block")
    cp_height = find_cp_height(chain, params.cp_height, height)
    bundle = decode(chain.bundle(height, cp_height, made_at=int(context.node.now())))
    proof = make_tx_proof(bundle, found.txids, found.position, found.coinbase, found.transaction)
    return {
        "txid": params.txid,
        "position": found.position,
        "tx_count": len(found.txids),
        "height": height,
        "hash": hash_hex(Hash32(block_hash)),
        "confirmations": chain.tip_height - height + 1,
        "cp_height": cp_height,
        "root": hash_hex(bundle.root),
        "hex": encode(proof).hex(),
        "bundle": to_json(proof),
        **standing(context, chain.network),
    }


@dataclass(frozen=True, slots=True)
class _Found:
    """A transaction in its block."""

    txids: list[bytes]
    position: int
    coinbase: bytes
    transaction: bytes


def _look_for(raw: bytes, header: bytes, txid: bytes) -> _Found | None:
    txids = read_block(raw, header).txids
    if txid not in txids:
        return None
    position = txids.index(txid)
    found = base_bytes(raw, {0, position})
    return _Found(txids, position, found[0], found[position])
