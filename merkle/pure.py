"""Plain Python twins of the hashing kernels, on hashlib: what runs where no compiler ran, and what the kernels are
tested against. Same arguments, same answers, same errors; the kernels' stub says what each one does."""

from __future__ import annotations

import struct
from hashlib import sha256

from merkle.shape import HASH_SIZE
from native import BytesLike

HEADER_SIZE = 80
PAIR_SIZE = 64
MAX_BRANCH_LEAVES = 1024
"""Most leaves in one call, as the kernel has it."""
MAX_BRANCH_DEPTH = 32
"""Deepest tree: indices are 32 bits."""


def sha256d(data: BytesLike) -> bytes:
    """SHA-256 of the SHA-256 of ``data``, 32 bytes."""
    return sha256(sha256(data).digest()).digest()


def sha256d_headers(headers: BytesLike) -> bytes:
    """n * 80 -> n * 32 bytes."""
    return _map_double(headers, HEADER_SIZE, "headers")


def sha256d_pairs(nodes: BytesLike) -> bytes:
    """n * 64 -> n * 32 bytes."""
    return _map_double(nodes, PAIR_SIZE, "nodes")


def sha256_pairs(nodes: BytesLike) -> bytes:
    """n * 64 -> n * 32 bytes."""
    view = _whole(nodes, PAIR_SIZE, "nodes")
    return b"".join([sha256(view[i : i + PAIR_SIZE]).digest() for i in range(0, len(view), PAIR_SIZE)])


def verify_branches(
    leaves: BytesLike, siblings: BytesLike, indices: BytesLike, depth: int, root: BytesLike, double: bool
) -> int:
    """-1 when every leaf leads to ``root``, else the position of the first that does not."""
    leaves, siblings, indices, root = bytes(leaves), bytes(siblings), bytes(indices), bytes(root)
    _check_branches(leaves, siblings, indices, depth, root)
    step = depth * HASH_SIZE
    for i, (index,) in enumerate(struct.iter_unpack("<I", indices)):
        leaf, branch = leaves[i * HASH_SIZE :][:HASH_SIZE], siblings[i * step : (i + 1) * step]
        if index >> depth or _fold(leaf, branch, index, double) != root:
            return i
    return -1


def _fold(node: bytes, branch: bytes, index: int, double: bool) -> bytes:
    for at in range(0, len(branch), HASH_SIZE):
        sibling = branch[at : at + HASH_SIZE]
        pair = sibling + node if index & 1 else node + sibling
        node = sha256(pair).digest()
        if double:
            node = sha256(node).digest()
        index >>= 1
    return node


def _whole(data: BytesLike, size: int, what: str) -> memoryview:
    view = memoryview(data).cast("B")
    if len(view) % size:
        raise ValueError(f"{what}: {len(view)} bytes are no multiple of {size}")
    return view


def _map_double(data: BytesLike, size: int, what: str) -> bytes:
    view = _whole(data, size, what)
    return b"".join([sha256(sha256(view[i : i + size]).digest()).digest() for i in range(0, len(view), size)])


def _check_branches(leaves: bytes, siblings: bytes, indices: bytes, depth: int, root: bytes) -> None:
    n = len(leaves) // HASH_SIZE
    if len(leaves) % HASH_SIZE or n > MAX_BRANCH_LEAVES:
        raise ValueError(f"leaves: {len(leaves)} bytes are not 0 to {MAX_BRANCH_LEAVES} times 32")
    if not 0 <= depth <= MAX_BRANCH_DEPTH:
        raise ValueError(f"depth: {depth} is not 0 to {MAX_BRANCH_DEPTH}")
    if len(siblings) != n * depth * HASH_SIZE:
        raise ValueError(f"siblings: {len(siblings)} bytes, {n} leaves of depth {depth} need {n * depth * 32}")
    if len(indices) != n * 4:
        raise ValueError(f"indices: {len(indices)} bytes, {n} leaves need {n * 4}")
    if len(root) != HASH_SIZE:
        raise ValueError(f"root: {len(root)} bytes, not 32")
