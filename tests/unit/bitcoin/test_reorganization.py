"""Reorganizations and side branches: any depth, ties, branches of branches, bounds, checkpoints."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from merkle.hashing import sha256d_headers
from spvnode.bitcoin.branches import Branch, Limits, rebase
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.changes import Accepted, Duplicate, ExtendedFork, Rejected, Reorganization, StalePlanError
from spvnode.bitcoin.header import Header, header_hash
from spvnode.bitcoin.params import BITCOIN, NETWORKS, REGTEST, ChainParams
from spvnode.bitcoin.pow import block_proof
from spvnode.bitcoin.rules import Reason
from spvnode.bitcoin.start import Checkpoint
from spvnode.types import CommitKind, Height, Work
from tests.support.headers_memory import MemoryHeaders, offer, open_chain
from tests.support.mine import mine, mine_run, regtest_chain
from tests.support.naive_chain import electrum_root
from tests.support.vectors import table, unpacked

NOW = 2_000_000_000
TOP = 4500
BASE = regtest_chain(TOP)


def after(headers: bytes, count: int, *, seed: int) -> bytes:
    """``count`` fresh headers on top of ``headers``."""
    last = Header(headers[-80:])
    return mine_run(last.hash, last.time, count, seed=seed)


def regtest(count: int, limits: Limits | None = None) -> tuple[HeaderChain, MemoryHeaders]:
    store = MemoryHeaders(0)
    chain = HeaderChain(REGTEST, store, None, limits)
    store.commit(chain.initial_commit())
    assert isinstance(offer(chain, store, BASE[: count * 80]), Accepted)
    return chain, store


def check_main(chain: HeaderChain, headers: bytes) -> None:
    """The main chain is genesis and ``headers``, in all its indexes."""
    count = len(headers) // 80
    assert chain.headers(Height(0), count + 2) == REGTEST.genesis_header + headers
    hashes = sha256d_headers(REGTEST.genesis_header + headers)
    assert (chain.tip_height, chain.tip_hash) == (count, hashes[-32:])
    split = [hashes[at : at + 32] for at in range(0, len(hashes), 32)]
    assert chain.root(chain.tip_height) == electrum_root(split)
    probes = {0, 1, count // 3, 2015, 2016, 2017, 4031, 4032, 4033, 6048, count - 1, count}
    for height in probes & set(range(count + 1)):
        assert chain.height_of(chain.block_hash(Height(height))) == height
        assert chain.block_hash(Height(height)) == split[height]
        assert chain.chainwork(Height(height)) == 2 * (height + 1)


@pytest.mark.parametrize("depth", [1, 20, 3000])
def test_reorganization_of_any_depth(depth: int) -> None:
    chain, store = regtest(TOP)
    fork = TOP - depth
    branch = after(BASE[: fork * 80], depth + 1, seed=depth)
    old = sha256d_headers(BASE[fork * 80 :])
    # Up to equal work it is a side branch, in however many pieces it comes.
    for at in range(0, depth, 700):
        change = offer(chain, store, branch[at * 80 : min(at + 700, depth) * 80])
        assert isinstance(change, ExtendedFork)
        assert change.commit.kind is CommitKind.FORK
        assert (change.commit.headers, change.commit.undone, change.commit.tip_height) == (b"", b"", TOP)
        check_main(chain, BASE)
        assert [tip.branch_length for tip in chain.branches()] == [min(at + 700, depth)]
    change = offer(chain, store, branch[depth * 80 :])
    assert isinstance(change, Reorganization)
    assert (change.fork_height, change.undo, change.redo) == (fork, old, sha256d_headers(branch))
    assert change.commit.undone == BASE[fork * 80 :]
    check_main(chain, BASE[: fork * 80] + branch)
    assert [(tip.height, tip.hash, tip.branch_length) for tip in chain.branches()] == [(TOP, old[-32:], depth)]
    assert set(store.sides) == {old[-32:]}

    # And back again, when the old branch grows past it.
    back = after(BASE, 2, seed=1)
    change = offer(chain, store, back)
    assert isinstance(change, Reorganization)
    assert change.redo == old + sha256d_headers(back)
    check_main(chain, BASE + back)
    assert [tip.branch_length for tip in chain.branches()] == [depth + 1]
    more = after(back, 1600, seed=2)
    assert isinstance(offer(chain, store, more), Accepted)
    check_main(chain, BASE + back + more)


def test_reorganization_in_one_run_over_known_headers() -> None:
    """A peer on another branch sends from an old common height on: the known part is passed over."""
    chain, store = regtest(100)
    branch = after(BASE[: 60 * 80], 45, seed=9)
    change = offer(chain, store, BASE[50 * 80 : 60 * 80] + branch)
    assert isinstance(change, Reorganization)
    assert change.fork_height == 60
    check_main(chain, BASE[: 60 * 80] + branch)


def test_ties_keep_the_first_seen() -> None:
    chain, store = regtest(50)
    first = after(BASE[: 40 * 80], 10, seed=1)
    second = after(BASE[: 40 * 80], 10, seed=2)
    for branch in (first, second):
        assert isinstance(offer(chain, store, branch), ExtendedFork)
    check_main(chain, BASE[: 50 * 80])
    more = after(second, 1, seed=3)
    assert isinstance(offer(chain, store, more), Reorganization)
    assert isinstance(offer(chain, store, after(first, 1, seed=4)), ExtendedFork)
    check_main(chain, BASE[: 40 * 80] + second + more)


def test_branches_of_branches_and_their_rebasing() -> None:
    """A side branch that forks off the middle of another, and one off the main chain above the fork, keep their whole
    path when the main chain moves."""
    chain, store = regtest(60)
    low = after(BASE[: 40 * 80], 12, seed=1)
    middle = after(low[: 5 * 80], 10, seed=2)
    high = after(BASE[: 55 * 80], 3, seed=3)
    for run in (low, middle, high):
        assert isinstance(offer(chain, store, run), ExtendedFork)
    assert [tip.branch_length for tip in chain.branches()] == [12, 15, 3]

    grown = after(low, 9, seed=4)  # low wins: 40 + 21 = 61
    assert isinstance(offer(chain, store, grown), Reorganization)
    check_main(chain, BASE[: 40 * 80] + low + grown)
    paths = {
        header_hash(middle[-80:]): (45, middle),
        header_hash(high[-80:]): (40, BASE[40 * 80 : 55 * 80] + high),
        header_hash(BASE[59 * 80 : 60 * 80]): (40, BASE[40 * 80 : 60 * 80]),
    }
    assert {tip: (side.fork_height, side.headers) for tip, side in store.sides.items()} == paths
    assert {tip.hash for tip in chain.branches()} == set(paths)
    # Every one of them can still grow from its own context.
    for tip, headers in ((middle, 1), (high, 2)):
        assert isinstance(offer(chain, store, after(tip, headers, seed=5)), ExtendedFork)
    winner = after(BASE[: 60 * 80], 5, seed=6)
    assert isinstance(offer(chain, store, winner), Reorganization)
    check_main(chain, BASE[: 60 * 80] + winner)
    assert {tip.branch_length for tip in chain.branches()} == {21, 16, 5}


def test_duplicates_anywhere() -> None:
    chain, store = regtest(30)
    branch = after(BASE[: 20 * 80], 5, seed=1)
    offer(chain, store, branch)
    for run, height in (
        (REGTEST.genesis_header, 0),
        (BASE[: 30 * 80], 30),
        (BASE[10 * 80 : 11 * 80], 11),
        (REGTEST.genesis_header + BASE[: 3 * 80], 3),
        (branch, 25),
        (branch[80:240], 23),
        (BASE[15 * 80 : 20 * 80] + branch[:160], 22),
    ):
        assert offer(chain, store, run) == Duplicate(Height(height))


def test_known_headers_before_new_ones_are_passed_over() -> None:
    chain, store = regtest(30)
    change = offer(chain, store, REGTEST.genesis_header + BASE[: 40 * 80])
    assert isinstance(change, Accepted)
    assert (change.commit.fork_height, change.commit.headers) == (30, BASE[30 * 80 : 40 * 80])
    check_main(chain, BASE[: 40 * 80])


@pytest.mark.parametrize("bad", [0, 3, 9])
def test_a_bad_header_refuses_the_run_and_names_its_index(bad: int) -> None:
    chain, store = regtest(30)
    offer(chain, store, after(BASE[: 20 * 80], 4, seed=1))
    tails = {
        "main": (BASE[28 * 80 : 30 * 80], after(BASE[: 30 * 80], 10, seed=2)),
        "fork": (BASE[8 * 80 : 10 * 80], after(BASE[: 10 * 80], 10, seed=3)),
        "branch": (store.sides[chain.branches()[0].hash].headers[-160:], b""),
    }
    tails["branch"] = (tails["branch"][0], after(tails["branch"][0], 10, seed=4))
    for known, new in tails.values():
        spoilt = new[: bad * 80 + 72] + b"\x00\x00\x00\x1d" + new[bad * 80 + 76 :]
        change = offer(chain, store, known + spoilt)
        assert isinstance(change, Rejected)
        assert (change.reason, change.index) == (Reason.BAD_DIFFBITS, 2 + bad)
    check_main(chain, BASE[: 30 * 80])


@pytest.mark.parametrize("length", [0, 1, 79, 81, 159])
def test_partial_headers(length: int) -> None:
    chain, store = regtest(1)
    change = offer(chain, store, bytes(length))
    assert isinstance(change, Rejected)
    assert (change.reason, change.index) == (Reason.BAD_LENGTH, 0)


def test_what_connects_nowhere() -> None:
    chain, store = regtest(10)
    for run in (BASE[20 * 80 : 30 * 80], BITCOIN.genesis_header, bytes(80)):
        change = offer(chain, store, run)
        assert isinstance(change, Rejected)
        assert (change.reason, change.index) == (Reason.PREV_NOT_FOUND, 0)


def test_headers_from_the_future() -> None:
    chain, _ = regtest(10)
    last = Header(BASE[9 * 80 : 10 * 80])
    run = mine_run(last.hash, last.time, 1)
    late = Header(run).time - 7200
    assert isinstance(chain.plan(run, late), Accepted)
    change = chain.plan(run, late - 1)
    assert isinstance(change, Rejected)
    assert change.reason == Reason.TIME_TOO_NEW


def test_a_plan_counts_for_one_state() -> None:
    chain, store = regtest(10)
    one, other = chain.plan(BASE[800:880], NOW), chain.plan(BASE[800:1600], NOW)
    assert isinstance(one, Accepted)
    assert isinstance(other, Accepted)
    store.commit(one.commit)
    chain.apply(one)
    with pytest.raises(StalePlanError):
        chain.apply(other)
    check_main(chain, BASE[: 11 * 80])


# -- bounds


def test_number_of_branches_is_bounded() -> None:
    """The branch with the least work gives way; of equals the newest, which then is refused."""
    chain, store = regtest(50, Limits(side_branches=3, side_headers=1000))
    for length in (2, 3, 4):
        assert isinstance(offer(chain, store, after(BASE[: 40 * 80], length, seed=length)), ExtendedFork)
    change = offer(chain, store, after(BASE[: 40 * 80], 2, seed=77))
    assert isinstance(change, Rejected)
    assert (change.reason, change.index) == (Reason.SIDE_BRANCH_LIMIT, 0)
    change = offer(chain, store, after(BASE[: 40 * 80], 5, seed=78))
    assert isinstance(change, ExtendedFork)
    assert len(change.commit.side_drop) == 1
    assert sorted(tip.branch_length for tip in chain.branches()) == [3, 4, 5]
    assert set(store.sides) == {tip.hash for tip in chain.branches()}


def test_headers_of_branches_are_bounded() -> None:
    chain, store = regtest(100, Limits(side_branches=64, side_headers=50))
    for seed in range(1, 21):
        offer(chain, store, after(BASE[: 60 * 80], 7, seed=seed))
    assert [tip.branch_length for tip in chain.branches()] == [7] * 7
    too_long = after(BASE[: 30 * 80], 51, seed=5)
    change = offer(chain, store, too_long)
    assert isinstance(change, Rejected)
    assert change.reason == Reason.SIDE_BRANCH_LIMIT
    assert len(chain.branches()) == 7  # it did not push out the others
    assert isinstance(offer(chain, store, too_long[: 45 * 80]), ExtendedFork)  # more work than any of them
    assert sum(tip.branch_length for tip in chain.branches()) <= 50


def test_bounds_hold_when_a_reorganization_moves_branches() -> None:
    """Re-based branches carry the undone headers in front: they count. The undone chain itself may not fit either."""
    chain, store = regtest(100, Limits(side_branches=64, side_headers=100))
    for seed in range(1, 11):
        offer(chain, store, after(BASE[: 90 * 80], 5, seed=seed))
    assert len(chain.branches()) == 10
    branch = after(BASE[: 50 * 80], 51, seed=99)
    assert isinstance(offer(chain, store, branch), Reorganization)
    check_main(chain, BASE[: 50 * 80] + branch)
    assert sum(tip.branch_length for tip in chain.branches()) <= 100
    assert set(store.sides) == {tip.hash for tip in chain.branches()}
    # Longer than all that may be kept, and still the better chain.
    long = after(BASE[: 40 * 80], 160, seed=100)
    change = offer(chain, store, long)
    assert isinstance(change, Reorganization)
    assert len(change.undo) == 32 * 61
    assert len(store.sides) == len(chain.branches())


def test_an_undone_chain_that_cannot_be_kept_pushes_nothing_out() -> None:
    chain, store = regtest(200, Limits(side_branches=64, side_headers=100))
    assert isinstance(offer(chain, store, after(BASE[: 30 * 80], 5, seed=1)), ExtendedFork)
    change = offer(chain, store, after(BASE[: 40 * 80], 161, seed=2))
    assert isinstance(change, Reorganization)
    assert len(change.undo) == 160 * 32
    assert [(tip.height, tip.branch_length) for tip in chain.branches()] == [(35, 5)]


def test_rebasing_forgets_what_is_main_chain_now() -> None:
    def branch(fork: int, *names: bytes) -> Branch:
        return Branch(Height(fork), b"".join(n * 80 for n in names), b"".join(n * 32 for n in names), b"", Work(1))

    old, new = branch(10, b"a", b"b", b"c"), branch(10, b"A", b"B", b"C")
    assert rebase([branch(10, b"A"), branch(10, b"A", b"B", b"C")], old, new) == []
    assert rebase([branch(10, b"A", b"x")], old, new) == [branch(11, b"x")]
    assert rebase([branch(12, b"x")], old, new) == [branch(10, b"a", b"b", b"x")]
    untouched = [branch(9, b"x"), branch(10, b"y")]
    assert rebase(untouched, old, new) == untouched


def test_default_limits_are_those_that_are_documented() -> None:
    assert Limits() == Limits(side_branches=64, side_headers=21 * 2016)


# -- checkpoints


def test_built_in_checkpoints() -> None:
    """A header at the height must match; once it is passed, nothing may fork below it."""
    hashes = sha256d_headers(BASE[: 100 * 80])
    params = replace(REGTEST, checkpoints=((Height(50), header_hash(BASE[49 * 80 : 50 * 80])),))
    other = after(BASE[: 45 * 80], 20, seed=1)

    chain, store = open_chain(params)
    change = offer(chain, store, BASE[: 45 * 80] + other)
    assert isinstance(change, Rejected)
    assert (change.reason, change.index) == (Reason.CHECKPOINT_MISMATCH, 49)
    offer(chain, store, BASE[: 49 * 80])
    change = offer(chain, store, BASE[: 45 * 80] + other)  # the index counts what is known, too
    assert isinstance(change, Rejected)
    assert (change.reason, change.index) == (Reason.CHECKPOINT_MISMATCH, 49)
    assert isinstance(offer(chain, store, other[: 4 * 80]), ExtendedFork)  # not passed yet
    change = offer(chain, store, other[4 * 80 :])
    assert isinstance(change, Rejected)
    assert (change.reason, change.index) == (Reason.CHECKPOINT_MISMATCH, 0)

    offer(chain, store, BASE[49 * 80 : 60 * 80])
    assert chain.tip_hash == hashes[59 * 32 : 60 * 32]
    for fork, reason in ((10, Reason.FORK_PRIOR_TO_CHECKPOINT), (48, Reason.FORK_PRIOR_TO_CHECKPOINT),
                         (49, Reason.CHECKPOINT_MISMATCH)):  # fmt: skip
        change = offer(chain, store, after(BASE[: fork * 80], 30, seed=2))
        assert isinstance(change, Rejected)
        assert (change.reason, change.index) == (reason, 0)
    assert isinstance(offer(chain, store, after(BASE[: 50 * 80], 5, seed=3)), ExtendedFork)


def false_start(limits: Limits) -> tuple[HeaderChain, MemoryHeaders, bytes]:
    """A chain that was fed 59 false headers after height 40, on the way to a checkpoint at 100; and the true ones."""
    true = BASE[: 120 * 80]
    known = [(Height(height), header_hash(true[(height - 1) * 80 : height * 80])) for height in (20, 100)]
    params = replace(REGTEST, checkpoints=tuple(known))
    store = MemoryHeaders(0)
    chain = HeaderChain(params, store, None, limits)
    store.commit(chain.initial_commit())
    assert isinstance(offer(chain, store, true[: 40 * 80] + after(true[: 40 * 80], 59, seed=8)), Accepted)
    return chain, store, true


def test_the_branch_that_reaches_a_checkpoint_wins_whatever_its_work() -> None:
    chain, store, true = false_start(Limits(64, 75))
    chain._tree.state = replace(chain._tree.state, chainwork=Work(1 << 200))  # early headers can be given any work
    for at in range(40, 99, 10):
        assert isinstance(offer(chain, store, true[at * 80 : min(at + 10, 99) * 80]), ExtendedFork)
    change = offer(chain, store, true[99 * 80 :])
    assert isinstance(change, Reorganization)
    check_main(chain, true)
    assert not chain.branches()  # the false chain has lost for good
    refused = offer(chain, store, after(true[: 40 * 80], 59, seed=8)[:80])
    assert isinstance(refused, Rejected)
    assert refused.reason == Reason.FORK_PRIOR_TO_CHECKPOINT


def test_on_the_way_to_a_checkpoint_heavier_branches_do_not_shut_one_out() -> None:
    chain, store, true = false_start(Limits(64, 75))
    for fork in (90, 91, 92):  # more work than the true branch has for long
        assert isinstance(offer(chain, store, after(chain.headers(Height(1), fork), 6, seed=fork)), ExtendedFork)
    for at in range(40, 99):
        assert isinstance(offer(chain, store, true[at * 80 : (at + 1) * 80]), ExtendedFork)
        assert sum(tip.branch_length for tip in chain.branches()) <= 75
    assert isinstance(offer(chain, store, true[99 * 80 :]), Reorganization)
    check_main(chain, true)


@pytest.mark.parametrize("params", NETWORKS.values(), ids=NETWORKS)
def test_a_branch_may_span_any_two_checkpoints(params: ChainParams) -> None:
    heights = [0, *(height for height, _ in params.checkpoints)]
    assert all(above - below <= Limits().side_headers for below, above in pairwise(heights))


def test_a_rule_broken_before_a_checkpoint_comes_first() -> None:
    params = replace(REGTEST, checkpoints=((Height(50), header_hash(BITCOIN.genesis_header)),))
    chain, _ = open_chain(params)
    spoilt = BASE[: 30 * 80 + 72] + bytes(4) + BASE[30 * 80 + 76 : 60 * 80]
    change = chain.plan(spoilt, NOW)
    assert isinstance(change, Rejected)
    assert (change.reason, change.index) == (Reason.BAD_DIFFBITS, 30)


# -- the real thing


def mainnet_checkpoint() -> Checkpoint:
    """Mainnet at 151,200, with its work."""
    works = {
        int(row["height"]): int(row["chainwork_hex"], 16) for row in table("mainnet_retarget_boundaries_0-832608.csv")
    }
    header = unpacked("mainnet_150000-340000.bin")[1200 * 80 : 1201 * 80]
    return Checkpoint(Height(151_200), header_hash(header), header, Work(works[151_200]))


def test_real_stale_headers_as_forks() -> None:
    """The 76 stale headers that leave mainnet between 150,000 and 340,000, each injected as its sibling comes in:
    in turn just after it (a fork, dropped at the next header) and just before it (taken, then undone)."""
    headers = unpacked("mainnet_150000-340000.bin")
    positions = {parent: at for at, parent in enumerate(headers[at + 4 : at + 36] for at in range(0, len(headers), 80))}
    stale = []
    for row in table("stale-blocks.csv"):
        raw = bytes.fromhex(row["header"])
        if raw[4:36] in positions:
            at = positions[raw[4:36]]
            assert 150_000 + at == int(row["height"])
            stale.append((at, raw))
    assert len(stale) == 76
    chain, store = open_chain(BITCOIN, mainnet_checkpoint())
    offered, reorganized, late = 1201, 0, False
    for number, (at, raw) in enumerate(sorted(stale)):
        early = number % 2 == 0 and offered <= at
        upto = at if early else max(at + 1, offered)
        if offered < upto:
            assert isinstance(offer(chain, store, headers[offered * 80 : upto * 80]), Accepted)
        change = offer(chain, store, raw)
        if not early:
            assert isinstance(change, ExtendedFork)
            offered = upto
            continue
        assert isinstance(change, Accepted)
        assert isinstance(offer(chain, store, headers[at * 80 : (at + 1) * 80]), ExtendedFork)
        change = offer(chain, store, headers[(at + 1) * 80 : (at + 2) * 80])
        assert isinstance(change, Reorganization)
        assert change.undo == header_hash(raw)
        assert change.redo == sha256d_headers(headers[at * 80 : (at + 2) * 80])
        assert change.fork_height == 150_000 + at - 1
        offered, reorganized = at + 2, reorganized + 1
        late = late or chain.tip_height > 330_000
    assert late
    assert reorganized > 30
    assert isinstance(offer(chain, store, headers[offered * 80 :]), Accepted)
    assert (chain.tip_height, chain.tip_hash) == (340_000, header_hash(headers[-80:]))
    assert bytes(store.raw) == headers[1200 * 80 :]
    assert chain.chainwork(Height(340_000)) == 5051682541541469393314384
    # As many of them as the limit allows are still there to be asked for.
    assert len(chain.branches()) == 64
    assert {tip.branch_length for tip in chain.branches()} == {1}


def test_forks_far_below_the_last_mainnet_checkpoint() -> None:
    headers = unpacked("mainnet_150000-340000.bin")
    chain, store = open_chain(BITCOIN, mainnet_checkpoint())
    offer(chain, store, headers[1201 * 80 : 20_000 * 80])
    # An easy header on an old block: the rule that spares us this spam comes before all others.
    forged = headers[5000 * 80 : 5000 * 80 + 76] + bytes(4)
    change = offer(chain, store, forged)
    assert isinstance(change, Rejected)
    assert change.reason == Reason.FORK_PRIOR_TO_CHECKPOINT
    forged = headers[19_500 * 80 : 19_500 * 80 + 76] + bytes(4)
    change = offer(chain, store, forged)
    assert isinstance(change, Rejected)
    assert change.reason == Reason.HIGH_HASH


def test_work_decides_not_length() -> None:
    """On a network that retargets, fewer headers may hold more work."""
    params = replace(REGTEST, no_retargeting=False, allow_min_difficulty=False, bip94=False, timespan=600 * 4)
    chain, store = open_chain(params)
    genesis = Header(params.genesis_header)
    slow = mine_run(genesis.hash, genesis.time, 3, spacing=2400)
    last = Header(slow[-80:])
    slow += mine_run(last.hash, last.time, 3, spacing=2400)  # height 4 retargets to the limit: still regtest's
    fast = mine_run(genesis.hash, genesis.time, 3, spacing=1)
    assert isinstance(offer(chain, store, slow), Accepted)
    assert isinstance(offer(chain, store, fast), ExtendedFork)
    last = Header(fast[-80:])
    hard, _ = mine(last.hash, time=last.time + 600, bits=0x201FFFFF)
    assert block_proof(0x201FFFFF) == 8
    change = offer(chain, store, hard)
    assert isinstance(change, Reorganization)
    assert (len(change.undo) // 32, len(change.redo) // 32) == (6, 4)
    assert chain.tip_height == 4
