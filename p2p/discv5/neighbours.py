"""What we know of others: who lives (``table``), who has a newer record, and whom to hand on (``candidates``)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from p2p.discv5.candidates import Candidates
from p2p.discv5.endpoint import Endpoint
from p2p.discv5.enr import Enr
from p2p.discv5.table import Node, Table

MAX_STALE: Final = 32
"""Nodes that say they have a newer record, until we ask for it; others fill it, and the oldest goes."""


class Neighbours:
    """Pure; ``now`` is monotonic seconds."""

    def __init__(self, table: Table, candidates: Candidates) -> None:
        self.table = table
        self._candidates = candidates
        self._stale: OrderedDict[bytes, Node] = OrderedDict()

    def record_of(self, node_id: bytes) -> Enr | None:
        """The newest record of a node that lives."""
        node = self.table.get(node_id)
        return None if node is None else node.enr

    def opened(self, enr: Enr, at: Endpoint, now: float) -> None:
        """A node has proven its key, and that it receives at ``at``. Only if its record says so can others reach it
        there."""
        if at in enr.udp_endpoints():
            self.table.alive(Node(enr, at), now)
        self.heard([enr], at.host, now)

    def answered(self, node: Node, now: float) -> None:
        """A node has answered us where its record says it is."""
        self.table.alive(node, now)
        self.heard([node.enr], node.at.host, now)

    def heard(self, records: Iterable[Enr], told_by: str, now: float) -> None:
        """A node at ``told_by`` told of these."""
        for enr in records:
            self._candidates.heard(enr, told_by, now)

    def has_seq(self, node_id: bytes, at: Endpoint, seq: int) -> None:
        """A node says that its record has number ``seq``."""
        node = self.table.get(node_id)
        if node is None or node.at != at or seq <= node.enr.seq:
            return
        self._stale[node_id] = node
        if len(self._stale) > MAX_STALE:
            self._stale.popitem(last=False)

    def next_stale(self) -> Node | None:
        """A node whose newer record nobody has asked for yet; it is taken off the list."""
        return self._stale.popitem(last=False)[1] if self._stale else None
