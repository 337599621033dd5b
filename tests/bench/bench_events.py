"""Event streams of a real daemon: what one event costs for each listener, and what idle connections and streams take.

The reference does the same beside it: as many listeners, an event of as many bytes, told at the same moments.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from socket import socket

from daemons import Daemon
from mine import mine_run

from tests.bench.row import Row
from tests.bench.rpc_client import Server, ask, daemon_server, reference, reply
from tests.bench.rpc_reference import NAME, STREAMS

LISTENERS = 256
IDLE = 512
"""Connections that have asked once and stay."""
WARM = 32
"""Connections that come and go before."""
EVENTS = 20
PATIENCE = 30.0
CONFIG = f"""[rpc]
connections = {2 * IDLE}
subscriptions = {2 * LISTENERS}
[rpc.rates]
operator = 0
anonymous = 0
"""


def rows() -> list[Row]:
    """Some 15 seconds."""
    with running() as (daemon, mine, other):
        found = told(daemon, mine, other)
    with running() as (_, mine, other):
        held, beside = memory(mine, streams, LISTENERS), memory(other, streams, LISTENERS)
        found.append(row_of(f"memory of an idle event stream, of {LISTENERS}", STREAMS, held, beside, 30))
    with running() as (_, mine, other):
        held, beside = memory(mine, idle, IDLE), memory(other, idle, IDLE)
        found.append(row_of(f"memory of an idle HTTP connection, of {IDLE}", NAME, held, beside, 15))
    return found


@contextmanager
def running() -> Iterator[tuple[Daemon, Server, Server]]:
    """A daemon and the reference, both new: memory that was used once is used again before any is added."""
    with tempfile.TemporaryDirectory(prefix="spv-") as text:
        folder = Path(text)
        daemon = Daemon(folder / "node", "regtest")
        daemon.folder.mkdir(mode=0o700)
        (daemon.folder / "spvnode.toml").write_text(CONFIG)
        daemon.start("--no-mesh")
        try:
            daemon.wait_answer()
            with reference(folder) as other:
                yield daemon, daemon_server(daemon), other
        finally:
            daemon.stop()


def row_of(what: str, name: str, held: float, beside: float, most: float) -> Row:
    """A row of memory, from bytes."""
    return Row(what, f"{name}: {beside / 1e3:.3g} kB", held / 1e3, most, "kB", at_least=False)


def told(daemon: Daemon, mine: Server, other: Server) -> list[Row]:
    """One event to all who listen."""
    size = 0
    parent = bytes.fromhex(daemon.call("getblockhash", 0))[::-1]
    headers = mine_run(parent, 1_600_000_000, EVENTS, spacing=1)

    def tell(n: int) -> bytes:
        daemon.call("importheaders", headers[80 * n : 80 * n + 80].hex())
        return b'"seq":%d,' % (n + 1)

    def tell_beside(n: int) -> bytes:
        mark = b'"seq":%d,' % (n + 1)
        ask(other, other.request(mark + b"0" * (size - len(mark)), "/tell"))
        return mark

    each, size = fan_out(mine, tell)
    beside, _ = fan_out(other, tell_beside)
    name = f"an event told to a listener, {LISTENERS} listen"
    return [
        Row(name, f"{STREAMS}: {beside * 1e6:.3g} us CPU", each * 1e6, 120, "us CPU", at_least=False),
        Row(f"{name}: the reference's cost over ours", f"{STREAMS}; no log, no bound on a write", beside / each, 0.25),
    ]


def fan_out(server: Server, tell: Callable[[int], bytes]) -> tuple[float, int]:
    """Seconds of the server's CPU for one event to one listener, what it takes to learn of the event included, and the
    bytes of its data. ``tell`` makes event ``n`` and returns what to wait for."""
    socks = streams(server, LISTENERS)
    spent, data = 0.0, b""
    for n in range(EVENTS):
        began = server.cpu()
        mark = tell(n)
        for sock in socks:
            data = hear(sock, mark)
        spent += server.cpu() - began
    for sock in socks:
        sock.close()
    return spent / EVENTS / LISTENERS, len(data.partition(b"data: ")[2].splitlines()[0])


def memory(server: Server, opened: Callable[[Server, int], Sequence[socket]], count: int) -> float:
    """Bytes that each of ``count`` connections takes while nothing happens on it."""
    for sock in opened(server, WARM):  # what is made once
        sock.close()
    time.sleep(0.5)
    before = server.resident()
    socks = opened(server, count)
    held = (server.resident() - before) / (count - WARM)  # the first ones find room that is there already
    for sock in socks:
        sock.close()
    return held


def idle(server: Server, count: int) -> list[socket]:
    """Connections that have had one answer."""
    socks = [server.connect() for _ in range(count)]
    for sock in socks:
        sock.sendall(server.request(method="GET", path="/livez"))
        reply(sock)
    return socks


def streams(server: Server, count: int) -> list[socket]:
    """Streams that have heard where they begin."""
    socks = [server.connect() for _ in range(count)]
    for sock in socks:
        sock.settimeout(PATIENCE)
        sock.sendall(server.request(method="GET", path="/events?kinds=extend"))
        hear(sock, b"\nid: ")
    return socks


def hear(sock: socket, words: bytes) -> bytes:
    """Reads until ``words`` come."""
    got = b""
    while words not in got:
        part = sock.recv(65_536)
        if not part:
            raise ValueError(got)
        got += part
    return got
