"""Real daemons that follow Ethereum, and the Beacon APIs of recorded data that they follow it from."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio
from daemons import PATIENCE, Daemon, RpcFailed
from rest_server import BeaconServer, serving

NIMBUS = "mainnet-capella-nimbus21"
FINAL = 6_730_752
"""Slot that the recorded set ends with."""


@contextmanager
def apis(*servers: BeaconServer) -> Iterator[list[str]]:
    """The URLs of these servers, on loopback, as long as the context lasts."""
    ready: queue.Queue[tuple[str, trio.lowlevel.TrioToken, trio.CancelScope]] = queue.Queue()

    async def one(server: BeaconServer) -> None:
        with trio.CancelScope() as scope:
            async with serving(server) as endpoint:
                ready.put((endpoint.base, trio.lowlevel.current_trio_token(), scope))
                await trio.sleep_forever()

    threads = [threading.Thread(target=trio.run, args=(one, server)) for server in servers]
    urls, stops = [], []
    for thread in threads:
        thread.start()
        url, token, scope = ready.get(timeout=PATIENCE)
        urls.append(url)
        stops.append((token, scope))
    try:
        yield urls
    finally:
        for (token, scope), thread in zip(stops, threads, strict=True):
            token.run_sync_soon(scope.cancel)
            thread.join(PATIENCE)


class BeaconDaemon(Daemon):
    """One node of an Ethereum network; ``settings`` are lines of its ``[[beacon]]`` table."""

    own_peers = True

    def __init__(self, folder: Path, *settings: str, network: str = "ethereum") -> None:
        super().__init__(folder, network)
        self.network = network
        self.settings = settings

    def start(self, *arguments: str) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = [f'network = "{self.network}"', 'listen = ["/ip4/127.0.0.1/tcp/0"]', *self.settings]
        (self.folder / "spvnode.toml").write_text("\n".join(["[[beacon]]", *lines]) + "\n")
        super().start("--no-mesh", *arguments)

    def wait(self, probe: Callable[[], Any], what: str) -> Any:
        """The first true answer of ``probe``, which may fail until then."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = probe()
            except (OSError, RpcFailed):
                answer = None
            if answer:
                return answer
            assert self.process is not None
            assert self.process.poll() is None, f"it ended: {self.log()}"
            assert time.monotonic() < deadline, f"not {what}: {self.log()}"
            time.sleep(0.02)

    def slot(self) -> int:
        """Of the finalized header; -1 before there is one, or while it does not answer."""
        try:
            slot = int(self.call("getfinalizedheader")["slot"])
        except (OSError, RpcFailed):
            return -1
        self.acknowledged = max(self.acknowledged, slot)
        return slot

    def follow(self, slot: int = FINAL) -> None:
        self.wait(lambda: self.slot() >= slot, f"at slot {slot}")

    def beacon_address(self) -> str:
        return str(self.wait(lambda: self._known().get("addresses"), "listening")[0])

    def enr(self) -> str:
        return str(self.wait(lambda: self._known().get("enr"), "with a record"))

    def _known(self) -> Any:
        """Who it is to its network's nodes; empty until it listens."""
        return self.call("getnodeinfo")["beacon"].get(self.network, {})

    def trust(self) -> str:
        """What it says is missing."""
        return str(self.wait(lambda: self.call("getsyncinfo").get("trust"), "telling what it misses"))
