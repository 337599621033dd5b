"""Blocks for tests: real ones, and small ones made here (regtest, with real proof of work and witnesses)."""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256

from mine import mine
from vectors import VECTORS, document

from merkle.compact import compact_size
from merkle.hashing import sha256d
from merkle.txtree import root
from spvnode.bitcoin.params import REGTEST

BLOCKS = VECTORS / "bitcoin" / "blocks"
REAL = (
    "bcoin_block1.raw",
    "bcoin_block300025.raw.xz",
    "bcoin_block482683.raw.xz",
    "bcoin_block898352.raw.xz",
    "bitcoinj_block227836.dat.xz",
)


@cache
def real(name: str) -> bytes:
    """A real block, serialized."""
    data = (BLOCKS / name).read_bytes()
    return lzma.decompress(data) if name.endswith(".xz") else data


@dataclass(frozen=True)
class Bip158:
    """One official vector; hashes in internal order."""

    height: int
    block_hash: bytes
    raw: bytes
    prevouts: tuple[bytes, ...]
    previous: bytes
    filter: bytes
    header: bytes
    notes: str


@cache
def bip158() -> tuple[Bip158, ...]:
    """BIP158's vectors (testnet)."""
    rows = document("filters/bip158_testnet-19.json")[1:]
    return tuple(
        Bip158(
            row[0],
            bytes.fromhex(row[1])[::-1],
            bytes.fromhex(row[2]),
            tuple(map(bytes.fromhex, row[3])),
            bytes.fromhex(row[4])[::-1],
            bytes.fromhex(row[5]),
            bytes.fromhex(row[6])[::-1],
            row[7],
        )
        for row in rows
    )


@dataclass(frozen=True)
class In:
    """An input of a made transaction."""

    prev_hash: bytes
    prev_index: int = 0
    script_sig: bytes = b""
    witness: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Tx:
    """A made transaction."""

    inputs: tuple[In, ...]
    outputs: tuple[bytes, ...]
    amount: int = 1
    version: int = 2

    def bytes(self, *, witness: bool = True) -> bytes:
        marked = witness and any(one.witness for one in self.inputs)
        parts = [self.version.to_bytes(4, "little"), b"\x00\x01" if marked else b"", compact_size(len(self.inputs))]
        for one in self.inputs:
            parts += [one.prev_hash, one.prev_index.to_bytes(4, "little"), _string(one.script_sig), b"\xff" * 4]
        parts.append(compact_size(len(self.outputs)))
        parts += [self.amount.to_bytes(8, "little") + _string(script) for script in self.outputs]
        if marked:
            for one in self.inputs:
                parts += [compact_size(len(one.witness)), *map(_string, one.witness)]
        return b"".join([*parts, bytes(4)])

    @property
    def txid(self) -> bytes:
        return sha256d(self.bytes(witness=False))


def _string(data: bytes) -> bytes:
    return compact_size(len(data)) + data


def push(data: bytes) -> bytes:
    """A script that pushes up to 75 bytes."""
    return bytes((len(data),)) + data


def coinbase(height: int, outputs: Sequence[bytes], witness: tuple[bytes, ...] = ()) -> Tx:
    one = In(bytes(32), 0xFFFF_FFFF, push(height.to_bytes(4, "little")), witness)
    return Tx((one,), tuple(outputs))


def serialize(header: bytes, transactions: Sequence[bytes]) -> bytes:
    return header + compact_size(len(transactions)) + b"".join(transactions)


def make_block(
    height: int, transactions: Sequence[Tx], *, prev_hash: bytes = REGTEST.genesis_hash, pays: bytes = b"\x51"
) -> bytes:
    """A regtest block: a coinbase that pays ``pays`` and commits to the witnesses of ``transactions`` where they have
    any, and those."""
    first = coinbase(height, [pays])
    if any(one.witness for tx in transactions for one in tx.inputs):
        wtxids = [bytes(32), *(sha256d(tx.bytes()) for tx in transactions)]
        commitment = sha256d(root(wtxids)[0] + bytes(32))
        first = coinbase(height, [pays, bytes.fromhex("6a24aa21a9ed") + commitment], (bytes(32),))
    every = [first, *transactions]
    merkle_root, _ = root([tx.txid for tx in every])
    time = int.from_bytes(REGTEST.genesis_header[68:72], "little") + 600 * height
    header, _ = mine(prev_hash, time=time, merkle_root=merkle_root)
    return serialize(header, [tx.bytes() for tx in every])


def key(seed: int) -> bytes:
    """What looks like a compressed public key."""
    return b"\x02" + sha256(seed.to_bytes(8, "little")).digest()


def signature(seed: int) -> bytes:
    """What looks like a DER signature with its hash type."""
    r, s = (sha256(bytes((which,)) + seed.to_bytes(8, "little")).digest() for which in (0, 1))
    return b"\x30\x44\x02\x20" + r + b"\x02\x20" + s + b"\x01"


@dataclass
class MadeChain:
    """Regtest blocks 1 .. n one on the other, with what each spends: ``blocks[0]`` is at height 1."""

    blocks: list[bytes] = field(default_factory=list)
    prevouts: list[tuple[bytes, ...]] = field(default_factory=list)

    def extend(
        self, transactions: Sequence[Tx] = (), prevouts: Sequence[bytes] = (), pays: bytes | None = None
    ) -> None:
        height = len(self.blocks) + 1
        prev_hash = sha256d(self.blocks[-1][:80]) if self.blocks else REGTEST.genesis_hash
        script = b"\x00\x14" + sha256(b"miner%d" % height).digest()[:20] if pays is None else pays
        self.blocks.append(make_block(height, transactions, prev_hash=prev_hash, pays=script))
        self.prevouts.append(tuple(prevouts))

    @property
    def headers(self) -> bytes:
        return b"".join(block[:80] for block in self.blocks)
