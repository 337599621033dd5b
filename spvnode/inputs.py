"""Parsers for what a person types: in flags, in the config file, in the environment, and in RPC parameters.

Each takes the text and the name of the field it came from, and raises ``InputError`` naming that field and the
limit that was broken. Standard library only: the command line imports this before anything heavy.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from spvnode.errors import InputError
from spvnode.types import Hash32, Height

HASH_HEX_LENGTH = 64
"""Hex digits of a block hash (32 bytes)."""
MAX_HEIGHT = 2**32 - 2
"""Heights are stored and sent as unsigned 32-bit numbers; one value is free so that ``height + 1`` fits too."""
MAX_TEXT = 256
"""Longest address or name that is looked at. A multiaddr with a DNS name is under 200; files can hold anything."""
MAX_SHOWN = 80
"""Characters of bad input that an error repeats."""
MAX_PORT = 65_535

_NETWORK = re.compile(r"[a-z][a-z0-9-]{0,31}\Z")
_HEX = re.compile(r"[0-9a-fA-F]*\Z")
_DECIMAL = re.compile(r"[0-9]{1,10}\Z")  # ten digits hold MAX_HEIGHT
_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\Z")
_PLACED = re.compile(r"(?P<problem>.*) - at `\$\.?(?P<path>[^`]*)`\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A TCP address to listen on: an IP literal or ``localhost``; ``port`` 0 lets the kernel choose."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """True when only this machine can reach the address."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class CheckpointInput:
    """A trust start of Bitcoin's kind as it is named on the command line: ``[network:]height:hash``."""

    network: str | None
    height: Height
    hash: Hash32


def shown(text: str) -> str:
    """``text`` quoted for an error message: cut to ``MAX_SHOWN`` characters, control characters escaped."""
    cut = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
    return repr(cut)


def bounded(text: str, field: str) -> str:
    """``text`` unchanged; ``InputError`` when it is longer than ``MAX_TEXT`` characters."""
    if len(text) > MAX_TEXT:
        raise InputError(field, f"longer than {MAX_TEXT} characters")
    return text


def placed_problem(message: str) -> tuple[str, str]:
    """msgspec's one-line message about a value, as (path in the value, problem); the path is empty for all of it."""
    found = _PLACED.match(message)
    return (found["path"], found["problem"]) if found else ("", message)


def parse_network(text: str, field: str, known: tuple[str, ...] = ()) -> str:
    """A network name; with ``known`` it must be one of them."""
    if known and text not in known:
        raise InputError(field, f"unknown network {shown(text)}; known are {', '.join(known)}")
    if not _NETWORK.match(text):
        raise InputError(field, f"{shown(text)} is no network name (lower-case letters, digits, -; at most 32)")
    return text


def parse_height(text: str, field: str) -> Height:
    """A decimal height 0 .. ``MAX_HEIGHT``."""
    if not _DECIMAL.match(text) or int(text) > MAX_HEIGHT:
        raise InputError(field, f"{shown(text)} is no height (a whole number from 0 to {MAX_HEIGHT})")
    return Height(int(text))


def parse_hash(text: str, field: str) -> Hash32:
    """64 hex digits as explorers print them, to 32 bytes in internal (reversed) order."""
    if len(text) != HASH_HEX_LENGTH:
        raise InputError(field, f"must be of length {HASH_HEX_LENGTH} (not {len(text)}, for {shown(text)})")
    return Hash32(parse_hex(text, field)[::-1])


def parse_hex(text: str, field: str) -> bytes:
    """Hex digits without prefix or space, an even number of them."""
    if not _HEX.match(text) or len(text) % 2:
        raise InputError(field, f"must be hexadecimal string (not {shown(text)})")
    return bytes.fromhex(text)


def parse_height_or_hash(text: str, field: str) -> Height | Hash32:
    """``int`` for a height, ``bytes`` for a block hash. 64 digits are always a hash."""
    if len(text) == HASH_HEX_LENGTH:
        return parse_hash(text, field)
    if _DECIMAL.match(text):
        return parse_height(text, field)
    raise InputError(field, f"{shown(text)} is neither a height (0 to {MAX_HEIGHT}) nor a hash (64 hex digits)")


def parse_checkpoint(text: str, field: str, *, with_network: bool) -> CheckpointInput:
    """``NETWORK:HEIGHT:HASH``, or ``HEIGHT:HASH`` where the network is named elsewhere."""
    parts = bounded(text, field).split(":")
    if len(parts) != 2 + with_network:
        wanted = "NETWORK:HEIGHT:HASH" if with_network else "HEIGHT:HASH"
        raise InputError(field, f"{shown(text)} is not of the form {wanted}")
    network = parse_network(parts[0], field) if with_network else None
    return CheckpointInput(network, parse_height(parts[-2], field), parse_hash(parts[-1], field))


def parse_endpoint(text: str, field: str) -> Endpoint:
    """``HOST:PORT`` with an IPv4 literal, an IPv6 literal in brackets, or ``localhost``."""
    host, colon, port = bounded(text, field).rpartition(":")
    if not colon:
        raise InputError(field, f"{shown(text)} is not of the form HOST:PORT")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if bare != "localhost" and not _is_ip(bare, bracketed=bare != host):
        raise InputError(field, f"{shown(host)} is no IP address (write IPv6 as [::1]) and not localhost")
    return Endpoint(bare, _parse_port(port, field))


def parse_host_port(text: str, field: str) -> tuple[str, int]:
    """``HOST:PORT`` of somebody else: a name, an IPv4 literal, an IPv6 literal in brackets, or an onion address."""
    host, colon, port = bounded(text, field).rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not (_HOST_NAME.match(host) or _is_ip(bare, bracketed=bare != host)):
        raise InputError(field, f"{shown(text)} is not of the form HOST:PORT (write IPv6 as [::1]:PORT)")
    number = _parse_port(port, field)
    if not number:
        raise InputError(field, "port 0 cannot be dialed")
    return bare, number


def parse_multiaddr(text: str, field: str, *, need_peer: bool) -> str:
    """A multiaddr that the mesh takes: to dial (``need_peer``), ``/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT/p2p/PEERID``
    (``p2p.addresses``), or to listen on, ``/ip4|ip6/ADDRESS/tcp/PORT`` (``p2p.host.listening``).

    Their own parsers decide, so that nothing is taken here and refused by the running mesh.
    """
    from p2p.addresses import AddressError, parse_address  # noqa: PLC0415 - most commands name no multiaddr
    from p2p.host.listening import ListenError, parse_listen  # noqa: PLC0415

    parts = bounded(text, field).split("/")
    if need_peer and len(parts) == 5 and parts[3] == "tcp":
        raise InputError(field, f"{shown(text)} lacks /p2p/PEERID, its identity (`spvnode id` there prints it)")
    if len(parts) != (7 if need_peer else 5) or parts[0] or parts[3] != "tcp":
        wanted = "/ip4/HOST/tcp/PORT" + "/p2p/PEERID" * need_peer
        raise InputError(field, f"{shown(text)} is not of the form {wanted}")
    try:
        if need_peer:
            parse_address(text)
        else:
            parse_listen(text)
    except (AddressError, ListenError) as error:
        raise InputError(field, str(error)) from None
    return text


def _is_ip(host: str, *, bracketed: bool) -> bool:
    """IPv6 when ``bracketed``, else IPv4. Zone suffixes (``%eth0``) are not taken."""
    try:
        return ipaddress.ip_address(host).version == (6 if bracketed else 4) and "%" not in host
    except ValueError:
        return False


def _parse_port(text: str, field: str) -> int:
    if not _DECIMAL.match(text) or int(text) > MAX_PORT:
        raise InputError(field, f"{shown(text)} is no port (0 to {MAX_PORT})")
    return int(text)


def parse_root(text: str, field: str) -> Hash32:
    """An SSZ root as Ethereum's tools print it: 64 hex digits in their natural order, with or without 0x."""
    digits = bounded(text, field).removeprefix("0x")
    if len(digits) != HASH_HEX_LENGTH or not _HEX.match(digits):
        raise InputError(field, f"{shown(text)} is no root ({HASH_HEX_LENGTH} hex digits)")
    return Hash32(bytes.fromhex(digits))


def parse_http_url(text: str, field: str) -> str:
    """``http(s)://HOST[:PORT][/PATH]`` without query or fragment."""
    if not _is_http_url(bounded(text, field)):
        raise InputError(field, f"{shown(text)} is not of the form http(s)://HOST[:PORT][/PATH]")
    return text


def _is_http_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        port_fits = url.port is None or 0 < url.port <= MAX_PORT
        (url.hostname or "").encode("idna")  # as whoever looks the name up will: no empty or endless labels
    except ValueError:  # UnicodeError is one
        return False
    # Printable ASCII without spaces: an HTTP request line takes nothing else.
    plain = text.isascii() and text.isprintable() and " " not in text
    return (
        plain and url.scheme in ("http", "https") and bool(url.hostname) and port_fits and not url.query + url.fragment
    )
