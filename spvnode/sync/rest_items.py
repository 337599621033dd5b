"""Beacon API answers made into items: SSZ or JSON, in the layouts that real servers send. Pure.

An object's context digest follows from its own slot; what the server says beside (a fork's name, a digest) must agree
with it. Old servers name no fork, put updates under one ``data``, or write headers flat (before ``{"beacon": ...}``).
Whatever is wrong with an answer is returned as a ``RemoteFault``. JSON is bounded in containers before it is parsed, so
that a body of brackets does not become objects twenty times its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from merkle.errors import ProofError
from merkle.ssz_json import from_json
from p2p.faults import FaultReason, RemoteFault
from p2p.rest.api import JSON_EXTRA, JSON_FACTOR, Reply
from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientObject,
    LightClientOptimisticUpdate,
    LightClientUpdate,
    container,
    decode,
    encode,
    max_size,
)
from spvnode.ethereum.forks import LAYOUTS, Fork
from spvnode.ethereum.items import Item, Kind
from spvnode.ethereum.networks import Network, fork_digests
from spvnode.ethereum.units import ForkDigest, Slot, compute_epoch_at_slot, compute_sync_committee_period_at_slot

CLASSES: dict[Kind, type[LightClientObject]] = {
    Kind.BOOTSTRAP: LightClientBootstrap,
    Kind.UPDATE: LightClientUpdate,
    Kind.FINALITY: LightClientFinalityUpdate,
    Kind.OPTIMISTIC: LightClientOptimisticUpdate,
}
MAX_CONTAINERS = 32
"""JSON objects and arrays of one light-client object: 15 in an update with two execution headers and its envelope. A
server fills it."""
LENGTH_SIZE = 8
DIGEST_SIZE = 4
_HEADERS = ("header", "attested_header", "finalized_header")


@dataclass(frozen=True, slots=True)
class Decoded:
    """An object and the item that carries it."""

    item: Item
    value: Any
    """One of ``CLASSES``."""

    @property
    def slot(self) -> Slot:
        """That the context digest is taken at: of a bootstrap's header, of an update's attested header."""
        return _slot(self.value)


@dataclass(frozen=True, slots=True)
class Updates:
    """Consecutive updates. ``gap``: what is wrong with the one after them, where they end before the answer did."""

    decoded: tuple[Decoded, ...]
    gap: RemoteFault | None = None


class _Envelope(msgspec.Struct, frozen=True):
    data: msgspec.Raw = msgspec.Raw(b"")
    version: str | None = None


class _Wrong(Exception):
    """Becomes a RemoteFault at this module's doors."""

    def __init__(self, reason: FaultReason, evidence: str) -> None:
        super().__init__(evidence)
        self.reason = reason


def largest(network: Network, kind: Kind) -> int:
    """Bytes of the longest SSZ of ``kind`` that the network's schedule knows."""
    forks = [entry.fork for entry in network.schedule.forks if entry.fork in LAYOUTS]
    return max(max_size(network.preset.name, fork, CLASSES[kind].__name__) for fork in forks if fork is not None)


def decode_one(network: Network, kind: Kind, reply: Reply, peer: str) -> Decoded | RemoteFault:
    """A bootstrap, finality update or optimistic update."""
    try:
        if reply.ssz:
            return _from_ssz(network, kind, reply.version, reply.body)
        _bound(reply.body, 1)
        envelope = _json(reply.body, _Envelope)
        data = bytes(envelope.data) or reply.body  # very old servers send it bare
        return _from_json(network, kind, reply.version or envelope.version or "", data)
    except _Wrong as wrong:
        return RemoteFault(wrong.reason, peer, f"{kind.name.lower()}: {wrong}", network.name)


def decode_chunk(network: Network, kind: Kind, digest: bytes, ssz: bytes, peer: str) -> Decoded | RemoteFault:
    """An object as Req/Resp sends it, under its context digest."""
    try:
        return _of_digest(network, kind, digest, ssz)
    except _Wrong as wrong:
        return RemoteFault(wrong.reason, peer, f"{kind.name.lower()}: {wrong}", network.name)


def decode_updates(network: Network, reply: Reply, start: int, count: int, peer: str) -> Updates | RemoteFault:
    """Updates of the periods from ``start`` on, at most ``count``, in order. The fault when the first is no such one;
    none at all is a good answer."""
    good: list[Decoded] = []
    try:
        for decoded in _updates(network, reply, count):
            _expect_period(network, decoded, start + len(good))
            good.append(decoded)
    except _Wrong as wrong:
        fault = RemoteFault(wrong.reason, peer, f"update: {wrong}", network.name)
        return Updates(tuple(good), fault) if good else fault
    return Updates(tuple(good))


def _expect_period(network: Network, decoded: Decoded, expected: int) -> None:
    period = compute_sync_committee_period_at_slot(network.preset, decoded.slot)
    if period != expected:
        # Servers skip periods that they do not have; none goes back or repeats itself.
        reason = FaultReason.NOT_FOUND if period > expected else FaultReason.PROTOCOL
        raise _Wrong(reason, f"of period {period}, expected {expected}")


def _updates(network: Network, reply: Reply, count: int) -> Iterator[Decoded]:
    if reply.ssz:
        yield from _framed(network, reply.body, count)
        return
    _bound(reply.body, count)
    envelopes: list[_Envelope]
    if reply.body.lstrip()[:1] == b"[":
        envelopes = _json(reply.body, list[_Envelope])
    else:
        outer = _json(reply.body, _Envelope)
        inner = _json(bytes(outer.data), list[msgspec.Raw])
        envelopes = [_Envelope(data, outer.version) for data in inner]
    if len(envelopes) > count:
        raise _Wrong(FaultReason.OVERSIZED, f"{len(envelopes)} of them, asked for {count}")
    for envelope in envelopes:
        yield _from_json(network, Kind.UPDATE, envelope.version or "", bytes(envelope.data))


def _framed(network: Network, body: bytes, count: int) -> Iterator[Decoded]:
    """u64 length little endian (of digest and SSZ) | digest | SSZ, for each."""
    at, number = 0, 0
    while at < len(body):
        start = at + LENGTH_SIZE + DIGEST_SIZE
        end = at + LENGTH_SIZE + int.from_bytes(body[at : at + LENGTH_SIZE], "little")
        if number == count:
            raise _Wrong(FaultReason.OVERSIZED, f"more of them than {count}")
        if start > len(body) or not start < end <= len(body):
            raise _Wrong(FaultReason.BAD_FRAME, f"the answer ends within number {number}")
        yield _of_digest(network, Kind.UPDATE, body[at + LENGTH_SIZE : start], body[start:end])
        at, number = end, number + 1


def _of_digest(network: Network, kind: Kind, digest: bytes, ssz: bytes) -> Decoded:
    entry = fork_digests(network).get(ForkDigest(digest))
    if entry is None:
        raise _Wrong(FaultReason.WRONG_NETWORK, f"unknown fork digest {digest.hex()}")
    return _decoded(network, kind, entry.fork, ssz, digest)


def _from_ssz(network: Network, kind: Kind, version: str, data: bytes) -> Decoded:
    if version:
        return _decoded(network, kind, _fork(version), data)
    # No fork's name: of the layouts of the schedule, newest first, the one that the bytes fit and their slot is of.
    for layout in reversed(list(dict.fromkeys(LAYOUTS.values()))):
        try:
            return _decoded(network, kind, layout, data)
        except _Wrong:
            continue
    raise _Wrong(FaultReason.BAD_FRAME, "SSZ that fits no fork")


def _from_json(network: Network, kind: Kind, version: str, data: bytes) -> Decoded:
    if len(data) > JSON_FACTOR * largest(network, kind) + JSON_EXTRA:
        raise _Wrong(FaultReason.OVERSIZED, f"{len(data)} bytes of JSON")
    parsed = _unflattened(_json(data, Any))
    fork = _fork(version) if version else _fork_of_json(network, parsed)
    layout = _layout(fork)
    try:
        value = from_json(container(network.preset, layout, CLASSES[kind]), parsed)
    except ProofError as error:
        raise _Wrong(FaultReason.BAD_FRAME, str(error)) from None
    return _checked(network, kind, layout, value, None)


def _decoded(network: Network, kind: Kind, fork: Fork | None, data: bytes, digest: bytes | None = None) -> Decoded:
    layout = _layout(fork)
    limit = max_size(network.preset.name, layout, CLASSES[kind].__name__)
    if len(data) > limit:
        raise _Wrong(FaultReason.OVERSIZED, f"{len(data)} bytes, at most {limit}")
    try:
        value = decode(network.preset, layout, CLASSES[kind], data)
    except ProofError as error:
        raise _Wrong(FaultReason.BAD_FRAME, f"is no SSZ of {layout}: {error}") from None
    return _checked(network, kind, layout, value, digest, data)


def _checked(
    network: Network, kind: Kind, layout: Fork, value: Any, claimed: bytes | None, ssz: bytes | None = None
) -> Decoded:
    """The item, if the slot is of a fork with that layout."""
    epoch = compute_epoch_at_slot(network.preset, _slot(value))
    fork = network.schedule.entry_at(epoch).fork
    if _layout(fork) is not layout:
        raise _Wrong(FaultReason.PROTOCOL, f"of slot {_slot(value)}, in the layout of {layout}")
    digest = network.schedule.compute_fork_digest(network.genesis_validators_root, epoch)
    if claimed is not None and claimed != digest:
        raise _Wrong(FaultReason.PROTOCOL, f"of slot {_slot(value)} under fork digest {claimed.hex()}")
    return Decoded(Item(kind, digest, encode(network.preset, value) if ssz is None else ssz), value)


def _slot(value: Any) -> Slot:
    header = value.header if isinstance(value, LightClientBootstrap) else value.attested_header
    return Slot(header.beacon.slot)


def _layout(fork: Fork | None) -> Fork:
    layout = LAYOUTS.get(fork) if fork is not None else None
    if layout is None:
        # Past our horizon, or before altair: as likely our schedule is old as the server wrong.
        raise _Wrong(FaultReason.REFUSED, "of a fork that is not known here")
    return layout


def _fork(version: str) -> Fork | None:
    return Fork(version) if version in LAYOUTS else None


def _fork_of_json(network: Network, data: Any) -> Fork | None:
    """By the slot of its first header, for servers that name no fork."""
    header = data.get("attested_header", data.get("header")) if isinstance(data, dict) else None
    beacon = header.get("beacon") if isinstance(header, dict) else None
    slot = str(beacon.get("slot")) if isinstance(beacon, dict) else ""
    if not (slot.isascii() and slot.isdigit() and len(slot) <= 20):
        raise _Wrong(FaultReason.BAD_FRAME, "has no slot")
    return network.schedule.entry_at(compute_epoch_at_slot(network.preset, Slot(int(slot)))).fork


def _unflattened(data: Any) -> Any:
    """Headers as they were written before capella, made into today's form."""
    if not isinstance(data, dict):
        return data
    flat = [name for name in _HEADERS if isinstance(data.get(name), dict) and "slot" in data[name]]
    return {**data, **{name: {"beacon": data[name]} for name in flat if "beacon" not in data[name]}}


def _bound(body: bytes, count: int) -> None:
    if body.count(b"{") + body.count(b"[") > MAX_CONTAINERS * (count + 1):
        raise _Wrong(FaultReason.OVERSIZED, "more JSON objects than that can have")


def _json(data: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _Wrong(FaultReason.BAD_FRAME, f"is no JSON that fits: {error}") from None
