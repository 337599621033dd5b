"""Linked headers from their bodies: the kernel against its Python twin."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native import _kernels as kernels
from spvnode.bitcoin.linking import BODY_SIZE, link_headers, link_headers_plain, strip_links
from tests.support.vectors import unpacked

each_form = pytest.mark.parametrize("link", [kernels.link_headers, link_headers_plain])


def test_real_headers_come_back_on_every_path(path: str) -> None:
    headers = unpacked("mainnet_0-32259.bin")
    bodies = strip_links(headers)
    assert len(bodies) == len(headers) // 80 * BODY_SIZE
    assert kernels.link_headers(bodies, bytes(32)) == headers
    assert kernels.implementation() == path


@each_form
def test_from_any_place_on(link: object) -> None:
    headers = unpacked("mainnet_0-32259.bin")[: 80 * 3_000]
    for at, count in [(0, 0), (0, 1), (1, 1), (7, 2), (100, 999), (100, 1_000), (100, 1_001), (5, 2_000)]:
        run = headers[at * 80 : (at + count) * 80]
        prev_hash = headers[at * 80 + 4 : at * 80 + 36]
        assert link(bytes(strip_links(run)), prev_hash) == run  # type: ignore[operator]


@given(st.integers(0, 2**32), st.integers(0, 40), st.binary(min_size=32, max_size=32))
def test_any_bodies(seed: int, count: int, prev_hash: bytes) -> None:
    bodies = random.Random(seed).randbytes(count * BODY_SIZE)
    linked = kernels.link_headers(bodies, prev_hash)
    assert linked == link_headers_plain(bodies, prev_hash) == link_headers(memoryview(bodies), prev_hash)
    assert strip_links(linked) == bodies
    for at in range(count):
        prev = prev_hash if at == 0 else kernels.sha256d_headers(linked[(at - 1) * 80 : at * 80])
        assert linked[at * 80 + 4 : at * 80 + 36] == prev


@each_form
def test_wrong_sizes(link: object) -> None:
    with pytest.raises(ValueError, match="bodies: 47 bytes are no multiple of 48"):
        link(bytes(47), bytes(32))  # type: ignore[operator]
    for size in (0, 31, 33):
        with pytest.raises(ValueError, match=f"prev_hash: {size} bytes, not 32"):
            link(bytes(48), bytes(size))  # type: ignore[operator]
    with pytest.raises(ValueError, match="headers: 79 bytes are no multiple of 80"):
        strip_links(bytes(79))
