"""Regtest headers with real proof of work, fast: about two hashes each from a copied midstate.

A run is fixed by its seed, so that every use of it sees the same headers. Also usable for other parameters whose
limit is as easy.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from pathlib import Path

from spvnode.bitcoin.header import HEADER_STRUCT
from spvnode.bitcoin.params import REGTEST
from spvnode.bitcoin.pow import MAX_TARGET, target_of

_HEAD = struct.Struct("<i32s28s")
_TAIL = struct.Struct("<4sIII")


def mine(
    prev_hash: bytes,
    *,
    time: int,
    bits: int = REGTEST.pow_limit_bits,
    version: int = 0x20000000,
    merkle_root: bytes = bytes(32),
    good: bool = True,
) -> tuple[bytes, bytes]:
    """One header and its hash. With ``good`` False its hash misses the target of ``bits``."""
    target = target_of(bits, MAX_TARGET)
    assert target is not None
    nonce = 0
    while True:
        raw = HEADER_STRUCT.pack(version, prev_hash, merkle_root, time, bits, nonce)
        digest = sha256(sha256(raw).digest()).digest()
        if (int.from_bytes(digest, "little") <= target) == good:
            return raw, digest
        nonce += 1


def mine_run(prev_hash: bytes, time: int, count: int, *, seed: int = 0, spacing: int = 600) -> bytes:
    """``count`` linked regtest headers (packed) after ``prev_hash``, the first ``spacing`` seconds after ``time``."""
    bits, version, limit = REGTEST.pow_limit_bits, 0x20000000, 0x7F
    out = []
    root = sha256(seed.to_bytes(8, "little")).digest()
    for _ in range(count):
        time += spacing
        head = _HEAD.pack(version, prev_hash, root[:28])
        midstate = sha256(head)
        nonce = 0
        while True:
            tail = _TAIL.pack(root[28:], time, bits, nonce)
            inner = midstate.copy()
            inner.update(tail)
            digest = sha256(inner.digest()).digest()
            # Below 0x7fffff * 256**29: the top bit is clear, and all 23 below it are set once in eight million.
            if digest[31] < limit or (digest[31] == limit and digest[29:31] != b"\xff\xff"):
                break
            nonce += 1
        out.append(head + tail)
        prev_hash = digest
    return b"".join(out)


def regtest_chain(count: int, *, seed: int = 0, cache: Path | None = None, spacing: int = 600) -> bytes:
    """``count`` regtest headers, heights 1 .. count. ``cache``: a file to keep them in, made if it is not there.

    A million take about ten seconds.
    """
    if cache is not None and cache.exists() and cache.stat().st_size == 80 * count:
        return cache.read_bytes()
    genesis_time = int.from_bytes(REGTEST.genesis_header[68:72], "little")
    headers = mine_run(REGTEST.genesis_hash, genesis_time, count, seed=seed, spacing=spacing)
    if cache is not None:
        cache.write_bytes(headers)
    return headers
