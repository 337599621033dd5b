"""Capped exponential backoff with jitter. Pure; randomness is an argument."""

from __future__ import annotations

import random

MIN_SHARE = 0.5
"""Least share of the nominal delay that jitter leaves: nodes that lost the same peer come back spread out,
and still none hammers."""


class Backoff:
    """Delays of ``first``, 2 * ``first``, 4 * ... up to ``cap`` seconds, each times a random share of
    0.5 .. 1."""

    __slots__ = ("_cap", "_first", "_nominal", "_rng")

    def __init__(self, first: float, cap: float, rng: random.Random) -> None:
        self._first = first
        self._cap = cap
        self._rng = rng
        self._nominal = first

    def next(self) -> float:
        """The delay before the next attempt, seconds."""
        delay = self._nominal * self._rng.uniform(MIN_SHARE, 1.0)
        self._nominal = min(self._cap, self._nominal * 2)
        return delay

    def reset(self) -> None:
        """Begin again with ``first``, after a success that lasted."""
        self._nominal = self._first
