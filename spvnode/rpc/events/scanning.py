"""What blocks that were looked into do to watches for scripts and transactions. Pure: readings in, notices out.

A watch's cursor moves in the same change of the journal that tells what was found, so that neither a crash nor a
restart tells a thing twice or not at all. What was told is read off the notices themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any

from msgspec.structs import replace

from spvnode.bitcoin.payments import Payment, Reading, possible, shows_when_spent
from spvnode.rpc.events.journal import MAX_COINS, State, Watch
from spvnode.rpc.events.watching import Sight, look, median_at
from spvnode.types import PREV_HASH, Hash32, Height, hash_from_hex, hash_hex
from spvnode.view import ChainView

MAX_TOLD = 50
"""Findings of one block that a watch is told one by one; the last of them has the number of the others as ``more``. A
script in common use has hundreds, and notices are few."""
MAX_BURST = 250
"""Findings told in one change of the journal to one token's watches, from which on each is told one a block, likewise:
with these, of all its watches and all the blocks of one look, no more than the journal keeps for it. So who reads along
can see them all. A search far back for scripts in common use fills it."""
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
    if not watch.searching:
        return 0
    far = watch.news and watch.next_height < chain.tip_height - SKIP_FROM
    return max(chain.base, median_at(chain, watch.made - NEWS_SLACK) if far else 0)


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
    findings = _findings(state, seen)
    burst: Counter[str] = Counter()
    for watch_id in sorted(ids & state.watches.keys()):
        for one, found in zip(seen, findings, strict=True):
            watch = state.watches[watch_id]
            if chain.height_of(one.hash) is None or not _follows(watch, one):
                continue
            if found is not None and watch.kind == "script":
                burst[watch.owner] += _tell_payments(state, watch, found, chain, now, _most(watch, burst))
            state.watches[watch_id] = _moved(watch, one, found)
    look(state, sight, now)  # a transaction may have as many confirmations as it shall have


def _follows(watch: Watch, seen: Seen) -> bool:
    linked = not watch.at or hash_from_hex(watch.at) == seen.previous
    return watch.searching and watch.next_height == seen.height and linked


@dataclass(frozen=True, slots=True)
class _Findings:
    """What a block holds for any watch, taken together once for all of them: a hundred may look for the same scripts,
    and a block may pay these thousands of times."""

    seen: Seen
    by_script: Mapping[str, Sequence[tuple[int, Payment]]]
    """By script in hex, in the order of the block, each with its place there."""
    told: Collection[int]
    """Watches that were told of this block before: their search began again far below."""

    def count(self, scripts: Iterable[str]) -> int:
        """Of these scripts."""
        return sum(len(self.by_script.get(script, ())) for script in scripts)

    def first(self, scripts: Iterable[str]) -> Iterator[Payment]:
        """Of these scripts, in the order of the block."""
        rows = [self.by_script[script] for script in scripts if script in self.by_script]
        return (payment for _, payment in merge(*rows, key=itemgetter(0)))

    def last(self, scripts: Iterable[str]) -> Iterator[Payment]:
        """The other way round."""
        rows = [reversed(self.by_script[script]) for script in scripts if script in self.by_script]
        return (payment for _, payment in merge(*rows, key=itemgetter(0), reverse=True))


def _findings(state: State, seen: Sequence[Seen]) -> list[_Findings | None]:
    """None for a block that was not read."""
    told: dict[str, set[int]] = {hash_hex(one.hash): set() for one in seen}
    for notice in state.notices:
        told.get(notice.data.get("hash", ""), set()).add(notice.data.get("watch", 0))
    return [None if one.reading is None else _group(one, one.reading, told[hash_hex(one.hash)]) for one in seen]


def _group(seen: Seen, reading: Reading, told: Collection[int]) -> _Findings:
    by_script: dict[str, list[tuple[int, Payment]]] = {}
    for place in enumerate((*reading.payments, *possible(reading, seen.present or ()))):
        by_script.setdefault(place[1].script.hex(), []).append(place)
    return _Findings(seen, by_script, told)


def _moved(watch: Watch, seen: Seen, findings: _Findings | None) -> Watch:
    at = hash_hex(seen.hash)
    found = seen.reading is not None and bool(watch.txid) and hash_from_hex(watch.txid) in seen.reading.txids
    coins = watch.coins if findings is None or watch.kind != "script" else _coins(watch, findings)
    return replace(watch, next_height=seen.height + 1, at=at, hash=at if found else "", coins=coins)


def _coins(watch: Watch, findings: _Findings) -> dict[str, int]:
    """With those outputs that pay a script which will not show when they are spent; the oldest go."""
    places = {script: at for at, script in enumerate(watch.scripts) if not shows_when_spent(bytes.fromhex(script))}
    paid = ((one, one.txid) for one in findings.last(places) if one.txid is not None and one.value is not None)
    coins = dict(watch.coins)
    for payment, txid in reversed(list(islice(paid, MAX_COINS))):
        at = places[payment.script.hex()]
        coins.update({f"{hash_hex(txid)}:{index}": at for index in payment.places[-MAX_COINS:]})
    return dict(islice(coins.items(), max(0, len(coins) - MAX_COINS), None))


def _most(watch: Watch, burst: Mapping[str, int]) -> int:
    """How many findings of one block may be told one by one, after so many that this change has told each owner."""
    return 1 if watch.owner and burst[watch.owner] >= MAX_BURST else MAX_TOLD


def _tell_payments(state: State, watch: Watch, findings: _Findings, chain: ChainView, now: float, most: int) -> int:
    """How many were told, ``most`` at most."""
    seen = findings.seen
    found, count = findings.first(watch.scripts), findings.count(watch.scripts)
    if count and watch.id in findings.told:
        told = standing(state, watch.id)
        new = [one for one in found if _key(_shown(one, seen)) not in told]
        found, count = iter(new), len(new)
    for at, payment in enumerate(islice(found, most), 1):
        more = {"more": count - most} if at == most < count else {}
        told_now = {"watch": watch.id, "condition": "script", **_shown(payment, seen), **more,
                    "confirmations": chain.tip_height - seen.height + 1}  # fmt: skip
        state.tell("watch", watch.network, now, told_now, watch.owner)
    return min(count, most)


def _shown(payment: Payment, seen: Seen) -> dict[str, Any]:
    """A finding as it is told."""
    where = "outputs" if payment.value is not None else "inputs"
    found: dict[str, Any] = {"hash": hash_hex(seen.hash), "height": seen.height, "script": payment.script.hex(),
                             "direction": str(payment.direction), "rests_on": str(payment.ground)}  # fmt: skip
    if payment.txid is None:
        return {**found, "possible": True}
    found |= {"txid": hash_hex(payment.txid), where: list(payment.places[:MAX_PLACES])}
    return found if payment.value is None else {**found, "value": payment.value}
