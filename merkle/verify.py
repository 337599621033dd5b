"""Checks a header-proof bundle offline. Standard library only, nothing of ours: copy this one file, read it whole.

A bundle says: this header is at this height in a tree of block hashes over range_start..cp_height that has this root,
holds the start block at its height, and ends with this tip. Why the checks are sound:

* Which nodes are supplied, computed or repeated follows from the heights alone; one too many or too few is refused.
* Leaf or inner node? Header and tip are given as the 80 bytes that hash to the leaf, an inner node is the hash of 64
  bytes, so neither passes for the other. The tip's path therefore fixes the depth, for the start block as well.
* Bitcoin pairs the last node of an odd level with itself, so a,b,c and a,b,c,c have one root (CVE-2012-2459). The
  blocks of a chain are distinct: equal nodes at two positions are refused. Down an honest tree's root along the tip's
  path, equal or unequal children then tell at each level whether its width is odd, so just one cp_height fits a root:
  it and every position are bound to the root, and heights are positions counted from the start block.
* A parent hash is compared where the leaf before is in the proof. Both headers must meet their own target, the target
  must be within the network's limit, and a start at height 0 must be the network's genesis block.

No Bitcoin block commits to the root: it proves what one who trusts that root may believe, or else it rests on the
bundle's maker. A trusted tip proves itself and its parent only. The verdict says which."""

import argparse
import json
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

VERSION = 1
NETWORKS = {  # name: (genesis hash, easiest target), as in Bitcoin Core's chainparams
    "bitcoin": ("000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f", (1 << 224) - 1),
    "testnet3": ("000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943", (1 << 224) - 1),
    "testnet4": ("00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043", (1 << 224) - 1),
    "signet": ("00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6", 0x377AE << 216),
    "regtest": ("0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206", (1 << 255) - 1),
}
LAYOUT = {  # after version u8, name length u8, name. 4 bytes: little-endian number; 32: reversed hex in JSON; 80: hex
    "genesis": 32, "range_start": 4, "start_height": 4, "start_hash": 32, "height": 4, "header": 80,
    "cp_height": 4, "tip_header": 80, "root": 32, "chainwork": 32, "made_at": 4}  # fmt: skip
MAX_BYTES = 34 + sum(LAYOUT.values()) + 96 * 32  # a name of 32 bytes, three paths of 32 nodes
MAX_JSON_BYTES = 4 * MAX_BYTES
SAYS = {
    "trusted root": "is at height {height} of the {network} blocks {range_start}..{cp_height} under the root you trust"
    ", heights counted from block {start_hash} at {start_height}",
    "trusted tip": "is the {network} tip that you trust, or the parent which that tip names",
    "maker": "meets its own target and is at height {height} of a tree of {network} blocks with root {root}; that they "
    "are the chain is the maker's word alone until you compare the root with one that you trust",
}
Hash = str | bytes | None


class Refused(Exception):
    """Why a bundle does not hold: a short reason, and a sentence."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``says`` is for people. ``rests_on`` is a key of ``SAYS``; ``claimed`` names the fields that nothing proves."""

    ok: bool
    reason: str
    says: str
    rests_on: str = "nothing"
    claimed: tuple[str, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)


def verify(bundle: Any, *, trusted_root: Hash = None, trusted_tip: Hash = None, trusted_start: Hash = None) -> Verdict:
    """Verdict on a bundle: canonical bytes, JSON text, or parsed JSON. Never raises for what the bundle holds.
    Trusted hashes are 32 bytes as SHA-256d gives them, or hex as explorers print it, with or without 0x;
    ``trusted_start`` may be ``HEIGHT:HASH``, which pins heights too. ``ValueError`` when one of these is not a hash."""
    trusted = trusted_hashes(trusted_root, trusted_tip, trusted_start)
    try:
        _check(found := _from_bytes(_canonical(bundle)), trusted)
    except Refused as refused:
        return Verdict(False, refused.args[0], f"Refused: {refused.args[1]}.")
    block, tip = sha256d(found["header"]), sha256d(found["tip_header"])
    near_tip = trusted["tip"] and block in (tip, found["tip_header"][4:36])
    rests_on = "trusted root" if trusted["root"] else "trusted tip" if near_tip else "maker"
    claimed = ["chainwork", "made_at"] + ["root"] * (not trusted["root"])
    if not trusted["root"] or (found["start_height"] and trusted["height"] is None):  # height 0 is genesis, checked
        claimed += [key for key in ("start_height", "height", "cp_height") if found[key]]
    fields = _shown({**found, "hash": block, "tip_hash": tip})
    says = f"Block {fields['hash']} {SAYS[rests_on].format(**fields)}. Claimed, not proven: {', '.join(claimed)}."
    return Verdict(True, "ok", says, rests_on, tuple(claimed), fields)


def trusted_hashes(root: Hash, tip: Hash, start: Hash) -> dict[str, Any]:
    at, _, start = start.rpartition(":") if isinstance(start, str) else ("", "", start)
    given = {"root": root, "tip": tip, "start": start}
    found = {name: bytes.fromhex(v.removeprefix("0x"))[::-1] if isinstance(v, str) else v for name, v in given.items()}
    if any(value is not None and len(value) != 32 for value in found.values()):
        raise ValueError("a trusted hash is 32 bytes, 64 digits in hex")
    return {**found, "height": int(at) if at else None}


def _canonical(bundle: Any) -> bytes:
    """The bytes of either form. A JSON form must come back from them as it was: each bundle is written in one way."""
    try:
        if not isinstance(bundle, dict):
            data: bytes = bundle.encode() if isinstance(bundle, str) else bytes(memoryview(bundle))
            if data.lstrip()[:1] != b"{" or len(data) > MAX_JSON_BYTES:
                return data
            bundle = json.loads(data, object_pairs_hook=lambda p: dict(p) if len(dict(p)) == len(p) else {})
        name = bundle["network"].encode()
        values = [(size, bundle[key]) for key, size in LAYOUT.items()] + [(32, node) for node in bundle["nodes"]]
        parts = [v.to_bytes(4, "little") if n == 4 else bytes.fromhex(v)[:: -1 if n == 32 else 1] for n, v in values]
        data = bytes([bundle["version"], len(name)]) + name + b"".join(parts)
        same = json.dumps(_shown(_from_bytes(data)), sort_keys=True) == json.dumps(bundle, sort_keys=True)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        same = False
    if not same:
        raise Refused("format", "it is not the JSON form of a bundle, or has a field that is written in another way")
    return data


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    shown = {key: v[:: -1 if len(v) == 32 else 1].hex() if isinstance(v, bytes) else v for key, v in found.items()}
    return {"version": VERSION, **shown, "nodes": [node[::-1].hex() for node in found["nodes"]]}


def _from_bytes(data: bytes) -> dict[str, Any]:
    at = 2 + int.from_bytes(data[1:2], "little")
    found: dict[str, Any] = {"network": data[2:at].decode("ascii", "replace")}
    if data[:1] != bytes([VERSION]) or found["network"] not in NETWORKS:
        raise Refused("format", "its version or network is not known to this verifier")
    for key, size in LAYOUT.items():
        part, at = data[at : at + size], at + size
        found[key] = int.from_bytes(part, "little") if size == 4 else part
    if not at <= len(data) <= MAX_BYTES or (len(data) - at) % 32:
        raise Refused("format", "it is cut short, or followed by something else")
    return {**found, "nodes": [data[i : i + 32] for i in range(at, len(data), 32)]}


def sha256d(data: bytes) -> bytes:
    return sha256(sha256(data).digest()).digest()


def _check(found: dict[str, Any], trusted: dict[str, Any]) -> None:
    first, start, height, tip = (found[key] for key in ("range_start", "start_height", "height", "cp_height"))
    genesis, limit = bytes.fromhex(NETWORKS[found["network"]][0])[::-1], NETWORKS[found["network"]][1]
    if first not in (0, start) or not start <= height <= tip:
        raise Refused("range", "range start, start, height and tip are not in this order")
    if found["genesis"] != genesis or (start == 0 and found["start_hash"] != genesis):
        raise Refused("genesis", f"it does not begin with the genesis block of {found['network']}")
    leaves, parents = {start - first: found["start_hash"]}, {}
    for at, header in ((height, found["header"]), (tip, found["tip_header"])):
        leaf, mantissa = sha256d(header), int.from_bytes(header[72:75], "little")
        target = mantissa << 8 * header[75] >> 24
        if mantissa >> 23 or not 0 < target <= limit:
            raise Refused("bad-diffbits", f"the header at height {at} has a target that the network does not allow")
        if int.from_bytes(leaf, "little") > target:
            raise Refused("high-hash", f"the header at height {at} does not meet its own target")
        if leaves.setdefault(at - first, leaf) != leaf:
            raise Refused("proof", f"two different blocks are said to be at height {at}")
        parents[at - first] = header[4:36]
    if _root(leaves, parents, tip - first + 1, found["nodes"][::-1]) != found["root"]:
        raise Refused("root", "its blocks and nodes do not give the root that it names")
    for name, its in (("root", found["root"]), ("tip", leaf), ("start", found["start_hash"]), ("height", start)):
        if trusted[name] not in (None, its):
            raise Refused(f"trusted-{name}", f"its {name} is not the one that you trust")


def _root(known: dict[int, bytes], parents: dict[int, bytes], width: int, supply: list[bytes]) -> bytes:
    while width > 1:
        for index in sorted(known):
            if index ^ 1 < width and index ^ 1 not in known:
                if not supply:
                    raise Refused("proof", "nodes are missing")
                known[index ^ 1] = supply.pop()
        if any(known.get(at - 1, parent) != parent for at, parent in parents.items()):
            raise Refused("link", "a header does not name the block before it as its parent")
        above, parents, width = {}, {}, (width + 1) // 2
        for index in {index & ~1 for index in known}:
            left, right = known[index], known.get(index + 1)
            if left == right:
                raise Refused("proof", "two positions hold the same node, which no chain of blocks has")
            above[index // 2] = sha256d(left + (right or left))
        known = above
    if supply:
        raise Refused("proof", "nodes are left over")
    return known[0]


def main() -> int:
    """``python -m merkle.verify FILE``: exit status 0 it holds (read what it rests on), 1 refused, 2 unreadable."""
    parser = argparse.ArgumentParser(description="Check a header-proof bundle offline.")
    parser.add_argument("file")
    for name in ("root", "tip", "start"):
        parser.add_argument(f"--{name}", dest=f"trusted_{name}", help=f"hash of the {name} that you trust, as hex")
    parser.add_argument("--json", action="store_true", help="print the whole verdict")
    args = vars(parser.parse_args())
    path, as_json = args.pop("file"), args.pop("json")
    try:
        with open(path, "rb") as file:
            verdict = verify(file.read(MAX_JSON_BYTES + 1), **args)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(json.dumps(asdict(verdict), indent=2) if as_json else verdict.says)
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
