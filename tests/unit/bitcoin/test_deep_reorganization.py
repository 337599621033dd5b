"""Reorganizations of 10,000 and 100,000 headers on a real store: followed, told as one event, and paid for in bounded
memory."""

from __future__ import annotations

import tracemalloc

import pytest

from merkle.hashing import sha256d_headers
from spvnode.bitcoin.branches import Limits
from spvnode.bitcoin.header import header_hash
from spvnode.bitcoin.rules import Reason
from spvnode.bitcoin.start import genesis_of
from spvnode.bitcoin.stored import RUN_ITEMS, StoredChain
from spvnode.following import Blame, Outcome
from spvnode.store.events import MAX_INLINE_HASHES, Event, EventKind
from spvnode.store.headers import HeaderStore
from spvnode.store.memory import MemoryEngine
from spvnode.store.schema import StartRecord
from spvnode.types import Hash32, Height, Work
from tests.support.easy_chain import EASY, easy_chain, easy_fork
from tests.support.presync_runs import NOW

BELOW = 300
"""Headers below the fork."""


def opened(engine: MemoryEngine) -> tuple[StoredChain, HeaderStore]:
    start = genesis_of(EASY)
    record = StartRecord(start.height, start.header, start.chainwork, start.peaks)
    store = HeaderStore.open(engine, genesis_hash=EASY.genesis_hash, start=record, now=NOW)
    return StoredChain(EASY, store, None, clock=lambda: NOW), store


def take(chain: StoredChain, headers: bytes) -> Outcome:
    """plan, write, apply."""
    verdict = chain.plan(headers, NOW)
    if verdict.outcome not in (Outcome.REJECTED, Outcome.DUPLICATE):
        chain.write(verdict, now=NOW, sync=False)
        chain.apply(verdict)
    return verdict.outcome


def filled(headers: bytes) -> tuple[StoredChain, HeaderStore, MemoryEngine]:
    engine = MemoryEngine()
    chain, store = opened(engine)
    for at in range(0, len(headers), RUN_ITEMS * 80):
        assert take(chain, headers[at : at + RUN_ITEMS * 80]) is Outcome.EXTENDS
    return chain, store, engine


def listed(headers: bytes) -> tuple[Hash32, ...]:
    hashes = sha256d_headers(headers)
    return tuple(Hash32(hashes[at : at + 32]) for at in range(0, len(hashes), 32))


def check_event(event: Event, old: bytes, new: bytes) -> None:
    """It says how many left and joined, where, and which: the first of them by hash."""
    assert (event.kind, event.fork_height) == (EventKind.REORG, BELOW)
    assert (event.undo_count, event.redo_count) == (len(old) // 80, len(new) // 80)
    assert event.undo == listed(old[-MAX_INLINE_HASHES * 80 :])[::-1]
    assert event.redo == listed(new[: MAX_INLINE_HASHES * 80])
    assert event.old_tip.hash == header_hash(old[-80:])
    assert event.new_tip.hash == header_hash(new[-80:])


def check_chain(chain: StoredChain, headers: bytes) -> None:
    reads, count = chain.headers, len(headers) // 80
    assert (reads.tip_height, reads.tip_hash) == (count, header_hash(headers[-80:]))
    assert reads.headers(Height(1), count + 1) == headers
    assert reads.chainwork(reads.tip_height) == count + 1
    for height in {1, BELOW, BELOW + 1, count // 2, count}:
        assert reads.height_of(reads.block_hash(Height(height))) == height


@pytest.mark.parametrize("depth", [10_000, 100_000])
def test_a_deep_reorganization_is_one_event(depth: int) -> None:
    ours = easy_chain(BELOW + depth)
    branch = easy_fork(ours, BELOW, depth + 1, seed=1)
    chain, store, engine = filled(ours)
    seq = store.events()[-1].seq
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        assert take(chain, branch) is Outcome.REORGANIZES
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    (event,) = store.events(seq)
    check_event(event, ours[BELOW * 80 :], branch)
    check_chain(chain, ours[: BELOW * 80] + branch)
    # Both branches' headers and hashes, a few times over while the store's batch is made; nothing for the chain below.
    assert peak < 10 * 112 * depth + 1_000_000
    kept = len(chain.headers.branches())
    assert kept == (depth <= Limits().side_headers), "what left is kept as long as side branches may be"

    again, _ = opened(engine)
    check_chain(again, ours[: BELOW * 80] + branch)
    assert again.headers.root(Height(BELOW + depth)) == chain.headers.root(Height(BELOW + depth))


def test_ten_thousand_in_pieces_and_back() -> None:
    depth = 10_000
    ours = easy_chain(BELOW + depth)
    branch = easy_fork(ours, BELOW, depth + 1, seed=2)
    chain, store, _ = filled(ours)
    for at in range(0, depth, 2_000):
        assert take(chain, branch[at * 80 : (at + 2_000) * 80]) is Outcome.FORK
        check_chain(chain, ours)
    seq = store.events()[-1].seq
    assert take(chain, branch[-80:]) is Outcome.REORGANIZES
    check_event(store.events(seq)[0], ours[BELOW * 80 :], branch)
    more = easy_fork(ours, BELOW + depth, 2, seed=3)
    assert take(chain, more) is Outcome.REORGANIZES
    check_event(store.events(seq)[1], branch, ours[BELOW * 80 :] + more)
    check_chain(chain, ours + more)


def test_a_branch_that_cannot_be_kept_is_nobodys_fault() -> None:
    """In pieces, a branch longer than side branches may be does not get to where it wins; it takes one run."""
    depth = Limits().side_headers + RUN_ITEMS
    ours = easy_chain(BELOW + depth)
    branch = easy_fork(ours, BELOW, depth + 1, seed=4)
    chain, _, _ = filled(ours)
    outcomes = [take(chain, branch[at : at + RUN_ITEMS * 80]) for at in range(0, len(branch), RUN_ITEMS * 80)]
    assert outcomes[:5] == [Outcome.FORK] * 5
    assert outcomes[5] is Outcome.REJECTED
    verdict = chain.plan(branch[5 * RUN_ITEMS * 80 : 6 * RUN_ITEMS * 80], NOW)
    assert (verdict.reason, verdict.blame) == (Reason.SIDE_BRANCH_LIMIT, Blame.NOBODY)
    check_chain(chain, ours)
    assert take(chain, branch) is Outcome.REORGANIZES
    check_chain(chain, ours[: BELOW * 80] + branch)


@pytest.mark.parametrize("depth", [60_000, 100_000])
def test_a_proven_chain_is_followed_in_pieces_at_any_depth(depth: int) -> None:
    """It becomes the main chain before all of it is here, once side branches cannot hold it."""
    ours = easy_chain(BELOW + depth)
    branch = easy_fork(ours, BELOW, depth + 1, seed=5)
    chain, store, _ = filled(ours)
    seq = store.events()[-1].seq
    chain.headers.vouch(Height(BELOW), Work(BELOW + depth + 2))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        outcomes = [take(chain, branch[at : at + RUN_ITEMS * 80]) for at in range(0, len(branch), RUN_ITEMS * 80)]
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert outcomes[:6] == [Outcome.FORK] * 5 + [Outcome.REORGANIZES]
    assert set(outcomes[6:]) == {Outcome.EXTENDS}
    check_chain(chain, ours[: BELOW * 80] + branch)
    assert chain.headers.branches() == []
    moved = [event for event in store.events(seq) if event.kind is EventKind.REORG]
    assert [(event.fork_height, event.undo_count) for event in moved] == [(BELOW, depth)]
    assert peak < 10 * 112 * depth + 1_000_000


def test_a_proof_counts_once_and_for_its_fork_only() -> None:
    depth = Limits().side_headers + RUN_ITEMS
    ours = easy_chain(BELOW + depth)
    branch, other = (easy_fork(ours, BELOW, depth + 1, seed=seed) for seed in (6, 7))
    chain, _, _ = filled(ours)
    chain.headers.vouch(Height(BELOW - 1), Work(10**9))
    chain.headers.vouch(Height(BELOW), Work(BELOW + depth + 1))  # just what ours has
    pieces = range(0, len(branch), RUN_ITEMS * 80)
    assert [take(chain, branch[at : at + RUN_ITEMS * 80]) for at in pieces][5] is Outcome.REJECTED
    chain.headers.vouch(Height(BELOW), Work(10**9))
    assert take(chain, branch[5 * RUN_ITEMS * 80 : 6 * RUN_ITEMS * 80]) is Outcome.REORGANIZES
    assert [take(chain, other[at : at + RUN_ITEMS * 80]) for at in pieces][5] is not Outcome.FORK
