"""Which first messages of a peer's chain need presync, and the rule context that it starts from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spvnode.bitcoin.changes import ExtendedFork, Rejected, Reorganization
from spvnode.bitcoin.first_look import ANTI_DOS_BLOCKS, Doubtful, Enough, Unconnected, anti_dos_threshold, first_look
from spvnode.bitcoin.header import HEADER_STRUCT, Header, header_hash
from spvnode.bitcoin.params import REGTEST
from spvnode.bitcoin.presync import Presync, Proven, Refused, Release
from spvnode.bitcoin.rules import Reason
from spvnode.bitcoin.start import Checkpoint
from spvnode.types import Hash32, Height, Work
from tests.support.headers_memory import offer, open_chain
from tests.support.mine import mine, mine_run, regtest_chain
from tests.support.presync_runs import NOW

LENGTH = 3_000
HEADERS = regtest_chain(LENGTH)
DEMANDING = replace(REGTEST, minimum_chain_work=Work(2 * (LENGTH + 501)))


def fork(at: int, count: int, seed: int) -> bytes:
    """``count`` headers after the one at height ``at``."""
    last = Header(HEADERS[(at - 1) * 80 : at * 80])
    return mine_run(last.hash, last.time, count, seed=seed)


def test_the_threshold_is_the_networks_or_nearly_our_work() -> None:
    chain, store = open_chain(REGTEST)
    assert anti_dos_threshold(chain) == 0
    offer(chain, store, HEADERS[: 100 * 80])
    assert anti_dos_threshold(chain) == 0
    offer(chain, store, HEADERS)
    assert anti_dos_threshold(chain) == 2 * (LENGTH + 1 - ANTI_DOS_BLOCKS)
    chain, store = open_chain(DEMANDING)
    offer(chain, store, HEADERS)
    assert anti_dos_threshold(chain) == DEMANDING.minimum_chain_work


def test_the_threshold_from_a_checkpoint_of_unknown_work() -> None:
    """Work is counted from the checkpoint, so the network's minimum, counted from genesis, does not compare."""
    raw = HEADERS[143 * 80 : 144 * 80]
    start = Checkpoint(Height(144), header_hash(raw), raw)
    chain, store = open_chain(DEMANDING, start)
    assert anti_dos_threshold(chain) == 0
    offer(chain, store, HEADERS[144 * 80 :])
    assert anti_dos_threshold(chain) == 2 * (LENGTH - 143 - ANTI_DOS_BLOCKS)
    chain, store = open_chain(DEMANDING, replace(start, chainwork=Work(2 * 145)))
    assert anti_dos_threshold(chain) == DEMANDING.minimum_chain_work


def test_a_fresh_chain_below_the_minimum_is_doubtful() -> None:
    chain, _ = open_chain(DEMANDING)
    look = first_look(chain, HEADERS[: 2_000 * 80])
    assert isinstance(look, Doubtful)
    assert (look.start.height, look.start.prev_hash) == (1, REGTEST.genesis_hash)
    assert (look.threshold, look.headers) == (DEMANDING.minimum_chain_work, HEADERS[: 2_000 * 80])
    # A header is enough for that, and its genesis before it changes nothing.
    assert isinstance(first_look(chain, HEADERS[:80]), Doubtful)
    assert first_look(chain, REGTEST.genesis_header + HEADERS[: 2_000 * 80]) == look
    assert isinstance(first_look(open_chain(REGTEST)[0], HEADERS[:80]), Enough)


def test_new_blocks_on_our_tip_are_not() -> None:
    chain, store = open_chain(REGTEST)
    offer(chain, store, HEADERS)
    assert isinstance(first_look(chain, fork(LENGTH, 1, 1)), Enough)
    assert isinstance(first_look(chain, fork(LENGTH - 20, 1, 2)), Enough)


def test_where_a_fork_begins_to_be_doubtful() -> None:
    chain, store = open_chain(REGTEST)
    offer(chain, store, HEADERS)
    deepest = LENGTH - ANTI_DOS_BLOCKS - 1
    assert isinstance(first_look(chain, fork(deepest, 1, 3)), Enough)
    assert isinstance(first_look(chain, fork(deepest - 1, 1, 3)), Doubtful)
    assert isinstance(first_look(chain, fork(deepest - 1, 2, 3)), Enough)
    assert isinstance(first_look(chain, fork(deepest - 1_999, 2_000, 3)), Enough)


@pytest.mark.parametrize("below", [0, 1, 7, 1_500])
def test_what_is_proven_is_the_chain_from_where_it_leaves_ours(below: int) -> None:
    """An answer begins at any place that we have in common; what it is held against counts from the fork."""
    chain, store = open_chain(REGTEST)
    offer(chain, store, HEADERS)
    side = fork(500, 300, 4)
    look = first_look(chain, HEADERS[(500 - below) * 80 : 500 * 80] + side)
    assert isinstance(look, Doubtful)
    assert (look.start.height, look.headers) == (501, side)
    assert look.start == chain.context_after(header_hash(HEADERS[499 * 80 : 500 * 80]))


def test_what_is_ours_is_not_doubted() -> None:
    chain, store = open_chain(REGTEST)
    offer(chain, store, HEADERS)
    for known in (HEADERS[:80], HEADERS[: 2_000 * 80], REGTEST.genesis_header):
        assert isinstance(first_look(chain, known), Enough)


def test_the_beginning_of_a_branch_that_we_have_is_as_doubtful_as_before() -> None:
    """What it leads to may be proven yet; it begins where it leaves our main chain."""
    chain, store = open_chain(REGTEST)
    offer(chain, store, HEADERS)
    side = fork(1_000, 50, 4)
    before = first_look(chain, side)
    assert isinstance(offer(chain, store, side), ExtendedFork)
    assert isinstance(before, Doubtful)
    assert first_look(chain, side) == before
    assert isinstance(first_look(chain, side[: 30 * 80]), Doubtful)
    near = fork(LENGTH - 20, 19, 5)
    assert isinstance(offer(chain, store, near), ExtendedFork)
    assert isinstance(first_look(chain, near), Enough)


def test_strangers_and_bytes_that_are_no_headers() -> None:
    chain, _ = open_chain(REGTEST)
    assert isinstance(first_look(chain, HEADERS[80:800]), Unconnected)
    assert isinstance(first_look(chain, HEADERS[800:880]), Unconnected)
    for malformed in (b"", HEADERS[:79], HEADERS[:81]):
        assert isinstance(first_look(chain, malformed), Enough), "plan says what is wrong with it"


def test_bits_that_are_only_claimed_are_no_work() -> None:
    """Little work, then a header from the future, then bits that claim everything. ``plan`` stops at the future, and
    what comes before may be kept: it must not get that far."""
    chain, _ = open_chain(DEMANDING)
    few = HEADERS[: 10 * 80]
    future, _ = mine(header_hash(few[-80:]), time=NOW + 100_000)
    claim = HEADER_STRUCT.pack(4, header_hash(future), bytes(32), NOW + 100_001, 0x03000001, 0)
    change = chain.plan(few + future + claim, NOW)
    assert isinstance(change, Rejected)
    assert (change.reason, change.index) == (Reason.TIME_TOO_NEW, 10)
    look = first_look(chain, few + future + claim)
    assert isinstance(look, Doubtful)
    step = Presync(DEMANDING, look.start, look.threshold, salt=bytes(16), offset=0, now=NOW).take(look.headers, True)
    assert isinstance(step, Refused)
    assert (step.reason, step.index) == (Reason.BAD_DIFFBITS, 11)


def test_enough_work_before_a_broken_rule_is_for_plan_to_judge() -> None:
    chain, store = open_chain(REGTEST)
    offer(chain, store, HEADERS[:800])
    assert isinstance(first_look(chain, HEADERS[800:1600] + bytes(80)), Enough)
    assert isinstance(chain.plan(HEADERS[800:1600] + bytes(80), NOW), Rejected)


def test_a_doubtful_branch_of_a_branch() -> None:
    """The start may lie on a side branch; what is proven from there goes to the chain like anything else."""
    chain, store = open_chain(REGTEST)
    offer(chain, store, HEADERS)
    side = fork(1_000, 300, 5)
    assert isinstance(offer(chain, store, side), ExtendedFork)
    longer = mine_run(header_hash(side[-80:]), Header(side[-80:]).time, 2_000, seed=6)
    message = side[200 * 80 :] + longer[: 1_500 * 80]
    look = first_look(chain, message)
    assert isinstance(look, Doubtful)
    assert (look.start.height, look.start.chainwork) == (1_201, 2 * 1_201)
    sync = Presync(REGTEST, look.start, look.threshold, salt=bytes(16), offset=3, now=NOW)
    rest = longer[1_500 * 80 :]
    sync.take(look.headers, full=True)
    assert isinstance(sync.take(rest, full=False), Proven)
    sync.take(look.headers, full=True)
    step = sync.take(rest, full=False)
    assert isinstance(step, Release)
    assert step.headers == side[200 * 80 :] + longer
    change = offer(chain, store, step.headers)
    assert isinstance(change, Reorganization)
    assert (change.fork_height, chain.tip_hash) == (1_000, header_hash(longer[-80:]))


def test_a_presync_beside_a_long_chain_of_ours() -> None:
    """A branch from far below that overtakes: nothing is stored before it is proven, then it is followed."""
    chain, store = open_chain(REGTEST)
    offer(chain, store, HEADERS)
    branch = fork(100, LENGTH, 7)
    look = first_look(chain, branch[: 2_000 * 80])
    assert isinstance(look, Doubtful)
    sync = Presync(REGTEST, look.start, look.threshold, salt=bytes(16), offset=600, now=NOW)
    for _ in range(2):
        sync.take(branch[: 2_000 * 80], full=True)
        step = sync.take(branch[2_000 * 80 :], full=False)
        assert (chain.tip_hash, store.sides) == (header_hash(HEADERS[-80:]), {})
    assert isinstance(step, Release)
    assert isinstance(offer(chain, store, step.headers), Reorganization)
    assert chain.tip_height == LENGTH + 100


def test_contexts_of_strangers() -> None:
    chain, store = open_chain(REGTEST)
    offer(chain, store, HEADERS[: 50 * 80])
    assert chain.context_after(Hash32(bytes(32))) is None
    assert chain.context_after(header_hash(HEADERS[-80:])) is None
    assert chain.context_after(REGTEST.genesis_hash) is not None
