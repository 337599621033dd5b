"""One line of docs/benchmarks.md."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """``value`` against ``target``; both in ``unit``. ``reference`` names what ran beside it in the same run."""

    name: str
    reference: str
    value: float
    target: float
    unit: str = "x"
    at_least: bool = True
    """True when more is better."""

    @property
    def good(self) -> bool:
        """Whether the target is met."""
        return self.value >= self.target if self.at_least else self.value <= self.target
