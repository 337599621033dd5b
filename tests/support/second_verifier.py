"""A second verifier of proofs (versions 1 and 3 to 6), written apart from ``merkle.verify`` and its companions: it
reads the JSON forms (6: the bytes) and folds nodes by recursion over ranges of leaves instead of level by level. Raises
``Refuted``. It shares no code with the package.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from typing import Any

GENESIS = {
    "bitcoin": "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
    "regtest": "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
}


class Refuted(Exception):
    """A proof that does not hold."""


def h256(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def internal(text: str) -> bytes:
    return bytes.fromhex(text)[::-1]


def need(holds: bool, what: str) -> None:
    if not holds:
        raise Refuted(what)


def block_id(header_hex: str) -> bytes:
    """The hash of a header that has its proof of work."""
    raw = bytes.fromhex(header_hex)
    need(len(raw) == 80, "header size")
    (bits,) = struct.unpack_from("<I", raw, 72)
    exponent, mantissa = bits >> 24, bits & 0x7FFFFF
    target = mantissa * 256 ** (exponent - 3) if exponent > 3 else mantissa >> 8 * (3 - exponent)
    found = h256(raw)
    need(int.from_bytes(found, "little") <= target, "proof of work")
    return found


def multiproof_root(size: int, known: dict[int, bytes], nodes: Sequence[bytes]) -> bytes:
    """The root of ``size`` leaves, of which some are known, from the nodes of a multiproof (bottom up, left to
    right)."""
    order: list[tuple[int, int]] = []

    def plan(level: int, index: int) -> None:
        low, high = index << level, min((index + 1) << level, size)
        if not any(low <= at < high for at in known):
            order.append((level, index))
        elif level:
            plan(level - 1, 2 * index)
            if (2 * index + 1) << (level - 1) < size:
                plan(level - 1, 2 * index + 1)

    top = max(size - 1, 0).bit_length()
    plan(top, 0)
    order.sort()
    need(len(order) == len(nodes), "number of nodes")
    supplied = dict(zip(order, nodes, strict=True))

    def fold(level: int, index: int) -> bytes:
        if (level, index) in supplied:
            return supplied[level, index]
        if level == 0:
            return known[index]
        left = fold(level - 1, 2 * index)
        if (2 * index + 1) << (level - 1) >= size:
            return h256(left + left)
        right = fold(level - 1, 2 * index + 1)
        need(left != right, "equal siblings")
        return h256(left + right)

    return fold(top, 0)


def header_tree(form: dict[str, Any], headers: list[tuple[int, str]]) -> None:
    need(form["genesis"] == GENESIS[form["network"]], "genesis")
    first = form["range_start"]
    leaves = {form["start_height"] - first: internal(form["start_hash"])}
    for height, header in [*headers, (form["cp_height"], form["tip_header"])]:
        leaf = block_id(header)
        need(leaves.setdefault(height - first, leaf) == leaf, "two blocks at one height")
    size = form["cp_height"] - first + 1
    need(max(leaves) == size - 1 and min(leaves) >= 0, "heights")
    found = multiproof_root(size, leaves, [internal(node) for node in form["nodes"]])
    need(found == internal(form["root"]), "root")


def peaks(size: int) -> Iterator[tuple[int, int]]:
    """(level, index) of each mountain, biggest first."""
    at = 0
    for level in reversed(range(33)):
        if size >> level & 1:
            yield level, at >> level
            at += 1 << level


def ancestry(form: dict[str, Any]) -> None:
    need(form["genesis"] == GENESIS[form["network"]], "genesis")
    known: dict[tuple[int, int], bytes] = {}
    sizes = {side: form[f"{side}_height"] - form["range_start"] + 1 for side in ("old", "new")}
    for side, size in sizes.items():
        given = [internal(node) for node in form[f"{side}_peaks"]]
        need(len(given) == size.bit_count(), "number of peaks")
        node = block_id(form[f"{side}_header"])
        for sibling in form[f"{side}_path"]:
            node = h256(internal(sibling) + node)
        need(node == given[-1], "the header is the last leaf")
        if side == "old":
            known = dict(zip(peaks(size), given, strict=True))
        else:
            target = dict(zip(peaks(size), given, strict=True))
    supply = iter([internal(node) for node in form["proof"]])
    small = min(level for level, _ in known)
    for level in range(small, 33):
        for (at, index), node in [item for item in known.items() if item[0][0] == level and item[0] not in target]:
            pair = (at, index ^ 1)
            if pair not in known:
                known[pair] = next(supply, b"")
            left, right = (node, known[pair]) if index % 2 == 0 else (known[pair], node)
            known[at + 1, index >> 1] = h256(left + right)
    need(next(supply, None) is None, "nodes are left over")
    for level, index in peaks(sizes["old"]):
        covers = [key for key in target if key[0] >= level and key[1] == index >> (key[0] - level)]
        need(len(covers) == 1 and known.get(covers[0]) == target[covers[0]], "the old tree is in the new one")


def transaction(form: dict[str, Any]) -> None:
    check(form["header_proof"])
    coinbase, tx = bytes.fromhex(form["coinbase"]), bytes.fromhex(form["transaction"])
    need(len(tx) != 64 and len(coinbase) != 64, "64 bytes")
    need(coinbase[5:37] == bytes(32) and coinbase[37:41] == b"\xff" * 4, "coinbase")
    leaves = {0: h256(coinbase)}
    need(leaves.setdefault(form["position"], h256(tx)) == h256(tx), "two transactions at one position")
    need(form["position"] < form["tx_count"], "position")
    found = multiproof_root(form["tx_count"], leaves, [internal(node) for node in form["nodes"]])
    need(found == bytes.fromhex(form["header_proof"]["header"])[36:68], "Merkle root")


def columns(data: bytes) -> list[tuple[int, bytes]]:
    """Version 6, in bytes; returns the proven (height, hash)."""
    need(data[0] == 6, "version")
    at = 2 + data[1]
    need(data[at : at + 32] == internal(GENESIS[data[2:at].decode()]), "genesis")
    first, tip = struct.unpack_from("<II", data, at + 32)
    tip_header, root = data[at + 40 : at + 120], data[at + 120 : at + 152]
    (count,) = struct.unpack_from("<I", data, at + 152)
    depth = (tip - first).bit_length()
    heights_at = at + 156
    headers_at = heights_at + 4 * count
    tip_at = headers_at + 80 * count
    rows = [(tip, tip_header, data[tip_at:][: 32 * depth])]
    for i in range(count):
        (height,) = struct.unpack_from("<I", data, heights_at + 4 * i)
        branch = data[tip_at + 32 * depth * (i + 1) :][: 32 * depth]
        rows.append((height, data[headers_at + 80 * i :][:80], branch))
    need(len(data) == tip_at + 32 * depth * (count + 1), "length")
    for height, header, branch in rows:
        node, position = block_id(header.hex()), height - first
        need(0 <= position <= tip - first, "height")
        for level in range(depth):
            sibling, index = branch[32 * level :][:32], position >> level
            node = h256(sibling + node) if index & 1 else h256(node + sibling)
        need(node == root, "branch")
    return [(height, h256(header)) for height, header, _ in rows[1:]]


def check(form: dict[str, Any]) -> None:
    """Any JSON form."""
    if form["version"] == 1:
        header_tree(form, [(form["height"], form["header"])])
    elif form["version"] == 3:
        transaction(form)
    elif form["version"] == 4:
        ancestry(form)
    else:
        need(form["version"] == 5, "version")
        header_tree(form, [(row["height"], row["header"]) for row in form["headers"]])
