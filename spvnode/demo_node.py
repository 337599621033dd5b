"""What ``make run`` is made of: daemons in processes of their own, and the commands that a user would type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 60.0
"""Seconds that any one step may take before the demonstration gives up."""


class DemoError(Exception):
    """A step did not do what it should; the text says which."""


class Node:
    """One daemon in its own process and folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder / name
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs one ``spvnode`` command on this node's folder."""
        return subprocess.run(
            [sys.executable, "-m", "spvnode", *arguments, "--datadir", str(self.folder)],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip

    def ask(self, *arguments: str) -> Any:
        """The JSON answer of a command, None while it fails."""
        done = self.command(*arguments, "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def start(self, *options: str) -> None:
        """Starts the daemon, its RPC on a free loopback port."""
        arguments = ["run", "--datadir", str(self.folder), "--rpc", "127.0.0.1:0", *options]
        self.folder.mkdir(mode=0o700, exist_ok=True)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "spvnode", *arguments], stderr=log, stdout=log)

    def address(self) -> str:
        """Its loopback multiaddr, once it listens."""
        answer = self.wait(lambda: (known := self.ask("id")) and known["running"] and known["addresses"], "to listen")
        return str(answer[0])

    def beacon_addresses(self, network: str) -> list[str]:
        """Where it listens for an Ethereum network's nodes, once it does."""
        return list((self.ask("id") or {}).get("beacon", {}).get(network, {}).get("addresses", ()))

    def height(self) -> int:
        """Its tip; -1 while it does not answer."""
        return int((self.ask("status") or {}).get("blocks", -1))

    def wait(self, probe: Callable[[], Any], what: str) -> Any:
        """The first true answer of ``probe``."""
        deadline = time.monotonic() + PATIENCE
        while not (answer := probe()):
            if self.process is not None and self.process.poll() is not None:
                raise DemoError(f"the {self.name} node ended: {(self.folder / 'log').read_text()[-2000:]}")
            if time.monotonic() > deadline:
                raise DemoError(f"the {self.name} node took over {PATIENCE:g} s {what}")
            time.sleep(0.1)
        return answer

    def rss(self) -> float:
        """Resident memory in MB, as the kernel counts it."""
        if self.process is None:
            return 0.0
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> None:
        """Ends the daemon, by force if it does not listen."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def say(text: str) -> None:
    """One line of progress."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def verify(proof: Path, *options: str) -> str:
    """What ``spvnode verify`` says of a proof. Raises DemoError where it does not hold."""
    done = subprocess.run(
        [sys.executable, "-m", "spvnode", "verify", str(proof), *options], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DemoError(f"the proof does not verify: {done.stderr.strip()}")
    return done.stdout.strip()


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows in columns, the first one as the heading."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
