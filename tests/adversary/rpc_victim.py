"""A daemon under attack on its RPC: what it answers meanwhile on the unix socket, what it takes, and what it logs."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemons import Daemon
from rpc_rounds import ROUND

WATCH = Path(__file__).with_name("rpc_watch.py")
ROUNDS = Path(__file__).with_name("rpc_rounds.py")
MAX_GROWTH = 32 << 20
MAX_ANSWER = 0.1
MAX_ROUND = 0.05
"""Seconds of CPU: between the steps of an answer, of which there are three, rounds for others come."""
FIREWALLS = ("rpc connection failed", "rpc request failed", "rpc call failed", "service failed", "Traceback")


@dataclass(frozen=True)
class Seen:
    """``answers``: seconds of each call on the unix socket, and those of them that the machine took. ``rounds``:
    seconds of the event loop's longest round, and of CPU in the round that took most. ``growth``: bytes at the peak
    over the start."""

    answers: list[tuple[float, float]]
    rounds: tuple[float, float]
    growth: int

    @property
    def slowest(self) -> float:
        """Seconds of an answer at most, without what the machine took."""
        return max(seconds - taken for seconds, taken in self.answers)


class Victim:
    """One real daemon, its RPC on a free port."""

    def __init__(self, folder: Path) -> None:
        self.daemon = Daemon(folder, "regtest")
        self._rounds = folder.with_name("rounds")
        self._rounds.write_bytes(bytes(ROUND.size))
        self.daemon.program = (str(ROUNDS), str(self._rounds))
        self.daemon.start("--no-mesh", "--log-level", "info")
        self.daemon.wait_answer()
        found = re.search(r'"tcp":\["127\.0\.0\.1:(\d+)"\]', self.daemon.log())
        assert found is not None
        self.port = int(found[1])
        self.seen: dict[str, Seen] = {}

    @property
    def pid(self) -> int:
        assert self.daemon.process is not None
        return self.daemon.process.pid

    @property
    def cookie(self) -> str:
        return "Basic " + base64.b64encode((self.daemon.folder / ".cookie").read_bytes()).decode()

    def memory(self, field: str) -> int:
        """Bytes, by a field of /proc/PID/status."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+) kB", text)[1]) << 10  # type: ignore[index]

    @contextmanager
    def attacked(self, name: str) -> Iterator[None]:
        """While the body attacks, the owner goes on asking; afterwards nothing must have happened."""
        logged = len(self.daemon.log())
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # the peak begins anew
        before = self.memory("VmRSS")
        with self._rounds.open("r+b") as file:
            file.write(bytes(ROUND.size))
        watch = subprocess.Popen(
            [sys.executable, str(WATCH), str(self.daemon.folder / "rpc.sock"), str(self.pid)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert watch.stdout is not None
        assert watch.stdout.readline() == "ready\n"
        try:
            yield
            time.sleep(0.2)
        finally:
            rest, _ = watch.communicate("")
        rounds = ROUND.unpack(self._rounds.read_bytes())
        seen = self.seen[name] = Seen(json.loads(rest), rounds, self.memory("VmHWM") - before)
        assert self.daemon.process is not None
        assert self.daemon.process.poll() is None, f"{name}: it ended: {self.daemon.log()[logged:]}"
        lines = self.daemon.log()[logged:]
        assert not [word for word in FIREWALLS if word in lines], f"{name}: {lines}"
        assert '"level":"error"' not in lines, f"{name}: {lines}"
        assert seen.growth <= MAX_GROWTH, f"{name}: {seen.growth / 2**20:.1f} MB more"
        assert seen.slowest <= MAX_ANSWER, f"{name}: {sorted(seen.answers)[-10:]}"
        assert seen.rounds[1] <= MAX_ROUND, f"{name}: a round of {seen.rounds[1] * 1e3:.0f} ms"
