"""Peers that disagree about filters: where their chains part, and what the block says about each of them."""

from __future__ import annotations

import pytest
from blocks import In, Tx, bip158, key, make_block, push, real, signature
from hypothesis import given
from hypothesis import strategies as st

from merkle.pure import sha256d
from spvnode.bitcoin import gcs
from spvnode.bitcoin.basicfilter import MAX_FILTER, Watch, build, elements, filter_hash, filter_header, values
from spvnode.bitcoin.block import Block, parse_block
from spvnode.bitcoin.filters import (
    FilterHashes,
    Finding,
    Lie,
    Split,
    Statement,
    first_split,
    judge,
    match_range,
)
from spvnode.bitcoin.prevouts import hash160, spent_scripts
from spvnode.types import Hash32, Height

PREVIOUS = Hash32(b"\x07" * 32)
PAID, SPENT = b"\x00\x14" + b"\x01" * 20, b"\x00\x14" + hash160(key(1))
BARE = b"\x21" + key(9) + b"\xac"
"""What a spend does not show."""


def chained(hashes: list[bytes]) -> FilterHashes:
    return FilterHashes(PREVIOUS, b"".join(hashes))


def encode(block: Block, scripts: set[bytes]) -> bytes:
    return gcs.encode(values(block.hash, scripts, len(scripts)))


def say(data: bytes | None, of: bytes | None = None) -> Statement:
    return Statement(filter_hash(data if of is None and data is not None else of or b""), data)


# -- where they part


def test_headers_chain_as_bip157_says() -> None:
    hashes = [sha256d(bytes((i,))) for i in range(5)]
    said = chained(hashes)
    header, expected = PREVIOUS, b""
    for one in hashes:
        header = filter_header(one, header)
        expected += header
    assert (said.headers(), said.count, said.hash_at(3)) == (expected, 5, hashes[3])


@given(st.integers(1, 40), st.data())
def test_the_first_row_that_differs(count: int, data: st.DataObject) -> None:
    honest = [sha256d(b"%d" % i) for i in range(count)]
    places = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=4))
    said = {"a": chained(honest).headers(), "b": chained(honest).headers()}
    for liar, at in enumerate(places):
        forged = [*honest[:at], sha256d(b"lie %d" % liar), *honest[at + 1 :]]
        said[f"liar {liar}"] = chained(forged).headers()
    split = first_split(said)
    assert split is not None
    assert split.index == min(places)
    early = tuple(f"liar {i}" for i, at in enumerate(places) if at == min(places))
    assert set(split.peers) == set(said)
    agreeing = next(group for _, group in split.groups if "a" in group)
    assert set(agreeing) == set(said) - set(early)


def test_no_split_and_no_rows() -> None:
    rows = sha256d(b"x") + sha256d(b"y")
    assert first_split({"a": rows, "b": rows}) is None
    assert first_split({"a": b"", "b": b""}) is None
    assert first_split({}) is None
    with pytest.raises(ValueError, match="different numbers"):
        first_split({"a": rows, "b": rows[:32]})


def test_the_largest_group_comes_first() -> None:
    one, two, three = (sha256d(bytes((i,))) for i in range(3))
    assert first_split({"a": one, "b": two, "c": three, "d": two}) == Split(
        0, ((two, ("b", "d")), (one, ("a",)), (three, ("c",)))
    )


# -- what the block says


@pytest.mark.parametrize("case", bip158(), ids=lambda case: str(case.height))
def test_official_filters_are_believed_against_every_lie(case: object) -> None:
    block = parse_block(case.raw)  # type: ignore[attr-defined]
    honest = case.filter  # type: ignore[attr-defined]
    outputs = elements(block, [])
    lies = {
        "empty": b"\0",
        "noise": gcs.encode(range(0, 10**7, 10**6)),
        "short of an output": encode(block, set(sorted(outputs)[1:])),
        "not a filter": b"\x01",
        "too big": gcs.encode([1 << 42]) + bytes(MAX_FILTER),
    }
    lies = {name: data for name, data in lies.items() if data != honest}
    said = {"honest": say(honest)} | {name: say(data) for name, data in lies.items()}
    said["other"] = say(honest, of=b"another")
    verdict = judge(block, said)
    assert verdict.honest == ("honest",)
    assert verdict.filter == honest
    assert set(verdict.liars) == {*lies, "other"}


def test_one_more_than_there_can_be() -> None:
    block = parse_block(make_block(1, [], pays=PAID))
    verdict = judge(block, {"a": say(build(block, [])), "b": say(encode(block, {PAID, SPENT}))})
    assert verdict.findings == (Finding("b", Lie.TOO_MANY, True),)
    assert verdict.honest == ("a",)


def spending(*inputs: In) -> Block:
    return parse_block(make_block(1, [Tx(inputs, (b"\x52",))], pays=PAID))


P2WPKH = In(b"\x01" * 32, 0, b"", (signature(1), key(1)))
NESTED = In(b"\x02" * 32, 0, push(SPENT), (signature(1), key(1)))
OPEN = In(b"\x03" * 32, 0, push(signature(9)))


def test_a_missing_script_that_the_spend_shows_beyond_doubt() -> None:
    block = spending(NESTED)
    script = b"\xa9\x14" + hash160(SPENT) + b"\x87"
    good, bad = build(block, [script]), build(block, [BARE])
    assert judge(block, {"a": say(bad)}).findings == (Finding("a", Lie.SPENT_MISSING, True),)
    assert judge(block, {"a": say(bad), "b": say(good)}).honest == ("b",)


def test_a_missing_script_that_is_only_likely_counts_beside_another_filter_alone() -> None:
    """Nobody is called a liar for it: a script of one's own making can be spent the same way."""
    block = spending(P2WPKH, OPEN)
    good, bad = build(block, [SPENT, BARE]), build(block, [BARE])
    assert judge(block, {"a": say(bad)}).honest == ("a",)
    verdict = judge(block, {"a": say(bad), "b": say(good)})
    assert verdict.findings == (Finding("a", Lie.SPENT_MISSING, False),)
    assert (verdict.honest, verdict.liars, verdict.filter) == (("b",), (), good)


def test_what_the_block_gives_whole_is_rebuilt() -> None:
    """A filter with more in it than the block: seen where every spent script shows."""
    block = spending(P2WPKH, NESTED)
    scripts = [one.script for one in spent_scripts(block)]
    assert all(scripts)
    good = build(block, [script for script in scripts if script])
    padded = encode(block, elements(block, [script for script in scripts if script]) | {BARE})
    assert judge(block, {"a": say(padded)}).findings == (Finding("a", Lie.TOO_MANY, True),)
    twice = spending(P2WPKH, In(b"\x04" * 32, 0, b"", (signature(2), key(1))))
    good, padded = build(twice, [SPENT]), build(twice, [SPENT, BARE])
    verdict = judge(twice, {"a": say(padded), "b": say(good)})
    assert verdict.findings == (Finding("a", Lie.NOT_REBUILT, False),)
    assert verdict.honest == ("b",)
    own = parse_block(make_block(1, [Tx((P2WPKH,), (b"\x52",)), Tx((In(Tx((P2WPKH,), (b"\x52",)).txid),), (b"\x53",))]))
    assert [one.sure for one in spent_scripts(own)] == [False, True]


def test_what_the_block_does_not_show_is_left_undecided() -> None:
    block = spending(OPEN)
    one, two = build(block, [BARE]), build(block, [b"\x53"])
    verdict = judge(block, {"a": say(one), "b": say(two), "c": say(one)})
    assert (verdict.findings, verdict.honest, verdict.filter) == ((), (), None)
    assert set(verdict.undecided) == {"a", "b", "c"}


def test_withholding_is_no_proof_and_no_truth() -> None:
    block = spending(OPEN)
    data = build(block, [BARE])
    verdict = judge(block, {"a": say(None), "b": say(data), "c": say(None)})
    assert verdict.liars == ()
    assert verdict.findings == (Finding("a", Lie.WITHHELD, False), Finding("c", Lie.WITHHELD, False))
    assert verdict.honest == ("b",)
    assert judge(block, {"a": say(None)}).honest == ()
    assert judge(block, {}).honest == ()


@pytest.mark.parametrize("name", ["bcoin_block482683.raw.xz", "bitcoinj_block227836.dat.xz"])
def test_real_blocks_are_rebuilt_against_a_lie_by_one_script(name: str) -> None:
    block = parse_block(real(name))
    scripts = [one.script or b"" for one in spent_scripts(block)]
    assert all(scripts)
    honest = build(block, scripts)
    items = elements(block, scripts)
    only_spent = min(items - elements(block, []))
    said = {"honest": say(honest), "lacks one": say(encode(block, items - {only_spent}))}
    said["has another"] = say(encode(block, items - {only_spent} | {BARE}))
    verdict = judge(block, said)
    assert verdict.honest == ("honest",)
    assert {finding.peer for finding in verdict.findings} == {"lacks one", "has another"}


# -- ranges


def served(count: int) -> tuple[list[bytes], list[bytes], FilterHashes]:
    blocks = [parse_block(make_block(h, [], pays=b"\x00\x14" + bytes((h,)) * 20)) for h in range(1, count + 1)]
    filters = [build(block, []) for block in blocks]
    return [block.hash for block in blocks], filters, FilterHashes(PREVIOUS, b"".join(map(filter_hash, filters)))


def test_matching_a_range() -> None:
    hashes, filters, agreed = served(12)
    watch = Watch([b"\x00\x14" + bytes((h,)) * 20 for h in (3, 11, 200)])
    found = match_range(watch, Height(500), hashes, filters, agreed)
    assert (found.heights, found.bad) == ((502, 510), None)


def test_a_filter_that_is_not_the_agreed_one_ends_the_range() -> None:
    hashes, filters, agreed = served(8)
    watch = Watch([b"\x00\x14" + bytes((h,)) * 20 for h in (2, 7)])
    filters[4] = b"\0"  # would hide what is paid
    found = match_range(watch, Height(1), hashes, filters, agreed)
    assert (found.heights, found.bad) == ((2,), 5)
    with pytest.raises(ValueError, match="8 blocks, 7 filters, 8 hashes"):
        match_range(watch, Height(1), hashes, filters[:7], agreed)


def test_a_malformed_filter_that_is_agreed_on_does_not_hide_its_block() -> None:
    hashes, filters, _ = served(3)
    filters[1] = b"\xff"
    agreed = FilterHashes(PREVIOUS, b"".join(map(filter_hash, filters)))
    assert match_range(Watch([b"\x51"]), Height(1), hashes, filters, agreed).heights == (2,)
