"""What a remote did wrong, as data. A fault is returned, counted and scored; it is never raised.

Faults of our own (a full disk, a bug) are exceptions and never end up here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_EVIDENCE = 200
"""Characters of evidence kept. A peer chooses what it sends, and so part of this text: it must not fill a
log."""


class FaultReason(StrEnum):
    """Why a peer is left. The values are stable: they are persisted, shown by RPC, and label metrics."""

    TIMEOUT = "timeout"
    """No answer within the deadline of the one who asked."""
    STALLED = "stalled"
    """Took a request and went silent, or stopped reading what it asked for."""
    DRIP = "drip"
    """Sends, but below the least rate of progress."""
    DISCONNECTED = "disconnected"
    """Left in the middle of a reply or a handshake."""
    REFUSED = "refused"
    """Said no: busy, or does not serve this."""
    NOT_FOUND = "not-found"
    """Does not have what was asked, and never claimed to."""
    FLOOD = "flood"
    """More messages than the protocol allows in a time."""
    BAD_FRAME = "bad-frame"
    """Bytes that no version of the protocol can mean."""
    OVERSIZED = "oversized"
    """A frame or list above its limit."""
    PROTOCOL = "protocol"
    """A well-formed message at the wrong moment, or a reply that is not the answer to the question."""
    FALSE_CLAIM = "false-claim"
    """Does not deliver what its own hello or announcement says it has."""
    WRONG_NETWORK = "wrong-network"
    """Another genesis under this network's name, or another network's headers."""
    UNLINKED = "unlinked"
    """Headers that do not follow from each other, or from what was asked."""
    INVALID_HEADER = "invalid-header"
    """A header that breaks a consensus rule, or a gossip tip without its proof of work."""
    TIME_TOO_NEW = "time-too-new"
    """A header from the future: as likely our clock is wrong as the peer."""
    LOW_WORK = "low-work"
    """A valid chain whose total work stays below the minimum, or below what was claimed for it."""
    BAD_PROOF = "bad-proof"
    """A proof bundle that does not decode or does not verify."""
    BAD_BLOCK = "bad-block"
    """A block whose transactions or witnesses are not those that its header commits to."""
    BAD_FILTER = "bad-filter"
    """A compact filter, or its header, that contradicts its block, or what the same peer said of it."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes that are no message, and why: what a codec knows of a fault, before it is known whose it is."""

    reason: FaultReason
    evidence: str


@dataclass(frozen=True, slots=True)
class RemoteFault:
    """One fault of one peer.

    ``evidence`` is one line of plain words, cut to ``MAX_EVIDENCE`` characters. ``network`` is empty
    when the fault is not about one network. ``scored`` is True when it already counts in the peer's
    score, so that reporting it a second time changes nothing.
    """

    reason: FaultReason
    peer: str
    evidence: str
    network: str = ""
    scored: bool = False

    def __post_init__(self) -> None:
        line = "".join(c if c.isprintable() else "?" for c in self.evidence[:MAX_EVIDENCE])
        object.__setattr__(self, "evidence", line)


def gone(peer: str, network: str, what: str) -> RemoteFault:
    """There is no session with ``peer`` (any more): nobody's offence, so scored already."""
    return RemoteFault(FaultReason.DISCONNECTED, peer, what, network, scored=True)
