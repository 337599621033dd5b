"""What the machine hears. All frozen. Peers' news is posted by a source, the rest by the driver."""

from __future__ import annotations

from dataclasses import dataclass

from p2p.faults import RemoteFault
from spvnode.following import Tip, Verdict
from spvnode.types import Height


@dataclass(frozen=True, slots=True)
class PeerTip:
    """A peer said (in its hello or an announcement) what it has. ``base`` is the lowest item that it serves; one that
    is not ``ranged`` cannot be asked by number, only for what follows."""

    peer: str
    tip: Tip
    base: Height
    ranged: bool = True


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """The peer's session has ended."""

    peer: str


@dataclass(frozen=True, slots=True)
class Pushed:
    """Items came unasked (a gossiped tip): ``start`` is the number of the first."""

    peer: str
    start: Height
    items: bytes


@dataclass(frozen=True, slots=True)
class Fetched:
    """The reply to a ``FetchAfter`` or ``FetchRange``; see ``source.Items``."""

    job: int
    start: Height
    items: bytes
    limited: bool = False
    ends: bool = False
    place: object = None


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A fetch came to nothing; ``fault`` says whose doing it was."""

    job: int
    fault: RemoteFault


@dataclass(frozen=True, slots=True)
class Validated:
    """The answer to a ``Validate``, and to a ``Finish`` that refutes the checkpoint."""

    job: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Committed:
    """The answer to a ``Commit``, and to a ``Finish`` that held: it is stored and visible."""

    job: int
    tip: Tip
    base: Height


@dataclass(frozen=True, slots=True)
class CommitFailed:
    """The store refused (disk full, say). Ours, so nobody is scored for it."""

    job: int
    error: str


@dataclass(frozen=True, slots=True)
class TipMoved:
    """The committed chain changed by another door (an import)."""

    tip: Tip
    base: Height


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer set by ``SetTimer`` has run out."""

    generation: int


Event = (
    PeerTip | PeerLeft | Pushed | Fetched | FetchFailed | Validated | Committed | CommitFailed | TipMoved | TimerFired
)
