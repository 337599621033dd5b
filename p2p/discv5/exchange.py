"""Requests of ours that wait for their answer. What comes back is counted and cut: an answer has at most
``MAX_RECORDS`` records, in at most ``MAX_TOTAL`` packets, until the deadline of the one who asked."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from p2p.discv5.distance import log_distance
from p2p.discv5.enr import Enr, EnrError
from p2p.discv5.enr import decode as decode_enr
from p2p.discv5.messages import MAX_RECORDS, MAX_TOTAL, FindNode, Message, Nodes, Ping, Pong
from p2p.discv5.table import Node


@dataclass(slots=True, eq=False)
class Waiting:
    """One request, and what has come of its answer."""

    node: Node
    request: Ping | FindNode
    done: trio.Event = field(default_factory=trio.Event)
    pong: Pong | None = None
    records: list[Enr] = field(default_factory=list)
    answered: bool = False
    packets: int = 0
    bad_records: int = 0
    """Records that do not verify or were not asked for."""

    def take(self, message: Message) -> None:
        """A message that carries our request's id, from the node that we asked."""
        if self.done.is_set():
            return
        if isinstance(self.request, Ping) and isinstance(message, Pong):
            self.pong, self.answered = message, True
            self.done.set()
        elif isinstance(self.request, FindNode) and isinstance(message, Nodes):
            self.answered = True
            self._nodes(message, self.request)

    def _nodes(self, message: Nodes, request: FindNode) -> None:
        self.packets += 1
        for encoded in message.records[: MAX_RECORDS - len(self.records)]:
            record = self._asked_for(encoded, request)
            if record is None:
                self.bad_records += 1
            else:
                self.records.append(record)
        if self.packets >= min(message.total, MAX_TOTAL) or len(self.records) >= MAX_RECORDS:
            self.done.set()

    def _asked_for(self, encoded: bytes, request: FindNode) -> Enr | None:
        try:
            record = decode_enr(encoded)
        except EnrError:
            return None
        fits = log_distance(self.node.node_id, record.node_id) in request.distances
        return record if fits and all(record.node_id != known.node_id for known in self.records) else None
