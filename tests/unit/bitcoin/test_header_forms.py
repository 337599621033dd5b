"""Headers, the packed records, and the columns read out of packed runs."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spvnode.bitcoin.branches import Branch, common_records
from spvnode.bitcoin.header import Header
from spvnode.bitcoin.packing import CONTEXT_STRUCT, GENESIS_CONTEXT, PARAMS_STRUCT, RunContext, pack_params
from spvnode.bitcoin.params import BITCOIN, NETWORKS, TESTNET4
from spvnode.bitcoin.work import bits_of, times_of
from spvnode.types import Hash32, Height, Work

u32 = st.integers(0, 2**32 - 1)
hashes = st.binary(min_size=32, max_size=32).map(Hash32)
contexts = st.builds(
    RunContext,
    height=u32.map(Height),
    prev_hash=hashes,
    prev_bits=u32,
    period_start_time=u32,
    period_start_bits=u32,
    last_real_bits=u32,
    times=st.lists(u32, max_size=11).map(tuple),
    chainwork=st.integers(0, 2**256 - 1).map(Work),
)


@given(st.integers(-(2**31), 2**31 - 1), hashes, hashes, u32, u32, u32)
def test_header_fields(version: int, prev: Hash32, root: Hash32, time: int, bits: int, nonce: int) -> None:
    header = Header.of(version=version, prev_hash=prev, merkle_root=root, time=time, bits=bits, nonce=nonce)
    assert len(header.raw) == 80
    assert (header.version, header.prev_hash, header.merkle_root) == (version, prev, root)
    assert (header.time, header.bits, header.nonce) == (time, bits, nonce)


def test_block_one() -> None:
    """A header whose every field is known."""
    header = Header(
        bytes.fromhex(
            "010000006fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000"
            "982051fd1e4ba744bbbe680e1fee14677ba1a3c3540bf7b1cdb606e857233e0e61bc6649ffff001d01e36299"
        )
    )
    assert header.hash[::-1].hex() == "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048"
    assert header.prev_hash == BITCOIN.genesis_hash
    assert (header.version, header.time, header.bits, header.nonce) == (1, 1231469665, 0x1D00FFFF, 2573394689)


@pytest.mark.parametrize("size", [0, 79, 81])
def test_header_size(size: int) -> None:
    with pytest.raises(ValueError, match=f"header: {size} bytes, expected 80"):
        Header(bytes(size))


@given(contexts)
def test_context_round_trip(context: RunContext) -> None:
    packed = context.pack()
    assert len(packed) == CONTEXT_STRUCT.size == 129
    assert RunContext.unpack(packed) == context


@pytest.mark.parametrize("size", [0, 128, 130])
def test_context_size(size: int) -> None:
    with pytest.raises(struct.error):
        RunContext.unpack(bytes(size))


def test_genesis_context_is_nothing() -> None:
    assert bytes(129) == GENESIS_CONTEXT


def test_params_layout() -> None:
    """The exact bytes that the kernel reads."""
    for params in NETWORKS.values():
        assert len(pack_params(params)) == PARAMS_STRUCT.size == 64
    packed = pack_params(TESTNET4)
    assert packed[:32] == ((1 << 224) - 1).to_bytes(32, "little")
    assert packed[32:48] == struct.pack("<4I", 0x1D00FFFF, 1_209_600, 600, 2016)
    assert packed[48:60] == struct.pack("<3i", 1, 1, 1)
    assert packed[60:] == bytes([1, 0, 1, 0])


@given(st.lists(st.tuples(u32, u32), max_size=40))
def test_columns(rows: list[tuple[int, int]]) -> None:
    headers = b"".join(bytes(68) + struct.pack("<III", time, bits, 0) for time, bits in rows)
    assert times_of(headers) == tuple(time for time, _ in rows)
    assert bits_of(headers) == tuple(bits for _, bits in rows)


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60), st.integers(1, 7))
def test_common_records(shared: bytes, left: bytes, right: bytes, size: int) -> None:
    one, other = shared + left, shared + right
    count = common_records(one, other, size)
    assert one[: count * size] == other[: count * size]
    assert len(one[: count * size]) == count * size
    whole = min(len(one), len(other)) // size
    assert count == whole or one[count * size :][:size] != other[count * size :][:size]


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=20, unique=True), st.data())
def test_index_of_a_hash_in_a_branch(path: list[bytes], data: st.DataObject) -> None:
    branch = Branch(Height(0), bytes(80 * len(path)), b"".join(path), b"", Work(0))
    at = data.draw(st.integers(0, len(path) - 1))
    assert branch.index_of(path[at]) == at
    shift = data.draw(st.integers(1, 31))
    across = branch.hashes[at * 32 + shift :][:32]
    if len(across) == 32 and across not in path:
        assert branch.index_of(across) is None


def test_index_of_is_not_misled_by_hashes_that_overlap() -> None:
    wanted = bytes(16) + b"\x01" * 16
    path = [b"\x02" * 16 + bytes(16), b"\x01" * 16 + b"\x03" * 16, wanted]
    branch = Branch(Height(0), bytes(240), b"".join(path), b"", Work(0))
    assert branch.hashes.find(wanted) == 16
    assert branch.index_of(wanted) == 2
