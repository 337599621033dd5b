"""The native kernels against the best plain Python of the same work, in one run.

Each measurement alternates short windows of both and compares CPU time of this thread, so that what else the machine
does meets both alike. The ratio is that of the quiet windows, the tenth percentile of each: a neighbour on the other
thread of a core slows vector code far more than an interpreter, and would be what is measured.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from hashlib import sha256

from native import _kernels as kernels
from spvnode.bitcoin import rules
from spvnode.bitcoin.packing import GENESIS_CONTEXT, pack_params
from spvnode.bitcoin.params import BITCOIN
from tests.bench.kernel_data import DEPTH, LEAVES, BranchArguments, branches, mainnet
from tests.bench.kernel_mallocs import mallocs_per_call
from tests.bench.row import Row

ROUNDS = 30
QUIET = ROUNDS // 10
WINDOW_NS = 4_000_000
"""Least CPU time of one window: long against the clock's grain, short against a time slice."""
HEADERS = 4032
"""Two retarget periods: a Python window stays below 10 ms."""


def rows() -> list[Row]:
    """What ``make bench`` prints of the kernels."""
    return [_headers(), _full_check(), _branches(contiguous=False), _branches(contiguous=True), *_mallocs()]


def _window(work: Callable[[], object], repeats: int) -> float:
    start = time.thread_time_ns()
    for _ in range(repeats):
        work()
    return (time.thread_time_ns() - start) / repeats


def _ratio(slow: Callable[[], object], fast: Callable[[], object]) -> float:
    """How many times ``fast`` does the work in the time of one ``slow``."""
    repeats = [max(1, int(WINDOW_NS / min(_window(work, 2), _window(work, 2)))) for work in (slow, fast)]
    slow_ns, fast_ns = [], []
    for _ in range(ROUNDS):
        slow_ns.append(_window(slow, repeats[0]))
        fast_ns.append(_window(fast, repeats[1]))
    return sorted(slow_ns)[QUIET] / sorted(fast_ns)[QUIET]


def _headers() -> Row:
    data = mainnet(HEADERS)
    pieces = [data[i : i + 80] for i in range(0, len(data), 80)]

    def hash_pieces() -> list[bytes]:
        return [sha256(sha256(piece).digest()).digest() for piece in pieces]

    assert b"".join(hash_pieces()) == kernels.sha256d_headers(data)
    ratio = _ratio(hash_pieces, lambda: kernels.sha256d_headers(data))
    return Row(f"header hashing ({kernels.implementation()})", "hashlib over a list of headers", ratio, 12)


def _full_check() -> Row:
    data, params, hashes = mainnet(HEADERS), pack_params(BITCOIN), bytearray(HEADERS * 32)
    arguments = params, GENESIS_CONTEXT, data, rules.NO_TIME_LIMIT, hashes
    assert rules.check_run(*arguments) == kernels.check_run(*arguments)
    ratio = _ratio(lambda: rules.check_run(*arguments), lambda: kernels.check_run(*arguments))
    return Row("full chain check, real mainnet headers", "tuned Python twin", ratio, 25)


def _branches(*, contiguous: bool) -> Row:
    arguments = branches(contiguous=contiguous)
    loop = _hashlib_loop(arguments)
    assert loop() is True
    assert kernels.verify_branches(*arguments) == -1
    ratio = _ratio(loop, lambda: kernels.verify_branches(*arguments))
    where = "contiguous leaves" if contiguous else "leaves anywhere"
    return Row(f"{LEAVES:,} x {DEPTH} branches, {where}", "hashlib loop", ratio, 200 if contiguous else 20)


def _hashlib_loop(arguments: BranchArguments) -> Callable[[], bool]:
    """One branch after the other over ready-made lists of bytes: nothing but concatenation and hashing."""
    leaves, siblings, packed, depth, root, _ = arguments
    nodes = [siblings[i : i + 32] for i in range(0, len(siblings), 32)]
    proofs = [
        (leaves[32 * i : 32 * i + 32], index, nodes[depth * i : depth * (i + 1)])
        for i, (index,) in enumerate(struct.iter_unpack("<I", packed))
    ]

    def verify() -> bool:
        for leaf, index, branch in proofs:
            node = leaf
            for sibling in branch:
                node = sha256(sha256(sibling + node if index & 1 else node + sibling).digest()).digest()
                index >>= 1
            if node != root:
                return False
        return True

    return verify


def _mallocs() -> list[Row]:
    counts = mallocs_per_call()
    assert counts.pop("one bytes object, to see the counter count") >= 1
    return [Row(f"{name}: heap allocations", "counted", n, 0, "per call", at_least=False) for name, n in counts.items()]
