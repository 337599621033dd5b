"""Each rule at its exact boundary, on headers mined for it, through every implementation."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spvnode.bitcoin import rules
from spvnode.bitcoin.packing import RunContext, pack_params
from spvnode.bitcoin.params import BITCOIN, REGTEST, ChainParams
from spvnode.bitcoin.pow import block_proof, calculate_next_work
from spvnode.bitcoin.rules import MAX_FUTURE_BLOCK_TIME, NO_TIME_LIMIT, Reason, median_time_past
from spvnode.bitcoin.validation import check_run
from spvnode.types import Hash32, Height, Work
from tests.support.mine import mine, mine_run
from tests.support.rule_checks import BEFORE_GENESIS, IMPLEMENTATIONS, check

both = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)

EXAMPLES = 10_000 if os.environ.get("SPVNODE_TEST_PROFILE") == "fuzz" else 150
NOW = 1_700_000_000
EASY = 0x203FFFFF
"""A target that four hashes meet, where the limit of regtest is met by two."""
RETARGETING = replace(REGTEST, no_retargeting=False, allow_min_difficulty=False, bip94=False, checkpoints=())
"""Regtest's easy limit with mainnet's rules and an interval of 144."""


def context(height: int, times: tuple[int, ...], **fields: int) -> RunContext:
    """A place in a chain on regtest's limit; ``fields`` override."""
    values: dict[str, int] = {
        "prev_bits": EASY,
        "period_start_time": times[0],
        "period_start_bits": EASY,
        "last_real_bits": EASY,
    }
    values.update(fields)
    return RunContext(Height(height), Hash32(b"\x11" * 32), times=times, chainwork=Work(1000), **values)


def verdict(
    implementation: str,
    params: ChainParams,
    where: RunContext,
    *,
    max_time: int = NO_TIME_LIMIT,
    time: int,
    bits: int = EASY,
    version: int = 4,
    good: bool = True,
) -> Reason | None:
    """The fate of one header mined for ``where``."""
    raw, digest = mine(where.prev_hash, time=time, bits=bits, version=version, good=good)
    outcome = check(implementation, params, where, raw, max_time)
    if outcome.reason is None:
        assert outcome.hashes == digest
        assert outcome.after.chainwork == where.chainwork + block_proof(bits)
        assert outcome.after.times == (*where.times, time)[-11:]
    else:
        assert outcome.after == where
    return outcome.reason


# -- time


@both
@pytest.mark.parametrize("known", range(1, 12))
def test_time_must_exceed_the_median(implementation: str, known: int) -> None:
    times = tuple(NOW + step for step in (500, 100, 300, 1100, 700, 200, 900, 400, 1000, 600, 800)[:known])
    median = sorted(times)[known // 2]
    where = context(1000, times)
    assert verdict(implementation, RETARGETING, where, time=median) == Reason.TIME_TOO_OLD
    assert verdict(implementation, RETARGETING, where, time=median + 1) is None


@both
def test_time_may_run_two_hours_ahead(implementation: str) -> None:
    where = context(1000, (NOW,) * 11)
    limit = NOW + 1000 + MAX_FUTURE_BLOCK_TIME
    assert MAX_FUTURE_BLOCK_TIME == 7200
    assert verdict(implementation, RETARGETING, where, max_time=limit, time=limit) is None
    assert verdict(implementation, RETARGETING, where, max_time=limit, time=limit + 1) == Reason.TIME_TOO_NEW


@both
@pytest.mark.parametrize(
    ("bip94", "height", "refused"), [(True, 1440, True), (True, 1441, False), (False, 1440, False)]
)
def test_timewarp_at_the_first_header_of_a_period(implementation: str, bip94: bool, height: int, refused: bool) -> None:
    params = replace(RETARGETING, bip94=bip94)
    where = context(height, (*(NOW - 5000 + step for step in range(10)), NOW), period_start_time=NOW - 86_400)
    for time, wanted in ((NOW - 600, None), (NOW - 601, Reason.TIME_TIMEWARP if refused else None)):
        assert verdict(implementation, params, where, time=time) == wanted


# -- bits


@both
@pytest.mark.parametrize("bits", [0, 0x20800000 | 0x3FFFFF, 0xFF3FFFFF, 0x1F000000, 0x207FFFFF, 0x2100FFFF])
def test_bits_without_a_usable_target(implementation: str, bits: int) -> None:
    """Refused even where they are what the parent has: such bits are no target, or above the limit."""
    params = replace(RETARGETING, pow_limit=(1 << 254) - 1, pow_limit_bits=EASY)
    where = context(1000, (NOW,), prev_bits=bits, last_real_bits=bits)
    raw, _ = mine(where.prev_hash, time=NOW + 600)
    header = raw[:72] + bits.to_bytes(4, "little") + raw[76:]
    assert check(implementation, params, where, header).reason == Reason.BAD_DIFFBITS


@both
@pytest.mark.parametrize("bip94", [False, True])
@pytest.mark.parametrize("seconds", [-7200, 0, 21_599, 21_600, 50_000, 86_400, 90_000, 345_600, 400_000])
def test_retarget(implementation: str, bip94: bool, seconds: int) -> None:
    """The period's last bits count, by BIP94 its first."""
    params = replace(RETARGETING, bip94=bip94)
    where = context(1440, (NOW,) * 11, period_start_time=NOW - seconds, prev_bits=EASY, period_start_bits=0x201FFFFF)
    bits = calculate_next_work(
        0x201FFFFF if bip94 else EASY, NOW - seconds, NOW, timespan=params.timespan, pow_limit=params.pow_limit
    )
    assert verdict(implementation, params, where, time=NOW + 1, bits=bits) is None
    raw, _ = mine(where.prev_hash, time=NOW + 1, bits=bits)
    for wrong in (bits - 1, bits + 1):
        header = raw[:72] + wrong.to_bytes(4, "little") + raw[76:]
        assert check(implementation, params, where, header).reason == Reason.BAD_DIFFBITS


@both
def test_retarget_starts_the_next_period(implementation: str) -> None:
    where = context(1440, (NOW,) * 11, period_start_time=NOW - 86_400)
    raw, _ = mine(where.prev_hash, time=NOW + 77, bits=EASY)
    after = check(implementation, RETARGETING, where, raw).after
    assert (after.height, after.period_start_time, after.period_start_bits) == (1441, NOW + 77, EASY)


@both
@pytest.mark.parametrize("gap", [-100, 0, 1200, 1201])
@pytest.mark.parametrize("height", [1000, 1440])
def test_twenty_minute_rule(implementation: str, gap: int, height: int) -> None:
    """More than twenty minutes after its parent a block may, and must, be at the limit; not at a retarget."""
    params = replace(RETARGETING, allow_min_difficulty=True)
    times = (*(NOW - 9000 + step for step in range(10)), NOW)
    where = context(height, times, prev_bits=params.pow_limit_bits, period_start_time=NOW - 86_400)
    # At a retarget the bits of the parent, for the period took as long as it should.
    wanted = params.pow_limit_bits if height % 144 == 0 or gap > 1200 else EASY
    other = EASY if wanted == params.pow_limit_bits else params.pow_limit_bits
    assert verdict(implementation, params, where, time=NOW + gap, bits=wanted) is None
    assert verdict(implementation, params, where, time=NOW + gap, bits=other) == Reason.BAD_DIFFBITS


@both
def test_twenty_minute_rule_remembers_the_real_bits(implementation: str) -> None:
    params = replace(RETARGETING, allow_min_difficulty=True)
    limit = params.pow_limit_bits
    where = context(1000, (NOW,))
    time, raws, prev = NOW, [], where.prev_hash
    for gap, bits in ((600, EASY), (1201, limit), (5000, limit), (1200, EASY), (1201, limit), (1, EASY)):
        time += gap
        raw, digest = mine(prev, time=time, bits=bits)
        raws.append(raw)
        prev = Hash32(digest)
    outcome = check(implementation, params, where, b"".join(raws))
    assert (outcome.count, outcome.reason) == (6, None)
    assert (outcome.after.prev_bits, outcome.after.last_real_bits) == (EASY, EASY)
    assert check(implementation, params, where, b"".join(raws[:3])).after.last_real_bits == EASY


@both
def test_no_retargeting_keeps_the_bits_of_the_parent(implementation: str) -> None:
    params = replace(RETARGETING, no_retargeting=True)
    where = context(1440, (NOW,) * 11, period_start_time=NOW)
    assert verdict(implementation, params, where, time=NOW + 1, bits=EASY) is None
    assert verdict(implementation, params, where, time=NOW + 1, bits=EASY - 1) == Reason.BAD_DIFFBITS


# -- proof of work, link, version


@both
def test_hash_above_the_target(implementation: str) -> None:
    where = context(1000, (NOW,))
    assert verdict(implementation, RETARGETING, where, time=NOW + 1, good=False) == Reason.HIGH_HASH


@both
def test_link(implementation: str) -> None:
    where = context(1000, (NOW,))
    raw, digest = mine(where.prev_hash, time=NOW + 1, bits=EASY)
    assert check(implementation, RETARGETING, replace(where, prev_hash=Hash32(digest)), raw).reason == (
        Reason.PREV_NOT_FOUND
    )


@both
def test_versions_by_height(implementation: str) -> None:
    params = replace(RETARGETING, bip34_height=1000, bip66_height=1010, bip65_height=1020)
    for height, lowest in ((999, -5), (1000, 2), (1009, 2), (1010, 3), (1019, 3), (1020, 4)):
        where = context(height, (NOW,))
        assert verdict(implementation, params, where, time=NOW + 1, version=lowest) is None, height
        if height >= 1000:
            below = verdict(implementation, params, where, time=NOW + 1, version=lowest - 1)
            assert below == Reason.BAD_VERSION, height
            # The comparison is signed: the top bit makes a version low.
            assert verdict(implementation, params, where, time=NOW + 1, version=-(1 << 31)) == Reason.BAD_VERSION


@both
def test_versions_within_one_run(implementation: str) -> None:
    """A run over the three heights: version 1 to 3 where they may still be, each refused one height later."""
    params = replace(RETARGETING, bip34_height=1012, bip66_height=1014, bip65_height=1016)
    versions = (1, 1, 2, 2, 3, 3, 4, 4)
    for bad in (None, 2, 4, 6):
        where = context(1010, (NOW,))
        raws, prev = [], where.prev_hash
        for at, version in enumerate(versions):
            raw, digest = mine(prev, time=NOW + 1 + at, bits=EASY, version=version - (at == bad))
            raws.append(raw)
            prev = Hash32(digest)
        for cut in range(8 if bad is None else bad + 1):
            begun = check(implementation, params, where, b"".join(raws[:cut]))
            outcome = check(implementation, params, begun.after, b"".join(raws[cut:]))
            wanted = (8, None) if bad is None else (bad, Reason.BAD_VERSION)
            assert (begun.count + outcome.count, outcome.reason) == wanted


@both
def test_genesis_is_asked_for_bits_and_proof_only(implementation: str) -> None:
    for params in (BITCOIN, REGTEST):
        outcome = check(implementation, params, BEFORE_GENESIS, params.genesis_header, max_time=0)
        assert (outcome.count, outcome.reason, outcome.hashes) == (1, None, params.genesis_hash)
    bad = BITCOIN.genesis_header[:76] + bytes(4)
    assert check(implementation, BITCOIN, BEFORE_GENESIS, bad).reason == Reason.HIGH_HASH
    assert check(implementation, BITCOIN, BEFORE_GENESIS, REGTEST.genesis_header).reason == Reason.BAD_DIFFBITS
    linked, _ = mine(b"\x01" * 32, time=NOW)
    assert check(implementation, REGTEST, BEFORE_GENESIS, linked).reason == Reason.PREV_NOT_FOUND


# -- order of the rules


@both
def test_the_first_failing_rule_gives_the_reason(implementation: str) -> None:
    """A header that breaks everything, mended rule by rule."""
    params = replace(RETARGETING, bip94=True, bip65_height=0)
    ancestors = (*(NOW - 5000 + step for step in range(10)), NOW)
    where = context(1440, ancestors, period_start_time=NOW - 86_400)
    other = Hash32(b"\x22" * 32)
    median = NOW - 5000 + 5
    steps = [
        (other, EASY - 1, False, median, 3, Reason.PREV_NOT_FOUND),
        (where.prev_hash, EASY - 1, False, median, 3, Reason.BAD_DIFFBITS),
        (where.prev_hash, EASY, False, median, 3, Reason.HIGH_HASH),
        (where.prev_hash, EASY, True, median, 3, Reason.TIME_TOO_OLD),
        (where.prev_hash, EASY, True, median + 1, 3, Reason.TIME_TIMEWARP),
        (where.prev_hash, EASY, True, NOW, 3, Reason.TIME_TOO_NEW),
    ]
    for prev_hash, bits, good, time, version, reason in steps:
        raw, _ = mine(prev_hash, time=time, bits=bits, version=version, good=good)
        assert check(implementation, params, where, raw, NOW - 6000).reason == reason
    raw, _ = mine(where.prev_hash, time=NOW, bits=EASY, version=3)
    assert check(implementation, params, where, raw, NOW).reason == Reason.BAD_VERSION


# -- the contract of the call


@both
def test_hashes_and_context_stop_at_the_first_bad_header(implementation: str) -> None:
    genesis = check(implementation, REGTEST, BEFORE_GENESIS, REGTEST.genesis_header)
    run = mine_run(REGTEST.genesis_hash, 1_296_688_602, 40)
    whole = check(implementation, REGTEST, genesis.after, run)
    for at in (0, 1, 17, 39):
        broken = bytearray(run)
        broken[at * 80 + 76] ^= 0xFF  # the nonce
        outcome = check(implementation, REGTEST, genesis.after, bytes(broken))
        assert outcome.count >= at
        prefix = check(implementation, REGTEST, genesis.after, run[: at * 80])
        if outcome.count == at:
            assert outcome.after == prefix.after
        assert outcome.hashes[: at * 32] == whole.hashes[: at * 32]


@both
def test_nothing_to_check(implementation: str) -> None:
    outcome = check(implementation, REGTEST, BEFORE_GENESIS, b"")
    assert (outcome.count, outcome.reason, outcome.after) == (0, None, BEFORE_GENESIS)


@both
def test_broken_calls_raise(implementation: str) -> None:
    call, params, where = IMPLEMENTATIONS[implementation], pack_params(REGTEST), BEFORE_GENESIS.pack()
    with pytest.raises(ValueError, match="headers: 81 bytes"):
        call(params, where, bytes(81), 0, bytearray(64))
    with pytest.raises(ValueError, match="bytes"):
        call(params, where, bytes(160), 0, bytearray(63))


def test_the_switch_refuses_a_partial_header() -> None:
    with pytest.raises(ValueError, match="headers: 79 bytes is not a multiple of 80"):
        check_run(pack_params(REGTEST), BEFORE_GENESIS.pack(), bytes(79), 0)


def test_the_switch_gives_what_the_rules_give() -> None:
    run = REGTEST.genesis_header + mine_run(REGTEST.genesis_hash, 1_296_688_602, 30) + bytes(80)
    result = check_run(pack_params(REGTEST), BEFORE_GENESIS.pack(), run, NO_TIME_LIMIT)
    twin = check("python", REGTEST, BEFORE_GENESIS, run)
    assert (result.count, result.reason, result.hashes) == (31, Reason.PREV_NOT_FOUND, twin.hashes)
    assert RunContext.unpack(result.context) == twin.after


@given(st.lists(st.integers(0, NO_TIME_LIMIT), min_size=1, max_size=30))
def test_median_time_past(times: list[int]) -> None:
    recent = times[-11:]
    median = median_time_past(times)
    assert median in recent
    assert sum(time < median for time in recent) <= len(recent) // 2
    assert sum(time > median for time in recent) <= (len(recent) - 1) // 2


# -- both implementations, on chains that bend every rule


@st.composite
def bent_chains(draw: st.DrawFn) -> tuple[ChainParams, bytes, int]:
    """Parameters with a short interval, a chain that is good but for its end, and a clock."""
    params = replace(
        REGTEST,
        timespan=600 * draw(st.sampled_from([1, 2, 4, 6])),
        no_retargeting=draw(st.booleans()),
        allow_min_difficulty=draw(st.booleans()),
        bip94=draw(st.booleans()),
        bip34_height=draw(st.integers(0, 20)),
        bip66_height=draw(st.integers(0, 20)),
        bip65_height=draw(st.integers(0, 20)),
        checkpoints=(),
    )
    table = rules._Rules.unpack(pack_params(params))
    run = rules._Run(table, BEFORE_GENESIS, NO_TIME_LIMIT)
    run.one(params.genesis_header, params.genesis_hash)
    raws = [params.genesis_header]
    steps = st.sampled_from([-700, -601, -600, -1, 0, 1, 300, 600, 1200, 1201, 5000])
    for step in draw(st.lists(steps, max_size=20)):
        time = max(run.times[-1] + step, median_time_past(run.times) + 1)
        bits = run.expected_bits(time)
        if block_proof(bits) > 500:  # more hashes than a test should spend
            break
        raw, digest = mine(run.prev_hash, time=time, bits=bits, version=max(1, table.minimum_version(run.height)))
        raws.append(raw)
        assert run.one(raw, digest) == 0 or params.bip94
    last = draw(st.sampled_from(["good", "bits", "hash", "time", "version", "link"]))
    time = median_time_past(run.times) + (last != "time")
    bits = min(run.expected_bits(time), 0x207FFFFF)
    if block_proof(bits) <= 500:
        prev = Hash32(b"\x33" * 32) if last == "link" else run.prev_hash
        version = table.minimum_version(run.height) - (last == "version") if run.height > 20 else 3
        raws.append(mine(prev, time=time, bits=bits - (last == "bits"), version=version, good=last != "hash")[0])
    return params, b"".join(raws), draw(st.sampled_from([NO_TIME_LIMIT, time, time - 1]))


@pytest.mark.fuzz
@settings(max_examples=EXAMPLES, deadline=None)
@given(bent_chains(), st.integers(0, 22))
def test_implementations_agree(case: tuple[ChainParams, bytes, int], cut: int) -> None:
    params, headers, max_time = case
    outcomes = []
    for implementation in IMPLEMENTATIONS:
        first = check(implementation, params, BEFORE_GENESIS, headers[: cut * 80])
        second = check(implementation, params, first.after, headers[first.count * 80 :], max_time)
        whole = check(implementation, params, BEFORE_GENESIS, headers, max_time)
        outcomes.append((first, second, whole))
    assert all(outcome == outcomes[0] for outcome in outcomes)
