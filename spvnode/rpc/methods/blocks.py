"""Methods that need a whole block, which this node asks its peers for: transaction proofs and compact filters. Replies
and errors are Bitcoin Core's (``src/rpc/txoutproof.cpp``, ``getblockfilter`` in ``src/rpc/blockchain.cpp``, v28.1)."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import trio
from msgspec import Meta

from merkle.errors import ProofError
from merkle.txtree import MAX_PROOF, MAX_TRANSACTIONS, Extracted, MerkleBlock
from spvnode.bitcoin.block import parse_block, read_block, txout_proof
from spvnode.bitcoin.header import header_hash
from spvnode.errors import Unavailable
from spvnode.inputs import parse_hash, parse_hex
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.methods.lookup import Place, find_hash, standing
from spvnode.rpc.registry import ChainParams, Context
from spvnode.types import Hash32, hash_hex
from spvnode.view import ChainView

WORKERS = trio.CapacityLimiter(1)
"""Parsing a full block takes some 80 ms of one core: one at a time."""


class GetTxOutProof(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``gettxoutproof``."""

    txids: Annotated[list[str], Meta(description="Transactions to prove, all in one block.")]
    blockhash: Annotated[
        str | None, Meta(description="The block that holds them. Needed: this node has no index of transactions.")
    ] = None


class VerifyTxOutProof(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``verifytxoutproof``."""

    proof: Annotated[str, Meta(description="The proof in hex, as gettxoutproof gives it.")]


class GetBlockFilter(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``getblockfilter``."""

    blockhash: Annotated[str, Meta(description="Hash of a block on the active chain.")]
    filtertype: Annotated[str, Meta(description='"basic", the only one there is.')] = "basic"


async def get_tx_out_proof(context: Context, params: GetTxOutProof) -> str:
    """The proof in hex: the block's header and a partial Merkle tree. The block is asked of peers, checked whole, and
    dropped."""
    chain = context.chain(params.network)
    txids = _txids(params.txids)
    if params.blockhash is None:
        problem = "blockhash: needed, this node has no index of transactions"
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, problem)
    place = find_hash(chain, params.blockhash)
    raw = await fetch_block(context, chain, place)
    prove = partial(_prove, raw, place.header.raw, txids)
    return (await trio.to_thread.run_sync(prove, limiter=WORKERS)).hex()


def _prove(raw: bytes, header: bytes, txids: frozenset[bytes]) -> bytes:
    try:
        return txout_proof(read_block(raw, header), txids)
    except KeyError:
        problem = "Not all transactions found in specified or retrieved block"
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, problem) from None
    except ProofError as error:
        raise RpcError(Code.MISC_ERROR, str(error)) from None


def _txids(given: list[str]) -> frozenset[bytes]:
    if not given:
        raise RpcError(Code.INVALID_PARAMETER, "Parameter 'txids' cannot be empty")
    if len(given) > MAX_TRANSACTIONS:
        raise RpcError(Code.INVALID_PARAMETER, f"txids: {len(given)} are more than a block holds ({MAX_TRANSACTIONS})")
    found: set[bytes] = set()
    for text in given:
        txid = parse_hash(text, "txid")
        if txid in found:
            raise RpcError(Code.INVALID_PARAMETER, f"Invalid parameter, duplicated txid: {text}")
        found.add(txid)
    return frozenset(found)


async def verify_tx_out_proof(context: Context, params: VerifyTxOutProof) -> list[str]:
    """The txids that the proof proves, in block order; none where it does not hold. Its block must be on the active
    chain, and is asked of peers once: a proof is only worth something beside the true number of transactions, since
    an inner node of the tree can be passed off as a transaction (CVE-2017-12842)."""
    chain = context.chain(params.network)
    if len(params.proof) > 2 * MAX_PROOF:
        raise RpcError(Code.INVALID_PARAMETER, f"proof: {len(params.proof)} digits are above {2 * MAX_PROOF}")
    try:
        proof = MerkleBlock.decode(parse_hex(params.proof, "proof"))
    except ProofError as error:
        raise RpcError(Code.MISC_ERROR, str(error)) from None
    found = await trio.to_thread.run_sync(_extract, proof, limiter=WORKERS)
    if found is None:
        return []
    height = chain.height_of(header_hash(proof.header))
    if height is None:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Block not found in chain")
    raw = await fetch_block(context, chain, find_hash(chain, hash_hex(chain.block_hash(height))))
    block = await trio.to_thread.run_sync(parse_block, raw, limiter=WORKERS)
    if len(block.transactions) != proof.tree.total:
        return []
    return [hash_hex(txid) for _, txid in found.matches]


def _extract(proof: MerkleBlock) -> Extracted | None:
    try:
        return proof.prove()
    except ProofError:
        return None


async def get_block_filter(context: Context, params: GetBlockFilter) -> dict[str, Any]:
    """``filter`` and ``header`` in hex; ``vouched_by``: the peers that all name this filter header, and
    ``disbelieved``: those that named another and were refuted by a block; ``disputed_by``: those that name the same
    filter with another header, over an earlier block that does not settle it. No block commits to its filter."""
    chain = context.chain(params.network)
    if params.filtertype != "basic":
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Unknown filtertype")
    place = find_hash(chain, params.blockhash)
    if not place.active:
        problem = "Filter not found. Block was not connected to active chain."
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, problem)
    try:
        found = await context.node.fetch_filter(chain.network, Hash32(place.header.hash))
    except Unavailable as error:
        raise RpcError(Code.MISC_ERROR, f"Filter not found: {error}") from None
    return {
        "filter": found.filter.hex(),
        "header": hash_hex(found.header),
        "vouched_by": list(found.vouched_by),
        "disbelieved": list(found.disbelieved),
        "disputed_by": list(found.disputed_by),
        **standing(context, chain.network),
    }


async def fetch_block(context: Context, chain: ChainView, place: Place) -> bytes:
    """A checked block; RpcError where no peer gives it."""
    try:
        return await context.node.fetch_block(chain.network, place.header.hash)
    except Unavailable as error:
        raise RpcError(Code.MISC_ERROR, f"Block not available ({error})") from None
