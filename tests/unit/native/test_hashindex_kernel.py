"""The native hash index against a dict."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from native._kernels import HashIndex
from spvnode.bitcoin.hashindex import DictHashIndex

Index = HashIndex | DictHashIndex
each_index = pytest.mark.parametrize("kind", [HashIndex, DictHashIndex])


class AgainstTheTwin(RuleBasedStateMachine):
    """Grows, forgets and looks up; the tables stay small, so that probing wraps and entries crowd."""

    BASE = 1000

    def __init__(self) -> None:
        super().__init__()
        self.native, self.twin = HashIndex(self.BASE), DictHashIndex(self.BASE)
        self.hashes: list[bytes] = []
        self.forgotten: list[bytes] = []
        self.made = 0

    @rule(count=st.integers(0, 700))
    def append(self, count: int) -> None:
        new = [random.Random(self.made + i).randbytes(32) for i in range(count)]
        self.made += count
        self.native.append(b"".join(new))
        self.twin.append(b"".join(new))
        self.hashes += new

    @rule(keep=st.floats(0, 1.2))
    def truncate(self, keep: float) -> None:
        height = self.BASE - 1 + int(len(self.hashes) * keep)
        self.native.truncate(height)
        self.twin.truncate(height)
        count = max(0, height - self.BASE + 1)
        self.forgotten = self.hashes[count:][:50]
        del self.hashes[count:]

    @rule(data=st.data())
    def look_up(self, data: st.DataObject) -> None:
        if self.hashes:
            at = data.draw(st.integers(0, len(self.hashes) - 1))
            assert self.twin.candidates(self.hashes[at]) == (self.BASE + at,)
            assert self.BASE + at in self.native.candidates(self.hashes[at])

    @invariant()
    def they_agree(self) -> None:
        assert self.native.tip == self.twin.tip == self.BASE + len(self.hashes) - 1
        for block_hash in self.forgotten:
            assert self.twin.candidates(block_hash) == ()
            assert all(height <= self.native.tip for height in self.native.candidates(block_hash))

    def teardown(self) -> None:
        for at, block_hash in enumerate(self.hashes):
            assert self.BASE + at in self.native.candidates(block_hash)


TestAgainstTheTwin = AgainstTheTwin.TestCase
TestAgainstTheTwin.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@each_index
def test_every_hash_is_found_and_hardly_any_other(kind: type[Index]) -> None:
    rng = random.Random(1)
    index = kind()
    hashes = rng.randbytes(32 * 100_000)
    for at in range(0, len(hashes), 64_000):
        index.append(hashes[at : at + 64_000])
    assert index.tip == 99_999
    assert all(i in index.candidates(hashes[32 * i : 32 * i + 32]) for i in range(100_000))
    # 50,000 strangers times 100,000 fingerprints of 32 bits: about one accident.
    assert sum(len(index.candidates(rng.randbytes(32))) for _ in range(50_000)) < 12


@pytest.mark.parametrize("drop", [1, 10, 1000, 49_999])
def test_deletion_keeps_what_is_left_reachable(drop: int) -> None:
    hashes = random.Random(2).randbytes(32 * 50_000)
    index = HashIndex()
    index.append(hashes)
    index.truncate(50_000 - 1 - drop)
    kept = 50_000 - drop
    assert all(i in index.candidates(hashes[32 * i : 32 * i + 32]) for i in range(kept))
    again = random.Random(3).randbytes(32 * drop)
    index.append(again)
    assert all(kept + i in index.candidates(again[32 * i : 32 * i + 32]) for i in range(drop))


def test_hashes_that_share_a_fingerprint_are_all_candidates() -> None:
    """Equal first eight bytes: the fingerprint cannot tell them apart, the caller can."""
    hashes = [b"same pre" + bytes([i]) * 24 for i in range(20)]
    index = HashIndex(7)
    index.append(b"".join(hashes))
    assert sorted(index.candidates(hashes[3])) == list(range(7, 27))
    index.truncate(16)
    assert sorted(index.candidates(hashes[3])) == list(range(7, 17))


def test_crowded_hashes_cannot_be_chosen() -> None:
    """The fingerprint is keyed: hashes that differ only where an unkeyed one would not look are spread out."""
    index = HashIndex()
    hashes = [bytes(4) + i.to_bytes(4, "little") + bytes(24) for i in range(2000)]
    index.append(b"".join(hashes))
    assert sum(len(index.candidates(block_hash)) for block_hash in hashes) < 2010


def test_memory_per_header() -> None:
    index = HashIndex()
    for seed in range(100):
        index.append(random.Random(seed).randbytes(32 * 5000))
    assert index.nbytes <= 16 * 500_000
    assert HashIndex().nbytes <= 4096


@each_index
def test_nothing_in_it(kind: type[Index]) -> None:
    index = kind(500)
    index.append(b"")
    assert (index.base_height, index.tip, index.candidates(bytes(32))) == (500, 499, ())
    index.truncate(499)
    index.append(bytes(32))
    index.truncate(600)
    index.truncate(2**63 - 1)
    assert (index.tip, index.candidates(bytes(32))) == (500, (500,))
    index.truncate(499)
    assert (index.tip, index.candidates(bytes(32))) == (499, ())


@each_index
def test_wrong_arguments(kind: type[Index]) -> None:
    index = kind(500)
    with pytest.raises(ValueError, match="hashes: 33 bytes are no multiple of 32"):
        index.append(bytes(33))
    with pytest.raises(ValueError, match="hash32: 31 bytes, not 32"):
        index.candidates(bytes(31))
    with pytest.raises(ValueError, match="height: 498 is below 499"):
        index.truncate(498)
