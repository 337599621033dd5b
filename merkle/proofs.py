"""Portable proofs beside the header bundle (``merkle.bundle``): what each holds, and how it is made.

* ``TxProof``, version 3: a transaction is in a block whose header a header bundle proves.
* ``AncestryProof``, version 7: the tree of blocks up to one tip begins with the very blocks of the tree up to another.
* ``HeadersProof``, version 5: many headers under one root, by one shared multiproof.
* ``ColumnsProof``, version 8: many headers under one root with a branch each, column by column, for checking
  hundreds of thousands a second by ``merkle.verify_columns``. Bytes only.

Versions 4 and 6 were ancestry and columns without the start block. They are still read, never made: in them a tree that
begins at a checkpoint passes for one from genesis on. All but 8 have a JSON form as well; ``merkle.verify_more`` checks
them, with the standard library alone. None holds anything that its verifier computes, and each has one encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from merkle import forms
from merkle.bundle import HeaderBundle
from merkle.bundle import encode as encode_header
from merkle.bundle import to_json as header_to_json
from merkle.errors import ProofError
from merkle.forest import Forest
from merkle.forms import Form, Kind
from merkle.hashing import MAX_BRANCH_LEAVES, sha256d
from merkle.shape import HASH_SIZE, lowest_level, multiproof_nodes, peak_over
from merkle.txtree import MAX_TRANSACTIONS, levels

HEADERS_A_STEP: Final = 512
"""Read from a store: 5 ms."""
NODES_A_STEP: Final = 1_024
"""Found in the tree: 5 ms."""
MAX_HEADERS: Final = 2_016
"""Headers in one version 5 bundle: a difficulty period. Its JSON, 1.6 MB where they lie far apart, still fits the body
of one RPC call. A caller fills it."""
MAX_COLUMN_HEADERS: Final = MAX_BRANCH_LEAVES
"""Headers in one version 8 bundle: what the kernel takes at once, 742 KB."""
NODE_LIKE_SIZE: Final = 64
"""Bytes of an inner node's preimage. A transaction of that size could pass for one, and is never proven."""

Steps = Generator[None, None, "HeadersProof"]
"""The making of a proof, with pauses."""
_HEIGHTS = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class TxProof:
    """``transaction`` is at ``position`` among the ``tx_count`` transactions of the block in ``header``.

    Both transactions are without their witnesses, which the header's root does not commit to. ``coinbase`` fixes how
    deep the block's tree is: without it, two halves of a 64-byte transaction could pass for transaction ids. ``nodes``
    joins both to the root in one multiproof.
    """

    header: HeaderBundle
    tx_count: int
    position: int
    coinbase: bytes
    transaction: bytes
    nodes: tuple[bytes, ...]

    VERSION: ClassVar[int] = 3
    FORM: ClassVar[Form] = {
        "tx_count": Kind.NUMBER,
        "position": Kind.NUMBER,
        "coinbase": Kind.BLOB,
        "transaction": Kind.BLOB,
        "header_proof": Kind.BLOB,
        "nodes": Kind.HASHES,
    }

    @property
    def header_proof(self) -> bytes:
        """Canonical bytes of the header bundle."""
        return encode_header(self.header)


@dataclass(frozen=True, slots=True)
class AncestryProof:
    """The block at ``old_height`` is an ancestor of the one at ``new_height``, as far as a holder of either root can
    tell.

    Either header is the last leaf of its tree: ``*_path`` leads from it to the last of ``*_peaks``, and ``proof`` from
    the old peaks to the new ones (``merkle.ancestry.verify_ancestry``). Roots follow from the peaks. ``start_path``
    leads from the start block, as in ``HeaderBundle``, to the old peak above it: heights are counted from there.
    """

    network: str
    genesis: bytes
    range_start: int
    start_height: int
    start_hash: bytes
    old_height: int
    old_header: bytes
    new_height: int
    new_header: bytes
    old_peaks: tuple[bytes, ...]
    new_peaks: tuple[bytes, ...]
    old_path: tuple[bytes, ...]
    new_path: tuple[bytes, ...]
    start_path: tuple[bytes, ...]
    proof: tuple[bytes, ...]

    VERSION: ClassVar[int] = 7
    FORM: ClassVar[Form] = {
        "network": Kind.NAME,
        "genesis": Kind.HASH,
        "range_start": Kind.NUMBER,
        "start_height": Kind.NUMBER,
        "start_hash": Kind.HASH,
        "old_height": Kind.NUMBER,
        "old_header": Kind.HEADER,
        "new_height": Kind.NUMBER,
        "new_header": Kind.HEADER,
        "old_peaks": Kind.HASHES,
        "new_peaks": Kind.HASHES,
        "old_path": Kind.HASHES,
        "new_path": Kind.HASHES,
        "start_path": Kind.HASHES,
        "proof": Kind.HASHES,
    }


@dataclass(frozen=True, slots=True)
class HeadersProof:
    """``headers`` (height and 80 bytes, by rising height) in the tree up to ``cp_height``; else as ``HeaderBundle``."""

    network: str
    genesis: bytes
    range_start: int
    start_height: int
    start_hash: bytes
    cp_height: int
    tip_header: bytes
    root: bytes
    headers: tuple[tuple[int, bytes], ...]
    nodes: tuple[bytes, ...]

    VERSION: ClassVar[int] = 5
    FORM: ClassVar[Form] = {
        "network": Kind.NAME,
        "genesis": Kind.HASH,
        "range_start": Kind.NUMBER,
        "start_height": Kind.NUMBER,
        "start_hash": Kind.HASH,
        "cp_height": Kind.NUMBER,
        "tip_header": Kind.HEADER,
        "root": Kind.HASH,
        "headers": Kind.HEADERS,
        "nodes": Kind.HASHES,
    }


@dataclass(frozen=True, slots=True)
class ColumnsProof:
    """Headers as columns: ``heights`` n * 4 bytes (u32), ``headers`` n * 80, ``branches`` n * depth * 32, each branch
    bottom up. ``tip_branch`` is the last leaf's, which binds ``cp_height`` to the root; ``start_branch`` is that of the
    start block, as in ``HeaderBundle``, from which heights are counted."""

    network: str
    genesis: bytes
    range_start: int
    start_height: int
    start_hash: bytes
    cp_height: int
    tip_header: bytes
    root: bytes
    heights: bytes
    headers: bytes
    start_branch: bytes
    tip_branch: bytes
    branches: bytes

    VERSION: ClassVar[int] = 8

    def encode(self) -> bytes:
        """version u8 | name | genesis 32 | range_start u32 | start_height u32 | start_hash 32 | cp_height u32
        | tip header 80 | root 32 | count u32, and the five columns in order of their names above."""
        name = self.network.encode("ascii")
        head = struct.pack("<32sII32sI80s32sI", self.genesis, self.range_start, self.start_height, self.start_hash,
                           self.cp_height, self.tip_header, self.root, len(self.heights) // 4)  # fmt: skip
        columns = self.heights + self.headers + self.start_branch + self.tip_branch + self.branches
        return bytes([self.VERSION, len(name)]) + name + head + columns


Portable = TxProof | AncestryProof | HeadersProof


def encode(proof: Portable) -> bytes:
    """Canonical bytes."""
    return forms.encode(proof.VERSION, proof.FORM, proof)


def to_json(proof: Portable) -> dict[str, Any]:
    """The JSON form."""
    form = forms.to_json(proof.VERSION, proof.FORM, proof)
    if isinstance(proof, TxProof):
        form["header_proof"] = header_to_json(proof.header)
    return form


# -- making


def make_tx_proof(header: HeaderBundle, txids: Sequence[bytes], position: int, coinbase: bytes, tx: bytes) -> TxProof:
    """The proof of ``tx``, which has the id ``txids[position]``; ``coinbase`` has the first. Both without witnesses.

    ``txids`` are all of the block's, in order and internal byte order. Raises ``ProofError`` where they do not give the
    header's root, and for a transaction that cannot be proven because it looks like an inner node.
    """
    if not 0 <= position < len(txids) <= MAX_TRANSACTIONS:
        raise ProofError("position", "is beyond the block's last transaction", len(txids) - 1)
    if sha256d(tx) != txids[position] or sha256d(coinbase) != txids[0]:
        raise ProofError("transaction", "does not have the id that the block has there")
    if NODE_LIKE_SIZE in (len(tx), len(coinbase)):
        raise ProofError("transaction", "has 64 bytes, as an inner node: no proof of it is sound", NODE_LIKE_SIZE)
    rows = list(levels(txids))
    if rows[-1] != header.header[36:68]:
        raise ProofError("transactions", "do not give the root that the block's header has")
    wanted = multiproof_nodes(len(txids), (0, position))
    nodes = tuple(rows[level][index * HASH_SIZE : (index + 1) * HASH_SIZE] for level, index in wanted)
    return TxProof(header, len(txids), position, coinbase, tx, nodes)


def make_ancestry_proof(
    forest: Forest,
    header: Callable[[int], bytes],
    *,
    network: str,
    genesis: bytes,
    start: tuple[int, bytes],
    old: int,
    new: int,
) -> AncestryProof:
    """That the block at height ``old`` is an ancestor of the one at ``new``. ``header`` gives the 80 bytes at a height;
    ``start`` as for ``make_bundle``.

    Raises ``ProofError`` unless base <= old <= new < end, and start <= old.
    """
    if old < start[0]:
        raise ProofError("old", "is below the start", start[0])
    sides = [_side(forest, height) for height in (old, new)]
    climb = peak_over(old + 1 - forest.range_start, start[0] - forest.range_start)
    return AncestryProof(
        network=network,
        genesis=genesis,
        range_start=forest.range_start,
        start_height=start[0],
        start_hash=start[1],
        old_height=old,
        old_header=header(old),
        new_height=new,
        new_header=header(new),
        old_peaks=sides[0][0],
        new_peaks=sides[1][0],
        old_path=sides[0][1],
        new_path=sides[1][1],
        start_path=tuple(forest.branch(start[0], old)[:climb]),
        proof=tuple(forest.ancestry_proof(old + 1, new + 1)),
    )


def _side(forest: Forest, height: int) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Peaks of the tree that ends with ``height``, and the way from that leaf up to the last of them."""
    climb = lowest_level(height + 1 - forest.range_start)
    return tuple(forest.peaks(height + 1)), tuple(forest.branch(height, height)[:climb])


def headers_proof_steps(
    forest: Forest,
    header: Callable[[int], bytes],
    heights: Sequence[int],
    cp_height: int,
    *,
    network: str,
    genesis: bytes,
    start: tuple[int, bytes],
) -> Steps:
    """One multiproof of up to ``MAX_HEADERS`` different heights, which its end returns; a step is some ms. The tree up
    to ``cp_height`` must stay what it is from the first to the last. Raises ``ProofError`` as ``make_bundle`` does."""
    chosen = sorted(set(heights))
    _check_count(len(chosen), MAX_HEADERS)
    if chosen[0] < start[0]:
        raise ProofError("height", "is below the start", start[0])
    headers: list[tuple[int, bytes]] = []
    for height in chosen:
        headers.append((height, header(height)))
        if len(headers) % HEADERS_A_STEP == 0:
            yield
    nodes: list[bytes] = []
    for node in forest.proving((start[0], *chosen, cp_height), cp_height):
        nodes.append(node)
        if len(nodes) % NODES_A_STEP == 0:
            yield
    return HeadersProof(
        network=network,
        genesis=genesis,
        range_start=forest.range_start,
        start_height=start[0],
        start_hash=start[1],
        cp_height=cp_height,
        tip_header=header(cp_height),
        root=forest.root(cp_height),
        headers=tuple(headers),
        nodes=tuple(nodes),
    )


def at_once(steps: Steps) -> HeadersProof:
    """Takes all steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: HeadersProof = end.value
            return found


def make_columns_proof(
    forest: Forest,
    header: Callable[[int], bytes],
    heights: Sequence[int],
    cp_height: int,
    *,
    network: str,
    genesis: bytes,
    start: tuple[int, bytes],
) -> ColumnsProof:
    """Up to ``MAX_COLUMN_HEADERS`` different heights with a branch each, in the order given. Raises ``ProofError`` as
    ``make_bundle`` does."""
    _check_count(len(heights), MAX_COLUMN_HEADERS)
    if len(set(heights)) < len(heights):
        raise ProofError("heights", "name one header twice")
    if min(heights) < start[0]:
        raise ProofError("height", "is below the start", start[0])
    return ColumnsProof(
        network=network,
        genesis=genesis,
        range_start=forest.range_start,
        start_height=start[0],
        start_hash=start[1],
        cp_height=cp_height,
        tip_header=header(cp_height),
        root=forest.root(cp_height),
        heights=b"".join(_HEIGHTS.pack(height) for height in heights),
        headers=b"".join(header(height) for height in heights),
        start_branch=b"".join(forest.branch(start[0], cp_height)),
        tip_branch=b"".join(forest.branch(cp_height, cp_height)),
        branches=b"".join(b"".join(branch) for branch in forest.branches(heights, cp_height)),
    )


def _check_count(count: int, limit: int) -> None:
    if not 1 <= count <= limit:
        raise ProofError("heights", f"are {count}; 1 to {limit} go into one proof", limit)


__all__ = [
    "AncestryProof",
    "ColumnsProof",
    "HeadersProof",
    "Steps",
    "TxProof",
    "at_once",
    "encode",
    "headers_proof_steps",
    "make_ancestry_proof",
    "make_columns_proof",
    "make_tx_proof",
    "to_json",
]
