"""The Merkle tree over a block's transactions, and proofs in it as Bitcoin carries them (BIP37's partial tree).

Leaves are txids; a node is SHA-256d of two nodes; at a level with an odd number of nodes the last one is paired with
itself. Two weaknesses follow, and every door here shuts both:

- *Duplicate leaves* (CVE-2012-2459): repeating the last transactions of an odd level gives the same root. ``root``
  tells when a pair of equal nodes makes that possible; a proof in which a left and a right node are equal is refused.
- *64-byte transactions* (CVE-2017-12842): nothing tells a leaf from an inner node, so that a 64-byte transaction can be
  passed off as an inner node and its second half as a txid below it, or an inner node as a transaction. The first is
  refused by what it needs, an inner node that reads as a transaction (``reads_as_transaction``). The second cannot be
  seen in a proof: whoever knows the block compares the number of transactions, as Bitcoin Core does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from merkle.compact import compact_size, read_compact_size
from merkle.errors import ProofError
from merkle.hashing import sha256d, sha256d_pairs
from merkle.shape import HASH_SIZE, depth, width

HEADER_SIZE: Final = 80
MAX_TRANSACTIONS: Final = 16_666
"""Transactions in a block: weight 4,000,000 at 60 bytes of weight 4 each, as Core bounds a partial tree. A proof's
maker names the number."""
MAX_PROOF: Final = HEADER_SIZE + 4 + 3 + HASH_SIZE * MAX_TRANSACTIONS + 3 + 4_200
"""Bytes of a proof: all transactions' hashes, and two bits of flags for each with the path to the last."""
PAIR_SIZE: Final = 2 * HASH_SIZE
MAX_MONEY: Final = 21_000_000 * 100_000_000
"""Satoshis: no output of a valid transaction pays more."""


def levels(txids: Sequence[bytes]) -> Iterator[bytes]:
    """Each level of the tree over at least one txid as packed nodes, leaves first, the root last."""
    level = b"".join(txids)
    yield level
    while len(level) > HASH_SIZE:
        if len(level) % PAIR_SIZE:
            level += level[-HASH_SIZE:]
        level = sha256d_pairs(level)
        yield level


def root(txids: Sequence[bytes]) -> tuple[bytes, bool]:
    """(root, mutated) of at least one txid. ``mutated``: a pair of equal nodes, so other lists have the same root
    (CVE-2012-2459); no honest block has one."""
    mutated = False
    level = b""
    for level in levels(txids):
        pairs = range(0, len(level) - PAIR_SIZE + 1, PAIR_SIZE)
        mutated |= any(level[i : i + HASH_SIZE] == level[i + HASH_SIZE : i + PAIR_SIZE] for i in pairs)
    return level, mutated


def branch(txids: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The siblings on the way from leaf ``index`` to the root, lowest first. IndexError outside the tree."""
    if not 0 <= index < len(txids):
        raise IndexError(f"transaction {index} of {len(txids)}")
    siblings = []
    for level in levels(txids):
        if len(level) > HASH_SIZE:
            at = min(index ^ 1, len(level) // HASH_SIZE - 1) * HASH_SIZE
            siblings.append(level[at : at + HASH_SIZE])
        index >>= 1
    return tuple(siblings)


def fold(txid: bytes, index: int, siblings: Iterable[bytes]) -> bytes:
    """The root that a branch leads to. ProofError where an inner node reads as a transaction, where a left and a right
    node are equal although the right one is ours, or where ``index`` is not in a tree that deep."""
    node = txid
    for sibling in siblings:
        if index & 1 and sibling == node:
            raise ProofError("branch", "pairs a node with itself from the left")
        node = _parent(*((sibling, node) if index & 1 else (node, sibling)))
        index >>= 1
    if index:
        raise ProofError("index", "is beyond a tree of this depth")
    return node


def reads_as_transaction(node: bytes) -> bool:
    """Whether 64 bytes parse as a valid transaction without witnesses: one input and one output, whose scripts share
    four bytes, and an amount that exists. Two random hashes do so once in 2**42."""
    if len(node) != PAIR_SIZE or node[4] != 1:
        return False
    script_sig = node[41]
    if script_sig > 4 or node[46 + script_sig] != 1 or node[55 + script_sig] != 4 - script_sig:
        return False
    return int.from_bytes(node[47 + script_sig : 55 + script_sig], "little") <= MAX_MONEY


def _parent(left: bytes, right: bytes) -> bytes:
    pair = left + right
    if reads_as_transaction(pair):
        raise ProofError("branch", "has an inner node that reads as a transaction of 64 bytes")
    return sha256d(pair)


@dataclass(frozen=True, slots=True)
class Extracted:
    """What a partial tree says: its root, and the proven (index, txid) in block order."""

    root: bytes
    matches: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class PartialTree:
    """BIP37: ``hashes`` and ``flags`` (bits, lowest first) of a depth-first walk: 1, a proven leaf is below and the
    walk goes down (at a leaf: it is proven); 0, the node's hash is given."""

    total: int
    hashes: tuple[bytes, ...]
    flags: bytes

    @classmethod
    def build(cls, txids: Sequence[bytes], wanted: Iterable[bytes]) -> PartialTree:
        """The tree that proves those of ``txids`` that are in ``wanted``."""
        known = set(wanted)
        rows = list(levels(txids))
        marks = [[txid in known for txid in txids]]
        while len(marks) < len(rows):
            below = marks[-1]
            marks.append([any(below[i : i + 2]) for i in range(0, len(below), 2)])
        hashes: list[bytes] = []
        bits: list[bool] = []
        pending = [(len(rows) - 1, 0)]
        while pending:
            level, index = pending.pop()
            marked = marks[level][index]
            bits.append(marked)
            if level == 0 or not marked:
                hashes.append(rows[level][index * HASH_SIZE : (index + 1) * HASH_SIZE])
                continue
            pending += [(level - 1, child) for child in (2 * index + 1, 2 * index) if child < len(marks[level - 1])]
        packed = sum(1 << i for i, bit in enumerate(bits) if bit).to_bytes(-(-len(bits) // 8), "little")
        return cls(len(txids), tuple(hashes), packed)

    def extract(self) -> Extracted:
        """Root and matches; ProofError by every check of Core's ``CPartialMerkleTree::ExtractMatches``, and where an
        inner node on a proven path reads as a transaction."""
        if not 1 <= self.total <= MAX_TRANSACTIONS:
            raise ProofError("total", "is no number of transactions of a block", MAX_TRANSACTIONS)
        if len(self.hashes) > self.total:
            raise ProofError("hashes", "are more than the transactions", self.total)
        if 8 * len(self.flags) < len(self.hashes):
            raise ProofError("flags", "are fewer than the hashes")
        return _Walk(self).run()


class _Walk:
    """One depth-first walk over a partial tree. Recursion is as deep as the tree: 15 levels at most."""

    def __init__(self, tree: PartialTree) -> None:
        self._tree = tree
        self._hashes = iter(tree.hashes)
        self._bit = 0
        self._matches: list[tuple[int, bytes]] = []

    def run(self) -> Extracted:
        node = self._node(depth(self._tree.total), 0)
        if -(-self._bit // 8) != len(self._tree.flags) or self._flags >> self._bit:
            raise ProofError("flags", "are not all used")
        if next(self._hashes, None) is not None:
            raise ProofError("hashes", "are not all used")
        return Extracted(node, tuple(self._matches))

    @property
    def _flags(self) -> int:
        return int.from_bytes(self._tree.flags, "little")

    def _node(self, level: int, index: int) -> bytes:
        marked = self._next_bit()
        if level and marked:
            left = self._node(level - 1, 2 * index)
            if 2 * index + 1 >= width(self._tree.total, level - 1):
                return _parent(left, left)
            right = self._node(level - 1, 2 * index + 1)
            if left == right:
                raise ProofError("hashes", "repeat a node on the right (CVE-2012-2459)")
            return _parent(left, right)
        node = next(self._hashes, None)
        if node is None:
            raise ProofError("hashes", "are too few")
        if marked:
            self._matches.append((index, node))
        return node

    def _next_bit(self) -> bool:
        byte, bit = divmod(self._bit, 8)
        if byte >= len(self._tree.flags):
            raise ProofError("flags", "are too few")
        self._bit += 1
        return bool(self._tree.flags[byte] >> bit & 1)


@dataclass(frozen=True, slots=True)
class MerkleBlock:
    """A ``merkleblock`` payload, which is also what ``gettxoutproof`` gives: a header and a partial tree."""

    header: bytes
    tree: PartialTree

    def encode(self) -> bytes:
        """``header 80 | total u32 | CompactSize, hashes | CompactSize, flag bytes``."""
        tree = self.tree
        hashes = compact_size(len(tree.hashes)) + b"".join(tree.hashes)
        return self.header + tree.total.to_bytes(4, "little") + hashes + compact_size(len(tree.flags)) + tree.flags

    @classmethod
    def decode(cls, data: bytes) -> MerkleBlock:
        """The inverse; ProofError where ``data`` is not exactly one. Nothing of the proof is checked yet."""
        if len(data) > MAX_PROOF:
            raise ProofError("proof", f"has {len(data)} bytes", MAX_PROOF)
        total, at = int.from_bytes(data[HEADER_SIZE : HEADER_SIZE + 4], "little"), HEADER_SIZE + 4
        packed, at = _rows(data, at, HASH_SIZE, "hashes")
        flags, at = _rows(data, at, 1, "flags")
        if at != len(data):
            raise ProofError("proof", f"is followed by {len(data) - at} bytes")
        hashes = tuple(packed[i : i + HASH_SIZE] for i in range(0, len(packed), HASH_SIZE))
        return cls(data[:HEADER_SIZE], PartialTree(total, hashes, flags))

    def prove(self) -> Extracted:
        """Matches of a proof that leads to its own header's root; ProofError otherwise. The header itself, and that the
        block has ``tree.total`` transactions, are for the caller to know."""
        found = self.tree.extract()
        if found.root != self.header[36:68]:
            raise ProofError("proof", "does not lead to the Merkle root of its header")
        return found


def _rows(data: bytes, at: int, size: int, what: str) -> tuple[bytes, int]:
    count, at = read_compact_size(data, at)
    end = at + size * count
    if end > len(data):
        raise ProofError(what, "are cut")
    return data[at:end], end
