"""Listen addresses: ``/ip4|ip6/ADDRESS/tcp/PORT``, where the address may be unspecified and the port 0. No libp2p."""

from __future__ import annotations

import ipaddress
import socket

FAMILIES = {"ip4": 4, "ip6": 6}


class ListenError(Exception):
    """An address that we cannot listen on: says which, and why. Ours to fix, not a remote's doing."""


def parse_listen(text: str) -> tuple[str, int]:
    """(address, port) of a listen multiaddr; raise ListenError."""
    parts = text.split("/")
    if len(parts) != 5 or parts[0] or parts[1] not in FAMILIES or parts[3] != "tcp":
        raise ListenError(f"{text!r} is not /ip4|ip6/ADDRESS/tcp/PORT")
    try:
        address = ipaddress.ip_address(parts[2])
    except ValueError as error:
        raise ListenError(f"{text!r}: {error}") from None
    if address.version != FAMILIES[parts[1]] or "%" in parts[2]:  # a multiaddr has no place for a scope id
        raise ListenError(f"{text!r}: {parts[2]!r} is no {parts[1]} address")
    if not (parts[4].isascii() and parts[4].isdigit() and len(parts[4]) <= 5 and int(parts[4]) <= 65_535):
        raise ListenError(f"{text!r}: TCP port {parts[4]!r} is outside 0..65535")
    return str(address), int(parts[4])


def multiaddr_of(ip: str, port: int) -> str:
    """Multiaddr of a socket name."""
    plain = ip.split("%", 1)[0]
    return f"/ip{ipaddress.ip_address(plain).version}/{plain}/tcp/{port}"


def reachable(text: str) -> list[str]:
    """Multiaddrs under which a bound listener can be reached: itself, or for the unspecified address the loopback
    address and the one that the default route uses."""
    ip, port = parse_listen(text)
    if not ipaddress.ip_address(ip).is_unspecified:
        return [text]
    is_v4 = ip == "0.0.0.0"  # noqa: S104 - a comparison, not a bind
    found = ["127.0.0.1" if is_v4 else "::1"]
    with socket.socket(socket.AF_INET if is_v4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            # A UDP connect sends nothing, it looks up the route; documentation addresses (RFC 5737, RFC 3849).
            probe.connect(("192.0.2.1" if is_v4 else "2001:db8::1", 9))
            found.append(str(probe.getsockname()[0]))
        except OSError:  # no route: a machine without network is reachable on loopback only
            pass
    return [multiaddr_of(address, port) for address in dict.fromkeys(found)]
