"""Asks a daemon over its unix socket, again and again, until standard input ends; then prints of each call, as JSON,
its seconds and how many of them the machine took: those that this process, or a thread of the daemon (the others may
wait for it), was ready to run and had no processor. A process of its own: what an attack costs the attacker is not
measured with it.

    python rpc_watch.py SOCKET_FILE PID
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

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


def waits(pid: str) -> dict[str, int]:
    """By thread: nanoseconds that it was ready to run and did not (``Documentation/scheduler/sched-stats.rst``)."""
    found = {}
    for task in (Path("/proc/self"), *Path(f"/proc/{pid}/task").iterdir()):
        with suppress(OSError):  # it has just ended
            found[str(task)] = int((task / "schedstat").read_text().split()[1])
    return found


def timed(path: str, pid: str) -> tuple[float, float]:
    """Seconds of one call, and those of them that the machine took."""
    before = waits(pid)
    seconds = ask(path)
    return seconds, sum(now - before.get(task, now) for task, now in waits(pid).items()) / 1e9


def main() -> None:
    path, pid = sys.argv[1:]
    seen = [timed(path, pid)]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        seen.append(timed(path, pid))
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
