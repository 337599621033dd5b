"""From where heights are counted: a tree that begins at a checkpoint must not pass for one that begins at genesis, in
proofs of any version, whoever's root is trusted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from merkle import verify_columns, verify_more
from merkle.bundle import encode as header_bytes
from merkle.errors import ProofError
from merkle.proofs import encode, to_json
from spvnode import verify as api
from spvnode.errors import InputError
from spvnode.proofs import verify_any
from tests.support.older_proofs import version_4, version_4_json, version_6
from tests.support.proof_maker import GENESIS, Maker, ancestry, columns_proof, headers, mainnet, regtest

BASE = 64
OLD, NEW = BASE + 9, BASE + 33


def checkpoint_tree() -> Maker:
    """A node that began at height 64 without the tree below: its leaf 0 is block 64."""
    maker = regtest(34, BASE)
    assert maker.forest.range_start == BASE
    return maker


def lowered(proof: Any) -> Any:
    """The same proof, its tree said to begin at height 0: every node, root and header is as it was."""
    changed = {
        name: getattr(proof, name) - BASE
        for name in ("range_start", "start_height", "old_height", "new_height", "cp_height")
        if hasattr(proof, name)
    }
    if isinstance(getattr(proof, "heights", None), bytes):
        raw = proof.heights
        low = [int.from_bytes(raw[at : at + 4], "little") - BASE for at in range(0, len(raw), 4)]
        changed["heights"] = b"".join(height.to_bytes(4, "little") for height in low)
    if hasattr(proof, "headers") and isinstance(proof.headers, tuple):
        changed["headers"] = tuple((height - BASE, raw) for height, raw in proof.headers)
    return replace(proof, **changed)


# -- the attack


def test_a_tree_from_a_checkpoint_does_not_pass_for_one_from_genesis() -> None:
    """Whoever trusts the root of a node that began at block 64 is told that block 97 is block 33: refused, since leaf 0
    would have to be genesis, and so is naming genesis there, or another start."""
    maker = checkpoint_tree()
    root = maker.forest.root(NEW)
    grown, many = lowered(ancestry(maker, OLD, NEW)), lowered(headers(maker, [OLD, NEW], NEW))
    column = lowered(columns_proof(maker, [OLD, NEW], NEW))
    for lie in (encode(grown), encode(many), column.encode()):
        verdict = verify_any(lie, 0.0, trusted_root=root)
        assert (verdict.ok, verdict.reason) == (False, "network" if lie[0] == 8 else "genesis")
    named = GENESIS["regtest"]
    for lie in (
        encode(replace(grown, start_hash=named)),
        encode(replace(many, start_hash=named)),
        replace(column, start_hash=named).encode(),
        encode(replace(grown, start_height=3, start_path=grown.start_path)),
        replace(column, start_height=3).encode(),
    ):
        assert not verify_any(lie, 0.0, trusted_root=root).ok


def test_the_versions_without_a_start_say_that_they_prove_no_height() -> None:
    """The same lie in versions 4 and 6 holds, root and all: what they do not prove must be told, of a true one too."""
    maker = checkpoint_tree()
    root = maker.forest.root(NEW)
    true, column = ancestry(maker, OLD, NEW), columns_proof(maker, [OLD, NEW], NEW)
    for proof in (true, lowered(true)):
        for given in (version_4(proof), version_4_json(proof), json.dumps(version_4_json(proof))):
            verdict = verify_any(given, 0.0, trusted_root=root)
            assert (verdict.ok, verdict.rests_on) == (True, "trusted new root")
            assert verdict.claimed == ("range_start", "old_height", "new_height")
            assert "does not show which block they count from" in verdict.says
            assert "Claimed, not proven: range_start, old_height, new_height." in verdict.says
    for lie in (column, lowered(column)):
        verdict = verify_any(version_6(lie), 0.0, trusted_root=root)
        assert (verdict.ok, verdict.claimed) == (True, ("range_start", "cp_height"))
        assert "does not show which block they count from" in verdict.says
    with pytest.raises(InputError, match="does not apply"):
        verify_any(version_4(true), 0.0, trusted_start=f"{BASE}:{maker.hash(BASE)[::-1].hex()}")
    with pytest.raises(InputError, match="does not apply"):
        verify_any(version_6(column), 0.0, trusted_start=f"{BASE}:{maker.hash(BASE)[::-1].hex()}")


def test_even_from_genesis_the_versions_without_a_start_prove_no_height() -> None:
    maker = mainnet()
    root = maker.forest.root(2_000)
    old = verify_any(version_4(ancestry(maker, 1_500, 2_000)), 0.0, trusted_root=root)
    assert (old.ok, old.claimed) == (True, ("range_start", "old_height", "new_height"))
    column = verify_any(version_6(columns_proof(maker, [5, 100], 2_000)), 0.0, trusted_root=root)
    assert (column.ok, column.claimed) == (True, ("range_start", "cp_height"))


# -- what a start is good for


def test_from_genesis_a_trusted_root_proves_every_height() -> None:
    maker = mainnet()
    root = maker.forest.root(2_000)
    for proof in (ancestry(maker, 1_500, 2_000), headers(maker, [5, 100], 2_000)):
        assert verify_any(encode(proof), 0.0, trusted_root=root).claimed == ()
    verdict = verify_any(columns_proof(maker, [5, 100], 2_000).encode(), 0.0, trusted_root=root)
    assert (verdict.claimed, verdict.fields["start_hash"]) == ((), maker.hash(0)[::-1].hex())
    assert f"heights counted from block {maker.hash(0)[::-1].hex()} at 0" in verdict.says


@pytest.mark.parametrize("with_peaks", [False, True])
def test_from_a_checkpoint_heights_are_proven_with_a_trusted_start(with_peaks: bool) -> None:
    maker = regtest(34, BASE, with_peaks)
    root, block = maker.forest.root(NEW), maker.hash(BASE)[::-1].hex()
    proofs = {
        "start_height old_height new_height": encode(ancestry(maker, OLD, NEW)),
        "start_height cp_height": encode(headers(maker, [OLD, NEW], NEW)),
        "start_height  cp_height": columns_proof(maker, [OLD, NEW], NEW).encode(),
    }
    for names, data in proofs.items():
        assert verify_any(data, 0.0, trusted_root=root).claimed == tuple(names.split())
        assert verify_any(data, 0.0, trusted_root=root, trusted_start=block).claimed == tuple(names.split())
        pinned = verify_any(data, 0.0, trusted_root=root, trusted_start=f"{BASE}:0x{block}")
        assert (pinned.ok, pinned.claimed) == (True, ())
        assert not verify_any(data, 0.0, trusted_start=f"{BASE + 1}:{block}").ok
        assert verify_any(data, 0.0, trusted_start=f"{BASE + 1}:{block}").reason == "trusted-height"
        assert verify_any(data, 0.0, trusted_start="11" * 32).reason == "trusted-start"


def test_without_a_trusted_root_the_maker_is_believed() -> None:
    maker = mainnet()
    assert verify_any(encode(ancestry(maker, 5, 9)), 0.0).claimed == ("old_height", "new_height")
    assert verify_any(columns_proof(maker, [5], 9).encode(), 0.0).claimed == ("root", "start_height", "cp_height")
    old = verify_any(encode(ancestry(maker, 5, 9)), 0.0, trusted_root=maker.forest.root(5))
    assert (old.rests_on, old.claimed) == ("trusted old root", ("new_height",))


@pytest.mark.parametrize("start", [BASE, BASE + 3, OLD])
def test_a_start_inside_the_tree_is_found_where_it_is(start: int) -> None:
    """A tree with the peaks below: its start may be any block that its maker knows."""
    maker = regtest(34, BASE, True)
    proof = ancestry(maker, OLD, NEW, start)
    assert verify_more.verify(to_json(proof)).fields["start_height"] == start
    wrong = replace(proof, start_hash=maker.hash(start + 1))
    assert verify_more.verify(encode(wrong)).reason == "proof"
    column = columns_proof(maker, [OLD], NEW, start)
    assert verify_columns.verify(column.encode()).start_height == start
    with pytest.raises(ProofError):
        verify_columns.verify(replace(column, start_hash=maker.hash(start + 1)).encode())


def test_nothing_is_proven_below_the_start() -> None:
    maker = regtest(34, BASE, True)
    with pytest.raises(ProofError, match="below the start"):
        ancestry(maker, OLD, NEW, OLD + 1)
    with pytest.raises(ProofError, match="below the start"):
        columns_proof(maker, [OLD], NEW, OLD + 1)
    above = replace(ancestry(maker, OLD, NEW), start_height=OLD + 1)
    assert verify_more.verify(encode(above)).reason == "range"
    column = columns_proof(maker, [OLD, NEW], NEW, OLD)
    low = replace(column, heights=(OLD - 1).to_bytes(4, "little") + column.heights[4:])
    with pytest.raises(ProofError, match="heights"):
        verify_columns.verify(low.encode())
    with pytest.raises(ProofError, match="range"):
        verify_columns.verify(replace(column, start_height=NEW + 1).encode())


def test_a_trusted_hash_may_have_a_prefix_in_every_version() -> None:
    maker = mainnet()
    root, tip = (f"0x{value[::-1].hex()}" for value in (maker.forest.root(2_000), maker.hash(2_000)))
    one = header_bytes(maker.bundle(9, 2_000))
    column = columns_proof(maker, [9], 2_000)
    grown, many = ancestry(maker, 9, 2_000), headers(maker, [9], 2_000)
    proofs = (
        one,
        encode(grown),
        version_4(grown),
        encode(many),
        column.encode(),
        version_6(column),
    )
    for data in proofs:
        assert verify_any(data, 0.0, trusted_root=root).rests_on in ("trusted root", "trusted new root")
        assert not verify_any(data, 0.0, trusted_root="0x" + "ab" * 32).ok
        with pytest.raises(InputError):
            verify_any(data, 0.0, trusted_root="0x0x" + root[2:])
    assert verify_any(one, 0.0, trusted_tip=tip).ok
    assert api.verify(one, trusted_root=root, trusted_start=f"0:0x{maker.hash(0)[::-1].hex()}").ok
