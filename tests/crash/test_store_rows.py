"""Rows that are whole but do not fit together: what a lost log record or a repaired table leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from spvnode.store.audit import audit
from spvnode.store.events import LOST_MARGIN
from spvnode.store.headers import HeaderStore
from spvnode.store.load import Loaded, read_record, scan
from spvnode.store.memory import MemoryEngine
from spvnode.store.port import Batch
from spvnode.store.schema import MAX_HEIGHT, RUN_KEY_SIZE, STORE_KEY, StartRecord, key_height, run_key, sealed, side_key
from spvnode.store.settle import settle
from spvnode.types import Height, Work
from tests.support.stored import (
    GENESIS,
    GENESIS_HASH,
    NOW,
    START,
    extension,
    fill,
    fork,
    level_engine,
    linked,
    open_store,
    side_branch,
)

MAIN = GENESIS + linked(GENESIS_HASH, 1, 400)
LATER = NOW + 1000


def rows_store(height: int = 200) -> tuple[MemoryEngine, HeaderStore]:
    engine = MemoryEngine("here")
    store = open_store(engine)
    fill(store, height)
    return engine, store


def test_a_gap_cuts_the_chain_before_it() -> None:
    engine, store = rows_store()
    last = store.last_seq
    engine.write(Batch((), [run_key(96)]), sync=True)
    with open_store(engine, now=LATER) as store:
        assert store.tip_height == 95
        assert store.faults == ("rows are missing or do not fit: heights 0..95 kept, up to 200 found",)
        event = store.events(last)[0]
        assert (event.undo_count, event.old_tip.height, event.new_tip.height) == (105, 200, 95)
        assert event.seq == store.last_seq == last + 1 + LOST_MARGIN
        assert store.chainwork is None
        assert [key for key, _ in engine.range(run_key(96), run_key(300), limit=99) if len(key) == RUN_KEY_SIZE] == []


def test_overlapping_runs_are_cut_before_the_overlap() -> None:
    engine, _ = rows_store()
    engine.write(Batch([(run_key(100), MAIN[100 * 80 : 108 * 80])]), sync=True)
    with open_store(engine, now=LATER) as store:
        assert store.tip_height == 99
        assert store.headers(0, 300) == MAIN[: 100 * 80]
        assert audit(store).good


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (run_key(96), MAIN[96 * 80 : 112 * 80 - 1]),
        (run_key(96), b""),
        (run_key(96), MAIN[96 * 80 : 113 * 80]),
        (run_key(96) + b"?", b""),
        (b"c", b""),
        (run_key(MAX_HEIGHT + 1), bytes(80)),
        (run_key(0xFFFFFFFF), bytes(80)),
    ],
)
def test_rows_that_are_no_runs_are_dropped(key: bytes, value: bytes) -> None:
    engine, _ = rows_store()
    engine.write(Batch([(key, value)]), sync=True)
    with open_store(engine, now=LATER) as store:
        assert store.tip_height == (95 if key == run_key(96) else 200)
        assert "1 unreadable rows dropped" in store.faults
        assert audit(store).good
    with open_store(engine) as store:
        assert store.faults == ()


def test_a_tip_that_the_last_event_does_not_know_is_a_fault() -> None:
    engine, _ = rows_store()
    engine.write(Batch([(run_key(201), MAIN[201 * 80 : 202 * 80])]), sync=True)
    with open_store(engine) as store:
        assert store.faults == ("the last commit left height 200, but the headers end at 201",)
        assert (store.tip_height, store.chainwork) == (201, None)


def test_an_unreadable_event_is_passed_over() -> None:
    engine, store = rows_store()
    key = max(key for key, _ in engine.range(run_key(200), run_key(201), limit=9))
    engine.write(Batch([(key, b"short")]), sync=True)
    with open_store(engine) as again:
        assert again.faults == ("the last commit left height 100, but the headers end at 200",)
        assert again.last_seq > store.last_seq


def test_without_its_first_header_a_store_begins_again() -> None:
    engine, _ = rows_store()
    engine.write(Batch((), [run_key(0)]), sync=True)
    with open_store(engine) as store:
        assert (store.tip_height, store.header(0)) == (0, GENESIS)
        assert store.faults == ("no header at the start of trust: everything is fetched again",)
        fill(store, 300)
        assert audit(store).good


def test_a_lost_record_is_rebuilt_from_a_start_that_fits() -> None:
    engine, _ = rows_store()
    engine.write(Batch((), [STORE_KEY]), sync=True)
    with open_store(engine) as store:
        assert store.tip_height == 200
        assert store.faults == ("the store's record was lost",)
    with open_store(engine) as store:
        assert store.faults == ()


def test_a_lost_record_is_rebuilt_from_the_genesis() -> None:
    engine, _ = rows_store()
    engine.write(Batch((), [STORE_KEY]), sync=True)
    with open_store(engine, start=None) as store:
        assert (store.tip_height, store.faults) == (200, ("the store's record was lost",))
        assert store.start == StartRecord(Height(0), GENESIS, Work(0))


def test_a_lost_record_without_anything_to_go_by_begins_again() -> None:
    engine = MemoryEngine("here")
    with open_store(engine, start=StartRecord(Height(50), MAIN[50 * 80 : 51 * 80], Work(0))) as store:
        fill(store, 60)
    engine.write(Batch((), [STORE_KEY]), sync=True)
    with open_store(engine, start=None) as store:
        assert (store.tip_height, store.start, len(store.faults)) == (-1, None, 2)
        store.set_start(START)
        fill(store, 70)
        assert audit(store).good


def test_a_first_header_that_is_not_the_start_begins_again() -> None:
    engine, _ = rows_store()
    engine.write(Batch([(run_key(0), MAIN[80:160])]), sync=True)
    with open_store(engine) as store:
        assert (store.tip_height, store.header(0)) == (0, GENESIS)
        assert store.faults == ("no header at the start of trust: everything is fetched again",)


@pytest.mark.parametrize("value", [b"", b"\x00\x01", sealed(b"\x00\x01"), sealed(b"\x00\x01" + bytes(36) + b"tail")])
def test_an_unreadable_record_is_a_lost_one(value: bytes) -> None:
    engine, _ = rows_store()
    engine.write(Batch([(STORE_KEY, value)]), sync=True)
    with open_store(engine) as store:
        assert (store.tip_height, store.faults) == (200, ("the store's record was lost",))


def test_a_lost_record_and_a_start_that_does_not_fit_begin_again() -> None:
    engine, _ = rows_store()
    engine.write(Batch((), [STORE_KEY]), sync=True)
    other = StartRecord(Height(50), linked(bytes(32), 50, 1, salt=9), Work(5))
    with open_store(engine, start=other) as store:
        assert (store.base, store.tip_height, store.header(50)) == (50, 50, other.header)
        assert len(store.faults) == 2
        fill(store, 70)
        assert audit(store).good


def test_a_crash_between_the_record_and_the_first_header_is_no_fault() -> None:
    engine = MemoryEngine("here")
    with open_store(engine):
        pass
    engine.write(Batch((), [run_key(0)]), sync=True)
    with open_store(engine) as store:
        assert (store.tip_height, store.faults) == (0, ())


def test_a_side_branch_that_lost_a_part_goes_when_damage_is_found() -> None:
    engine, store = rows_store()
    long, short = side_branch(store, 50, 5000, salt=1), side_branch(store, 60, 2, salt=2)
    store.commit(fork(store, (long, short)), now=NOW, sync=True)
    engine.write(Batch((), [side_key(long.tip_hash, 1), run_key(192)]), sync=True)
    with open_store(engine) as store:
        assert store.side_branches() == [short]
        assert engine.get(side_key(long.tip_hash, 0)) is None
        assert audit(store).good


def test_an_empty_store_keeps_its_events(tmp_path: Path) -> None:
    engine = level_engine(tmp_path / "store")
    engine.write(Batch([(run_key(5), b"no run")]), sync=True)
    engine.close()
    for _ in range(2):
        with open_store(tmp_path / "store", start=None) as store:
            assert [event.detail for event in store.events()] == ["1 unreadable rows dropped"]
    with open_store(tmp_path / "store", start=None) as store:
        store.set_start(START)
        store.commit(extension(store, 1), now=NOW, sync=True)


def test_a_killed_set_start_is_finished(tmp_path: Path) -> None:
    with open_store(tmp_path / "store"):
        pass
    engine = level_engine(tmp_path / "store")
    engine.write(Batch((), [run_key(0)]), sync=True)
    engine.close()
    with open_store(tmp_path / "store", start=None) as store:
        assert (store.tip_height, store.faults) == (0, ())


# -- bits that a repair lets through: only links and seals can tell


def relinked(harm: Callable[[MemoryEngine], None], height: int = 200) -> Loaded:
    """What is kept of a store whose rows were changed behind LevelDB's checksums, after opening met damage."""
    engine, _ = rows_store(height)
    harm(engine)
    record = read_record(engine, GENESIS_HASH, {})
    assert record is not None
    return settle(engine, record, scan(engine), ("checksum mismatch",), now=LATER)


def flip_header(height: int, at: int) -> Callable[[MemoryEngine], None]:
    def harm(engine: MemoryEngine) -> None:
        below = engine.range(run_key(0), run_key(height + 1), limit=99, reverse=True)
        key = next(key for key, _ in below if len(key) == RUN_KEY_SIZE)
        start = key_height(key)
        value = bytearray(engine.get(key) or b"")
        value[(height - start) * 80 + at] ^= 1
        engine.write(Batch([(key, bytes(value))]), sync=True)

    return harm


@pytest.mark.parametrize("at", [0, 4, 35, 36, 70, 79])
@pytest.mark.parametrize("height", [1, 2, 15, 16, 57, 100, 101, 199, 200])
def test_no_changed_header_is_kept(height: int, at: int) -> None:
    loaded = relinked(flip_header(height, at))
    assert height - 3 <= loaded.state.tip.height < height
    assert len(loaded.faults) == 2


def test_nothing_is_dropped_for_links_that_hold() -> None:
    loaded = relinked(lambda _: None)
    assert (loaded.state.tip.height, loaded.faults) == (200, ("checksum mismatch",))


def test_a_changed_genesis_is_put_right() -> None:
    loaded = relinked(flip_header(0, 50))
    assert (loaded.state.tip.height, loaded.state.tip.hash) == (0, GENESIS_HASH)


@pytest.mark.parametrize("height", [3, 40, 48, 49])
def test_no_changed_header_below_a_checkpoint_is_kept(height: int) -> None:
    start = StartRecord(Height(50), MAIN[50 * 80 : 51 * 80], Work(0))
    engine = MemoryEngine("here")
    with open_store(engine, start=start) as store:
        fill(store, 90)
        store.put_below(0, MAIN[: 50 * 80], sync=True)
    flip_header(height, 60)(engine)
    record = read_record(engine, GENESIS_HASH, {})
    assert record is not None
    loaded = settle(engine, record, scan(engine), ("checksum mismatch",), now=LATER)
    assert height < loaded.state.floor <= height + 2
    assert (loaded.state.tip.height, loaded.state.record.base) == (90, 50)


def test_a_completed_store_checks_its_genesis() -> None:
    start = StartRecord(Height(50), MAIN[50 * 80 : 51 * 80], Work(0))
    engine = MemoryEngine("here")
    with open_store(engine, start=start) as store:
        store.put_below(0, MAIN[: 50 * 80], sync=True)
        store.complete_backfill(chainwork=Work(5), now=NOW)
        fill(store, 60)
    for harm, base, floor in ((lambda _: None, 0, 0), (flip_header(0, 70), 50, 2)):
        harm(engine)
        record = read_record(engine, GENESIS_HASH, {})
        assert record is not None
        state = settle(engine, record, scan(engine), ("checksum mismatch",), now=LATER).state
        assert (state.record.base, state.floor, state.tip.height) == (base, floor, 60)
