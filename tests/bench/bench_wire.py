"""End to end over Bitcoin's own wire: 1,000,000 regtest headers from a v1 peer on loopback, through the driver, into a
LevelDB store; once as they are, and once where presync takes the chain twice before its last part is believed.

Reference: Bitcoin Core 28.1 as a header client on a machine of this kind, 120,000 headers/s and 310 MB.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mine import regtest_chain

from tests.bench.bench_chain import CACHE as NEXT_TO
from tests.bench.row import Row

HEADERS = 1_000_000
CACHE = NEXT_TO.with_name("regtest-minutes-1000000.bin")
"""A block a minute: none from the future."""
CORE = "Bitcoin Core 28.1, 120,000/s and 310 MB"
BELIEVED = HEADERS * 98 // 100
"""Blocks of work below which a chain is not believed in the second row: mainnet's numbers are as old as its release."""
SECONDS = 60.0
"""For one node to end."""


def rows() -> list[Row]:
    """Runs it: ten seconds, once the headers are there."""
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    regtest_chain(HEADERS, cache=CACHE, spacing=60)
    with tempfile.TemporaryDirectory(prefix="spv-") as text, peer() as port:
        once, memory = fetch(Path(text) / "once", port, 0)
        twice, more = fetch(Path(text) / "twice", port, BELIEVED)
    name = f"Bitcoin wire to committed, {HEADERS:,} headers"
    return [
        Row(name, CORE, HEADERS / once / 1e3, 400, "k headers/s"),
        Row(f"{name}, presync's second pass included", CORE, HEADERS / twice / 1e3, 250, "k headers/s"),
        Row(f"{name}: peak memory", CORE, memory, 120, "MB", at_least=False),
        Row(f"{name}: peak memory with presync", CORE, more, 120, "MB", at_least=False),
    ]


@contextmanager
def peer() -> Iterator[int]:
    """The port of one that serves the headers."""
    command = [sys.executable, "-m", "tests.bench.wire_peer", str(CACHE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline())  # type: ignore[union-attr]
        finally:
            process.kill()


def fetch(folder: Path, port: int, believed: int) -> tuple[float, float]:
    """Seconds and MB of a node that gets it all."""
    command = [sys.executable, "-m", "tests.bench.wire_node", str(folder), str(port), str(HEADERS), str(believed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
    seconds, memory = done.stdout.split()[-2:]
    return float(seconds), float(memory)
