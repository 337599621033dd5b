"""Real ``spvnode`` processes for tests: started, asked over their unix socket, killed."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

PATIENCE = 60.0


def unheard(_body: bytes) -> None:
    """Nobody listens."""


hear: Callable[[bytes], None] = unheard
"""Told every reply that is read here, and every proof that a command writes: ``recheck`` checks the proofs in them."""
OUTPUTS = {"-o", "--out", "--output"}
"""Before the name of the file that a command writes."""


def spvnode(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "spvnode", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if done.stdout[:1] in ("{", "["):
        hear(done.stdout.encode())
    if arguments[0] == "proof" and done.returncode == 0:
        for file in (file for flag, file in pairwise(arguments) if flag in OUTPUTS):
            hear(Path(file).read_bytes())
    return done


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


class RpcFailed(Exception):
    """The daemon answered with an error."""


class Daemon:
    """One node in a folder; ``acknowledged`` is the greatest height that it has shown. It joins its chain's own peers
    only where ``own_peers`` says so: tests do not leave this machine."""

    own_peers = False
    program: tuple[str, ...] = ("-m", "spvnode")
    """What Python runs."""

    def __init__(self, folder: Path, *networks: str) -> None:
        self.folder = folder
        self.networks = networks
        self.acknowledged = -1
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [sys.executable, *self.program, "run", "--datadir", str(self.folder), "--rpc", "127.0.0.1:0"]
        for network in self.networks:
            command += ["--network", network]
        if not self.own_peers and "--connect" not in arguments:
            command.append("--no-p2p")
        if "--no-mesh" not in arguments:
            command += ["--listen", "/ip4/127.0.0.1/tcp/0"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*command, *arguments], stderr=log, stdout=log)

    def call(self, method: str, *params: Any) -> Any:
        """One RPC; OSError while nobody answers."""
        connection = _Unix(str(self.folder / "rpc.sock"))
        try:
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
            connection.request("POST", "/", body, {"content-type": "application/json"})
            reply = connection.getresponse().read()
        finally:
            connection.close()
        hear(reply)
        answer = json.loads(reply)
        if "error" in answer:
            raise RpcFailed(answer["error"])
        return answer["result"]

    def poll(self) -> int:
        """The height that it shows now; -1 while it does not answer."""
        try:
            height = int(self.call("getblockcount"))
        except (OSError, http.client.HTTPException, RpcFailed):
            return -1
        self.acknowledged = max(self.acknowledged, height)
        return height

    def wait_answer(self) -> int:
        return self.wait_height(0)

    def wait_height(self, height: int) -> int:
        deadline = time.monotonic() + PATIENCE
        while (now := self.poll()) < height:
            assert self.process is not None
            assert self.process.poll() is None, f"it ended: {self.log()}"
            assert time.monotonic() < deadline, f"height {now} after {PATIENCE:g} s: {self.log()}"
            time.sleep(0.01)
        return now

    def address(self) -> str:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                known = self.call("getnodeinfo")
            except (OSError, http.client.HTTPException, RpcFailed):
                known = {}
            if known.get("listen_addrs"):
                return str(known["listen_addrs"][0])
            time.sleep(0.05)
        raise AssertionError(f"no address: {self.log()}")

    def header_hex(self, height: int) -> str:
        return str(self.call("getblockheader", self.call("getblockhash", height), False))

    def faults(self) -> list[str]:
        """Lines of its log that tell of damage or failure."""
        return [line for line in self.log().splitlines() if '"level":"warning"' in line or '"level":"error"' in line]

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What its log tells of one kind of event."""
        told = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in told if line["event"] == event]

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def forget(self) -> None:
        """Starts over with nothing."""
        shutil.rmtree(self.folder)
        self.acknowledged = -1
