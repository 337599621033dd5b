"""Rows as bytes: they come back as they went in, keys rise, limits hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spvnode.store.events import (
    MAX_DETAIL_BYTES,
    ChainTip,
    Event,
    EventKind,
    decode_event,
    encode_event,
)
from spvnode.store.schema import (
    MAX_HEIGHT,
    MAX_PEAKS,
    RUN,
    RUN_KEY_SIZE,
    SIDE_PART,
    StartRecord,
    StoreRecord,
    decode_schema,
    decode_store,
    encode_store,
    join_side,
    key_height,
    key_seq,
    mark_key,
    run_key,
    run_rows,
    sealed,
    side_key,
    side_parts,
    side_rows,
    split_run,
    unsealed,
)
from spvnode.types import Hash32, Height, SideBranch, Work

heights = st.integers(0, MAX_HEIGHT - 1000)
hashes = st.binary(min_size=32, max_size=32).map(Hash32)
works = st.integers(0, 2**256 - 1).map(Work)


@given(start=heights, count=st.integers(1, 100), origin=st.integers(0, 40))
def test_runs_are_cut_at_sixteens_and_carry_the_nodes_that_they_complete(start: int, count: int, origin: int) -> None:
    headers = bytes(range(80)) * count
    ends = [height for height in range(start, start + count) if (height - origin) % RUN == RUN - 1]
    nodes = b"".join(end.to_bytes(32, "big") for end in ends)
    rows = list(run_rows(start, headers, nodes, origin))
    parts = [(key_height(key), *split_run(value)) for key, value in rows]
    assert b"".join(part for _, part, _ in parts) == headers
    assert b"".join(node or b"" for _, _, node in parts) == nodes
    assert [key for key, _ in rows] == sorted(key for key, _ in rows)
    at = start
    for first, part, node in parts:
        last = first + len(part) // 80 - 1
        assert first == at
        assert first // RUN == last // RUN
        assert (node is not None) == ((last - origin) % RUN == RUN - 1)
        at = last + 1


@pytest.mark.parametrize("size", [0, 31, 32, 96])
def test_nodes_that_do_not_fit_the_heights_are_refused(size: int) -> None:
    # heights 1..40 complete two nodes: at 15 and at 31
    rows = run_rows(1, bytes(80 * 40), bytes(size), 0)
    if size == 0:
        assert all(split_run(value)[1] is None for _, value in rows)
    else:
        with pytest.raises(ValueError, match="level-4 nodes"):
            list(rows)


@given(low=heights, high=heights, seq=st.integers(0, 2**64 - 1))
def test_an_event_lies_behind_the_run_of_its_tip_and_before_the_next(low: int, high: int, seq: int) -> None:
    key = mark_key(low, seq)
    assert run_key(low) < key < run_key(low + 1)
    assert (key_height(key), key_seq(key)) == (low, seq)
    assert len(run_key(low)) == RUN_KEY_SIZE
    assert (run_key(low) < run_key(high)) == (low < high)


@given(
    genesis=hashes,
    base=heights,
    height=heights,
    work=works,
    header=st.binary(min_size=80, max_size=80),
    peaks=st.lists(hashes, max_size=MAX_PEAKS),
)
def test_a_store_record_comes_back(
    genesis: Hash32, base: int, height: int, work: Work, header: bytes, peaks: list[Hash32]
) -> None:
    for start in (None, StartRecord(Height(height), header, work, tuple(peaks))):
        record = StoreRecord(genesis, Height(base), start)
        value = encode_store(record)
        assert decode_store(value) == record
        assert decode_schema(value) == record.schema
        with pytest.raises(ValueError, match="broken seal"):
            decode_store(value[:-1])


@given(value=st.binary(max_size=50), at=st.integers(0, 10**6))
def test_a_seal_breaks_with_any_bit(value: bytes, at: int) -> None:
    whole = sealed(value)
    assert unsealed(whole) == value
    broken = bytearray(whole)
    broken[at // 8 % len(whole)] ^= 1 << at % 8
    with pytest.raises(ValueError, match="broken seal"):
        unsealed(bytes(broken))


@pytest.mark.parametrize("size", [0, 37, 39, 38 + 116, 38 + 117 + 31])
def test_a_well_sealed_record_of_no_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="record"):
        decode_store(sealed(b"\x01" * size))


@pytest.mark.parametrize("size", [0, 137, 138, 200])
def test_a_well_sealed_event_of_no_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="event of"):
        decode_event(sealed(b"\xff" * size))


def test_a_start_record_checks_itself() -> None:
    StartRecord(Height(MAX_HEIGHT), bytes(80), Work(0), (bytes(32),) * MAX_PEAKS)
    with pytest.raises(ValueError, match="no start record"):
        StartRecord(Height(MAX_HEIGHT + 1), bytes(80), Work(0))
    with pytest.raises(ValueError, match="no start record"):
        StartRecord(Height(0), bytes(79), Work(0))
    with pytest.raises(ValueError, match="no start record"):
        StartRecord(Height(0), bytes(80), Work(0), (bytes(32),) * (MAX_PEAKS + 1))


def test_the_header_tree_begins_at_genesis_only_with_peaks() -> None:
    assert StartRecord(Height(2016), bytes(80), Work(0)).origin == 2016
    assert StartRecord(Height(2016), bytes(80), Work(0), (bytes(32),)).origin == 0


tips = st.builds(ChainTip, st.integers(-1, MAX_HEIGHT).map(Height), hashes)
events = st.builds(
    Event,
    seq=st.integers(0, 2**64 - 1),
    time=st.integers(0, 2**41).map(lambda ms: ms / 1000),
    kind=st.sampled_from(EventKind),
    fork_height=st.integers(-1, MAX_HEIGHT).map(Height),
    old_tip=tips,
    new_tip=tips,
    chainwork=st.none() | works,
    undo_count=st.integers(0, 2**32 - 1),
    redo_count=st.integers(0, 2**32 - 1),
    undo=st.lists(hashes, max_size=20).map(tuple),
    redo=st.lists(hashes, max_size=20).map(tuple),
    detail=st.text(max_size=100),
)


@given(event=events, cut=st.integers(1, 200))
def test_an_event_comes_back(event: Event, cut: int) -> None:
    value = encode_event(event)
    assert decode_event(value) == event
    for damaged in (value[:-cut], value + bytes(cut)):
        with pytest.raises(ValueError, match="broken seal"):
            decode_event(damaged)


def test_a_long_detail_is_cut_at_a_character() -> None:
    event = Event(
        1,
        0.0,
        EventKind.FAULT,
        Height(0),
        ChainTip(Height(0), Hash32(bytes(32))),
        ChainTip(Height(0), Hash32(bytes(32))),
        None,
    )
    long = replace(event, detail="é" * MAX_DETAIL_BYTES)
    assert decode_event(encode_event(long)).detail == "é" * (MAX_DETAIL_BYTES // 2)
    odd = replace(event, detail="x" + "é" * MAX_DETAIL_BYTES)
    assert decode_event(encode_event(odd)).detail == "x" + "é" * ((MAX_DETAIL_BYTES - 1) // 2)


@pytest.mark.parametrize("count", [1, SIDE_PART - 1, SIDE_PART, SIDE_PART + 1, 3 * SIDE_PART])
def test_a_side_branch_comes_back_from_its_parts(count: int) -> None:
    branch = SideBranch(Height(7), bytes(80 * count), Hash32(b"t" * 32))
    rows = list(side_rows(branch))
    assert len(rows) == -(-count // SIDE_PART)
    assert [key for key, _ in rows] == [side_key(branch.tip_hash, part) for part in range(side_parts(rows[0][1]))]
    assert join_side(rows) == branch
    if len(rows) > 1:
        assert join_side(rows[1:]) is None
        assert join_side(rows[:-1]) is None
