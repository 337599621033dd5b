"""What bundles are made of in tests: recorded sets, and made-up chains over any forks with real signatures."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from blspy import G1Element, G2Element, PopSchemeMPL

from spvnode.ethereum.bundle import BeaconBundle, make_bundle
from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientOptimisticUpdate,
    LightClientUpdate,
    beacon_root,
    decode,
)
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.networks import Network
from spvnode.ethereum.units import Root, Slot, compute_sync_committee_period_at_slot
from tests.support.beacon_check import Chain
from tests.support.eth_vectors import archive, real_json, real_network, real_updates
from tests.support.eth_world import PERIOD_SLOTS, SIZE, Made, World, small_network

RECORDED = (
    "mainnet-capella-nimbus21",
    "mainnet-deneb-argument-inclusion",
    "mainnet-deneb-argument-committee-change",
    "goerli-bellatrix-helios2022",
    "devnet-lodestar-deneb-electra",
)
"""Sets that lead from a bootstrap forward. The recorded fulu data has none: fulu's bundles are of made-up chains."""

NIMBUS, DEVNET = "mainnet-capella-nimbus21", "devnet-lodestar-deneb-electra"
EVERY_FORK = {
    Fork.ALTAIR: 0,
    Fork.BELLATRIX: 2,
    Fork.CAPELLA: 8,
    Fork.DENEB: 16,
    Fork.ELECTRA: 24,
    Fork.FULU: 32,
    Fork.GLOAS: 40,
}
IN_FULU = {Fork.ALTAIR: 0, Fork.BELLATRIX: 0, Fork.CAPELLA: 0, Fork.DENEB: 0, Fork.ELECTRA: 0, Fork.FULU: 6}


@dataclass
class Source:
    """``BundleSource``; ``best``: by period."""

    params: Network
    bootstrap: LightClientBootstrap
    best: dict[int, LightClientUpdate]
    finality_update: LightClientFinalityUpdate | None = None
    optimistic_update: LightClientOptimisticUpdate | None = None

    def updates(self, start_period: int, count: int) -> Sequence[LightClientUpdate]:
        found = []
        for period in range(start_period, start_period + count):
            if period not in self.best:
                break
            found.append(self.best[period])
        return found

    @property
    def root(self) -> Root:
        return beacon_root(self.bootstrap.header.beacon)

    @property
    def end(self) -> float:
        """A time after all of it, soon."""
        slots = [update.signature_slot for update in (self.finality_update, self.optimistic_update) if update]
        slots += [update.signature_slot for update in self.best.values()]
        return self.params.start_of(Slot(max([self.bootstrap.header.beacon.slot, *slots]) + 1))

    @property
    def chain(self) -> Chain:
        """The same network for the independent check."""
        schedule, preset = self.params.schedule, self.params.preset
        return Chain(
            self.params.genesis_validators_root,
            [(fork.name, fork.version, fork.epoch) for fork in schedule.forks],
            preset.sync_committee_size,
            preset.slots_per_epoch,
            preset.epochs_per_sync_committee_period,
        )


def recorded_source(name: str) -> Source:
    network = replace(real_network(name), name="recorded")
    files = real_json(name, "manifest.json")["files"]

    def read(file: str, kind: type) -> object:
        if file not in files:
            return None
        return decode(network.preset, Fork(files[file]["version"]), kind, archive("real")[f"{name}/{file}.ssz"])

    bootstrap = read("bootstrap", LightClientBootstrap)
    finality = read("finality_update", LightClientFinalityUpdate)
    optimistic = read("optimistic_update", LightClientOptimisticUpdate)
    assert isinstance(bootstrap, LightClientBootstrap)
    updates = {period_of(network, update): update for update in real_updates(name, network)}
    return Source(network, bootstrap, updates, finality, optimistic)  # type: ignore[arg-type]


def period_of(network: Network, update: LightClientUpdate) -> int:
    return compute_sync_committee_period_at_slot(network.preset, update.attested_header.beacon.slot)


def made_source(epochs: Mapping[Fork, int], periods: int, seed: int = 0) -> tuple[Source, World]:
    """A chain that begins early in period 0; ``periods`` updates, and live ones in the period after them."""
    network = small_network(epochs)
    world = World(network, random.Random(seed), periods + 1)
    bootstrap = world.bootstrap(world.blocks[1])
    best = {}
    for period in range(periods):
        attested = finalizing(world, period)
        slot = Slot(attested.slot + 1)
        best[period] = world.update(attested, slot, SIZE - period % 4, committee=True, finality=True)
    attested = finalizing(world, periods)
    live = world.update(attested, Slot(attested.slot + 1), SIZE - 2, committee=False, finality=True)
    finality = as_finality(live)
    optimistic = as_optimistic(world.update(world.blocks[-2], Slot(world.blocks[-2].slot + 1), SIZE - 1,
                                            committee=False, finality=False))  # fmt: skip
    return Source(network, bootstrap, best, finality, optimistic), world


def finalizing(world: World, period: int) -> Made:
    """The last block but some of a period that has finalized one of the same period."""
    blocks = [block for block in world.blocks[:-3] if block.slot // PERIOD_SLOTS == period]
    good = [block for block in blocks if block.finalized and block.finalized.slot // PERIOD_SLOTS == period]
    return [block for block in good if (block.slot + 1) // PERIOD_SLOTS == period][-1]


def as_finality(update: LightClientUpdate) -> LightClientFinalityUpdate:
    return LightClientFinalityUpdate(
        update.fork,
        update.attested_header,
        update.finalized_header,
        update.finality_branch,
        update.sync_aggregate,
        update.signature_slot,
    )


def as_optimistic(update: LightClientUpdate) -> LightClientOptimisticUpdate:
    return LightClientOptimisticUpdate(
        update.fork, update.attested_header, update.sync_aggregate, update.signature_slot
    )


def by_blspy(keys: list[bytes], message: bytes, signature: bytes) -> bool:
    points = [G1Element.from_bytes(key) for key in keys]
    return bool(PopSchemeMPL.fast_aggregate_verify(points, message, G2Element.from_bytes(signature)))


def by_py_ecc(keys: list[bytes], message: bytes, signature: bytes) -> bool:
    limit = sys.getrecursionlimit()
    from py_ecc.bls import G2ProofOfPossession  # noqa: PLC0415 - it raises the limit of the whole process

    sys.setrecursionlimit(limit)
    return G2ProofOfPossession.FastAggregateVerify(keys, message, signature)  # type: ignore[arg-type]


# -- made once, read by many tests

MADE_AT = 1_700_000_000


@cache
def source(name: str) -> Source:
    return recorded_source(name)


@cache
def bundle(name: str, header: str = "finalized") -> BeaconBundle:
    return make_bundle(source(name), header, MADE_AT)


@cache
def made(forks: str = "every", periods: int = 6) -> Source:
    return made_source(EVERY_FORK if forks == "every" else IN_FULU, periods)[0]
