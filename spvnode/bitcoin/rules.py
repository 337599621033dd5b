"""The header rules, in Python: the reference that the compiled ``check_run`` must equal, and its stand-in.

One pass over a run of linked headers. Most headers of a real chain are ordinary: they repeat the bits of their
predecessor and are newer than all before them. Those go through a short loop; every other header (first of a period,
out of order in time, twenty-minute block, or bad) is looked at rule by rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from native import BytesLike
from spvnode.bitcoin.header import HEADER_STRUCT
from spvnode.bitcoin.packing import MEDIAN_TIME_SPAN, PARAMS_STRUCT, RunContext
from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.pow import MAX_TARGET, block_proof, calculate_next_work, target_of
from spvnode.types import HASH_SIZE, HEADER_SIZE, Hash32, Height, Work

MAX_FUTURE_BLOCK_TIME = 2 * 60 * 60
"""Seconds that a header may be ahead of our clock."""
MAX_TIMEWARP = 600
"""Seconds that the first header of a period may be older than its parent (BIP94)."""
NO_TIME_LIMIT = 0xFFFFFFFF
"""``max_time`` for headers that were accepted before: the clock has no second say, least of all one not yet set."""


class Reason(StrEnum):
    """Why headers are refused; Bitcoin Core's words where it has them."""

    PREV_NOT_FOUND = "prev-blk-not-found"
    BAD_DIFFBITS = "bad-diffbits"
    HIGH_HASH = "high-hash"
    TIME_TOO_OLD = "time-too-old"
    TIME_TIMEWARP = "time-timewarp-attack"
    TIME_TOO_NEW = "time-too-new"
    BAD_VERSION = "bad-version"
    # The following are the tree's, not the kernel's.
    BAD_LENGTH = "bad-headers-length"
    CHECKPOINT_MISMATCH = "checkpoint-mismatch"
    OPERATOR_CHECKPOINT_MISMATCH = "operator-checkpoint-mismatch"
    FORK_PRIOR_TO_CHECKPOINT = "bad-fork-prior-to-checkpoint"
    SIDE_BRANCH_LIMIT = "side-branch-limit"


def mismatch(params: ChainParams, height: Height) -> Reason:
    """Why a header is refused that is not the checkpoint at ``height``."""
    return Reason.OPERATOR_CHECKPOINT_MISMATCH if height == params.held else Reason.CHECKPOINT_MISMATCH


REASON_BY_CODE: dict[int, Reason] = {
    1: Reason.PREV_NOT_FOUND,
    2: Reason.BAD_DIFFBITS,
    3: Reason.HIGH_HASH,
    4: Reason.TIME_TOO_OLD,
    5: Reason.TIME_TIMEWARP,
    6: Reason.TIME_TOO_NEW,
    7: Reason.BAD_VERSION,
}
"""Reason codes of ``check_run``, in the order in which the rules apply; 0 is all good."""

_GOOD = 0
_CODE = {reason: code for code, reason in REASON_BY_CODE.items()}
_NEVER = 1 << 33  # more seconds than 32-bit time has


def median_time_past(times: Sequence[int]) -> int:
    """``GetMedianTimePast`` of the last 11 timestamps at most; there must be one."""
    recent = sorted(times[-MEDIAN_TIME_SPAN:])
    return recent[len(recent) // 2]


@dataclass(frozen=True, slots=True)
class _Rules:
    """The packed parameters, unpacked once per run. ``max_gap`` is where the twenty-minute rule begins."""

    pow_limit: int
    pow_limit_bits: int
    timespan: int
    interval: int
    version_heights: tuple[tuple[int, int], ...]
    min_difficulty: bool
    no_retargeting: bool
    bip94: bool
    max_gap: int

    @classmethod
    def unpack(cls, params: bytes) -> _Rules:
        limit, limit_bits, timespan, spacing, interval, *rest = PARAMS_STRUCT.unpack(params)
        bip34, bip66, bip65, min_difficulty, no_retargeting, bip94, _ = rest
        return cls(
            pow_limit=int.from_bytes(limit, "little"),
            pow_limit_bits=limit_bits,
            timespan=timespan,
            interval=interval,
            version_heights=((bip34, 2), (bip66, 3), (bip65, 4)),
            min_difficulty=bool(min_difficulty),
            no_retargeting=bool(no_retargeting),
            bip94=bool(bip94),
            max_gap=2 * spacing if min_difficulty else _NEVER,
        )

    def minimum_version(self, height: int) -> int:
        """Lowest allowed version at ``height`` (BIP34, BIP66, BIP65); signed, so without a rule anything goes."""
        required = [version for start, version in self.version_heights if height >= start]
        return max(required, default=-(1 << 31))


class _Run:
    """The moving state of one pass: the context of the next header, with all timestamps since its start."""

    def __init__(self, rules: _Rules, context: RunContext, max_time: int) -> None:
        self.rules = rules
        self.max_time = max_time
        self.height: int = context.height
        self.prev_hash: bytes = context.prev_hash
        self.prev_bits = context.prev_bits
        self.period_start_time = context.period_start_time
        self.period_start_bits = context.period_start_bits
        self.last_real_bits = context.last_real_bits
        self.times = list(context.times)
        self.newest = max(self.times, default=-1)
        self.chainwork: int = context.chainwork

    def context(self) -> RunContext:
        """What the header after the last good one needs."""
        return RunContext(
            height=Height(self.height),
            prev_hash=Hash32(self.prev_hash),
            prev_bits=self.prev_bits,
            period_start_time=self.period_start_time,
            period_start_bits=self.period_start_bits,
            last_real_bits=self.last_real_bits,
            times=tuple(self.times[-MEDIAN_TIME_SPAN:]),
            chainwork=Work(self.chainwork & MAX_TARGET),
        )

    def expected_bits(self, time: int) -> int:
        """``GetNextWorkRequired`` for a header at ``height`` that claims ``time``."""
        rules = self.rules
        if self.height % rules.interval == 0:
            return self.prev_bits if rules.no_retargeting else self.retarget()
        if not rules.min_difficulty:
            return self.prev_bits
        return rules.pow_limit_bits if time - self.times[-1] > rules.max_gap else self.last_real_bits

    def retarget(self) -> int:
        """Bits of the period that begins at ``height``; BIP94 starts from the first header's bits."""
        return calculate_next_work(
            self.period_start_bits if self.rules.bip94 else self.prev_bits,
            self.period_start_time,
            self.times[-1],
            timespan=self.rules.timespan,
            pow_limit=self.rules.pow_limit,
        )

    def proof_fault(self, prev_hash: bytes, bits: int, time: int, digest: bytes) -> Reason | None:
        """Link, then bits, then proof of work; that is all that is asked of a genesis header."""
        if prev_hash != self.prev_hash:
            return Reason.PREV_NOT_FOUND
        expected = self.expected_bits(time) if self.height else self.rules.pow_limit_bits
        target = target_of(bits, self.rules.pow_limit)
        if target is None or bits != expected:
            return Reason.BAD_DIFFBITS
        return Reason.HIGH_HASH if int.from_bytes(digest, "little") > target else None

    def context_fault(self, version: int, time: int) -> Reason | None:
        """The rules on time and version (``ContextualCheckBlockHeader``), in Core's order."""
        rules = self.rules
        if time <= median_time_past(self.times):
            return Reason.TIME_TOO_OLD
        if rules.bip94 and self.height % rules.interval == 0 and time < self.times[-1] - MAX_TIMEWARP:
            return Reason.TIME_TIMEWARP
        if time > self.max_time:
            return Reason.TIME_TOO_NEW
        return Reason.BAD_VERSION if version < rules.minimum_version(self.height) else None

    def accept(self, bits: int, time: int, digest: bytes) -> None:
        """Takes a header that no rule refuses."""
        if self.height % self.rules.interval == 0:
            self.period_start_time, self.period_start_bits = time, bits
            self.last_real_bits = bits
        elif bits != self.rules.pow_limit_bits:
            self.last_real_bits = bits
        self.height += 1
        self.prev_hash, self.prev_bits = digest, bits
        self.times.append(time)
        self.newest = max(self.newest, time)
        self.chainwork += block_proof(bits)

    def one(self, raw: BytesLike, digest: bytes) -> int:
        """Checks one header by every rule; its reason code, or 0 and the header is taken."""
        version, prev_hash, _, time, bits, _ = HEADER_STRUCT.unpack(raw)
        fault = self.proof_fault(prev_hash, bits, time, digest)
        if fault is None and self.height:
            fault = self.context_fault(version, time)
        if fault is not None:
            return _CODE[fault]
        self.accept(bits, time, digest)
        return _GOOD

    def ordinary_until(self) -> int:
        """Height below which headers may be ordinary: no genesis, no retarget, no change of the version rules."""
        rules = self.rules
        if self.height == 0:
            return self.height
        end = self.height + -self.height % rules.interval
        return min([end, *(start for start, _ in rules.version_heights if start > self.height)])

    def ordinary(self, headers: BytesLike, first: int, count: int, digests: list[bytes]) -> int:
        """Takes headers from position ``first`` while they are ordinary, ``count`` at most; returns how many."""
        expected = self.last_real_bits if self.rules.min_difficulty else self.prev_bits
        target = target_of(expected, self.rules.pow_limit)
        if target is None:
            return 0
        unpack_from, from_bytes = HEADER_STRUCT.unpack_from, int.from_bytes
        max_time, max_gap = self.max_time, self.rules.max_gap
        minimum_version = self.rules.minimum_version(self.height)
        prev_hash, newest, prev_time, times = self.prev_hash, self.newest, self.times[-1], self.times
        taken = 0
        for offset in range(first * HEADER_SIZE, (first + count) * HEADER_SIZE, HEADER_SIZE):
            version, parent, _, time, bits, _ = unpack_from(headers, offset)
            digest = sha256(sha256(headers[offset : offset + HEADER_SIZE]).digest()).digest()
            if (
                parent != prev_hash
                or bits != expected
                or from_bytes(digest, "little") > target
                or time > max_time
                or time - prev_time > max_gap
                or version < minimum_version
            ):
                break
            if time > newest:  # then it is newer than the median, too
                newest = time
            elif time <= median_time_past(times):
                break
            taken += 1
            prev_hash, prev_time = digest, time
            times.append(time)
            digests.append(digest)
        if taken:
            self.newest = newest
            self.skip(expected, prev_hash, taken)
        return taken

    def skip(self, bits: int, digest: bytes, taken: int) -> None:
        """Moves over headers that all carry the expected ``bits``, so that these stay the last real ones, and whose
        times are noted already; ``digest`` is the last's."""
        self.height += taken
        self.prev_hash, self.prev_bits = digest, bits
        self.chainwork += block_proof(bits) * taken


def check_run(
    params: bytes, ctx: bytes, headers: BytesLike, max_time: int, hashes_out: bytearray | memoryview
) -> tuple[int, int, bytes]:
    """Checks n linked headers (n * 80 bytes) after the ancestors that ``ctx`` describes.

    ``params`` and ``ctx`` as in ``packing``; ``max_time`` is the newest allowed timestamp, Unix seconds. The hashes of
    the good headers are written to the start of ``hashes_out`` (n * 32 bytes). Returns the number of good headers, the
    code of the first failing rule (0: none failed), and the context after the last good header. ValueError where
    ``headers`` is not whole or ``hashes_out`` too small.
    """
    total, odd = divmod(len(headers), HEADER_SIZE)
    if odd or len(hashes_out) < HASH_SIZE * total:
        raise ValueError(f"headers: {len(headers)} bytes into {len(hashes_out)} bytes of hashes")
    run = _Run(_Rules.unpack(params), RunContext.unpack(ctx), max_time)
    digests: list[bytes] = []
    code = _GOOD
    while len(digests) < total and code == _GOOD:
        done = len(digests)
        count = min(run.ordinary_until() - run.height, total - done)
        if count and run.ordinary(headers, done, count, digests):
            continue
        raw = headers[done * HEADER_SIZE : (done + 1) * HEADER_SIZE]
        digest = sha256(sha256(raw).digest()).digest()
        code = run.one(raw, digest)
        if code == _GOOD:
            digests.append(digest)
    hashes_out[: HASH_SIZE * len(digests)] = b"".join(digests)
    return len(digests), code, run.context().pack()
