"""The door for streams that peers open to us: counts them, serves them, and scores what went wrong."""

from __future__ import annotations

from typing import Final

import structlog

from p2p.mesh.peer import Peer
from p2p.mesh.serving import Allowance, HeadersServer, Provider, serve_proofs
from p2p.mesh.wire import Wire
from p2p.port import Stream
from p2p.roster import Roster

MAX_STREAMS_PER_PEER: Final = 2
"""Headers streams per network, and proof streams in all, that a peer may hold: one, and one while it
replaces a broken one. Each may make us hold one reply of 645 kB."""

log = structlog.get_logger(__name__)


class Door:
    """Handlers of one network's protocols."""

    def __init__(self, network: str, provider: Provider, roster: Roster[Peer, Allowance]) -> None:
        self._network = network
        self._provider = provider
        self._roster = roster

    async def headers(self, stream: Stream) -> None:
        """Handler of the headers protocol."""
        try:
            await self._headers(stream)
        except Exception:  # firewall: a stream must not take more than itself down; nothing is hidden
            log.exception("headers stream failed", peer=stream.peer, network=self._network)
            await stream.reset()

    async def proofs(self, stream: Stream) -> None:
        """Handler of the proof protocol."""
        try:
            await self._proofs(stream)
        except Exception:  # firewall: a stream must not take more than itself down; nothing is hidden
            log.exception("proof stream failed", peer=stream.peer, network=self._network)
            await stream.reset()

    async def _headers(self, stream: Stream) -> None:
        peer = self._welcome(stream)
        servers = peer.servers.setdefault(self._network, set()) if peer else set()
        if peer is None or len(servers) >= MAX_STREAMS_PER_PEER:
            await stream.reset()
            return
        peer.nudge(self._network)
        server = HeadersServer(Wire(stream, self._network), self._provider, peer.allowance)
        servers.add(server)
        try:
            fault = await server.run()
        finally:
            servers.discard(server)
            peer.headers_served += server.headers_served
        if fault is not None:
            self._roster.judge(fault)

    async def _proofs(self, stream: Stream) -> None:
        peer = self._welcome(stream)
        if peer is None or peer.proof_streams >= MAX_STREAMS_PER_PEER:
            await stream.reset()
            return
        peer.proof_streams += 1
        try:
            fault = await serve_proofs(Wire(stream, self._network), self._provider, peer.allowance)
        finally:
            peer.proof_streams -= 1
        if fault is not None:
            self._roster.judge(fault)

    def _welcome(self, stream: Stream) -> Peer | None:
        peer = self._roster.peers.get(stream.peer)
        return None if peer is None or peer.leaving else peer
