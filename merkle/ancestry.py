"""Verifying branches of the header tree, and that one header tree is a prefix of another.

All functions take hashes in internal byte order, return None when the proof holds, and raise ``ProofError`` when it
does not.

Two weaknesses of Bitcoin's tree are closed here in the same way wherever a pair is hashed. (1) CVE-2012-2459: since
the last node of an odd level is paired with itself, leaves a,b,c and a,b,c,c have one root. Sizes are known, so it is
known where a node is paired with itself; there the supplied sibling must be the node, and anywhere else two equal
siblings are refused: the leaves of a chain are distinct, so no honest tree has them. (2) An inner node may be passed
off as a leaf: branch lengths are fixed by the sizes, never by the proof.
"""

from __future__ import annotations

from collections.abc import Sequence

from merkle.errors import ProofError
from merkle.hashing import sha256d
from merkle.shape import (
    MAX_LEAVES,
    ancestry_nodes,
    check_nodes,
    check_sizes,
    depth,
    lowest_level,
    peak_levels,
    width,
)


def _join(field: str, left: bytes, right: bytes) -> bytes:
    """Parent of two siblings that are different nodes of the tree."""
    if left == right:
        raise ProofError(field, "two different positions hold the same node, which no chain of blocks has")
    return sha256d(left + right)


def verify_branch(leaf: bytes, position: int, size: int, branch: Sequence[bytes], root: bytes) -> None:
    """Checks Electrum's ``cp_height`` branch: ``leaf`` is at ``position`` under the ``root`` of ``size`` leaves.

    For a header tree, ``leaf`` is the block's hash, ``position`` its height less the tree's first height, and
    ``size`` is cp_height + 1 less that height. ``branch`` runs bottom up, ``depth(size)`` hashes. Given a ``root`` that
    its holder knows to belong to ``size`` leaves it proves leaf and position; the size itself is proven only by the
    branch of the last leaf (see merkle/verify.py). Raises ``ProofError``.
    """
    if not 1 <= size <= MAX_LEAVES:
        raise ProofError("size", "is not that of a tree", MAX_LEAVES)
    if not 0 <= position < size:
        raise ProofError("position", "is beyond the tree's last leaf", size - 1)
    check_nodes("leaf", [leaf], 1)
    check_nodes("branch", branch, depth(size))
    node = leaf
    for level, sibling in enumerate(branch):
        index = position >> level
        if index & 1:
            node = _join("branch", sibling, node)
        elif index + 1 < width(size, level):
            node = _join("branch", node, sibling)
        elif sibling == node:
            node = sha256d(node + node)
        else:
            raise ProofError("branch", f"level {level} must repeat its own last node and does not")
    if node != root:
        raise ProofError("root", "is not the one that leaf and branch give")


def root_of_peaks(size: int, peaks: Sequence[bytes]) -> bytes:
    """Root of Electrum's tree over ``size`` leaves from its mountain-range ``peaks``, biggest first.

    At most 32 hashes. Raises ``ProofError`` when the number of peaks is not that of ``size``, or on equal siblings.
    """
    check_sizes(size, size)
    check_nodes("peaks", peaks, size.bit_count())
    rest = list(peaks)
    node = rest.pop()
    for level in range(lowest_level(size), depth(size)):
        alone = width(size, level) & 1
        node = sha256d(node + node) if alone else _join("peaks", rest.pop(), node)
    return node


def verify_ancestry(
    old_size: int,
    old_peaks: Sequence[bytes],
    new_size: int,
    new_peaks: Sequence[bytes],
    proof: Sequence[bytes],
) -> None:
    """Checks that the tree of ``new_size`` leaves begins with the very leaves of the tree of ``old_size``.

    Peaks are given biggest first, with the sizes that their holder knows them by; ``proof`` is
    ``Forest.ancestry_proof(old, new)``, the minimal set. A holder of roots instead of peaks first compares
    ``root_of_peaks`` of either side with the root it knows. That tip A is an ancestor of tip B follows when A is the
    last leaf of the old tree, which ``verify_branch`` with position ``old_size - 1`` shows.

    Sound because every old peak either is one of the new peaks, compared byte by byte, or is hashed, at the place
    that the sizes give it, into one new peak; a different leaf under it would be a SHA-256d collision. Raises
    ``ProofError`` for anything else, including a node too many or too few.
    """
    check_sizes(old_size, new_size)
    check_nodes("old_peaks", old_peaks, old_size.bit_count())
    check_nodes("new_peaks", new_peaks, new_size.bit_count())
    check_nodes("proof", proof, sum(1 for _ in ancestry_nodes(old_size, new_size)))
    top = (old_size ^ new_size).bit_length() - 1
    shared = sum(1 for level in peak_levels(old_size) if level > top)
    if list(old_peaks[:shared]) != list(new_peaks[:shared]):
        raise ProofError("new_peaks", "differ from the old ones where nothing was added")
    if shared == len(old_peaks):
        return
    rest, supply = list(old_peaks[shared:]), iter(proof)
    node = rest.pop()
    for level in range(lowest_level(old_size), top):
        is_right = (old_size - 1) >> level & 1
        node = _join("proof", rest.pop(), node) if is_right else _join("proof", node, next(supply))
    if node != new_peaks[shared]:
        raise ProofError("proof", "does not lead from the old peaks to the new ones")


__all__ = ["root_of_peaks", "verify_ancestry", "verify_branch"]
