"""Frames: exactly one encoding of every message, and nothing but a message or ``Malformed`` out of any
bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.faults import FaultReason
from p2p.mesh import codec
from p2p.mesh.codec import (
    Announce,
    Error,
    ErrorCode,
    GetByLocator,
    GetProof,
    GetRange,
    Headers,
    Hello,
    Malformed,
    Message,
    Prefix,
    Proof,
)

U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
HASH = st.binary(min_size=32, max_size=32)
COUNT = st.integers(1, codec.MAX_HEADERS)
IDS = st.integers(1, codec.MAX_REQUEST_ID)


@st.composite
def hellos(draw: st.DrawFn) -> Hello:
    genesis, tip = draw(HASH), draw(HASH)
    base, height = sorted((draw(U32), draw(U32)))
    work = draw(st.integers(0, 2**256 - 1))
    return Hello(draw(U16), genesis, base, height, tip if height else genesis, work)


def text() -> st.SearchStrategy[str]:
    return st.text(max_size=60).filter(lambda s: len(s.encode()) <= codec.MAX_ERROR_TEXT)


REQUEST_BOUND = st.one_of(
    st.builds(GetByLocator, COUNT, st.lists(HASH, min_size=1, max_size=codec.MAX_LOCATOR).map(tuple)),
    st.builds(GetRange, st.integers(0, 2**32 - codec.MAX_HEADERS), COUNT),
    st.builds(Headers, U32, st.integers(0, 20).map(lambda n: bytes(80 * n))),
    st.builds(Error, st.sampled_from(ErrorCode), text()),
    st.tuples(U32, U32).map(lambda pair: GetProof(*sorted(pair))),
    st.builds(Proof, st.binary(min_size=1, max_size=300)),
)
SESSION_BOUND = st.one_of(hellos(), hellos().map(Announce))


def decode(frame: bytes) -> tuple[int, Message | Malformed]:
    prefix = codec.decode_prefix(frame[: codec.PREFIX_SIZE])
    if isinstance(prefix, Malformed):
        return 0, prefix
    assert len(frame) == codec.PREFIX_SIZE + prefix.payload_size
    return prefix.request_id, codec.decode_payload(prefix.type, frame[codec.PREFIX_SIZE :])


@given(IDS, REQUEST_BOUND)
def test_messages_with_an_id_round_trip(request_id: int, message: Message) -> None:
    assert decode(codec.encode(request_id, message)) == (request_id, message)


@given(SESSION_BOUND)
def test_messages_without_an_id_round_trip(message: Message) -> None:
    assert decode(codec.encode(codec.NO_REQUEST, message)) == (codec.NO_REQUEST, message)


@settings(max_examples=2_000)
@given(st.binary(min_size=codec.PREFIX_SIZE, max_size=codec.PREFIX_SIZE))
def test_any_prefix_is_one_or_malformed(data: bytes) -> None:
    prefix = codec.decode_prefix(data)
    if isinstance(prefix, Prefix):
        assert struct.pack(">IBI", prefix.payload_size + 5, prefix.type, prefix.request_id) == data
    else:
        assert prefix.reason in (FaultReason.BAD_FRAME, FaultReason.OVERSIZED)


@settings(max_examples=1_000)
@given(st.data(), st.sampled_from(codec.FrameType))
def test_any_payload_is_a_message_with_that_encoding_or_malformed(data: st.DataObject, kind: codec.FrameType) -> None:
    request_id = int(kind not in (codec.FrameType.HELLO, codec.FrameType.ANNOUNCE))
    size = data.draw(st.integers(0, 300))
    prefix = codec.decode_prefix(struct.pack(">IBI", size + 5, kind, request_id))
    if isinstance(prefix, Malformed):
        return
    payload = data.draw(st.binary(min_size=size, max_size=size))
    message = codec.decode_payload(kind, payload)
    if not isinstance(message, Malformed):
        assert codec.encode(request_id, message)[codec.PREFIX_SIZE :] == payload


def prefix_of(length: int, kind: int, request_id: int) -> Prefix | Malformed:
    return codec.decode_prefix(struct.pack(">IBI", length, kind, request_id))


@pytest.mark.parametrize(
    ("length", "kind", "request_id", "reason"),
    [
        (5 + 106, 0, 0, None),
        (5 + 105, 0, 0, FaultReason.BAD_FRAME),
        (5 + 107, 0, 0, FaultReason.OVERSIZED),
        (5 + 106, 0, 7, FaultReason.BAD_FRAME),  # a HELLO answers nothing
        (5 + 6, 2, 0, FaultReason.BAD_FRAME),  # a request needs an id
        (5 + 4 + 80 * 8_064, 3, 1, None),
        (5 + 4 + 80 * 8_064 + 1, 3, 1, FaultReason.OVERSIZED),
        (2**32 - 1, 3, 1, FaultReason.OVERSIZED),
        (0, 3, 1, FaultReason.BAD_FRAME),
        (5 + 3 + 32 * 64, 1, 1, None),
        (5 + 3 + 32 * 65, 1, 1, FaultReason.OVERSIZED),
        (5 + 3, 1, 1, FaultReason.BAD_FRAME),  # an empty locator
        (5 + 201, 4, 1, None),
        (5 + 202, 4, 1, FaultReason.OVERSIZED),
        (5 + 16_384, 7, 1, None),
        (5 + 16_385, 7, 1, FaultReason.OVERSIZED),
        (5 + 6, 8, 1, FaultReason.BAD_FRAME),
        (5 + 6, 255, 1, FaultReason.BAD_FRAME),
    ],
)
def test_the_prefix_holds_every_limit(length: int, kind: int, request_id: int, reason: FaultReason | None) -> None:
    prefix = prefix_of(length, kind, request_id)
    assert (prefix.reason if isinstance(prefix, Malformed) else None) is reason


def test_no_legal_frame_reaches_the_frame_limit() -> None:
    biggest = codec.encode(1, Headers(0, bytes(80 * codec.MAX_HEADERS)))
    assert len(biggest) == 645_133 < codec.MAX_FRAME


def payload_of(message: Message, request_id: int = 1) -> bytearray:
    return bytearray(codec.encode(request_id, message)[codec.PREFIX_SIZE :])


HELLO = Hello(1, b"g" * 32, 5, 9, b"t" * 32, 77)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (codec.FrameType.HELLO, payload_of(HELLO, 0)[:34] + struct.pack(">II", 10, 9) + bytes(64)),  # base above tip
        (codec.FrameType.HELLO, payload_of(HELLO, 0)[:34] + bytes(8) + b"x" * 64),  # height 0, not the genesis
        (codec.FrameType.GET_RANGE, struct.pack(">IH", 0, 0)),
        (codec.FrameType.GET_RANGE, struct.pack(">IH", 0, 8_065)),
        (codec.FrameType.GET_RANGE, struct.pack(">IH", 2**32 - 1, 2)),
        (codec.FrameType.GET_BY_LOCATOR, struct.pack(">HB", 0, 1) + bytes(32)),
        (codec.FrameType.GET_BY_LOCATOR, struct.pack(">HB", 8_065, 1) + bytes(32)),
        (codec.FrameType.GET_BY_LOCATOR, struct.pack(">HB", 1, 0) + bytes(32)),
        (codec.FrameType.GET_BY_LOCATOR, struct.pack(">HB", 1, 2) + bytes(32)),
        (codec.FrameType.GET_BY_LOCATOR, struct.pack(">HB", 1, 1) + bytes(33)),
        (codec.FrameType.HEADERS, bytes(4 + 79)),
        (codec.FrameType.ERROR, b"\x00text"),
        (codec.FrameType.ERROR, b"\x01\xff\xff"),
        (codec.FrameType.GET_PROOF, struct.pack(">II", 2, 1)),
    ],
)
def test_impossible_payloads_are_malformed(kind: codec.FrameType, payload: bytes) -> None:
    message = codec.decode_payload(kind, bytes(payload))
    assert isinstance(message, Malformed)
    assert message.reason is FaultReason.BAD_FRAME


def test_a_locator_that_claims_more_hashes_than_allowed_is_oversized() -> None:
    message = codec.decode_payload(codec.FrameType.GET_BY_LOCATOR, struct.pack(">HB", 1, 65) + bytes(32 * 64))
    assert message == Malformed(FaultReason.OVERSIZED, "locator of 65 hashes is above 64")


@pytest.mark.parametrize(
    "message",
    [
        Headers(0, bytes(79)),
        Headers(0, bytes(80 * 8_065)),
        GetByLocator(1, ()),
        GetByLocator(1, (bytes(32),) * 65),
        Proof(b""),
        GetRange(0, 0),
        GetRange(0, 8_065),
        GetRange(2**32 - 1, 2),
        GetByLocator(0, (bytes(32),)),
        GetProof(2, 1),
        Hello(1, bytes(32), 5, 4, bytes(32), 0),
    ],
)
def test_we_cannot_encode_what_we_would_not_accept(message: Message) -> None:
    with pytest.raises(ValueError, match=r"bytes|count|range|height|base"):
        codec.encode(1, message)


def test_an_error_text_is_cut_between_characters() -> None:
    _, message = decode(codec.encode(1, Error(ErrorCode.BUSY, "é" * 150 + "x")))
    assert message == Error(ErrorCode.BUSY, "é" * 100)
    _, message = decode(codec.encode(1, Error(ErrorCode.BUSY, "x" + "é" * 150)))
    assert message == Error(ErrorCode.BUSY, "x" + "é" * 99)


def test_headers_tell_their_extent() -> None:
    headers = Headers(7, bytes(160))
    assert (headers.count, headers.end) == (2, 9)
