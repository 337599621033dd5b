"""Fields of records and messages: what must be a byte string, a number or a list, and how large at most.

RLP itself is ``merkle.rlp``, which is strict: what decodes has one encoding only, so encoding a part again gives its
bytes. That is what lets a record be verified from its decoded form.
"""

from __future__ import annotations

from merkle import rlp
from merkle.errors import ProofError
from merkle.rlp import Item


class FieldError(ValueError):
    """Not RLP, or not the fields that belong there."""


def decode(data: bytes) -> Item:
    """The one item that ``data`` is. Raise FieldError."""
    try:
        return rlp.decode(data)
    except ProofError as error:
        raise FieldError(str(error)) from None


def from_int(value: int) -> bytes:
    """The byte string that stands for a non-negative integer: big endian, no leading zeros, empty for 0."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def as_bytes(item: Item, most: int) -> bytes:
    """``item``, which must be a byte string of at most ``most`` bytes. Raise FieldError."""
    if not isinstance(item, bytes) or len(item) > most:
        raise FieldError(f"not a byte string of at most {most} bytes")
    return item


def as_int(item: Item, size: int) -> int:
    """``item`` as an unsigned integer of at most ``size`` bytes. Raise FieldError."""
    digits = as_bytes(item, size)
    if digits[:1] == b"\0":
        raise FieldError("an integer with leading zeros")
    return int.from_bytes(digits, "big")


def as_list(item: Item, least: int, most: int) -> tuple[Item, ...]:
    """``item``, which must be a list of ``least`` to ``most`` items. Raise FieldError."""
    if isinstance(item, bytes) or not least <= len(item) <= most:
        raise FieldError(f"not a list of {least} to {most} items")
    return item
