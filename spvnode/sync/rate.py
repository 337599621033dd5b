"""Items a second over the last few seconds, in constant memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

SPAN = 10.0
"""Seconds that the rate looks back."""
MAX_SAMPLES = 256
"""Samples kept; at full speed these are still more than a second's worth of commits."""


class Rate:
    """A sliding sum."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=MAX_SAMPLES)

    def add(self, now: float, items: int) -> None:
        """Counts ``items`` at ``now`` (seconds on any steady clock)."""
        self._samples.append((now, items))

    def per_second(self, now: float) -> float:
        """Items a second since the oldest sample of the last ``SPAN`` seconds."""
        recent = [(at, items) for at, items in self._samples if now - at <= SPAN]
        if not recent:
            return 0.0
        return sum(items for _, items in recent) / max(now - recent[0][0], 0.1)


@dataclass(frozen=True, slots=True)
class BurstReport:
    """A finished burst: how long it took, and how many items it committed."""

    seconds: float
    items: int

    def info(self) -> dict[str, Any]:
        """JSON-ready."""
        rate = self.items / self.seconds if self.seconds else 0.0
        return {"headers": self.items, "seconds": round(self.seconds, 3), "headers_per_second": round(rate, 1)}
