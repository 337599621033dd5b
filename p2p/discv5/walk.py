"""One lookup (devp2p, discv5-theory.md, "Lookup"): who is nearest to a target, asking nearer and nearer nodes. Pure.

Nodes that answer choose whom we hear of, so a lookup is bounded in all: how many it remembers, how many it asks, and
how many of one network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from p2p.discv5.distance import distance
from p2p.discv5.endpoint import subnet
from p2p.discv5.table import BUCKET_SIZE, Node

ALPHA: Final = 3
"""Requests of one lookup under way at a time, as the protocol says."""
MAX_ASKED: Final = 64
"""Nodes that one lookup asks. An honest one ends after 20 to 40; made-up nodes could go on for ever."""
MAX_CANDIDATES: Final = 128
"""Nodes that one lookup remembers, the nearest."""
MAX_WALK_PER_SUBNET: Final = 8
"""Nodes of one /24 (IPv6: /32) that one lookup listens to: one network cannot be all of what it finds."""


class Walk:
    """A lookup of ``target``, beginning at ``seeds``."""

    def __init__(self, target: bytes, own_id: bytes, seeds: Iterable[Node]) -> None:
        self.target = target
        self._candidates: dict[bytes, Node] = {}
        self._subnets: Counter[str] = Counter()
        self._asked = {own_id}
        self._answered: dict[bytes, Node] = {}
        self._under_way = 0
        self.heard(seeds)

    @property
    def done(self) -> bool:
        """Nothing is under way, and there is nobody left to ask."""
        return not self._under_way and self._best() is None

    @property
    def asked(self) -> int:
        """How many nodes were asked."""
        return len(self._asked) - 1

    def next(self) -> Node | None:
        """Whom to ask next; None while ``ALPHA`` are under way or nobody is left to ask. Each node that comes out here
        comes back by ``answered`` or ``failed``."""
        node = self._best() if self._under_way < ALPHA else None
        if node is not None:
            self._asked.add(node.node_id)
            self._under_way += 1
        return node

    def answered(self, node: Node, nodes: Iterable[Node]) -> None:
        """``node`` told of ``nodes``."""
        self._under_way -= 1
        self._answered[node.node_id] = node
        self.heard(nodes)

    def failed(self, node: Node) -> None:
        """``node`` did not answer."""
        self._under_way -= 1
        self._forget(node.node_id)

    def heard(self, nodes: Iterable[Node]) -> None:
        """Remember whom we have not heard of yet."""
        for node in nodes:
            network = subnet(node.at.host)
            if node.node_id in self._candidates or node.node_id in self._asked:
                continue
            if self._subnets[network] < MAX_WALK_PER_SUBNET:
                self._candidates[node.node_id] = node
                self._subnets[network] += 1
        for node in self._nearest(self._candidates)[MAX_CANDIDATES:]:
            self._forget(node.node_id)

    def closest(self) -> list[Node]:
        """The nodes nearest to the target that have answered, nearest first."""
        return self._nearest(self._answered)[:BUCKET_SIZE]

    def _best(self) -> Node | None:
        """The nearest candidate that was not asked, if it is among the nearest of all that did not fail."""
        if self.asked >= MAX_ASKED:
            return None
        nearest = self._nearest(self._candidates)[:BUCKET_SIZE]
        return next((node for node in nearest if node.node_id not in self._asked), None)

    def _nearest(self, nodes: dict[bytes, Node]) -> list[Node]:
        return sorted(nodes.values(), key=lambda node: distance(node.node_id, self.target))

    def _forget(self, node_id: bytes) -> None:
        """The network's count stays: whoever tells of dead nodes has used up its share."""
        self._candidates.pop(node_id, None)
