"""How fast a user may call: a token bucket for all calls, a sliding window for each method.

Smooth: a call that comes a little early waits, and only one that would have to wait longer than ``MAX_DELAY`` is
refused, with the seconds after which it will be taken. Pure: the clock is an argument. 1 us a call.

What grows: one bucket and a few windows a user, both cut to the ``MAX_BUCKETS`` used last.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

BURST_SECONDS = 5.0
"""Of a user's rate that may come at once: a page that loads, a client that starts."""
WINDOW_SECONDS = 10.0
"""Length of a method's sliding window."""
METHOD_SHARE = 0.8
"""Of what a user may spend in a window, that one method may take: a loop on one method leaves room for another."""
MAX_DELAY = 1.0
"""Seconds that a call is made to wait. A client that asks evenly, at twice its rate, meets this before any refusal."""
MAX_BUCKETS = 1_024
"""Users, and windows, that are remembered. Anonymous ones come with each connection; who is forgotten begins anew."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What to do with a call: let it wait ``delay`` seconds, or refuse it until ``retry_after`` (None: take it)."""

    delay: float = 0.0
    retry_after: float | None = None


ADMITTED = Admission()


class Throttle:
    """The buckets and windows of one server."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By user: units left (below 0: owed), and when that was."""
        self._windows: OrderedDict[tuple[str, str], tuple[int, float, float]] = OrderedDict()
        """By user and method: number of the window, units spent in it, and in the one before."""

    def admit(self, user: str, method: str, cost: int, rate: float, now: float) -> Admission:
        """Counts a call of ``cost`` units at ``now`` (seconds), for a user of ``rate`` units a second; 0: no limit."""
        if rate <= 0:
            return ADMITTED
        wait = max(self._owed(user, cost, rate, now), self._crowded(user, method, cost, rate, now))
        if wait > MAX_DELAY:
            return Admission(retry_after=wait)
        left, _ = self._level(user, rate, now)
        self._keep(self._buckets, user, (left - cost, now))
        number, spent, before = self._window(user, method, now)
        self._keep(self._windows, (user, method), (number, spent + cost, before))
        return Admission(delay=wait)

    def _owed(self, user: str, cost: int, rate: float, now: float) -> float:
        """Seconds until the bucket has what the call costs."""
        left, _ = self._level(user, rate, now)
        # A call that costs more than the bucket holds is taken when it is full; what it owes, the next ones wait for.
        return max(0.0, min(cost, rate * BURST_SECONDS) - left) / rate

    def _level(self, user: str, rate: float, now: float) -> tuple[float, float]:
        left, at = self._buckets.get(user, (rate * BURST_SECONDS, now))
        return min(rate * BURST_SECONDS, left + (now - at) * rate), now

    def _crowded(self, user: str, method: str, cost: int, rate: float, now: float) -> float:
        """Seconds until the method's window has room. The window before counts by the part that still overlaps."""
        limit = max(METHOD_SHARE * rate * WINDOW_SECONDS, cost)
        number, spent, before = self._window(user, method, now)
        passed = now / WINDOW_SECONDS - number
        if before * (1 - passed) + spent + cost <= limit:
            return 0.0
        if spent + cost <= limit:  # in this window, once enough of the one before has slid out
            return (1 - (limit - spent - cost) / before - passed) * WINDOW_SECONDS
        return (2 - passed - max(0.0, limit - cost) / spent) * WINDOW_SECONDS  # in the next

    def _window(self, user: str, method: str, now: float) -> tuple[int, float, float]:
        current = int(now // WINDOW_SECONDS)
        number, spent, before = self._windows.get((user, method), (current, 0.0, 0.0))
        if number == current:
            return number, spent, before
        return current, 0.0, spent if number == current - 1 else 0.0

    @staticmethod
    def _keep(table: OrderedDict[K, V], key: K, value: V) -> None:
        table[key] = value
        table.move_to_end(key)
        if len(table) > MAX_BUCKETS:
            table.popitem(last=False)
