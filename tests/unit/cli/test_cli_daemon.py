"""The commands that ask a daemon, against a real RPC server on its unix socket."""

from __future__ import annotations

import json
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from rpc_live import live_thread
from small_node import SmallNode, mainnet, vector

from spvnode.cli.output import work_text
from spvnode.cli.shell import run_command
from spvnode.errors import StoreError

HASH_1 = "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def datadir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("daemon")
    with live_thread(place, mainnet(50)):
        yield place


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line: (exit code, stdout, stderr)."""
    monkeypatch.delenv("SPVNODE_DATADIR", raising=False)

    def run_it(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()  # what the server's thread has logged
        code = run_command([str(word) for word in words])
        done = capsys.readouterr()
        return code, done.out, done.err

    return run_it


def test_status_for_people_and_for_programs(run: Run, datadir: Path) -> None:
    code, out, err = run("status", "--datadir", datadir)
    assert (code, err) == (0, "")
    rows = {"height": "49", "rests on": "genesis", "peers": "1 (1 libp2p)", "heard from peers": "never", "ready": "yes"}
    for name, value in rows.items():
        assert f"  {name:<16}  {value}" in out.splitlines()
    assert "faults" not in out
    code, out, _ = run("status", "--datadir", datadir, "--json")
    found = json.loads(out)
    assert (code, found["blocks"], found["headers"], found["connections"], found["version"]) == (
        0,
        49,
        49,
        1,
        "0.0.test",
    )
    assert found["sync"]["state"] == "idle"
    assert found["chains"][0]["bestblockhash"] == found["bestblockhash"]
    assert found["networks"] == ["bitcoin"]


def test_status_tells_who_the_peers_are_and_who_disagrees(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = mainnet(50)
    kinds = [("v2", False), ("libp2p", False), ("v2", True)]
    node.known_peers = [{"transport_protocol_type": kind, "inbound": inbound} for kind, inbound in kinds]
    apart = {"peer": "btc:192.0.2.1:8333", "height": 51, "hash": "00" * 32, "seconds": 700}
    sync = {"state": "IDLE", "transitions": {}, "faults": {}, "wire": {"disagreements": [apart]}}
    monkeypatch.setattr(node, "sync_info", lambda network: sync)
    monkeypatch.setattr(node, "freshness", lambda network: {"tip_age": -30.0, "last_useful_event_age": 1.0})
    with live_thread(tmp_path, node):
        code, out, _ = run("status", "--datadir", tmp_path)
        found = json.loads(run("status", "--datadir", tmp_path, "--json")[1])
    assert code == 0
    rows = {
        "tip age": "none: its time is 30 s ahead of our clock",
        "peers": "3 (1 libp2p, 2 v2; 1 of them dialed us)",
        "disagreement": "1 on another branch: btc:192.0.2.1:8333 at 51 for 12 min",
    }
    for name, value in rows.items():
        assert f"  {name:<16}  {value}" in out.splitlines()
    assert (found["connections"], found["connections_in"], found["transports"]) == (3, 1, {"v2": 2, "libp2p": 1})


def test_status_shows_named_peers_that_are_not_connected(run: Run, tmp_path: Path) -> None:
    node = mainnet(50)
    node.told_missing = [{"addr": "192.0.2.1:8333", "problem": "Connection refused"},
                         {"addr": "192.0.2.2:8333", "problem": None}]  # fmt: skip
    with live_thread(tmp_path, node):
        _, out, _ = run("status", "--datadir", tmp_path)
    told = "192.0.2.1:8333: Connection refused; 192.0.2.2:8333: no answer yet"
    assert f"  {'not connected':<16}  {told}" in out.splitlines()


@pytest.mark.parametrize("named", ["1", HASH_1, HASH_1.upper()])
def test_header_by_height_and_hash(run: Run, datadir: Path, named: str) -> None:
    code, out, _ = run("header", named, "--datadir", datadir)
    assert code == 0
    assert f"hash               {HASH_1}" in out
    assert "time               1231469665 (2009-01-09 02:54:25 UTC)" in out
    found = json.loads(run("header", named, "--datadir", datadir, "--json")[1])
    assert (found["height"], found["confirmations"]) == (1, 49)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("header", "50"), "error: X: Block height out of range (this node holds 0 to 49)\n"),
        (("header", "ab" * 32), "error: X: Block not found\n"),
        (("proof", "50"), "error: X: Block height out of range (this node holds 0 to 49)\n"),
        (("proof", "9", "--cp-height", "8"), "error: cp_height: 8 is below the block's height 9\n"),
        (("proof", "9", "--cp-height", "50"), "error: cp_height: 50 is above the tip's height 49\n"),
        (("header", "1", "--network", "signet"), "error: network: 'signet' does not run here; running: bitcoin\n"),
        (("status", "--network", "signet"), "error: network: 'signet' does not run here; running: bitcoin\n"),
        (("proof", "1", "-o", "/nonexistent/x"), "error: -o: /nonexistent/x: No such file or directory\n"),
    ],
)
def test_what_the_daemon_refuses_is_bad_input(run: Run, datadir: Path, words: tuple[str, ...], message: str) -> None:
    assert run(*words, "--datadir", datadir) == (2, "", message)


@pytest.mark.parametrize("suffix", ["proof", "json"])
def test_a_proof_is_written_and_verified_offline(run: Run, datadir: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"x.{suffix}"
    code, out, _ = run("proof", "7", "-o", file, "--datadir", datadir)
    assert code == 0
    assert f"bytes          {file.stat().st_size}" in out
    code, out, _ = run("verify", file)
    assert code == 0
    assert out.startswith("valid: Block ")
    found = json.loads(run("verify", file, "--json")[1])
    assert (found["valid"], found["height"], found["cp_height"]) == (True, 7, 49)
    root = json.loads(run("proof", "7", "--datadir", datadir, "--json")[1])["root"]
    assert json.loads(run("verify", file, "--trusted-root", root, "--json")[1])["rests_on"] == "trusted root"
    code, out, _ = run("verify", file, "--trusted-root", "ab" * 32)
    assert (code, out.split()[0]) == (1, "INVALID:")


def test_the_json_form_is_printed_without_a_file(run: Run, datadir: Path, tmp_path: Path) -> None:
    code, out, _ = run("proof", HASH_1, "--datadir", datadir, "--cp-height", "20")
    assert (code, json.loads(out)["cp_height"]) == (0, 20)
    (tmp_path / "x").write_text(out)
    assert run("verify", tmp_path / "x")[0] == 0


def test_id_tells_where_the_daemon_listens(run: Run, datadir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    addr = "/ip4/127.0.0.1/tcp/8343/p2p/12D3KooWTest"
    assert run("id", "--datadir", datadir) == (0, f"12D3KooWTest\n{addr}\n", "")
    with monkeypatch.context() as patch:
        patch.setattr(SmallNode, "listen_addrs", ())
        early = "12D3KooWTest\nthe daemon does not listen yet: ask again in a moment\n"
        assert run("id", "--datadir", datadir) == (0, early, "")
    found = json.loads(run("id", "--datadir", datadir, "--json")[1])
    assert found == {"peer_id": "12D3KooWTest", "addresses": [addr], "listen": [], "running": True, "beacon": {}}


def test_check_leaves_a_running_daemon_alone(run: Run, datadir: Path) -> None:
    code, out, err = run("check", "--datadir", datadir)
    assert (code, out) == (75, "")
    assert err == f"error: datadir: a daemon runs in {datadir} and holds its stores; stop it first\n"


def test_import_goes_through_the_daemon_and_resumes(run: Run, tmp_path: Path) -> None:
    raw = vector("mainnet_0-32259")
    file = tmp_path / "headers.bin"
    file.write_bytes(raw[: 20_000 * 80 + 7])
    place = tmp_path / "d"
    place.mkdir()
    with live_thread(place, mainnet(50)) as node:
        code, out, err = run("import", file, "--network", "bitcoin", "--datadir", place, "--json", "--progress")
        found = json.loads(out)
        assert (code, found["blocks"], found["known"], found["accepted"]) == (0, 19_999, 50, 19_950)
        assert found["trailing_bytes"] == 7
        assert "storing" in err
        assert node.real["bitcoin"].tip_height == 19_999
        again = json.loads(run("import", file, "--network", "bitcoin", "--datadir", place, "--json")[1])
        assert (again["known"], again["accepted"]) == (20_000, 0)
        file.write_bytes(raw[: 20_100 * 80])
        out = run("import", file, "--network", "bitcoin", "--datadir", place)[1]
        assert "new      100 headers" in out
        code, _, err = run("import", file, "--network", "signet", "--datadir", place)
        assert (code, err.split(":")[1]) == (2, " FILE")
    assert not (place / "bitcoin").exists()


def test_a_network_that_the_daemon_does_not_run(run: Run, datadir: Path, tmp_path: Path) -> None:
    (tmp_path / "signet").write_bytes(vector("signet_0-2015"))
    code, _, err = run("import", tmp_path / "signet", "--network", "signet", "--datadir", datadir)
    assert (code, err) == (2, "error: network: 'signet' does not run here; running: bitcoin\n")


def test_a_network_that_waits_for_its_checkpoint_is_shown_and_takes_no_import(run: Run, tmp_path: Path) -> None:
    node = SmallNode("bitcoin")
    del node.real["bitcoin"]
    node.not_ready["bitcoin"] = ("waiting for the checkpoint's header",)
    with live_thread(tmp_path, node):
        code, out, _ = run("status", "--datadir", tmp_path)
        assert code == 0
        assert "  height            none yet" in out.splitlines()
        assert "  peers             1 (1 libp2p)" in out.splitlines()
        assert "  ready             no: waiting for the checkpoint's header" in out.splitlines()
        found = json.loads(run("status", "--datadir", tmp_path, "--json")[1])
        assert (found["blocks"], found["start"], found["ready"], found["connections"]) == (None, None, False, 1)
        assert found["reasons"] == ["waiting for the checkpoint's header"]
        told = "error: network: bitcoin has not begun: waiting for the checkpoint's header\n"
        assert run("header", "1", "--datadir", tmp_path) == (2, "", told)
        code, _, err = run("import", "@bundled", "--network", "bitcoin", "--datadir", tmp_path)
        assert code == 2
        assert err.startswith("error: --network: the daemon's bitcoin has not begun: it waits for its checkpoint's")


def test_a_store_that_refuses_is_told_as_such(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = mainnet(50)

    def refuse(*_: object) -> None:
        raise StoreError("/d/bitcoin/store: no room to write; 0 bytes are free")

    monkeypatch.setattr(node, "add", refuse)
    with live_thread(tmp_path, node):
        code, _, err = run("import", "@bundled", "--network", "bitcoin", "--datadir", tmp_path)
    assert code == 74
    assert err.splitlines()[-1] == "error: daemon: /d/bitcoin/store: no room to write; 0 bytes are free"


def test_a_full_disk_is_told_as_such_and_leaves_no_half_a_proof(run: Run, datadir: Path, tmp_path: Path) -> None:
    file = tmp_path / "p"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        found = run("proof", "1", "-o", file, "--datadir", datadir)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert found == (74, "", f"error: -o: {file}: File too large\n")
    assert not file.exists()
    expected = "error: -o: /dev/full: No space left on device\n"
    assert run("proof", "1", "-o", "/dev/full", "--datadir", datadir) == (74, "", expected)
    assert Path("/dev/full").exists()


def test_several_networks(run: Run, tmp_path: Path) -> None:
    node = SmallNode("regtest", "bitcoin")
    node.add("bitcoin", vector("mainnet_0-32259")[80:800])
    with live_thread(tmp_path, node):
        found: dict[str, Any] = json.loads(run("status", "--datadir", tmp_path, "--json")[1])
        assert [chain["blocks"] for chain in found["chains"]] == [0, 9]
        assert "blocks" not in found
        found = json.loads(run("status", "--network", "bitcoin", "--datadir", tmp_path, "--json")[1])
        assert found["blocks"] == 9
        assert json.loads(run("header", "3", "--network", "bitcoin", "--datadir", tmp_path, "--json")[1])["height"] == 3


def test_the_environment_names_the_datadir(
    run: Run, datadir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPVNODE_DATADIR", str(datadir))
    assert run("header", "1")[0] == 0
    monkeypatch.delenv("SPVNODE_DATADIR")
    file = tmp_path / "my.toml"
    file.write_text(f'datadir = "{datadir}"\n')
    assert run("header", "1", "--config", file)[0] == 0
    monkeypatch.setenv("SPVNODE_CONFIG", str(file))
    assert run("header", "1")[0] == 0
    file.write_text("colour = 1\n")
    assert run("header", "1") == (2, "", f"error: colour (in {file}): unknown key\n")


def test_the_file_in_the_default_place_leads_to_the_daemon(
    run: Run, datadir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("SPVNODE_CONFIG", raising=False)
    assert run("header", "1")[0] == 69
    (tmp_path / "spvnode").mkdir()
    (tmp_path / "spvnode" / "spvnode.toml").write_text(f'datadir = "{datadir}"\n')
    assert run("header", "1")[0] == 0


def test_no_daemon_says_how_to_start_one(run: Run, tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    account.write_text("{}")
    expected = f"error: datadir: no daemon answers in {tmp_path} (none runs); "
    expected += f"start one with: spvnode run --datadir {tmp_path}, or name another's with --datadir\n"
    for line in ("status", "header 1", "proof 1", "call uptime", "web", "reload", "top --json", "header finalized",
                 "proof finalized", "verify --account FILE"):  # fmt: skip
        words = [str(account) if word == "FILE" else word for word in line.split()]
        assert run(*words, "--datadir", tmp_path) == (69, "", expected), line


def test_a_dead_socket_is_no_daemon(run: Run, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "rpc.sock"))
    code, _, err = run("status", "--datadir", tmp_path)
    assert code == 69
    assert "(none runs); start one with: " in err


def test_a_header_for_people(run: Run, datadir: Path) -> None:
    """Core's nTx is 0 where nobody has counted, which people would believe."""
    _, out, _ = run("header", "1", "--datadir", datadir)
    assert "nTx" not in out
    assert "chainwork          0x200020002, 2^33.0 hashes" in out.splitlines()
    found = json.loads(run("header", "1", "--datadir", datadir, "--json")[1])
    assert (found["nTx"], found["chainwork"]) == (0, f"{0x200020002:064x}")


def test_work_for_people() -> None:
    assert work_text("0" * 64) == "0x0"
    assert work_text(f"{1 << 90:064x}") == "0x40000000000000000000000, 2^90.0 hashes"


def test_a_datadir_that_cannot_hold_a_daemon_is_not_recommended(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file"
    expected = f"error: datadir: no daemon answers in {place} (Not a directory)\n"
    assert run("status", "--datadir", place) == (69, "", expected)


@pytest.mark.parametrize(
    "reply", [b"", b"junk\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", b"HTTP/1.1 500 X\r\n\r\n"]
)
def test_something_else_on_the_socket_is_no_daemon(run: Run, tmp_path: Path, reply: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as fake:
        fake.bind(str(tmp_path / "rpc.sock"))
        fake.listen()

        def answer() -> None:
            peer, _ = fake.accept()
            with peer:
                peer.recv(10_000)
                peer.sendall(reply)

        thread = Thread(target=answer)
        thread.start()
        code, out, err = run("status", "--datadir", tmp_path)
        thread.join()
    assert (code, out) == (69, "")
    assert err.startswith(f"error: datadir: no daemon answers in {tmp_path} (")
