"""Messages of Node Discovery v5.1 (devp2p, discv5-wire.md, "Protocol Messages"), without the topic ones, which nobody
sends yet. Sans-IO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from merkle import rlp
from merkle.rlp import Encodable, Item
from p2p.discv5.distance import MAX_DISTANCE
from p2p.discv5.enr import MAX_ENR
from p2p.discv5.fields import FieldError, as_bytes, as_int, as_list, from_int
from p2p.discv5.fields import decode as decode_rlp
from p2p.discv5.packet import MAX_PACKET, ORDINARY_OVERHEAD

MAX_REQUEST_ID: Final = 8
"""Bytes, as the protocol sets it. The asking side chooses it and we echo it."""
MAX_RECORDS: Final = 16
"""Records in a whole answer to FINDNODE, as the protocol recommends; also the most that one packet may list."""
MAX_DISTANCES: Final = 16
"""Distances of one FINDNODE that are looked at, the first ones. Others ask for 3; each costs a look at a bucket."""
MAX_TOTAL: Final = 16
"""Packets that an answer may announce. 16 records of 300 bytes need 6; some send one record a packet."""

_NODES_OVERHEAD: Final = 1 + 3 + (1 + MAX_REQUEST_ID) + 1 + 3
"""Bytes of a NODES message beside its records: type, list, request id, total, list of records."""
_NODES_ROOM: Final = MAX_PACKET - ORDINARY_OVERHEAD - _NODES_OVERHEAD


class MessageError(ValueError):
    """Not a message; says why."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there?"""

    request_id: bytes
    enr_seq: int


@dataclass(frozen=True, slots=True)
class Pong:
    """Yes, and this is where your packet came from. ``host`` is 4 or 16 bytes."""

    request_id: bytes
    enr_seq: int
    host: bytes
    port: int


@dataclass(frozen=True, slots=True)
class FindNode:
    """Which nodes do you know at these logarithmic distances from you? 0 is your own record."""

    request_id: bytes
    distances: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Nodes:
    """One of ``total`` packets of an answer. ``records`` are encoded, and not verified."""

    request_id: bytes
    total: int
    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class TalkReq:
    """A request of some protocol on top of this one."""

    request_id: bytes
    protocol: bytes
    request: bytes


@dataclass(frozen=True, slots=True)
class TalkResp:
    """Its answer; empty where the protocol is unknown."""

    request_id: bytes
    response: bytes


Message = Ping | Pong | FindNode | Nodes | TalkReq | TalkResp


def encode(message: Message) -> bytes:
    """Type and RLP."""
    match message:
        case Ping(request_id, enr_seq):
            return _join(1, request_id, from_int(enr_seq))
        case Pong(request_id, enr_seq, host, port):
            return _join(2, request_id, from_int(enr_seq), host, from_int(port))
        case FindNode(request_id, distances):
            return _join(3, request_id, [from_int(distance) for distance in distances])
        case Nodes(request_id, total, records):
            listed = [decode_rlp(record) for record in records]
            return _join(4, request_id, from_int(total), listed)
        case TalkReq(request_id, protocol, request):
            return _join(5, request_id, protocol, request)
        case TalkResp(request_id, response):
            return _join(6, request_id, response)


def decode(data: bytes) -> Message:
    """Raise MessageError, also for types that we do not know."""
    reader = _READERS.get(data[0] if data else 0)
    if reader is None:
        raise MessageError(f"a message of type {data[:1].hex() or 'nothing'}")
    try:
        fields = as_list(decode_rlp(data[1:]), 2, 4)
        return reader(as_bytes(fields[0], MAX_REQUEST_ID), fields[1:])
    except FieldError as error:
        raise MessageError(str(error)) from None


def nodes_packets(request_id: bytes, records: Sequence[bytes]) -> list[Nodes]:
    """An answer to FINDNODE: at most ``MAX_RECORDS`` records, in as many messages as fit into packets. No records are
    one empty message, so that the asking side need not wait."""
    parts: list[list[bytes]] = [[]]
    room = _NODES_ROOM
    for record in records[:MAX_RECORDS]:
        if len(record) > room:
            parts.append([])
            room = _NODES_ROOM
        parts[-1].append(record)
        room -= len(record)
    return [Nodes(request_id, len(parts), tuple(part)) for part in parts]


def _join(kind: int, *fields: bytes | Sequence[Encodable]) -> bytes:
    return bytes([kind]) + rlp.encode(fields)


def _ping(request_id: bytes, fields: tuple[Item, ...]) -> Message:
    _count(fields, 1)
    return Ping(request_id, as_int(fields[0], 8))


def _pong(request_id: bytes, fields: tuple[Item, ...]) -> Message:
    _count(fields, 3)
    host = as_bytes(fields[1], 16)
    if len(host) not in (4, 16):
        raise FieldError(f"an IP address of {len(host)} bytes")
    return Pong(request_id, as_int(fields[0], 8), host, as_int(fields[2], 2))


def _find_node(request_id: bytes, fields: tuple[Item, ...]) -> Message:
    _count(fields, 1)
    listed = as_list(fields[0], 0, MAX_PACKET)
    distances = [as_int(item, 2) for item in listed[:MAX_DISTANCES]]
    if any(distance > MAX_DISTANCE for distance in distances):
        raise FieldError(f"a distance above {MAX_DISTANCE}")
    return FindNode(request_id, tuple(distances))


def _nodes(request_id: bytes, fields: tuple[Item, ...]) -> Message:
    _count(fields, 2)
    records = [rlp.encode(item) for item in as_list(fields[1], 0, MAX_RECORDS)]
    if any(len(record) > MAX_ENR for record in records):
        raise FieldError(f"a record above {MAX_ENR} bytes")
    return Nodes(request_id, as_int(fields[0], 8), tuple(records))


def _talk_req(request_id: bytes, fields: tuple[Item, ...]) -> Message:
    _count(fields, 2)
    return TalkReq(request_id, as_bytes(fields[0], MAX_PACKET), as_bytes(fields[1], MAX_PACKET))


def _talk_resp(request_id: bytes, fields: tuple[Item, ...]) -> Message:
    _count(fields, 1)
    return TalkResp(request_id, as_bytes(fields[0], MAX_PACKET))


def _count(fields: tuple[Item, ...], expected: int) -> None:
    if len(fields) != expected:
        raise FieldError(f"{len(fields)} fields after the request id, where {expected} belong")


_READERS: Final[dict[int, Callable[[bytes, tuple[Item, ...]], Message]]] = {
    1: _ping,
    2: _pong,
    3: _find_node,
    4: _nodes,
    5: _talk_req,
    6: _talk_resp,
}
