"""Whether a peer's chain is looked at as it is, or goes through presync first. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from spvnode.bitcoin.branches import common_records
from spvnode.bitcoin.header import Header, header_hash
from spvnode.bitcoin.packing import RunContext, pack_params
from spvnode.bitcoin.pow import block_proof
from spvnode.bitcoin.reads import ChainReads
from spvnode.bitcoin.rules import NO_TIME_LIMIT
from spvnode.bitcoin.validation import check_run
from spvnode.types import HEADER_SIZE, PREV_HASH, Hash32, Height, Work

ANTI_DOS_BLOCKS = 144
"""A chain may have this many blocks of work less than ours and is still looked at without presync: a day's, so that
honest competitors of our tip never need it (Core's ``GetAntiDoSWorkThreshold``)."""
DEEP_FORK = 2_016
"""Headers below our tip from which on a fork is of interest only where it outweighs us: nearly as much work is neither
a stale tip nor a race, and to take its headers piece by piece would fill what side branches may take."""


def anti_dos_threshold(chain: ChainReads, *, minimum: bool = True) -> Work:
    """Work that a chain must have to be looked at without presync (``GetAntiDoSWorkThreshold``): the network's minimum
    (if ``minimum``), and nearly what ours has. Where our own work is only known from a checkpoint on, the minimum does
    not compare."""
    ours = chain.chainwork(chain.tip_height)
    near = max(0, ours - ANTI_DOS_BLOCKS * block_proof(Header(chain.header(chain.tip_height)).bits))
    return max(Work(near), chain.minimum_chain_work if minimum and chain.work_known else Work(0))


@dataclass(frozen=True, slots=True)
class Enough:
    """To be planned as it is: its work suffices, or it is on our main chain."""


@dataclass(frozen=True, slots=True)
class Doubtful:
    """Needs presync: ``Presync(params, start, threshold, ...)``, whose first message is ``headers``."""

    start: RunContext
    threshold: Work
    headers: bytes


@dataclass(frozen=True, slots=True)
class Unconnected:
    """Neither the first header nor its parent is known."""


def _from_its_fork(chain: ChainReads, start: RunContext, headers: bytes) -> tuple[RunContext, bytes]:
    """Without the headers that are on our main chain: a peer answers from any place that we have in common, and what is
    proven, or asked to outweigh us, is what leaves us. The last of ``headers`` is not ours."""
    before = chain.height_of(start.prev_hash)
    if before is None:
        return start, headers
    ours = chain.headers(Height(before + 1), len(headers) // HEADER_SIZE) if before < chain.tip_height else b""
    known = common_records(headers, ours, HEADER_SIZE) * HEADER_SIZE
    after = chain.context_after(header_hash(headers[known - HEADER_SIZE : known])) if known else None
    return (start, headers) if after is None else (after, headers[known:])


def first_look(chain: ChainReads, headers: bytes, *, minimum: bool = True) -> Enough | Doubtful | Unconnected:
    """Whether the first message of a peer's chain (n * 80 bytes) needs presync. ``minimum``: whether the network's
    minimum work counts.

    Where a rule is broken, what comes before counts: little work is then Doubtful, and presync refuses it. What is no
    headers at all is Enough: ``plan`` refuses that. Reads the chain, so runs where its changes are applied.
    """
    if not headers or len(headers) % HEADER_SIZE:
        return Enough()
    last = header_hash(headers[-HEADER_SIZE:])
    if chain.height_of(last) is not None:  # on a side branch it may be the beginning of what is yet to be proven
        return Enough()
    start = chain.context_after(Hash32(headers[PREV_HASH]))
    if start is None:  # the first header may be one that we have, though not its parent: our base
        start = chain.context_after(header_hash(headers[:HEADER_SIZE]))
        headers = headers[HEADER_SIZE:]
    if start is None:
        return Unconnected()
    start, headers = _from_its_fork(chain, start, headers)
    # Work that was done, not what bits claim: `plan` may keep what comes before a header from the future, so nothing
    # behind such a one may speak for it.
    done = check_run(pack_params(chain.params), start.pack(), headers, NO_TIME_LIMIT)
    threshold = anti_dos_threshold(chain, minimum=minimum)
    if RunContext.unpack(done.context).chainwork >= threshold:
        return Enough()
    if chain.tip_height - start.height >= DEEP_FORK:
        threshold = max(threshold, Work(chain.chainwork(chain.tip_height) + 1))
    return Doubtful(start, threshold, headers)
