"""Headers by the million: a network where nearly every hash is good enough, so that making one costs one hash.

Proof of work is checked as everywhere; only its limit is as easy as 32 bits can say. A header counts as one unit of
work, so that work is the number of headers.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

from merkle.hashing import sha256d_headers
from spvnode.bitcoin.linking import BODY_SIZE, link_headers
from spvnode.bitcoin.packing import RunContext
from spvnode.bitcoin.params import REGTEST
from spvnode.bitcoin.pow import MAX_TARGET, get_compact
from spvnode.bitcoin.start import genesis_of, start_context

BITS = get_compact(MAX_TARGET)
GENESIS_TIME = 1_600_000_000
EASY = replace(
    REGTEST,
    name="easy",
    genesis_header=struct.pack("<i32s32sIII", 4, bytes(32), bytes(32), GENESIS_TIME, BITS, 0),
    pow_limit=MAX_TARGET,
    pow_limit_bits=BITS,
    checkpoints=(),
)
START = RunContext.unpack(start_context(EASY, genesis_of(EASY)))
"""After the genesis."""


def easy_run(prev_hash: bytes, time: int, count: int, *, seed: int = 0) -> bytes:
    """``count`` linked headers (n * 80) after ``prev_hash``, the first a second after ``time``."""
    times = memoryview(array("I", range(time + 1, time + 1 + count)))
    nonce = 0
    while True:
        root = sha256(struct.pack("<QQ", seed, nonce)).digest()
        bodies = bytearray(struct.pack("<i32sIII", 4, root, 0, BITS, nonce) * count)
        memoryview(bodies).cast("I")[9 :: BODY_SIZE // 4] = times
        headers = link_headers(bodies, prev_hash)
        if 0xFFFF not in array("H", sha256d_headers(headers))[15::16]:  # the one hash in 65,536 that is not good
            return headers
        nonce += 1


def easy_runs(count: int, size: int = 2_000, *, seed: int = 0) -> Iterator[bytes]:
    """``count`` headers from the genesis on, in runs of ``size``."""
    prev_hash, time = EASY.genesis_hash, GENESIS_TIME
    for at in range(0, count, size):
        run = easy_run(bytes(prev_hash), time, min(size, count - at), seed=seed)
        prev_hash, time = sha256d_headers(run[-80:]), time + size
        yield run


def easy_chain(count: int, *, seed: int = 0) -> bytes:
    """The same in one piece."""
    return b"".join(easy_runs(count, seed=seed))


def easy_fork(chain: bytes, fork: int, count: int, *, seed: int) -> bytes:
    """``count`` other headers after the first ``fork`` of ``chain`` (which begins after the genesis)."""
    prev_hash = sha256d_headers(chain[(fork - 1) * 80 : fork * 80]) if fork else bytes(EASY.genesis_hash)
    out = []
    for at in range(0, count, 2_000):
        out.append(easy_run(prev_hash, GENESIS_TIME + fork + at, min(2_000, count - at), seed=seed))
        prev_hash = sha256d_headers(out[-1][-80:])
    return b"".join(out)
