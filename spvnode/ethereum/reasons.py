"""Why light-client data is refused. A rejection is what a remote did: returned, scored, never raised."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """One per check of the sync protocol, in the order in which they are made."""

    WRONG_LAYOUT = "wrong-layout"
    """The containers are of a later fork than the store's: the store must be upgraded first."""
    UNTRUSTED_ROOT = "untrusted-root"
    """A bootstrap's header is not the trusted block."""
    INSUFFICIENT_PARTICIPANTS = "insufficient-participants"
    INVALID_ATTESTED_HEADER = "invalid-attested-header"
    """Its execution branch does not hold, or it holds what its epoch cannot have."""
    FUTURE_SIGNATURE_SLOT = "future-signature-slot"
    """Signed in a slot that our clock has not reached."""
    SLOT_ORDER = "slot-order"
    """Not signature slot > attested slot >= finalized slot."""
    SKIPPED_PERIOD = "skipped-period"
    """Signed by a committee that the store does not know (yet, or any more)."""
    IRRELEVANT = "irrelevant"
    """Neither a newer header nor a committee that the store lacks. Late or repeated rather than hostile."""
    FINALIZED_HEADER_NOT_EMPTY = "finalized-header-not-empty"
    """A finalized header without its branch, or beside the genesis checkpoint."""
    INVALID_FINALIZED_HEADER = "invalid-finalized-header"
    INVALID_FINALITY_BRANCH = "invalid-finality-branch"
    NEXT_COMMITTEE_NOT_EMPTY = "next-committee-not-empty"
    """A next committee without its branch."""
    NEXT_COMMITTEE_MISMATCH = "next-committee-mismatch"
    """Another next committee than the one the store knows for the same period."""
    INVALID_NEXT_COMMITTEE_BRANCH = "invalid-next-committee-branch"
    INVALID_CURRENT_COMMITTEE_BRANCH = "invalid-current-committee-branch"
    INVALID_SIGNATURE = "invalid-signature"
    FINALITY_NOT_IN_PERIOD = "finality-not-in-period"
    """``apply_light_client_update`` to a store without a next committee, of a header finalized in another period."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """``detail`` says more for people and logs; it holds numbers and names of ours, never remote text."""

    reason: Reason
    detail: str = ""
