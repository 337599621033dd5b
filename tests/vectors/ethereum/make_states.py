"""Writes the post-state of every block of the data_collection vectors, by the executable specification.

    python tests/vectors/ethereum/make_states.py VECTORS OUT

The vectors hold blocks and one initial state, a light node has no state transition. Run by hand, with
``eth-consensus-specs==1.7.0a13``, cramjam and PyYAML installed; pack.py packs what it writes. Each state's root is in
its block, and the tests compare them.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import cramjam
import yaml

FORKS = ("phase0", "altair", "bellatrix", "capella", "deneb", "electra", "fulu", "gloas")
SLOTS_PER_EPOCH = 8
SPECS: dict[str, Any] = {fork: importlib.import_module(f"eth_consensus_specs.{fork}.minimal") for fork in FORKS}
DEFAULTS: dict[str, Any] = {fork: spec.config for fork, spec in SPECS.items()}


def read(path: Path) -> bytes:
    return bytes(cramjam.snappy.decompress_raw(path.read_bytes()))


def configure(text: str) -> dict[str, int]:
    """Gives every fork's module the case's fork epochs; returns them."""
    config = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506
    keys = {fork: f"{fork.upper()}_FORK_EPOCH" for fork in FORKS[1:]}
    epochs = {fork: int(config[key]) for fork, key in keys.items() if key in config}
    for fork, spec in SPECS.items():
        own = {keys[name]: epoch for name, epoch in epochs.items() if keys[name] in spec.config._fields}
        spec.config = DEFAULTS[fork]._replace(**{key: spec.Epoch(epoch) for key, epoch in own.items()})
    return epochs


def fork_at(epochs: dict[str, int], slot: int) -> str:
    return [fork for fork, epoch in epochs.items() if epoch * SLOTS_PER_EPOCH <= slot][-1]


def advance(state: Any, fork: str, epochs: dict[str, int], slot: int) -> tuple[str, Any]:
    """``state`` moved to ``slot`` through the forks on the way."""
    for name, epoch in epochs.items():
        start = epoch * SLOTS_PER_EPOCH
        if FORKS.index(name) > FORKS.index(fork) and start <= slot:
            if state.slot < start:
                SPECS[fork].process_slots(state, start)
            state, fork = getattr(SPECS[name], f"upgrade_to_{name}")(state), name
    if state.slot < slot:
        SPECS[fork].process_slots(state, slot)
    return fork, state


def run(case: Path, out: Path) -> None:
    fork = case.parts[-5]
    epochs = configure((case / "config.yaml").read_text())
    state = SPECS[fork].BeaconState.decode_bytes(read(case / "initial_state.ssz_snappy"))
    header = state.latest_block_header.copy()
    header.state_root = state.hash_tree_root()
    states = {bytes(header.hash_tree_root()): (fork, state)}
    out.mkdir(parents=True, exist_ok=True)
    for step in yaml.safe_load((case / "steps.yaml").read_text()):
        if "new_block" in step:
            name = step["new_block"]["data"].strip()
            slot = int(name.split("_")[1])
            spec = SPECS[fork_at(epochs, slot)]
            block = spec.SignedBeaconBlock.decode_bytes(read(case / f"{name}.ssz_snappy")).message
            parent_fork, parent = states[bytes(block.parent_root)]
            after, state = advance(parent.copy(), parent_fork, epochs, slot)
            SPECS[after].process_block(state, block)
            if state.hash_tree_root() != block.state_root:
                raise ValueError(f"{case}: {name} has another state root")
            states[bytes(block.hash_tree_root())] = (after, state)
            (out / f"{name}.ssz").write_bytes(state.encode_bytes())


if __name__ == "__main__":
    vectors, target = Path(sys.argv[1]), Path(sys.argv[2])
    for found in sorted(vectors.glob("minimal/*/light_client/data_collection/*/*")):
        run(found, target / f"{found.parts[-5]}__{found.name}")
