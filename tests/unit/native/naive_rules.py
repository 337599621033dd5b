"""Bitcoin's header rules the slow, obvious way: every header looks at a list of all its ancestors.

Written from the BIPs and from Core's validation.cpp and pow.cpp, with nothing of the project in it: a third opinion
beside the kernel and its twin. Also mines chains that obey or break a rule.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from hashlib import sha256

HEADER = struct.Struct("<i32s32sIII")
PARAMS = struct.Struct("<32s I I I I i i i B B B B")
CONTEXT = struct.Struct("<I 32s I I I I B 11I 32s")
GOOD, LINK, BITS, PROOF, OLD, WARP, NEW, VERSION = range(8)


def decode(bits: int) -> int | None:
    """The target, or None where it is negative, zero or wider than 256 bits."""
    mantissa, size = bits & 0x7FFFFF, bits >> 24
    target = mantissa << 8 * (size - 3) if size >= 3 else mantissa >> 8 * (3 - size)
    return None if bits & 0x800000 or not 0 < target < 2**256 else target


def encode(target: int) -> int:
    size = (target.bit_length() + 7) // 8
    mantissa = target >> 8 * (size - 3) if size >= 3 else target << 8 * (3 - size)
    return mantissa >> 8 | size + 1 << 24 if mantissa & 0x800000 else mantissa | size << 24


@dataclass(frozen=True, slots=True)
class Network:
    pow_limit: int
    timespan: int
    spacing: int
    interval: int
    versions: tuple[int, int, int] = (2**31 - 1,) * 3
    min_difficulty: bool = False
    no_retargeting: bool = False
    bip94: bool = False

    @property
    def limit_bits(self) -> int:
        return encode(self.pow_limit)

    def pack(self) -> bytes:
        flags = self.min_difficulty, self.no_retargeting, self.bip94, 0
        limit = self.pow_limit.to_bytes(32, "little")
        return PARAMS.pack(limit, self.limit_bits, self.timespan, self.spacing, self.interval, *self.versions, *flags)


@dataclass(slots=True)
class Chain:
    """Headers from genesis on, with what the rules say of the next."""

    network: Network
    headers: list[bytes] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    bits: list[int] = field(default_factory=list)

    @property
    def height(self) -> int:
        """Of the next header."""
        return len(self.headers)

    @property
    def tip(self) -> bytes:
        return self.hashes[-1] if self.hashes else bytes(32)

    def work(self) -> int:
        return sum(2**256 // ((decode(bits) or 0) + 1) for bits in self.bits)

    def real_bits(self) -> int:
        """The last bits that the twenty-minute rule did not lower."""
        height = self.height - 1
        while height % self.network.interval and self.bits[height] == self.network.limit_bits:
            height -= 1
        return self.bits[height]

    def next_bits(self, time: int) -> int:
        network = self.network
        if not self.headers:
            return network.limit_bits
        if self.height % network.interval:
            if not network.min_difficulty:
                return self.bits[-1]
            return network.limit_bits if time > self.times[-1] + 2 * network.spacing else self.real_bits()
        if network.no_retargeting:
            return self.bits[-1]
        start = self.height - network.interval
        actual = self.times[-1] - self.times[start]
        actual = min(max(actual, network.timespan // 4), network.timespan * 4)
        base = decode(self.bits[start if network.bip94 else -1])
        assert base is not None
        return encode(min(base * actual // network.timespan, network.pow_limit))

    def median_time(self) -> int:
        last = sorted(self.times[-11:])
        return last[len(last) // 2]

    def judge(self, header: bytes, max_time: int) -> int:
        version, prev, _, time, bits, _ = HEADER.unpack(header)
        if prev != self.tip:
            return LINK
        target = decode(bits)
        if bits != self.next_bits(time) or target is None or target > self.network.pow_limit:
            return BITS
        if int.from_bytes(sha256(sha256(header).digest()).digest(), "little") > target:
            return PROOF
        return self.judge_time_and_version(time, version, max_time) if self.headers else GOOD

    def judge_time_and_version(self, time: int, version: int, max_time: int) -> int:
        if time <= self.median_time():
            return OLD
        if self.network.bip94 and self.height % self.network.interval == 0 and time < self.times[-1] - 600:
            return WARP
        if time > max_time:
            return NEW
        wanted = [2 + i for i, start in enumerate(self.network.versions) if self.height >= start]
        return VERSION if wanted and version < max(wanted) else GOOD

    def push(self, header: bytes) -> None:
        *_, time, bits, _ = HEADER.unpack(header)
        self.headers.append(header)
        self.hashes.append(sha256(sha256(header).digest()).digest())
        self.times.append(time)
        self.bits.append(bits)

    def make(
        self, time: int, version: int = 4, root: bytes = bytes(32), *, bits: int | None = None, good: bool = True
    ) -> bytes:
        """The next header, mined; with ``good`` False its hash is just not low enough."""
        bits = self.next_bits(time) if bits is None else bits
        target = decode(bits)
        nonce = 0
        while True:
            header = HEADER.pack(version, self.tip, root, time, bits, nonce)
            value = int.from_bytes(sha256(sha256(header).digest()).digest(), "little")
            if (target is not None and value <= target) == good:
                return header
            nonce += 1

    def context(self) -> bytes:
        """What ``check_run`` must know before, and say after."""
        if not self.headers:
            return CONTEXT.pack(0, bytes(32), 0, 0, 0, 0, 0, *[0] * 11, bytes(32))
        start = (self.height - 1) // self.network.interval * self.network.interval
        times = self.times[-11:]
        return CONTEXT.pack(
            self.height,
            self.tip,
            self.bits[-1],
            self.times[start],
            self.bits[start],
            self.real_bits(),
            len(times),
            *times,
            *[0] * (11 - len(times)),
            self.work().to_bytes(32, "little"),
        )


def check_run(chain: Chain, headers: bytes, max_time: int) -> tuple[int, int, bytes]:
    """``check_run`` on a chain, which it moves past the good headers."""
    start = chain.height
    for at in range(0, len(headers), 80):
        reason = chain.judge(headers[at : at + 80], max_time)
        if reason != GOOD:
            return chain.height - start, reason, chain.context()
        chain.push(headers[at : at + 80])
    return chain.height - start, GOOD, chain.context()
