"""BIP157: several peers' filter headers held against each other, and who lied where they differ. Pure.

A filter is committed to by nobody but whoever serves it. What can be had is agreement: a filter header commits to all
filters before it, so that one honest peer among those asked makes every lie show, at the first block where their chains
part (``first_split``). There the block itself decides (``judge``): an honest filter holds every output's script and
every script spent; the first are in the block, most of the second too (``prevouts``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from spvnode.bitcoin import gcs
from spvnode.bitcoin.basicfilter import (
    MAX_FILTER,
    Match,
    Watch,
    build,
    filter_hash,
    filter_header,
    output_elements,
    values,
)
from spvnode.bitcoin.block import Block
from spvnode.bitcoin.prevouts import spent_scripts
from spvnode.types import HASH_SIZE, Hash32, Height

CHECKPOINT_INTERVAL: Final = 1_000
"""Heights between filter headers in ``cfcheckpt`` (BIP157)."""


@dataclass(frozen=True, slots=True)
class FilterHashes:
    """What a peer's ``cfheaders`` says: the header before the first, and n * 32 bytes of filter hashes."""

    previous: Hash32
    hashes: bytes

    @property
    def count(self) -> int:
        """Of filters."""
        return len(self.hashes) // HASH_SIZE

    def hash_at(self, index: int) -> Hash32:
        """Hash of the filter ``index`` places after the first."""
        return Hash32(self.hashes[index * HASH_SIZE : (index + 1) * HASH_SIZE])

    def headers(self) -> bytes:
        """The filter headers, n * 32 bytes."""
        out = bytearray()
        header = self.previous
        for index in range(self.count):
            header = filter_header(self.hash_at(index), header)
            out += header
        return bytes(out)


@dataclass(frozen=True, slots=True)
class Split:
    """The first row in which peers differ, and who says what there: the largest group first."""

    index: int
    groups: tuple[tuple[bytes, tuple[str, ...]], ...]

    @property
    def peers(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(peer for _, group in self.groups for peer in group)


def first_split(rows: Mapping[str, bytes]) -> Split | None:
    """Where several peers' rows of 32 bytes part; None when all say the same.

    ValueError when they are not equally long: a reply that is too short is a fault by itself, told before.
    """
    if len({len(said) for said in rows.values()}) > 1:
        raise ValueError("rows of different numbers")
    if len(set(rows.values())) < 2:
        return None
    starts = range(0, len(next(iter(rows.values()))), HASH_SIZE)
    at = next(at for at in starts if len({row[at : at + HASH_SIZE] for row in rows.values()}) > 1)
    return Split(at // HASH_SIZE, group({peer: row[at : at + HASH_SIZE] for peer, row in rows.items()}))


def group(said: Mapping[str, bytes]) -> tuple[tuple[bytes, tuple[str, ...]], ...]:
    """Peers by what they say, the largest group first, then in the order of the peers."""
    groups: dict[bytes, tuple[str, ...]] = {}
    for peer, value in said.items():
        groups[value] = (*groups.get(value, ()), peer)
    return tuple(sorted(groups.items(), key=lambda item: -len(item[1])))


class Lie(StrEnum):
    """What is wrong with a filter."""

    SELF_CONTRADICTION = "contradicts-itself"
    """Its filter headers do not link to each other, or to its own checkpoints."""
    WITHHELD = "withheld"
    """Named a hash and does not give the filter: maybe a broken line, so no proof."""
    OTHER_HASH = "not-its-hash"
    """Gave a filter that does not have the hash that it named."""
    MALFORMED = "malformed-filter"
    """Not a basic filter."""
    TOO_MANY = "too-many-values"
    """More values than the block can have scripts."""
    OUTPUT_MISSING = "output-missing"
    """Lacks the script of an output: who watches it would never hear of the payment."""
    SPENT_MISSING = "spent-script-missing"
    """Lacks a script that the block spends."""
    NOT_REBUILT = "not-as-rebuilt"
    """Another peer's filter is exactly what the block gives."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One peer is not believed. ``proved``: nobody honest could have said it; else it only counts beside others."""

    peer: str
    lie: Lie
    proved: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """``honest`` peers agree on ``filter``; both empty where the block does not decide, and then nobody is believed."""

    findings: tuple[Finding, ...]
    honest: tuple[str, ...] = ()
    filter: bytes | None = None
    undecided: tuple[str, ...] = ()

    @property
    def liars(self) -> tuple[str, ...]:
        """Those of whom it is proved."""
        return tuple(finding.peer for finding in self.findings if finding.proved)


@dataclass(frozen=True, slots=True)
class Statement:
    """What one peer says of one block: its filter's hash, and the filter (None: it did not give one)."""

    hash: Hash32
    filter: bytes | None


def judge(block: Block, said: Mapping[str, Statement]) -> Judgement:
    """Who tells the truth about ``block`` (checked against its header)."""
    case = _Case(block)
    findings = [Finding(peer, lie, proved) for peer, one in said.items() for lie, proved in case.against(one)]
    found = {finding.peer for finding in findings}
    standing = {peer: one.filter for peer, one in said.items() if peer not in found and one.filter is not None}
    if len(set(standing.values())) > 1:
        findings += case.compare(standing)
        found = {finding.peer for finding in findings}
        standing = {peer: data for peer, data in standing.items() if peer not in found}
    agreed = set(standing.values())
    verdict = Judgement(tuple(findings))
    if len(agreed) == 1:
        return replace(verdict, honest=tuple(standing), filter=agreed.pop())
    return replace(verdict, undecided=tuple(standing))


class _Case:
    """What a block says about its filter."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._spent = spent_scripts(block)
        self._outputs = output_elements(block)
        self._sure = {one.script for one in self._spent if one.sure and one.script}
        self._likely = {one.script for one in self._spent if one.script} - self._sure - self._outputs
        self._most = len(self._outputs | self._sure) + sum(not one.sure for one in self._spent)

    def against(self, one: Statement) -> list[tuple[Lie, bool]]:
        """What is wrong with a statement whoever else says what: at most one thing, with whether it is proved."""
        if one.filter is None:
            return [(Lie.WITHHELD, False)]
        if filter_hash(one.filter) != one.hash:
            return [(Lie.OTHER_HASH, True)]
        held = gcs.values_of(one.filter) if len(one.filter) <= MAX_FILTER else None
        if held is None:
            return [(Lie.MALFORMED, True)]
        if len(held) > self._most:
            return [(Lie.TOO_MANY, True)]
        if self._missing(held, self._outputs):
            return [(Lie.OUTPUT_MISSING, True)]
        return [(Lie.SPENT_MISSING, True)] if self._missing(held, self._sure) else []

    def compare(self, standing: Mapping[str, bytes]) -> list[Finding]:
        """Findings among filters that are each possible: first by the scripts that are likely, then by rebuilding."""
        missing = {data: self._missing(gcs.values_of(data) or (), self._likely) for data in set(standing.values())}
        if 0 < sum(missing.values()) < len(missing):
            lacking = [Finding(peer, Lie.SPENT_MISSING, False) for peer, data in standing.items() if missing[data]]
            rest = {peer: data for peer, data in standing.items() if not missing[data]}
            return lacking + (self.compare(rest) if len(set(rest.values())) > 1 else [])
        rebuilt = self._rebuilt()
        if rebuilt not in standing.values():
            return []
        proved = all(one.sure for one in self._spent)
        return [Finding(peer, Lie.NOT_REBUILT, proved) for peer, data in standing.items() if data != rebuilt]

    def _missing(self, held: Sequence[int], scripts: Iterable[bytes]) -> bool:
        known = set(held)
        return any(value not in known for value in values(self._block.hash, scripts, len(held)))

    def _rebuilt(self) -> bytes | None:
        """The filter, where every spent script shows."""
        scripts = [one.script for one in self._spent if one.script is not None]
        return build(self._block, scripts) if len(scripts) == len(self._spent) else None


@dataclass(frozen=True, slots=True)
class RangeMatch:
    """``heights`` whose blocks may hold a watched script. ``bad`` is the first filter that is not the one agreed on:
    its sender's fault, and what follows it was not looked at."""

    heights: tuple[Height, ...]
    bad: Height | None = None


def match_range(
    watch: Watch, start: Height, block_hashes: Sequence[bytes], filters: Sequence[bytes], agreed: FilterHashes
) -> RangeMatch:
    """Holds each filter against its agreed hash, then matches them. All three sequences begin at ``start``;
    ValueError where they are not equally long."""
    if not len(block_hashes) == len(filters) == agreed.count:
        raise ValueError(f"{len(block_hashes)} blocks, {len(filters)} filters, {agreed.count} hashes")
    wrong = (i for i, data in enumerate(filters) if filter_hash(data) != agreed.hash_at(i))
    end = next(wrong, len(filters))
    found = watch.match(block_hashes[:end], filters[:end])
    # A filter that is agreed on and malformed tells nothing: its block has to.
    heights = tuple(Height(start + i) for i, match in enumerate(found) if match is not Match.NO)
    return RangeMatch(heights, None if end == len(filters) else Height(start + end))


__all__ = [
    "CHECKPOINT_INTERVAL",
    "FilterHashes",
    "Finding",
    "Judgement",
    "Lie",
    "RangeMatch",
    "Split",
    "Statement",
    "first_split",
    "group",
    "judge",
    "match_range",
]
