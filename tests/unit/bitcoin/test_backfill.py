"""Completing a chain that began at a checkpoint: down by links, up by all rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spvnode.bitcoin.backfill import Anchor, check_backfill_run, rebuild_from_genesis
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.changes import Rejected
from spvnode.bitcoin.header import Header, header_hash
from spvnode.bitcoin.params import BITCOIN, REGTEST
from spvnode.bitcoin.rules import Reason
from spvnode.bitcoin.start import Checkpoint
from spvnode.types import Hash32, Height
from tests.support.headers_memory import MemoryHeaders, offer, open_chain
from tests.support.mine import mine, mine_run
from tests.support.vectors import unpacked

MAINNET = unpacked("mainnet_0-32259.bin")
LATE = unpacked("mainnet_150000-340000.bin")
CUT = 8064


def at_checkpoint(headers: bytes, height: int, total: int) -> tuple[HeaderChain, MemoryHeaders]:
    """A node that started at ``height`` of the real chain."""
    raw = headers[height * 80 :][:80]
    chain, store = open_chain(BITCOIN, Checkpoint(Height(height), header_hash(raw), raw))
    offer(chain, store, headers[height * 80 : total * 80])
    return chain, store


@pytest.mark.parametrize("size", [7, 2000, 9000])
def test_down_to_genesis(size: int) -> None:
    anchor = Anchor.of(Height(CUT), MAINNET[CUT * 80 :][:80])
    while anchor.height:
        start = max(anchor.height - size, 0)
        step = check_backfill_run(BITCOIN, anchor, MAINNET[start * 80 : anchor.height * 80])
        assert isinstance(step, Anchor)
        assert step.height == start
        anchor = step
    assert anchor == Anchor(Height(0), Hash32(bytes(32)))


def test_down_from_151200() -> None:
    """The headers below a real checkpoint, as far as there are any: 1,200 of them."""
    anchor = Anchor.of(Height(151_200), LATE[1200 * 80 :][:80])
    step = check_backfill_run(BITCOIN, anchor, LATE[: 1200 * 80])
    assert step == Anchor(Height(150_000), Hash32(LATE[4:36]))


@pytest.mark.parametrize("at", [0, 1, 500, 998, 999])
@pytest.mark.parametrize("byte", [0, 5, 40, 70, 79])
def test_a_changed_header_breaks_its_link(at: int, byte: int) -> None:
    headers = bytearray(MAINNET[CUT * 80 - 1000 * 80 : CUT * 80])
    headers[at * 80 + byte] ^= 1
    step = check_backfill_run(BITCOIN, Anchor.of(Height(CUT), MAINNET[CUT * 80 :][:80]), bytes(headers))
    assert isinstance(step, Rejected)
    assert (step.reason, step.index) == (Reason.PREV_NOT_FOUND, at)


def test_runs_that_cannot_be() -> None:
    anchor = Anchor.of(Height(5), MAINNET[400:480])
    for headers in (b"", bytes(79), MAINNET[: 6 * 80]):
        step = check_backfill_run(BITCOIN, anchor, headers)
        assert isinstance(step, Rejected)
        assert step.reason == Reason.BAD_LENGTH
    assert isinstance(check_backfill_run(BITCOIN, anchor, MAINNET[80:400]), Anchor)
    gap = check_backfill_run(BITCOIN, anchor, MAINNET[80:320])
    assert isinstance(gap, Rejected)
    assert (gap.reason, gap.index) == (Reason.PREV_NOT_FOUND, 2)


def test_the_bottom_must_be_the_genesis() -> None:
    """Linked headers that end elsewhere: the checkpoint was not on this network, or not at this height."""
    anchor = Anchor.of(Height(4), MAINNET[800:880])
    step = check_backfill_run(BITCOIN, anchor, MAINNET[480:800])
    assert isinstance(step, Rejected)
    assert (step.reason, step.index) == (Reason.CHECKPOINT_MISMATCH, 0)


def test_built_in_checkpoints_hold_downward() -> None:
    params = replace(BITCOIN, checkpoints=((Height(1000), Hash32(bytes(32))),))
    step = check_backfill_run(params, Anchor.of(Height(CUT), MAINNET[CUT * 80 :][:80]), MAINNET[: CUT * 80])
    assert isinstance(step, Rejected)
    assert (step.reason, step.index) == (Reason.CHECKPOINT_MISMATCH, 1000)


def test_rebuild_from_genesis() -> None:
    current, _ = at_checkpoint(MAINNET, CUT, 20_000)
    last = Header(MAINNET[19_000 * 80 :][:80])
    full = MemoryHeaders(0)
    full.raw += MAINNET[: 20_000 * 80]
    rebuilt = rebuild_from_genesis(BITCOIN, full, full.runs(), current)
    assert isinstance(rebuilt, HeaderChain)
    assert (rebuilt.base, rebuilt.tip_height, rebuilt.tip_hash) == (0, 19_999, current.tip_hash)
    assert rebuilt.start.complete
    assert rebuilt.height_of(last.hash) == 19_000
    from_genesis, store = open_chain(BITCOIN)
    offer(from_genesis, store, MAINNET[80 : 20_000 * 80])
    assert rebuilt.root(Height(19_999)) == from_genesis.root(Height(19_999))
    assert rebuilt.chainwork(Height(19_999)) == from_genesis.chainwork(Height(19_999))


def test_a_checkpoint_on_a_chain_that_broke_the_rules() -> None:
    """All links hold down to the genesis, but one ancestor has a version that its height does not allow."""
    start = Header(REGTEST.genesis_header)
    headers = mine_run(start.hash, start.time, 20)
    last = Header(headers[-80:])
    bad, bad_hash = mine(last.hash, time=last.time + 600, version=3)
    headers = REGTEST.genesis_header + headers + bad + mine_run(bad_hash, last.time + 600, 30)
    top = Header(headers[40 * 80 :][:80])
    current, store = open_chain(REGTEST, Checkpoint(Height(40), top.hash, top.raw))
    offer(current, store, headers[41 * 80 :])
    assert isinstance(check_backfill_run(REGTEST, Anchor.of(Height(40), top.raw), headers[: 40 * 80]), Anchor)
    full = MemoryHeaders(0)
    full.raw += headers
    verdict = rebuild_from_genesis(REGTEST, full, full.runs(), current)
    assert isinstance(verdict, Rejected)
    assert (verdict.reason, verdict.index) == (Reason.BAD_VERSION, 21)


def test_rebuild_needs_all_headers() -> None:
    current, _ = at_checkpoint(MAINNET, CUT, 9000)
    full = MemoryHeaders(0)
    full.raw += MAINNET[: 9000 * 80]
    runs = list(full.runs())
    verdict = rebuild_from_genesis(BITCOIN, full, runs[:10], current)
    assert isinstance(verdict, Rejected)
    assert (verdict.reason, verdict.index) == (Reason.CHECKPOINT_MISMATCH, 159)
    verdict = rebuild_from_genesis(BITCOIN, full, [*runs[:10], *runs[11:]], current)
    assert isinstance(verdict, Rejected)
    assert (verdict.reason, verdict.index) == (Reason.PREV_NOT_FOUND, 160)
