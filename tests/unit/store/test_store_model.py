"""Random histories against a naive model: a list of headers, a dict of branches, a list of events."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from spvnode.store.audit import audit
from spvnode.store.events import EventKind
from spvnode.store.headers import HeaderStore
from spvnode.store.memory import MemoryEngine
from spvnode.types import SideBranch
from tests.support.stored import GENESIS, NOW, extension, fork, open_store, reorganization, side_branch

SIZES = (1, 1, 2, 5, 15, 16, 17, 40)


class Model:
    """What the store must say."""

    def __init__(self) -> None:
        self.headers = GENESIS
        self.branches: dict[bytes, SideBranch] = {}
        self.kinds: list[EventKind] = []

    @property
    def tip(self) -> int:
        return len(self.headers) // 80 - 1

    def check(self, store: HeaderStore) -> None:
        assert store.headers(0, store.tip_height + 1) == self.headers
        assert {branch.tip_hash: branch for branch in store.side_branches()} == self.branches
        events = store.events()
        assert [event.kind for event in events] == self.kinds
        assert store.tip_height == self.tip
        assert events == [] or (events[-1].new_tip.hash, events[-1].seq) == (store.tip_hash, store.last_seq)


def step(store: HeaderStore, model: Model, rng: random.Random) -> None:
    """One random change of both."""
    what = rng.choice(["extend"] * 4 + ["reorg", "reorg", "fork", "truncate"])
    salt = rng.getrandbits(20)
    if what == "extend":
        commit = extension(store, rng.choice(SIZES), salt)
        model.headers += commit.headers
    elif what == "reorg" and model.tip > 0:
        commit = reorganization(store, rng.randint(max(0, model.tip - 40), model.tip - 1), rng.choice(SIZES), salt)
        model.headers = model.headers[: (commit.fork_height + 1) * 80] + commit.headers
        model.branches |= {branch.tip_hash: branch for branch in commit.side_put}
    elif what == "fork":
        put = (side_branch(store, rng.randint(0, model.tip), rng.choice(SIZES), salt),)
        drop = tuple(branch.tip_hash for branch in model.branches.values() if rng.random() < 0.3)
        commit = fork(store, put, drop)
        model.branches = {h: b for h, b in model.branches.items() if h not in drop} | {put[0].tip_hash: put[0]}
    else:
        height = rng.randint(max(0, model.tip - 20), model.tip)
        store.truncate(height, now=NOW, detail="")
        model.headers = model.headers[: (height + 1) * 80]
        model.branches = {h: b for h, b in model.branches.items() if b.fork_height <= height}
        model.kinds.append(EventKind.FAULT)
        return
    store.commit(commit, now=NOW, sync=rng.random() < 0.1)
    model.kinds.append(EventKind(commit.kind.value))


@pytest.mark.parametrize("seed", range(12))
def test_a_random_history_on_both_engines(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    for where in (MemoryEngine(), tmp_path / "store"):
        model = Model()
        for _ in range(6):
            with open_store(where) as store:
                assert store.faults == ()
                model.check(store)
                for _ in range(15):
                    step(store, model, rng)
                model.check(store)
                # The model leaves branches where they were, which a chain would not do.
                assert [problem for problem in audit(store).problems if "side branch" not in problem] == []
