"""Branches, and 'this tree begins with that one': every honest proof holds, every changed one is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkle.ancestry import root_of_peaks, verify_ancestry, verify_branch
from merkle.errors import ProofError
from merkle.forest import Forest
from merkle.shape import MAX_LEAVES, ancestry_nodes, check_sizes, depth, lowest_level, multiproof_nodes, width
from tests.support import naive_tree as naive

LEAVES = [naive.leaf(i) for i in range(700)]
FOREST = Forest(lambda start, count: b"".join(LEAVES[start : start + count]))
FOREST.append(b"".join(LEAVES))


def holds(old: int, old_peaks: list[bytes], new: int, new_peaks: list[bytes], proof: list[bytes]) -> bool:
    try:
        verify_ancestry(old, old_peaks, new, new_peaks, proof)
    except ProofError:
        return False
    return True


def branch_holds(leaf: bytes, position: int, size: int, branch: list[bytes], root: bytes) -> bool:
    try:
        verify_branch(leaf, position, size, branch, root)
    except ProofError:
        return False
    return True


def flipped(node: bytes, bit: int = 0) -> bytes:
    at = bit % 256
    return bytes(byte ^ (1 << at % 8 if i == at // 8 else 0) for i, byte in enumerate(node))


def changed(nodes: list[bytes]) -> list[list[bytes]]:
    """``nodes`` with each one flipped, dropped, cut, doubled, swapped with each other, and with one more anywhere."""
    out = []
    for i, node in enumerate(nodes):
        before, after = nodes[:i], nodes[i + 1 :]
        out += [[*before, flipped(node, bit), *after] for bit in (0, 100, 255)]
        out += [before + after, [*before, node[:31], *after], [*before, node, node, *after]]
        out += [[*before, after[j], *after[:j], node, *after[j + 1 :]] for j in range(len(after))]
    return out + [[*nodes[:i], naive.leaf(-1), *nodes[i:]] for i in range(len(nodes) + 1)]


def test_every_pair_of_small_trees() -> None:
    for new in range(1, 70):
        new_peaks = FOREST.peaks(new)
        for old in range(1, new + 1):
            old_peaks, proof = FOREST.peaks(old), FOREST.ancestry_proof(old, new)
            assert old_peaks == naive.peaks(LEAVES[:old])
            verify_ancestry(old, old_peaks, new, new_peaks, proof)
            assert len(proof) <= depth(new)


def test_the_node_set_is_minimal() -> None:
    """No supplied node is a peak, or the parent of two others, or lies within the old tree."""
    for new in range(1, 130):
        for old in range(1, new + 1):
            nodes = list(ancestry_nodes(old, new))
            assert len({level for level, _ in nodes}) == len(nodes)
            assert all(index << level >= old and (index + 1) << level <= new for level, index in nodes)
            assert all((level, index - 1) not in nodes for level, index in nodes)


@pytest.mark.parametrize(("old", "new"), [(1, 2), (5, 8), (6, 7), (7, 300), (37, 64), (64, 65), (100, 699), (512, 600)])
def test_every_changed_proof_is_refused(old: int, new: int) -> None:
    old_peaks, new_peaks, proof = FOREST.peaks(old), FOREST.peaks(new), FOREST.ancestry_proof(old, new)
    assert holds(old, old_peaks, new, new_peaks, proof)
    for bad in changed(proof):
        assert not holds(old, old_peaks, new, new_peaks, bad)
    for bad in changed(old_peaks):
        assert not holds(old, bad, new, new_peaks, proof)


@pytest.mark.parametrize(("old", "new"), [(5, 8), (37, 64), (512, 600)])
def test_new_peaks_that_grew_out_of_nothing_old_are_the_verifiers_own(old: int, new: int) -> None:
    """Peaks wholly above the old tree say nothing about it; those that hold it must be the true ones."""
    old_peaks, new_peaks, proof = FOREST.peaks(old), FOREST.peaks(new), FOREST.ancestry_proof(old, new)
    for i, peak in enumerate(new_peaks):
        covered = sum(1 << level for level in range(9, -1, -1) if new >> level & 1 and level > 9 - i) if i else 0
        bad = [*new_peaks[:i], flipped(peak), *new_peaks[i + 1 :]]
        touches_old = i == 0 or covered < old
        assert holds(old, old_peaks, new, bad, proof) != touches_old


@given(st.integers(1, 600), st.integers(0, 99), st.integers(0, 599), st.randoms(use_true_random=False))
def test_a_fork_below_the_old_end_has_no_proof(old: int, more: int, fork: int, chance: object) -> None:
    fork %= old
    other = LEAVES[:fork] + [naive.leaf(-i) for i in range(1, old + more - fork + 1)]
    forked = Forest(lambda start, count: b"".join(other[start : start + count]))
    forked.append(b"".join(other))
    new = old + more
    for proof in (forked.ancestry_proof(old, new), FOREST.ancestry_proof(old, new) if new <= 700 else []):
        assert not holds(old, FOREST.peaks(old), new, forked.peaks(), proof)


@given(st.integers(1, 700), st.integers(1, 700))
def test_proof_for_another_old_size_is_refused(a: int, b: int) -> None:
    old, new = sorted((a, b))
    old_peaks, new_peaks, proof = FOREST.peaks(old), FOREST.peaks(new), FOREST.ancestry_proof(old, new)
    assert holds(old, old_peaks, new, new_peaks, proof)
    for other in (0, old - 1, old + 1, new + 1):
        assert not holds(other, old_peaks, new, new_peaks, proof)


def test_tip_is_an_ancestor_of_tip() -> None:
    """The whole argument, from two Electrum roots to 'block A is in the chain of block B'."""
    old, new = 300, 654
    root_a, root_b = FOREST.root(old - 1), FOREST.root(new - 1)
    verify_branch(LEAVES[old - 1], old - 1, old, FOREST.branch(old - 1, old - 1), root_a)
    verify_branch(LEAVES[new - 1], new - 1, new, FOREST.branch(new - 1, new - 1), root_b)
    assert root_of_peaks(old, FOREST.peaks(old)) == root_a
    assert root_of_peaks(new, FOREST.peaks(new)) == root_b
    verify_ancestry(old, FOREST.peaks(old), new, FOREST.peaks(new), FOREST.ancestry_proof(old, new))


def test_root_of_peaks_is_electrums_root() -> None:
    for size in range(1, 300):
        assert root_of_peaks(size, naive.peaks(LEAVES[:size])) == naive.root(LEAVES[:size])


def test_root_of_peaks_refuses_another_number_of_peaks_and_equal_neighbours() -> None:
    with pytest.raises(ProofError, match=r"peaks: holds 2 nodes .* exactly 3 \(limit 3\)"):
        root_of_peaks(7, LEAVES[:2])
    with pytest.raises(ProofError, match="old_size: a tree has at least one leaf"):
        root_of_peaks(0, [])
    twice = naive.join(LEAVES[0], LEAVES[0])
    with pytest.raises(ProofError, match="same node"):
        root_of_peaks(3, [twice, LEAVES[0]])


def test_every_branch_of_every_small_tree() -> None:
    for size in range(1, 40):
        root = FOREST.root(size - 1)
        for position in range(size):
            branch = FOREST.branch(position, size - 1)
            verify_branch(LEAVES[position], position, size, branch, root)
            for other in range(-1, size + 1):
                assert (other == position) == branch_holds(LEAVES[position], other, size, branch, root)


@pytest.mark.parametrize(("position", "size"), [(0, 1), (0, 2), (4, 5), (5, 6), (3, 37), (36, 37), (99, 100)])
def test_every_changed_branch_is_refused(position: int, size: int) -> None:
    leaf, branch, root = LEAVES[position], FOREST.branch(position, size - 1), FOREST.root(size - 1)
    for bad in changed(branch):
        assert not branch_holds(leaf, position, size, bad, root)
    assert not branch_holds(flipped(leaf), position, size, branch, root)
    assert not branch_holds(leaf, position, size, branch, flipped(root))
    assert not branch_holds(leaf[:31], position, size, branch, root)


def test_duplicated_last_nodes_do_not_move_a_leaf() -> None:
    """CVE-2012-2459: trees over 6 leaves and over those with the last two again have one root, and one honest size."""
    root = naive.root(LEAVES[:6])
    longer = [*LEAVES[:6], *LEAVES[4:6]]
    assert naive.root(longer) == root
    assert branch_holds(LEAVES[5], 5, 6, naive.branch(LEAVES[:6], 5), root)
    for position in (6, 7):
        with pytest.raises(ProofError, match="same node"):
            verify_branch(longer[position], position, 8, naive.branch(longer, position), root)
        with pytest.raises(ProofError, match="position: is beyond the tree's last leaf"):
            verify_branch(longer[position], position, 6, naive.branch(longer, position), root)


def test_an_inner_node_is_no_leaf() -> None:
    root, inner = naive.root(LEAVES[:8]), naive.rows(LEAVES[:8])[1]
    short = naive.branch(inner, 2)
    assert naive.root(inner) == root
    with pytest.raises(ProofError, match="branch: holds 2 nodes where the sizes allow exactly 3"):
        verify_branch(inner[2], 2, 8, short, root)


def test_sizes_have_limits() -> None:
    for size in (0, -1, MAX_LEAVES + 1):
        with pytest.raises(ProofError, match="size: is not that of a tree"):
            verify_branch(LEAVES[0], 0, size, [], LEAVES[0])
    check_sizes(1, MAX_LEAVES)
    with pytest.raises(ProofError, match="new_size: is beyond the deepest tree"):
        check_sizes(1, MAX_LEAVES + 1)
    with pytest.raises(ProofError, match="old_size: is beyond the newer tree"):
        verify_ancestry(3, LEAVES[:2], 2, LEAVES[:1], [])


@given(st.integers(1, 200), st.data())
def test_multiproof_nodes_are_those_of_the_model(size: int, data: st.DataObject) -> None:
    positions = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=4))
    rows = naive.rows(LEAVES[:size])
    assert [rows[level][index] for level, index in multiproof_nodes(size, positions)] == naive.multiproof(
        LEAVES[:size], positions
    )


@given(st.integers(1, MAX_LEAVES))
def test_shape_of_any_size(size: int) -> None:
    assert width(size, depth(size)) == 1
    assert depth(size) == 0 or width(size, depth(size) - 1) == 2
    assert size % (1 << lowest_level(size)) == 0
    assert size >> lowest_level(size) & 1
