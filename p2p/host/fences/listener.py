"""Listening and dialing over plain TCP.

Upstream sets SO_REUSEPORT on listening sockets, for hole punching (transport/tcp/tcp.py:94): a second node on the same
port starts without an error, and the kernel deals out the connections between the two. It serves in a *system* task
(transport/tcp/tcp.py:303), where a stray exception is an internal error of trio and ends the process. And it knows no
remote address of an IPv6 connection, whose socket name is a tuple of four (io/trio.py:104).
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import trio
from libp2p.abc import IListener
from libp2p.io.trio import TrioTCPStream
from libp2p.transport.tcp.tcp import TCP
from multiaddr import Multiaddr

from p2p.host.admission import parse_ip
from p2p.host.listening import ListenError, multiaddr_of, parse_listen


class MeshTCPStream(TrioTCPStream):  # type: ignore[misc]
    """A TCP stream that knows its remote address, IPv4 or IPv6, also after the remote has gone."""

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        try:
            name = stream.socket.getpeername()
        except OSError:  # reset between accept and here
            return
        self._cached_remote_address = (str(parse_ip(name[0])), int(name[1]))


class MeshListener(IListener):  # type: ignore[misc]
    """Sockets of one listen address; serves in the nursery that the swarm sets as ``background_nursery``."""

    background_nursery: trio.Nursery

    def __init__(self, handler: Any, backlog: int) -> None:
        self._handler = handler
        self._backlog = backlog
        self._scope = trio.CancelScope()
        self._listeners: Sequence[trio.SocketListener] = ()

    async def listen(self, maddr: Multiaddr) -> None:
        """Raise ListenError."""
        try:
            host, port = parse_listen(str(maddr))
            self._listeners = await trio.open_tcp_listeners(port, host=host, backlog=self._backlog)
        except OSError as error:
            hint = "; --listen /ip4/0.0.0.0/tcp/0 takes a free port" if error.errno == errno.EADDRINUSE else ""
            raise ListenError(f"{maddr}: {error.strerror or error}{hint}") from error
        self.background_nursery.start_soon(self._serve)

    async def _serve(self) -> None:
        with self._scope:
            await trio.serve_listeners(self._accepted, list(self._listeners), handler_nursery=self.background_nursery)

    async def _accepted(self, stream: trio.SocketStream) -> None:
        await self._handler(MeshTCPStream(stream))

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        """Where it listens, with the ports that the kernel chose."""
        names = [listener.socket.getsockname() for listener in self._listeners]
        return tuple(Multiaddr(multiaddr_of(name[0], name[1])) for name in names)

    async def close(self) -> None:
        """Accept nobody more; connections that stand are the swarm's to end."""
        self._scope.cancel()
        for listener in self._listeners:
            await listener.aclose()


class MeshTCP(TCP):  # type: ignore[misc]
    """Upstream's TCP transport with our listener."""

    def __init__(self, backlog: int) -> None:
        super().__init__()
        self._backlog = backlog

    def create_listener(self, handler_function: Any) -> MeshListener:
        """A listener of ours."""
        return MeshListener(handler_function, self._backlog)
