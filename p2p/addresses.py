"""Peer addresses: the one shape that the mesh dials, ``/ip4|ip6|dns4|dns6|dns/HOST/tcp/PORT/p2p/PEER``, and
how near one is. Strict and pure, because most of them come from strangers."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MAX_ADDR: Final = 512
"""Characters of a multiaddr: a DNS name of 253 and a peer id of 64 leave room. Strangers fill it."""

_PEER_ID: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{46,64}")
"""Base58 of a multihash: 46 characters (SHA-256), 52 (an Ed25519 key inline), 53 (secp256k1 inline)."""
_DNS_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_DNS_NAME_MAX: Final = 253
_DNS: Final = frozenset({"dns", "dns4", "dns6"})
_PARTS: Final = 7


class AddressError(ValueError):
    """Not a dialable peer address; says which part, and what it must be."""


class Reach(IntEnum):
    """From how far away an address can be dialed."""

    LOOPBACK = 0
    PRIVATE = 1
    PUBLIC = 2


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """One parsed peer address; its text is the canonical one."""

    kind: str
    """``ip4``, ``ip6``, ``dns``, ``dns4`` or ``dns6``."""
    host: str
    port: int
    peer: str

    def __str__(self) -> str:
        return f"/{self.kind}/{self.host}/tcp/{self.port}/p2p/{self.peer}"

    @property
    def reach(self) -> Reach:
        """From how far away it can be dialed; a name may be anywhere, so it counts as public."""
        if self.kind in _DNS:
            return Reach.PUBLIC
        return _reach(ipaddress.ip_address(self.host))

    @property
    def group(self) -> str:
        """What one operator can be expected to fill cheaply: /16 of IPv4, /32 of IPv6 (as Bitcoin Core groups
        them), the whole address where it is not public, the last two labels of a DNS name."""
        if self.kind in _DNS:
            return "dns:" + ".".join(self.host.lower().rsplit(".", 2)[-2:])
        ip = ipaddress.ip_address(self.host)
        if _reach(ip) is not Reach.PUBLIC:
            return str(ip)
        bits = 16 if ip.version == 4 else 32
        return str(ipaddress.ip_network((ip, bits), strict=False))


def parse_address(text: str) -> PeerAddress:
    """Parse or raise AddressError."""
    if len(text) > MAX_ADDR:
        raise AddressError(f"multiaddr of {len(text)} characters is above {MAX_ADDR}")
    parts = text.split("/")
    if len(parts) != _PARTS or parts[0] or parts[3] != "tcp" or parts[5] != "p2p":
        raise AddressError(f"multiaddr {text!r} is not /ip4|ip6|dns4|dns6|dns/HOST/tcp/PORT/p2p/PEER")
    kind, host, port, peer = parts[1], parts[2], parts[4], parts[6]
    if not _PEER_ID.fullmatch(peer):
        raise AddressError(f"peer id {peer!r} is not 46..64 base58 characters")
    return PeerAddress(kind, _host(kind, host), _port(port), peer)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65_535):
        raise AddressError(f"TCP port {text!r} is outside 1..65535")
    return int(text)


def _host(kind: str, host: str) -> str:
    if kind in _DNS:
        if len(host) > _DNS_NAME_MAX or not all(_DNS_LABEL.fullmatch(label) for label in host.split(".")):
            raise AddressError(f"{host!r} is not a DNS name")
        return host
    if kind not in ("ip4", "ip6"):
        raise AddressError(f"address family {kind!r} is none of ip4, ip6, dns, dns4, dns6")
    try:
        ip = ipaddress.IPv4Address(host) if kind == "ip4" else ipaddress.IPv6Address(host)
    except ValueError as error:
        raise AddressError(str(error)) from None
    if "%" in host or ip.is_unspecified or ip.is_multicast or (ip.version == 4 and ip.is_reserved):
        raise AddressError(f"{host!r} is not the address of one machine")
    return str(ip)


def _reach(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Reach:
    if ip.is_loopback:
        return Reach.LOOPBACK
    return Reach.PUBLIC if ip.is_global else Reach.PRIVATE


def host_of(addr: str) -> str | None:
    """The IP address in a connection's remote multiaddr (with or without ``/p2p/``), or None."""
    parts = addr.split("/")
    try:
        return str(ipaddress.ip_address(parts[2]))
    except (IndexError, ValueError):
        return None
