"""A second verifier of proofs (versions 1, 3, 4, 5 and 7), written apart from ``merkle.verify`` and its companions: it
reads the JSON forms and folds nodes by recursion over ranges of leaves instead of level by level. ``second_bytes``
reads the binary forms, and checks versions 6 and 8. Raises ``Refuted``. It shares no code with the package.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

GENESIS = {
    "bitcoin": "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
    "testnet3": "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943",
    "testnet4": "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043",
    "signet": "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6",
    "regtest": "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
}


class Refuted(Exception):
    """A proof that does not hold."""


@dataclass
class Shown:
    """What a proof has shown: block hashes by height, roots of header trees, a transaction's id; hex as in replies."""

    blocks: dict[int, str]
    roots: list[str]
    txids: list[str] = field(default_factory=list)


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


def header_tree(form: dict[str, Any], headers: list[tuple[int, str]]) -> Shown:
    need(form["genesis"] == GENESIS[form["network"]], "genesis")
    first = started(form)
    leaves = {form["start_height"] - first: internal(form["start_hash"])}
    for height, header in [*headers, (form["cp_height"], form["tip_header"])]:
        leaf = block_id(header)
        need(leaves.setdefault(height - first, leaf) == leaf, "two blocks at one height")
    size = form["cp_height"] - first + 1
    need(max(leaves) == size - 1 and min(leaves) >= 0, "heights")
    found = multiproof_root(size, leaves, [internal(node) for node in form["nodes"]])
    need(found == internal(form["root"]), "root")
    return Shown({height: block_id(header)[::-1].hex() for height, header in headers}, [form["root"]])


def started(form: dict[str, Any]) -> int:
    """Where the tree begins: at genesis, or at its start block."""
    need(form["range_start"] in (0, form["start_height"]), "range start")
    need(form["start_height"] > 0 or form["start_hash"] == GENESIS[form["network"]], "start at genesis")
    return int(form["range_start"])


def peaks(size: int) -> Iterator[tuple[int, int]]:
    """(level, index) of each mountain, biggest first."""
    at = 0
    for level in reversed(range(33)):
        if size >> level & 1:
            yield level, at >> level
            at += 1 << level


def ancestry(form: dict[str, Any]) -> Shown:
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
    if form["version"] == 7:
        node, at = internal(form["start_hash"]), (0, form["start_height"] - started(form))
        for sibling in form["start_path"]:
            node = h256(internal(sibling) + node) if at[1] % 2 else h256(node + internal(sibling))
            at = at[0] + 1, at[1] >> 1
        need(known.get(at) == node, "the start is in the old tree")
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
    blocks = {form[f"{side}_height"]: block_id(form[f"{side}_header"])[::-1].hex() for side in sizes}
    return Shown(blocks, [bag(size, form[f"{side}_peaks"])[::-1].hex() for side, size in sizes.items()])


def bag(size: int, hexes: list[str]) -> bytes:
    """The root over peaks: each lower one is paired with itself until it is as high as the next."""
    nodes = list(zip(peaks(size), map(internal, hexes), strict=True))
    (level, _), node = nodes.pop()
    while 1 << level < size:
        other = nodes.pop()[1] if nodes and nodes[-1][0][0] == level else None
        node = h256(node + node) if other is None else h256(other + node)
        level += 1
    return node


def transaction(form: dict[str, Any]) -> Shown:
    found = check(form["header_proof"])
    coinbase, tx = bytes.fromhex(form["coinbase"]), bytes.fromhex(form["transaction"])
    need(len(tx) != 64 and len(coinbase) != 64, "64 bytes")
    need(coinbase[5:37] == bytes(32) and coinbase[37:41] == b"\xff" * 4, "coinbase")
    leaves = {0: h256(coinbase)}
    need(leaves.setdefault(form["position"], h256(tx)) == h256(tx), "two transactions at one position")
    need(form["position"] < form["tx_count"], "position")
    root = multiproof_root(form["tx_count"], leaves, [internal(node) for node in form["nodes"]])
    need(root == bytes.fromhex(form["header_proof"]["header"])[36:68], "Merkle root")
    found.txids.append(h256(tx)[::-1].hex())
    return found


def check(form: dict[str, Any]) -> Shown:
    """Any JSON form."""
    if form["version"] == 3:
        return transaction(form)
    if form["version"] in (4, 7):
        return ancestry(form)
    need(form["version"] in (1, 5), "version")
    rows = [form] if form["version"] == 1 else form["headers"]
    return header_tree(form, [(row["height"], row["header"]) for row in rows])
