"""A UDP socket on trio that speaks in ``Endpoint``: both families on one where it is bound to ``::``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
import trio

from p2p.discv5.endpoint import Endpoint, endpoint_of, is_v6

ERROR_PAUSE_S: Final = 0.1
"""After the system could not receive: an interface that went away must not become a busy loop."""
_ANY_V6: Final = "::"

log = structlog.get_logger(__name__)


class UdpSocket:
    """Opened by ``bound``. ``errors`` counts datagrams that the system would not send."""

    def __init__(self, socket: trio.socket.SocketType, dual: bool) -> None:
        self._socket = socket
        self._dual = dual
        host, port = socket.getsockname()[:2]
        self.local = endpoint_of(host, port)
        self.errors = 0

    @classmethod
    @asynccontextmanager
    async def bound(cls, host: str, port: int) -> AsyncIterator[UdpSocket]:
        """Bind, and close at the end. Raise OSError."""
        family = trio.socket.AF_INET6 if is_v6(host) else trio.socket.AF_INET
        with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as socket:
            if is_v6(host):
                only_v6 = 0 if host == _ANY_V6 else 1
                socket.setsockopt(trio.socket.IPPROTO_IPV6, trio.socket.IPV6_V6ONLY, only_v6)
            await socket.bind((host, port))
            yield cls(socket, host == _ANY_V6)

    def reaches(self, host: str) -> bool:
        """Whether this socket can send to an address of that family."""
        return self._dual or is_v6(host) == is_v6(self.local.host)

    async def send(self, data: bytes, to: Endpoint) -> None:
        """Send, or count: to whom the system does not send now, the packet is lost, as any can be."""
        mapped = self._dual and not is_v6(to.host)
        try:
            await self._socket.sendto(data, (f"::ffff:{to.host}" if mapped else to.host, to.port))
        except OSError as error:
            self.errors += 1
            log.debug("datagram not sent", to=to.host, problem=str(error))

    async def receive(self, most: int) -> tuple[bytes, Endpoint]:
        """The next datagram, cut to ``most`` bytes, and who sent it."""
        while True:
            try:
                data, sender = await self._socket.recvfrom(most)
            except OSError as error:
                log.warning("datagrams cannot be received", problem=str(error))
                await trio.sleep(ERROR_PAUSE_S)
                continue
            return data, endpoint_of(sender[0], sender[1])
