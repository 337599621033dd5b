"""The header store: flash wear of a bulk sync, and what reading costs.

Writing and reading each run in a process of their own, so that ``/proc/self/io`` and ``/proc/self/status`` speak of
nothing else. The headers are synthetic (random, linked where the store looks): LevelDB does not compress them.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from spvnode.store.headers import HeaderStore
from spvnode.store.schema import StartRecord, block_hash
from spvnode.types import CommitKind, HeaderCommit, Height, Work
from tests.bench.row import Row

HEADERS = 1_000_000
BATCH = 2_000
SYNC_EVERY = 100_000
GENESIS = bytes(80)
START = StartRecord(Height(0), GENESIS, Work(1))


def rows() -> list[Row]:
    """What ``make bench`` prints of the store."""
    with tempfile.TemporaryDirectory() as folder:
        wrote = _run("write", folder)
        read = _run("read", folder)
    name = f"store, {HEADERS:,} headers"
    batches = f"batches of {BATCH:,}, a sync per {SYNC_EVERY:,}"
    return [
        Row(f"{name}: written to flash per header", f"/proc/self/io, {batches}", wrote["io"], 200, "B", at_least=False),
        Row(f"{name}: the same by file sizes", "logs included", wrote["files"], 200, "B", at_least=False),
        Row(f"{name}: write rate", f"CPU; {batches}", wrote["rate"], 1_000_000, "headers/s"),
        Row(f"{name}: warm open with scan", "CPU; checksums on", read["open"], 0.5, "s", at_least=False),
        Row(f"{name}: warm scan", "CPU; runs and tree nodes", read["scan"], 0.25, "s", at_least=False),
        Row(f"{name}: header(height)", "CPU; 20,000 random heights", read["get"], 6, "us", at_least=False),
        Row(f"{name}: headers(height, 2000)", "CPU; 300 random heights", read["range"], 500, "us", at_least=False),
        Row(f"{name}: mapped pages after open", "RssFile, growth", read["mapped"], 4, "MB", at_least=False),
    ]


def _run(what: str, folder: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", __name__, what, folder], check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def open_store(folder: Path) -> HeaderStore:
    return HeaderStore.open(folder / "store", genesis_hash=block_hash(GENESIS), start=START, now=0.0)


def bulk(store: HeaderStore, total: int) -> Iterator[int]:
    """Commits ``total`` headers as a sync does; yields the height after each batch."""
    rng = random.Random(1)
    body = rng.randbytes(BATCH * 80)
    nodes = rng.randbytes(BATCH // 16 * 32)
    while store.tip_height < total:
        fork = store.tip_height
        tip = Height(fork + BATCH)
        # A real sync never writes the same bytes twice; here only the link and a stamp change.
        stamp = tip.to_bytes(4, "big")
        headers = body[:4] + store.tip_hash + stamp + body[40:-4] + stamp
        commit = HeaderCommit(
            kind=CommitKind.EXTEND,
            fork_height=fork,
            headers=headers,
            undone=b"",
            nodes=nodes[: ((tip + 1) // 16 - (fork + 1) // 16) * 32],
            tip_height=tip,
            tip_hash=block_hash(headers[-80:]),
            chainwork=Work(tip),
        )
        store.commit(commit, now=float(tip), sync=tip % SYNC_EVERY == 0)
        yield tip


def write(folder: Path) -> dict[str, float]:
    """Bytes written per header, by the kernel's account and by the largest size of every file that ever was."""
    sizes: dict[str, int] = {}
    store = open_store(folder)
    before, began, watching = _written(), time.process_time(), 0.0
    for _ in bulk(store, HEADERS):
        at = time.process_time()
        _watch(folder / "store", sizes)
        watching += time.process_time() - at
    took = time.process_time() - began - watching
    store.close()
    os.sync()
    _watch(folder / "store", sizes)
    return {
        "io": (_written() - before) / HEADERS,
        "files": sum(sizes.values()) / HEADERS,
        "rate": HEADERS / took,
    }


def read(folder: Path) -> dict[str, float]:
    """CPU times of a store whose files are in the page cache: what it costs, whatever else the machine does."""
    mapped = _mapped()
    began = time.process_time()
    store = open_store(folder)
    opened = time.process_time() - began
    grown = _mapped() - mapped
    began = time.process_time()
    counted = sum(len(headers) for _, headers, _ in store.scan()) // 80
    scanned = time.process_time() - began
    assert counted == HEADERS + 1
    rng = random.Random(2)
    result = {
        "open": opened,
        "scan": scanned,
        "mapped": grown / 1e6,
        "scan_mapped": (_mapped() - mapped) / 1e6,
        "get": _quiet(store.header, [rng.randrange(HEADERS) for _ in range(20_000)], 100),
        "range": _quiet(lambda at: store.headers(at, BATCH), [rng.randrange(HEADERS - BATCH) for _ in range(300)], 1),
    }
    store.release_pages()
    result["released"] = (_mapped() - mapped) / 1e6
    store.close()
    return result


def _quiet(call: Callable[[int], object], places: list[int], calls: int) -> float:
    """CPU microseconds of one call: the tenth percentile over blocks of so many calls that the clock does not count."""
    taken = []
    for at in range(0, len(places), calls):
        block = places[at : at + calls]
        began = time.thread_time_ns()
        for place in block:
            call(place)
        taken.append((time.thread_time_ns() - began) / calls)
    return sorted(taken)[len(taken) // 10] / 1000


def _watch(folder: Path, sizes: dict[str, int]) -> None:
    for entry in os.scandir(folder):
        try:
            sizes[entry.name] = max(sizes.get(entry.name, 0), entry.stat().st_size)
        except FileNotFoundError:
            continue


def _written() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])


def _mapped() -> int:
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssFile"].split()[0]) * 1024


if __name__ == "__main__":
    print(json.dumps({"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))))
