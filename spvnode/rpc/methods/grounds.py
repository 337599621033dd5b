"""``getconfirmations`` and ``why``: how deep a claim lies, and what believing it rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import trio
from msgspec import Meta

from merkle.txtree import MAX_PROOF, MerkleBlock
from spvnode.bitcoin.header import header_hash
from spvnode.bitcoin.params import NETWORKS
from spvnode.errors import InputError
from spvnode.ethereum.containers import LightClientHeader, beacon_root
from spvnode.ethereum.units import Slot
from spvnode.inputs import parse_hash, parse_hex
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.limits import MAX_EVENTS
from spvnode.rpc.methods.beacon_header import Update, describe_signatures, find_record, hex_of, parse_block
from spvnode.rpc.methods.lookup import Place, find_hash, median_time, require_height, standing, work_hex
from spvnode.rpc.registry import ChainParams, Context, is_beacon
from spvnode.types import hash_hex
from spvnode.view import BeaconView, ChainView, ExecutionRecord

MAX_SHOWN_REORGS = 10
"""Reorganizations that ``why`` lists, the newest. Their number is always right."""


class GetConfirmations(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``getconfirmations``."""

    block: Annotated[int | str | None, Meta(description="Height, or hash of a block.")] = None
    proof: Annotated[str | None, Meta(description="Instead: what `gettxoutproof` gives, in hex.")] = None


class Why(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``why``."""

    block: Annotated[
        int | str | None,
        Meta(
            description="Height or hash of a Bitcoin block (default: the tip); `finalized` (default), `optimistic`, or "
            "number or hash of a finalized execution block of Ethereum."
        ),
    ] = None


# -- confirmations


def get_confirmations(context: Context, params: GetConfirmations) -> dict[str, Any]:
    """``confirmations`` (-1 on a side branch, which counts for nothing), ``height``, ``hash``, ``in_active_chain``,
    ``time`` and ``mediantime``; ``work_above``: the work of the blocks on top of it, in hex; with ``proof`` also
    ``txids`` (those it proves to be in the block) and their ``positions``. Error -5 for a block that is not known, -8
    for a proof that does not hold."""
    chain = context.chain(params.network)
    if (params.block is None) == (params.proof is None):
        raise RpcError(Code.INVALID_PARAMS, "Only one of block and proof should be provided.")
    proven: dict[str, Any] = {}
    if params.proof is None:
        place = find_place(chain, params.block)
    else:
        if len(params.proof) > 2 * MAX_PROOF:
            raise InputError("proof", f"{len(params.proof)} digits are above {2 * MAX_PROOF}")
        merkle_block = MerkleBlock.decode(parse_hex(params.proof, "proof"))
        matches = merkle_block.prove().matches
        proven = {"txids": [hash_hex(txid) for _, txid in matches], "positions": [at for at, _ in matches]}
        place = find_hash(chain, hash_hex(header_hash(merkle_block.header)), "proof")
    return {**_depth(chain, place), **proven, **standing(context, chain.network)}


def find_place(chain: ChainView, block: int | str | None, field: str = "block") -> Place:
    """A header by height or hash, on the main chain or beside it; None is the tip. Core's errors."""
    named: int | str = chain.tip_height if block is None else block
    if isinstance(named, str) and len(named) != 64 and named.isdigit() and len(named) < 11:
        named = int(named)
    if isinstance(named, str):
        return find_hash(chain, named, field)
    return find_hash(chain, hash_hex(chain.block_hash(require_height(chain, named))), field)


def _depth(chain: ChainView, place: Place) -> dict[str, Any]:
    above = chain.chainwork(chain.tip_height) - chain.chainwork(place.height) if place.active else 0
    return {
        "confirmations": chain.tip_height - place.height + 1 if place.active else -1,
        "height": place.height,
        "hash": hash_hex(place.header.hash),
        "in_active_chain": place.active,
        "time": place.header.time,
        "mediantime": median_time(chain, place),
        "work_above": work_hex(above),
    }


# -- why


async def why(context: Context, params: Why) -> dict[str, Any]:
    """What the claim that a block is in the chain rests on. ``claim`` and ``says`` in words; where trust begins
    (``start`` or ``grounds``) and ``vouched_by``; Bitcoin: ``work`` (``above`` the block, of the whole ``chain``, the
    ``minimum`` that is believed), ``checkpoints`` built in that the chain has passed, ``confirmations``; Ethereum:
    ``participation`` of the sync committee, ``finalized``, ``slots_above``; ``peers``: how many are connected,
    ``agree``, ``differ``, or are ``behind`` or silent, by ``transports``; ``age`` of the block and ``freshness``;
    ``history``: ``reorganizations`` in the event log, how many ``touched`` this height, the newest of them; and
    ``faults``."""
    network = (
        context.network(params.network) if params.network or context.path_network else _first(context, params.block)
    )
    found = _beacon(context, network, params.block) if is_beacon(network) else _bitcoin(context, network, params.block)
    height = found.get("height", -1)
    return {**found, "history": await _history(context, network, height), **standing(context, network)}


def _first(context: Context, block: int | str | None) -> str:
    """Without a network named: Bitcoin's first, unless the claim can be one of Ethereum's only."""
    of_beacon = isinstance(block, str) and (block in ("finalized", "optimistic") or block.startswith("0x"))
    running = context.node.networks
    return next((name for name in running if is_beacon(name) == of_beacon), running[0])


def _bitcoin(context: Context, network: str, block: int | str | None) -> dict[str, Any]:
    chain = context.chain(network)
    place = find_place(chain, block)
    found = _depth(chain, place)
    rules, start = NETWORKS[network], chain.start
    passed = rules.last_checkpoint(chain.tip_height)
    whole = chain.chainwork(chain.tip_height)
    peers = _agreement(context, network, _bitcoin_opinion(chain, place))
    begins = "the genesis block" if start.complete else f"the checkpoint at height {start.height}"
    claim = f"block {found['hash']} is at height {place.height} of {network}"
    if not place.active:
        says = f"It is not: {claim.replace('is at', 'lies at')} on a side branch, which has less work."
    else:
        says = (
            f"Every header from {begins} to the tip was checked by this node; {found['confirmations'] - 1} blocks are "
            f"on top of it; {peers['agree']} of {peers['connected']} peers have it in their chain."
        )
    return {
        "claim": claim,
        "says": says,
        **found,
        "vouched_by": ["built in"] if start.complete else ["config"],
        "work": {
            "above": found["work_above"],
            "chain": work_hex(whole),
            "minimum": work_hex(chain.minimum_chain_work),
            "counted_from_genesis": chain.work_known,
        },
        "checkpoints": {
            "passed": sum(height <= chain.tip_height for height, _ in rules.checkpoints),
            "last": passed,
            "above_the_block": passed is not None and place.active and passed >= place.height,
        },
        "peers": peers,
        "age": round(context.node.now() - place.header.time, 1),
    }


Opinion = Literal["agree", "differ", "behind", "silent"]
Ask = Callable[[Mapping[str, Any]], Opinion]


def _bitcoin_opinion(chain: ChainView, place: Place) -> Ask:
    def opinion(peer: Mapping[str, Any]) -> Opinion:
        best, claimed = peer.get("bestblockhash"), peer.get("synced_headers")
        if not isinstance(best, str) or not isinstance(claimed, int):
            return "silent"
        height = chain.height_of(parse_hash(best, "bestblockhash"))
        if (claimed if height is None else height) < place.height:
            return "behind"
        if height is None:
            return "differ"
        return "agree" if place.active else "differ"

    return opinion


def _agreement(context: Context, network: str, opinion: Ask) -> dict[str, Any]:
    """Peers by what their last word says of the claim. One on a tip that we do not know counts as differing, until it
    is asked for that chain."""
    peers = context.node.peers(network)
    found: dict[str, Any] = {"connected": len(peers), "agree": 0, "differ": 0, "behind": 0, "silent": 0}
    transports: dict[str, int] = {}
    for peer in peers:
        what = opinion(peer)
        found[what] += 1
        if what == "agree":
            transport = str(peer.get("transport_protocol_type", "unknown"))
            transports[transport] = transports.get(transport, 0) + 1
    return {**found, "transports": transports}


def _beacon(context: Context, network: str, block: int | str | None) -> dict[str, Any]:
    chain = context.beacon(network)
    header, record = _beacon_claim(chain, block)
    slot, root = (record.slot, record.beacon_root) if record else (header.beacon.slot, beacon_root(header.beacon))
    final = slot <= chain.finalized.beacon.slot
    signed = describe_signatures(chain, chain.finality_update if record else _update_of(chain, header))
    peers = _agreement(context, network, _beacon_opinion(chain))
    start, share = chain.start, signed["participation"]
    signatures = "nobody but the checkpoint vouches for it yet"
    if share is not None:
        signatures = f"{share['participants']} of {share['committee_size']} sync-committee members signed"
    return {
        "claim": f"block {hex_of(root)} is in slot {slot} of {network}, {'final' if final else 'signed, not final'}",
        "says": f"Sync committees were followed from the checkpoint {hex_of(start.root)} in slot {start.slot}, named "
        f"by {', '.join(start.vouched_by)}; {signatures}; {peers['agree']} of {peers['connected']} peers call the same "
        "block final, or one after it.",
        "height": slot,
        "slot": slot,
        "root": hex_of(root),
        "finalized": final,
        "slots_above": max(0, chain.optimistic.beacon.slot - slot),
        "vouched_by": list(start.vouched_by),
        **signed,
        "peers": peers,
        "age": round(context.node.now() - chain.params.start_of(Slot(slot)), 1),
    }


def _beacon_claim(chain: BeaconView, block: int | str | None) -> tuple[LightClientHeader, ExecutionRecord | None]:
    if block is None or block == "finalized":
        return chain.finalized, None
    if block == "optimistic":
        return chain.optimistic, None
    return chain.finalized, find_record(chain, parse_block(block, "block"))


def _update_of(chain: BeaconView, header: LightClientHeader) -> Update | None:
    finality, optimistic = chain.finality_update, chain.optimistic_update
    if finality is not None and finality.finalized_header.beacon == header.beacon:
        return finality
    return optimistic if optimistic is not None and optimistic.attested_header.beacon == header.beacon else None


def _beacon_opinion(chain: BeaconView) -> Ask:
    ours, root = chain.finalized.beacon.slot, hex_of(beacon_root(chain.finalized.beacon))
    epoch = -(-ours // chain.params.preset.slots_per_epoch)

    def opinion(peer: Mapping[str, Any]) -> Opinion:
        status = peer.get("status")
        if not isinstance(status, Mapping):
            return "silent"
        if status["finalized_epoch"] < epoch:
            return "behind"
        return "agree" if status["finalized_epoch"] > epoch or status["finalized_root"] == root else "differ"

    return opinion


async def _history(context: Context, network: str, height: int) -> dict[str, Any]:
    """What the durable log tells against the claim. Read in pieces: a log has up to 20,000 entries."""
    cursor, reorgs, faults, touched = 0, 0, 0, 0
    newest: list[Mapping[str, Any]] = []
    while found := context.node.events(network, cursor, MAX_EVENTS):
        for event in found:
            faults += event["kind"] == "fault"
            if event["kind"] == "reorg":
                reorgs += 1
                touched += int(event["fork_height"]) < height
                newest = [*newest[-(MAX_SHOWN_REORGS - 1) :], event]
        cursor = found[-1]["seq"]
        await trio.lowlevel.checkpoint()
    return {"reorganizations": reorgs, "touched": touched, "newest": [_reorg(one) for one in newest], "faults": faults}


def _reorg(event: Mapping[str, Any]) -> dict[str, Any]:
    names = ("seq", "time", "fork_height", "from", "to", "undo_count", "redo_count")
    return {name: event[name] for name in names}
