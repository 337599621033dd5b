"""A node on Bitcoin's wire and nothing else. ``python -m tests.bench.wire_node FOLDER PORT COUNT BELIEVED`` fetches
COUNT regtest headers from 127.0.0.1:PORT into a LevelDB store in FOLDER, where a chain of fewer than BELIEVED blocks is
not believed. Prints the seconds from the dial to the last commit, and the peak of its memory in MB."""

from __future__ import annotations

import random
import sys
import time
from dataclasses import replace
from pathlib import Path

import trio

from p2p.bitcoin.addrman import AddrMan
from p2p.bitcoin.net import BitcoinNet
from p2p.bitcoin.options import NetParams, Options
from p2p.score import ScoreBoard
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.params import REGTEST, ChainParams
from spvnode.bitcoin.start import genesis_of
from spvnode.bitcoin.stored import StoredChain
from spvnode.follow.bitcoin_wire import Served
from spvnode.store.headers import HeaderStore
from spvnode.store.schema import StartRecord
from spvnode.sync import events as ev
from spvnode.sync.driver import Driver
from spvnode.sync.wire import WireSource
from spvnode.sync.wire_pump import Pump
from spvnode.types import Work

PATIENCE = 120.0


class Node:
    """A ``follow.bitcoin_wire.Followed`` with its chain in ``folder``."""

    def __init__(self, params: ChainParams, folder: Path) -> None:
        start = genesis_of(params)
        record = StartRecord(start.height, start.header, start.chainwork, start.peaks)
        self.params = params
        self.store = HeaderStore.open(folder, genesis_hash=params.genesis_hash, start=record, now=time.time())
        self.chain = StoredChain(params, self.store, start, clock=time.time)
        self.source = WireSource(params, lambda: self.net, lambda: self.headers)
        self.driver = Driver(self.chain, self.source, jitter=random.random)
        self.net: BitcoinNet | None = None

    @property
    def headers(self) -> HeaderChain | None:
        """See ``Followed``."""
        return self.chain.headers

    async def post(self, event: ev.Event) -> None:
        """See ``Followed``."""
        await self.driver.post(event)

    async def fetch(self, port: int, count: int) -> float:
        """The seconds until ``count`` headers are committed."""
        began = time.monotonic()
        net = BitcoinNet(
            NetParams(self.params.name, self.params.magic, self.params.default_port),
            Served(self),
            book=AddrMan(rng=random.Random(1)),
            scores=ScoreBoard(),
            options=Options(connect=[f"127.0.0.1:{port}"], outbound=0, anchors=0),
        )
        self.net = net
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.driver.run)
            await nursery.start(lambda task_status: net.run(task_status=task_status))
            nursery.start_soon(Pump(net, self.source, self).run)
            with trio.fail_after(PATIENCE):
                while self.chain.tip.height < count:  # noqa: ASYNC110 - a poll that costs it nothing
                    await trio.sleep(0.005)
            seconds = time.monotonic() - began
            nursery.cancel_scope.cancel()
        return seconds


def peak() -> float:
    """Of this process's memory, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def main(folder: str, port: str, count: str, believed: str) -> None:
    """See above."""
    node = Node(replace(REGTEST, minimum_chain_work=Work(2 * int(believed))), Path(folder))
    seconds = trio.run(node.fetch, int(port), int(count))
    node.store.close()
    sys.stdout.write(f"{seconds} {peak()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
