"""Completing a chain that started at a checkpoint: downward by links, then upward by all rules.

Going down, each header is pinned by the ``hashPrevBlock`` of the one above it, so no peer can make us store a header
that is not an ancestor of the checkpoint. Whether those ancestors kept the rules shows only from the genesis on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from merkle.hashing import sha256d_headers
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.changes import Rejected
from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.reads import HeaderReader
from spvnode.bitcoin.rules import Reason, mismatch
from spvnode.types import HASH_SIZE, HEADER_SIZE, PREV_HASH, Hash32, Height, SideBranch


@dataclass(frozen=True, slots=True)
class Anchor:
    """The lowest header that is linked to the checkpoint: its height, and the hash that its parent must have."""

    height: Height
    prev_hash: Hash32

    @classmethod
    def of(cls, height: Height, header: bytes) -> Anchor:
        """The anchor that the header at ``height`` makes."""
        return cls(height, Hash32(header[PREV_HASH]))


def check_backfill_run(params: ChainParams, anchor: Anchor, headers: bytes) -> Anchor | Rejected:
    """Checks that ``headers`` (n * 80 bytes, ascending) end with the anchor's parent and are linked.

    Returns the next anchor down. At height 0 the header must be the genesis, at a built-in checkpoint that one.
    """
    total, odd = divmod(len(headers), HEADER_SIZE)
    if odd or not 0 < total <= anchor.height:
        return Rejected(Reason.BAD_LENGTH, 0, f"{len(headers)} bytes are not 1 to {anchor.height} headers")
    hashes = sha256d_headers(headers)
    start = Height(anchor.height - total)
    parents = [headers[at : at + HEADER_SIZE][PREV_HASH] for at in range(HEADER_SIZE, len(headers), HEADER_SIZE)]
    wanted = b"".join([*parents, anchor.prev_hash])
    if hashes != wanted:
        broken = _last_difference(hashes, wanted)
        return Rejected(Reason.PREV_NOT_FOUND, broken, f"height {start + broken} is not the parent of the next")
    for height, block_hash in ((Height(0), params.genesis_hash), *params.checkpoints):
        at = height - start
        if 0 <= at < total and hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE] != block_hash:
            return Rejected(mismatch(params, height), at, f"height {height}")
    return Anchor.of(start, headers)


def _last_difference(left: bytes, right: bytes) -> int:
    """Position of the last hash in which two equally long runs differ: the first that the link from above breaks."""
    at = len(left) - HASH_SIZE
    while left[at : at + HASH_SIZE] == right[at : at + HASH_SIZE]:
        at -= HASH_SIZE
    return at // HASH_SIZE


def rebuild_from_genesis(
    params: ChainParams,
    reader: HeaderReader,
    runs: Iterable[tuple[Height, bytes]],
    current: HeaderChain,
    side_branches: Iterable[SideBranch] = (),
) -> HeaderChain | Rejected:
    """The chain from genesis that takes the place of ``current`` once its ancestors are stored.

    ``runs`` are all stored headers from height 0 to the tip of ``current``; they are checked by every rule, and index,
    work and header tree are built anew, in bounded pieces. Nothing may be committed meanwhile. ``Rejected`` means that
    the checkpoint stands on a chain that breaks the rules: ``index`` is the height of the first header that does.
    """
    rebuilt = HeaderChain(params, reader)
    report = rebuilt.load(runs, side_branches)
    if report.fault is not None:
        height = report.last_good + 1
        return Rejected(report.fault, height, f"height {height}, below or above the checkpoint at {current.base}")
    if rebuilt.tip_hash != current.tip_hash:
        return Rejected(
            Reason.CHECKPOINT_MISMATCH, rebuilt.tip_height, f"the chain ends at height {rebuilt.tip_height}"
        )
    return rebuilt
