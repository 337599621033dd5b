"""Presync: a chain whose work is in doubt is downloaded twice, and nothing of it is handed on before it is proven.

The first pass checks every rule, sums the work and keeps one bit per ``commitment_period`` headers: a hash keyed with a
salt that the peer does not know. Once the work suffices the peer is asked again from the start, and the second pass
must repeat those bits. A header is handed on when so many headers on top of it were repeated that a peer which now
sends another chain than before has been found out. So a flood of low work costs bandwidth and never a write, and a
peer holds 0.8 MB of ours at most.

The idea and its numbers are Bitcoin Core's (``headerssync.cpp``). Here both passes apply all header rules, which Core
leaves to later, and results do not depend on how the headers are cut into messages. Pure: salt, offset and time come
in; the clock's say about new headers is left to ``HeaderChain.plan``, which sees everything handed on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum
from hashlib import blake2b
from itertools import accumulate

from spvnode.bitcoin.packing import RunContext, pack_params
from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.pow import block_proof
from spvnode.bitcoin.redownload import Commitments, RedownloadBuffer
from spvnode.bitcoin.rules import MAX_FUTURE_BLOCK_TIME, NO_TIME_LIMIT, Reason, median_time_past, mismatch
from spvnode.bitcoin.validation import check_run
from spvnode.bitcoin.work import bits_of
from spvnode.following import Blame
from spvnode.types import HASH_SIZE, HEADER_SIZE, Hash32, Height, Work

MAX_HEADERS_PER_SECOND = 6
"""Headers that a valid chain can have per second of its time: the median of eleven must grow by one (Core's bound)."""
MAX_COMMITMENTS = 640_000
"""Bits kept of one peer's first pass, 80 kB (90 as a growing buffer): with the second pass's buffer that stays below
0.8 MB. At one bit per 615 headers that is 393 million headers, hundreds of times the longest real chain; only a flood
of low work gets there."""
SALT_SIZE = 16
"""Bytes of salt: nobody guesses it, and a peer learns nothing of it but that a pass ended."""
# The following docstrings speak of `place`: the locator (hashes, newest first) for the next getheaders.


class PresyncReason(StrEnum):
    """Why a presync was given up, beside the header rules' own reasons."""

    TOO_LONG = "presync-chain-too-long"
    """More headers than time since its start allows, and still not enough work. Times must rise, so a chain that keeps
    the rules and has so many ends in our future: as likely our clock is wrong."""
    MISMATCH = "presync-commitment-mismatch"
    """The second pass shows another chain than the first."""
    OVERRUN = "presync-commitment-overrun"
    """The second pass goes past where the first one was proven, and is not."""
    ENDED = "presync-redownload-ended"
    """The second pass ends before its work suffices."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Taken, nothing to hand on yet. Ask for what follows ``place``."""

    place: tuple[Hash32, ...]


@dataclass(frozen=True, slots=True)
class Proven:
    """The first pass has shown enough work at ``height``. Ask again, from the start: for what follows ``place``."""

    place: tuple[Hash32, ...]
    height: Height
    work: Work


@dataclass(frozen=True, slots=True)
class Release:
    """Proven headers (n * 80, never none) to hand on; the first is at ``start``.

    While not ``done``: ask for what follows ``place``. When ``done`` this presync is over, and all the headers were
    handed on up to the last one taken: what the peer sends after ``place`` builds on proven work and needs no presync.
    At most the buffer and one message: 1.4 MB at Core's numbers.
    """

    start: Height
    headers: bytes
    place: tuple[Hash32, ...]
    done: bool


@dataclass(frozen=True, slots=True)
class LowWork:
    """Over: the peer's chain ends at ``height`` with ``work``, below the threshold. Nothing of it was handed on. No
    offence: a peer that is itself syncing has such a chain."""

    height: Height
    work: Work


@dataclass(frozen=True, slots=True)
class Refused:
    """Over: the header at ``index`` of the message broke a rule, or the passes differ. What was released before stays
    good. ``blame`` as in ``Verdict``: UNLINKED also for passes that differ, which a reorganization at the peer does,
    but none does again and again."""

    reason: Reason | PresyncReason
    index: int
    blame: Blame
    detail: str


Step = Continue | Proven | Release | LowWork | Refused
"""What follows from one message."""


class _Phase(Enum):
    FIRST = "first"
    SECOND = "second"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class _Taken:
    """A message that keeps the rules: height of its first header, number and hashes of its headers, and how many of
    them come before the one whose work suffices (all, where none does)."""

    first: Height
    count: int
    hashes: bytes
    doubtful: int


class Presync:
    """One peer's chain after ``start`` (the context of the first header that is asked for), in two passes.

    ``threshold`` is the work that the chain must show, see ``first_look.anti_dos_threshold``. ``salt`` (16 random
    bytes) and ``offset`` (random, 0 .. commitment_period - 1) are this presync's alone: who knew them could forge the
    second pass. ``now`` in Unix seconds. ValueError for a salt or offset out of range.

    Use: ask the peer for what follows ``place``, hand each reply to ``take``, do what the step says, until it is
    LowWork, Refused or a Release that is done.
    """

    def __init__(
        self, params: ChainParams, start: RunContext, threshold: Work, *, salt: bytes, offset: int, now: int
    ) -> None:
        if len(salt) != SALT_SIZE or not 0 <= offset < params.presync.commitment_period:
            raise ValueError(f"salt of {len(salt)} bytes, offset {offset}")
        self._params = params
        self._terms = params.presync
        self._packed = pack_params(params)
        self._checkpoints = dict(params.checkpoints)
        self._start = start
        self._threshold = threshold
        self._salt = salt
        self._offset = offset
        self._most = max_commitments(params, start, now)
        self._phase = _Phase.FIRST
        self._context = start.pack()
        self._after = start
        self._noted = Commitments()
        self._compared = 0
        self._buffer: RedownloadBuffer | None = None
        self.whole = False
        """The second pass has shown enough work, too; see ``take``."""

    # -- where it is

    @property
    def over(self) -> bool:
        """Whether its last step was final; ``take`` must not be called again."""
        return self._phase is _Phase.OVER

    @property
    def redownloading(self) -> bool:
        """Whether the second pass runs."""
        return self._phase is _Phase.SECOND

    @property
    def height(self) -> Height:
        """Of the last header taken in this pass; the start's parent before the first."""
        return Height(self._after.height - 1)

    @property
    def work(self) -> Work:
        """Cumulative up to ``height``."""
        return self._after.chainwork

    @property
    def place(self) -> tuple[Hash32, ...]:
        """Locator for the next getheaders: the last header taken, then the start."""
        last, start = self._after.prev_hash, self._start.prev_hash
        return (last,) if last == start else (last, start)

    @property
    def nbytes(self) -> int:
        """Bytes held that grow with what the peer sends."""
        return self._noted.nbytes + (0 if self._buffer is None else self._buffer.nbytes)

    # -- taking messages

    def take(self, headers: bytes, full: bool, *, keep: bool = False) -> Step:
        """One reply: ``headers`` (n * 80 bytes, maybe none); ``full`` where its sender may have more (2,000 headers).
        With ``keep`` the last release is not made of all that is held: ``whole`` says then that it is to be had
        piece by piece, from ``rest``, and nothing more is to be taken.

        RuntimeError after the final step.
        """
        if self.over or self.whole:
            raise RuntimeError("this presync is over")
        taken = self._check(headers)
        if isinstance(taken, Refused):
            step: Step = taken
        elif self._buffer is None:
            step = self._take_first(taken, full)
        else:
            step = self._take_again(headers, taken, self._buffer, full, keep)
        if isinstance(step, LowWork | Refused) or (isinstance(step, Release) and step.done):
            self._end()
        return step

    def rest(self, count: int) -> Release:
        """Once ``whole``: the next ``count`` headers of those that are held, done with the last. RuntimeError before,
        and after that."""
        if self._buffer is None or not self.whole:
            raise RuntimeError("there is nothing that may be handed on")
        start, headers = self._buffer.start, self._buffer.pop(count)
        done = not len(self._buffer)
        if done:
            self._end()
        return Release(start, headers, self.place, done=done)

    def _end(self) -> None:
        """Frees what was held."""
        self._phase = _Phase.OVER
        self._noted, self._buffer = Commitments(), None

    def _check(self, headers: bytes) -> _Taken | Refused:
        """Applies all rules; moves on past the message where it holds."""
        if len(headers) % HEADER_SIZE:
            return Refused(Reason.BAD_LENGTH, 0, Blame.SENDER, f"{len(headers)} bytes are not headers")
        first = self._after.height
        result = check_run(self._packed, self._context, headers, NO_TIME_LIMIT)
        for height, block_hash in self._checkpoints.items():
            at = height - first
            if 0 <= at < result.count and result.hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE] != block_hash:
                reason = mismatch(self._params, height)
                blame = Blame.SENDER if reason is Reason.CHECKPOINT_MISMATCH else Blame.NOBODY
                return Refused(reason, at, blame, f"height {height}")
        if result.reason is not None:
            apart = result.reason is Reason.PREV_NOT_FOUND and result.count == 0
            blame = Blame.UNLINKED if apart else Blame.SENDER
            return Refused(result.reason, result.count, blame, f"height {first + result.count}")
        before, self._context, self._after = self._after, result.context, RunContext.unpack(result.context)
        return _Taken(first, result.count, result.hashes, self._doubtful(before.chainwork, headers, result.count))

    def _doubtful(self, before: Work, headers: bytes, count: int) -> int:
        if self._after.chainwork < self._threshold:
            return count
        works = list(accumulate(map(block_proof, bits_of(headers)), initial=before))
        return max(0, bisect_left(works, self._threshold) - 1)

    def _take_first(self, taken: _Taken, full: bool) -> Step:
        for index, bit in self._bits(taken):
            if len(self._noted) >= self._most:
                detail = f"height {taken.first + index}, limit {self._most} bits"
                blame = Blame.CLOCK if self._most < MAX_COMMITMENTS else Blame.SENDER  # no clock explains so many
                return Refused(PresyncReason.TOO_LONG, index, blame, detail)
            self._noted.append(bit)
        if taken.doubtful < taken.count:
            return self._turn()
        if full and taken.count:
            return Continue(self.place)
        return LowWork(self.height, self.work)

    def _turn(self) -> Proven:
        """From the first pass to the second."""
        height, work = self.height, self.work
        self._phase = _Phase.SECOND
        self._context, self._after = self._start.pack(), self._start
        self._buffer = RedownloadBuffer(self._terms.redownload_buffer, self._start.height, self._start.prev_hash)
        return Proven(self.place, height, work)

    def _take_again(self, headers: bytes, taken: _Taken, buffer: RedownloadBuffer, full: bool, keep: bool) -> Step:
        for index, bit in self._bits(taken):
            if self._compared == len(self._noted):
                return Refused(PresyncReason.OVERRUN, index, Blame.UNLINKED, f"height {taken.first + index}")
            if self._noted[self._compared] != bit:
                return Refused(PresyncReason.MISMATCH, index, Blame.UNLINKED, f"height {taken.first + index}")
            self._compared += 1
        start = buffer.start
        if taken.doubtful < taken.count:  # as much real work as the threshold, whatever the first pass showed
            if not keep:
                return Release(start, buffer.drain() + headers, self.place, done=True)
            self.whole = True
            ready = buffer.push(headers, taken.hashes)
            return Release(start, ready, self.place, done=False) if ready else self.rest(len(headers) // HEADER_SIZE)
        if not (full and taken.count):
            return Refused(PresyncReason.ENDED, taken.count, Blame.UNLINKED, f"height {self.height}")
        ready = buffer.push(headers, taken.hashes)
        return Release(start, ready, self.place, done=False) if ready else Continue(self.place)

    def _bits(self, taken: _Taken) -> Iterator[tuple[int, int]]:
        """Index and bit of every header of a message that carries a commitment. Those past the work that suffices do
        not: the peer may have more of them the second time."""
        period = self._terms.commitment_period
        for index in range((self._offset - taken.first) % period, taken.doubtful, period):
            digest = taken.hashes[index * HASH_SIZE : (index + 1) * HASH_SIZE]
            yield index, blake2b(digest, digest_size=1, key=self._salt).digest()[0] & 1


def max_commitments(params: ChainParams, start: RunContext, now: int) -> int:
    """Bits that the longest chain after ``start`` can need at ``now``, ``MAX_COMMITMENTS`` at most."""
    past = median_time_past(start.times) if start.times else 0
    if now < past:  # our clock is wrong, and says nothing of how long a chain can be
        return MAX_COMMITMENTS
    seconds = now - past + MAX_FUTURE_BLOCK_TIME
    return min(MAX_COMMITMENTS, MAX_HEADERS_PER_SECOND * seconds // params.presync.commitment_period)
