"""The ordered window of jobs: fetched in any order and by several peers, released strictly in order.

Bounded by ``MAX_JOBS`` jobs, and in bytes by ``MAX_WINDOW`` * ``following.Terms.run_items`` items (5.2 MB of Bitcoin
headers, 7 MB of Ethereum's updates), whatever the peers do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from spvnode.following import Tip
from spvnode.types import Height

MAX_WINDOW = 8
"""Jobs fetched or waiting to be fetched but not yet committed: twice the default in flight, so that a slow head job
does not idle the pool."""
MAX_JOBS = 2 * MAX_WINDOW
"""Jobs at all: a reply that came short splits its job in two, and in a full window at most so often."""
MAX_ATTEMPTS = 4
"""Peers that are tried for one job before the whole burst is given up."""


class JobKind(Enum):
    """What a job asks for."""

    AFTER = "after"
    RANGE = "range"
    BELOW = "below"
    PUSH = "push"
    FINISH = "finish"


@dataclass(slots=True)
class Job:
    """One run of items on its way in."""

    id: int
    kind: JobKind
    start: Height
    count: int
    peer: str | None = None
    """Who was asked and has not failed; for a finished job, who sent it."""
    items: bytes | None = None
    tried: set[str] = field(default_factory=set)
    place: object = None
    """For AFTER: the locator to ask after; None for the chain's own."""
    claimed: Tip | None = None
    """What its peer claimed when it was asked: a reply says nothing of what was claimed since."""

    @property
    def below(self) -> bool:
        """Whether it is part of the backfill."""
        return self.kind in (JobKind.BELOW, JobKind.FINISH)

    def unassign(self) -> None:
        """Whoever was asked, or sent it, is not asked again."""
        if self.peer is not None:
            self.tried.add(self.peer)
        self.peer = None


class Window:
    """Jobs in chain order; the head is the next to be validated."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._next_id = 1

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs)

    @property
    def full(self) -> bool:
        """Whether no further job may enter."""
        return len(self._jobs) >= MAX_WINDOW

    @property
    def head(self) -> Job | None:
        """The job that must be validated next."""
        return self._jobs[0] if self._jobs else None

    def add(
        self, kind: JobKind, start: Height, count: int, *, peer: str | None = None, items: bytes | None = None
    ) -> Job:
        """Appends a job at the far end."""
        job = Job(self._next_id, kind, start, count, peer, items)
        self._next_id += 1
        self._jobs.append(job)
        return job

    def get(self, job_id: int) -> Job | None:
        """The job of that number, or None when it was given up."""
        return next((job for job in self._jobs if job.id == job_id), None)

    def split(self, job: Job, got: int) -> bool:
        """``job`` got its first ``got`` items only. The rest becomes a job of its own, for others than who sent these.
        False where all of it has to be asked for again: there is no room, or it is read from its far end."""
        if not got or job.kind is not JobKind.RANGE or len(self._jobs) >= MAX_JOBS:
            return False
        tried = {*job.tried, job.peer or ""}
        rest = Job(self._next_id, job.kind, Height(job.start + got), job.count - got, tried=tried)
        self._next_id += 1
        self._jobs.insert(self._jobs.index(job) + 1, rest)
        job.count = got
        return True

    def remove(self, job: Job) -> None:
        """Takes one out, wherever it is."""
        self._jobs.remove(job)

    def pop(self) -> Job:
        """Takes the head out."""
        return self._jobs.popleft()

    def drop_behind(self, job: Job) -> list[Job]:
        """Gives up whatever comes after the head, which is ``job``; returns it."""
        dropped = [later for later in self._jobs if later is not job]
        self._jobs = deque([job])
        return dropped

    def in_flight(self) -> int:
        """Jobs that somebody was asked for and has not answered."""
        return sum(1 for job in self._jobs if job.peer is not None and job.items is None)

    def unassigned(self) -> Iterator[Job]:
        """Jobs that nobody has been asked for, nearest first."""
        return (job for job in list(self._jobs) if job.peer is None and job.items is None)

    def clear(self) -> None:
        """Gives everything up."""
        self._jobs.clear()


def queue_below(window: Window, base: Height, floor: Height, run_items: int) -> None:
    """One window of backfill, from ``base`` down to ``floor``, the lowest item that anybody has, in runs of
    ``run_items``; at 0 what is left is to check it all. Then the tip gets its turn again."""
    if base == 0:
        window.add(JobKind.FINISH, base, 0, items=b"")
    while base > floor and not window.full:
        start = Height(max(floor, base - run_items))
        window.add(JobKind.BELOW, start, base - start)
        base = start
