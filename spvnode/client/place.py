"""Where a daemon is, and what to show it."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from spvnode.client.errors import Unreachable
from spvnode.errors import InputError
from spvnode.places import COOKIE_NAME, SOCKET_NAME

MAX_COOKIE = 4_096
"""Bytes of a cookie file that are read; it has 74. The path comes from the caller."""
DEFAULT_PORTS = {"http": 80, "https": 443}


class Place(NamedTuple):
    """A daemon: by its unix socket, or by ``host`` and ``port``. ``cookie`` is read for each request: a daemon makes a
    new one at each start."""

    socket: Path | None = None
    host: str = "localhost"
    port: int = 0
    tls: bool = False
    cookie: Path | None = None
    token: str | None = None

    def __str__(self) -> str:
        if self.socket is not None:
            return str(self.socket)
        return f"{'https' if self.tls else 'http'}://{self.authority}"

    @property
    def authority(self) -> str:
        """For the ``Host`` header."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{name}:{self.port}" if self.port else name

    def headers(self) -> dict[str, str]:
        """Of each request. Raises Unreachable where the cookie file is missing: then no daemon runs."""
        if self.token is not None:
            return {"Authorization": f"Bearer {self.token}"}
        if self.cookie is None:
            return {}
        try:
            with self.cookie.open("rb") as file:
                secret = file.read(MAX_COOKIE)
        except OSError as error:
            raise Unreachable(f"{self.cookie}: {error.strerror}", untouched=True) from error
        return {"Authorization": "Basic " + base64.b64encode(secret).decode()}


def find_place(where: str | Path | None = None, *, token: str | None = None, cookie: str | Path | None = None) -> Place:
    """The daemon of ``where``: its data directory, or ``http(s)://HOST[:PORT]``; by default this user's data directory.

    On the unix socket no credentials are needed. A URL wants a ``token``, or a ``cookie``: the file, or the data
    directory that it lies in. Raises InputError.
    """
    if isinstance(where, str) and "://" in where:
        return _at_url(where, token, cookie)
    return Place(default_datadir(where) / SOCKET_NAME, token=token)


def _at_url(url: str, token: str | None, cookie: str | Path | None) -> Place:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InputError("where", f"{url[:80]!r} is no URL: {error}") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise InputError("where", f"{url[:80]!r} is not of the form http(s)://HOST[:PORT]")
    if parts.username is not None:
        raise InputError("where", "holds credentials; give them as token or cookie")
    file = None if cookie is None else Path(cookie).expanduser()
    if file is not None and file.is_dir():
        file = file / COOKIE_NAME
    return Place(
        host=parts.hostname,
        port=port or DEFAULT_PORTS[parts.scheme],
        tls=parts.scheme == "https",
        cookie=file,
        token=token,
    )


def default_datadir(where: str | Path | None = None) -> Path:
    """``where``, or what the environment names, or this user's."""
    given = where or os.environ.get("SPVNODE_DATADIR")
    if given:
        return Path(given).expanduser().absolute()
    import platformdirs  # noqa: PLC0415 - only who names no place pays for it

    return platformdirs.user_data_path("spvnode")
