"""From what a caller names (a height, a hash) to a header, with Core's errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from spvnode.bitcoin.header import Header
from spvnode.bitcoin.packing import MEDIAN_TIME_SPAN
from spvnode.bitcoin.pow import block_proof, difficulty
from spvnode.bitcoin.rules import median_time_past
from spvnode.errors import InputError
from spvnode.inputs import parse_hash, parse_height_or_hash
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.registry import Context, is_beacon
from spvnode.types import HEADER_SIZE, Hash32, Height, Work, hash_hex
from spvnode.view import BeaconView, ChainView


@dataclass(frozen=True, slots=True)
class Place:
    """A header and where it stands. ``active``: on the main chain."""

    height: Height
    header: Header
    active: bool


def work_hex(work: int) -> str:
    """Chainwork as Core prints it: 64 hex digits."""
    return f"{work:064x}"


def require_height(chain: ChainView, height: int) -> Height:
    """``height`` if it is stored on the main chain; else Core's error -8."""
    if not chain.base <= height <= chain.tip_height:
        held = f"this node holds {chain.base} to {chain.tip_height}"
        raise RpcError(Code.INVALID_PARAMETER, f"Block height out of range ({held})")
    return Height(height)


def find_hash(chain: ChainView, text: str, field: str = "blockhash") -> Place:
    """The header with that hash, on the main chain or on a side branch; else Core's error -5."""
    block_hash = parse_hash(text, field)
    height = chain.height_of(block_hash)
    if height is not None:
        return Place(height, Header(chain.header(height)), active=True)
    side = chain.side_header(block_hash)
    if side is None:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Block not found")
    return Place(side[0], Header(side[1]), active=False)


def find_active(chain: ChainView, block: int | str, field: str) -> Height:
    """Height of a main-chain block named by height or hash."""
    named = Height(block) if isinstance(block, int) else parse_height_or_hash(block, field)
    if isinstance(named, int):
        return require_height(chain, named)
    height = chain.height_of(Hash32(named))
    if height is None:
        known = chain.side_header(Hash32(named)) is not None
        problem = "Block is not in the active chain" if known else "Block not found"
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, problem)
    return height


def ancestry(chain: ChainView, place: Place) -> Iterator[Place]:
    """``place`` and its ancestors down to the lowest stored header: its side branch first, then the main chain."""
    while True:
        yield place
        prev_hash = place.header.prev_hash
        if not place.active and (side := chain.side_header(prev_hash)):
            place = Place(side[0], Header(side[1]), active=False)
        elif place.height > chain.base:
            height = Height(place.height - 1)
            place = Place(height, Header(chain.header(height)), active=True)
        else:
            return


def median_time(chain: ChainView, place: Place) -> int:
    """Median time past including ``place``."""
    if place.active:
        return chain.median_time(place.height)
    times = [near.header.time for near, _ in zip(ancestry(chain, place), range(MEDIAN_TIME_SPAN), strict=False)]
    return median_time_past(times)


def chainwork(chain: ChainView, place: Place) -> Work:
    """Cumulative work at ``place``. Bounded by the longest side branch that the chain keeps."""
    if place.active:
        return chain.chainwork(place.height)
    total = 0
    for near in ancestry(chain, place):
        if near.active:
            return Work(chain.chainwork(near.height) + total)
        total += block_proof(near.header.bits)
    raise InputError("branch", "does not meet the main chain")  # the view's own fault: a branch always does


def describe_header(chain: ChainView, place: Place) -> dict[str, Any]:
    """The verbose reply of ``getblockheader``, field for field as Core 28.1 gives it for a header without block."""
    confirmations = chain.tip_height - place.height + 1 if place.active else -1
    follows = place.active and place.height < chain.tip_height
    next_hash = chain.block_hash(Height(place.height + 1)) if follows else None
    return _header_json(place, confirmations, median_time(chain, place), chainwork(chain, place), next_hash)


def describe_run(chain: ChainView, start: Height, count: int) -> Iterator[dict[str, Any]]:
    """The same for up to ``count`` headers of the main chain from ``start``, without looking up for each what the one
    before has told."""
    tip = chain.tip_height  # who takes them one by one is told of one tip
    count = min(count, tip - start + 1)
    first = max(chain.base, start - MEDIAN_TIME_SPAN + 1)
    raw = chain.headers(Height(first), start - first + count + 1)
    run = [Header(raw[at : at + HEADER_SIZE]) for at in range(0, len(raw), HEADER_SIZE)]
    work = chain.chainwork(start)
    for at in range(start - first, start - first + count):
        place = Place(Height(first + at), run[at], active=True)
        if place.height > start:
            work = Work(work + block_proof(run[at].bits))
        times = [header.time for header in run[max(0, at - MEDIAN_TIME_SPAN + 1) : at + 1]]
        next_hash = run[at + 1].hash if at + 1 < len(run) else None
        yield _header_json(place, tip - place.height + 1, median_time_past(times), work, next_hash)


def _header_json(
    place: Place, confirmations: int, mediantime: int, work: Work, next_hash: Hash32 | None
) -> dict[str, Any]:
    header = place.header
    reply: dict[str, Any] = {
        "hash": hash_hex(header.hash),
        "confirmations": confirmations,
        "height": place.height,
        "version": header.version,
        "versionHex": f"{header.version & 0xFFFFFFFF:08x}",
        "merkleroot": hash_hex(header.merkle_root),
        "time": header.time,
        "mediantime": mediantime,
        "nonce": header.nonce,
        "bits": f"{header.bits:08x}",
        "difficulty": difficulty(header.bits),
        "chainwork": work_hex(work),
        "nTx": 0,
    }
    if place.height > 0:
        reply["previousblockhash"] = hash_hex(header.prev_hash)
    if next_hash is not None:
        reply["nextblockhash"] = hash_hex(next_hash)
    return reply


def standing(context: Context, network: str) -> dict[str, Any]:
    """What every reply about a chain says beside its subject: how fresh it is, and what it rests on (None before it has
    begun): ``start`` for a chain of headers, ``grounds`` for a beacon chain."""
    rests: dict[str, Any]
    if is_beacon(network):
        beacon = context.node.beacons.get(network)
        rests = {"grounds": None if beacon is None else _grounds(beacon)}
    else:
        chain = context.node.chains.get(network)
        rests = {"start": None if chain is None else _start(chain)}
    return {
        "network": network,
        "freshness": dict(context.node.freshness(network)),
        "ready": context.node.readiness(network).ready,
        **rests,
    }


def _grounds(beacon: BeaconView) -> dict[str, Any]:
    start = beacon.start
    return {
        "kind": start.kind,
        "slot": start.slot,
        "root": "0x" + start.root.hex(),
        "vouched_by": list(start.vouched_by),
    }


def _start(chain: ChainView) -> dict[str, Any]:
    return {
        "kind": chain.start.kind,
        "height": chain.start.height,
        "hash": hash_hex(chain.start.hash),
        "complete": chain.start.complete,
    }


def now(context: Context) -> int:
    """Unix seconds by the node's clock, as a bundle carries them."""
    return int(context.node.now())
