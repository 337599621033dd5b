"""Checks a beacon bundle offline, by running the sync protocol over it: bootstrap, updates in order, signatures.

What it shows, and on what it rests. From the checkpoint's block on, each committee was named by a state that two thirds
of the committee before it signed as final; the last one signed the header. So whoever trusts ``checkpoint_root`` may
believe the header as much as the honesty of those committees. Nothing in a bundle proves the checkpoint: the verdict
says whether it is the caller's. A checkpoint older than the weak-subjectivity period is weaker than that, since
validators who left long ago risk nothing by signing another history: the verdict says so too.

Every item must be needed: one that is late, repeated, of a wrong period, or brings nothing new, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from merkle.errors import ProofError
from spvnode.bls import MAX_BATCH, Verifier
from spvnode.ethereum.bundle import BeaconBundle, decode, from_json
from spvnode.ethereum.catchup import process_light_client_updates
from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientHeader,
    LightClientOptimisticUpdate,
    LightClientUpdate,
    beacon_root,
)
from spvnode.ethereum.execution import ExecutionField, execution_fields
from spvnode.ethereum.light_client import as_light_client_update, initialize_light_client_store
from spvnode.ethereum.networks import Network
from spvnode.ethereum.reasons import Rejection
from spvnode.ethereum.received import ItemReason, decode_item
from spvnode.ethereum.records import Kept, slot_of, wire_digest
from spvnode.ethereum.store import LightClientStore
from spvnode.ethereum.units import Root, Slot, compute_epoch_at_slot, compute_sync_committee_period_at_slot
from spvnode.ethereum.weak_subjectivity import is_within_weak_subjectivity_period

OK: Final = "ok"
TRUSTED_CHECKPOINT: Final = "trusted checkpoint"
MAKER: Final = "maker"
NOTHING: Final = "nothing"
FINALIZED: Final = "finalized"
OPTIMISTIC: Final = "optimistic"
CHECKPOINT: Final = "checkpoint"


@dataclass(frozen=True, slots=True)
class Participation:
    """Who signed the last item: ``participants`` of ``committee_size`` members, in ``signature_slot``."""

    participants: int
    committee_size: int
    signature_slot: int


@dataclass(frozen=True, slots=True)
class BeaconVerdict:
    """``says`` is for people; ``reason`` is ``ok`` or a short name of what does not hold.

    ``rests_on``: ``trusted checkpoint``, ``maker`` (nobody vouches for the checkpoint but the bundle's maker), or
    ``nothing``. ``claimed`` names the fields that nothing proves. ``header``: which header the last item shows,
    ``finalized``, ``optimistic``, or ``checkpoint`` where there is nothing after the bootstrap. ``execution`` is that
    header's. ``fields`` is all of it for JSON. A refused bundle has no values but the first three.
    """

    ok: bool
    reason: str
    says: str
    rests_on: str = NOTHING
    claimed: tuple[str, ...] = ()
    header: str = ""
    finalized: LightClientHeader | None = None
    optimistic: LightClientHeader | None = None
    execution: tuple[ExecutionField, ...] = ()
    checkpoint_root: bytes = b""
    participation: Participation | None = None
    fields: dict[str, Any] = field(default_factory=dict)


class _Refused(Exception):
    """Why a bundle does not hold: a short reason, and a sentence."""


@dataclass(frozen=True, slots=True)
class _Run:
    """The store after all items, the items, and which header the last of them shows."""

    store: LightClientStore
    values: tuple[Kept, ...]
    header: str


def verify(
    bundle: BeaconBundle | bytes | Mapping[str, Any],
    network: Network,
    now: float,
    trusted_checkpoint: bytes | None = None,
    *,
    verifier: Verifier | None = None,
) -> BeaconVerdict:
    """Verdict on a bundle: decoded, canonical bytes, or parsed JSON. Never raises for what the bundle holds.

    ``now``: Unix seconds, so that a signature from the future is refused. ``trusted_checkpoint``: the 32-byte root that
    the caller trusts; another one in the bundle is refused. Takes about 2 ms a period, most of it BLS: call it in a
    worker thread. ValueError when ``trusted_checkpoint`` is not 32 bytes.
    """
    if trusted_checkpoint is not None and len(trusted_checkpoint) != len(network.genesis_validators_root):
        raise ValueError("a trusted checkpoint is the root of a block, 32 bytes")
    try:
        if not isinstance(bundle, BeaconBundle):
            bundle = from_json(bundle) if isinstance(bundle, Mapping) else decode(bundle)
        _check_origin(bundle, network, trusted_checkpoint)
        run = _run(bundle, network, network.slot_at(now), verifier or Verifier())
    except ProofError as error:
        return BeaconVerdict(False, "format", f"Refused: {error}.")
    except _Refused as refused:
        return BeaconVerdict(False, refused.args[0], f"Refused: {refused.args[1]}.")
    return _verdict(bundle, network, now, run, trusted=trusted_checkpoint is not None)


def _check_origin(bundle: BeaconBundle, network: Network, trusted_checkpoint: bytes | None) -> None:
    if bundle.network != network.name:
        raise _Refused("network", f"it is not about {network.name}")
    if bundle.genesis_validators_root != network.genesis_validators_root:
        raise _Refused("genesis", f"its genesis is not that of {network.name}")
    if trusted_checkpoint is not None and bundle.checkpoint_root != trusted_checkpoint:
        raise _Refused("trusted-checkpoint", "its checkpoint is not the one that you trust")


def _run(bundle: BeaconBundle, network: Network, current_slot: Slot, verifier: Verifier) -> _Run:
    values = tuple(_value(bundle, network, place) for place in range(len(bundle.items)))
    bootstrap = values[0]
    if not isinstance(bootstrap, LightClientBootstrap):  # BeaconBundle has seen to it
        raise TypeError("the first item is no bootstrap")
    store = initialize_light_client_store(network, Root(bundle.checkpoint_root), bootstrap)
    if isinstance(store, Rejection):
        raise _refusal(0, store)
    updates = _updates(network, values[1:], _period(network, bootstrap.header.beacon.slot))
    before = _followed(network, store, updates[:-1], 1, current_slot, verifier)
    after = _followed(network, before, updates[-1:], len(updates), current_slot, verifier)
    header = _shown(before, after) if updates else CHECKPOINT
    if header == OPTIMISTIC:
        _check_participation(updates[-1])
    return _Run(after, values, header)


def _check_participation(update: LightClientUpdate) -> None:
    """A store that has seen nothing takes an optimistic header from a single signer (its safety threshold is half of
    what it has seen); whoever is shown a bundle has no history, so he gets what finality asks for: two thirds."""
    signed, size = update.sync_aggregate.participants, 8 * len(update.sync_aggregate.sync_committee_bits)
    if 3 * signed < 2 * size:
        raise _Refused("participation", f"only {signed} of {size} members signed its last header")


def _followed(
    network: Network,
    store: LightClientStore,
    updates: Sequence[LightClientUpdate],
    first_place: int,
    current_slot: Slot,
    verifier: Verifier,
) -> LightClientStore:
    for start in range(0, len(updates), MAX_BATCH):
        done = process_light_client_updates(network, store, updates[start : start + MAX_BATCH], current_slot, verifier)
        for place, outcome in enumerate(done.outcomes, first_place + start):
            if outcome is not None:
                raise _refusal(place, outcome)
        store = done.store
    return store


def _value(bundle: BeaconBundle, network: Network, place: int) -> Kept:
    item = bundle.items[place]
    value = decode_item(network, item)
    if isinstance(value, ItemReason):
        raise _Refused(value.value, f"item {place} is no data of a fork of {network.name} that this software knows")
    slot = slot_of(value)
    if item.digest != wire_digest(network, slot):
        raise _Refused(ItemReason.WRONG_FORK_DIGEST.value, f"item {place} has the fork digest of another slot")
    horizon = network.schedule.horizon
    if horizon is not None and compute_epoch_at_slot(network.preset, slot) > horizon:
        raise _Refused("fork-horizon", f"item {place} is from beyond the last epoch that this software can judge")
    return value


def _updates(network: Network, values: Sequence[Kept], period: int) -> list[LightClientUpdate]:
    """What to process, live update included, each in its period."""
    updates = []
    for place, value in enumerate(values):
        if isinstance(value, LightClientFinalityUpdate | LightClientOptimisticUpdate):
            updates.append(as_light_client_update(network, value))
        elif isinstance(value, LightClientUpdate):
            if _period(network, value.attested_header.beacon.slot) != period + place:
                raise _Refused("period-order", f"item {place + 1} is not the update of period {period + place}")
            updates.append(value)
    return updates


def _shown(before: LightClientStore, after: LightClientStore) -> str:
    """Which header the last update moved. A valid one may move none: for want of signers, or because all is known."""
    if before.finalized_header != after.finalized_header:
        return FINALIZED
    if before.optimistic_header != after.optimistic_header:
        return OPTIMISTIC
    raise _Refused("no-progress", "its last update shows nothing that those before it do not")


def _refusal(place: int, rejection: Rejection) -> _Refused:
    detail = f" ({rejection.detail})" if rejection.detail else ""
    return _Refused(rejection.reason.value, f"item {place} breaks a rule: {rejection.reason.value}{detail}")


def _verdict(bundle: BeaconBundle, network: Network, now: float, run: _Run, *, trusted: bool) -> BeaconVerdict:
    store, bootstrap, last = run.store, run.values[0], run.values[-1]
    shown = store.optimistic_header if run.header == OPTIMISTIC else store.finalized_header
    participation = None if isinstance(last, LightClientBootstrap) else _participation(network, last)
    start_slot = slot_of(bootstrap)
    current_epoch = compute_epoch_at_slot(network.preset, network.slot_at(now))
    fresh = is_within_weak_subjectivity_period(
        network, compute_epoch_at_slot(network.preset, start_slot), current_epoch
    )
    fields = {
        "version": 2,
        "network": bundle.network,
        "genesis_validators_root": _hex(bundle.genesis_validators_root),
        "checkpoint_root": _hex(bundle.checkpoint_root),
        "checkpoint_slot": int(start_slot),
        "checkpoint_is_recent": fresh,
        "made_at": bundle.made_at,
        "updates": sum(isinstance(value, LightClientUpdate) for value in run.values),
        "header": run.header,
        "finalized": _described(network, store.finalized_header, now),
        "optimistic": _described(network, store.optimistic_header, now),
        "participants": participation and participation.participants,
        "committee_size": network.preset.sync_committee_size,
        "signature_slot": participation and participation.signature_slot,
    }
    return BeaconVerdict(
        ok=True,
        reason=OK,
        says=_says(fields, run.header, shown, trusted=trusted, fresh=fresh),
        rests_on=TRUSTED_CHECKPOINT if trusted else MAKER,
        claimed=("made_at",) if trusted else ("checkpoint_root", "made_at"),
        header=run.header,
        finalized=store.finalized_header,
        optimistic=store.optimistic_header,
        execution=execution_fields(network, shown),
        checkpoint_root=bundle.checkpoint_root,
        participation=participation,
        fields=fields,
    )


def _participation(
    network: Network, last: LightClientUpdate | LightClientFinalityUpdate | LightClientOptimisticUpdate
) -> Participation:
    return Participation(last.sync_aggregate.participants, network.preset.sync_committee_size, last.signature_slot)


def _described(network: Network, header: LightClientHeader, now: float) -> dict[str, Any]:
    beacon = header.beacon
    execution = execution_fields(network, header)
    return {
        "slot": int(beacon.slot),
        "root": _hex(beacon_root(beacon)),
        "age": round(now - network.start_of(beacon.slot)),
        "proposer_index": beacon.proposer_index,
        "parent_root": _hex(beacon.parent_root),
        "state_root": _hex(beacon.state_root),
        "body_root": _hex(beacon.body_root),
        "execution": {each.name: each.as_json() for each in execution} or None,
    }


def _says(fields: Mapping[str, Any], header: str, shown: LightClientHeader, *, trusted: bool, fresh: bool) -> str:
    block = f"Block {_hex(beacon_root(shown.beacon))} at slot {shown.beacon.slot} of {fields['network']}"
    signed = f"{fields['participants']} of {fields['committee_size']} members of the sync committee"
    what = {
        CHECKPOINT: f"{block} is the checkpoint itself; nothing after it is shown",
        OPTIMISTIC: f"{block} was signed by {signed}, and may still be replaced until it is finalized",
        FINALIZED: f"{block} is finalized, as {signed} signed",
    }[header]
    whose = "which you trust" if trusted else "which is its maker's word alone until you compare it with one you trust"
    rest = f"It rests on checkpoint {fields['checkpoint_root']} at slot {fields['checkpoint_slot']}, {whose}."
    age = "That checkpoint is older than the weak-subjectivity period: only another source can confirm it."
    return " ".join([f"{what}.", rest] + [age] * (not fresh))


def _period(network: Network, slot: Slot) -> int:
    return compute_sync_committee_period_at_slot(network.preset, slot)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
