"""Merkle-Patricia tries: checking that a key has a value under a root, or that it has none.

A proof is the nodes on the way from the root towards the key, as RLP, root first. A node is one of

    leaf         [path, value]         path: rest of the key in nibbles, hex-prefix encoded
    extension    [path, child]         path: at least one nibble
    branch       [16 children, value]  one child per next nibble; value: of the key that ends here
    empty        the empty string      only as the root of a trie that holds nothing

A child is the Keccak-256 of its node, 32 bytes; or the node itself, where its RLP is shorter than 32 bytes; or the
empty string. Hence nothing in a proof is free: each element is bound by its hash to the root or to the element before
it, and one that is not needed is refused.

Why absence is proven: the shape of a trie is fixed by what it holds, so the first place where the nodes leave the key
(an empty child, another path, another leaf) is where the key would have to be. Source: Ethereum Yellow Paper, appendix
D; ethereum.org, "Merkle Patricia Trie".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from Crypto.Hash import keccak

from merkle import rlp
from merkle.errors import ProofError

HASH_SIZE: Final = 32
"""Bytes of a Keccak-256 digest."""
MAX_KEY: Final = 32
"""Bytes of a key: state and storage tries are keyed by Keccak-256 digests, block tries by short numbers."""
MAX_PROOF_NODES: Final = 2 * MAX_KEY + 1
"""A branch for each nibble of the longest key, and a leaf. A peer fills it; state tries are 7 to 10 deep in 2026."""
MAX_NODE_SIZE: Final = 1024
"""Bytes of one node. A full branch has 532, the leaf of an account at most 150; whoever supplies the proof fills it."""

EMPTY_NODE: Final = b"\x80"
"""RLP of the empty string."""

_BRANCH_ITEMS = 17
_LEAF = 2
"""Bit of the hex-prefix flag that says leaf."""
_ODD = 1
"""Bit of the hex-prefix flag that says that its other nibble belongs to the path."""

_Node = tuple[rlp.Item, ...]


def keccak256(data: bytes) -> bytes:
    """Ethereum's hash: Keccak with the original padding, not SHA3-256. 32 bytes."""
    return keccak.new(data=data, digest_bits=256).digest()


EMPTY_ROOT: Final = keccak256(EMPTY_NODE)
"""Root of a trie that holds nothing."""


def verify_proof(root: bytes, key: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The value of ``key`` under ``root`` (32 bytes), or None where the proof shows that it has none.

    ``key`` as the trie has it: of a state or storage trie, the Keccak-256 of address or slot. For an empty trie the
    proof may be left out. An element may repeat the node that its parent embeds: some servers list it. ``ProofError``
    for everything else.
    """
    _check_bounds(root, key, proof)
    if not proof and root == EMPTY_ROOT:
        return None
    walk = _Walk(proof)
    value = walk.follow(root, _nibbles(key))
    if walk.at != len(proof):
        raise ProofError("proof", f"has {len(proof) - walk.at} nodes more than the key needs")
    return value


def _check_bounds(root: bytes, key: bytes, proof: Sequence[bytes]) -> None:
    if len(root) != HASH_SIZE:
        raise ProofError("root", f"is not {HASH_SIZE} bytes", HASH_SIZE)
    if len(key) > MAX_KEY:
        raise ProofError("key", "is too long", MAX_KEY)
    if len(proof) > MAX_PROOF_NODES:
        raise ProofError("proof", f"has {len(proof)} nodes", MAX_PROOF_NODES)
    if any(len(node) > MAX_NODE_SIZE for node in proof):
        raise ProofError("proof", "has a node that is too long", MAX_NODE_SIZE)


class _Walk:
    """The supply of nodes, and how many are used up."""

    __slots__ = ("at", "proof")

    def __init__(self, proof: Sequence[bytes]) -> None:
        self.proof = proof
        self.at = 0

    def follow(self, root: bytes, path: bytes) -> bytes | None:
        """The value at ``path``, one nibble a byte, below the node of hash ``root``."""
        node = self._root(root)
        while node:
            if len(node) == _BRANCH_ITEMS:
                if not path:
                    return _value(node[-1]) or None
                node, path = self._child(node[path[0]]), path[1:]
                continue
            is_leaf, part = _hex_prefix(node[0])
            if is_leaf:
                return _leaf_value(node[1]) if part == path else None
            if not path.startswith(part):
                return None
            node, path = self._child(node[1]), path[len(part) :]
            if len(node) != _BRANCH_ITEMS:
                raise ProofError("proof", "has an extension that does not lead to a branch")
        return None

    def _root(self, root: bytes) -> _Node:
        """The root's node; empty for an empty trie. Hashed however short it is."""
        data = self._next(root)
        return () if data == EMPTY_NODE else _node(rlp.decode(data))

    def _child(self, child: rlp.Item) -> _Node:
        if not isinstance(child, bytes):
            return self._embedded(child)
        if not child:
            return ()
        if len(child) != HASH_SIZE:
            raise ProofError("proof", "has a child that is neither a hash nor a node")
        data = self._next(child)
        if len(data) < HASH_SIZE:
            raise ProofError("proof", "has a node by its hash that belongs into its parent")
        return _node(rlp.decode(data))

    def _embedded(self, child: _Node) -> _Node:
        data = rlp.encode(child)
        if len(data) >= HASH_SIZE:
            raise ProofError("proof", "has a node in its parent that is too long for that", HASH_SIZE - 1)
        if self.at < len(self.proof) and self.proof[self.at] == data:
            self.at += 1
        return _node(child)

    def _next(self, digest: bytes) -> bytes:
        if self.at == len(self.proof):
            raise ProofError("proof", "ends before the key does")
        data = self.proof[self.at]
        if keccak256(data) != digest:
            raise ProofError("proof", f"node {self.at} has not the hash that leads to it")
        self.at += 1
        return data


def _node(item: rlp.Item) -> _Node:
    if isinstance(item, bytes) or len(item) not in (2, _BRANCH_ITEMS):
        raise ProofError("proof", "has a node that is neither leaf nor extension nor branch")
    return item


def _value(item: rlp.Item) -> bytes:
    if not isinstance(item, bytes):
        raise ProofError("proof", "has a node where a value belongs")
    return item


def _leaf_value(item: rlp.Item) -> bytes:
    if not _value(item):
        raise ProofError("proof", "has a leaf without a value")
    return _value(item)


def _hex_prefix(item: rlp.Item) -> tuple[bool, bytes]:
    """Whether it is a leaf's path, and its nibbles."""
    nibbles = _nibbles(_value(item))
    if not nibbles or nibbles[0] > _LEAF | _ODD:
        raise ProofError("proof", "has a path without a valid prefix")
    is_leaf, is_odd = bool(nibbles[0] & _LEAF), nibbles[0] & _ODD
    if not is_odd and nibbles[1]:
        raise ProofError("proof", "has a path with a prefix that is not padded with zero")
    path = nibbles[2 - is_odd :]
    if not path and not is_leaf:
        raise ProofError("proof", "has an extension without a path")
    return is_leaf, path


def _nibbles(data: bytes) -> bytes:
    return bytes(nibble for byte in data for nibble in (byte >> 4, byte & 15))
