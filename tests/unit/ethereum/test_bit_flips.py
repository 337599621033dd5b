"""Every single-bit flip of a valid update is refused, and for the right reason."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from merkle.errors import ProofError
from merkle.ssz_types import Container
from spvnode.bls import Verifier
from spvnode.ethereum.containers import LightClientBootstrap, LightClientUpdate, container, decode, encode
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.light_client import (
    check_light_client_update,
    initialize_light_client_store,
    process_light_client_update,
)
from spvnode.ethereum.networks import Network
from spvnode.ethereum.reasons import Reason, Rejection
from spvnode.ethereum.store import LightClientStore
from spvnode.ethereum.units import Root
from tests.support.eth_vectors import archive, real_json, real_network, real_updates, unhex

DEVNET = "devnet-lodestar-deneb-electra"
NIMBUS = "mainnet-capella-nimbus21"
SAMPLED_BITS = 600
OFFSET_SIZE = 4

EXPECTED: dict[str, set[Reason]] = {
    "attested_header.beacon.slot": {
        Reason.SLOT_ORDER,
        Reason.IRRELEVANT,
        Reason.SKIPPED_PERIOD,
        Reason.INVALID_ATTESTED_HEADER,  # in another fork's time, another fork's execution data and branches
        Reason.INVALID_FINALITY_BRANCH,
        Reason.INVALID_SIGNATURE,
    },
    "attested_header.beacon.proposer_index": {Reason.INVALID_SIGNATURE},
    "attested_header.beacon.parent_root": {Reason.INVALID_SIGNATURE},
    "attested_header.beacon.state_root": {Reason.INVALID_FINALITY_BRANCH},
    "attested_header.beacon.body_root": {Reason.INVALID_ATTESTED_HEADER},
    "attested_header.execution": {Reason.INVALID_ATTESTED_HEADER},
    "attested_header.execution_branch": {Reason.INVALID_ATTESTED_HEADER},
    "next_sync_committee": {Reason.INVALID_NEXT_COMMITTEE_BRANCH},
    "next_sync_committee_branch": {Reason.INVALID_NEXT_COMMITTEE_BRANCH},
    "finalized_header.beacon.slot": {
        Reason.SLOT_ORDER,
        Reason.INVALID_FINALIZED_HEADER,
        Reason.INVALID_FINALITY_BRANCH,
        Reason.FINALIZED_HEADER_NOT_EMPTY,  # slot 0, where only an empty header may stand
    },
    "finalized_header.beacon.body_root": {Reason.INVALID_FINALIZED_HEADER},
    "finalized_header.beacon": {Reason.INVALID_FINALITY_BRANCH},
    "finalized_header.execution": {Reason.INVALID_FINALIZED_HEADER},
    "finalized_header.execution_branch": {Reason.INVALID_FINALIZED_HEADER},
    "finality_branch": {Reason.INVALID_FINALITY_BRANCH},
    "sync_aggregate": {Reason.INVALID_SIGNATURE},
    "signature_slot": {Reason.FUTURE_SIGNATURE_SLOT, Reason.SLOT_ORDER},
}


def leaf_spans(kind: Container, data: bytes, base: int, path: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, field path) of every part of an encoding that is not a container; offsets are named so."""
    fixed = []
    at = 0
    for name, field in kind.fields.items():
        size = OFFSET_SIZE if field.size is None else field.size
        fixed.append((name, field, at, at + size))
        at += size
    late = [int.from_bytes(data[start:end], "little") for _, field, start, end in fixed if field.size is None]
    ends = iter([*late[1:], len(data)])
    starts = iter(late)
    for name, field, start, end in fixed:
        if field.size is None:
            yield base + start, base + end, "offset"
            start, end = next(starts), next(ends)
        inner = f"{path}.{name}".lstrip(".")
        if isinstance(field, Container):
            yield from leaf_spans(field, data[start:end], base + start, inner)
        else:
            yield base + start, base + end, inner


def entry_of(path: str) -> str:
    """The longest name in the table that ``path`` begins with."""
    return max((name for name in EXPECTED if path == name or path.startswith(f"{name}.")), key=len)


def store_before(name: str, place: int) -> tuple[Network, LightClientStore, LightClientUpdate, Verifier]:
    """A recorded chain up to the update at ``place``, and that update."""
    network = real_network(name)
    manifest = real_json(name, "manifest.json")
    fork = Fork(manifest["files"]["bootstrap"]["version"])
    bootstrap = decode(network.preset, fork, LightClientBootstrap, archive("real")[f"{name}/bootstrap.ssz"])
    store = initialize_light_client_store(network, Root(unhex(manifest["trusted_block_root"])), bootstrap)
    assert isinstance(store, LightClientStore)
    verifier = Verifier()
    updates = real_updates(name, network)
    for update in updates[:place]:
        advanced = process_light_client_update(network, store, update, update.signature_slot, verifier)
        assert isinstance(advanced, LightClientStore)
        store = advanced
    return network, store, updates[place], verifier


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def refusal(
    network: Network, store: LightClientStore, fork: Fork, data: bytes, now: int, verifier: Verifier
) -> Reason | None:
    """None when ``data`` encodes no update."""
    try:
        update = decode(network.preset, fork, LightClientUpdate, data)
    except ProofError:
        return None
    assert encode(network.preset, update) == data
    result = process_light_client_update(network, store, update, now, verifier)
    assert isinstance(result, Rejection)
    return result.reason


@pytest.mark.parametrize("place", [0, 1], ids=["deneb", "electra"])
def test_every_flip_of_a_devnet_update_is_refused(place: int) -> None:
    network, store, update, verifier = store_before(DEVNET, place)
    data = encode(network.preset, update)
    now = update.signature_slot
    flipped = set()
    for start, end, path in leaf_spans(container(network.preset, update.fork, LightClientUpdate), data, 0, ""):
        expected = {None} if path == "offset" else EXPECTED[entry_of(path)]
        for bit in range(8 * start, 8 * end):
            reason = refusal(network, store, update.fork, flip(data, bit), now, verifier)
            assert reason in expected, (path, bit, reason)
            flipped.add(bit)
    assert flipped == set(range(8 * len(data)))
    # What was flipped is valid as it stands.
    assert isinstance(process_light_client_update(network, store, update, now, verifier), LightClientStore)


def test_sampled_flips_of_a_mainnet_update_are_refused() -> None:
    network, store, update, verifier = store_before(NIMBUS, 3)
    data = encode(network.preset, update)
    kind = container(network.preset, update.fork, LightClientUpdate)
    path_of = {byte: path for start, end, path in leaf_spans(kind, data, 0, "") for byte in range(start, end)}
    chosen = random.Random(3).sample(range(8 * len(data)), SAMPLED_BITS)
    for bit in chosen:
        reason = refusal(network, store, update.fork, flip(data, bit), update.signature_slot, verifier)
        path = path_of[bit // 8]
        assert reason in ({None} if path == "offset" else EXPECTED[entry_of(path)]), (path, bit)


def test_the_checks_alone_let_only_signed_fields_through() -> None:
    network, store, update, _ = store_before(DEVNET, 1)
    data = encode(network.preset, update)
    kind = container(network.preset, update.fork, LightClientUpdate)
    passed = set()
    for start, end, path in leaf_spans(kind, data, 0, ""):
        if path != "offset" and start < end:
            flipped = decode(network.preset, update.fork, LightClientUpdate, flip(data, 8 * start))
            checked = check_light_client_update(network, store, flipped, update.signature_slot)
            if not isinstance(checked, Rejection):
                passed.add(path)
    assert passed == {
        "attested_header.beacon.proposer_index",
        "attested_header.beacon.parent_root",
        "sync_aggregate.sync_committee_bits",
        "sync_aggregate.sync_committee_signature",
    }
