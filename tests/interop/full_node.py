"""A foreign full node in its own process, which mines on demand on regtest and answers JSON-RPC; and a foreign light
client, which tells what it hears, a JSON line an event."""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.interop.js_peer import until

PATIENCE = 60.0
"""Seconds for one answer: 5,000 blocks are mined in one."""
_AUTH = "Basic " + base64.b64encode(b"u:p").decode()


def free_port() -> int:
    """Of loopback. Somebody could take it before it is used; the kernel gives such ports round and round."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class NodeFailed(Exception):
    """The foreign node answered with an error."""


class FullNode(ABC):
    """``options`` are its command line's. It keeps its ports and its blocks when it is started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port, self.rpc = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """What runs it on regtest, its RPC at the port ``rpc`` for the user u with the password p."""

    @abstractmethod
    def mine(self, count: int) -> list[str]:
        """Hashes of the new blocks, which pay to a script that is always true."""

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*self.command(), *self.options], stdout=log, stderr=log)
        until(self._answers, "a full node to answer")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"it ended: {self.log()[-2000:]}"
        try:
            return bool(self.call("getblockcount") >= 0)
        except OSError:
            return False

    def call(self, method: str, *params: Any) -> Any:
        """One RPC; raise NodeFailed, OSError."""
        body = json.dumps({"jsonrpc": "1.0", "id": 1, "method": method, "params": params}).encode()
        headers = {"Authorization": _AUTH, "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.rpc}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as reply:  # noqa: S310 - http
                answer = json.load(reply)
        except urllib.error.HTTPError as error:
            raise NodeFailed(error.read().decode(errors="replace")) from error
        if answer["error"] is not None:
            raise NodeFailed(answer["error"])
        return answer["result"]

    def height(self) -> int:
        return int(self.call("getblockcount"))

    def best(self) -> str:
        return str(self.call("getbestblockhash"))

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE)

    def end(self) -> None:
        """However it is; must not have ended by itself."""
        if self.process is not None:
            ended = self.process.poll()
            self.kill()
            assert ended in (None, -signal.SIGKILL), self.log()[-2000:]


class Client:
    """A light client, run by ``command``, with its log in ``folder``. It ends at the end of its input."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self._log = folder / "log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1
            )
        self.heard: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.heard.append(json.loads(line))

    def wait_for(self, block_hash: str) -> dict[str, Any]:
        """The headers that made it the client's tip."""
        return self.wait(lambda event: event["event"] == "headers" and event["hash"] == block_hash, block_hash)

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in list(self.heard) if event["event"] == kind]

    def wait(self, what: Callable[[dict[str, Any]], bool], why: str) -> dict[str, Any]:
        """The first event of which ``what`` is true."""
        found = until(lambda: next(((e,) for e in list(self.heard) if what(e)), None), f"{why} ({self.heard[-3:]})")
        event: dict[str, Any] = found[0]
        return event

    def ask_block(self, block_hash: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"block {block_hash}\n")

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert code == 0, self._log.read_text()
