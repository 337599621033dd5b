"""A full look at an open store, for ``spvnode check``: checksums, gaps, links, tree nodes, events. Changes nothing.

Opening has already healed what it could and told of it in ``HeaderStore.faults``; the rules of the chain are checked by
the chain. What is left is whether the rows agree with each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from merkle.hashing import sha256d
from spvnode.store.errors import StoreDamaged
from spvnode.store.reader import StoreReader
from spvnode.store.schema import RUN, block_hash, previous_hash
from spvnode.types import HASH_SIZE, HEADER_SIZE

MAX_PROBLEMS = 100
"""Problems listed; a badly damaged file could make one per header."""
BLOCK = 2016
"""Headers hashed at a time."""

HashHeaders = Callable[[bytes], bytes]
"""n * 80 bytes to n * 32: SHA-256d of each header."""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was looked at, and what is wrong with it, in words."""

    path: str
    headers: int
    floor: int
    base: int
    tip_height: int
    nodes: int
    side_branches: int
    events: int
    disk_bytes: int
    healed: tuple[str, ...]
    """What opening had to heal."""
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        """True when nothing is wrong now."""
        return not self.problems


def hash_headers(headers: bytes) -> bytes:
    """``HashHeaders`` with the standard library: 0.8 us a header."""
    return b"".join(block_hash(headers[at : at + HEADER_SIZE]) for at in range(0, len(headers), HEADER_SIZE))


def audit(store: StoreReader, *, hashing: HashHeaders = hash_headers) -> AuditReport:
    """Reads everything in ``store`` once. ``hashing``: a faster kernel, if the caller has one."""
    counts = {"headers": 0, "nodes": 0}
    problems: list[str] = []
    for problem in _problems(store, hashing, counts):
        problems.append(problem)
        if len(problems) == MAX_PROBLEMS:
            break
    stats = store.stats()
    return AuditReport(
        path=store.path,
        headers=counts["headers"],
        floor=store.floor,
        base=store.base,
        tip_height=store.tip_height,
        nodes=counts["nodes"],
        side_branches=len(store.side_branches()),
        events=store.event_count,
        disk_bytes=stats.disk_bytes,
        healed=store.faults,
        problems=tuple(problems),
    )


def _problems(store: StoreReader, hashing: HashHeaders, counts: dict[str, int]) -> Iterator[str]:
    try:
        yield from _chain_problems(store, hashing, counts)
        yield from _side_problems(store, hashing)
        yield from _event_problems(store)
    except StoreDamaged as problem:
        yield str(problem)


def _chain_problems(store: StoreReader, hashing: HashHeaders, counts: dict[str, int]) -> Iterator[str]:
    expected: int = store.floor
    parent: bytes | None = None
    leaves: list[bytes] = []
    for start, headers, nodes in _blocks(store, counts):
        if start != expected:
            yield f"heights {expected}..{start - 1} are missing"
            parent, leaves = None, []
        hashes = hashing(headers)
        for i in range(len(headers) // HEADER_SIZE):
            if parent is not None and previous_hash(headers[i * HEADER_SIZE : (i + 1) * HEADER_SIZE]) != parent:
                yield f"header {start + i} does not follow header {start + i - 1}"
            parent = hashes[i * HASH_SIZE : (i + 1) * HASH_SIZE]
            leaves = [*leaves[1 - RUN :], parent]
            if start + i in nodes and _node(leaves) not in (None, nodes[start + i]):
                yield f"the header-tree node that ends at {start + i} is not that of its headers"
        expected = start + len(headers) // HEADER_SIZE
    if expected != store.tip_height + 1:
        yield f"the headers end at {expected - 1}, the tip is {store.tip_height}"
    elif parent is not None and parent != store.tip_hash:
        yield "the hash of the last header is not the tip's"


def _node(leaves: list[bytes]) -> bytes | None:
    """The level-4 node of 16 hashes; None for fewer, where the others are known only by the peaks of a checkpoint."""
    if len(leaves) < RUN:
        return None
    level = leaves
    while len(level) > 1:
        level = [sha256d(left + right) for left, right in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def _blocks(store: StoreReader, counts: dict[str, int]) -> Iterator[tuple[int, bytes, dict[int, bytes]]]:
    """Gapless stretches of about ``BLOCK`` headers, with the nodes that end in them, by height."""
    held: list[bytes] = []
    nodes: dict[int, bytes] = {}
    first = size = 0
    for start, headers, node in store.scan(store.floor):
        if held and (start != first + size or size >= BLOCK):
            yield first, b"".join(held), nodes
            held, nodes, size = [], {}, 0
        first = first if held else start
        held.append(headers)
        size += len(headers) // HEADER_SIZE
        counts["headers"] += len(headers) // HEADER_SIZE
        if node is not None:
            counts["nodes"] += 1
            nodes[first + size - 1] = node
    if held:
        yield first, b"".join(held), nodes


def _side_problems(store: StoreReader, hashing: HashHeaders) -> Iterator[str]:
    for branch in store.side_branches():
        hashes = hashing(branch.headers)
        parents = [hashing(store.header(branch.fork_height))] if branch.fork_height <= store.tip_height else [b""]
        parents += [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]
        links = [previous_hash(branch.headers[at:]) for at in range(0, len(branch.headers), HEADER_SIZE)]
        if parents[:-1] != links or parents[-1] != branch.tip_hash:
            yield f"the side branch above {branch.fork_height} is not linked to the main chain"


def _event_problems(store: StoreReader) -> Iterator[str]:
    after, last = 0, None
    while events := store.events(after):
        after, last = events[-1].seq, events[-1]
    if last is not None and (last.new_tip.height, last.new_tip.hash) != (store.tip_height, store.tip_hash):
        yield f"event {last.seq} ends at height {last.new_tip.height}, the tip is {store.tip_height}"
