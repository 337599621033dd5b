"""Beacon chains on stores, from recorded data: what is served as items, and chains that take it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from spvnode.bls import Verifier
from spvnode.ethereum.chain import BeaconChain
from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientOptimisticUpdate,
    LightClientUpdate,
    beacon_root,
    decode,
    encode,
)
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.items import Item, Kind, join
from spvnode.ethereum.networks import Network
from spvnode.ethereum.records import Kept, slot_of, wire_digest
from spvnode.following import Outcome, Tip, Verdict
from spvnode.store.beacon import BeaconStore
from spvnode.store.port import Engine
from spvnode.types import Hash32
from spvnode.view import BeaconStart
from tests.support.eth_vectors import archive, real_json, real_network, real_updates, unhex

NIMBUS = "mainnet-capella-nimbus21"
"""21 periods of mainnet."""
LODESTAR = "devnet-lodestar-deneb-electra"
"""3 periods of a devnet, from deneb to electra."""
GOERLI = "goerli-bellatrix-helios2022"
NOW = 1_800_000_000.0
"""After everything that was recorded."""
KINDS: dict[type, Kind] = {
    LightClientBootstrap: Kind.BOOTSTRAP,
    LightClientUpdate: Kind.UPDATE,
    LightClientFinalityUpdate: Kind.FINALITY,
    LightClientOptimisticUpdate: Kind.OPTIMISTIC,
}
CLASSES: dict[str, type[Kept]] = {
    "bootstrap": LightClientBootstrap,
    "finality_update": LightClientFinalityUpdate,
    "optimistic_update": LightClientOptimisticUpdate,
}


@cache
def network_of(name: str) -> Network:
    return real_network(name)


@cache
def updates_of(name: str) -> tuple[LightClientUpdate, ...]:
    return tuple(real_updates(name, network_of(name)))


@cache
def recorded(name: str, file: str) -> Kept:
    entry = real_json(name, "manifest.json")["files"][file]
    data = archive("real")[f"{name}/{file}.ssz"]
    return decode(network_of(name).preset, Fork(entry["version"]), CLASSES[file], data)


def bootstrap_of(name: str) -> LightClientBootstrap:
    value = recorded(name, "bootstrap")
    assert isinstance(value, LightClientBootstrap)
    return value


def start_of(name: str) -> BeaconStart:
    bootstrap = bootstrap_of(name)
    root = Hash32(unhex(real_json(name, "manifest.json")["trusted_block_root"]))
    assert root == beacon_root(bootstrap.header.beacon)
    return BeaconStart(root, bootstrap.header.beacon.slot, "root", ("config",))


def item(network: Network, value: Kept) -> Item:
    """As an honest peer sends it."""
    return Item(KINDS[type(value)], wire_digest(network, slot_of(value)), encode(network.preset, value))


def run(network: Network, values: Sequence[Kept]) -> bytes:
    return join(item(network, value) for value in values)


@cache
def update_run(name: str) -> bytes:
    return run(network_of(name), updates_of(name))


@cache
def live_run(name: str) -> bytes:
    """The recorded finality and optimistic update."""
    return run(network_of(name), [recorded(name, "finality_update"), recorded(name, "optimistic_update")])


def clock() -> float:
    return NOW


def open_rows(where: Path | Engine, network: Network, *, now: float = NOW) -> BeaconStore:
    return BeaconStore.open(where, chain_id=network.genesis_validators_root, now=now, write_buffer=1 << 20)


def begun(
    network: Network,
    rows: BeaconStore,
    bootstrap: LightClientBootstrap,
    start: BeaconStart | None = None,
    verifier: Verifier | None = None,
) -> BeaconChain:
    start = start or BeaconStart(
        beacon_root(bootstrap.header.beacon), bootstrap.header.beacon.slot, "root", ("config",)
    )
    chain = BeaconChain.begin(network, rows, bootstrap, start, clock=clock, verifier=verifier)
    assert isinstance(chain, BeaconChain)
    return chain


def begun_at(name: str, rows: BeaconStore, verifier: Verifier | None = None) -> BeaconChain:
    """A chain at the recorded bootstrap."""
    return begun(network_of(name), rows, bootstrap_of(name), start_of(name), verifier)


def reopened(network: Network, rows: BeaconStore, verifier: Verifier | None = None) -> BeaconChain:
    chain = BeaconChain.open(network, rows, clock=clock, verifier=verifier)
    assert chain is not None
    return chain


def offer(chain: BeaconChain, items: bytes, *, now: float = NOW, sync: bool = True) -> Verdict:
    """Plans, and if there is anything to it, writes and applies."""
    verdict = chain.plan(items, int(now))
    if verdict.outcome is Outcome.EXTENDS:
        chain.write(verdict, now=int(now), sync=sync)
        tip: Tip = chain.apply(verdict)
        assert tip == chain.tip
    return verdict
