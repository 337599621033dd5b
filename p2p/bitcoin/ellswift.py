"""ElligatorSwift keys and the key agreement of BIP324, by libsecp256k1 as coincurve ships it.

coincurve's public API does not reach that module of the library, so its binding is used directly; that is why the
version is pinned. Nothing else here touches it.
"""

from __future__ import annotations

import secrets
from typing import Final

from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]  # compiled, without stubs
from coincurve.context import GLOBAL_CONTEXT

KEY_SIZE: Final = 64
"""Bytes of an encoded public key; every string of that length is one."""
SECRET_SIZE: Final = 32


def create(secret: bytes, randomness: bytes) -> bytes:
    """The public key of ``secret`` as 64 bytes that look random; 32 bytes of ``randomness`` choose among the many.
    ValueError when ``secret`` is not in 1 .. n - 1."""
    _check_sizes(secret, randomness)
    encoded = ffi.new("unsigned char[64]")
    if not lib.secp256k1_ellswift_create(GLOBAL_CONTEXT.ctx, encoded, secret, randomness):
        raise ValueError("not a private key of secp256k1")
    return bytes(ffi.buffer(encoded))


def new_secret() -> bytes:
    """A private key that nobody can guess."""
    while True:
        secret = secrets.token_bytes(SECRET_SIZE)
        if lib.secp256k1_ec_seckey_verify(GLOBAL_CONTEXT.ctx, secret):
            return secret


def x_only(encoded: bytes) -> bytes:
    """The x coordinate that 64 bytes stand for."""
    if len(encoded) != KEY_SIZE:
        raise ValueError(f"an encoded key is {KEY_SIZE} bytes")
    point = ffi.new("secp256k1_pubkey *")
    lib.secp256k1_ellswift_decode(GLOBAL_CONTEXT.ctx, point, encoded)
    output, size = ffi.new("unsigned char[33]"), ffi.new("size_t *", 33)
    lib.secp256k1_ec_pubkey_serialize(GLOBAL_CONTEXT.ctx, output, size, point, lib.SECP256K1_EC_COMPRESSED)
    return bytes(ffi.buffer(output))[1:]


def agree(ours: bytes, theirs: bytes, secret: bytes, *, initiator: bool) -> bytes:
    """BIP324's ``v2_ecdh``: 32 bytes that both sides get, bound to both encodings as they were sent. Any 64 bytes of
    the remote are a key, so it cannot make this fail; ValueError when ``secret`` is none."""
    _check_sizes(secret)
    first, second = (ours, theirs) if initiator else (theirs, ours)
    if len(first) != KEY_SIZE or len(second) != KEY_SIZE:
        raise ValueError(f"an encoded key is {KEY_SIZE} bytes")
    output = ffi.new("unsigned char[32]")
    party = 0 if initiator else 1
    hashing = lib.secp256k1_ellswift_xdh_hash_function_bip324
    if not lib.secp256k1_ellswift_xdh(GLOBAL_CONTEXT.ctx, output, first, second, secret, party, hashing, ffi.NULL):
        raise ValueError("not a private key of secp256k1")
    return bytes(ffi.buffer(output))


def _check_sizes(*values: bytes) -> None:
    if any(len(value) != SECRET_SIZE for value in values):
        raise ValueError(f"a secret is {SECRET_SIZE} bytes")
