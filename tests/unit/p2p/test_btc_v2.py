"""BIP324: the official vectors, whole sessions in any cut, decoys, v1 on either side, and hostile bytes."""

from __future__ import annotations

import random

import pytest
from btc_messages import FUZZ, MAGIC, SPOKEN, bip324, cuts
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.bitcoin import ellswift, framing
from p2p.bitcoin import messages as m
from p2p.bitcoin.framing import Fed
from p2p.bitcoin.payloads import MAX_UNASKED
from p2p.bitcoin.v2 import MAX_CONTENTS, MAX_GARBAGE, SHORT_IDS, V1Transport, V2Transport
from p2p.bitcoin.v2_cipher import REKEY_INTERVAL, FSChaCha20Poly1305, PacketCipher, derive
from p2p.faults import FaultReason, RemoteFault

CASES = 20_000 if FUZZ else 400
PACKETS = bip324("packet_encoding_test_vectors.csv")


def unhex(row: dict[str, str], name: str) -> bytes:
    return bytes.fromhex(row[name])


# Official vectors.


@pytest.mark.parametrize("row", PACKETS, ids=lambda row: f"packet {row['in_idx']}")
def test_packet_vectors(row: dict[str, str]) -> None:
    initiator = row["in_initiating"] == "1"
    secret, ours, theirs = (unhex(row, f"in_{name}") for name in ("priv_ours", "ellswift_ours", "ellswift_theirs"))
    assert ellswift.x_only(ours) == unhex(row, "mid_x_ours")
    assert ellswift.x_only(theirs) == unhex(row, "mid_x_theirs")
    shared = ellswift.agree(ours, theirs, secret, initiator=initiator)
    assert shared == unhex(row, "mid_shared_secret")
    keys = derive(shared, MAGIC)
    for name in ("initiator_l", "initiator_p", "responder_l", "responder_p"):
        assert getattr(keys, name) == unhex(row, f"mid_{name}")
    cipher = PacketCipher(keys, initiator=initiator)
    assert cipher.send_terminator == unhex(row, "mid_send_garbage_terminator")
    assert cipher.recv_terminator == unhex(row, "mid_recv_garbage_terminator")
    assert cipher.session_id == unhex(row, "out_session_id")
    for _ in range(int(row["in_idx"])):
        cipher.seal(b"")
    contents = unhex(row, "in_contents") * int(row["in_multiply"])
    packet = cipher.seal(contents, unhex(row, "in_aad"), decoy=row["in_ignore"] == "1")
    if row["out_ciphertext"]:
        assert packet == unhex(row, "out_ciphertext")
    assert packet.endswith(unhex(row, "out_ciphertext_endswith"))


def test_the_packet_vectors_are_all_there() -> None:
    assert len(PACKETS) == 7
    assert max(int(row["in_idx"]) for row in PACKETS) > 3 * 224  # beyond several rekeyings


def test_decoding_vectors() -> None:
    rows = bip324("ellswift_decode_test_vectors.csv")
    assert len(rows) == 76
    for row in rows:
        assert ellswift.x_only(unhex(row, "ellswift")) == unhex(row, "x")


def test_encoding_vectors_decode_to_their_x() -> None:
    rows = bip324("xswiftec_inv_test_vectors.csv")
    checked = 0
    for row in rows:
        for case in range(8):
            if row[f"case{case}_t"]:
                assert ellswift.x_only(unhex(row, "u") + unhex(row, f"case{case}_t")) == unhex(row, "x")
                checked += 1
    assert (len(rows), checked) == (32, 98)


def test_made_keys_decode_and_agree() -> None:
    for _ in range(20):
        secrets = [ellswift.new_secret(), ellswift.new_secret()]
        keys = [ellswift.create(secret, random.randbytes(32)) for secret in secrets]
        first = ellswift.agree(keys[0], keys[1], secrets[0], initiator=True)
        assert first == ellswift.agree(keys[1], keys[0], secrets[1], initiator=False)


def test_our_own_mistakes_raise() -> None:
    key = ellswift.create(bytes(31) + b"\1", bytes(32))
    with pytest.raises(ValueError, match="private key"):
        ellswift.create(bytes(32), bytes(32))
    with pytest.raises(ValueError, match="private key"):
        ellswift.agree(key, key, bytes(32), initiator=True)
    with pytest.raises(ValueError, match="64 bytes"):
        ellswift.agree(key, key[:63], bytes(31) + b"\1", initiator=True)
    with pytest.raises(ValueError, match="garbage"):
        side(initiator=True, garbage=bytes(MAX_GARBAGE + 1))
    with pytest.raises(RuntimeError, match="handshake"):
        side(initiator=True).encode(m.Ping(1))
    with pytest.raises(RuntimeError, match="keys"):
        side(initiator=True).decoy()


# Sessions.


def side(*, initiator: bool, garbage: bytes = b"", magic: bytes = MAGIC, number: int = 1) -> V2Transport:
    secret = bytes(30) + number.to_bytes(1, "big") + bytes((1 + initiator,))
    made = V2Transport(
        magic,
        initiator=initiator,
        secret=secret,
        randomness=bytes(31) + bytes((number,)),
        garbage=garbage,
        peer="peer",
        network="bitcoin",
    )
    made.large = True
    return made


def shake_hands(first: V2Transport, second: V2Transport) -> None:
    while (there := first.outgoing()) or (back := second.outgoing()):
        if there:
            assert second.feed(there) == []
        elif back:
            assert first.feed(back) == []


def pair(garbage: tuple[bytes, bytes] = (b"", b"")) -> tuple[V2Transport, V2Transport]:
    first, second = side(initiator=True, garbage=garbage[0]), side(initiator=False, garbage=garbage[1])
    shake_hands(first, second)
    return first, second


def fault_of(fed: list[Fed]) -> RemoteFault:
    assert len(fed) == 1
    assert isinstance(fed[0], RemoteFault)
    return fed[0]


@pytest.mark.parametrize("garbage", [(b"", b""), (b"x" * 4_095, b""), (b"", b"y" * 4_095), (b"ab" * 9, b"c")])
def test_two_sides_come_together(garbage: tuple[bytes, bytes]) -> None:
    first, second = pair(garbage)
    assert first.ready
    assert second.ready
    assert first.version == second.version == 2
    assert first.session_id == second.session_id is not None
    assert second.feed(first.encode(m.Ping(5))) == [m.Ping(5)]
    assert first.feed(second.encode(m.Pong(5))) == [m.Pong(5)]


def test_the_handshake_takes_one_and_a_half_round_trips() -> None:
    first, second = side(initiator=True), side(initiator=False)
    assert second.feed(first.outgoing()) == []
    answer = second.outgoing()
    assert len(answer) == 64 + 16 + 20  # key, terminator, version packet
    assert first.feed(answer) == []
    assert first.ready
    assert not second.ready
    assert second.feed(first.outgoing() + first.encode(m.Verack())) == [m.Verack()]


def test_messages_go_on_over_many_rekeyings() -> None:
    first, second = pair()
    for number in range(224 * 5 + 3):
        assert second.feed(first.encode(m.Ping(number))) == [m.Ping(number)]


def test_a_decoy_is_ignored_anywhere() -> None:
    first, second = side(initiator=True), side(initiator=False)
    second.feed(first.outgoing())
    first.feed(second.outgoing())
    keys = first.outgoing()
    # Decoys behind the version packet, and between messages.
    assert second.feed(keys + first.decoy(b"some cover") + first.encode(m.Ping(1)) + first.decoy()) == [m.Ping(1)]
    assert second.feed(first.encode(m.Ping(2))) == [m.Ping(2)]
    assert second.decoys == 2


def test_a_decoy_may_come_first_and_then_carries_the_garbage() -> None:
    first = side(initiator=True)
    secret, garbage = bytes(31) + b"\7", b"some garbage"
    ours = ellswift.create(secret, bytes(32))
    theirs = first.outgoing()
    cipher = PacketCipher(derive(ellswift.agree(ours, theirs, secret, initiator=False), MAGIC), initiator=False)
    stream = ours + garbage + cipher.send_terminator + cipher.seal(b"decoy", garbage, decoy=True)
    assert first.feed(stream) == []
    assert not first.ready
    assert first.feed(cipher.seal(b"contents of a later version")) == []
    assert first.ready


@pytest.mark.parametrize("number", [0, 29, 127, 255])
def test_unknown_types_are_counted(number: int) -> None:
    first, second = pair()
    contents = bytes((number,)) + (b"unheard-of\0\0" if number == 0 else b"") + b"payload"
    name = "unheard-of" if number == 0 else f"type {number}"
    assert second.feed(first._keys().seal(contents)) == [m.Unknown(name, 7)]


def test_long_and_short_names_mean_the_same() -> None:
    first, second = pair()
    long = first._keys().seal(b"\0ping\0\0\0\0\0\0\0\0" + (7).to_bytes(8, "little"))
    assert second.feed(long) == [m.Ping(7)]
    assert second.feed(first.encode(m.Ping(7))) == [m.Ping(7)]
    assert len(long) - len(first.encode(m.Ping(7))) == 12
    assert len(first.encode(m.SendAddrV2())) == 3 + 17 + 13  # has no short name
    assert len(SHORT_IDS) == len(set(SHORT_IDS.values())) == 28


def test_blocks_are_kept_only_while_one_is_awaited() -> None:
    first, second = pair()
    second.large = False
    assert second.feed(first.encode(m.Block(bytes(500)))) == [m.Unknown("block", 500)]
    second.large = True
    assert second.feed(first.encode(m.Block(bytes(500)))) == [m.Block(bytes(500))]


def fed_in_pieces(reader: V2Transport, data: bytes) -> tuple[list[Fed], int]:
    """What comes of it, and the most that was held meanwhile."""
    out, most = list[Fed](), 0
    for at in range(0, len(data), 65_536):
        out += reader.feed(data[at : at + 65_536])
        most = max(most, reader.buffered)
    return out, most


def test_what_nobody_awaits_is_never_gathered_up_and_the_session_goes_on() -> None:
    """4 MB of a hostile peer are not held, whatever he calls them; nor are 50,000 rows."""
    first, second = pair()
    second.large = False
    rows = m.inventory_row(m.InvKind.TX, bytes(32)) * 50_000
    for big in (m.Block(bytes(4_000_000)), m.Inv(rows), None):
        got, most = fed_in_pieces(second, first.decoy(bytes(3_000_000)) if big is None else first.encode(big))
        assert [type(one) for one in got] == [m.Unknown]
        assert most == 0
        assert second.feed(first.encode(m.Ping(7))) == [m.Ping(7)]
    headers = m.Headers(bytes(80 * 2_000))
    got, most = fed_in_pieces(second, first.encode(headers))
    assert got == [headers]
    assert most <= MAX_UNASKED
    second.large = True
    assert second.feed(first.encode(m.Block(bytes(4_000_000)))) == [m.Block(bytes(4_000_000))]


def test_packets_are_thrown_away_over_any_number_of_keys() -> None:
    first, second = pair()
    second.large = False
    big = m.Block(bytes(MAX_UNASKED + 20))
    for number in range(2 * REKEY_INTERVAL + 3):
        assert [type(one) for one in second.feed(first.encode(big))] == [m.Unknown], number
    assert second.feed(first.encode(m.Ping(7))) == [m.Ping(7)]


def test_nobody_on_the_line_can_make_a_packet_disappear() -> None:
    """By a length that he makes great, and as many bytes of his own: what is thrown away is sealed, too."""
    for at in (3, -1):
        first, second = pair()
        second.large = False
        ping = first.encode(m.Ping(1))
        longer = bytes((ping[0], ping[1], ping[2] ^ 0x04)) + ping[3:] + bytes(262_144)
        (fault,) = second.feed(longer)
        assert isinstance(fault, RemoteFault)
        assert fault.reason is FaultReason.BAD_FRAME
        first, second = pair()
        second.large = False
        big = bytearray(first.encode(m.Block(bytes(MAX_UNASKED + 20))))
        big[at] ^= 1
        (fault,) = second.feed(bytes(big))
        assert isinstance(fault, RemoteFault)
        assert fault.reason is FaultReason.BAD_FRAME


def test_the_packet_that_vouches_for_the_garbage_is_never_skipped() -> None:
    first, second = side(initiator=True), side(initiator=False)
    second.feed(first.outgoing())
    first.feed(second.outgoing())
    cipher = first._keys()
    fault = second.feed(cipher.send_terminator + cipher.seal(bytes(MAX_UNASKED + 20)))[-1]
    assert isinstance(fault, RemoteFault)
    assert fault.reason is FaultReason.OVERSIZED


@pytest.mark.fuzz
@settings(max_examples=CASES, deadline=None)
@given(st.data())
def test_any_cut_of_a_session_gives_the_same(data: st.DataObject) -> None:
    garbage = data.draw(st.binary(max_size=100)), data.draw(st.binary(max_size=100))
    first, second = side(initiator=True, garbage=garbage[0]), side(initiator=False, garbage=garbage[1])
    answer = bytearray()
    for piece in cuts(data.draw, first.outgoing()):
        assert second.feed(piece) == []
        answer += second.outgoing()
    for piece in cuts(data.draw, bytes(answer)):
        assert first.feed(piece) == []
    sent = data.draw(st.lists(SPOKEN, max_size=3))
    stream = first.outgoing() + b"".join(first.decoy() + first.encode(message) for message in sent)
    assert [item for piece in cuts(data.draw, stream) for item in second.feed(piece)] == sent


def test_byte_by_byte() -> None:
    first, second = side(initiator=True, garbage=b"g" * 300), side(initiator=False, garbage=b"h" * 200)
    for a, b in ((first, second), (second, first), (first, second)):
        for byte in a.outgoing():
            assert b.feed(bytes((byte,))) == []
    got = [item for byte in first.encode(m.Headers(bytes(800))) for item in second.feed(bytes((byte,)))]
    assert got == [m.Headers(bytes(800))]


# v1 on the other side.


def test_a_responder_goes_on_as_v1_when_that_is_spoken() -> None:
    second = side(initiator=False)
    hello = framing.encode(m.Ping(1), MAGIC)
    version = framing.HEADER.pack(MAGIC, b"version", 46, framing.checksum(bytes(46))) + bytes(46)
    got = [item for byte in version + hello for item in second.feed(bytes((byte,)))]
    assert [type(item) for item in got] == [m.Version, m.Ping]
    assert (second.version, second.ready, second.outgoing()) == (1, True, b"")
    assert second.encode(m.Pong(1)) == framing.encode(m.Pong(1), MAGIC)


def test_a_responder_on_v1_knows_what_is_awaited() -> None:
    second = side(initiator=False)
    version = framing.HEADER.pack(MAGIC, b"version", 46, framing.checksum(bytes(46))) + bytes(46)
    second.feed(version)
    assert second.feed(framing.encode(m.Block(bytes(90)), MAGIC)) == [m.Block(bytes(90))]
    second.large = False
    assert second.feed(framing.encode(m.Block(bytes(90)), MAGIC)) == [m.Unknown("block", 90)]
    assert not second.large


def test_an_initiator_that_hears_nothing_has_met_v1() -> None:
    """What a v1 node does with our key: a wrong magic, and it hangs up."""
    first = side(initiator=True)
    victim = V1Transport(MAGIC)
    assert isinstance(victim.feed(first.outgoing())[-1], RemoteFault)
    assert first.speaks_v1
    assert not first.ready


def test_an_initiator_that_is_answered_in_v1_has_met_v1() -> None:
    first = side(initiator=True)
    first.outgoing()
    wire = framing.HEADER.pack(MAGIC, b"version", 46, framing.checksum(bytes(46)))
    assert fault_of([item for byte in wire for item in first.feed(bytes((byte,)))]).reason is FaultReason.REFUSED
    assert first.speaks_v1


def test_an_initiator_that_was_answered_in_v2_has_not() -> None:
    first, _ = pair()
    assert not first.speaks_v1


def test_v1_of_another_network_is_named_as_that() -> None:
    second = side(initiator=False)
    wire = framing.HEADER.pack(bytes.fromhex("0b110907"), b"version", 46, bytes(4))
    assert fault_of(second.feed(wire)).reason is FaultReason.WRONG_NETWORK


def test_v2_of_another_network_never_comes_together() -> None:
    first, second = side(initiator=True), side(initiator=False, magic=bytes.fromhex("0b110907"))
    second.feed(first.outgoing())
    assert first.feed(second.outgoing()) == []
    fault = first.feed(bytes(MAX_GARBAGE + 16))
    assert fault_of(fault).reason is FaultReason.BAD_FRAME


# Limits and lies.


@pytest.mark.parametrize("size", [MAX_GARBAGE, MAX_GARBAGE + 1])
def test_garbage_ends_where_the_terminator_must_be(size: int) -> None:
    first = side(initiator=True)
    secret, garbage = bytes(31) + b"\7", bytes(size)
    ours = ellswift.create(secret, bytes(32))
    cipher = PacketCipher(
        derive(ellswift.agree(ours, first.outgoing(), secret, initiator=False), MAGIC), initiator=False
    )
    fed = first.feed(ours + garbage + cipher.send_terminator + cipher.seal(b"", garbage))
    if size == MAX_GARBAGE:
        assert fed == []
        assert first.ready
    else:
        assert fault_of(fed).reason is FaultReason.BAD_FRAME


def test_endless_garbage_is_not_kept() -> None:
    first = side(initiator=True)
    for _ in range(66):
        assert first.feed(bytes((1,)) * 63) == []
    assert fault_of(first.feed(bytes((1,)) * 63)).reason is FaultReason.BAD_FRAME
    assert first.buffered == 0
    assert first.feed(b"more") == []


def test_changed_garbage_does_not_authenticate() -> None:
    first, second = side(initiator=True, garbage=b"garbage"), side(initiator=False)
    second.feed(first.outgoing().replace(b"garbage", b"Garbage"))
    first.feed(second.outgoing())
    assert fault_of(second.feed(first.outgoing())).reason is FaultReason.BAD_FRAME


@pytest.mark.parametrize(("length", "reason"), [(MAX_CONTENTS, None), (MAX_CONTENTS + 1, FaultReason.OVERSIZED)])
def test_a_packet_is_refused_by_its_length(length: int, reason: FaultReason | None) -> None:
    first, second = pair()
    fed = second.feed(first._keys()._send_l.crypt(length.to_bytes(3, "little")))
    assert (fault_of(fed).reason if fed else None) is reason


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", FaultReason.BAD_FRAME),
        (b"\0", FaultReason.BAD_FRAME),
        (b"\0ping\0\0\0\0\0\0\0", FaultReason.BAD_FRAME),
        (b"\0pi\0ng\0\0\0\0\0\0\0", FaultReason.BAD_FRAME),
        (b"\x12" + bytes(9), FaultReason.OVERSIZED),
        (b"\x12" + bytes(7), FaultReason.BAD_FRAME),
        (b"\x0d\xfd\xd1\x07", FaultReason.OVERSIZED),
    ],
)
def test_bad_contents_are_a_fault(contents: bytes, reason: FaultReason) -> None:
    first, second = pair()
    fault = fault_of(second.feed(first._keys().seal(contents)))
    assert (fault.reason, fault.peer, fault.network) == (reason, "peer", "bitcoin")
    assert second.feed(first.encode(m.Ping(1))) == []


def test_a_replayed_or_swapped_packet_is_a_fault() -> None:
    first, second = pair()
    packet = first.encode(m.Ping(1))
    assert second.feed(packet) == [m.Ping(1)]
    fed = second.feed(packet + bytes(MAX_CONTENTS + 20))
    assert fault_of(fed).reason in (FaultReason.BAD_FRAME, FaultReason.OVERSIZED)


def test_a_cipher_does_not_move_on_over_a_forgery() -> None:
    sender, reader = FSChaCha20Poly1305(bytes(32)), FSChaCha20Poly1305(bytes(32))
    packet = sender.encrypt(b"", b"text")
    assert reader.decrypt(b"", bytes(len(packet))) is None
    assert reader.decrypt(b"", packet) == b"text"


@pytest.mark.fuzz
@settings(max_examples=CASES, deadline=None)
@given(st.binary(max_size=300), st.booleans(), st.integers(0, 3))
def test_any_bytes_at_any_stage_are_messages_or_one_fault(noise: bytes, initiator: bool, stage: int) -> None:
    first, second = side(initiator=True), side(initiator=False)
    if stage == 3:
        shake_hands(first, second)
    elif stage:
        second.feed(first.outgoing())
        if stage == 2:
            first.feed(second.outgoing())
    victim = first if initiator else second
    fed = victim.feed(noise)
    assert not any(isinstance(item, RemoteFault) for item in fed[:-1])
    assert victim.buffered <= len(noise) + 64 + MAX_GARBAGE + 16
