"""The header tree: an append-only forest of perfect SHA-256d nodes over block hashes.

Two commitments come from the same nodes: Electrum's ``cp_height`` tree (branches and root over heights up to any
height), and mountain-range peaks with ancestry proofs between two tips. Only nodes of level ``keep_from`` and above
are held (4 bytes a header at level 4); the lowest levels are hashed again from at most 2**keep_from leaves, which the
store has anyway. Bounded by the chain's own length: one node for each 2**keep_from leaves, plus fewer than
2**keep_from leaves waiting for their node. Reading in one thread while another changes the forest is not allowed.

A forest that starts at ``base`` > 0 is of one of two kinds. With ``peaks`` (those of the leaves below ``base``) it is
the genesis tree: position = height, and all it lacks is branches for heights below ``base``. Without, it covers
``base``.. and position = height - base. Appends hash whole levels in one kernel call each; no Python per header.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from merkle.ancestry import root_of_peaks, verify_ancestry, verify_branch
from merkle.errors import ProofError
from merkle.hashing import sha256d, sha256d_pairs
from merkle.shape import (
    HASH_SIZE,
    MAX_DEPTH,
    MAX_LEAVES,
    ancestry_nodes,
    check_nodes,
    depth,
    lowest_level,
    multiproof_nodes,
    peak_levels,
    width,
)

MAX_KEEP_FROM = 10
"""Set by us alone. A proof re-reads up to four groups of 2**keep_from leaves, 128 KB and 4,096 hashes at 10."""

Buffer = bytes | bytearray | memoryview
Rows = dict[int, list[bytes]]
"""Group number -> its rows of nodes, level 0 up; lives for one call."""


def _even(row: bytes) -> bytes:
    """``row`` without its last node when that has no sibling yet."""
    return row if len(row) % (2 * HASH_SIZE) == 0 else row[:-HASH_SIZE]


class Forest:
    """Perfect nodes over leaves ``base`` .. ``end - 1`` (heights).

    ``read_leaves(height, count)`` returns count * 32 bytes of block hashes of the committed main chain; it is asked
    only for heights in ``base`` .. ``end - 1``. ``peaks``: see the module. Raises ``ProofError`` on a bad argument.
    """

    __slots__ = ("_first", "_keep", "_levels", "_origin", "_read_leaves", "_seeds", "_size", "_tail")

    def __init__(
        self,
        read_leaves: Callable[[int, int], bytes],
        *,
        base: int = 0,
        peaks: Sequence[bytes] = (),
        keep_from: int = 4,
    ) -> None:
        if not 0 <= base < MAX_LEAVES:
            raise ProofError("base", "is not a height", MAX_LEAVES - 1)
        if not 0 <= keep_from <= MAX_KEEP_FROM:
            raise ProofError("keep_from", "is not a level that may be lowest", MAX_KEEP_FROM)
        if peaks:
            check_nodes("peaks", peaks, base.bit_count())
        self._read_leaves = read_leaves
        self._keep = keep_from
        self._origin = 0 if peaks else base
        self._first = base if peaks else 0
        self._size = self._first
        # Leaves of the unfinished group, from its first known position. Rebound, never changed in place, so that
        # `preview` may run in a worker thread.
        self._tail = b""
        seeds = [b""] * (MAX_DEPTH + 1)
        for level, peak in zip(peak_levels(self._first), peaks, strict=True):
            seeds[level] = bytes(peak)
        self._seeds = tuple(seeds)
        # Row k begins at node `_row_start(k, first)`, always even: with the peak of that level where `base` has the
        # bit, so that the node which reaches over `base` is built like any other.
        self._levels = [bytearray(seed) for seed in seeds]

    @property
    def base(self) -> int:
        """Lowest height that has a branch."""
        return self._origin + self._first

    @property
    def end(self) -> int:
        """The next height to append."""
        return self._origin + self._size

    @property
    def range_start(self) -> int:
        """Height of leaf 0: zero for the genesis tree, ``base`` for a tree that starts there."""
        return self._origin

    @property
    def nbytes(self) -> int:
        """Bytes of nodes and waiting leaves held."""
        return sum(map(len, self._levels)) + len(self._tail)

    # -- growing and shrinking

    def preview(self, hashes: Buffer, end: int | None = None) -> bytes:
        """The level-``keep_from`` nodes that appending ``hashes`` at height ``end`` would complete; changes nothing.

        ``end`` (default: the end) may be lower, as in a reorganization. For a commit that must hold the nodes before
        memory does. Raises ``ProofError`` as ``append`` and ``truncate`` do.
        """
        size = self._size if end is None else self._position_of_end(end)
        self._check_run(hashes, size)
        start = self._group_start(size)
        return self._climb(start, self._leaves_from(start, size) + bytes(hashes))

    def append(self, hashes: Buffer, nodes: bytes | None = None) -> bytes:
        """Appends n block hashes (n * 32 bytes); returns the level-``keep_from`` nodes completed by them, in order.

        ``nodes``: what ``preview(hashes)`` gave for the same end, to spare the hashing. Raises ``ProofError`` when
        ``hashes`` is not whole hashes or would pass the last height.
        """
        self._check_run(hashes, self._size)
        start = self._group_start(self._size)
        leaves = self._tail + bytes(hashes)
        done = self._climb(start, leaves) if nodes is None else nodes
        self._size += len(hashes) // HASH_SIZE
        self._tail = leaves[(self._group_start(self._size) - start) * HASH_SIZE :]
        self._levels[self._keep] += done
        self._grow()
        return done

    def truncate(self, end: int) -> None:
        """Drops heights ``end`` and above. Raises ``ProofError`` when ``end`` is outside ``base`` .. the end.

        Reads the leaves of the group that becomes unfinished, so those below ``end`` must still be readable.
        """
        size = self._position_of_end(end)
        tail = self._leaves_from(self._group_start(size), size)
        for level in range(self._keep, MAX_DEPTH + 1):
            del self._levels[level][((size >> level) - self._row_start(level, self._first)) * HASH_SIZE :]
        self._size, self._tail = size, tail

    # -- proving

    def root(self, cp_height: int) -> bytes:
        """Root of Electrum's tree over ``range_start`` .. ``cp_height``.

        Raises ``ProofError`` unless base <= cp_height < end.
        """
        size = self._leaf_count(cp_height)
        return self._tree(size)(depth(size), 0)

    def branch(self, height: int, cp_height: int) -> list[bytes]:
        """Electrum's ``cp_height`` branch: siblings of ``height`` bottom up, ``depth(size)`` of them.

        ``merkle.ancestry.verify_branch`` checks it. Raises ``ProofError`` unless base <= height <= cp_height < end.
        """
        return self.branches((height,), cp_height)[0]

    def branches(self, heights: Iterable[int], cp_height: int) -> list[list[bytes]]:
        """``branch`` of several heights, which share the look-up of nodes."""
        size = self._leaf_count(cp_height)
        positions = [self._leaf_position(height, size) for height in heights]
        node, last = self._tree(size), [(k, width(size, k) - 1) for k in range(depth(size))]
        return [[node(k, min((position >> k) ^ 1, end)) for k, end in last] for position in positions]

    def prove(self, heights: Iterable[int], cp_height: int) -> list[bytes]:
        """Minimal nodes for several ``heights`` at once, in the order of ``merkle.shape.multiproof_nodes``.

        Raises ``ProofError`` unless base <= each height <= cp_height < end.
        """
        return list(self.proving(heights, cp_height))

    def proving(self, heights: Iterable[int], cp_height: int) -> Iterator[bytes]:
        """``prove``, a node at a time; the tree up to ``cp_height`` must stay what it is meanwhile."""
        size = self._leaf_count(cp_height)
        positions = [self._leaf_position(height, size) for height in heights]
        node = self._tree(size)
        return (node(level, index) for level, index in multiproof_nodes(size, positions))

    def peaks(self, end: int | None = None) -> list[bytes]:
        """Mountain-range peaks of the leaves below ``end`` (default: the end), biggest first.

        Raises ``ProofError`` unless base <= ``end`` <= the end.
        """
        size = self._size if end is None else self._position_of_end(end)
        rows: Rows = {}
        return [self._node(level, (size >> level) - 1, rows) for level in peak_levels(size)]

    def ancestry_proof(self, old_end: int, new_end: int) -> list[bytes]:
        """Nodes by which ``verify_ancestry`` gets from ``peaks(old_end)`` to ``peaks(new_end)``; at most 31.

        Sizes for the verifier are ``old_end - range_start`` and ``new_end - range_start``. Raises ``ProofError``
        unless base <= old_end <= new_end <= end, and when there is nothing below ``old_end``.
        """
        old, new = self._position_of_end(old_end), self._position_of_end(new_end)
        if not 1 <= old <= new:
            raise ProofError("old_end", "must have a leaf below it and not be beyond the newer end", new_end)
        rows: Rows = {}
        return [self._node(level, index, rows) for level, index in ancestry_nodes(old, new)]

    # -- inside: positions

    def _position_of_end(self, end: int) -> int:
        if not self.base <= end <= self.end:
            raise ProofError("end", f"is outside {self.base}..{self.end}", self.end)
        return end - self._origin

    def _leaf_count(self, cp_height: int) -> int:
        if not self.base <= cp_height < self.end:
            raise ProofError("cp_height", f"is outside {self.base}..{self.end - 1}", self.end - 1)
        return cp_height - self._origin + 1

    def _leaf_position(self, height: int, size: int) -> int:
        if not self._first <= height - self._origin < size:
            raise ProofError("height", f"is outside {self.base}..{self._origin + size - 1}", self._origin + size - 1)
        return height - self._origin

    def _check_run(self, hashes: Buffer, size: int) -> None:
        if len(hashes) % HASH_SIZE:
            raise ProofError("hashes", "is not whole hashes of 32 bytes", HASH_SIZE)
        if self._origin + size + len(hashes) // HASH_SIZE > MAX_LEAVES:
            raise ProofError("hashes", "reach beyond the last height", MAX_LEAVES)

    def _group_start(self, position: int) -> int:
        """First known position in the group of 2**keep_from leaves that ``position`` lies in."""
        return max((position >> self._keep) << self._keep, self._first)

    @staticmethod
    def _row_start(level: int, first: int) -> int:
        """Index of the first node of a row whose leaves begin at ``first``: the even one of its pair."""
        return (first >> (level + 1)) << 1

    # -- inside: nodes

    def _leaves_from(self, start: int, stop: int) -> bytes:
        """Leaves at positions ``start`` .. ``stop - 1``, which lie in one group."""
        if stop == self._size and start == self._group_start(stop):
            return self._tail
        leaves = self._read_leaves(self._origin + start, stop - start) if stop > start else b""
        if len(leaves) != (stop - start) * HASH_SIZE:
            raise ProofError("leaves", f"the reader gave {len(leaves)} bytes for {stop - start} hashes")
        return leaves

    def _rise(self, start: int, leaves: bytes) -> list[bytes]:
        """Rows 0 .. keep_from of the perfect nodes over ``leaves``, whose first is at ``start``."""
        rows = [leaves]
        for level in range(self._keep):
            if start == self._first:  # below here lies what the peaks stand for
                rows[level] = self._seeds[level] + rows[level]
            rows.append(sha256d_pairs(_even(rows[level])))
        return rows

    def _climb(self, start: int, leaves: bytes) -> bytes:
        """Level-``keep_from`` nodes that are complete in ``leaves``, whose first is at ``start``."""
        complete = self._group_start(start + len(leaves) // HASH_SIZE) - start
        return self._rise(start, leaves[: complete * HASH_SIZE])[-1] if complete else b""

    def _grow(self) -> None:
        """Adds every parent that has become possible above ``keep_from``."""
        for level in range(self._keep, MAX_DEPTH):
            row, above = self._levels[level], self._levels[level + 1]
            have = len(above) - len(self._seeds[level + 1])
            want = len(row) // (2 * HASH_SIZE) * HASH_SIZE
            if have == want:
                return
            with memoryview(row) as view:
                above += sha256d_pairs(view[2 * have : 2 * want])

    def _node(self, level: int, index: int, rows: Rows) -> bytes:
        """A perfect node that lies wholly below the end; ``rows`` remembers groups within one call."""
        if level >= self._keep:
            at = (index - self._row_start(level, self._first)) * HASH_SIZE
            return bytes(self._levels[level][at : at + HASH_SIZE])
        group = index >> (self._keep - level)
        start = max(group << self._keep, self._first)
        if group not in rows:
            rows[group] = self._rise(start, self._leaves_from(start, min((group + 1) << self._keep, self._size)))
        at = (index - self._row_start(level, start)) * HASH_SIZE
        return rows[group][level][at : at + HASH_SIZE]

    def _edge(self, size: int, rows: Rows) -> dict[int, bytes]:
        """Last node of each level of the tree over ``size`` leaves, from its smallest peak's level to the root.

        Only these can be other than perfect: they hold the repeated last nodes of odd levels.
        """
        low = lowest_level(size)
        edge = {low: self._node(low, (size >> low) - 1, rows)}
        for level in range(low, depth(size)):
            last = width(size, level) - 1
            left = self._node(level, last - 1, rows) if last & 1 else edge[level]
            edge[level + 1] = sha256d(left + edge[level])
        return edge

    def _tree(self, size: int) -> Callable[[int, int], bytes]:
        """Look-up of any node (level, index) of the tree over ``size`` leaves, for one call's use."""
        rows: Rows = {}
        edge = self._edge(size, rows)

        def node(level: int, index: int) -> bytes:
            return edge[level] if (index + 1) << level > size else self._node(level, index, rows)

        return node


__all__ = ["Forest", "root_of_peaks", "verify_ancestry", "verify_branch"]
