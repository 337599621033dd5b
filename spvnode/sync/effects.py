"""What the machine wants done. The driver interprets them, in order, and does nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from p2p.faults import RemoteFault
from spvnode.following import Tip, Verdict
from spvnode.types import Height


@dataclass(frozen=True, slots=True)
class FetchAfter:
    """Ask ``peer`` for up to ``count`` items that follow ``place`` on its chain; None: the chain's own locator."""

    job: int
    peer: str
    count: int
    place: object = None


@dataclass(frozen=True, slots=True)
class FetchRange:
    """Ask ``peer`` for ``count`` items from number ``start``."""

    job: int
    peer: str
    start: Height
    count: int


@dataclass(frozen=True, slots=True)
class CancelFetches:
    """Forget every fetch in flight; none of their answers will be used."""


@dataclass(frozen=True, slots=True)
class Validate:
    """Check a run in a worker thread. ``below`` runs are backfill, checked downward by their links."""

    job: int
    items: bytes
    below: bool = False


@dataclass(frozen=True, slots=True)
class Commit:
    """Store a checked run, then show it. ``sync`` makes it durable against a power cut before the answer comes."""

    job: int
    verdict: Verdict
    sync: bool
    below: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """Check the whole backfilled chain upward; answered by ``Committed``, or by ``Validated`` when it breaks a rule."""

    job: int


@dataclass(frozen=True, slots=True)
class Report:
    """Score a peer for what it did."""

    fault: RemoteFault


@dataclass(frozen=True, slots=True)
class Useful:
    """What ``peer`` sent was committed."""

    peer: str


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the mesh about a committed tip."""

    tip: Tip


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Fire ``TimerFired(generation)`` after ``delay`` seconds. A later one replaces an earlier one."""

    generation: int
    delay: float


Effect = FetchAfter | FetchRange | CancelFetches | Validate | Commit | Finish | Report | Useful | Announce | SetTimer
