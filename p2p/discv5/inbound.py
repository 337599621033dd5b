"""What others send: datagrams in, answers out."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from p2p.discv5 import messages
from p2p.discv5.asking import Asker
from p2p.discv5.endpoint import Endpoint
from p2p.discv5.enr import Enr
from p2p.discv5.fence import Fence
from p2p.discv5.messages import Ping
from p2p.discv5.neighbours import Neighbours
from p2p.discv5.packet import MAX_PACKET, PacketError
from p2p.discv5.serving import answers
from p2p.discv5.session import Delivered, Opened, Outgoing, Sessions
from p2p.discv5.socket import UdpSocket

log = structlog.get_logger(__name__)


class Inbound:
    """The receiving side of one socket. ``own`` is our record as it is now."""

    def __init__(
        self, sessions: Sessions, fence: Fence, asker: Asker, neighbours: Neighbours, own: Callable[[], Enr]
    ) -> None:
        self._sessions = sessions
        self._fence = fence
        self._asker = asker
        self._neighbours = neighbours
        self._own = own
        self.read = 0
        """Packets looked at."""
        self.junk = 0
        """Packets not of this protocol, not for us, or not understood once decrypted."""

    async def receive(self, socket: UdpSocket) -> None:
        """Receive and answer until cancelled."""
        while True:
            data, at = await socket.receive(MAX_PACKET + 1)
            for out in self.take(data, at, trio.current_time()):
                await socket.send(out.data, out.to)

    def take(self, data: bytes, at: Endpoint, now: float) -> list[Outgoing]:
        """What one datagram is answered with."""
        if not self._fence.lets_in(at, now):
            return []
        self.read += 1
        try:
            return self._events(data, at, now)
        except PacketError:
            self.junk += 1
        except Exception:  # firewall: one packet must not take discovery down; nothing is hidden
            log.exception("packet not handled", sender=at.host)
        return []

    def _events(self, data: bytes, at: Endpoint, now: float) -> list[Outgoing]:
        outs: list[Outgoing] = []
        for event in self._sessions.receive(data, at, now):
            match event:
                case Outgoing():
                    outs.append(event)
                case Opened(enr, where):
                    self._neighbours.opened(enr, where, now)
                case Delivered(node_id, where, message):
                    outs += self._delivered(node_id, where, message, now)
        return outs

    def _delivered(self, node_id: bytes, at: Endpoint, encoded: bytes, now: float) -> list[Outgoing]:
        try:
            message = messages.decode(encoded)
        except messages.MessageError:
            self.junk += 1
            return []
        self._asker.delivered(node_id, at, message)
        if isinstance(message, Ping):
            self._neighbours.has_seq(node_id, at, message.enr_seq)
        replies = answers(message, node_id, at, self._own(), self._neighbours.table)
        return [out for reply in replies for out in self._sessions.answer(node_id, at, messages.encode(reply), now)]
