"""Container tables: SSZ layouts written as text, in the consensus specs' own notation, made into ``merkle.ssz_types``.

A table is a block of lines ``name: type``, under a headline ``Container`` or ``Container progressive``. Forks stack: a
later fork's table replaces the containers it names, and everything that refers to them changes with them. Types are
``Uint64``, ``Bytes32`` and their like, the specs' aliases of them, ``Vector[type, size]``, ``List[type, limit]``,
``ByteVector[size]``, ``ByteList[limit]``, ``BitVector[size]``, ``BitList[limit]``, their ``Progressive`` forms, and
names of containers; sizes are numbers or names of ``Preset.limits``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from merkle.ssz_types import (
    Bitlist,
    Bitvector,
    Boolean,
    ByteList,
    ByteVector,
    Container,
    List,
    SszType,
    Uint,
    Vector,
)

Make = Callable[..., Any]

_ALIASES: Mapping[str, SszType] = {
    "Boolean": Boolean(),
    **{f"Uint{bits}": Uint(bits // 8) for bits in (8, 16, 32, 64, 128, 256)},
    **{f"Bytes{size}": ByteVector(size) for size in (1, 4, 8, 20, 31, 32, 48, 96)},
    "Slot": Uint(8),
    "Epoch": Uint(8),
    "Gwei": Uint(8),
    "ValidatorIndex": Uint(8),
    "Root": ByteVector(32),
    "Hash32": ByteVector(32),
    "Version": ByteVector(4),
    "Domain": ByteVector(32),
    "ExecutionAddress": ByteVector(20),
    "BLSPubkey": ByteVector(48),
    "BLSSignature": ByteVector(96),
    "KZGCommitment": ByteVector(48),
}
_HEADLINE = re.compile(r"([A-Za-z0-9]+)( progressive)?")
_FIELD = re.compile(r"([a-z0-9_]+): (.+)")
_TOKEN = re.compile(r"[A-Za-z0-9_]+|[\[\],]")


class Schema:
    """The containers of one preset at one fork, made when first asked for.

    ``tables`` are texts, oldest fork first. ``makers`` gives the Python class of a container by name; the others become
    ``SimpleNamespace``. Errors in a table are ours: KeyError or ValueError.
    """

    def __init__(self, tables: Iterable[str], sizes: Mapping[str, int], makers: Mapping[str, Make]) -> None:
        self._definitions = {name: body for table in tables for name, body in _definitions(table)}
        self._sizes = sizes
        self._makers = makers
        self._made: dict[str, Container] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._definitions

    def __getitem__(self, name: str) -> Container:
        if name not in self._made:
            fields, progressive = self._definitions[name]
            kinds = {field: self._parse(text) for field, text in fields}
            self._made[name] = Container(name, kinds, self._makers.get(name, SimpleNamespace), progressive=progressive)
        return self._made[name]

    def _parse(self, text: str) -> SszType:
        tokens = _TOKEN.findall(text)
        kind = self._type(tokens)
        if tokens:
            raise ValueError(f"{text}: not a type")
        return kind

    def _type(self, tokens: list[str]) -> SszType:
        name = tokens.pop(0)
        if name in self._definitions:
            return self[name]
        if name in ("Vector", "List", "ProgressiveList"):
            return self._row(name, tokens)
        if name == "ProgressiveBitList":
            return Bitlist(None)
        if name in ("ByteVector", "ByteList", "BitVector", "BitList"):
            size = self._size(_bracketed(tokens))
            sized: Mapping[str, Callable[[int], SszType]] = {
                "ByteVector": ByteVector,
                "ByteList": ByteList,
                "BitVector": Bitvector,
                "BitList": Bitlist,
            }
            return sized[name](size)
        return _ALIASES[name]

    def _row(self, name: str, tokens: list[str]) -> SszType:
        _expect(tokens, "[")
        element = self._type(tokens)
        if name == "ProgressiveList":
            _expect(tokens, "]")
            return List(element, None)
        _expect(tokens, ",")
        size = self._size(tokens.pop(0))
        _expect(tokens, "]")
        return Vector(element, size) if name == "Vector" else List(element, size)

    def _size(self, text: str) -> int:
        return int(text) if text.isdigit() else self._sizes[text]


def _definitions(table: str) -> Iterable[tuple[str, tuple[list[tuple[str, str]], bool]]]:
    for block in table.strip().split("\n\n"):
        headline, *lines = [line.strip() for line in block.strip().splitlines()]
        name = _HEADLINE.fullmatch(headline)
        fields = [_FIELD.fullmatch(line) for line in lines]
        if not name or not all(fields):
            raise ValueError(f"{headline}: not a container table")
        yield name[1], ([(field[1], field[2]) for field in fields if field], bool(name[2]))


def _expect(tokens: list[str], wanted: str) -> None:
    if tokens.pop(0) != wanted:
        raise ValueError(f"a type has no {wanted} where one belongs")


def _bracketed(tokens: list[str]) -> str:
    _expect(tokens, "[")
    inner = tokens.pop(0)
    _expect(tokens, "]")
    return inner
