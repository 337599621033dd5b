"""Where runs begin: one bit per height, so that a header is one ``get`` away and no search.

125 kB per million heights. Any thread may read while one thread writes: a reader may then be told of a run that has
just gone, and has to look again.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

from spvnode.store.schema import RUN


class RunMap:
    """A set of run starts. No run crosses a multiple of 16."""

    __slots__ = ("_masks",)

    def __init__(self) -> None:
        self._masks = array("H")
        """Per 16 heights, a bit for each at which a run begins."""

    def add(self, starts: Iterable[int]) -> None:
        """Runs begin at ``starts``."""
        masks = self._masks
        for start in starts:
            group = start // RUN
            if group >= len(masks):
                masks.frombytes(bytes(2 * (group + 1 - len(masks))))
            masks[group] |= 1 << start % RUN

    def start_of(self, height: int) -> int | None:
        """Start of the run that holds ``height``; None when none does."""
        masks = self._masks
        try:
            mask = masks[height // RUN] & ((2 << height % RUN) - 1)
        except IndexError:
            return None
        return height - height % RUN + mask.bit_length() - 1 if mask else None

    def starts(self, first: int, last: int) -> Iterator[int]:
        """Starts in ``first..last``, ascending."""
        for group in range(first // RUN, min(last // RUN + 1, len(self._masks))):
            mask = self._masks[group]
            for bit in range(RUN):
                if mask >> bit & 1 and first <= group * RUN + bit <= last:
                    yield group * RUN + bit

    def cut_above(self, height: int) -> None:
        """Forgets starts above ``height``."""
        group = (height + 1) // RUN
        if group < len(self._masks):
            self._masks[group] &= (1 << (height + 1) % RUN) - 1
            del self._masks[group + 1 :]

    def cut_below(self, height: int) -> None:
        """Forgets starts below ``height``."""
        group = min(height // RUN, len(self._masks))
        self._masks[:group] = array("H", bytes(2 * group))
        if group < len(self._masks):
            self._masks[group] &= -(1 << height % RUN) & 0xFFFF
