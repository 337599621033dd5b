"""What a broken rule says about the peer that sent it, and about the burst. The rules are the chain's; their names are
all that is known of them."""

from __future__ import annotations

from dataclasses import dataclass

from p2p.faults import FaultReason
from spvnode.sync.burst import Burst
from spvnode.sync.window import Job, JobKind

UNLINKED = "prev-blk-not-found"
"""The rejection that an honest peer may earn: it is on another branch than the lead."""
TOO_NEW = "time-too-new"

NOBODYS_FAULT = frozenset({TOO_NEW, "side-branch-limit"})
"""The item has its proof of work: our clock may be wrong, or whoever we followed before. A device that woke without the
time, or was fed a false chain, would else discourage every honest peer."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """``fault``: how the sender is scored, None when it may be honest. ``distrusted``: who is asked later from now on.
    ``ends``: the burst cannot go on."""

    fault: FaultReason | None
    distrusted: str
    ends: bool


def rule(job: Job, reason: str, index: int, burst: Burst) -> Ruling:
    """The run of ``job`` broke the rule ``reason`` with its item at position ``index``."""
    sender, previous = job.peer or "", burst.previous
    ends = job.kind in (JobKind.AFTER, JobKind.FINISH) or sender == burst.lead
    if job.kind is JobKind.FINISH:
        return Ruling(None, "", ends)
    if reason in NOBODYS_FAULT:
        return Ruling(None, sender, ends)
    if reason != UNLINKED or index:
        return Ruling(FaultReason.INVALID_HEADER, sender, ends)
    if job.kind is JobKind.PUSH:  # a gossiped tip may be ahead of us
        return Ruling(None, "", ends)
    if job.kind is JobKind.RANGE and previous not in (None, sender):
        # One of the two is on another branch than the lead, or the lead lied. Nobody can tell who; the lead goes on.
        return Ruling(None, previous or "" if sender == burst.lead else sender, ends)
    return Ruling(FaultReason.UNLINKED, sender, ends)
