"""Cumulative work at any height, from one number per 2,016 headers and the bits of the headers between."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain

from spvnode.bitcoin.packing import RunContext
from spvnode.bitcoin.pow import total_proof
from spvnode.bitcoin.validation import RunResult, check_run_into
from spvnode.types import HASH_SIZE, HEADER_SIZE, Height, Work

WORK_SPAN = 2016
"""Headers between two marks: 16 KB of marks per million headers, and at most 2,015 headers to sum for an answer."""


def bits_of(headers: bytes) -> tuple[int, ...]:
    """The ``nBits`` of n * 80 bytes of headers, without a step of Python for each."""
    count = len(headers) // HEADER_SIZE
    column = bytearray(4 * count)
    for byte in range(4):
        column[byte::4] = headers[72 + byte :: HEADER_SIZE]
    return struct.unpack(f"<{count}I", column)


def times_of(headers: bytes) -> tuple[int, ...]:
    """The timestamps of n * 80 bytes of headers, Unix seconds."""
    return tuple(chain.from_iterable(struct.iter_unpack("<68xI8x", headers)))


def check_marked(
    params: bytes, context: bytes, headers: bytes, max_time: int, *, base: int
) -> tuple[RunResult, tuple[Work, ...]]:
    """``check_run`` that also tells the cumulative work at each height base + k * WORK_SPAN that the run passes.

    The run is cut after those heights, which costs a microsecond a cut and no second look at any header.
    """
    height, total = RunContext.unpack(context).height, len(headers) // HEADER_SIZE
    view, hashes = memoryview(headers), memoryview(bytearray(HASH_SIZE * total))
    marks: list[Work] = []
    done, reason = 0, None
    while done < total and reason is None:
        to_mark = 1 + (base - height - done) % WORK_SPAN
        piece = view[done * HEADER_SIZE : (done + to_mark) * HEADER_SIZE]
        count, reason, context = check_run_into(params, context, piece, max_time, hashes[HASH_SIZE * done :])
        done += count
        if count == to_mark:
            marks.append(RunContext.unpack(context).chainwork)
    return RunResult(done, reason, bytes(hashes[: HASH_SIZE * done]), context), tuple(marks)


class WorkTable:
    """Marks of cumulative work at heights base, base + 2,016, ...; ``base_work`` includes the header at ``base``.

    Grows with the committed chain only: 8 bytes and one integer per 2,016 headers.
    """

    __slots__ = ("_base", "_marks")

    def __init__(self, base: Height, base_work: Work) -> None:
        self._base = base
        self._marks = [base_work]

    def extend(self, marks: Sequence[Work]) -> None:
        """Takes the marks that ``check_marked`` found in the headers after the tip."""
        self._marks += marks

    def truncate(self, height: int) -> None:
        """Forgets the marks above ``height`` (>= base)."""
        del self._marks[(height - self._base) // WORK_SPAN + 1 :]

    def below(self, height: int) -> tuple[Height, Work]:
        """The mark at or below ``height`` (base .. tip): its height and the cumulative work there."""
        index = (height - self._base) // WORK_SPAN
        return Height(self._base + index * WORK_SPAN), self._marks[index]

    @staticmethod
    def add(mark: Work, headers: bytes) -> Work:
        """Cumulative work after ``headers`` that follow a mark."""
        return Work(mark + total_proof(bits_of(headers)))
