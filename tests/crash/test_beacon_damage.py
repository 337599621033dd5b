"""Bad media under a beacon chain: whatever happens to the files, the store opens, keeps what verifies, says so, and is
whole again once the rest has been offered."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spvnode.bls import Verifier
from spvnode.ethereum.chain import BeaconChain
from spvnode.store.beacon import BeaconStore
from spvnode.store.events import EventKind
from spvnode.store.folder import MAX_SET_ASIDE
from tests.crash.test_store_damage import flip, harm_at_random, logs, manifest, middle, tables
from tests.support.beacon_chains import (
    NIMBUS,
    NOW,
    begun_at,
    clock,
    live_run,
    network_of,
    offer,
    open_rows,
    reopened,
    run,
    start_of,
    update_run,
    updates_of,
)
from tests.support.stored import fast_folder

NETWORK = network_of(NIMBUS)
VERIFIER = Verifier()
LAST, IN_TABLE = 820, 813
"""The last period, and the last one that is not in the log alone."""
TRIALS = 25
Harm = Callable[[Path], object]


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    """A store of a table and a log; LevelDB merges as little as this at once."""
    with fast_folder() as folder:
        with open_rows(folder / "store", NETWORK) as rows:
            chain = begun_at(NIMBUS, rows, VERIFIER)
            for part in (slice(0, 7), slice(7, 14), slice(14, 21)):
                rows.release_pages()  # makes a table of what is in the log
                offer(chain, run(NETWORK, updates_of(NIMBUS)[part]))
            offer(chain, live_run(NIMBUS))
        assert tables(folder / "store")
        assert logs(folder / "store")[-1].stat().st_size > 5000
        yield folder / "store"


@pytest.fixture
def folder(built: Path) -> Iterator[Path]:
    """A copy of it to be damaged."""
    with fast_folder() as place:
        shutil.copytree(built, place / "store")
        yield place / "store"


def open_any(rows: BeaconStore) -> BeaconChain:
    """What there is, begun again where that is needed: the root is known, or given once more."""
    chain = BeaconChain.open(NETWORK, rows, clock=clock, verifier=VERIFIER)
    if chain is None:
        assert rows.start in (None, start_of(NIMBUS))
        chain = begun_at(NIMBUS, rows, VERIFIER)
    return chain


def check_true(chain: BeaconChain) -> None:
    """It holds a true beginning of the recorded chain."""
    first, last = chain.periods
    assert chain.updates(first, 100) == list(updates_of(NIMBUS)[: last - first + 1])
    assert 799 <= chain.tip.height <= LAST


def check_whole_again(folder: Path) -> None:
    with open_rows(folder, NETWORK) as rows:
        chain = open_any(rows)
        offer(chain, update_run(NIMBUS))
        offer(chain, live_run(NIMBUS))
        assert (chain.tip.height, chain.finalized.beacon.slot) == (LAST, 6_730_752)
    check_whole(folder)


def check_whole(folder: Path) -> None:
    with open_rows(folder, NETWORK) as rows:
        chain = reopened(NETWORK, rows, VERIFIER)
        assert (rows.faults, chain.faults) == ((), ())
        assert (chain.tip.height, chain.finalized.beacon.slot) == (LAST, 6_730_752)
        assert chain.updates(800, 100) == list(updates_of(NIMBUS))


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda f: flip(tables(f)[-1], 9), id="bit in the first block"),
        pytest.param(lambda f: flip(tables(f)[-1], middle(tables(f)[-1])), id="bit in a block"),
        pytest.param(lambda f: flip(tables(f)[-1], tables(f)[-1].stat().st_size - 100), id="bit in an index"),
        pytest.param(lambda f: flip(tables(f)[-1], tables(f)[-1].stat().st_size - 3), id="bit in a footer"),
        pytest.param(lambda f: tables(f)[-1].unlink(), id="table gone"),
        pytest.param(lambda f: tables(f)[-1].write_bytes(b""), id="table empty"),
        pytest.param(lambda f: tables(f)[-1].write_bytes(tables(f)[-1].read_bytes()[:3000]), id="table cut"),
        pytest.param(lambda f: flip(logs(f)[-1], middle(logs(f)[-1])), id="bit in the log"),
    ],
)
def test_lost_rows_are_noticed_and_fetched_again(folder: Path, harm: Harm) -> None:
    harm(folder)
    with open_rows(folder, NETWORK, now=NOW + 5) as rows:
        assert rows.faults != ()
        faults = [event for event in rows.events() if event.kind is EventKind.FAULT]
        assert faults
        assert faults[-1].time == NOW + 5
        check_true(open_any(rows))
    check_whole_again(folder)


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda f: (f / "CURRENT").unlink(), id="no CURRENT"),
        pytest.param(lambda f: (f / "CURRENT").write_bytes(b""), id="empty CURRENT"),
        pytest.param(lambda f: manifest(f).unlink(), id="no MANIFEST"),
        pytest.param(lambda f: flip(manifest(f), middle(manifest(f))), id="bit in MANIFEST"),
    ],
)
def test_a_lost_directory_costs_nothing(folder: Path, harm: Harm) -> None:
    harm(folder)
    with open_rows(folder, NETWORK) as rows:
        assert rows.faults != ()
        chain = reopened(NETWORK, rows, VERIFIER)
        assert (chain.tip.height, chain.finalized.beacon.slot) == (LAST, 6_730_752)
    check_whole(folder)


def test_a_log_torn_anywhere_is_no_fault(folder: Path) -> None:
    """What a power cut leaves of a write: its beginning, or nothing."""
    rng, log = random.Random(2), logs(folder)[-1]
    whole = log.read_bytes()
    seen = set()
    cuts = [len(whole) - step * 1_500 for step in range(40)]  # the last writes but one are 3 KB, then come decoded keys
    cuts += [rng.randrange(len(whole) + 1) for _ in range(10)]
    for cut in cuts:
        with fast_folder() as place:
            shutil.copytree(folder, place / "store")
            (place / "store" / log.name).write_bytes(whole[:cut])
            with open_rows(place / "store", NETWORK) as rows:
                chain = reopened(NETWORK, rows, VERIFIER)
                assert (rows.faults, chain.faults) == ((), ())
                check_true(chain)
                seen.add((chain.tip.height, chain.finalized.beacon.slot))
    assert {height for height, _ in seen} == {IN_TABLE, LAST}
    assert len(seen) > 2, "with the last write, and without"


def test_an_opening_that_ended_its_process_is_tried_in_another(folder: Path) -> None:
    folder.with_name("store.opening").touch()
    check_whole(folder)


def test_a_folder_without_a_good_byte_is_begun_anew(folder: Path) -> None:
    for file in [*tables(folder), *logs(folder), manifest(folder)]:
        file.write_bytes(b"\xff" * 5000)
    with open_rows(folder, NETWORK) as rows:
        assert rows.faults != ()
        assert rows.start is None
        assert len(list(folder.parent.glob("store.damaged-*"))) <= MAX_SET_ASIDE
    check_whole_again(folder)


def test_random_damage(built: Path) -> None:
    rng = random.Random(4)
    for trial in range(TRIALS):
        with fast_folder() as place:
            folder = place / "store"
            shutil.copytree(built, folder)
            for _ in range(rng.randint(1, 3)):
                harm_at_random(folder, rng)
            with open_rows(folder, NETWORK) as rows:
                chain = open_any(rows)
                check_true(chain)
                quiet = rows.faults == () and chain.faults == ()
                assert not quiet or chain.tip.height >= IN_TABLE, (trial, "only the log may be shortened in silence")
            check_whole_again(folder)
