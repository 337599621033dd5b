"""SSZ types as values: each encodes, decodes and hashes. A container's layout is a table of fields, not a class.

How values look in Python:

* unsigned integers and booleans: ``int``, ``bool``
* byte vectors, byte lists, bit vectors: ``bytes`` as on the wire; bit lists: ``Bits``
* vectors and lists of integers or byte vectors (roots, public keys, balances): one ``bytes`` object, elements in a row
* vectors and lists of anything else: ``tuple``
* containers: what the table's ``make`` builds from keyword arguments and reads back by attribute

``decode`` takes untrusted bytes: it raises ``ProofError`` and nothing else, accepts exactly one encoding per value, and
builds nothing larger than a small multiple of its input. ``encode`` and ``hash_tree_root`` take values we built.
Source: consensus-specs ``ssz/simple-serialize.md``; EIP-7916, EIP-7495.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from merkle.errors import ProofError
from merkle.hashing import sha256_pairs
from merkle.ssz import (
    CHUNK,
    concat_generalized_indices,
    merkleize,
    merkleize_progressive,
    mix_in,
    pad_chunks,
    progressive_branch,
    progressive_gindex,
    tree_branch,
    tree_depth,
)
from merkle.ssz_basic import (
    Bitlist,
    Bits,
    Bitvector,
    Boolean,
    ByteList,
    ByteVector,
    SszType,
    Uint,
    check_size,
    chunk_limit,
    list_root,
)

__all__ = [
    "Bitlist",
    "Bits",
    "Bitvector",
    "Boolean",
    "ByteList",
    "ByteVector",
    "Container",
    "List",
    "SszType",
    "Uint",
    "Vector",
    "path_branch",
    "path_gindex",
]

_UNITS: Mapping[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""Formats of a memoryview, by size."""
OFFSET_SIZE = 4
"""Bytes of the offset that stands for a variable-size part."""


def _is_packed(element: SszType) -> bool:
    """Whether a row of such elements is kept as one bytes object."""
    return type(element) in (Uint, ByteVector)


def _element_chunks(element: SszType, value: Any) -> bytes:
    """Leaves of the tree over a row's elements."""
    if not _is_packed(element):
        return b"".join([element.hash_tree_root(item) for item in value])
    size = element.size or 0
    if type(element) is Uint or size == CHUNK:
        return pad_chunks(value)
    # Each element is a little tree of its own; all of them are hashed level by level together.
    width = 1 << tree_depth(-(-size // CHUNK))
    level = _spread(value, size, width * CHUNK)
    for _ in range(tree_depth(width)):
        level = sha256_pairs(level)
    return level


def _spread(rows: bytes, size: int, width: int) -> bytes:
    """Rows of ``size`` bytes, each with zeros behind it up to ``width`` bytes."""
    # Column by column, as wide as both sizes allow: 512 public keys in 6 steps, not 512.
    unit = min(size & -size, width & -width, 8)
    result = bytearray(len(rows) // size * width)
    source, target = memoryview(rows).cast(_UNITS[unit]), memoryview(result).cast(_UNITS[unit])
    for column in range(size // unit):
        target[column :: width // unit] = source[column :: size // unit]
    return bytes(result)


def _encode_row(element: SszType, value: Any) -> bytes:
    if _is_packed(element):
        return bytes(value)
    return _encode_parts([(element, item) for item in value])


def _decode_row(element: SszType, data: bytes) -> Any:
    if element.size is not None:
        if len(data) % element.size:
            raise ProofError("list", f"{len(data)} bytes are no multiple of {element.size}", element.size)
        if _is_packed(element):
            return bytes(data)
        return tuple([element.decode(data[at : at + element.size]) for at in range(0, len(data), element.size)])
    if not data:
        return ()
    first = int.from_bytes(data[:OFFSET_SIZE], "little")
    if not 0 < first <= len(data) or first % OFFSET_SIZE:
        raise ProofError("list", "its first offset is not where its elements begin")
    offsets = [int.from_bytes(data[at : at + OFFSET_SIZE], "little") for at in range(0, first, OFFSET_SIZE)]
    return tuple([element.decode(part) for part in _split_parts(data, first, offsets)])


def _row_length(element: SszType, value: Any) -> int:
    return len(value) // (element.size or 1) if _is_packed(element) else len(value)


def _encode_parts(parts: list[tuple[SszType, Any]]) -> bytes:
    """Fixed-size parts in place, offsets where the others would be, and those behind all of them."""
    encoded = [(kind.size, kind.encode(value)) for kind, value in parts]
    offset = sum(OFFSET_SIZE if size is None else size for size, _ in encoded)
    fixed, variable = [], []
    for size, data in encoded:
        if size is None:
            fixed.append(offset.to_bytes(OFFSET_SIZE, "little"))
            variable.append(data)
            offset += len(data)
        else:
            fixed.append(data)
    return b"".join(fixed + variable)


def _split_parts(data: bytes, fixed_size: int, offsets: list[int]) -> list[bytes]:
    """The variable-size parts that ``offsets`` point to: they must fill ``data`` from ``fixed_size`` on, in order."""
    if not offsets:
        return []
    ends = [*offsets[1:], len(data)]
    if offsets[0] != fixed_size:
        raise ProofError("offset", f"the first is {offsets[0]}, the parts begin at {fixed_size}", fixed_size)
    if any(start > end for start, end in zip(offsets, ends, strict=True)):
        raise ProofError("offset", "is beyond the next one, or beyond the end")
    return [data[start:end] for start, end in zip(offsets, ends, strict=True)]


class Vector(SszType):
    """Exactly ``length`` elements."""

    def __init__(self, element: SszType, length: int) -> None:
        self.element = element
        self.length = length
        self.size = None if element.size is None else element.size * length
        leaves = chunk_limit(length, element.size or 0) if type(element) is Uint else length
        self._depth = tree_depth(leaves or 0)

    def encode(self, value: Any) -> bytes:
        if _row_length(self.element, value) != self.length:
            raise ValueError(f"vector: not {self.length} elements")
        return _encode_row(self.element, value)

    def decode(self, data: bytes) -> Any:
        if self.size is not None:
            check_size(data, self.size, "vector")
        value = _decode_row(self.element, data)
        if _row_length(self.element, value) != self.length:
            raise ProofError("vector", "has another number of elements", self.length)
        return value

    def hash_tree_root(self, value: Any) -> bytes:
        return merkleize(_element_chunks(self.element, value), self._depth)

    def default(self) -> Any:
        return bytes(self.size or 0) if _is_packed(self.element) else (self.element.default(),) * self.length


class List(SszType):
    """Up to ``limit`` elements; None is a progressive list (EIP-7916), bounded by the message it came in."""

    size = None

    def __init__(self, element: SszType, limit: int | None) -> None:
        self.element = element
        self.limit = limit
        self._limit_chunks = chunk_limit(limit, element.size or 0) if type(element) is Uint else limit

    def encode(self, value: Any) -> bytes:
        return _encode_row(self.element, value)

    def decode(self, data: bytes) -> Any:
        value = _decode_row(self.element, data)
        if self.limit is not None and _row_length(self.element, value) > self.limit:
            raise ProofError("list", f"{_row_length(self.element, value)} elements", self.limit)
        return value

    def hash_tree_root(self, value: Any) -> bytes:
        chunks = _element_chunks(self.element, value)
        return mix_in(list_root(chunks, self._limit_chunks), _row_length(self.element, value))

    def default(self) -> Any:
        return b"" if _is_packed(self.element) else ()


class Container(SszType):
    """Fields in order. ``make`` builds a value from them as keyword arguments.

    ``progressive`` hashes as a progressive container (EIP-7495) whose fields are all active.
    """

    def __init__(
        self, name: str, fields: Mapping[str, SszType], make: Callable[..., Any], *, progressive: bool = False
    ) -> None:
        self.name = name
        self.fields = dict(fields)
        self.make = make
        self.progressive = progressive
        self._items = tuple(self.fields.items())
        sizes = [kind.size for kind in self.fields.values()]
        self._fixed_size = sum(OFFSET_SIZE if size is None else size for size in sizes)
        self.size = None if None in sizes else self._fixed_size
        self._depth = tree_depth(len(sizes))

    def encode(self, value: Any) -> bytes:
        return _encode_parts([(kind, getattr(value, name)) for name, kind in self._items])

    def decode(self, data: bytes) -> Any:
        if self.size is not None:
            check_size(data, self.size, self.name)
        elif len(data) < self._fixed_size:
            raise ProofError(self.name, f"{len(data)} bytes, it has at least {self._fixed_size}", self._fixed_size)
        values, late = self._decode_fixed(data)
        parts = _split_parts(data, self._fixed_size, [offset for _, _, offset in late])
        for (name, kind, _), part in zip(late, parts, strict=True):
            values[name] = kind.decode(part)
        return self.make(**values)

    def _decode_fixed(self, data: bytes) -> tuple[dict[str, Any], list[tuple[str, SszType, int]]]:
        values: dict[str, Any] = {}
        late = []
        at = 0
        for name, kind in self._items:
            end = at + (OFFSET_SIZE if kind.size is None else kind.size)
            if kind.size is None:
                late.append((name, kind, int.from_bytes(data[at:end], "little")))
            else:
                values[name] = kind.decode(data[at:end])
            at = end
        return values, late

    def field_roots(self, value: Any) -> bytes:
        """The leaves of its tree: n * 32 bytes."""
        return b"".join([kind.hash_tree_root(getattr(value, name)) for name, kind in self._items])

    def hash_tree_root(self, value: Any) -> bytes:
        roots = self.field_roots(value)
        if self.progressive:
            return mix_in(merkleize_progressive(roots), self._active_fields)
        return merkleize(roots, self._depth)

    def default(self) -> Any:
        return self.make(**{name: kind.default() for name, kind in self._items})

    def field_gindex(self, name: str) -> int:
        """Generalized index of a field's root in this container's tree."""
        index = list(self.fields).index(name)
        if self.progressive:
            return concat_generalized_indices((2, progressive_gindex(index)))
        return (1 << self._depth) + index

    def field_branch(self, value: Any, name: str) -> bytes:
        """Siblings, bottom up, of a field's root in this container's tree."""
        index = list(self.fields).index(name)
        roots = self.field_roots(value)
        if self.progressive:
            return progressive_branch(roots, index) + self._active_fields.to_bytes(CHUNK, "little")
        return tree_branch(roots, self._depth, index)

    @property
    def _active_fields(self) -> int:
        return (1 << len(self._items)) - 1


def path_gindex(kind: SszType, path: Sequence[str]) -> int:
    """Generalized index of the field that ``path`` leads to through nested containers."""
    indices = []
    for name in path:
        parent = _as_container(kind, name)
        indices.append(parent.field_gindex(name))
        kind = parent.fields[name]
    return concat_generalized_indices(indices)


def path_branch(kind: SszType, value: Any, path: Sequence[str]) -> tuple[bytes, bytes]:
    """Root of the field that ``path`` leads to through nested containers, and its siblings, bottom up."""
    branches: list[bytes] = []
    for name in path:
        parent = _as_container(kind, name)
        branches.append(parent.field_branch(value, name))
        kind, value = parent.fields[name], getattr(value, name)
    return kind.hash_tree_root(value), b"".join(reversed(branches))


def _as_container(kind: SszType, name: str) -> Container:
    if not isinstance(kind, Container):
        raise TypeError(f"{name}: its parent is no container")
    return kind
