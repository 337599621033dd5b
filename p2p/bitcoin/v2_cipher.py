"""The packet cipher of BIP324: two stream ciphers for the lengths, two AEADs for what is in the packets, all with a
new key every 224 packets, and how they come out of the shared secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.poly1305 import Poly1305

REKEY_INTERVAL: Final = 224
"""Packets with one key (BIP324)."""

LENGTH_SIZE: Final = 3
TAG_SIZE: Final = 16
HEADER_SIZE: Final = 1
OVERHEAD: Final = HEADER_SIZE + TAG_SIZE
"""Bytes of a packet after its length and beyond its contents."""
TERMINATOR_SIZE: Final = 16
IGNORE: Final = 0x80
"""Bit of the header byte that marks a decoy."""

_SALT: Final = b"bitcoin_v2_shared_secret"


class FSChaCha20:
    """A stream cipher for chunks; encryption and decryption are the same."""

    __slots__ = ("_chunks", "_key", "_rekeyings", "_stream")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._chunks = 0
        self._rekeyings = 0
        self._stream = self._start()

    def _start(self) -> CipherContext:
        # cryptography's nonce is RFC 8439's block counter, here 0, and nonce: 4 zero bytes, u64 rekeyings.
        nonce = bytes(8) + self._rekeyings.to_bytes(8, "little")
        return Cipher(algorithms.ChaCha20(self._key, nonce), mode=None).encryptor()

    def crypt(self, chunk: bytes) -> bytes:
        out = self._stream.update(chunk)
        self._chunks += 1
        if self._chunks == REKEY_INTERVAL:
            self._key = self._stream.update(bytes(32))
            self._chunks = 0
            self._rekeyings += 1
            self._stream = self._start()
        return out


class Unread:
    """A packet that is thrown away as it arrives, of which the seal counts all the same (RFC 8439, 2.8): else whoever
    sits on the line could make packets disappear."""

    __slots__ = ("_body", "_left", "_mac", "_tag")

    def __init__(self, key: bytes, nonce: bytes, size: int) -> None:
        stream = Cipher(algorithms.ChaCha20(key, bytes(4) + nonce), mode=None).encryptor()
        self._mac = Poly1305(stream.update(bytes(32)))
        self._body = self._left = size - TAG_SIZE
        self._tag = b""

    def take(self, data: bytes) -> int:
        """The next bytes; how many of them were the packet's."""
        body = data[: self._left]
        tag = data[len(body) : len(body) + TAG_SIZE - len(self._tag)]
        self._mac.update(body)
        self._left -= len(body)
        self._tag += tag
        return len(body) + len(tag)

    @property
    def whole(self) -> bool:
        """Whether all of it has come."""
        return len(self._tag) == TAG_SIZE

    def genuine(self) -> bool:
        """Whether it was made with this key for this place; once, when it is whole."""
        self._mac.update(bytes(-self._body % 16) + bytes(8) + self._body.to_bytes(8, "little"))
        try:
            self._mac.verify(self._tag)
        except InvalidSignature:
            return False
        return True


class FSChaCha20Poly1305:
    """An AEAD for packets, in one direction."""

    __slots__ = ("_aead", "_key", "_packets", "_rekeyings")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._aead = ChaCha20Poly1305(key)
        self._packets = 0
        self._rekeyings = 0

    def encrypt(self, aad: bytes, plaintext: bytes) -> bytes:
        out = self._aead.encrypt(self._nonce(self._packets), plaintext, aad)
        self._advance()
        return out

    def decrypt(self, aad: bytes, ciphertext: bytes) -> bytes | None:
        """None when it was not made with this key, for this place, with this ``aad``."""
        try:
            out = self._aead.decrypt(self._nonce(self._packets), ciphertext, aad)
        except InvalidTag:
            return None
        self._advance()
        return out

    def unread(self, size: int) -> Unread:
        """For the next packet, of ``size`` bytes with its tag and no ``aad``, instead of ``decrypt``."""
        made = Unread(self._key, self._nonce(self._packets), size)
        self._advance()
        return made

    def _nonce(self, packet: int) -> bytes:
        return packet.to_bytes(4, "little") + self._rekeyings.to_bytes(8, "little")

    def _advance(self) -> None:
        self._packets += 1
        if self._packets == REKEY_INTERVAL:
            self._key = self._aead.encrypt(self._nonce(0xFFFF_FFFF), bytes(32), b"")[:32]
            self._aead = ChaCha20Poly1305(self._key)
            self._packets = 0
            self._rekeyings += 1


@dataclass(frozen=True, slots=True)
class Keys:
    """What both sides derive from the shared secret; ``initiator_l`` ciphers the lengths that the initiator sends,
    ``initiator_p`` its packets."""

    session_id: bytes
    initiator_l: bytes
    initiator_p: bytes
    responder_l: bytes
    responder_p: bytes
    initiator_terminator: bytes
    responder_terminator: bytes


def derive(shared_secret: bytes, magic: bytes) -> Keys:
    """HKDF-SHA256 with the network's magic in the salt: two networks never understand each other."""

    def expand(info: bytes) -> bytes:
        return HKDF(algorithm=hashes.SHA256(), length=32, salt=_SALT + magic, info=info).derive(shared_secret)

    terminators = expand(b"garbage_terminators")
    return Keys(
        expand(b"session_id"),
        expand(b"initiator_L"),
        expand(b"initiator_P"),
        expand(b"responder_L"),
        expand(b"responder_P"),
        terminators[:TERMINATOR_SIZE],
        terminators[TERMINATOR_SIZE:],
    )


class PacketCipher:
    """Both directions of one connection."""

    __slots__ = ("_recv_l", "_recv_p", "_send_l", "_send_p", "recv_terminator", "send_terminator", "session_id")

    def __init__(self, keys: Keys, *, initiator: bool) -> None:
        ours = (keys.initiator_l, keys.initiator_p, keys.initiator_terminator)
        theirs = (keys.responder_l, keys.responder_p, keys.responder_terminator)
        if not initiator:
            ours, theirs = theirs, ours
        self._send_l, self._send_p = FSChaCha20(ours[0]), FSChaCha20Poly1305(ours[1])
        self._recv_l, self._recv_p = FSChaCha20(theirs[0]), FSChaCha20Poly1305(theirs[1])
        self.send_terminator, self.recv_terminator = ours[2], theirs[2]
        self.session_id = keys.session_id

    def seal(self, contents: bytes, aad: bytes = b"", *, decoy: bool = False) -> bytes:
        """One packet: length, and header and contents with their tag."""
        length = self._send_l.crypt(len(contents).to_bytes(LENGTH_SIZE, "little"))
        header = bytes((IGNORE if decoy else 0,))
        return length + self._send_p.encrypt(aad, header + contents)

    def open_length(self, data: bytes) -> int:
        """Length of the contents of the next packet; once for each."""
        return int.from_bytes(self._recv_l.crypt(data), "little")

    def open(self, sealed: bytes, aad: bytes = b"") -> tuple[bool, bytes] | None:
        """Is it a decoy, and its contents; None when it was tampered with."""
        plain = self._recv_p.decrypt(aad, sealed)
        if plain is None:
            return None
        return bool(plain[0] & IGNORE), plain[HEADER_SIZE:]

    def unread(self, length: int) -> Unread:
        """Takes the next packet, with contents of ``length`` bytes, piece by piece and without keeping it."""
        return self._recv_p.unread(length + OVERHEAD)
