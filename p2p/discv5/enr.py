"""Ethereum Node Records (EIP-778, identity scheme "v4"): what a node says of itself, signed.

A record decodes only if its signature is its key's, so every ``Enr`` there is was made by whoever holds the key.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from merkle import rlp
from merkle.rlp import Item
from p2p.discv5.crypto import PUBLIC_SIZE, SIGNATURE_SIZE, keccak256, node_id_of, public_of, sign, verify
from p2p.discv5.endpoint import Endpoint, endpoint_of, is_one_machine
from p2p.discv5.fields import FieldError, as_bytes, as_int, as_list, from_int
from p2p.discv5.fields import decode as decode_rlp
from p2p.host.identity import base58

MAX_ENR: Final = 300
"""Bytes of a record (EIP-778). A peer fills it."""
MAX_ENR_TEXT: Final = 4 + (MAX_ENR * 8 + 5) // 6
"""Characters: ``enr:`` and base64 without padding."""
MAX_SEQ: Final = (1 << 64) - 1

_PREFIX: Final = "enr:"
_MAX_ITEMS: Final = MAX_ENR
"""Every item takes a byte, so the record's size bounds their number."""
_ETH2_SIZE: Final = 16
"""ENRForkID (consensus specs, phase0/p2p-interface.md): fork digest, next fork version, next fork epoch."""
_PEER_ID: Final = bytes.fromhex("002508021221")
"""Identity multihash of 37 bytes: libp2p's PublicKey message for 33 bytes of secp256k1 (specs, peer-ids.md)."""


class EnrError(ValueError):
    """Not a valid record; says why."""


@dataclass(frozen=True, slots=True)
class Enr:
    """One verified record. Values of keys that we do not know may be nested lists."""

    seq: int
    pairs: Mapping[bytes, Item] = field(compare=False)
    public: bytes
    """Compressed secp256k1 key, 33 bytes."""
    node_id: bytes
    """32 bytes."""
    encoded: bytes
    """The record as RLP, at most ``MAX_ENR`` bytes."""

    @property
    def text(self) -> str:
        """``enr:`` and base64url without padding."""
        return _PREFIX + base64.urlsafe_b64encode(self.encoded).rstrip(b"=").decode()

    @property
    def ip(self) -> str | None:
        """IPv4 address, if it names one machine."""
        return self._host(b"ip", 4)

    @property
    def ip6(self) -> str | None:
        """IPv6 address, if it names one machine."""
        return self._host(b"ip6", 16)

    @property
    def eth2(self) -> bytes | None:
        """ENRForkID, 16 bytes of SSZ."""
        value = self.pairs.get(b"eth2")
        return value if isinstance(value, bytes) and len(value) == _ETH2_SIZE else None

    @property
    def fork_digest(self) -> bytes | None:
        """4 bytes: the network and fork that the node follows."""
        return None if self.eth2 is None else self.eth2[:4]

    @property
    def peer_id(self) -> str:
        """The libp2p peer id of the same key."""
        return base58(_PEER_ID + self.public)

    def udp_endpoints(self) -> list[Endpoint]:
        """Where it can be discovered: IPv4 first, at most two."""
        return self._endpoints(b"udp", b"udp6")

    def tcp_endpoints(self) -> list[Endpoint]:
        """Where libp2p listens: IPv4 first, at most two."""
        return self._endpoints(b"tcp", b"tcp6")

    def multiaddr(self) -> str | None:
        """``/ip4|ip6/HOST/tcp/PORT/p2p/PEER``, or None when it does not say where it listens."""
        return next(iter(self.multiaddrs()), None)

    def multiaddrs(self) -> list[str]:
        """All of them: IPv4 first, at most two."""
        peer = self.peer_id
        return [
            f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}/p2p/{peer}" for host, port in self.tcp_endpoints()
        ]

    def _host(self, key: bytes, size: int) -> str | None:
        value = self.pairs.get(key)
        if not isinstance(value, bytes) or len(value) != size:
            return None
        host = str(ipaddress.ip_address(value))
        return host if is_one_machine(host) else None

    def _port(self, key: bytes) -> int:
        """0 when there is none."""
        value = self.pairs.get(key)
        return int.from_bytes(value, "big") if isinstance(value, bytes) and len(value) <= 2 else 0

    def _endpoints(self, key: bytes, key6: bytes) -> list[Endpoint]:
        """EIP-778: without a port of its own, IPv6 uses that of IPv4."""
        port = self._port(key)
        ways = [(self.ip, port), (self.ip6, self._port(key6) or port)]
        return [endpoint_of(host, port) for host, port in ways if host and port]


def make(secret: bytes, seq: int, fields: Mapping[bytes, bytes]) -> Enr:
    """Sign a record. ``fields`` are its pairs but for ``id`` and ``secp256k1``. Raise EnrError when it is too large."""
    pairs: dict[bytes, Item] = {**fields, b"id": b"v4", b"secp256k1": public_of(secret)}
    content = _content(seq, dict(sorted(pairs.items())))
    signature = sign(secret, keccak256(rlp.encode(content)))
    return decode(rlp.encode([signature, *content]))


def decode(data: bytes) -> Enr:
    """A record from its RLP. Raise EnrError."""
    if len(data) > MAX_ENR:
        raise EnrError(f"a record of {len(data)} bytes is above {MAX_ENR}")
    try:
        items = as_list(decode_rlp(data), 4, _MAX_ITEMS)
        signature, seq = as_bytes(items[0], SIGNATURE_SIZE), as_int(items[1], 8)
        pairs = _pairs(items[2:])
    except FieldError as error:
        raise EnrError(f"not a record: {error}") from None
    public = _v4_key(pairs)
    if not verify(public, keccak256(rlp.encode(_content(seq, pairs))), signature):
        raise EnrError("its signature is not by its key")
    return Enr(seq, pairs, public, node_id_of(public), data)


def parse(text: str) -> Enr:
    """A record from its text. Raise EnrError."""
    if not text.startswith(_PREFIX) or len(text) > MAX_ENR_TEXT:
        raise EnrError(f"not enr: and at most {MAX_ENR_TEXT - 4} characters")
    body = text[len(_PREFIX) :]
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise EnrError(f"not base64url: {error}") from None
    return decode(data)


def _content(seq: int, pairs: Mapping[bytes, Item]) -> tuple[Item, ...]:
    flat = [part for pair in pairs.items() for part in pair]
    return (from_int(seq), *flat)


def _pairs(items: tuple[Item, ...]) -> dict[bytes, Item]:
    """Sorted and unique, or FieldError."""
    keys = [as_bytes(key, MAX_ENR) for key in items[::2]]
    if len(items) % 2 or any(one >= after for one, after in pairwise(keys)):
        raise FieldError("its keys are not sorted, not unique, or lack a value")
    return dict(zip(keys, items[1::2], strict=True))


def _v4_key(pairs: Mapping[bytes, Item]) -> bytes:
    public = pairs.get(b"secp256k1")
    if pairs.get(b"id") != b"v4" or not isinstance(public, bytes) or len(public) != PUBLIC_SIZE:
        raise EnrError('its identity scheme is not "v4"')
    return public
