"""Req/Resp bytes: what real clients write is read, and out of any bytes comes a message or ``Malformed``, however they
are cut, and without a byte more being taken than the type allows."""

from __future__ import annotations

import hashlib
import os
from itertools import pairwise
from typing import Any

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.beacon import messages as m
from p2p.beacon.codec import (
    MAX_ERROR_TEXT,
    RATE_LIMITED,
    Code,
    Refusal,
    encode_chunk,
    encode_refusal,
    encode_request,
    payload,
    response_chunk,
)
from p2p.beacon.gossip import MAX_GOSSIP, beacon_profile, message_id, topic_of
from p2p.beacon.protocols import EXCHANGES, METADATA, STATUS, UPDATES, exchange_of
from p2p.beacon.provider import Chunk
from p2p.beacon.reading import MAX_VARINT, Reading, encode_varint, parse, varint
from p2p.beacon.snappy import (
    IDENTIFIER,
    MAX_FRAME_DATA,
    decode_block,
    encode_block,
    frames,
    max_compressed_len,
)
from p2p.faults import FaultReason, Malformed
from tests.support.eth_vectors import archive

EXAMPLES = 10_000 if os.environ.get("SPVNODE_TEST_PROFILE") == "fuzz" else 300
DIGEST = bytes.fromhex("8c9f62fe")
LIMIT = 2_000


def crc32c(data: bytes) -> int:
    """RFC 3720, B.4; bit by bit."""
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F6_3B78 if crc & 1 else 0)
    return crc ^ 0xFFFF_FFFF


def frame(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + len(body).to_bytes(3, "little") + body


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return (((crc >> 15 | crc << 17) + 0xA282_EAD8) & 0xFFFF_FFFF).to_bytes(4, "little")


def uncompressed(data: bytes) -> bytes:
    return frame(0x01, masked(data) + data)


def compressed(data: bytes) -> bytes:
    return frame(0x00, masked(data) + bytes(cramjam.snappy.compress_raw(data)))


def bounds(digest: bytes) -> tuple[int, int] | None:
    return (1, LIMIT) if digest == DIGEST else None


def chunk_reading() -> Reading[Chunk | Refusal | Malformed]:
    return response_chunk(bounds, context=True)


def fed(reading: Reading[Any], pieces: list[bytes]) -> tuple[Any, int]:
    """What a reading makes of bytes that arrive in pieces (None: it wants more), and how many it took."""
    waiting, taken = b"", 0
    try:
        needed = next(reading)
        for piece in pieces:
            waiting += piece
            while len(waiting) >= needed:
                part, waiting, taken = waiting[:needed], waiting[needed:], taken + needed
                needed = reading.send(part)
    except StopIteration as done:
        return done.value, taken
    return None, taken


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(marks)]


def reason_of(reading: Reading[object], data: bytes) -> FaultReason | None:
    done = parse(reading, data)
    assert done is not None
    return done[0].reason if isinstance(done[0], Malformed) else None


CHUNKS = st.builds(Chunk, st.just(DIGEST), st.binary(min_size=1, max_size=LIMIT))
REFUSALS = st.builds(Refusal, st.integers(1, 255), st.text(max_size=40))


@settings(deadline=None)
@given(st.one_of(CHUNKS, REFUSALS), st.lists(st.integers(0, 10_000), max_size=20), st.binary(max_size=20))
def test_a_chunk_is_the_same_however_it_is_cut(reply: Chunk | Refusal, places: list[int], after: bytes) -> None:
    data = encode_chunk(reply) if isinstance(reply, Chunk) else encode_refusal(reply)
    assert parse(chunk_reading(), data + after) == (reply, after)
    assert fed(chunk_reading(), cut(data, places)) == (reply, len(data))
    assert parse(chunk_reading(), data[:-1]) is None


@pytest.mark.fuzz
@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8), st.booleans())
def test_any_bytes_are_a_chunk_or_malformed(data: bytes, places: list[int], context: bool) -> None:
    whole = parse(response_chunk(bounds, context), data)
    assert whole is None or isinstance(whole[0], Chunk | Refusal | Malformed)
    assert fed(response_chunk(bounds, context), cut(data, places))[0] == (whole[0] if whole else None)


@pytest.mark.fuzz
@settings(max_examples=EXAMPLES, deadline=None)
@given(CHUNKS, st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_damaged_chunk_is_a_chunk_or_malformed(chunk: Chunk, damage: list[tuple[int, int]]) -> None:
    data = bytearray(encode_chunk(chunk))
    for place, mask in damage:
        data[place % len(data)] ^= mask
    done = parse(chunk_reading(), bytes(data) + bytes(4_096))
    assert done is not None
    assert isinstance(done[0], Chunk | Refusal | Malformed)
    if isinstance(done[0], Chunk):
        assert len(done[0].ssz) <= LIMIT


@pytest.mark.fuzz
@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60)), max_size=6), st.integers(1, 300))
def test_any_frames_are_data_or_malformed_and_take_no_more_than_they_may(
    chunks: list[tuple[int, bytes]], size: int
) -> None:
    data = IDENTIFIER + b"".join(frame(kind, body) for kind, body in chunks)
    made, taken = fed(frames(size), [data])
    assert made is None or isinstance(made, bytes | Malformed)
    assert not isinstance(made, bytes) or len(made) == size
    assert taken <= max_compressed_len(size) + 4


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
def test_requests_have_the_size_of_their_version(exchange: object) -> None:
    for version, size in exchange.requests.items():  # type: ignore[attr-defined]
        data = encode_request(bytes(size))
        if not size:
            assert data == b""
            continue
        assert parse(payload((size, size)), data) == (bytes(size), b"")
        assert reason_of(payload((size, size)), encode_request(bytes(size + 1))) is FaultReason.OVERSIZED
        assert reason_of(payload((size, size)), encode_request(bytes(size - 1))) is FaultReason.BAD_FRAME
        assert exchange_of(exchange.ids[list(exchange.requests).index(version)]) == (exchange, version)  # type: ignore[attr-defined]


def test_ids_are_the_specs() -> None:
    assert STATUS.ids == ("/eth2/beacon_chain/req/status/2/ssz_snappy", "/eth2/beacon_chain/req/status/1/ssz_snappy")
    assert [one.rsplit("/", 2)[1] for one in METADATA.ids] == ["3", "2", "1"]
    assert UPDATES.ids == ("/eth2/beacon_chain/req/light_client_updates_by_range/1/ssz_snappy",)


def test_messages_have_the_specs_layout() -> None:
    status = m.Status(b"\x01\x02\x03\x04", b"f" * 32, 5, b"h" * 32, 6, 7)
    assert m.encode_status(status, 1).hex() == "01020304" + "66" * 32 + "0500000000000000" + "68" * 32 + "06" + "00" * 7
    assert m.encode_status(status, 2) == m.encode_status(status, 1) + (7).to_bytes(8, "little")
    assert m.decode_status(m.encode_status(status, 2)) == status
    assert m.decode_status(m.encode_status(status, 1)).earliest_available_slot is None
    assert (m.STATUS_SIZES, m.METADATA_SIZES) == ({1: 84, 2: 92}, {1: 16, 2: 17, 3: 25})
    metadata = m.MetaData(9, bytes(range(8)), b"\x0f", 4)
    assert m.encode_metadata(metadata, 3).hex() == "09" + "00" * 7 + bytes(range(8)).hex() + "0f" + "04" + "00" * 7
    assert m.decode_metadata(m.encode_metadata(metadata, 3), 3) == metadata
    assert m.decode_metadata(m.encode_metadata(metadata, 2), 2) == m.MetaData(9, bytes(range(8)), b"\x0f")
    assert m.decode_metadata(m.encode_metadata(metadata, 1), 1) == m.MetaData(9, bytes(range(8)))
    assert m.decode_range(m.encode_range(800, 21)) == (800, 21)
    assert m.decode_uint64(m.encode_uint64(129)) == 129


def test_frames_of_other_writers_are_read() -> None:
    """Lodestar answers with an uncompressed frame; others repeat the identifier, or pad."""
    assert crc32c(b"123456789") == 0xE306_9283
    data = bytes(range(84))
    for body in (
        uncompressed(data),
        compressed(data),
        compressed(data[:40]) + uncompressed(data[40:]),
        frame(0xFE, b"pad") + compressed(data),
        IDENTIFIER + compressed(data),
        frame(0x80, b"?") + uncompressed(data),
        compressed(b"") + compressed(data),
    ):
        assert parse(frames(84), IDENTIFIER + body) == (data, b"")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (frame(0x02, bytes(20)), FaultReason.BAD_FRAME),  # reserved, not skippable
        (frame(0x00, b""), FaultReason.BAD_FRAME),
        (frame(0x01, bytes(3)), FaultReason.BAD_FRAME),
        (frame(0x00, bytes(4) + b"\xff" * 10), FaultReason.BAD_FRAME),  # no length
        (frame(0xFF, b"SnApPy"), FaultReason.BAD_FRAME),
        (frame(0x01, bytes(4) + bytes(84)), FaultReason.BAD_FRAME),  # wrong checksum
        (frame(0x00, bytes(4) + encode_varint(84) + bytes(10)), FaultReason.BAD_FRAME),
        (compressed(bytes(85)), FaultReason.OVERSIZED),
        (compressed(bytes(80)) + compressed(bytes(5)), FaultReason.OVERSIZED),
        (frame(0xFE, bytes(100)) + compressed(bytes(84)), FaultReason.OVERSIZED),
        (frame(0xFE, b"") * 100, FaultReason.OVERSIZED),
        (b"\x01\xff\xff\xff", FaultReason.OVERSIZED),
    ],
)
def test_frames_that_no_writer_makes_are_refused(body: bytes, reason: FaultReason) -> None:
    assert reason_of(frames(84), IDENTIFIER + body) is reason


def test_a_stream_without_identifier_is_none() -> None:
    assert reason_of(frames(84), uncompressed(bytes(84))) is FaultReason.BAD_FRAME


def test_a_bomb_is_refused_by_what_it_claims() -> None:
    """64 KiB of zeros take 3 KB: no frame that claims more than what is left is decompressed at all."""
    bomb = compressed(bytes(MAX_FRAME_DATA))
    assert len(bomb) < 3_200
    assert reason_of(frames(20_000), IDENTIFIER + bomb) is FaultReason.OVERSIZED
    assert reason_of(frames(100), IDENTIFIER + bomb) is FaultReason.OVERSIZED
    lying = frame(0x00, masked(b"") + encode_varint(2**32 - 1) + bytes(10))
    assert reason_of(frames(20_000), IDENTIFIER + lying) is FaultReason.BAD_FRAME
    block = encode_varint(2**32 - 1) + bytes(10)
    assert decode_block(block, MAX_GOSSIP) == Malformed(
        FaultReason.OVERSIZED, f"snappy block of {2**32 - 1} bytes is above {MAX_GOSSIP}"
    )
    assert isinstance(decode_block(encode_block(bytes(MAX_GOSSIP + 1)), MAX_GOSSIP), Malformed)


@pytest.mark.fuzz
@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=100))
def test_any_block_is_data_or_malformed(data: bytes) -> None:
    block = decode_block(data, 1_000)
    assert isinstance(block, Malformed) or len(block) <= 1_000
    assert decode_block(encode_block(data), 1_000) == data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes((0,)) + b"\x01\x02\x03\x04" + encode_varint(5), FaultReason.WRONG_NETWORK),
        (bytes((0,)) + DIGEST + encode_varint(LIMIT + 1), FaultReason.OVERSIZED),
        (bytes((0,)) + DIGEST + encode_varint(2**64 - 1), FaultReason.OVERSIZED),
        (bytes((0,)) + DIGEST + encode_varint(0), FaultReason.BAD_FRAME),
        (bytes((0,)) + DIGEST + b"\xff" * MAX_VARINT, FaultReason.BAD_FRAME),
        (bytes((0,)) + DIGEST + b"\xff" * 9 + b"\x02", FaultReason.BAD_FRAME),  # 65 bits
        (bytes((2,)) + encode_varint(MAX_ERROR_TEXT + 1), FaultReason.OVERSIZED),
    ],
)
def test_a_chunk_outside_its_bounds_is_refused_before_its_body(data: bytes, reason: FaultReason) -> None:
    assert reason_of(chunk_reading(), data) is reason


def test_an_error_may_be_without_words_or_without_sense() -> None:
    assert parse(chunk_reading(), b"\x03\x00") == (Refusal(3, ""), b"")
    garbled = b"\x02" + encode_request(b"\xff\xfe")
    assert parse(chunk_reading(), garbled) == (Refusal(2, "\ufffd\ufffd"), b"")
    done = parse(chunk_reading(), encode_refusal(Refusal(2, "é" * 200)))
    assert done == (Refusal(2, "é" * 128), b"")


@pytest.mark.parametrize(
    ("refusal", "limited"),
    [
        (Refusal(2, "REQUEST_ERROR_RATE_LIMITED"), True),  # Lodestar
        (Refusal(RATE_LIMITED, "Rate limited. There is an active bootstrap request"), True),  # Lighthouse
        (Refusal(1, "rate limited"), True),
        (Refusal(2, "No partialUpdate available for period 1"), False),
        (Refusal(Code.RESOURCE_UNAVAILABLE, ""), False),
    ],
)
def test_rate_limits_are_known_by_their_words(refusal: Refusal, limited: bool) -> None:
    assert refusal.rate_limited is limited


def test_varints_have_at_most_64_bits() -> None:
    for value in (0, 127, 128, 300, 2**63, 2**64 - 1):
        assert parse(varint(), encode_varint(value) + b"x") == (value, b"x")
    assert reason_of(varint(), b"\x80" * 10 + b"\x01") is FaultReason.BAD_FRAME


def test_message_ids_are_altairs() -> None:
    topic, data = topic_of(DIGEST, "optimistic"), b"some object" * 30
    assert topic == "/eth2/8c9f62fe/light_client_optimistic_update/ssz_snappy"
    prefix = len(topic).to_bytes(8, "little") + topic.encode()
    valid = hashlib.sha256(bytes.fromhex("01000000") + prefix + data).digest()[:20]
    assert message_id(topic, bytes(cramjam.snappy.compress_raw(data))) == valid
    junk = hashlib.sha256(bytes(4) + prefix + b"junk").digest()[:20]
    assert message_id(topic, b"junk") == junk
    bomb = encode_block(bytes(1 << 20))
    assert message_id(topic, bomb) == hashlib.sha256(bytes(4) + prefix + bomb).digest()[:20]


def test_the_profile_is_the_specs() -> None:
    profile = beacon_profile()
    assert (profile.degree, profile.degree_low, profile.degree_high, profile.degree_lazy) == (8, 6, 12, 6)
    assert (profile.heartbeat, profile.history, profile.history_gossip) == (0.7, 6, 3)
    assert profile.message_id is message_id


def test_real_updates_stay_within_what_the_wire_allows() -> None:
    """21 periods of mainnet: random-looking data, so framed snappy makes them longer, and they must still pass."""
    data = archive("real")["mainnet-capella-nimbus21/updates.ssz"]
    updates, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        updates.append(Chunk(data[at + 8 : at + 12], data[at + 12 : at + 8 + size]))
        at += 8 + size
    assert len(updates) == 21
    for update in updates:
        wire = encode_chunk(update)
        assert len(wire) <= 1 + 4 + 3 + max_compressed_len(len(update.ssz))
        size = len(update.ssz)
        done = parse(response_chunk(lambda digest, size=size: (1, size), context=True), wire)  # type: ignore[misc]
        assert done == (update, b"")
