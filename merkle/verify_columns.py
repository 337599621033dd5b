"""Checks proofs of many headers column by column (version 6, ``merkle.proofs.ColumnsProof``): the quick way in, by the
kernels. No Python runs per header but the comparison with its target.

Sound as a header bundle is: the branch of the last leaf binds the number of leaves to the root
(``merkle.ancestry.verify_branch``), and every other leaf then has exactly one branch at its position.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from merkle.ancestry import verify_branch
from merkle.errors import ProofError
from merkle.hashing import sha256d, sha256d_headers, verify_branches
from merkle.proofs import MAX_COLUMN_HEADERS
from merkle.pure import HEADER_SIZE
from merkle.shape import HASH_SIZE, MAX_DEPTH, depth
from merkle.verify import NETWORKS

VERSION: Final = 6
MAX_NAME: Final = 32
"""Bytes of a network's name, as in every bundle."""
_FIXED = struct.Struct("<32sII80s32sI")
_BITS = struct.Struct("<72xI4x")
_HASH = struct.Struct("32s")
_NUMBER = struct.Struct("<I")
MAX_COLUMNS_BYTES: Final = (
    2
    + MAX_NAME
    + _FIXED.size
    + MAX_COLUMN_HEADERS * (4 + HEADER_SIZE)
    + (MAX_COLUMN_HEADERS + 1) * MAX_DEPTH * HASH_SIZE
)
"""1.1 MB: what the other limits allow. Chains of today take 0.74 MB."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What one proof has shown. ``root`` and ``tip_hash`` in internal byte order."""

    network: str
    range_start: int
    cp_height: int
    root: bytes
    tip_hash: bytes
    count: int


def verify(data: bytes) -> Columns:
    """The checked content of a version 6 proof. Raises ``ProofError`` naming the first thing that does not hold.

    That ``root`` belongs to the chain is for the caller to compare with one that it trusts.
    """
    name_end = 2 + (data[1] if len(data) > 1 else 0)
    if data[:1] != bytes([VERSION]) or len(data) < name_end + _FIXED.size or len(data) > MAX_COLUMNS_BYTES:
        raise ProofError("columns", "is cut short, too long, or of another version", MAX_COLUMNS_BYTES)
    network = data[2:name_end].decode("ascii", "replace")
    genesis, first, tip, tip_header, root, count = _FIXED.unpack_from(data, name_end)
    if network not in NETWORKS or genesis != bytes.fromhex(NETWORKS[network][0])[::-1]:
        raise ProofError("network", "is not known here, or has another genesis block")
    if not (1 <= count <= MAX_COLUMN_HEADERS and first <= tip):
        raise ProofError("count", "is not that of a proof", MAX_COLUMN_HEADERS)
    size = tip - first + 1
    step = depth(size) * HASH_SIZE
    view = memoryview(data)[name_end + _FIXED.size :]
    ends = [count * 4, count * (4 + HEADER_SIZE), count * (4 + HEADER_SIZE) + step, count * (84 + step) + step]
    if len(view) != ends[-1]:
        raise ProofError("columns", "does not have the length that its count and heights give", ends[-1])
    heights, headers, tip_branch, branches = (
        view[: ends[0]],
        view[ends[0] : ends[1]],
        view[ends[1] : ends[2]],
        view[ends[2] :],
    )
    tip_hash = sha256d(tip_header)
    siblings = [bytes(tip_branch[at : at + HASH_SIZE]) for at in range(0, step, HASH_SIZE)]
    verify_branch(tip_hash, size - 1, size, siblings, root)
    indices = _indices(heights, first, tip)
    hashes = sha256d_headers(headers)
    bad = verify_branches(hashes, branches, indices, depth(size), root, True)
    if bad >= 0:
        raise ProofError("branches", f"header {bad} does not lead to the root")
    _check_targets(network, bytes(headers) + tip_header, hashes + tip_hash)
    return Columns(network, first, tip, root, tip_hash, count)


def _indices(heights: memoryview, first: int, tip: int) -> bytes:
    """Leaf positions of the heights, which must all be in the tree."""
    named = [height for (height,) in _NUMBER.iter_unpack(heights)]
    if min(named) < first or max(named) > tip:
        raise ProofError("heights", "are not all in the tree", tip)
    return bytes(heights) if first == 0 else struct.pack(f"<{len(named)}I", *(height - first for height in named))


def _check_targets(network: str, headers: bytes, hashes: bytes) -> None:
    """Every header meets its own target, and that is within the network's limit."""
    limit, targets = NETWORKS[network][1], dict[int, bytes]()
    for at, ((bits,), (found,)) in enumerate(zip(_BITS.iter_unpack(headers), _HASH.iter_unpack(hashes), strict=True)):
        target = targets.get(bits)
        if target is None:
            targets[bits] = target = _target(bits, limit, at)
        if found[::-1] > target:
            raise ProofError("high-hash", f"header {at} does not meet its own target")


def _target(bits: int, limit: int, at: int) -> bytes:
    """Big-endian, so that it compares as a number."""
    mantissa, exponent = bits & 0xFFFFFF, bits >> 24
    target = mantissa << 8 * exponent >> 24
    if mantissa >> 23 or not 0 < target <= limit:
        raise ProofError("bad-diffbits", f"header {at} has a target that the network does not allow")
    return target.to_bytes(HASH_SIZE, "big")
