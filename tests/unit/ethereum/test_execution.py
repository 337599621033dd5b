"""Execution fields with their branches: of recorded headers, of every layout that may hold them, and changed ones."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import pytest

from merkle.ssz import get_subtree_index, is_valid_merkle_branch
from spvnode.ethereum.containers import LightClientHeader, beacon_root
from spvnode.ethereum.execution import PROVEN_FIELDS, ExecutionField, execution_fields, proves_execution_field
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.networks import Network
from spvnode.ethereum.upgrade import upgrade_lc_header
from spvnode.types import Hash32
from tests.support.beacon_bundles import RECORDED, made_source, recorded_source
from tests.support.beacon_check import climb, packed
from tests.support.eth_vectors import real_network, real_sets, real_updates

FORKS = {
    Fork.ALTAIR: 0,
    Fork.BELLATRIX: 2,
    Fork.CAPELLA: 8,
    Fork.DENEB: 16,
    Fork.ELECTRA: 24,
    Fork.FULU: 32,
    Fork.GLOAS: 40,
}


@cache
def recorded_headers(name: str) -> tuple[Network, list[LightClientHeader]]:
    network = real_network(name)
    return network, [
        header for update in real_updates(name, network) for header in (update.attested_header, update.finalized_header)
    ]


@pytest.mark.parametrize("name", real_sets())
def test_recorded_headers(name: str) -> None:
    """Hashed once more by the check that shares nothing with the product."""
    network, headers = recorded_headers(name)
    for header in headers:
        fields = execution_fields(network, header)
        if "goerli" in name:
            assert fields == ()
            continue
        assert [field.name for field in fields] == list(PROVEN_FIELDS)
        for field in fields:
            assert field.value == getattr(header.execution, field.name)
            data = field.value.to_bytes(8, "little") if isinstance(field.value, int) else field.value
            siblings = [field.branch[at : at + 32] for at in range(0, len(field.branch), 32)]
            assert climb(packed(data), siblings, field.gindex) == beacon_root(header.beacon)
            assert proves_execution_field(field, beacon_root(header.beacon))


def test_every_fork_and_every_layout_that_holds_it() -> None:
    chain, world = made_source(FORKS, 6)
    found: set[tuple[Fork, Fork, int]] = set()
    for block in world.blocks:
        fork = world.layout(block.slot)
        later = [layout for layout in (Fork.CAPELLA, Fork.DENEB, Fork.ELECTRA, Fork.GLOAS) if may_hold(fork, layout)]
        for layout in [fork, *later]:
            header = upgrade_lc_header(chain.params, block.header, layout)
            fields = execution_fields(chain.params, header)
            assert all(proves_execution_field(field, beacon_root(header.beacon)) for field in fields)
            found.add((fork, layout, len(fields)))
    all_fields, gloas = len(PROVEN_FIELDS), Fork.GLOAS
    assert {(fork, count) for fork, layout, count in found if layout is not gloas} == {
        (Fork.ALTAIR, 0),
        (Fork.CAPELLA, all_fields),
        (Fork.DENEB, all_fields),
        (Fork.ELECTRA, all_fields),
    }
    assert {(fork, count) for fork, layout, count in found if layout is gloas} == {
        (Fork.ALTAIR, 0),
        (Fork.CAPELLA, 1),
        (Fork.DENEB, 1),
        (Fork.ELECTRA, 1),
        (gloas, 1),
    }


def may_hold(fork: Fork, layout: Fork) -> bool:
    order = list(Fork)
    return order.index(layout) >= order.index(fork)


@pytest.mark.parametrize("name", [name for name in RECORDED if "goerli" not in name])
def test_what_does_not_hold_is_not_shown(name: str) -> None:
    chain = recorded_source(name)
    header = chain.bootstrap.header
    assert header.execution is not None
    forged = replace(header, execution=replace(header.execution, state_root=Hash32(b"\x01" * 32)))
    assert execution_fields(chain.params, forged) == ()
    assert execution_fields(chain.params, replace(header, execution_branch=bytes(4 * 32))) == ()


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_every_changed_byte_is_refused() -> None:
    network, headers = recorded_headers("mainnet-capella-nimbus21")
    root = beacon_root(headers[0].beacon)
    for field in execution_fields(network, headers[0]):
        assert proves_execution_field(field, root)
        wrong = [replace(field, branch=changed(field.branch, at)) for at in range(len(field.branch))]
        wrong += [replace(field, leaf=changed(field.leaf, at)) for at in range(32)]
        wrong += [replace(field, value=other(field, at)) for at in range(32)]
        wrong += [replace(field, gindex=field.gindex ^ 1 << bit) for bit in range(13)]
        wrong += [replace(field, branch=field.branch[32:]), replace(field, branch=field.branch + bytes(32))]
        wrong += [replace(field, name=name) for name in (*PROVEN_FIELDS, "gas_used") if name != field.name]
        assert not any(proves_execution_field(each, root) for each in wrong)
        assert not any(proves_execution_field(field, changed(root, at)) for at in range(32))


def other(field: ExecutionField, at: int) -> bytes | int:
    return field.value ^ 1 << at if isinstance(field.value, int) else changed(field.value, at)


def test_a_number_too_large_for_a_chunk_is_refused() -> None:
    network, headers = recorded_headers("mainnet-capella-nimbus21")
    number = execution_fields(network, headers[0])[0]
    for value in (1 << 256, -1):
        assert not proves_execution_field(replace(number, value=value), beacon_root(headers[0].beacon))


def test_the_positions_are_the_containers_own() -> None:
    """With the generic check of SSZ branches, at a random recorded header."""
    network, headers = recorded_headers("mainnet-deneb-argument-inclusion")
    header = random.Random(0).choice(headers)
    for field in execution_fields(network, header):
        depth = len(field.branch) // 32
        index = get_subtree_index(field.gindex)
        assert is_valid_merkle_branch(field.leaf, field.branch, depth, index, beacon_root(header.beacon))
        assert not is_valid_merkle_branch(field.leaf, field.branch, depth, index ^ 1, beacon_root(header.beacon))


def test_json() -> None:
    network, headers = recorded_headers("mainnet-capella-nimbus21")
    shown = {field.name: field.as_json() for field in execution_fields(network, headers[0])}
    assert headers[0].execution is not None
    assert shown["block_number"]["value"] == headers[0].execution.block_number
    assert shown["state_root"]["value"] == shown["state_root"]["leaf"] == "0x" + headers[0].execution.state_root.hex()
    assert [len(field["branch"]) for field in shown.values()] == [11] * len(PROVEN_FIELDS)
