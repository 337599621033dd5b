"""Outbound peers that stay behind our chain (Bitcoin Core's ``ConsiderEviction``), and a tip that does not move. Pure;
times are seconds of any clock that only goes forward.

Whoever fills all our slots with nodes that are stuck, or that keep blocks from us, would else hold us for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

CATCH_UP_S: Final = 20 * 60.0
"""An outbound peer has so long to show the tip that we had (Core's CHAIN_SYNC_TIMEOUT)."""
ANSWER_S: Final = 2 * 60.0
"""Then it is asked, and has so long to answer (Core's HEADERS_RESPONSE_TIME)."""
MAX_PROTECTED: Final = 4
"""Outbound peers that have shown our tip and are not left for lagging later (Core's
MAX_OUTBOUND_PEERS_TO_PROTECT_FROM_DISCONNECT): a partition must not take all of them."""
STALE_BLOCKS: Final = 3
"""Block intervals without news after which one more peer is looked for (as Core): half an hour, which chance alone
brings about twice a week."""
MIN_CONNECTED_S: Final = 30.0
"""A peer that came later is not weighed against others yet (Core's MINIMUM_CONNECT_TIME)."""


class Step(Enum):
    """What to do with a peer."""

    KEEP = auto()
    ASK = auto()
    LEAVE = auto()


@dataclass(slots=True)
class Lag:
    """One peer's. ``goal``: the height that it has to show, by ``deadline``."""

    goal: int = -1
    deadline: float | None = None
    asked: bool = False
    protected: bool = False

    def consider(self, theirs: int, ours: int, now: float) -> Step:
        """``theirs``: the highest of our headers that it is known to have; ``ours``: our tip."""
        if theirs >= ours:
            self.deadline = None
            return Step.KEEP
        if self.deadline is None or theirs >= self.goal:
            # Behind, or on its way: measured by the tip of now, for ours goes on.
            self.goal, self.deadline, self.asked = ours, now + CATCH_UP_S, False
            return Step.KEEP
        if self.protected or now <= self.deadline:
            return Step.KEEP
        if self.asked:
            return Step.LEAVE
        self.asked, self.deadline = True, now + ANSWER_S
        return Step.ASK
