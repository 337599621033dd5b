"""The compiled kernels. Arguments are contiguous bytes-like objects; a wrong size is a ValueError that names the
argument (sizes are the caller's business: codecs bound what peers send)."""

from typing import final

from native import BytesLike

MAX_BRANCH_LEAVES: int
"""Most leaves in one ``verify_branches`` call; what one message may carry is far less."""
MAX_BRANCH_DEPTH: int
"""Deepest tree of ``verify_branches``: indices are 32 bits."""
RELEASE_GIL_FROM_HASHES: int
"""Calls of fewer hashes keep the interpreter's lock."""
SHA256_VARIABLE: str

def implementations() -> tuple[str, ...]:
    """SHA-256 implementations that this CPU runs, best first, of ``shani4evex``, ``shani3``, ``shani2``, ``shani1``
    (SHA-NI, so many messages interleaved; evex with the registers of AVX-512VL), ``avx2``, ``armv8``, ``portable``.

    There is no 512-bit multi-buffer form: CPUs with SHA-NI are faster with it, and those without are servers.
    """

def implementation() -> str:
    """The one in use."""

def select(name: str) -> None:
    """Uses ``name`` from the next call on. ValueError when this CPU cannot run it. For start-up and tests."""

def sha256d_headers(headers: BytesLike) -> bytes:
    """SHA-256 twice of each 80-byte header: n * 80 -> n * 32 bytes."""

def sha256d_headers_into(headers: BytesLike, out: bytearray | memoryview) -> None:
    """The same into the first n * 32 bytes of ``out``; allocates nothing."""

def sha256d_pairs(nodes: BytesLike) -> bytes:
    """One level of a Bitcoin tree: SHA-256 twice of each 64 bytes, n * 64 -> n * 32."""

def sha256_pairs(nodes: BytesLike) -> bytes:
    """One level of an SSZ tree: SHA-256 of each 64 bytes, n * 64 -> n * 32."""

def verify_branches(
    leaves: BytesLike, siblings: BytesLike, indices: BytesLike, depth: int, root: BytesLike, double: bool
) -> int:
    """Checks up to 1,024 Merkle branches against one root.

    ``leaves`` n * 32 bytes; ``siblings`` n * depth * 32, leaf by leaf, each from the bottom up; ``indices`` n
    little-endian 32-bit leaf positions; ``double`` for Bitcoin's hash, else SSZ's. Returns -1 when every leaf leads to
    ``root``, else the position of the first that does not (an index of 2**depth or more never does). Allocates
    nothing. Nodes that branches share are hashed once and compared wherever they were supplied.
    """

def check_run(
    params: BytesLike, ctx: BytesLike, headers: BytesLike, max_time: int, hashes_out: bytearray | memoryview
) -> tuple[int, int, bytes]:
    """Checks linked headers by Bitcoin's rules, up to the first bad one.

    ``params`` is ``struct "<32s I I I I i i i B B B B"``: pow_limit (little-endian), pow_limit_bits, timespan (s),
    spacing (s), interval (blocks), bip34_height, bip66_height, bip65_height, allow_min_difficulty, no_retargeting,
    bip94, pad. ``ctx`` is ``struct "<I 32s I I I I B 11I 32s"``: height of the first header, prev_hash, prev_bits,
    period_start_time, period_start_bits, last_real_bits, n_times, times[11] (of the ancestors, oldest first),
    chainwork (little-endian, up to height - 1). ``max_time`` is the latest time allowed, Unix seconds.

    Returns how many headers are good, the reason for the next one (0 when all are) and the context after the last good
    one. Reasons, in the order of the checks: 1 prev-blk-not-found, 2 bad-diffbits, 3 high-hash, 4 time-too-old, 5
    time-timewarp-attack, 6 time-too-new, 7 bad-version. Hashes go to the first n * 32 bytes of ``hashes_out``; those
    past the first bad header mean nothing. At height 0 only the first three rules hold (genesis is known by hash).
    """

def check_run_into(
    params: BytesLike,
    ctx: bytearray | memoryview,
    headers: BytesLike,
    max_time: int,
    hashes_out: bytearray | memoryview,
) -> int:
    """``check_run`` that moves ``ctx`` in place and returns the reason; allocates nothing. How far the height at the
    start of ``ctx`` moved is the number of good headers."""

def link_headers(bodies: BytesLike, prev_hash: BytesLike) -> bytes:
    """Headers (n * 80 bytes) from their bodies (n * 48: all but the hash of the parent), the first following
    ``prev_hash``, each other the one before it."""

def gcs_workspace(items: int) -> int:
    """Bytes that ``gcs_match`` works in for so many items."""

def gcs_match(
    filters: bytes,
    keys: BytesLike,
    items: bytes,
    workspace: bytearray | memoryview,
    out: bytearray | memoryview,
) -> int:
    """Which of BIP158's basic filters hold one of the items at least? Returns how many do.

    ``filters`` and ``items`` are packed: u32 little-endian size and as many bytes, each. ``keys`` has 16 bytes a filter
    (the first of its block's hash), ``workspace`` at least ``gcs_workspace(items)`` bytes, used by one call at a time;
    ``out`` one byte a filter: 0 no, 1 yes, 2 malformed. A filter is read as far as its answer needs, so that only what
    was read can be malformed. Allocates nothing.
    """

def gcs_decode(filter: bytes) -> bytes | None:
    """All values of a basic filter, ascending, 8 bytes little-endian each; None when it is malformed."""

def siphash_scaled(key: BytesLike, items: bytes, modulus: int) -> bytes:
    """SipHash-2-4 of each of the packed items under a key of 16 bytes, as a fraction of 2**64 of ``modulus``: 8 bytes
    little-endian each."""

@final
class HashIndex:
    """Hash -> height in 9 to 16 bytes per header: fingerprints instead of hashes, keyed so that nobody can choose
    hashes which collide."""

    def __init__(self, base_height: int = 0) -> None: ...
    @property
    def base_height(self) -> int: ...
    @property
    def tip(self) -> int:
        """Height of the last hash; ``base_height - 1`` when there is none."""
    @property
    def nbytes(self) -> int:
        """Memory of the arrays, in bytes."""
    def append(self, hashes: BytesLike) -> None:
        """Adds n * 32 bytes of hashes at the heights after ``tip``. MemoryError leaves the index as it was."""
    def truncate(self, height: int) -> None:
        """Forgets the heights above ``height``; ValueError below ``base_height - 1``."""
    def candidates(self, hash32: BytesLike) -> tuple[int, ...]:
        """Heights whose fingerprint matches: the right one if it is there, rarely another with it. Compare the hash at
        each before believing it."""
