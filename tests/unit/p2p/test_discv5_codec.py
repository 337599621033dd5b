"""Packets and messages: round trips, limits, and bytes from anybody."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.discv5 import messages, packet
from p2p.discv5.distance import (
    FIRST_DISTANCES,
    MAX_DISTANCE,
    MAX_REQUESTS_OF_ONE,
    MORE_DISTANCES,
    distances_to_ask,
    log_distance,
)
from p2p.discv5.enr import MAX_ENR
from p2p.discv5.messages import (
    MAX_DISTANCES,
    MAX_RECORDS,
    MAX_REQUEST_ID,
    FindNode,
    Message,
    MessageError,
    Nodes,
    Ping,
    Pong,
    TalkReq,
    TalkResp,
)
from p2p.discv5.packet import MAX_PACKET, MIN_PACKET, PacketError
from tests.support.discv5_nodes import record

RNG = random.Random(5)
ID = RNG.randbytes(32)
OTHER = RNG.randbytes(32)
IV, NONCE, KEY = RNG.randbytes(16), RNG.randbytes(12), RNG.randbytes(16)
RECORDS = tuple(record(n, "192.0.2.1").encoded for n in range(3))


@pytest.mark.parametrize(
    "message",
    [
        Ping(b"", 0),
        Ping(b"\0" * 8, (1 << 64) - 1),
        Pong(b"\x01", 7, bytes([192, 0, 2, 1]), 9_000),
        Pong(b"\x01", 7, bytes(15) + b"\x01", 65_535),
        FindNode(b"\x01\x02", ()),
        FindNode(b"\x01\x02", (0, 1, 256)),
        Nodes(b"\x01", 1, ()),
        Nodes(b"\x01", 6, RECORDS),
        TalkReq(b"\x01", b"proto", b"anything"),
        TalkResp(b"\x01", b""),
    ],
)
def test_messages_round_trip(message: Message) -> None:
    assert messages.decode(messages.encode(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00\xc2\x01\x01", id="type 0"),
        pytest.param(b"\x07\xc2\x01\x01", id="a topic message"),
        pytest.param(b"\x01", id="no fields"),
        pytest.param(b"\x01\x01", id="no list"),
        pytest.param(b"\x01\xc1\x01", id="too few fields"),
        pytest.param(b"\x01\xc3\x01\x01\x01", id="too many fields"),
        pytest.param(b"\x01\xc2\x01\x01\x00", id="bytes behind"),
        pytest.param(b"\x01\xc2\x01\x00", id="a number with a leading zero"),
        pytest.param(b"\x01\xcb\x89" + bytes(9) + b"\x01", id="a request id of 9 bytes"),
        pytest.param(b"\x02\xc9\x01\x01\x83abc\x82\x23\x28", id="an address of 3 bytes"),
        pytest.param(b"\x02\xcb\x01\x01\x84abcd\x83\x01\x23\x28", id="a port of 3 bytes"),
        pytest.param(b"\x03\xc5\x01\xc3\x82\x01\x01", id="a distance of 257"),
        pytest.param(b"\x03\xc2\x01\x01", id="distances that are no list"),
        pytest.param(b"\x04\xc3\x01\x01\x01", id="records that are no list"),
        pytest.param(b"\x04" + b"\xc0" * 40, id="lists side by side"),
        pytest.param(b"\x04" + b"\xc1" * 40 + b"\xc0", id="lists in lists"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError):
        messages.decode(data)


def test_the_longest_request_id_is_echoed_and_no_longer_one_is_read() -> None:
    assert messages.decode(messages.encode(Ping(bytes(MAX_REQUEST_ID), 1))) == Ping(bytes(MAX_REQUEST_ID), 1)
    with pytest.raises(MessageError):
        messages.decode(messages.encode(Ping(bytes(MAX_REQUEST_ID + 1), 1)))


def test_only_the_first_distances_are_looked_at() -> None:
    asked = FindNode(b"\x01", tuple(range(1, 101)))
    assert messages.decode(messages.encode(asked)) == FindNode(b"\x01", tuple(range(1, MAX_DISTANCES + 1)))


def test_records_above_their_size_or_number_are_refused() -> None:
    too_large = Nodes(b"\x01", 1, (b"\xf9\x01\x2a" + b"\xb9\x01\x27" + bytes(MAX_ENR - 5),))
    with pytest.raises(MessageError, match="record"):
        messages.decode(messages.encode(too_large))
    with pytest.raises(MessageError, match="list"):
        messages.decode(messages.encode(Nodes(b"\x01", 1, (b"\xc0",) * (MAX_RECORDS + 1))))


@pytest.mark.parametrize("size", [0, 1, 3, 4, MAX_RECORDS, MAX_RECORDS + 9])
def test_an_answer_to_findnode_fits_into_packets(size: int) -> None:
    """Of records as large as they may be, with the longest request id."""
    room = MAX_ENR - len(record(1, "192.0.2.1", zz=bytes(150)).encoded) + 150
    records = [record(n, "192.0.2.1", zz=bytes(room)).encoded for n in range(size)]
    assert {len(one) for one in records} <= {MAX_ENR}
    parts = messages.nodes_packets(bytes(MAX_REQUEST_ID), records)
    assert [one for part in parts for one in part.records] == records[:MAX_RECORDS]
    assert {part.total for part in parts} == {len(parts)}
    assert len(parts) <= 6
    for part in parts:
        assert len(packet.ordinary(OTHER, ID, IV, NONCE, KEY, messages.encode(part))) <= MAX_PACKET


def test_packets_are_read_by_their_recipient_only() -> None:
    data = packet.ordinary(ID, OTHER, IV, NONCE, KEY, b"message")
    assert isinstance(packet.decode(data, ID), packet.Ordinary)
    with pytest.raises(PacketError):
        packet.decode(data, OTHER)


def test_a_challenge_is_the_smallest_packet_and_what_asks_for_it_is_larger() -> None:
    challenge, _ = packet.whoareyou(ID, IV, NONCE, bytes(16), 1)
    assert len(challenge) == MIN_PACKET
    with pytest.raises(PacketError):
        packet.decode(challenge + b"\0", ID)
    shortest = packet.random_packet(ID, OTHER, IV, NONCE, b"")
    assert isinstance(packet.decode(shortest, ID), packet.Ordinary)
    assert len(shortest) > len(challenge)


@pytest.mark.parametrize("size", [0, 1, MIN_PACKET - 1, MAX_PACKET + 1])
def test_packets_of_other_sizes_are_refused(size: int) -> None:
    whole = packet.random_packet(ID, OTHER, IV, NONCE, bytes(MAX_PACKET))
    with pytest.raises(PacketError, match="outside"):
        packet.decode(whole[:size], ID)


def test_every_cut_and_every_flipped_bit_of_a_header_is_a_packet_error_or_another_packet() -> None:
    proof = packet.Proof(OTHER, bytes(64), bytes(33), RECORDS[0])
    for data in (
        packet.ordinary(ID, OTHER, IV, NONCE, KEY, b"message"),
        packet.handshake(ID, IV, NONCE, proof, KEY, b"message"),
        packet.whoareyou(ID, IV, NONCE, bytes(16), 1)[0],
    ):
        for end in range(len(data)):
            read(data[:end])
        for bit in range(8 * min(len(data), 120)):
            bad = bytearray(data)
            bad[bit // 8] ^= 1 << bit % 8
            assert read(bytes(bad)) != packet.decode(data, ID)


def read(data: bytes) -> packet.Packet | None:
    try:
        return packet.decode(data, ID)
    except PacketError:
        return None


@pytest.mark.fuzz
@given(st.binary(max_size=MAX_PACKET + 8))
def test_any_bytes_are_no_packet(data: bytes) -> None:
    assert read(data) is None


@pytest.mark.fuzz
@given(st.binary(max_size=80), st.integers(0, 2))
def test_any_authdata_is_a_packet_or_a_packet_error(authdata: bytes, flag: int) -> None:
    header = b"discv5\x00\x01" + bytes([flag]) + NONCE + len(authdata).to_bytes(2, "big") + authdata
    from_them = IV + packet.mask(ID, IV, header) + bytes(40)
    one = read(from_them)
    assert one is None or (isinstance(one, packet.Ordinary) and len(authdata) == 32)


@pytest.mark.fuzz
@given(st.integers(1, 6), st.binary(max_size=200))
def test_any_fields_are_a_message_or_a_message_error(kind: int, fields: bytes) -> None:
    try:
        message = messages.decode(bytes([kind]) + fields)
    except MessageError:
        return
    assert messages.decode(messages.encode(message)) == message


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_the_distances_to_ask_begin_with_the_targets_and_lie_around_it(one: bytes, target: bytes) -> None:
    requests = distances_to_ask(one, target)
    asked = [level for distances in requests for level in distances]
    exact = log_distance(one, target) or 1
    assert [len(distances) for distances in requests] == [FIRST_DISTANCES] + [MORE_DISTANCES] * (
        MAX_REQUESTS_OF_ONE - 1
    )
    assert asked[0] == exact
    assert set(asked) <= set(range(1, MAX_DISTANCE + 1))
    assert max(asked) - min(asked) == len(set(asked)) - 1 == len(asked) - 1
    assert sorted(asked, key=lambda level: abs(level - exact)) == asked


@pytest.mark.parametrize(
    ("bit", "first", "second"),
    [
        (0, (1, 2, 3), (4, 5, 6, 7, 8)),
        (1, (2, 3, 1), (4, 5, 6, 7, 8)),
        (99, (100, 101, 99), (102, 98, 103, 97, 104)),
        (254, (255, 256, 254), (253, 252, 251, 250, 249)),
        (255, (256, 255, 254), (253, 252, 251, 250, 249)),
    ],
)
def test_the_distances_at_the_ends(bit: int, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    assert distances_to_ask(bytes(32), (1 << bit).to_bytes(32, "big"))[:2] == [first, second]
    assert distances_to_ask(ID, ID)[0] == (1, 2, 3)
