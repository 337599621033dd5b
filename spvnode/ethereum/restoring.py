"""From rows back to a light-client store: nothing that is stored is believed for being stored.

The bootstrap must still hash to the trusted root, and the best updates are applied to it one after the other by the
rules of the sync protocol, signatures aside. The newest committee counts only once the signature of the update that
brought it has been verified again (``restore_light_client_store``); so do both headers. 0.2 s for 400 periods: a
branch costs microseconds, and the older signatures were verified before their updates were stored.

What does not hold is dropped, and so is what hangs on it. Where the newest signature does not hold, all are verified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from spvnode.bls import MAX_BATCH, Verifier
from spvnode.ethereum.catchup import process_light_client_updates
from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientOptimisticUpdate,
    LightClientUpdate,
    SyncCommittee,
)
from spvnode.ethereum.held import Held, known_period, signers
from spvnode.ethereum.light_client import (
    advance_light_client_store,
    as_light_client_update,
    check_light_client_update,
    initialize_light_client_store,
    process_light_client_finality_update,
    restore_light_client_store,
    validate_light_client_update,
    verify_signature,
)
from spvnode.ethereum.networks import Network
from spvnode.ethereum.reasons import Reason, Rejection
from spvnode.ethereum.records import K, slot_of, unpack, unpack_marks
from spvnode.ethereum.store import LightClientStore
from spvnode.ethereum.units import Period, Slot, compute_sync_committee_period_at_slot
from spvnode.ethereum.upgrade import upgrade_lc_header
from spvnode.types import Hash32
from spvnode.view import BeaconStart

NO_TIME_LIMIT = Slot(2**64 - 1)
"""Slots are not held against the clock: what is stored was accepted once, and a device may wake without the time."""


class StoredRows(Protocol):
    """What is read back of a store (``spvnode.store.beacon.BeaconStore``)."""

    @property
    def start(self) -> BeaconStart | None:
        """Where trust began."""

    @property
    def periods(self) -> Sequence[int]:
        """Periods with a best update, ascending."""

    @property
    def bootstraps(self) -> Sequence[Hash32]:
        """Roots with a bootstrap."""

    @property
    def finality(self) -> bytes | None:
        """Row of the finality update."""

    @property
    def optimistic(self) -> bytes | None:
        """Row of the optimistic update."""

    @property
    def marks(self) -> bytes | None:
        """Row of the marks."""

    def update(self, period: int) -> bytes | None:
        """Row of a best update."""

    def bootstrap(self, root: Hash32) -> bytes | None:
        """Row of a bootstrap."""


@dataclass(frozen=True, slots=True)
class Restored:
    """``last``: the last period whose update holds. ``above``: set where updates of later periods must go;
    ``singles``: names of other rows that must. ``faults``: why, in words."""

    held: Held
    above: int | None
    singles: tuple[str, ...]
    faults: tuple[str, ...]


def begin_store(network: Network, start: BeaconStart, bootstrap: LightClientBootstrap) -> LightClientStore | Rejection:
    """The store at the beginning of trust."""
    return initialize_light_client_store(network, start.root, bootstrap)


def restore(
    network: Network, rows: StoredRows, verifier: Verifier, warm: Callable[[SyncCommittee], None]
) -> Restored | None:
    """What ``rows`` hold; None where no bootstrap of the trusted root is among them.

    ``warm`` is told of each committee whose signatures are about to be checked.
    """
    start = rows.start
    bootstrap = None if start is None else unpack(network, LightClientBootstrap, rows.bootstrap(start.root))
    if start is None or bootstrap is None:
        return None
    first = begin_store(network, start, bootstrap)
    if isinstance(first, Rejection):
        return None
    store, last = _replay(network, first, rows, verifier, warm)
    above = last if any(period > last for period in rows.periods) else None
    faults = [f"updates after period {last} do not hold"] if above is not None else []
    singles: list[str] = []
    held = Held(store, bootstrap, roots=_roots(network, rows, start.root))
    held = _with_finality(network, held, rows, verifier, singles)
    held = _with_optimistic(network, held, rows, verifier, singles)
    faults += [f"the {name} update does not hold" for name in singles]
    return Restored(_with_marks(network, held, rows), above, tuple(singles), tuple(faults))


@dataclass(frozen=True, slots=True)
class _Replayed:
    """One stored update, and the stores before and after it."""

    before: LightClientStore
    period: int
    update: LightClientUpdate
    after: LightClientStore


def _replay(
    network: Network,
    first: LightClientStore,
    rows: StoredRows,
    verifier: Verifier,
    warm: Callable[[SyncCommittee], None],
) -> tuple[LightClientStore, int]:
    """The store after the stored updates, and the last period of those that hold."""
    newest: list[_Replayed] = []  # the last one, and the one before
    store, last = first, _period(network, first) - 1
    for period, update in _updates(network, rows, last + 1):
        after = _step(network, store, update)
        if isinstance(after, Rejection):
            break
        newest = [*newest[-1:], _Replayed(store, period, update, after)]
        store, last = after, period
    for committee in signers(store):
        warm(committee)
    if all(_is_proven(network, step, verifier) for step in _to_prove(network, newest)):
        return store, last
    return verify_all(network, first, rows, verifier)


def _to_prove(network: Network, newest: Sequence[_Replayed]) -> Sequence[_Replayed]:
    """The newest step; and the one before, if it was that one which brought the newest committee."""
    return newest if newest and not _is_complete(network, newest[-1]) else newest[-1:]


def _is_complete(network: Network, step: _Replayed) -> bool:
    """Whether its update has made the next period's committee known."""
    return known_period(network, step.after) == step.period


def _is_proven(network: Network, step: _Replayed, verifier: Verifier) -> bool:
    """Whether the update's signature holds, and with it the committee that it brought."""
    if not _is_complete(network, step):
        return validate_light_client_update(network, step.before, step.update, NO_TIME_LIMIT, verifier) is None
    restored = restore_light_client_store(network, step.after, step.update, NO_TIME_LIMIT, verifier)
    return not isinstance(restored, Rejection)


def _updates(network: Network, rows: StoredRows, first: int) -> Iterator[tuple[int, LightClientUpdate]]:
    """Stored best updates from ``first`` on, up to the first gap or to one that is not of its period."""
    period = first
    while True:
        update = unpack(network, LightClientUpdate, rows.update(period)) if period >= 0 else None
        if update is None or _period_at(network, update.attested_header.beacon.slot) != period:
            return
        yield period, update
        period += 1


def _step(network: Network, store: LightClientStore, update: LightClientUpdate) -> LightClientStore | Rejection:
    checked = check_light_client_update(network, store, update, NO_TIME_LIMIT)
    return checked if isinstance(checked, Rejection) else advance_light_client_store(network, store, update)


def verify_all(
    network: Network, first: LightClientStore, rows: StoredRows, verifier: Verifier
) -> tuple[LightClientStore, int]:
    """The store after the stored updates that follow ``first``, each signature verified, and the last period of those
    that hold. 2 ms each."""
    store, last = first, _period(network, first) - 1
    updates = list(_updates(network, rows, last + 1))
    for at in range(0, len(updates), MAX_BATCH):
        batch = [update for _, update in updates[at : at + MAX_BATCH]]
        caught_up = process_light_client_updates(network, store, batch, NO_TIME_LIMIT, verifier)
        good = next((i for i, outcome in enumerate(caught_up.outcomes) if outcome is not None), len(batch))
        store, last = caught_up.store, last + good
        if good < len(batch):
            break
    return store, last


def _with_finality(network: Network, held: Held, rows: StoredRows, verifier: Verifier, singles: list[str]) -> Held:
    update = _single(network, LightClientFinalityUpdate, rows.finality, "finality", singles)
    if update is None:
        return held
    store = process_light_client_finality_update(network, held.store, update, NO_TIME_LIMIT, verifier)
    if isinstance(store, Rejection):
        # Not even where it names our finalized block: its execution header and its signature are not proven.
        if store.reason is not Reason.IRRELEVANT:
            singles.append("finality")
        return held
    fits = update.finalized_header.beacon == store.finalized_header.beacon
    return replace(held, store=store, finality=update if fits else held.finality)


def _with_optimistic(network: Network, held: Held, rows: StoredRows, verifier: Verifier, singles: list[str]) -> Held:
    """Its header is taken as it was: how many had taken part before, which decided it then, is not stored."""
    update = _single(network, LightClientOptimisticUpdate, rows.optimistic, "optimistic", singles)
    if update is None:
        return held
    store = held.store
    checked = check_light_client_update(network, store, as_light_client_update(network, update), NO_TIME_LIMIT)
    refused = checked if isinstance(checked, Rejection) else verify_signature(checked, verifier)
    if refused is not None:
        if refused.reason is not Reason.IRRELEVANT:
            singles.append("optimistic")
        return replace(held, store=replace(store, optimistic_header=store.finalized_header))
    header = upgrade_lc_header(network, update.attested_header, store.fork)
    return replace(held, store=replace(store, optimistic_header=header), optimistic=update)


def _with_marks(network: Network, held: Held, rows: StoredRows) -> Held:
    """Counts of participants, where they are of the finalized header's period; else those of the updates stay."""
    marks = unpack_marks(rows.marks)
    if marks is None or marks.period != _period(network, held.store):
        return held
    store = replace(
        held.store,
        previous_max_active_participants=marks.previous_max_active_participants,
        current_max_active_participants=marks.current_max_active_participants,
    )
    return replace(held, store=store)


def _single(network: Network, cls: type[K], row: bytes | None, name: str, singles: list[str]) -> K | None:
    value = unpack(network, cls, row)
    if value is None and row is not None:
        singles.append(name)
    return value


def _roots(network: Network, rows: StoredRows, start: Hash32) -> tuple[Hash32, ...]:
    """Blocks with a bootstrap, the start's first, the others from the oldest on."""
    found = []
    for root in rows.bootstraps:
        bootstrap = unpack(network, LightClientBootstrap, rows.bootstrap(root))
        if bootstrap is not None and root != start:
            found.append((slot_of(bootstrap), root))
    return (start, *(root for _, root in sorted(found)))


def _period(network: Network, store: LightClientStore) -> Period:
    return _period_at(network, store.finalized_header.beacon.slot)


def _period_at(network: Network, slot: Slot) -> Period:
    return compute_sync_committee_period_at_slot(network.preset, slot)
