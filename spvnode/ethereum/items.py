"""Runs of light-client objects as opaque bytes: what sources fetch, the machine carries, and the chain checks.

    item = n u32 little endian | kind u8 | fork digest 4 | ssz          n counts kind, digest and ssz

The digest is the context of the Req/Resp protocols: which fork's layout the SSZ is in. Nothing here knows whether a
digest is known or the SSZ decodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

DIGEST_SIZE = 4
LENGTH_SIZE = 4
HEAD_SIZE = 1 + DIGEST_SIZE
"""Kind and digest."""
MAX_ITEM = 1 << 15
"""Largest n. The largest object of any fork, a mainnet update with two execution headers, has 26,936 bytes of SSZ.
Peers and files fill it; the bound of one object is ``containers.max_size``, and this only the frame's."""


class Kind(IntEnum):
    """What an item is."""

    BOOTSTRAP = 0
    UPDATE = 1
    FINALITY = 2
    OPTIMISTIC = 3


@dataclass(frozen=True, slots=True)
class Item:
    """``digest``: 4 bytes; ``ssz``: the object in the layout of the digest's fork."""

    kind: Kind
    digest: bytes
    ssz: bytes


def join(items: Iterable[Item]) -> bytes:
    """The run of these items. ValueError for a digest that has not 4 bytes, or an item above ``MAX_ITEM``."""
    return b"".join(_frame(item) for item in items)


def split(data: bytes) -> list[Item]:
    """The items of a run. ValueError when it is none: cut off, of an unknown kind, or with an item above
    ``MAX_ITEM``."""
    return [
        Item(Kind(data[start]), data[start + 1 : start + HEAD_SIZE], data[start + HEAD_SIZE : end])
        for start, end in _bodies(data)
    ]


def count(data: bytes) -> int:
    """How many items the run holds; what follows a broken frame counts as one, for ``split`` to find out. Never
    raises."""
    return len(_ends(data))


def cut(data: bytes, n: int) -> bytes:
    """The first ``n`` items of the run, as ``count`` counts them, or all of it when it has fewer. Never raises."""
    ends = _ends(data)
    return data[: ends[n - 1]] if 0 < n < len(ends) else data if n > 0 else b""


def _frame(item: Item) -> bytes:
    size = HEAD_SIZE + len(item.ssz)
    if len(item.digest) != DIGEST_SIZE or size > MAX_ITEM:
        raise ValueError(f"item: digest of {len(item.digest)} bytes, {size} bytes in all")
    return size.to_bytes(LENGTH_SIZE, "little") + bytes([item.kind]) + item.digest + item.ssz


def _bodies(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each item's kind byte is, and where the item ends. ValueError at a frame that is none."""
    at = 0
    while at < len(data):
        start = at + LENGTH_SIZE
        size = int.from_bytes(data[at:start], "little")
        if start > len(data) or not HEAD_SIZE <= size <= MAX_ITEM or start + size > len(data):
            raise ValueError(f"items: {size} bytes announced at {at} of {len(data)}")
        at = start + size
        yield start, at


def _ends(data: bytes) -> list[int]:
    """Where each item ends, the broken rest of the run included."""
    ends = []
    try:
        for _, end in _bodies(data):
            ends.append(end)
    except ValueError:
        ends.append(len(data))
    return ends
