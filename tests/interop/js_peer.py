"""A js-libp2p peer in its own process (``peer.mjs``): one command a line to it, one answer a line back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PATIENCE = 60.0
"""Seconds for one answer, or for something to become true."""
NODE_MAJOR = 20
"""Least Node.js that the packages of package-lock.json run on."""
INSTALLED = HERE / "node_modules" / ".package-lock.json"
"""What npm writes last."""


class JsFailed(Exception):
    """The peer could not do what it was told; the text is its own."""


def missing(path: str | None = None) -> str | None:
    """What a js peer lacks to run, in one line; None when nothing. ``path`` stands for the PATH of the environment."""
    node = shutil.which("node", path=path)
    if node is None:
        return f"make interop needs Node.js {NODE_MAJOR} or newer; node is not installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < NODE_MAJOR:
        return f"make interop needs Node.js {NODE_MAJOR} or newer; {node} is {version}"
    if not INSTALLED.exists():
        return "the packages of tests/interop/package-lock.json are not installed; run: make interop"
    return None


def until(probe: Callable[[], Any], what: str, *, pause: float = 0.1) -> Any:
    """The first true answer of ``probe``, asked every ``pause`` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s"
        time.sleep(pause)
    return answer


class JsPeer:
    """``topics`` are joined at the start. A ``lazy`` peer is in nobody's gossip mesh, a ``quiet`` one sends nothing
    unasked. It has one ``muxer``, and names gossip messages as the mesh does or (``ids``) the beacon chain. With the
    ``secret`` (hex) and ``port`` of another it takes its place; a ``beacon`` is a node of that chain (``beacon.mjs``),
    whose ``preset`` is fixed when its packages are loaded."""

    def __init__(
        self,
        log: Path,
        *,
        key: str = "Ed25519",
        topics: tuple[str, ...] = (),
        lazy: bool = False,
        quiet: bool = False,
        muxer: str = "yamux",
        ids: str = "mesh",
        port: int = 0,
        secret: str = "",
        beacon: dict[str, Any] | None = None,
        preset: str = "mainnet",
    ) -> None:
        given = {"key": key, "topics": topics, "lazy": lazy, "quiet": quiet, "muxer": muxer, "ids": ids}
        options = json.dumps({**given, "port": port, "secret": secret, "beacon": beacon})
        self._log = log
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                ["node", str(HERE / "peer.mjs"), options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "NODE_NO_WARNINGS": "1", "LODESTAR_PRESET": preset},
            )
        known = self.tell("id")
        self.id = str(known["peer"])
        self.addr = str(known["addrs"][0])

    def tell(self, command: str, **given: Any) -> Any:
        """The answer to one command; raise JsFailed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **given}).encode() + b"\n")
        self._process.stdin.flush()
        watchdog = threading.Timer(PATIENCE, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        assert line, f"the js peer ended: {self._log.read_text()[-2000:]}"
        answer = json.loads(line)
        if "error" in answer:
            raise JsFailed(answer["error"])
        return answer["result"]

    def connected_to(self, peer: str) -> list[dict[str, Any]]:
        """Its connections to ``peer``."""
        return [one for one in self.tell("connections") if one["peer"] == peer]

    def heard(self, topic: str) -> list[dict[str, Any]]:
        """Gossip messages that it took."""
        return [message for message in self.tell("heard") if message["topic"] == topic]

    def stop(self) -> None:
        """Stand still, until ``go_on``."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After ``stop``."""
        self._process.send_signal(signal.SIGCONT)

    def leave(self) -> None:
        """Tell it to end: it does at the end of its input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self) -> None:
        """Its end, which must not be a crash."""
        try:
            code = self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
        assert code == 0, f"exit code {code}: {self._log.read_text()[-2000:]}"
