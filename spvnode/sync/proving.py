"""What a source of Bitcoin headers needs so that no chain of too little work gets past it: a first look at each run,
and a supply of what a presync has proven. The wire's peers are asked through one of these, and the mesh's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from p2p.bitcoin.messages import MAX_HEADERS
from p2p.faults import FaultReason, RemoteFault
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.first_look import Doubtful, Enough, Unconnected, first_look
from spvnode.bitcoin.header import header_hash
from spvnode.bitcoin.params import ChainParams
from spvnode.sync.source import Items
from spvnode.sync.supply import Supply
from spvnode.types import HEADER_SIZE, Hash32, Height, Work

FULL = MAX_HEADERS * HEADER_SIZE
"""Bytes of headers in a message after which there may be more."""
NO_STOP = Hash32(bytes(32))
SUPPLY_PATIENCE = 4.0
"""Seconds that a fetch waits for a presync's second pass; half of the driver's deadline."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reply ended: the machine's next fetch of the same burst goes on from there."""

    height: Height
    hash: Hash32


@dataclass(slots=True, eq=False)
class Known:
    """What is kept of a peer that is up; a few hundred bytes, and a supply while it is proven."""

    peer: str
    start_height: int
    """As it said in its ``version``."""
    height: int
    """The most that it has claimed or shown."""
    inbound: bool = False
    unconnecting: int = 0
    promised: Hash32 | None = None
    """What it last announced and we do not have."""
    vain: int = 0
    """Announcements in a row that turned out to be of nothing."""
    supply: Supply | None = None
    doubt: Doubtful | None = None
    """Its chain needs presync, and waits for its turn."""
    again: trio.Event = field(default_factory=trio.Event)
    """Set to have it asked what it has."""
    proven_after: float = float("-inf")
    """trio time before which it gets no further turn of presync."""


class Proving(ABC):
    """``chain`` is looked up at each call: it comes and goes."""

    def __init__(self, params: ChainParams, chain: Callable[[], HeaderChain | None]) -> None:
        self.params = params
        self.peers: dict[str, Known] = {}
        """Those that are up."""
        self.contradictions = 0
        """Chains refused in presync so far because of another block at a checkpoint."""
        self._chain = chain

    @property
    def chain(self) -> HeaderChain | None:
        """What is committed."""
        return self._chain()

    @property
    def nbytes(self) -> int:
        """Bytes of headers held for the machine to fetch."""
        return sum(known.supply.nbytes for known in self.peers.values() if known.supply is not None)

    @abstractmethod
    async def ask(self, peer: str, locator: Sequence[Hash32], stop: Hash32 = NO_STOP) -> bytes | RemoteFault:
        """n * 80 bytes, n <= 2,000, after the first hash of ``locator`` that the peer has; not looked into."""

    @abstractmethod
    async def report(self, fault: RemoteFault) -> None:
        """See ``Source``."""

    # -- the one gate

    def look(self, headers: bytes) -> Enough | Doubtful | Unconnected:
        """Whether a run may reach the machine as it is."""
        chain = self.chain
        return Unconnected() if chain is None else first_look(chain, headers)

    def vouch(self, fork_height: Height, work: Work) -> None:
        """A presync has proven a chain of that work which leaves ours above ``fork_height``."""
        chain = self.chain
        if chain is not None:
            chain.vouch(fork_height, work)

    def height_of(self, block_hash: bytes) -> Height | None:
        """Of a hash that we have, on the main chain or a side branch."""
        chain = self.chain
        if chain is None:
            return None
        height = chain.height_of(Hash32(block_hash))
        if height is None:
            side = chain.side_header(Hash32(block_hash))
            height = side[0] if side is not None else None
        return height

    def fault(self, peer: str, reason: FaultReason, evidence: str) -> RemoteFault:
        """Of this network."""
        return RemoteFault(reason, peer, evidence, self.params.name)

    # -- what is proven

    async def from_supply(self, known: Known, supply: Supply, locator: object, count: int) -> Items | None:
        """Of what a presync has proven; None where it has proven all that it was for, and the peer goes on from there.
        Where it has not, nothing more of that chain is believed."""
        fits = supply.acknowledge(locator.height) if isinstance(locator, Place) else self._joins(supply)
        headers = await supply.take(count, SUPPLY_PATIENCE) if fits else b""
        if headers:
            place = Place(Height(supply.start + len(headers) // HEADER_SIZE - 1), header_hash(headers[-HEADER_SIZE:]))
            return Items(supply.start, headers, limited=len(headers) < count * HEADER_SIZE, place=place)
        if fits and not supply.done:
            return Items(supply.start, b"", limited=True, place=locator)
        known.supply = None
        known.again.set()
        return None if supply.whole else Items(supply.start, b"", ends=True)

    def _joins(self, supply: Supply) -> bool:
        """Whether what the supply holds follows from what is committed."""
        chain = self.chain
        return chain is not None and supply.start <= chain.tip_height + 1
