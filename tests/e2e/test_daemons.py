"""Real daemons on loopback, as their users run them: sync, news, reorganizations, checkpoints, restarts."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemons import Daemon, spvnode
from mine import mine_run, regtest_chain

from spvnode.bitcoin.header import Header
from spvnode.bitcoin.params import REGTEST

BUNDLED = Path(__file__).resolve().parents[2] / "spvnode" / "data" / "bitcoin-0-32259.headers.xz"
TIP = 32_259
CHECKPOINT = 20_160


@pytest.fixture(scope="module")
def mainnet() -> bytes:
    return lzma.decompress(BUNDLED.read_bytes())


def hash_at(headers: bytes, height: int) -> str:
    """As explorers print it."""
    return Header(headers[height * 80 : height * 80 + 80]).hash[::-1].hex()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    nodes: list[Daemon] = []

    def started(name: str, *arguments: str, networks: tuple[str, ...] = ("regtest",)) -> Daemon:
        node = Daemon(tmp_path / name, *networks)
        nodes.append(node)
        node.start(*arguments)
        node.wait_answer()
        return node

    yield started
    for node in nodes:
        if node.process is not None and node.process.poll() is None:
            assert node.stop() == 0


def with_mainnet(tmp_path: Path, name: str) -> None:
    done = spvnode("import", "@bundled", "--network", "bitcoin", "--datadir", str(tmp_path / name))
    assert done.returncode == 0, done.stderr


def test_headers_cross_two_hops_and_the_proof_needs_nobody(make: Callable[..., Daemon], tmp_path: Path) -> None:
    with_mainnet(tmp_path, "a")
    a = make("a", networks=("bitcoin",))
    b = make("b", "--peer", a.address(), networks=("bitcoin",))
    c = make("c", "--peer", b.address(), networks=("bitcoin",))
    c.wait_height(TIP)
    info = c.call("getsyncinfo")
    assert info["transitions"]["VALIDATING>COMMITTING"] >= 4
    assert info["faults"] == {}
    file = tmp_path / "proof"
    assert spvnode("proof", "777", "-o", str(file), "--datadir", str(c.folder)).returncode == 0
    for node in (a, b, c):
        node.stop()
    verified = spvnode("verify", str(file), "--json")
    assert verified.returncode == 0
    assert json.loads(verified.stdout)["height"] == 777


def test_news_and_reorganizations_travel_along_a_line(make: Callable[..., Daemon]) -> None:
    headers = regtest_chain(600)
    a = make("a")
    b = make("b", "--peer", a.address())
    c = make("c", "--peer", b.address())
    assert a.call("importheaders", headers[: 500 * 80].hex())["height"] == 500
    c.wait_height(500)
    for height in (501, 502, 503):  # one at a time: announced and gossiped
        a.call("importheaders", headers[(height - 1) * 80 : height * 80].hex())
        c.wait_height(height)
    fork = Header(headers[479 * 80 : 480 * 80])
    rival = mine_run(fork.hash, fork.time, 30, seed=5)
    a.call("importheaders", rival.hex())
    c.wait_height(510)
    assert c.call("getbestblockhash") == Header(rival[-80:]).hash[::-1].hex()
    active, left = c.call("getchaintips")
    assert (active["status"], active["height"]) == ("active", 510)
    assert (left["height"], left["branchlen"]) == (503, 23)
    log = c.call("getevents", 0, 1_000)
    reorg = next(event for event in log["events"] if event["kind"] == "reorg")
    assert (reorg["fork_height"], reorg["undo_count"], reorg["redo_count"]) == (480, 23, 30)
    assert reorg["undo"][0] == left["hash"]
    assert reorg["redo"][-1] == active["hash"]
    assert c.call("getevents", log["cursor"])["events"] == []


def test_the_mesh_brings_another_whole_chain_once_its_work_is_proven(
    make: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Of more work, though no first piece of it shows that; and of less, of which nothing is kept."""
    for name, length in (("b", 12_000), ("longer", 25_000), ("shorter", 9_000)):
        file = tmp_path / f"{name}.headers"
        file.write_bytes(REGTEST.genesis_header + regtest_chain(length, seed=length))
        done = spvnode("import", str(file), "--network", "regtest", "--datadir", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
    b = make("b")
    make("longer", "--peer", b.address())
    b.wait_height(25_000)
    reorg = next(event for event in b.call("getevents", 0, 1_000)["events"] if event["kind"] == "reorg")
    assert (reorg["fork_height"], reorg["undo_count"]) == (0, 12_000)
    make("shorter", "--peer", b.address()).wait_height(25_000)
    assert [tip["height"] for tip in b.call("getchaintips")] == [25_000, 12_000]
    assert b.call("getsyncinfo")["faults"] == {}


def test_a_restarted_peer_is_found_again(make: Callable[..., Daemon]) -> None:
    headers = regtest_chain(300)
    a = make("a")
    address = a.address()
    port = address.split("/tcp/")[1].split("/")[0]
    b = make("b", "--peer", address)
    a.call("importheaders", headers[: 100 * 80].hex())
    b.wait_height(100)
    a.stop()
    a.start("--listen", f"/ip4/127.0.0.1/tcp/{port}")
    a.wait_answer()
    assert a.acknowledged == 100
    a.call("importheaders", headers[100 * 80 :].hex())
    b.wait_height(300)


def test_a_checkpoint_start_is_backfilled_and_checked_to_genesis(
    make: Callable[..., Daemon], tmp_path: Path, mainnet: bytes
) -> None:
    with_mainnet(tmp_path, "a")
    a = make("a", networks=("bitcoin",))
    checkpoint = f"bitcoin:{CHECKPOINT}:{hash_at(mainnet, CHECKPOINT)}"
    b = make_waiting(tmp_path, "b", "--peer", a.address(), "--checkpoint", checkpoint)
    try:
        b.wait_height(TIP)
        deadline_free_wait(lambda: b.call("getsyncinfo")["complete"])
        assert b.header_hex(1) == mainnet[80:160].hex()
        assert b.call("getblockchaininfo")["chainwork"] == a.call("getblockchaininfo")["chainwork"]
        ours, theirs = (n.call("getheaderproof", 5, TIP)["root"] for n in (a, b))
        assert ours == theirs
    finally:
        b.stop()
    again = make("b", "--no-mesh", networks=("bitcoin",))
    assert again.acknowledged == TIP
    assert again.header_hex(0) == mainnet[:80].hex()


def test_a_checkpoint_that_nobody_has_keeps_the_node_waiting(make: Callable[..., Daemon], tmp_path: Path) -> None:
    with_mainnet(tmp_path, "a")
    a = make("a", networks=("bitcoin",))
    b = make_waiting(tmp_path, "b", "--peer", a.address(), "--checkpoint", f"bitcoin:{CHECKPOINT}:{'ab' * 32}")
    try:
        deadline_free_wait(lambda: "another block at the checkpoint" in b.log())
        assert b.poll() == -1
        assert b.process is not None
        assert b.process.poll() is None
    finally:
        b.stop()


def test_two_networks_in_one_daemon(make: Callable[..., Daemon], tmp_path: Path) -> None:
    with_mainnet(tmp_path, "a")
    a = make("a", networks=("bitcoin", "regtest"))
    b = make("b", "--peer", a.address(), networks=("regtest", "bitcoin"))
    headers = regtest_chain(50)
    a.call("importheaders", headers.hex(), "regtest")
    b.wait_height(50)
    deadline_free_wait(lambda: b.call("getblockcount", "bitcoin") == TIP)


def make_waiting(tmp_path: Path, name: str, *arguments: str) -> Daemon:
    """A daemon that need not answer for its chain yet."""
    node = Daemon(tmp_path / name, "bitcoin")
    node.start(*arguments)
    return node


def deadline_free_wait(probe: Callable[[], object]) -> None:
    """Until ``probe`` is true; a hang shows as the run's own time limit."""
    import time  # noqa: PLC0415

    for _ in range(1_200):
        if probe():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")
