"""A Merkle-Patricia trie built from a table in one recursion, and the proofs of any key: independent of the product's
reader, its RLP included."""

from __future__ import annotations

from collections.abc import Mapping

from Crypto.Hash import keccak

Node = bytes | list["Node"]


def keccak256(data: bytes) -> bytes:
    return keccak.new(data=data, digest_bits=256).digest()


def rlp(item: Node) -> bytes:
    payload = item if isinstance(item, bytes) else b"".join(map(rlp, item))
    if isinstance(item, bytes) and len(item) == 1 and item[0] < 128:
        return item
    base = 128 if isinstance(item, bytes) else 192
    if len(payload) < 56:
        return bytes([base + len(payload)]) + payload
    size = hex(len(payload))[2:]
    size = "0" * (len(size) % 2) + size
    return bytes([base + 55 + len(size) // 2]) + bytes.fromhex(size) + payload


def hex_prefix(nibbles: str, leaf: bool) -> bytes:
    flag = (2 if leaf else 0) + len(nibbles) % 2
    return bytes.fromhex(f"{flag}{nibbles}" if len(nibbles) % 2 else f"{flag}0{nibbles}")


class SmallTrie:
    """``table``: key -> value, no value empty. ``embedding``: whether any node is short enough to lie in its parent."""

    def __init__(self, table: Mapping[bytes, bytes]) -> None:
        self.embedding = False
        self.kinds: set[str] = set()
        self.by_hash: dict[bytes, Node] = {}
        self.top = self._build({key.hex(): value for key, value in table.items()})
        self.root = keccak256(rlp(self.top))

    def _build(self, table: dict[str, bytes]) -> Node:
        if not table:
            return b""
        if len(table) == 1:
            ((path, value),) = table.items()
            self.kinds.add("leaf")
            return [hex_prefix(path, True), value]
        first, last = min(table), max(table)
        shared = 0
        while shared < len(first) and first[shared] == last[shared]:
            shared += 1
        if shared:
            self.kinds.add("extension")
            below = self._build({path[shared:]: value for path, value in table.items()})
            return [hex_prefix(first[:shared], False), self._child(below)]
        self.kinds.add("branch with value" if "" in table else "branch")
        children: list[Node] = []
        for nibble in "0123456789abcdef":
            part = {path[1:]: value for path, value in table.items() if path[:1] == nibble}
            children.append(self._child(self._build(part)))
        return [*children, table.get("", b"")]

    def _child(self, node: Node) -> Node:
        data = rlp(node)
        if not node:
            return b""
        if len(data) < 32:
            self.embedding = True
            return node
        self.by_hash[keccak256(data)] = node
        return keccak256(data)

    def proof(self, key: bytes, *, list_embedded: bool = False) -> list[bytes]:
        """Nodes on the way to ``key``, as far as it goes."""
        path, node, found = key.hex(), self.top, [rlp(self.top)]
        while isinstance(node, list):
            if len(node) == 17:
                if not path:
                    break
                child, path = node[int(path[0], 16)], path[1:]
            else:
                part = node[0].hex()  # type: ignore[union-attr]
                part, leaf = part[1 if int(part[0]) & 1 else 2 :], int(part[0]) & 2
                if leaf or not path.startswith(part):
                    break
                child, path = node[1], path[len(part) :]
            if isinstance(child, list):
                node = child
                if list_embedded:
                    found.append(rlp(node))
            elif child:
                node = self.by_hash[child]
                found.append(rlp(node))
            else:
                break
        return found
