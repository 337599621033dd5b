"""When a call is tried again, and after how long. No I/O."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import NamedTuple

from spvnode.client.errors import Passing

GROWTH = 2.0
"""By which each wait is longer than the one before."""


class Retries(NamedTuple):
    """``attempts`` in all; waits from ``first`` to ``most`` seconds, of which up to half is left off by chance, so that
    many clients do not come back at once."""

    attempts: int = 4
    first: float = 0.1
    most: float = 5.0


class Course:
    """Of one call (``attempts`` counts), or ``endless`` of one stream. ``patience``: seconds without success, None for
    ever; for a call they bound what a busy daemon may make it wait, not how often it is tried."""

    def __init__(
        self,
        retries: Retries,
        *,
        repeatable: bool = True,
        endless: bool = False,
        patience: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._retries = retries
        self._repeatable = repeatable
        self._endless = endless
        self._patience = patience
        self._clock = clock
        self._chance = chance
        self.succeeded()

    def succeeded(self) -> None:
        """The next failure is the first again."""
        self._failures = 0
        self._since: float | None = None

    def after(self, error: Passing) -> float:
        """Seconds to wait before the next try; raises ``error`` where there shall be none."""
        now = self._clock()
        self._since = now if self._since is None else self._since
        self._failures += 1
        retries = self._retries
        wait = min(retries.most, retries.first * GROWTH ** min(self._failures - 1, 32)) * (1 - self._chance() / 2)
        wait = max(wait, error.wait)
        late = self._patience is not None and now + wait - self._since > self._patience
        over = late if self._endless else self._failures >= retries.attempts or (late and error.wait > 0)
        if over or not (error.untouched or self._repeatable):
            raise error
        return wait
