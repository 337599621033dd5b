"""The committed main chain, for reading: what the tree, the peers and the RPC ask of it.

Headers stay in the store. Held in memory: an index from hash to height, a mark of work per 2,016 headers, and the
header tree's upper nodes; about 15 bytes per header together, in flat buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from merkle.bundle import encode, make_bundle
from merkle.forest import Forest
from merkle.hashing import sha256d_headers
from merkle.proofs import (
    AncestryProof,
    HeadersProof,
    Steps,
    at_once,
    headers_proof_steps,
    make_ancestry_proof,
    make_columns_proof,
)
from spvnode.bitcoin.branches import Limits
from spvnode.bitcoin.hashindex import HashIndex
from spvnode.bitcoin.header import header_hash
from spvnode.bitcoin.locator import MAX_LOCATOR_HASHES, locator_heights
from spvnode.bitcoin.packing import MEDIAN_TIME_SPAN, RunContext
from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.rules import median_time_past
from spvnode.bitcoin.start import Checkpoint, check_checkpoint, start_context
from spvnode.bitcoin.tree import BlockTree
from spvnode.bitcoin.work import WorkTable, times_of
from spvnode.types import HEADER_SIZE, Hash32, Height, Work
from spvnode.view import BranchTip, TrustStart


class HeaderReader(Protocol):
    """The store, as far as a chain reads it. Safe to call from any thread."""

    def header(self, height: Height) -> bytes:
        """The 80 bytes at ``height``; KeyError where there is none."""

    def headers(self, start: Height, count: int) -> bytes:
        """Up to ``count`` headers from ``start``, cut at the tip."""


class ChainReads:
    """Read side of ``HeaderChain``; implements ``spvnode.view.ChainView`` and ``mainchain.MainChain``.

    Answers are those of the applied state. The store may be a commit ahead of it where that commit extends the chain;
    a reorganization replaces headers in place, so its write and its ``apply`` belong together without a read between.
    """

    def __init__(
        self, params: ChainParams, reader: HeaderReader, start: Checkpoint, limits: Limits | None = None
    ) -> None:
        check_checkpoint(params, start)
        self.params = params
        self._reader = reader
        self._start = start
        self._index = HashIndex(start.height)
        self._works = WorkTable(start.height, start.base_work)
        self.forest = Forest(self._leaves, base=start.height, peaks=start.peaks)
        self._tree = BlockTree(params, self, start_context(params, start), limits)

    def _leaves(self, start: int, count: int) -> bytes:
        return sha256d_headers(self._reader.headers(Height(start), count))

    # -- where it begins and ends

    @property
    def network(self) -> str:
        """Its name."""
        return self.params.name

    @property
    def genesis_hash(self) -> Hash32:
        """Of the network."""
        return self.params.genesis_hash

    @property
    def minimum_chain_work(self) -> Work:
        """Of the network: below it nothing is believed complete."""
        return self.params.minimum_chain_work

    @property
    def start(self) -> TrustStart:
        """Genesis or the operator's checkpoint; complete only from genesis."""
        from_genesis = self._start.height == 0
        kind = "genesis" if from_genesis else "checkpoint"
        return TrustStart(self._start.height, self._start.hash, kind, from_genesis)

    @property
    def work_known(self) -> bool:
        """True when ``chainwork`` counts from genesis, so that it compares with what others count."""
        return self._start.height == 0 or self._start.chainwork > 0

    @property
    def base(self) -> Height:
        """Lowest height that is held: genesis, or the checkpoint."""
        return self._start.height

    @property
    def tip_height(self) -> Height:
        """Best height."""
        return self._tree.state.tip_height

    @property
    def tip_hash(self) -> Hash32:
        """Best hash."""
        return self._tree.state.tip_hash

    @property
    def nbytes(self) -> int:
        """Bytes held for the main chain's index and header tree."""
        return self._index.nbytes + self.forest.nbytes

    # -- headers

    def header(self, height: Height) -> bytes:
        """The 80 bytes at ``height``; KeyError outside base..tip."""
        if not self.base <= height <= self.tip_height:
            raise KeyError(height)
        return self._reader.header(height)

    def headers(self, start: Height, count: int) -> bytes:
        """Up to ``count`` headers from ``start`` (>= base, KeyError below), cut at the tip."""
        if start < self.base:
            raise KeyError(start)
        count = min(count, self.tip_height - start + 1)
        return self._reader.headers(start, count) if count > 0 else b""

    def block_hash(self, height: Height) -> Hash32:
        """Hash at ``height``; KeyError outside base..tip."""
        return self.tip_hash if height == self.tip_height else header_hash(self.header(height))

    def height_of(self, block_hash: Hash32) -> Height | None:
        """Height of a main-chain hash, None for any other."""
        for height in self._index.candidates(block_hash):
            if self.block_hash(Height(height)) == block_hash:
                return Height(height)
        return None

    def side_header(self, block_hash: Hash32) -> tuple[Height, bytes] | None:
        """Height and header of a hash that lies on a side branch."""
        for branch in self._tree.state.branches:
            index = branch.index_of(block_hash)
            if index is not None:
                raw = branch.headers[index * HEADER_SIZE : (index + 1) * HEADER_SIZE]
                return Height(branch.fork_height + 1 + index), raw
        return None

    # -- what follows from them

    def chainwork(self, height: Height) -> Work:
        """Cumulative work at ``height``, from genesis or from what the checkpoint gave; KeyError outside base..tip."""
        if not self.base <= height <= self.tip_height:
            raise KeyError(height)
        if height == self.tip_height:
            return self._tree.state.chainwork
        marked, work = self._works.below(height)
        return self._works.add(work, self.headers(Height(marked + 1), height - marked))

    def median_time(self, height: Height) -> int:
        """Median time past including ``height``, Unix seconds, over as many of 11 headers as are stored."""
        first = Height(max(self.base, height - MEDIAN_TIME_SPAN + 1))
        self.header(height)  # KeyError outside base..tip
        return median_time_past(times_of(self.headers(first, height - first + 1)))

    def branches(self) -> Sequence[BranchTip]:
        """Tips of the side branches, in order of first sight."""
        return [BranchTip(b.tip_height, b.tip_hash, len(b)) for b in self._tree.state.branches]

    def root(self, cp_height: Height) -> Hash32:
        """Header-tree root over range start..``cp_height``; ``merkle.errors.ProofError`` outside base..tip."""
        return Hash32(self.forest.root(cp_height))

    def branch(self, height: Height, cp_height: Height) -> list[bytes]:
        """Siblings of ``height`` in that tree, lowest first; ``merkle.errors.ProofError`` unless base <= height <=
        ``cp_height`` <= tip."""
        return self.forest.branch(height, cp_height)

    @property
    def range_start(self) -> Height:
        """Height of the header tree's first leaf."""
        return Height(self.forest.range_start)

    def peaks(self, end: Height) -> list[bytes]:
        """Peaks over heights range start..``end - 1``; ``merkle.errors.ProofError`` outside base..tip + 1."""
        return self.forest.peaks(end)

    def bundle(self, height: Height, cp_height: Height, *, made_at: int) -> bytes:
        """Canonical proof bundle of ``height`` in the tree up to ``cp_height``; KeyError outside base..tip,
        ``merkle.errors.ProofError`` where height > cp_height."""
        bundle = make_bundle(
            self.forest,
            network=self.network,
            genesis=self.genesis_hash,
            start=(self._start.height, self._start.hash),
            height=height,
            header=self.header(height),
            cp_height=cp_height,
            tip_header=self.header(cp_height),
            chainwork=self.chainwork(cp_height),
            made_at=made_at,
        )
        return encode(bundle)

    def ancestry_proof(self, old: Height, new: Height) -> AncestryProof:
        """That the block at ``old`` is an ancestor of the one at ``new``; ``merkle.errors.ProofError`` unless
        base <= old <= new <= tip."""
        header, start = cast("Callable[[int], bytes]", self.header), (self._start.height, self._start.hash)
        network, genesis = self.network, self.genesis_hash
        return make_ancestry_proof(self.forest, header, network=network, genesis=genesis, start=start, old=old, new=new)

    def headers_proof(self, heights: Sequence[Height], cp_height: Height) -> HeadersProof:
        """One proof of many heights in the tree up to ``cp_height``; errors as ``bundle``'s, and
        ``merkle.errors.ProofError`` for more than ``merkle.proofs.MAX_HEADERS``."""
        return at_once(self.headers_proof_steps(heights, cp_height))

    def headers_proof_steps(self, heights: Sequence[Height], cp_height: Height) -> Steps:
        """The same in steps of some ms; the tree up to ``cp_height`` must stay what it is until the last."""
        header, start = cast("Callable[[int], bytes]", self.header), (self._start.height, self._start.hash)
        network, genesis = self.network, self.genesis_hash
        return headers_proof_steps(
            self.forest, header, heights, cp_height, network=network, genesis=genesis, start=start
        )

    def columns_proof(self, heights: Sequence[Height], cp_height: Height) -> bytes:
        """The same in the form that is quick to check, for up to ``merkle.proofs.MAX_COLUMN_HEADERS``: its bytes."""
        header, start = cast("Callable[[int], bytes]", self.header), (self._start.height, self._start.hash)
        network, genesis = self.network, self.genesis_hash
        return make_columns_proof(
            self.forest, header, heights, cp_height, network=network, genesis=genesis, start=start
        ).encode()

    # -- talking to peers

    def context_after(self, block_hash: Hash32) -> RunContext | None:
        """What the rules need to know for a header whose parent is ``block_hash``; None where that is neither on the
        main chain nor on a side branch."""
        return self._tree.context_after(block_hash)

    def locator(self) -> list[Hash32]:
        """Our chain's locator, newest hash first."""
        return [self.block_hash(height) for height in locator_heights(self.tip_height, self.base)]

    def headers_after_locator(self, hashes: Sequence[Hash32], limit: int) -> tuple[Height, bytes] | None:
        """Up to ``limit`` headers after the first hash of ``hashes`` that is on our main chain, and their start.

        Where none is: from the genesis on, as Core answers; None from a checkpoint on, for nothing could connect.
        """
        for block_hash in hashes[:MAX_LOCATOR_HASHES]:
            height = self.height_of(block_hash)
            if height is not None:
                return Height(height + 1), self.headers(Height(height + 1), limit)
        return (Height(1), self.headers(Height(1), limit)) if self.base == 0 else None
