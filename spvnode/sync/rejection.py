"""What a broken rule says about the peer that sent it, and about the burst. The rules are the chain's, and so is whose
doing a break of one may be (``following.Blame``); here it meets who sent what before."""

from __future__ import annotations

from dataclasses import dataclass

from p2p.faults import FaultReason
from spvnode.following import Blame
from spvnode.sync.burst import Burst
from spvnode.sync.window import Job, JobKind


@dataclass(frozen=True, slots=True)
class Ruling:
    """``fault``: how the sender is scored, None when it may be honest. ``distrusted``: who is asked later from now on.
    ``ends``: the burst cannot go on."""

    fault: FaultReason | None
    distrusted: str
    ends: bool


def rule(job: Job, blame: Blame, index: int, burst: Burst) -> Ruling:
    """The run of ``job`` broke a rule with its item at position ``index``.

    A device that woke without the time, or was fed a false chain, would discourage every honest peer if it took
    ``CLOCK`` and ``NOBODY`` for the sender's doing."""
    sender, previous = job.peer or "", burst.previous
    ends = job.kind in (JobKind.AFTER, JobKind.FINISH) or sender == burst.lead
    if job.kind is JobKind.FINISH:
        return Ruling(None, "", ends)
    if blame in (Blame.CLOCK, Blame.NOBODY):
        # A push is early for who is still catching up: no reason to ask its sender later.
        return Ruling(None, "" if job.kind is JobKind.PUSH else sender, ends)
    if blame is Blame.SENDER or index:
        return Ruling(FaultReason.INVALID_HEADER, sender, ends)
    if job.kind is JobKind.PUSH:  # a gossiped tip may be ahead of us
        return Ruling(None, "", ends)
    if job.kind is JobKind.RANGE and previous not in (None, sender):
        # One of the two is on another branch than the lead, or the lead lied. Nobody can tell who; the lead goes on.
        return Ruling(None, previous or "" if sender == burst.lead else sender, ends)
    return Ruling(FaultReason.UNLINKED, sender, ends)
