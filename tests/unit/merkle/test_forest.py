"""The header tree against a naive Bitcoin tree, and against Electrum's own proofs over real headers."""

from __future__ import annotations

import json
import lzma
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merkle import pure
from merkle.errors import ProofError
from merkle.forest import MAX_KEEP_FROM, Forest, verify_branch
from merkle.hashing import sha256d, sha256d_headers
from merkle.shape import MAX_LEAVES
from tests.support import naive_tree as naive

VECTORS = Path(__file__).parents[2] / "vectors"
LEAVES = [naive.leaf(i) for i in range(2_100)]


class Chain:
    """What a store does for a forest: block hashes by height."""

    def __init__(self, leaves: list[bytes], base: int = 0) -> None:
        self.leaves, self.base, self.reads = list(leaves), base, 0

    def read(self, start: int, count: int) -> bytes:
        assert self.base <= start, "asked for a height that the store does not have"
        assert start + count <= len(self.leaves), "asked for a height that the store does not have"
        self.reads += 1
        return b"".join(self.leaves[start : start + count])


def grown(leaves: list[bytes], keep_from: int = 4) -> Forest:
    forest = Forest(Chain(leaves).read, keep_from=keep_from)
    forest.append(b"".join(leaves))
    return forest


def check(forest: Forest, tree: list[bytes], heights: list[int], cp_height: int) -> None:
    """Every proof of ``heights`` against the naive tree over ``tree``, whose last leaf is ``cp_height``."""
    first = forest.range_start
    assert forest.root(cp_height) == naive.root(tree)
    assert forest.peaks(cp_height + 1) == naive.peaks(tree)
    for height in heights:
        assert forest.branch(height, cp_height) == naive.branch(tree, height - first)
    assert forest.prove(heights, cp_height) == naive.multiproof(tree, [height - first for height in heights])


def refused(field: str, call: Callable[[], object]) -> ProofError:
    with pytest.raises(ProofError) as caught:
        call()
    assert caught.value.field == field
    return caught.value


def test_every_branch_of_every_small_tree() -> None:
    forest = grown(LEAVES[:90])
    for cp_height in range(90):
        for height in range(cp_height + 1):
            check(forest, LEAVES[: cp_height + 1], [height], cp_height)


def test_every_cp_height_up_to_2100() -> None:
    chance = random.Random(1)
    forest = grown(LEAVES)
    for cp_height in range(len(LEAVES)):
        heights = [chance.randrange(cp_height + 1), cp_height]
        check(forest, LEAVES[: cp_height + 1], heights, cp_height)


@pytest.mark.parametrize("keep_from", range(MAX_KEEP_FROM + 1))
def test_any_lowest_level_gives_the_same_proofs(keep_from: int) -> None:
    forest = grown(LEAVES, keep_from)
    for cp_height in (0, 1, 15, 16, 31, 62, 1023, 1024, 1025, 2046, 2047, 2048, 2098, 2099):
        check(forest, LEAVES[: cp_height + 1], [0, cp_height // 3, cp_height], cp_height)


def test_python_twin_gives_the_same_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    with_kernels = grown(LEAVES[:777])
    monkeypatch.setattr("merkle.forest.sha256d_pairs", pure.sha256d_pairs)
    plain = grown(LEAVES[:777])
    assert [plain.root(cp) for cp in range(777)] == [with_kernels.root(cp) for cp in range(777)]


def test_electrum_proofs_of_real_headers() -> None:
    headers = lzma.decompress((VECTORS / "bitcoin" / "mainnet_0-32259.bin.xz").read_bytes())
    hashes = sha256d_headers(headers)
    forest = Forest(lambda start, count: hashes[start * 32 : (start + count) * 32])
    forest.append(hashes)
    proofs = json.loads((VECTORS / "merkle" / "cp_height_proofs.json").read_text())
    for proof in [proofs["documented"], *proofs["derived_from_real_headers"]]:
        height, cp_height = proof["height"], proof["cp_height"]
        branch, root = forest.branch(height, cp_height), forest.root(cp_height)
        assert [node[::-1].hex() for node in branch] == proof["branch"]
        assert root[::-1].hex() == proof["root"]
        verify_branch(sha256d(bytes.fromhex(proof["header"])), height, cp_height + 1, branch, root)


def test_four_bytes_a_header() -> None:
    assert grown(LEAVES).nbytes / len(LEAVES) < 4.1


runs = st.lists(st.integers(0, 70), max_size=12)


@given(runs, st.integers(0, 6))
def test_runs_of_any_length_build_one_forest(lengths: list[int], keep_from: int) -> None:
    leaves = LEAVES[: sum(lengths)]
    forest, nodes, at = Forest(Chain(leaves).read, keep_from=keep_from), b"", 0
    for length in lengths:
        run = b"".join(leaves[at : at + length])
        expected = forest.preview(run)
        completed = forest.append(run)
        assert completed == expected
        nodes, at = nodes + completed, at + length
    assert forest.end == len(leaves)
    group = 1 << keep_from
    whole = len(leaves) // group
    assert nodes == b"".join(naive.root(leaves[i * group : (i + 1) * group]) for i in range(whole))
    if leaves:
        check(forest, leaves, [0, len(leaves) - 1], len(leaves) - 1)


@given(st.integers(0, 700), st.integers(0, 700), st.integers(0, 6))
def test_append_of_previewed_nodes(stored: int, more: int, keep_from: int) -> None:
    leaves = LEAVES[: stored + more]
    forest = Forest(Chain(leaves).read, keep_from=keep_from)
    forest.append(b"".join(leaves[:stored]))
    run = b"".join(leaves[stored:])
    nodes = forest.preview(run)
    assert forest.append(run, nodes) == nodes
    if leaves:
        check(forest, leaves, [0, len(leaves) // 2], len(leaves) - 1)


@given(st.integers(0, 600), st.data(), st.integers(0, 6))
def test_truncate_is_as_if_it_had_never_been(size: int, data: st.DataObject, keep_from: int) -> None:
    cut = data.draw(st.integers(0, size))
    other = [naive.leaf(-i) for i in range(1, 1 + data.draw(st.integers(0, 200)))]
    chain = Chain(LEAVES[:size])
    forest = Forest(chain.read, keep_from=keep_from)
    forest.append(b"".join(chain.leaves))
    run = b"".join(other)
    expected = forest.preview(run, cut)
    assert forest.end == size  # a preview changes nothing
    forest.truncate(cut)
    fresh = Forest(chain.read, keep_from=keep_from)
    fresh.append(b"".join(chain.leaves[:cut]))
    assert (forest.end, forest.nbytes, forest.peaks()) == (cut, fresh.nbytes, fresh.peaks())
    chain.leaves[cut:] = other
    assert forest.append(run) == expected
    if chain.leaves:
        check(forest, chain.leaves, [0, len(chain.leaves) - 1], len(chain.leaves) - 1)


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 200), st.integers(0, 6), st.booleans(), st.data())
def test_forest_that_starts_at_a_checkpoint(
    base: int, count: int, keep_from: int, with_peaks: bool, data: st.DataObject
) -> None:
    leaves = LEAVES[: base + count]
    peaks = naive.peaks(leaves[:base]) if with_peaks else []
    forest = Forest(Chain(leaves, base).read, base=base, peaks=peaks, keep_from=keep_from)
    assert (forest.base, forest.end, forest.range_start) == (base, base, 0 if with_peaks else base)
    cuts = sorted(data.draw(st.lists(st.integers(base, base + count), max_size=3)))
    for a, b in pairwise([base, *cuts, base + count]):
        forest.append(b"".join(leaves[a:b]))
    tree = leaves[forest.range_start :]
    heights = [base, data.draw(st.integers(base, base + count - 1)), base + count - 1]
    for cp_height in {heights[1], base + count - 1}:
        shown = [height for height in heights if height <= cp_height]
        check(forest, tree[: cp_height + 1 - forest.range_start], shown, cp_height)
    assert forest.peaks(base) == peaks

    for end in sorted({heights[1], base}, reverse=True):
        forest.truncate(end)
        assert forest.peaks() == naive.peaks(leaves[forest.range_start : end])
    forest.append(b"".join(leaves[base:]))
    check(forest, tree, heights, base + count - 1)


def test_repeated_leaves_do_not_confuse_the_builder() -> None:
    leaves = [bytes(32)] * 50
    check(grown(leaves), leaves, [0, 17, 49], 49)


def test_the_deepest_tree_there_can_be() -> None:
    """The last leaf of all completes a node on each of 32 levels."""
    below = [naive.leaf(-level) for level in range(32, 0, -1)]
    forest = Forest(lambda start, count: naive.leaf(7), base=MAX_LEAVES - 1, peaks=below)
    forest.append(naive.leaf(7))
    node = naive.leaf(7)
    for peak in reversed(below):
        node = naive.join(peak, node)
    assert forest.peaks() == [forest.root(MAX_LEAVES - 1)] == [node]
    assert forest.branch(MAX_LEAVES - 1, MAX_LEAVES - 1) == below[::-1]
    forest.truncate(MAX_LEAVES - 1)
    assert forest.peaks() == below


def test_limits_are_named() -> None:
    read = Chain([]).read
    assert refused("base", lambda: Forest(read, base=MAX_LEAVES)).limit == MAX_LEAVES - 1
    refused("base", lambda: Forest(read, base=-1))
    assert refused("keep_from", lambda: Forest(read, keep_from=MAX_KEEP_FROM + 1)).limit == MAX_KEEP_FROM
    refused("keep_from", lambda: Forest(read, keep_from=-1))
    assert refused("peaks", lambda: Forest(read, base=5, peaks=[bytes(32)])).limit == 2
    refused("peaks", lambda: Forest(read, base=5, peaks=[bytes(32), bytes(31)]))
    refused("peaks", lambda: Forest(read, base=0, peaks=[bytes(32)]))
    last = Forest(read, base=MAX_LEAVES - 1)
    assert refused("hashes", lambda: last.append(bytes(64))).limit == MAX_LEAVES
    last.append(bytes(32))
    assert last.root(MAX_LEAVES - 1) == bytes(32)


def test_bad_arguments_are_typed_and_change_nothing() -> None:
    forest = grown(LEAVES[:40])
    before = (forest.end, forest.nbytes, forest.peaks())
    refused("hashes", lambda: forest.append(bytes(33)))
    refused("hashes", lambda: forest.preview(bytes(31)))
    refused("end", lambda: forest.preview(b"", 41))
    refused("end", lambda: forest.truncate(41))
    refused("end", lambda: forest.truncate(-1))
    refused("end", lambda: forest.peaks(41))
    assert refused("cp_height", lambda: forest.root(40)).limit == 39
    refused("cp_height", lambda: forest.branch(0, -1))
    assert refused("height", lambda: forest.branch(21, 20)).limit == 20
    refused("height", lambda: forest.prove([0, -1], 20))
    refused("old_end", lambda: forest.ancestry_proof(0, 3))
    refused("old_end", lambda: forest.ancestry_proof(4, 3))
    assert (forest.end, forest.nbytes, forest.peaks()) == before
    refused("cp_height", lambda: Forest(Chain([]).read).root(0))
    late = Forest(Chain(LEAVES[:9], 5).read, base=5)
    late.append(b"".join(LEAVES[5:9]))
    refused("height", lambda: late.branch(4, 8))


def test_a_reader_that_gives_too_little_is_an_error_of_ours() -> None:
    forest = Forest(lambda start, count: bytes(32 * (count - 1)))
    forest.append(b"".join(LEAVES[:40]))
    refused("leaves", lambda: forest.branch(3, 39))
    refused("leaves", lambda: forest.truncate(20))
    assert forest.end == 40
