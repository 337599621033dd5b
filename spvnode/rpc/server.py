"""Listening: TCP (with TLS, if so configured) and the unix socket ``<datadir>/rpc.sock``, with a bound on connections
for each.

TCP works by turns: however many clients it has, ``TCP_TURNS`` of them (new ones among them) do something in one round
of the event loop, and none for ``PRIORITY_SECONDS`` after something came on the unix socket, so that its owner is
answered whatever happens on TCP.

The firewall here is the last one: whatever happens on a connection is logged and ends that connection.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from spvnode.errors import InputError, StoreLocked
from spvnode.inputs import Endpoint
from spvnode.logs import get_logger
from spvnode.metrics import Metrics
from spvnode.places import SOCKET_NAME
from spvnode.rpc.access import Peer
from spvnode.rpc.auth import Cookie, peer_uid, uid_admitted
from spvnode.rpc.connection import Asgi, Connection, linger
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.http import App
from spvnode.rpc.limits import (
    HANDSHAKE_SECONDS,
    LINGER_SECONDS,
    MAX_TURNED_AWAY,
    MAX_UNIX_CONNECTIONS,
    PRIORITY_SECONDS,
    ROUND_SECONDS,
    TCP_TURNS,
)
from spvnode.rpc.services import NO_SERVICES, Services
from spvnode.rpc.settings import Desk
from spvnode.rpc.table import METHODS
from spvnode.view import NodeView

BACKLOG = 256
"""Connections that the kernel holds until they are accepted, or told that there are too many."""
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
class Door:
    """One kind of listener, how many may be inside, and by which turns they work."""

    name: str
    limit: Callable[[], int]
    remote: bool = False
    tls: ssl.SSLContext | None = None
    inside: int = 0
    before: Door | None = None
    """Who goes first."""
    stirred: float = -PRIORITY_SECONDS
    """When somebody here last came or said something."""
    heeded: float = -PRIORITY_SECONDS
    """What ``stirred`` of the other side was when it was last looked at."""
    until: float = 0.0
    """Until when the clients here hold still."""
    rested: float = -ROUND_SECONDS
    """When others last had a round."""
    turns: trio.Semaphore = field(default_factory=lambda: trio.Semaphore(TCP_TURNS))

    @property
    def crowded(self) -> bool:
        """Whether there are turns."""
        return self.before is not None and self.inside > TCP_TURNS

    async def turn(self) -> None:
        """For one who has waited: returns in a round of the event loop in which few others do."""
        self.stirred = trio.current_time()
        if self.crowded:
            await self._wait()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    async def rest(self) -> None:
        """For one in the middle of work, which may be long: lets others have rounds."""
        self.stirred = trio.current_time()
        if self.crowded or self.stirred - self.rested > ROUND_SECONDS:
            await self._wait()
            self.rested = trio.current_time()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    async def _wait(self) -> None:
        async with self.turns:  # a place is held from one round to the next
            # Again and again, for as long as the other side keeps stirring.
            while self.before and (free := self.still(self.before)) > trio.current_time():  # noqa: ASYNC110 - a time
                await trio.sleep_until(free)

    def still(self, other: Door) -> float:
        """Until when the clients here hold still, after ``other`` stirred. Counted from when that is noticed, not from
        when it was: work of ours may have lain between, and then ``other`` has had nothing of the time."""
        if self.heeded != other.stirred:
            self.heeded, self.until = other.stirred, trio.current_time() + PRIORITY_SECONDS
        return self.until


class _Paced(trio.abc.Listener[trio.SocketStream]):
    """A listener whose new connections wait for their turn with the others."""

    def __init__(self, door: Door, inner: trio.SocketListener) -> None:
        self._door = door
        self._inner = inner

    async def accept(self) -> trio.SocketStream:
        """See ``trio.SocketListener``."""
        stream = await self._inner.accept()
        await self._door.turn()
        return stream

    async def aclose(self) -> None:
        """See ``trio.SocketListener``."""
        await self._inner.aclose()


async def serve_rpc(
    node: NodeView,
    *,
    datadir: Path,
    bind: Endpoint,
    metrics: Metrics,
    stop: Callable[[], None],
    desk: Desk | None = None,
    services: Services = NO_SERVICES,
    tls: ssl.SSLContext | None = None,
    insecure: bool = False,
    task_status: Started = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until cancelled; then the cookie and the socket file are gone.

    ``stop`` is called when a client asks the daemon to end. ``desk``: the settings that may change meanwhile. Raises
    ``InputError`` when ``bind`` cannot be had, or is not loopback and neither has ``tls`` and a token key nor is
    called ``insecure``; ``StoreLocked`` when another daemon answers in ``datadir``.
    """
    desk = desk or Desk()
    if not bind.loopback and not insecure and (tls is None or not desk.now.keyring.keys):
        problem = "is reachable from other machines; only loopback is allowed without TLS and a token key"
        raise InputError("rpc.bind", f"{bind} {problem}")
    tcp = await open_tcp(bind)
    unix = await open_unix(datadir / SOCKET_NAME)
    cookie = Cookie.create(datadir)
    scheme = "https" if tls else "http"
    services = replace(services, urls=tuple(f"{scheme}://{_endpoint(listener)}/" for listener in tcp))
    dispatcher = Dispatcher(node, METHODS, metrics, services)
    app = App(node, dispatcher, cookie, metrics, stop, desk=desk, services=services)
    server = Server(app, metrics)
    local = Door("unix", lambda: MAX_UNIX_CONNECTIONS)
    others = Door("tcp", lambda: desk.now.connections, not bind.loopback, tls, before=local)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, local, [unix])
            nursery.start_soon(server.serve, others, tcp)
            addresses = Addresses(datadir / SOCKET_NAME, tuple(_endpoint(listener) for listener in tcp))
            log.info("rpc listens", unix=str(addresses.unix), tcp=[str(end) for end in addresses.tcp], tls=bool(tls))
            task_status.started(addresses)
    finally:
        cookie.remove()
        with suppress(OSError):
            (datadir / SOCKET_NAME).unlink()


def tls_context(cert: str, key: str) -> ssl.SSLContext | None:
    """For the PEM files of ``rpc.tls_cert`` and ``rpc.tls_key``; None without them. Raises InputError."""
    if not cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(Path(cert).expanduser(), Path(key).expanduser())
    except OSError as error:  # SSLError is one
        raise InputError("rpc.tls_cert", f"{cert} with {key}: {error.strerror or error}") from error
    return context


class Server:
    """Accepts connections for one ASGI application."""

    def __init__(self, app: Asgi, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def serve(self, door: Door, listeners: Sequence[trio.SocketListener]) -> None:
        """Serves ``listeners`` until cancelled."""
        await trio.serve_listeners(partial(self._handle, door), [_Paced(door, one) for one in listeners])

    async def _handle(self, door: Door, stream: trio.SocketStream) -> None:
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

    async def _converse(self, door: Door, stream: trio.SocketStream) -> None:
        limit = door.limit()
        if door.inside > limit:
            self._metrics.rpc_refused.labels("connections").inc()
            if door.inside <= limit + MAX_TURNED_AWAY and door.tls is None:
                await stream.send_all(_BUSY)
                await linger(stream)
            return
        vouched = door.name == "unix"
        if vouched and not uid_admitted(uid := peer_uid(stream.socket)):  # the mode 0600 should have stopped them
            self._metrics.rpc_refused.labels("uid").inc()
            log.warning("unix socket: another user was turned away", uid=uid)
            return
        peer = Peer(door.name, vouched, door.remote, "" if vouched else _caller_address(stream, remote=door.remote))
        if door.tls is None:
            await Connection(stream, self._app, peer, door.turn, door.rest).run()
        else:
            await self._converse_tls(door, door.tls, stream, peer)

    async def _converse_tls(self, door: Door, context: ssl.SSLContext, stream: trio.SocketStream, peer: Peer) -> None:
        secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await door.turn()
        with trio.move_on_after(HANDSHAKE_SECONDS) as patience:
            await secure.do_handshake()
        if patience.cancelled_caught:
            return
        await Connection(secure, self._app, peer, door.turn, door.rest).run()
        with trio.move_on_after(LINGER_SECONDS):  # for the farewell that TLS asks for, to a client that perhaps left
            await secure.aclose()


def _caller_address(stream: trio.SocketStream, *, remote: bool) -> str:
    """Whom anonymous requests are counted for: an address; on loopback, where all have the same, a connection."""
    name = stream.socket.getpeername()
    return str(name[0]) if remote else f"{name[0]}:{name[1]}"


async def open_tcp(bind: Endpoint) -> Sequence[trio.SocketListener]:
    """Listeners on an address. ``InputError`` when it is taken."""
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
