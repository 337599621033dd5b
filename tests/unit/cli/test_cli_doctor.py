"""``spvnode doctor``: with a daemon, whose word counts, and without."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from rpc_live import live_thread
from small_node import SmallNode, mainnet

from p2p.bitcoin.seeds import SEEDS
from spvnode.cli import checks
from spvnode.cli.checks import State
from spvnode.cli.shell import run_command
from spvnode.config import Config
from spvnode.errors import InputError
from spvnode.ethereum.networks import HORIZON_WARNING_SECONDS, NETWORKS
from spvnode.sources import sources_of
from spvnode.store.folder import store_path

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, SmallNode]]:
    place = tmp_path_factory.mktemp("doctor")
    with live_thread(place, mainnet(50)) as found:
        yield place, found


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, node: tuple[Path, SmallNode]) -> Run:
    """Runs a command line towards the node: (exit code, stdout, stderr)."""
    monkeypatch.setenv("SPVNODE_DATADIR", str(node[0]))

    def run_it(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()  # what the server's thread has logged
        code = run_command([str(word) for word in words])
        done = capsys.readouterr()
        return code, done.out, done.err

    return run_it


def found(config: Config, network: str) -> tuple[State, str]:
    one = checks.coverage(network, sources_of(config, network))
    return one.state, one.says


def settings(**keys: Any) -> Config:
    return msgspec.convert(keys, Config)


def test_doctor_with_a_daemon(run: Run) -> None:
    code, out, _ = run("doctor", "--offline")
    lines = out.splitlines()
    assert code == 0
    assert "ok    settings            read; networks: bitcoin" in lines
    assert "WARN  peers of bitcoin    1 connected" in lines
    assert "ok    bitcoin ready       tip 12 s old" in lines
    assert all("-> " in after for line, after in pairwise(lines) if line.startswith("WARN"))
    reply = json.loads(run("doctor", "--offline", "--json")[1])
    assert reply["good"] is True
    assert {one["state"] for one in reply["findings"]} == {"ok", "warn"}


def test_doctor_without_one_changes_nothing(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("doctor", "--offline", "--datadir", tmp_path / "none")
    assert code == 0
    assert "none runs here" in out
    assert not (tmp_path / "none").exists()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    code, out, _ = run("doctor", "--offline", "--datadir", tmp_path / "open")
    assert code == 1
    assert f"-> chmod 700 {tmp_path / 'open'}" in out
    (tmp_path / "spvnode.toml").write_text("nothing = 5")
    code, out, _ = run("doctor", "--offline", "--datadir", tmp_path)
    assert code == 1
    assert out.startswith("FAIL  settings")


def test_doctor_hears_of_reasons(run: Run, node: tuple[Path, SmallNode]) -> None:
    node[1].not_ready["bitcoin"] = ("the clock is behind the tip", "something else")
    _, out, _ = run("doctor", "--offline")
    del node[1].not_ready["bitcoin"]
    assert re.search("WARN +bitcoin ready +the clock is behind the tip\n +-> set the clock", out)
    assert "docs/operating.md explains the reasons" in out


def test_reasons_that_time_mends_say_so() -> None:
    late = ("the tip is 3 d old, stale after 4 h", "the signed header is 30 min old, stale after 13 min")
    few = "the tip has less than the minimum chain work"
    outvoted = "most peers of Bitcoin's network are on another branch"
    about = {"reasons": [*late, few, outvoted], "freshness": {"tip_age": 5.0}}
    fixes = [one.fix for one in checks.readiness("bitcoin", about)]
    assert [fix.partition(":")[0] for fix in fixes[:3]] == ["wait"] * 3
    assert "spvnode call why" in fixes[3]


def test_a_named_checkpoint_is_not_asked_for_again() -> None:
    nothing, named, refused = (
        f"waiting for {what}: why"
        for what in (
            "a trusted checkpoint",
            "the checkpoint: named, but no source has it yet",
            "another checkpoint: named, but refused",
        )
    )
    about = {"reasons": [nothing, named, refused], "freshness": {}}
    fixes = [one.fix for one in checks.readiness("ethereum", about)]
    assert [fix.partition(" ")[0] for fix in fixes] == ["name", "reach", "correct"]


def test_data_directories(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    deep = tmp_path / ("x" * 96)
    deep.mkdir()
    states = [
        checks.data_directory(place).state for place in (tmp_path, tmp_path / "file", tmp_path / "file" / "x", deep)
    ]
    assert states == [State.OK, State.FAIL, State.FAIL, State.FAIL]
    tmp_path.chmod(0o755)
    found = checks.data_directory(tmp_path)
    tmp_path.chmod(0o700)
    assert (found.state, found.says) == (State.WARN, f"{tmp_path} is open to other users (mode 755)")
    assert found.fix.startswith(f"chmod 700 {tmp_path}")


@pytest.mark.parametrize(
    ("free", "state"),
    [(checks.LOW_DISK, State.OK), (checks.LOW_DISK - 1, State.WARN), (checks.NO_DISK - 1, State.FAIL)],
)
def test_disk(free: int, state: State, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert checks.disk(tmp_path / "a" / "b").state is state


def test_sources() -> None:
    mesh = {"enabled": False}
    own = {"network": "bitcoin", "enabled": False}
    assert found(settings(), "bitcoin")[0] is State.OK
    assert found(settings(mesh=mesh), "bitcoin") == (State.WARN, "its own network alone")
    assert found(settings(mesh=mesh, wire=[own]), "bitcoin") == (State.WARN, "none")
    assert found(settings(networks=["ethereum"]), "ethereum") == (State.WARN, "its own network alone")
    beacon = {"network": "ethereum", "apis": ["http://127.0.0.1:1"]}
    assert found(settings(beacon=[beacon]), "ethereum") == (State.OK, "its own network, 1 Beacon API")
    assert found(settings(beacon=[{"network": "ethereum", "p2p": False}]), "ethereum") == (State.FAIL, "none")
    named = {"network": "bitcoin", "connect": ["192.0.2.7:8333"]}
    assert found(settings(wire=[named]), "bitcoin") == (State.OK, "1 named nodes, mesh (0 named peers, mdns)")
    assert found(settings(networks=["regtest"], mesh=mesh), "regtest") == (State.WARN, "none")
    listening = {"network": "regtest", "listen": "127.0.0.1:0"}
    assert found(settings(mesh=mesh, wire=[listening]), "regtest") == (State.WARN, "nodes that dial this one alone")


def test_doctor_asks_a_running_daemon_for_its_sources(run: Run, node: tuple[Path, SmallNode]) -> None:
    """Flags may say other than the settings, which name bitcoin's own network and its DNS seeds."""
    before = node[1].told_sources
    node[1].told_sources = [{"kind": "network", "named": 2, "finds": False, "dns": False}]
    _, out, _ = run("doctor")
    node[1].told_sources = before
    assert "WARN  sources of bitcoin  2 named nodes alone" in out.splitlines()
    assert "DNS" not in out


def test_doctor_tells_of_apis_that_do_not_answer() -> None:
    fault = {"reason": "disconnected", "evidence": "cannot connect"}
    silent = {"peer": "rest:a.example", "up": False, "last_fault": fault}
    told = {"apis": [silent, {**silent, "last_fault": None}, {**silent, "up": True}]}
    assert [one.says for one in checks.apis("ethereum", told)] == [
        "a.example: unreachable (cannot connect)", "a.example: no answer yet",
    ]  # fmt: skip
    assert {one.state for one in checks.apis("ethereum", told)} == {State.WARN}


def test_doctor_tells_of_named_peers_that_are_not_connected() -> None:
    told = {"not_connected": [{"addr": "192.0.2.1:8333", "problem": "Connection refused"}]}
    (found,) = checks.named("bitcoin", told)
    assert (found.state, found.says) == (State.WARN, "192.0.2.1:8333: Connection refused")


def test_doctor_says_where_flags_chose_the_networks(tmp_path: Path) -> None:
    assert checks.daemon(tmp_path, ["signet"], ["bitcoin"]).says == (
        "runs, and follows signet by its flags; what follows is about these"
    )
    assert checks.daemon(tmp_path, ["bitcoin"], ["bitcoin"]).says == "runs, and follows bitcoin"


def sources(**keys: Any) -> dict[str, list[dict[str, Any]]]:
    config = settings(**keys)
    return {name: sources_of(config, name) for name in config.networks}


def test_dns() -> None:
    def answers(name: str, *_: Any, **__: Any) -> list[str]:
        if name != SEEDS["bitcoin"].dns[0]:
            raise socket.gaierror("no such name")
        return [name]

    def silence(*_: Any, **__: Any) -> list[str]:
        raise socket.gaierror("no name server")

    both = sources(networks=["bitcoin", "testnet3", "regtest"])
    one, two = checks.dns(both, answers)
    assert (one.state, one.says) == (State.OK, f"1 of {len(SEEDS['bitcoin'].dns)} seeds answer")
    assert two.state is State.FAIL
    assert [each.state for each in checks.dns(both, silence)] == [State.WARN, State.FAIL]
    for silent in ({"proxy": "127.0.0.1:9050"}, {"connect": ["127.0.0.1:1"]}, {"dns_seeds": False}, {"enabled": False}):
        assert list(checks.dns(sources(wire=[{"network": "bitcoin", **silent}]), silence)) == []


def told(*offsets: float, age: float | None = 5.0) -> dict[str, Any]:
    return {
        "bitcoin": {"peers": [{"timeoffset": each} for each in offsets], "freshness": {"tip_age": age}, "reasons": []}
    }


@pytest.mark.parametrize(
    ("about", "state"),
    [
        ({}, State.WARN),
        (told(age=None), State.WARN),
        (told(), State.OK),
        (told(1, -1, 900), State.OK),
        (told(1, 900), State.OK),
        (told(61, 62, 63), State.WARN),
        (told(-601, -700, -800), State.FAIL),
        (told(1, 1, 1, age=-checks.TIP_AHEAD - 1), State.FAIL),
    ],
)
def test_clock(about: dict[str, Any], state: State) -> None:
    one = checks.clock(about)
    assert one.state is state
    assert bool(one.fix) is (state is not State.OK)


@pytest.mark.parametrize(
    ("count", "reasons", "state"),
    [
        (2, [], State.OK),
        (1, [], State.WARN),
        (0, ["no peer"], State.FAIL),
        (0, ["the mesh is off: nobody confirms the tip"], State.WARN),
    ],
)
def test_peers(count: int, reasons: list[str], state: State) -> None:
    about = {"peers": [{}] * count, "reasons": reasons, "sources": []}
    assert checks.peers("bitcoin", about).state is state


def test_a_network_of_ones_own_has_no_public_peers(run: Run, tmp_path: Path) -> None:
    about: dict[str, Any] = {"peers": [], "reasons": ["no peer"], "sources": []}
    alone = settings(networks=["regtest"], mesh={"enabled": False})
    for one in (checks.peers("regtest", about), checks.coverage("regtest", sources_of(alone, "regtest"))):
        assert one.fix == checks.NAME_ONE
        assert "--connect" in one.fix
    store_path(tmp_path, "regtest").mkdir(parents=True)
    out = run("doctor", "--datadir", tmp_path)[1]  # which asks no name server for a network that did not run here
    assert "sources of regtest" in out
    assert "DNS" not in out


def test_settings_that_may_not_be_read_are_not_to_be_corrected(tmp_path: Path) -> None:
    file = tmp_path / "spvnode.toml"
    file.touch()
    error = InputError(str(file), "Permission denied")
    error.__cause__ = PermissionError()
    assert checks.unfit(error).fix == "let this user read it, or run this as its owner"
    error.__cause__ = FileNotFoundError()
    assert checks.unfit(error).fix == "name another one, or make it"
    assert checks.unfit(InputError("rpc.bind", "x")).fix.startswith("correct that key")


def test_nodes_that_were_named_and_are_no_peers() -> None:
    alone = settings(wire=[{"network": "bitcoin", "connect": ["192.0.2.7:8333"]}])
    about = {"peers": [], "reasons": ["no peer"], "sources": sources_of(alone, "bitcoin")}
    assert checks.peers("bitcoin", about).fix.startswith("do the named nodes run, as full nodes?")


def test_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(checks.horizon("bitcoin", None)) == []
    assert list(checks.horizon("ethereum", {"fork_horizon": None})) == []
    assert checks.HORIZON_WARN == HORIZON_WARNING_SECONDS
    monkeypatch.setattr("time.time", lambda: 1_000_000.0)
    states = []
    for left in (checks.HORIZON_WARN + 1, checks.HORIZON_WARN - 1, -1):
        states += [one.state for one in checks.horizon("x", {"fork_horizon": {"time": 1_000_000 + left}})]
    assert states == [State.OK, State.WARN, State.FAIL]
    for name, params in NETWORKS.items():
        assert len(list(checks.horizon(name, None))) == (params.schedule.horizon is not None)
