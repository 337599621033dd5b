"""Random Bitcoin messages, for property tests of what carries them."""

from __future__ import annotations

import csv
import io
import os
from typing import Any

from hypothesis import strategies as st
from vectors import VECTORS

from p2p.bitcoin import messages as m
from p2p.bitcoin.netaddr import HOST_SIZES, IPV4_MAPPED, ONION_CAT, Endpoint, Network

FUZZ = os.environ.get("SPVNODE_TEST_PROFILE") == "fuzz"
MAGIC = bytes.fromhex("f9beb4d9")

U8 = st.integers(0, 2**8 - 1)
U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
I32 = st.integers(-(2**31), 2**31 - 1)
HASH = st.binary(min_size=32, max_size=32)


def rows(size: int, most: int = 6) -> st.SearchStrategy[bytes]:
    return st.integers(0, most).flatmap(lambda n: st.binary(min_size=n * size, max_size=n * size))


def of_network(network: int) -> st.SearchStrategy[Endpoint]:
    size = HOST_SIZES[network]
    return st.builds(Endpoint, st.just(network), st.binary(min_size=size, max_size=size), U16)


def plain_ipv6() -> st.SearchStrategy[Endpoint]:
    """Without the prefixes that mean another network."""
    return of_network(Network.IPV6).filter(lambda e: not e.host.startswith((IPV4_MAPPED, ONION_CAT)))


LEGACY = st.one_of(of_network(Network.IPV4), plain_ipv6(), of_network(Network.TORV2))
UNKNOWN_NETWORK = st.builds(Endpoint, st.integers(8, 255), st.binary(max_size=512), U16)
ANY_NETWORK = st.one_of(*[of_network(network) for network in HOST_SIZES], UNKNOWN_NETWORK)
AGENT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=m.MAX_USER_AGENT)

VERSIONS = st.builds(
    m.Version, I32, U64, st.integers(-(2**63), 2**63 - 1), LEGACY, U64, LEGACY, U64, U64, AGENT, I32, st.booleans()
)
SPOKEN: st.SearchStrategy[m.Spoken] = st.one_of(
    VERSIONS,
    st.sampled_from([m.Verack(), m.SendHeaders(), m.SendAddrV2(), m.WtxidRelay(), m.GetAddr()]),
    st.builds(m.Ping, U64),
    st.builds(m.Pong, U64),
    st.builds(m.FeeFilter, U64),
    st.builds(m.GetHeaders, st.lists(HASH, max_size=5).map(tuple), HASH, U32),
    st.builds(m.Headers, rows(80)),
    st.builds(m.Inv, rows(36)),
    st.builds(m.GetData, rows(36)),
    st.builds(m.NotFound, rows(36)),
    st.builds(m.Block, st.binary(min_size=81, max_size=200)),
    st.builds(
        m.MerkleBlock,
        st.binary(min_size=80, max_size=80),
        U32,
        st.lists(HASH, max_size=5).map(tuple),
        st.binary(max_size=9),
    ),
    st.builds(m.Addr, st.lists(st.builds(m.Address, U32, U64, LEGACY), max_size=4).map(tuple)),
    st.builds(m.AddrV2, st.lists(st.builds(m.Address, U32, U64, ANY_NETWORK), max_size=4).map(tuple)),
    st.builds(m.GetCFilters, U8, U32, HASH),
    st.builds(m.CFilter, U8, HASH, st.binary(max_size=300)),
    st.builds(m.GetCFHeaders, U8, U32, HASH),
    st.builds(m.CFHeaders, U8, HASH, HASH, rows(32)),
    st.builds(m.GetCFCheckpt, U8, HASH),
    st.builds(m.CFCheckpt, U8, HASH, rows(32)),
)
"""Every message that there is."""


def cuts(draw: Any, data: bytes) -> list[bytes]:
    """``data`` in random pieces."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def bip324(name: str) -> list[dict[str, str]]:
    """The rows of an official vector of BIP324."""
    return list(csv.DictReader(io.StringIO((VECTORS / "bitcoin" / "bip324" / name).read_text())))
