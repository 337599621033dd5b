"""The beacon store's rows, on both engines: what is written is there, what is damaged goes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from spvnode.beacon_commit import BeaconCommit, Block, ExecutionRow, Step, StepKind
from spvnode.errors import StoreError, StoreLocked
from spvnode.store import beacon as beacon_store
from spvnode.store.beacon import BeaconStore
from spvnode.store.beacon_schema import (
    BEACON_SCHEMA,
    HASH_SPAN,
    MAX_NAME_BYTES,
    MAX_VOUCHERS,
    RECORD_KEYS,
    decode_record,
    encode_record,
    event_key,
    hash_key,
    number_key,
    update_key,
)
from spvnode.store.errors import SchemaFromFuture, WrongChain
from spvnode.store.events import LOST_MARGIN, EventKind
from spvnode.store.memory import MemoryEngine
from spvnode.store.port import Batch, Engine
from spvnode.store.schema import sealed, unsealed
from spvnode.types import Hash32
from spvnode.view import BeaconStart
from tests.support.stored import open_store as open_header_store

CHAIN_ID = Hash32(b"\x07" * 32)
NOW = 1_700_000_000.0
START = BeaconStart(Hash32(b"\x01" * 32), 8192, "quorum", ("one.example", "two.example"))
OTHER = BeaconStart(Hash32(b"\x02" * 32), 9000, "file", ("root.txt",))


def opened(where: Path | Engine, now: float = NOW) -> BeaconStore:
    return BeaconStore.open(where, chain_id=CHAIN_ID, now=now, write_buffer=1 << 16)


def block(number: int) -> Block:
    return Block(number, Hash32(number.to_bytes(32, "big")))


def row(number: int, salt: int = 0) -> ExecutionRow:
    return ExecutionRow(number, Hash32((number << 8 | salt).to_bytes(32, "big")), b"record %d" % number)


def commit(number: int, **parts: object) -> BeaconCommit:
    step = Step(StepKind.FINALITY, block(number - 1), block(number), 1)
    return BeaconCommit(step, **parts)  # type: ignore[arg-type]


FULL = commit(
    5,
    updates=((1, b"update 1"), (2, b"update 2")),
    finality=b"finality",
    optimistic=b"optimistic",
    marks=b"marks",
    executions=(row(70), row(71)),
    bootstraps=((Hash32(b"\x09" * 32), b"another bootstrap"),),
)


def begun(where: Path | Engine) -> BeaconStore:
    store = opened(where)
    store.begin(START, b"bootstrap", now=NOW)
    return store


def check_full(store: BeaconStore) -> None:
    assert (store.start, store.periods, store.faults) == (START, (1, 2), ())
    assert [store.update(period) for period in (0, 1, 2, 3)] == [None, b"update 1", b"update 2", None]
    assert (store.finality, store.optimistic, store.marks) == (b"finality", b"optimistic", b"marks")
    assert store.bootstrap(START.root) == b"bootstrap"
    assert store.bootstrap(Hash32(b"\x09" * 32)) == b"another bootstrap"
    assert set(store.bootstraps) == {START.root, b"\x09" * 32}
    assert store.execution(70) == store.execution(row(70).block_hash) == b"record 70"
    assert store.execution(72) is None
    assert store.execution(row(70, salt=1).block_hash) is None
    assert store.execution_numbers == (70, 71)


def test_what_is_committed_is_there_and_stays(where: Path | Engine) -> None:
    with begun(where) as store:
        store.commit(FULL, now=NOW + 1, sync=True)
        check_full(store)
    with opened(where) as store:
        check_full(store)
        begin, step = store.events()
        assert (begin.kind, begin.seq, begin.detail) == (EventKind.ADVANCE, 1, "trust begins")
        assert (step.kind, step.seq, step.time, step.redo_count) == (EventKind.FINALITY, 2, NOW + 1, 1)
        assert (step.old_tip.height, step.new_tip.height) == (4, 5)
        assert (store.first_seq, store.last_seq, store.event_count) == (1, 2, 2)


def test_a_commit_replaces_what_it_names_and_leaves_the_rest(where: Path | Engine) -> None:
    with begun(where) as store:
        store.commit(FULL, now=NOW, sync=False)
        store.commit(
            BeaconCommit(updates=((2, b"better"),), dropped_bootstraps=(Hash32(b"\x09" * 32),)), now=NOW, sync=False
        )
        for view in (store, opened(where) if isinstance(where, MemoryEngine) else store):
            assert [view.update(1), view.update(2), view.finality] == [b"update 1", b"better", b"finality"]
            assert tuple(view.bootstraps) == (START.root,)
            assert view.last_seq == 2, "a change that moved nothing is no event"


def test_nothing_is_committed_before_the_beginning(where: Path | Engine) -> None:
    with opened(where) as store:
        assert (store.start, store.periods, store.event_count) == (None, (), 0)
        with pytest.raises(ValueError, match="no start"):
            store.commit(FULL, now=NOW, sync=False)


def test_the_same_start_again_keeps_everything_another_keeps_only_the_log(where: Path | Engine) -> None:
    with begun(where) as store:
        store.commit(FULL, now=NOW, sync=True)
        store.begin(START, b"bootstrap", now=NOW)
        check_full(store)
        store.put_committee_keys({Hash32(b"\x03" * 32): b"keys"})
        store.begin(OTHER, b"other bootstrap", now=NOW)
    with opened(where) as store:
        assert (store.start, store.periods, store.bootstraps) == (OTHER, (), (OTHER.root,))
        assert (store.finality, store.optimistic, store.marks) == (None, None, None)
        assert store.execution(70) is store.execution(row(70).block_hash) is store.execution_numbers is None
        assert store.committee_keys(Hash32(b"\x03" * 32)) is None
        assert [event.new_tip.hash for event in store.events()] == [START.root, block(5).root, OTHER.root]


def test_discarding_is_recorded(where: Path | Engine) -> None:
    with begun(where) as store:
        store.commit(FULL, now=NOW, sync=True)
        store.discard(above=1, singles=("finality",), tip=block(3), detail="does not hold", now=NOW + 5)
        assert store.faults == ("does not hold",)
    with opened(where) as store:
        assert (store.periods, store.finality, store.optimistic) == ((1,), None, b"optimistic")
        event = store.events()[-1]
        assert (event.kind, event.detail, event.new_tip.height) == (EventKind.FAULT, "does not hold", 3)
        assert event.seq == 3 + LOST_MARGIN
        store.commit(commit(9), now=NOW, sync=False)
        assert store.last_seq == event.seq + 1


def test_keys_of_committees_are_replaced_as_a_whole(where: Path | Engine) -> None:
    one, two, three = (Hash32(bytes([number]) * 32) for number in (1, 2, 3))
    with begun(where) as store:
        store.put_committee_keys({one: b"1", two: b"2"})
        store.put_committee_keys({two: b"22", three: b"3"})
        assert [store.committee_keys(root) for root in (one, two, three)] == [None, b"22", b"3"]


def test_old_events_and_execution_records_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beacon_store, "RETAIN_EVENTS", 10)
    monkeypatch.setattr(beacon_store, "PRUNE_AT", 20)
    monkeypatch.setattr(beacon_store, "RETAIN_EXECUTIONS", 15)
    monkeypatch.setattr(beacon_store, "PRUNE_EXECUTIONS", 5)
    engine = MemoryEngine()
    store = begun(engine)
    for number in range(100, 200):
        store.commit(commit(number, executions=(row(number),)), now=NOW, sync=False)
        assert store.event_count <= 21
        lowest, highest = store.execution_numbers or (0, 0)
        assert highest == number
        assert highest - lowest <= 20
        again = opened(engine)
        assert (again.event_count, again.execution_numbers) == (store.event_count, store.execution_numbers)
        assert [event.seq for event in again.events()] == [event.seq for event in store.events()]
        assert (again.faults, again.execution(number)) == ((), b"record %d" % number)
    assert len(engine.range(*HASH_SPAN, limit=1000)) <= 21
    assert (beacon_store.RETAIN_EVENTS, store.last_seq) == (10, 101)


def test_an_older_execution_block_may_come_later() -> None:
    store = begun(MemoryEngine())
    for number in (80, 70, 75, 70):
        store.commit(commit(number, executions=(row(number),)), now=NOW, sync=False)
    assert store.execution_numbers == (70, 80)


# -- damage


def spoil(engine: Engine, key: bytes) -> None:
    """A bit that LevelDB's checksums let through, as its repair does with log records."""
    value = bytearray(engine.get(key) or b"")
    value[0] ^= 1
    engine.write(Batch([(key, bytes(value))]), sync=True)


@pytest.mark.parametrize(
    ("key", "lost"),
    [
        (update_key(2), lambda store: store.update(2)),
        (b"f", lambda store: store.finality),
        (b"o", lambda store: store.optimistic),
        (b"p", lambda store: store.marks),
        (b"b" + START.root, lambda store: store.bootstrap(START.root)),
        (number_key(70), lambda store: store.execution(70)),
    ],
)
def test_a_row_without_a_good_seal_goes_and_nothing_else(
    key: bytes, lost: Callable[[BeaconStore], bytes | None]
) -> None:
    engine = MemoryEngine()
    begun(engine).commit(FULL, now=NOW, sync=True)
    spoil(engine, key)
    store = opened(engine, NOW + 9)
    assert len(store.faults) == 1
    assert "unreadable rows dropped" in store.faults[0]
    assert lost(store) is None
    assert store.execution(71) == b"record 71"
    assert store.update(1) == b"update 1"
    fault = store.events()[-1]
    assert (fault.kind, fault.time, fault.new_tip.height) == (EventKind.FAULT, NOW + 9, 5)
    if key == number_key(70):
        assert engine.get(hash_key(row(70).block_hash)) is None
    assert opened(engine).faults == ()


@pytest.mark.parametrize("key", [b"u", b"u\0", b"b?", b"x123", b"k" + bytes(8)])
def test_keys_that_are_none_are_dropped(key: bytes) -> None:
    engine = MemoryEngine()
    begun(engine).commit(FULL, now=NOW, sync=True)
    engine.write(Batch([(key, sealed(b"?"))]), sync=True)
    assert opened(engine).faults == ("1 unreadable rows dropped",)
    check_full(opened(engine))


@pytest.mark.parametrize("key", RECORD_KEYS)
@pytest.mark.parametrize("value", [b"", b"garbage", sealed(b"\x45\x01"), None])
def test_one_copy_of_the_record_is_enough(key: bytes, value: bytes | None) -> None:
    engine = MemoryEngine()
    begun(engine).commit(FULL, now=NOW, sync=True)
    engine.write(Batch([(key, value)] if value is not None else (), [key]), sync=True)
    check_full(opened(engine))
    assert engine.get(RECORD_KEYS[0]) == engine.get(RECORD_KEYS[1]) is not None


def test_without_its_record_a_store_begins_anew() -> None:
    engine = MemoryEngine()
    begun(engine).commit(FULL, now=NOW, sync=True)
    engine.write(Batch((), RECORD_KEYS), sync=True)
    store = opened(engine)
    assert "trust has to begin anew" in store.faults[0]
    assert (store.start, store.periods, store.finality, store.execution(70)) == (None, (), None, None)
    assert store.bootstrap(START.root) is None
    assert store.last_seq == 3 + LOST_MARGIN
    store.begin(START, b"bootstrap", now=NOW)
    assert opened(engine).start == START


def test_an_unreadable_event_is_left_out() -> None:
    engine = MemoryEngine()
    store = begun(engine)
    store.commit(FULL, now=NOW, sync=True)
    spoil(engine, event_key(2))
    assert [event.seq for event in store.events()] == [1]


# -- whose store it is


def test_a_store_of_another_chain_is_refused(where: Path | Engine) -> None:
    begun(where).close()
    with pytest.raises(WrongChain, match="0x0808"):
        BeaconStore.open(where, chain_id=Hash32(b"\x08" * 32), now=NOW).close()
    with opened(where) as store:
        assert store.start == START


def test_neither_kind_of_store_opens_the_others(tmp_path: Path) -> None:
    begun(tmp_path / "beacon" / "store").close()
    with pytest.raises(SchemaFromFuture):
        open_header_store(tmp_path / "beacon" / "store")
    open_header_store(tmp_path / "headers" / "store").close()
    with pytest.raises(WrongChain, match="another kind"):
        opened(tmp_path / "headers" / "store")


def test_a_schema_that_is_not_known_is_left_alone() -> None:
    for schema, error in ((BEACON_SCHEMA + 1, SchemaFromFuture), (BEACON_SCHEMA - 1, StoreError)):
        engine = MemoryEngine()
        begun(engine)
        body = unsealed(engine.get(b"m") or b"")
        engine.write(Batch([(b"m", sealed(schema.to_bytes(2, "big") + body[2:]))]), sync=True)
        with pytest.raises(error, match="written with schema"):
            opened(engine)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with begun(tmp_path / "store"), pytest.raises(StoreLocked):
        opened(tmp_path / "store")


def test_records_come_back_and_their_bounds_hold() -> None:
    full = BeaconStart(START.root, 2**63, "k" * MAX_NAME_BYTES, ("n" * MAX_NAME_BYTES,) * MAX_VOUCHERS)
    for start in (None, START, full, BeaconStart(START.root, 0, "", ())):
        assert decode_record(encode_record(CHAIN_ID, start)) == (CHAIN_ID, start)
    for bad in (
        BeaconStart(START.root, 0, "root", ("n",) * (MAX_VOUCHERS + 1)),
        BeaconStart(START.root, 0, "root", ("n" * (MAX_NAME_BYTES + 1),)),
        BeaconStart(Hash32(b"short"), 0, "root", ()),
    ):
        with pytest.raises(ValueError, match="no start"):
            encode_record(CHAIN_ID, bad)
    for broken in (b"", sealed(b"\x45\x01" + bytes(32)), sealed(b"\x45\x01" + bytes(32) + b"\x02" + bytes(60))):
        with pytest.raises(ValueError, match=r"record|names|seal"):
            decode_record(broken)
