"""Calls that answer when something happens: Bitcoin Core's ``waitfornewblock`` and ``waitforblockheight``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import trio
from msgspec import Meta

from spvnode.inputs import parse_hash
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.events.hub import Hub
from spvnode.rpc.limits import REQUEST_SECONDS
from spvnode.rpc.methods.lookup import standing
from spvnode.rpc.registry import ChainParams, Context
from spvnode.types import hash_hex
from spvnode.view import ChainView

MAX_WAIT_SECONDS = 300.0
"""Also where the caller names no end: a client that has left is noticed with the answer. Core's clients ask again, as
they have to after a timeout."""

Timeout = Annotated[int, Meta(ge=0, description="Milliseconds until the tip is told as it is; 0: as long as can be.")]


class WaitForNewBlock(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``waitfornewblock``."""

    timeout: Timeout = 0
    current_tip: Annotated[
        str | None, Meta(description="Hash of the tip that you know. Default: the one at the time of the call.")
    ] = None


class WaitForBlockHeight(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``waitforblockheight``."""

    height: Annotated[int, Meta(ge=0, description="Height to wait for.")]
    timeout: Timeout = 0


async def wait_for_new_block(context: Context, params: WaitForNewBlock) -> dict[str, Any]:
    """``hash`` and ``height`` of the tip, once it is another one, or after ``timeout`` (at most five minutes)."""
    known = context.chain(params.network).tip_hash
    if params.current_tip is not None:
        known = parse_hash(params.current_tip, "current_tip")
    return await _wait(context, params.network, params.timeout, lambda chain: chain.tip_hash != known)


async def wait_for_block_height(context: Context, params: WaitForBlockHeight) -> dict[str, Any]:
    """``hash`` and ``height`` of the tip, once it is that high, or after ``timeout`` (at most five minutes)."""
    return await _wait(context, params.network, params.timeout, lambda chain: chain.tip_height >= params.height)


def hub_of(context: Context) -> Hub:
    """Where events are to be had; RpcError on a server without."""
    hub = context.services.hub
    if hub is None:
        raise RpcError(Code.MISC_ERROR, "there are no events here")
    return hub


async def _wait(
    context: Context, network: str | None, milliseconds: int, holds: Callable[[ChainView], bool]
) -> dict[str, Any]:
    chain, hub = context.chain(network), hub_of(context)
    if not holds(chain):
        seconds = min(milliseconds / 1000 or MAX_WAIT_SECONDS, MAX_WAIT_SECONDS)
        with hub.subscription(context.caller):
            async with context.patience.away(), trio.open_nursery() as nursery:
                nursery.start_soon(context.patience.until_gone, nursery.cancel_scope)
                nursery.cancel_scope.deadline = trio.current_time() + seconds
                while not _holds_now(context, chain.network, holds):
                    context.patience.more_time()
                    with trio.move_on_after(REQUEST_SECONDS / 2):
                        await hub.news()
                nursery.cancel_scope.cancel()
        context.patience.more_time()
        chain = context.chain(network)
    return {"hash": hash_hex(chain.tip_hash), "height": chain.tip_height, **standing(context, chain.network)}


def _holds_now(context: Context, network: str, holds: Callable[[ChainView], bool]) -> bool:
    chain = context.node.chains.get(network)  # for a moment there is none, when a store is opened anew
    return chain is not None and holds(chain)
