"""``spvnode run`` as a process: from start to answer to end, and what another daemon or a kill leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_node import vector

from spvnode.cli.shell import run_command

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 60.0
"""Seconds for a daemon to come up on a busy machine."""
MAIN = (
    "import atexit, sys; atexit.register(lambda: print('libp2p' in sys.modules)); from spvnode.cli import main; main()"
)
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts daemons without mesh in ``tmp_path``; kills those that are left."""
    begun: list[subprocess.Popen[str]] = []

    def start_one(*words: str) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-c",
            MAIN,
            "run",
            "--network",
            "bitcoin",
            "--datadir",
            str(tmp_path),
            "--no-mesh",
            "--no-p2p",
        ]
        process = subprocess.Popen(
            [*command, "--rpc", "127.0.0.1:0", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("SPVNODE_")},
        )  # fmt: skip
        begun.append(process)
        return process

    yield start_one
    for process in begun:
        process.kill()
        process.communicate()


def status(datadir: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """The daemon's status, once it answers."""
    deadline = time.monotonic() + PATIENCE
    while True:
        capsys.readouterr()
        if run_command(["status", "--datadir", str(datadir), "--json"]) == 0:
            found: dict[str, object] = json.loads(capsys.readouterr().out)
            return found
        assert time.monotonic() < deadline, "the daemon did not answer"
        time.sleep(0.05)


def test_a_daemon_answers_takes_headers_and_ends(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = start()
    assert status(tmp_path, capsys)["blocks"] == 0
    (tmp_path / "headers").write_bytes(vector("mainnet_0-32259")[: 9_000 * 80])
    words = ["--network", "bitcoin", "--datadir", str(tmp_path)]
    assert run_command(["import", str(tmp_path / "headers"), *words]) == 0
    assert status(tmp_path, capsys)["blocks"] == 8_999
    assert run_command(["call", "gettxproof", "ab" * 32, "5", "--datadir", str(tmp_path)]) == 69
    err = capsys.readouterr().err
    assert err.startswith("error: daemon: Block not available (this node is not connected to bitcoin's own peers")
    assert "or name a full node with --connect HOST:PORT" in err
    second = start()
    out, err = second.communicate(timeout=PATIENCE)
    assert (second.returncode, "Traceback" in err) == (75, False)
    told = f"error: datadir: a daemon (pid {daemon.pid}) uses {tmp_path}; stop it, or give this daemon a directory"
    assert err.splitlines()[-1] == f"{told} of its own with --datadir"
    daemon.send_signal(signal.SIGTERM)
    out, _ = daemon.communicate(timeout=PATIENCE)
    assert (daemon.returncode, out) == (0, "False\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bitcoin", "headers", "watches.json"]


def test_after_a_kill_the_next_one_starts_where_it_was(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = start()
    status(tmp_path, capsys)
    words = ["--network", "bitcoin", "--datadir", str(tmp_path)]
    assert run_command(["import", "@bundled", *words]) == 0
    daemon.kill()
    daemon.communicate()
    assert (tmp_path / "rpc.sock").exists()
    capsys.readouterr()
    assert run_command(["status", "--datadir", str(tmp_path)]) == 69
    assert "(none runs); start one with: " in capsys.readouterr().err
    again = start()
    assert status(tmp_path, capsys)["blocks"] == 32_259
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=PATIENCE)
    assert again.returncode == 0
