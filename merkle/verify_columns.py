"""Checks proofs of many headers column by column (version 8, ``merkle.proofs.ColumnsProof``): the quick way in, by the
kernels. No Python runs per header but the comparison with its target.

Sound as a header bundle is: the branch of the last leaf binds the number of leaves to the root
(``merkle.ancestry.verify_branch``), and every other leaf then has exactly one branch at its position, the start block's
among them: heights are positions counted from it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

from merkle.ancestry import verify_branch
from merkle.errors import ProofError
from merkle.hashing import sha256d, sha256d_headers, verify_branches
from merkle.proofs import MAX_COLUMN_HEADERS
from merkle.pure import HEADER_SIZE
from merkle.shape import HASH_SIZE, MAX_DEPTH, depth
from merkle.verify import NETWORKS

VERSION: Final = 8
UNCOUNTED: Final = 6
"""The version before it, which names no start block: a tree that begins at a checkpoint passes for one from genesis on,
so it proves no height. Still read."""
VERSIONS: Final = (UNCOUNTED, VERSION)
MAX_NAME: Final = 32
"""Bytes of a network's name, as in every bundle."""
_HEADS = {UNCOUNTED: struct.Struct("<32sII80s32sI"), VERSION: struct.Struct("<32sII32sI80s32sI")}
_BITS = struct.Struct("<72xI4x")
_HASH = struct.Struct("32s")
_NUMBER = struct.Struct("<I")
MAX_COLUMNS_BYTES: Final = (
    2
    + MAX_NAME
    + _HEADS[VERSION].size
    + MAX_COLUMN_HEADERS * (4 + HEADER_SIZE)
    + (MAX_COLUMN_HEADERS + 2) * MAX_DEPTH * HASH_SIZE
)
"""1.1 MB: what the other limits allow. Chains of today take 0.74 MB."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What one proof has shown. ``root``, ``tip_hash`` and ``start_hash`` in internal byte order; ``start_height`` and
    ``start_hash`` are None in version 6."""

    version: int
    network: str
    range_start: int
    start_height: int | None
    start_hash: bytes | None
    cp_height: int
    root: bytes
    tip_hash: bytes
    count: int


def verify(data: bytes) -> Columns:
    """The checked content of a proof of version 8, or 6. Raises ``ProofError`` naming the first thing that does not
    hold.

    That ``root`` belongs to the chain is for the caller to compare with one that it trusts; that ``start_hash`` is at
    ``start_height`` as well, unless that is 0, where it is genesis.
    """
    found, tip_header, columns = _read(data)
    size = found.cp_height - found.range_start + 1
    heights, headers, start_branch, tip_branch, branches = columns
    verify_branch(found.tip_hash, size - 1, size, _nodes(tip_branch), found.root)
    if found.start_hash is not None and found.start_height is not None:
        verify_branch(found.start_hash, found.start_height - found.range_start, size, _nodes(start_branch), found.root)
    indices = _indices(heights, found)
    hashes = sha256d_headers(headers)
    bad = verify_branches(hashes, branches, indices, depth(size), found.root, True)
    if bad >= 0:
        raise ProofError("branches", f"header {bad} does not lead to the root")
    _check_targets(found.network, bytes(headers) + tip_header, hashes + found.tip_hash)
    return found


def _read(data: bytes) -> tuple[Columns, bytes, list[memoryview]]:
    """What the proof names, the tip's header, and the columns: heights, headers, the start's branch, the tip's, all."""
    head, name_end = _HEADS.get(data[0] if data else 0), 2 + (data[1] if len(data) > 1 else 0)
    if head is None or not name_end + head.size <= len(data) <= MAX_COLUMNS_BYTES:
        raise ProofError("columns", "is cut short, too long, or of another version", MAX_COLUMNS_BYTES)
    genesis, first, *started, tip, tip_header, root, count = head.unpack_from(data, name_end)
    start, start_hash = started or (None, None)
    network = data[2:name_end].decode("ascii", "replace")
    known = bytes.fromhex(NETWORKS[network][0])[::-1] if network in NETWORKS else None
    if genesis != known or (start == 0 and start_hash != known):
        raise ProofError("network", "is not known here, or has another genesis block")
    if not 1 <= count <= MAX_COLUMN_HEADERS:
        raise ProofError("count", "is not that of a proof", MAX_COLUMN_HEADERS)
    if not first <= tip or (start is not None and (first not in (0, start) or start > tip)):
        raise ProofError("range", "range start, start and tip are not in this order")
    step = depth(tip - first + 1) * HASH_SIZE
    sizes = (count * 4, count * HEADER_SIZE, 0 if start is None else step, step, count * step)
    view, ends = memoryview(data)[name_end + head.size :], [0, *accumulate(sizes)]
    if len(view) != ends[-1]:
        raise ProofError("columns", "does not have the length that its count and heights give", ends[-1])
    found = Columns(data[0], network, first, start, start_hash, tip, root, sha256d(tip_header), count)
    return found, tip_header, [view[begin:end] for begin, end in pairwise(ends)]


def _nodes(branch: memoryview) -> list[bytes]:
    return [bytes(branch[at : at + HASH_SIZE]) for at in range(0, len(branch), HASH_SIZE)]


def _indices(heights: memoryview, found: Columns) -> bytes:
    """Leaf positions of the heights, which must all be in the tree, from its start block on."""
    first = found.range_start
    named = [height for (height,) in _NUMBER.iter_unpack(heights)]
    if min(named) < (found.start_height or first) or max(named) > found.cp_height:
        raise ProofError("heights", "are not all in the tree", found.cp_height)
    if len(set(named)) < len(named):  # ``count`` says how many headers were shown
        raise ProofError("heights", "name one header twice")
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
