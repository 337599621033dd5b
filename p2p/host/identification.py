"""Who the peers say they are, and who we tell them that we are: identify, asked once and pushed on every change."""

from __future__ import annotations

# First, because it makes libp2p importable the light way, whoever imports this module.
import p2p.host.fences  # noqa: F401

# isort: split

from collections.abc import Mapping
from typing import Any

import structlog
import trio

from p2p.host.fences import identify
from p2p.host.fences.node import Node
from p2p.host.limits import Limits
from p2p.host.streams import Peer
from p2p.port import IdentifiedCallback

log = structlog.get_logger(__name__)


class Identification:
    """Serves and asks identify (libp2p specs, identify/README.md) for the host whose ``peers`` are given."""

    def __init__(self, node: Node, limits: Limits, agent: str, peers: Mapping[str, Peer]) -> None:
        self._node = node
        self._limits = limits
        self._agent = agent
        self._peers = peers
        self._pushing = False
        self.callbacks: list[IdentifiedCallback] = []
        node.set_stream_handler(identify.IDENTIFY, self._serve)
        node.set_stream_handler(identify.PUSH, self._take_push)

    async def ask(self, peer: Peer) -> None:
        """Ask a new peer who it says it is. What goes wrong here is no reason to leave it."""
        try:
            with trio.fail_after(self._limits.negotiation_deadline):
                stream = await self._node.new_stream(peer.conn.muxed_conn.peer_id, [identify.IDENTIFY])
                try:
                    said = await identify.ask(stream, peer.conn.peer, self._limits)
                finally:
                    with trio.CancelScope(shield=True):
                        await stream.reset()
        except (trio.TooSlowError, *identify.FAILURES) as error:
            log.debug("peer did not identify itself", peer=peer.conn.peer, error=repr(error))
        else:
            self._learned(peer, said)

    def _learned(self, peer: Peer, said: identify.Identity) -> None:
        peer.said = said
        if self._peers.get(peer.conn.peer) is not peer:
            return  # it has left while it was asked
        for callback in self.callbacks:
            try:
                callback(peer.conn.peer)
            except Exception:
                # Firewall: what listens to us must not decide what becomes of a stream.
                log.exception("identify callback failed", peer=peer.conn.peer)

    async def _serve(self, stream: Any) -> None:
        await stream.write(identify.answer(self._node, self._agent, stream.get_remote_address()))

    async def _take_push(self, stream: Any) -> None:
        """A peer tells of a change, unasked."""
        peer = self._peers.get(str(stream.muxed_conn.peer_id))
        if peer is None or not peer.pushes.take(1, trio.current_time()):
            await stream.reset()
            return
        try:
            with trio.fail_after(self._limits.negotiation_deadline):
                news = await identify.ask(stream, peer.conn.peer, self._limits)
        except (trio.TooSlowError, identify.IdentifyError) as error:
            log.debug("peer pushed nothing of use", peer=peer.conn.peer, error=repr(error))
            await stream.reset()
        else:
            self._learned(peer, peer.said.updated(news))

    def changed(self) -> None:
        """What we serve has changed: tell every peer that wants to hear of it."""
        if self._peers and not self._pushing:
            self._pushing = True
            self._node.swarm.manager.run_task(self._push_to_all)

    async def _push_to_all(self) -> None:
        await trio.lowlevel.checkpoint()  # several handlers are often set in one go
        self._pushing = False
        async with trio.open_nursery() as nursery:
            for peer in list(self._peers.values()):
                if identify.PUSH in peer.said.protocols:
                    nursery.start_soon(self._push, peer)

    async def _push(self, peer: Peer) -> None:
        try:
            with trio.fail_after(self._limits.negotiation_deadline):
                stream = await self._node.new_stream(peer.conn.muxed_conn.peer_id, [identify.PUSH])
                await self._serve(stream)
                await stream.close()
        except (trio.TooSlowError, *identify.FAILURES) as error:
            log.debug("peer did not take our push", peer=peer.conn.peer, error=repr(error))
