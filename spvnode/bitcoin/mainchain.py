"""The block tree's view of the committed main chain, and the rule context after any of its headers."""

from __future__ import annotations

from typing import Protocol

from spvnode.bitcoin.header import Header, header_hash
from spvnode.bitcoin.packing import MEDIAN_TIME_SPAN, RunContext
from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.work import times_of
from spvnode.types import HEADER_SIZE, Hash32, Height, Work


class MainChain(Protocol):
    """Committed headers of the main chain. Reads only, from any thread."""

    @property
    def base(self) -> Height:
        """Lowest stored height."""

    @property
    def tip_height(self) -> Height:
        """Highest committed height."""

    def headers(self, start: Height, count: int) -> bytes:
        """Up to ``count`` headers from ``start``, cut at the tip."""

    def height_of(self, block_hash: Hash32) -> Height | None:
        """Height of a main-chain hash, None for any other."""

    def chainwork(self, height: Height) -> Work:
        """Cumulative work at ``height``."""


def context_after(params: ChainParams, main: MainChain, height: Height) -> bytes:
    """Packed context of a header whose parent is the main chain's at ``height`` (base .. tip)."""
    first = Height(max(main.base, height - MEDIAN_TIME_SPAN + 1))
    recent = main.headers(first, height - first + 1)
    times = times_of(recent)
    if main.base > 0:  # as in start_context: what lies below the base is unknown, zero is its lower bound
        times = (0,) * (MEDIAN_TIME_SPAN - len(times)) + times
    parent = Header(recent[-HEADER_SIZE:])
    period_start = Height(max(main.base, height - height % params.interval))
    first_of_period = Header(main.headers(period_start, 1))
    return RunContext(
        height=Height(height + 1),
        prev_hash=header_hash(parent.raw),
        prev_bits=parent.bits,
        period_start_time=first_of_period.time,
        period_start_bits=first_of_period.bits,
        # The twenty-minute rule returns to the bits of the last header that did not use it, and the first of a period
        # may not use it: within a period there is no other value.
        last_real_bits=first_of_period.bits,
        times=times,
        chainwork=main.chainwork(height),
    ).pack()
