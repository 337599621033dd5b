"""Drives a presync through both passes, and the same done naively."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b, sha256
from itertools import repeat

from spvnode.bitcoin.header import header_hash
from spvnode.bitcoin.packing import RunContext, pack_params
from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.presync import Continue, LowWork, Presync, Proven, Refused, Release, Step, max_commitments
from spvnode.bitcoin.rules import NO_TIME_LIMIT
from spvnode.bitcoin.validation import check_run

MESSAGE = 2_000
NOW = 2_000_000_000


def salt_of(seed: int) -> bytes:
    """A fixed salt."""
    return sha256(b"salt %d" % seed).digest()[:16]


def presync(
    params: ChainParams, start: RunContext, threshold: int, *, seed: int = 0, offset: int = 0, now: int = NOW
) -> Presync:
    """With a salt fixed by ``seed``."""
    return Presync(params, start, threshold, salt=salt_of(seed), offset=offset, now=now)  # type: ignore[arg-type]


@dataclass
class Driven:
    """What became of it: all that was handed on, the last step, and the messages each pass took."""

    released: bytes
    last: Step
    messages: list[int]
    most_held: int


def drive(sync: Presync, first: bytes, second: bytes, sizes: Iterator[int] | None = None) -> Driven:
    """The peer has ``first`` in the first pass and ``second`` in the second, and sends it in messages of ``sizes``."""
    sizes = sizes or repeat(MESSAGE)
    out = Driven(b"", Continue(()), [0, 0], 0)
    chain, at, start = first, 0, sync.height + 1
    while not sync.over:
        message = chain[at : at + next(sizes) * 80]
        at += len(message)
        out.messages[sync.redownloading] += 1
        step = sync.take(message, at < len(chain))
        out.last, out.most_held = step, max(out.most_held, sync.nbytes)
        if isinstance(step, Release):
            assert step.headers
            assert step.start == start + len(out.released) // 80
            out.released += step.headers
        if isinstance(step, Proven):
            chain, at = second, 0
        elif isinstance(step, Continue | Release):
            assert step.place[0] == header_hash(message[-80:])
    assert isinstance(out.last, LowWork | Refused | Release)
    assert sync.nbytes < 200, "what was held is freed"
    return out


@dataclass
class Naive:
    """Presync header by header, with every list kept. The chains given must keep the rules."""

    params: ChainParams
    start: RunContext
    threshold: int
    seed: int
    offset: int

    def bit(self, header: bytes) -> int:
        """The commitment of a header."""
        return blake2b(header_hash(header), digest_size=1, key=salt_of(self.seed)).digest()[0] & 1

    def walk(self, chain: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Height, work up to and including it, header; up to the one whose work suffices."""
        context, work = self.start.pack(), 0
        for at in range(0, len(chain), 80):
            if work < self.threshold:
                context = check_run(pack_params(self.params), context, chain[at : at + 80], NO_TIME_LIMIT).context
                work = RunContext.unpack(context).chainwork
                yield self.start.height + at // 80, work, chain[at : at + 80]

    def first_pass(self, chain: bytes) -> tuple[dict[int, int], str, int]:
        """Bits by height, and how it ends ("" where the work suffices) at which height."""
        noted: dict[int, int] = {}
        height = self.start.height - 1
        for height, work, header in self.walk(chain):
            if work >= self.threshold:
                return noted, "", height
            if height % self.params.presync.commitment_period == self.offset:
                if len(noted) == max_commitments(self.params, self.start, NOW):
                    return noted, "presync-chain-too-long", height
                noted[height] = self.bit(header)
        return noted, "low work", height

    def second_pass(self, chain: bytes, noted: dict[int, int]) -> tuple[bytes, str, int]:
        """What may be handed on, how it ends at which height."""
        room, seen = self.params.presync.redownload_buffer, b""
        height = self.start.height - 1
        for height, work, header in self.walk(chain):
            if work >= self.threshold:
                return seen + header, "done", height
            if height % self.params.presync.commitment_period == self.offset:
                if height not in noted:
                    return seen[: -room * 80], "presync-commitment-overrun", height
                if noted[height] != self.bit(header):
                    return seen[: -room * 80], "presync-commitment-mismatch", height
            seen += header
        return seen[: -room * 80], "presync-redownload-ended", height

    def both(self, first: bytes, second: bytes) -> tuple[bytes, str, int]:
        """The whole of it."""
        noted, ending, height = self.first_pass(first)
        return (b"", ending, height) if ending else self.second_pass(second, noted)
