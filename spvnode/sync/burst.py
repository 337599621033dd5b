"""One burst: whose chain is followed, how far it has been asked for, and who turned out to be on another branch."""

from __future__ import annotations

from dataclasses import dataclass, field

from spvnode.sync.peers import PeerClaim, PeerTable
from spvnode.sync.window import Job, JobKind
from spvnode.types import Height

COMMON_DEPTH = 100
"""Items below both tips from which on two peers with different tips are asked for the same chain."""

MAX_KNOWN = 100_000
"""Items that a lead may send in one burst although we have them, a run counting as a full one. An honest lead does so
where our locator is sparse, or where we hold its branch already: less than twice the longest such branch. One that
repeats our own chain would hold the line for ever."""

NOTHING = Height(-1)
FIRST = Height(0)


@dataclass(slots=True)
class Burst:
    """``lead``: the peer whose claim started it; None for backfill and pushes. What grows is bounded by the peers."""

    lead: str | None = None
    next_start: Height = FIRST
    """First item not yet asked for."""
    last_start: Height = NOTHING
    """Last item that the lead claims; NOTHING until its first reply has shown where its chain leaves ours."""
    previous: str | None = None
    """Who sent the run that was taken last."""
    known: int = 0
    """Items that the lead has sent and we had."""
    cut: bool = False
    """What the lead has goes on, but our clock says that it is not yet time for it."""
    strayed: set[str] = field(default_factory=set)
    """Peers that proved to be on another branch than the lead's."""

    @property
    def more(self) -> bool:
        """Whether the lead claims items that nobody has been asked for."""
        return self.next_start <= self.last_start

    def take(self, most: int) -> tuple[Height, int]:
        """The next range to ask for: its start and count."""
        start, count = self.next_start, min(most, self.last_start - self.next_start + 1)
        self.next_start = Height(start + count)
        return start, count

    def helper(self, peers: PeerTable, job: Job) -> PeerClaim | None:
        """Who is asked for ``job``: the least busy peer that can be expected to have it as the lead has it. Once that
        has failed, the lead itself, before others can fail."""
        if job.kind is JobKind.AFTER:
            return None if job.tried else peers.get(self.lead or "")
        holders = peers.holders(job.start, job.count, job.tried | self.strayed)
        if job.tried:
            holders.sort(key=lambda holder: holder.peer != self.lead)
        return next((holder for holder in holders if job.below or self._shares(peers, holder, job)), None)

    def _shares(self, peers: PeerTable, claim: PeerClaim, job: Job) -> bool:
        lead = peers.get(self.lead or "")
        if lead is None or claim is lead or claim.tip.hash == lead.tip.hash:
            return True
        return job.start + job.count + COMMON_DEPTH <= min(claim.tip.height, lead.tip.height)
