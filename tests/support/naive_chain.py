"""The block tree without any cleverness: every header in a dict, everything recomputed from it at every question.

Written from Bitcoin Core's functions (``GetNextWorkRequired``, ``ContextualCheckBlockHeader``), sharing no code with
the tree under test but the compact-bits arithmetic, which has Core's own vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.pow import block_proof, get_compact, set_compact


@dataclass(frozen=True)
class Node:
    raw: bytes
    hash: bytes
    prev: bytes
    height: int
    version: int
    time: int
    bits: int
    seen: int


def double_sha(raw: bytes) -> bytes:
    return sha256(sha256(raw).digest()).digest()


class NaiveTree:
    """All headers ever accepted; the best tip is the one with most work, of equals the first seen."""

    def __init__(self, params: ChainParams) -> None:
        self.params = params
        self.nodes: dict[bytes, Node] = {}
        self._add(self.parse(params.genesis_header))

    def parse(self, raw: bytes) -> Node:
        version = int.from_bytes(raw[:4], "little", signed=True)
        time, bits = (int.from_bytes(raw[at : at + 4], "little") for at in (68, 72))
        prev = raw[4:36]
        height = self.nodes[prev].height + 1 if prev in self.nodes else 0
        return Node(raw, double_sha(raw), prev, height, version, time, bits, len(self.nodes))

    def _add(self, node: Node) -> None:
        self.nodes[node.hash] = node

    def path(self, node: Node) -> list[Node]:
        """Genesis .. node."""
        found = [node]
        while found[-1].prev in self.nodes:
            found.append(self.nodes[found[-1].prev])
        return found[::-1]

    def work(self, node: Node) -> int:
        return sum(block_proof(ancestor.bits) for ancestor in self.path(node))

    def best(self) -> Node:
        return max(self.nodes.values(), key=lambda node: (self.work(node), -node.seen))

    def main(self) -> list[Node]:
        return self.path(self.best())

    def side_tips(self) -> set[bytes]:
        """Headers without children that are not on the main chain."""
        parents = {node.prev for node in self.nodes.values()}
        return {h for h in self.nodes if h not in parents} - {self.best().hash}

    def next_bits(self, chain: list[Node], time: int) -> int:
        """``GetNextWorkRequired`` after ``chain``."""
        params, last = self.params, chain[-1]
        if len(chain) % params.interval:
            if not params.allow_min_difficulty:
                return last.bits
            if time > last.time + 2 * params.spacing:
                return params.pow_limit_bits
            at = len(chain) - 1
            while at % params.interval and chain[at].bits == params.pow_limit_bits:
                at -= 1
            return chain[at].bits
        if params.no_retargeting:
            return last.bits
        first = chain[-params.interval]
        actual = min(max(last.time - first.time, params.timespan // 4), params.timespan * 4)
        old = set_compact(first.bits if params.bip94 else last.bits).target
        return get_compact(min(old * actual // params.timespan, params.pow_limit))

    def fault(self, chain: list[Node], node: Node, now: int) -> str | None:
        """Why ``node`` may not follow ``chain``."""
        params = self.params
        recent = sorted(ancestor.time for ancestor in chain[-11:])
        required = [v for h, v in ((params.bip34_height, 2), (params.bip66_height, 3), (params.bip65_height, 4))
                    if len(chain) >= h]  # fmt: skip
        rules = [
            ("prev-blk-not-found", node.prev != chain[-1].hash),
            ("bad-diffbits", node.bits != self.next_bits(chain, node.time)),
            ("high-hash", int.from_bytes(node.hash, "little") > set_compact(node.bits).target),
            ("time-too-old", node.time <= recent[len(recent) // 2]),
            ("time-timewarp-attack", params.bip94 and len(chain) % params.interval == 0
                and node.time < chain[-1].time - 600),
            ("time-too-new", node.time > now + 7200),
            ("bad-version", node.version < max(required, default=-(2**31))),
        ]  # fmt: skip
        return next((name for name, broken in rules if broken), None)

    def offer(self, raws: list[bytes], now: int) -> tuple[str, int] | None:
        """Takes a run whole, or says which header fails by which rule and takes nothing."""
        before = dict(self.nodes)
        for at, raw in enumerate(raws):
            node = self.parse(raw)
            if node.hash in self.nodes:
                linked = at == 0 or node.prev == double_sha(raws[at - 1])
                fault = None if linked else "prev-blk-not-found"
            elif node.prev not in self.nodes or (at and node.prev != double_sha(raws[at - 1])):
                fault = "prev-blk-not-found"
            else:
                fault = self.fault(self.path(self.nodes[node.prev]), node, now)
                self._add(node)
            if fault is not None:
                self.nodes = before
                return fault, at
        return None


def electrum_root(hashes: list[bytes]) -> bytes:
    """Root of Electrum's ``cp_height`` tree over all of ``hashes``."""
    while len(hashes) > 1:
        hashes = [*hashes, hashes[-1]] if len(hashes) % 2 else hashes
        hashes = [double_sha(hashes[at] + hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]
