"""The audit finds what the start-up scan cannot: rows that are whole but do not belong together."""

from __future__ import annotations

import pytest

from spvnode.store.audit import MAX_PROBLEMS, audit
from spvnode.store.headers import HeaderStore
from spvnode.store.memory import MemoryEngine
from spvnode.store.port import Batch
from spvnode.store.schema import mark_key, run_key, side_key
from tests.support.stored import NOW, fill, fork, open_store, reorganization, side_branch


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine("here")


@pytest.fixture
def store(engine: MemoryEngine) -> HeaderStore:
    opened = open_store(engine)
    fill(opened, 5000, batch=999)
    opened.commit(reorganization(opened, 4990, 15, salt=1), now=NOW, sync=True)
    opened.commit(fork(opened, (side_branch(opened, 100, 4000, salt=2),)), now=NOW, sync=True)
    return opened


def test_a_good_store_is_good(store: HeaderStore) -> None:
    report = audit(store)
    assert (report.good, report.problems, report.healed) == (True, (), ())
    assert (report.path, report.headers, report.floor, report.base, report.tip_height) == ("here", 5006, 0, 0, 5005)
    assert (report.nodes, report.side_branches, report.events) == (312, 2, 8)


def flip(engine: MemoryEngine, key: bytes, at: int) -> None:
    value = bytearray(engine.get(key) or b"")
    value[at] ^= 1
    engine.write(Batch([(key, bytes(value))]), sync=True)


def test_a_changed_header_breaks_the_chain_behind_it(engine: MemoryEngine, store: HeaderStore) -> None:
    flip(engine, run_key(2032), 3 * 80 + 70)
    problems = audit(store).problems
    assert problems[0] == "header 2036 does not follow header 2035"
    assert problems[1:] == ("the header-tree node that ends at 2047 is not that of its headers",)


def test_a_changed_node_is_not_that_of_its_headers(engine: MemoryEngine, store: HeaderStore) -> None:
    flip(engine, run_key(2032), 16 * 80 + 5)
    assert audit(store).problems == ("the header-tree node that ends at 2047 is not that of its headers",)


def test_a_changed_last_header_is_not_the_tip(engine: MemoryEngine, store: HeaderStore) -> None:
    flip(engine, run_key(4992), 13 * 80 + 70)
    assert audit(store).problems == ("the hash of the last header is not the tip's",)


def test_a_missing_run_is_a_gap(engine: MemoryEngine, store: HeaderStore) -> None:
    engine.write(Batch((), [run_key(64)]), sync=True)
    assert audit(store).problems == ("heights 64..79 are missing",)
    engine.write(Batch((), [run_key(4992)]), sync=True)
    assert audit(store).problems == ("heights 64..79 are missing", "the headers end at 4991, the tip is 5005")


def test_a_side_branch_must_hang_on_the_main_chain(engine: MemoryEngine, store: HeaderStore) -> None:
    branch = next(branch for branch in store.side_branches() if branch.fork_height == 100)
    flip(engine, side_key(branch.tip_hash, 0), 8 + 50)
    assert audit(store).problems == ("the side branch above 100 is not linked to the main chain",)


def test_the_last_event_must_be_about_the_tip(engine: MemoryEngine, store: HeaderStore) -> None:
    engine.write(Batch((), [mark_key(5005, 7), mark_key(5005, 8)]), sync=True)
    assert audit(store).problems == ("event 6 ends at height 5000, the tip is 5005",)


def test_problems_are_bounded(engine: MemoryEngine, store: HeaderStore) -> None:
    for start in range(16, 4000, 16):
        flip(engine, run_key(start), 70)
    assert len(audit(store).problems) == MAX_PROBLEMS
