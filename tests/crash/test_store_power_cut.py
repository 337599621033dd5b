"""A power cut: the log ends somewhere, or ends in zeros. The store opens to a whole number of commits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from spvnode.store.events import EventKind
from spvnode.store.headers import HeaderStore
from tests.support.stored import (
    NOW,
    contents,
    extension,
    fast_folder,
    fill,
    fork,
    open_store,
    reorganization,
    side_branch,
)

RECORDS = 3
GOES_ON_EVERY = 16
"""After every so many cuts, the store is also written to and opened once more."""


def build(folder: Path) -> tuple[Path, list[int], list[tuple[object, ...]]]:
    """A store whose log ends in an extension, a reorganization and a fork. Returns the log, its size after each of
    the last commits, and what the store said then."""
    with open_store(folder) as store:
        fill(store, 40)
    with open_store(folder) as store:
        store.commit(extension(store, 1), now=NOW, sync=False)
        log = max(folder.glob("*.log"))
        sizes, said = [log.stat().st_size], [contents(store)]
        for make in (last_extension, last_reorganization, last_fork):
            make(store)
            sizes.append(log.stat().st_size)
            said.append(contents(store))
    assert len(sizes) == RECORDS + 1
    return log, sizes, said


def last_extension(store: HeaderStore) -> None:
    store.commit(extension(store, 2), now=NOW, sync=True)


def last_reorganization(store: HeaderStore) -> None:
    store.commit(reorganization(store, store.tip_height - 1, 2, salt=1), now=NOW, sync=True)


def last_fork(store: HeaderStore) -> None:
    store.commit(fork(store, (side_branch(store, 30, 1, salt=2),)), now=NOW, sync=True)


@pytest.mark.parametrize("zeros", [False, True], ids=["cut", "zeros"])
def test_every_byte_of_the_last_records(zeros: bool) -> None:
    with fast_folder() as folder:
        log, sizes, said = build(folder / "store")
        whole = log.read_bytes()
        for at in range(sizes[0], sizes[-1] + 1):
            torn = whole[:at] + (bytes(len(whole) - at) if zeros else b"")
            survived = max(i for i, size in enumerate(sizes) if whole[:size] == torn[:size])
            trial = folder / "trial"
            shutil.copytree(folder / "store", trial)
            (trial / log.name).write_bytes(torn)
            with open_store(trial) as store:
                events = [event for event in store.events() if event.kind is not EventKind.FAULT]
                assert contents(store)[:5] == said[survived][:5], at
                assert contents(store)[6:8] == said[survived][6:8], at
                assert events == said[survived][8], at
                assert (store.faults == ()) or zeros
                if at % GOES_ON_EVERY == 0:
                    store.commit(extension(store, 3), now=NOW, sync=True)
                healed = contents(store)
            if at % GOES_ON_EVERY == 0:
                with open_store(trial) as store:
                    assert contents(store) == healed
                    assert store.faults == ()
            shutil.rmtree(trial)
