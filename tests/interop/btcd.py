"""A real btcd in its own process, which mines on demand on regtest and answers JSON-RPC; and the programs of ``btc/``,
made of its packages: a light client, and a maker and a checker of proofs."""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.interop.js_peer import until

BIN = Path(__file__).parent / ".go" / "bin"
TRUE_ADDRESS = "2ND8PB9RrfCaAcjfjP1Y6nAgFd9zWHYX4DN"
"""Pay-to-script-hash of a script that is always true: what is mined to it can be spent without a key."""
TRUE_SCRIPT = bytes.fromhex("a914da1745e9b549bd0bfa1a569971c77eba30cd5a4b87")
"""Its output script."""
_REDEEM = b"\x51"
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


def spend(coinbase: str, *, outputs: int) -> str:
    """A transaction (hex) that spends the first output of a mined coinbase, to the same script again."""
    script = bytes((1 + len(_REDEEM), len(_REDEEM))) + _REDEEM
    into = b"\1" + bytes.fromhex(coinbase)[::-1] + bytes(4) + script + b"\xff" * 4
    each = (1_000_000).to_bytes(8, "little") + bytes((len(TRUE_SCRIPT),)) + TRUE_SCRIPT
    return (b"\1\0\0\0" + into + bytes((outputs,)) + each * outputs + bytes(4)).hex()


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
        request = urllib.request.Request(f"http://127.0.0.1:{self._rpc}", body, headers)
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


def foreign_proof(address: str, block: str, txids: list[str]) -> str:
    """The merkleblock (hex) that the btcd at ``address`` makes."""
    command = [str(BIN / "btc"), "filtered", address, block, *txids]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def foreign_check(proof: str) -> dict[str, Any]:
    """What gcash's merkleblock package reads in a transaction proof (hex)."""
    command = [str(BIN / "btc"), "proof"]
    done = subprocess.run(command, input=proof, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


class Cable:
    """What lies between a peer and the node at ``target``: a TCP relay. ``hold`` keeps back what is sent, as a dead
    radio does, until ``release``; ``down`` breaks its connections and refuses new ones, until ``up``."""

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._free = threading.Event()
        self._free.set()
        self._ends: list[socket.socket] = []
        self._server: socket.socket | None = None
        self.up()

    def up(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def hold(self) -> None:
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    def down(self) -> None:
        """Connections break; new ones are refused."""
        if self._server is not None:
            _cut(self._server)
            self._server = None
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
                self._free.wait()
                sink.sendall(data)
        except OSError:  # one end is gone: so is the other
            pass
        _cut(source)
        _cut(sink)


def _cut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may have been cut from the other side
        end.shutdown(socket.SHUT_RDWR)
    end.close()
