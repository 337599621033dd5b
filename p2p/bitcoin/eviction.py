"""Who of those that dialed us makes room when all their places are taken (Bitcoin Core's ``SelectNodeToEvict``). Pure;
times are seconds of any clock that only goes forward.

Whoever fills every place first would else keep them all. So some are spared for what cannot be had cheaply: being near,
having told of blocks first, having stayed for long, belonging to several networks. Of the rest the largest group of
addresses gives its youngest: who holds places from one network only pushes himself out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

SPARED_GROUPS: Final = 4
"""Groups of which the longest connected is spared, drawn by a key that nobody else knows (Core spares four peers by
such a key): an attacker cannot tell from which networks he would have to come."""
SPARED_NEAR: Final = 8
"""Spared for the shortest round trips (as Core): those take machines in many places."""
SPARED_NEWS: Final = 4
"""Spared for having told of a block first, the latest (as Core): that takes the work of others, delivered early."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One inbound connection. ``group``: of its address. ``began``: when it was accepted. ``ping_s``: its shortest
    round trip; ``news_at``: when it last was the first to tell of a block; None for never."""

    peer: str
    group: bytes
    began: float
    ping_s: float | None = None
    news_at: float | None = None


def choose(candidates: Iterable[Candidate], key: bytes) -> str | None:
    """The peer to leave, None where all are worth keeping. ``key``: up to 64 random bytes, always the same."""
    left = _rest_of_groups(sorted(candidates, key=_age), key)
    left = _spare(left, SPARED_NEAR, lambda one: float("inf") if one.ping_s is None else one.ping_s)
    left = _spare(left, SPARED_NEWS, lambda one: float("inf") if one.news_at is None else -one.news_at)
    left = sorted(left, key=_age)[len(left) // 2 :]  # half of them for their age
    groups = defaultdict[bytes, list[Candidate]](list)
    for one in left:
        groups[one.group].append(one)
    largest = max(groups.values(), key=lambda group: (len(group), group[-1].began), default=None)
    return largest[-1].peer if largest is not None else None


def _age(one: Candidate) -> float:
    return one.began


def _rest_of_groups(oldest_first: Sequence[Candidate], key: bytes) -> list[Candidate]:
    def draw(group: bytes) -> bytes:
        return blake2b(group, digest_size=8, key=key).digest()

    spared = sorted({one.group for one in oldest_first}, key=draw)[:SPARED_GROUPS]
    eldest = {group: next(one for one in oldest_first if one.group == group) for group in spared}
    return [one for one in oldest_first if eldest.get(one.group) is not one]


def _spare(left: list[Candidate], count: int, rank: Callable[[Candidate], float]) -> list[Candidate]:
    """Without the ``count`` that rank lowest; infinity earns nothing."""
    spared = [one for one in sorted(left, key=rank)[:count] if rank(one) < float("inf")]
    return [one for one in left if one not in spared]
