"""What loads a server without being what limits it: blocking sockets, requests made beforehand, replies only measured.

Its own CPU is told with each measurement, so that the table can show that the server was the slower one.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemons import Daemon

RECEIVE = 1 << 18
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_CLOCK_OF_PROCESS = 2
"""``CPUCLOCK_SCHED`` of Linux: the clock ``~pid << 3 | 2`` is the CPU time of a process (clock_getcpuclockid(3))."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is reached, and its process."""

    pid: int
    port: int
    unix: Path
    auth: str = ""
    """Line of the head that TCP asks for."""

    def connect(self, *, unix: bool = False) -> socket.socket:
        """A connection."""
        if not unix:
            return socket.create_connection(("127.0.0.1", self.port))
        found = socket.socket(socket.AF_UNIX)
        found.connect(str(self.unix))
        return found

    def request(self, body: bytes = b"", path: str = "/", method: str = "POST") -> bytes:
        """A whole request, kept alive."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", self.auth]
        return "\r\n".join([*filter(None, lines), "", ""]).encode() + body

    def cpu(self) -> float:
        """Seconds of CPU that the process has used, to the nanosecond."""
        return time.clock_gettime(~self.pid << 3 | _CLOCK_OF_PROCESS)

    def resident(self) -> int:
        """Bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Load:
    """One measurement. Seconds: wall time of ``calls``, CPU of the server and of the client, each call's wait."""

    calls: int
    wall: float
    server: float
    client: float
    waits: Sequence[float]
    size: int
    """Bytes of the last reply's body."""

    @property
    def rate(self) -> float:
        """Calls that a second of the server's CPU is enough for: what it does in a second where nothing else runs."""
        return self.calls / self.server

    def at(self, share: float) -> float:
        """The wait that ``share`` of the calls stay under, in ms."""
        return sorted(self.waits)[int(share * len(self.waits))] * 1e3


def call(method: str, *params: object) -> bytes:
    """A JSON-RPC body."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def reply(sock: socket.socket) -> bytes:
    """The body of one reply, which must be a 200 with its length given."""
    data = sock.recv(RECEIVE)
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += sock.recv(RECEIVE)
    found = _LENGTH.search(data, 0, end)
    if found is None or data[9:12] != b"200":
        raise ValueError(data[:200])
    parts, left = [data[end + 4 :]], int(found[1]) - (len(data) - end - 4)
    while left:
        parts.append(sock.recv(RECEIVE))
        left -= len(parts[-1])
    return b"".join(parts)


def load(server: Server, requests: Sequence[bytes], *, unix: bool = False, connections: int = 1) -> Load:
    """Sends ``requests``, one at a time on each of so many connections; the first of each connection is not counted."""
    socks = [server.connect(unix=unix) for _ in range(connections)]
    for sock in socks:
        sock.sendall(requests[0])
        reply(sock)
    sent, waits, body = [0.0] * connections, [], b""
    began, spent, ours = time.perf_counter(), server.cpu(), time.process_time()
    for at, sock in enumerate(socks):
        sent[at] = time.perf_counter()
        sock.sendall(requests[at])
    for n in range(len(requests)):
        at = n % connections
        body = reply(socks[at])
        now = time.perf_counter()
        waits.append(now - sent[at])
        if n + connections < len(requests):
            sent[at] = now
            socks[at].sendall(requests[n + connections])
    found = Load(
        len(requests), time.perf_counter() - began, server.cpu() - spent, time.process_time() - ours, waits, len(body)
    )
    for sock in socks:
        sock.close()
    return found


def ask(server: Server, request: bytes, *, unix: bool = True) -> bytes:
    """The body of one reply."""
    with server.connect(unix=unix) as sock:
        sock.sendall(request)
        return reply(sock)


def daemon_server(daemon: Daemon) -> Server:
    """A daemon that runs."""
    found = re.search(r'"tcp":\["127\.0\.0\.1:(\d+)"\]', daemon.log())
    assert found is not None
    assert daemon.process is not None
    secret = b64encode((daemon.folder / ".cookie").read_bytes()).decode()
    return Server(daemon.process.pid, int(found[1]), daemon.folder / "rpc.sock", f"Authorization: Basic {secret}")


@contextmanager
def reference(folder: Path) -> Iterator[Server]:
    """``rpc_reference``, running."""
    unix = folder / "reference.sock"
    command = [sys.executable, "-m", "tests.bench.rpc_reference", str(unix)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(process.pid, int(process.stdout.readline()), unix)
        finally:
            process.kill()
