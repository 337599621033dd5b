"""``verify_branches``: always the answer of the plain loop, in spite of all that is shared."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merkle import pure
from native import _kernels as kernels
from tests.unit.native.branch_trees import Branches, grow

each_double = pytest.mark.parametrize("double", [True, False])


def both(branches: Branches) -> int:
    """The answer, which must be the same twice."""
    fast, slow = kernels.verify_branches(*branches.arguments()), pure.verify_branches(*branches.arguments())
    assert fast == slow
    return fast


@st.composite
def trees(draw: st.DrawFn) -> tuple[random.Random, Branches]:
    """Up to 40 leaves: far apart, neighbours, all of a small tree, with repeats, in any order."""
    rng = draw(st.randoms(use_true_random=False))
    depth = draw(st.integers(0, 32))
    count = draw(st.integers(0, 40))
    span = min(1 << depth, draw(st.sampled_from([1, 2, 3, 16, 64, 1 << 32])))
    first = rng.randrange((1 << depth) - span + 1)
    indices = [first + rng.randrange(span) for _ in range(count)]
    if draw(st.booleans()):
        indices.sort()
    return rng, grow(rng, indices, depth, draw(st.booleans()))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees())
def test_good_branches_and_every_kind_of_bad_one(path: str, tree: tuple[random.Random, Branches]) -> None:
    rng, good = tree
    assert both(good) == -1
    if not good.indices:
        return
    for _ in range(3):
        both(good.flipped(rng.randrange(good.bits)))
    several = good
    for _ in range(rng.randrange(1, 5)):
        several = several.flipped(rng.randrange(good.bits))
    both(several)


@each_double
@pytest.mark.parametrize("bit_of", ["leaf", "sibling", "index", "root"])
def test_the_first_bad_leaf_is_named(path: str, double: bool, bit_of: str) -> None:
    good = grow(random.Random(3), range(64, 64 + 50), 10, double)
    leaf = 17
    bad = {
        "leaf": good.flipped(leaf * 256 + 5),
        "sibling": good.flipped(50 * 256 + (leaf * 10 + 9) * 256),
        "index": good.flipped(50 * 256 + 500 * 256 + 256 + leaf * 32),
        "root": good.flipped(50 * 256 + 500 * 256 + 1),
    }[bit_of]
    assert both(bad) == (0 if bit_of == "root" else leaf)


@each_double
def test_a_supplied_node_must_equal_the_computed_one(double: bool) -> None:
    """Both children are in the batch, so the siblings they bring are not needed: they must be right all the same."""
    good = grow(random.Random(4), [6, 7], 3, double)
    assert both(good) == -1
    assert both(good.with_sibling(0, 0, bytes(32))) == 0
    assert both(good.with_sibling(1, 0, bytes(32))) == 1


@each_double
def test_branches_that_share_a_path_must_agree_on_it(double: bool) -> None:
    good = grow(random.Random(5), [0, 1, 2, 3], 6, double)
    for level in range(2, 6):
        for leaf in range(4):
            assert both(good.with_sibling(leaf, level, bytes(32))) == leaf


@each_double
def test_an_index_cannot_have_two_leaves(double: bool) -> None:
    good = grow(random.Random(6), [5, 9, 5], 4, double)
    assert both(good) == -1
    other_last = replace(good, leaves=good.leaves[:64] + bytes(32))
    assert both(other_last) == 2
    other_first = replace(good, leaves=bytes(32) + good.leaves[32:])
    assert both(other_first) == 0


@pytest.mark.parametrize("depth", [0, 1, 5, 31])
def test_an_index_outside_the_tree(depth: int) -> None:
    """Its low bits lead to the root; it is bad all the same."""
    good = grow(random.Random(7), [0] * 3, depth, True)
    assert both(replace(good, indices=(0, 1 << depth, 0))) == 1
    assert both(replace(good, indices=(0xFFFFFFFF, 0, 0))) == 0


def test_a_branch_is_not_good_upside_down() -> None:
    good = grow(random.Random(8), [1], 2, True)
    assert both(replace(good, siblings=good.siblings[32:] + good.siblings[:32])) == 0


def test_the_deepest_tree() -> None:
    assert both(grow(random.Random(9), [0, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF], 32, True)) == -1


@each_double
@pytest.mark.parametrize("contiguous", [True, False])
def test_a_full_call(path: str, double: bool, contiguous: bool) -> None:
    rng = random.Random(10)
    indices = range(7000, 7000 + 1024) if contiguous else rng.sample(range(1 << 20), 1024)
    good = grow(rng, list(indices), 20, double)
    assert both(good) == -1
    assert both(good.with_sibling(1023, 19, bytes(32))) == 1023
    assert both(good.with_sibling(500, 0, bytes(32)).with_sibling(900, 3, bytes(32))) == 500


def test_more_leaves_than_a_call_takes() -> None:
    with pytest.raises(ValueError, match=r"leaves: 32800 bytes are not 0 to 1024 times 32"):
        both(Branches(bytes(1025 * 32), b"", (0,) * 1025, 0, bytes(32), True))


@pytest.mark.parametrize("verify", [kernels.verify_branches, pure.verify_branches])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"leaves": bytes(33)}, "leaves: 33 bytes are not 0 to 1024 times 32"),
        ({"depth": -1}, "depth: -1 is not 0 to 32"),
        ({"depth": 33}, "depth: 33 is not 0 to 32"),
        ({"siblings": bytes(63)}, "siblings: 63 bytes, 1 leaves of depth 2 need 64"),
        ({"indices": (1, 2)}, "indices: 8 bytes, 1 leaves need 4"),
        ({"root": bytes(31)}, "root: 31 bytes, not 32"),
    ],
)
def test_wrong_sizes(verify: Callable[..., int], change: dict[str, object], message: str) -> None:
    branches = replace(Branches(bytes(32), bytes(64), (0,), 2, bytes(32), True), **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        verify(*branches.arguments())


def test_the_limits_are_those_of_the_twin() -> None:
    assert (kernels.MAX_BRANCH_LEAVES, kernels.MAX_BRANCH_DEPTH) == (pure.MAX_BRANCH_LEAVES, pure.MAX_BRANCH_DEPTH)
