"""A process to be killed: follows a made-up beacon chain, again and again from one of two starts, and says on stdout
what it was told is stored."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from spvnode.bls import Verifier
from spvnode.ethereum.full_node import create_light_client_optimistic_update
from spvnode.following import Outcome
from spvnode.store.beacon import BeaconStore
from tests.support.beacon_chains import begun, offer, reopened, run
from tests.support.beacon_world import complete_update, crossing_world, late, random_signed
from tests.support.eth_world import World

WORLD_SEED = 6
PERIODS = 6


def world() -> World:
    return crossing_world(WORLD_SEED, PERIODS)


def open_store(folder: Path) -> BeaconStore:
    network_root = world_network.genesis_validators_root
    return BeaconStore.open(folder, chain_id=network_root, now=1.0, write_buffer=1 << 16)


world_network = crossing_world(WORLD_SEED, 1).network


def main(folder: Path, seed: int) -> None:
    rng, made, verifier = random.Random(seed), world(), Verifier()
    network, now = made.network, made.network.start_of(late(made))
    store = open_store(folder)
    turn = int(store.start is not None and store.start.slot == made.blocks[0].slot)
    if store.start is not None:
        reopened(network, store, verifier)
    print("open", *store.faults, flush=True)
    while True:
        chain = begun(network, store, made.bootstrap(made.blocks[turn]), verifier=verifier)
        turn = 1 - turn
        print("begin", chain.start.root.hex(), flush=True)
        while chain.locator() < PERIODS - 1:
            values = [random_signed(made, rng) for _ in range(rng.randint(0, 2))]
            if rng.random() < 0.6:
                update = complete_update(made, chain.locator(), rng)
                values = [update, create_light_client_optimistic_update(update)]
            verdict = offer(chain, run(network, values), now=now, sync=rng.random() < 0.1)
            if verdict.outcome is Outcome.EXTENDS:
                tip, slots = chain.tip, (chain.finalized.beacon.slot, chain.optimistic.beacon.slot)
                print(chain.start.root.hex(), tip.height, *slots, tip.hash.hex(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
