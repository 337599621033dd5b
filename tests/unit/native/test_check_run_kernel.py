"""The compiled ``check_run`` against its Python twin and against a naive model, header for header."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native import _kernels as kernels
from spvnode.bitcoin import rules
from spvnode.bitcoin.packing import GENESIS_CONTEXT, pack_params
from spvnode.bitcoin.params import NETWORKS
from tests.support.vectors import unpacked
from tests.unit.native.naive_rules import CONTEXT, GOOD, HEADER, Chain, Network, check_run, decode, encode

FUTURE = 2**40
REAL = [("bitcoin", "mainnet_0-32259.bin"), ("testnet3", "testnet3_0-35141.bin"), ("signet", "signet_0-2015.bin")]
each_real_chain = pytest.mark.parametrize(("network", "file"), REAL)

Outcome = tuple[int, int, bytes, bytes]


def kernel(params: bytes, ctx: bytes, headers: bytes, max_time: int = FUTURE) -> Outcome:
    """Count, reason, context after, and hashes of the good ones; by both doors, which must agree."""
    hashes, again = bytearray(len(headers) // 80 * 32), bytearray(len(headers) // 80 * 32)
    count, reason, after = kernels.check_run(params, ctx, headers, max_time, hashes)
    in_place = bytearray(ctx)
    assert kernels.check_run_into(params, in_place, headers, max_time, again) == reason
    assert (bytes(in_place), again[: 32 * count]) == (after, hashes[: 32 * count])
    return count, reason, after, bytes(hashes[: 32 * count])


def twin(params: bytes, ctx: bytes, headers: bytes, max_time: int = FUTURE) -> Outcome:
    hashes = bytearray(len(headers) // 80 * 32)
    count, reason, after = rules.check_run(params, ctx, headers, max_time, hashes)
    return count, reason, after, bytes(hashes[: 32 * count])


@each_real_chain
def test_real_chains_on_every_path(path: str, network: str, file: str) -> None:
    params, headers = pack_params(NETWORKS[network]), unpacked(file)
    outcome = kernel(params, GENESIS_CONTEXT, headers)
    assert outcome[:2] == (len(headers) // 80, GOOD)
    assert outcome == twin(params, GENESIS_CONTEXT, headers)


@each_real_chain
def test_real_chains_cut_anywhere(network: str, file: str) -> None:
    params, headers, rng = pack_params(NETWORKS[network]), unpacked(file), random.Random(network)
    whole = kernel(params, GENESIS_CONTEXT, headers)
    ctx, at, hashes = GENESIS_CONTEXT, 0, b""
    while at < len(headers):
        size = 80 * rng.choice([1, 2, 11, 255, 256, 257, 1000, 2016])
        count, reason, ctx, some = kernel(params, ctx, headers[at : at + size])
        assert reason == GOOD
        at, hashes = at + 80 * count, hashes + some
    assert (ctx, hashes) == whole[2:]


@each_real_chain
def test_real_headers_with_flipped_bits(network: str, file: str) -> None:
    params, headers, rng = pack_params(NETWORKS[network]), unpacked(file), random.Random(file)
    for _ in range(150):
        start = rng.randrange(len(headers) // 80 - 600)
        ctx = kernel(params, GENESIS_CONTEXT, headers[: 80 * start])[2]
        run = bytearray(headers[80 * start : 80 * (start + 600)])
        bit = rng.randrange(len(run) * 8)
        run[bit // 8] ^= 1 << bit % 8
        outcome = kernel(params, ctx, bytes(run))
        assert outcome == twin(params, ctx, bytes(run))
        assert (outcome[0], outcome[1] != GOOD) == (bit // 640, True)


@each_real_chain
def test_the_clock_decides_what_is_too_new(network: str, file: str) -> None:
    params, headers = pack_params(NETWORKS[network]), unpacked(file)
    times = [HEADER.unpack_from(headers, at)[3] for at in range(0, len(headers), 80)]
    for height in random.Random(1).sample(range(1, len(times)), 5):
        first_later = next((i for i, t in enumerate(times) if i and t > times[height]), len(times))
        outcome = kernel(params, GENESIS_CONTEXT, headers, times[height])
        assert outcome[:2] == ((first_later, 6) if first_later < len(times) else (len(times), GOOD))
        assert outcome == twin(params, GENESIS_CONTEXT, headers, times[height])


# Limits from the easiest that compact bits can say (its products need a fifth limb) to four bits of work.
EASY = 1 << 246
"""Targets down to this are mined: a thousand hashes."""
LIMITS = [0xFFFF << 240, (1 << 255) - 1, (1 << 255) - (1 << 232), (1 << 253) - 1, 0x123456 << 232, (1 << 252) - 1]


def any_network(rng: random.Random) -> Network:
    interval, spacing = rng.choice([1, 2, 5, 12, 50]), rng.choice([1, 10, 600, 1000])
    first, second, third = sorted(rng.randrange(-1, 60) for _ in range(3))
    return Network(
        pow_limit=rng.choice(LIMITS),
        timespan=interval * spacing,
        spacing=spacing,
        interval=interval,
        versions=(first, second, third),
        min_difficulty=rng.random() < 0.5,
        no_retargeting=rng.random() < 0.2,
        bip94=rng.random() < 0.5,
    )


def next_time(rng: random.Random, chain: Chain, pace: int) -> int:
    """Most often ``pace`` seconds later; sometimes as old as the rules allow, late, or breaking them."""
    if not chain.headers:
        return 1_000_000
    last, spacing = chain.times[-1], chain.network.spacing
    choices = [last + pace] * 12 + [last + 1, chain.median_time() + 1, last + 2 * spacing, last + 2 * spacing + 1]
    return rng.choice([*choices, last + 5 * spacing, last - rng.randrange(1200), chain.median_time()])


def mined_chain(rng: random.Random, network: Network, length: int, max_time: int) -> Chain:
    """A good chain: what breaks a rule is thrown away. Stops where the target would take long to meet."""
    chain, pace = Chain(network), rng.choice([0, 1, network.spacing // 2, network.spacing])
    while chain.height < length:
        time = next_time(rng, chain, pace)
        target = decode(chain.next_bits(time))
        if target is None or target < EASY:
            break
        header = chain.make(time, rng.choice([4, 4, 4, 0x20000000, 3, 2, 1]), rng.randbytes(32))
        if chain.judge(header, max_time) == GOOD:
            chain.push(header)
        else:
            header = chain.make(max(chain.times[-1], chain.median_time() + 1), 4)
            if chain.judge(header, max_time) != GOOD:
                break
            chain.push(header)
    return chain


def grown(network: Network, headers: list[bytes]) -> Chain:
    chain = Chain(network)
    for header in headers:
        chain.push(header)
    return chain


def spoiled(rng: random.Random, chain: Chain) -> bytes:
    """A next header that may break any rule, several, or none."""
    time = next_time(rng, chain, rng.choice([-601, -600, 0, chain.network.spacing])) & 0xFFFFFFFF
    right = chain.next_bits(time)
    bits = rng.choice([right] * 9 + [right ^ 1, chain.network.limit_bits, chain.real_bits() if chain.bits else 0])
    good = rng.random() < 0.9 and (decode(bits) or 0) >= EASY
    header = chain.make(time, rng.choice([4, 4, 3, 2, 1, 0, -1]), rng.randbytes(32), bits=bits, good=good)
    if rng.random() < 0.1:
        return header[:4] + rng.randbytes(32) + header[36:]
    if rng.random() < 0.1:
        return header[:72] + struct.pack("<I", rng.getrandbits(32)) + header[76:]
    return header


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_small_networks_where_everything_happens(seed: int) -> None:
    rng = random.Random(seed)
    network = any_network(rng)
    max_time = 1_000_000 + rng.choice([10**9, 40 * network.spacing])
    chain = mined_chain(rng, network, rng.choice([0, 1, 2, 12, 60]), max_time)
    params = network.pack()
    for _ in range(8):
        cut = rng.randrange(chain.height + 1)
        start = rng.randrange(cut + 1)
        model = grown(network, chain.headers[:start])
        ctx = model.context()
        run = b"".join(chain.headers[start:cut]) + spoiled(rng, grown(network, chain.headers[:cut]))
        expected = check_run(model, run, max_time)
        outcome = kernel(params, ctx, run, max_time)
        assert outcome[:3] == expected
        assert outcome[3] == b"".join(model.hashes[start:])
        assert twin(params, ctx, run, max_time) == outcome


@pytest.mark.parametrize("bip94", [True, False])
@pytest.mark.parametrize("height", [20, 21])
@pytest.mark.parametrize("back", [600, 601])
def test_timewarp_is_ten_minutes_at_the_start_of_a_period(bip94: bool, height: int, back: int) -> None:
    network = Network((1 << 255) - 1, 5000, 1000, 5, bip94=bip94)
    chain = Chain(network)
    while chain.height < height:
        chain.push(chain.make(1_000_000 + 1000 * chain.height))
    header = chain.make(chain.times[-1] - back)
    reason = 5 if bip94 and height == 20 and back == 601 else GOOD
    arguments = network.pack(), chain.context(), header
    assert kernel(*arguments)[1] == twin(*arguments)[1] == reason


@pytest.mark.parametrize("bits_of", ["limit", "real"])
@pytest.mark.parametrize("gap", [2000, 2001])
def test_twenty_minutes_to_the_second(bits_of: str, gap: int) -> None:
    """Three fast periods make the real target harder than the limit; then one block may be late."""
    network = Network((1 << 255) - 1, 5000, 1000, 5, min_difficulty=True)
    chain = Chain(network)
    while chain.height < 17:
        chain.push(chain.make(1_000_000 + 500 * chain.height))
    bits = {"limit": network.limit_bits, "real": chain.real_bits()}
    assert decode(bits["real"]) < decode(bits["limit"])  # type: ignore[operator]
    header = chain.make(chain.times[-1] + gap, bits=bits[bits_of])
    reason = GOOD if (gap == 2001) == (bits_of == "limit") else 2
    arguments = network.pack(), chain.context(), header
    assert kernel(*arguments)[1] == twin(*arguments)[1] == reason


def test_versions_rise_in_the_middle_of_a_run() -> None:
    network = Network((1 << 255) - 1, 50_000, 1000, 50, versions=(3, 17, 31))
    chain = Chain(network)
    while chain.height < 40:
        height, required = chain.height, 1 + sum(chain.height >= start for start in network.versions)
        for version in (0, 1, 2, 3, 4) if height else ():
            header = chain.make(1_000_000 + 1000 * height, version)
            run = b"".join(chain.headers) + header
            good = version >= required or required == 1
            expected = (height + 1, GOOD) if good else (height, 7)
            outcome = kernel(network.pack(), GENESIS_CONTEXT, run)
            assert outcome[:2] == expected
            assert outcome == twin(network.pack(), GENESIS_CONTEXT, run)
        chain.push(chain.make(1_000_000 + 1000 * height, required))


@pytest.mark.parametrize("size", range(1, 35))
def test_a_target_above_the_limit_by_one(size: int) -> None:
    """In every limb: the limit itself is refused only for its proof of work, one more for its bits."""
    bits = size << 24 | (0x7FFFFF if size < 33 else 0xFFFF if size == 33 else 0xFF)
    target = decode(bits)
    assert target is not None
    ctx = CONTEXT.pack(5, bytes(32), bits, 0, bits, bits, 1, 1, *[0] * 10, bytes(32))
    header = HEADER.pack(4, bytes(32), bytes(32), 2, bits, 0)
    value = int.from_bytes(sha256(sha256(header).digest()).digest(), "little")
    for limit, reason in ((target, GOOD if value <= target else 3), (target - 1, 2)):
        params = Network(limit, 86_400, 600, 144).pack()
        assert kernel(params, ctx, header)[1] == twin(params, ctx, header)[1] == reason


def retarget_context(rng: random.Random, network: Network, base: int) -> tuple[bytes, int]:
    """The context of a first header of a period whose last one had ``base`` bits, and that header's right bits."""
    first = rng.randrange(2**32)
    ends = [first + rng.randrange(-(2**20), 2**20), first + network.timespan, first + 4 * network.timespan + 1]
    last = min(max(0, rng.choice([*ends, rng.randrange(2**32)])), 2**32 - 1)
    height = network.interval * rng.randrange(1, 1000)
    start_bits = base if not network.bip94 else rng.choice([base, network.limit_bits])
    fields = height, rng.randbytes(32), base, first, start_bits, base, 1, last, *[0] * 10, bytes(32)
    actual = min(max(last - first, network.timespan // 4), 4 * network.timespan)
    target = decode(start_bits if network.bip94 else base)
    assert target is not None
    return CONTEXT.pack(*fields), encode(min(target * actual // network.timespan, network.pow_limit))


@pytest.mark.parametrize("limit", [(1 << 224) - 1, 0x377AE << 216, *LIMITS])
@pytest.mark.parametrize("bip94", [False, True])
def test_retargets_of_any_size(limit: int, bip94: bool) -> None:
    """Over all targets and timespans, without mining: the right bits are refused only for their proof of work, and
    those beside them for themselves."""
    rng = random.Random(limit)
    for _ in range(2000):
        timespan = rng.choice([1_209_600, 86_400, 4, rng.randrange(4, 1 << 29)])
        network = Network(limit, timespan, 600, 2016, bip94=bip94)
        base = encode(max(1, rng.getrandbits(rng.randrange(1, limit.bit_length() + 1)) % limit))
        ctx, bits = retarget_context(rng, network, base)
        header = HEADER.pack(4, ctx[4:36], rng.randbytes(32), 2**32 - 1, bits, 0)
        value = int.from_bytes(sha256(sha256(header).digest()).digest(), "little")
        target = decode(bits)
        reason = 2 if target is None else GOOD if value <= target else 3
        outcome = kernel(network.pack(), ctx, header)
        assert outcome[1] in ({reason} if reason else {0, 4})  # 4: the last time was the greatest there is
        beside = HEADER.pack(4, ctx[4:36], bytes(32), 2**32 - 1, bits ^ 1, 0)
        assert kernel(network.pack(), ctx, beside)[1] == 2


def test_work_is_summed_on_256_bits() -> None:
    """Carries run through all four limbs."""
    chain = Chain(Network((1 << 255) - 1, 86_400, 600, 144, no_retargeting=True))
    chain.push(chain.make(1_000_000))
    fields = list(CONTEXT.unpack(chain.context()))
    header = chain.make(1_000_600)
    for before in (2**64 - 1, 2**128 - 1, 2**192 - 2, 2**255, 2**256 - 1):
        fields[-1] = before.to_bytes(32, "little")
        after = kernel(chain.network.pack(), CONTEXT.pack(*fields), header)[2]
        assert int.from_bytes(CONTEXT.unpack(after)[-1], "little") == (before + 2) % 2**256


def test_an_empty_run_changes_nothing() -> None:
    params = pack_params(NETWORKS["bitcoin"])
    assert kernel(params, GENESIS_CONTEXT, b"") == (0, GOOD, GENESIS_CONTEXT, b"")


def test_the_last_height_there_is() -> None:
    network = Network((1 << 255) - 1, 86_400, 600, 144, no_retargeting=True)
    chain = Chain(network)
    chain.push(chain.make(1_000_000))
    fields = list(CONTEXT.unpack(chain.context()))
    fields[0] = 2**32 - 2
    header = chain.make(1_000_600)
    assert kernel(network.pack(), CONTEXT.pack(*fields), header)[0] == 1
    with pytest.raises(ValueError, match="headers: 2 from height 4294967294 pass the last height of 32 bits"):
        kernel(network.pack(), CONTEXT.pack(*fields), header * 2)


GOOD_NETWORK = Network((1 << 255) - 1, 86_400, 600, 144)


@pytest.mark.parametrize(
    "params",
    [
        b"",
        GOOD_NETWORK.pack()[:-1],
        replace(GOOD_NETWORK, interval=0).pack(),
        replace(GOOD_NETWORK, timespan=0).pack(),
        replace(GOOD_NETWORK, timespan=(1 << 29) + 1).pack(),
    ],
)
def test_parameters_of_no_network(params: bytes) -> None:
    with pytest.raises(ValueError, match=r"params: .* bytes are not the packed rules of a network"):
        kernel(params, GENESIS_CONTEXT, bytes(80))


@pytest.mark.parametrize(
    "ctx",
    [
        b"",
        GENESIS_CONTEXT + b"\0",
        GENESIS_CONTEXT[:52] + b"\x01" + GENESIS_CONTEXT[53:],  # an ancestor before genesis
        b"\x01" + GENESIS_CONTEXT[1:],  # no ancestor after it
        b"\x01" + GENESIS_CONTEXT[1:52] + b"\x0c" + GENESIS_CONTEXT[53:],  # twelve times
    ],
)
def test_contexts_of_no_chain(ctx: bytes) -> None:
    with pytest.raises(ValueError, match=r"ctx: .* bytes are not a packed place in a chain"):
        kernel(GOOD_NETWORK.pack(), ctx, bytes(80))


def test_buffers_of_the_wrong_kind() -> None:
    params = GOOD_NETWORK.pack()
    with pytest.raises(ValueError, match="headers: 81 bytes are no multiple of 80"):
        kernels.check_run(params, GENESIS_CONTEXT, bytes(81), FUTURE, bytearray(32))
    with pytest.raises(ValueError, match="hashes_out: 63 bytes, 2 headers need 64"):
        kernels.check_run(params, GENESIS_CONTEXT, bytes(160), FUTURE, bytearray(63))
    with pytest.raises(BufferError):
        kernels.check_run(params, GENESIS_CONTEXT, bytes(80), FUTURE, memoryview(bytes(32)))
    with pytest.raises(BufferError):
        kernels.check_run_into(params, memoryview(GENESIS_CONTEXT), bytes(80), FUTURE, bytearray(32))
    with pytest.raises(OverflowError):
        kernels.check_run(params, GENESIS_CONTEXT, bytes(80), 2**63, bytearray(32))
