"""The asking side of Req/Resp: one stream, one request, its response. What the remote does wrong comes back as a fault,
not yet scored.

Bounds: ``MAX_CONCURRENT_REQUESTS`` streams per peer and protocol, a chunk of the type's greatest size each, and as many
chunks as were asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from p2p.beacon.codec import Bounds, Refusal, encode_request, response_chunk
from p2p.beacon.peer import Peer
from p2p.beacon.protocols import UPDATES, Exchange, exchange_of
from p2p.beacon.provider import Chunk, Provider
from p2p.beacon.reading import read_or_end
from p2p.faults import FaultReason, Malformed, RemoteFault
from p2p.port import Host, Stream, StreamClosed, StreamRefused

WRITE_TIMEOUT_S: Final = 10.0
"""Seconds for the remote to take a request, which is smaller than any send window."""

RESP_TIMEOUT_S: Final = 10.0
"""Seconds for one chunk, from the end of the one before it (phase0 p2p, ``RESP_TIMEOUT``). The largest has 27 kB."""

PATIENCE_S: Final = 6.0
"""Once a response has begun, seconds after which what has come is taken and the rest left for later: below the deadline
of the driver (8 s), so that a slow link makes progress instead of timing out."""

PAUSE_S: Final = 12.0
"""After an answer that we ask too often: the clients' quotas are counted over 10 to 12 s."""


@dataclass(slots=True)
class Answer:
    """What came. ``refusal`` and ``fault`` say why no more did; neither does where the remote ended its response, or
    gave all that was asked, or was cut at the end of our patience (``cut``)."""

    version: int
    chunks: list[Chunk] = field(default_factory=list)
    refusal: Refusal | None = None
    fault: RemoteFault | None = None
    cut: bool = False
    ended: bool = False
    """The remote has ended the stream."""


class Asker:
    """Asks the peers of one network."""

    def __init__(self, host: Host, provider: Provider, network: str) -> None:
        self._host = host
        self._provider = provider
        self._network = network

    def fault(self, peer: Peer, reason: FaultReason, evidence: str) -> RemoteFault:
        return RemoteFault(reason, peer.id, evidence, self._network)

    async def ask(
        self, peer: Peer, exchange: Exchange, request: Callable[[int], bytes], *, most: int = 1
    ) -> Answer | RemoteFault:
        """``request`` gives the SSZ by version; ``most`` is the greatest number of chunks of a good answer. A fault in
        place of an answer means that nothing came of it; cancel at will. Waits while two are under way."""
        async with peer.slots[exchange.name]:
            try:
                stream = await self._host.open_stream(peer.id, exchange.ids)
            except StreamRefused as refused:
                return self.fault(peer, FaultReason.REFUSED, str(refused))
            answer = Answer(exchange_of(stream.protocol)[1])
            try:
                await self._converse(peer, exchange, stream, request(answer.version), most, answer)
            finally:
                if not answer.ended:
                    with trio.CancelScope(shield=True):  # bounded: a reset never waits for the remote
                        await stream.reset()
        self._note(peer, exchange, answer)
        return answer.fault if answer.fault is not None and not answer.chunks else answer

    async def _converse(
        self, peer: Peer, exchange: Exchange, stream: Stream, request: bytes, most: int, answer: Answer
    ) -> None:
        try:
            with trio.move_on_after(WRITE_TIMEOUT_S) as scope:
                await stream.write(encode_request(request))
                await stream.close()
            if scope.cancelled_caught:
                answer.fault = self.fault(peer, FaultReason.STALLED, f"did not take a request in {WRITE_TIMEOUT_S:g} s")
                return
            await self._read(peer, exchange, stream, most, answer)
        except StreamClosed as closed:
            answer.fault = self.fault(peer, FaultReason.DISCONNECTED, f"{exchange.name}: {closed}")

    async def _read(self, peer: Peer, exchange: Exchange, stream: Stream, most: int, answer: Answer) -> None:
        """Until the response is over, for whatever reason. Raises StreamClosed where it breaks off."""
        bounds = self._bounds(exchange, answer.version)
        patience = trio.current_time() + PATIENCE_S
        while len(answer.chunks) < most:
            deadline = trio.current_time() + RESP_TIMEOUT_S
            soft = bool(answer.chunks) and patience < deadline
            with trio.move_on_at(patience if soft else deadline) as scope:
                chunk = await read_or_end(response_chunk(bounds, exchange.kind is not None), stream)
            if scope.cancelled_caught:
                answer.cut = soft
                if not soft:
                    evidence = f"{exchange.name}: no chunk in {RESP_TIMEOUT_S:g} s"
                    answer.fault = self.fault(peer, FaultReason.TIMEOUT, evidence)
                return
            if chunk is None:
                answer.ended = True
                if exchange is not UPDATES:  # of those there may be none
                    answer.fault = self.fault(peer, FaultReason.PROTOCOL, f"{exchange.name}: an empty response")
                return
            if isinstance(chunk, Malformed):
                answer.fault = self.fault(peer, chunk.reason, f"{exchange.name}: {chunk.evidence}")
                return
            if isinstance(chunk, Refusal):
                answer.refusal = chunk
                return
            answer.chunks.append(chunk)

    def _bounds(self, exchange: Exchange, version: int) -> Bounds:
        kind = exchange.kind
        if kind is None:
            size = exchange.responses[version]
            return lambda digest: (size, size)

        def of(digest: bytes) -> tuple[int, int] | None:
            most = self._provider.max_size(kind, digest)
            return None if most is None else (1, most)

        return of

    def _note(self, peer: Peer, exchange: Exchange, answer: Answer) -> None:
        """What an answer says about how often to ask."""
        if exchange.kind is not None:
            peer.objects_received += len(answer.chunks)
        if answer.refusal is not None and answer.refusal.rate_limited:
            peer.paused[exchange.name] = trio.current_time() + PAUSE_S
