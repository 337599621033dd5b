"""A beacon chain on its store, on real data and both engines."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from spvnode.bls import Verifier
from spvnode.errors import StoreError
from spvnode.ethereum import bundle, planning
from spvnode.ethereum.chain import RUN_ITEMS, UPDATE_TERMS, BeaconChain
from spvnode.ethereum.containers import LightClientUpdate, beacon_root, encode
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.items import Item, Kind, join, split
from spvnode.ethereum.networks import fork_digests
from spvnode.ethereum.planning import MAX_BOOTSTRAPS
from spvnode.ethereum.reasons import Reason, Rejection
from spvnode.ethereum.received import BLAME, ItemReason
from spvnode.ethereum.records import wire_digest
from spvnode.ethereum.units import Slot, compute_sync_committee_period_at_slot
from spvnode.following import Blame, Outcome
from spvnode.store.events import EventKind
from spvnode.store.memory import MemoryEngine
from spvnode.store.port import Engine
from spvnode.types import Hash32, Work
from tests.support.beacon_chains import (
    GOERLI,
    LODESTAR,
    NIMBUS,
    begun,
    begun_at,
    bootstrap_of,
    clock,
    item,
    live_run,
    network_of,
    offer,
    open_rows,
    recorded,
    reopened,
    run,
    start_of,
    update_run,
    updates_of,
)
from tests.support.beacon_world import complete_update, crossing_world, late
from tests.support.eth_vectors import archive

SETS = [NIMBUS, LODESTAR, GOERLI]


@pytest.mark.parametrize("name", SETS)
def test_a_recorded_chain_is_followed_and_opened_again(name: str, where: Path | Engine) -> None:
    network = network_of(name)
    updates = updates_of(name)
    with open_rows(where, network) as rows:
        chain = begun_at(name, rows)
        first = chain.base
        assert (chain.tip.height, chain.locator(), chain.periods) == (first - 1, first, (first, first - 1))
        assert chain.tip.hash == chain.start.root == beacon_root(chain.optimistic.beacon)
        assert (chain.finality_update, chain.optimistic_update) == (None, None)
        verdict = offer(chain, update_run(name))
        last = first + len(updates) - 1
        assert (verdict.outcome, verdict.last, verdict.items) == (Outcome.EXTENDS, last, len(updates))
        assert (chain.tip.height, chain.tip.work, chain.periods) == (last, Work(0), (first, last))
        live = offer(chain, live_run(name))
        assert (live.outcome, live.last) == (Outcome.EXTENDS, -1), "headers moved, no period was completed"
        assert chain.finalized.beacon == recorded(name, "finality_update").finalized_header.beacon  # type: ignore[union-attr]
        assert chain.optimistic.beacon == recorded(name, "optimistic_update").attested_header.beacon  # type: ignore[union-attr]
        assert chain.optimistic_update == recorded(name, "optimistic_update")
    with open_rows(where, network) as rows:
        again = reopened(network, rows)
        assert (rows.faults, again.faults) == ((), ())
        assert replace(again.store, best_valid_update=None) == replace(chain.store, best_valid_update=None)
        assert (again.tip, again.periods, again.start) == (chain.tip, chain.periods, chain.start)
        assert again.finality_update == chain.finality_update
        assert again.updates(first, 100) == list(updates)
        assert (again.finalized, again.optimistic) == (chain.finalized, chain.optimistic)


@pytest.mark.parametrize("name", SETS)
def test_a_restart_after_any_item_goes_on_where_it_was(name: str, where: Path | Engine) -> None:
    network, verifier = network_of(name), Verifier()
    items = split(update_run(name) + live_run(name))[-6:]
    with open_rows(where, network) as rows:
        chain = begun_at(name, rows, verifier)
        before = split(update_run(name) + live_run(name))[:-6]
        offer(chain, join(before))
    for one in items:
        with open_rows(where, network) as rows:
            chain = reopened(network, rows, verifier)
            tip = chain.tip
            assert offer(chain, join([one])).outcome is Outcome.EXTENDS or one.kind is Kind.FINALITY
            assert chain.tip.height == tip.height + (one.kind is Kind.UPDATE)
    with open_rows(MemoryEngine(), network) as rows:
        straight = begun_at(name, rows, verifier)
        offer(straight, update_run(name))
        offer(straight, live_run(name))
        assert straight.tip == chain.tip
        assert straight.store.finalized_header == chain.store.finalized_header


def test_a_fork_is_crossed_in_the_layouts_that_peers_sent() -> None:
    network = network_of(LODESTAR)
    with open_rows(MemoryEngine(), network) as rows:
        chain = begun_at(LODESTAR, rows)
        offer(chain, update_run(LODESTAR))
        forks = [update.fork for update in chain.updates(0, 9)]
        assert forks == [Fork.DENEB, Fork.ELECTRA, Fork.ELECTRA]
        assert chain.store.fork is Fork.ELECTRA
        assert chain.wire_updates(0, 9) == [(entry.digest, entry.ssz) for entry in split(update_run(LODESTAR))]
        assert chain.bootstrap.fork is Fork.DENEB


def test_what_peers_are_served_is_what_peers_sent() -> None:
    network = network_of(NIMBUS)
    with open_rows(MemoryEngine(), network) as rows:
        chain = begun_at(NIMBUS, rows)
        assert (chain.wire_finality(), chain.wire_optimistic()) == (None, None)
        offer(chain, update_run(NIMBUS))
        offer(chain, live_run(NIMBUS))
        served = chain.wire_updates(805, 3)
        assert [ssz for _, ssz in served] == [entry.ssz for entry in split(update_run(NIMBUS))[5:8]]
        assert {digest.hex() for digest, _ in served} == {"bba4da96"}
        assert chain.wire_bootstrap(chain.start.root) == (
            bytes.fromhex("bba4da96"), archive("real")[f"{NIMBUS}/bootstrap.ssz"],
        )  # fmt: skip
        assert chain.wire_bootstrap(Hash32(bytes(32))) is None
        optimistic = chain.wire_optimistic()
        assert optimistic is not None
        assert optimistic[1] == archive("real")[f"{NIMBUS}/optimistic_update.ssz"]
        assert chain.wire_updates(799, 3) == chain.wire_updates(821, 3) == []
        assert len(chain.wire_updates(815, 99)) == 6


def test_execution_headers_are_found_by_number_and_hash(where: Path | Engine) -> None:
    network = network_of(NIMBUS)
    with open_rows(where, network) as rows:
        chain = begun_at(NIMBUS, rows)
        offer(chain, update_run(NIMBUS))
        offer(chain, live_run(NIMBUS))
        for update in (*updates_of(NIMBUS), recorded(NIMBUS, "finality_update")):
            header = update.finalized_header  # type: ignore[union-attr]
            execution = header.execution
            record = chain.execution(execution.block_number)
            assert record is not None
            assert record == chain.execution(execution.block_hash)
            assert (record.slot, record.beacon_root) == (header.beacon.slot, beacon_root(header.beacon))
            assert (record.state_root, record.receipts_root) == (execution.state_root, execution.receipts_root)
            assert (record.timestamp, record.transactions_root) == (execution.timestamp, execution.transactions_root)
        assert chain.execution(1) is None
        assert chain.execution(-1) is None
        assert chain.execution(2**70) is None
        assert chain.execution(Hash32(bytes(32))) is None


def test_the_starts_own_execution_block_is_known_at_once(where: Path | Engine) -> None:
    network = network_of(NIMBUS)
    with open_rows(where, network) as rows:
        begun_at(NIMBUS, rows)
    with open_rows(where, network) as rows:
        chain = reopened(network, rows)
        execution = chain.bootstrap.header.execution
        assert execution is not None
        record = chain.execution(execution.block_hash)
        assert record == chain.execution(execution.block_number)
        assert record is not None
        assert (record.beacon_root, record.state_root) == (chain.start.root, execution.state_root)


def test_altair_headers_prove_no_execution_block() -> None:
    network = network_of(GOERLI)
    with open_rows(MemoryEngine(), network) as rows:
        chain = begun_at(GOERLI, rows)
        offer(chain, update_run(GOERLI))
        assert rows.execution_numbers is None


def test_events_tell_of_finality_and_advance(where: Path | Engine) -> None:
    network = network_of(NIMBUS)
    with open_rows(where, network) as rows:
        chain = begun_at(NIMBUS, rows)
        offer(chain, update_run(NIMBUS))
        offer(chain, run(network, [recorded(NIMBUS, "finality_update")]))
        offer(chain, run(network, [recorded(NIMBUS, "optimistic_update")]))
        begin, caught_up, final, advance = rows.events()
        assert begin.new_tip.hash == chain.start.root
        assert (caught_up.kind, caught_up.redo_count) == (EventKind.FINALITY, 21)
        assert (final.kind, final.redo_count) == (EventKind.FINALITY, 0)
        assert final.new_tip.hash == beacon_root(chain.finalized.beacon)
        assert final.old_tip == caught_up.new_tip
        assert (advance.kind, advance.new_tip.hash) == (EventKind.ADVANCE, chain.tip.hash)
        assert advance.new_tip.height == chain.optimistic.beacon.slot


def test_repetitions_are_duplicates_and_write_nothing() -> None:
    network = network_of(NIMBUS)
    with open_rows(MemoryEngine(), network) as rows:
        chain = begun_at(NIMBUS, rows)
        offer(chain, update_run(NIMBUS))
        offer(chain, live_run(NIMBUS))
        offer(chain, live_run(NIMBUS))  # still raises the participation seen in the period that the first one began
        events = rows.last_seq
        for data, last in ((update_run(NIMBUS), 820), (live_run(NIMBUS), -1), (update_run(NIMBUS)[:0], -1)):
            verdict = offer(chain, data)
            assert (verdict.outcome, verdict.last) == (Outcome.DUPLICATE, last)
        assert rows.last_seq == events


# -- what is refused, and whose doing it is


def spoiled(update: LightClientUpdate, **parts: object) -> LightClientUpdate:
    return replace(update, **parts)  # type: ignore[arg-type]


def nimbus_chain(updates: int = 0) -> BeaconChain:
    network = network_of(NIMBUS)
    chain = begun_at(NIMBUS, open_rows(MemoryEngine(), network))
    if updates:
        offer(chain, run(network, updates_of(NIMBUS)[:updates]))
    return chain


def test_a_bad_item_is_named_and_nothing_of_its_run_is_taken() -> None:
    network, updates = network_of(NIMBUS), updates_of(NIMBUS)
    chain = nimbus_chain()
    aggregate = replace(
        updates[4].sync_aggregate, sync_committee_signature=updates[5].sync_aggregate.sync_committee_signature
    )
    bad = spoiled(updates[4], sync_aggregate=aggregate)
    verdict = offer(chain, run(network, [*updates[:4], bad, *updates[5:8]]))
    assert (verdict.outcome, verdict.reason, verdict.index) == (Outcome.REJECTED, Reason.INVALID_SIGNATURE, 4)
    assert (verdict.blame, verdict.items) == (Blame.SENDER, 8)
    assert chain.tip.height == 799
    branch = bytes(32) + updates[2].next_sync_committee_branch[32:]
    verdict = offer(chain, run(network, [*updates[:2], spoiled(updates[2], next_sync_committee_branch=branch)]))
    assert (verdict.reason, verdict.index, verdict.blame) == (Reason.INVALID_NEXT_COMMITTEE_BRANCH, 2, Blame.SENDER)


def test_a_run_longer_than_a_batch_is_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(NIMBUS)
    whole, parts = nimbus_chain(21), nimbus_chain()
    monkeypatch.setattr(planning, "MAX_BATCH", 4)
    assert offer(parts, update_run(NIMBUS)).last == 820
    assert parts.store == whole.store
    bad = replace(updates_of(NIMBUS)[10], sync_aggregate=updates_of(NIMBUS)[9].sync_aggregate)
    chain = nimbus_chain()
    verdict = offer(chain, run(network, [*updates_of(NIMBUS)[:10], bad]))
    assert (verdict.reason, verdict.index) == (Reason.INVALID_SIGNATURE, 10)


def test_no_bytes_raise_whatever_they_are() -> None:
    rng = random.Random(3)
    chain = begun_at(LODESTAR, open_rows(MemoryEngine(), network_of(LODESTAR)))
    data = update_run(LODESTAR) + live_run(LODESTAR)
    outcomes = Counter()  # type: ignore[var-annotated]
    for _ in range(400):
        spoiled_run = bytearray(data)
        for _ in range(rng.choice((0, 1, 1, 1, 5))):
            spoiled_run[rng.randrange(len(spoiled_run))] ^= 1 << rng.randrange(8)
        start, end = sorted(
            (rng.choice((0, rng.randrange(len(data)))), rng.choice((len(data), rng.randrange(len(data)))))
        )
        verdict = chain.plan(bytes(spoiled_run[start:end]), int(clock()))
        assert verdict.outcome is not Outcome.REJECTED or verdict.reason
        assert verdict.index < max(verdict.items, 1)
        outcomes[verdict.outcome] += 1
    assert outcomes[Outcome.REJECTED] > outcomes[Outcome.EXTENDS] > 10


def test_a_period_too_far_is_nobodys_fault_and_what_comes_before_is_kept() -> None:
    network, updates = network_of(NIMBUS), updates_of(NIMBUS)
    chain = nimbus_chain()
    data = run(network, [*updates[:3], *updates[5:8]])
    verdict = offer(chain, data)
    assert (verdict.outcome, verdict.reason, verdict.index) == (Outcome.REJECTED, Reason.SKIPPED_PERIOD, 3)
    assert verdict.blame is Blame.CLOCK
    assert offer(chain, chain.terms.cut(data, verdict.index)).last == 802


def test_a_clock_that_is_behind_is_nobodys_fault() -> None:
    network, updates = network_of(NIMBUS), updates_of(NIMBUS)
    chain = nimbus_chain()
    verdict = chain.plan(run(network, updates[:3]), int(network.start_of(updates[1].signature_slot)))
    assert (verdict.reason, verdict.index, verdict.blame) == (Reason.FUTURE_SIGNATURE_SLOT, 2, Blame.CLOCK)


def test_late_and_repeated_items_among_new_ones_are_stepped_over() -> None:
    network, updates = network_of(NIMBUS), updates_of(NIMBUS)
    chain = nimbus_chain(3)
    verdict = offer(chain, run(network, [updates[0], updates[3], updates[1], updates[3], updates[4]]))
    assert (verdict.outcome, verdict.last) == (Outcome.EXTENDS, 804)
    verdict = offer(chain, run(network, [*updates[:2]]))
    assert (verdict.outcome, verdict.last) == (Outcome.DUPLICATE, 801)


def test_items_that_cannot_be_read() -> None:
    network, updates = network_of(NIMBUS), updates_of(NIMBUS)
    good = item(network, updates[0])
    electra = wire_digest(network_of(LODESTAR), updates[0].signature_slot)
    altair = bytes.fromhex("afcaaba0")
    cases: list[tuple[Item, str, Blame]] = [
        (Item(Kind.UPDATE, b"\1\2\3\4", good.ssz), ItemReason.UNKNOWN_FORK_DIGEST, Blame.CLOCK),
        (Item(Kind.UPDATE, electra, good.ssz), ItemReason.UNKNOWN_FORK_DIGEST, Blame.CLOCK),
        (Item(Kind.UPDATE, good.digest, good.ssz[:100]), ItemReason.MALFORMED, Blame.SENDER),
        (Item(Kind.FINALITY, good.digest, good.ssz), ItemReason.MALFORMED, Blame.SENDER),
        (Item(Kind.UPDATE, good.digest, b""), ItemReason.MALFORMED, Blame.SENDER),
        (Item(Kind.UPDATE, altair, good.ssz), ItemReason.MALFORMED, Blame.SENDER),
    ]
    chain = nimbus_chain()
    for wrong, reason, blame in cases:
        verdict = offer(chain, join([good, wrong]))
        assert (verdict.outcome, verdict.reason, verdict.index) == (Outcome.REJECTED, reason, 1)
        assert verdict.blame is blame
    verdict = offer(chain, join([good]) + b"garbage")
    assert (verdict.reason, verdict.index, verdict.items, verdict.blame) == ("malformed-item", 0, 2, Blame.SENDER)


def test_an_object_in_another_forks_layout_is_refused() -> None:
    """One of deneb's layout, whose slot is electra's: it could not be served on."""
    network, update = network_of(LODESTAR), updates_of(LODESTAR)[0]
    beacon = replace(update.attested_header.beacon, slot=Slot(100))
    odd = replace(update, attested_header=replace(update.attested_header, beacon=beacon))
    chain = begun_at(LODESTAR, open_rows(MemoryEngine(), network))
    verdict = offer(chain, join([Item(Kind.UPDATE, item(network, update).digest, encode(network.preset, odd))]))
    assert (verdict.reason, verdict.blame) == (ItemReason.WRONG_FORK_DIGEST, Blame.SENDER)


def test_another_digest_of_the_same_layout_will_do_and_ours_is_served() -> None:
    network, update = network_of(GOERLI), updates_of(GOERLI)[0]
    bellatrix = item(network, update)
    altair = next(entry.digest for entry in fork_digests(network).values() if entry.fork is Fork.ALTAIR)
    assert altair != bellatrix.digest
    chain = begun_at(GOERLI, open_rows(MemoryEngine(), network))
    assert offer(chain, join([replace(bellatrix, digest=altair)])).last == 461
    assert chain.wire_updates(461, 1) == [(bellatrix.digest, bellatrix.ssz)]


def test_every_reason_has_a_sender_to_blame_unless_the_table_says_otherwise() -> None:
    assert set(BLAME) == {
        Reason.FUTURE_SIGNATURE_SLOT, Reason.SKIPPED_PERIOD, Reason.IRRELEVANT, Reason.UNTRUSTED_ROOT,
        Reason.FINALITY_NOT_IN_PERIOD, Reason.WRONG_LAYOUT, ItemReason.UNKNOWN_FORK_DIGEST,
    }  # fmt: skip
    assert Blame.SENDER not in BLAME.values()


# -- beginning


def test_a_bootstrap_of_another_block_does_not_begin() -> None:
    network = network_of(NIMBUS)
    rows = open_rows(MemoryEngine(), network)
    wrong = replace(start_of(NIMBUS), root=Hash32(bytes(32)))
    refused = BeaconChain.begin(network, rows, bootstrap_of(NIMBUS), wrong, clock=clock)
    assert isinstance(refused, Rejection)
    assert refused.reason is Reason.UNTRUSTED_ROOT
    assert rows.start is None
    assert BeaconChain.open(network, rows, clock=clock) is None


def test_another_start_drops_what_hung_on_the_old_one(where: Path | Engine) -> None:
    network = network_of(LODESTAR)
    world = crossing_world(3)
    with open_rows(where, world.network) as rows:
        chain = begun(world.network, rows, world.bootstrap(world.blocks[0]))
        rng = world.rng
        offer(chain, run(world.network, [complete_update(world, period, rng) for period in range(3)]))
        second = next(
            block for block in world.blocks if compute_sync_committee_period_at_slot(network.preset, block.slot) == 4
        )
        moved = begun(world.network, rows, world.bootstrap(second))
        assert (moved.base, moved.tip.height, moved.periods) == (4, 3, (4, 3))
        assert moved.updates(0, 9) == []
        assert moved.execution(0) is None
    with open_rows(where, world.network) as rows:
        again = reopened(world.network, rows)
        assert (again.tip, rows.faults, again.faults) == (moved.tip, (), ())
        assert offer(again, run(world.network, [complete_update(world, 4, world.rng)])).last == 4
        assert len(rows.events()) == 4


def test_the_bootstrap_of_the_finalized_block_is_kept_for_others(where: Path | Engine) -> None:
    world = crossing_world(4)
    network, rng, now = world.network, world.rng, world.network.start_of(late(world))
    by_slot = {block.slot: block for block in world.blocks}
    with open_rows(where, network) as rows:
        chain = begun(network, rows, world.bootstrap(world.blocks[0]))
        stray = offer(chain, run(network, [world.bootstrap(world.blocks[9])]))
        assert (stray.reason, stray.blame) == (Reason.UNTRUSTED_ROOT, Blame.NOBODY)
        roots = []
        for period in range(6):
            offer(chain, run(network, [complete_update(world, period, rng)]), now=now)
            bootstrap = world.bootstrap(by_slot[chain.finalized.beacon.slot])
            kept = offer(chain, run(network, [bootstrap]), now=now)
            assert (kept.outcome, kept.last) == (Outcome.EXTENDS, -1)
            assert offer(chain, run(network, [bootstrap]), now=now).outcome is Outcome.DUPLICATE
            roots.append(beacon_root(bootstrap.header.beacon))
            assert chain.bootstrap_at(roots[-1]) == bootstrap
        assert chain.bootstrap_at(chain.start.root) == chain.bootstrap
    with open_rows(where, network) as rows:
        again = reopened(network, rows)
        assert set(rows.bootstraps) == {*roots, again.start.root}
        assert len(rows.bootstraps) <= MAX_BOOTSTRAPS + 1


def test_the_terms_fit_what_clients_serve() -> None:
    assert UPDATE_TERMS.run_items == RUN_ITEMS == 32
    network = network_of(NIMBUS)
    data = update_run(NIMBUS)
    assert UPDATE_TERMS.count(data) == 21
    assert UPDATE_TERMS.cut(data, 2) == run(network, updates_of(NIMBUS)[:2])


def test_a_verdict_of_another_state_is_not_written() -> None:
    network = network_of(NIMBUS)
    chain = nimbus_chain()
    stale = chain.plan(update_run(NIMBUS), int(clock()))
    offer(chain, run(network, updates_of(NIMBUS)[:2]))
    with pytest.raises(TypeError, match="another state"):
        chain.write(stale, now=0, sync=False)


def test_a_change_whose_keys_cannot_be_stored_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a full disk would make the log tell twice of what is taken twice."""
    rows = open_rows(MemoryEngine(), network_of(NIMBUS))
    chain = begun_at(NIMBUS, rows)
    offer(chain, run(network_of(NIMBUS), updates_of(NIMBUS)[:1]))
    before, items = rows.last_seq, run(network_of(NIMBUS), updates_of(NIMBUS)[1:2])

    def full(keys: object) -> None:
        raise StoreError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(rows, "put_committee_keys", full)
        patched.setattr(Verifier, "decoded_keys", lambda *args: b"keys")
        with pytest.raises(StoreError):
            offer(chain, items)
    assert (rows.last_seq, rows.periods[-1], chain.tip.height) == (before, 800, 800)
    offer(chain, items)
    assert (len(rows.events(before)), rows.periods[-1], chain.tip.height) == (1, 801, 801)


def test_nothing_lies_below() -> None:
    chain = nimbus_chain()
    assert chain.whole
    with pytest.raises(TypeError, match="below the start of trust"):
        chain.plan_below(b"")


def test_a_bundle_is_made_of_what_is_stored() -> None:
    network = network_of(NIMBUS)
    chain = nimbus_chain(21)
    offer(chain, live_run(NIMBUS))
    made = bundle.decode(chain.bundle("finalized", made_at=1_700_000_000))
    assert made.checkpoint_root == chain.start.root
    assert made.genesis_validators_root == network.genesis_validators_root
