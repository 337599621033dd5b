"""Counts heap allocations per kernel call, in a process of its own: there every Python object is one
(``PYTHONMALLOC=malloc``), and a small preloaded library counts them."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import repeat
from pathlib import Path

from native import _kernels as kernels
from spvnode.bitcoin.packing import GENESIS_CONTEXT, pack_params
from spvnode.bitcoin.params import BITCOIN
from tests.bench.filter_data import matcher, scripts
from tests.bench.kernel_data import branches, mainnet

SOURCE = Path(__file__).with_name("count_malloc.c")
CALLS = 200
HEADERS = 2000


def mallocs_per_call() -> dict[str, float]:
    """By the name of the call. Compiles the counter and runs this file under it: needs a C compiler and glibc, and
    raises OSError or CalledProcessError without."""
    with tempfile.TemporaryDirectory() as folder:
        library = str(Path(folder) / "count_malloc.so")
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, str(SOURCE)], check=True)
        done = subprocess.run(
            [sys.executable, "-m", __name__, library],
            env={**os.environ, "LD_PRELOAD": library, "PYTHONMALLOC": "malloc"},
            check=True,
            capture_output=True,
            text=True,
        )
    counts: dict[str, float] = json.loads(done.stdout)
    return counts


def _steps() -> dict[str, Callable[[], object]]:
    headers, hashes = mainnet(HEADERS), bytearray(HEADERS * 32)
    contexts = iter([bytearray(GENESIS_CONTEXT) for _ in range(3 * CALLS + 1)])  # each call moves one
    params, no_limit = pack_params(BITCOIN), 2**40
    near, far = branches(contiguous=True), branches(contiguous=False)
    filters = partial(matcher, held=scripts(8_000, 1), wanted=scripts(1_000, 2))

    def check() -> object:
        return kernels.check_run_into(params, next(contexts), headers, no_limit, hashes)

    assert check() == 0
    return {
        "sha256d_headers_into, 2,000": lambda: kernels.sha256d_headers_into(headers, hashes),
        "check_run_into, 2,000": check,
        "verify_branches, 1,024 x 20 anywhere": lambda: kernels.verify_branches(*far),
        "verify_branches, 1,024 x 20 contiguous": lambda: kernels.verify_branches(*near),
        "gcs_match, 8,000 values x 1,000": filters(kernels.gcs_match),
        "one bytes object, to see the counter count": lambda: kernels.sha256d_pairs(headers[:64]),
    }


def _count(library: str) -> dict[str, float]:
    read = ctypes.CDLL(library).malloc_count
    read.restype = ctypes.c_long

    def taken(step: Callable[[], object], calls: int) -> int:
        before = read()
        for _ in repeat(None, calls):
            step()
        return int(read() - before)

    # Reading the counter takes from the heap too, but not more for more calls.
    return {name: (taken(step, 2 * CALLS) - taken(step, CALLS)) / CALLS for name, step in _steps().items()}


if __name__ == "__main__":
    print(json.dumps(_count(sys.argv[1])))
