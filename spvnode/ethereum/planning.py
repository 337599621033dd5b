"""What a run of items would do to a beacon chain: every rule is checked here, and nothing changed.

Consecutive updates have their signatures checked together (``catchup``), the others one by one. The first item that is
refused ends the run, and nothing of the run is taken: the machine cuts it there where the reason allows that
(``following.Blame.CLOCK``). Items with nothing new in them are stepped over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from spvnode.beacon_commit import BeaconCommit, Step, StepKind
from spvnode.bls import MAX_BATCH, Verifier
from spvnode.ethereum.catchup import process_light_client_updates
from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientOptimisticUpdate,
    LightClientUpdate,
    beacon_root,
)
from spvnode.ethereum.full_node import create_light_client_finality_update, create_light_client_optimistic_update
from spvnode.ethereum.held import Held, block_of, known_period
from spvnode.ethereum.items import split
from spvnode.ethereum.light_client import (
    initialize_light_client_store,
    process_light_client_finality_update,
    process_light_client_optimistic_update,
)
from spvnode.ethereum.networks import Network
from spvnode.ethereum.ranking import has_supermajority, is_better_update, is_finality_update, is_sync_committee_update
from spvnode.ethereum.reasons import Reason, Rejection
from spvnode.ethereum.received import ItemReason, Refused, decode_item
from spvnode.ethereum.records import Kept, Marks, execution_rows, pack, pack_marks
from spvnode.ethereum.store import LightClientStore
from spvnode.ethereum.units import Slot, compute_sync_committee_period_at_slot
from spvnode.ethereum.upgrade import upgrade_lc_update
from spvnode.types import Hash32

MAX_BOOTSTRAPS = 8
"""Bootstraps kept beside the start's, for light clients that begin with us: 200 KB. Only blocks that we know to be
finalized get in; the oldest goes."""

Signed = LightClientUpdate | LightClientFinalityUpdate | LightClientOptimisticUpdate
"""What a sync committee has signed."""
BestAt = Callable[[int], LightClientUpdate | None]
"""The stored best update of a period."""


@dataclass(frozen=True, slots=True)
class Change:
    """``before``: what it was planned on; ``after``: what the chain holds once ``commit`` is stored. ``completed``: the
    period of the run's last update, if its committee is known then, else None."""

    before: Held
    after: Held
    commit: BeaconCommit
    completed: int | None


@dataclass(slots=True)
class _Draft:
    """A change in the making."""

    network: Network
    slot: Slot
    verifier: Verifier
    best_at: BestAt
    held: Held
    before: LightClientStore
    best: dict[int, LightClientUpdate] = field(default_factory=dict)
    finalized: list[LightClientUpdate | LightClientFinalityUpdate] = field(default_factory=list)
    bootstraps: list[tuple[Hash32, bytes]] = field(default_factory=list)
    last_update: int | None = None


def plan_items(
    network: Network, held: Held, data: bytes, current_slot: Slot, verifier: Verifier, best_at: BestAt
) -> Change | Refused:
    """The change that a run of items makes (which may be none: ``is_change``), or what is wrong with it."""
    try:
        items = split(data)
    except ValueError:
        return Refused(ItemReason.MALFORMED)
    values: list[Kept] = []
    for index, item in enumerate(items):
        value = decode_item(network, item)
        if isinstance(value, ItemReason):
            return Refused(value, index)
        values.append(value)
    draft = _Draft(network, current_slot, verifier, best_at, held, held.store)
    for start, group in _groups(values):
        refused = _take_group(draft, group)
        if refused is not None:
            return replace(refused, index=start + refused.index)
    return _finish(held, draft)


def is_change(change: Change) -> bool:
    """Whether anything in it is worth a write. A ``best_valid_update`` alone is not: only a forced update looks at
    it."""
    return change.commit != BeaconCommit()


def _groups(values: Sequence[Kept]) -> list[tuple[int, list[Kept]]]:
    """Runs of updates of at most ``MAX_BATCH``, everything else alone, each with its position."""
    groups: list[tuple[int, list[Kept]]] = []
    for is_update, run in groupby(enumerate(values), key=lambda entry: isinstance(entry[1], LightClientUpdate)):
        members = list(run)
        step = MAX_BATCH if is_update else 1
        for at in range(0, len(members), step):
            part = members[at : at + step]
            groups.append((part[0][0], [value for _, value in part]))
    return groups


def _take_group(draft: _Draft, group: list[Kept]) -> Refused | None:
    match group[0]:
        case LightClientUpdate():
            return _take_updates(draft, [value for value in group if isinstance(value, LightClientUpdate)])
        case LightClientFinalityUpdate() as finality:
            store = process_light_client_finality_update(
                draft.network, draft.held.store, finality, draft.slot, draft.verifier
            )
            return _take_step(draft, store, finality)
        case LightClientOptimisticUpdate() as optimistic:
            store = process_light_client_optimistic_update(
                draft.network, draft.held.store, optimistic, draft.slot, draft.verifier
            )
            return _take_step(draft, store, optimistic)
        case LightClientBootstrap() as bootstrap:
            return _take_bootstrap(draft, bootstrap)


def _take_step(
    draft: _Draft,
    store: LightClientStore | Rejection,
    update: LightClientFinalityUpdate | LightClientOptimisticUpdate,
) -> Refused | None:
    if not isinstance(store, Rejection):
        _move(draft, store, [update])
    elif store.reason is not Reason.IRRELEVANT and not _is_old(draft.network, update, _period_of(draft)):
        return Refused(store.reason)
    return None


def _take_updates(draft: _Draft, updates: list[LightClientUpdate]) -> Refused | None:
    places = _places_of_news(draft, updates)
    news = [updates[place] for place in places]
    caught_up = process_light_client_updates(draft.network, draft.held.store, news, draft.slot, draft.verifier)
    for place, outcome in zip(places, caught_up.outcomes, strict=False):
        if outcome is not None and outcome.reason is not Reason.IRRELEVANT:
            return Refused(outcome.reason, place)
    outcomes = zip(news, caught_up.outcomes, strict=True)
    good = [update for update, outcome in outcomes if outcome is None]
    for update in good:
        _keep_best(draft, update)
    draft.last_update = _attested_period(draft.network, updates[-1])
    _move(draft, caught_up.store, good)
    return None


def _places_of_news(draft: _Draft, updates: Sequence[LightClientUpdate]) -> list[int]:
    """Positions of those updates that are not old once those before them have been taken."""
    network, period, places = draft.network, _period_of(draft), []
    for place, update in enumerate(updates):
        if _is_old(network, update, period):
            continue
        places.append(place)
        if _finalizes(update):
            finalized = compute_sync_committee_period_at_slot(network.preset, update.finalized_header.beacon.slot)
            period = max(period, finalized)
    return places


def _is_old(network: Network, update: Signed, period: int) -> bool:
    """Whether a committee signed it that a store in ``period`` has left behind: there is nothing new in it."""
    return compute_sync_committee_period_at_slot(network.preset, update.signature_slot) < period


def _period_of(draft: _Draft) -> int:
    slot = draft.held.store.finalized_header.beacon.slot
    return compute_sync_committee_period_at_slot(draft.network.preset, slot)


def _finalizes(update: LightClientUpdate | LightClientFinalityUpdate) -> bool:
    """Whether two thirds of a committee signed that its header is final."""
    return is_finality_update(update) and has_supermajority(update)


def _attested_period(network: Network, update: LightClientUpdate) -> int:
    return compute_sync_committee_period_at_slot(network.preset, update.attested_header.beacon.slot)


def _keep_best(draft: _Draft, update: LightClientUpdate) -> None:
    """One that was signed in the period after its own brings its committee too late to be of use to anybody."""
    network, period = draft.network, _attested_period(draft.network, update)
    signed_in = compute_sync_committee_period_at_slot(network.preset, update.signature_slot)
    if not is_sync_committee_update(update) or signed_in != period:
        return
    old = draft.best.get(period) or draft.best_at(period)
    layout = draft.before.fork
    if old is None or is_better_update(
        network.preset, upgrade_lc_update(network, update, layout), upgrade_lc_update(network, old, layout)
    ):
        draft.best[period] = update


def _move(draft: _Draft, store: LightClientStore, updates: Sequence[Signed]) -> None:
    """Takes the store after ``updates``, all valid, and finds those that its headers rest on."""
    held = draft.held
    old, new = held.store, store
    finalizing = [update for update in updates if not isinstance(update, LightClientOptimisticUpdate)]
    finalizing = [update for update in finalizing if _finalizes(update)]
    draft.finalized += finalizing
    if new.finalized_header.beacon != old.finalized_header.beacon:
        found = [update for update in finalizing if update.finalized_header.beacon == new.finalized_header.beacon]
        held = replace(held, finality=_as_finality(found[-1]) if found else None)
    if new.optimistic_header.beacon != old.optimistic_header.beacon:
        signing = [update for update in updates if update.attested_header.beacon == new.optimistic_header.beacon]
        best = max(signing, key=lambda update: update.sync_aggregate.participants, default=None)
        held = replace(held, optimistic=None if best is None else _as_optimistic(best))
    draft.held = replace(held, store=store)


def _as_finality(update: LightClientUpdate | LightClientFinalityUpdate) -> LightClientFinalityUpdate:
    return create_light_client_finality_update(update) if isinstance(update, LightClientUpdate) else update


def _as_optimistic(update: Signed) -> LightClientOptimisticUpdate:
    if isinstance(update, LightClientOptimisticUpdate):
        return update
    return create_light_client_optimistic_update(update)


def _take_bootstrap(draft: _Draft, bootstrap: LightClientBootstrap) -> Refused | None:
    """Only of the block that is finalized right now, for light clients that begin with us."""
    held = draft.held
    root = beacon_root(bootstrap.header.beacon)
    if root in held.roots:
        return None
    trusted = beacon_root(held.store.finalized_header.beacon)
    made = initialize_light_client_store(draft.network, trusted, bootstrap, held.store.fork)
    if isinstance(made, Rejection):
        return Refused(made.reason)
    draft.bootstraps.append((root, pack(draft.network, bootstrap)))
    draft.held = replace(held, roots=(*held.roots[:1], *held.roots[1:][1 - MAX_BOOTSTRAPS :], root))
    return None


def _finish(before: Held, draft: _Draft) -> Change:
    network, after = draft.network, draft.held
    marks, finalizes = marks_of(network, after.store), after.finality is not before.finality
    commit = BeaconCommit(
        step=_step(network, before, after),
        updates=tuple((period, pack(network, update)) for period, update in sorted(draft.best.items())),
        finality=_new(network, before.finality, after.finality),
        optimistic=_new(network, before.optimistic, after.optimistic),
        marks=pack_marks(marks) if marks != marks_of(network, before.store) else None,
        executions=execution_rows(update.finalized_header for update in draft.finalized) if finalizes else (),
        bootstraps=tuple(entry for entry in draft.bootstraps if entry[0] in after.roots),
        dropped_bootstraps=tuple(root for root in before.roots if root not in after.roots),
    )
    known = known_period(network, after.store)
    last = draft.last_update
    return Change(before, after, commit, last if last is not None and last <= known else None)


def _new(
    network: Network,
    before: LightClientFinalityUpdate | LightClientOptimisticUpdate | None,
    after: LightClientFinalityUpdate | LightClientOptimisticUpdate | None,
) -> bytes | None:
    return None if after is None or after is before else pack(network, after)


def marks_of(network: Network, store: LightClientStore) -> Marks:
    """What of ``store`` no update says."""
    period = compute_sync_committee_period_at_slot(network.preset, store.finalized_header.beacon.slot)
    return Marks(period, store.previous_max_active_participants, store.current_max_active_participants)


def _step(network: Network, before: Held, after: Held) -> Step | None:
    old, new = before.store, after.store
    periods = known_period(network, new) - known_period(network, old)
    if new.finalized_header.beacon != old.finalized_header.beacon:
        return Step(StepKind.FINALITY, block_of(old.finalized_header), block_of(new.finalized_header), periods)
    if periods or new.optimistic_header.beacon != old.optimistic_header.beacon:
        return Step(StepKind.ADVANCE, block_of(old.optimistic_header), block_of(new.optimistic_header), periods)
    return None
