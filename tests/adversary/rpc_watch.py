"""Asks a daemon over its unix socket, again and again, until standard input ends; then prints the seconds of each call
as JSON. A process of its own: what an attack costs the attacker is not measured with it."""

from __future__ import annotations

import json
import select
import socket
import sys
import time

BODY = b'{"jsonrpc":"2.0","id":1,"method":"uptime"}'
REQUEST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(BODY) + BODY
PAUSE = 0.02


def ask(path: str) -> float:
    """Seconds of one call on a connection of its own."""
    started = time.monotonic()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(30)
        sock.connect(path)
        sock.sendall(REQUEST)
        reply = b""
        while part := sock.recv(65_536):
            reply += part
    if b'"result":' not in reply:
        raise ValueError(reply)
    return time.monotonic() - started


def main() -> None:
    seconds = [ask(sys.argv[1])]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        seconds.append(ask(sys.argv[1]))
    sys.stdout.write(json.dumps(seconds))


if __name__ == "__main__":
    main()
