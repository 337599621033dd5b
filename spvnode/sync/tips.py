"""What the peers of a chain's own network have as their best block, held against our chain. Pure.

Peers that stay on another branch mean a split, a peer that is cut off, or one that lies: none of it can be told from
here, and all of it is worth knowing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spvnode.types import Hash32, Height

APART_S = 600.0
"""Seconds for which a peer must stay on another branch before that is called a disagreement: honest ones meet again
with the next block or two."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """``peer`` has ``hash`` at ``height``, and so it has been for ``seconds``; our main chain does not have it."""

    peer: str
    height: Height
    hash: Hash32
    seconds: float


@dataclass(slots=True)
class _Said:
    height: Height
    hash: Hash32
    since: float


class TipLedger:
    """One statement a peer, which the connections bound. ``ours`` gives the hash of our main chain at a height, None
    above our tip."""

    def __init__(self, ours: Callable[[Height], Hash32 | None]) -> None:
        self._ours = ours
        self._said: dict[str, _Said] = {}

    def note(self, peer: str, height: Height, block_hash: Hash32, now: float) -> None:
        """The peer has shown the header of its best block."""
        said = self._said.get(peer)
        # Its branch may grow: what counts is since when it has not been ours.
        since = said.since if said is not None and not self._agrees(said) else now
        self._said[peer] = _Said(height, block_hash, since)

    def drop(self, peer: str) -> None:
        """It has left."""
        self._said.pop(peer, None)

    def of(self, peer: str) -> tuple[Height, Hash32] | None:
        """What it has shown as its best block."""
        said = self._said.get(peer)
        return None if said is None else (said.height, said.hash)

    def agreeing(self) -> list[tuple[str, Height]]:
        """Peers whose best block is on our main chain, with its height."""
        return [(peer, said.height) for peer, said in self._said.items() if self._ours(said.height) == said.hash]

    def disagreements(self, now: float) -> list[Disagreement]:
        """Those that last, longest first."""
        found = []
        for peer, said in self._said.items():
            if self._agrees(said):
                said.since = now
            elif now - said.since >= APART_S:
                found.append(Disagreement(peer, said.height, said.hash, now - said.since))
        return sorted(found, key=lambda one: -one.seconds)

    def _agrees(self, said: _Said) -> bool:
        """Above our tip there is nothing to disagree about."""
        ours = self._ours(said.height)
        return ours is None or ours == said.hash
