"""Bad media: whatever happens to the files, the store opens, keeps what can be trusted, says so, and goes on."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spvnode.store.audit import audit
from spvnode.store.errors import StoreDamaged
from spvnode.store.events import LOST_MARGIN, EventKind
from spvnode.store.folder import MAX_SET_ASIDE
from spvnode.store.headers import HeaderStore
from spvnode.store.load import Loaded, read_record, scan
from spvnode.store.memory import MemoryEngine
from spvnode.store.port import Batch
from spvnode.store.schema import MAX_HEIGHT, RUN_KEY_SIZE, STORE_KEY, StartRecord, key_height, run_key, sealed, side_key
from spvnode.store.settle import FRESH_SEQ_PER_SECOND, settle
from spvnode.types import Height, Work
from tests.support.stored import (
    GENESIS,
    GENESIS_HASH,
    NOW,
    START,
    extension,
    fast_folder,
    fill,
    fork,
    level_engine,
    linked,
    open_store,
    side_branch,
)

HEIGHT = 6000
MAIN = GENESIS + linked(GENESIS_HASH, 1, HEIGHT)
TRIALS = 60
LATER = NOW + 1000


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    """A store of several tables and a log."""
    with fast_folder() as folder:
        with open_store(folder / "store") as store:
            fill(store, 4000)
        with open_store(folder / "store") as store:
            fill(store, HEIGHT)
            assert store.stats().files > 8
        yield folder / "store"


@pytest.fixture
def folder(built: Path) -> Iterator[Path]:
    """A copy of it to be damaged."""
    with fast_folder() as place:
        shutil.copytree(built, place / "store")
        yield place / "store"


def tables(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.ldb"))


def logs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"))


def manifest(folder: Path) -> Path:
    return next(folder.glob("MANIFEST-*"))


def flip(file: Path, at: int) -> None:
    raw = bytearray(file.read_bytes())
    raw[at] ^= 0x40
    file.write_bytes(raw)


def middle(file: Path) -> int:
    return file.stat().st_size // 2


def check_healed(folder: Path, *, at_least: int) -> None:
    """Opens to a true beginning of the chain, tells of it, takes the rest again, and is whole from then on."""
    with open_store(folder, now=LATER) as store:
        assert at_least <= store.tip_height < HEIGHT
        assert store.headers(0, HEIGHT + 1) == MAIN[: (store.tip_height + 1) * 80]
        assert store.faults != ()
        fault = store.events(store.last_seq - 1)[0]
        assert (fault.kind, fault.time, fault.new_tip.height) == (EventKind.FAULT, LATER, store.tip_height)
        assert fault.detail
        assert audit(store).good
        fill(store, HEIGHT)
    check_whole(folder)


def check_whole(folder: Path) -> None:
    with open_store(folder) as store:
        assert store.faults == ()
        assert store.headers(0, HEIGHT + 1) == MAIN
        assert audit(store).good


Harm = Callable[[Path], object]


@pytest.mark.parametrize(
    ("harm", "at_least"),
    [
        pytest.param(lambda f: flip(tables(f)[0], middle(tables(f)[0])), 0, id="bit in the record's table"),
        pytest.param(lambda f: flip(tables(f)[3], 9), 600, id="bit in a block"),
        pytest.param(lambda f: flip(tables(f)[3], middle(tables(f)[3])), 600, id="bit in a later block"),
        pytest.param(lambda f: flip(tables(f)[3], tables(f)[3].stat().st_size - 100), 600, id="bit in an index"),
        pytest.param(lambda f: flip(tables(f)[3], tables(f)[3].stat().st_size - 3), 600, id="bit in a footer"),
        pytest.param(lambda f: tables(f)[3].unlink(), 600, id="table gone"),
        pytest.param(lambda f: tables(f)[3].write_bytes(b""), 600, id="table empty"),
        pytest.param(lambda f: tables(f)[3].write_bytes(tables(f)[3].read_bytes()[:3000]), 600, id="table cut"),
        pytest.param(lambda f: tables(f)[3].write_bytes(tables(f)[4].read_bytes()), 600, id="table of another"),
        pytest.param(lambda f: flip(logs(f)[-1], middle(logs(f)[-1])), 4000, id="bit in the log"),
    ],
)
def test_lost_headers_are_noticed_and_taken_again(folder: Path, harm: Harm, at_least: int) -> None:
    harm(folder)
    if at_least == 0:  # the first table holds the store's record alone, a few bytes; rebuilt from the start we know
        with open_store(folder, now=LATER) as store:
            assert "record was lost" in store.faults[-1]
            assert store.tip_height == HEIGHT
        check_whole(folder)
    else:
        check_healed(folder, at_least=at_least)


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda f: (f / "CURRENT").unlink(), id="no CURRENT"),
        pytest.param(lambda f: (f / "CURRENT").write_bytes(b""), id="empty CURRENT"),
        pytest.param(lambda f: (f / "CURRENT").write_bytes(b"MANIFEST-999999\n"), id="CURRENT names nothing"),
        pytest.param(lambda f: (f / "CURRENT").write_bytes(b"\x00" * 16), id="CURRENT of zeros"),
        pytest.param(lambda f: manifest(f).unlink(), id="no MANIFEST"),
        pytest.param(lambda f: manifest(f).write_bytes(b""), id="empty MANIFEST"),
        pytest.param(lambda f: flip(manifest(f), middle(manifest(f))), id="bit in MANIFEST"),
    ],
)
def test_a_lost_directory_costs_no_header(folder: Path, harm: Harm) -> None:
    harm(folder)
    with open_store(folder, now=LATER) as store:
        assert store.headers(0, HEIGHT + 1) == MAIN
        assert store.faults
    check_whole(folder)


@pytest.mark.parametrize("name", ["LOG", "LOCK"])
def test_files_without_content_do_not_matter(folder: Path, name: str) -> None:
    (folder / name).unlink()
    check_whole(folder)


@pytest.mark.parametrize("repairable", [True, False])
def test_a_folder_without_a_good_byte_is_begun_anew(folder: Path, repairable: bool) -> None:
    for round_number in range(MAX_SET_ASIDE + 1):
        for file in [*tables(folder), *logs(folder), manifest(folder)]:
            file.write_bytes(b"\xff" * 5000)
        if not repairable:
            (folder / "000001.dbtmp").mkdir()  # in the way of the new MANIFEST
        now = LATER + round_number
        with open_store(folder, now=now) as store:
            assert (store.tip_height, store.start) == (0, START)
            fault = store.events()[-1]
            assert fault.kind is EventKind.FAULT
            assert fault.seq == now * FRESH_SEQ_PER_SECOND, "above every number that the lost log can have used"
            fill(store, HEIGHT)
        check_whole(folder)
    aside = list(folder.parent.glob("store.damaged-*"))
    assert len(aside) == (0 if repairable else MAX_SET_ASIDE)


def test_garbage_without_any_table_is_survived(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    for name in ("CURRENT", "MANIFEST-000001", "000003.log", "000004.ldb", "notes.txt"):
        (folder / name).write_bytes(b"not what it seems")
    with open_store(folder) as store:
        assert store.faults
        fill(store, HEIGHT)
    check_whole(folder)


def test_damage_while_open_is_an_error_and_opening_again_heals(folder: Path) -> None:
    with open_store(folder) as store:
        flip(tables(folder)[3], middle(tables(folder)[3]))
        with pytest.raises(StoreDamaged, match=f"{folder}: .*checksum mismatch"):
            list(store.scan())
        with pytest.raises(StoreDamaged):
            store.headers(0, HEIGHT)
        report = audit(store)
        assert not report.good
        assert "checksum mismatch" in report.problems[-1]
    check_healed(folder, at_least=600)


def test_random_damage(built: Path) -> None:
    rng = random.Random(3)
    with fast_folder() as place:
        for trial in range(TRIALS):
            folder = place / "store"
            shutil.copytree(built, folder)
            for _ in range(rng.randint(1, 3)):
                harm_at_random(folder, rng)
            with open_store(folder, now=LATER) as store:
                assert store.headers(0, HEIGHT + 1) == MAIN[: (store.tip_height + 1) * 80], trial
                assert store.faults != () or store.tip_height >= 4000, "only the log may be shortened in silence"
                assert audit(store).good
                fill(store, HEIGHT, batch=1000)
            check_whole(folder)
            for left in place.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def harm_at_random(folder: Path, rng: random.Random) -> None:
    file = rng.choice([file for file in folder.iterdir() if file.name not in ("LOG", "LOCK", "LOG.old")])
    raw = bytearray(file.read_bytes())
    at = rng.randrange(len(raw) + 1)
    what = rng.choice(["flip", "cut", "zeros", "gone", "garbage", "append"])
    if what == "flip" and at < len(raw):
        raw[at] ^= 1 << rng.randrange(8)
    elif what == "cut":
        del raw[at:]
    elif what == "zeros":
        raw[at : at + 4096] = bytes(len(raw[at : at + 4096]))
    elif what == "garbage":
        raw[at : at + 100] = rng.randbytes(len(raw[at : at + 100]))
    elif what == "append":
        raw += rng.randbytes(50)
    if what == "gone":
        file.unlink()
    else:
        file.write_bytes(raw)


# -- rows that are whole but do not fit together: what a lost log record or a repaired table leaves behind


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
    with open_store(tmp_path / "store", start=None) as store:
        store.record_fault("no clock", now=NOW)
    with open_store(tmp_path / "store", start=None) as store:
        assert [event.detail for event in store.events()] == ["no clock"]
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
