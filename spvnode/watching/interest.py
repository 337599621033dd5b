"""What some watches look for, taken together, and which blocks they have not looked at. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from spvnode.bitcoin.payments import Outpoint, Reading, shows_when_spent
from spvnode.rpc.events.journal import Watch
from spvnode.types import Hash32, Height, hash_from_hex

CHUNK: Final = 8
"""Blocks looked at in one go: their filters are held together, 4 MB at most."""
NEAR: Final = 8
"""Blocks below the tip from where a watch goes before all that are further behind: it waits for news."""


@dataclass(slots=True)
class Interest:
    """``scripts`` and ``txids`` looked for by any watch; ``coins`` known to pay a script (it grows with what is read);
    ``every``: one of the watches needs all blocks."""

    scripts: frozenset[bytes]
    txids: frozenset[Hash32]
    every: bool
    coins: dict[Outpoint, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, watches: Collection[Watch]) -> Interest:
        """Of watches that search."""
        scripts = frozenset(bytes.fromhex(script) for watch in watches for script in watch.scripts)
        txids = frozenset(hash_from_hex(watch.txid) for watch in watches if watch.txid)
        every = any(not watch.scripts for watch in watches)
        coins = {}
        for watch in watches:
            for place, at in watch.coins.items():
                txid, _, index = place.partition(":")
                coins[bytes(hash_from_hex(txid)), int(index)] = bytes.fromhex(watch.scripts[at])
        return cls(scripts, txids, every, coins)

    def learn(self, reading: Reading) -> None:
        """Takes in outputs that a later block may spend."""
        for payment in reading.payments:
            if payment.txid is not None and payment.value is not None and not shows_when_spent(payment.script):
                self.coins.update({(payment.txid, index): payment.script for index in payment.places})


@dataclass(frozen=True, slots=True)
class Task:
    """Blocks to look at for ``watches``: from ``start`` to ``end``, both included."""

    start: Height
    end: Height
    watches: tuple[Watch, ...]


def tasks(watches: Sequence[Watch], tip: Height, *, oldest_first: bool) -> list[Task]:
    """What there is to do, in the order to try: those near the tip, then of the others the furthest behind, which takes
    along all whom it meets; or, ``oldest_first``, the watch that was made first, so that none waits for ever."""
    behind = [watch for watch in watches if watch.searching and watch.next_height <= tip]
    near = [watch for watch in behind if watch.next_height > tip - NEAR]
    far = [watch for watch in behind if watch.next_height <= tip - NEAR]
    starts = [min(watch.next_height for watch in near)] if near else []
    if far:
        first = min(far, key=lambda watch: watch.id if oldest_first else watch.next_height)
        starts.append(first.next_height)
    return [_task(start, tip, behind) for start in starts]


def _task(start: int, tip: Height, behind: Sequence[Watch]) -> Task:
    end = min(start + CHUNK - 1, tip)
    within = tuple(watch for watch in behind if start <= watch.next_height <= end)
    return Task(Height(start), Height(end), within)
