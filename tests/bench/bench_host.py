"""The libp2p host between two processes on loopback: bytes a second over one stream, CPU, round trips, memory.

Run as a script with a folder, it is the other process: it takes and serves bytes until it is killed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from p2p.host import open_host
from p2p.port import Host, HostConfig, Stream

ROOT = Path(__file__).resolve().parents[2]
PULL, ECHO, CPU = "/bench/pull/1", "/bench/echo/1", "/bench/cpu/1"
FRAME = 8_064 * 80
"""Bytes of the longest headers reply of the mesh."""
TOTAL = 200 * FRAME
RUNS = 5
"""Of which the best counts for what is measured by the wall clock: other processes only ever add to it."""
ROUND_TRIPS = 300
REQUEST = 200
MB, MIB = 1_000_000, 1 << 20
STOCK = "py-libp2p 0.8.1 as it is"


async def _pull(stream: Stream) -> None:
    """Serve frames for as long as they are asked for: one byte asks for one."""
    frame = os.urandom(FRAME)
    while True:
        await stream.read_exactly(1)
        await stream.write(frame)


async def _echo(stream: Stream) -> None:
    while True:
        await stream.write(await stream.read_exactly(REQUEST))


async def _cpu(stream: Stream) -> None:
    """CPU time of this process, ns, and its resident bytes."""
    while True:
        await stream.read_exactly(1)
        await stream.write(time.process_time_ns().to_bytes(8, "big") + _resident().to_bytes(8, "big"))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _serve(folder: str) -> None:
    async with open_host(HostConfig(Path(folder) / "there")) as host:
        for protocol, handler in ((PULL, _pull), (ECHO, _echo), (CPU, _cpu)):
            host.handle(protocol, handler)
        host.subscribe("/bench/topic/1", lambda peer, data: True, lambda peer, data: None)
        sys.stdout.write(host.addrs[0] + "\n")
        sys.stdout.flush()
        await trio.sleep_forever()


async def _take(host: Host, peer: str) -> float:
    """Seconds for TOTAL bytes, with four frames asked for at any time."""
    stream = await host.open_stream(peer, PULL)
    count = TOTAL // FRAME
    started = time.perf_counter()
    await stream.write(b"?" * 4)
    for number in range(count):
        await stream.read_exactly(FRAME)
        if number < count - 4:
            await stream.write(b"?")
    taken = time.perf_counter() - started
    await stream.reset()
    return taken


async def _round_trips(host: Host, peer: str) -> float:
    """Median seconds of a request on an open stream."""
    stream = await host.open_stream(peer, ECHO)
    times = []
    for _ in range(ROUND_TRIPS):
        started = time.perf_counter()
        await stream.write(bytes(REQUEST))
        await stream.read_exactly(REQUEST)
        times.append(time.perf_counter() - started)
    await stream.reset()
    return statistics.median(times)


async def _openings(host: Host, peer: str) -> float:
    """Median seconds to open a stream and have one request answered."""
    times = []
    for _ in range(ROUND_TRIPS // 10):
        started = time.perf_counter()
        stream = await host.open_stream(peer, ECHO)
        await stream.write(bytes(REQUEST))
        await stream.read_exactly(REQUEST)
        times.append(time.perf_counter() - started)
        await stream.reset()
    return statistics.median(times)


async def _there(stream: Stream) -> tuple[float, int]:
    await stream.write(b"?")
    answer = await stream.read_exactly(16)
    return int.from_bytes(answer[:8], "big") / 1e9, int.from_bytes(answer[8:], "big")


async def _measure(folder: str, addr: str) -> dict[str, float]:
    async with open_host(HostConfig(Path(folder) / "here", ())) as host:
        peer = await host.connect(addr)
        meter = await host.open_stream(peer, CPU)
        (served_before, idle), taken_before = await _there(meter), time.process_time()
        seconds = [await _take(host, peer) for _ in range(RUNS)]
        (served, _), taken = await _there(meter), time.process_time()
        return {
            "rate": TOTAL / MB / min(seconds),
            "server": (served - served_before) / RUNS / TOTAL * 100 * MB,
            "client": (taken - taken_before) / RUNS / TOTAL * 100 * MB,
            "round trip": min([await _round_trips(host, peer) for _ in range(RUNS)]) * 1000,
            "opening": min([await _openings(host, peer) for _ in range(RUNS)]) * 1000,
            "resident": idle / MIB,
        }


def measure() -> dict[str, float]:
    """MB/s; CPU seconds per 100 MB on each side; milliseconds; MB."""
    with tempfile.TemporaryDirectory() as folder:
        other = subprocess.Popen(
            [sys.executable, __file__, folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            text=True,
        )
        try:
            assert other.stdout is not None
            return trio.run(_measure, folder, other.stdout.readline().strip())
        finally:
            other.kill()
            other.wait()


def rows() -> list[object]:
    """What ``make bench`` prints of the host."""
    from tests.bench.row import Row  # noqa: PLC0415 - the other process has no use for it

    got = measure()
    name = "libp2p host, one stream on loopback"
    return [
        Row(f"{name}: rate", f"{STOCK}: 23-58 on a busy machine", got["rate"], 60, "MB/s"),
        Row(f"{name}: CPU to serve 100 MB", "Noise and Yamux", got["server"], 0.8, "s", at_least=False),
        Row(f"{name}: CPU to take 100 MB", "Noise and Yamux", got["client"], 0.8, "s", at_least=False),
        Row(f"{name}: request of 200 bytes", f"{STOCK}: 0.93", got["round trip"], 2, "ms", at_least=False),
        Row(f"{name}: new stream and request", f"{STOCK}: 5.4", got["opening"], 6, "ms", at_least=False),
        Row(
            "libp2p host with gossip: memory of its process", f"{STOCK}: 83", got["resident"], 61, "MiB", at_least=False
        ),
    ]


if __name__ == "__main__":
    trio.run(_serve, sys.argv[1])
