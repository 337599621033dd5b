"""Middleware of a real daemon, changed while it runs: by command and by signal; what does not hold changes nothing."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import Daemon, spvnode

DENY = '[[rpc.middleware]]\nstep = "deny"\npaths = ["/"]\n'
HEADER = '[[rpc.middleware]]\nstep = "response-headers"\nheaders = { "x-chain" = "NAME" }\n'


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    found = Daemon(tmp_path / "node", "regtest")
    found.folder.mkdir(mode=0o700)
    (found.folder / "spvnode.toml").write_text(HEADER.replace("NAME", "first"))
    found.start("--no-mesh")
    found.wait_answer()
    yield found
    found.kill()


def ask(daemon: Daemon, path: str = "/metrics") -> tuple[int, str | None]:
    """(status, ``X-Chain``) over TCP."""
    port = re.search(r'"tcp":\["127\.0\.0\.1:(\d+)"\]', daemon.log())
    assert port is not None
    connection = http.client.HTTPConnection("127.0.0.1", int(port[1]), timeout=10)
    connection.request("GET", path)
    found = connection.getresponse()
    connection.close()
    return found.status, found.headers["x-chain"]


def wait_for(daemon: Daemon, words: str, times: int = 1) -> None:
    deadline = time.monotonic() + 20
    while daemon.log().count(words) < times:
        assert time.monotonic() < deadline, daemon.log()
        time.sleep(0.02)


def test_the_chain_changes_as_a_whole_or_not_at_all(daemon: Daemon) -> None:
    config, place = daemon.folder / "spvnode.toml", ("--datadir", str(daemon.folder), "--json")
    assert ask(daemon) == (200, "first")

    config.write_text(DENY + HEADER.replace("NAME", "second"))
    told = json.loads(spvnode("reload", *place).stdout)
    assert told == {"applied": ["rpc.middleware"], "restart": []}
    assert ask(daemon) == (403, "second")
    assert ask(daemon, "/livez") == (200, "second")

    config.write_text(HEADER.replace("NAME", "third") + DENY.replace("deny", "dent"))
    refused = spvnode("reload", *place)
    assert refused.returncode == 2
    assert "rpc.middleware[1].step (in" in refused.stderr
    assert "unknown step 'dent'" in refused.stderr
    assert ask(daemon) == (403, "second")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(daemon, "the configuration does not hold; the old one stays")
    assert ask(daemon) == (403, "second")

    config.write_text("")
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(daemon, '"applied":["rpc.middleware"],"needs_restart":[],"event":"configuration read again"', 2)
    assert ask(daemon) == (200, None)


def test_a_reload_that_never_ends_does_not_keep_the_daemon_from_its_end(daemon: Daemon) -> None:
    pipe = daemon.folder / "keys"
    os.mkfifo(pipe)  # which nobody will ever write to
    (daemon.folder / "spvnode.toml").write_text(f'[rpc]\ntoken_key_file = "{pipe}"\n')
    assert daemon.process is not None
    for times in range(1, 4):
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(daemon, '"signal":"SIGHUP"', times)
    assert ask(daemon) == (200, "first")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(timeout=20) == 0
