"""Block locators: hashes that tell a peer where our chain may have left its own."""

from __future__ import annotations

from spvnode.types import Height

MAX_LOCATOR_HASHES = 101
"""Hashes of a peer's locator that are looked up (Core's ``MAX_LOCATOR_SZ``); a peer chooses how many it sends."""
DENSE_HEIGHTS = 12
"""The newest heights, all in the locator: most forks are shallower, and are then found exactly."""


def locator_heights(tip_height: int, base: int) -> list[Height]:
    """Heights for a locator, newest first: twelve in a row, then with doubling gaps, and always the base.

    A million headers take 31 of them, 2**32 take 43.
    """
    heights: list[Height] = []
    height, step = tip_height, 1
    while height > base:
        heights.append(Height(height))
        if len(heights) >= DENSE_HEIGHTS:
            step *= 2
        height -= step
    return [*heights, Height(base)]
