"""What the operator must hear about: each a typed error that names the path, with nothing changed."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from spvnode.errors import StoreError, StoreLocked
from spvnode.store.errors import SchemaFromFuture, StoreDamaged, StoreFull, WrongChain
from spvnode.store.folder import MAX_SET_ASIDE, refusal, set_aside, store_path, stored_networks
from spvnode.store.headers import HeaderStore
from spvnode.store.memory import MemoryEngine
from spvnode.store.port import Batch, Engine
from spvnode.store.schema import SCHEMA, STORE_KEY, StoreRecord, decode_store, encode_store, sealed
from spvnode.types import Hash32, Height
from tests.support.stored import (
    GENESIS_HASH,
    NOW,
    START,
    FaultyEngine,
    contents,
    everything,
    extension,
    fill,
    fork,
    open_store,
    reorganization,
)


def test_another_chain_is_refused(where: Path | Engine) -> None:
    with open_store(where):
        pass
    with pytest.raises(WrongChain, match=f"holds the chain of genesis {GENESIS_HASH[::-1].hex()}, not of 2a2a2a"):
        HeaderStore.open(where, genesis_hash=Hash32(b"*" * 32), now=NOW)
    with open_store(where) as store:  # nothing stays locked
        assert store.tip_height == 0


def test_a_schema_from_the_future_is_refused_and_left_alone() -> None:
    engine = MemoryEngine("here")
    with open_store(engine) as store:
        fill(store, 20)
    record = encode_store(StoreRecord(GENESIS_HASH, Height(0), START, schema=SCHEMA + 41))
    engine.write(Batch([(STORE_KEY, sealed(record[:-4] + b"new things"))]), sync=True)
    before = everything(engine)
    with pytest.raises(
        SchemaFromFuture, match=f"here: written with schema {SCHEMA + 41}; this version reads up to {SCHEMA}"
    ):
        open_store(engine)
    assert everything(engine) == before


def test_a_schema_without_a_step_is_refused() -> None:
    engine = MemoryEngine("here")
    record = encode_store(StoreRecord(GENESIS_HASH, Height(0), START, schema=0))
    engine.write(Batch([(STORE_KEY, record)]), sync=True)
    with pytest.raises(StoreError, match=f"here: written with schema 0; this version reads {SCHEMA} only"):
        open_store(engine)


def test_an_older_schema_is_brought_up_step_by_step() -> None:
    engine = MemoryEngine("here")
    with open_store(engine) as store:
        fill(store, 20)
        before = contents(store)
    record = decode_store(engine.get(STORE_KEY) or b"")
    old = sealed(encode_store(replace(record, schema=0))[:-4] + b"old tail")
    engine.write(Batch([(STORE_KEY, old)]), sync=True)

    def forgetful(_: Engine) -> Batch:
        return Batch()

    def proper(rows: Engine) -> Batch:
        assert rows.get(STORE_KEY) == old
        return Batch([(STORE_KEY, encode_store(record))])

    with pytest.raises(StoreError, match="the step from schema 0 did not move it"):
        HeaderStore.open(engine, genesis_hash=GENESIS_HASH, now=NOW, migrations={0: forgetful})
    with HeaderStore.open(engine, genesis_hash=GENESIS_HASH, now=NOW, migrations={0: proper}) as store:
        assert contents(store) == before


def test_a_second_opening_is_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "net" / "store"
    with open_store(folder) as store:
        with pytest.raises(StoreLocked, match=str(folder)):
            open_store(folder)
        code = (
            "import sys, pathlib; from tests.support.stored import open_store\n"
            "from spvnode.errors import StoreLocked\n"
            "try: open_store(pathlib.Path(sys.argv[1]))\n"
            "except StoreLocked as error: print(error)"
        )
        other = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
        assert other.stdout == f"{folder}: another process holds this store\n"
        fill(store, 10)
    with open_store(folder) as store:
        assert store.tip_height == 10


@contextmanager
def as_plain_user() -> Iterator[None]:
    """Root may write everywhere, so be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_folder_that_may_not_be_written_is_named(public_folder: Path) -> None:
    with open_store(public_folder / "net" / "store"):
        pass
    (public_folder / "net").chmod(0o555)
    with as_plain_user():
        for where in (public_folder / "net" / "store", public_folder / "net" / "deeper" / "store"):
            with pytest.raises(StoreError, match=f"{public_folder}.*Permission denied"):
                open_store(where)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(StoreError, match=f"{tmp_path}/store: File exists"):
        open_store(tmp_path / "store")
    assert (tmp_path / "store").read_text() == "not a folder"
    with pytest.raises(StoreError, match=f"{tmp_path}/store: File exists"):
        open_store(tmp_path / "store" / "deeper")


@pytest.mark.parametrize("at", range(1, 4))
@pytest.mark.parametrize("what", ["extend", "reorg", "fork", "truncate", "below"])
def test_a_refused_write_changes_nothing(at: int, what: str) -> None:
    engine = FaultyEngine(MemoryEngine("here"))
    with open_store(engine) as store:
        fill(store, 100)
        changes: dict[str, Callable[[], object]] = {
            "extend": lambda: store.commit(extension(store, 20), now=NOW, sync=True),
            "reorg": lambda: store.commit(reorganization(store, 50, 70, salt=1), now=NOW, sync=True),
            "fork": lambda: store.commit(fork(store), now=NOW, sync=True),
            "truncate": lambda: store.truncate(30, now=NOW, detail=""),
            "below": lambda: store.discard_backfill(now=NOW, detail=""),
        }
        change = changes[what]
        for _ in range(at - 1):
            store.commit(extension(store, 3), now=NOW, sync=True)
        before, rows = contents(store), everything(engine)
        engine.refuse_from = engine.writes + 1
        for _ in range(2):
            with pytest.raises(StoreError, match="here: refused write"):
                change()
            assert (contents(store), everything(engine)) == (before, rows)
        engine.refuse_from = None
        change()
        after = contents(store)
    with open_store(engine.inner) as store:
        assert contents(store) == after
        assert store.faults == ()


def test_a_refused_backfill_changes_nothing() -> None:
    engine = FaultyEngine(MemoryEngine("here"))
    headers = extension_below()
    with open_store(engine, start=replace(START, height=Height(50))) as store:
        engine.refuse_from = 0
        with pytest.raises(StoreError, match="refused"):
            store.put_below(0, headers, sync=True)
        assert store.floor == 50
        engine.refuse_from = None
        store.put_below(0, headers, sync=True)
        engine.refuse_from = 0
        with pytest.raises(StoreError, match="refused"):
            store.complete_backfill(chainwork=START.chainwork, now=NOW)
        assert (store.base, store.floor) == (50, 0)


def extension_below() -> bytes:
    return bytes(80 * 50)


@contextmanager
def no_room_behind(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size``: a write is cut there, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 3, 100, 1000])
def test_a_torn_write_is_taken_back_and_the_next_one_goes_on(tmp_path: Path, room: int) -> None:
    with open_store(tmp_path / "store") as store:
        fill(store, 50, batch=10)
        log = max((tmp_path / "store").glob("*.log"))
        before = contents(store)
        with no_room_behind(log.stat().st_size + room):
            for _ in range(3):
                with pytest.raises(StoreFull, match=f"{tmp_path}/store: no room to write"):
                    store.commit(extension(store, 40), now=NOW, sync=True)
                assert contents(store) == before
        for _ in range(5):
            store.commit(extension(store, 40), now=NOW, sync=True)
        after = contents(store)
    with open_store(tmp_path / "store") as store:
        assert store.faults == ()
        assert contents(store) == after


def test_a_full_disk_is_named_and_survived(tmp_path: Path) -> None:
    # LevelDB will write its next log into a device that is always full.
    folder = tmp_path / "store"
    with open_store(folder) as store:
        fill(store, 50)
        number = max(int(file.stem) for file in folder.glob("*.log"))
        traps = [folder / f"{n:06}.log" for n in range(number + 1, number + 9)]
        for trap in traps:
            trap.symlink_to("/dev/full")
        with pytest.raises(StoreFull, match=f"{folder}: no room to write .*No space left on device.* bytes are free"):
            fill(store, 5000)
        full = contents(store)
        for trap in traps:
            trap.unlink(missing_ok=True)
        assert contents(store) == full
        fill(store, 5000)
        after = contents(store)
    with open_store(folder) as store:
        assert store.faults == ()
        assert contents(store) == after


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"IO error: /s/000005.log: {os.strerror(errno.ENOSPC)}", StoreFull),
        (f"IO error: /s/000005.log: {os.strerror(errno.EDQUOT)}", StoreFull),
        (f"IO error: /s/000005.log: {os.strerror(errno.EFBIG)}", StoreFull),
        ("IO error: lock /s/LOCK: already held by process", StoreLocked),
        (f"IO error: lock /s/LOCK: {os.strerror(errno.EAGAIN)}", StoreLocked),
        (f"IO error: /s/000005.ldb: {os.strerror(errno.EIO)}", StoreDamaged),
        (f"IO error: /s/000005.ldb: {os.strerror(errno.EINVAL)}", StoreDamaged),
        (f"IO error: /s/000005.ldb: {os.strerror(errno.ENOENT)}", StoreDamaged),
        (f"IO error: /s/000005.ldb: {os.strerror(errno.EMFILE)}", StoreError),
        (f"IO error: /s/LOCK: {os.strerror(errno.EROFS)}", StoreError),
    ],
)
def test_the_systems_words_become_types(text: str, kind: type[StoreError]) -> None:
    error = refusal(Path("/s"), text)
    assert type(error) is kind
    assert "/s: " in str(error)


def test_folders_set_aside_are_bounded_and_never_mixed_up(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    for n in range(MAX_SET_ASIDE + 3):
        folder.mkdir()
        (folder / "which").write_text(str(n))
        set_aside(folder)
    left = sorted(tmp_path.glob("store.damaged-*"))
    assert [(aside / "which").read_text() for aside in left] == [str(n) for n in range(3, MAX_SET_ASIDE + 3)]


def test_networks_are_found_by_their_stores(tmp_path: Path) -> None:
    assert stored_networks(tmp_path / "nowhere") == ()
    for network in ("signet", "bitcoin"):
        store_path(tmp_path, network).mkdir(parents=True)
    (tmp_path / "regtest").mkdir()
    (tmp_path / "peers").write_text("")
    assert stored_networks(tmp_path) == ("bitcoin", "signet")
    shutil.rmtree(tmp_path / "signet")
    assert stored_networks(tmp_path) == ("bitcoin",)
