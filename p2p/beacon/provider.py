"""What the beacon wire is told by whoever knows the chain: what we have and serve, which network this is, and what a
gossiped object is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol, TypeAlias

from p2p.beacon.messages import Status

KindName: TypeAlias = Literal["bootstrap", "update", "finality", "optimistic"]
"""The four objects of light-client data."""
GossipName: TypeAlias = Literal["finality", "optimistic"]
"""Those that are gossiped."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One light-client object: its context (the fork digest that tells its layout, 4 bytes) and its SSZ."""

    digest: bytes
    ssz: bytes


class Gossip(Enum):
    """What becomes of a gossiped object (phase0 p2p, "Topics and messages")."""

    ACCEPT = "accept"
    """Ours was advanced by it: deliver and relay it."""
    IGNORE = "ignore"
    """Nothing new, too early, or not to be told from where we are: drop it, nobody's fault."""
    REJECT = "reject"
    """Nobody honest sends or relays this."""


class Provider(Protocol):
    """Committed state only. Called on the trio thread; must not block for long."""

    def status(self) -> Status:
        """What we say we have."""

    def accepts(self, status: Status) -> str | None:
        """None where a peer with that status is of our network; else why it is not, in plain words."""

    def topic_digests(self) -> Sequence[bytes]:
        """Fork digests whose topics are of use now: the current one, and near a change the one before or after it."""

    def enr_fork_id(self) -> bytes:
        """``ENRForkID``, 16 bytes: what our ENR says under ``eth2``."""

    def max_size(self, kind_name: KindName, digest: bytes) -> int | None:
        """Bytes of the longest SSZ of that kind under ``digest``; None for a digest that is not of our network, or of
        a fork that we cannot follow."""

    def bootstrap(self, root: bytes) -> Chunk | None:
        """The bootstrap of a block root, if we have it."""

    def updates(self, start_period: int, count: int) -> Sequence[Chunk]:
        """Best updates of consecutive periods from ``start_period``, up to ``count``; none where we lack the first."""

    def finality_update(self) -> Chunk | None:
        """The latest."""

    def optimistic_update(self) -> Chunk | None:
        """The latest."""

    def judge(self, name: GossipName, digest: bytes, ssz: bytes) -> Gossip:
        """What a gossiped object, of a size that ``max_size`` allows, is worth."""
