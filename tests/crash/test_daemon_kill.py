"""``kill -9`` at random moments of a sync between two real daemons: what was acknowledged is there, and it goes on.

A header counts as acknowledged once the RPC has shown its height. `make soak` runs 200 moments, a plain run fewer.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import Daemon, spvnode
from mine import regtest_chain

COUNT = 250_000
MOMENTS = 200 if os.environ.get("SPVNODE_TEST_PROFILE") == "soak" else 12


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, bytes]]:
    """A daemon that has the whole chain."""
    folder = tmp_path_factory.mktemp("source")
    headers = regtest_chain(COUNT, spacing=60)
    file = folder / "headers.bin"
    file.write_bytes(headers)
    node = Daemon(folder / "a", "regtest")
    assert spvnode("import", str(file), "--network", "regtest", "--datadir", str(node.folder)).returncode == 0
    node.start()
    yield node, headers
    node.stop()


def test_no_acknowledged_header_is_lost(source: tuple[Daemon, bytes], tmp_path: Path) -> None:
    node, headers = source
    rng = random.Random(20)
    victim = Daemon(tmp_path / "v", "regtest")
    peer = node.address()
    killed_midway = rounds = 0
    for _ in range(MOMENTS):
        if victim.acknowledged >= COUNT:
            victim.forget()
            rounds += 1
        before = victim.acknowledged
        victim.start("--peer", peer)
        first = victim.wait_answer()
        assert first >= before, f"{before} were acknowledged, {first} came back"
        if rng.random() < 0.8:  # else it dies before it has got anywhere
            victim.wait_height(min(before + 2, COUNT))
            deadline = time.monotonic() + rng.uniform(0.0, 0.4)
            while time.monotonic() < deadline and victim.acknowledged < COUNT:
                victim.poll()
        killed_midway += 0 < victim.acknowledged < COUNT
        victim.kill()
    victim.start("--peer", peer)
    victim.wait_height(COUNT)
    assert victim.header_hex(COUNT) == headers[-80:].hex()
    assert not victim.faults(), "a kill is no damage"
    victim.stop()
    assert spvnode("check", "--datadir", str(victim.folder)).returncode == 0
    assert killed_midway > MOMENTS // 4, "too few of the moments were inside a sync"
