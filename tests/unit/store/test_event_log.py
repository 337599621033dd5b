"""The event log: a cursor that never misses, never repeats, and never grows without end."""

from __future__ import annotations

from pathlib import Path

from spvnode.store.events import MAX_INLINE_HASHES, PRUNE_AT, RETAIN_EVENTS, ChainTip, EventKind
from spvnode.store.headers import HeaderStore
from spvnode.store.memory import MemoryEngine
from spvnode.store.port import Engine
from spvnode.store.reader import MAX_EVENTS_PER_READ
from spvnode.store.schema import CHAIN_SPAN, MARK_KEY_SIZE, block_hash
from spvnode.types import Height
from tests.support.stored import NOW, extension, fill, fork, open_store, reorganization


def hashes(headers: bytes) -> tuple[bytes, ...]:
    return tuple(block_hash(headers[at : at + 80]) for at in range(0, len(headers), 80))


def test_every_commit_leaves_one_event(where: Path | Engine) -> None:
    with open_store(where) as store:
        first = extension(store, 50)
        assert store.commit(first, now=NOW, sync=False) == 1
        second = reorganization(store, 45, 7, salt=1)
        assert store.commit(second, now=NOW + 0.25, sync=True) == 2
        assert store.commit(fork(store), now=NOW + 1, sync=True) == 3
        assert store.truncate(store.tip_height, now=NOW + 2, detail="a fault") == 4
    with open_store(where) as store:
        extend, reorg, forked, fault = store.events()
        assert (extend.seq, extend.kind, extend.time, extend.fork_height) == (1, EventKind.EXTEND, NOW, 0)
        assert (extend.undo_count, extend.redo_count, extend.undo, extend.redo) == (0, 50, (), ())
        assert extend.new_tip == ChainTip(Height(50), first.tip_hash) == reorg.old_tip
        assert (reorg.kind, reorg.time, reorg.fork_height) == (EventKind.REORG, NOW + 0.25, 45)
        assert (reorg.undo_count, reorg.redo_count) == (5, 7)
        assert reorg.undo == hashes(first.headers)[:44:-1]  # from the old tip downward
        assert reorg.redo == hashes(second.headers)
        assert (forked.kind, forked.old_tip, forked.new_tip) == (EventKind.FORK, reorg.new_tip, reorg.new_tip)
        assert (fault.kind, fault.detail, fault.chainwork) == (EventKind.FAULT, "a fault", second.chainwork)
        assert store.commit(extension(store, 1), now=NOW, sync=True) == 5


def test_a_deep_reorganization_lists_the_nearest_hashes_and_counts_all(store: HeaderStore) -> None:
    fill(store, 1000, batch=1000)
    undone = store.headers(101, 900)
    commit = reorganization(store, 100, 2000, salt=3)
    event = store.events(store.commit(commit, now=NOW, sync=True) - 1)[0]
    assert (event.undo_count, event.redo_count) == (900, 2000)
    assert event.undo == hashes(undone)[: -MAX_INLINE_HASHES - 1 : -1]
    assert event.redo == hashes(commit.headers)[:MAX_INLINE_HASHES]
    assert store.side_branches()[0].headers == undone


def test_a_cursor_reads_on_from_where_it_was(store: HeaderStore) -> None:
    for _ in range(25):
        store.commit(extension(store, 1), now=NOW, sync=False)
    seen: list[int] = []
    while events := store.events(seen[-1] if seen else 0, limit=10):
        seen += [event.seq for event in events]
    assert seen == list(range(1, 26))
    assert store.events(25) == []
    assert store.events(5, limit=0) == store.events(5, limit=-1) == []


def test_one_answer_is_bounded(store: HeaderStore) -> None:
    for _ in range(MAX_EVENTS_PER_READ + 5):
        store.commit(fork(store), now=NOW, sync=False)
    assert len(store.events(0, limit=1 << 30)) == MAX_EVENTS_PER_READ


def test_the_oldest_events_go_and_numbers_go_on() -> None:
    engine = MemoryEngine()
    with open_store(engine) as store:
        fill(store, 20, batch=1)
        change = fork(store)
        for _ in range(PRUNE_AT - 20):
            store.commit(change, now=NOW, sync=False)
        assert (store.first_seq, store.last_seq, store.event_count) == (1, PRUNE_AT, PRUNE_AT)
        store.commit(extension(store, 1), now=NOW, sync=False)
        assert (store.first_seq, store.last_seq) == (PRUNE_AT - RETAIN_EVENTS + 1, PRUNE_AT + 1)
        assert store.event_count == RETAIN_EVENTS + 1
        assert store.events(0, limit=1)[0].seq == store.first_seq
        kept = [key for key, _ in engine.range(*CHAIN_SPAN, limit=1 << 30) if len(key) == MARK_KEY_SIZE]
        assert len(kept) == RETAIN_EVENTS + 1
    with open_store(engine) as store:
        assert (store.first_seq, store.last_seq, store.faults) == (PRUNE_AT - RETAIN_EVENTS + 1, PRUNE_AT + 1, ())
        assert store.tip_height == 21
