"""Beacon bundles that lie, or leave out, or repeat: all refused, with the right reason."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from spvnode.ethereum.bundle import (
    BeaconBundle,
    encode,
    make_bundle,
)
from spvnode.ethereum.bundle_verify import MAKER, BeaconVerdict, verify
from spvnode.ethereum.containers import beacon_root
from spvnode.ethereum.containers import encode as encode_object
from spvnode.ethereum.items import Item, Kind
from spvnode.ethereum.units import Epoch, Slot
from tests.support.beacon_bundles import (
    DEVNET,
    IN_FULU,
    MADE_AT,
    NIMBUS,
    as_finality,
    as_optimistic,
    bundle,
    finalizing,
    made,
    made_source,
    source,
)
from tests.support.eth_world import SIZE


def judged(name: str, changed: BeaconBundle | bytes) -> BeaconVerdict:
    return verify(changed, source(name).params, source(name).end)


def refusal(name: str, changed: BeaconBundle) -> str:
    verdict = judged(name, changed)
    assert not verdict.ok
    assert (verdict.rests_on, verdict.fields, verdict.finalized, verdict.execution) == ("nothing", {}, None, ())
    return verdict.reason


def with_items(name: str, change: Callable[[list[Item]], Any], header: str = "finalized") -> BeaconBundle:
    good = bundle(name, header)
    items = list(good.items)
    change(items)
    return replace(good, items=tuple(items))


def put(place: int, item: Item) -> Callable[[list[Item]], Any]:
    return lambda items: items.__setitem__(place, item)


@pytest.mark.parametrize("name", [NIMBUS, DEVNET])
def test_a_flipped_bit_anywhere_is_refused(name: str) -> None:
    """But in ``made_at``, which the verdict lists as claimed."""
    data = encode(bundle(name))
    made_at = range(2 + 8 + 64, 2 + 8 + 68)
    rng = random.Random(name)
    places = {*range(120), *rng.sample(range(len(data)), 120 if name == NIMBUS else 400)}
    for at in sorted(places - set(made_at)):
        changed = bytearray(data)
        changed[at] ^= 1 << rng.randrange(8)
        verdict = judged(name, bytes(changed))
        assert not verdict.ok, at
        assert verdict.says.startswith("Refused: ")
    for at in made_at:
        changed = bytearray(data)
        changed[at] ^= 1
        verdict = judged(name, bytes(changed))
        assert verdict.ok
        assert "made_at" in verdict.claimed


def test_periods_left_out_repeated_or_moved() -> None:
    assert refusal(NIMBUS, with_items(NIMBUS, lambda items: items.pop(1))) == "period-order"
    assert refusal(NIMBUS, with_items(NIMBUS, lambda items: items.pop(10))) == "period-order"
    assert refusal(NIMBUS, with_items(NIMBUS, lambda items: items.insert(5, items[5]))) == "period-order"
    assert refusal(NIMBUS, with_items(NIMBUS, lambda items: items.insert(5, items.pop(9)))) == "period-order"
    assert refusal(NIMBUS, with_items(NIMBUS, lambda items: items.pop(21))) == "skipped-period"


def test_a_live_update_that_shows_nothing_new() -> None:
    chain = source(NIMBUS)
    early = as_finality(chain.best[803])
    few = {period: update for period, update in chain.best.items() if period < 803}
    good = make_bundle(replace(chain, best=few, finality_update=early), "finalized", MADE_AT)
    assert [item.kind for item in good.items] == [Kind.BOOTSTRAP, *[Kind.UPDATE] * 3, Kind.FINALITY]
    assert verify(good, chain.params, chain.end).ok
    items = bundle(NIMBUS).items
    assert refusal(NIMBUS, replace(good, items=(*items[:5], good.items[-1]))) == "no-progress"
    assert refusal(NIMBUS, replace(good, items=(*items[:6], good.items[-1]))) == "skipped-period"
    last = next(item for item in bundle(NIMBUS, "optimistic").items if item.kind is Kind.OPTIMISTIC)
    assert refusal(NIMBUS, replace(good, items=(*items[:5], last))) == "skipped-period"
    older = as_optimistic(chain.best[802])
    tail = make_bundle(replace(chain, best=few, finality_update=None, optimistic_update=older), "optimistic", MADE_AT)
    assert [item.kind for item in tail.items] == [Kind.BOOTSTRAP, *[Kind.UPDATE] * 2, Kind.OPTIMISTIC]
    assert verify(tail, chain.params, chain.end).ok
    behind = Item(Kind.OPTIMISTIC, items[3].digest, encode_object(chain.params.preset, as_optimistic(chain.best[801])))
    assert refusal(NIMBUS, replace(good, items=(*items[:3], behind))) == "no-progress"


def test_signatures_of_others() -> None:
    chain = source(NIMBUS)
    assert chain.finality_update is not None
    other = chain.best[805].sync_aggregate
    forged = replace(chain, finality_update=replace(chain.finality_update, sync_aggregate=other))
    assert refusal(NIMBUS, make_bundle(forged, "finalized", MADE_AT)) == "invalid-signature"
    forged = replace(chain, best={**chain.best, 803: replace(chain.best[803], sync_aggregate=other)})
    verdict = judged(NIMBUS, make_bundle(forged, "finalized", MADE_AT))
    assert verdict.reason == "invalid-signature"
    assert "item 4 " in verdict.says


def test_another_checkpoint() -> None:
    good = bundle(DEVNET)
    other = replace(good, checkpoint_root=bytes(32))
    assert refusal(DEVNET, other) == "untrusted-root"
    chain = source(DEVNET)
    assert verify(good, chain.params, chain.end, bytes(32)).reason == "trusted-checkpoint"
    assert verify(good, chain.params, chain.end).rests_on == MAKER
    assert verify(good, chain.params, chain.end).claimed == ("checkpoint_root", "made_at")
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError, match="32 bytes"):
            verify(good, chain.params, chain.end, wrong)


def test_another_network() -> None:
    good, params, end = bundle(DEVNET), source(DEVNET).params, source(DEVNET).end
    assert verify(good, replace(params, name="other"), end).reason == "network"
    assert (
        verify(good, replace(params, genesis_validators_root=beacon_root(made().bootstrap.header.beacon)), end).reason
        == "genesis"
    )
    assert verify(bundle(NIMBUS), params, end).reason == "genesis"
    assert refusal(DEVNET, with_items(DEVNET, put(1, bundle(NIMBUS).items[1]))) == "unknown-fork-digest"


def test_digests() -> None:
    first, update, *_, last = bundle(DEVNET).items
    assert first.digest != last.digest
    assert refusal(DEVNET, with_items(DEVNET, put(1, replace(update, digest=b"none")))) == "unknown-fork-digest"
    assert refusal(DEVNET, with_items(DEVNET, put(-1, replace(last, digest=first.digest)))) == "malformed-item"
    chain = made("fulu")
    good = make_bundle(chain, "finalized", MADE_AT)
    electra, fulu = good.items[0].digest, good.items[-1].digest
    assert electra != fulu  # one layout
    changed = replace(good, items=(replace(good.items[0], digest=fulu), *good.items[1:]))
    assert verify(changed, chain.params, chain.end).reason == "wrong-fork-digest"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda ssz: b"", "malformed-item"),
        (lambda ssz: ssz[:1000], "malformed-item"),
        (lambda ssz: ssz + bytes(100), "malformed-item"),
        (lambda ssz: bytes(len(ssz)), "malformed-item"),
        (lambda ssz: ssz[:-1], "malformed-item"),
        (lambda ssz: ssz + b"\x00", "invalid-finalized-header"),  # at its end is the execution header's extra data
    ],
)
def test_items_that_do_not_decode(change: Callable[[bytes], bytes], reason: str) -> None:
    update = bundle(DEVNET).items[1]
    assert refusal(DEVNET, with_items(DEVNET, put(1, replace(update, ssz=change(update.ssz))))) == reason


def test_signatures_from_the_future() -> None:
    chain = source(DEVNET)
    assert chain.finality_update is not None
    signed = chain.params.start_of(chain.finality_update.signature_slot)
    assert verify(bundle(DEVNET), chain.params, signed).ok
    assert verify(bundle(DEVNET), chain.params, signed - 1).reason == "future-signature-slot"


def test_beyond_the_fork_horizon() -> None:
    chain = source(DEVNET)
    for until, reason in ((18, "ok"), (17, "fork-horizon"), (1, "fork-horizon")):
        params = replace(chain.params, schedule=replace(chain.params.schedule, known_until=Epoch(until)))
        assert verify(bundle(DEVNET), params, chain.end).reason == reason


def test_too_few_signers_show_nothing() -> None:
    chain, world = made_source(IN_FULU, 2)
    attested = finalizing(world, 2)
    for signers, reason, shown in ((21, "participation", ""), (22, "ok", "finalized")):  # 22 of 32 are two thirds
        live = world.update(attested, Slot(attested.slot + 1), signers, committee=False, finality=True)
        changed = make_bundle(replace(chain, finality_update=as_finality(live)), "finalized", MADE_AT)
        verdict = verify(changed, chain.params, chain.end)
        assert (verdict.reason, verdict.header) == (reason, shown)
    for signers, reason in ((SIZE // 2 - 1, "no-progress"), (SIZE // 2 + 1, "participation"), (22, "ok")):
        live = world.update(attested, Slot(attested.slot + 1), signers, committee=False, finality=False)
        changed = make_bundle(
            replace(chain, finality_update=None, optimistic_update=as_optimistic(live)), "optimistic", MADE_AT
        )
        assert verify(changed, chain.params, chain.end).reason == reason
    weak = world.update(finalizing(world, 1), chain.best[1].signature_slot, 12, committee=True, finality=True)
    changed = make_bundle(
        replace(chain, best={**chain.best, 1: weak}, finality_update=None, optimistic_update=None), "finalized", MADE_AT
    )
    assert verify(changed, chain.params, chain.end).reason == "no-progress"
