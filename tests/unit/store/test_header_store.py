"""Committing and reading headers, on both engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spvnode.store.audit import audit
from spvnode.store.headers import HeaderStore
from spvnode.store.port import Engine
from spvnode.store.schema import StartRecord, block_hash
from spvnode.types import CommitKind, Hash32, HeaderCommit, Height, Work
from tests.support.stored import (
    GENESIS,
    GENESIS_HASH,
    NOW,
    START,
    contents,
    extension,
    fill,
    fork,
    linked,
    open_store,
    reorganization,
    side_branch,
    stored_nodes,
    true_nodes,
)


def test_a_new_store_holds_its_start(store: HeaderStore) -> None:
    assert (store.base, store.floor, store.tip_height, store.tip_hash) == (0, 0, 0, GENESIS_HASH)
    assert (store.chainwork, store.start, store.complete, store.faults) == (1, START, True, ())
    assert store.header(0) == GENESIS
    assert store.events() == []
    assert (store.first_seq, store.last_seq, store.event_count) == (None, 0, 0)


def test_a_store_without_a_start_waits_for_one(where: Path | Engine) -> None:
    checkpoint = StartRecord(Height(2016), linked(bytes(32), 2016, 1), Work(77))
    with open_store(where, start=None) as store:
        assert (store.start, store.tip_height, store.tip_hash, store.complete) == (None, -1, bytes(32), False)
        assert store.headers(0, 10) == b""
        with pytest.raises(ValueError, match="no start"):
            store.commit(extension(store, 1), now=NOW, sync=True)
    with open_store(where, start=None) as store:
        store.set_start(checkpoint)
        store.set_start(checkpoint)  # the same again is fine
        with pytest.raises(ValueError, match="begins at 2016, not at 0"):
            store.set_start(START)
        fill(store, 2100)
    with open_store(where) as store:  # another wish does not move an existing store
        assert (store.start, store.base, store.tip_height) == (checkpoint, 2016, 2100)


def test_runs_of_any_size_read_back_after_reopening(where: Path | Engine) -> None:
    sizes = [1, 15, 1, 16, 17, 2, 31, 100, 1, 1, 1, 333]
    with open_store(where) as store:
        for size in sizes:
            store.commit(extension(store, size), now=NOW, sync=False)
        whole = GENESIS + linked(GENESIS_HASH, 1, sum(sizes))
        before = contents(store)
    with open_store(where) as store:
        assert contents(store) == before
        assert store.tip_height == sum(sizes)
        for height in range(sum(sizes) + 1):
            assert store.header(height) == whole[height * 80 : height * 80 + 80]
        for start in range(0, sum(sizes), 7):
            for count in (0, 1, 15, 16, 33, 1000):
                assert store.headers(start, count) == whole[start * 80 : (start + count) * 80]
        assert b"".join(headers for _, headers, _ in store.scan()) == whole
        assert (store.faults, store.chainwork) == ((), sum(sizes) + 1)


def test_the_scan_gives_every_completed_node(store: HeaderStore) -> None:
    for size in (5, 30, 100):
        store.commit(extension(store, size), now=NOW, sync=False)
    assert stored_nodes(store) == true_nodes(store)
    assert list(true_nodes(store)) == [15, 31, 47, 63, 79, 95, 111, 127]


def test_a_part_can_be_scanned(store: HeaderStore) -> None:
    fill(store, 100)
    assert [start for start, _, _ in store.scan(32, 79)] == [32, 48, 64]
    assert list(store.scan(101)) == []


@pytest.mark.parametrize("height", [-1, 41, 1 << 40])
def test_a_height_that_is_not_stored_is_a_key_error(store: HeaderStore, height: int) -> None:
    fill(store, 40)
    with pytest.raises(KeyError):
        store.header(height)


def test_a_range_is_cut_at_the_tip_and_refused_below_the_floor(store: HeaderStore) -> None:
    fill(store, 40)
    assert len(store.headers(39, 10)) == 160
    assert store.headers(41, 10) == b""
    assert store.headers(5, -3) == b""
    with pytest.raises(KeyError):
        store.headers(-1, 10)


@pytest.mark.parametrize("fork_height", [0, 14, 15, 16, 17, 31, 32, 79, 98, 99])
def test_a_reorganization_replaces_everything_above_the_fork(where: Path | Engine, fork_height: int) -> None:
    with open_store(where) as store:
        fill(store, 100, batch=23)
        old = store.headers(0, 101)
        commit = reorganization(store, fork_height, 105 - fork_height, salt=9)
        store.commit(commit, now=NOW, sync=True)
        assert store.headers(0, 200) == old[: (fork_height + 1) * 80] + commit.headers
        before = contents(store)
        assert stored_nodes(store) == true_nodes(store)
    with open_store(where) as store:
        assert contents(store) == before
        assert store.faults == ()
        assert [branch.headers for branch in store.side_branches()] == [old[(fork_height + 1) * 80 :]]


def test_a_reorganization_to_a_shorter_chain(store: HeaderStore) -> None:
    # Fewer headers can carry more work.
    fill(store, 100)
    store.commit(reorganization(store, 40, 3, salt=4), now=NOW, sync=True)
    assert store.tip_height == 43
    with pytest.raises(KeyError):
        store.header(44)
    assert len(store.headers(30, 100)) == 14 * 80
    fill(store, 90)
    assert len(store.headers(0, 1000)) == 91 * 80


def test_side_branches_come_and_go(where: Path | Engine) -> None:
    with open_store(where) as store:
        fill(store, 30)
        short, long = side_branch(store, 20, 3, salt=1), side_branch(store, 5, 5000, salt=2)
        store.commit(fork(store, (short, long)), now=NOW, sync=False)
        assert sorted(store.side_branches(), key=lambda branch: len(branch.headers)) == [short, long]
        longer = side_branch(store, 20, 4, salt=1)
        store.commit(fork(store, (longer,), (short.tip_hash, Hash32(b"?" * 32))), now=NOW, sync=False)
        assert store.tip_height == 30
    with open_store(where) as store:
        assert sorted(store.side_branches(), key=lambda branch: len(branch.headers)) == [longer, long]
        store.commit(fork(store, (), (longer.tip_hash, long.tip_hash)), now=NOW, sync=False)
        assert store.side_branches() == []


Spoil = Callable[[HeaderCommit], HeaderCommit]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda c: replace(c, headers=c.headers[:-1]), "no run of headers"),
        (lambda c: replace(c, headers=b""), "no run of headers"),
        (lambda c: replace(c, tip_height=Height(99)), "tip 99 is not"),
        (lambda c: replace(c, tip_hash=Hash32(bytes(32))), "the tip hash is not"),
        (lambda c: replace(c, fork_height=Height(39), tip_height=Height(c.tip_height - 1)), "extends 39, but"),
        (lambda c: replace(c, headers=linked(bytes(32), 41, 10)[:-80] + c.headers[-80:]), "does not follow the tip"),
        (lambda c: replace(c, nodes=c.nodes + bytes(32)), "level-4 nodes"),
        (lambda c: replace(c, undone=bytes(80)), "80 bytes undone, not 0"),
        (lambda c: replace(c, kind=CommitKind.REORG), "reorganizes from 40"),
        (lambda c: replace(c, kind=CommitKind.FORK), "a fork changes side branches only"),
    ],
)
def test_a_commit_that_does_not_fit_changes_nothing(store: HeaderStore, spoil: Spoil, problem: str) -> None:
    fill(store, 40)
    before = contents(store)
    with pytest.raises(ValueError, match=problem):
        store.commit(spoil(extension(store, 10)), now=NOW, sync=True)
    assert contents(store) == before


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda c: replace(c, undone=c.undone[80:]), "bytes undone, not 20 headers"),
        (lambda c: replace(c, headers=linked(bytes(32), 21, 30)[:-80] + c.headers[-80:]), "does not follow the fork"),
        (
            lambda c: replace(c, fork_height=Height(-1), tip_height=Height(c.tip_height - 21)),
            "outside the stored chain",
        ),
    ],
)
def test_a_reorganization_that_does_not_fit_changes_nothing(store: HeaderStore, spoil: Spoil, problem: str) -> None:
    fill(store, 40)
    before = contents(store)
    with pytest.raises(ValueError, match=problem):
        store.commit(spoil(reorganization(store, 20, 30, salt=1)), now=NOW, sync=True)
    assert contents(store) == before


def test_a_fork_that_moves_the_tip_is_refused(store: HeaderStore) -> None:
    with pytest.raises(ValueError, match="leaves the tip alone"):
        store.commit(replace(fork(store), tip_height=Height(3)), now=NOW, sync=True)


def test_truncating_drops_what_is_above(where: Path | Engine) -> None:
    with open_store(where) as store:
        fill(store, 100)
        kept, lost = side_branch(store, 70, 2, salt=1), side_branch(store, 71, 2, salt=2)
        store.commit(fork(store, (kept, lost)), now=NOW, sync=False)
        seq = store.truncate(70, now=NOW + 1, detail="bad-diffbits at 71")
        event = store.events(seq - 1)[0]
        assert (event.kind, event.undo_count, event.new_tip.height, event.detail) == (
            "fault",
            30,
            70,
            "bad-diffbits at 71",
        )
        assert (store.tip_height, store.chainwork, store.side_branches()) == (70, None, [kept])
        assert store.tip_hash == block_hash(store.header(70))
        before = contents(store)
    with open_store(where) as store:
        assert contents(store) == before
        assert store.faults == ()
        fill(store, 100)
        assert store.headers(1, 100) == linked(GENESIS_HASH, 1, 100)
        assert store.chainwork == 101


def test_truncating_at_the_tip_only_records(store: HeaderStore) -> None:
    fill(store, 20)
    store.truncate(20, now=NOW, detail="looked bad, was not")
    assert (store.tip_height, store.chainwork) == (20, 21)
    with pytest.raises(ValueError, match=r"outside 0\.\.20"):
        store.truncate(21, now=NOW, detail="")
    with pytest.raises(ValueError, match=r"outside 0\.\.20"):
        store.truncate(-1, now=NOW, detail="")


def test_a_tree_that_begins_at_an_odd_checkpoint_keeps_its_nodes(where: Path | Engine) -> None:
    # Without peaks the header tree's first leaf is the checkpoint, so its level-4 nodes end at 100 + 15, 100 + 31, ...
    start = StartRecord(Height(100), linked(bytes(32), 100, 1), Work(0))
    with open_store(where, start=start) as store:
        for size in (3, 20, 40):
            store.commit(extension(store, size), now=NOW, sync=False)
    with open_store(where, start=start) as store:
        assert store.origin == 100
        assert stored_nodes(store) == true_nodes(store)
        assert list(true_nodes(store)) == [115, 131, 147, 163]
        assert audit(store).good


def test_a_commit_without_nodes_is_taken(store: HeaderStore) -> None:
    store.commit(replace(extension(store, 40), nodes=b""), now=NOW, sync=False)
    assert all(node is None for _, _, node in store.scan())


def test_it_names_its_place_and_size(where: Path | Engine) -> None:
    with open_store(where) as store:
        fill(store, 2000)
        assert store.path == (str(where) if isinstance(where, Path) else "memory")
        assert (store.stats().disk_bytes > 160_000) == isinstance(where, Path)
