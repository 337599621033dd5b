"""The "v4" identity scheme (EIP-778) and the cryptography of Node Discovery v5.1 (devp2p, discv5-theory.md, "Handshake
Steps"; discv5-wire.md, "Packet Encoding"): secp256k1, keccak-256, HKDF, AES.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, NamedTuple

from coincurve import PrivateKey, PublicKey
from coincurve.ecdsa import cdata_to_der, der_to_cdata, deserialize_compact, serialize_compact, signature_normalize
from Crypto.Hash import keccak
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SECRET_SIZE: Final = 32
PUBLIC_SIZE: Final = 33
"""Bytes of a compressed point."""
SIGNATURE_SIZE: Final = 64
"""r and s; the recovery id is left out."""
NODE_ID_SIZE: Final = 32
KEY_SIZE: Final = 16
TAG_SIZE: Final = 16
_PROOF_TEXT: Final = b"discovery v5 identity proof"
_AGREEMENT_TEXT: Final = b"discovery v5 key agreement"


class Keys(NamedTuple):
    """Session keys, 16 bytes each: the side that began the handshake writes with the first."""

    initiator: bytes
    recipient: bytes


def keccak256(data: bytes) -> bytes:
    """Ethereum's keccak, which is not SHA3-256."""
    digest: bytes = keccak.new(digest_bits=256, data=data).digest()
    return digest


def public_of(secret: bytes) -> bytes:
    """Compressed public key, 33 bytes. Raise ValueError for a secret outside the order."""
    public: bytes = PrivateKey(secret).public_key.format(compressed=True)
    return public


def node_id_of(public: bytes) -> bytes:
    """Keccak of the uncompressed point without its prefix. Raise ValueError when ``public`` is no point."""
    return keccak256(PublicKey(public).format(compressed=False)[1:])


def sign(secret: bytes, digest: bytes) -> bytes:
    """r and s, 64 bytes, deterministic (RFC 6979)."""
    signature: bytes = serialize_compact(der_to_cdata(PrivateKey(secret).sign(digest, hasher=None)))
    return signature


def verify(public: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether ``signature`` (r and s) over ``digest`` is by ``public`` (33 bytes)."""
    if len(signature) != SIGNATURE_SIZE:
        return False
    try:
        # EIP-778 does not ask for low s; libsecp256k1 does.
        _, low_s = signature_normalize(deserialize_compact(signature))
        return PublicKey(public).verify(cdata_to_der(low_s), digest, hasher=None)
    except ValueError:
        return False


def ecdh(public: bytes, secret: bytes) -> bytes:
    """The shared point, compressed. Raise ValueError when ``public`` is no point."""
    return PublicKey(public).multiply(secret).format(compressed=True)


def derive_keys(shared: bytes, initiator_id: bytes, recipient_id: bytes, challenge: bytes) -> Keys:
    """HKDF-SHA256 (RFC 5869), one block: 32 bytes are two keys."""
    prk = hmac.digest(challenge, shared, hashlib.sha256)
    block = hmac.digest(prk, _AGREEMENT_TEXT + initiator_id + recipient_id + b"\x01", hashlib.sha256)
    return Keys(block[:KEY_SIZE], block[KEY_SIZE:])


def proof_digest(challenge: bytes, ephemeral: bytes, recipient_id: bytes) -> bytes:
    """What the initiator signs to prove that it holds its record's key."""
    return hashlib.sha256(_PROOF_TEXT + challenge + ephemeral + recipient_id).digest()


def mask(node_id: bytes, iv: bytes, header: bytes) -> bytes:
    """AES-128-CTR keyed by the recipient's id; the same call unmasks."""
    cipher = Cipher(algorithms.AES(node_id[:KEY_SIZE]), modes.CTR(iv)).encryptor()
    return cipher.update(header) + cipher.finalize()


def seal(key: bytes, nonce: bytes, plaintext: bytes, ad: bytes) -> bytes:
    """AES-128-GCM; the tag is the last 16 bytes."""
    return AESGCM(key).encrypt(nonce, plaintext, ad)


def unseal(key: bytes, nonce: bytes, sealed: bytes, ad: bytes) -> bytes | None:
    """The plaintext, or None when it was not made with this key."""
    if len(sealed) < TAG_SIZE:
        return None
    try:
        return AESGCM(key).decrypt(nonce, sealed, ad)
    except InvalidTag:
        return None
