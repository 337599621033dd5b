"""A process to be killed: commits for ever and says on stdout what it was told is stored."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

from tests.support.stored import NOW, extension, open_store, reorganization

SIZES = (1, 1, 1, 16, 50, 400)


def main(folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    store = open_store(folder)
    print("open", *store.faults, flush=True)
    while True:
        salt = rng.getrandbits(30)
        if store.tip_height > 20 and rng.random() < 0.15:
            commit = reorganization(store, store.tip_height - rng.randint(1, 20), rng.choice(SIZES), salt)
            # As a chain does, it keeps no branch that would hang in the air.
            commit = replace(commit, side_drop=tuple(branch.tip_hash for branch in store.side_branches()))
        else:
            commit = extension(store, rng.choice(SIZES), salt)
        seq = store.commit(commit, now=NOW, sync=rng.random() < 0.05)
        print(seq, commit.tip_height, commit.tip_hash.hex(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
