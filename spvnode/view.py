"""What the RPC reads: one read-only view of each chain, and of the node around them.

Views are consistent for as long as the caller does not yield to the event loop: a commit is applied to memory in one
step on the loop's own thread, and only after the store has it. Methods are therefore plain functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from spvnode.types import Hash32, Height, Work


@dataclass(frozen=True, slots=True)
class TrustStart:
    """Where trust begins: genesis (height 0), or a checkpoint that the operator named."""

    height: Height
    hash: Hash32
    kind: str
    """``genesis`` or ``checkpoint``."""
    complete: bool
    """True when every header from genesis up is stored and was checked by all rules."""


@dataclass(frozen=True, slots=True)
class BranchTip:
    """One entry of ``getchaintips`` beside the active chain."""

    height: Height
    hash: Hash32
    branch_length: int


class ChainView(Protocol):
    """Committed state of one chain."""

    @property
    def network(self) -> str:
        """Its name."""

    @property
    def genesis_hash(self) -> Hash32:
        """Of the network."""

    @property
    def start(self) -> TrustStart:
        """Where trust begins."""

    @property
    def base(self) -> Height:
        """Lowest stored height."""

    @property
    def tip_height(self) -> Height:
        """Best height."""

    @property
    def tip_hash(self) -> Hash32:
        """Best hash."""

    @property
    def minimum_chain_work(self) -> Work:
        """Below it nothing is believed complete."""

    def header(self, height: Height) -> bytes:
        """The 80 bytes at ``height`` of the main chain; KeyError outside base..tip."""

    def headers(self, start: Height, count: int) -> bytes:
        """Up to ``count`` headers from ``start``, cut at the tip."""

    def block_hash(self, height: Height) -> Hash32:
        """Hash at ``height`` of the main chain; KeyError outside base..tip."""

    def height_of(self, block_hash: Hash32) -> Height | None:
        """Height of a main-chain hash, None for any other."""

    def side_header(self, block_hash: Hash32) -> tuple[Height, bytes] | None:
        """Height and header of a hash that lies on a side branch."""

    def chainwork(self, height: Height) -> Work:
        """Cumulative work at ``height``, counted from genesis when ``start.complete``, else from the checkpoint
        (plus the work that was given with it)."""

    def median_time(self, height: Height) -> int:
        """Median time past including ``height``, Unix seconds."""

    def branches(self) -> Sequence[BranchTip]:
        """Competing tips."""

    def bundle(self, height: Height, cp_height: Height, *, made_at: int) -> bytes:
        """Canonical proof-bundle bytes for ``height`` in the header tree of ``range start..cp_height``."""

    def root(self, cp_height: Height) -> Hash32:
        """Header-tree root over range start..``cp_height`` (Electrum's ``cp_height`` tree)."""

    @property
    def range_start(self) -> Height:
        """Height of the header tree's first leaf: 0, or the checkpoint's where its peaks are unknown."""

    @property
    def work_known(self) -> bool:
        """Whether ``chainwork`` counts from genesis."""

    def peaks(self, end: Height) -> list[bytes]:
        """Mountain-range peaks over heights range start..``end - 1``, biggest first."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether replies deserve belief, and why not."""

    ready: bool
    reasons: tuple[str, ...]


class NodeView(Protocol):
    """The node around the chains."""

    @property
    def networks(self) -> Sequence[str]:
        """Every network that is followed, in the order of the configuration."""

    @property
    def chains(self) -> Mapping[str, ChainView]:
        """Those of them that have begun: one that waits for its checkpoint's header is not among them."""

    @property
    def version(self) -> str:
        """Of this program."""

    @property
    def started_at(self) -> float:
        """Unix seconds."""

    @property
    def peer_id(self) -> str | None:
        """Our libp2p identity, None without mesh."""

    @property
    def listen_addrs(self) -> Sequence[str]:
        """Full multiaddrs that others can dial."""

    def now(self) -> float:
        """Unix seconds."""

    def sync_info(self, network: str) -> Mapping[str, Any]:
        """Machine state, transitions, pool use, rates, faults by reason: JSON-ready."""

    def peers(self, network: str) -> Sequence[Mapping[str, Any]]:
        """Connected peers under Core's ``getpeerinfo`` names where it has them: JSON-ready."""

    def readiness(self, network: str) -> Readiness:
        """Whether replies about a network deserve belief."""

    def events(self, network: str, cursor: int, limit: int) -> Sequence[Mapping[str, Any]]:
        """Up to ``limit`` entries of the durable event log with a number above ``cursor``, oldest first: JSON-ready."""

    def freshness(self, network: str) -> Mapping[str, Any]:
        """``tip_age`` and ``last_useful_event_age`` in seconds (None when never)."""

    async def import_headers(self, network: str, headers: bytes) -> Mapping[str, Any]:
        """Checks and commits a run of headers; returns ``accepted``, ``height``, ``bestblockhash``; raises
        ``spvnode.errors.InputError`` with the rejecting reason."""
