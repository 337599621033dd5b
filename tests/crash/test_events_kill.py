"""A client of the events that is killed at random moments, and a daemon that is: nothing is missed, or comes twice.

`make soak` goes through 1,000 deaths, a plain run through 50.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from daemons import PATIENCE, Daemon, RpcFailed
from mine import mine_run

READER = Path(__file__).with_name("event_reader.py")
DEATHS = 1_000 if os.environ.get("SPVNODE_TEST_PROFILE") == "soak" else 50
DAEMON_DEATHS = 25
"""One in so many is the daemon's."""
TIME = 1_600_000_000


class Miner(Thread):
    """Gives a daemon headers, one or a few at a time, and a reorganization now and then."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        super().__init__(daemon=True)
        self._daemon = daemon
        self._rng = random.Random(seed)
        self._over = Event()
        self._seed = seed

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self._step()
            except (OSError, http.client.HTTPException, RpcFailed):
                self._over.wait(0.02)  # it is dead, or comes up
            self._over.wait(self._rng.uniform(0.0, 0.02))

    def _step(self) -> None:
        tip = int(self._daemon.call("getblockcount"))
        back = min(tip, self._rng.randrange(1, 4)) if self._rng.random() < 0.15 else 0
        parent = str(self._daemon.call("getblockhash", tip - back))
        self._seed += 1
        count = back + self._rng.randrange(1, 4)
        run = mine_run(bytes.fromhex(parent)[::-1], TIME + tip - back, count, seed=self._seed, spacing=1)
        self._daemon.call("importheaders", run.hex())

    def stop(self) -> None:
        self._over.set()
        self.join()


@contextmanager
def mining(daemon: Daemon) -> Iterator[None]:
    miner = Miner(daemon, 7)
    miner.start()
    try:
        yield
    finally:
        miner.stop()


def read(daemon: Daemon, file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", str(READER), str(daemon.folder / "rpc.sock"), str(file)])


def told(file: Path) -> list[tuple[str, dict[str, Any]]]:
    lines = file.read_text().splitlines() if file.exists() else []
    return [(line.partition(" ")[0], json.loads(line.partition(" ")[2])) for line in lines]


def everything(daemon: Daemon) -> list[dict[str, Any]]:
    """The whole log of the network."""
    found: list[dict[str, Any]] = []
    while page := daemon.call("getevents", found[-1]["seq"] if found else 0, 1_000)["events"]:
        found += page
    return found


def test_nothing_is_missed_and_nothing_comes_twice(tmp_path: Path) -> None:
    rng = random.Random(11)
    daemon, file = Daemon(tmp_path / "node", "regtest"), tmp_path / "told"
    daemon.start("--no-mesh")
    daemon.wait_answer()
    reader: subprocess.Popen[bytes] | None = None
    grown = 0
    with mining(daemon):
        for death in range(DEATHS):
            before = file.stat().st_size if file.exists() else 0
            if reader is None:
                reader = read(daemon, file)
            time.sleep(rng.uniform(0.0, 0.3))
            if death % DAEMON_DEATHS == DAEMON_DEATHS - 1:
                daemon.kill()
                daemon.start("--no-mesh")
                daemon.wait_answer()
            else:
                reader.kill()
                reader.wait()
                reader = None
            grown += file.exists() and file.stat().st_size > before
    log = everything(daemon)
    reader = reader or read(daemon, file)
    wait_for(file, log[-1]["seq"])
    reader.kill()
    reader.wait()
    found = told(file)
    chain = [data for _, data in found if data["kind"] != "readiness"]
    assert [data["seq"] for data in chain] == list(range(1, log[-1]["seq"] + 1))
    assert [{key: data[key] for key in event} for data, event in zip(chain, log, strict=True)] == log
    notices = [data["seq"] for _, data in found if data["kind"] == "readiness"]
    assert notices == list(range(1, len(notices) + 1))
    assert sum(data["kind"] == "reorg" for data in chain) > 5
    assert grown > DEATHS // 4, "too few of the deaths came while something was being told"
    assert not daemon.faults()
    daemon.stop()


def wait_for(file: Path, seq: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not any(data["seq"] >= seq for _, data in told(file) if data["kind"] != "readiness"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
