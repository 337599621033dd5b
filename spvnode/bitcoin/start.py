"""Where a chain begins: its genesis, or a checkpoint that the operator vouches for."""

from __future__ import annotations

from dataclasses import dataclass

from spvnode.bitcoin.header import Header
from spvnode.bitcoin.packing import GENESIS_CONTEXT, MEDIAN_TIME_SPAN, RunContext, pack_params
from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.pow import block_proof, target_of
from spvnode.bitcoin.rules import NO_TIME_LIMIT
from spvnode.bitcoin.validation import check_run
from spvnode.errors import InputError
from spvnode.types import HASH_SIZE, HEADER_SIZE, Hash32, Height, Work, hash_hex

UNKNOWN_WORK = Work(0)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A header that is believed without its ancestors.

    ``chainwork`` is cumulative from genesis up to and including this header, 0 where unknown: then work is counted
    from this header on. ``peaks`` are the header tree's over heights 0 .. height - 1, biggest first, or none.
    """

    height: Height
    hash: Hash32
    header: bytes
    chainwork: Work = UNKNOWN_WORK
    peaks: tuple[bytes, ...] = ()

    @property
    def base_work(self) -> Work:
        """Cumulative work at this header, as far as it is known."""
        return self.chainwork or block_proof(Header(self.header).bits)


def genesis_of(params: ChainParams) -> Checkpoint:
    """The genesis as a starting point."""
    return Checkpoint(Height(0), params.genesis_hash, params.genesis_header)


def check_checkpoint(params: ChainParams, checkpoint: Checkpoint) -> None:
    """Raises ``InputError`` where ``checkpoint`` cannot start a chain of ``params``.

    On a network that retargets, its height must begin a period: the next retarget needs the period's first header.
    """
    height = checkpoint.height
    if not 0 <= height < 1 << 32:
        raise InputError("checkpoint.height", f"{height} is not a height")
    if not params.no_retargeting and height % params.interval:
        raise InputError("checkpoint.height", f"{height} is not a multiple of {params.interval}")
    if len(checkpoint.header) != HEADER_SIZE:
        raise InputError("checkpoint.header", f"{len(checkpoint.header)} bytes, expected {HEADER_SIZE}")
    header = Header(checkpoint.header)
    if header.hash != checkpoint.hash:
        raise InputError("checkpoint.hash", f"the header given hashes to {hash_hex(header.hash)}")
    target = target_of(header.bits, params.pow_limit)
    if target is None or int.from_bytes(header.hash, "little") > target:
        raise InputError("checkpoint.header", f"has no proof of work that {params.name} accepts")
    if dict(((Height(0), params.genesis_hash), *params.checkpoints)).get(height, header.hash) != header.hash:
        raise InputError("checkpoint.hash", f"contradicts the built-in checkpoint at height {height}")
    if checkpoint.peaks and [len(peak) for peak in checkpoint.peaks] != [HASH_SIZE] * height.bit_count():
        raise InputError("checkpoint.peaks", f"must be {height.bit_count()} hashes of {HASH_SIZE} bytes")


def start_context(params: ChainParams, start: Checkpoint) -> bytes:
    """Packed context of the header after ``start``.

    A checkpoint's ancestors are unknown. Their ten timestamps are taken as zero, which gives a lower bound of the
    median: no header of the true chain is refused, and from the sixth header on the bound is a real timestamp.
    """
    if start.height == 0:
        return check_run(pack_params(params), GENESIS_CONTEXT, start.header, NO_TIME_LIMIT).context
    header = Header(start.header)
    return RunContext(
        height=Height(start.height + 1),
        prev_hash=start.hash,
        prev_bits=header.bits,
        period_start_time=header.time,
        period_start_bits=header.bits,
        last_real_bits=header.bits,
        times=(0,) * (MEDIAN_TIME_SPAN - 1) + (header.time,),
        chainwork=start.base_work,
    ).pack()
