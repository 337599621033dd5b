"""Domain types that more than one room speaks. Standard library only.

Hashes are in internal byte order, as SHA-256d gives them; reversed hex appears only at the RPC and CLI edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

Hash32 = NewType("Hash32", bytes)
"""32 bytes, internal byte order."""
Height = NewType("Height", int)
"""Distance from genesis, in blocks; genesis is 0."""
Work = NewType("Work", int)
"""Expected number of hashes, 0 .. 2**256 - 1."""

HASH_SIZE = 32
"""Bytes of a SHA-256d digest."""
HEADER_SIZE = 80
"""Bytes of a serialized Bitcoin block header."""
PREV_HASH = slice(4, 36)
"""Where a serialized header names its parent (``hashPrevBlock``)."""


def hash_hex(block_hash: bytes) -> str:
    """A hash as explorers and Core write it: reversed hex."""
    return block_hash[::-1].hex()


def hash_from_hex(text: str) -> Hash32:
    """The inverse of ``hash_hex``; ValueError unless 64 hex digits."""
    raw = bytes.fromhex(text)
    if len(raw) != HASH_SIZE:
        raise ValueError(f"hash: {len(raw)} bytes, expected {HASH_SIZE}")
    return Hash32(raw[::-1])


class CommitKind(StrEnum):
    """What a commit did to the main chain; also the kind of its event-log entry."""

    EXTEND = "extend"
    REORG = "reorg"
    FORK = "fork"


@dataclass(frozen=True, slots=True)
class SideBranch:
    """A competing branch: its whole path from the main chain.

    ``headers`` holds n * 80 bytes, the first at height ``fork_height + 1``; ``tip_hash`` is the last one's hash.
    """

    fork_height: Height
    headers: bytes
    tip_hash: Hash32


@dataclass(frozen=True, slots=True)
class HeaderCommit:
    """Everything that one atomic write must hold. Built by a chain, written by the store.

    ``headers`` (n * 80 bytes) becomes the main chain from ``fork_height + 1``; heights above ``fork_height`` leave it
    (``undone``, m * 80 bytes, empty unless ``kind`` is REORG). ``nodes`` are the level-4 header-tree nodes that this
    run completes, in order. ``chainwork`` is cumulative at the new tip. FORK changes side branches only.
    """

    kind: CommitKind
    fork_height: Height
    headers: bytes
    undone: bytes
    nodes: bytes
    tip_height: Height
    tip_hash: Hash32
    chainwork: Work
    side_put: tuple[SideBranch, ...] = ()
    side_drop: tuple[Hash32, ...] = ()
