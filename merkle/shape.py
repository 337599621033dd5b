"""Arithmetic of the header tree: which nodes exist, and which of them a proof needs. No hashing here.

A node is (level, index): level 0 holds the leaves, node (k, i) covers leaf positions i * 2**k .. (i + 1) * 2**k - 1.
The tree over ``size`` leaves is Bitcoin's: at a level with an odd number of nodes the last one is paired with itself.
Prover and decoder both count nodes by these functions, so that a proof has exactly one length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from merkle.errors import ProofError

HASH_SIZE = 32
"""Bytes of one node: a SHA-256d digest."""
MAX_DEPTH = 32
"""Heights are u32 on the wire (BIP 34 era heights need 20 bits), so no tree is deeper and no proof path longer."""
MAX_PEAKS = MAX_DEPTH
"""Peaks of a header tree: one per set bit of its size."""
MAX_LEAVES = 1 << MAX_DEPTH
"""Leaves a tree may claim. A peer names sizes in bundles; past this the arithmetic is not defined."""


def depth(size: int) -> int:
    """Levels above the leaves in the tree of ``size`` >= 1 leaves; every branch has this length."""
    return (size - 1).bit_length()


def width(size: int, level: int) -> int:
    """Number of nodes at ``level`` of the tree of ``size`` leaves."""
    return -(-size >> level)


def peak_levels(size: int) -> list[int]:
    """Levels of the mountain-range peaks of ``size`` leaves, biggest (leftmost) first: the set bits of ``size``."""
    return [level for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]


def lowest_level(size: int) -> int:
    """Level of the smallest peak of ``size`` >= 1 leaves: its number of trailing zero bits."""
    return (size & -size).bit_length() - 1


def peak_over(size: int, position: int) -> int:
    """Level of the peak of ``size`` leaves above the leaf at ``position`` < ``size``: where the two differ first."""
    return (size ^ position).bit_length() - 1


def multiproof_nodes(size: int, positions: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The nodes that, with the leaves at ``positions``, give the root of ``size`` leaves; in wire order.

    Bottom up, left to right. A node that can be computed from the leaves, or that a level of odd width repeats, is
    not in it: the set is minimal, and its order is the only one.
    """
    known = set(positions)
    for level in range(depth(size)):
        for index in sorted(known):
            if index ^ 1 not in known and index ^ 1 < width(size, level):
                yield level, index ^ 1
        known = {index >> 1 for index in known}


def ancestry_nodes(old_size: int, new_size: int) -> Iterator[tuple[int, int]]:
    """The nodes that, with the peaks of ``old_size`` leaves, give the peaks of ``new_size`` that they went into.

    Bottom up. Above the highest bit in which the sizes differ both have the same peaks; below it, all old peaks grew
    into one new peak at that bit's level, and the nodes are the right siblings on the way there.
    """
    top = (old_size ^ new_size).bit_length() - 1
    if not old_size & ((1 << max(top, 0)) - 1):
        return
    for level in range(lowest_level(old_size), top):
        last = (old_size - 1) >> level
        if not last & 1:
            yield level, last + 1


def check_sizes(old_size: int, new_size: int) -> None:
    """Raises ``ProofError`` unless 1 <= ``old_size`` <= ``new_size`` <= ``MAX_LEAVES``."""
    if old_size < 1:
        raise ProofError("old_size", "a tree has at least one leaf", 1)
    if old_size > new_size:
        raise ProofError("old_size", "is beyond the newer tree", new_size)
    if new_size > MAX_LEAVES:
        raise ProofError("new_size", "is beyond the deepest tree", MAX_LEAVES)


def check_nodes(field: str, nodes: Iterable[bytes], count: int) -> None:
    """Raises ``ProofError`` naming ``field`` unless ``nodes`` is exactly ``count`` hashes of 32 bytes."""
    sizes = [len(node) for node in nodes]
    if len(sizes) != count:
        raise ProofError(field, f"holds {len(sizes)} nodes where the sizes allow exactly {count}", count)
    if any(size != HASH_SIZE for size in sizes):
        raise ProofError(field, "holds a node that is not 32 bytes", HASH_SIZE)
