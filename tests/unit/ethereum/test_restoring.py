"""What is read back from a store is verified again, and what does not hold is dropped, with all that hangs on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spvnode.bls import Verifier
from spvnode.ethereum.auditing import BeaconAudit, audit
from spvnode.ethereum.chain import BeaconChain
from spvnode.ethereum.containers import LightClientUpdate, SyncCommittee, hash_tree_root
from spvnode.ethereum.records import pack
from spvnode.ethereum.store import is_next_sync_committee_known
from spvnode.following import Outcome
from spvnode.store.beacon import BeaconStore
from spvnode.store.beacon_schema import FINALITY_KEY, MARKS_KEY, OPTIMISTIC_KEY, bootstrap_key, update_key
from spvnode.store.events import EventKind
from spvnode.store.memory import MemoryEngine
from spvnode.store.port import Batch, Engine
from spvnode.store.schema import sealed
from spvnode.types import Hash32
from tests.support.beacon_chains import (
    NIMBUS,
    NOW,
    begun_at,
    bootstrap_of,
    clock,
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

NETWORK = network_of(NIMBUS)
UPDATES = updates_of(NIMBUS)
FIRST, LAST = 800, 820


@pytest.fixture
def engine() -> MemoryEngine:
    """A store of the whole recorded chain."""
    engine = MemoryEngine()
    rows = open_rows(engine, NETWORK)
    chain = begun_at(NIMBUS, rows)
    offer(chain, update_run(NIMBUS))
    offer(chain, live_run(NIMBUS))
    return engine


def put(engine: Engine, key: bytes, value: bytes) -> None:
    """A row with a good seal: as damage never leaves it, to see what else is looked at."""
    engine.write(Batch([(key, sealed(value))]), sync=True)


def put_update(engine: Engine, period: int, update: LightClientUpdate) -> None:
    put(engine, update_key(period), pack(NETWORK, update))


def opened(engine: Engine) -> tuple[BeaconStore, BeaconChain]:
    rows = open_rows(engine, NETWORK)
    return rows, reopened(NETWORK, rows)


def check_dropped(engine: Engine, last: int) -> None:
    """Opens to ``last``, says so, is whole from then on, and takes the rest again."""
    rows, chain = opened(engine)
    assert chain.tip.height == last
    assert chain.periods == (FIRST, last)
    assert f"after period {last}" in chain.faults[0]
    assert rows.events()[-1].kind is EventKind.FAULT
    assert list(rows.periods) == list(range(FIRST, last + 1))
    rows, chain = opened(engine)
    assert (rows.faults, chain.faults, chain.tip.height) == ((), (), last)
    assert offer(chain, run(NETWORK, UPDATES[last + 1 - FIRST :])).outcome is Outcome.EXTENDS
    assert offer(chain, live_run(NIMBUS)).outcome is Outcome.EXTENDS
    assert (chain.tip.height, chain.finalized.beacon.slot) == (LAST, 6_730_752)


def forged_signature(update: LightClientUpdate) -> LightClientUpdate:
    other = UPDATES[0].sync_aggregate.sync_committee_signature
    return replace(update, sync_aggregate=replace(update.sync_aggregate, sync_committee_signature=other))


def other_committee(update: LightClientUpdate) -> LightClientUpdate:
    return replace(update, next_sync_committee=UPDATES[0].next_sync_committee)


def other_period(update: LightClientUpdate) -> LightClientUpdate:
    return UPDATES[3]


@pytest.mark.parametrize("harm", [forged_signature, other_committee, other_period])
def test_a_newest_update_that_does_not_hold_is_dropped(
    engine: MemoryEngine, harm: Callable[[LightClientUpdate], LightClientUpdate]
) -> None:
    put_update(engine, LAST, harm(UPDATES[-1]))
    check_dropped(engine, LAST - 1)


@pytest.mark.parametrize("harm", [other_committee, other_period])
@pytest.mark.parametrize("period", [FIRST, 811])
def test_an_older_update_that_does_not_hold_ends_the_chain_there(
    engine: MemoryEngine, harm: Callable[[LightClientUpdate], LightClientUpdate], period: int
) -> None:
    put_update(engine, period, harm(UPDATES[period - FIRST]) if period != FIRST else UPDATES[5])
    check_dropped(engine, period - 1)


def test_a_missing_update_ends_the_chain_there(engine: MemoryEngine) -> None:
    engine.write(Batch((), [update_key(807)]), sync=True)
    check_dropped(engine, 806)


def test_where_the_newest_signature_fails_all_are_verified(engine: MemoryEngine) -> None:
    """A forged older signature is not looked at on a good day; when the newest fails as well, it is found."""
    put_update(engine, 805, forged_signature(UPDATES[5]))
    put_update(engine, LAST, forged_signature(UPDATES[-1]))
    check_dropped(engine, 804)


def test_a_next_committee_is_never_taken_from_the_store_alone(engine: MemoryEngine) -> None:
    """The lesson of GHSA-83q5-vwj7-gxww: without the update that proves it, the next committee is unknown."""
    _, whole = opened(engine)
    engine.write(Batch((), [update_key(LAST), FINALITY_KEY, OPTIMISTIC_KEY]), sync=True)
    _, chain = opened(engine)
    assert chain.tip.height == LAST - 1
    assert chain.store.current_sync_committee != whole.store.current_sync_committee
    zeros = SyncCommittee(bytes(512 * 48), bytes(48))
    signed = replace(UPDATES[-1], next_sync_committee=zeros, next_sync_committee_branch=bytes(5 * 32))
    put_update(engine, LAST, signed)  # a signature that holds, of a header alone
    _, chain = opened(engine)
    assert not is_next_sync_committee_known(chain.store)
    assert chain.tip.height == LAST - 1


@pytest.mark.parametrize(
    ("key", "file", "name"),
    [(FINALITY_KEY, "finality_update", "finality"), (OPTIMISTIC_KEY, "optimistic_update", "optimistic")],
)
def test_a_live_update_that_does_not_hold_is_dropped_alone(
    engine: MemoryEngine, key: bytes, file: str, name: str
) -> None:
    value = recorded(NIMBUS, file)
    aggregate = replace(value.sync_aggregate, sync_committee_bits=b"\xff" * 64)  # type: ignore[union-attr]
    put(engine, key, pack(NETWORK, replace(value, sync_aggregate=aggregate)))  # type: ignore[arg-type]
    _, chain = opened(engine)
    assert chain.tip.height == LAST
    assert f"the {name} update does not hold" in chain.faults
    assert offer(chain, live_run(NIMBUS)).outcome is Outcome.EXTENDS
    _, chain = opened(engine)
    assert chain.faults == ()
    assert chain.finalized.beacon.slot == 6_730_752
    assert chain.optimistic_update == recorded(NIMBUS, "optimistic_update")


@pytest.mark.parametrize("signed", [True, False])
def test_a_finality_update_that_does_not_hold_is_neither_served_nor_read(signed: bool) -> None:
    """Also where it names the block that the best updates finalize: nothing proves its execution header then."""
    engine = MemoryEngine()
    chain = begun_at(NIMBUS, open_rows(engine, NETWORK))
    offer(chain, update_run(NIMBUS))
    good, honest = chain.finality_update, chain.finalized.execution
    assert good is not None
    assert honest is not None
    header = replace(good.finalized_header, execution=replace(honest, state_root=Hash32(b"\x66" * 32)))
    other = UPDATES[0].sync_aggregate.sync_committee_signature
    aggregate = good.sync_aggregate if signed else replace(good.sync_aggregate, sync_committee_signature=other)
    put(engine, FINALITY_KEY, pack(NETWORK, replace(good, finalized_header=header, sync_aggregate=aggregate)))
    _, chain = opened(engine)
    assert chain.faults == ("the finality update does not hold",)
    assert (chain.tip.height, chain.finality_update, chain.wire_finality()) == (LAST, None, None)
    execution = chain.finalized.execution
    assert execution is not None
    assert execution.state_root == honest.state_root


def test_rows_that_are_sealed_nonsense_are_dropped(engine: MemoryEngine) -> None:
    for key in (FINALITY_KEY, OPTIMISTIC_KEY, MARKS_KEY):
        put(engine, key, b"nonsense")
    put(engine, update_key(LAST), b"\x00")
    rows, chain = opened(engine)
    assert chain.tip.height == LAST - 1
    assert len(chain.faults) == 3
    assert rows.finality is None
    assert rows.optimistic is None


@pytest.mark.parametrize("value", [None, b"\x07nonsense", "other"])
def test_a_lost_bootstrap_is_asked_for_again_by_its_root_and_nothing_else_is_lost(
    engine: MemoryEngine, value: bytes | str | None
) -> None:
    key = bootstrap_key(start_of(NIMBUS).root)
    if value is None:
        engine.write(Batch((), [key]), sync=True)
    else:
        wrong = replace(bootstrap_of(NIMBUS), current_sync_committee=UPDATES[0].next_sync_committee)
        put(engine, key, pack(NETWORK, wrong) if isinstance(value, str) else value)
    rows = open_rows(engine, NETWORK)
    assert BeaconChain.open(NETWORK, rows, clock=clock) is None
    assert rows.start == start_of(NIMBUS)
    again = begun_at(NIMBUS, rows)
    assert (again.tip.height, again.faults) == (LAST, ())
    assert again.finalized.beacon.slot == 6_730_752
    _, chain = opened(engine)
    assert chain.tip == again.tip


def test_decoded_keys_are_kept_and_used(tmp_path: Path) -> None:
    with open_rows(tmp_path / "store", NETWORK) as rows:
        chain = begun_at(NIMBUS, rows)
        offer(chain, update_run(NIMBUS))
        offer(chain, live_run(NIMBUS))
    with open_rows(tmp_path / "store", NETWORK) as rows:
        store = reopened(NETWORK, rows).store
        committees = [store.current_sync_committee]
        roots = [hash_tree_root(NETWORK.preset, committee) for committee in committees]
        kept = [rows.committee_keys(root) for root in roots]
        assert all(kept)
        verifier = Verifier()
        reopened(NETWORK, rows, verifier)
        assert [verifier.decoded_keys(entry.pubkeys, entry.aggregate_pubkey) for entry in committees] == kept
        rows.put_committee_keys({roots[0]: (kept[0] or b"")[:-96] + bytes(96)})
        assert reopened(NETWORK, rows).tip == chain.tip, "keys that do not add up are decoded again"


def test_an_audit_looks_at_every_signature(engine: MemoryEngine) -> None:
    rows = open_rows(engine, NETWORK)
    assert audit(NETWORK, rows, Verifier()) == BeaconAudit(FIRST, LAST, ())
    put_update(engine, 805, forged_signature(UPDATES[5]))
    found = audit(NETWORK, rows, Verifier())
    assert (found.good, found.last, found.problems) == (False, 804, ("updates after period 804 do not hold",))
    assert reopened(NETWORK, rows).tip.height == LAST, "which opening does not, as they were verified before"
    put(engine, OPTIMISTIC_KEY, b"nonsense")
    assert audit(NETWORK, rows, Verifier()).problems[1:] == ("the optimistic update does not hold",)
    wrong = replace(bootstrap_of(NIMBUS), current_sync_committee=UPDATES[0].next_sync_committee)
    for value, words in ((pack(NETWORK, wrong), "invalid-current-committee-branch"), (b"?", "no bootstrap")):
        put(engine, bootstrap_key(start_of(NIMBUS).root), value)
        assert words in audit(NETWORK, rows, Verifier()).problems[0]


def test_a_device_without_the_time_opens_its_store(engine: MemoryEngine) -> None:
    rows = open_rows(engine, NETWORK, now=0.0)
    chain = BeaconChain.open(NETWORK, rows, clock=lambda: 0.0)
    assert chain is not None
    assert (chain.tip.height, chain.faults) == (LAST, ())
    assert NOW > 0
