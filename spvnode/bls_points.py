"""Arithmetic on points of libraries that can add them and little else; and on their encodings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Point = Any
"""A backend's own, in G1 or G2 (``spvnode.bls_backends``)."""

INFINITY_BIT = 0x40
"""Of a compressed point's first byte."""
WINDOW_BITS = 4
"""Width of the signed windows in which a key is multiplied; fastest for 64-bit numbers (measured)."""


def rows_of(data: bytes, size: int) -> list[bytes]:
    """``data`` in pieces of ``size`` bytes, the last perhaps shorter."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def any_infinity(rows: Sequence[bytes]) -> bool:
    """Whether one of these compressed points says that it is infinity, rightly or wrongly encoded."""
    return any(row[0] & INFINITY_BIT for row in rows if row)


def add_points(points: Sequence[Point]) -> Point:
    """Sum of at least one point, for points that have ``+``."""
    total = points[0]
    for point in points[1:]:
        total = total + point
    return total


def signed_windows(number: int, width: int) -> list[int]:
    """Digits of ``number``, lowest first, each 0 or odd and below 2**(width-1) in size, base 2 (width-NAF)."""
    digits = []
    while number:
        digit = 0
        if number & 1:
            digit = number & ((1 << width) - 1)
            if digit >> (width - 1):
                digit -= 1 << width
            number -= digit
        digits.append(digit)
        number >>= 1
    return digits


def multiply(point: Point, number: int) -> Point:
    """``number`` * ``point`` for points that only have ``+`` and ``negate``; ``number`` is at least 1."""
    double = point + point
    odd = {1: point}
    for digit in range(3, 1 << (WINDOW_BITS - 1), 2):
        odd[digit] = odd[digit - 2] + double
    odd |= {-digit: multiple.negate() for digit, multiple in odd.items()}
    result = None
    for digit in reversed(signed_windows(number, WINDOW_BITS)):
        if result is not None:
            result = result + result
        if digit:
            result = odd[digit] if result is None else result + odd[digit]
    return result


def multiply_sum(points: Sequence[Point], numbers: Sequence[int]) -> Point:
    """sum of ``numbers[i] * points[i]`` by buckets (Pippenger), for points that only have ``+``; not all numbers 0."""
    width = 4 if len(points) >= 32 else 3 if len(points) >= 8 else 2
    total = None
    for shift in range(-(-max(numbers).bit_length() // width) * width - width, -1, -width):
        if total is not None:
            for _ in range(width):
                total = total + total
        total = _plus(total, _bucket_sum(points, [number >> shift & ((1 << width) - 1) for number in numbers]))
    return total


def _bucket_sum(points: Sequence[Point], digits: Sequence[int]) -> Point | None:
    buckets: list[Point | None] = [None] * (max(digits) + 1)
    for point, digit in zip(points, digits, strict=True):
        if digit:
            buckets[digit] = _plus(buckets[digit], point)
    running = total = None
    for bucket in buckets[:0:-1]:
        running = _plus(running, bucket)
        total = _plus(total, running)
    return total


def _plus(left: Point | None, right: Point | None) -> Point | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right
