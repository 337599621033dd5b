"""SSZ merkleization: chunks to roots, and branches by generalized index. Pure functions over bytes.

A chunk is 32 bytes; chunks in a row are one bytes object. A branch is its siblings in a row, bottom up. Hashing is
SHA-256 of 64-byte pairs, whole tree levels in one call. Source: consensus-specs ``ssz/simple-serialize.md`` and
``ssz/merkle-proofs.md``; EIP-7916 (progressive lists) and EIP-7495 (progressive containers) for gloas.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from merkle.errors import ProofError
from merkle.hashing import MAX_BRANCH_DEPTH, sha256_pairs, verify_branches

CHUNK = 32
"""Bytes of a leaf, a node and a root."""
MAX_DEPTH = 64
"""Deepest subtree: a list's length is an unsigned 64-bit number."""
PROGRESSIVE_STEP_DEPTH = 2
"""How much deeper each subtree of a progressive tree is than the one before it: 4 times the leaves (EIP-7916)."""

_ZERO_CHUNK = bytes(CHUNK)
_INDEX = Struct("<I")


def _zero_hashes() -> tuple[bytes, ...]:
    hashes = [_ZERO_CHUNK]
    for _ in range(MAX_DEPTH):
        hashes.append(sha256_pairs(hashes[-1] * 2))
    return tuple(hashes)


ZERO_HASHES = _zero_hashes()
"""Roots of all-zero trees, by depth, 0 to 64."""


def floorlog2(index: int) -> int:
    """Depth of a generalized index (1 is the root, depth 0); ValueError below 1."""
    if index < 1:
        raise ValueError(f"generalized index: {index} is below 1")
    return index.bit_length() - 1


def tree_depth(leaves: int) -> int:
    """Depth of the smallest perfect tree with room for that many leaves (0 and 1 leaf: 0)."""
    return max(leaves - 1, 0).bit_length()


def get_subtree_index(generalized_index: int) -> int:
    """Position of the node within its level, from the left."""
    return generalized_index - (1 << floorlog2(generalized_index))


def pad_chunks(data: bytes) -> bytes:
    """``data`` with zeros up to whole chunks."""
    return data + bytes(-len(data) % CHUNK)


def merkleize(chunks: bytes, depth: int) -> bytes:
    """Root of a perfect tree of ``depth`` over ``chunks`` (n * 32 bytes), zero chunks filling it on the right.

    ValueError when there are more chunks than the tree has leaves.
    """
    if len(chunks) > CHUNK << depth:
        raise ValueError(f"chunks: {len(chunks) // CHUNK}, a tree of depth {depth} has {1 << depth} leaves")
    if not chunks:
        return ZERO_HASHES[depth]
    level = chunks
    for height in range(depth):
        if len(level) % (2 * CHUNK):
            level += ZERO_HASHES[height]
        level = sha256_pairs(level)
    return level


def merkleize_progressive(chunks: bytes, depth: int = 0) -> bytes:
    """Root of the progressive tree over ``chunks``: subtrees of 1, 4, 16, ... leaves, each to the left of the rest.

    ``depth`` is that of the first subtree. The recursion is log4(chunks) deep.
    """
    if not chunks:
        return _ZERO_CHUNK
    cut = CHUNK << depth
    rest = merkleize_progressive(chunks[cut:], depth + PROGRESSIVE_STEP_DEPTH)
    return sha256_pairs(merkleize(chunks[:cut], depth) + rest)


def mix_in(root: bytes, extra: int) -> bytes:
    """``root`` with a number beside it: a list's length, or the active-fields bits of a progressive container."""
    return sha256_pairs(root + extra.to_bytes(CHUNK, "little"))


def tree_branch(chunks: bytes, depth: int, index: int) -> bytes:
    """Siblings, bottom up, of chunk ``index`` in ``merkleize(chunks, depth)``."""
    siblings = []
    level = chunks
    for height in range(depth):
        if len(level) % (2 * CHUNK):
            level += ZERO_HASHES[height]
        at = (index ^ 1) * CHUNK
        siblings.append(level[at : at + CHUNK] or ZERO_HASHES[height])
        level = sha256_pairs(level)
        index >>= 1
    return b"".join(siblings)


def progressive_gindex(index: int) -> int:
    """Generalized index of chunk ``index`` in a progressive tree."""
    depth = 0
    above = 1
    while index >= 1 << depth:
        index -= 1 << depth
        depth += PROGRESSIVE_STEP_DEPTH
        above = above * 2 + 1
    return (above * 2 << depth) + index


def progressive_branch(chunks: bytes, index: int) -> bytes:
    """Siblings, bottom up, of chunk ``index`` in ``merkleize_progressive(chunks)``."""
    passed = []
    depth = 0
    while index >= 1 << depth:
        passed.append(merkleize(chunks[: CHUNK << depth], depth))
        chunks = chunks[CHUNK << depth :]
        index -= 1 << depth
        depth += PROGRESSIVE_STEP_DEPTH
    inner = tree_branch(chunks[: CHUNK << depth], depth, index)
    rest = merkleize_progressive(chunks[CHUNK << depth :], depth + PROGRESSIVE_STEP_DEPTH)
    return inner + rest + b"".join(reversed(passed))


def concat_generalized_indices(indices: Sequence[int]) -> int:
    """Generalized index of a node reached through nested trees, outermost first."""
    result = 1
    for index in indices:
        result = (result << floorlog2(index)) | get_subtree_index(index)
    return result


def compute_merkle_branch_root(leaf: bytes, branch: bytes, index: int) -> bytes:
    """Root that ``leaf`` (32 bytes) at position ``index`` leads to through ``branch`` (n * 32 bytes)."""
    node = leaf
    for at in range(0, len(branch), CHUNK):
        sibling = branch[at : at + CHUNK]
        node = sha256_pairs(sibling + node if index & 1 else node + sibling)
        index >>= 1
    return node


def is_valid_merkle_branch(leaf: bytes, branch: bytes, depth: int, index: int, root: bytes) -> bool:
    """Whether ``leaf`` at position ``index`` of a tree of ``depth`` leads to ``root`` through ``branch``.

    False also for a branch of another length, and for positions the tree does not have.
    """
    if len(branch) != depth * CHUNK or depth > MAX_BRANCH_DEPTH or index >> depth:
        return False
    return verify_branches(leaf, branch, _INDEX.pack(index), depth, root, False) == -1


def is_valid_normalized_merkle_branch(leaf: bytes, branch: bytes, gindex: int, root: bytes) -> bool:
    """As ``is_valid_merkle_branch``, where a branch longer than ``gindex`` needs must begin with zero chunks.

    Source: consensus-specs ``altair/light-client/sync-protocol.md``.
    """
    depth = floorlog2(gindex)
    extra = len(branch) - depth * CHUNK
    if extra < 0 or any(branch[:extra]):
        return False
    return is_valid_merkle_branch(leaf, branch[extra:], depth, get_subtree_index(gindex), root)


def normalize_merkle_branch(branch: bytes, gindex: int) -> bytes:
    """``branch`` with zero chunks before it, up to the depth of ``gindex``; ProofError when it is longer than that.

    Source: consensus-specs ``electra/light-client/fork.md``.
    """
    room = floorlog2(gindex) * CHUNK
    if len(branch) > room:
        raise ProofError("branch", f"{len(branch)} bytes, longer than its generalized index allows", room)
    return bytes(room - len(branch)) + branch
