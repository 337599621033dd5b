"""The two packed records that cross into the ``check_run`` kernel, and their typed form.

Both are little-endian without padding. The kernel reads them as bytes so that it needs no Python object.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

from spvnode.bitcoin.params import ChainParams
from spvnode.types import Hash32, Height, Work

MEDIAN_TIME_SPAN = 11
"""Ancestors whose median time a header must exceed (Core's ``nMedianTimeSpan``)."""

PARAMS_STRUCT = struct.Struct("<32s I I I I i i i B B B B")
"""pow_limit (32-byte integer), pow_limit_bits, timespan s, spacing s, interval blocks, bip34_height, bip66_height,
bip65_height, allow_min_difficulty, no_retargeting, bip94, zero."""

CONTEXT_STRUCT = struct.Struct("<I 32s I I I I B 11I 32s")
"""height of the run's first header, prev_hash, prev_bits, period_start_time, period_start_bits, last_real_bits,
n_times, times[11], chainwork (32-byte integer, cumulative up to height - 1)."""


@lru_cache(maxsize=16)  # one entry per network in use
def pack_params(params: ChainParams) -> bytes:
    """The 64 bytes of consensus parameters that ``check_run`` reads."""
    return PARAMS_STRUCT.pack(
        params.pow_limit.to_bytes(32, "little"),
        params.pow_limit_bits,
        params.timespan,
        params.spacing,
        params.interval,
        params.bip34_height,
        params.bip66_height,
        params.bip65_height,
        params.allow_min_difficulty,
        params.no_retargeting,
        params.bip94,
        0,
    )


@dataclass(frozen=True, slots=True)
class RunContext:
    """All that the rules need to know about the ancestors of a header at ``height``.

    ``times`` holds up to 11 ancestors' timestamps, oldest first. ``last_real_bits`` is what the twenty-minute rule
    returns to; on a network without that rule, ``prev_bits``. ``chainwork`` is cumulative up to ``height - 1``.
    """

    height: Height
    prev_hash: Hash32
    prev_bits: int
    period_start_time: int
    period_start_bits: int
    last_real_bits: int
    times: tuple[int, ...]
    chainwork: Work

    def pack(self) -> bytes:
        """129 bytes; struct.error or OverflowError where a field does not fit."""
        count = len(self.times)
        return CONTEXT_STRUCT.pack(
            self.height,
            self.prev_hash,
            self.prev_bits,
            self.period_start_time,
            self.period_start_bits,
            self.last_real_bits,
            count,
            *self.times,
            *(0,) * (MEDIAN_TIME_SPAN - count),
            self.chainwork.to_bytes(32, "little"),
        )

    @classmethod
    def unpack(cls, packed: bytes) -> RunContext:
        """Inverse of ``pack``; struct.error unless 129 bytes."""
        height, prev_hash, prev_bits, start_time, start_bits, real_bits, count, *rest = CONTEXT_STRUCT.unpack(packed)
        return cls(
            height=Height(height),
            prev_hash=Hash32(prev_hash),
            prev_bits=prev_bits,
            period_start_time=start_time,
            period_start_bits=start_bits,
            last_real_bits=real_bits,
            times=tuple(rest[:count]),
            chainwork=Work(int.from_bytes(rest[-1], "little")),
        )


GENESIS_CONTEXT = RunContext(Height(0), Hash32(bytes(32)), 0, 0, 0, 0, (), Work(0)).pack()
"""Before the first header there is nothing."""
