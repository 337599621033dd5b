"""The reference tests of the sync protocol: bootstrap, updates, forced updates and store upgrades, step by step."""

from __future__ import annotations

from typing import Any

import pytest

from spvnode.bls import Verifier
from spvnode.ethereum.containers import LightClientBootstrap, LightClientUpdate, beacon_root, decode, encode
from spvnode.ethereum.forks import LAYOUTS, Fork
from spvnode.ethereum.headers import get_lc_execution_root
from spvnode.ethereum.light_client import (
    initialize_light_client_store,
    process_light_client_store_force_update,
    process_light_client_update,
)
from spvnode.ethereum.networks import Network
from spvnode.ethereum.store import LightClientStore
from spvnode.ethereum.units import Root, Slot
from spvnode.ethereum.upgrade import upgrade_lc_store
from tests.support.eth_vectors import archive, case_network, folders, fork_of_digest, read_yaml, unhex

CASES = folders("light_client", "sync")
CASES_PUBLISHED = 52


def layout_of_version(version: str) -> Fork:
    """The minimal config numbers fork versions 0x00000001, 0x01000001, ...; a store's fork need not be scheduled."""
    number, *rest = unhex(version)
    assert bytes(rest) == b"\x00\x00\x01"
    return LAYOUTS[list(Fork)[number]]


def check(network: Network, store: LightClientStore, expected: dict[str, Any]) -> None:
    for name, header in (("finalized_header", store.finalized_header), ("optimistic_header", store.optimistic_header)):
        assert header.beacon.slot == int(expected[name]["slot"])
        assert beacon_root(header.beacon) == unhex(expected[name]["beacon_root"])
        if "execution_root" in expected[name]:
            assert get_lc_execution_root(network, header) == unhex(expected[name]["execution_root"])


def test_every_published_case_is_here() -> None:
    assert len(CASES) == CASES_PUBLISHED


@pytest.mark.parametrize("folder", CASES)
def test_sync(folder: str) -> None:
    files = archive("light_client")
    meta = read_yaml(files[f"{folder}/meta.yaml"])
    network = case_network(files[f"{folder}/config.yaml"], unhex(meta["genesis_validators_root"]))
    preset = network.preset
    verifier = Verifier()

    fork = fork_of_digest(network, unhex(meta["bootstrap_fork_digest"]))
    bootstrap = decode(preset, fork, LightClientBootstrap, files[f"{folder}/bootstrap.ssz"])
    layout = layout_of_version(meta["store_fork_version"])
    store = initialize_light_client_store(network, Root(unhex(meta["trusted_block_root"])), bootstrap, layout)
    assert isinstance(store, LightClientStore)

    for step in read_yaml(files[f"{folder}/steps.yaml"]):
        ((action, body),) = step.items()
        if action == "process_update":
            fork = fork_of_digest(network, unhex(body["update_fork_digest"]))
            data = files[f"{folder}/{body['update']}.ssz"]
            update = decode(preset, fork, LightClientUpdate, data)
            assert encode(preset, update) == data
            new = process_light_client_update(network, store, update, Slot(int(body["current_slot"])), verifier)
        elif action == "force_update":
            new = process_light_client_store_force_update(network, store, Slot(int(body["current_slot"])))
        else:
            assert action == "upgrade_store"
            new = upgrade_lc_store(network, store, layout_of_version(body["store_fork_version"]))
        assert isinstance(new, LightClientStore)
        store = new
        check(network, store, body["checks"])
