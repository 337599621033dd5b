"""What the address book knows of one address, and what follows from it."""

from __future__ import annotations

from typing import Final

import msgspec

HORIZON_S: Final = 30 * 86_400
"""Nobody has seen it for so long: it goes when another wants its slot."""
FUTURE_S: Final = 600
"""So far ahead a time may be."""
MAX_ATTEMPTS_NEW: Final = 3
"""Failures of an address that never worked, until it is bad."""
MAX_ATTEMPTS: Final = 10
MIN_FAIL_S: Final = 7 * 86_400
"""For one that has worked: so many failures, and no success for so long."""
JUST_TRIED_S: Final = 60
"""An attempt younger than that may still be under way."""

RETRY_FIRST_S: Final = 600
RETRY_MAX_S: Final = 6 * 3_600
"""Least wait between attempts, doubling with every failure."""


class Entry(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """One address and its record; a row of the file."""

    key: bytes
    """``Endpoint.key``."""
    source: bytes
    """Group of the one who told it first."""
    services: int
    time: int
    """When it was last seen, by what we were told or saw."""
    last_try: int = 0
    last_success: int = 0
    attempts: int = 0
    """Failures since the last success."""
    buckets: list[int] = []
    """Of the new table; none: it is in the tried one."""

    def bad(self, now: int) -> bool:
        """Not worth its slot (Core's IsTerrible)."""
        if now - JUST_TRIED_S <= self.last_try <= now:
            return False
        if self.time > now + FUTURE_S or now - self.time > HORIZON_S:
            return True
        if not self.last_success:
            return self.attempts >= MAX_ATTEMPTS_NEW
        return self.attempts >= MAX_ATTEMPTS and now - self.last_success > MIN_FAIL_S

    def due(self, now: int) -> bool:
        """May it be dialed again? An attempt in the future means that the clock was set back: it says nothing."""
        wait = min(RETRY_MAX_S, RETRY_FIRST_S << min(self.attempts, 8))
        return not self.last_try or self.last_try + wait <= now or self.last_try > now
