"""Peer scores: faults cost points, points halve with time, and too many mean a timed, persisted
discouragement.

The table below is the whole policy. Time is Unix seconds and an argument. What a slow link, a suspended
machine or a dead uplink of ours would look like (``MAY_BE_OURS``) is forgiven when every peer shows it at
once.

Points belong to a peer id, which costs an attacker nothing to change; what a new one buys is bounded by the
host's limits per address. Addresses are not scored: honest nodes share them behind NAT.

Bounds: ``MAX_SCORED`` peers with points, ``MAX_DISCOURAGED`` discouragements; strangers can fill both, and
then the smallest and the soonest to end make room.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from p2p import statefile
from p2p.faults import FaultReason, RemoteFault

THRESHOLD: Final = 100.0
"""Points at which a peer is left."""

POINTS: Final[dict[FaultReason, float]] = {
    # Nobody does this by accident, and one is enough to know.
    FaultReason.BAD_FRAME: 100,
    FaultReason.OVERSIZED: 100,
    FaultReason.INVALID_HEADER: 100,
    FaultReason.BAD_BLOCK: 100,
    FaultReason.BAD_FILTER: 100,
    # A bug or a lie; a second time is not an accident.
    FaultReason.PROTOCOL: 50,
    FaultReason.FALSE_CLAIM: 50,
    FaultReason.FLOOD: 50,
    FaultReason.BAD_PROOF: 50,
    # A reorganisation between two requests makes an honest peer do it now and then.
    FaultReason.UNLINKED: 30,
    # Slow or overloaded, or our own link.
    FaultReason.DRIP: 25,
    FaultReason.STALLED: 20,
    FaultReason.TIMEOUT: 10,
    FaultReason.DISCONNECTED: 5,
    # Another chain under the same name is a matter of that network; the peer may serve others well.
    FaultReason.WRONG_NETWORK: 10,
    # A peer that is itself still syncing.
    FaultReason.LOW_WORK: 10,
    # A machine without a battery clock would else discourage everybody.
    FaultReason.TIME_TOO_NEW: 10,
    # Answers that the protocol foresees.
    FaultReason.REFUSED: 1,
    FaultReason.NOT_FOUND: 1,
}

MAY_BE_OURS: Final = frozenset({FaultReason.TIMEOUT, FaultReason.STALLED, FaultReason.DRIP, FaultReason.DISCONNECTED})
"""Reasons that a fault of our own machine or link also produces."""

OURS_WINDOW_S: Final = 30.0
"""Such faults within this time are looked at together: above the fetch deadline of 8 s with its retries."""
OURS_PEERS: Final = 3
"""Least number of different peers, and all that are connected, for the fault to be taken as ours."""
MAX_RECENT: Final = 256
"""Recent faults remembered for that; connected peers fill it."""

HALF_LIFE_S: Final = 600.0
"""Points halve in ten minutes: a timeout an hour is nothing, one a minute adds up to 150."""

DISCOURAGE_S: Final = 3_600.0
"""First discouragement. Each further one of the same peer doubles it, up to a day."""
DISCOURAGE_MAX_S: Final = 86_400.0
STATIC_DISCOURAGE_S: Final = 120.0
"""For a peer that the operator configured: long enough to leave it, short enough to keep trying."""

MAX_SCORED: Final = 1_024
MAX_DISCOURAGED: Final = 1_024
_NEGLIGIBLE: Final = 0.5


class Action(StrEnum):
    """What becomes of the peer."""

    KEEP = "keep"
    """Stay connected."""
    SPARE = "spare"
    """Over the threshold, but the last useful peer: stay connected until there is another."""
    DISCOURAGE = "discourage"
    """Disconnect, and neither dial nor accept it until the time given."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer to one reported fault."""

    action: Action
    points: float
    """What this fault cost."""
    score: float
    """Points of the peer after it."""
    until: float = 0.0
    """For DISCOURAGE: Unix seconds."""


class Discouragement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A peer that is left alone from ``since`` to ``until`` (Unix seconds), and what for."""

    peer: str
    reason: FaultReason
    evidence: str
    since: float
    until: float
    times: int
    """How many times in a row, this one included."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    discouraged: list[Discouragement]


@dataclass(slots=True)
class _Score:
    points: float
    at: float


@dataclass(frozen=True, slots=True)
class _Recent:
    at: float
    peer: str
    points: float


class ScoreBoard:
    """Scores and discouragements of all peers. With a ``path``, discouragements are kept there
    (``unsaved``)."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._scores: dict[str, _Score] = {}
        self._discouraged: dict[str, Discouragement] = {}
        self._recent: deque[_Recent] = deque(maxlen=MAX_RECENT)
        self._changed = False
        self.faults: dict[FaultReason, int] = dict.fromkeys(FaultReason, 0)
        """Faults reported since start, by reason."""
        self.forgiven = 0
        """Of these, how many were taken as our own."""
        stored = statefile.load(path, _File) if path is not None else None
        for entry in (stored.discouraged if stored else [])[-MAX_DISCOURAGED:]:
            self._discouraged[entry.peer] = entry

    def report(
        self, fault: RemoteFault, now: float, *, connected: int, static: bool = False, last: bool = False
    ) -> Judgement:
        """Score a fault. ``connected`` is the number of peers that could show it now; ``static``
        marks a peer of the configuration, ``last`` the last useful one, which is scored but
        kept."""
        self.faults[fault.reason] += 1
        points = POINTS[fault.reason]
        if fault.reason in MAY_BE_OURS and self._is_ours(fault.peer, points, now, connected):
            self.forgiven += 1
            return Judgement(Action.KEEP, 0.0, self.score(fault.peer, now))
        score = self.score(fault.peer, now) + points
        self._put(fault.peer, _Score(score, now))
        if score < THRESHOLD:
            return Judgement(Action.KEEP, points, score)
        if last:
            return Judgement(Action.SPARE, points, score)
        until = self._discourage(fault, now, static)
        return Judgement(Action.DISCOURAGE, points, score, until)

    def score(self, peer: str, now: float) -> float:
        """Points of ``peer`` after decay, 0 when unknown."""
        entry = self._scores.get(peer)
        if entry is None:
            return 0.0
        return entry.points * math.pow(0.5, max(0.0, now - entry.at) / HALF_LIFE_S)

    def discouraged_until(self, peer: str, now: float) -> float | None:
        """When the discouragement of ``peer`` ends, or None when there is none."""
        entry = self._discouraged.get(peer)
        if entry is None or not _in_force(entry, now):
            return None
        return entry.until

    def discouraged(self, now: float) -> list[Discouragement]:
        """Those in force."""
        return [entry for entry in self._discouraged.values() if _in_force(entry, now)]

    def pardon(self, peer: str) -> None:
        """Forget points and discouragement of ``peer``."""
        self._scores.pop(peer, None)
        self._changed |= self._discouraged.pop(peer, None) is not None

    def unsaved(self) -> Callable[[], None] | None:
        """A job for a worker thread that writes the discouragements as they are now (it raises
        OSError), or None when that has been done."""
        if self._path is None or not self._changed:
            return None
        self._changed = False
        return partial(statefile.save, self._path, _File(1, list(self._discouraged.values())))

    def save_failed(self) -> None:
        """The job has raised: what it would have written is unsaved again."""
        self._changed = True

    def _is_ours(self, peer: str, points: float, now: float, connected: int) -> bool:
        """Do all peers fail in the same way at the same time? Then what they were charged is given
        back too."""
        while self._recent and not now - OURS_WINDOW_S <= self._recent[0].at <= now:
            self._recent.popleft()
        self._recent.append(_Recent(now, peer, points))
        if len({entry.peer for entry in self._recent}) < max(OURS_PEERS, connected):
            return False
        for entry in list(self._recent)[:-1]:
            self._give_back(entry, now)
        # Charged already or forgiven: either way it is not given back twice.
        self._recent = deque((_Recent(e.at, e.peer, 0.0) for e in self._recent), maxlen=MAX_RECENT)
        return True

    def _give_back(self, entry: _Recent, now: float) -> None:
        left = self.score(entry.peer, now) - entry.points
        if left > _NEGLIGIBLE:
            self._scores[entry.peer] = _Score(left, now)
        else:
            self._scores.pop(entry.peer, None)

    def _put(self, peer: str, score: _Score) -> None:
        self._scores[peer] = score
        if len(self._scores) > MAX_SCORED:
            others = (known for known in self._scores if known != peer)
            del self._scores[min(others, key=lambda known: self.score(known, score.at))]

    def _discourage(self, fault: RemoteFault, now: float, static: bool) -> float:
        before = self._discouraged.get(fault.peer)
        # An offence soon after the last discouragement ended counts as its continuation.
        again = before is not None and now < before.until + DISCOURAGE_MAX_S
        times = before.times + 1 if before is not None and again else 1
        length = STATIC_DISCOURAGE_S if static else min(DISCOURAGE_MAX_S, DISCOURAGE_S * 2.0 ** min(times - 1, 16))
        entry = Discouragement(fault.peer, fault.reason, fault.evidence, now, now + length, times)
        self._discouraged[fault.peer] = entry
        self._scores.pop(fault.peer, None)
        if len(self._discouraged) > MAX_DISCOURAGED:
            others = (known for known in self._discouraged.values() if known is not entry)
            del self._discouraged[min(others, key=lambda known: known.until).peer]
        self._changed = True
        return entry.until


def _in_force(entry: Discouragement, now: float) -> bool:
    """Not so where the clock has since been set back by more than a day: a wrong clock at the time must
    not keep peers away for years."""
    return entry.since - DISCOURAGE_MAX_S <= now < entry.until
