"""Methods of our own: header proofs, synchronisation, import, and the start that another node may trust."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import trio
from msgspec import Meta, Struct

from merkle.bundle import decode, to_json
from merkle.verify import Verdict
from spvnode.bitcoin.params import NETWORKS
from spvnode.errors import InputError
from spvnode.ethereum.networks import NETWORKS as BEACON_NETWORKS
from spvnode.inputs import parse_hex
from spvnode.proofs import verify_any
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.limits import MAX_IMPORT_HEADERS
from spvnode.rpc.methods.beacon_header import in_beacon_chain
from spvnode.rpc.methods.chain import OfChain
from spvnode.rpc.methods.lookup import find_active, require_height, standing, work_hex
from spvnode.rpc.registry import ChainParams, Context
from spvnode.types import HEADER_SIZE, Height, hash_hex
from spvnode.view import BeaconView, ChainView

if TYPE_CHECKING:
    from spvnode.ethereum.bundle_verify import BeaconVerdict

    AnyVerdict = Verdict | BeaconVerdict

_CHECKS = trio.CapacityLimiter(1)


class GetHeaderProof(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``getheaderproof``."""

    block: Annotated[int | str, Meta(description="Height, or hash of a block on the active chain.")]
    cp_height: Annotated[int | None, Meta(description="Height that the tree ends at. Default: the tip.")] = None


class VerifyHeaderProof(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``verifyheaderproof``."""

    bundle: Annotated[str | dict[str, Any], Meta(description="A bundle: its bytes in hex, or its JSON object.")]


class ImportHeaders(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``importheaders``."""

    headers: Annotated[
        str, Meta(description=f"1 to {MAX_IMPORT_HEADERS} linked headers of 80 bytes, in hex, lowest first.")
    ]


class GetCheckpoint(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``getcheckpoint``."""

    height: Annotated[int, Meta(description="Height on the active chain.")]


def get_header_proof(context: Context, params: GetHeaderProof) -> dict[str, Any]:
    """``height``, ``hash``, ``confirmations``, ``cp_height``, ``root``; ``hex``: the bundle's canonical bytes, and
    ``bundle``: the same as JSON, each enough for ``spvnode verify``; ``freshness`` and ``start``."""
    chain = context.chain(params.network)
    height = find_active(chain, params.block, "block")
    cp_height = find_cp_height(chain, params.cp_height, height)
    raw = chain.bundle(height, cp_height, made_at=int(context.node.now()))
    bundle = decode(raw)
    return {
        "height": height,
        "hash": hash_hex(chain.block_hash(height)),
        "confirmations": chain.tip_height - height + 1,
        "cp_height": cp_height,
        "root": hash_hex(bundle.root),
        "hex": raw.hex(),
        "bundle": to_json(bundle),
        **standing(context, chain.network),
    }


def find_cp_height(chain: ChainView, cp_height: int | None, height: Height) -> Height:
    """The height that a tree over ``height`` ends at, by default the tip's. InputError."""
    if cp_height is None:
        return chain.tip_height
    if cp_height < height:
        raise InputError("cp_height", f"{cp_height} is below the block's height {height}")
    if cp_height > chain.tip_height:
        raise InputError("cp_height", f"{cp_height} is above the tip's height {chain.tip_height}")
    return Height(cp_height)


async def verify_header_proof(context: Context, params: VerifyHeaderProof) -> dict[str, Any]:
    """``valid``, ``reason``, ``says`` (what it proves, in words), ``rests_on``, ``claimed`` (fields that nothing
    proves), the bundle's own fields; and where this node follows its network, for a header tree: ``root_matches`` and
    ``in_active_chain``; for a beacon chain: ``checkpoint_matches`` (this node trusts the same start) and
    ``in_active_chain`` (each null where this node cannot tell). Takes bundles of either kind."""
    given = parse_hex(params.bundle.removeprefix("0x"), "bundle") if isinstance(params.bundle, str) else params.bundle
    networks = {**BEACON_NETWORKS, **{name: chain.params for name, chain in context.node.beacons.items()}}
    check = partial(verify_any, given, context.node.now(), networks=networks)
    # Signatures of a committee period take some 2 ms: a worker's business, and one worker's at a time.
    verdict = await trio.to_thread.run_sync(check, limiter=_CHECKS)
    network = str(verdict.fields.get("network"))
    if network in context.node.beacons and verdict.ok:
        return await _compare_beacon(context, context.node.beacons[network], verdict, check)
    chain = context.node.chains.get(network)
    matches = None if chain is None else _root_matches(chain, verdict.fields)
    if matches:
        verdict = check(trusted_root=verdict.fields.get("root", verdict.fields.get("new_root")))
    return _judgement(verdict) | {
        "root_matches": matches,
        "in_active_chain": None if chain is None else _in_active_chain(chain, verdict.fields),
        **({} if chain is None else standing(context, chain.network)),
    }


async def _compare_beacon(
    context: Context, chain: BeaconView, verdict: AnyVerdict, check: Callable[..., AnyVerdict]
) -> dict[str, Any]:
    """The verdict, and how the bundle stands to what this node knows itself."""
    root = verdict.fields["checkpoint_root"]
    ours = "0x" + chain.start.root.hex() == root
    if ours:
        verdict = await trio.to_thread.run_sync(partial(check, trusted_checkpoint=root), limiter=_CHECKS)
    return _judgement(verdict) | {
        "checkpoint_matches": ours,
        "in_active_chain": in_beacon_chain(chain, verdict.fields),
        **standing(context, chain.network),
    }


def _judgement(verdict: AnyVerdict) -> dict[str, Any]:
    return {
        "valid": verdict.ok,
        "reason": verdict.reason,
        "says": verdict.says,
        "rests_on": verdict.rests_on,
        "claimed": verdict.claimed,
        **verdict.fields,
    }


def _root_matches(chain: ChainView, fields: Mapping[str, Any]) -> bool | None:
    """Whether this node's own tree over the same range has the same root; None where it has no such tree."""
    cp_height: int = fields.get("cp_height", fields.get("new_height"))
    claimed: str = fields.get("root", fields.get("new_root"))
    if chain.range_start != fields["range_start"] or not chain.base <= cp_height <= chain.tip_height:
        return None
    return hash_hex(chain.root(Height(cp_height))) == claimed


def _in_active_chain(chain: ChainView, fields: Mapping[str, Any]) -> bool | None:
    """Of every block that the proof names by its hash; None where this node does not reach that far."""
    places = (("height", "hash"), ("old_height", "old_hash"), ("new_height", "new_hash"), ("cp_height", "tip_hash"))
    named = {fields[height]: fields[block] for height, block in places if height in fields and block in fields}
    if not all(chain.base <= height <= chain.tip_height for height in named):
        return None
    return all(hash_hex(chain.block_hash(Height(height))) == block for height, block in named.items())


def get_sync_info(context: Context, params: OfChain) -> dict[str, Any]:
    """State of the synchronisation machine, its transitions, pool use, rates, faults by reason; ``reasons`` (why not
    ready), ``freshness``, and ``start`` or ``grounds`` (null, and ``waiting_for`` instead of the numbers, while the
    chain waits for its checkpoint)."""
    network = context.network(params.network)
    reasons = list(context.node.readiness(network).reasons)
    return {**context.node.sync_info(network), "reasons": reasons, **standing(context, network)}


async def import_headers(context: Context, params: ImportHeaders) -> dict[str, Any]:
    """``accepted`` (how many were new), ``height`` and ``bestblockhash`` afterwards. Checked by every rule, and
    committed as a whole or not at all; error -25 names the rule that is broken."""
    network = context.chain(params.network).network
    raw = parse_hex(params.headers, "headers")
    count, rest = divmod(len(raw), HEADER_SIZE)
    if rest or not 1 <= count <= MAX_IMPORT_HEADERS:
        raise InputError("headers", f"{len(raw)} bytes; must be 1 to {MAX_IMPORT_HEADERS} headers of {HEADER_SIZE}")
    try:
        result = await context.node.import_headers(network, raw)
    except InputError as error:
        raise RpcError(Code.VERIFY_ERROR, str(error)) from error
    return {**result, **standing(context, network)}


def get_checkpoint(context: Context, params: GetCheckpoint) -> dict[str, Any]:
    """``height``, ``hash``, ``header``, ``chainwork`` and ``peaks``: a ``[[checkpoint]]`` of another node's config.
    ``chainwork`` is null and ``peaks`` empty where this node itself does not know the chain from genesis."""
    chain = context.chain(params.network)
    height = require_height(chain, params.height)
    rules = NETWORKS[chain.network]
    if not rules.no_retargeting and height % rules.interval:
        raise InputError("height", f"{height} is no multiple of {rules.interval}, where a trust start must be")
    return {
        "height": height,
        "hash": hash_hex(chain.block_hash(height)),
        "header": chain.header(height).hex(),
        "chainwork": work_hex(chain.chainwork(height)) if chain.work_known else None,
        # In internal byte order: peaks are nodes of a tree, not block hashes.
        "peaks": [peak.hex() for peak in chain.peaks(height)] if chain.range_start == 0 else [],
        **standing(context, chain.network),
    }
