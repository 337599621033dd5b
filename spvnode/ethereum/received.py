"""From an item to an object that may be checked, or the reason why it is none; and whose doing each reason is.

What no honest node sends is the sender's: what does not decode, is in another fork's layout, has a branch or a
signature that does not hold. What is late, early, or of no use to us is not: see ``BLAME``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from merkle.errors import ProofError
from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientOptimisticUpdate,
    LightClientUpdate,
    decode,
)
from spvnode.ethereum.forks import LAYOUTS, Fork
from spvnode.ethereum.items import Item, Kind
from spvnode.ethereum.networks import Network, fork_digests
from spvnode.ethereum.reasons import Reason
from spvnode.ethereum.records import Kept, slot_of, wire_digest
from spvnode.ethereum.units import ForkDigest
from spvnode.following import Blame


class ItemReason(StrEnum):
    """Why an item is refused before any rule of the sync protocol is looked at."""

    MALFORMED = "malformed-item"
    """No framing, no known kind, or no SSZ of that kind in its digest's fork."""
    UNKNOWN_FORK_DIGEST = "unknown-fork-digest"
    """Of another network, or of a fork that we do not know."""
    WRONG_FORK_DIGEST = "wrong-fork-digest"
    """In the layout of another fork than its slot's."""


BLAME: Mapping[str, Blame] = MappingProxyType(
    {
        # Our clock, or our fork schedule, may be behind. What came before it in the run is kept.
        Reason.FUTURE_SIGNATURE_SLOT: Blame.CLOCK,
        ItemReason.UNKNOWN_FORK_DIGEST: Blame.CLOCK,
        # Signed by a committee that we do not know: a period without finality lies between, or we are ahead. What came
        # before it is kept.
        Reason.SKIPPED_PERIOD: Blame.CLOCK,
        # Nothing in it that we can use.
        Reason.IRRELEVANT: Blame.NOBODY,
        Reason.UNTRUSTED_ROOT: Blame.NOBODY,
        Reason.FINALITY_NOT_IN_PERIOD: Blame.NOBODY,
        Reason.WRONG_LAYOUT: Blame.NOBODY,
    }
)
"""Whose doing a broken rule is, where it is not the sender's."""

CLASSES: Mapping[Kind, type[Kept]] = MappingProxyType(
    {
        Kind.BOOTSTRAP: LightClientBootstrap,
        Kind.UPDATE: LightClientUpdate,
        Kind.FINALITY: LightClientFinalityUpdate,
        Kind.OPTIMISTIC: LightClientOptimisticUpdate,
    }
)


@dataclass(frozen=True, slots=True)
class Refused:
    """``index``: of the item in its run."""

    reason: str
    index: int = 0


def fork_of(network: Network, digest: bytes) -> Fork | None:
    """The fork whose light-client data comes under ``digest``; None when it is unknown, or has none."""
    entry = fork_digests(network).get(ForkDigest(digest))
    return entry.fork if entry is not None and entry.fork in LAYOUTS else None


def decode_item(network: Network, item: Item) -> Kept | ItemReason:
    """The object in ``item``.

    Its layout must be that of the fork of its slot (the specs' context epoch), or it could not be served on. The digest
    itself may be another one with that layout: it is ours that is stored.
    """
    fork = fork_of(network, item.digest)
    if fork is None:
        return ItemReason.UNKNOWN_FORK_DIGEST
    try:
        value = decode(network.preset, fork, CLASSES[item.kind], item.ssz)
    except ProofError:
        return ItemReason.MALFORMED
    at_slot = fork_of(network, wire_digest(network, slot_of(value)))
    return value if at_slot is not None and LAYOUTS[at_slot] is value.fork else ItemReason.WRONG_FORK_DIGEST
