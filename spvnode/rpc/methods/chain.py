"""Methods with Bitcoin Core's names and shapes (v28.1), answered from headers alone."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from spvnode.bitcoin.header import Header
from spvnode.bitcoin.pow import difficulty
from spvnode.rpc.events.feed import Choice
from spvnode.rpc.events.journal import NODE_LOG
from spvnode.rpc.limits import MAX_EVENTS
from spvnode.rpc.methods.lookup import (
    describe_header,
    find_hash,
    require_height,
    standing,
    work_hex,
)
from spvnode.rpc.methods.waiting import hub_of
from spvnode.rpc.registry import ChainParams, Context
from spvnode.types import Height, hash_hex
from spvnode.view import ChainView

CORE_CHAIN_NAMES = {"bitcoin": "main", "testnet3": "test"}
"""Core's names where they are not ours (BIP70 network ids)."""
MAX_TIP_AGE = 24 * 60 * 60
"""Seconds. Core's ``-maxtipage``: with an older tip the initial download is not over."""


class OfChain(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Only the network."""


class GetBlockHash(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``getblockhash``."""

    height: Annotated[int, Meta(description="Height on the active chain.")]


class GetEvents(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``getevents``."""

    cursor: Annotated[
        int, Meta(ge=0, description="Number of the last event that you have. Default: from the oldest.")
    ] = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_EVENTS, description="At most so many.")] = 100


class GetBlockHeader(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``getblockheader``."""

    blockhash: Annotated[str, Meta(description="Hash of the block, 64 hex digits.")]
    verbose: Annotated[bool, Meta(description="An object; false for the 80 bytes in hex.")] = True


def get_blockchain_info(context: Context, params: OfChain) -> dict[str, Any]:
    """Core's fields; and ``network``, ``freshness``, ``ready`` and ``start`` (where trust begins). ``blocks`` equals
    ``headers``: this node follows headers only. ``chainwork`` counts from ``start`` unless ``start.complete``.
    ``size_on_disk`` counts the headers alone, 80 bytes each; ``warnings`` tells why it is not ready."""
    chain = context.chain(params.network)
    tip = Header(chain.header(chain.tip_height))
    now = context.node.now()
    work = chain.chainwork(chain.tip_height)
    fresh = now - tip.time <= MAX_TIP_AGE
    return {
        "chain": CORE_CHAIN_NAMES.get(chain.network, chain.network),
        "blocks": chain.tip_height,
        "headers": chain.tip_height,
        "bestblockhash": hash_hex(chain.tip_hash),
        "difficulty": difficulty(tip.bits),
        "time": tip.time,
        "mediantime": chain.median_time(chain.tip_height),
        "verificationprogress": 1.0 if fresh else _progress(chain, tip.time, now),
        "initialblockdownload": not fresh or (chain.start.complete and work < chain.minimum_chain_work),
        "chainwork": work_hex(work),
        "size_on_disk": (chain.tip_height - chain.base + 1) * len(tip.raw),
        "pruned": False,
        "warnings": list(context.node.readiness(chain.network).reasons),
        **standing(context, chain.network),
    }


def _progress(chain: ChainView, tip_time: int, now: float) -> float:
    """Share of the chain's time span that is held: blocks come evenly enough for that to be an estimate."""
    first = Header(chain.header(chain.base)).time
    return max(0.0, min(1.0, (tip_time - first) / max(1.0, now - first)))


def get_block_count(context: Context, params: OfChain) -> int:
    """Height of the best header."""
    return context.chain(params.network).tip_height


def get_best_block_hash(context: Context, params: OfChain) -> str:
    """Hash of the best header."""
    return hash_hex(context.chain(params.network).tip_hash)


def get_block_hash(context: Context, params: GetBlockHash) -> str:
    """Hash at that height. Error -8 outside the heights that are held."""
    chain = context.chain(params.network)
    return hash_hex(chain.block_hash(require_height(chain, params.height)))


def get_block_header(context: Context, params: GetBlockHeader) -> dict[str, Any] | str:
    """Core's object, and ``freshness`` and ``start``; or the header in hex. ``confirmations`` is -1 on a side branch.
    Error -5 for a hash that is not known."""
    chain = context.chain(params.network)
    place = find_hash(chain, params.blockhash)
    if not params.verbose:
        return place.header.raw.hex()
    return {**describe_header(chain, place), **standing(context, chain.network)}


def get_peer_info(context: Context, params: OfChain) -> list[dict[str, Any]]:
    """One object a peer that serves this chain, under Core's names where it has them; also before the chain has
    begun."""
    return [dict(peer) for peer in context.node.peers(context.network(params.network))]


def get_events(context: Context, params: GetEvents) -> dict[str, Any]:
    """``events``, oldest first, and ``cursor``: the number to ask with next time. Each has ``seq``, ``time``, ``kind``
    (extend, reorg, fork, fault, backfill; of a beacon chain advance, finality, fault), ``from`` and ``to`` (tips), and
    for a reorganization ``undo`` and ``redo``. Durable: numbers go on over restarts. At least 10,000 are kept. With the
    network ``node`` the node's own log: watches, of which a token sees its own, and changes of readiness."""
    if params.network == NODE_LOG:
        return _node_events(context, params)
    found = context.node.events(context.network(params.network), params.cursor, params.limit)
    return {"events": [dict(event) for event in found], "cursor": found[-1]["seq"] if found else params.cursor}


def _node_events(context: Context, params: GetEvents) -> dict[str, Any]:
    hub, cursor = hub_of(context), params.cursor
    choice = Choice(tuple(hub.logs), frozenset(), context.caller)
    events: list[Any] = []
    while len(events) < params.limit and (entries := hub.read(NODE_LOG, cursor, params.limit - len(events))):
        cursor = entries[-1].seq
        events += [msgspec.json.decode(entry.data) for entry in entries if choice.wants(entry)]
    return {"events": events, "cursor": cursor}


def get_chain_tips(context: Context, params: OfChain) -> list[dict[str, Any]]:
    """Highest first: ``height``, ``hash``, ``branchlen``, ``status``: ``active``, or ``headers-only`` for a branch
    whose headers are valid (Core's other words speak of blocks, which are not held)."""
    chain = context.chain(params.network)
    tips = [_tip(chain.tip_height, chain.tip_hash, 0, "active")]
    tips += [_tip(tip.height, tip.hash, tip.branch_length, "headers-only") for tip in chain.branches()]
    return sorted(tips, key=lambda tip: int(tip["height"]), reverse=True)


def _tip(height: Height, block_hash: bytes, length: int, status: str) -> dict[str, Any]:
    return {"height": height, "hash": hash_hex(block_hash), "branchlen": length, "status": status}
