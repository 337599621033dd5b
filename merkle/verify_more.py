"""Checks proofs of transactions (version 3), of ancestry (7, formerly 4) and of many headers (5) offline. Standard
library and ``merkle.verify`` only: copy both files. Why the checks are sound, beside what ``merkle.verify`` says of
header trees:

* Transaction: its id and the coinbase's are leaves of one multiproof to the header's root. The coinbase can be no inner
  node passed off as a leaf, nor the other way round: it begins with an input that spends nothing, and no transaction of
  64 bytes is taken. It lies as deep as all leaves, so the depth is the block's, and with it the position.
* Ancestry: each header is the last leaf of its tree, and each old peak is a new peak, or is hashed into one at the
  place that the sizes give it. A different block below the old tip would be a SHA-256d collision. The start block is
  a leaf of the old tree, below the peak that its place gives it, and heights are positions counted from it. Version 4
  names no start block: a tree that begins at a checkpoint passes for one from genesis on, so it proves no height.
* Many headers: as one header, with more leaves.
"""

import json
from typing import Any

from merkle.verify import NETWORKS, Hash, Refused, Verdict, _canonical, _root, sha256d, trusted_hashes
from merkle.verify import verify as verify_header

TRANSACTION, ANCESTRY_UNCOUNTED, HEADERS, ANCESTRY = VERSIONS = (3, 4, 5, 7)
NAME, BLOB, HASHES, ROWS = "name", "blob", "hashes", "rows"
LAYOUTS: dict[int, dict[str, Any]] = {  # 4: little-endian number; 32: reversed hex in JSON; 80: hex
    TRANSACTION: {"tx_count": 4, "position": 4, "coinbase": BLOB, "transaction": BLOB, "header_proof": BLOB,
                  "nodes": HASHES},
    ANCESTRY_UNCOUNTED: {
        "network": NAME, "genesis": 32, "range_start": 4, "old_height": 4, "old_header": 80, "new_height": 4,
        "new_header": 80, "old_peaks": HASHES, "new_peaks": HASHES, "old_path": HASHES, "new_path": HASHES,
        "proof": HASHES},
    ANCESTRY: {
        "network": NAME, "genesis": 32, "range_start": 4, "start_height": 4, "start_hash": 32, "old_height": 4,
        "old_header": 80, "new_height": 4, "new_header": 80, "old_peaks": HASHES, "new_peaks": HASHES,
        "old_path": HASHES, "new_path": HASHES, "start_path": HASHES, "proof": HASHES},
    HEADERS: {"network": NAME, "genesis": 32, "range_start": 4, "start_height": 4, "start_hash": 32, "cp_height": 4,
              "tip_header": 80, "root": 32, "headers": ROWS, "nodes": HASHES},
}  # fmt: skip
MAX_TX_BYTES = 1_000_000  # of all transactions of a block together, without witnesses
MAX_TXS = MAX_TX_BYTES // 60  # none is smaller
MAX_HEADERS = 2_016
MAX_BYTES = 2_200_000  # two transactions and their frame; or 2,016 headers with 32 nodes each
MAX_JSON_BYTES = 3 * MAX_BYTES
COINBASE_INPUT = b"\x01" + bytes(32) + b"\xff" * 4  # one input, which spends nothing: after the version
SAYS = {
    "transaction": "Transaction {txid} is at position {position} in block {hash}. {header_says}",
    "ancestry, trusted new root": "Block {old_hash} at height {old_height} is an ancestor of {new_hash} at {new_height}"
    " in the {network} blocks from {range_start} under the root you trust, {counted}",
    "ancestry, trusted old root": "The tree of {network} blocks {range_start}..{new_height}, whose last is {new_hash}, "
    "begins with the tree you trust, whose last is {old_hash} at {old_height}, {counted}; that the blocks after it are "
    "the chain is the maker's word",
    "ancestry, maker": "The tree of {network} blocks with root {new_root} begins with the one with root {old_root}: "
    "{old_hash} at {old_height} is an ancestor of {new_hash} at {new_height}, {counted}, if either is a tree that you "
    "trust",
    "headers, trusted root": "{count} headers are at their heights of the {network} blocks {range_start}..{cp_height} "
    "under the root you trust, heights counted from block {start_hash} at {start_height}",
    "headers, maker": "{count} headers meet their own targets and are at their heights of a tree of {network} blocks "
    "with root {root}; that they are the chain is the maker's word alone until you compare the root with one you trust",
}
COUNTED = {
    ANCESTRY: "heights counted from block {start_hash} at {start_height}",
    ANCESTRY_UNCOUNTED: "heights by the maker's word: a proof of version 4 does not show which block they count from",
}


def verify(bundle: Any, *, trusted_root: Hash = None, trusted_tip: Hash = None, trusted_start: Hash = None) -> Verdict:
    """Verdict on a proof of a version in ``VERSIONS``: bytes, JSON text, or parsed JSON. Never raises for what it
    holds. Trusted hashes as for ``merkle.verify.verify``; a tip is for version 3, a start for all but 4. ``ValueError``
    when one is no hash, or does not apply: it must not seem to have been compared."""
    hashes = trusted_hashes(trusted_root, trusted_tip, trusted_start)
    try:
        version, found = _read(bundle)
        if version == TRANSACTION:
            trusted = {"trusted_root": trusted_root, "trusted_tip": trusted_tip, "trusted_start": trusted_start}
            return _transaction(found, trusted)
        if trusted_tip is not None or (trusted_start is not None and version == ANCESTRY_UNCOUNTED):
            raise ValueError("a trusted tip or start does not apply to this kind of proof; a trusted root does")
        return _headers(found, hashes) if version == HEADERS else _ancestry(version, found, hashes)
    except Refused as refused:
        return Verdict(False, refused.args[0], f"Refused: {refused.args[1]}.")


# -- reading


def _read(bundle: Any) -> tuple[int, dict[str, Any]]:
    """Version and fields. A JSON form must come back from its bytes as it was: each proof is written in one way."""
    try:
        if not isinstance(bundle, dict):
            data: bytes = bundle.encode() if isinstance(bundle, str) else bytes(memoryview(bundle))
            if data.lstrip()[:1] != b"{":
                return _from_bytes(data)
            if len(data) > MAX_JSON_BYTES:
                raise Refused("format", "it is too long")
            bundle = json.loads(data, object_pairs_hook=lambda p: dict(p) if len(dict(p)) == len(p) else {})
        data = _to_bytes(bundle)
        version, found = _from_bytes(data)
        same = json.dumps(_shown(version, found), sort_keys=True) == json.dumps(bundle, sort_keys=True)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        same = False
    if not same:
        raise Refused("format", "it is not the JSON form of a proof, or has a field that is written in another way")
    return version, found


def _to_bytes(form: dict[str, Any]) -> bytes:
    parts = [bytes([form["version"]])]
    for key, kind in LAYOUTS[form["version"]].items():
        value = form[key]
        if kind == NAME:
            parts.append(bytes([len(value)]) + value.encode())
        elif kind == 4:
            parts.append(value.to_bytes(4, "little"))
        elif kind == BLOB:
            blob = _header_bytes(value) if key == "header_proof" else bytes.fromhex(value)
            parts.append(len(blob).to_bytes(4, "little") + blob)
        elif kind == HASHES:
            parts += [bytes.fromhex(node)[::-1] for node in value]
        elif kind == ROWS:
            rows = [row["height"].to_bytes(4, "little") + bytes.fromhex(row["header"]) for row in value]
            parts += [len(rows).to_bytes(4, "little"), *rows]
        else:
            parts.append(bytes.fromhex(value)[:: -1 if kind == 32 else 1])
    return b"".join(parts)


def _header_bytes(form: dict[str, Any]) -> bytes:
    return _canonical(form)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        part, self.at = self.data[self.at : self.at + count], self.at + count
        if len(part) != count:
            raise Refused("format", "it is cut short, or followed by something else")
        return part

    def number(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def hashes(self, count: int) -> list[bytes]:
        part = self.take(32 * count)
        return [part[at : at + 32] for at in range(0, len(part), 32)]


def _from_bytes(data: bytes) -> tuple[int, dict[str, Any]]:
    if data[:1] not in [bytes([version]) for version in VERSIONS] or len(data) > MAX_BYTES:
        raise Refused("format", "its version is not known to this verifier, or it is too long")
    reader, version, found = _Reader(data[1:]), data[0], dict[str, Any]()
    for key, kind in LAYOUTS[version].items():
        found[key] = _field(reader, version, key, kind, found)
    if reader.at != len(reader.data):
        raise Refused("format", "it is cut short, or followed by something else")
    if found.get("network", "bitcoin") not in NETWORKS:
        raise Refused("format", "its network is not known to this verifier")
    return version, found


def _field(reader: _Reader, version: int, key: str, kind: Any, found: dict[str, Any]) -> Any:
    if kind == NAME:
        return reader.take(reader.take(1)[0]).decode("ascii", "replace")
    if kind == 4:
        return reader.number()
    if kind == BLOB:
        return reader.take(reader.number())
    if kind == ROWS:
        count = reader.number()
        if not 1 <= count <= MAX_HEADERS:
            raise Refused("format", f"it holds {count} headers, not 1 to {MAX_HEADERS}")
        return [(reader.number(), reader.take(80)) for _ in range(count)]
    if kind == HASHES:
        rest = (len(reader.data) - reader.at) // 32
        return reader.hashes(rest if key in ("nodes", "proof") else _length(key, found))
    return reader.take(int(kind))


def _length(key: str, found: dict[str, Any]) -> int:
    """How many nodes a list of an ancestry proof has: by the sizes of the trees."""
    side, what = key.split("_")
    size: int = found[f"{'old' if side == 'start' else side}_height"] + 1 - found["range_start"]
    position = found.get("start_height", found["range_start"]) - found["range_start"]
    if size < 1 or not 0 <= position < size:
        raise Refused("range", "its heights are below the tree's first, or its start is above the old height")
    if side == "start":
        return int(size ^ position).bit_length() - 1
    return size.bit_count() if what == "peaks" else (size & -size).bit_length() - 1


def _shown(version: int, found: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"version": version}
    for key, kind in LAYOUTS[version].items():
        value = found[key]
        if key == "header_proof":
            verdict = verify_header(value)
            value = {name: verdict.fields.get(name) for name in verdict.fields if name not in ("hash", "tip_hash")}
        elif kind == HASHES:
            value = [node[::-1].hex() for node in value]
        elif kind == ROWS:
            value = [{"height": height, "header": raw.hex()} for height, raw in value]
        elif isinstance(value, bytes):
            value = value[:: -1 if kind == 32 else 1].hex()
        shown[key] = value
    return shown


# -- checking


def _transaction(found: dict[str, Any], trusted: dict[str, Hash]) -> Verdict:
    header = verify_header(found["header_proof"], **trusted)
    if not header.ok:
        return header
    count, position, coinbase, tx = (found[key] for key in ("tx_count", "position", "coinbase", "transaction"))
    if not 0 <= position < count <= MAX_TXS:
        raise Refused("range", "the position is not in a block of that many transactions")
    if 64 in (len(coinbase), len(tx)) or max(len(coinbase), len(tx)) > MAX_TX_BYTES:
        raise Refused("transaction", "a transaction has the size of an inner node, or is longer than a block")
    if coinbase[4:41] != COINBASE_INPUT:
        raise Refused("coinbase", "the block's first transaction is not a coinbase")
    leaves = {0: sha256d(coinbase)}
    if leaves.setdefault(position, sha256d(tx)) != sha256d(tx):
        raise Refused("proof", f"two different transactions are said to be at position {position}")
    if _root(leaves, {}, count, found["nodes"][::-1]) != bytes.fromhex(header.fields["header"])[36:68]:
        raise Refused("root", "its transactions and nodes do not give the root that the header has")
    proven = {"txid": sha256d(tx)[::-1].hex(), "position": position, "tx_count": count, "transaction": tx.hex()}
    fields = {**proven, **header.fields}
    says = SAYS["transaction"].format(**fields, header_says=header.says)
    claimed = ("tx_count", *header.claimed)  # a path on the left does not feel how long the block's end is
    return Verdict(True, "ok", says, header.rests_on, claimed, {**fields, "version": TRANSACTION})


def _leaf(network: str, height: int, header: bytes) -> bytes:
    """The header's hash, which must meet its own target, within the network's limit."""
    leaf, mantissa = sha256d(header), int.from_bytes(header[72:75], "little")
    target = mantissa << 8 * header[75] >> 24
    if mantissa >> 23 or not 0 < target <= NETWORKS[network][1]:
        raise Refused("bad-diffbits", f"the header at height {height} has a target that the network does not allow")
    if int.from_bytes(leaf, "little") > target:
        raise Refused("high-hash", f"the header at height {height} does not meet its own target")
    return leaf


def _genesis(found: dict[str, Any], at: dict[int, bytes]) -> None:
    genesis = bytes.fromhex(NETWORKS[found["network"]][0])[::-1]
    if found["genesis"] != genesis or at.get(0, genesis) != genesis:
        raise Refused("genesis", f"it does not begin with the genesis block of {found['network']}")


def _join(left: bytes, right: bytes) -> bytes:
    if left == right:
        raise Refused("proof", "two positions hold the same node, which no chain of blocks has")
    return sha256d(left + right)


def _ancestry(version: int, found: dict[str, Any], trusted: dict[str, Any]) -> Verdict:
    first, start, old, new = (found.get(key, 0) for key in ("range_start", "start_height", "old_height", "new_height"))
    if not first <= old <= new or (version == ANCESTRY and first not in (0, start)):
        raise Refused("range", "range start, start, old and new height are not in this order")
    leaves = {
        side: _leaf(found["network"], found[f"{side}_height"], found[f"{side}_header"]) for side in ("old", "new")
    }
    started = {start: found["start_hash"]} if version == ANCESTRY else {}
    _genesis(found, {**started, old: leaves["old"], new: leaves["new"]})
    if (old == new and leaves["old"] != leaves["new"]) or (
        new == old + 1 and found["new_header"][4:36] != leaves["old"]
    ):
        raise Refused("link", "the newer header does not follow from the older one")
    for side, leaf in leaves.items():
        node = leaf
        for sibling in found[f"{side}_path"]:
            node = _join(sibling, node)
        if node != found[f"{side}_peaks"][-1]:
            raise Refused("proof", f"the {side} header is not the last leaf of its tree")
    sizes = {"old": old + 1 - first, "new": new + 1 - first}
    _grown(sizes["old"], found["old_peaks"], sizes["new"], found["new_peaks"], found["proof"])
    if version == ANCESTRY:
        _started(start - first, sizes["old"], found)
    roots = {side: _peaks_root(sizes[side], found[f"{side}_peaks"]) for side in sizes}
    root = trusted["root"]
    if root is not None and root not in roots.values():
        raise Refused("trusted-root", "neither of its roots is the one that you trust")
    counted = version == ANCESTRY and _counted(found, trusted)
    whose = "maker" if root is None else "trusted new root" if root == roots["new"] else "trusted old root"
    shown = {f"{side}_{name}": value[::-1].hex() for name, both in (("hash", leaves), ("root", roots))
             for side, value in both.items()}  # fmt: skip
    claimed: tuple[str, ...] = ("start_height" if version == ANCESTRY else "range_start", "old_height", "new_height")
    if counted:  # else a root tells how many blocks there are, and not from where they are counted
        claimed = {"maker": claimed[1:], "trusted old root": ("new_height",)}.get(whose, ())
    fields = {**_shown(version, found), **shown}
    says = SAYS[f"ancestry, {whose}"].format(**fields, counted=COUNTED[version].format(**fields))
    return Verdict(True, "ok", _told(says, claimed), whose, claimed, fields)


def _started(position: int, size: int, found: dict[str, Any]) -> None:
    """The start block is at its place below a peak of the old tree, which has ``size`` leaves."""
    node = found["start_hash"]
    for level, sibling in enumerate(found["start_path"]):
        node = _join(sibling, node) if position >> level & 1 else _join(node, sibling)
    if node != found["old_peaks"][(size >> (len(found["start_path"]) + 1)).bit_count()]:
        raise Refused("proof", "the start block is not at its height in the old tree")


def _counted(found: dict[str, Any], trusted: dict[str, Any]) -> bool:
    """Whether it is known at which height the start block is: it is genesis, checked, or one that is trusted."""
    for name, its in (("start", found["start_hash"]), ("height", found["start_height"])):
        if trusted[name] not in (None, its):
            raise Refused(f"trusted-{name}", "its start is not the one that you trust")
    return found["start_height"] == 0 or trusted["height"] is not None


def _told(says: str, claimed: tuple[str, ...]) -> str:
    return f"{says}. Claimed, not proven: {', '.join(claimed)}." if claimed else f"{says}."


def _grown(old: int, old_peaks: list[bytes], new: int, new_peaks: list[bytes], proof: list[bytes]) -> None:
    """The tree of ``new`` leaves begins with the leaves of the tree of ``old``."""
    top = (old ^ new).bit_length() - 1
    shared = (old >> (top + 1)).bit_count()
    if old_peaks[:shared] != new_peaks[:shared]:
        raise Refused("proof", "the trees differ where nothing was added")
    rest, supply = old_peaks[shared:], proof[::-1]
    if rest:
        node = rest.pop()
        for level in range((old & -old).bit_length() - 1, top):
            side = rest if (old - 1) >> level & 1 else supply
            if not side:
                raise Refused("proof", "nodes are missing")
            node = _join(side.pop(), node) if side is rest else _join(node, side.pop())
        if node != new_peaks[shared]:
            raise Refused("proof", "it does not lead from the old tree to the new one")
    if rest or supply:
        raise Refused("proof", "nodes are left over")


def _peaks_root(size: int, peaks: list[bytes]) -> bytes:
    rest = peaks[:]
    node, level = rest.pop(), (size & -size).bit_length() - 1
    while 1 << level < size:
        alone = -(-size >> level) & 1
        node = sha256d(node + node) if alone else _join(rest.pop(), node)
        level += 1
    return node


def _headers(found: dict[str, Any], trusted: dict[str, Any]) -> Verdict:
    first, start, tip = (found[key] for key in ("range_start", "start_height", "cp_height"))
    rows: list[tuple[int, bytes]] = found["headers"]
    heights = [height for height, _ in rows]
    if first not in (0, start) or heights != sorted(set(heights)) or not start <= heights[0] <= heights[-1] <= tip:
        raise Refused("range", "range start, start, headers and tip are not in this order")
    leaves, parents = {start - first: found["start_hash"]}, {}
    for height, header in [*rows, (tip, found["tip_header"])]:
        leaf = _leaf(found["network"], height, header)
        if leaves.setdefault(height - first, leaf) != leaf:
            raise Refused("proof", f"two different blocks are said to be at height {height}")
        parents[height - first] = header[4:36]
    _genesis(found, {0: leaves[0]} if first == 0 and 0 in leaves else {})
    if _root(leaves, parents, tip - first + 1, found["nodes"][::-1]) != found["root"]:
        raise Refused("root", "its blocks and nodes do not give the root that it names")
    if trusted["root"] not in (None, found["root"]):
        raise Refused("trusted-root", "its root is not the one that you trust")
    counted, whose = _counted(found, trusted), "maker" if trusted["root"] is None else "trusted root"
    hashes = [leaves[height - first][::-1].hex() for height in heights]
    fields = {**_shown(HEADERS, found), "hashes": hashes, "tip_hash": sha256d(found["tip_header"])[::-1].hex(),
              "count": len(rows)}  # fmt: skip
    claimed = ("root",) * (whose == "maker")
    if whose == "maker" or not counted:
        claimed += ("start_height", "cp_height")
    return Verdict(True, "ok", _told(SAYS[f"headers, {whose}"].format(**fields), claimed), whose, claimed, fields)
