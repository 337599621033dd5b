"""The operator's verbs on real daemons: peers added by RPC, and a ban that outlives a restart."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.support.daemons import PATIENCE, Daemon


def until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_peers_are_added_banned_and_let_in_again(tmp_path: Path) -> None:
    ours, other = Daemon(tmp_path / "ours", "regtest"), Daemon(tmp_path / "other", "regtest")
    try:
        ours.start()
        other.start()
        ours.wait_answer()
        address = other.address()
        peer = address.rpartition("/")[2]
        until(lambda: bool(ours.call("getnodeinfo")["listen_addrs"]))
        assert ours.call("addnode", address, "add") is None
        until(lambda: ours.call("getconnectioncount") == 1)
        assert ours.call("getnetworkinfo")["connections_out"] == 1
        assert ours.call("why")["peers"]["agree"] == 1
        assert ours.call("setban", peer, "add", 3_600) is None
        until(lambda: ours.call("getconnectioncount") == 0)
        assert ours.stop() == 0
        ours.start("--peer", address)
        ours.wait_answer()
        assert [row["address"] for row in ours.call("listbanned")] == [peer]
        ours.address()
        time.sleep(2)
        assert ours.call("getconnectioncount") == 0
        assert ours.call("clearbanned") is None
        until(lambda: ours.call("getconnectioncount") == 1)
        assert ours.call("listbanned") == []
    finally:
        for one in (ours, other):
            if one.process is not None and one.process.poll() is None:
                assert one.stop() == 0
