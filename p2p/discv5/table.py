"""The node table: Kademlia's buckets (devp2p, discv5-theory.md, "Node Table").

Only nodes that have answered us, or our challenge, at the endpoint of their own record get in, and the living are
never pushed out by newcomers: whoever wants to fill the table needs many networks, and patience. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from p2p.discv5.distance import MAX_DISTANCE, distance, log_distance
from p2p.discv5.endpoint import Endpoint, subnet
from p2p.discv5.enr import Enr

BUCKET_SIZE: Final = 16
"""k. Nodes at one logarithmic distance; strangers fill it. 256 buckets, of which about 17 can ever fill up."""
MAX_REPLACEMENTS: Final = 8
"""Per bucket, for the day when one of its nodes is gone; the newest are kept."""
MAX_PER_SUBNET: Final = 10
"""Nodes of one /24 (IPv6: /32) in all of the table, replacements included."""
MAX_PER_SUBNET_IN_BUCKET: Final = 2
"""The same in one bucket."""
MAX_FAILURES: Final = 2
"""Requests in a row left without an answer, after which a node is out: UDP loses packets."""


@dataclass(frozen=True, slots=True)
class Node:
    """A record, and where we reach its node."""

    enr: Enr
    at: Endpoint

    @property
    def node_id(self) -> bytes:
        """32 bytes."""
        return self.enr.node_id


@dataclass(slots=True)
class _Entry:
    node: Node
    checked: float
    """When it last answered, or last did not."""
    failures: int = 0


@dataclass(slots=True)
class _Bucket:
    entries: list[_Entry] = field(default_factory=list)
    replacements: list[_Entry] = field(default_factory=list)

    def all(self) -> list[_Entry]:
        return self.entries + self.replacements


class Table:
    """The nodes that we know to live, by their distance from ``own_id``."""

    def __init__(self, own_id: bytes) -> None:
        self._own_id = own_id
        self._buckets: dict[int, _Bucket] = {}
        self._subnets: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(len(bucket.entries) for bucket in self._buckets.values())

    def nodes(self) -> list[Node]:
        """All but the replacements."""
        return [entry.node for bucket in self._buckets.values() for entry in bucket.entries]

    def get(self, node_id: bytes) -> Node | None:
        """The node of that id, replacements included."""
        entry = self._find(node_id)
        return None if entry is None else entry.node

    def alive(self, node: Node, now: float) -> bool:
        """``node`` has just proven that it is there: let it in, or note it. False when there is no room for it."""
        level = log_distance(self._own_id, node.node_id)
        if level == 0:
            return False
        known = self._find(node.node_id)
        if known is not None:
            return self._seen(level, known, node, now)
        bucket = self._buckets.setdefault(level, _Bucket())
        if not self._has_room(bucket, node.at.host):
            return False
        entry = _Entry(node, now)
        if len(bucket.entries) < BUCKET_SIZE:
            bucket.entries.append(entry)
        else:
            bucket.replacements.append(entry)
            if len(bucket.replacements) > MAX_REPLACEMENTS:
                self._uncount(bucket.replacements.pop(0))
        self._subnets[subnet(node.at.host)] += 1
        return True

    def failed(self, node: Node, now: float) -> None:
        """It has not answered. Too often, and a replacement takes its place."""
        entry = self._find(node.node_id)
        if entry is None or entry.node.at != node.at:
            return
        entry.checked = now
        entry.failures += 1
        if entry.failures >= MAX_FAILURES:
            self._drop(log_distance(self._own_id, node.node_id), entry)

    def closest(self, target: bytes, count: int) -> list[Node]:
        """Nearest first."""
        return sorted(self.nodes(), key=lambda node: distance(node.node_id, target))[:count]

    def at_distances(self, distances: Iterable[int], count: int) -> list[Node]:
        """Up to ``count`` nodes at these logarithmic distances from us, in the order asked for."""
        found: list[Node] = []
        for level in dict.fromkeys(distances):
            bucket = self._buckets.get(level)
            if bucket is not None and 0 < level <= MAX_DISTANCE:
                found += [entry.node for entry in bucket.entries]
        return found[:count]

    def longest_unchecked(self) -> tuple[Node, float] | None:
        """The node to look after next, and when it was last heard or missed."""
        entries = [entry for bucket in self._buckets.values() for entry in bucket.entries]
        oldest = min(entries, key=lambda entry: entry.checked, default=None)
        return None if oldest is None else (oldest.node, oldest.checked)

    def _find(self, node_id: bytes) -> _Entry | None:
        bucket = self._buckets.get(log_distance(self._own_id, node_id))
        if bucket is None:
            return None
        return next((entry for entry in bucket.all() if entry.node.node_id == node_id), None)

    def _seen(self, level: int, known: _Entry, node: Node, now: float) -> bool:
        """A node that we have. A newer record may have moved it, and then its new network counts."""
        if node.enr.seq < known.node.enr.seq:
            return False
        if node.at.host != known.node.at.host:
            self._drop(level, known)
            return self.alive(node, now)
        known.node, known.checked, known.failures = node, now, 0
        return True

    def _has_room(self, bucket: _Bucket, host: str) -> bool:
        network = subnet(host)
        in_bucket = sum(1 for entry in bucket.all() if subnet(entry.node.at.host) == network)
        return self._subnets[network] < MAX_PER_SUBNET and in_bucket < MAX_PER_SUBNET_IN_BUCKET

    def _drop(self, level: int, entry: _Entry) -> None:
        bucket = self._buckets[level]
        self._uncount(entry)
        if entry in bucket.replacements:
            bucket.replacements.remove(entry)
            return
        bucket.entries.remove(entry)
        if bucket.replacements:
            bucket.entries.append(bucket.replacements.pop())

    def _uncount(self, entry: _Entry) -> None:
        network = subnet(entry.node.at.host)
        self._subnets[network] -= 1
        if not self._subnets[network]:
            del self._subnets[network]
