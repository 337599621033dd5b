"""Plugins in a real daemon: a filtered stream, a filtered webhook, objections to headers, reloads, a kill."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from spvnode import client
from spvnode.bitcoin.header import Header
from spvnode.client import RpcFailed, Unreachable
from tests.support.daemons import PATIENCE, Daemon, spvnode
from tests.support.mine import mine_run, regtest_chain
from tests.support.wasm import ODD_HEIGHT, checking

HEADERS = regtest_chain(40, spacing=60)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"


def until(holds: Callable[[], bool], found: object = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a receiver of webhooks, and what it got."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/", got
        finally:
            server.shutdown()
            thread.join()


def configure(folder: Path, url: str) -> None:
    """Two plugins, each in its file, and a webhook behind one of them."""
    example = re.search(r"```wat\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert example is not None
    (folder / "quiet.wat").write_text(example[1])
    (folder / "odd.wat").write_text(checking(ODD_HEIGHT))
    (folder / "secret").write_bytes(b"s" * 40)
    (folder / "secret").chmod(0o600)
    (folder / "spvnode.toml").write_text(f"""
        [[plugin]]
        name = "quiet"
        file = "{folder}/quiet.wat"
        capabilities = ["headers"]

        [[plugin]]
        name = "odd"
        file = "{folder}/odd.wat"
        headers = ["regtest"]

        [[rpc.webhook]]
        name = "hook"
        url = "{url}"
        secret_file = "{folder}/secret"
        kinds = ["extend", "reorg", "check"]
        filter = "quiet"
        """)


class Following:
    """The stream of one filter, read in a thread; it goes on when the daemon comes back."""

    def __init__(self, folder: Path, filter: str) -> None:
        self.seen: list[tuple[str, Any]] = []
        wanted = {"filter": filter, "kinds": ["extend", "reorg", "check"], "patience": PATIENCE}
        events = client.connect(str(folder)).events("regtest:0,node:0", **wanted)
        self._thread = threading.Thread(target=self._read, args=(events,), daemon=True)
        self._thread.start()

    def _read(self, events: Any) -> None:
        with suppress(Unreachable):  # the end of the test
            for event in events:
                height = event.data["height"] if event.kind == "check" else event.data["to"]["height"]
                self.seen.append((event.kind, height))


def states(daemon: Daemon) -> dict[str, Any]:
    return {one["name"]: one for one in daemon.call("getplugins")}


def give(daemon: Daemon, first: int, last: int) -> None:
    for height in range(first, last + 1):
        daemon.call("importheaders", HEADERS[(height - 1) * 80 : height * 80].hex())


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    one = Daemon(tmp_path / "node", "regtest")
    yield one
    if one.process is not None and one.process.poll() is None:
        assert one.stop() == 0


def test_filters_and_checks_in_a_daemon_that_is_reloaded_and_killed(daemon: Daemon) -> None:
    folder = daemon.folder
    folder.mkdir(mode=0o700)
    with receiver() as (url, posted):
        configure(folder, url)
        daemon.start("--no-mesh")
        daemon.wait_answer()
        until(lambda: (folder / "watches.json").exists() and '"odd/regtest"' in (folder / "watches.json").read_text())
        quiet, everything = Following(folder, "quiet"), Following(folder, "")
        give(daemon, 1, 4)
        until(lambda: quiet.seen == [("check", 1), ("check", 3)])
        until(lambda: states(daemon)["odd"]["calls"] == 4)
        fork = Header(HEADERS[2 * 80 : 3 * 80])
        daemon.call("importheaders", mine_run(fork.hash, fork.time, 3, seed=9, spacing=60).hex())
        expected = [("check", 1), ("check", 3), ("reorg", 6), ("check", 5)]
        until(lambda: sorted(quiet.seen) == sorted(expected), quiet.seen)
        until(lambda: [kind for kind, _ in everything.seen].count("extend") == 4)
        until(lambda: len(posted) == 4)
        assert sorted(one["type"] for one in posted) == ["check", "check", "check", "reorg"]
        objection = next(one["data"] for one in posted if one["type"] == "check")
        assert objection["hash"] == daemon.call("getblockhash", objection["height"])
        assert (objection["plugin"], objection["code"]) == ("odd", 7)

        (folder / "odd.wat").write_text("(module")
        failed = spvnode("reload", "--datadir", str(folder))
        assert failed.returncode != 0
        assert "odd.wat is no WebAssembly module" in failed.stderr
        with client.connect(str(folder)) as stranger, pytest.raises(RpcFailed, match="is no WebAssembly module"):
            stranger.reload()
        assert {name: one["state"] for name, one in states(daemon).items()} == {"quiet": "on", "odd": "on"}
        assert states(daemon)["odd"]["calls"] == 7
        (folder / "odd.wat").write_text(checking("(i32.const 9)"))
        assert spvnode("reload", "--datadir", str(folder)).returncode == 0

        daemon.kill()
        daemon.start("--no-mesh")
        daemon.wait_answer()
        tip = bytes.fromhex(daemon.header_hex(6))
        daemon.call("importheaders", mine_run(Header(tip).hash, Header(tip).time, 1, seed=9, spacing=60).hex())
        until(lambda: ("check", 7) in quiet.seen, quiet.seen)
        assert sorted(quiet.seen) == sorted([*expected, ("check", 7)])
        until(lambda: any(one["data"].get("code") == 9 for one in posted), posted)


def test_a_plugin_that_cannot_be_loaded_stops_the_start(daemon: Daemon) -> None:
    daemon.folder.mkdir(mode=0o700)
    configure(daemon.folder, "http://127.0.0.1:1/")
    (daemon.folder / "quiet.wat").write_text(
        '(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32))))'
    )
    done = spvnode("run", "--network", "regtest", "--datadir", str(daemon.folder), "--no-mesh", "--no-p2p")
    assert done.returncode != 0
    assert "plugin.file: quiet: " in done.stderr
