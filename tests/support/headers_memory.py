"""A store of headers in one bytearray, for tests of what reads and writes through a ``HeaderCommit``."""

from __future__ import annotations

from collections.abc import Iterator

from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.changes import Accepted, Change, ExtendedFork, Reorganization
from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.start import Checkpoint
from spvnode.types import Hash32, HeaderCommit, Height, SideBranch


class MemoryHeaders:
    """What the header store does, without a database: obeys each commit to the letter and checks its claims."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.raw = bytearray()
        self.nodes = bytearray()
        self.sides: dict[Hash32, SideBranch] = {}

    @property
    def tip_height(self) -> int:
        return self.base + len(self.raw) // 80 - 1

    def header(self, height: Height) -> bytes:
        """KeyError outside base..tip."""
        raw = self.headers(height, 1)
        if not raw:
            raise KeyError(height)
        return raw

    def headers(self, start: Height, count: int) -> bytes:
        """KeyError below the base."""
        if start < self.base:
            raise KeyError(start)
        at = (start - self.base) * 80
        return bytes(self.raw[at : at + count * 80])

    def commit(self, commit: HeaderCommit) -> None:
        """Writes ``commit``; it must describe exactly what it replaces."""
        at = (commit.fork_height + 1 - self.base) * 80
        assert bytes(self.raw[at:]) == commit.undone
        self.raw[at:] = commit.headers
        assert self.tip_height == commit.tip_height
        for tip_hash in commit.side_drop:
            del self.sides[tip_hash]
        for side in commit.side_put:
            assert self.sides.get(side.tip_hash) != side  # nothing is written twice
            self.sides[side.tip_hash] = side

    def runs(self, size: int = 16) -> Iterator[tuple[Height, bytes]]:
        """All headers in pieces of ``size``, as a scan of the store gives them."""
        for start in range(self.base, self.tip_height + 1, size):
            yield Height(start), self.headers(Height(start), size)


def open_chain(params: ChainParams, start: Checkpoint | None = None) -> tuple[HeaderChain, MemoryHeaders]:
    """A fresh chain on an empty store."""
    store = MemoryHeaders(start.height if start else 0)
    chain = HeaderChain(params, store, start)
    store.commit(chain.initial_commit())
    return chain, store


def offer(chain: HeaderChain, store: MemoryHeaders, headers: bytes, now: int = 2_000_000_000) -> Change:
    """plan, commit, apply: what the node does with headers."""
    change = chain.plan(headers, now)
    if isinstance(change, Accepted | ExtendedFork | Reorganization):
        store.commit(change.commit)
        chain.apply(change)
    return change
