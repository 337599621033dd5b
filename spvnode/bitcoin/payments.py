"""What of a block has to do with watched scripts: who pays them, and who spends what they were paid. Pure.

An input names the output that it spends, not its script. A spend shows where the output is known (of the same block, or
one of ``coins``), or where what the input reveals hashes to the script (``prevouts``). Of the others only the block's
filter says that a script is among them (``possible``).
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from spvnode.bitcoin.block import Block, Transaction
from spvnode.bitcoin.prevouts import Spent, spent_scripts
from spvnode.types import Hash32

Outpoint = tuple[bytes, int]
"""Txid and index of an output."""


class Direction(StrEnum):
    """Whether a script is paid, or what it was paid goes on."""

    RECEIVED = "received"
    SPENT = "spent"


class Ground(StrEnum):
    """What a finding rests on."""

    OUTPUT = "output"
    """The block holds the output: certain."""
    SPENT_OUTPUT = "spent output"
    """The input names an output that is known to have the script, or can spend no other: certain."""
    REVEALED = "revealed script"
    """The key or script that the input shows hashes to it: certain, but for scripts that nobody's wallet makes."""
    FILTER = "filter"
    """The block's filter holds the script, and no output or input shows it: likely an older output that is spent in a
    way that does not show; by chance once in 784,931 blocks a script."""


@dataclass(frozen=True, slots=True)
class Payment:
    """One transaction and one script. ``places`` are the indices of its outputs or inputs; ``value`` the sum of those
    outputs in satoshi, None for what is spent. Without ``txid`` it is only possible."""

    script: bytes
    direction: Direction
    ground: Ground
    txid: Hash32 | None = None
    places: tuple[int, ...] = ()
    value: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a block says: ``payments`` in block order, the ``txids`` among those asked for, and whether some input hides
    what it spends."""

    payments: tuple[Payment, ...]
    txids: frozenset[bytes]
    hidden: bool


def read_payments(
    block: Block, scripts: Container[bytes], coins: Mapping[Outpoint, bytes], txids: Collection[bytes] = ()
) -> Reading:
    """Of a checked block. ``coins``: the scripts of outputs known to pay one of ``scripts``."""
    spent = iter(spent_scripts(block))
    found: list[Payment] = []
    hidden = False
    for position, tx in enumerate(block.transactions):
        found += _received(tx, scripts)
        if position:
            inputs = [next(spent) for _ in tx.inputs]
            hidden = hidden or any(one.script is None for one in inputs)
            found += _spent(tx, inputs, scripts, coins)
    wanted = frozenset(txids)
    return Reading(tuple(found), wanted.intersection(block.txids) if wanted else frozenset(), hidden)


def _received(tx: Transaction, scripts: Container[bytes]) -> Iterator[Payment]:
    places: dict[bytes, list[int]] = {}
    for index, script in enumerate(tx.outputs):
        if script in scripts:
            places.setdefault(script, []).append(index)
    for script, indices in places.items():
        value = sum(tx.values[index] for index in indices)
        yield Payment(script, Direction.RECEIVED, Ground.OUTPUT, tx.txid, tuple(indices), value)


def _spent(
    tx: Transaction, inputs: list[Spent], scripts: Container[bytes], coins: Mapping[Outpoint, bytes]
) -> Iterator[Payment]:
    places: dict[tuple[bytes, Ground], list[int]] = {}
    for index, (one, told) in enumerate(zip(tx.inputs, inputs, strict=True)):
        known = coins.get((one.prev_hash, one.prev_index))
        script = told.script if known is None else known
        if script is not None and script in scripts:
            ground = Ground.SPENT_OUTPUT if known is not None or told.sure else Ground.REVEALED
            places.setdefault((script, ground), []).append(index)
    for (script, ground), indices in places.items():
        yield Payment(script, Direction.SPENT, ground, tx.txid, tuple(indices))


def possible(reading: Reading, present: Collection[bytes]) -> list[Payment]:
    """Spends that only the filter tells of. ``present``: watched scripts that the filter holds."""
    if not reading.hidden:
        return []
    shown = {payment.script for payment in reading.payments}
    hiding = (script for script in sorted(present) if script not in shown and not shows_when_spent(script))
    return [Payment(script, Direction.SPENT, Ground.FILTER) for script in hiding]


def shows_when_spent(script: bytes) -> bool:
    """Whether inputs that spend the script reveal it: hashes of keys and scripts, by the forms of ``prevouts``."""
    size = len(script)
    if size in (22, 34) and script[:2] == bytes((0, size - 2)):
        return True
    key_hash = size == 25 and script[:3] == b"\x76\xa9\x14" and script[-2:] == b"\x88\xac"
    return key_hash or (size == 23 and script[:2] == b"\xa9\x14" and script[-1:] == b"\x87")
