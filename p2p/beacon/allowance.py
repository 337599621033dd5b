"""What one peer may ask of us: a token bucket per protocol, which delays and does not refuse.

The debt is bounded by what a peer can have under way: four requests for 128 updates each (``serving.MAX_STREAMS``) are
paid off in 40 s.
"""

from __future__ import annotations

from typing import Final

from p2p.beacon.protocols import (
    BOOTSTRAP,
    EXCHANGES,
    FINALITY,
    GOODBYE,
    METADATA,
    OPTIMISTIC,
    PING,
    STATUS,
    UPDATES,
    Exchange,
)
from p2p.bucket import TokenBucket

RATES: Final[dict[str, tuple[float, float]]] = {
    STATUS.name: (1.0, 8.0),
    METADATA.name: (1.0, 8.0),
    PING.name: (1.0, 8.0),
    GOODBYE.name: (1.0, 4.0),
    BOOTSTRAP.name: (0.5, 8.0),
    UPDATES.name: (12.8, 256.0),
    FINALITY.name: (0.5, 8.0),
    OPTIMISTIC.name: (0.5, 8.0),
}
"""Tokens a second, and in a row. An update costs one token, any other request one. Above what the clients ask for
(a status in 5 minutes, a ping in 15 s, an optimistic update in a slot) and above what their own limits grant us
(128 updates in 10 s, 5 bootstraps in 15 s); one peer so gets 350 kB/s of updates at most."""


class Allowance:
    """Of one peer, over all its connections."""

    __slots__ = ("_buckets",)

    def __init__(self, now: float) -> None:
        self._buckets = {one.name: TokenBucket(*RATES[one.name], now) for one in EXCHANGES}

    def charge(self, exchange: Exchange, cost: float, now: float) -> float:
        """Account for a request; seconds to wait before it is answered."""
        return self._buckets[exchange.name].charge(cost, now)
