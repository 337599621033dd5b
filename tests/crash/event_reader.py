"""Follows a daemon's events and writes each to a file, one line a write, until it is killed. Begins after the last id
in the file."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress


def follow(path: str, out: int, last: str) -> str:
    """One connection, to its end; the last id."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(path)
        sock.sendall(
            f"GET /events?networks=regtest HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {last}\r\n\r\n".encode()
        )
        raw = b""
        while part := sock.recv(65_536):
            raw += part
            while b"\n\n" in raw:
                block, _, raw = raw.partition(b"\n\n")
                lines = block.replace(b"\r\n", b"\n").split(b"\n")
                fields = dict(line.split(b": ", 1) for line in lines if b": " in line)
                if b"data" in fields:
                    last = fields[b"id"].decode()
                    # What it has handled, and how far it is: one write, so that a kill comes before or after it.
                    os.write(out, fields[b"id"] + b" " + fields[b"data"] + b"\n")
    return last


def main() -> None:
    path, file = sys.argv[1:]
    out = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with open(file, "rb") as known:
        lines = known.read().splitlines()
    last = lines[-1].split(b" ")[0].decode() if lines else "regtest:0,node:0"
    while True:
        with suppress(OSError):
            last = follow(path, out, last)
        time.sleep(0.01)  # the daemon is gone, or not there yet


if __name__ == "__main__":
    main()
