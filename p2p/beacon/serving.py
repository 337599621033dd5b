"""The answering side of Req/Resp: the door for streams that peers open to us.

Bounds per peer and protocol: ``MAX_STREAMS`` streams, of which ``MAX_CONCURRENT_REQUESTS`` are being answered and the
others wait, ``SERVE_BATCH`` objects each in memory, and the rates of ``allowance.RATES``, which delay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import structlog
import trio

from p2p.beacon import messages as m
from p2p.beacon.allowance import Allowance
from p2p.beacon.attending import Attendant
from p2p.beacon.codec import Code, Refusal, encode_chunk, encode_refusal, payload
from p2p.beacon.peer import MAX_CONCURRENT_REQUESTS, Peer
from p2p.beacon.protocols import (
    BOOTSTRAP,
    FINALITY,
    GOODBYE,
    LIGHT_CLIENT,
    MAX_REQUEST_LIGHT_CLIENT_UPDATES,
    METADATA,
    OPTIMISTIC,
    PING,
    STATUS,
    UPDATES,
    Exchange,
    exchange_of,
)
from p2p.beacon.provider import Chunk, Provider
from p2p.beacon.reading import read
from p2p.faults import FaultReason, Malformed, RemoteFault
from p2p.port import Stream, StreamClosed
from p2p.roster import Roster

REQUEST_TIMEOUT_S: Final = 10.0
"""Seconds for a whole request, which has 92 bytes at most, to arrive."""

WRITE_TIMEOUT_S: Final = 10.0
"""Seconds for the remote to take one chunk; after that it is not waiting for it any more (``RESP_TIMEOUT``)."""

MAX_STREAMS: Final = 4
"""Streams of one protocol that a peer may hold: the two requests that it may have under way, and two that it begins
while we have not noticed yet that the others are over."""

SERVE_BATCH: Final = 4
"""Updates read from the provider at a time, 107 kB: peers that read slowly hold as much per stream."""

Served: TypeAlias = Iterator[Chunk | Refusal]
_NOTHING: Final = Refusal(Code.RESOURCE_UNAVAILABLE, "we do not have it")
_BAD: Final = Refusal(Code.INVALID_REQUEST, "invalid request")

log = structlog.get_logger(__name__)


class Door:
    """Handlers of one network's protocols. What a peer tells us beside its questions is ``attendant``'s to judge."""

    def __init__(self, network: str, provider: Provider, roster: Roster[Peer, Allowance], attendant: Attendant) -> None:
        self._network = network
        self._provider = provider
        self._roster = roster
        self._metadata = attendant.metadata
        self._heard = attendant.heard
        self._open: dict[tuple[str, str], int] = {}
        self._slots: dict[tuple[str, str], trio.Semaphore] = {}
        self._answers: dict[str, Callable[[Peer, int, bytes], Served]] = {
            STATUS.name: self._status,
            METADATA.name: self._tell_metadata,
            PING.name: self._ping,
            GOODBYE.name: self._goodbye,
            BOOTSTRAP.name: self._bootstrap,
            UPDATES.name: self._updates,
            FINALITY.name: self._finality,
            OPTIMISTIC.name: self._optimistic,
        }

    async def handle(self, stream: Stream) -> None:
        """Handler of every protocol."""
        try:
            await self._handle(stream)
        except Exception:  # firewall: a stream must not take more than itself down; nothing is hidden
            log.exception("request failed", peer=stream.peer, network=self._network, protocol=stream.protocol)
            await stream.reset()

    async def _handle(self, stream: Stream) -> None:
        peer = self._roster.peers.get(stream.peer)
        exchange, version = exchange_of(stream.protocol)
        key = stream.peer, exchange.name
        if peer is None or peer.leaving or self._open.get(key, 0) >= MAX_STREAMS:
            await stream.reset()
            return
        self._open[key] = self._open.get(key, 0) + 1
        slots = self._slots.setdefault(key, trio.Semaphore(MAX_CONCURRENT_REQUESTS))
        fault: RemoteFault | None = None
        try:
            async with slots:
                fault = await self._serve(stream, peer, exchange, version)
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key], self._slots[key]
        if fault is not None:
            await stream.reset()
            self._roster.judge(fault)

    async def _serve(self, stream: Stream, peer: Peer, exchange: Exchange, version: int) -> RemoteFault | None:
        try:
            request = await self._request(stream, exchange, version)
            if isinstance(request, RemoteFault):
                return request
            await trio.sleep(peer.allowance.charge(exchange, _cost(exchange, request), trio.current_time()))
            return await self._answer(stream, peer, exchange, version, request)
        except StreamClosed:  # it does not wait for the answer any more, as anybody may
            await stream.reset()
            return None

    async def _request(self, stream: Stream, exchange: Exchange, version: int) -> bytes | RemoteFault:
        size = exchange.requests[version]
        if not size:
            return b""
        with trio.move_on_after(REQUEST_TIMEOUT_S) as scope:
            request = await read(payload((size, size)), stream)
        if scope.cancelled_caught:
            return self._fault(stream.peer, FaultReason.DRIP, f"{exchange.name}: no request in {REQUEST_TIMEOUT_S:g} s")
        if isinstance(request, Malformed):
            return self._fault(stream.peer, request.reason, f"{exchange.name} request: {request.evidence}")
        return request

    async def _answer(
        self, stream: Stream, peer: Peer, exchange: Exchange, version: int, request: bytes
    ) -> RemoteFault | None:
        if exchange in LIGHT_CLIENT:
            peer.asked_at = trio.current_time()
        for reply in _guarded(self._answers[exchange.name](peer, version, request), self._network):
            chunk = isinstance(reply, Chunk)
            with trio.move_on_after(WRITE_TIMEOUT_S) as scope:
                await stream.write(encode_chunk(reply) if isinstance(reply, Chunk) else encode_refusal(reply))
            if scope.cancelled_caught:
                evidence = f"{exchange.name}: did not take a chunk in {WRITE_TIMEOUT_S:g} s"
                return self._fault(peer.id, FaultReason.STALLED, evidence)
            peer.objects_served += chunk and exchange.kind is not None
        return None

    def _fault(self, peer: str, reason: FaultReason, evidence: str) -> RemoteFault:
        return RemoteFault(reason, peer, evidence, self._network)

    # What is answered, by protocol.

    def _status(self, peer: Peer, version: int, request: bytes) -> Served:
        ours = self._provider.status()
        yield Chunk(b"", m.encode_status(ours, version))  # before it is judged: it must be able to tell for itself
        self._heard(peer, m.decode_status(request))

    def _tell_metadata(self, peer: Peer, version: int, request: bytes) -> Served:
        yield Chunk(b"", m.encode_metadata(self._metadata, version))

    def _ping(self, peer: Peer, version: int, request: bytes) -> Served:
        peer.seq_number = m.decode_uint64(request)
        yield Chunk(b"", m.encode_uint64(self._metadata.seq_number))

    def _goodbye(self, peer: Peer, version: int, request: bytes) -> Served:
        reason = m.decode_uint64(request)
        log.info("peer says goodbye", peer=peer.id, network=self._network, reason=reason)
        peer.part(None)
        yield Chunk(b"", m.encode_uint64(reason))

    def _bootstrap(self, peer: Peer, version: int, request: bytes) -> Served:
        yield self._provider.bootstrap(request) or _NOTHING

    def _updates(self, peer: Peer, version: int, request: bytes) -> Served:
        start, count = m.decode_range(request)
        if not count:
            yield _BAD
        end = min(start + count, start + MAX_REQUEST_LIGHT_CLIENT_UPDATES, m.MAX_UINT64)
        while start < end:
            batch = self._provider.updates(start, min(SERVE_BATCH, end - start))
            yield from batch
            start += len(batch)
            if not batch:
                return

    def _finality(self, peer: Peer, version: int, request: bytes) -> Served:
        yield self._provider.finality_update() or _NOTHING

    def _optimistic(self, peer: Peer, version: int, request: bytes) -> Served:
        yield self._provider.optimistic_update() or _NOTHING


def _cost(exchange: Exchange, request: bytes) -> float:
    """Tokens: what is asked for, for a peer that asks for much and then does not wait for it."""
    if exchange is not UPDATES:
        return 1.0
    return float(max(1, min(m.decode_range(request)[1], MAX_REQUEST_LIGHT_CLIENT_UPDATES)))


def _guarded(served: Served, network: str) -> Served:
    """Firewall around the provider: what fails in it is ours, and must not look like a cut stream to the peer."""
    try:
        yield from served
    except Exception:  # see above; nothing is hidden
        log.exception("provider failed", network=network)
        yield Refusal(Code.SERVER_ERROR, "internal error")
