"""Checks light-client objects once more, with nothing of the product: its own decoding, hashing and rules, and the BLS
of somebody else; ``beacon_bundle_check`` checks what a row of them shows. Asserts what it finds wrong. Source:
consensus-specs ``{altair,..,fulu}/light-client``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise

ZERO = bytes(32)
INLINE = ("altair", "bellatrix")
"""Their headers are of fixed size; from capella on an offset leads to each."""
DEEP = ("electra", "fulu")
"""Their states are one level deeper."""
FastAggregateVerify = Callable[[list[bytes], bytes, bytes], bool]


def h(left: bytes, right: bytes) -> bytes:
    return sha256(left + right).digest()


@dataclass
class Chain:
    """``forks``: name, version, first epoch, oldest first. Without blob-parameter forks."""

    genesis_validators_root: bytes
    forks: list[tuple[str, bytes, int]]
    committee_size: int
    slots_per_epoch: int
    epochs_per_period: int

    def period(self, slot: int) -> int:
        return slot // (self.slots_per_epoch * self.epochs_per_period)

    def fork(self, slot: int) -> tuple[str, bytes]:
        return [(name, version) for name, version, epoch in self.forks if epoch <= slot // self.slots_per_epoch][-1]

    def data_root(self, version: bytes) -> bytes:
        return h(version.ljust(32, b"\0"), self.genesis_validators_root)

    def fork_of(self, digest: bytes) -> str:
        for name, version, _ in self.forks:
            expected = self.data_root(version)[:4]
            if name == "fulu":
                electra = next(epoch for each, _, epoch in self.forks if each == "electra")
                mask = sha256(electra.to_bytes(8, "little") + (9).to_bytes(8, "little")).digest()
                expected = bytes(a ^ b for a, b in zip(expected, mask[:4], strict=True))
            if digest == expected:
                return name
        raise AssertionError("unknown digest")


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        part = self.data[self.at : self.at + size]
        assert len(part) == size
        self.at += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def nodes(self, count: int) -> list[bytes]:
        return [self.take(32) for _ in range(count)]


def root_of(leaves: list[bytes]) -> bytes:
    while len(leaves) & (len(leaves) - 1):
        leaves = [*leaves, ZERO]
    while len(leaves) > 1:
        leaves = [h(leaves[at], leaves[at + 1]) for at in range(0, len(leaves), 2)]
    return leaves[0]


@lru_cache(50_000)  # keys and fields come again in every bundle of a chain
def packed(data: bytes) -> bytes:
    return root_of([data[at : at + 32].ljust(32, b"\0") for at in range(0, len(data), 32)])


def climb(leaf: bytes, branch: list[bytes], gindex: int) -> bytes:
    assert gindex.bit_length() - 1 == len(branch)
    for sibling in branch:
        leaf = h(sibling, leaf) if gindex & 1 else h(leaf, sibling)
        gindex >>= 1
    return leaf


@dataclass
class Header:
    """``execution_state``: state root of its execution block, where it has one."""

    slot: int
    state_root: bytes
    root: bytes
    execution_state: bytes | None


def read_header(data: bytes, fork: str) -> Header:
    """BeaconBlockHeader, and from capella on the execution header with its branch to the body root."""
    reader = Reader(data)
    parts = [reader.take(size) for size in (8, 8, 32, 32, 32)]
    slot = int.from_bytes(parts[0], "little")
    execution_state = None
    if fork not in INLINE and any(data[:112]):
        assert reader.number(4) == 112 + 4 + 4 * 32
        branch = reader.nodes(4)
        execution_state, execution_root = read_execution(data[reader.at :], fork == "capella")
        assert climb(execution_root, branch, 25) == parts[4]
    return Header(slot, parts[3], root_of([packed(part) for part in parts]), execution_state)


def read_execution(data: bytes, capella: bool) -> tuple[bytes, bytes]:
    """State root, and the execution header's own root."""
    reader = Reader(data)
    sizes = [32, 20, 32, 32, 256, 32, 8, 8, 8, 8, 4, 32, 32, 32, 32] + ([] if capella else [8, 8])
    parts = [reader.take(size) for size in sizes]
    extra = data[reader.at :]
    assert int.from_bytes(parts[10], "little") == sum(sizes)
    assert len(extra) <= 32
    leaves = [packed(part) for part in parts]
    leaves[10] = h(extra.ljust(32, b"\0"), len(extra).to_bytes(32, "little"))
    return parts[2], root_of(leaves)


def read_committee(reader: Reader, size: int) -> tuple[list[bytes], bytes]:
    """Public keys, and the committee's root."""
    keys = [reader.take(48) for _ in range(size + 1)]
    return keys[:-1], h(root_of([packed(key) for key in keys[:-1]]), packed(keys[-1]))


@dataclass
class Update:
    """One of any kind, its branches checked. ``keys``: of the next committee, where it brings one."""

    attested: Header
    final: Header | None
    keys: list[bytes]
    bits: bytes
    signature: bytes
    slot: int

    def check_signature(self, chain: Chain, keys: list[bytes], bls: FastAggregateVerify) -> int:
        """By the committee with these ``keys``; how many of it signed."""
        signers = [key for at, key in enumerate(keys) if self.bits[at // 8] >> at % 8 & 1]
        domain = b"\x07\0\0\0" + chain.data_root(chain.fork(self.slot - 1)[1])[:28]
        assert bls(signers, h(self.attested.root, domain), self.signature)
        return len(signers)


def read_bootstrap(data: bytes, fork: str, chain: Chain) -> tuple[Header, list[bytes]]:
    """Its header, and the committee's keys, which the header's state commits to."""
    reader = Reader(data)
    start, end = (0, len(reader.take(112))) if fork in INLINE else (reader.number(4), len(data))
    keys, root = read_committee(reader, chain.committee_size)
    branch = reader.nodes(5 + (fork in DEEP))
    header = read_header(data[start:end], fork)
    assert chain.fork(header.slot)[0] == fork
    assert climb(root, branch, 86 if fork in DEEP else 54) == header.state_root
    return header, keys


def read_update(kind: int, data: bytes, fork: str, chain: Chain) -> Update:
    """Of kind 1 (best of a period), 2 (finality) or 3 (optimistic): its headers, and the branches between them."""
    deep, inline = fork in DEEP, fork in INLINE
    reader = Reader(data)
    headers = [reader.take(112 if inline else 4)]
    keys, root = read_committee(reader, chain.committee_size) if kind == 1 else ([], ZERO)
    next_branch = reader.nodes(5 + deep) if kind == 1 else []
    headers += [reader.take(112 if inline else 4)] if kind != 3 else []
    finality_branch = reader.nodes(6 + deep) if kind != 3 else []
    bits, signature, slot = reader.take(chain.committee_size // 8), reader.take(96), reader.number(8)
    if not inline:
        ends = [*(int.from_bytes(offset, "little") for offset in headers), len(data)]
        assert ends[0] == reader.at
        headers = [data[start:end] for start, end in pairwise(ends)]
    attested = read_header(headers[0], fork)
    assert chain.fork(attested.slot)[0] == fork
    assert slot > attested.slot
    final = read_header(headers[1], fork) if any(b"".join(finality_branch)) else None
    assert not final or climb(final.root, finality_branch, 169 if deep else 105) == attested.state_root
    brings = any(b"".join(next_branch))
    assert not brings or climb(root, next_branch, 87 if deep else 55) == attested.state_root
    return Update(attested, final, keys if brings else [], bits, signature, slot)
