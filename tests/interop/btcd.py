"""A real btcd in its own process, on regtest: it mines on demand, and is asked by JSON-RPC; and the programs of ``btc/``,
made of btcd's packages: a light client, and a check of proofs."""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.interop.js_peer import until

BIN = Path(__file__).parent / ".go" / "bin"
TRUE_ADDRESS = "2ND8PB9RrfCaAcjfjP1Y6nAgFd9zWHYX4DN"
"""Pay-to-script-hash of a script that is always true: what is mined to it can be spent without a key."""
PATIENCE = 60.0
"""Seconds for one answer: 5,000 blocks are mined in one."""
_AUTH = "Basic " + base64.b64encode(b"u:p").decode()


def missing() -> str | None:
    """What is not installed, in one line; None when nothing."""
    gone = [name for name in ("btcd", "btc") if not (BIN / name).exists()]
    return f"{' and '.join(gone)} of tests/interop/btc/go.mod not installed; run: make interop" if gone else None


def free_port() -> int:
    """Of loopback. Somebody could take it before it is used; the kernel gives such ports round and round."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class BtcdFailed(Exception):
    """btcd answered with an error."""


class Btcd:
    """``options`` are its command line's. It keeps its ports and its blocks when it is started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port, self._rpc = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        command = [str(BIN / "btcd"), "--regtest", "--notls", "--nodnsseed", "--rpcuser=u", "--rpcpass=p"]
        command += [f"--datadir={self.folder}", f"--logdir={self.folder}/logs", f"--configfile={self.folder}/none"]
        command += [f"--listen={self.address}", f"--rpclisten=127.0.0.1:{self._rpc}", f"--miningaddr={TRUE_ADDRESS}"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*command, *self._options], stdout=log, stderr=log)
        until(self._answers, "btcd to answer")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"btcd ended: {self.log()[-2000:]}"
        try:
            return bool(self.call("getblockcount") >= 0)
        except OSError:
            return False

    def call(self, method: str, *params: Any) -> Any:
        """One RPC; raise BtcdFailed, OSError."""
        body = json.dumps({"jsonrpc": "1.0", "id": 1, "method": method, "params": params}).encode()
        headers = {"Authorization": _AUTH, "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self._rpc}", body, headers)  # noqa: S310 - http
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as reply:  # noqa: S310 - http
                answer = json.load(reply)
        except urllib.error.HTTPError as error:
            raise BtcdFailed(error.read().decode(errors="replace")) from error
        if answer["error"] is not None:
            raise BtcdFailed(answer["error"])
        return answer["result"]

    def mine(self, count: int) -> list[str]:
        """Hashes of the new blocks."""
        hashes: list[str] = self.call("generate", count)
        assert len(hashes) == count
        return hashes

    def height(self) -> int:
        return int(self.call("getblockcount"))

    def best(self) -> str:
        return str(self.call("getbestblockhash"))

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, as its users do."""
        assert self._end(signal.SIGTERM) == 0, self.log()[-2000:]

    def _end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)


class Client:
    """The light client of ``btc/``, following the node at ``address``."""

    def __init__(self, folder: Path, address: str, *, v2: bool = False) -> None:
        folder.mkdir()
        command = [str(BIN / "btc"), "follow", address, "v2" if v2 else "v1", str(folder)]
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


def foreign_check(proof: str) -> dict[str, Any]:
    """What gcash's merkleblock package reads in a transaction proof (hex)."""
    done = subprocess.run([str(BIN / "btc"), "proof"], input=proof, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


class Cable:
    """What lies between a peer and the node at ``target``: a TCP relay that can be cut (``deaf``: bytes go nowhere, as
    through a dead radio; ``down``: connections break and new ones are refused) and mended."""

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.deaf = threading.Event()
        self._ends: list[socket.socket] = []
        self._server: socket.socket | None = None
        self.up()

    def up(self) -> None:
        self.deaf.clear()
        self._server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def down(self) -> None:
        """Connections break; new ones are refused."""
        assert self._server is not None
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        ends, self._ends = self._ends, []
        for end in ends:
            _cut(end)

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:  # it is down
                return
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            self._ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                if not self.deaf.is_set():
                    sink.sendall(data)
        except OSError:  # one end is gone: so is the other
            pass
        _cut(source)
        _cut(sink)


def _cut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:  # it was cut from the other side
        pass
    end.close()
