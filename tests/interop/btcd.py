"""A real btcd; and the programs of ``btc/``, made of its packages: a light client, a maker and a checker of proofs."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.interop.full_node import PATIENCE, Client, FullNode, free_port

BIN = Path(__file__).parent / ".go" / "bin"
TRUE_ADDRESS = "2ND8PB9RrfCaAcjfjP1Y6nAgFd9zWHYX4DN"
"""Pay-to-script-hash of a script that is always true: what is mined to it can be spent without a key."""
TRUE_SCRIPT = bytes.fromhex("a914da1745e9b549bd0bfa1a569971c77eba30cd5a4b87")
"""Its output script."""
_REDEEM = b"\x51"


def missing() -> str | None:
    """What is not installed, in one line; None when nothing."""
    gone = [name for name in ("btcd", "btc") if not (BIN / name).exists()]
    return f"{' and '.join(gone)} of tests/interop/btc/go.mod not installed; run: make interop" if gone else None


def spend(coinbase: str, *, outputs: int, script: bytes = TRUE_SCRIPT) -> str:
    """A transaction (hex) that spends the first output of a mined coinbase, to ``script``."""
    redeem = bytes((1 + len(_REDEEM), len(_REDEEM))) + _REDEEM
    into = b"\1" + bytes.fromhex(coinbase)[::-1] + bytes(4) + redeem + b"\xff" * 4
    each = (1_000_000).to_bytes(8, "little") + bytes((len(script),)) + script
    return (b"\1\0\0\0" + into + bytes((outputs,)) + each * outputs + bytes(4)).hex()


class Btcd(FullNode):
    """btcd, which mines to ``TRUE_ADDRESS``."""

    def command(self) -> list[str]:
        command = [str(BIN / "btcd"), "--regtest", "--notls", "--nodnsseed", "--rpcuser=u", "--rpcpass=p"]
        command += [f"--datadir={self.folder}", f"--logdir={self.folder}/logs", f"--configfile={self.folder}/none"]
        return [
            *command,
            f"--listen={self.address}",
            f"--rpclisten=127.0.0.1:{self.rpc}",
            f"--miningaddr={TRUE_ADDRESS}",
        ]

    def mine(self, count: int) -> list[str]:
        hashes: list[str] = self.call("generate", count)
        assert len(hashes) == count
        return hashes


def follow(folder: Path, address: str, *, v2: bool) -> Client:
    """The light client of ``btc/``, following the node at ``address``."""
    folder.mkdir()
    return Client(folder, [str(BIN / "btc"), "follow", address, "v2" if v2 else "v1", str(folder)])


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
