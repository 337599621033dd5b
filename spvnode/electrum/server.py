"""Listening: TCP, TLS, or both, with bounds on connections. The firewall here is the last one: whatever happens on a
connection is logged and ends that connection."""

from __future__ import annotations

import errno
import ipaddress
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from spvnode.config_electrum import ElectrumConfig
from spvnode.electrum.blocks import Blocks
from spvnode.electrum.limits import BACKLOG, HANDSHAKE_SECONDS, LINGER_SECONDS, MAX_PLACE_CONNECTIONS
from spvnode.electrum.methods import Served
from spvnode.electrum.outflow import TooSlow
from spvnode.electrum.session import Session, Shared
from spvnode.electrum.tips import Tips
from spvnode.errors import InputError
from spvnode.inputs import Endpoint
from spvnode.logs import get_logger
from spvnode.metrics import Metrics
from spvnode.view import NodeView

LISTENER = "electrum"
"""How the metrics call it."""

log = get_logger("electrum")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server listens, with the ports that the kernel chose, if it was asked to."""

    tcp: tuple[Endpoint, ...]
    tls: tuple[Endpoint, ...]


class Started(Protocol):
    """What ``nursery.start`` passes in (``trio.TaskStatus``)."""

    def started(self, value: Addresses) -> None:
        """Tells the starter where the server listens."""


async def serve_electrum(
    node: NodeView,
    network: str,
    config: ElectrumConfig,
    *,
    news: Callable[[], Awaitable[None]],
    metrics: Metrics,
    task_status: Started = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves the chain of ``network`` until cancelled. ``news`` returns when something may have happened to a chain.
    Raises InputError for an address or a certificate that cannot be had."""
    context = tls_context(config.tls_cert, config.tls_key)
    tcp = await _open(config.endpoint, "electrum.bind")
    tls = await _open(config.tls_endpoint, "electrum.tls_bind")
    found = Addresses(tuple(map(_endpoint, tcp)), tuple(map(_endpoint, tls)))
    tips = Tips(node, network, news)
    shared = Shared(Served(tips, Blocks(tips), _hosts(found)), metrics, config.rate)
    server = Server(shared, config.connections)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tips.run)
        nursery.start_soon(server.serve, tcp, None)
        if context is not None:
            nursery.start_soon(server.serve, tls, context)
        log.info("electrum listens", network=network, tcp=list(map(str, found.tcp)), tls=list(map(str, found.tls)))
        task_status.started(found)


class Server:
    """Accepts clients on all listeners of one server."""

    def __init__(self, shared: Shared, connections: int) -> None:
        self._shared = shared
        self._most = connections
        self._inside = 0
        self._places: Counter[str] = Counter()
        """Connections from each place; those of places without any are removed."""

    async def serve(self, listeners: list[trio.SocketListener], tls: ssl.SSLContext | None) -> None:
        """Until cancelled."""
        if listeners:
            await trio.serve_listeners(partial(self._handle, tls), listeners)

    async def _handle(self, tls: ssl.SSLContext | None, stream: trio.SocketStream) -> None:
        metrics = self._shared.metrics
        async with aclosing(stream):
            try:
                address, port = stream.socket.getpeername()[:2]
            except OSError:
                return  # gone already
            place = place_of(address)
            if self._inside >= self._most or (place and self._places[place] >= MAX_PLACE_CONNECTIONS):
                metrics.rpc_refused.labels("electrum connections").inc()
                return
            self._inside += 1
            self._places[place] += 1
            metrics.rpc_connections.labels(LISTENER).set(self._inside)
            try:
                await self._converse(tls, stream, place or f"{address}:{port}")
            finally:
                self._inside -= 1
                self._places[place] -= 1
                self._places += Counter()  # forgets those without any
                metrics.rpc_connections.labels(LISTENER).set(self._inside)

    async def _converse(self, tls: ssl.SSLContext | None, stream: trio.SocketStream, caller: str) -> None:
        """The firewall."""
        try:
            if tls is None:
                await Session(stream, self._shared, caller).run()
            else:
                await self._converse_tls(tls, stream, caller)
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client left in the middle
        except* TooSlow:
            self._shared.metrics.rpc_refused.labels("electrum slow reader").inc()
        except* Exception:  # one connection never ends the server
            log.exception("electrum connection failed")

    async def _converse_tls(self, tls: ssl.SSLContext, stream: trio.SocketStream, caller: str) -> None:
        secure = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        await self._shared.turn()
        with trio.move_on_after(HANDSHAKE_SECONDS) as patience:
            await secure.do_handshake()
        if patience.cancelled_caught:
            return
        await Session(secure, self._shared, caller).run()
        with trio.move_on_after(LINGER_SECONDS):
            await secure.aclose()


def place_of(address: str) -> str:
    """Whom connections and rates are counted for: an address, of IPv6 its /64, which one subscriber has; empty for
    this machine, whose clients all have one address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or found
    if mapped.is_loopback:
        return ""
    return str(mapped) if mapped.version == 4 else str(ipaddress.ip_network((int(mapped) >> 64 << 64, 64)))


def tls_context(cert: str, key: str) -> ssl.SSLContext | None:
    """For PEM files; None without them. Raises InputError."""
    if not cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(Path(cert).expanduser(), Path(key).expanduser())
    except OSError as error:  # SSLError is one
        raise InputError("electrum.tls_cert", f"{cert} with {key}: {error.strerror or error}") from error
    return context


async def _open(bind: Endpoint | None, field: str) -> list[trio.SocketListener]:
    if bind is None:
        return []
    try:
        return list(await trio.open_tcp_listeners(bind.port, host=bind.host, backlog=BACKLOG))
    except OSError as error:
        hint = " (by another daemon?)" if error.errno == errno.EADDRINUSE else ""
        raise InputError(field, f"{bind}: {error.strerror or error}{hint}") from error


def _endpoint(listener: trio.SocketListener) -> Endpoint:
    host, port = listener.socket.getsockname()[:2]
    return Endpoint(host, port)


def _hosts(found: Addresses) -> dict[str, dict[str, int]]:
    """As ``server.features`` tells it. A wildcard is no address to reach us at."""
    hosts: dict[str, dict[str, int]] = {}
    for key, ends in (("tcp_port", found.tcp), ("ssl_port", found.tls)):
        for end in ends:
            if not ipaddress.ip_address(end.host).is_unspecified:
                hosts.setdefault(end.host, {})[key] = end.port
    return hosts
