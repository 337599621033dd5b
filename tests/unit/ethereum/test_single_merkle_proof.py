"""The reference tests of single Merkle proofs: where the light client's parts lie in states and block bodies."""

from __future__ import annotations

import pytest

from merkle.ssz import is_valid_normalized_merkle_branch
from merkle.ssz_types import path_branch, path_gindex
from spvnode.ethereum.beacon_tables import beacon_schema
from spvnode.ethereum.forks import LAYOUTS, Fork
from spvnode.ethereum.full_node import (
    CURRENT_SYNC_COMMITTEE_PATH,
    EXECUTION_BLOCK_HASH_PATH,
    EXECUTION_PAYLOAD_PATH,
    FINALIZED_ROOT_PATH,
    NEXT_SYNC_COMMITTEE_PATH,
)
from spvnode.ethereum.gindices import EXECUTION_BLOCK_HASH_GINDEX, EXECUTION_BLOCK_HASH_GINDEX_DENEB, GINDICES
from tests.support.eth_vectors import archive, read_yaml, unhex

PATHS = {
    "current_sync_committee_merkle_proof": CURRENT_SYNC_COMMITTEE_PATH,
    "next_sync_committee_merkle_proof": NEXT_SYNC_COMMITTEE_PATH,
    "finality_root_merkle_proof": FINALIZED_ROOT_PATH,
    "execution_merkle_proof": EXECUTION_PAYLOAD_PATH,
    "execution_block_hash_merkle_proof": EXECUTION_BLOCK_HASH_PATH,
}
CASES = sorted(path.removesuffix("/proof.yaml") for path in archive("light_client") if path.endswith("/proof.yaml"))
CASES_PUBLISHED = {"minimal": 27, "mainnet": 25}


@pytest.mark.parametrize("preset", CASES_PUBLISHED)
def test_every_published_case_is_here(preset: str) -> None:
    assert sum(folder.startswith(preset) for folder in CASES) == CASES_PUBLISHED[preset]


@pytest.mark.parametrize("folder", CASES)
def test_single_merkle_proof(folder: str) -> None:
    files = archive("light_client")
    preset, fork, *_, name, case = folder.split("/")
    kind = beacon_schema(preset, fork)[name]
    data = files[f"{folder}/object.ssz"]
    value = kind.decode(data)
    assert kind.encode(value) == data

    expected = read_yaml(files[f"{folder}/proof.yaml"])
    leaf, branch = path_branch(kind, value, PATHS[case])
    gindex = int(expected["leaf_index"])
    assert path_gindex(kind, PATHS[case]) == gindex
    assert leaf == unhex(expected["leaf"])
    assert branch == b"".join(unhex(node) for node in expected["branch"])
    root = kind.hash_tree_root(value)
    assert is_valid_normalized_merkle_branch(leaf, branch, gindex, root)
    assert is_valid_normalized_merkle_branch(leaf, bytes(64) + branch, gindex, root)
    assert not is_valid_normalized_merkle_branch(bytes([leaf[0] ^ 1]) + leaf[1:], branch, gindex, root)
    assert not is_valid_normalized_merkle_branch(leaf, b"\x01" + bytes(31) + branch, gindex, root)
    assert not is_valid_normalized_merkle_branch(leaf, branch[32:], gindex, root)


@pytest.mark.parametrize("preset", ["minimal", "mainnet"])
@pytest.mark.parametrize("fork", [fork for fork in Fork if fork in LAYOUTS])
def test_frozen_indices_follow_from_the_containers(preset: str, fork: Fork) -> None:
    schema = beacon_schema(preset, fork.value)
    gindices = GINDICES[LAYOUTS[fork]]
    state, body = schema["BeaconState"], schema["BeaconBlockBody"]
    assert path_gindex(state, FINALIZED_ROOT_PATH) == gindices.finalized_root
    assert path_gindex(state, CURRENT_SYNC_COMMITTEE_PATH) == gindices.current_sync_committee
    assert path_gindex(state, NEXT_SYNC_COMMITTEE_PATH) == gindices.next_sync_committee
    if LAYOUTS[fork] is Fork.GLOAS:
        assert path_gindex(body, EXECUTION_BLOCK_HASH_PATH) == gindices.execution
    elif LAYOUTS[fork] is not Fork.ALTAIR:
        assert path_gindex(body, EXECUTION_PAYLOAD_PATH) == gindices.execution


def test_frozen_block_hash_indices_follow_from_the_containers() -> None:
    path = (*EXECUTION_PAYLOAD_PATH, "block_hash")
    assert path_gindex(beacon_schema("mainnet", "capella")["BeaconBlockBody"], path) == EXECUTION_BLOCK_HASH_GINDEX
    for fork in ("deneb", "electra", "fulu"):
        body = beacon_schema("mainnet", fork)["BeaconBlockBody"]
        assert path_gindex(body, path) == EXECUTION_BLOCK_HASH_GINDEX_DENEB
