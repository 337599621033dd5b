"""Reading a payload field by field, and the few pieces of Bitcoin's serialization that several messages share."""

from __future__ import annotations

import struct
from typing import Final

from p2p.bitcoin.netaddr import IPV4_MAPPED, ONION_CAT, Endpoint, Network
from p2p.faults import FaultReason

_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_NET_ADDRESS: Final = struct.Struct("<Q16s")
_MAX_U64: Final = 2**64 - 1

# The prefixes of the longer CompactSize forms, and the least value that needs each.
_COMPACT: Final = {0xFD: (_U16, 0xFD), 0xFE: (_U32, 0x1_0000), 0xFF: (_U64, 0x1_0000_0000)}


class Refused(Exception):
    """Bytes that are no message, and why. Never leaves this package: ``payloads.decode`` turns it into data."""

    def __init__(self, reason: FaultReason, evidence: str) -> None:
        super().__init__(evidence)
        self.reason = reason
        self.evidence = evidence


def bad(evidence: str) -> Refused:
    return Refused(FaultReason.BAD_FRAME, evidence)


def oversized(evidence: str) -> Refused:
    return Refused(FaultReason.OVERSIZED, evidence)


class Cursor:
    """A position in ``data``. Whatever is missing or not canonical raises Refused."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise bad(f"{size} bytes are wanted at {self.at} of a payload of {len(self.data)}")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def rest(self) -> bytes:
        return self.take(self.left)

    def uint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def sint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little", signed=True)

    def compact(self) -> int:
        """CompactSize; the shortest form only, as Core asks."""
        first = self.take(1)[0]
        if first < 0xFD:
            return first
        form, least = _COMPACT[first]
        (value,) = form.unpack(self.take(form.size))
        if value < least:
            raise bad(f"CompactSize {value} in {form.size + 1} bytes")
        return int(value)

    def count(self, limit: int, what: str) -> int:
        """A CompactSize that counts ``what``, of which there may be ``limit``."""
        value = self.compact()
        if value > limit:
            raise oversized(f"{value} {what} are above {limit}")
        return value

    def rows(self, size: int, limit: int, what: str) -> bytes:
        """A vector of ``limit`` rows of ``size`` bytes at most, as one blob."""
        return self.take(size * self.count(limit, what))

    def hashes(self, limit: int, what: str) -> tuple[bytes, ...]:
        blob = self.rows(32, limit, what)
        return tuple(blob[i : i + 32] for i in range(0, len(blob), 32))

    def end(self) -> None:
        if self.left:
            raise bad(f"{self.left} bytes follow the message")

    def net_address(self) -> tuple[int, Endpoint]:
        """The 26 bytes of a legacy address: services, and where."""
        services, host = _NET_ADDRESS.unpack(self.take(_NET_ADDRESS.size))
        return services, legacy_endpoint(host, int.from_bytes(self.take(2), "big"))


def legacy_endpoint(host: bytes, port: int) -> Endpoint:
    """What the 16 bytes of a legacy address stand for."""
    if host.startswith(IPV4_MAPPED):
        return Endpoint(Network.IPV4, host[len(IPV4_MAPPED) :], port)
    if host.startswith(ONION_CAT):
        return Endpoint(Network.TORV2, host[len(ONION_CAT) :], port)
    return Endpoint(Network.IPV6, host, port)


def legacy_host(endpoint: Endpoint) -> bytes:
    """The inverse; ValueError when the address does not fit into 16 bytes."""
    match endpoint.network:
        case Network.IPV4:
            host = IPV4_MAPPED + endpoint.host
        case Network.TORV2:
            host = ONION_CAT + endpoint.host
        case Network.IPV6:
            host = endpoint.host
        case _:
            raise ValueError(f"an address of network {endpoint.network} has no legacy form")
    if len(host) != 16:
        raise ValueError(f"{len(endpoint.host)} bytes are no address of network {endpoint.network}")
    return host


def net_address(services: int, endpoint: Endpoint) -> bytes:
    return _NET_ADDRESS.pack(services, legacy_host(endpoint)) + endpoint.port.to_bytes(2, "big")


def compact(value: int) -> bytes:
    """CompactSize, the shortest form."""
    if value < 0xFD:
        return value.to_bytes(1, "little")
    if value <= 0xFFFF:
        return b"\xfd" + _U16.pack(value)
    if value <= 0xFFFF_FFFF:
        return b"\xfe" + _U32.pack(value)
    return b"\xff" + _U64.pack(value)


def vector(rows: bytes, size: int) -> bytes:
    """Rows of ``size`` bytes with their count; ValueError when they do not come out even."""
    count, over = divmod(len(rows), size)
    if over:
        raise ValueError(f"{len(rows)} bytes are no whole number of rows of {size}")
    return compact(count) + rows


def hash_vector(hashes: tuple[bytes, ...]) -> bytes:
    if any(len(item) != 32 for item in hashes):
        raise ValueError("a hash is 32 bytes")
    return compact(len(hashes)) + b"".join(hashes)
