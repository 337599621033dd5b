"""From a chain's commit to row changes and its event. Reads where it must; writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spvnode.store.events import (
    MAX_INLINE_HASHES,
    PRUNE_AT,
    RETAIN_EVENTS,
    ChainTip,
    Event,
    EventIndex,
    EventKind,
    encode_event,
)
from spvnode.store.load import State
from spvnode.store.port import Batch, Engine, Row
from spvnode.store.rows import header_at, shorten, side_keys
from spvnode.store.runmap import RunMap
from spvnode.store.schema import block_hash, key_height, mark_key, previous_hash, run_rows, side_rows
from spvnode.types import HEADER_SIZE, CommitKind, Hash32, HeaderCommit, Height


@dataclass(frozen=True, slots=True)
class Plan:
    """One write and what it does to the store's fields.

    ``cut``: heights above it leave the main chain before ``starts``, where the new runs begin, are added; ``pruned``:
    how many of the oldest events go.
    """

    batch: Batch
    event: Event
    cut: Height
    starts: tuple[int, ...]
    pruned: int
    state: State


def plan_commit(
    engine: Engine, state: State, runs: RunMap, index: EventIndex, commit: HeaderCommit, *, now: float
) -> Plan:
    """The write that makes ``commit`` true. Raises ValueError when it does not fit the stored chain (a bug of ours)."""
    check_commit(engine, state, runs, commit)
    event = _event(state, commit, now)
    deletes = side_keys(engine, commit.side_drop)
    puts: list[Row] = []
    if commit.kind is CommitKind.REORG:
        puts, gone = shorten(engine, runs, commit.fork_height, state.tip.height)
        deletes += gone
    new_rows = list(run_rows(commit.fork_height + 1, commit.headers, commit.nodes, state.origin))
    side = [row for branch in commit.side_put for row in side_rows(branch)]
    starts = tuple(key_height(key) for key, _ in new_rows)
    cut = commit.fork_height if commit.kind is CommitKind.REORG else state.tip.height
    return finish(state, index, event, Batch(puts + new_rows + side, deletes), cut=cut, starts=starts)


def finish(
    state: State, index: EventIndex, event: Event, batch: Batch, *, cut: Height, starts: tuple[int, ...] = ()
) -> Plan:
    """Adds the event's row, and the deletes of the oldest events when there are too many."""
    old = index.oldest(RETAIN_EVENTS) if len(index) >= PRUNE_AT else []
    mark = mark_key(max(event.new_tip.height, 0), event.seq), encode_event(event)
    whole = Batch([*batch.puts, mark], [*batch.deletes, *(mark_key(height, seq) for seq, height in old)])
    after = replace(state, tip=event.new_tip, chainwork=event.chainwork, next_seq=event.seq + 1)
    return Plan(whole, event, cut, starts, len(old), after)


def check_commit(engine: Engine, state: State, runs: RunMap, commit: HeaderCommit) -> None:
    """Raises ValueError unless ``commit`` continues the stored chain and its counts and hashes agree."""
    count, rest = divmod(len(commit.headers), HEADER_SIZE)
    tip, fork = state.tip, commit.fork_height
    _require(state.record.start is not None, "the store has no start yet")
    undone = 0 if commit.kind is not CommitKind.REORG else tip.height - fork
    if commit.kind is CommitKind.FORK:
        _require(not commit.headers and not commit.nodes, "a fork changes side branches only")
        _require((commit.tip_height, commit.tip_hash) == (tip.height, tip.hash), "a fork leaves the tip alone")
    else:
        _require(count > 0 and not rest, f"{len(commit.headers)} bytes are no run of headers")
        _require(commit.tip_height == fork + count, f"tip {commit.tip_height} is not {count} above {fork}")
        _require(commit.tip_hash == block_hash(commit.headers[-HEADER_SIZE:]), "the tip hash is not the last header's")
    if commit.kind is CommitKind.EXTEND:
        _require(fork == tip.height, f"extends {fork}, but the tip is {tip.height}")
        _require(previous_hash(commit.headers) == tip.hash, "the first header does not follow the tip")
    if commit.kind is CommitKind.REORG:
        _require(state.record.base <= fork < tip.height, f"reorganizes from {fork}, outside the stored chain")
        parent = block_hash(header_at(engine, runs, fork))
        _require(previous_hash(commit.headers) == parent, "the first header does not follow the fork")
    _require(len(commit.undone) == undone * HEADER_SIZE, f"{len(commit.undone)} bytes undone, not {undone} headers")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def _event(state: State, commit: HeaderCommit, now: float) -> Event:
    reorg = commit.kind is CommitKind.REORG
    return Event(
        seq=state.next_seq,
        time=now,
        kind=EventKind(commit.kind.value),
        fork_height=commit.fork_height,
        old_tip=state.tip,
        new_tip=ChainTip(commit.tip_height, commit.tip_hash),
        chainwork=commit.chainwork,
        undo_count=len(commit.undone) // HEADER_SIZE,
        redo_count=len(commit.headers) // HEADER_SIZE,
        undo=_hashes(commit.undone, newest_first=True) if reorg else (),
        redo=_hashes(commit.headers, newest_first=False) if reorg else (),
    )


def _hashes(headers: bytes, *, newest_first: bool) -> tuple[Hash32, ...]:
    places = range(0, len(headers), HEADER_SIZE)
    listed = reversed(places) if newest_first else iter(places)
    return tuple(
        block_hash(headers[at : at + HEADER_SIZE]) for at, _ in zip(listed, range(MAX_INLINE_HASHES), strict=False)
    )
