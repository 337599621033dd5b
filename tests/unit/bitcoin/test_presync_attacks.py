"""Presync under attack: other headers the second time, floods, and what a peer can make us hold."""

from __future__ import annotations

import os
import tracemalloc
from collections import Counter
from dataclasses import replace
from itertools import chain as chained
from itertools import repeat

import pytest

from merkle.hashing import sha256d_headers
from spvnode.bitcoin.packing import RunContext
from spvnode.bitcoin.params import CORE_PRESYNC, REGTEST, ChainParams, PresyncParams
from spvnode.bitcoin.pow import total_proof
from spvnode.bitcoin.presync import MAX_COMMITMENTS, Continue, LowWork, Presync, PresyncReason, Refused
from spvnode.bitcoin.redownload import Commitments, RedownloadBuffer
from spvnode.bitcoin.start import genesis_of, start_context
from spvnode.bitcoin.work import bits_of
from spvnode.following import Blame
from spvnode.types import HEADER_SIZE, Height
from tests.support.easy_chain import EASY, START, easy_chain, easy_fork, easy_run, easy_runs
from tests.support.mine import mine
from tests.support.naive_chain import NaiveTree
from tests.support.presync_runs import MESSAGE, NOW, Naive, drive, presync, salt_of

PERIOD = CORE_PRESYNC.commitment_period
SOAK = os.environ.get("SPVNODE_TEST_PROFILE") == "soak"
MOST_HELD = 800_000
"""Bytes of one peer's presync, the promise."""


# -- another chain the second time


@pytest.mark.parametrize(("fork", "every"), [(0, 1), (15_000, 41)])
def test_a_switch_is_found_at_every_alignment(fork: int, every: int) -> None:
    """Honest first pass, forged second: Core's own numbers, all 615 places of the switch between two commitments.

    One in 2**23 would get through. Salts are fixed, so this is the same every time.
    """
    length = fork + CORE_PRESYNC.redownload_buffer + 3_000
    honest = easy_chain(length)
    forged = honest[: fork * 80] + easy_fork(honest, fork, length - fork, seed=7)
    assert sha256d_headers(forged[fork * 80 :][:80]) != sha256d_headers(honest[fork * 80 :][:80])
    released = set()
    for offset in range(0, PERIOD, every):
        out = drive(presync(EASY, START, length + 1, seed=offset, offset=offset), honest, forged)
        assert isinstance(out.last, Refused)
        assert out.last.reason is PresyncReason.MISMATCH
        assert honest[: fork * 80].startswith(out.released), "not one forged header is handed on"
        released.add(len(out.released) // 80)
    assert max(released) <= max(0, fork + 2_000 - CORE_PRESYNC.redownload_buffer) + 8_000
    assert (fork > CORE_PRESYNC.redownload_buffer) == any(released)


def test_the_chance_of_a_switch_is_the_stated_one() -> None:
    """With four commitments over a header at least, one forged header in sixteen is handed on at most."""
    params = replace(EASY, presync=PresyncParams(commitment_period=10, redownload_buffer=40))
    honest = easy_chain(150)
    forged = honest[: 30 * 80] + easy_fork(honest, 30, 119, seed=8)
    trials = got_through = 0
    for offset in range(10):
        for seed in range(100):
            out = drive(presync(params, START, 151, seed=100 * offset + seed, offset=offset), honest, forged, repeat(1))
            trials += 1
            got_through += not honest.startswith(out.released)
            assert isinstance(out.last, Refused)
    expected = trials / 2**4
    deviation = (expected * (1 - 2**-4)) ** 0.5
    assert abs(got_through - expected) < 4 * deviation


def slow_and_fast(params: ChainParams, headers: int) -> tuple[bytes, bytes]:
    """Two chains of a network that retargets: one keeps the least difficulty, the other's goes up and up."""
    made = []
    for gap in (900, 300):
        tree = NaiveTree(params)
        for _ in range(headers):
            path = tree.main()
            time = path[-1].time + gap
            raw, _ = mine(path[-1].hash, time=time, bits=tree.next_bits(path, time), version=4)
            assert tree.offer([raw], NOW) is None
        made.append(b"".join(node.raw for node in tree.main()[1:]))
    return made[0], made[1]


RETARGETING = replace(
    REGTEST,
    timespan=2_400,
    no_retargeting=False,
    allow_min_difficulty=False,
    checkpoints=(),
    presync=PresyncParams(commitment_period=6, redownload_buffer=9),
)
SLOW, FAST = slow_and_fast(RETARGETING, 24)


def test_more_headers_of_less_work_run_out_of_commitments() -> None:
    """The first pass shows few headers with much work, the second many with little."""
    start = RunContext.unpack(start_context(RETARGETING, genesis_of(RETARGETING)))
    enough = total_proof(bits_of(RETARGETING.genesis_header + FAST[: 14 * 80]))
    assert total_proof(bits_of(RETARGETING.genesis_header + SLOW)) < enough
    reasons = Counter()
    for seed in range(64):
        expected = Naive(RETARGETING, start, enough, seed, 3).both(FAST, SLOW)
        out = drive(presync(RETARGETING, start, enough, seed=seed, offset=3), FAST, SLOW, repeat(1))
        assert isinstance(out.last, Refused)
        assert (out.released, out.last.reason, out.last.detail) == (*expected[:2], f"height {expected[2]}")
        reasons[out.last.reason] += 1
    # Two commitments (heights 3 and 9): one forgery in four repeats them, and fails at the third.
    assert set(reasons) == {PresyncReason.MISMATCH, PresyncReason.OVERRUN}
    assert 5 <= reasons[PresyncReason.OVERRUN] <= 28


def test_salts_are_kept_apart() -> None:
    """What was learnt from one presync is of no use in the next: other salts and offsets note other bits."""
    headers = easy_chain(3_000)
    params = replace(EASY, presync=PresyncParams(commitment_period=10, redownload_buffer=40))
    bits = set()
    for seed in range(50):
        sync = presync(params, START, 10**9, seed=seed)
        sync.take(headers, full=True)
        bits.add(tuple(sync._noted[i] for i in range(300)))
    assert len(bits) == 50
    ones = [sum(row) for row in bits]
    assert all(100 < count < 200 for count in ones), "each is a fair coin"


# -- floods


def test_ten_million_headers_from_eight_peers() -> None:
    """Valid headers of next to no work: nothing is handed on, and next to nothing held."""
    total = 40_000_000 if SOAK else 10_000_000
    peers = [presync(EASY, START, 10**9, seed=i, offset=i) for i in range(8)]
    steps = []
    for message in easy_runs(total):
        steps = [peer.take(message, full=True) for peer in peers]
        assert all(type(step) is Continue for step in steps)
    assert sum(peer.nbytes for peer in peers) < 8 * (total // PERIOD // 8 * 9 // 8 + 100)
    assert {peer.take(b"", full=False) for peer in peers} == {LowWork(Height(total), total + 1)}


def test_what_one_peer_can_make_us_hold() -> None:
    """The worst case: as many bits as are ever kept, then a full buffer. Counted by the allocator, after each message,
    as memory that was not held before."""
    params = replace(EASY, presync=replace(CORE_PRESYNC, commitment_period=1))
    messages = list(easy_runs(MAX_COMMITMENTS + 1))
    held = most = 0
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        sync = presync(params, START, MAX_COMMITMENTS + 2)
        for message in chained(messages, messages[: 2 * CORE_PRESYNC.redownload_buffer // MESSAGE]):
            sync.take(message, full=True)
            held = tracemalloc.get_traced_memory()[0] - before
            most = max(most, held)
    finally:
        tracemalloc.stop()
    assert sync.redownloading
    assert sync.height > CORE_PRESYNC.redownload_buffer, "the buffer is full"
    assert CORE_PRESYNC.redownload_buffer * 48 + MAX_COMMITMENTS // 8 < sync.nbytes <= held <= most <= MOST_HELD


def test_one_bit_more_than_is_ever_kept() -> None:
    params = replace(EASY, presync=replace(CORE_PRESYNC, commitment_period=1))
    sync = presync(params, START, 10**9)
    for message in easy_runs(MAX_COMMITMENTS + 1):
        step = sync.take(message, full=True)
    assert isinstance(step, Refused)
    assert (step.reason, step.blame) == (PresyncReason.TOO_LONG, Blame.SENDER)
    assert sync.nbytes < 200


# -- what is held


def test_bits_in_order() -> None:
    bits = Commitments()
    expected = [seed[0] & 1 for seed in map(salt_of, range(1_000))]
    for bit in expected:
        bits.append(bit)
    assert [bits[i] for i in range(len(bits))] == expected
    assert bits.nbytes < 300
    for index in (-1, 1_000):
        with pytest.raises(IndexError):
            bits[index]


@pytest.mark.parametrize("capacity", [1, 7, 40, 500])
def test_the_buffer_gives_back_what_it_took(capacity: int) -> None:
    headers = easy_run(bytes(EASY.genesis_hash), 1_600_000_000, 400)
    hashes = sha256d_headers(headers)
    buffer = RedownloadBuffer(capacity, Height(1), EASY.genesis_hash)
    size, out, at = buffer.nbytes, b"", 0
    for i in range(1, 400):
        count = min(i * 7 % 31, 400 - at)
        out += buffer.push(headers[at * 80 : (at + count) * 80], hashes[at * 32 : (at + count) * 32])
        at += count
        assert len(buffer) == min(at, capacity)
        assert out == headers[: (at - len(buffer)) * HEADER_SIZE]
        assert (buffer.start, buffer.nbytes) == (1 + at - len(buffer), size)
    assert at == 400
    assert out + buffer.drain() == headers
    assert (len(buffer), buffer.start) == (0, 401)


def test_the_passes_do_not_share_a_presync() -> None:
    """Two peers at once: each has its own bits and buffer."""
    one, two = easy_chain(300), easy_chain(300, seed=3)
    params = replace(EASY, presync=PresyncParams(commitment_period=7, redownload_buffer=50))
    first, second = (presync(params, START, 301, seed=i, offset=i) for i in range(2))
    steps: list[tuple[Presync, bytes]] = [(first, one), (second, two)] * 2
    for sync, chain in steps:
        step = sync.take(chain, full=False)
    assert first.over
    assert second.over
    assert (step.start, step.headers) == (1, two)  # type: ignore[union-attr]
