"""The node's identity: one Ed25519 key in one file, and the peer id that follows from it. No libp2p.

The file holds libp2p's ``PrivateKey`` message (libp2p specs, peer-ids/peer-ids.md): 08 01 12 40, seed (32 bytes),
public key (32 bytes), as go-libp2p and rust-libp2p write it.
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

_PREFIX = bytes.fromhex("08011240")
_PUBLIC_PREFIX = bytes.fromhex("08011220")
_IDENTITY_MULTIHASH = b"\x00"
SEED_SIZE = 32
FILE_SIZE = len(_PREFIX) + 2 * SEED_SIZE
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class IdentityError(Exception):
    """The identity file cannot be used or made. It is never overwritten: a new key would be another node."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"identity file {path}: {problem}")
        self.path = path
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Identity:
    """``seed`` is the private key (32 bytes); ``public`` follows from it (32 bytes)."""

    seed: bytes = field(repr=False)
    public: bytes

    @property
    def peer_id(self) -> str:
        """Base58 of the identity multihash of the public key message, as all of libp2p writes it."""
        message = _PUBLIC_PREFIX + self.public
        return base58(_IDENTITY_MULTIHASH + bytes([len(message)]) + message)


def base58(data: bytes) -> str:
    """Bitcoin's base58, without checksum."""
    value, text = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        text = _BASE58[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def load_or_create(path: Path) -> Identity:
    """Read the identity at ``path``; make one (mode 0600, atomically) when there is no file. Raise IdentityError."""
    try:
        if not path.exists() and not path.is_symlink():
            _create(path)
        return _load(path)
    except OSError as error:
        raise IdentityError(path, error.strerror or str(error)) from error


def _load(path: Path) -> Identity:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # not waiting for a FIFO's writer
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise IdentityError(path, "is not a regular file")
        if status.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)  # a copy or a backup often loses the mode; nobody else may read a private key
        data = file.read(FILE_SIZE + 1)
    if len(data) != FILE_SIZE or not data.startswith(_PREFIX):
        raise IdentityError(path, f"damaged: {len(data)} bytes do not hold an Ed25519 key ({FILE_SIZE} bytes expected)")
    seed, public = data[len(_PREFIX) : -SEED_SIZE], data[-SEED_SIZE:]
    if _public_key(seed) != public:
        raise IdentityError(path, "damaged: its public key does not belong to its private key")
    return Identity(seed, public)


def _create(path: Path) -> None:
    """Write a new key beside ``path`` and link it there: whole or not at all, and never over another one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    seed = secrets.token_bytes(SEED_SIZE)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(_PREFIX + seed + _public_key(seed))
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


def _publish(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        return  # another process made one at the same time: that one counts, for both
    except OSError:
        os.rename(draft, path)  # no hard links here (FAT, some network mounts)


def _public_key(seed: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - 6 MB

    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
