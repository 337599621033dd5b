"""The one door to the header rules: the compiled ``check_run`` where it was built, its Python twin elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from native import BytesLike, kernels
from spvnode.bitcoin import rules
from spvnode.bitcoin.rules import REASON_BY_CODE, Reason
from spvnode.types import HASH_SIZE, HEADER_SIZE

_check_run = rules.check_run if kernels is None else kernels.check_run


@dataclass(frozen=True, slots=True)
class RunResult:
    """Outcome of checking a run: the first ``count`` headers are good, the next one fails by ``reason`` (None: all
    are good). ``hashes`` holds count * 32 bytes; ``context`` (packed) is what the header after them needs."""

    count: int
    reason: Reason | None
    hashes: bytes
    context: bytes


def check_run(params: bytes, context: bytes, headers: BytesLike, max_time: int) -> RunResult:
    """Checks n * 80 bytes of linked headers by every rule.

    ``params`` and ``context`` are packed (see ``packing``); ``max_time`` in Unix seconds. ValueError where ``headers``
    is not a whole number of headers.
    """
    total, odd = divmod(len(headers), HEADER_SIZE)
    if odd:
        raise ValueError(f"headers: {len(headers)} bytes is not a multiple of {HEADER_SIZE}")
    hashes = bytearray(HASH_SIZE * total)
    count, reason, after = check_run_into(params, context, headers, max_time, hashes)
    return RunResult(count, reason, bytes(memoryview(hashes)[: HASH_SIZE * count]), after)


def check_run_into(
    params: bytes, context: bytes, headers: BytesLike, max_time: int, hashes_out: bytearray | memoryview
) -> tuple[int, Reason | None, bytes]:
    """``check_run`` for callers that gather hashes: they go to the start of ``hashes_out`` (at least n * 32 bytes).

    Returns the number of good headers, why the next one fails, and the context after them.
    """
    count, code, after = _check_run(params, context, headers, max_time, hashes_out)
    return count, REASON_BY_CODE.get(code), after
