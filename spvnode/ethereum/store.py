"""``LightClientStore``: what a light client knows, as a value. A step of the protocol gives a new one.

Source: consensus-specs ``altair/light-client/sync-protocol.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from spvnode.ethereum.containers import LightClientHeader, LightClientUpdate, SyncCommittee, default_committee
from spvnode.ethereum.forks import Fork

KEY_SIZE = 48
"""Bytes of a public key."""


@dataclass(frozen=True, slots=True)
class LightClientStore:
    """All its parts are in one layout, ``fork``.

    ``next_sync_committee`` is all zeros until an update that was validated brings it: nothing but
    ``apply_light_client_update`` sets it, and a store read from elsewhere comes in through
    ``restore_light_client_store``, which asks for that update again.
    """

    fork: Fork
    finalized_header: LightClientHeader
    current_sync_committee: SyncCommittee
    next_sync_committee: SyncCommittee
    best_valid_update: LightClientUpdate | None
    optimistic_header: LightClientHeader
    previous_max_active_participants: int = 0
    current_max_active_participants: int = 0


def is_next_sync_committee_known(store: LightClientStore) -> bool:
    """Whether the committee of the period after the finalized header's is known."""
    return store.next_sync_committee != no_committee(store.current_sync_committee)


def no_committee(like: SyncCommittee) -> SyncCommittee:
    """``SyncCommittee()``, all zeros, of the same size as ``like``."""
    return default_committee(len(like.pubkeys) // KEY_SIZE)


def get_safety_threshold(store: LightClientStore) -> int:
    """Participants that an optimistic header needs more of: half of the most seen lately."""
    return max(store.previous_max_active_participants, store.current_max_active_participants) // 2
