"""What beacon nodes are told and served, from real data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from p2p.beacon.messages import Status
from p2p.beacon.provider import Chunk, Gossip, Provider
from spvnode.ethereum.chain import BeaconChain
from spvnode.ethereum.containers import beacon_root
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.items import Kind, split
from spvnode.ethereum.networks import ETHEREUM, SEPOLIA, Network
from spvnode.ethereum.units import FAR_FUTURE_EPOCH, Slot
from spvnode.follow.ethereum_served import EthereumServed, finalized_epoch
from spvnode.store.memory import MemoryEngine
from tests.support.beacon_chains import (
    NIMBUS,
    begun_at,
    item,
    live_run,
    network_of,
    offer,
    open_rows,
    recorded,
    update_run,
)
from tests.support.eth_vectors import archive

CAPELLA = bytes.fromhex("bba4da96")


@dataclass
class Holder:
    params: Network
    chain: BeaconChain | None = None


def epoch_clock(network: Network, epoch: int) -> float:
    return network.start_of(Slot(epoch * network.preset.slots_per_epoch))


def served(network: Network, epoch: int, chain: BeaconChain | None = None) -> EthereumServed:
    return EthereumServed(Holder(network, chain), lambda: epoch_clock(network, epoch))


@pytest.fixture(scope="module")
def chain() -> BeaconChain:
    made = begun_at(NIMBUS, open_rows(MemoryEngine(), network_of(NIMBUS)))
    offer(made, update_run(NIMBUS))
    offer(made, live_run(NIMBUS))
    return made


@pytest.fixture
def provider(chain: BeaconChain) -> Provider:
    return served(chain.params, 210_340, chain)


def test_the_status_says_what_is_committed(provider: Provider, chain: BeaconChain) -> None:
    status = provider.status()
    assert status == Status(
        fork_digest=CAPELLA,
        finalized_root=beacon_root(chain.finalized.beacon),
        finalized_epoch=210_336,
        head_root=beacon_root(chain.optimistic.beacon),
        head_slot=6_730_830,
        earliest_available_slot=6_553_600,
    )
    assert status.finalized_epoch * 32 == chain.finalized.beacon.slot


def test_before_the_beginning_there_is_genesis_and_nothing() -> None:
    provider = served(network_of(NIMBUS), 210_340)
    assert provider.status() == Status(CAPELLA, bytes(32), 0, bytes(32), 0, 0)
    assert provider.accepts(Status(CAPELLA, bytes(32), 7, bytes(32), 9)) is None
    assert provider.bootstrap(bytes(32)) is provider.finality_update() is provider.optimistic_update() is None
    assert provider.updates(800, 5) == []
    assert provider.judge("finality", CAPELLA, b"") is Gossip.IGNORE


def test_the_epoch_of_a_checkpoint_is_the_first_that_begins_at_its_block_or_later() -> None:
    assert [finalized_epoch(ETHEREUM, Slot(slot)) for slot in (0, 1, 31, 32, 33, 64)] == [0, 1, 1, 1, 2, 2]


def test_peers_of_another_network_or_fork_are_not_ours(provider: Provider, chain: BeaconChain) -> None:
    ours = provider.status()
    assert provider.accepts(ours) is None
    assert provider.accepts(replace(ours, finalized_epoch=1, finalized_root=b"?" * 32)) is None
    for digest in ("8c9f62fe", "4a26c58b", "d31f6191"):
        why = provider.accepts(replace(ours, fork_digest=bytes.fromhex(digest)))
        assert why == f"fork digest {digest} is not ours"
    conflict = replace(ours, finalized_root=b"?" * 32)
    assert "another block is finalized in epoch 210336" in (provider.accepts(conflict) or "")


def test_topics_of_both_digests_are_of_use_around_a_change() -> None:
    deneb, electra = "6a95a1a9", "ad532ceb"
    seen = {
        epoch: [digest.hex() for digest in served(ETHEREUM, epoch).topic_digests()]
        for epoch in (364_029, 364_030, 364_031, 364_032, 364_033, 364_034)
    }
    assert seen[364_029] == [deneb]
    assert seen[364_030] == seen[364_031] == [deneb, electra]
    assert seen[364_032] == seen[364_033] == [electra, deneb]
    assert seen[364_034] == [electra]
    old = Status(bytes.fromhex(deneb), bytes(32), 0, bytes(32), 0)
    assert served(ETHEREUM, 364_033).accepts(old) is None
    assert served(ETHEREUM, 364_034).accepts(old) is not None


def test_the_enr_announces_the_next_change_of_the_digest() -> None:
    electra = served(ETHEREUM, 400_000).enr_fork_id()
    assert electra.hex() == "ad532ceb" + "06000000" + (411_392).to_bytes(8, "little").hex()
    fulu = served(ETHEREUM, 411_392).enr_fork_id()
    assert fulu.hex() == "cc2c5cdb" + "06000000" + (412_672).to_bytes(8, "little").hex(), "blob parameters only"
    last = served(ETHEREUM, 500_000).enr_fork_id()
    assert last.hex() == "8c9f62fe" + "06000000" + FAR_FUTURE_EPOCH.to_bytes(8, "little").hex()
    assert {len(entry) for entry in (electra, fulu, last)} == {16}


def test_sizes_are_known_for_every_digest_of_the_network_and_no_other(provider: Provider) -> None:
    for kind, name in (
        ("bootstrap", "bootstrap"),
        ("finality", "finality_update"),
        ("optimistic", "optimistic_update"),
    ):
        size = provider.max_size(kind, CAPELLA)  # type: ignore[arg-type]
        assert size is not None
        assert size - 64 <= len(archive("real")[f"{NIMBUS}/{name}.ssz"]) <= size
    assert provider.max_size("update", bytes(4)) is None
    digests = SEPOLIA.schedule.digests(SEPOLIA.genesis_validators_root)
    sizes = [served(SEPOLIA, 1).max_size("update", entry.digest) for entry in digests]
    assert [entry.fork for entry, size in zip(digests, sizes, strict=True) if size is None] == [Fork.PHASE0]


def test_what_is_served_is_what_was_recorded(provider: Provider, chain: BeaconChain) -> None:
    real = archive("real")
    assert provider.bootstrap(chain.start.root) == Chunk(CAPELLA, real[f"{NIMBUS}/bootstrap.ssz"])
    assert provider.bootstrap(bytes(32)) is None
    assert provider.optimistic_update() == Chunk(CAPELLA, real[f"{NIMBUS}/optimistic_update.ssz"])
    assert provider.finality_update() == Chunk(CAPELLA, real[f"{NIMBUS}/finality_update.ssz"])
    chunks = provider.updates(800, 64)
    assert [chunk.ssz for chunk in chunks] == [entry.ssz for entry in split(update_run(NIMBUS))]
    assert provider.updates(799, 64) == provider.updates(900, 1) == provider.updates(2**64 - 1, 2**64 - 1) == []
    assert len(provider.updates(820, 2**64 - 1)) == 1


def test_gossip_is_judged_by_the_chain_and_the_clock() -> None:
    network = network_of(NIMBUS)
    chain = begun_at(NIMBUS, open_rows(MemoryEngine(), network))
    offer(chain, update_run(NIMBUS))
    value = recorded(NIMBUS, "finality_update")
    sent = item(network, value)
    now = [network.start_of(value.signature_slot)]  # type: ignore[union-attr]
    provider = EthereumServed(Holder(network, chain), lambda: now[0])
    assert provider.judge("finality", sent.digest, sent.ssz) is Gossip.IGNORE, "a third of the slot has not passed"
    now[0] += 4
    assert provider.judge("finality", sent.digest, sent.ssz[:100]) is Gossip.REJECT
    assert provider.judge("optimistic", sent.digest, sent.ssz) is Gossip.REJECT
    assert provider.judge("finality", b"????", sent.ssz) is Gossip.IGNORE
    assert provider.judge("finality", sent.digest, sent.ssz) is Gossip.ACCEPT
    assert provider.judge("finality", sent.digest, sent.ssz) is Gossip.IGNORE
    assert sent.kind is Kind.FINALITY
