"""Real daemons that follow Ethereum, as their users run them: from an API, from each other, from nothing."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from beacon_daemons import FINAL, NIMBUS, BeaconDaemon, apis
from daemons import spvnode
from eth_vectors import real_json
from rest_server import BeaconServer, answer

ROOT = str(real_json(NIMBUS, "manifest.json")["trusted_block_root"])
OLD = "allow_stale_checkpoint = true"
"""Recorded data are years old."""
TRUSTED = (f'checkpoint = "{ROOT}"', OLD)
KILLS = 8


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., BeaconDaemon]]:
    nodes: list[BeaconDaemon] = []

    def started(name: str, *settings: str) -> BeaconDaemon:
        node = BeaconDaemon(tmp_path / name, *settings)
        nodes.append(node)
        node.start()
        return node

    yield started
    for node in nodes:
        if node.process is not None and node.process.poll() is None:
            assert node.stop() == 0


def readyz(node: BeaconDaemon) -> list[str]:
    """Why it is not ready."""
    port = node.wait(lambda: [line for line in node.log().splitlines() if "rpc listens" in line], "listening")
    connection = http.client.HTTPConnection(*json.loads(port[-1])["tcp"][0].split(":"), timeout=10)  # type: ignore[arg-type]
    try:
        connection.request("GET", "/readyz")
        body = connection.getresponse().read().decode()
    finally:
        connection.close()
    return [line for line in body.splitlines() if line]


def test_an_api_then_a_peer_that_knows_only_us_and_a_proof_that_needs_nobody(
    make: Callable[..., BeaconDaemon], tmp_path: Path
) -> None:
    with apis(BeaconServer(NIMBUS)) as urls:
        first = make("first", *TRUSTED, f"apis = {json.dumps(urls)}")
        first.follow()
    second = make("second", *TRUSTED, f'peers = ["{first.beacon_address()}"]')
    second.follow()
    header = second.call("getfinalizedheader")
    assert header["root"] == first.call("getfinalizedheader")["root"]
    assert header["grounds"]["root"] == ROOT
    peers = second.call("getpeerinfo")
    assert [peer["status"]["finalized_root"] for peer in peers] == [header["root"]]
    file = tmp_path / "proof"
    done = spvnode("proof", "finalized", "--network", "ethereum", "-o", str(file), "--datadir", str(second.folder))
    assert done.returncode == 0, done.stderr
    for node in (first, second):
        node.stop()
    verified = spvnode("verify", str(file), "--trusted-checkpoint", ROOT, "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["finalized"]["slot"] == FINAL


def test_nothing_acknowledged_is_lost_by_kills(make: Callable[..., BeaconDaemon]) -> None:
    rng = random.Random(3)
    with apis(BeaconServer(NIMBUS)) as urls:
        node = make("node", *TRUSTED, f"apis = {json.dumps(urls)}")
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.3, 1.2))
            node.slot()
            node.kill()
            node.start()
            node.wait(lambda: node.slot() >= 0, "with a chain")
            assert node.slot() >= node.acknowledged
        node.follow()
    node.kill()
    node.settings = ()  # it knows where it began
    node.start()
    node.follow()
    assert node.call("getfinalizedheader")["grounds"]["root"] == ROOT
    assert not [line for line in node.faults() if "healed" in line or "cut" in line]
    node.stop()
    checked = spvnode("check", "--datadir", str(node.folder))
    assert checked.returncode == 0, checked.stderr
    assert "periods   800 to 820" in checked.stdout


def test_without_a_start_it_waits_and_says_so(make: Callable[..., BeaconDaemon]) -> None:
    node = make("node")
    node.wait(lambda: "waiting for a trusted checkpoint" in "".join(readyz(node)), "waiting")
    assert node.call("getsyncinfo")["waiting_for"] == "a trusted checkpoint"


def test_a_quorum_of_apis_starts_it(make: Callable[..., BeaconDaemon]) -> None:
    """Those that agree on the finalized block, which is where the recorded bootstrap is."""
    with apis(*(agreeing() for _ in range(3))) as urls:
        node = make("node", "quorum = 2", OLD, f"apis = {json.dumps(urls)}")
        node.wait(lambda: node.call("getfinalizedheader"), "begun")
        grounds = node.call("getfinalizedheader")["grounds"]
        assert (grounds["kind"], grounds["root"]) == ("quorum", ROOT)
        assert len(grounds["vouched_by"]) >= 2


def test_apis_that_contradict_each_other_are_refused_with_evidence(make: Callable[..., BeaconDaemon]) -> None:
    other = agreeing()
    changed = json.loads(other.replace["/eth/v1/beacon/headers/finalized"].partition(b"\r\n\r\n")[2])
    changed["data"]["header"]["message"]["state_root"] = "0x" + "11" * 32
    other.replace["/eth/v1/beacon/headers/finalized"] = answer(json.dumps(changed).encode())
    with apis(agreeing(), other) as urls:
        node = make("node", "quorum = 2", OLD, f"apis = {json.dumps(urls)}")
        said = node.trust()
        assert "evidence" in said
        found = list((node.folder / "ethereum").glob("trust-conflict-*.json"))
        assert len(found) == 1
        assert str(found[0]) in said
        assert node.slot() == -1


def agreeing() -> BeaconServer:
    """A server that finalized the bootstrap's block last."""
    header = real_json(NIMBUS, "bootstrap.json")["data"]["header"]["beacon"]
    body = json.dumps({"data": {"header": {"message": header}}}).encode()
    missing = answer(b"{}", status="404 Not Found")
    base = "/eth/v1/beacon/light_client/"
    return BeaconServer(
        NIMBUS,
        replace={
            "/eth/v1/beacon/headers/finalized": answer(body),
            base + "finality_update": missing,
            base + "optimistic_update": missing,
        },
    )
