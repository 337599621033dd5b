"""The hashing switch: with the kernels and without them the same answers."""

from __future__ import annotations

import random
import subprocess
import sys
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merkle import hashing, pure

ALL = ["sha256_pairs", "sha256d_headers", "sha256d_pairs", "verify_branches"]

PRINT_ALL = """
import random, struct
import native
from merkle import hashing
rng = random.Random(1)
leaves, siblings, root = rng.randbytes(64), rng.randbytes(64 * 3), rng.randbytes(32)
print(native.kernels is None)
print(hashing.sha256d_headers(rng.randbytes(800)).hex(), hashing.sha256d_pairs(rng.randbytes(640)).hex())
print(hashing.sha256_pairs(rng.randbytes(640)).hex(), hashing.sha256d(b"spv").hex())
print(hashing.verify_branches(leaves, siblings, struct.pack("<2I", 1, 6), 3, root, True))
"""


def printed(**env: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", PRINT_ALL], env=env, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_process_without_kernels_says_the_same() -> None:
    native_first, *native_rest = printed()
    python_first, *python_rest = printed(SPVNODE_KERNELS="python")
    assert (native_first, python_first) == ("False", "True")
    assert native_rest == python_rest


@pytest.mark.parametrize("name", ALL)
def test_the_kernels_are_in_use_here(name: str) -> None:
    assert getattr(hashing, name).__module__ == "native._kernels"


@given(data=st.binary(max_size=300))
def test_sha256d_is_sha256_twice(data: bytes) -> None:
    once = sha256(data).digest()
    assert hashing.sha256d(data) == hashing.sha256d(memoryview(data)) == sha256(once).digest()


@settings(max_examples=50, deadline=None)
@given(n=st.integers(0, 200), seed=st.integers(0, 2**32))
def test_twins_are_hashlib_message_by_message(n: int, seed: int) -> None:
    data = random.Random(seed).randbytes(n * 320)
    headers = [data[i : i + 80] for i in range(0, len(data), 80)]
    pairs = [data[i : i + 64] for i in range(0, len(data), 64)]
    assert pure.sha256d_headers(data) == b"".join(sha256(sha256(h).digest()).digest() for h in headers)
    assert pure.sha256d_pairs(data) == b"".join(sha256(sha256(p).digest()).digest() for p in pairs)
    assert pure.sha256_pairs(data) == b"".join(sha256(p).digest() for p in pairs)


def test_twins_verify_a_tree_built_by_hand() -> None:
    a, b, c, d = (bytes([i]) * 32 for i in range(4))
    left, right = pure.sha256_pairs(a + b), pure.sha256_pairs(c + d)
    root = pure.sha256_pairs(left + right)
    two = b"\x02\0\0\0"
    assert pure.verify_branches(c, d + left, two, 2, root, False) == -1
    assert pure.verify_branches(c, d + left, two, 2, root, True) == 0
    assert pure.verify_branches(c, left + d, two, 2, root, False) == 0
    assert pure.verify_branches(b + c, a + right + d + left, b"\x01\0\0\0" + two, 2, root, False) == -1
    assert pure.verify_branches(b + b, a + right + d + left, b"\x01\0\0\0" + two, 2, root, False) == 1
    assert pure.verify_branches(b"", b"", b"", 2, root, False) == -1
