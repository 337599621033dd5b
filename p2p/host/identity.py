"""The node's identity: one key in one file, and the peer id that follows from it. No libp2p.

The file holds libp2p's ``PrivateKey`` message (libp2p specs, peer-ids/peer-ids.md, "Keys"), as go-libp2p and
rust-libp2p write it: for Ed25519 08 01 12 40, seed (32 bytes), public key (32 bytes); for secp256k1 08 02 12 20, secret
(32 bytes).
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from p2p.port import KeyType

SEED_SIZE = 32
FILE_SIZE = 4 + 2 * SEED_SIZE
"""Of an Ed25519 identity."""
SECP256K1_FILE_SIZE = 4 + SEED_SIZE
SECP256K1_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""Secrets are below this and above 0 (SEC 2, section 2.4.1)."""
_IDENTITY_MULTIHASH = b"\x00"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class _Layout:
    """How keys of one type are written."""

    label: str
    private_prefix: bytes
    public_prefix: bytes
    file_size: int


_LAYOUTS: dict[KeyType, _Layout] = {
    "ed25519": _Layout("Ed25519", bytes.fromhex("08011240"), bytes.fromhex("08011220"), FILE_SIZE),
    "secp256k1": _Layout("secp256k1", bytes.fromhex("08021220"), bytes.fromhex("08021221"), SECP256K1_FILE_SIZE),
}


class IdentityError(Exception):
    """The identity file cannot be used or made. It is never overwritten: a new key would be another node."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"identity file {path}: {problem}")
        self.path = path
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Identity:
    """``seed`` is the private key (32 bytes); ``public`` follows from it: 32 bytes of Ed25519, or 33 of a compressed
    secp256k1 point."""

    seed: bytes = field(repr=False)
    public: bytes
    key_type: KeyType = "ed25519"

    @property
    def secret(self) -> bytes:
        """The private key (32 bytes), as who signs other things with it (a node record) calls it."""
        return self.seed

    @property
    def peer_id(self) -> str:
        """Base58 of the identity multihash of the public key message, as all of libp2p writes it."""
        message = _LAYOUTS[self.key_type].public_prefix + self.public
        return base58(_IDENTITY_MULTIHASH + bytes([len(message)]) + message)


def base58(data: bytes) -> str:
    """Bitcoin's base58, without checksum."""
    value, text = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        text = _BASE58[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def load_or_create(path: Path, key_type: KeyType = "ed25519") -> Identity:
    """Read the identity at ``path``; make one of ``key_type`` (mode 0600, atomically) when there is no file.

    Raise IdentityError, also when the file holds a key of the other type.
    """
    try:
        if not path.exists() and not path.is_symlink():
            _create(path, key_type)
        return _parse(path, _read(path), key_type)
    except OSError as error:
        raise IdentityError(path, error.strerror or str(error)) from error


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # not waiting for a FIFO's writer
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise IdentityError(path, "is not a regular file")
        if status.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)  # a copy or a backup often loses the mode; nobody else may read a private key
        return file.read(FILE_SIZE + 1)


def _parse(path: Path, data: bytes, key_type: KeyType) -> Identity:
    layout = _LAYOUTS[key_type]
    for other in _LAYOUTS.values():
        if other is not layout and len(data) == other.file_size and data.startswith(other.private_prefix):
            raise IdentityError(path, f"holds an {other.label} key, where one of {layout.label} belongs")
    if len(data) != layout.file_size or not data.startswith(layout.private_prefix):
        raise IdentityError(
            path, f"damaged: {len(data)} bytes do not hold an {layout.label} key ({layout.file_size} bytes expected)"
        )
    seed = data[len(layout.private_prefix) :][:SEED_SIZE]
    if key_type == "secp256k1" and not 0 < int.from_bytes(seed, "big") < SECP256K1_ORDER:
        raise IdentityError(path, "damaged: its secret is outside the order of secp256k1")
    identity = Identity(seed, _public_key(seed, key_type), key_type)
    if _file_of(identity) != data:
        raise IdentityError(path, "damaged: its public key does not belong to its private key")
    return identity


def _file_of(identity: Identity) -> bytes:
    # A secp256k1 secret stands alone: nothing in the file could tell of a flipped bit in it.
    public = identity.public if identity.key_type == "ed25519" else b""
    return _LAYOUTS[identity.key_type].private_prefix + identity.seed + public


def _create(path: Path, key_type: KeyType) -> None:
    """Write a new key beside ``path`` and link it there: whole or not at all, and never over another one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    seed = _new_secret(key_type)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(_file_of(Identity(seed, _public_key(seed, key_type), key_type)))
            file.flush()
            os.fsync(descriptor)
        _publish(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _new_secret(key_type: KeyType) -> bytes:
    if key_type == "ed25519":
        return secrets.token_bytes(SEED_SIZE)
    return (1 + secrets.randbelow(SECP256K1_ORDER - 1)).to_bytes(SEED_SIZE, "big")


def _publish(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        return  # another process made one at the same time: that one counts, for both
    except OSError:
        os.rename(draft, path)  # no hard links here (FAT, some network mounts)


def _public_key(seed: bytes, key_type: KeyType) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519  # noqa: PLC0415 - 6 MB
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - 6 MB

    if key_type == "ed25519":
        return ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    point = ec.derive_private_key(int.from_bytes(seed, "big"), ec.SECP256K1()).public_key()
    return point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
