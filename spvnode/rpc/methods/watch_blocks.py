"""Watches that look into blocks, as callers ask for them: for scripts, and for a transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import trio

from spvnode.bitcoin.address import AddressError, script_of
from spvnode.bitcoin.basicfilter import MAX_SCRIPT
from spvnode.bitcoin.block import parse_block
from spvnode.bitcoin.params import NETWORKS
from spvnode.errors import InputError
from spvnode.inputs import parse_hash, parse_hex, shown
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.events.feed import EVERYBODYS
from spvnode.rpc.events.journal import MAX_SCANS, MAX_USER_SCANS, State, Watch
from spvnode.rpc.events.scanning import NEWS_SLACK
from spvnode.rpc.methods.blocks import WORKERS, fetch_block
from spvnode.rpc.methods.lookup import find_hash
from spvnode.rpc.registry import Context
from spvnode.types import Hash32, Height, hash_hex
from spvnode.view import ChainView

MAX_SCRIPTS = 200
"""Scripts of one watch. Each matches one filter in 784,931 by chance."""
MAX_SCRIPT_BYTES = 10_000
"""Of all scripts of one watch together: 200 of the longest standard ones take 6,800."""
MAX_EVERY = 4
"""Watches that have every new block fetched: one fetch serves all, but each may end at another time."""
LOOK_BACK = 4_032
"""Blocks behind the tip from which a search may begin: four weeks, some 100 MB of filters."""
TOKEN_LOOK_BACK = 144
"""The same for the holder of a token: a day, some 4 MB. Asked for again and again it would be endless."""
_OP_RETURN = 0x6A

Fields = Mapping[str, Any]
"""Those of ``Watch`` that say what it looks for, and from where."""


def require_place(state: State, entry: Watch) -> None:
    """Raises RpcError unless one more watch may look into blocks."""
    scans = [one for one in state.watches.values() if one.scans]
    mine = [one for one in scans if one.owner == entry.owner]
    if len(scans) >= MAX_SCANS or (entry.owner and len(mine) >= MAX_USER_SCANS):
        problem = f"{len(scans)} watches look into blocks, at most {MAX_SCANS}, and {MAX_USER_SCANS} of one token"
        raise RpcError(Code.MISC_ERROR, problem)
    if not entry.scripts and sum(not one.scripts for one in scans) >= MAX_EVERY:
        raise RpcError(Code.MISC_ERROR, f"{MAX_EVERY} watches already have every block fetched; name a script")


def seek(
    context: Context,
    network: str,
    txid: str | None,
    given: tuple[Sequence[str], Sequence[str]],
    since: int | None,
) -> Fields:
    """In blocks to come, or from ``since`` on. ``given``: scripts and addresses. Raises RpcError, InputError."""
    chain = context.chain(network)
    scripts = _scripts(network, *given)
    if not scripts and txid is None:
        raise RpcError(Code.INVALID_PARAMETER, "scripts: must be given, or addresses")
    if txid is not None:
        parse_hash(txid, "txid")
    if not scripts:
        _require_everybodys(context)
    start = _start(context, chain, since)
    at = hash_hex(chain.block_hash(Height(start - 1))) if chain.base < start <= chain.tip_height + 1 else ""
    found = {"txid": (txid or "").lower(), "scripts": scripts, "next_height": start, "at": at}
    behind = chain.median_time(chain.tip_height) < context.node.now() - NEWS_SLACK  # else all to come is news
    return {**found, "news": since is None and behind}


async def seek_in(context: Context, network: str, txid: str, block: str) -> Fields:
    """In the block that holds the transaction, which is fetched, and read for a script that it pays: should the block
    leave the chain, it is looked for by that. Raises RpcError, InputError."""
    chain = context.chain(network)
    wanted, place = parse_hash(txid, "txid"), find_hash(chain, block, "hash")
    if not place.active:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "hash: Block is not in the active chain")
    raw = await fetch_block(context, chain, place)
    found = await trio.to_thread.run_sync(partial(_paid, raw, wanted), limiter=WORKERS)
    if found is None:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "txid: the block does not hold it")
    scripts = _matchable(found)
    if not scripts:
        _require_everybodys(context)
    where = hash_hex(place.header.hash)
    return {"txid": hash_hex(wanted), "hash": where, "at": where, "next_height": place.height + 1, "scripts": scripts}


def _paid(raw: bytes, txid: Hash32) -> tuple[bytes, ...] | None:
    return next((tx.outputs for tx in parse_block(raw).transactions if tx.txid == txid), None)


def _matchable(outputs: Sequence[bytes]) -> tuple[str, ...]:
    """One script that a filter holds is enough to look for the transaction by."""
    fit = (script for script in outputs if 0 < len(script) <= MAX_SCRIPT_BYTES and script[0] != _OP_RETURN)
    first = next(fit, None)
    return () if first is None else (first.hex(),)


def _require_everybodys(context: Context) -> None:
    if context.caller.kind not in EVERYBODYS:
        problem = "scripts: must be given; without one every block is fetched, which only the operator may ask for"
        raise RpcError(Code.INVALID_PARAMETER, problem)


def _start(context: Context, chain: ChainView, since: int | None) -> int:
    if since is None:
        return chain.tip_height + 1
    most = LOOK_BACK if context.caller.kind in EVERYBODYS else TOKEN_LOOK_BACK
    least = max(chain.base, chain.tip_height - most + 1)
    if since < least:
        problem = f"since: {since} is below {least}, the lowest height that can be begun at ({most} blocks back)"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    return since


def _scripts(network: str, scripts: Sequence[str], addresses: Sequence[str]) -> tuple[str, ...]:
    if len(scripts) + len(addresses) > MAX_SCRIPTS:
        raise InputError("scripts", f"{len(scripts) + len(addresses)} with the addresses are above {MAX_SCRIPTS}")
    found = [parse_hex(text, f"scripts.{at}") for at, text in enumerate(scripts)]
    for at, script in enumerate(found):
        if not 0 < len(script) <= MAX_SCRIPT or script[0] == _OP_RETURN:
            raise InputError(f"scripts.{at}", f"empty, above {MAX_SCRIPT} bytes, or OP_RETURN, which no filter holds")
    for at, text in enumerate(addresses):
        try:
            found.append(script_of(text, NETWORKS[network].addresses))
        except AddressError as error:
            raise InputError(f"addresses.{at}", f"{shown(text)}: {error}") from None
    size = sum(map(len, found))
    if size > MAX_SCRIPT_BYTES:
        raise InputError("scripts", f"{size} bytes in all are above {MAX_SCRIPT_BYTES}")
    return tuple(dict.fromkeys(script.hex() for script in found))
