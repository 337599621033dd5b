"""Kademlia's distance (devp2p, discv5-theory.md, "Nodes, Records and Distances")."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

MAX_DISTANCE: Final = 256
"""Bits of a node id: the farthest logarithmic distance."""

FIRST_DISTANCES: Final = 3
"""Distances in the first request of a lookup, as others have it: in a large network they fill the answer."""
MORE_DISTANCES: Final = 5
"""In each further one. There are nodes that refuse more."""
MAX_REQUESTS_OF_ONE: Final = 4
"""Requests of one lookup to one node while its answers are not full. They leave one neighbour in 2**18 unheard of."""


def distance(one: bytes, other: bytes) -> int:
    """XOR of two ids, as a number."""
    return int.from_bytes(one, "big") ^ int.from_bytes(other, "big")


def log_distance(one: bytes, other: bytes) -> int:
    """1 to 256; 0 for the same id."""
    return distance(one, other).bit_length()


def distances_to_ask(node_id: bytes, target: bytes) -> list[tuple[int, ...]]:
    """The distances from ``node_id`` to ask for, request by request: those whose buckets hold what is nearest to
    ``target`` first, all inside 1..256."""
    exact = log_distance(node_id, target) or 1
    nearest = sorted(range(1, MAX_DISTANCE + 1), key=lambda level: (abs(level - exact), -level))
    ends = range(FIRST_DISTANCES, FIRST_DISTANCES + MORE_DISTANCES * MAX_REQUESTS_OF_ONE, MORE_DISTANCES)
    return [tuple(nearest[start:end]) for start, end in pairwise((0, *ends))]
