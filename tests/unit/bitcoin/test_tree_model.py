"""The header chain against the naive model, on random trees: any order of growth, forks, overlaps and bad headers."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.changes import Accepted, Change, Duplicate, ExtendedFork, Rejected, Reorganization
from spvnode.bitcoin.mainchain import context_after
from spvnode.bitcoin.packing import RunContext, pack_params
from spvnode.bitcoin.params import REGTEST, ChainParams
from spvnode.bitcoin.pow import block_proof
from spvnode.bitcoin.rules import NO_TIME_LIMIT
from spvnode.bitcoin.start import genesis_of, start_context
from spvnode.bitcoin.validation import check_run
from spvnode.types import Hash32, Height
from tests.support.headers_memory import MemoryHeaders, offer, open_chain
from tests.support.mine import mine
from tests.support.naive_chain import NaiveTree, Node, electrum_root

EXAMPLES = {"fuzz": 5_000, "soak": 100_000}.get(os.environ.get("SPVNODE_TEST_PROFILE", ""), 250)
NOW = 1_400_000_000
SMALL = replace(REGTEST, checkpoints=(), timespan=600 * 4)
"""Regtest's limit, but a retarget every four headers."""
MOST_WORK = 60
"""Hashes that a test header may cost; a step that would need more ends its run early."""

networks = st.builds(
    lambda retargets, min_difficulty, bip94: replace(
        SMALL, no_retargeting=not retargets, allow_min_difficulty=min_difficulty, bip94=bip94
    ),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@dataclass(frozen=True)
class Step:
    """Offer a run: ``overlap`` known headers before the node that ``where`` picks, then new ones with ``gaps``
    between their times; the last new one spoilt by ``fault``."""

    where: int
    overlap: int
    gaps: tuple[int, ...]
    fault: str


steps = st.builds(
    Step,
    where=st.integers(0, 10**6),
    overlap=st.integers(0, 6),
    gaps=st.lists(st.sampled_from([-500, 1, 300, 600, 900, 1201, 4000]), max_size=6).map(tuple),
    fault=st.sampled_from(["", "", "", "", "", "bits", "hash", "time", "link", "version", "future"]),
)


def build(naive: NaiveTree, step: Step, salt: int) -> list[bytes]:
    """The headers of a step, mined on the model's tree as it is now."""
    nodes = sorted(naive.nodes.values(), key=lambda node: (node.height, node.seen))
    # From the upper half of the tree: where branches grow and overtake.
    chain = naive.path(nodes[len(nodes) // 2 + step.where % (len(nodes) - len(nodes) // 2)])
    run = [node.raw for node in chain[len(chain) - min(step.overlap, len(chain)) :]]
    for at, gap in enumerate(step.gaps):
        recent = sorted(node.time for node in chain[-11:])
        time = max(chain[-1].time + gap, recent[len(recent) // 2] + 1)
        if naive.params.bip94:
            time = max(time, chain[-1].time - 600)
        fault = step.fault if at == len(step.gaps) - 1 else ""
        time = {"time": recent[len(recent) // 2], "future": NOW + 7201}.get(fault, time)
        bits = naive.next_bits(chain, time)
        if block_proof(bits) > MOST_WORK:
            break
        raw, digest = mine(
            b"\x77" * 32 if fault == "link" else chain[-1].hash,
            time=time,
            bits=bits - (fault == "bits"),
            version=3 if fault == "version" else 4,
            merkle_root=salt.to_bytes(32, "little"),
            good=fault != "hash",
        )
        run.append(raw)
        chain = [*chain, Node(raw, digest, chain[-1].hash, len(chain), 4, time, bits, 0)]
    return run


def check_change(change: Change, chain: HeaderChain, before: list[Node], naive: NaiveTree, known: bool) -> None:
    """The outcome is the one that the model's main chain before and after tells."""
    after = naive.main()
    if known:
        assert isinstance(change, Duplicate)
        return
    if after[-1] == before[-1]:
        assert isinstance(change, ExtendedFork)
        assert naive.nodes[change.branch.tip_hash].raw == change.branch.headers[-80:]
        return
    common = sum(left == right for left, right in zip(before, after, strict=False))
    redo = b"".join(node.hash for node in after[common:])
    if common == len(before):
        assert isinstance(change, Accepted)
        assert change.hashes == redo
        return
    assert isinstance(change, Reorganization)
    assert change.fork_height == common - 1
    assert change.undo == b"".join(node.hash for node in before[common:])
    assert change.redo == redo


def check_state(chain: HeaderChain, store: MemoryHeaders, naive: NaiveTree) -> None:
    """Everything that the chain answers is what the model computes."""
    main = naive.main()
    assert bytes(store.raw) == b"".join(node.raw for node in main)
    assert (chain.tip_height, chain.tip_hash) == (len(main) - 1, main[-1].hash)
    sides = naive.side_tips()
    assert {branch.hash for branch in chain.branches()} == sides == set(store.sides)
    heights = {node.hash: node.height for node in main}
    for node in naive.nodes.values():
        assert chain.height_of(Hash32(node.hash)) == heights.get(node.hash)
        expected = None if node.hash in heights else (node.height, node.raw)
        assert chain.side_header(Hash32(node.hash)) == expected
    work = 0
    for node in main:
        work += block_proof(node.bits)
        height = Height(node.height)
        assert chain.chainwork(height) == work
        recent = sorted(ancestor.time for ancestor in main[: height + 1][-11:])
        assert chain.median_time(height) == recent[len(recent) // 2]
    for tip in chain.branches():
        path = naive.path(naive.nodes[tip.hash])
        assert tip.branch_length == len([node for node in path if node.hash not in heights])
        side = store.sides[tip.hash]
        assert side.headers == b"".join(node.raw for node in path[side.fork_height + 1 :])
        assert path[side.fork_height] == main[side.fork_height]
        assert path[side.fork_height + 1] != main[side.fork_height + 1]
    assert chain.root(chain.tip_height) == electrum_root([node.hash for node in main])


def check_contexts(params: ChainParams, chain: HeaderChain, store: MemoryHeaders, naive: NaiveTree) -> None:
    """The rule context after any height, found by reading back, is the one that checking from genesis arrives at; and
    so for any header, whichever branch it is on."""
    packed, context = pack_params(params), start_context(params, genesis_of(params))
    for height in range(chain.tip_height + 1):
        assert RunContext.unpack(context_after(params, chain, Height(height))) == RunContext.unpack(context)
        context = check_run(packed, context, store.headers(Height(height + 1), 1), NO_TIME_LIMIT).context
    genesis = start_context(params, genesis_of(params))
    for node in naive.nodes.values():
        path = b"".join(ancestor.raw for ancestor in naive.path(node)[1:])
        expected = RunContext.unpack(check_run(packed, genesis, path, NO_TIME_LIMIT).context)
        assert expected.prev_hash == node.hash
        assert chain.context_after(Hash32(node.hash)) == expected
    assert chain.context_after(Hash32(bytes(32))) is None


@pytest.mark.fuzz
@settings(max_examples=EXAMPLES, deadline=None)
@given(networks, st.lists(steps, min_size=3, max_size=14))
def test_random_trees(params: ChainParams, plan: list[Step]) -> None:
    naive = NaiveTree(params)
    chain, store = open_chain(params)
    for salt, step in enumerate(plan):
        run = build(naive, step, salt)
        if not run:
            continue
        before, known = naive.main(), len(naive.nodes)
        fault = naive.offer(run, NOW)
        state = chain.plan(b"".join(run), NOW), chain.plan(b"".join(run), NOW)
        assert state[0] == state[1]  # planning changes nothing
        change = offer(chain, store, b"".join(run), NOW)
        if fault is not None:
            assert isinstance(change, Rejected)
            assert (change.reason, change.index) == fault
        else:
            check_change(change, chain, before, naive, len(naive.nodes) == known)
        check_state(chain, store, naive)
    check_contexts(params, chain, store, naive)
    again = HeaderChain(params, store)
    report = again.load(store.runs(3), store.sides.values())
    assert (report.last_good, report.fault, report.dropped) == (chain.tip_height, None, ())
    check_state(again, store, naive)
