"""Addresses of Bitcoin peers: a network id of BIP155, the address's bytes and a port; their text and their group.

Groups follow Bitcoin Core's ``NetGroupManager::GetGroup`` without an AS map: what one operator can fill cheaply.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import socket
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MAX_HOST: Final = 512
"""Bytes of an address of any network, known or not (BIP155). A stranger fills it."""

IPV4_MAPPED: Final = bytes(10) + b"\xff\xff"
"""Prefix under which the 16 bytes of a legacy address carry IPv4 (RFC 4291, 2.5.5.2)."""
ONION_CAT: Final = bytes.fromhex("fd87d87eeb43")
"""Prefix under which they carried Tor v2, a network that is switched off."""

_CJDNS_PREFIX: Final = 0xFC
_ONION_VERSION: Final = b"\x03"
_GROUP_BITS_OVERLAY: Final = 4
"""Tor, I2P and CJDNS addresses cost nothing, so each of those networks is only 16 groups."""


class NetAddressError(ValueError):
    """Text that is not ``HOST:PORT``; says which part."""


class Network(IntEnum):
    """Network ids of BIP155. Others exist on the wire, as plain ints: they are kept as bytes and never dialed."""

    IPV4 = 1
    IPV6 = 2
    TORV2 = 3
    TORV3 = 4
    I2P = 5
    CJDNS = 6
    YGGDRASIL = 7


HOST_SIZES: Final[dict[int, int]] = {
    Network.IPV4: 4,
    Network.IPV6: 16,
    Network.TORV2: 10,
    Network.TORV3: 32,
    Network.I2P: 32,
    Network.CJDNS: 16,
    Network.YGGDRASIL: 16,
}
"""Bytes of an address of each known network."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place to dial. ``network`` is a BIP155 id, ``host`` its address in that network's own bytes."""

    network: int
    host: bytes
    port: int

    @property
    def key(self) -> bytes:
        """The endpoint as bytes, one encoding for each: id, host, port (big-endian)."""
        return bytes((self.network,)) + self.host + self.port.to_bytes(2, "big")

    @property
    def dialable(self) -> bool:
        """Can somebody anywhere dial it: a known network that still runs, a public address, a port."""
        if HOST_SIZES.get(self.network) != len(self.host):
            return False
        match self.network:
            case Network.IPV4 | Network.IPV6:
                return self.port != 0 and _is_public(self.host)
            case Network.CJDNS:
                return self.port != 0 and self.host[0] == _CJDNS_PREFIX
            case Network.TORV3:
                return self.port != 0
            case Network.I2P:
                return True  # SAM 3.1 knows no ports: they are 0
            case _:
                return False

    @property
    def group(self) -> bytes:
        """What one operator can fill cheaply: /16 of IPv4 (also inside 6to4 and Teredo), /32 of IPv6 (/36 of Hurricane
        Electric, whose customers get whole /48s), four bits of an overlay, else the whole address."""
        if HOST_SIZES.get(self.network) != len(self.host):
            return bytes((self.network,))  # nobody can count what an unknown network's addresses cost
        match self.network:
            case Network.IPV4:
                return _group_ipv4(self.host)
            case Network.IPV6:
                return _group_ipv6(self.host)
            case Network.CJDNS:
                return bytes((self.network, self.host[1] >> _GROUP_BITS_OVERLAY))
            case _:
                return bytes((self.network, self.host[0] >> _GROUP_BITS_OVERLAY))

    def __str__(self) -> str:
        host = host_text(self.network, self.host)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def endpoint_from_key(key: bytes) -> Endpoint | None:
    """The endpoint of a ``key``, or None when the bytes are none."""
    if len(key) < 3 or len(key) > MAX_HOST + 3:
        return None
    return Endpoint(key[0], key[1:-2], int.from_bytes(key[-2:], "big"))


def _ip(host: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.IPv4Address(host) if len(host) == 4 else ipaddress.IPv6Address(host)


def _is_public(host: bytes) -> bool:
    if host.startswith((IPV4_MAPPED, ONION_CAT)) or host[0] == _CJDNS_PREFIX:
        return False  # BIP155: those have ids of their own
    ip = _ip(host)
    return ip.is_global and not ip.is_multicast


def _group_ipv4(host: bytes) -> bytes:
    if not _is_public(host):
        return bytes((Network.IPV4,)) + host
    return bytes((Network.IPV4,)) + host[:2]


def _group_ipv6(host: bytes) -> bytes:
    ip = ipaddress.IPv6Address(host)
    inner = ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or ip.ipv4_mapped
    if inner is not None:
        return _group_ipv4(inner.packed)
    if not _is_public(host):
        return bytes((Network.IPV6,)) + host
    if host.startswith(b"\x20\x01\x04\x70"):
        return bytes((Network.IPV6,)) + host[:4] + bytes((host[4] & 0xF0,))
    return bytes((Network.IPV6,)) + host[:4]


def host_text(network: int, host: bytes) -> str:
    """The host as one writes it; ``network<id>-<hex>`` where there is no such way."""
    if HOST_SIZES.get(network) != len(host):
        return f"network{network}-{host.hex()}"
    match network:
        case Network.IPV4:
            return socket.inet_ntop(socket.AF_INET, host)
        case Network.IPV6 | Network.CJDNS | Network.YGGDRASIL:
            return socket.inet_ntop(socket.AF_INET6, host)
        case Network.TORV3:
            body = host + _onion_checksum(host) + _ONION_VERSION
            return _base32(body) + ".onion"
        case Network.TORV2:
            return _base32(host) + ".onion"
        case _:
            return _base32(host) + ".b32.i2p"


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def _unbase32(text: str) -> bytes | None:
    try:
        return base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError:
        return None


def _onion_checksum(public_key: bytes) -> bytes:
    """Two bytes (BIP155, appendix B)."""
    return hashlib.sha3_256(b".onion checksum" + public_key + _ONION_VERSION).digest()[:2]


def parse_endpoint(text: str, default_port: int | None = None) -> Endpoint:
    """Parse ``1.2.3.4:8333``, ``[2a01::1]:8333``, ``….onion:8333`` or ``….b32.i2p:0``; the port may be left out when
    there is a default. Names that need DNS raise NetAddressError, as all else does."""
    host, port = _split(text, default_port)
    if host.endswith(".onion"):
        return Endpoint(Network.TORV3, _parse_onion(host), port)
    if host.endswith(".b32.i2p"):
        raw = _unbase32(host.removesuffix(".b32.i2p"))
        if raw is None or len(raw) != HOST_SIZES[Network.I2P]:
            raise NetAddressError(f"{host!r} is not 52 base32 characters and .b32.i2p")
        return Endpoint(Network.I2P, raw, port)
    return endpoint_of_ip(host, port)


def endpoint_of_ip(host: str, port: int) -> Endpoint:
    """The endpoint of an IP address in text, as a socket gives it. NetAddressError."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        raise NetAddressError(f"{host!r} is no IP, onion or I2P address") from None
    packed = ip.packed
    if ip.version == 4:
        return Endpoint(Network.IPV4, packed, port)
    if packed.startswith(IPV4_MAPPED):
        return Endpoint(Network.IPV4, packed[12:], port)
    return Endpoint(Network.CJDNS if packed[0] == _CJDNS_PREFIX else Network.IPV6, packed, port)


def _split(text: str, default_port: int | None) -> tuple[str, int]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if rest.startswith(":") else None
        if port is None and rest:
            raise NetAddressError(f"{text!r} is not [IPV6]:PORT")
    elif text.count(":") > 1:
        host, port = text, None
    else:
        host, colon, digits = text.partition(":")
        port = digits if colon else None
    if port is None:
        if default_port is None:
            raise NetAddressError(f"{text!r} has no port")
        return host, default_port
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535):
        raise NetAddressError(f"port {port!r} is outside 0..65535")
    return host, int(port)


def _parse_onion(host: str) -> bytes:
    raw = _unbase32(host.removesuffix(".onion"))
    if raw is None or len(raw) != 35 or raw[34:] != _ONION_VERSION or raw[32:34] != _onion_checksum(raw[:32]):
        raise NetAddressError(f"{host!r} is no Tor v3 address: 56 base32 characters with their checksum")
    return raw[:32]
