"""What a followed beacon chain holds in memory, as one value that each step replaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spvnode.beacon_commit import Block
from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientHeader,
    LightClientOptimisticUpdate,
    SyncCommittee,
    beacon_root,
)
from spvnode.ethereum.networks import Network
from spvnode.ethereum.store import LightClientStore, is_next_sync_committee_known
from spvnode.ethereum.units import Period, compute_sync_committee_period_at_slot
from spvnode.types import Hash32


@dataclass(frozen=True, slots=True)
class Held:
    """``finality`` and ``optimistic``: the updates that the store's two headers rest on, as peers sent them; None where
    a header is still the bootstrap's. ``roots``: blocks whose bootstraps are stored, the start's first."""

    store: LightClientStore
    bootstrap: LightClientBootstrap
    finality: LightClientFinalityUpdate | None = None
    optimistic: LightClientOptimisticUpdate | None = None
    roots: tuple[Hash32, ...] = ()


def known_period(network: Network, store: LightClientStore) -> int:
    """The last period whose update has made the next one's committee known; the period before the bootstrap's (perhaps
    -1) right after it."""
    period = compute_sync_committee_period_at_slot(network.preset, store.finalized_header.beacon.slot)
    return period if is_next_sync_committee_known(store) else period - 1


def first_period(network: Network, held: Held) -> Period:
    """The bootstrap's."""
    return compute_sync_committee_period_at_slot(network.preset, held.bootstrap.header.beacon.slot)


def finalized_header(held: Held) -> LightClientHeader:
    """The finalized header, in the layout that it came in (the store's may keep less of its execution block)."""
    header = held.store.finalized_header
    candidates = [held.bootstrap.header, *([held.finality.finalized_header] if held.finality is not None else [])]
    return next((found for found in candidates if found.beacon == header.beacon), header)


def optimistic_header(held: Held) -> LightClientHeader:
    """The optimistic header, likewise."""
    header = held.store.optimistic_header
    if held.optimistic is not None and held.optimistic.attested_header.beacon == header.beacon:
        return held.optimistic.attested_header
    return finalized_header(held) if header.beacon == held.store.finalized_header.beacon else header


def block_of(header: LightClientHeader) -> Block:
    """Slot and root."""
    return Block(header.beacon.slot, beacon_root(header.beacon))


def signers(store: LightClientStore) -> Sequence[SyncCommittee]:
    """The committees whose signatures ``store`` can check."""
    known = is_next_sync_committee_known(store)
    return [store.current_sync_committee, *([store.next_sync_committee] if known else [])]
