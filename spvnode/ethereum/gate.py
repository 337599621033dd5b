"""Which gossiped updates are passed on. Names in brackets are the specs'.

Source: consensus-specs ``altair/light-client/p2p-interface.md``, "The gossip domain", the rules for light clients;
``gloas/validator.md`` for the time in a slot.

Beyond the text: of the errors that processing may find, only those count as [REJECT] that no honest node's message can
have (those not in ``received.BLAME``). A client that is behind, or whose clock is, would score honest peers otherwise.
"""

from __future__ import annotations

from enum import Enum

from spvnode.bls import Verifier
from spvnode.ethereum.containers import LightClientFinalityUpdate, LightClientOptimisticUpdate
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.full_node import create_light_client_optimistic_update
from spvnode.ethereum.items import Item
from spvnode.ethereum.light_client import process_light_client_finality_update, process_light_client_optimistic_update
from spvnode.ethereum.networks import Network
from spvnode.ethereum.ranking import has_supermajority
from spvnode.ethereum.reasons import Rejection
from spvnode.ethereum.received import BLAME, ItemReason, decode_item
from spvnode.ethereum.store import LightClientStore
from spvnode.ethereum.units import Slot, compute_epoch_at_slot

MAXIMUM_GOSSIP_CLOCK_DISPARITY = 500
"""Milliseconds (phase0 ``p2p-interface.md``)."""
SYNC_MESSAGE_DUE_BPS = 3333
"""A third of a slot, in ten-thousandths: when a block has had the time to propagate."""
SYNC_MESSAGE_DUE_BPS_GLOAS = 2500
BASIS_POINTS = 10_000


class Judgement(Enum):
    """What becomes of a gossiped message."""

    ACCEPT = "accept"
    """Passed on."""
    IGNORE = "ignore"
    """Dropped; its sender may be as honest as we are."""
    REJECT = "reject"
    """Dropped; no honest node sends it."""


class Gate:
    """Remembers what it has passed on: two objects. Owned by the event loop's thread."""

    def __init__(self, network: Network, verifier: Verifier) -> None:
        self._network = network
        self._verifier = verifier
        self._finality: LightClientFinalityUpdate | None = None
        self._optimistic: LightClientOptimisticUpdate | None = None

    def judge(self, store: LightClientStore, item: Item, now: float) -> Judgement:
        """What becomes of ``item``, a finality or an optimistic update, at ``now`` (Unix seconds). 1.4 ms, and 35 ms
        more for the first one of a committee."""
        value = decode_item(self._network, item)
        if isinstance(value, ItemReason):
            return Judgement.IGNORE if value in BLAME else Judgement.REJECT
        if isinstance(value, LightClientFinalityUpdate):
            return self._judge_finality(store, value, now)
        if isinstance(value, LightClientOptimisticUpdate):
            return self._judge_optimistic(store, value, now)
        return Judgement.REJECT  # no topic is for it

    def _judge_finality(self, store: LightClientStore, update: LightClientFinalityUpdate, now: float) -> Judgement:
        if not self._is_due(update.signature_slot, now) or not self._is_later(update):
            return Judgement.IGNORE
        slot = Slot(max(self._network.slot_at(now), update.signature_slot))  # what is due may be half a second early
        after = process_light_client_finality_update(self._network, store, update, slot, self._verifier)
        if isinstance(after, Rejection):
            return _of_rejection(after)
        if after.finalized_header.beacon.slot <= store.finalized_header.beacon.slot:
            return Judgement.IGNORE
        self._finality = update
        return Judgement.ACCEPT

    def _is_later(self, update: LightClientFinalityUpdate) -> bool:
        """[IGNORE] Later than what was passed on; or as late, and the first with a supermajority."""
        last = self._finality
        if last is None:
            return True
        slot, last_slot = update.finalized_header.beacon.slot, last.finalized_header.beacon.slot
        return slot > last_slot or (slot == last_slot and has_supermajority(update) and not has_supermajority(last))

    def _judge_optimistic(self, store: LightClientStore, update: LightClientOptimisticUpdate, now: float) -> Judgement:
        last = self._optimistic
        if not self._is_due(update.signature_slot, now):
            return Judgement.IGNORE
        if last is not None and update.attested_header.beacon.slot <= last.attested_header.beacon.slot:
            return Judgement.IGNORE
        if self._finality is None or update != create_light_client_optimistic_update(self._finality):
            slot = Slot(max(self._network.slot_at(now), update.signature_slot))
            after = process_light_client_optimistic_update(self._network, store, update, slot, self._verifier)
            if isinstance(after, Rejection):
                return _of_rejection(after)
            if after.optimistic_header.beacon.slot <= store.optimistic_header.beacon.slot:
                return Judgement.IGNORE
        self._optimistic = update
        return Judgement.ACCEPT

    def _is_due(self, signature_slot: Slot, now: float) -> bool:
        """[IGNORE] Received after the block at ``signature_slot`` had the time to propagate."""
        early = now * 1000 + MAXIMUM_GOSSIP_CLOCK_DISPARITY
        return early >= self._network.start_of(signature_slot) * 1000 + sync_message_due_ms(
            self._network, signature_slot
        )


def sync_message_due_ms(network: Network, slot: Slot) -> int:
    """``get_duration_ms(DURATION_ID_SYNC_MESSAGE_DUE)``: milliseconds after the start of ``slot``."""
    gloas = compute_epoch_at_slot(network.preset, slot) >= network.schedule.epoch_of(Fork.GLOAS)
    points = SYNC_MESSAGE_DUE_BPS_GLOAS if gloas else SYNC_MESSAGE_DUE_BPS
    return network.slot_duration_ms * points // BASIS_POINTS


def _of_rejection(rejection: Rejection) -> Judgement:
    return Judgement.IGNORE if rejection.reason in BLAME else Judgement.REJECT
