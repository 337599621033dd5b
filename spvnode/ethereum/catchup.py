"""Many updates at once, for catching up: everything but the signatures one after the other, then all signatures in one
check (``bls.Verifier.verify_batch``).

While the signatures are not checked, each update is taken to be right so that the next can be looked at; nothing of it
is returned unless its signature, and those of all before it, turn out to hold. Committees on the way are used once, so
their keys are decoded lazily (``bls.Committee``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spvnode.bls import MAX_BATCH, SignatureSet, Verifier
from spvnode.ethereum.containers import LightClientUpdate
from spvnode.ethereum.light_client import advance_light_client_store, check_light_client_update, in_layout_of
from spvnode.ethereum.networks import Network
from spvnode.ethereum.reasons import Reason, Rejection
from spvnode.ethereum.store import LightClientStore
from spvnode.ethereum.units import Slot


@dataclass(frozen=True, slots=True)
class CatchUp:
    """``store`` after the updates that held; per update looked at, None or why it was refused.

    An irrelevant one (nothing new in it) is stepped over; any other refusal ends the run and is the last outcome.
    """

    store: LightClientStore
    outcomes: tuple[Rejection | None, ...]


def process_light_client_updates(
    network: Network,
    store: LightClientStore,
    updates: Sequence[LightClientUpdate],
    current_slot: Slot,
    verifier: Verifier,
) -> CatchUp:
    """As ``process_light_client_update`` one by one, up to the first refusal. ValueError above ``MAX_BATCH``."""
    if len(updates) > MAX_BATCH:
        raise ValueError(f"updates: {len(updates)}, at most {MAX_BATCH}")
    outcomes: list[Rejection | None] = []
    claims: list[SignatureSet] = []
    stores = [store]  # before any update, and after each that has a claim
    places: list[int] = []
    for place, update in enumerate(updates):
        step = _step(network, stores[-1], update, current_slot)
        outcomes.append(step if isinstance(step, Rejection) else None)
        if not isinstance(step, Rejection):
            claims.append(step[0])
            stores.append(step[1])
            places.append(place)
        elif step.reason is not Reason.IRRELEVANT:
            break
    for index, reason in enumerate(verifier.verify_batch(claims, lazy=True)):
        if reason is not None:
            place = places[index]
            return CatchUp(stores[index], (*outcomes[:place], Rejection(Reason.INVALID_SIGNATURE, reason.value)))
    return CatchUp(stores[-1], tuple(outcomes))


def _step(
    network: Network, store: LightClientStore, update: LightClientUpdate, current_slot: Slot
) -> tuple[SignatureSet, LightClientStore] | Rejection:
    update = in_layout_of(network, store, update)
    claim = check_light_client_update(network, store, update, current_slot)
    if isinstance(claim, Rejection):
        return claim
    advanced = advance_light_client_store(network, store, update)
    return advanced if isinstance(advanced, Rejection) else (claim, advanced)
