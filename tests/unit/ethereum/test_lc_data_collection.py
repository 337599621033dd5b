"""The reference tests of data collection: from blocks and their states, the light-client data that a node serves."""

from __future__ import annotations

from typing import Any

import pytest

from spvnode.ethereum.beacon_tables import beacon_schema
from spvnode.ethereum.containers import LightClientObject, encode
from spvnode.ethereum.full_node import Block, State, create_light_client_optimistic_update, fork_of_block_slot
from spvnode.ethereum.networks import Network
from spvnode.ethereum.units import Root, Slot, compute_epoch_at_slot
from tests.support.eth_collector import Collector
from tests.support.eth_vectors import archive, case_network, folders, read_yaml, unhex

CASES = folders("light_client", "data_collection")
CASES_PUBLISHED = 11


class Case:
    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.fork = folder.split("/")[1]
        self.files = archive("light_client")
        self.state = self._decode_initial_state()
        self.network: Network = case_network(self.files[f"{folder}/config.yaml"], self.state.genesis_validators_root)

    def _decode_initial_state(self) -> Any:
        return beacon_schema("minimal", self.fork)["BeaconState"].decode(self.files[f"{self.folder}/initial_state.ssz"])

    def block(self, name: str) -> tuple[Block, Any]:
        """A block and the state after it."""
        fork = fork_of_block_slot(self.network, Slot(int(name.split("_")[1])))
        schema = beacon_schema("minimal", fork.value)
        signed = schema["SignedBeaconBlock"].decode(self.files[f"{self.folder}/{name}.ssz"])
        state = archive("collection_states")[f"{self.fork}__{self.folder.rpartition('/')[2]}/{name}.ssz"]
        return Block(fork, signed.message), schema["BeaconState"].decode(state)

    def same(self, expected: dict[str, str] | None, value: LightClientObject | None, slot: Slot | None) -> None:
        """``value`` is the file that ``expected`` names, under the context digest it names."""
        if expected is None or value is None:
            assert expected is None
            assert value is None
            return
        assert encode(self.network.preset, value) == self.files[f"{self.folder}/{expected['data'].strip()}.ssz"]
        assert slot is not None
        epoch = compute_epoch_at_slot(self.network.preset, slot)
        digest = self.network.schedule.compute_fork_digest(self.network.genesis_validators_root, epoch)
        assert digest == unhex(expected["fork_digest"])


def check(case: Case, collector: Collector, expected: dict[str, Any]) -> None:
    checkpoint = expected["latest_finalized_checkpoint"]
    assert collector.finalized_checkpoint == (int(checkpoint["epoch"]), unhex(checkpoint["root"]))

    assert {unhex(entry["block_root"]) for entry in expected["bootstraps"]} == set(collector.bootstraps)
    for entry in expected["bootstraps"]:
        bootstrap = collector.bootstraps[Root(unhex(entry["block_root"]))]
        case.same(entry["bootstrap"], bootstrap, bootstrap.header.beacon.slot)

    periods = {int(entry["period"]): entry.get("update") for entry in expected["best_updates"]}
    assert set(collector.best_updates) <= set(periods)
    for period, entry in periods.items():
        update = collector.best_updates.get(period)
        case.same(entry, update, update and update.attested_header.beacon.slot)

    latest = collector.latest
    slot = latest and latest.attested_header.beacon.slot
    case.same(expected.get("latest_finality_update"), latest, slot)
    optimistic = latest and create_light_client_optimistic_update(latest)
    case.same(expected.get("latest_optimistic_update"), optimistic, slot)


def test_every_published_case_is_here() -> None:
    assert len(CASES) == CASES_PUBLISHED


@pytest.mark.parametrize("folder", CASES)
def test_data_collection(folder: str) -> None:
    case = Case(folder)
    collector = Collector(case.network, State(fork_of_block_slot(case.network, Slot(0)), case.state))
    heads = 0
    for step in read_yaml(case.files[f"{folder}/steps.yaml"]):
        ((action, body),) = step.items()
        if action == "new_block":
            collector.new_block(*case.block(body["data"].strip()))
        else:
            assert action == "new_head"
            collector.new_head(Root(unhex(body["head_block_root"])))
            check(case, collector, body["checks"])
            heads += 1
    assert heads > 20
