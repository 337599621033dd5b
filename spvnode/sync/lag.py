"""Whether we are behind what peers claim in a way that is worth a word: an ordinary new block is not.

Between a peer's claim of the next block and its commit lie some tenths of a second. Whoever took that for a node that
is not ready would be told so, and the contrary, with every block.
"""

from __future__ import annotations

from spvnode.following import Tip
from spvnode.sync.peers import PeerTable

BEHIND = 2
"""Items that a peer may be ahead of a node which had caught up: two blocks that are found at once are no news."""
GRACE_S = 5.0
"""Seconds for which it may be: a fetch has a deadline of eight, so what takes longer is likely to have failed once."""


class Lag:
    """``note`` what the table is after each event; times are seconds on any steady clock."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._caught_up = False

    def note(self, peers: PeerTable, ours: Tip, now: float) -> None:
        """Something has happened."""
        if peers.leaders(ours):
            self._since = now if self._since is None else self._since
        else:
            self._since = None
            self._caught_up |= len(peers) > 0

    def matters(self, peers: PeerTable, ours: Tip, now: float) -> bool:
        """Whether a better chain is claimed, and we had never caught up, or it is better by more than ``BEHIND``, or
        for longer than ``GRACE_S``."""
        leaders = peers.leaders(ours)
        if not leaders:
            return False
        if not self._caught_up or (self._since is not None and now - self._since > GRACE_S):
            return True
        return max(leader.tip.height for leader in leaders) - ours.height > BEHIND
