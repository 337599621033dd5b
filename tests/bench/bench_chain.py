"""The header chain without store and network: taking a million headers, loading them again, answering about them.

The headers are synthetic regtest with real proof of work; mined once, then kept under ``build/``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.changes import Accepted
from spvnode.bitcoin.params import REGTEST
from spvnode.types import Height
from tests.bench.row import Row
from tests.support.headers_memory import MemoryHeaders
from tests.support.mine import regtest_chain

HEADERS = 1_000_000
RUNS = {2_000: 1.0, 8_064: 2.5}
"""Headers of a run (what one Bitcoin peer sends, and the mesh's largest frame), and the milliseconds it may take."""
STORED_RUN = 16
CACHE = Path(__file__).parents[2] / "build" / "regtest-1000000.bin"
NOW = 2_000_000_000


def rows(cache: Path = CACHE) -> list[Row]:
    """What ``make bench`` prints of the chain."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    headers = regtest_chain(HEADERS, cache=cache)
    result = []
    for size, limit in RUNS.items():
        chain, store, taken = _take(headers, size)
        name = f"chain, {HEADERS:,} headers in runs of {size:,}"
        result += [
            Row(f"{name}: plan + apply", "CPU; no store", HEADERS / taken, 2_000_000, "headers/s"),
            Row(f"{name}: the same per run", "CPU", taken / HEADERS * size * 1000, limit, "ms", at_least=False),
        ]
    taken = _timed(lambda: HeaderChain(REGTEST, store).load(store.runs(STORED_RUN)))
    name = f"chain, {HEADERS:,} headers"
    middle = Height(HEADERS * 7 // 9)
    calls: list[tuple[str, Callable[[], object], int]] = [
        ("chainwork(height)", lambda: chain.chainwork(middle), 1000),
        ("locator()", chain.locator, 500),
        ("bundle(height, tip)", lambda: chain.bundle(middle, chain.tip_height, made_at=0), 1000),
    ]
    result += [
        Row(f"{name}: load and check again", f"CPU; rows of {STORED_RUN}", taken, 1.0, "s", at_least=False),
        Row(f"{name}: index and tree in memory", "per header", chain.nbytes / HEADERS, 24, "B", at_least=False),
    ]
    for call, work, most in calls:
        value = min(_timed(work) for _ in range(200)) * 1e6
        result.append(Row(f"{name}: {call}", "CPU, best of 200", value, most, "us", at_least=False))
    return result


def _take(headers: bytes, size: int) -> tuple[HeaderChain, MemoryHeaders, float]:
    """A chain that has taken all headers in runs of ``size``, its store, and the CPU seconds of plan and apply."""
    store = MemoryHeaders(0)
    chain = HeaderChain(REGTEST, store)
    store.commit(chain.initial_commit())
    taken = 0.0
    for at in range(0, len(headers), size * 80):
        run = headers[at : at + size * 80]
        began = time.thread_time()
        change = chain.plan(run, NOW)
        taken += time.thread_time() - began
        if not isinstance(change, Accepted):
            raise TypeError(f"the run at byte {at} became {change}")
        store.commit(change.commit)
        began = time.thread_time()
        chain.apply(change)
        taken += time.thread_time() - began
    return chain, store, taken


def _timed(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


if __name__ == "__main__":
    for row in rows(Path(sys.argv[1]) if len(sys.argv) > 1 else CACHE):
        print(f"{'ok  ' if row.good else 'MISS'} {row.name} ({row.reference}): {row.value:,.2f} {row.unit}")
