"""Addresses to output scripts: BIP350's vectors, well-known legacy ones, and what must be refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vectors import document

from spvnode.bitcoin.address import MAX_ADDRESS, AddressError, script_of
from spvnode.bitcoin.params import BITCOIN, NETWORKS, REGTEST, TESTNET3, AddressForm

VECTORS = document("bip350_addresses.json")


def form_of(address: str) -> AddressForm:
    return (TESTNET3 if address.lower().startswith("t") else BITCOIN).addresses


@pytest.mark.parametrize("row", VECTORS["valid"], ids=lambda row: row[0][:20])
def test_witness_addresses(row: Sequence[str]) -> None:
    address, script = row
    assert script_of(address, form_of(address)).hex() == script
    for other in (REGTEST.addresses, BITCOIN.addresses if address[0] == "t" else TESTNET3.addresses):
        with pytest.raises(AddressError):
            script_of(address, other)


@pytest.mark.parametrize("address", VECTORS["invalid"])
def test_what_is_no_witness_address(address: str) -> None:
    with pytest.raises(AddressError):
        script_of(address, form_of(address))


@pytest.mark.parametrize(
    ("network", "address", "script"),
    [
        ("bitcoin", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac"),
        ("bitcoin", "1111111111111111111114oLvT2", "76a914" + "00" * 20 + "88ac"),
        ("bitcoin", "3P14159f73E4gFr7JterCCQh9QjiTjiZrG", "a914e9c3dd0c07aac76179ebc76a6c78d4d67c6c160a87"),
        ("testnet3", "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", "76a914243f1394f44554f4ce3fd68649c19adc483ce92488ac"),
        ("regtest", "2ND8PB9RrfCaAcjfjP1Y6nAgFd9zWHYX4DN", "a914da1745e9b549bd0bfa1a569971c77eba30cd5a4b87"),
    ],
)
def test_legacy_addresses(network: str, address: str, script: str) -> None:
    assert script_of(address, NETWORKS[network].addresses).hex() == script


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("", "checksum"),
        ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", "checksum"),
        ("0A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "neither bech32"),
        ("mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", "version 111"),
        ("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "neither bech32"),
        ("1" * (MAX_ADDRESS + 1), "longer than 90"),
        ("BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7\u212aV8F3T4", "neither bech32"),
    ],
)
def test_the_problem_is_named(address: str, problem: str) -> None:
    with pytest.raises(AddressError, match=problem):
        script_of(address, BITCOIN.addresses)


@given(st.text(max_size=100) | st.from_regex(r"bc1[a-z0-9]{0,90}", fullmatch=True))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        script = script_of(text, BITCOIN.addresses)
    except AddressError:
        return
    assert 4 <= len(script) <= 42
