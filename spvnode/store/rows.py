"""Reading rows in bulk, and the row changes that shortening a chain needs. Shared by reading, writing and healing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from spvnode.store.errors import StoreDamaged
from spvnode.store.port import Engine, Row
from spvnode.store.runmap import RunMap
from spvnode.store.schema import SIDE_SPAN, join_side, run_key, side_key, side_parts
from spvnode.types import HEADER_SIZE, Hash32, SideBranch

WALK_ROWS = 1024
"""Rows held at once by a walk: 1.3 MB of full runs."""
RELEASE_PIECES = 4
"""Pieces of a walk between two releases of the pages that reading maps: 6 MB, for 7 ms each. Without it a walk would
bring the whole store into the process."""
WALK_SIDE_ROWS = 16
"""The same for side branches, whose rows are bigger: 2.6 MB."""


def walk(engine: Engine, start: bytes, stop: bytes, *, limit: int = WALK_ROWS) -> Iterator[Row]:
    """All rows with ``start <= key < stop``, ``limit`` at a time. Each piece is a snapshot of its own."""
    pieces = 0
    while rows := engine.range(start, stop, limit=limit):
        yield from rows
        start = rows[-1][0] + b"\0"
        pieces += 1
        if pieces % RELEASE_PIECES == 0:
            engine.reopen()


def header_at(engine: Engine, runs: RunMap, height: int) -> bytes:
    """The header at ``height``; b"" when its run is not there, because another thread is replacing it."""
    start = runs.start_of(height)
    at = (height - (start or 0)) * HEADER_SIZE
    value = None if start is None else engine.get(run_key(start))
    return value[at : at + HEADER_SIZE] if value else b""


def shorten(engine: Engine, runs: RunMap, height: int, tip: int) -> tuple[list[Row], list[bytes]]:
    """Puts and deletes after which no height above ``height`` is left; ``tip`` is the highest now."""
    deletes = [run_key(start) for start in runs.starts(height + 1, tip)]
    start = runs.start_of(height)
    value = None if start is None else engine.get(run_key(start))
    if start is None or value is None:
        raise StoreDamaged(f"{engine.path}: the run with height {height} is gone")
    size = (height - start + 1) * HEADER_SIZE
    puts = [(run_key(start), value[:size])] if len(value) >= size + HEADER_SIZE else []
    return puts, deletes


def side_branches(engine: Engine) -> Iterator[tuple[list[bytes], SideBranch | None]]:
    """Every side branch with the keys of its rows; None instead of a branch that lost a part."""
    for tip_hash, rows in _by_tip(walk(engine, *SIDE_SPAN, limit=WALK_SIDE_ROWS)):
        branch = join_side(rows)
        yield [key for key, _ in rows], branch if branch and branch.tip_hash == tip_hash else None


def side_keys(engine: Engine, tip_hashes: Iterable[Hash32]) -> list[bytes]:
    """Keys of the rows of these side branches; unknown ones have none."""
    keys: list[bytes] = []
    for tip_hash in tip_hashes:
        first = engine.get(side_key(tip_hash, 0))
        if first is not None:
            keys += (side_key(tip_hash, part) for part in range(side_parts(first)))
    return keys


def detached_side_keys(engine: Engine, tip: int) -> list[bytes]:
    """Keys of side branches that lost a part, or that leave the main chain above ``tip``."""
    found = side_branches(engine)
    return [key for keys, branch in found if branch is None or branch.fork_height > tip for key in keys]


def _by_tip(rows: Iterable[Row]) -> Iterator[tuple[bytes, list[Row]]]:
    held: list[Row] = []
    for row in rows:
        if held and row[0][1:33] != held[0][0][1:33]:
            yield held[0][0][1:33], held
            held = []
        held.append(row)
    if held:
        yield held[0][0][1:33], held
