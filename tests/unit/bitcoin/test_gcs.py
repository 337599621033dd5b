"""BIP158's filters: the official vectors, real filter headers of mainnet, watched scripts; and the plain twins."""

from __future__ import annotations

import struct

import pytest
from blocks import Bip158, bip158, real
from hypothesis import given
from hypothesis import strategies as st
from vectors import VECTORS

from merkle.pure import sha256d
from spvnode.bitcoin import gcs
from spvnode.bitcoin.basicfilter import (
    GENESIS_PREVIOUS,
    MAX_SCRIPT,
    MAX_WATCHED,
    Match,
    Watch,
    build,
    elements,
    filter_hash,
    filter_header,
    values,
)
from spvnode.bitcoin.block import Block, parse_block, read_block

each_vector = pytest.mark.parametrize("case", bip158(), ids=lambda case: str(case.height))
KEY = bytes(range(16))


def test_siphash_of_its_paper() -> None:
    """Appendix A: key 00..0f, message 00..0e."""
    assert gcs.siphash(KEY, bytes(range(15))) == 0xA129CA6149BE45E5


@each_vector
def test_official_filters_and_headers(case: Bip158) -> None:
    block = read_block(case.raw, case.raw[:80])
    assert build(block, case.prevouts) == case.filter
    assert filter_header(filter_hash(case.filter), case.previous) == case.header


@each_vector
def test_every_element_of_an_official_filter_matches(case: Bip158) -> None:
    block = parse_block(case.raw)
    held = gcs.values_of(case.filter)
    assert held is not None
    items = sorted(elements(block, case.prevouts))
    assert sorted(values(block.hash, items, len(held))) == list(held)
    for script in items:
        assert Watch([script]).match([block.hash], [case.filter]) == [Match.YES]
    strangers = Watch(b"\x00\x14" + sha256d(b"%d" % i)[:20] for i in range(300))
    assert strangers.match([block.hash], [case.filter]) == [Match.NO]
    assert Watch([]).match([block.hash], [case.filter]) == [Match.NO]


def test_mainnets_first_filter_headers() -> None:
    """Genesis and block 1, whose only inputs are coinbases, built up to the filter headers that nodes serve."""
    known = (VECTORS / "bitcoin" / "filters" / "mainnet_filter_headers_0-9.bin").read_bytes()
    testnet_genesis = parse_block(bip158()[0].raw)  # its transaction is mainnet's
    header = real("bcoin_block1.raw")[4:36]
    genesis = build(_renamed(testnet_genesis, header), [])
    first = filter_header(filter_hash(genesis), GENESIS_PREVIOUS)
    second = filter_header(filter_hash(build(parse_block(real("bcoin_block1.raw")), [])), first)
    assert first + second == known[:64]


def _renamed(block: Block, block_hash: bytes) -> Block:
    renamed = Block(block.header, block.transactions)
    renamed.__dict__["hash"] = block_hash
    return renamed


def test_what_is_not_in_a_filter() -> None:
    block = parse_block(bip158()[0].raw)
    coinbase = block.transactions[0]
    changed = Block(block.header, (type(coinbase)(*_fields(coinbase), (b"", b"\x6a\x01", b"\x51", b"\x51")),))
    assert elements(changed, [b"", b"\x52", b"\x6a"]) == {b"\x51", b"\x52", b"\x6a"}


def _fields(tx: object) -> tuple[object, ...]:
    return tuple(getattr(tx, name) for name in ("txid", "wtxid", "base_size", "inputs"))


def test_many_filters_in_one_call() -> None:
    cases = bip158()
    hashes, filters = [case.block_hash for case in cases], [case.filter for case in cases]
    for i, case in enumerate(cases):
        for script in elements(parse_block(case.raw), case.prevouts):
            found = Watch([script, b"\x51\x52\x53"]).match(hashes, filters)
            assert found[i] is Match.YES
    broken = [*filters[:3], b"\x05abc", *filters[3:]]
    keys = [*hashes[:3], hashes[0], *hashes[3:]]
    assert Watch([b"\x51\x52\x53"]).match(keys, broken)[3] is Match.MALFORMED


def test_what_cannot_be_watched() -> None:
    for scripts in ([b""], [b"\x6a\x01"], [bytes(MAX_SCRIPT + 1)]):
        with pytest.raises(ValueError, match="empty, above"):
            Watch(scripts)
    with pytest.raises(ValueError, match="above 100000"):
        Watch(i.to_bytes(4, "big") for i in range(MAX_WATCHED + 1))
    Watch([b"\x51"] * (MAX_WATCHED + 1))


# -- the twin's own sanity; that the kernel does the same is tests/unit/native/test_gcs_kernel.py


@given(st.sets(st.integers(0, 2**40), max_size=50))
def test_encoded_values_are_decoded(chosen: set[int]) -> None:
    data = gcs.encode(chosen)
    raw = gcs.PlainFilters.gcs_decode(data)
    assert raw == struct.pack(f"<{len(chosen)}Q", *sorted(chosen))
    for broken in (data + b"\0", data[:-1]):
        assert gcs.PlainFilters.gcs_decode(broken) is None


@pytest.mark.parametrize("text", ["", "01", "0000", "fd0100", "ff" * 9 + "00" * 90, "01" + "ff" * 9, "02000000"])
def test_malformed_filters(text: str) -> None:
    data = bytes.fromhex(text)
    assert gcs.gcs_decode(data) is None
    assert gcs.PlainFilters.gcs_decode(data) is None
    assert Watch([b"\x51"]).match([bytes(32)], [data]) == [Match.MALFORMED]
