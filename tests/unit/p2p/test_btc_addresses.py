"""Addresses of Bitcoin peers: text and back, what can be dialed, groups; and the seeds and anchors made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from btc_messages import ANY_NETWORK
from hypothesis import given, settings

from p2p.bitcoin.anchors import MAX_ANCHORS, load_anchors, save_anchors
from p2p.bitcoin.netaddr import (
    HOST_SIZES,
    Endpoint,
    NetAddressError,
    Network,
    endpoint_from_key,
    endpoint_of_ip,
    parse_endpoint,
)
from p2p.bitcoin.seeds import SEEDS
from spvnode.bitcoin.params import NETWORKS

ONION = "v7ajjeirttkbnt32wpy3c6w3emwnfr3fkla7hpxcfokr3ysd3kqtzmqd.onion"
I2P = "25g5trd4qasb2sbpkk5cvl256l6aiwcwjjqq7xso3ajvlgcvkpaq.b32.i2p"


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("1.2.3.4:8333", Network.IPV4),
        ("[2a01:4f8:13a:c56::2]:38333", Network.IPV6),
        (f"{ONION}:38333", Network.TORV3),
        (f"{I2P}:0", Network.I2P),
        ("[fc1f:22c3:95dc:a3af:4a93:8251:beb9:1858]:8333", Network.CJDNS),
    ],
)
def test_text_and_back(text: str, network: Network) -> None:
    endpoint = parse_endpoint(text)
    assert endpoint.network is network
    assert len(endpoint.host) == HOST_SIZES[network]
    assert str(endpoint) == text
    assert endpoint.dialable
    assert endpoint_from_key(endpoint.key) == endpoint


@settings(max_examples=500)
@given(ANY_NETWORK)
def test_every_address_has_a_key_a_text_and_a_group(endpoint: Endpoint) -> None:
    assert endpoint_from_key(endpoint.key) == endpoint
    assert str(endpoint).endswith(f":{endpoint.port}")
    assert endpoint.group[0] in (endpoint.network, Network.IPV4)


@pytest.mark.parametrize("key", [b"", b"\1", b"\1\0", bytes(516)])
def test_bytes_that_are_no_key(key: bytes) -> None:
    assert endpoint_from_key(key) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.2.3.4",
        "1.2.3:8333",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3.4:８",
        "[2a01::1]8333",
        "[2a01::1",
        "host.example:8333",
        "x" + ONION[1:] + ":8333",
        "expyuzz4wqqyqhjn.onion:8333",
        "abc.b32.i2p:0",
        "é.onion:1",
    ],
)
def test_bad_text_is_refused(text: str) -> None:
    with pytest.raises(NetAddressError):
        parse_endpoint(text)


def test_a_default_port() -> None:
    assert parse_endpoint("1.2.3.4", 8_333) == parse_endpoint("1.2.3.4:8333")
    assert parse_endpoint("2a01::1", 8_333) == parse_endpoint("[2a01::1]", 8_333) == parse_endpoint("[2a01::1]:8333")


def test_ipv4_inside_ipv6_is_ipv4() -> None:
    assert endpoint_of_ip("::ffff:1.2.3.4", 1) == endpoint_of_ip("1.2.3.4", 1)


@pytest.mark.parametrize(
    "endpoint",
    [
        endpoint_of_ip("1.2.3.4", 0),
        endpoint_of_ip("127.0.0.1", 8_333),
        endpoint_of_ip("10.1.2.3", 8_333),
        endpoint_of_ip("224.0.0.1", 8_333),
        Endpoint(Network.IPV4, bytes(4), 8_333),
        endpoint_of_ip("::1", 8_333),
        endpoint_of_ip("fe80::1", 8_333),
        endpoint_of_ip("2001:db8::1", 8_333),
        Endpoint(Network.IPV6, bytes(10) + b"\xff\xff\1\2\3\4", 8_333),
        Endpoint(Network.IPV6, bytes.fromhex("fd87d87eeb43") + bytes(10), 8_333),
        Endpoint(Network.IPV6, b"\xfc" + bytes(15), 8_333),
        Endpoint(Network.CJDNS, b"\xfd" + bytes(15), 8_333),
        Endpoint(Network.TORV2, bytes(10), 8_333),
        Endpoint(Network.YGGDRASIL, bytes(16), 8_333),
        Endpoint(Network.TORV3, bytes(31), 8_333),
        Endpoint(200, bytes(32), 8_333),
    ],
)
def test_what_nobody_can_dial(endpoint: Endpoint) -> None:
    assert not endpoint.dialable


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1.2.3.4:1", "1.2.250.9:2", True),
        ("1.2.3.4:1", "1.3.3.4:1", False),
        ("[2a01:4f8:1::1]:1", "[2a01:4f8:ffff::9]:1", True),
        ("[2a01:4f8::1]:1", "[2a01:4f9::1]:1", False),
        ("[2001:470:1a34::1]:1", "[2001:470:1fff::1]:1", True),
        ("[2001:470:1a34::1]:1", "[2001:470:2a34::1]:1", False),
        ("[2002:102:304::1]:1", "1.2.9.9:1", True),  # 6to4 of 1.2.3.4
        ("10.0.0.1:1", "10.0.0.2:1", False),
        ("127.0.0.1:1", "127.0.0.1:2", True),
        (f"{ONION}:1", f"{I2P}:0", False),
    ],
)
def test_groups(one: str, other: str, same: bool) -> None:
    assert (parse_endpoint(one).group == parse_endpoint(other).group) is same


def test_an_overlay_is_sixteen_groups() -> None:
    for network, first in ((Network.TORV3, 0), (Network.I2P, 0), (Network.CJDNS, 1)):
        size = HOST_SIZES[network]
        hosts = [b"\xfc" * first + bytes((n,)) + bytes(size - first - 1) for n in range(256)]
        assert len({Endpoint(network, host, 1).group for host in hosts}) == 16


def test_an_unknown_network_is_one_group() -> None:
    assert Endpoint(99, b"a", 1).group == Endpoint(99, b"bcd", 1).group


# Seeds.


def test_every_network_has_its_seeds() -> None:
    assert set(SEEDS) == set(NETWORKS)
    assert SEEDS["regtest"].fixed == SEEDS["regtest"].dns == ()
    assert len(SEEDS["bitcoin"].dns) == 9


@pytest.mark.parametrize("name", ["bitcoin", "testnet4", "signet"])
def test_fixed_seeds_can_be_dialed_and_share_no_group(name: str) -> None:
    endpoints = [parse_endpoint(text) for text in SEEDS[name].fixed]
    assert all(endpoint.dialable for endpoint in endpoints)
    assert {endpoint.port for endpoint in endpoints} == {NETWORKS[name].default_port}
    assert len({endpoint.group for endpoint in endpoints}) == len(endpoints)
    assert {endpoint.network for endpoint in endpoints} >= {Network.IPV4, Network.IPV6, Network.TORV3}


# Anchors.


def test_anchors_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "anchors.json"
    assert load_anchors(path) == []
    endpoints = [parse_endpoint(text) for text in ("1.2.3.4:8333", f"{ONION}:8333", "5.6.7.8:8333")]
    save_anchors(path, endpoints)
    assert load_anchors(path) == endpoints[:MAX_ANCHORS]


def test_a_damaged_anchor_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "anchors.json"
    path.write_text('{"version": 1, "anchors": ["nonsense", "1.2.3.4:8333", "1.2.3.5:8333"]}')
    assert load_anchors(path) == [parse_endpoint("1.2.3.4:8333")]
    path.write_text("{")
    assert load_anchors(path) == []
    assert (tmp_path / "anchors.json.damaged-1").exists()
