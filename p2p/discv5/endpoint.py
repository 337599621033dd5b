"""UDP endpoints, and what one may believe about addresses that strangers tell."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final, NamedTuple

from p2p.addresses import Reach

FIRST_PORT: Final = 1025
"""Lowest UDP port that a stranger's record may name. Services that answer anybody (DNS, NTP) live below, and a forged
record must not make us knock there."""

MAX_CACHED: Final = 4_096
"""Networks of addresses remembered, since working one out takes 14 us. Strangers fill it, least recently used out."""


class Endpoint(NamedTuple):
    """IP address in canonical text (never an IPv4 address dressed as IPv6) and UDP port."""

    host: str
    port: int


def endpoint_of(host: str, port: int) -> Endpoint:
    """From a socket's address, a scope left out. Raise ValueError when ``host`` is no IP address."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return Endpoint(str(mapped or ip), port)


def packed_host(host: str) -> bytes:
    """4 or 16 bytes."""
    return ipaddress.ip_address(host).packed


def host_of(packed: bytes) -> str | None:
    """The address in 4 or 16 bytes (IPv4 within IPv6 taken out), or None when it is not that of one machine."""
    host = endpoint_of(str(ipaddress.ip_address(packed)), 0).host
    return host if is_one_machine(host) else None


def is_v6(host: str) -> bool:
    """Whether it is an IPv6 address."""
    return ":" in host


def subnet(host: str) -> str:
    """What one operator fills cheaply, one neighbour in tables and lists: /24 of IPv4; /32 of IPv6, as
    ``p2p.addresses`` groups it."""
    return _network(host, 24, 32)


def machine(host: str) -> str:
    """What counts as one sender: an IPv4 address; the /64 that an IPv6 host usually has to itself."""
    return _network(host, 32, 64)


def is_one_machine(host: str) -> bool:
    """Whether a packet can be sent there and reaches one machine."""
    ip = ipaddress.ip_address(host)
    if isinstance(ip, ipaddress.IPv6Address):
        return not (ip.is_unspecified or ip.is_multicast or ip.ipv4_mapped is not None)
    return not (ip.is_unspecified or ip.is_multicast or ip.is_reserved)


def reach(host: str) -> Reach:
    """From how far away an address can be reached."""
    ip = ipaddress.ip_address(host)
    if ip.is_loopback:
        return Reach.LOOPBACK
    return Reach.PUBLIC if ip.is_global else Reach.PRIVATE


def relayable(told_by: str, host: str) -> bool:
    """Whether a node at ``told_by`` may tell us of ``host``: a public one must not send us into our own network."""
    return is_one_machine(host) and reach(host) >= reach(told_by)


@lru_cache(MAX_CACHED)
def _network(host: str, v4_bits: int, v6_bits: int) -> str:
    ip = ipaddress.ip_address(host)
    return str(ipaddress.ip_network((ip, v4_bits if ip.version == 4 else v6_bits), strict=False))
