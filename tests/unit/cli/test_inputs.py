"""What people type, and what they are told when it is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spvnode.errors import InputError
from spvnode.inputs import (
    MAX_HEIGHT,
    MAX_TEXT,
    Endpoint,
    parse_checkpoint,
    parse_endpoint,
    parse_hash,
    parse_height,
    parse_height_or_hash,
    parse_hex,
    parse_http_url,
    parse_multiaddr,
    parse_network,
    shown,
)

HASH = "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048"
PEER = "12D3KooWPHprL8EPRZefMrxminyzMoCMRX6SVQLT2z5fA8gPCsom"


def problem(parse: object, *arguments: object, **named: object) -> str:
    """The message of the InputError that a parser raises for field ``f``."""
    with pytest.raises(InputError) as caught:
        parse(*arguments, **named)  # type: ignore[operator]
    assert caught.value.field == "f"
    return str(caught.value)


@pytest.mark.parametrize("text", ["0", "00012", "840000", str(MAX_HEIGHT)])
def test_heights(text: str) -> None:
    assert parse_height(text, "f") == int(text)


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1.0", " 1", "1 ", "1e3", "0x10", "²", "١", str(MAX_HEIGHT + 1), "9" * 5000]
)
def test_what_is_no_height(text: str) -> None:
    assert problem(parse_height, text, "f").endswith("is no height (a whole number from 0 to 4294967294)")


def test_a_hash_turns_round() -> None:
    assert parse_hash(HASH, "f") == bytes.fromhex(HASH)[::-1]
    assert parse_hash(HASH.upper(), "f") == parse_hash(HASH, "f")
    assert problem(parse_hash, HASH[1:], "f").startswith("f: must be of length 64 (not 63, for '")
    assert problem(parse_hash, "g" * 64, "f").startswith("f: must be hexadecimal string")
    assert problem(parse_hex, "abc", "f") == "f: must be hexadecimal string (not 'abc')"
    assert problem(parse_hex, "ab cd", "f") == "f: must be hexadecimal string (not 'ab cd')"
    assert problem(parse_hex, "ab\n", "f") == "f: must be hexadecimal string (not 'ab\\n')"


def test_a_height_or_a_hash() -> None:
    assert parse_height_or_hash("12", "f") == 12
    assert parse_height_or_hash("1" * 64, "f") == bytes.fromhex("11" * 32)
    assert "neither a height" in problem(parse_height_or_hash, "abc", "f")


def test_networks() -> None:
    assert parse_network("bitcoin", "f") == "bitcoin"
    assert problem(parse_network, "x", "f", ("a", "b")) == "f: unknown network 'x'; known are a, b"
    for text in ("", "Bitcoin", "../x", "a" * 33, "a b", "1a", "a\n"):
        assert "is no network name" in problem(parse_network, text, "f")


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8342", "127.0.0.1", 8342, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:65535", "::1", 65535, True),
        ("127.9.9.9:1", "127.9.9.9", 1, True),
        ("0.0.0.0:1", "0.0.0.0", 1, False),  # noqa: S104
        ("[::]:1", "::", 1, False),
        ("192.168.1.1:1", "192.168.1.1", 1, False),
        ("[::ffff:127.0.0.1]:1", "::ffff:127.0.0.1", 1, False),
    ],
)
def test_endpoints(text: str, host: str, port: int, loopback: bool) -> None:
    found = parse_endpoint(text, "f")
    assert (found, found.loopback) == (Endpoint(host, port), loopback)
    assert str(found) == text


@pytest.mark.parametrize(
    "text", ["", "8342", "localhost", "::1:80", "[::1]", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536",
             "example.org:1", "127.0.0.1:-1", "[127.0.0.1]:1", "[fe80::1%eth0]:1",
             "256.0.0.1:1", ":1", "a" * 300 + ":1"],
)  # fmt: skip
def test_what_is_no_endpoint(text: str) -> None:
    problem(parse_endpoint, text, "f")


@pytest.mark.parametrize("host", ["ip4/1.2.3.4", "ip6/::1", "dns/example.org", "dns4/a-b.example", "dns6/x.example"])
def test_multiaddrs_to_dial(host: str) -> None:
    text = f"/{host}/tcp/8343/p2p/{PEER}"
    assert parse_multiaddr(text, "f", need_peer=True) == text
    assert "lacks /p2p/PEERID" in problem(parse_multiaddr, f"/{host}/tcp/8343", "f", need_peer=True)


@pytest.mark.parametrize("text", ["/ip4/1.2.3.4/tcp/0", "/ip4/0.0.0.0/tcp/8343", "/ip6/::/tcp/65535"])
def test_multiaddrs_to_listen_on(text: str) -> None:
    assert parse_multiaddr(text, "f", need_peer=False) == text


@pytest.mark.parametrize(
    "text",
    [f"/ip4/1.2.3.4/tcp/0/p2p/{PEER}", f"/ip4/0.0.0.0/tcp/1/p2p/{PEER}", f"/ip6/fe80::1%eth0/tcp/1/p2p/{PEER}",
     "/ip4/1.2.3.4/tcp/1/p2p/12D3KooWTest", f"/dns/a..b/tcp/1/p2p/{PEER}", f"/ip4/1.2.3.4/tcp/1/ws/{PEER}"],
)  # fmt: skip
def test_what_the_mesh_would_not_dial(text: str) -> None:
    problem(parse_multiaddr, text, "f", need_peer=True)


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "1.2.3.4:80", "ip4/1.2.3.4/tcp/1", "/ip4/1.2.3.4/udp/1", "/ip4/1.2.3.4/udp/1/quic-v1",
        "/ip4/::1/tcp/1", "/ip6/fe80::1%eth0/tcp/1", "/dns/example.org/tcp/1", f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}",
        "/ip6/1.2.3.4/tcp/1", "/ip4/1.2.3.4/tcp/65536", "/ip4/1.2.3.4/tcp/", "/ip4/1.2.3.4/tcp/1/", "/unix/x/tcp/1",
        "/dns/-x/tcp/1", "/dns/a..b/tcp/1", f"/dns/{'a' * 64}/tcp/1", "/dns/a_b/tcp/1",
        f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}/x",
        "/ip4/1.2.3.4/tcp/1/p2p/0OIl", "/ip4/1.2.3.4/tcp/1/ws/x", "/ip4/1.2.3.4/tcp/1\n", "/" * (MAX_TEXT + 1),
    ],
)  # fmt: skip
def test_what_is_no_multiaddr(text: str) -> None:
    problem(parse_multiaddr, text, "f", need_peer=False)


def test_checkpoints() -> None:
    found = parse_checkpoint(f"bitcoin:2016:{HASH}", "f", with_network=True)
    assert (found.network, found.height, found.hash) == ("bitcoin", 2016, bytes.fromhex(HASH)[::-1])
    assert parse_checkpoint(f"2016:{HASH}", "f", with_network=False).network is None
    assert problem(parse_checkpoint, "x", "f", with_network=True).endswith("is not of the form NETWORK:HEIGHT:HASH")
    assert problem(parse_checkpoint, f"bitcoin:1:{HASH}", "f", with_network=False).endswith("HEIGHT:HASH")
    for text in (f":1:{HASH}", f"bitcoin::{HASH}", "bitcoin:1:", f"bitcoin:x:{HASH}", "bitcoin:1:abc"):
        problem(parse_checkpoint, text, "f", with_network=True)


def test_an_error_repeats_little_and_nothing_unprintable() -> None:
    assert shown("a\x1b[31m\n") == "'a\\x1b[31m\\n'"
    assert len(shown("x" * 1000)) < 100


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused_with_the_fields_name(text: str) -> None:
    for parse in (
        lambda: parse_height_or_hash(text, "f"),
        lambda: parse_endpoint(text, "f"),
        lambda: parse_multiaddr(text, "f", need_peer=False),
        lambda: parse_multiaddr(f"/ip6/{text}/tcp/1", "f", need_peer=False),
        lambda: parse_multiaddr(f"/dns/{text}/tcp/1/p2p/{PEER}", "f", need_peer=True),
        lambda: parse_checkpoint(text, "f", with_network=True),
        lambda: parse_network(text, "f"),
    ):
        try:
            parse()
        except InputError as error:
            told = error
        else:
            continue
        assert told.field == "f"
        assert str(told).isprintable()


@pytest.mark.parametrize(
    "host",
    [
        "a..b",
        "a" * 64 + ".example",
        ".",
        "\u00e9.example",
        "x/\u00e9",
        "[::1",
        "[::g]",
        "x/\r\nX: y",
        "x/ y",
        "x:0",
        "x?y",
        "x#y",
    ],
)
def test_urls_that_no_client_could_ask(host: str) -> None:
    with pytest.raises(InputError, match=r"rpc\.webhook\.url: "):
        parse_http_url(f"http://{host}", "rpc.webhook.url")


@pytest.mark.parametrize(
    "url", ["http://localhost", "https://a_b.example:65535/x/y%20z", "http://[::1]:8080/", "http://10.0.0.1"]
)
def test_urls(url: str) -> None:
    assert parse_http_url(url, "rpc.webhook.url") == url
