"""Listening: loopback TCP and the unix socket ``<datadir>/rpc.sock``, with a bound on connections for each.

The firewall here is the last one: whatever happens on a connection is logged and ends that connection.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from spvnode.errors import InputError, StoreLocked
from spvnode.inputs import Endpoint
from spvnode.logs import get_logger
from spvnode.metrics import Metrics
from spvnode.places import SOCKET_NAME
from spvnode.rpc.auth import Cookie, peer_uid, uid_admitted
from spvnode.rpc.connection import Asgi, Connection, linger
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.http import App, Peer
from spvnode.rpc.limits import MAX_CONNECTIONS, MAX_TURNED_AWAY, MAX_UNIX_CONNECTIONS
from spvnode.rpc.table import METHODS
from spvnode.view import NodeView

BACKLOG = 64
"""Connections that the kernel holds until they are accepted."""
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

log = get_logger("rpc")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server listens; ``tcp`` with the port that the kernel chose, if it was asked to."""

    unix: Path
    tcp: tuple[Endpoint, ...]


class Started(Protocol):
    """What ``nursery.start`` passes in (``trio.TaskStatus``)."""

    def started(self, value: Addresses) -> None:
        """Tells the starter where the server listens."""


@dataclass(slots=True)
class _Door:
    """One kind of listener, and how many may be inside."""

    name: str
    limit: int
    inside: int = 0


async def serve_rpc(
    node: NodeView,
    *,
    datadir: Path,
    bind: Endpoint,
    metrics: Metrics,
    stop: Callable[[], None],
    task_status: Started = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until cancelled; then the cookie and the socket file are gone.

    ``stop`` is called when a client asks the daemon to end. Raises ``InputError`` when ``bind`` is not loopback or
    cannot be had, ``StoreLocked`` when another daemon answers in ``datadir``.
    """
    if not bind.loopback:
        raise InputError("rpc.bind", f"{bind} is reachable from other machines; only loopback is allowed")
    tcp = await open_tcp(bind)
    unix = await open_unix(datadir / SOCKET_NAME)
    cookie = Cookie.create(datadir)
    app = App(node, Dispatcher(node, METHODS, metrics), cookie, metrics, stop)
    server = Server(app, metrics)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, "tcp", MAX_CONNECTIONS, tcp)
            nursery.start_soon(server.serve, "unix", MAX_UNIX_CONNECTIONS, [unix])
            addresses = Addresses(datadir / SOCKET_NAME, tuple(_endpoint(listener) for listener in tcp))
            log.info("rpc listens", unix=str(addresses.unix), tcp=[str(end) for end in addresses.tcp])
            task_status.started(addresses)
    finally:
        cookie.remove()
        with suppress(OSError):
            (datadir / SOCKET_NAME).unlink()


class Server:
    """Accepts connections for one ASGI application."""

    def __init__(self, app: Asgi, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def serve(self, name: str, limit: int, listeners: Sequence[trio.SocketListener]) -> None:
        """Serves ``listeners``, at most ``limit`` connections together, until cancelled."""
        door = _Door(name, limit)
        await trio.serve_listeners(partial(self._handle, door), list(listeners))

    async def _handle(self, door: _Door, stream: trio.SocketStream) -> None:
        gauge = self._metrics.rpc_connections.labels(door.name)
        door.inside += 1
        gauge.set(door.inside)
        try:
            async with aclosing(stream):
                await self._converse(door, stream)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client left in the middle
        except Exception:  # the firewall of each connection: one of them never ends the server
            log.exception("rpc connection failed", listener=door.name)
        finally:
            door.inside -= 1
            gauge.set(door.inside)

    async def _converse(self, door: _Door, stream: trio.SocketStream) -> None:
        if door.inside > door.limit:
            self._metrics.rpc_refused.labels("connections").inc()
            if door.inside <= door.limit + MAX_TURNED_AWAY:
                await stream.send_all(_BUSY)
                await linger(stream)
            return
        vouched = door.name == "unix"
        if vouched and not uid_admitted(uid := peer_uid(stream.socket)):  # the mode 0600 should have stopped them
            self._metrics.rpc_refused.labels("uid").inc()
            log.warning("unix socket: another user was turned away", uid=uid)
            return
        await Connection(stream, self._app, Peer(door.name, vouched)).run()


async def open_tcp(bind: Endpoint) -> Sequence[trio.SocketListener]:
    """Listeners on a loopback address. ``InputError`` when it is taken."""
    try:
        return await trio.open_tcp_listeners(bind.port, host=bind.host, backlog=BACKLOG)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        hint = " (by another daemon? --rpc 127.0.0.1:0 takes any free port)" if taken else ""
        raise InputError("rpc.bind", f"{bind}: {error.strerror or error}{hint}") from error


async def open_unix(path: Path) -> trio.SocketListener:
    """A listener on a socket file of mode 0600. A file left by a killed daemon is replaced, a live one's is not."""
    if await _answers(path):
        raise StoreLocked(f"datadir: another daemon answers on {path}")
    with suppress(FileNotFoundError):
        path.unlink()  # noqa: ASYNC240 - at start, microseconds
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await sock.bind(str(path))
        path.chmod(0o600)  # noqa: ASYNC240 - at start; before listen, until when nobody can connect
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise InputError("datadir", f"{path}: {error.strerror or error}") from error
    return trio.SocketListener(sock)


async def _answers(path: Path) -> bool:
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            await probe.connect(str(path))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTSOCK):
                return False
            raise InputError("datadir", f"{path}: {error.strerror or error}") from error
    return True


def _endpoint(listener: trio.SocketListener) -> Endpoint:
    host, port = listener.socket.getsockname()[:2]
    return Endpoint(host, port)
