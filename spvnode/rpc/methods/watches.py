"""``watch``, ``unwatch``, ``listwatches``: to be told once something has happened, also over restarts.

What fires is an event of the kind ``watch`` (``/events``, ``/ws``, webhooks, ``getevents`` of the network ``node``).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from spvnode.inputs import MAX_HEIGHT, parse_hash
from spvnode.rpc.caller import Caller, Kind
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.events.feed import EVERYBODYS
from spvnode.rpc.events.journal import MAX_USER_WATCHES, MAX_WATCHES, State, Watch
from spvnode.rpc.events.watching import height_at, look
from spvnode.rpc.methods.waiting import hub_of
from spvnode.rpc.methods.watch_blocks import Fields, require_place, seek, seek_in
from spvnode.rpc.registry import ChainParams, Context, NoParams, is_beacon

MAX_CONFIRMATIONS = 100_000
"""Two years of blocks."""
MAX_TIME = 2**40
"""Unix seconds that mean anything."""
UnixTime = Annotated[int, Meta(ge=0, le=MAX_TIME)]
Since = Annotated[int, Meta(ge=0, le=MAX_HEIGHT)]


class WatchParams(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``watch``."""

    kind: Annotated[
        Literal["confirmations", "time", "reorg", "script"],
        Meta(description="What to be told about: a block or transaction that gets confirmations, the first header of a "
             "time, reorganizations that take a block out of the chain or bring it in, transactions that pay a script "
             "or spend what it was paid."),
    ]  # fmt: skip
    hash: Annotated[
        str | None,
        Meta(description="Of the block, 64 hex digits; for confirmations and reorg. With txid: the one that holds it."),
    ] = None
    confirmations: Annotated[
        int, Meta(ge=1, le=MAX_CONFIRMATIONS, description="How many it shall have, itself counted.")
    ] = 1
    time: Annotated[UnixTime | None, Meta(description="Unix seconds; for time.")] = None
    txid: Annotated[
        str | None,
        Meta(description="Of the transaction, 64 hex digits; for confirmations. It is looked for by hash, or by "
             "scripts or addresses that it pays, or else in every new block, up to 4 MB each."),
    ] = None  # fmt: skip
    scripts: Annotated[list[str] | None, Meta(description="Output scripts in hex, for script, or that txid pays.")] = (
        None
    )
    addresses: Annotated[list[str] | None, Meta(description="The same as addresses of the network.")] = None
    since: Annotated[
        Since | None, Meta(description="Height of the first block to look into. Default: the next one.")
    ] = None


class Unwatch(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``unwatch``."""

    id: Annotated[int, Meta(description="What watch answered.")]


async def watch(context: Context, params: WatchParams) -> dict[str, Any]:
    """``id`` of the watch. It is kept on disk; one for confirmations or a time ends with the event that it gives, which
    comes at once where it is so already. One for scripts goes on until ``unwatch``: an event a transaction and script,
    with ``txid``, ``hash``, ``height``, ``script``, ``direction`` (received, spent), ``value`` in satoshi,
    ``confirmations`` and ``rests_on``; and once more, ``undone``, where its block leaves the chain. What blocks are
    fetched for it and what may be missed: docs/watches.md."""
    hub, network = hub_of(context), context.network(params.network)
    entry = await _read(context, network, params)
    given: list[int] = []

    def add(state: State) -> None:
        _require_room(state, entry)
        if not any(one.network == network for one in state.watches.values()):
            state.cursors[network] = hub.last(network)
        state.watches[state.next_watch] = replace(entry, id=state.next_watch)
        given.append(state.next_watch)
        state.next_watch += 1
        look(state, hub.sight(network), context.node.now())

    await hub.change(add)
    return {"id": given[0]}


def _require_room(state: State, entry: Watch) -> None:
    mine = [one for one in state.watches.values() if one.owner == entry.owner]
    if len(state.watches) >= MAX_WATCHES or (entry.owner and len(mine) >= MAX_USER_WATCHES):
        problem = f"{len(state.watches)} watches, at most {MAX_WATCHES}, and {MAX_USER_WATCHES} of one token"
        raise RpcError(Code.MISC_ERROR, problem)
    if entry.scans:
        require_place(state, entry)


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
    ``owner`` (a token's subject). Of those that look into blocks also ``txid``, ``scripts``, ``scanned`` (the height up
    to which they have), and ``waiting_for``: why not up to the tip, or why no peer can be
    asked about the next block; null where neither is so."""
    hub = hub_of(context)
    watches = [one for one in hub.watches.watches.values() if _may_see(context.caller, one)]
    return [_shown(one, _waiting(context, one)) for one in watches]


def _waiting(context: Context, one: Watch) -> str | None:
    chain = context.node.chains.get(one.network)
    if chain is None or not one.searching:
        return None
    left = chain.tip_height + 1 - one.next_height
    if left > 0:
        return hub_of(context).held.get(one.network) or f"{left} blocks to look into"
    return context.node.unreachable(one.network, filters=bool(one.scripts))  # the next block will want them


def _shown(one: Watch, waiting: str | None) -> dict[str, Any]:
    about: dict[str, Any] = {"time": one.time} if one.kind == "time" else {}
    about |= {name: value for name, value in (("hash", one.hash), ("txid", one.txid)) if value}
    if one.kind == "confirmations":
        about["confirmations"] = one.confirmations
    if one.scans:
        about |= {"scripts": list(one.scripts), "scanned": one.next_height - 1, "waiting_for": waiting}
    owner = one.owner.removeprefix("token:") or None
    return {"id": one.id, "network": one.network, "kind": one.kind, **about, "made": one.made, "owner": owner}


def _may_see(caller: Caller, one: Watch) -> bool:
    return caller.kind in EVERYBODYS or one.owner == caller.user


async def _read(context: Context, network: str, params: WatchParams) -> Watch:
    """The watch that the parameters mean, without its id. Raises RpcError, InputError."""
    owner = context.caller.user if context.caller.kind is Kind.TOKEN else ""
    made = int(context.node.now())
    scans = params.kind == "script" or (params.kind == "confirmations" and params.txid is not None)
    if not scans and any(one is not None for one in (params.txid, params.scripts, params.addresses, params.since)):
        raise RpcError(
            Code.INVALID_PARAMETER, "txid, scripts, addresses, since: only for script, and confirmations of txid"
        )
    if params.kind == "time":
        if params.time is None:
            raise RpcError(Code.INVALID_PARAMETER, "time: must be given, in Unix seconds")
        chain = context.node.chains.get(network)
        low = 0 if chain is None else height_at(chain, params.time)
        return Watch(0, network, "time", owner, time=params.time, next_height=low, made=made)
    if is_beacon(network):
        raise RpcError(Code.INVALID_PARAMETER, f"kind: on {network}, whose blocks become final, only time is watched")
    count = params.confirmations if params.kind == "confirmations" else 0
    if scans:
        found = await _seek(context, network, params)
        return Watch(0, network, params.kind, owner, confirmations=count, made=made, **found)
    if params.hash is None:
        raise RpcError(Code.INVALID_PARAMETER, "hash: must be given")
    parse_hash(params.hash, "hash")
    return Watch(0, network, params.kind, owner, hash=params.hash.lower(), confirmations=count, made=made)


async def _seek(context: Context, network: str, params: WatchParams) -> Fields:
    """What a watch looks for in blocks, and from where."""
    if params.kind == "script" and (params.txid or params.hash):
        raise RpcError(Code.INVALID_PARAMETER, "txid, hash: not for scripts")
    if params.txid is not None and params.hash is not None:
        if params.scripts or params.addresses or params.since is not None:
            problem = "hash: names the block, so that scripts, addresses and since have nothing to say"
            raise RpcError(Code.INVALID_PARAMETER, problem)
        return await seek_in(context, network, params.txid, params.hash)
    return seek(context, network, params.txid, (params.scripts or (), params.addresses or ()), params.since)
