"""Which watches an event sets off. Pure: views and events in, notices out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from spvnode.bitcoin.header import Header
from spvnode.rpc.events.journal import State, Watch
from spvnode.types import Hash32, Height, hash_from_hex, hash_hex
from spvnode.view import BeaconView, ChainView

TIME_SLACK = 200
"""Headers before the one whose median time passed the given time, among which the first of that time is looked for: a
header's own time may be two hours ahead, twelve blocks or so."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What there is to see of one network: its new events, and its chain, of the one kind or the other."""

    network: str
    events: Sequence[Mapping[str, Any]]
    chain: ChainView | None
    beacon: BeaconView | None


def look(state: State, sight: Sight, now: float) -> None:
    """Adds to ``state`` what the events set off, and moves on its cursor."""
    for watch in [one for one in state.watches.values() if one.network == sight.network]:
        for data in _judge(watch, sight):
            state.tell("watch", sight.network, now, {"watch": watch.id, "condition": watch.kind, **data}, watch.owner)
            if watch.kind != "reorg":  # the others are over with the first time
                del state.watches[watch.id]
        if watch.kind == "time" and watch.id in state.watches and sight.chain is not None:
            state.watches[watch.id] = replace(watch, next_height=sight.chain.tip_height + 1)
    if sight.events:
        state.cursors[sight.network] = int(sight.events[-1]["seq"])


def _judge(watch: Watch, sight: Sight) -> Iterator[Mapping[str, Any]]:
    """What there is to tell of a watch: at most one thing, for each event where it is about reorganizations."""
    if watch.kind == "reorg":
        for event in sight.events:
            if event["kind"] == "reorg" and _touches(event, watch.hash, sight.chain):
                place = {"fork_height": event["fork_height"], "from": event["from"], "to": event["to"]}
                yield {"hash": watch.hash, "event": event["seq"], **place}
        return
    found = None
    if watch.kind == "script":  # told by who looks into blocks
        return
    if sight.chain is not None:
        found = _confirmed(watch, sight.chain) if watch.kind == "confirmations" else _first_after(watch, sight)
    elif sight.beacon is not None and watch.kind == "time":
        found = _beacon_after(watch, sight.beacon)
    if found is not None:
        yield found


def _confirmed(watch: Watch, chain: ChainView) -> Mapping[str, Any] | None:
    height = chain.height_of(hash_from_hex(watch.hash)) if watch.hash else None
    if height is None or chain.tip_height - height + 1 < watch.confirmations:
        return None
    what = {"txid": watch.txid} if watch.txid else {}
    return {**what, "hash": watch.hash, "height": height, "confirmations": chain.tip_height - height + 1}


def _first_after(watch: Watch, sight: Sight) -> Mapping[str, Any] | None:
    chain = sight.chain
    if chain is None:
        return None
    # A reorganization made some heights anew.
    forks = [int(event["fork_height"]) + 1 for event in sight.events if event["kind"] == "reorg"]
    for height in range(max(int(chain.base), min([watch.next_height, *forks])), chain.tip_height + 1):
        header = Header(chain.header(Height(height)))
        if header.time >= watch.time:
            block_hash = hash_hex(chain.block_hash(Height(height)))
            return {"wanted": watch.time, "header_time": header.time, "height": height, "hash": block_hash}
    return None


def _beacon_after(watch: Watch, chain: BeaconView) -> Mapping[str, Any] | None:
    found = chain.optimistic.beacon
    params = chain.params
    at = params.genesis_time + found.slot * params.slot_duration_ms // 1000
    return None if at < watch.time else {"wanted": watch.time, "header_time": at, "slot": found.slot}


def _touches(event: Mapping[str, Any], block_hash: str, chain: ChainView | None) -> bool:
    """Whether a reorganization took a block out of the main chain or brought it in. Long ones list not all hashes; then
    the block's height tells, where the block is still known."""
    if block_hash in event["undo"] or block_hash in event["redo"]:
        return True
    cut = event["undo_count"] > len(event["undo"]) or event["redo_count"] > len(event["redo"])
    if not cut or chain is None:
        return False
    raw = Hash32(bytes.fromhex(block_hash)[::-1])
    height = chain.height_of(raw)
    if height is not None:
        return bool(event["fork_height"] < height <= event["to"]["height"])
    side = chain.side_header(raw)
    return side is not None and bool(side[0] > event["fork_height"])


def height_at(chain: ChainView, unix: int) -> int:
    """Where a search for the first header of a time must begin: no header below has it, nearly certainly."""
    return max(int(chain.base), median_at(chain, unix) - TIME_SLACK)


def median_at(chain: ChainView, unix: int) -> int:
    """The first height with that median time or a later one; above the tip where there is none."""
    low, high = int(chain.base), int(chain.tip_height) + 1
    while low < high:  # median times never fall
        middle = (low + high) // 2
        if chain.median_time(Height(middle)) >= unix:
            high = middle
        else:
            low = middle + 1
    return low
