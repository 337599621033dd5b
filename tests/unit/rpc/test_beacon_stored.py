"""The same answers from the real chain on its store as from the recorded data itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from beacon_view import TRUSTED_ROOT, RealBeacon, followed
from small_node import SmallNode

from spvnode.ethereum.chain import BeaconChain
from spvnode.ethereum.networks import ETHEREUM
from spvnode.following import Outcome
from spvnode.metrics import Metrics
from spvnode.rpc.beacon_api.app import ROUTES, BeaconApi
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.table import METHODS
from spvnode.store.memory import MemoryEngine
from tests.support.beacon_chains import NIMBUS, begun, bootstrap_of, live_run, offer, open_rows, start_of, update_run

QUERIES = ("", "?start_period=800&count=128", "?start_period=815&count=2")


@pytest.fixture(scope="module")
def stored() -> BeaconChain:
    chain = begun(ETHEREUM, open_rows(MemoryEngine(), ETHEREUM), bootstrap_of(NIMBUS), start_of(NIMBUS))
    for run in (update_run(NIMBUS), live_run(NIMBUS)):
        assert offer(chain, run).outcome is Outcome.EXTENDS
    return chain


def answers(beacon: RealBeacon | BeaconChain) -> list[tuple[str, int, bytes]]:
    """Of every route, in both forms."""

    async def main() -> list[tuple[str, int, bytes]]:
        api, found = BeaconApi(SmallNode(beacons={"ethereum": beacon})), []
        for route in ROUTES:
            path = route.format(block_id="finalized", state_id="head", block_root="0x" + TRUSTED_ROOT.hex())
            for query in QUERIES:
                for accept in (b"application/json", b"application/octet-stream"):
                    reply = api.answer("GET", None, path, query[1:].encode(), {b"accept": accept})
                    body = reply.body if reply.parts is None else b"".join([part async for part in reply.parts])
                    found.append((path + query, reply.status, body))
        return found

    return trio.run(main)


def test_every_route_answers_the_same(stored: BeaconChain) -> None:
    expected = answers(followed())
    assert answers(stored) == expected
    assert sum(status == 200 for _, status, _ in expected) > len(ROUTES)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("getfinalizedheader", []),
        ("getfinalizedheader", [followed().records[7].block_number]),
        ("getoptimisticheader", []),
        ("getbeaconheaderproof", ["finalized"]),
        ("getbeaconheaderproof", ["optimistic", "json"]),
        ("verifyaccountproof", [{}, "optimistic"]),
    ],
)
def test_every_method_answers_the_same(stored: BeaconChain, method: str, params: list[Any]) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    replies = [
        trio.run(Dispatcher(SmallNode(beacons={"ethereum": beacon}), METHODS, Metrics()).answer, body).body
        for beacon in (followed(), stored)
    ]
    assert replies[0] == replies[1]
    assert "result" in json.loads(replies[0])
