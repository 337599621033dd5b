"""A store that began at a checkpoint and fills up below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from spvnode.store.audit import audit
from spvnode.store.events import EventKind
from spvnode.store.headers import HeaderStore
from spvnode.store.port import Batch, Engine
from spvnode.store.schema import StartRecord, run_key
from spvnode.types import Height, Work
from tests.support.stored import GENESIS, GENESIS_HASH, NOW, extension, fill, level_engine, linked, open_store

MAIN = GENESIS + linked(GENESIS_HASH, 1, 700)
BELOW = MAIN[: 600 * 80]


def checkpoint(height: int = 600) -> StartRecord:
    return StartRecord(Height(height), MAIN[height * 80 : height * 80 + 80], Work(0))


def put_down(store: HeaderStore, to: int, step: int = 77) -> None:
    """Runs below the floor until ``to``, in uneven steps, with commits at the tip in between."""
    while store.floor > to:
        start = max(to, store.floor - step)
        store.put_below(start, MAIN[start * 80 : store.floor * 80], sync=False)
        store.commit(extension(store, 1), now=NOW, sync=False)


def test_it_fills_downward_and_survives_reopening(where: Path | Engine) -> None:
    with open_store(where, start=checkpoint()) as store:
        fill(store, 640)
        put_down(store, 250)
        assert (store.base, store.floor, store.complete) == (600, 250, False)
        with pytest.raises(ValueError, match="headers below 250 are missing"):
            store.complete_backfill(chainwork=Work(999), now=NOW)
        floor_header = store.header(250)
    with open_store(where, start=checkpoint()) as store:
        assert (store.base, store.floor, store.faults) == (600, 250, ())
        assert store.header(250) == floor_header
        with pytest.raises(KeyError):
            store.header(249)
        put_down(store, 0)
        assert store.headers(0, 641) == MAIN[: 641 * 80]
        assert b"".join(headers for _, headers, _ in store.scan(0, 599)) == BELOW
        assert next(store.scan())[0] == 600
        tip = store.tip_height
        seq = store.complete_backfill(chainwork=Work(999), now=NOW)
        event = store.events(seq - 1)[0]
        assert (event.kind, event.redo_count, event.new_tip.height) == (EventKind.BACKFILL, 600, tip)
    with open_store(where, start=checkpoint()) as store:
        assert (store.base, store.floor, store.complete, store.chainwork) == (0, 0, True, 999)
        assert (store.start, store.origin) == (checkpoint(), 0)
        assert audit(store).good


@pytest.mark.parametrize(("start", "count"), [(500, 99), (500, 101), (600, 1), (0, 0), (-1, 601)])
def test_a_run_that_does_not_touch_the_floor_is_refused(store: HeaderStore, start: int, count: int) -> None:
    with pytest.raises(ValueError, match="do not end below"):
        store.put_below(start, bytes(80 * count), sync=False)


def test_a_torn_run_is_refused(where: Path | Engine) -> None:
    with open_store(where, start=checkpoint()) as store, pytest.raises(ValueError, match="do not end below"):
        store.put_below(599, bytes(79), sync=False)


def test_a_wrong_backfill_is_dropped(where: Path | Engine) -> None:
    with open_store(where, start=checkpoint()) as store:
        fill(store, 640)
        put_down(store, 3)
        store.discard_backfill(now=NOW, detail="bad-diffbits at 2016")
        assert (store.floor, store.base) == (600, 600)
        with pytest.raises(KeyError):
            store.header(599)
        put_down(store, 500)
        tip = store.tip_height
    with open_store(where, start=checkpoint()) as store:
        assert (store.floor, store.tip_height, store.faults) == (500, tip, ())
        assert [event.detail for event in store.events() if event.kind is EventKind.FAULT] == ["bad-diffbits at 2016"]


def test_a_hole_below_the_checkpoint_costs_only_what_is_below(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", start=checkpoint()) as store:
        put_down(store, 0)
        store.complete_backfill(chainwork=Work(999), now=NOW)
        tip = store.tip_height
    engine = level_engine(tmp_path / "store")
    engine.write(Batch((), [run_key(320)]), sync=True)
    engine.close()
    with open_store(tmp_path / "store") as store:
        assert (store.base, store.floor, store.tip_height) == (600, 336, tip)
        assert "rows are missing" in store.faults[0]
        assert store.events()[-1].kind is EventKind.FAULT
        put_down(store, 0)
        store.complete_backfill(chainwork=Work(1000), now=NOW)
    with open_store(tmp_path / "store") as store:
        assert (store.complete, store.faults) == (True, ())
        assert audit(store).good


def test_a_hole_in_an_unfinished_backfill_moves_the_floor_up(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", start=checkpoint()) as store:
        put_down(store, 100)
        tip = store.tip_height
    engine = level_engine(tmp_path / "store")
    engine.write(Batch((), [run_key(320)]), sync=True)
    engine.close()
    with open_store(tmp_path / "store") as store:
        assert (store.base, store.floor, store.tip_height) == (600, 336, tip)
        put_down(store, 0)
        assert store.headers(0, 600) == BELOW
