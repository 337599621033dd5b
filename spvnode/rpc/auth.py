"""Who may call: the bearer of the cookie file, or on the unix socket this very user.

The cookie is bitcoind's: ``<datadir>/.cookie`` with ``__cookie__:<64 hex digits>``, made anew at each start, used as
HTTP Basic credentials. Whoever can read the data directory can call.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import os
import secrets
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

import trio

from spvnode.places import COOKIE_NAME
from spvnode.rpc.limits import MAX_AUTHORIZATION

COOKIE_USER = "__cookie__"
COOKIE_BYTES = 32
"""Random bytes of the password: 256 bits cannot be guessed, so failed tries need no delay."""

_UCRED = struct.Struct("3i")
"""Linux ``struct ucred``: pid, uid, gid (unix(7))."""
ROOT_UID = 0


@dataclass(frozen=True, slots=True)
class Cookie:
    """The credentials of this run of the daemon, and where they are written."""

    path: Path
    secret: bytes

    @classmethod
    def create(cls, datadir: Path) -> Cookie:
        """Writes a new cookie (mode 0600) in place of any old one. Raises OSError."""
        path = datadir / COOKIE_NAME
        secret = f"{COOKIE_USER}:{secrets.token_hex(COOKIE_BYTES)}".encode()
        temporary = datadir / f"{COOKIE_NAME}.tmp"
        temporary.unlink(missing_ok=True)  # of a run that was killed right here
        # O_EXCL and O_NOFOLLOW: never write the secret through somebody else's file or link.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        return cls(path, secret)

    def remove(self) -> None:
        """Deletes the file if it still is this run's."""
        with contextlib.suppress(OSError):
            if self.path.read_bytes() == self.secret:
                self.path.unlink()

    def admits(self, authorization: bytes | None) -> bool:
        """True when an ``Authorization`` header carries this cookie (RFC 7617). Takes constant time."""
        if authorization is None or len(authorization) > MAX_AUTHORIZATION:
            return False
        scheme, _, encoded = authorization.partition(b" ")
        if scheme.lower() != b"basic":
            return False
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except binascii.Error:
            return False
        return hmac.compare_digest(given, self.secret)


def peer_uid(sock: trio.socket.SocketType) -> int:
    """User id of the process at the other end of a unix socket, as it was at connect (``SO_PEERCRED``)."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    uid: int = _UCRED.unpack(raw)[1]
    return uid


def uid_admitted(uid: int) -> bool:
    """This user, or root, who could read the cookie anyway."""
    return uid in (os.geteuid(), ROOT_UID)
