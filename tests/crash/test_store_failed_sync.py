"""A sync that fails after its bytes were written: the commit was refused, so it must not come back later."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.disk import build, run_recorded
from tests.support.stored import NOW, contents, extension, open_store

WORK = """
import ctypes, os, pathlib, sys
from spvnode.errors import StoreError
from tests.support.stored import NOW, contents, extension, fill, open_store

library = ctypes.CDLL(None)
folder, unsynced, goes_on = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
store = open_store(folder)
fill(store, 50)
store.commit(extension(store, 1), now=NOW, sync=not unsynced)
before = contents(store)
library.disk_fail_syncs(1)
try:
    store.commit(extension(store, 30, salt=666), now=NOW, sync=True)
except StoreError as error:
    print(error)
assert contents(store) == before
if goes_on:
    store.commit(extension(store, 5, salt=1), now=NOW, sync=True)
os._exit(0)  # no tidy end
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("library"))


@pytest.mark.parametrize("unsynced", [0, 1])
def test_a_refused_commit_stays_refused(tmp_path: Path, library: Path, unsynced: int) -> None:
    folder = tmp_path / "store"
    said = run_recorded(library, WORK, folder, tmp_path / "log", str(unsynced), "1")
    assert said.startswith(f"{folder}: ")
    assert "Input/output error" in said
    with open_store(folder) as store:
        assert (store.tip_height, store.faults, store.last_seq) == (56, (), 3)
        before = contents(store)
        store.commit(extension(store, 1), now=NOW, sync=True)
        assert contents(store) != before


@pytest.mark.parametrize("unsynced", [0, 1])
def test_a_process_that_dies_first_leaves_it_whole_or_not_at_all(tmp_path: Path, library: Path, unsynced: int) -> None:
    folder = tmp_path / "store"
    run_recorded(library, WORK, folder, tmp_path / "log", str(unsynced), "0")
    with open_store(folder) as store:
        assert store.tip_height in (51, 81)
        assert store.faults == ()
