"""What the kernel benchmarks work on: real headers, and branches in a tree of 2**20 leaves."""

from __future__ import annotations

import lzma
import random
import struct
from functools import cache
from pathlib import Path

from merkle import pure

MAINNET = Path(__file__).parents[1] / "vectors" / "bitcoin" / "mainnet_0-32259.bin.xz"
LEAVES = 1024
DEPTH = 20

BranchArguments = tuple[bytes, bytes, bytes, int, bytes, bool]


@cache
def mainnet(count: int) -> bytes:
    """Headers 0 .. count - 1 of mainnet."""
    return lzma.decompress(MAINNET.read_bytes())[: 80 * count]


def branches(*, contiguous: bool) -> BranchArguments:
    """Arguments of ``verify_branches``: good branches of 1,024 leaves, side by side or anywhere, in random order
    of index where they are anywhere. Nodes off their paths are random."""
    rng = random.Random(20)
    indices = list(range(7 * LEAVES, 8 * LEAVES)) if contiguous else rng.sample(range(1 << DEPTH), LEAVES)
    level = {index: rng.randbytes(32) for index in indices}
    leaves = b"".join(level[index] for index in indices)
    rows: list[dict[int, bytes]] = []
    for _ in range(DEPTH):
        row = dict(level)
        for index in level:
            row.setdefault(index ^ 1, rng.randbytes(32))
        rows.append(row)
        level = {index >> 1: pure.sha256d(row[index & ~1] + row[index | 1]) for index in level}
    siblings = b"".join(rows[at][index >> at ^ 1] for index in indices for at in range(DEPTH))
    return leaves, siblings, struct.pack(f"<{LEAVES}I", *indices), DEPTH, level[0], True
