"""Which checkpoint enough independent sources call final, or who contradicts whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from p2p.faults import RemoteFault
from spvnode.ethereum.containers import beacon_root
from spvnode.ethereum.networks import Network
from spvnode.ethereum.units import Root, Slot, compute_epoch_at_slot
from spvnode.follow.evidence import MAX_STATEMENTS, Statement
from spvnode.follow.witness import Finalized, Witness

MAX_CANDIDATES = 4
"""Checkpoints that others are asked about: honest sources are an epoch or two apart. Each costs every source two
requests; a source adds one at most."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A witness and its word."""

    witness: Witness
    said: Finalized


@dataclass(frozen=True, slots=True)
class Agreed:
    """``root`` is final by the word of ``voices``."""

    root: Root
    voices: tuple[Witness, ...]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Not to be decided by counting."""

    problem: str
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Undecided:
    """Not enough of them, yet."""

    problem: str


@dataclass(slots=True)
class Hearing:
    """What witnesses answered; ``faults`` by name."""

    voices: list[Voice] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)


async def hear(network: Network, witnesses: Sequence[Witness], now: float) -> Hearing:
    """Asks all of them at once what is final."""
    hearing = Hearing()

    async def ask(witness: Witness) -> None:
        said = await witness.finalized()
        epoch = compute_epoch_at_slot(network.preset, network.slot_at(now))
        if isinstance(said, RemoteFault):
            hearing.faults[witness.name] = f"{said.reason}: {said.evidence}"
        elif said.epoch > epoch:
            hearing.faults[witness.name] = f"calls epoch {said.epoch} final, our clock says {epoch}"
        else:
            hearing.voices.append(Voice(witness, said))

    async with trio.open_nursery() as nursery:
        for witness in witnesses:
            nursery.start_soon(ask, witness)
    hearing.voices.sort(key=lambda voice: voice.witness.name)
    return hearing


async def decide(hearing: Hearing, quorum: int, *, alone: bool) -> Agreed | Contradiction | Undecided:
    """The newest checkpoint that ``quorum`` of the voices call final, or have as a block below what they call final.

    ``alone``: one voice that names another root for the same epoch is a contradiction (endpoints, which the operator
    chose). Otherwise it takes ``quorum`` of them (peers, whom anybody may be).
    """
    voices = hearing.voices
    conflict = _contradiction(voices, 1 if alone else quorum)
    if conflict is not None:
        return conflict
    best = 0
    for candidate in _candidates(voices):
        words = await _words(voices, candidate)
        for voice, word in zip(voices, words, strict=True):
            if isinstance(word, bytes) and alone:
                return _split(voices, voice.witness, candidate, word)
        vouching = [voice.witness for voice, word in zip(voices, words, strict=True) if word is True]
        if len(vouching) >= quorum:
            return Agreed(candidate.root, tuple(vouching))
        best = max(best, len(vouching))
    reasons = "; ".join(f"{name}: {text}" for name, text in sorted(hearing.faults.items()))
    return Undecided(
        f"{best} of the {quorum} sources that must agree on a checkpoint do{'; ' if reasons else ''}{reasons}"
    )


def _candidates(voices: Sequence[Voice]) -> list[Finalized]:
    """Those with most voices first, so that liars who name many do not crowd out the honest."""
    count: dict[Root, int] = {}
    for voice in voices:
        count[voice.said.root] = count.get(voice.said.root, 0) + 1
    first = {voice.said.root: voice.said for voice in sorted(voices, key=lambda voice: voice.said.slot is not None)}
    return sorted(first.values(), key=lambda said: (-count[said.root], -said.epoch, said.root))[:MAX_CANDIDATES]


async def _words(voices: Sequence[Voice], candidate: Finalized) -> list[bool | Root]:
    words: list[bool | Root] = [False] * len(voices)

    async def ask(place: int) -> None:
        words[place] = await _word(voices[place], candidate)

    async with trio.open_nursery() as nursery:
        for place in range(len(voices)):
            nursery.start_soon(ask, place)
    return words


async def _word(voice: Voice, candidate: Finalized) -> bool | Root:
    """True: vouches. False: cannot tell. A root: what it has in the candidate's place."""
    said, witness = voice.said, voice.witness
    if said.root == candidate.root:
        return True
    if said.epoch <= candidate.epoch:
        return False  # behind it, or for another block in its place
    if candidate.slot is not None:
        root = await witness.root_at(candidate.slot)
        if not isinstance(root, RemoteFault):
            return True if root == candidate.root else root
    # Bootstraps are kept for final blocks of the canonical chain only.
    found = await witness.bootstrap(candidate.root)
    return not isinstance(found, RemoteFault) and beacon_root(found.value.header.beacon) == candidate.root


def _contradiction(voices: Sequence[Voice], weight: int) -> Contradiction | None:
    """Two roots for one epoch, each with so many voices."""
    epochs: dict[int, dict[Root, int]] = {}
    for voice in voices:
        roots = epochs.setdefault(voice.said.epoch, {})
        roots[voice.said.root] = roots.get(voice.said.root, 0) + 1
    for epoch, roots in epochs.items():
        if sum(count >= weight for count in roots.values()) > 1:
            return Contradiction(f"sources call different blocks final in epoch {epoch}", statements(voices))
    return None


def _split(voices: Sequence[Voice], witness: Witness, candidate: Finalized, root: Root) -> Contradiction:
    slot = Slot(candidate.slot or 0)
    odd = Statement(source=witness.name, says="canonical", root="0x" + root.hex(), slot=slot)
    return Contradiction(
        f"{witness.name} has another block in slot {slot} than the checkpoint that others call final",
        (*statements(voices), odd)[-MAX_STATEMENTS:],
    )


def statements(voices: Sequence[Voice]) -> tuple[Statement, ...]:
    """Their words as evidence."""
    return tuple(
        Statement(
            source=voice.witness.name,
            says="final",
            root="0x" + voice.said.root.hex(),
            epoch=voice.said.epoch,
            slot=voice.said.slot,
        )
        for voice in voices[:MAX_STATEMENTS]
    )
