"""Token bucket: a rate with a burst. Pure; the clock is an argument."""

from __future__ import annotations


class TokenBucket:
    """Holds up to ``burst`` tokens and gains ``rate`` of them a second; begins full.

    ``take`` refuses what it does not have. ``charge`` always pays, going into debt, and says how long
    to wait until the debt is gone: for work whose cost is known only afterwards.
    """

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._at = now

    def take(self, count: float, now: float) -> bool:
        """Pay ``count`` if there is as much; False, and nothing paid, if not."""
        self._refill(now)
        if self._tokens < count:
            return False
        self._tokens -= count
        return True

    def charge(self, count: float, now: float) -> float:
        """Pay ``count`` and return the seconds to wait before the next payment, 0 while not in debt."""
        self._refill(now)
        self._tokens -= count
        return max(0.0, -self._tokens / self.rate)

    def give(self, count: float) -> None:
        """Grant tokens beyond the rate, still at most ``burst``."""
        self._tokens = min(self.burst, self._tokens + count)

    def _refill(self, now: float) -> None:
        self._tokens = min(self.burst, self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = now
