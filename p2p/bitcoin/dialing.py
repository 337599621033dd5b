"""Dialing: where to, and how a stream gets there, by TCP or through a SOCKS5 proxy (RFC 1928, RFC 1929).

Through a proxy names are resolved there, onion addresses work, and nothing is looked up here: a DNS query would tell
others whom we are about to meet.
"""

from __future__ import annotations

import re
import secrets
import struct
from dataclasses import dataclass
from typing import Final, Protocol

import trio
from trio.abc import Stream

from p2p.bitcoin.netaddr import Endpoint, NetAddressError, Network, host_text, parse_endpoint
from p2p.port import DialFailed
from p2p.troubles import cause

PREFIX: Final = "btc:"
"""Names of this network's peers begin so."""
DIAL_S: Final = 10.0
"""Seconds for a TCP connection. Twice Core's 5, for satellites and sleepy radios."""
PROXY_S: Final = 40.0
"""Seconds for a connection through a proxy: Tor builds a circuit first."""
_NAME_MAX: Final = 253
_DNS_NAME: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?")

_SOCKS: Final = 5
_USER_PASSWORD: Final = 2
_CONNECT_NAME: Final = bytes((_SOCKS, 1, 0, 3))
_BOUND_SIZES: Final = {1: 4, 4: 16}
_REPLIES: Final = {
    1: "general failure",
    2: "not allowed",
    3: "network unreachable",
    4: "host unreachable",
    5: "refused",
    6: "expired",
    7: "command not supported",
    8: "address type not supported",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to dial. ``endpoint`` is None for a name that is yet to be resolved."""

    host: str
    port: int
    endpoint: Endpoint | None = None

    @property
    def peer(self) -> str:
        """How the peer there is called: ``btc:HOST:PORT``."""
        return PREFIX + str(self)

    @property
    def group(self) -> bytes:
        """As ``Endpoint.group``; a name is a group of its own."""
        return self.endpoint.group if self.endpoint is not None else b"dns:" + self.host.lower().encode()

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def target_of(endpoint: Endpoint) -> Target:
    """Where an endpoint is dialed."""
    return Target(host_text(endpoint.network, endpoint.host), endpoint.port, endpoint)


def parse_target(text: str, default_port: int) -> Target:
    """``HOST[:PORT]`` as an operator writes it: an address as ``netaddr.parse_endpoint`` reads it, or a DNS name.
    NetAddressError."""
    try:
        return target_of(parse_endpoint(text, default_port))
    except NetAddressError:
        host, colon, digits = text.partition(":")
        numeric = host.rpartition(".")[2].isdigit()
        if numeric or host.lower().rstrip(".").endswith((".onion", ".i2p")) or not _DNS_NAME.fullmatch(host):
            raise
        if colon and not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) <= 65_535):
            raise NetAddressError(f"port {digits!r} is outside 1..65535") from None
        return Target(host, int(digits) if colon else default_port)


_BY_IP: Final = frozenset({Network.IPV4, Network.IPV6, Network.CJDNS, Network.YGGDRASIL})
"""Networks whose addresses are IP addresses, to be dialed as such; all others have names of their own."""


class Dial(Protocol):
    """A way out."""

    async def __call__(self, target: Target) -> Stream:
        """A connected stream; DialFailed in bounded time."""


class TcpDial:
    """Straight there."""

    networks: Final = (Network.IPV4, Network.IPV6)

    async def __call__(self, target: Target) -> Stream:
        if target.endpoint is not None and target.endpoint.network not in _BY_IP:
            # An anchor of a run behind a proxy, say. Looking its name up would tell the DNS server (RFC 7686).
            raise DialFailed(f"{target}: only a proxy gets there")
        return await _connect(target.host, target.port, DIAL_S)


class SocksDial:
    """Through the SOCKS5 proxy at ``host``:``port``. ``isolate``: new credentials for each connection, by which Tor
    keeps them on circuits of their own."""

    networks: Final = (Network.IPV4, Network.IPV6, Network.TORV3)

    def __init__(self, host: str, port: int, *, isolate: bool = True) -> None:
        self._host = host
        self._port = port
        self._isolate = isolate

    async def __call__(self, target: Target) -> Stream:
        with trio.move_on_after(PROXY_S):
            stream = await _connect(self._host, self._port, DIAL_S)
            done = False
            try:
                await request(stream, target.host, target.port, isolate=self._isolate)
                done = True
            finally:
                if not done:
                    await trio.aclose_forcefully(stream)
            return stream
        raise DialFailed(f"{target}: nothing through the proxy in {PROXY_S:g} s")


async def _connect(host: str, port: int, seconds: float) -> trio.SocketStream:
    with trio.move_on_after(seconds):
        try:
            return await trio.open_tcp_stream(host, port)
        except (OSError, UnicodeError) as error:  # a name that cannot be encoded is one that nobody has
            raise DialFailed(f"{host}:{port}: {cause(error)}") from error
    raise DialFailed(f"{host}:{port}: no connection in {seconds:g} s")


async def request(stream: Stream, host: str, port: int, *, isolate: bool) -> None:
    """Has the proxy at the other end of ``stream`` connect it to ``host``:``port``; DialFailed."""
    name = host.encode("ascii", "replace")
    if len(name) > _NAME_MAX:
        raise DialFailed(f"a name of {len(name)} bytes is above {_NAME_MAX}")
    try:
        methods = bytes((0, _USER_PASSWORD)) if isolate else b"\0"
        await stream.send_all(bytes((_SOCKS, len(methods))) + methods)
        version, method = await _exactly(stream, 2)
        if version != _SOCKS or method not in methods:
            raise DialFailed(f"the proxy answers {version}, {method}: not SOCKS5 as we speak it")
        if method == _USER_PASSWORD:
            await _log_in(stream)
        await stream.send_all(_CONNECT_NAME + bytes((len(name),)) + name + struct.pack(">H", port))
        await _reply(stream, f"{host}:{port}")
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise DialFailed("the proxy hung up") from error


async def _log_in(stream: Stream) -> None:
    """RFC 1929. Tor takes any credentials and keeps different ones apart."""
    user, password = secrets.token_hex(8).encode(), secrets.token_hex(8).encode()
    await stream.send_all(b"\x01" + bytes((len(user),)) + user + bytes((len(password),)) + password)
    _, status = await _exactly(stream, 2)
    if status:
        raise DialFailed("the proxy refuses our credentials")


async def _reply(stream: Stream, where: str) -> None:
    _, code, _, kind = await _exactly(stream, 4)
    if code:
        raise DialFailed(f"{where}: the proxy says {_REPLIES.get(code, f'code {code}')}")
    if kind == 3:
        (size,) = await _exactly(stream, 1)
    elif kind in _BOUND_SIZES:
        size = _BOUND_SIZES[kind]
    else:
        raise DialFailed(f"{where}: the proxy tells an address of type {kind}")
    await _exactly(stream, size + 2)


async def _exactly(stream: Stream, size: int) -> bytes:
    """Not a byte more: what follows is the peer's."""
    data = b""
    while len(data) < size:
        more = await stream.receive_some(size - len(data))
        if not more:
            raise DialFailed("the proxy hung up")
        data += more
    return data
