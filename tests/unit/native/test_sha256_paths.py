"""Every SHA-256 path of this CPU against hashlib, bit by bit."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merkle import pure
from native import BytesLike
from native import _kernels as kernels

PATHS = kernels.implementations()
CASES_PER_RUN = 12_000
"""Messages per path and job: with 3 jobs and the slowest CPU's one path this alone is 36,000 cases; with the paths of a
CPU that has SHA-NI more than 1e5."""

Hasher = Callable[[BytesLike], bytes]
JOBS: list[tuple[Hasher, Hasher, int]] = [
    (kernels.sha256d_headers, pure.sha256d_headers, 80),
    (kernels.sha256d_pairs, pure.sha256d_pairs, 64),
    (kernels.sha256_pairs, pure.sha256_pairs, 64),
]
each_job = pytest.mark.parametrize(("fast", "slow", "size"), JOBS)

# A forced process hashes what this prints, and what the parent expects.
FORCED = """
import random, sys
from hashlib import sha256
from native import kernels
data = random.Random(7).randbytes(80 * 64 * 79)
got = [kernels.implementation()]
for hasher in (kernels.sha256d_headers, kernels.sha256d_pairs, kernels.sha256_pairs):
    got.append(sha256(hasher(data)).hexdigest())
print(" ".join(got))
"""


def run_python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", PATHS)
def test_a_path_forced_by_the_environment(name: str) -> None:
    data = random.Random(7).randbytes(80 * 64 * 79)  # 5,056 headers, 6,320 pairs: 17,696 cases a path
    expected = [sha256(slow(data)).hexdigest() for _, slow, _ in JOBS]
    done = run_python(FORCED, SPVNODE_SHA256=name)
    assert (done.stderr, done.stdout.split()) == ("", [name, *expected])


@each_job
def test_many_random_messages(path: str, fast: Hasher, slow: Hasher, size: int) -> None:
    data = random.Random(path).randbytes(size * CASES_PER_RUN)
    assert kernels.implementation() == path
    assert fast(data) == slow(data)


@each_job
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.integers(0, 70), shift=st.integers(0, 63), content=st.randoms(use_true_random=False))
def test_any_count_at_any_address(
    path: str, fast: Hasher, slow: Hasher, size: int, n: int, shift: int, content: random.Random
) -> None:
    """Left-over lanes, and data that no vector load is aligned to."""
    data = content.randbytes(shift + n * size)
    assert fast(memoryview(data)[shift:]) == slow(data[shift:])


@each_job
def test_bits_of_one_message_reach_only_its_own_hash(path: str, fast: Hasher, slow: Hasher, size: int) -> None:
    data = bytearray(size * 17)
    clean = fast(data)
    for bit in range(0, len(data) * 8, 61):
        data[bit // 8] ^= 1 << bit % 8
        changed = fast(data)
        where = bit // 8 // size
        assert changed[: 32 * where] + changed[32 * where + 32 :] == clean[: 32 * 16]
        assert changed[32 * where : 32 * where + 32] == slow(data[where * size : where * size + size])
        data[bit // 8] ^= 1 << bit % 8


def test_known_answers(path: str) -> None:
    genesis = bytes.fromhex(
        "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f61"
        "7fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c"
    )
    assert kernels.sha256d_headers(genesis)[::-1].hex() == (
        "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    )
    # The first two zero hashes of an SSZ tree.
    assert kernels.sha256_pairs(bytes(64)).hex() == "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b"


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 3000), spare=st.integers(0, 100))
def test_into_writes_the_hashes_and_nothing_else(n: int, spare: int) -> None:
    data = random.Random(n).randbytes(n * 80)
    out = bytearray(b"\xaa" * (n * 32 + spare))
    kernels.sha256d_headers_into(data, out)
    assert out == pure.sha256d_headers(data) + b"\xaa" * spare


def test_threads_hash_at_the_same_time() -> None:
    batches = [random.Random(i).randbytes(80 * 3000) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(kernels.sha256d_headers, batches)) == [pure.sha256d_headers(b) for b in batches]


@pytest.mark.parametrize("hasher", [kernels.sha256d_headers, pure.sha256d_headers])
@pytest.mark.parametrize("length", [1, 79, 81, 159])
def test_headers_that_are_not_whole(hasher: Hasher, length: int) -> None:
    with pytest.raises(ValueError, match=f"headers: {length} bytes are no multiple of 80"):
        hasher(bytes(length))


@pytest.mark.parametrize("hasher", [f for f, _, size in JOBS if size == 64] + [s for _, s, size in JOBS if size == 64])
def test_nodes_that_are_not_whole(hasher: Hasher) -> None:
    with pytest.raises(ValueError, match="nodes: 32 bytes are no multiple of 64"):
        hasher(bytes(32))


def test_no_room_for_the_hashes() -> None:
    with pytest.raises(ValueError, match="out: 63 bytes, 2 hashes need 64"):
        kernels.sha256d_headers_into(bytes(160), bytearray(63))
    with pytest.raises(BufferError):
        kernels.sha256d_headers_into(bytes(80), memoryview(bytes(32)))


@pytest.mark.parametrize("name", ["", "sha512", "SHANI2", "portable "])
def test_select_refuses_what_it_does_not_know(name: str) -> None:
    before = kernels.implementation()
    with pytest.raises(ValueError, match=r"none of the SHA-256 implementations that run on this CPU: .*portable"):
        kernels.select(name)
    assert kernels.implementation() == before


def test_the_best_is_the_default() -> None:
    assert run_python("from native import kernels; print(kernels.implementation())").stdout.strip() == PATHS[0]
    assert PATHS[-1] == "portable"


def test_the_environment_is_refused_when_this_cpu_cannot_run_it() -> None:
    other = "armv8" if "shani1" in PATHS or "avx2" in PATHS else "avx2"
    done = run_python("import native", SPVNODE_SHA256=other)
    assert done.returncode == 1
    assert f"SPVNODE_SHA256: '{other}' is none of the SHA-256 implementations" in done.stderr


def test_the_kernels_can_be_switched_off() -> None:
    code = "import native, merkle.hashing as h; print(native.kernels, h.sha256d_headers.__module__)"
    assert run_python(code, SPVNODE_KERNELS="python").stdout.split() == ["None", "merkle.pure"]
    assert run_python(code).stdout.split()[-1] == "native._kernels"


def test_an_unknown_choice_of_kernels_is_refused() -> None:
    done = run_python("import native", SPVNODE_KERNELS="fast")
    assert done.returncode == 1
    assert "SPVNODE_KERNELS='fast': must be 'native' or 'python'" in done.stderr
