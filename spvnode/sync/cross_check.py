"""What several sources call final, held against each other. Pure.

Two headers that are both final in one slot mean a source that lies, a source on another network, or a broken chain:
none of it can be told from here, and all of it is worth evidence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from spvnode.ethereum.units import Root, Slot

KEPT = 8
"""Headers per source, the newest it named: sources differ by an epoch or two. A source replaces only its own."""
MAX_SOURCES = 64
"""Sources held; those of the configuration and our own chain."""
MAX_DISAGREEMENTS = 16
"""Disagreements kept for whoever asks; a lying source makes one an epoch."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Who called which root final in ``slot``."""

    slot: Slot
    roots: Mapping[Root, tuple[str, ...]]


class FinalityLedger:
    """``note`` tells what a source calls final."""

    def __init__(self) -> None:
        self._said: dict[str, deque[tuple[Slot, Root]]] = {}
        self.disagreements: deque[Disagreement] = deque(maxlen=MAX_DISAGREEMENTS)

    def note(self, source: str, slot: Slot, root: Root) -> Disagreement | None:
        """The disagreement that this statement begins or widens; None when nobody contradicts it, or it is old."""
        said = self._said.get(source)
        if said is None:
            if len(self._said) >= MAX_SOURCES:
                return None
            said = self._said[source] = deque(maxlen=KEPT)
        if (slot, root) in said:
            return None
        said.append((slot, root))
        roots = self._roots(slot)
        if len(roots) < 2:
            return None
        found = Disagreement(slot, roots)
        self.disagreements.append(found)
        return found

    def _roots(self, slot: Slot) -> dict[Root, tuple[str, ...]]:
        return group((root, source) for source, said in self._said.items() for at, root in said if at == slot)


def group(statements: Iterable[tuple[Root, str]]) -> dict[Root, tuple[str, ...]]:
    """Sources by the root that they named."""
    roots: dict[Root, tuple[str, ...]] = {}
    for root, source in statements:
        if source not in roots.get(root, ()):
            roots[root] = (*roots.get(root, ()), source)
    return roots
