"""Answers of beacon nodes made into items, in every form that real servers send; and what is wrong with wrong ones."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from eth_vectors import archive, real_json, real_network
from rest_server import BeaconServer, flattened

from p2p.faults import FaultReason, RemoteFault
from p2p.rest.api import Reply
from spvnode.ethereum.items import MAX_ITEM, Kind
from spvnode.ethereum.networks import fork_digests
from spvnode.sync.rest_items import (
    CLASSES,
    MAX_CONTAINERS,
    Decoded,
    Updates,
    decode_chunk,
    decode_one,
    decode_updates,
    largest,
)

NIMBUS, GOERLI, LODESTAR = "mainnet-capella-nimbus21", "goerli-bellatrix-helios2022", "devnet-lodestar-deneb-electra"
FILES = {Kind.BOOTSTRAP: "bootstrap", Kind.FINALITY: "finality_update", Kind.OPTIMISTIC: "optimistic_update"}


def file(name: str, kind: Kind, form: str) -> bytes:
    return archive("real")[f"{name}/{FILES[kind]}.{form}"]


def updates_of(server: BeaconServer, first: int = 0, last: int | None = None) -> tuple[list[bytes], bytes]:
    """The SSZ of each, and an SSZ answer with them."""
    entries = [entry[2] for entry in server.entries()[first:last]]
    return [entry[12:] for entry in entries], b"".join(entries)


def periods(name: str) -> tuple[int, int]:
    entries = BeaconServer(name).entries()
    return entries[0][0], len(entries)


@pytest.mark.parametrize("name", [NIMBUS, GOERLI, LODESTAR])
@pytest.mark.parametrize("kind", list(FILES))
@pytest.mark.parametrize("named", [True, False])
def test_one_object_in_each_form_is_the_same_item(name: str, kind: Kind, named: bool) -> None:
    network = real_network(name)
    about = BeaconServer(name).manifest["files"][FILES[kind]]
    version = about["version"] if named else ""
    parsed = real_json(name, f"{FILES[kind]}.json")
    forms = [
        Reply(True, version, file(name, kind, "ssz")),
        Reply(False, version, file(name, kind, "json")),
        Reply(False, version, json.dumps(parsed, indent=4).encode()),
    ]
    if name == GOERLI:
        flat = flattened(parsed)
        forms += [Reply(False, version, json.dumps(form).encode()) for form in (flat, flat["data"])]
    for reply in forms:
        decoded = decode_one(network, kind, reply, "p")
        assert isinstance(decoded, Decoded), decoded
        assert decoded.item.kind is kind
        assert decoded.item.digest.hex() == about["context_digest"]
        assert decoded.item.ssz == file(name, kind, "ssz")


LAYOUT_OF_2022 = """{
    "attested_header": {
        "slot": "%(slot)s",
        "proposer_index": "%(proposer_index)s",
        "parent_root": "%(parent_root)s",
        "state_root": "%(state_root)s",
        "body_root": "%(body_root)s"
    },
    "sync_aggregate": {
        "sync_committee_bits": "%(sync_committee_bits)s",
        "sync_committee_signature": "%(sync_committee_signature)s"
    },
    "signature_slot": "%(signature_slot)s"
}
"""
"""An optimistic update as it was handed out before capella: bare, its header flat, no version."""


def test_json_of_2022_as_it_was_written() -> None:
    recorded = real_json(GOERLI, "optimistic_update.json")["data"]
    values = recorded["attested_header"]["beacon"] | recorded["sync_aggregate"]
    body = LAYOUT_OF_2022 % (values | {"signature_slot": recorded["signature_slot"]})
    decoded = decode_one(real_network(GOERLI), Kind.OPTIMISTIC, Reply(False, "", body.encode()), "p")
    assert isinstance(decoded, Decoded)
    assert decoded.item.ssz == file(GOERLI, Kind.OPTIMISTIC, "ssz")


@pytest.mark.parametrize("name", [NIMBUS, GOERLI, LODESTAR])
def test_updates_in_each_form_are_the_same_items(name: str) -> None:
    server, network = BeaconServer(name), real_network(name)
    start, count = periods(name)
    ssz, body = updates_of(server)
    parsed = [server.update_json(entry) for entry in server.entries()]
    forms = [Reply(True, "", body), Reply(False, "", json.dumps(parsed).encode())]
    if name == GOERLI:
        flat = flattened(parsed)
        forms += [
            Reply(False, "", json.dumps(flat).encode()),
            Reply(False, "", json.dumps({"data": [entry["data"] for entry in flat]}).encode()),
        ]
    for reply in forms:
        found = decode_updates(network, reply, start, count, "p")
        assert isinstance(found, Updates), found
        assert found.gap is None
        assert [decoded.item.ssz for decoded in found.decoded] == ssz
        digests = [entry["context_digest"] for entry in server.manifest["files"]["updates"]["entries"]]
        assert [decoded.item.digest.hex() for decoded in found.decoded] == digests


def test_none_is_a_good_answer() -> None:
    for reply in (Reply(True, "", b""), Reply(False, "", b"[]"), Reply(False, "", b'{"data": []}')):
        assert decode_updates(real_network(NIMBUS), reply, 800, 5, "p") == Updates(())


def test_the_bounds_hold_every_recorded_object() -> None:
    for name in (NIMBUS, GOERLI, LODESTAR):
        network = real_network(name)
        for kind in CLASSES:
            assert largest(network, kind) <= MAX_ITEM
        for kind in FILES:
            assert len(file(name, kind, "ssz")) <= largest(network, kind)
            assert file(name, kind, "json").count(b"{") + file(name, kind, "json").count(b"[") <= MAX_CONTAINERS


# -- wrong ones


def wrong_updates(body: bytes, *, ssz: bool = True, start: int = 800, count: int = 21, name: str = NIMBUS) -> Any:
    return decode_updates(real_network(name), Reply(ssz, "", body), start, count, "p")


def fault(found: object) -> FaultReason:
    assert isinstance(found, RemoteFault), found
    assert found.peer == "p"
    return found.reason


def test_truncated_ssz_at_every_kind_of_place() -> None:
    server = BeaconServer(NIMBUS)
    _, body = updates_of(server, 0, 2)
    first = len(updates_of(server, 0, 1)[1])
    for end in (1, 7, 8, 11, 12, 13, 100, first - 1):
        assert fault(wrong_updates(body[:end])) is FaultReason.BAD_FRAME
    for end in (first + 3, first + 9, len(body) - 1):
        found = wrong_updates(body[:end])
        assert isinstance(found, Updates)
        assert len(found.decoded) == 1
        assert found.gap is not None
        assert found.gap.reason is FaultReason.BAD_FRAME


def test_lengths_that_lie() -> None:
    _, body = updates_of(BeaconServer(NIMBUS), 0, 1)
    for length in (0, 3, 4, 2**64 - 1, len(body) - 7):
        assert fault(wrong_updates(length.to_bytes(8, "little") + body[8:])) is FaultReason.BAD_FRAME
    longer = (len(body) - 8 + 64).to_bytes(8, "little") + body[8:] + bytes(64)
    assert fault(wrong_updates(longer)) in (FaultReason.OVERSIZED, FaultReason.BAD_FRAME)


def test_wrong_digests() -> None:
    _, body = updates_of(BeaconServer(NIMBUS), 0, 1)
    assert fault(wrong_updates(body[:8] + b"\x01\x02\x03\x04" + body[12:])) is FaultReason.WRONG_NETWORK
    # A digest of the same network at another time, in the same layout and in another one.
    lodestar = BeaconServer(LODESTAR)
    network = real_network(LODESTAR)
    start, count = periods(LODESTAR)
    _, body = updates_of(lodestar)
    for digest in fork_digests(network):
        if digest != body[8:12]:
            found = wrong_updates(body[:8] + digest + body[12:], name=LODESTAR, start=start, count=count)
            assert fault(found) in (FaultReason.PROTOCOL, FaultReason.BAD_FRAME, FaultReason.REFUSED)


def test_more_than_asked_for_missing_wrong_order_and_repeated_ones() -> None:
    entries = [entry[2] for entry in BeaconServer(NIMBUS).entries()[:4]]
    found = wrong_updates(b"".join(entries), count=3)
    assert isinstance(found, Updates)
    assert (len(found.decoded), found.gap and found.gap.reason) == (3, FaultReason.OVERSIZED)
    for order, good, expected in (
        ((1, 2), 0, FaultReason.NOT_FOUND),
        ((0, 2, 1), 1, FaultReason.NOT_FOUND),
        ((0, 0, 1), 1, FaultReason.PROTOCOL),
        ((0, 1, 0), 2, FaultReason.PROTOCOL),
    ):
        found = wrong_updates(b"".join(entries[place] for place in order))
        if good:
            assert isinstance(found, Updates)
            assert len(found.decoded) == good
            found = found.gap
        assert fault(found) is expected
    assert fault(wrong_updates(b"".join(entries), start=802)) is FaultReason.PROTOCOL


def test_a_fork_that_does_not_fit() -> None:
    network = real_network(NIMBUS)
    ssz, text = file(NIMBUS, Kind.FINALITY, "ssz"), file(NIMBUS, Kind.FINALITY, "json")
    for reply in (Reply(True, "deneb", ssz), Reply(False, "deneb", text), Reply(False, "altair", text)):
        assert fault(decode_one(network, Kind.FINALITY, reply, "p")) in (FaultReason.BAD_FRAME, FaultReason.PROTOCOL)
    for version in ("gloas2", "phase0"):
        assert fault(decode_one(network, Kind.FINALITY, Reply(True, version, ssz), "p")) is FaultReason.REFUSED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"data": null}',
        b'{"data": {}}',
        b'{"data": {"attested_header": {"slot": "-1"}}}',
        b'{"data": {"attested_header": {"beacon": {"slot": "99999999999999999999999"}}}}',
        b'{"version": 7, "data": {}}',
        b'{"version": "capella", "data": {"attested_header": []}}',
        b'{"message": "oops"}',
        b"\xff\xfe",
        b"<html>",
        b'{"data": ' + b"[" * 20 + b"]" * 20 + b"}",
    ],
)
def test_json_that_is_no_object(body: bytes) -> None:
    network = real_network(NIMBUS)
    assert fault(decode_one(network, Kind.FINALITY, Reply(False, "", body), "p")) is FaultReason.BAD_FRAME
    if body not in (b"[]",):
        assert isinstance(decode_updates(network, Reply(False, "", body), 800, 4, "p"), RemoteFault)


def test_brackets_are_counted_before_they_are_parsed() -> None:
    network = real_network(NIMBUS)
    for body in (b"[" * 100_000, b"[" + b"{}," * 100_000 + b"{}]", b'{"data": [' + b"[]," * 10_000 + b"[]]}"):
        assert fault(decode_one(network, Kind.FINALITY, Reply(False, "", body), "p")) is FaultReason.OVERSIZED
        assert fault(decode_updates(network, Reply(False, "", body), 800, 32, "p")) is FaultReason.OVERSIZED
    long = b'{"data": {"attested_header": "' + b"x" * 50_000 + b'"}}'
    assert fault(decode_one(network, Kind.FINALITY, Reply(False, "", long), "p")) is FaultReason.OVERSIZED


def test_any_damage_is_an_item_or_a_fault() -> None:
    network, rng = real_network(LODESTAR), random.Random(7)
    start, count = periods(LODESTAR)
    server = BeaconServer(LODESTAR)
    _, ssz = updates_of(server)
    text = json.dumps([server.update_json(entry) for entry in server.entries()]).encode()
    outcomes = set()
    for turn in range(1500):
        body = bytearray((ssz, text)[turn % 2])
        for _ in range(rng.randrange(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        found = decode_updates(network, Reply(turn % 2 == 0, "", bytes(body)), start, count, "p")
        assert isinstance(found, Updates | RemoteFault)
        outcomes.add(type(found))
    assert outcomes == {Updates, RemoteFault}


def test_a_chunk_of_the_peer_protocols_is_judged_by_its_digest() -> None:
    network, ssz = real_network(NIMBUS), file(NIMBUS, Kind.BOOTSTRAP, "ssz")
    decoded = decode_chunk(network, Kind.BOOTSTRAP, bytes.fromhex("bba4da96"), ssz, "p")
    assert isinstance(decoded, Decoded)
    assert decoded.item.ssz == ssz
    assert fault(decode_chunk(network, Kind.BOOTSTRAP, b"abcd", ssz, "p")) is FaultReason.WRONG_NETWORK
    assert fault(decode_chunk(network, Kind.BOOTSTRAP, bytes.fromhex("bba4da96"), ssz[:-100], "p")) in (
        FaultReason.BAD_FRAME,
        FaultReason.PROTOCOL,
    )
