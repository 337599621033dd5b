"""Node records: what is refused, what is read, and the table of bootnodes."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkle import rlp
from p2p.addresses import parse_address
from p2p.discv5 import EnrError, bootnodes, crypto, make_enr, parse_enr
from p2p.discv5.bootnodes import BOOTNODES
from p2p.discv5.endpoint import Endpoint
from p2p.discv5.enr import MAX_ENR, MAX_ENR_TEXT, MAX_SEQ, decode
from p2p.host.identity import Identity
from tests.support.discv5_nodes import FORK, record, secret

KEY = secret(1)
PUBLIC = crypto.public_of(KEY)
PLAIN = {b"id": b"v4", b"ip": bytes([192, 0, 2, 1]), b"secp256k1": PUBLIC, b"udp": b"\x23\x28"}


def signed(content: list[rlp.Item], key: bytes = KEY) -> bytes:
    """A record with this content, whatever it is worth."""
    return rlp.encode([crypto.sign(key, crypto.keccak256(rlp.encode(content))), *content])


def flat(pairs: dict[bytes, rlp.Item]) -> list[rlp.Item]:
    return [part for pair in pairs.items() for part in pair]


def test_what_is_made_is_read() -> None:
    made = record(1, "192.0.2.1", eth2=FORK, tcp=b"\x23\x29")
    read = parse_enr(made.text)
    assert read == made
    assert read.eth2 == FORK
    assert read.fork_digest == FORK[:4]
    assert read.multiaddr() == f"/ip4/192.0.2.1/tcp/9001/p2p/{made.peer_id}"
    assert str(parse_address(read.multiaddr() or "")) == read.multiaddr()


def test_the_peer_id_is_the_identity_of_the_same_key() -> None:
    assert record(1).peer_id == Identity(KEY, PUBLIC, "secp256k1").peer_id


@pytest.mark.parametrize("seq", [0, 1, 255, MAX_SEQ])
def test_every_sequence_number(seq: int) -> None:
    assert parse_enr(make_enr(KEY, seq, {}).text).seq == seq


def test_every_flipped_bit_is_refused() -> None:
    good = record(1, "192.0.2.1", eth2=FORK).encoded
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EnrError):
            decode(bytes(bad))


def test_a_signature_with_high_s_is_as_good() -> None:
    """EIP-778 does not forbid it, though libsecp256k1 does."""
    order = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
    content: list[rlp.Item] = [b"\x01", *flat(PLAIN)]
    signature = crypto.sign(KEY, crypto.keccak256(rlp.encode(content)))
    high = signature[:32] + (order - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    assert decode(rlp.encode([high, *content])).node_id == crypto.node_id_of(PUBLIC)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param([b"\x01", b"ip", b"1234", b"id", b"v4", b"secp256k1", PUBLIC], id="unsorted keys"),
        pytest.param([b"\x01", b"id", b"v4", b"id", b"v4", b"secp256k1", PUBLIC], id="a key twice"),
        pytest.param([b"\x01", *flat(PLAIN), b"zz"], id="a key without a value"),
        pytest.param([b"\x01", *flat(PLAIN), (), b"v"], id="a key that is a list"),
        pytest.param([b"\x00\x01", *flat(PLAIN)], id="a sequence number with leading zeros"),
        pytest.param([b"\x01" * 9, *flat(PLAIN)], id="a sequence number of 9 bytes"),
        pytest.param([b"\x01", *flat(PLAIN | {b"id": b"v5"})], id="another identity scheme"),
        pytest.param([b"\x01", *flat({b"id": b"v4"})], id="no key"),
        pytest.param([b"\x01", *flat(PLAIN | {b"secp256k1": PUBLIC[:32]})], id="a short key"),
        pytest.param([b"\x01", *flat(PLAIN | {b"secp256k1": b"\x05" + PUBLIC[1:]})], id="a key that is no point"),
        pytest.param([b"\x01", *flat(PLAIN | {b"secp256k1": (PUBLIC,)})], id="a key in a list"),
        pytest.param([b"\x01", *flat(PLAIN | {b"zz": bytes(200)})], id="above 300 bytes"),
        pytest.param([b"\x01"], id="nothing but a number"),
    ],
)
def test_what_is_no_record_is_refused(content: list[rlp.Item]) -> None:
    with pytest.raises(EnrError):
        decode(signed(content))


def test_another_ones_signature_is_refused() -> None:
    with pytest.raises(EnrError, match="not by its key"):
        decode(signed([b"\x01", *flat(PLAIN)], secret(2)))


def test_bytes_behind_the_record_are_refused() -> None:
    with pytest.raises(EnrError):
        decode(record(1).encoded + b"\0")


def test_values_of_unknown_keys_may_be_lists() -> None:
    pairs: dict[bytes, rlp.Item] = {**PLAIN, b"zz": (b"a", (b"b",))}
    assert decode(signed([b"\x01", *flat(pairs)])).pairs[b"zz"] == (b"a", (b"b",))


def test_the_largest_record_and_one_byte_more() -> None:
    size = MAX_ENR - len(record(1, zz=bytes(150)).encoded) + 150
    largest = record(1, zz=bytes(size))
    assert len(largest.encoded) == MAX_ENR
    assert len(largest.text) == MAX_ENR_TEXT
    assert parse_enr(largest.text) == largest
    with pytest.raises(EnrError):
        record(1, zz=bytes(size + 1))


@pytest.mark.parametrize(
    ("fields", "udp", "tcp"),
    [
        ({}, [], []),
        ({b"ip": bytes([192, 0, 2, 1])}, [], []),
        ({b"udp": b"\x23\x28", b"tcp": b"\x23\x28"}, [], []),
        ({b"ip": bytes([192, 0, 2, 1]), b"udp": b"", b"tcp": b"\x01\x00\x00"}, [], []),
        ({b"ip": bytes(4), b"udp": b"\x23\x28"}, [], []),
        ({b"ip": bytes([224, 0, 0, 1]), b"udp": b"\x23\x28"}, [], []),
        ({b"ip": bytes([255] * 4), b"udp": b"\x23\x28"}, [], []),
        ({b"ip": bytes([192, 0, 2]), b"udp": b"\x23\x28"}, [], []),
        ({b"ip6": bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 1]), b"udp6": b"\x23\x28"}, [], []),
        (
            {b"ip": bytes([192, 0, 2, 1]), b"udp": b"\x23\x28", b"tcp": b"\x23\x29"},
            [("192.0.2.1", 9000)],
            [("192.0.2.1", 9001)],
        ),
        (
            {b"ip6": b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01", b"udp": b"\x23\x28", b"tcp6": b"\x23\x29"},
            [("2001:db8::1", 9000)],
            [("2001:db8::1", 9001)],
        ),
        (
            {
                b"ip": bytes([192, 0, 2, 1]),
                b"ip6": b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01",
                b"udp": b"\x23\x28",
                b"udp6": b"\x23\x2a",
                b"tcp": b"\x23\x29",
            },
            [("192.0.2.1", 9000), ("2001:db8::1", 9002)],
            [("192.0.2.1", 9001), ("2001:db8::1", 9001)],
        ),
    ],
)
def test_endpoints(fields: dict[bytes, bytes], udp: list[tuple[str, int]], tcp: list[tuple[str, int]]) -> None:
    enr = make_enr(KEY, 1, fields)
    assert enr.udp_endpoints() == [Endpoint(*one) for one in udp]
    assert enr.tcp_endpoints() == [Endpoint(*one) for one in tcp]
    assert (enr.multiaddr() is None) == (not tcp)
    assert len(enr.multiaddrs()) == len(tcp)


@pytest.mark.parametrize("eth2", [b"", FORK[:15], FORK + b"\0"])
def test_an_eth2_field_of_another_size_is_none(eth2: bytes) -> None:
    enr = record(1, eth2=eth2)
    assert enr.eth2 is None
    assert enr.fork_digest is None


@pytest.mark.parametrize(
    "text", ["", "enr:", "enr:%%%%", "enr:é", "enode://abc", "enr:" + "A" * MAX_ENR_TEXT, "enr:AAAA"]
)
def test_text_that_is_no_record(text: str) -> None:
    with pytest.raises(EnrError):
        parse_enr(text)


@pytest.mark.fuzz
@given(st.binary(max_size=MAX_ENR + 8))
def test_any_bytes_are_a_record_or_an_enr_error(data: bytes) -> None:
    text = "enr:" + base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    try:
        parse_enr(text)
    except EnrError:
        return
    raise AssertionError("random bytes carry a signature")


def test_all_bootnodes_are_records_of_nodes_that_can_be_asked() -> None:
    assert {network: len(bootnodes(network)) for network in BOOTNODES} == {"ethereum": 17, "sepolia": 9, "hoodi": 9}
    every = [enr for network in BOOTNODES for enr in bootnodes(network)]
    assert all(enr.udp_endpoints() for enr in every)
    assert len({enr.node_id for enr in every}) == len(every)
    assert bootnodes("bitcoin") == []
