"""What blocks that were looked into do to watches for scripts and transactions. Pure: readings in, notices out.

A watch's cursor moves in the same change of the journal that tells what was found, so that neither a crash nor a
restart tells a thing twice or not at all. What was told is read off the notices themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from msgspec.structs import replace

from spvnode.bitcoin.payments import Payment, Reading, possible, shows_when_spent
from spvnode.rpc.events.journal import MAX_COINS, MAX_OWNER_NOTICES, State, Watch
from spvnode.rpc.events.watching import Sight, look, median_at
from spvnode.types import PREV_HASH, Hash32, Height, hash_from_hex, hash_hex
from spvnode.view import ChainView

MAX_TOLD = 50
"""Findings of one block that a watch is told one by one; the last of them has the number of the others as ``more``. A
script in common use has hundreds, and notices are few."""
MAX_PLACES = 50
"""Indices of outputs or inputs that one notice lists. A transaction may have thousands."""
NEWS_SLACK = 24 * 60 * 60
"""Seconds before a watch was made from which blocks count as news: more than clocks and header times are off."""
SKIP_FROM = 8
"""Blocks behind the tip from where it is asked whether some are to be skipped."""
REWIND = 144
"""Blocks looked at again where a reorganization's branch is no longer known: a day."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A main-chain block that was looked at. ``present``: watched scripts that its filter holds, None where the filter
    does not tell; ``reading``: what the block says, None where it was not needed."""

    height: Height
    hash: Hash32
    previous: Hash32
    present: frozenset[bytes] | None
    reading: Reading | None


# -- reorganizations


def unsettled(watch: Watch, chain: ChainView) -> bool:
    """Whether the watch is not where it should go on: it has looked at a block that has left the main chain, or is to
    skip some. A chain that is shorter than what was looked at, as after a power cut, will grow back."""
    return _left_behind(watch, chain) or watch.next_height < _first_wanted(watch, chain)


def _first_wanted(watch: Watch, chain: ChainView) -> int:
    """Height below which the watch has nothing to look at: no headers, or none but old ones, as in the first sync."""
    if not watch.searching or not watch.next_height < chain.tip_height - SKIP_FROM:
        return 0
    return max(chain.base, median_at(chain, watch.made - NEWS_SLACK) if watch.news else 0)


def _left_behind(watch: Watch, chain: ChainView) -> bool:
    if not watch.scans or not watch.at:
        return False
    block_hash = hash_from_hex(watch.at)
    if chain.height_of(block_hash) is not None:
        return False
    return chain.side_header(block_hash) is not None or chain.tip_height >= watch.next_height - 1


def settle(state: State, network: str, chain: ChainView, now: float) -> None:
    """Sets watches back to where the main chain parts from what they have looked at, and tells what is undone; and
    forward over what is none of their business."""
    for watch in [one for one in state.watches.values() if one.network == network and unsettled(one, chain)]:
        if not _left_behind(watch, chain):
            state.watches[watch.id] = _at(watch, chain, _first_wanted(watch, chain))
            continue
        for data in _undone(state, watch, chain):
            told = {"watch": watch.id, "condition": watch.kind, **data, "undone": True}
            state.tell("watch", network, now, told, watch.owner)
        state.watches[watch.id] = _at(replace(watch, hash=""), chain, _fork(watch, chain) + 1)


def _at(watch: Watch, chain: ChainView, height: int) -> Watch:
    """The watch with ``height`` as the next to look at."""
    below = Height(height - 1)
    return replace(watch, next_height=height, at=hash_hex(chain.block_hash(below)) if below >= chain.base else "")


def _fork(watch: Watch, chain: ChainView) -> Height:
    """The highest main-chain block below what the watch has looked at."""
    block_hash = hash_from_hex(watch.at)
    while (side := chain.side_header(block_hash)) is not None:
        block_hash = Hash32(side[1][PREV_HASH])
    height = chain.height_of(block_hash)
    if height is None:  # so long ago, or so many branches, that it was dropped
        height = Height(min(watch.next_height - 1 - REWIND, chain.tip_height))
    return max(chain.base, height)


def _undone(state: State, watch: Watch, chain: ChainView) -> Iterable[Mapping[str, Any]]:
    if watch.txid:
        if watch.hash:
            yield {"txid": watch.txid, "hash": watch.hash, "height": watch.next_height - 1}
        return
    for data in standing(state, watch.id).values():
        if chain.height_of(hash_from_hex(data["hash"])) is None:
            yield {key: value for key, value in data.items() if key != "confirmations"}


_Key = tuple[str, str, str, str]


def standing(state: State, watch_id: int) -> dict[_Key, Mapping[str, Any]]:
    """What a watch for scripts has been told and is not undone, as far as notices are kept."""
    found: dict[_Key, Mapping[str, Any]] = {}
    for notice in state.notices:
        data = notice.data
        if data.get("watch") != watch_id or data.get("condition") != "script":
            continue
        if data.get("undone"):
            found.pop(_key(data), None)
        else:
            found[_key(data)] = data
    return found


def _key(data: Mapping[str, Any]) -> _Key:
    return data["hash"], data.get("txid", ""), data["script"], data["direction"]


# -- findings


def advance(state: State, sight: Sight, seen: Sequence[Seen], ids: frozenset[int], now: float) -> None:
    """Tells what the blocks ``seen``, ascending, hold for the watches ``ids``, and moves those on. Watches that have
    gone, or were set back meanwhile, and blocks that have left the chain, are passed over."""
    chain = sight.chain
    if chain is None:
        return
    for watch_id in sorted(ids & state.watches.keys()):
        for one in seen:
            watch = state.watches[watch_id]
            if chain.height_of(one.hash) is None or not _follows(watch, one):
                continue
            if watch.kind == "script":
                _tell_payments(state, watch, one, chain, now)
            state.watches[watch_id] = _moved(watch, one)
    look(state, sight, now)  # a transaction may have as many confirmations as it shall have


def _follows(watch: Watch, seen: Seen) -> bool:
    linked = not watch.at or hash_from_hex(watch.at) == seen.previous
    return watch.searching and watch.next_height == seen.height and linked


def _moved(watch: Watch, seen: Seen) -> Watch:
    at = hash_hex(seen.hash)
    found = seen.reading is not None and bool(watch.txid) and hash_from_hex(watch.txid) in seen.reading.txids
    return replace(
        watch, next_height=seen.height + 1, at=at, hash=at if found else "", coins=_coins(watch, seen.reading)
    )


def _coins(watch: Watch, reading: Reading | None) -> dict[str, int]:
    """With those outputs that pay a script which will not show when they are spent; the oldest go."""
    if reading is None or watch.kind != "script":
        return watch.coins
    places = {script: at for at, script in enumerate(watch.scripts)}
    coins = dict(watch.coins)
    for payment in reading.payments:
        at = places.get(payment.script.hex())
        if at is None or payment.txid is None or payment.value is None or shows_when_spent(payment.script):
            continue
        coins.update({f"{hash_hex(payment.txid)}:{index}": at for index in payment.places[-MAX_COINS:]})
    return dict(islice(coins.items(), max(0, len(coins) - MAX_COINS), None))


def _tell_payments(state: State, watch: Watch, seen: Seen, chain: ChainView, now: float) -> None:
    if seen.reading is None:
        return
    scripts = {bytes.fromhex(script) for script in watch.scripts}
    doubtful = possible(seen.reading, seen.present or ())
    found = [_shown(one, seen) for one in (*seen.reading.payments, *doubtful) if one.script in scripts]
    if not found:
        return
    told = standing(state, watch.id)  # only where a search began again far below
    found = [data for data in found if _key(data) not in told]
    most = _most(state, watch.owner)
    if len(found) > most:
        found[most - 1 :] = [{**found[most - 1], "more": len(found) - most}]
    for data in found:
        told_now = {"watch": watch.id, "condition": "script", **data,
                    "confirmations": chain.tip_height - seen.height + 1}  # fmt: skip
        state.tell("watch", watch.network, now, told_now, watch.owner)


def _most(state: State, owner: str) -> int:
    """How many findings of one block may be told one by one."""
    mine = sum(notice.owner == owner for notice in state.notices) if owner else 0
    return 1 if mine >= MAX_OWNER_NOTICES else MAX_TOLD


def _shown(payment: Payment, seen: Seen) -> dict[str, Any]:
    """A finding as it is told."""
    where = "outputs" if payment.value is not None else "inputs"
    found: dict[str, Any] = {"hash": hash_hex(seen.hash), "height": seen.height, "script": payment.script.hex(),
                             "direction": str(payment.direction), "rests_on": str(payment.ground)}  # fmt: skip
    if payment.txid is None:
        return {**found, "possible": True}
    found |= {"txid": hash_hex(payment.txid), where: list(payment.places[:MAX_PLACES])}
    return found if payment.value is None else {**found, "value": payment.value}
