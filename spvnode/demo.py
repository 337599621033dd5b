"""``make run``: the main job on this machine alone. Three daemons, real mainnet headers, a proof, a stranger's check.

Everything happens on loopback and in a temporary folder. The first node imports the headers that ship with the
package, the second syncs from the first, the third from the second; the third is asked for a proof, which is then
verified with nothing but the proof.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NETWORK = "bitcoin"
BUNDLED_TIP = 32_259
"""Height of the last bundled header."""
PROVEN_HEIGHT = 20_000
"""The header that the third node is asked to prove."""
PATIENCE = 60.0
"""Seconds that any one step may take before the demonstration gives up."""
NAMES = ("first", "second", "third")

JOIN = """To join real peers, run a node of your own and name at least one of theirs:
  .venv/bin/spvnode run --network bitcoin --peer /ip4/HOST/tcp/8343/p2p/PEERID
  .venv/bin/spvnode status        (in another terminal)
`spvnode id` prints the address that others need to reach you."""


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

    def start(self, *peers: str) -> None:
        """Starts the daemon on free loopback ports."""
        arguments = ["run", "--network", NETWORK, "--datadir", str(self.folder), "--rpc", "127.0.0.1:0"]
        arguments += ["--listen", "/ip4/127.0.0.1/tcp/0"]
        for peer in peers:
            arguments += ["--peer", peer]
        self.folder.mkdir(mode=0o700, exist_ok=True)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "spvnode", *arguments], stderr=log, stdout=log)

    def address(self) -> str:
        """Its loopback multiaddr, once it listens."""
        answer = self.wait(lambda: (known := self.ask("id")) and known["running"] and known["addresses"], "to listen")
        return str(answer[0])

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


def load(node: Node) -> float:
    """Imports the bundled headers; returns headers per second."""
    started = time.monotonic()
    done = node.command("import", "@bundled", "--network", NETWORK)
    if done.returncode:
        raise DemoError(f"import failed: {done.stderr.strip()}")
    return (BUNDLED_TIP + 1) / (time.monotonic() - started)


def sync(node: Node) -> float:
    """Waits until a node has all headers; returns the rate that it measured itself."""
    node.wait(lambda: node.height() >= BUNDLED_TIP, "to sync")
    info = node.ask("status") or {}
    return float(info["sync"]["last_burst"]["headers_per_second"])


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows in columns, the first one as the heading."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def show(folder: Path) -> None:
    """The whole demonstration."""
    nodes = [Node(name, folder) for name in NAMES]
    first, second, third = nodes
    rows: list[tuple[str, ...]] = [("node", "headers", "from", "headers/s", "memory")]
    try:
        say(f"1  first node: importing {BUNDLED_TIP + 1:,} real mainnet headers, every rule checked ...")
        rates = [load(first)]
        first.start()
        say("2  second node: syncing from the first over libp2p ...")
        second.start(first.address())
        rates.append(sync(second))
        say("3  third node: syncing from the second ...")
        third.start(second.address())
        rates.append(sync(third))
        sources = ("package (cold start)", "first, libp2p", "second, libp2p")
        for node, source, rate in zip(nodes, sources, rates, strict=True):
            rows.append((node.name, f"{node.height() + 1:,}", source, f"{rate:,.0f}", f"{node.rss():.0f} MB"))
        say(f"4  asking the third node to prove header {PROVEN_HEIGHT:,} ...")
        proof = folder / "header.proof"
        made = third.command("proof", str(PROVEN_HEIGHT), "-o", str(proof))
        if made.returncode:
            raise DemoError(f"no proof: {made.stderr.strip()}")
    finally:
        for node in nodes:
            node.stop()
    say("5  all nodes stopped; verifying the proof offline, with the proof alone ...")
    verified = subprocess.run(
        [sys.executable, "-m", "spvnode", "verify", str(proof)], capture_output=True, text=True, check=False
    )
    if verified.returncode:
        raise DemoError(f"the proof does not verify: {verified.stderr.strip()}")
    say("\n" + table(rows))
    say(f"\nproof: {proof.stat().st_size:,} bytes\n{verified.stdout.strip()}\n\n{JOIN}")


def main() -> int:
    """Returns the exit code: 0 when the proof verified."""
    folder = Path(tempfile.mkdtemp(prefix="spvnode-"))
    try:
        show(folder)
    except (DemoError, OSError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
