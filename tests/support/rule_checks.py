"""Runs the header rules through each implementation there is: the Python twin, and the kernel where it was built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from native import kernels
from spvnode.bitcoin import rules
from spvnode.bitcoin.packing import GENESIS_CONTEXT, RunContext, pack_params
from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.rules import NO_TIME_LIMIT, REASON_BY_CODE, Reason

CheckRun = Callable[[bytes, bytes, bytes, int, bytearray], tuple[int, int, bytes]]

IMPLEMENTATIONS: dict[str, CheckRun] = {"python": rules.check_run}
if kernels is not None:
    IMPLEMENTATIONS["native"] = kernels.check_run


@dataclass(frozen=True, slots=True)
class Outcome:
    count: int
    reason: Reason | None
    hashes: bytes
    after: RunContext


def check(
    implementation: str,
    params: ChainParams,
    context: RunContext,
    headers: bytes,
    max_time: int = NO_TIME_LIMIT,
) -> Outcome:
    """One ``check_run``; ``hashes`` are those of the good headers."""
    hashes = bytearray(len(headers) // 80 * 32)
    count, code, after = IMPLEMENTATIONS[implementation](pack_params(params), context.pack(), headers, max_time, hashes)
    return Outcome(count, REASON_BY_CODE.get(code), bytes(hashes[: 32 * count]), RunContext.unpack(after))


BEFORE_GENESIS = RunContext.unpack(GENESIS_CONTEXT)
