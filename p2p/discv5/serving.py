"""What we answer to others, all of whom have proven by a handshake that they receive where their packets come from."""

from __future__ import annotations

from p2p.discv5.endpoint import Endpoint, packed_host, relayable
from p2p.discv5.enr import Enr
from p2p.discv5.messages import (
    MAX_RECORDS,
    FindNode,
    Message,
    Ping,
    Pong,
    TalkReq,
    TalkResp,
    nodes_packets,
)
from p2p.discv5.table import Table


def answers(message: Message, sender: bytes, at: Endpoint, own: Enr, table: Table) -> list[Message]:
    """The answers to a request of node ``sender`` at ``at``; none to what is no request."""
    match message:
        case Ping(request_id, _):
            return [Pong(request_id, own.seq, packed_host(at.host), at.port)]
        case FindNode(request_id, distances):
            return list(nodes_packets(request_id, _records(distances, sender, at, own, table)))
        case TalkReq(request_id, _, _):
            return [TalkResp(request_id, b"")]  # as the protocol asks of who knows no protocol on top of it
    return []


def _records(distances: tuple[int, ...], sender: bytes, at: Endpoint, own: Enr, table: Table) -> list[bytes]:
    """Nobody outside is told of our own network."""
    first = [own.encoded] if 0 in distances else []
    nodes = table.at_distances(distances, MAX_RECORDS + 1)
    told = [node.enr.encoded for node in nodes if node.node_id != sender and relayable(at.host, node.at.host)]
    return (first + told)[:MAX_RECORDS]
