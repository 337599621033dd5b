"""Beacon bundles: made of recorded chains and of made-up ones over every fork, verified twice."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from spvnode.ethereum.bundle import (
    decode,
    encode,
    make_bundle,
)
from spvnode.ethereum.bundle_verify import TRUSTED_CHECKPOINT, verify
from spvnode.ethereum.containers import LightClientUpdate, beacon_root
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.full_node import create_light_client_optimistic_update
from spvnode.ethereum.items import Kind
from spvnode.ethereum.units import Slot
from tests.support.beacon_bundle_check import Checked
from tests.support.beacon_bundles import (
    DEVNET,
    MADE_AT,
    NIMBUS,
    RECORDED,
    as_finality,
    bundle,
    by_blspy,
    by_py_ecc,
    made,
    made_source,
    source,
)
from tests.support.beacon_world import crossing_world, late

HEADERS = ("finalized", "optimistic")


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_chains(name: str, header: str) -> None:
    chain, made_bundle = source(name), bundle(name, header)
    data = encode(made_bundle)
    assert decode(data) == made_bundle
    verdict = verify(data, chain.params, chain.end, chain.root)
    assert (verdict.ok, verdict.reason, verdict.rests_on) == (True, "ok", TRUSTED_CHECKPOINT)
    assert verdict.claimed == ("made_at",)
    assert verdict.checkpoint_root == chain.root
    checked = Checked(data, chain.chain, chain.root, by_blspy)
    assert verdict.finalized is not None
    assert verdict.optimistic is not None
    assert beacon_root(verdict.finalized.beacon) == checked.finalized.root
    assert beacon_root(verdict.optimistic.beacon) == checked.optimistic.root
    assert (verdict.participation.participants if verdict.participation else 0) == checked.participants
    shown = checked.optimistic if verdict.header == "optimistic" else checked.finalized
    proven = {field.name: field.value for field in verdict.execution}
    assert proven.get("state_root") == shown.execution_state


def test_what_the_recorded_bundles_show() -> None:
    kinds = {name: [item.kind for item in bundle(name).items] for name in RECORDED}
    updates = {name: kinds[name].count(Kind.UPDATE) for name in RECORDED}
    assert updates[NIMBUS] == 21
    assert updates["goerli-bellatrix-helios2022"] == 5  # the sixth recorded one is of the period of the live update
    assert updates["mainnet-deneb-argument-inclusion"] == 0
    assert kinds["mainnet-deneb-argument-inclusion"] == [Kind.BOOTSTRAP]  # nothing newer is finalized there
    assert kinds["mainnet-deneb-argument-committee-change"][-1] is Kind.UPDATE
    assert kinds[NIMBUS][-1] is Kind.FINALITY
    assert bundle(NIMBUS, "optimistic").items[-1].kind is Kind.OPTIMISTIC
    assert len({item.digest for item in bundle(DEVNET).items}) == 2


def test_the_devnet_once_more_with_another_bls() -> None:
    chain = source(DEVNET)
    checked = Checked(encode(bundle(DEVNET)), chain.chain, chain.root, by_py_ecc)
    assert checked.finalized.slot == 128


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("forks", ["every", "fulu"])
def test_made_up_chains_over_forks(forks: str, header: str) -> None:
    chain = made(forks)
    data = encode(make_bundle(chain, header, MADE_AT))
    verdict = verify(data, chain.params, chain.end, chain.root)
    assert verdict.ok, verdict.says
    assert verdict.header == header
    assert len({item.digest for item in decode(data).items}) == (7 if forks == "every" else 2)
    if forks == "fulu":
        checked = Checked(data, chain.chain, chain.root, by_blspy)
        assert verdict.finalized is not None
        assert beacon_root(verdict.finalized.beacon) == checked.finalized.root


def test_more_periods_than_one_batch_of_signatures() -> None:
    chain, _ = made_source({Fork.ALTAIR: 0, Fork.CAPELLA: 0, Fork.DENEB: 0}, 70)
    made_bundle = make_bundle(chain, "finalized", MADE_AT)
    assert len(made_bundle.items) == 72
    assert verify(made_bundle, chain.params, chain.end).ok
    last = as_finality(chain.best[69])
    stale = replace(chain, best={**chain.best, 66: chain.best[65]})
    verdict = verify(make_bundle(stale, "finalized", MADE_AT), chain.params, chain.end)
    assert (verdict.ok, verdict.reason) == (False, "period-order")
    signature = replace(
        chain.best[66].sync_aggregate, sync_committee_signature=last.sync_aggregate.sync_committee_signature
    )
    forged = replace(chain, best={**chain.best, 66: replace(chain.best[66], sync_aggregate=signature)})
    verdict = verify(make_bundle(forged, "finalized", MADE_AT), chain.params, chain.end)
    assert (verdict.ok, verdict.reason) == (False, "invalid-signature")
    assert "item 67" in verdict.says


# -- what is made


def test_right_after_a_bootstrap() -> None:
    chain = replace(source(DEVNET), best={}, finality_update=None, optimistic_update=None)
    for header in HEADERS:
        verdict = verify(make_bundle(chain, header, MADE_AT), chain.params, chain.end, chain.root)
        assert verdict.ok
        assert verdict.header == "checkpoint"
        assert verdict.participation is None
        assert verdict.fields["participants"] is None
        assert "nothing after it" in verdict.says


def test_only_what_is_needed_is_in_it() -> None:
    chain = source(NIMBUS)
    assert chain.finality_update is not None
    early = replace(chain, finality_update=as_finality(chain.best[804]), optimistic_update=None, best={
        period: update for period, update in chain.best.items() if period <= 804
    })  # fmt: skip
    made_bundle = make_bundle(early, "finalized", MADE_AT)
    assert [item.kind for item in made_bundle.items] == [Kind.BOOTSTRAP, *[Kind.UPDATE] * 4, Kind.FINALITY]
    assert verify(made_bundle, chain.params, chain.end).ok
    no_live = make_bundle(replace(early, finality_update=None), "finalized", MADE_AT)
    assert [item.kind for item in no_live.items] == [Kind.BOOTSTRAP, *[Kind.UPDATE] * 5]
    assert verify(no_live, chain.params, chain.end).ok


def test_a_finality_update_is_the_newest_signed_one_too() -> None:
    chain = source("mainnet-deneb-argument-inclusion")
    verdict = verify(make_bundle(chain, "optimistic", MADE_AT), chain.params, chain.end)
    assert verdict.header == "optimistic"  # what it finalizes is the checkpoint
    assert verdict.optimistic is not None
    assert verdict.optimistic.beacon.slot > chain.bootstrap.header.beacon.slot


def test_what_cannot_be_made() -> None:
    chain = source(NIMBUS)
    with pytest.raises(ValueError, match="neither finalized nor optimistic"):
        make_bundle(chain, "latest", MADE_AT)
    gap = {period: update for period, update in chain.best.items() if period != 810}
    with pytest.raises(ValueError, match="21 are needed"):
        make_bundle(replace(chain, best=gap), "finalized", MADE_AT)


# -- what is said


def test_fields_for_json() -> None:
    chain = source(NIMBUS)
    fields = verify(bundle(NIMBUS), chain.params, chain.end, chain.root).fields
    assert json.loads(json.dumps(fields)) == fields
    assert fields["header"] == "finalized"
    assert fields["updates"] == 21
    assert (fields["participants"], fields["committee_size"]) == (504, 512)
    assert fields["finalized"]["slot"] == 6_730_752
    assert fields["finalized"]["root"] == "0x881b19be7db00a7bdbd34e840d09d77eb64265fea2a11346d2e1249ce1823dfc"
    assert fields["finalized"]["execution"]["block_number"]["value"] == 17_548_012
    assert fields["optimistic"]["slot"] > fields["finalized"]["slot"]
    assert fields["checkpoint_root"] == "0x" + chain.root.hex()
    assert fields["finalized"]["age"] == round(chain.end - chain.params.start_of(Slot(6_730_752)))


def test_words() -> None:
    chain = source(NIMBUS)
    trusted = verify(bundle(NIMBUS), chain.params, chain.end, chain.root).says
    assert "504 of 512" in trusted
    assert "which you trust" in trusted
    alone = verify(bundle(NIMBUS, "optimistic"), chain.params, chain.end).says
    assert "its maker's word alone" in alone
    assert "may still be replaced" in alone


def test_an_old_checkpoint_is_named_old() -> None:
    chain = source("mainnet-deneb-argument-inclusion")
    recent = verify(bundle("mainnet-deneb-argument-inclusion"), chain.params, chain.end)
    assert recent.fields["checkpoint_is_recent"] is True
    assert "weak-subjectivity" not in recent.says
    later = verify(bundle("mainnet-deneb-argument-inclusion"), chain.params, chain.end + 90 * 86_400)
    assert later.ok
    assert later.fields["checkpoint_is_recent"] is False
    assert "weak-subjectivity" in later.says


@pytest.mark.parametrize(("signers", "ok"), [(1, False), (21, False), (22, True), (32, True)])
def test_an_optimistic_header_needs_two_thirds_of_its_committee(signers: int, ok: bool) -> None:
    """A verifier has no history to compare with: one member alone could else sign whatever it likes."""
    world = crossing_world(4)
    first, second = world.blocks[0], world.blocks[1]
    update = world.update(second, Slot(second.slot + 1), signers, committee=False, finality=False)

    class Short:
        params = world.network
        bootstrap = world.bootstrap(first)
        finality_update = None
        optimistic_update = create_light_client_optimistic_update(update)

        def updates(self, start_period: int, count: int) -> list[LightClientUpdate]:
            return []

    bundle = make_bundle(Short(), "optimistic", 1)  # type: ignore[arg-type]
    verdict = verify(bundle, world.network, world.network.start_of(late(world)))
    assert (verdict.ok, verdict.reason) == ((True, "ok") if ok else (False, "participation"))
