"""The v1 wire: real messages, every limit, any cut of the stream, and out of any bytes messages or a fault."""

from __future__ import annotations

import json
import lzma
import random
import struct
import sys
from dataclasses import replace
from hashlib import sha256

import pytest
from btc_messages import FUZZ, MAGIC, SPOKEN, cuts
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors import VECTORS, unpacked

from p2p.bitcoin import framing, payloads
from p2p.bitcoin import messages as m
from p2p.bitcoin.cursor import compact
from p2p.bitcoin.framing import Decoder, Fed
from p2p.bitcoin.netaddr import Endpoint, Network
from p2p.bitcoin.payloads import NOWHERE, SPECS, Malformed
from p2p.faults import FaultReason, RemoteFault

CASES = 20_000 if FUZZ else 1_000
FEW = 20_000 if FUZZ else 300
REAL = VECTORS / "bitcoin"


def decoder(*, large: bool = True) -> Decoder:
    made = Decoder(MAGIC, "peer", "bitcoin")
    made.large = large
    return made


def frame(command: str, payload: bytes, magic: bytes = MAGIC) -> bytes:
    return framing.HEADER.pack(magic, command.encode(), len(payload), framing.checksum(payload)) + payload


def head(command: bytes, size: int) -> bytes:
    return framing.HEADER.pack(MAGIC, command, size, bytes(4))


def fault_of(fed: list[Fed]) -> RemoteFault:
    assert len(fed) == 1
    assert isinstance(fed[0], RemoteFault)
    return fed[0]


def block(name: str) -> bytes:
    return lzma.decompress((REAL / "blocks" / f"{name}.xz").read_bytes())


# Round trips.


@settings(max_examples=FEW, deadline=None)
@given(st.lists(SPOKEN, min_size=1, max_size=4))
def test_messages_round_trip(sent: list[m.Spoken]) -> None:
    assert decoder().feed(b"".join(framing.encode(message, MAGIC) for message in sent)) == sent


def test_every_command_is_among_the_random_messages() -> None:
    seen: set[str] = set()

    @settings(max_examples=2_000, deadline=None, database=None)
    @given(SPOKEN)
    def collect(message: m.Spoken) -> None:
        seen.add(message.command)

    collect()
    assert seen == set(SPECS)


@pytest.mark.parametrize(
    ("name", "block_hash"),
    [
        ("bcoin_block300025.raw", "0000000000000000821c4e0acc40f88bedbce3b73ba2358b5ade58a9022cc78c"),
        ("bcoin_block482683.raw", "000000000000000000c238240ef6dcb26c37e75e16514e6ffc0aef7eee73e747"),
        ("bcoin_block898352.raw", "00000000c269ad542ed9ac684cb5fa6df340d5feee0e040590225c7332b98fca"),
    ],
)
def test_real_blocks(name: str, block_hash: str) -> None:
    raw = block(name)
    (message,) = decoder().feed(frame("block", raw))
    assert isinstance(message, m.Block)
    assert message.raw == raw
    assert sha256(sha256(message.header).digest()).digest()[::-1].hex() == block_hash


def test_a_real_merkle_block() -> None:
    raw = (REAL / "merkleblocks" / "bcoin_merkle300025.raw").read_bytes()
    (message,) = decoder().feed(frame("merkleblock", raw))
    assert isinstance(message, m.MerkleBlock)
    assert message.header == block("bcoin_block300025.raw")[:80]
    assert (message.total, len(message.hashes), len(message.flags)) == (461, 10, 3)
    assert payloads.encode(message) == raw


def test_real_filters() -> None:
    for row in json.loads((REAL / "filters" / "bip158_testnet-19.json").read_text())[1:]:
        content = bytes.fromhex(row[5])
        message = m.CFilter(0, bytes.fromhex(row[1])[::-1], content)
        assert decoder().feed(framing.encode(message, MAGIC)) == [message]


def test_real_headers_lose_and_get_back_their_transaction_counts() -> None:
    raw = unpacked("mainnet_0-32259.bin")[: 80 * 2_000]
    wire = frame("headers", compact(2_000) + b"".join(raw[i : i + 80] + b"\0" for i in range(0, len(raw), 80)))
    assert decoder().feed(wire) == [m.Headers(raw)]
    assert framing.encode(m.Headers(raw), MAGIC) == wire
    assert m.Headers(raw).count == 2_000


def test_known_bytes() -> None:
    """The protocol documentation's own ``verack``, and a ``version`` as Bitcoin Core 28.1 writes it."""
    assert framing.encode(m.Verack(), MAGIC).hex() == "f9beb4d976657261636b000000000000000000005df6e0e2"
    version = bytes.fromhex(
        "80110100" "4d0c000000000000" "c3a1206700000000"
        "0000000000000000" "00000000000000000000ffff7f000001" "208d"
        "4d0c000000000000" "00000000000000000000000000000000" "0000"
        "1122334455667788" "10" "2f5361746f7368693a32382e312e302f" "35820d00" "01"
    )  # fmt: skip
    (message,) = decoder().feed(frame("version", version))
    assert isinstance(message, m.Version)
    assert (message.version, message.services, message.timestamp) == (70_016, 0xC4D, 0x6720A1C3)
    assert message.receiver == Endpoint(Network.IPV4, bytes((127, 0, 0, 1)), 8_333)
    assert (message.nonce, message.user_agent) == (0x8877665544332211, "/Satoshi:28.1.0/")
    assert (message.start_height, message.relay) == (885_301, True)
    assert payloads.encode(message) == version


def test_an_old_version_without_its_later_fields_is_read() -> None:
    short = struct.pack("<iQq", 60_000, 1, 1) + bytes(26)
    message = payloads.decode("version", short)
    assert isinstance(message, m.Version)
    assert (message.version, message.user_agent, message.start_height, message.relay) == (60_000, "", 0, True)


def test_a_later_version_with_more_fields_is_read() -> None:
    message = payloads.decode("version", struct.pack("<iQq", 80_000, 1, 1) + bytes(26 + 26 + 8 + 1 + 4 + 1) + b"more")
    assert isinstance(message, m.Version)
    assert message.version == 80_000


def test_a_user_agent_cannot_carry_control_characters() -> None:
    name = b"/a\x1b[2J\xff\n/"
    payload = struct.pack("<iQq", 70_016, 1, 1) + bytes(52 + 8) + bytes((len(name),)) + name + bytes(5)
    message = payloads.decode("version", payload)
    assert isinstance(message, m.Version)
    assert message.user_agent == "/a?[2J??/"


def test_an_inventory_is_read_row_by_row() -> None:
    rows = m.inventory_row(m.InvKind.BLOCK, b"a" * 32) + m.inventory_row(m.InvKind.WITNESS_BLOCK, b"b" * 32)
    message = m.Inv(rows)
    assert message.count == 2
    assert list(message) == [(2, b"a" * 32), (0x4000_0002, b"b" * 32)]


def test_what_nobody_could_read_does_not_leave_the_house() -> None:
    hello = m.Version(70_016, 0, 0, NOWHERE, 0, NOWHERE, 0, 1, "/x/", 0, False)
    onion = Endpoint(Network.TORV3, bytes(32), 8_333)
    for message in (
        replace(hello, user_agent="x" * (m.MAX_USER_AGENT + 1)),
        replace(hello, receiver=onion),
        m.Addr((m.Address(1, 1, onion),)),
        m.AddrV2((m.Address(1, 1, Endpoint(Network.IPV4, bytes(5), 1)),)),
        m.GetHeaders((bytes(31),)),
        m.Headers(bytes(79)),
        m.Inv(bytes(35)),
    ):
        with pytest.raises(ValueError):
            framing.encode(message, MAGIC)
    assert framing.encode(replace(hello, user_agent="x" * m.MAX_USER_AGENT), MAGIC)


# Cuts of the stream.


def whole_then_fault() -> bytes:
    stream = [framing.encode(message, MAGIC) for message in (m.Ping(1), m.Headers(bytes(160)), m.Verack())]
    return b"".join(stream) + frame("whatever", b"x" * 70) + frame("ping", b"12345678") + b"garbage" * 5


def test_byte_by_byte_gives_the_same_as_whole() -> None:
    stream = whole_then_fault()
    whole, pieces = decoder(), decoder()
    expected = whole.feed(stream)
    assert [type(item) for item in expected] == [m.Ping, m.Headers, m.Verack, m.Unknown, m.Ping, RemoteFault]
    assert [item for byte in stream for item in pieces.feed(bytes((byte,)))] == expected


@pytest.mark.fuzz
@settings(max_examples=CASES, deadline=None)
@given(st.data())
def test_any_cut_of_any_stream_gives_the_same(data: st.DataObject) -> None:
    sent = data.draw(st.lists(SPOKEN, max_size=3))
    tail = data.draw(st.binary(max_size=60))
    stream = b"".join(framing.encode(message, MAGIC) for message in sent) + tail
    expected = decoder().feed(stream)
    assert expected[: len(sent)] == sent
    pieces = decoder()
    assert [item for piece in cuts(data.draw, stream) for item in pieces.feed(piece)] == expected


@pytest.mark.fuzz
@settings(max_examples=CASES, deadline=None)
@given(st.sampled_from(sorted(SPECS)), st.binary(max_size=400))
def test_any_payload_is_a_message_with_that_encoding_or_malformed(command: str, payload: bytes) -> None:
    message = payloads.decode(command, payload)
    if isinstance(message, Malformed):
        assert message.reason in (FaultReason.BAD_FRAME, FaultReason.OVERSIZED)
    elif not isinstance(message, m.Version | m.Addr | m.Unknown):  # versions have tails, addresses a second spelling
        assert payloads.encode(message) == payload
    else:
        assert message.command == command


@pytest.mark.fuzz
@settings(max_examples=CASES, deadline=None)
@given(st.data())
def test_flipped_bytes_are_a_message_or_a_fault(data: st.DataObject) -> None:
    message = data.draw(SPOKEN)
    payload = bytearray(payloads.encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        if payload:
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    del payload[data.draw(st.integers(0, len(payload))) :]
    fed = decoder().feed(frame(message.command, bytes(payload)))
    assert len(fed) == 1
    if isinstance(fed[0], RemoteFault):
        assert fed[0].reason in (FaultReason.BAD_FRAME, FaultReason.OVERSIZED)
        assert (fed[0].peer, fed[0].network) == ("peer", "bitcoin")


@pytest.mark.fuzz
@settings(max_examples=CASES, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_messages_and_at_most_one_fault_at_the_end(stream: bytes, begins_well: bool) -> None:
    fed = decoder().feed((MAGIC if begins_well else b"") + stream)
    assert not any(isinstance(item, RemoteFault) for item in fed[:-1])


# Limits.


@pytest.mark.parametrize(
    ("command", "least", "most"),
    [
        ("version", 46, 1_024),
        ("verack", 0, 0),
        ("sendheaders", 0, 0),
        ("sendaddrv2", 0, 0),
        ("wtxidrelay", 0, 0),
        ("getaddr", 0, 0),
        ("ping", 8, 8),
        ("pong", 8, 8),
        ("feefilter", 8, 8),
        ("getheaders", 37, 37 + 32 * 101),
        ("headers", 1, 162_003),
        ("inv", 1, 1_800_003),
        ("getdata", 1, 1_800_003),
        ("notfound", 1, 1_800_003),
        ("block", 81, 4_000_000),
        ("merkleblock", 86, 537_602),
        ("addr", 1, 30_003),
        ("addrv2", 1, 531_003),
        ("getcfilters", 37, 37),
        ("cfilter", 34, 524_326),
        ("getcfheaders", 37, 37),
        ("cfheaders", 66, 64_068),
        ("getcfcheckpt", 33, 33),
        ("cfcheckpt", 34, 320_036),
        ("unheard-of", 0, 4_000_000),
    ],
)
def test_the_header_of_a_frame_holds_the_limit_of_its_command(command: str, least: int, most: int) -> None:
    """Before a byte of the payload is there."""
    name = command.encode()
    assert decoder().feed(head(name, most)[:-1]) == []
    assert not any(isinstance(item, RemoteFault) for item in decoder().feed(frame(command, bytes(most))[:24]))
    assert fault_of(decoder().feed(head(name, most + 1))).reason is FaultReason.OVERSIZED
    assert fault_of(decoder().feed(head(name, 0xFFFF_FFFF))).reason is FaultReason.OVERSIZED
    if least:
        assert fault_of(decoder().feed(head(name, least - 1))).reason is FaultReason.BAD_FRAME


def test_every_command_has_its_limit_tested_above() -> None:
    (mark,) = test_the_header_of_a_frame_holds_the_limit_of_its_command.pytestmark  # type: ignore[attr-defined]
    assert {row[0] for row in mark.args[1]} == {*SPECS, "unheard-of"}


def addresses(count: int) -> m.AddrV2:
    return m.AddrV2((m.Address(1, 1, Endpoint(Network.IPV4, b"\1\2\3\4", 8_333)),) * count)


def merkle_block(hashes: int, flags: int) -> m.MerkleBlock:
    return m.MerkleBlock(bytes(80), 1, (bytes(32),) * hashes, bytes(flags))


def filter_headers(count: int) -> m.CFHeaders:
    return m.CFHeaders(0, bytes(32), bytes(32), bytes(32 * count))


@pytest.mark.parametrize(
    ("message", "again"),
    [
        (m.GetHeaders((bytes(32),) * 101), m.GetHeaders((bytes(32),) * 102)),
        (m.Headers(bytes(80 * 2_000)), m.Headers(bytes(80 * 2_001))),
        (m.Inv(bytes(36 * 50_000)), m.Inv(bytes(36 * 50_001))),
        (m.Block(bytes(4_000_000)), m.Block(bytes(4_000_001))),
        (m.Block(bytes(81)), m.Block(bytes(80))),
        (merkle_block(16_666, 0), merkle_block(16_667, 0)),
        (merkle_block(0, 4_200), merkle_block(0, 4_201)),
        (addresses(1_000), addresses(1_001)),
        (m.CFilter(0, bytes(32), bytes(524_288)), m.CFilter(0, bytes(32), bytes(524_289))),
        (filter_headers(2_000), filter_headers(2_001)),
        (m.CFCheckpt(0, bytes(32), bytes(32 * 10_000)), m.CFCheckpt(0, bytes(32), bytes(32 * 10_001))),
    ],
)
def test_the_greatest_message_passes_and_the_next_does_not_leave_the_house(message: m.Spoken, again: m.Spoken) -> None:
    assert decoder().feed(framing.encode(message, MAGIC)) == [message]
    with pytest.raises(ValueError):
        framing.encode(again, MAGIC)


@pytest.mark.parametrize(
    ("command", "payload", "reason"),
    [
        ("headers", compact(2_001) + bytes(50), FaultReason.OVERSIZED),
        ("headers", compact(2**63) + bytes(50), FaultReason.OVERSIZED),
        ("headers", compact(2) + bytes(81), FaultReason.BAD_FRAME),
        ("headers", compact(1) + bytes(82), FaultReason.BAD_FRAME),
        ("headers", compact(1) + bytes(80) + b"\1", FaultReason.BAD_FRAME),
        ("headers", b"\xfd\x01\x00" + bytes(81), FaultReason.BAD_FRAME),
        ("inv", compact(50_001), FaultReason.OVERSIZED),
        ("inv", compact(1) + bytes(37), FaultReason.BAD_FRAME),
        ("inv", b"\xff" + bytes(7), FaultReason.BAD_FRAME),
        ("addr", compact(1_001) + bytes(60), FaultReason.OVERSIZED),
        ("addrv2", compact(1_001) + bytes(60), FaultReason.OVERSIZED),
        ("addrv2", compact(1) + bytes(4) + b"\0\x63" + compact(513) + bytes(520), FaultReason.OVERSIZED),
        ("addrv2", compact(1) + bytes(4) + b"\0\1" + compact(5) + bytes(7), FaultReason.BAD_FRAME),
        ("addrv2", compact(1) + bytes(4) + b"\0\4" + compact(31) + bytes(33), FaultReason.BAD_FRAME),
        ("getheaders", bytes(4) + compact(102) + bytes(64), FaultReason.OVERSIZED),
        ("merkleblock", bytes(84) + compact(16_667) + bytes(9), FaultReason.OVERSIZED),
        ("merkleblock", bytes(84) + compact(0) + compact(4_201) + bytes(9), FaultReason.OVERSIZED),
        ("cfilter", bytes(33) + compact(524_289), FaultReason.OVERSIZED),
        ("cfheaders", bytes(65) + compact(2_001), FaultReason.OVERSIZED),
        ("cfcheckpt", bytes(33) + compact(10_001), FaultReason.OVERSIZED),
        ("version", struct.pack("<iQq", 70_016, 1, 1) + bytes(60) + compact(257) + bytes(300), FaultReason.OVERSIZED),
        ("version", struct.pack("<iQq", 70_016, 1, 1) + bytes(26 + 25), FaultReason.BAD_FRAME),
    ],
)
def test_a_count_above_its_limit_or_its_bytes_is_refused(command: str, payload: bytes, reason: FaultReason) -> None:
    assert fault_of(decoder().feed(frame(command, payload))).reason is reason


def test_nothing_is_read_after_a_fault() -> None:
    reader = decoder()
    assert fault_of(reader.feed(b"\0" * 24)).reason is FaultReason.BAD_FRAME
    assert reader.feed(framing.encode(m.Ping(1), MAGIC)) == []
    assert reader.buffered == 0


@pytest.mark.parametrize("magic", ["0b110907", "fabfb5da", "e3e1f3e8"])
def test_another_network_is_named_as_that(magic: str) -> None:
    other = framing.encode(m.Verack(), bytes.fromhex(magic))
    assert fault_of(decoder().feed(other)).reason is FaultReason.WRONG_NETWORK


def test_a_wrong_checksum_is_a_fault() -> None:
    wire = bytearray(framing.encode(m.Ping(7), MAGIC))
    wire[-1] ^= 1
    assert fault_of(decoder().feed(bytes(wire))).reason is FaultReason.BAD_FRAME


@pytest.mark.parametrize("command", [b"ver\0ack\0\0\0\0\0", b"ping\x01\0\0\0\0\0\0\0", b"p\xffng\0\0\0\0\0\0\0\0"])
def test_a_command_is_printable_and_padded_with_zeros(command: bytes) -> None:
    assert fault_of(decoder().feed(head(command, 0))).reason is FaultReason.BAD_FRAME


def test_unknown_commands_are_counted_and_not_kept() -> None:
    reader = decoder()
    assert reader.feed(head(b"tx", 4_000_000)) == []
    held = 0
    for _ in range(62):
        assert reader.feed(bytes(64_000)) == []
        held = max(held, reader.buffered)
    assert held == 0
    assert reader.feed(bytes(32_000) + framing.encode(m.Ping(3), MAGIC)) == [m.Unknown("tx", 4_000_000), m.Ping(3)]


def test_blocks_are_kept_only_while_one_is_awaited() -> None:
    raw = block("bcoin_block482683.raw")
    reader = decoder(large=False)
    assert reader.feed(frame("block", raw)) == [m.Unknown("block", len(raw))]
    reader.large = True
    assert reader.feed(frame("block", raw)) == [m.Block(raw)]


def test_a_block_that_nobody_awaits_is_turned_away_at_its_header() -> None:
    for command, size in ((b"block", 4_000_000), (b"merkleblock", 500_000), (b"inv", 1_800_003), (b"cfilter", 500_000)):
        reader = decoder(large=False)
        assert reader.feed(head(command, size) + bytes(20_000)) == []
        assert reader.buffered == 0
        assert reader.feed(bytes(size - 20_000)) == [m.Unknown(command.decode(), size)]
        assert reader.feed(framing.encode(m.Ping(3), MAGIC)) == [m.Ping(3)]


def test_what_a_peer_may_send_unasked_is_kept_up_to_its_bound() -> None:
    for message in (m.Headers(bytes(80 * 2_000)), m.Inv(bytes(36 * 5_000))):
        reader, wire = decoder(large=False), framing.encode(message, MAGIC)
        assert reader.feed(wire[:-1]) == []
        assert reader.buffered <= payloads.MAX_UNASKED
        assert reader.feed(wire[-1:]) == [message]
    over = m.Inv(bytes(36 * 5_001))
    assert decoder(large=False).feed(framing.encode(over, MAGIC)) == [m.Unknown("inv", 3 + 36 * 5_001)]


def test_only_blocks_of_an_inventory_are_taken_out_and_the_last_ones() -> None:
    names = [bytes([number]) * 32 for number in range(9)]
    kinds = [1, 2, 3, 5, 0x4000_0001, 0x4000_0002, 2, 1, 2]
    rows = b"".join(kind.to_bytes(4, "little") + name for kind, name in zip(kinds, names, strict=True))
    inv = m.Inv(rows)
    assert inv.last_blocks(16) == tuple(names[row] for row in (1, 2, 5, 6, 8))
    assert inv.last_blocks(2) == (names[6], names[8])
    assert m.Inv(b"").last_blocks(16) == ()


def test_rows_of_transactions_are_not_looked_at_one_by_one() -> None:
    """Counted in calls of the interpreter, which a machine's load does not change."""
    tx, nearly = m.inventory_row(m.InvKind.TX, bytes(32)), bytes((2, 0, 0, 1)) + bytes(32)
    for row in (tx, nearly):
        inv, calls = m.Inv(row * 50_000), 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            found = inv.last_blocks(16)
        finally:
            sys.setprofile(None)
        assert found == ()
        assert calls < 100


def test_memory_is_bounded_by_the_payload_awaited() -> None:
    reader = decoder()
    stream = head(b"inv", 1_800_003) + bytes(1_800_002)
    for at in range(0, len(stream), 65_536):
        reader.feed(stream[at : at + 65_536])
        assert reader.buffered <= 1_800_003
    assert len(reader.feed(b"\0")) == 1
    assert reader.buffered == 0


def test_a_long_stream_in_small_pieces() -> None:
    """20,000 pieces: were the buffer rebuilt at each, this would move gigabytes."""
    wire = framing.encode(m.Headers(random.Random(1).randbytes(80 * 2_000)), MAGIC)
    reader = decoder()
    got = [item for at in range(0, len(wire), 8) for item in reader.feed(wire[at : at + 8])]
    assert got == decoder().feed(wire)
