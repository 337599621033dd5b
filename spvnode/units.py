"""Quantities in words."""

from __future__ import annotations


def span(seconds: float) -> str:
    """A time span for people: two digits or so, in the unit that fits."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
