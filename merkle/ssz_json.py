"""The JSON form of SSZ values, as the Beacon API and the specs' test files write it.

Integers are decimal strings (bare numbers are read too), byte and bit strings ``0x`` hex, vectors and lists arrays,
containers objects. ``from_json`` takes what a remote server sent, already parsed and so already bounded: it raises
``ProofError`` naming the field, and nothing else. Members that the type does not have are ignored (Beacon API).
"""

from __future__ import annotations

from typing import Any

from merkle.errors import ProofError
from merkle.ssz_types import Boolean, ByteVector, Container, List, SszType, Uint, Vector

MAX_DIGITS = 78
"""Decimal digits of 2**256 - 1: longer is no integer of ours, and ``int`` must not chew on it."""


def to_json(kind: SszType, value: Any) -> Any:
    """What ``json.dumps`` takes: dict, list, str or bool."""
    if isinstance(kind, Container):
        return {name: to_json(field, getattr(value, name)) for name, field in kind.fields.items()}
    if isinstance(kind, (Vector, List)):
        return [to_json(kind.element, item) for item in row_items(kind.element, value)]
    if isinstance(kind, Uint):
        return str(value)
    if isinstance(kind, Boolean):
        return value
    return "0x" + kind.encode(value).hex()


def from_json(kind: SszType, data: Any, field: str = "value") -> Any:
    """The value of ``kind`` that ``data`` stands for; ``field`` begins the path that an error names."""
    if isinstance(kind, Container):
        if not isinstance(data, dict):
            raise ProofError(field, "is no object")
        parts = {name: _member(inner, data, name, field) for name, inner in kind.fields.items()}
        return kind.make(**parts)
    if isinstance(kind, (Vector, List)):
        return _row_from_json(kind, data, field)
    if isinstance(kind, Boolean):
        if not isinstance(data, bool):
            raise ProofError(field, "is neither true nor false")
        return data
    if isinstance(kind, Uint):
        return _uint_from_json(kind, data, field)
    return _decoded(kind, _hex(data, field), field)


def row_items(element: SszType, value: Any) -> list[Any]:
    """A vector's or list's elements one by one, also where a value keeps them in one bytes object."""
    if not isinstance(value, bytes):
        return list(value)
    size = element.size or 1
    return [element.decode(value[at : at + size]) for at in range(0, len(value), size)]


def _member(kind: SszType, data: dict[str, Any], name: str, field: str) -> Any:
    if name not in data:
        raise ProofError(f"{field}.{name}", "is missing")
    return from_json(kind, data[name], f"{field}.{name}")


def _row_from_json(kind: Vector | List, data: Any, field: str) -> Any:
    if not isinstance(data, list):
        raise ProofError(field, "is no array")
    items = [from_json(kind.element, item, field) for item in data]
    packed = type(kind.element) in (Uint, ByteVector)
    value: Any = b"".join([kind.element.encode(item) for item in items]) if packed else tuple(items)
    limit = kind.length if isinstance(kind, Vector) else kind.limit
    if (isinstance(kind, Vector) and len(items) != kind.length) or (limit is not None and len(items) > limit):
        raise ProofError(field, f"has {len(items)} elements", limit)
    return value


def _uint_from_json(kind: Uint, data: Any, field: str) -> int:
    number = data
    if isinstance(data, str) and len(data) <= MAX_DIGITS and data.isascii() and data.isdigit():
        number = int(data)
    if type(number) is not int:
        raise ProofError(field, "is no decimal number", MAX_DIGITS)
    if number < 0 or number >> 8 * kind.size:
        raise ProofError(field, f"does not fit {8 * kind.size} bits", 8 * kind.size)
    return number


def _hex(data: Any, field: str) -> bytes:
    try:
        value = bytes.fromhex(data[2:]) if isinstance(data, str) and data.startswith("0x") else None
    except ValueError:
        value = None
    # fromhex also takes spaces between bytes; nobody writes them, so they are refused.
    if value is None or len(data) != 2 + 2 * len(value):
        raise ProofError(field, "is no 0x hex string")
    return value


def _decoded(kind: SszType, data: bytes, field: str) -> Any:
    try:
        return kind.decode(data)
    except ProofError as error:
        raise ProofError(field, error.problem, error.limit) from None
