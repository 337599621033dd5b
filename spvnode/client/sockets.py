"""Connections of the client that blocks."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from spvnode.client.errors import Unreachable
from spvnode.client.place import Place

BROKEN = (OSError, http.client.HTTPException)
"""What a connection raises that does not last."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket file instead of a host and port."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def open_connection(place: Place, timeout: float | None) -> http.client.HTTPConnection:
    """A connection to the daemon. Raises Unreachable."""
    connection: http.client.HTTPConnection
    if place.socket is not None:
        connection = UnixConnection(place.socket, timeout)
    else:
        kind = http.client.HTTPSConnection if place.tls else http.client.HTTPConnection
        connection = kind(place.host, place.port, timeout=timeout)
    try:
        connection.connect()
    except OSError as error:
        connection.close()
        raise Unreachable(f"no daemon answers at {place} ({error.strerror or error})", untouched=True) from error
    return connection
