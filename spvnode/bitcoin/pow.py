"""Proof of work in integers: compact bits, work, retarget, difficulty.

Names and behaviour are Bitcoin Core's (``arith_uint256.cpp``, ``pow.cpp``, ``rpc/blockchain.cpp``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from spvnode.types import Work

MAX_TARGET = (1 << 256) - 1
RETARGET_CLAMP = 4
"""A period counts as at least a quarter and at most four times the intended timespan."""
_WORK_CACHE = 4096
"""Distinct compact targets whose work is remembered, process-wide. Mainnet has about 450 in all its history; a peer
can only add one by proof of work, and the cache drops the least recently used."""


@dataclass(frozen=True, slots=True)
class Compact:
    """What ``arith_uint256::SetCompact`` makes of 32 bits; ``target`` is meaningless when ``overflow``."""

    target: int
    negative: bool
    overflow: bool


def set_compact(bits: int) -> Compact:
    """Decodes a compact target: 8 bits of size, a sign bit, 23 bits of mantissa."""
    size = bits >> 24
    word = bits & 0x007FFFFF
    if size <= 3:
        word >>= 8 * (3 - size)
        target = word
    else:
        target = word << 8 * (size - 3)
    # A mantissa of zero is zero whatever its size and sign: Core tests the word, not the target.
    negative = word != 0 and bits & 0x00800000 != 0
    overflow = word != 0 and (size > 34 or (word > 0xFF and size > 33) or (word > 0xFFFF and size > 32))
    return Compact(target & MAX_TARGET, negative, overflow)


def get_compact(target: int) -> int:
    """Encodes a target (0 .. 2**256 - 1), losing all but its top bytes, as ``arith_uint256::GetCompact``."""
    size = (target.bit_length() + 7) // 8
    word = target << 8 * (3 - size) if size <= 3 else target >> 8 * (size - 3)
    if word & 0x00800000:  # would read as the sign
        word >>= 8
        size += 1
    return word | size << 24


def target_of(bits: int, pow_limit: int) -> int | None:
    """The target that ``bits`` encodes, None where no header may carry it: negative, overflow, zero, too easy."""
    compact = set_compact(bits)
    if compact.negative or compact.overflow or not 0 < compact.target <= pow_limit:
        return None
    return compact.target


@lru_cache(maxsize=_WORK_CACHE)
def block_proof(bits: int) -> Work:
    """Expected hashes for one header (``GetBlockProof``): floor(2**256 / (target + 1)), 0 for bits without target."""
    target = target_of(bits, MAX_TARGET)
    return Work(0 if target is None else (1 << 256) // (target + 1))


def total_proof(all_bits: Iterable[int]) -> Work:
    """Summed work of many headers; one division per distinct value."""
    return Work(sum(block_proof(bits) * count for bits, count in Counter(all_bits).items()))


def calculate_next_work(base_bits: int, first_time: int, last_time: int, *, timespan: int, pow_limit: int) -> int:
    """Bits of the next period (``CalculateNextWorkRequired``).

    ``base_bits`` are the last header's, or by BIP94 the first header's of the closing period; times are those of its
    first and last header, in Unix seconds. Core multiplies modulo 2**256; no network that retargets has a limit high
    enough for that to differ from this exact product.
    """
    actual = min(max(last_time - first_time, timespan // RETARGET_CLAMP), timespan * RETARGET_CLAMP)
    return get_compact(min(set_compact(base_bits).target * actual // timespan, pow_limit))


def difficulty(bits: int) -> float:
    """``GetDifficulty``: the target 0x00ffff * 256**26 over this one, on every network."""
    mantissa = bits & 0x00FFFFFF
    if mantissa == 0:
        return 0.0
    return 0x0000FFFF / mantissa * 256.0 ** (29 - (bits >> 24))
