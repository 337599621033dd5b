"""Packets of Node Discovery v5.1 (devp2p, discv5-wire.md, "Packet Encoding"): header, masking, the three kinds.

Sans-IO. Everything random is an argument.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from p2p.discv5.crypto import NODE_ID_SIZE, PUBLIC_SIZE, SIGNATURE_SIZE, TAG_SIZE, mask
from p2p.discv5.crypto import seal as aes_seal
from p2p.discv5.enr import MAX_ENR

MAX_PACKET: Final = 1_280
"""Bytes of a datagram, as the protocol sets it: IPv6's least MTU. Larger ones are neither sent nor looked at."""
MIN_PACKET: Final = 63
"""Bytes of the smallest packet, WHOAREYOU."""
IV_SIZE: Final = 16
NONCE_SIZE: Final = 12
ID_NONCE_SIZE: Final = 16

_STATIC: Final = struct.Struct(">6sHB12sH")
_PROTOCOL: Final = b"discv5"
_VERSION: Final = 1
_ORDINARY, _WHOAREYOU, _HANDSHAKE = 0, 1, 2
_CHALLENGE: Final = struct.Struct(">16sQ")
_HANDSHAKE_HEAD: Final = struct.Struct(">32sBB")
_HANDSHAKE_SIZE: Final = _HANDSHAKE_HEAD.size + SIGNATURE_SIZE + PUBLIC_SIZE

ORDINARY_OVERHEAD: Final = IV_SIZE + _STATIC.size + NODE_ID_SIZE + TAG_SIZE
"""Bytes of an ordinary packet beside its message."""


class PacketError(ValueError):
    """Not a packet for us; says why."""


@dataclass(frozen=True, slots=True)
class Ordinary:
    """An encrypted message, or random bytes by which a node without a session asks for a challenge."""

    nonce: bytes
    src: bytes
    ad: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class WhoAreYou:
    """A challenge. ``nonce`` is that of the packet which it answers; ``challenge`` goes into keys and signature."""

    nonce: bytes
    enr_seq: int
    challenge: bytes


@dataclass(frozen=True, slots=True)
class Handshake:
    """The answer to a challenge, with an encrypted message. ``record`` is empty when it was left out."""

    nonce: bytes
    src: bytes
    signature: bytes
    ephemeral: bytes
    record: bytes
    ad: bytes
    sealed: bytes


Packet = Ordinary | WhoAreYou | Handshake


def decode(data: bytes, own_id: bytes) -> Packet:
    """Unmask a datagram. Raise PacketError. What is encrypted stays so."""
    if not MIN_PACKET <= len(data) <= MAX_PACKET:
        raise PacketError(f"{len(data)} bytes are outside {MIN_PACKET}..{MAX_PACKET}")
    header = mask(own_id, data[:IV_SIZE], data[IV_SIZE:])  # beyond the header this makes noise, which is not looked at
    protocol, version, flag, nonce, size = _STATIC.unpack_from(header)
    if protocol != _PROTOCOL or version != _VERSION:
        raise PacketError("not for us, or not of this protocol")
    end = _STATIC.size + size
    authdata = header[_STATIC.size : end]
    if len(authdata) != size:
        raise PacketError("its header is cut off")
    ad, rest = data[:IV_SIZE] + header[:end], data[IV_SIZE + end :]
    match flag:
        case 0:
            return _ordinary(nonce, authdata, ad, rest)
        case 1:
            return _whoareyou(nonce, authdata, ad, rest)
        case 2:
            return _handshake(nonce, authdata, ad, rest)
    raise PacketError(f"a packet of kind {flag}")


def ordinary(dest: bytes, src: bytes, iv: bytes, nonce: bytes, key: bytes, message: bytes) -> bytes:
    """A message under a session key."""
    masked, ad = _header(dest, iv, _ORDINARY, nonce, src)
    return masked + aes_seal(key, nonce, message, ad)


def random_packet(dest: bytes, src: bytes, iv: bytes, nonce: bytes, noise: bytes) -> bytes:
    """What opens a handshake: an ordinary packet with ``noise`` in the place of its message."""
    return _header(dest, iv, _ORDINARY, nonce, src)[0] + noise


def whoareyou(dest: bytes, iv: bytes, nonce: bytes, id_nonce: bytes, enr_seq: int) -> tuple[bytes, bytes]:
    """The packet (always 63 bytes), and the challenge data that both sides use."""
    return _header(dest, iv, _WHOAREYOU, nonce, _CHALLENGE.pack(id_nonce, enr_seq))


@dataclass(frozen=True, slots=True)
class Proof:
    """Who answers a challenge. ``record`` is empty when the challenger has our newest."""

    src: bytes
    signature: bytes
    ephemeral: bytes
    record: bytes


def handshake(dest: bytes, iv: bytes, nonce: bytes, proof: Proof, key: bytes, message: bytes) -> bytes:
    """The answer to a challenge, with the message that the challenged packet was for."""
    head = _HANDSHAKE_HEAD.pack(proof.src, SIGNATURE_SIZE, PUBLIC_SIZE)
    authdata = head + proof.signature + proof.ephemeral + proof.record
    masked, ad = _header(dest, iv, _HANDSHAKE, nonce, authdata)
    return masked + aes_seal(key, nonce, message, ad)


def _header(dest: bytes, iv: bytes, flag: int, nonce: bytes, authdata: bytes) -> tuple[bytes, bytes]:
    """Masked, as it is sent; and plain, as it is authenticated."""
    header = _STATIC.pack(_PROTOCOL, _VERSION, flag, nonce, len(authdata)) + authdata
    return iv + mask(dest, iv, header), iv + header


def _ordinary(nonce: bytes, authdata: bytes, ad: bytes, rest: bytes) -> Ordinary:
    if len(authdata) != NODE_ID_SIZE:
        raise PacketError(f"a source id of {len(authdata)} bytes")
    return Ordinary(nonce, authdata, ad, rest)


def _whoareyou(nonce: bytes, authdata: bytes, ad: bytes, rest: bytes) -> WhoAreYou:
    if len(authdata) != _CHALLENGE.size or rest:
        raise PacketError("a challenge of another size")
    _, enr_seq = _CHALLENGE.unpack(authdata)
    return WhoAreYou(nonce, enr_seq, ad)


def _handshake(nonce: bytes, authdata: bytes, ad: bytes, rest: bytes) -> Handshake:
    if not _HANDSHAKE_SIZE <= len(authdata) <= _HANDSHAKE_SIZE + MAX_ENR:
        raise PacketError(f"a handshake header of {len(authdata)} bytes")
    src, signature_size, key_size = _HANDSHAKE_HEAD.unpack_from(authdata)
    if signature_size != SIGNATURE_SIZE or key_size != PUBLIC_SIZE:
        raise PacketError('not the identity scheme "v4"')
    key_at = _HANDSHAKE_HEAD.size + SIGNATURE_SIZE
    signature, ephemeral = authdata[_HANDSHAKE_HEAD.size : key_at], authdata[key_at:_HANDSHAKE_SIZE]
    return Handshake(nonce, src, signature, ephemeral, authdata[_HANDSHAKE_SIZE:], ad, rest)
