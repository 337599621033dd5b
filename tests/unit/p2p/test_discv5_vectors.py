"""Every official vector of Node Discovery v5.1, and the example of EIP-778."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from p2p.discv5 import crypto, make_enr, packet, parse_enr
from p2p.discv5.endpoint import Endpoint
from p2p.discv5.enr import decode as decode_record
from p2p.discv5.messages import Ping
from p2p.discv5.messages import decode as decode_message
from p2p.discv5.messages import encode as encode_message

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors/ethereum/discv5/wire.json").read_text(encoding="utf-8")
)
A_KEY, B_KEY = (bytes.fromhex(VECTORS[name]) for name in ("node_a_key", "node_b_key"))
A_ID, B_ID = (bytes.fromhex(VECTORS[name]) for name in ("node_a_id", "node_b_id"))
ZERO_IV = bytes(16)
HANDSHAKES = ["handshake", "handshake_with_enr"]


def value(*path: str) -> bytes:
    found: Any = VECTORS
    for name in path:
        found = found[name]
    return bytes.fromhex("".join(found))


def test_the_keys_give_the_ids() -> None:
    assert crypto.node_id_of(crypto.public_of(A_KEY)) == A_ID
    assert crypto.node_id_of(crypto.public_of(B_KEY)) == B_ID


def test_ping() -> None:
    data, key, nonce = value("ping", "packet"), value("ping", "read_key"), value("ping", "nonce")
    ping = Ping(value("ping", "req_id"), VECTORS["ping"]["enr_seq"])
    one = packet.decode(data, B_ID)
    assert isinstance(one, packet.Ordinary)
    assert (one.src, one.nonce) == (A_ID, nonce)
    assert decode_message(crypto.unseal(key, one.nonce, one.sealed, one.ad) or b"") == ping
    assert packet.ordinary(B_ID, A_ID, ZERO_IV, nonce, key, encode_message(ping)) == data


def test_whoareyou() -> None:
    data, challenge = value("whoareyou", "packet"), value("whoareyou", "challenge_data")
    nonce, id_nonce, seq = value("whoareyou", "request_nonce"), value("whoareyou", "id_nonce"), 0
    assert packet.decode(data, B_ID) == packet.WhoAreYou(nonce, seq, challenge)
    assert packet.whoareyou(B_ID, ZERO_IV, nonce, id_nonce, seq) == (data, challenge)
    assert VECTORS["whoareyou"]["enr_seq"] == seq


@pytest.mark.parametrize("name", HANDSHAKES)
def test_handshake_is_read(name: str) -> None:
    """As node B: keys from its own secret, the signature by node A's key, the message."""
    one = packet.decode(value(name, "packet"), B_ID)
    assert isinstance(one, packet.Handshake)
    challenge = value(name, "challenge_data")
    assert one.ephemeral == value(name, "ephemeral_pubkey")
    digest = crypto.proof_digest(challenge, one.ephemeral, B_ID)
    assert crypto.verify(crypto.public_of(A_KEY), digest, one.signature)
    keys = crypto.derive_keys(crypto.ecdh(one.ephemeral, B_KEY), A_ID, B_ID, challenge)
    assert keys.initiator == value(name, "read_key")
    message = crypto.unseal(keys.initiator, one.nonce, one.sealed, one.ad) or b""
    assert decode_message(message) == Ping(value(name, "req_id"), VECTORS[name]["enr_seq"])


@pytest.mark.parametrize("name", HANDSHAKES)
def test_handshake_is_written(name: str) -> None:
    """As node A, byte for byte: signatures are deterministic."""
    expected = value(name, "packet")
    one = packet.decode(expected, B_ID)
    assert isinstance(one, packet.Handshake)
    challenge, secret = value(name, "challenge_data"), value(name, "ephemeral_key")
    ephemeral = crypto.public_of(secret)
    keys = crypto.derive_keys(crypto.ecdh(crypto.public_of(B_KEY), secret), A_ID, B_ID, challenge)
    signature = crypto.sign(A_KEY, crypto.proof_digest(challenge, ephemeral, B_ID))
    proof = packet.Proof(A_ID, signature, ephemeral, one.record)
    ping = encode_message(Ping(value(name, "req_id"), VECTORS[name]["enr_seq"]))
    assert packet.handshake(B_ID, ZERO_IV, value(name, "nonce"), proof, keys.initiator, ping) == expected


def test_the_record_in_the_handshake_is_node_a() -> None:
    one = packet.decode(value("handshake_with_enr", "packet"), B_ID)
    assert isinstance(one, packet.Handshake)
    record = decode_record(one.record)
    assert (record.node_id, record.seq, record.ip) == (A_ID, 1, "127.0.0.1")


def test_ecdh() -> None:
    shared = crypto.ecdh(value("ecdh", "public_key"), value("ecdh", "secret_key"))
    assert shared == value("ecdh", "shared_secret")


def test_key_derivation() -> None:
    shared = crypto.ecdh(value("key_derivation", "dest_pubkey"), value("key_derivation", "ephemeral_key"))
    keys = crypto.derive_keys(shared, A_ID, B_ID, value("key_derivation", "challenge_data"))
    assert keys == (value("key_derivation", "initiator_key"), value("key_derivation", "recipient_key"))


def test_id_signature() -> None:
    vector = {name: value("id_signature", name) for name in VECTORS["id_signature"]}
    digest = crypto.proof_digest(vector["challenge_data"], vector["ephemeral_pubkey"], B_ID)
    assert crypto.sign(vector["static_key"], digest) == vector["signature"]
    assert crypto.verify(crypto.public_of(vector["static_key"]), digest, vector["signature"])


def test_aes_gcm() -> None:
    vector = {name: value("aes_gcm", name) for name in VECTORS["aes_gcm"]}
    sealed = crypto.seal(vector["key"], vector["nonce"], vector["plaintext"], vector["ad"])
    assert sealed == vector["ciphertext"]
    assert crypto.unseal(vector["key"], vector["nonce"], sealed, vector["ad"]) == vector["plaintext"]


def test_the_example_record() -> None:
    example = VECTORS["enr"]
    record = parse_enr(example["text"])
    assert record.node_id.hex() == example["node_id"]
    assert record.public.hex() == example["public"]
    assert record.seq == example["seq"]
    assert record.udp_endpoints() == [Endpoint(example["ip"], example["udp"])]
    assert record.text == example["text"]
    fields = {b"udp": example["udp"].to_bytes(2, "big"), b"ip": bytes([127, 0, 0, 1])}
    made = make_enr(bytes.fromhex(example["secret"]), example["seq"], fields)
    assert made == record
    assert bytes.fromhex(example["signature"]) in made.encoded
