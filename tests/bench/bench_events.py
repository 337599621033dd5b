"""Event streams of a real daemon: what one event costs for each listener, and what an idle connection takes.

Reference: a plain ASGI server of h11 and trio on a machine of this kind, 74 us and 9.6 kB.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import trio
from daemons import Daemon
from mine import mine_run

from tests.bench.row import Row

LISTENERS = 500
EVENTS = 20
REFERENCE = "plain h11 on trio, 74 us and 9.6 kB"
_HEAD = b"GET /events?kinds=extend HTTP/1.1\r\nHost: localhost\r\n\r\n"


def rows() -> list[Row]:
    """Some ten seconds."""
    with tempfile.TemporaryDirectory(prefix="spv-") as text:
        daemon = Daemon(Path(text) / "node", "regtest")
        daemon.folder.mkdir(mode=0o700)
        limits = f"connections = {2 * LISTENERS}\nsubscriptions = {2 * LISTENERS}"
        (daemon.folder / "spvnode.toml").write_text(f"[rpc]\n{limits}\n[rpc.rates]\nanonymous = 0\n")
        daemon.start("--no-mesh")
        try:
            daemon.wait_answer()
            return trio.run(measure, daemon)
        finally:
            daemon.stop()


async def measure(daemon: Daemon) -> list[Row]:
    found = re.search(r'"tcp":\["127\.0\.0\.1:(\d+)"\]', daemon.log())
    assert found is not None
    assert daemon.process is not None
    port, pid = int(found[1]), daemon.process.pid
    warm = [await connect(port) for _ in range(50)]
    for stream in warm:
        await stream.aclose()
    await trio.sleep(0.5)
    before = resident(pid)
    streams = [await connect(port) for _ in range(LISTENERS)]
    held = (resident(pid) - before) / LISTENERS
    spent = 0.0
    for n in range(EVENTS):
        run = headers(daemon, n)
        started = cpu(pid)
        await trio.to_thread.run_sync(daemon.call, "importheaders", run)
        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(hear, stream, b'"seq":%d,' % (n + 1))
        spent += cpu(pid) - started
    for stream in streams:
        await stream.aclose()
    each = spent / EVENTS / LISTENERS
    return [
        Row(f"an event told to a listener, {LISTENERS} listen", REFERENCE, each * 1e6, 150, "us CPU", at_least=False),
        Row("memory of an idle event stream", REFERENCE, held / 1e3, 40, "kB", at_least=False),
    ]


def headers(daemon: Daemon, n: int) -> str:
    """One more header for the daemon's chain."""
    parent = bytes.fromhex(daemon.call("getblockhash", daemon.call("getblockcount")))[::-1]
    return mine_run(parent, 1_600_000_000 + n, 1, seed=n, spacing=1).hex()


async def connect(port: int) -> trio.SocketStream:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(_HEAD)
    await hear(stream, b"\nid: ")
    return stream


async def hear(stream: trio.SocketStream, words: bytes) -> None:
    """Reads until ``words`` come."""
    got = b""
    with trio.fail_after(30):
        while words not in got:
            got += await stream.receive_some()


def resident(pid: int) -> float:
    """Bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu(pid: int) -> float:
    """Seconds of CPU that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
