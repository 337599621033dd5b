"""In a process of its own, so that its memory is the node's: follows a file of updates through machine, driver and
store, or opens what was stored. Prints one JSON object.

    python -m tests.bench.beacon_catchup follow FOLDER      items.bin: bootstrap and updates, framed as in spvnode
    python -m tests.bench.beacon_catchup open FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import trio

from p2p.faults import FaultReason, RemoteFault
from spvnode.ethereum import items as framing
from spvnode.ethereum.chain import BeaconChain
from spvnode.ethereum.containers import LightClientBootstrap, beacon_root, decode
from spvnode.following import Tip
from spvnode.store.beacon import BeaconStore
from spvnode.sync import events as ev
from spvnode.sync.driver import Driver
from spvnode.sync.source import Items
from spvnode.types import Hash32, Height, Work
from spvnode.view import BeaconStart
from tests.support.eth_long_chain import LAYOUT, network

NETWORK = network()
PATIENCE = 60.0
WRITE_BUFFER = 1 << 20


class Shelf:
    """A ``Source`` with one peer that has everything at hand: what is left is our own work."""

    def __init__(self, run: bytes) -> None:
        self._items = [framing.join([item]) for item in framing.split(run)]
        self._whole = trio.Event()

    @property
    def count(self) -> int:
        return len(self._items)

    async def fetch_after(self, peer: str, locator: object, count: int) -> Items | RemoteFault:
        if not isinstance(locator, int):
            return RemoteFault(FaultReason.PROTOCOL, peer, "not a period", NETWORK.name)
        return await self.fetch_range(peer, Height(locator), count)

    async def fetch_range(self, peer: str, start: Height, count: int) -> Items | RemoteFault:
        return Items(start, b"".join(self._items[start : start + count]))

    async def announce(self, tip: Tip) -> None:
        if tip.height == self.count - 1:
            self._whole.set()

    async def told(self) -> None:
        """Waits until the last period was committed and announced."""
        await self._whole.wait()

    async def report(self, fault: RemoteFault) -> None:
        raise AssertionError(fault)

    def useful(self, peer: str) -> None:
        pass


def memory(field: str) -> float:
    """This process's, of /proc/self/status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field + ":")).split()[1]) * 1024 / 1e6


def rows_in(folder: Path) -> BeaconStore:
    return BeaconStore.open(
        folder / "store", chain_id=NETWORK.genesis_validators_root, now=time.time(), write_buffer=WRITE_BUFFER
    )


def follow(folder: Path) -> dict[str, float]:
    """Milliseconds a period, wall and CPU, from the first claim to the last commit; memory before and at the peak."""
    run = (folder / "items.bin").read_bytes()
    shelf = Shelf(framing.cut(run, 1 << 30)[len(framing.cut(run, 1)) :])
    first = framing.split(framing.cut(run, 1))[0]
    bootstrap = decode(NETWORK.preset, LAYOUT, LightClientBootstrap, first.ssz)
    start = BeaconStart(beacon_root(bootstrap.header.beacon), bootstrap.header.beacon.slot, "root", ("bench",))
    with rows_in(folder) as rows:
        chain = BeaconChain.begin(NETWORK, rows, bootstrap, start, clock=time.time)
        if not isinstance(chain, BeaconChain):
            raise TypeError(chain)
        before = memory("VmRSS")
        began, cpu = time.perf_counter(), time.process_time()
        trio.run(_until, chain, shelf)
        taken, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {
        "wall_ms": taken / shelf.count * 1e3,
        "cpu_ms": cpu / shelf.count * 1e3,
        "before_mb": before,
        "peak_mb": memory("VmHWM"),
    }


async def _until(chain: BeaconChain, shelf: Shelf) -> None:
    driver = Driver(chain, shelf, jitter=lambda: 0.5)
    last = shelf.count - 1
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.run)
            await driver.post(ev.PeerTip("shelf", Tip(Height(last), Hash32(b"\1" * 32), Work(0)), Height(-1)))
            await shelf.told()
            nursery.cancel_scope.cancel()


def reopen(folder: Path) -> dict[str, float]:
    """CPU seconds to open store and chain, imports not counted; the last period; memory after it."""
    began = time.process_time()
    with rows_in(folder) as rows:
        chain = BeaconChain.open(NETWORK, rows, clock=time.time)
        taken = time.process_time() - began
        if chain is None or chain.faults:
            raise TypeError(chain and chain.faults)
        return {"cpu_s": taken, "last": chain.tip.height, "rss_mb": memory("VmRSS")}


if __name__ == "__main__":
    work = {"follow": follow, "open": reopen}[sys.argv[1]]
    print(json.dumps(work(Path(sys.argv[2]))))
