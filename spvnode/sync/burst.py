"""One burst: whose chain is followed, how far it has been asked for, and who turned out to be on another branch."""

from __future__ import annotations

from dataclasses import dataclass, field

from spvnode.following import Terms
from spvnode.sync.peers import PeerClaim, PeerTable
from spvnode.sync.window import Job, JobKind
from spvnode.types import Height

NOTHING = Height(-1)
FIRST = Height(0)


@dataclass(slots=True)
class Burst:
    """``lead``: the peer whose claim started it; None for backfill and pushes. What grows is bounded by the peers."""

    lead: str | None = None
    common_depth: int = 0
    """See ``following.Terms``."""
    sequential: bool = False
    """The lead cannot be asked by number."""
    next_start: Height = FIRST
    """First item not yet asked for."""
    last_start: Height = NOTHING
    """Last item that the lead claims; NOTHING until its first reply has shown where its chain leaves ours."""
    place: object = None
    """Where the last reply of a sequential lead ended; None while that is still to come."""
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

    def begun(self, job: Job, start: Height, got: int, end: Height, place: object) -> bool:
        """The lead's reply shows where its chain goes on: ``got`` items from ``start``, of a chain that it claims up to
        ``end``. False where it brought less than it could have."""
        short = 0 < got < min(job.count, end - start + 1)
        job.start, job.count = start, got
        self.next_start = Height(start + got)
        self.last_start = end if got else NOTHING
        self.place = place
        return not short

    def repeats(self, job: Job, terms: Terms) -> bool:
        """Counts a run that the lead sent although we have it; True when it has been enough. Small runs take as long as
        full ones."""
        self.known += max(job.count, terms.run_items)
        return self.known > terms.max_known

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
        return job.start + job.count + self.common_depth <= min(claim.tip.height, lead.tip.height) + 1
