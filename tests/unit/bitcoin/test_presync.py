"""Presync with honest peers, with peers that end early, and against the naive model."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain as chained
from itertools import repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merkle.hashing import sha256d_headers
from spvnode.bitcoin.changes import Accepted
from spvnode.bitcoin.header import header_hash
from spvnode.bitcoin.packing import RunContext
from spvnode.bitcoin.params import BITCOIN, CORE_PRESYNC, NETWORKS, REGTEST, TESTNET3, ChainParams, PresyncParams
from spvnode.bitcoin.pow import total_proof
from spvnode.bitcoin.presync import (
    MAX_COMMITMENTS,
    Continue,
    LowWork,
    Presync,
    PresyncReason,
    Proven,
    Refused,
    Release,
    max_commitments,
)
from spvnode.bitcoin.rules import MAX_FUTURE_BLOCK_TIME, Reason
from spvnode.bitcoin.start import Checkpoint, genesis_of, start_context
from spvnode.bitcoin.work import bits_of
from spvnode.following import Blame
from spvnode.types import Hash32, Height, Work
from tests.support.easy_chain import EASY, GENESIS_TIME, START, easy_chain, easy_fork
from tests.support.headers_memory import offer, open_chain
from tests.support.mine import mine, regtest_chain
from tests.support.presync_runs import MESSAGE, NOW, Naive, drive, presync
from tests.support.vectors import document, table, unpacked

SMALL = replace(EASY, presync=PresyncParams(commitment_period=7, redownload_buffer=50))
SHORT = easy_chain(400)


def from_genesis(params: ChainParams) -> RunContext:
    return RunContext.unpack(start_context(params, genesis_of(params)))


# -- honest peers


@pytest.mark.parametrize("offset", [0, 1, 614])
@pytest.mark.parametrize("network", ["bitcoin", "testnet3", "signet"])
def test_real_chains_pass_both_times(network: str, offset: int) -> None:
    file = {"bitcoin": "mainnet_0-32259.bin", "testnet3": "testnet3_0-35141.bin", "signet": "signet_0-2015.bin"}
    params, headers = NETWORKS[network], unpacked(file[network])[80:]
    enough = total_proof(bits_of(params.genesis_header + headers[: len(headers) // 80 * 98 // 100 * 80]))
    out = drive(presync(params, from_genesis(params), enough, offset=offset), headers, headers)
    # Done with the message in which the work sufficed, however many follow.
    needed = len(headers) // 80 * 98 // 100
    taken = min(-(-needed // MESSAGE) * MESSAGE, len(headers) // 80)
    assert isinstance(out.last, Release)
    assert out.last.done
    assert out.released == headers[: taken * 80]
    assert out.messages == [-(-taken // MESSAGE)] * 2


def test_real_chain_from_a_checkpoint() -> None:
    """188,800 headers over 94 retargets, of which the first is the start itself; work counted from genesis."""
    boundaries = {row["height"]: row for row in table("mainnet_retarget_boundaries_0-832608.csv")}
    at, headers = 151_200, unpacked("mainnet_150000-340000.bin")[1201 * 80 :]
    raw, work = bytes.fromhex(boundaries[str(at)]["header_hex"]), int(boundaries[str(at)]["chainwork_hex"], 16)
    start = RunContext.unpack(start_context(BITCOIN, Checkpoint(Height(at), header_hash(raw), raw, Work(work))))
    out = drive(presync(BITCOIN, start, work + total_proof(bits_of(headers))), headers, headers)
    assert isinstance(out.last, Release)
    assert out.last.done
    assert out.released == headers


def test_what_is_released_makes_the_chain() -> None:
    params, headers = TESTNET3, unpacked("testnet3_0-35141.bin")[80:]
    chain, store = open_chain(params)
    sync = presync(params, from_genesis(params), total_proof(bits_of(params.genesis_header + headers)))
    for message in messages(headers):
        step = sync.take(*message)
        assert isinstance(step, Continue | Proven)
    for message in messages(headers):
        step = sync.take(*message)
        if isinstance(step, Release):
            assert step.start == chain.tip_height + 1
            assert isinstance(offer(chain, store, step.headers), Accepted)
            assert step.done or chain.tip_height == sync.height - CORE_PRESYNC.redownload_buffer
    assert chain.tip_hash == header_hash(headers[-80:])


def messages(headers: bytes) -> list[tuple[bytes, bool]]:
    size = MESSAGE * 80
    return [(headers[at : at + size], at + size < len(headers)) for at in range(0, len(headers), size)]


def test_the_places_to_ask_from() -> None:
    sync = presync(SMALL, START, 21)
    genesis, hashes = EASY.genesis_hash, sha256d_headers(SHORT)
    assert sync.place == (genesis,)
    step = sync.take(SHORT[:800], full=True)
    assert step == Continue((Hash32(hashes[9 * 32 : 10 * 32]), genesis))
    assert (sync.height, sync.work, sync.redownloading) == (10, 11, False)
    step = sync.take(SHORT[800:1600], full=True)  # the genesis counts
    assert step == Proven((genesis,), Height(20), Work(21))
    assert (sync.height, sync.redownloading) == (0, True)
    assert sync.take(SHORT[:800], full=True) == Continue((Hash32(hashes[9 * 32 : 10 * 32]), genesis))
    step = sync.take(SHORT[800:2400], full=False)
    assert step == Release(Height(1), SHORT[:2400], (Hash32(hashes[29 * 32 : 30 * 32]), genesis), done=True)
    assert sync.over
    with pytest.raises(RuntimeError, match="over"):
        sync.take(SHORT[2400:3200], full=True)


def test_a_peer_may_have_grown_or_changed_its_end_meanwhile() -> None:
    """Past the header whose work suffices nothing is compared."""
    for seed in range(20):
        other = SHORT[: 300 * 80] + easy_fork(SHORT, 300, 90, seed=5)
        out = drive(presync(SMALL, START, 301, seed=seed), SHORT[: 350 * 80], other, repeat(40))
        assert isinstance(out.last, Release)
        assert out.released == other[: 320 * 80]


def test_an_alternative_with_the_work_needs_no_commitments() -> None:
    """A second chain that shows the work itself, before any bit tells it from the first, is as good."""
    other = easy_fork(SHORT, 0, 20, seed=6)
    params = replace(EASY, presync=PresyncParams(commitment_period=100, redownload_buffer=200))
    out = drive(presync(params, START, 21, offset=50), SHORT, other, repeat(10))
    assert out.released == other


@pytest.mark.parametrize("start_work", [Work(1), Work(0)])
def test_nothing_to_prove(start_work: Work) -> None:
    out = drive(presync(SMALL, START, start_work), SHORT, SHORT, repeat(10))
    assert out.released == SHORT[:800]


# -- peers that end early


@pytest.mark.parametrize("share", [0.96, 0.97, 0.98, 0.99, 0.997, 0.999])
@pytest.mark.parametrize("empty_end", [True, False])
def test_a_chain_that_ends_before_its_work_is_left(share: float, empty_end: bool) -> None:
    """No loop at 96 to 99.9 per cent: one pass, one end, in either way that a peer may say it."""
    headers = easy_chain(20_000)
    count = int(20_000 * share)
    sync = presync(EASY, START, 20_001)
    taken = 0
    for at in range(0, count, MESSAGE):
        message = headers[at * 80 : min(at + MESSAGE, count) * 80]
        step = sync.take(message, full=empty_end or at + MESSAGE < count)
        taken += 1
    if empty_end:
        assert isinstance(step, Continue)
        step = sync.take(b"", full=False)
    assert step == LowWork(Height(count), Work(count + 1))
    assert sync.over
    assert taken == -(-count // MESSAGE)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.96, 0.97, 0.98, 0.99, 0.997, 0.999])
def test_a_second_pass_that_ends_early_is_left(share: float) -> None:
    headers = easy_chain(20_000)
    count = int(20_000 * share)
    out = drive(presync(EASY, START, 20_001), headers, headers[: count * 80])
    assert isinstance(out.last, Refused)
    assert (out.last.reason, out.last.blame) == (PresyncReason.ENDED, Blame.UNLINKED)
    assert out.messages == [10, max(1, -(-count // MESSAGE))]
    assert headers.startswith(out.released)
    assert len(out.released) // 80 <= max(0, count - CORE_PRESYNC.redownload_buffer)


def test_an_empty_full_message_ends_it_too() -> None:
    assert isinstance(presync(SMALL, START, 21).take(b"", full=True), LowWork)


# -- broken rules


def test_the_same_message_again() -> None:
    sync = presync(SMALL, START, 401)
    sync.take(SHORT[:800], full=True)
    step = sync.take(SHORT[:800], full=True)
    assert isinstance(step, Refused)
    assert (step.reason, step.index, step.blame) == (Reason.PREV_NOT_FOUND, 0, Blame.UNLINKED)
    assert sync.over


def broken(kind: str, at: int, headers: bytes) -> tuple[bytes, Reason, Blame]:
    """``headers`` (regtest) with the one at ``at`` spoilt, the rule that it breaks, and who is to blame."""
    before = REGTEST.genesis_header if at == 0 else headers[(at - 1) * 80 : at * 80]
    prev = header_hash(before)
    time = int.from_bytes(headers[at * 80 + 68 : at * 80 + 72], "little")
    bad = {
        "link": lambda: mine(b"\x07" * 32, time=time),
        "bits": lambda: mine(prev, time=time, bits=REGTEST.pow_limit_bits - 1),
        "hash": lambda: mine(prev, time=time, good=False),
        "time": lambda: mine(prev, time=time - 6_600),
        "version": lambda: mine(prev, time=time, version=3),
    }[kind]()[0]
    reason = {
        "link": Reason.PREV_NOT_FOUND,
        "bits": Reason.BAD_DIFFBITS,
        "hash": Reason.HIGH_HASH,
        "time": Reason.TIME_TOO_OLD,
        "version": Reason.BAD_VERSION,
    }[kind]
    blame = Blame.UNLINKED if kind == "link" and at % 100 == 0 else Blame.SENDER
    return headers[: at * 80] + bad + headers[(at + 1) * 80 :], reason, blame


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("at", [30, 199, 200, 555])
@pytest.mark.parametrize("kind", ["link", "bits", "hash", "time", "version"])
def test_every_rule_holds_in_both_passes(kind: str, at: int, second: bool) -> None:
    params = replace(REGTEST, presync=PresyncParams(commitment_period=50, redownload_buffer=250))
    headers = regtest_chain(900)
    bad, reason, blame = broken(kind, at, headers)
    threshold = 2 * 901
    sync = presync(params, from_genesis(params), threshold)
    out = drive(sync, headers if second else bad, bad if second else headers, repeat(100))
    assert isinstance(out.last, Refused)
    assert (out.last.reason, out.last.index, out.last.blame) == (reason, at % 100, blame)
    assert out.last.detail == f"height {at + 1}"
    assert out.released == headers[: max(0, at // 100 * 100 - 250) * 80 if second else 0]


def test_bytes_that_are_no_headers() -> None:
    step = presync(SMALL, START, 21).take(SHORT[:799], full=True)
    assert isinstance(step, Refused)
    assert (step.reason, step.blame) == (Reason.BAD_LENGTH, Blame.SENDER)


def test_another_header_at_a_checkpoint() -> None:
    known = replace(SMALL, checkpoints=((Height(150), header_hash(SHORT[149 * 80 : 150 * 80])),))
    assert isinstance(drive(presync(known, START, 401), SHORT, SHORT, repeat(40)).last, Release)
    other = replace(SMALL, checkpoints=((Height(150), Hash32(b"\x07" * 32)),))
    out = drive(presync(other, START, 401), SHORT, SHORT, repeat(40))
    assert isinstance(out.last, Refused)
    assert (out.last.reason, out.last.index, out.messages) == (Reason.CHECKPOINT_MISMATCH, 29, [4, 0])


def test_headers_from_the_future_are_not_its_business() -> None:
    """The clock may be wrong; ``plan`` sees all that is released and judges it by the clock of then."""
    out = drive(presync(SMALL, START, 301, now=GENESIS_TIME - 10**8), SHORT, SHORT, repeat(10))
    assert out.released == SHORT[: 300 * 80]


# -- bounds


def test_no_more_bits_than_time_allows() -> None:
    now = GENESIS_TIME + 1_000
    bound = 6 * (1_000 + 7_200) // 615
    assert max_commitments(EASY, START, now) == bound == 80
    headers = easy_chain(bound * 615 + 700)
    out = drive(presync(EASY, START, 10**9, now=now), headers, b"")
    assert isinstance(out.last, Refused)
    assert (out.last.reason, out.last.blame) == (PresyncReason.TOO_LONG, Blame.CLOCK)
    assert out.last.detail == f"height {(bound + 1) * 615}, limit 80 bits"


@pytest.mark.parametrize(("now", "refused"), [(-1, False), (0, True), (600, True), (2_000, True), (4_000, False)])
def test_a_chain_that_our_clock_does_not_believe_may_be_the_clock_s_fault(now: int, refused: bool) -> None:
    """A machine without a battery clock wakes up at the time of what it has: an honest chain is longer than its clock
    allows. Whatever is refused so ends in the future, as that clock has it."""
    headers = easy_chain(60_000)
    last = drive(presync(EASY, START, 10**9, now=GENESIS_TIME + now), headers, b"").last
    assert isinstance(last, Refused if refused else LowWork)
    if isinstance(last, Refused):
        assert (last.reason, last.blame) == (PresyncReason.TOO_LONG, Blame.CLOCK)
        assert int.from_bytes(headers[-12:-8], "little") > GENESIS_TIME + now + MAX_FUTURE_BLOCK_TIME


@pytest.mark.parametrize("size", [1, 7, 40, 100, 500])
@pytest.mark.parametrize("piece", [1, 3, 50, 10_000])
def test_what_is_kept_comes_piece_by_piece_and_is_the_same(size: int, piece: int) -> None:
    """Less is held meanwhile than it would be as headers."""
    whole, pieces = presync(SMALL, START, 301), presync(SMALL, START, 301)
    expected = drive(whole, SHORT, SHORT, repeat(size)).released
    got, at, asked = bytearray(), 0, 1
    while not pieces.over:
        message = SHORT[at * 80 : (at + size) * 80]
        at += size
        step = pieces.take(message, full=True, keep=True)
        if isinstance(step, Proven):
            at = 0
        elif isinstance(step, Release):
            got += step.headers
            while pieces.whole and not pieces.over:
                assert step.start + len(step.headers) // 80 == START.height + len(got) // 80
                with pytest.raises(RuntimeError, match="over"):
                    pieces.take(message, full=True)
                step = pieces.rest(piece)
                assert 0 < len(step.headers) <= piece * 80
                got += step.headers
                asked += 1
            assert step.done == pieces.over
    assert bytes(got) == expected
    assert pieces.nbytes < 200, "what was held is freed"
    with pytest.raises(RuntimeError, match="nothing"):
        pieces.rest(1)


def test_the_numbers_are_cores() -> None:
    core = document("core_28.1_headerssync_params.json")
    for params in NETWORKS.values():
        assert params.presync.commitment_period == core["HEADER_COMMITMENT_PERIOD"]
        assert params.presync.redownload_buffer == core["REDOWNLOAD_BUFFER_SIZE"]
    assert CORE_PRESYNC.redownload_buffer // CORE_PRESYNC.commitment_period == 23


def test_the_bound_on_bits() -> None:
    mainnet = from_genesis(BITCOIN)
    longest = 3_000_000  # twice what mainnet will have in thirty years
    assert max_commitments(BITCOIN, mainnet, NOW) == MAX_COMMITMENTS > 100 * longest // CORE_PRESYNC.commitment_period
    late = replace(START, times=(NOW,) * 11)
    assert max_commitments(EASY, late, NOW) == 6 * 7_200 // 615
    assert max_commitments(EASY, late, NOW - 1) == MAX_COMMITMENTS, "a clock behind the chain is no measure"
    assert max_commitments(EASY, replace(START, times=()), NOW) == MAX_COMMITMENTS


@pytest.mark.parametrize(("salt", "offset"), [(bytes(15), 0), (bytes(17), 0), (bytes(16), -1), (bytes(16), 615)])
def test_wrong_salt_and_offset(salt: bytes, offset: int) -> None:
    with pytest.raises(ValueError, match="salt of"):
        Presync(EASY, START, Work(1), salt=salt, offset=offset, now=NOW)


# -- against the naive model


@pytest.mark.fuzz
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_cut_gives_the_naive_outcome(data: st.DataObject) -> None:
    """Released headers and the ending are those of the model, whatever the messages, buffers, periods and forks."""
    period = data.draw(st.integers(1, 12), "period")
    params = replace(EASY, presync=PresyncParams(period, data.draw(st.integers(1, 120), "buffer")))
    fork = data.draw(st.integers(0, 200), "fork")
    second = SHORT[: fork * 80] + easy_fork(SHORT, fork, 220 - fork, seed=data.draw(st.integers(1, 50)))
    first = SHORT[: data.draw(st.integers(0, 230), "first's length") * 80]
    second = data.draw(st.sampled_from([SHORT, second]))[: data.draw(st.integers(0, 230), "second's length") * 80]
    threshold = data.draw(st.integers(1, 240), "threshold")
    seed, offset = data.draw(st.integers(0, 10**6), "salt"), data.draw(st.integers(0, period - 1), "offset")
    sizes = data.draw(st.lists(st.integers(1, 90), min_size=1), "sizes")
    expected, ending, height = Naive(params, START, threshold, seed, offset).both(first, second)

    sync = presync(params, START, threshold, seed=seed, offset=offset)
    out = drive(sync, first, second, chained(sizes, repeat(sizes[-1])))
    if isinstance(out.last, Refused):
        assert (out.last.reason, out.last.detail.split(",")[0]) == (ending, f"height {height}")
        assert expected.startswith(out.released), "the message that tells is not released from"
    elif isinstance(out.last, LowWork):
        assert (ending, height, expected, out.released) == ("low work", out.last.height, b"", b"")
    else:
        assert ending == "done"
        assert out.released.startswith(expected), "and the rest of the message in which the work sufficed"
        assert second.startswith(out.released)
