"""Bad media: whatever happens to the files, the store opens, keeps what can be trusted, says so, and goes on."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spvnode.store.audit import audit
from spvnode.store.errors import StoreDamaged
from spvnode.store.events import EventKind
from spvnode.store.folder import MAX_SET_ASIDE
from spvnode.store.settle import FRESH_SEQ_PER_SECOND
from tests.support.stored import (
    GENESIS,
    GENESIS_HASH,
    NOW,
    START,
    fast_folder,
    fill,
    linked,
    open_store,
)

HEIGHT = 6000
MAIN = GENESIS + linked(GENESIS_HASH, 1, HEIGHT)
TRIALS = 40
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
