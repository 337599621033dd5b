"""``make run``: the main job on this machine alone. Three daemons, real mainnet headers, a proof, a stranger's check;
then the same for Ethereum (``demo_beacon``).

Everything happens on loopback and in a temporary folder. The first node imports the headers that ship with the
package, the second syncs from the first, the third from the second; the third is asked for a proof, which is then
verified with nothing but the proof.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from spvnode import demo_beacon
from spvnode.demo_node import DemoError, Node, say, table, verify

NETWORK = "bitcoin"
BUNDLED_TIP = 32_259
"""Height of the last bundled header."""
PROVEN_HEIGHT = 20_000
"""The header that the third node is asked to prove."""
MESH = ("--network", NETWORK, "--no-p2p", "--listen", "/ip4/127.0.0.1/tcp/0")
NAMES = ("first", "second", "third")

JOIN = """To run a node of your own, which joins Bitcoin's network by itself:
  .venv/bin/spvnode run --network bitcoin
  .venv/bin/spvnode status        (in another terminal)"""


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


def show(folder: Path) -> None:
    """The whole demonstration."""
    nodes = [Node(name, folder) for name in NAMES]
    first, second, third = nodes
    rows: list[tuple[str, ...]] = [("node", "headers", "from", "headers/s", "memory")]
    try:
        say(f"1  first node: importing {BUNDLED_TIP + 1:,} real mainnet headers, every rule checked ...")
        rates = [load(first)]
        first.start(*MESH)
        say("2  second node: syncing from the first over libp2p ...")
        second.start(*MESH, "--peer", first.address())
        rates.append(sync(second))
        say("3  third node: syncing from the second ...")
        third.start(*MESH, "--peer", second.address())
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
    verified = verify(proof)
    say("\n" + table(rows))
    say(f"\nproof: {proof.stat().st_size:,} bytes\n{verified}\n")
    demo_beacon.show(folder)
    say(f"\n{JOIN}")


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
