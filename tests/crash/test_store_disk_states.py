"""Every disk that a power cut may leave: what was committed with ``sync`` is there, whatever came before it unsynced.

A process works on a store while its file operations are recorded. Then, for the moments between any two of them, the
folder is made as a power cut would leave it, and opened. ``SPVNODE_TEST_PROFILE=soak`` tries all moments and losses.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from spvnode.store.audit import audit
from spvnode.store.headers import HeaderStore
from spvnode.store.schema import block_hash
from tests.support.disk import Disk, Loss, Operation, build, operations, run_recorded
from tests.support.stored import fast_folder, open_store

STATES = 1 << 30 if os.environ.get("SPVNODE_TEST_PROFILE") == "soak" else 250

WORK = """
import ctypes, pathlib, sys
from dataclasses import replace
from tests.support.stored import NOW, extension, open_store, reorganization

note = ctypes.CDLL(None).disk_note

folder = pathlib.Path(sys.argv[1])

def logs():
    return sorted(folder.glob("*.log"))

def commit(store, made, sync):
    seq = store.commit(made, now=NOW, sync=sync)
    if sync:
        note(f"{seq} {made.tip_height} {made.tip_hash.hex()}".encode())

for salt in range(3):
    with open_store(folder) as store:
        for step in range(4):
            before = logs()
            while logs() == before:  # until LevelDB changes its log: the worst moment for what is not synced
                commit(store, extension(store, 150, salt), sync=False)
            commit(store, extension(store, 1, salt), sync=True)
            old = tuple(branch.tip_hash for branch in store.side_branches())
            made = replace(reorganization(store, store.tip_height - 2, 3, 100 * salt + step), side_drop=old)
            commit(store, made, sync=step % 2 == 0)
"""


@pytest.fixture(scope="module")
def recorded() -> Iterator[tuple[Path, list[Operation]]]:
    with fast_folder() as folder:
        store = folder / "store"
        # On a slow disk the old log's table is still being written when the promise is made.
        run_recorded(build(folder), WORK, store, folder / "log", slow_tables=20_000)
        yield store, list(operations(folder / "log"))


def states(done: list[Operation]) -> Iterator[tuple[int, Loss]]:
    """The moments and losses to try: those around a promise first of all, then a sample of the others."""
    every = [(moment, loss) for moment in range(1, len(done) + 1) for loss in Loss]
    promised = {(moment, loss) for moment, loss in every if done[moment - 1].kind == "n"}
    rest = [state for state in every if state not in promised]
    chosen = random.Random(1).sample(rest, min(len(rest), STATES - len(promised)))
    yield from sorted([*promised, *chosen], key=lambda state: (state[0], state[1].value))


def keeps(store: HeaderStore, seq: str, height: str, tip_hash: str) -> bool:
    """Whether a promised commit is there: its event, and its header, which a later commit may have made a branch's."""
    (event,) = store.events(int(seq) - 1, limit=1)
    there = [block_hash(store.headers(int(height), 1)), *(branch.tip_hash for branch in store.side_branches())]
    return event.new_tip.hash.hex() == tip_hash and bytes.fromhex(tip_hash) in there


def test_what_was_synced_survives_every_power_cut(recorded: tuple[Path, list[Operation]]) -> None:
    folder, done = recorded
    assert {operation.kind for operation in done} == set("ctwsrun")
    rng = random.Random(2)
    disk, at, tried = Disk(), 0, 0
    for moment, loss in states(done):
        while at < moment:
            disk.follow(done[at])
            at += 1
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for path, left in disk.after_power_cut(loss, rng):
            if Path(path).parent == folder:
                Path(path).write_bytes(left)
        with open_store(folder) as store:
            assert audit(store).problems == (), (moment, loss)
            for note in disk.notes[-1:]:
                assert keeps(store, *note.split()), (moment, loss, note, store.faults)
        tried += 1
    assert tried >= min(STATES, 250)
