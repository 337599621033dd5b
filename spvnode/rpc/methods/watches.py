"""``watch``, ``unwatch``, ``listwatches``: to be told once something has happened, also over restarts.

What fires is an event of the kind ``watch`` (``/events``, ``/ws``, webhooks).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, to_builtins

from spvnode.inputs import parse_hash
from spvnode.rpc.caller import Caller, Kind
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.events.feed import EVERYBODYS
from spvnode.rpc.events.journal import MAX_USER_WATCHES, MAX_WATCHES, State, Watch
from spvnode.rpc.events.watching import height_at, look
from spvnode.rpc.methods.waiting import hub_of
from spvnode.rpc.registry import ChainParams, Context, NoParams, is_beacon

MAX_CONFIRMATIONS = 100_000
"""Two years of blocks."""
MAX_TIME = 2**40
"""Unix seconds that mean anything."""
UnixTime = Annotated[int, Meta(ge=0, le=MAX_TIME)]


class WatchParams(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``watch``."""

    kind: Annotated[
        Literal["confirmations", "time", "reorg"],
        Meta(description="What to be told about: a block that gets confirmations, the first header of a time, "
             "reorganizations that take a block out of the chain or bring it in."),
    ]  # fmt: skip
    hash: Annotated[str | None, Meta(description="Of the block, 64 hex digits; not for time.")] = None
    confirmations: Annotated[
        int, Meta(ge=1, le=MAX_CONFIRMATIONS, description="How many it shall have, itself counted.")
    ] = 1
    time: Annotated[UnixTime | None, Meta(description="Unix seconds; for time.")] = None


class Unwatch(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``unwatch``."""

    id: Annotated[int, Meta(description="What watch answered.")]


async def watch(context: Context, params: WatchParams) -> dict[str, Any]:
    """``id`` of the watch. It is kept on disk; one for confirmations or a time ends with the event that it gives, which
    comes at once where it is so already."""
    hub, network = hub_of(context), context.network(params.network)
    entry = _read(context, network, params)
    given: list[int] = []

    def add(state: State) -> None:
        mine = [one for one in state.watches.values() if one.owner == entry.owner]
        if len(state.watches) >= MAX_WATCHES or (entry.owner and len(mine) >= MAX_USER_WATCHES):
            problem = f"{len(state.watches)} watches, at most {MAX_WATCHES}, and {MAX_USER_WATCHES} of one token"
            raise RpcError(Code.MISC_ERROR, problem)
        if not any(one.network == network for one in state.watches.values()):
            state.cursors[network] = hub.last(network)
        state.watches[state.next_watch] = Watch(**{**to_builtins(entry), "id": state.next_watch})
        given.append(state.next_watch)
        state.next_watch += 1
        look(state, hub.sight(network), context.node.now())

    await hub.change(add)
    return {"id": given[0]}


async def unwatch(context: Context, params: Unwatch) -> bool:
    """True. Error -8 where there is no such watch (it may be over), or it is another's."""
    found = hub_of(context).watches.watches.get(params.id)
    if found is None or not _may_see(context.caller, found):
        raise RpcError(Code.INVALID_PARAMETER, f"id: there is no watch {params.id}")
    await hub_of(context).change(lambda state: _drop(state, params.id))
    return True


def _drop(state: State, watch_id: int) -> None:
    state.watches.pop(watch_id, None)


def list_watches(context: Context, params: NoParams) -> list[dict[str, Any]]:
    """Those that have not ended: ``id``, ``network``, ``kind``, ``hash``, ``confirmations``, ``time``, ``made`` (when),
    ``owner`` (a token's subject)."""
    watches = hub_of(context).watches.watches.values()
    return [_shown(one) for one in watches if _may_see(context.caller, one)]


def _shown(one: Watch) -> dict[str, Any]:
    about: dict[str, Any] = {"time": one.time} if one.kind == "time" else {"hash": one.hash}
    if one.kind == "confirmations":
        about["confirmations"] = one.confirmations
    owner = one.owner.removeprefix("token:") or None
    return {"id": one.id, "network": one.network, "kind": one.kind, **about, "made": one.made, "owner": owner}


def _may_see(caller: Caller, one: Watch) -> bool:
    return caller.kind in EVERYBODYS or one.owner == caller.user


def _read(context: Context, network: str, params: WatchParams) -> Watch:
    """The watch that the parameters mean, without its id. Raises RpcError, InputError."""
    owner = context.caller.user if context.caller.kind is Kind.TOKEN else ""
    made = int(context.node.now())
    if params.kind == "time":
        if params.time is None:
            raise RpcError(Code.INVALID_PARAMETER, "time: must be given, in Unix seconds")
        chain = context.node.chains.get(network)
        low = 0 if chain is None else height_at(chain, params.time)
        return Watch(0, network, "time", owner, time=params.time, next_height=low, made=made)
    if is_beacon(network):
        raise RpcError(Code.INVALID_PARAMETER, f"kind: on {network}, whose blocks become final, only time is watched")
    if params.hash is None:
        raise RpcError(Code.INVALID_PARAMETER, "hash: must be given")
    parse_hash(params.hash, "hash")
    count = params.confirmations if params.kind == "confirmations" else 0
    return Watch(0, network, params.kind, owner, hash=params.hash.lower(), confirmations=count, made=made)
