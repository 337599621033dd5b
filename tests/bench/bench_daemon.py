"""Whole daemons on loopback, over 1,000,000 synthetic regtest headers: wire to committed, memory, warm start, flash.

Reference for the rate: Bitcoin Core 28.1 as a header client on a machine of this kind, 120,000 headers/s and 310 MB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mine import regtest_chain

from tests.bench.row import Row

COUNT = 1_000_000
CORE = "Bitcoin Core 28.1, 120,000/s and 310 MB"
PATIENCE = 120.0


def spvnode(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spvnode", *arguments, "--datadir", str(folder)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip


def ask(folder: Path, *arguments: str) -> Any:
    try:
        return json.loads(spvnode(folder, *arguments, "--json").stdout)
    except subprocess.CalledProcessError:
        return None


@contextmanager
def daemon(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = ["run", "--network", "regtest", "--datadir", str(folder), "--rpc", "127.0.0.1:0", *arguments]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "spvnode", *command], stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def status_field(pid: int, name: str) -> float:
    """A memory field of /proc/PID/status, in MB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) * 1024 / 1e6


def written(pid: int) -> int:
    """Bytes that the process caused to be written to the device."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])


def wait_for(probe: Any, what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.2)
    return answer


def address(folder: Path) -> str:
    known = wait_for(lambda: (k := ask(folder, "id")) and k["running"] and k["addresses"], "no address")
    return str(known[0])


def rows() -> list[Row]:
    """Runs it all: half a minute, most of it mining the headers."""
    cache = Path(tempfile.gettempdir()) / f"spvnode-bench-{os.getuid()}-{COUNT}.headers"
    headers = regtest_chain(COUNT, cache=cache, spacing=60)  # none from the future
    with tempfile.TemporaryDirectory(prefix="spv-") as text:
        return measure(Path(text), headers)


def measure(folder: Path, headers: bytes) -> list[Row]:
    first, second = folder / "a", folder / "b"
    for one in (first, second):
        one.mkdir(mode=0o700)
    file = folder / "headers.bin"
    file.write_bytes(headers)
    spvnode(first, "import", str(file), "--network", "regtest")
    listen = ("--listen", "/ip4/127.0.0.1/tcp/0")
    with daemon(first, *listen), daemon(second, *listen, "--peer", address(first)) as node:
        wait_for(lambda: (ask(second, "status") or {}).get("blocks", 0) >= COUNT, "no sync")
        burst = ask(second, "status")["sync"]["last_burst"]
        peak, flash = status_field(node.pid, "VmHWM"), written(node.pid) / COUNT
    started = time.monotonic()
    with daemon(second, "--no-mesh") as node:
        wait_for(lambda: ask(second, "status"), "no answer")
        warm = time.monotonic() - started
        without, most = status_field(node.pid, "VmRSS"), status_field(node.pid, "VmHWM")
    return [
        Row("wire to committed, one libp2p peer", CORE, burst["headers_per_second"] / 1e3, 400, "k headers/s"),
        Row("peak memory with mesh, while syncing", CORE, peak, 140, "MB", at_least=False),
        Row("memory without mesh, 1,000,000 headers", CORE, without, 70, "MB", at_least=False),
        Row("its peak, while loading them", CORE, most, 85, "MB", at_least=False),
        Row("warm start to first RPC answer", "1,000,000 headers", warm, 2, "s", at_least=False),
        Row("bytes written per header in bulk", "80 of information", flash, 200, "B", at_least=False),
    ]
