"""What the RPC reads: one read-only view of each chain, and of the node around them.

Views are consistent for as long as the caller does not yield to the event loop: a commit is applied to memory in one
step on the loop's own thread, and only after the store has it. Methods are therefore plain functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from spvnode.types import Hash32, Height, Work

if TYPE_CHECKING:
    from merkle.proofs import AncestryProof, HeadersProof, Steps
    from spvnode.ethereum.containers import (
        LightClientBootstrap,
        LightClientFinalityUpdate,
        LightClientHeader,
        LightClientOptimisticUpdate,
        LightClientUpdate,
    )
    from spvnode.ethereum.networks import Network


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

    def ancestry_proof(self, old: Height, new: Height) -> AncestryProof:
        """That the block at ``old`` is an ancestor of the one at ``new``."""

    def headers_proof(self, heights: Sequence[Height], cp_height: Height) -> HeadersProof:
        """One proof of many heights in the tree up to ``cp_height``."""

    def headers_proof_steps(self, heights: Sequence[Height], cp_height: Height) -> Steps:
        """The same in steps of some ms; the tree up to ``cp_height`` must stay what it is until the last."""

    def columns_proof(self, heights: Sequence[Height], cp_height: Height) -> bytes:
        """The same, version 8: quick to check."""

    def root(self, cp_height: Height) -> Hash32:
        """Header-tree root over range start..``cp_height`` (Electrum's ``cp_height`` tree)."""

    def branch(self, height: Height, cp_height: Height) -> list[bytes]:
        """Siblings from the hash at ``height`` up to that root, lowest first."""

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


@dataclass(frozen=True, slots=True)
class BlockFilter:
    """A block's basic filter (BIP158) with its filter header (BIP157, internal byte order). Nothing in a block commits
    to it: ``vouched_by`` are the peers that all name this header, ``disbelieved`` those that named another and lost,
    ``disputed_by`` those that name this filter with another header, over an earlier block that does not settle it."""

    filter: bytes
    header: Hash32
    vouched_by: tuple[str, ...]
    disbelieved: tuple[str, ...] = ()
    disputed_by: tuple[str, ...] = ()


class Ban(Protocol):
    """One order of the operator to shut somebody out."""

    @property
    def subject(self) -> str:
        """A network in CIDR form (one address: the smallest), or a peer id."""

    @property
    def since(self) -> float:
        """Unix seconds."""

    @property
    def until(self) -> float:
        """Unix seconds."""


class Bans(Protocol):
    """Whom the operator has shut out, from every wire. ``ValueError`` for what is no address, network or peer id."""

    def add(self, subject: str, now: float, until: float, /) -> bool:
        """Parts from them at once, and lets them in no more; False where that is so already."""

    def remove(self, subject: str, /) -> bool:
        """Lets them in again; False where they were not shut out under that name."""

    def clear(self) -> None:
        """Lets everybody in again."""

    def entries(self, now: float, /) -> Sequence[Ban]:
        """Those in force."""


class MissingPeer(Protocol):
    """A peer that the operator named and that is not connected."""

    @property
    def addr(self) -> str:
        """As it is dialed."""

    @property
    def problem(self) -> str | None:
        """Of the last attempt; None before the first has ended."""


class PeerControl(Protocol):
    """What the operator may do to the peers of one wire. ``ValueError`` for an address that is none."""

    def takes(self, address: str, /) -> bool:
        """Whether ``address`` is one of this wire's, by its look."""

    def add(self, address: str, /) -> bool:
        """Keeps connected to it until the daemon ends; False where that is so already."""

    def remove(self, address: str, /) -> bool:
        """Keeps no longer; False where it was not added."""

    def once(self, address: str, /) -> None:
        """Tries it once, soon."""

    def missing(self) -> Sequence[MissingPeer]:
        """Those that it keeps connected to and that are not, with the reason."""

    def disconnect(self, peer: str, /) -> bool:
        """Parts from whom ``peer`` names, an id or an address; False where nobody is."""


class NodeView(Protocol):
    """The node around the chains."""

    @property
    def networks(self) -> Sequence[str]:
        """Every network that is followed, in the order of the configuration."""

    @property
    def chains(self) -> Mapping[str, ChainView]:
        """Those of them of Bitcoin's kind that have begun: one that waits for its checkpoint's header is not among
        them."""

    @property
    def beacons(self) -> Mapping[str, BeaconView]:
        """Those of them of Ethereum's kind that have begun: one that has no checkpoint yet is not among them."""

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

    @property
    def wires(self) -> Mapping[str, Mapping[str, Any]]:
        """Who we are on networks of their own, beside the mesh: by network, JSON-ready."""

    def now(self) -> float:
        """Unix seconds."""

    def sync_info(self, network: str) -> Mapping[str, Any]:
        """Machine state, transitions, pool use, rates, faults by reason, sources: JSON-ready."""

    def peers(self, network: str) -> Sequence[Mapping[str, Any]]:
        """Connected peers under Core's ``getpeerinfo`` names where it has them: JSON-ready."""

    def readiness(self, network: str) -> Readiness:
        """Whether replies about a network deserve belief."""

    def events(self, network: str, cursor: int, limit: int) -> Sequence[Mapping[str, Any]]:
        """Up to ``limit`` entries of the durable event log with a number above ``cursor``, oldest first: JSON-ready."""

    def last_event(self, network: str) -> int:
        """Number of the newest event; 0 when there is none, or its store is being opened anew."""

    def freshness(self, network: str) -> Mapping[str, Any]:
        """``tip_age`` and ``last_useful_event_age`` in seconds (None when never)."""

    def controls(self, network: str) -> Sequence[PeerControl]:
        """The wires that are up on which peers of ``network`` are met."""

    @property
    def bans(self) -> Bans:
        """Whom the operator has shut out."""

    async def save_bans(self) -> None:
        """Returns once they will outlive a power cut. Raises StoreError."""

    async def fetch_block(self, network: str, block_hash: Hash32) -> bytes:
        """A serialized block of a committed header, from a peer, checked against it; nothing is kept. Raises
        ``spvnode.errors.Unavailable`` when no peer gives it in time."""

    async def fetch_filter(self, network: str, block_hash: Hash32) -> BlockFilter:
        """The compact filter of a main-chain block, likewise, cross-checked between peers."""

    def unreachable(self, network: str, *, filters: bool) -> str | None:
        """Why no peer can be asked for blocks now (with ``filters``: for compact filters); None where one can."""

    async def import_headers(self, network: str, headers: bytes) -> Mapping[str, Any]:
        """Checks and commits a run of headers; returns ``accepted``, ``height``, ``bestblockhash``; raises
        ``spvnode.errors.InputError`` with the rejecting reason."""


@dataclass(frozen=True, slots=True)
class BeaconStart:
    """Where trust in a beacon chain begins: one block, never built in."""

    root: Hash32
    slot: int
    kind: str
    """``root`` (configured), ``quorum`` (REST), ``peers``, or ``file``."""
    vouched_by: tuple[str, ...]
    """Who named the root: ``config``, host names, peer ids, or the file's name."""


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """An execution block that a beacon header commits to. Hashes in their natural (big-endian) order."""

    slot: int
    beacon_root: Hash32
    block_number: int
    block_hash: Hash32
    state_root: Hash32
    receipts_root: Hash32
    transactions_root: Hash32
    timestamp: int


class BeaconView(Protocol):
    """Committed state of one beacon chain. Headers and updates are ``spvnode.ethereum.containers``' values."""

    @property
    def network(self) -> str:
        """Its name."""

    @property
    def params(self) -> Network:
        """Genesis, schedule, preset."""

    @property
    def start(self) -> BeaconStart:
        """Where trust begins."""

    @property
    def finalized(self) -> LightClientHeader:
        """The last header that a sync committee saw finalized."""

    @property
    def optimistic(self) -> LightClientHeader:
        """The last header that a sync committee signed."""

    @property
    def finality_update(self) -> LightClientFinalityUpdate | None:
        """The update that ``finalized`` rests on; None right after a bootstrap."""

    @property
    def optimistic_update(self) -> LightClientOptimisticUpdate | None:
        """The update that ``optimistic`` rests on; None right after a bootstrap."""

    @property
    def bootstrap(self) -> LightClientBootstrap:
        """The trusted start."""

    @property
    def periods(self) -> tuple[int, int]:
        """First and last period whose best update is stored; the last is below the first when there is none."""

    def bootstrap_at(self, root: Hash32) -> LightClientBootstrap | None:
        """A stored bootstrap of that block root."""

    def updates(self, start_period: int, count: int) -> Sequence[LightClientUpdate]:
        """Best updates of up to ``count`` periods from ``start_period``, up to the first gap."""

    def execution(self, block: int | Hash32) -> ExecutionRecord | None:
        """A finalized execution header by its number or hash."""

    def bundle(self, header: str, *, made_at: int) -> bytes:
        """Canonical beacon bundle (version 2) from the start of trust to ``finalized`` or ``optimistic``."""
