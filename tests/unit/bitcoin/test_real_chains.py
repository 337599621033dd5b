"""Real headers through the rules: accepted whole, and refused by the right rule once anything about them is changed."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from spvnode.bitcoin.header import Header, header_hash
from spvnode.bitcoin.packing import MEDIAN_TIME_SPAN, RunContext
from spvnode.bitcoin.params import BITCOIN, NETWORKS, TESTNET3
from spvnode.bitcoin.pow import block_proof
from spvnode.bitcoin.rules import Reason
from spvnode.bitcoin.start import Checkpoint, start_context
from spvnode.bitcoin.work import bits_of, times_of
from spvnode.types import Height, Work, hash_from_hex
from tests.support.rule_checks import BEFORE_GENESIS, IMPLEMENTATIONS, check
from tests.support.vectors import document, table, unpacked

MAINNET_START, MAINNET_MIDDLE, MAINNET_LATE = (
    "mainnet_0-32259.bin",
    "mainnet_40000-49999.bin",
    "mainnet_150000-340000.bin",
)
BOUNDARIES = {
    int(row["height"]): (bytes.fromhex(row["header_hex"]), Work(int(row["chainwork_hex"], 16)))
    for row in table("mainnet_retarget_boundaries_0-832608.csv")
}
RETARGETS = [height for height in BOUNDARIES if height % 2016 == 0 and height > 0]

both = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)


def checkpoint_context(height: int) -> RunContext:
    """The context after the real mainnet header at a retarget height."""
    header, work = BOUNDARIES[height]
    checkpoint = Checkpoint(Height(height), header_hash(header), header, work)
    return RunContext.unpack(start_context(BITCOIN, checkpoint))


def boundary_context(height: int) -> RunContext:
    """The context of the mainnet header at a retarget height, from the table alone: one ancestor's time is known."""
    parent, work = BOUNDARIES[height - 1]
    first = Header(BOUNDARIES[height - 2016][0])
    last = Header(parent)
    times = (0,) * (MEDIAN_TIME_SPAN - 1) + (last.time,)
    return RunContext(Height(height), last.hash, last.bits, first.time, first.bits, last.bits, times, work)


def with_bits(header: bytes, bits: int) -> bytes:
    return header[:72] + bits.to_bytes(4, "little") + header[76:]


@both
@pytest.mark.parametrize(
    ("network", "file"),
    [("bitcoin", MAINNET_START), ("testnet3", "testnet3_0-35141.bin"), ("signet", "signet_0-2015.bin")],
)
def test_chains_from_genesis(implementation: str, network: str, file: str) -> None:
    headers = unpacked(file)
    outcome = check(implementation, NETWORKS[network], BEFORE_GENESIS, headers)
    assert (outcome.count, outcome.reason) == (len(headers) // 80, None)
    assert outcome.hashes[:32] == NETWORKS[network].genesis_hash
    assert outcome.after.chainwork == sum(map(block_proof, bits_of(headers)))
    assert outcome.after.times == times_of(headers[-11 * 80 :])
    for period, text in enumerate(document("electrum_checkpoints.json")[network], start=1):
        assert outcome.hashes[(2016 * period - 1) * 32 :][:32] == hash_from_hex(text)


@both
def test_mainnet_from_a_checkpoint(implementation: str) -> None:
    headers = unpacked(MAINNET_LATE)[1201 * 80 :]
    outcome = check(implementation, BITCOIN, checkpoint_context(151_200), headers)
    assert (outcome.count, outcome.reason, outcome.after.height) == (188_800, None, 340_001)
    _, work_before = BOUNDARIES[338_688]
    assert outcome.after.chainwork == work_before + 1312 * block_proof(outcome.after.prev_bits)
    for height, block_hash in BITCOIN.checkpoints:
        if height > 151_200:
            assert outcome.hashes[(height - 151_201) * 32 :][:32] == block_hash


@both
def test_mainnet_40000(implementation: str) -> None:
    headers = unpacked(MAINNET_MIDDLE)
    outcome = check(implementation, BITCOIN, checkpoint_context(40_320), headers[321 * 80 :])
    assert (outcome.count, outcome.reason) == (9_679, None)
    # The part before the retarget, and the retarget itself, from the period's first header (38,304 in the table).
    period = Header(BOUNDARIES[38_304][0])
    first = Header(headers[:80])
    context = replace(boundary_context(40_320), height=Height(40_000), prev_hash=first.prev_hash, times=(0,) * 11)
    assert (context.period_start_time, context.prev_bits) == (period.time, period.bits)
    outcome = check(implementation, BITCOIN, context, headers)
    assert (outcome.count, outcome.reason) == (10_000, None)


@both
def test_every_retarget_of_mainnet(implementation: str) -> None:
    assert len(RETARGETS) == 413
    for height in RETARGETS:
        header, work = BOUNDARIES[height]
        context = boundary_context(height)
        outcome = check(implementation, BITCOIN, context, header)
        assert (outcome.count, outcome.after.chainwork) == (1, work), height
        assert outcome.after.period_start_time == Header(header).time
        bits = Header(header).bits
        for wrong in (bits - 1, bits + 1):
            refused = check(implementation, BITCOIN, context, with_bits(header, wrong))
            assert (refused.count, refused.reason) == (0, Reason.BAD_DIFFBITS), height


def test_every_chainwork_of_mainnet() -> None:
    assert BOUNDARIES[0][1] == block_proof(BITCOIN.pow_limit_bits)
    ends = [height for height in BOUNDARIES if height % 2016 == 2015]
    assert len(ends) == 413
    for end in ends:
        header, work = BOUNDARIES[end - 2015]
        assert BOUNDARIES[end][1] == work + 2015 * block_proof(Header(header).bits)


@both
def test_bits_off_by_one_at_retargets_within_a_run(implementation: str) -> None:
    headers = unpacked(MAINNET_LATE)[1200 * 80 :]
    context = checkpoint_context(151_200)
    for at in (2016, 4032):
        for step in (-1, 1):
            header = headers[at * 80 :][:80]
            bad = with_bits(header, Header(header).bits + step)
            outcome = check(implementation, BITCOIN, context, headers[80 : at * 80] + bad)
            assert (outcome.count, outcome.reason) == (at - 1, Reason.BAD_DIFFBITS)


@both
def test_testnet3_has_twenty_minute_blocks(implementation: str) -> None:
    """The vector exercises the rule: thousands of blocks at the limit, between blocks that are not."""
    headers = unpacked("testnet3_0-35141.bin")
    bits, times = bits_of(headers), times_of(headers)
    late = [h for h in range(1, len(bits)) if h % 2016 and times[h] - times[h - 1] > 1200]
    assert len(late) > 5_000
    assert all(bits[h] == TESTNET3.pow_limit_bits for h in late)
    # One second less, and a block at the limit is refused: take one in a harder period.
    height = next(h for h in late if bits[h - 1] != TESTNET3.pow_limit_bits)
    without_rule = replace(TESTNET3, allow_min_difficulty=False)
    for params, expected in ((TESTNET3, None), (without_rule, Reason.BAD_DIFFBITS)):
        outcome = check(implementation, params, BEFORE_GENESIS, headers[: (height + 1) * 80])
        assert outcome.reason == expected
    early = headers[height * 80 :][:80]
    early = early[:68] + (times[height - 1] + 1200).to_bytes(4, "little") + early[72:]
    outcome = check(implementation, TESTNET3, BEFORE_GENESIS, headers[: height * 80] + early)
    assert (outcome.count, outcome.reason) == (height, Reason.BAD_DIFFBITS)


@both
def test_networks_do_not_mix(implementation: str) -> None:
    for params in NETWORKS.values():
        for file in (MAINNET_START, "testnet3_0-35141.bin", "signet_0-2015.bin"):
            outcome = check(implementation, params, BEFORE_GENESIS, unpacked(file)[: 100 * 80])
            same = outcome.hashes[:32] == params.genesis_hash
            genesis_limit = Header(unpacked(file)[:80]).bits == params.pow_limit_bits
            assert same <= (outcome.count == 100)
            assert outcome.count > 0 or not genesis_limit


@both
def test_another_chain_is_refused(implementation: str) -> None:
    """BSV: valid proof of work and links, but difficulty changes with every block."""
    headers = unpacked("negative_bsv_2025.bin")
    after_ours = check(implementation, BITCOIN, BEFORE_GENESIS, unpacked(MAINNET_START)).after
    outcome = check(implementation, BITCOIN, after_ours, headers)
    assert (outcome.count, outcome.reason) == (0, Reason.PREV_NOT_FOUND)
    first = headers[:80]
    start = Checkpoint(Height(2016 * 440), header_hash(first), first)
    outcome = check(implementation, BITCOIN, RunContext.unpack(start_context(BITCOIN, start)), headers[80:])
    assert (outcome.count, outcome.reason) == (0, Reason.BAD_DIFFBITS)


def expected_reason(byte: int) -> Reason:
    """The rule that a flipped bit at ``byte`` of a header breaks first."""
    if 4 <= byte < 36:
        return Reason.PREV_NOT_FOUND
    if 72 <= byte < 76:
        return Reason.BAD_DIFFBITS
    return Reason.HIGH_HASH  # the hash is another one, and none in four billion is low enough


@both
def test_one_flipped_bit_in_any_of_a_thousand_headers(implementation: str) -> None:
    rng = random.Random(20_250_601)
    headers = unpacked(MAINNET_START)
    sample = sorted(rng.sample(range(1, len(headers) // 80), 1000))
    context, height = BEFORE_GENESIS, 0
    seen = set()
    for at in sample:
        good = check(implementation, BITCOIN, context, headers[height * 80 : at * 80])
        assert good.reason is None
        context, height = good.after, at
        bit = rng.randrange(640)
        flipped = bytearray(headers[at * 80 :][:80])
        flipped[bit // 8] ^= 1 << bit % 8
        bad = check(implementation, BITCOIN, context, bytes(flipped) + headers[(at + 1) * 80 :][:160])
        reason = expected_reason(bit // 8)
        assert (bad.count, bad.reason) == (0, reason), (at, bit)
        seen.add(reason)
    assert len(seen) == 3


@both
def test_a_run_may_be_cut_anywhere(implementation: str) -> None:
    headers = unpacked("testnet3_0-35141.bin")[: 6100 * 80]
    whole = check(implementation, TESTNET3, BEFORE_GENESIS, headers)
    rng = random.Random(7)
    cuts = sorted(rng.sample(range(1, 6100), 60))
    context, hashes = BEFORE_GENESIS, b""
    for start, stop in zip([0, *cuts], [*cuts, 6100], strict=True):
        piece = check(implementation, TESTNET3, context, headers[start * 80 : stop * 80])
        context, hashes = piece.after, hashes + piece.hashes
    assert (context, hashes) == (whole.after, whole.hashes)
