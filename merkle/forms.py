"""Writing a proof in its two forms, bytes and JSON, from one table of fields. For versions 3, 5 and 7 of the bundle.

Bytes: version u8, then the fields in order. Integers are little-endian. JSON: one object of the same names, hashes in
reversed hex as explorers print them, everything else in plain hex. ``merkle.verify_more`` reads either form and shares
no code with this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from merkle.errors import ProofError
from merkle.pure import HEADER_SIZE
from merkle.shape import HASH_SIZE


class Kind(Enum):
    """How a field is written."""

    NAME = "name"
    """u8 length and ASCII."""
    NUMBER = "u32"
    HASH = "32 bytes"
    HEADER = "80 bytes"
    BLOB = "bytes"
    """u32 length before them."""
    HASHES = "hashes"
    """32 bytes each; their number follows from the other fields."""
    HEADERS = "headers"
    """u32 how many, then each with its height, u32, before it."""


Form = Mapping[str, Kind]


def encode(version: int, form: Form, bundle: object) -> bytes:
    """The bytes of ``bundle``, whose attributes have the names of ``form``. ProofError on a value of another size."""
    return bytes([version]) + b"".join(_bytes(name, kind, getattr(bundle, name)) for name, kind in form.items())


def to_json(version: int, form: Form, bundle: object) -> dict[str, Any]:
    """The JSON form, ready for ``json.dumps``."""
    return {"version": version, **{name: _json(kind, getattr(bundle, name)) for name, kind in form.items()}}


def _bytes(name: str, kind: Kind, value: Any) -> bytes:
    match kind:
        case Kind.NAME:
            return bytes([len(value)]) + str(value).encode("ascii")
        case Kind.NUMBER:
            return _number(name, value)
        case Kind.HASH | Kind.HEADER:
            return _sized(name, value, HASH_SIZE if kind is Kind.HASH else HEADER_SIZE)
        case Kind.BLOB:
            return _number(name, len(value)) + bytes(value)
        case Kind.HASHES:
            return b"".join(_sized(name, node, HASH_SIZE) for node in value)
        case Kind.HEADERS:
            rows = [_number(name, height) + _sized(name, raw, HEADER_SIZE) for height, raw in value]
            return _number(name, len(rows)) + b"".join(rows)


def _number(name: str, value: int) -> bytes:
    if not 0 <= value < 1 << 32:
        raise ProofError(name, "is no 32-bit number", (1 << 32) - 1)
    return value.to_bytes(4, "little")


def _sized(name: str, value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise ProofError(name, f"is not {size} bytes", size)
    return value


def _json(kind: Kind, value: Any) -> Any:
    match kind:
        case Kind.HASH:
            return value[::-1].hex()
        case Kind.HEADER | Kind.BLOB:
            return value.hex()
        case Kind.HASHES:
            return hashes_json(value)
        case Kind.HEADERS:
            return [{"height": height, "header": raw.hex()} for height, raw in value]
        case Kind.NAME | Kind.NUMBER:
            return value


def hashes_json(nodes: Sequence[bytes]) -> list[str]:
    """Nodes as JSON has them."""
    return [node[::-1].hex() for node in nodes]
