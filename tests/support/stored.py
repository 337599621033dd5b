"""Chains for the store's tests: headers that are linked but have no work, and commits as a chain would make them."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from spvnode.errors import StoreError
from spvnode.store.headers import HeaderStore
from spvnode.store.leveldb import LevelEngine
from spvnode.store.port import Batch, Engine, EngineStats, Row
from spvnode.store.reader import StoreReader
from spvnode.store.schema import RUN, StartRecord, block_hash
from spvnode.types import CommitKind, Hash32, HeaderCommit, Height, SideBranch, Work

GENESIS = bytes(80)
GENESIS_HASH = block_hash(GENESIS)
START = StartRecord(Height(0), GENESIS, Work(1))
NOW = 1_700_000_000.0


def linked(prev_hash: bytes, first_height: int, count: int, salt: int = 0) -> bytes:
    """``count`` headers after ``prev_hash``; height and salt fix every byte."""
    made = []
    for height in range(first_height, first_height + count):
        filler = sha256(struct.pack(">II", height, salt)).digest()
        header = filler[:4] + prev_hash + filler + filler[:12]
        made.append(header)
        prev_hash = block_hash(header)
    return b"".join(made)


def tip_of(headers: bytes) -> Hash32:
    return block_hash(headers[-80:])


def node_over(headers: bytes) -> bytes:
    """The level-4 node over 16 headers."""
    level: list[bytes] = [block_hash(headers[at : at + 80]) for at in range(0, RUN * 80, 80)]
    while len(level) > 1:
        level = [block_hash(left + right) for left, right in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def nodes_for(store: StoreReader, fork: int, headers: bytes) -> bytes:
    """The level-4 nodes that ``headers`` complete above ``fork``."""
    below = (fork + 1 - store.origin) % RUN
    whole = store.headers(fork + 1 - below, below) + headers
    return b"".join(node_over(whole[at : at + RUN * 80]) for at in range(0, len(whole) - RUN * 80 + 1, RUN * 80))


def stored_nodes(store: StoreReader) -> dict[int, bytes]:
    """The nodes that a scan gives, by the height at which they end."""
    return {start + len(headers) // 80 - 1: node for start, headers, node in store.scan() if node is not None}


def true_nodes(store: StoreReader) -> dict[int, bytes]:
    """The nodes that a scan should give."""
    ends = range(store.base + (store.origin - store.base - 1) % RUN, store.tip_height + 1, RUN)
    return {end: node_over(store.headers(end - RUN + 1, RUN)) for end in ends if end - RUN + 1 >= store.base}


def extension(store: StoreReader, count: int, salt: int = 0) -> HeaderCommit:
    """The next ``count`` headers."""
    first = store.tip_height + 1
    headers = linked(store.tip_hash, first, count, salt)
    return HeaderCommit(
        kind=CommitKind.EXTEND,
        fork_height=store.tip_height,
        headers=headers,
        undone=b"",
        nodes=nodes_for(store, store.tip_height, headers),
        tip_height=Height(store.tip_height + count),
        tip_hash=tip_of(headers),
        chainwork=Work(store.tip_height + count + 1),
    )


def reorganization(store: StoreReader, fork: int, count: int, salt: int) -> HeaderCommit:
    """``count`` other headers above ``fork``; what leaves becomes a side branch."""
    headers = linked(block_hash(store.header(fork)), fork + 1, count, salt)
    undone = store.headers(fork + 1, store.tip_height - fork)
    return HeaderCommit(
        kind=CommitKind.REORG,
        fork_height=Height(fork),
        headers=headers,
        undone=undone,
        nodes=nodes_for(store, fork, headers),
        tip_height=Height(fork + count),
        tip_hash=tip_of(headers),
        chainwork=Work(fork + count + 2),
        side_put=(SideBranch(Height(fork), undone, store.tip_hash),),
    )


def side_branch(store: StoreReader, fork: int, count: int, salt: int) -> SideBranch:
    headers = linked(block_hash(store.header(fork)), fork + 1, count, salt)
    return SideBranch(Height(fork), headers, tip_of(headers))


def fork(
    store: StoreReader, put: tuple[SideBranch, ...] = (), drop: tuple[Hash32, ...] = (), fork_height: int | None = None
) -> HeaderCommit:
    """A change of side branches only."""
    return HeaderCommit(
        kind=CommitKind.FORK,
        fork_height=Height(store.tip_height if fork_height is None else fork_height),
        headers=b"",
        undone=b"",
        nodes=b"",
        tip_height=store.tip_height,
        tip_hash=store.tip_hash,
        chainwork=store.chainwork or Work(0),
        side_put=put,
        side_drop=drop,
    )


def fill(store: HeaderStore, height: int, batch: int = 100) -> None:
    """Extends up to ``height``."""
    while store.tip_height < height:
        store.commit(extension(store, min(batch, height - store.tip_height)), now=NOW, sync=False)


def open_store(where: Path | Engine, start: StartRecord | None = START, now: float = NOW) -> HeaderStore:
    """Opens with a small write buffer, so that few headers make many tables."""
    return HeaderStore.open(where, genesis_hash=GENESIS_HASH, start=start, now=now, write_buffer=64 << 10)


def level_engine(folder: Path) -> LevelEngine:
    folder.mkdir(parents=True, exist_ok=True)
    return LevelEngine(folder, write_buffer=64 << 10)


@contextmanager
def fast_folder() -> Iterator[Path]:
    """A folder in memory where there is one: for tests that open thousands of stores and model the disk themselves."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


class FaultyEngine:
    """Passes everything on, but refuses some writes."""

    def __init__(self, inner: Engine) -> None:
        self.inner = inner
        self.writes = 0
        self.refuse_from: int | None = None
        """Refuses the n-th write and all that follow; None: none."""

    @property
    def path(self) -> str:
        return self.inner.path

    def get(self, key: bytes) -> bytes | None:
        return self.inner.get(key)

    def range(self, start: bytes, stop: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        return self.inner.range(start, stop, limit=limit, reverse=reverse)

    def write(self, batch: Batch, *, sync: bool) -> None:
        self.writes += 1
        if self.refuse_from is not None and self.writes >= self.refuse_from:
            raise StoreError(f"{self.path}: refused write {self.writes}")
        self.inner.write(batch, sync=sync)

    def reopen(self) -> None:
        self.inner.reopen()

    def stats(self) -> EngineStats:
        return self.inner.stats()

    def close(self) -> None:
        self.inner.close()


def everything(engine: Engine) -> list[Row]:
    """All rows."""
    return engine.range(b"", b"\xff" * 40, limit=1 << 30)


def contents(store: StoreReader) -> tuple[object, ...]:
    """What a store says of itself, for comparing."""
    return (
        store.base,
        store.floor,
        store.tip_height,
        store.tip_hash,
        store.chainwork,
        store.last_seq,
        store.headers(store.floor, store.tip_height - store.floor + 1),
        store.side_branches(),
        store.events(),
    )
