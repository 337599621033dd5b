"""The binary forms of proofs for ``second_verifier``: versions 1, 3, 4, 5 and 7 become their JSON form, versions 6 and
8, which have none, are checked here. Electrum's branches and Bitcoin Core's ``merkleblock`` are checked as well. Raises
``Refuted``. It shares no code with the package.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from tests.support.second_verifier import GENESIS, Shown, block_id, h256, internal, need, started

TREE = (("range_start", 4), ("start_height", 4), ("start_hash", 32))
FIELDS: dict[int, tuple[tuple[str, int], ...]] = {
    1: (*TREE, ("height", 4), ("header", 80), ("cp_height", 4), ("tip_header", 80), ("root", 32), ("chainwork", 32),
        ("made_at", 4)),
    4: (("range_start", 4), ("old_height", 4), ("old_header", 80), ("new_height", 4), ("new_header", 80)),
    5: (*TREE, ("cp_height", 4), ("tip_header", 80), ("root", 32)),
    7: (*TREE, ("old_height", 4), ("old_header", 80), ("new_height", 4), ("new_header", 80)),
}  # fmt: skip
"""What follows version, name and genesis: numbers of 4 bytes, hashes of 32, headers of 80."""


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        part, self.at = self.data[self.at : self.at + size], self.at + size
        need(len(part) == size, "cut short")
        return part

    def number(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def value(self, size: int) -> int | str:
        """As JSON has it: a number, a reversed hash, or a header."""
        if size == 4:
            return self.number()
        return self.take(size)[:: -1 if size == 32 else 1].hex()

    def hashes(self, count: int | None = None) -> list[str]:
        """``count`` of them, or all that are left."""
        left, odd = divmod(len(self.data) - self.at, 32)
        need(count is not None or not odd, "odd end")
        return [str(self.value(32)) for _ in range(left if count is None else count)]

    def blob(self) -> bytes:
        return self.take(self.number())


def read(data: bytes) -> dict[str, Any]:
    """The JSON form of a proof of version 1, 3, 4, 5 or 7."""
    reader = Reader(data)
    version = reader.take(1)[0]
    form: dict[str, Any] = {"version": version}
    if version == 3:
        form |= {"tx_count": reader.number(), "position": reader.number()}
        form |= {"coinbase": reader.blob().hex(), "transaction": reader.blob().hex()}
        return form | {"header_proof": read(reader.blob()), "nodes": reader.hashes()}
    need(version in FIELDS, "version")
    form["network"] = reader.take(reader.take(1)[0]).decode("latin-1")
    need(form["network"] in GENESIS, "network")
    form["genesis"] = reader.value(32)
    form |= {name: reader.value(size) for name, size in FIELDS[version]}
    if version == 5:
        rows = [(reader.number(), reader.value(80)) for _ in range(reader.number())]
        form["headers"] = [{"height": height, "header": header} for height, header in rows]
    if version in (4, 7):
        sizes = {side: form[f"{side}_height"] - form["range_start"] + 1 for side in ("old", "new")}
        need(min(sizes.values()) > 0, "heights")
        form |= {f"{side}_peaks": reader.hashes(f"{size:b}".count("1")) for side, size in sizes.items()}
        form |= {f"{side}_path": reader.hashes(zeros(size)) for side, size in sizes.items()}
        if version == 7:
            form["start_path"] = reader.hashes(height_over(sizes["old"], form["start_height"] - form["range_start"]))
        return form | {"proof": reader.hashes()}
    return form | {"nodes": reader.hashes()}


def zeros(size: int) -> int:
    return len(f"{size:b}") - len(f"{size:b}".rstrip("0"))


def height_over(size: int, position: int) -> int:
    """Of the mountain above a leaf: mountains stand from left to right, the highest first."""
    need(0 <= position < size, "start")
    for level in reversed(range(33)):
        if size >> level & 1:
            if position < 1 << level:
                return level
            position -= 1 << level
    raise AssertionError(position)


def columns(data: bytes) -> list[tuple[int, bytes]]:
    """Versions 6 and 8; returns the proven (height, hash)."""
    reader = Reader(data)
    version = reader.take(1)[0]
    need(version in (6, 8), "version")
    network = reader.take(reader.take(1)[0]).decode("latin-1")
    need(reader.value(32) == GENESIS.get(network), "genesis")
    first = reader.number()
    start = (reader.number(), reader.take(32)) if version == 8 else None
    tip, tip_header, root, count = reader.number(), reader.take(80), reader.take(32), reader.number()
    heights = [reader.number() for _ in range(count)]
    need(len(set(heights)) == count, "a height twice")
    headers = [reader.take(80) for _ in range(count)]
    depth = (tip - first).bit_length()
    rows = [] if start is None else [(start[0], start[1], reader.take(32 * depth))]
    if start is not None:
        form = {"network": network, "range_start": first, "start_height": start[0], "start_hash": start[1][::-1].hex()}
        need(started(form) <= start[0] <= min(heights), "start")
    ids = [block_id(header.hex()) for header in (tip_header, *headers)]
    rows += [(height, leaf, reader.take(32 * depth)) for height, leaf in zip([tip, *heights], ids, strict=True)]
    need(reader.at == len(data), "length")
    for height, leaf, branch in rows:
        nodes = [branch[at : at + 32] for at in range(0, 32 * depth, 32)]
        need(0 <= height - first <= tip - first, "height")
        need(climb(leaf, height - first, nodes) == root, "branch")
    return list(zip(heights, ids[1:], strict=True))


def columns_shown(data: bytes) -> Shown:
    root_at = 2 + data[1] + 32 + 4 + 4 + (36 if data[0] == 8 else 0) + 80
    proven = {height: block[::-1].hex() for height, block in columns(data)}
    return Shown(proven, [data[root_at : root_at + 32][::-1].hex()])


def climb(leaf: bytes, position: int, nodes: Sequence[bytes]) -> bytes:
    """The root above a leaf, by a branch from below; a last node that has no sibling is its own."""
    for node in nodes:
        leaf = h256(node + leaf) if position & 1 else h256(leaf + node)
        position >>= 1
    need(position == 0, "branch too short")
    return leaf


def branch(leaf: bytes, position: int, nodes: Sequence[str], root: bytes) -> None:
    """Electrum's: of a header in the tree over all of them, or of a transaction in its block."""
    need(climb(leaf, position, [internal(node) for node in nodes]) == root, "branch")


def merkle_block(data: bytes) -> list[bytes]:
    """``gettxoutproof``'s answer: header, number of transactions, hashes and flags of a partial tree, depth first.
    Returns the ids that it proves."""
    reader = Reader(data)
    header = reader.take(80)
    block_id(header.hex())
    total = reader.number()
    hashes = [reader.take(32) for _ in range(compact(reader))]
    flags = reader.take(compact(reader))
    need(reader.at == len(data) and 0 < total <= 1_000_000 // 60, "length")
    bits, supply, found = iter([byte >> at & 1 for byte in flags for at in range(8)]), iter(hashes), list[bytes]()

    def walk(low: int, span: int) -> bytes:
        marked = next(bits, 0)
        if not marked or span == 1:
            node = next(supply, b"")
            need(len(node) == 32, "number of hashes")
            if marked:
                found.append(node)
            return node
        left = walk(low, span // 2)
        if low + span // 2 >= total:
            return h256(left + left)
        right = walk(low + span // 2, span // 2)
        need(left != right, "equal siblings")
        return h256(left + right)

    span = 1 << (total - 1).bit_length()
    need(walk(0, span) == header[36:68], "Merkle root")
    need(next(supply, None) is None and not any(bits), "left over")
    return found


def compact(reader: Reader) -> int:
    first = reader.take(1)[0]
    wide = {253: "<H", 254: "<I", 255: "<Q"}.get(first)
    return first if wide is None else int(struct.unpack(wide, reader.take(struct.calcsize(wide)))[0])
