"""The mesh's peers behind the same gate as the wire's: what they bring of a chain that shows too little work goes
through presync, before the machine hears of it.

What counts as too little is less than our own chain has. The network's minimum counts too once our chain has reached
it, and while peers of Bitcoin's own network are there to bring the rest; a node that has only its mesh takes what there
is until then, and is not ready.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import trio

from p2p.bitcoin.messages import MAX_HEADERS
from p2p.faults import RemoteFault
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.first_look import Doubtful, Enough, Unconnected, first_look
from spvnode.bitcoin.header import header_hash
from spvnode.bitcoin.params import ChainParams
from spvnode.following import Tip
from spvnode.sync import events as ev
from spvnode.sync.prover import Prover
from spvnode.sync.proving import FULL, NO_STOP, Known, Place, Proving
from spvnode.sync.source import Items, Source
from spvnode.types import HEADER_SIZE, PREV_HASH, Hash32, Height, Work

UNKNOWN = Hash32(bytes(32))
RETELL_S = 5.0
"""Seconds between two looks at whose presync is over, so that what he claims counts again."""


class ProvenMesh(Proving):
    """``Source`` over ``inner``, which asks the mesh. ``run`` it, and have it ``post``ed all that the mesh tells.

    ``chain`` as in ``Proving``; ``minimum``: whether the network's minimum counts now; ``chosen``: whether a peer is
    one that we dialed, for strangers who dial us must not take all turns of presync; ``tell`` passes on to the machine;
    ``clock`` in Unix seconds.
    """

    def __init__(
        self,
        params: ChainParams,
        inner: Source,
        chain: Callable[[], HeaderChain | None],
        *,
        minimum: Callable[[], bool],
        chosen: Callable[[str], bool],
        tell: Callable[[ev.Event], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(params, chain)
        self._inner = inner
        self._minimum = minimum
        self._chosen = chosen
        self._tell = tell
        self._said: dict[str, ev.PeerTip] = {}
        self.prover = Prover(self, proven=self._proven, clock=clock)

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.prover.run)
            while True:
                await trio.sleep(RETELL_S)
                for known in [one for one in self.peers.values() if one.again.is_set()]:
                    if self.peers.get(known.peer) is known:  # else it has left while others were told of
                        known.again = trio.Event()
                        await self._tell(self._said[known.peer])

    # -- what the mesh tells

    async def post(self, event: ev.Event) -> None:
        """See ``sync.mesh.Listener``. A push of too little work goes no further."""
        heard = self._heard(event)
        if heard is not None:
            await self._tell(heard)

    def _heard(self, event: ev.Event) -> ev.Event | None:
        match event:
            case ev.PeerTip(peer, tip):
                known = self.peers.get(peer)
                if known is None:
                    known = self.peers[peer] = Known(peer, 0, 0, inbound=not self._chosen(peer))
                known.height = tip.height
                self._said[peer] = event
                return event if known.supply is None else replace(event, ranged=False)
            case ev.PeerLeft(peer):
                if self.peers.pop(peer, None) is not None:
                    del self._said[peer]
                    self.prover.left(peer)
            case ev.Pushed(_, _, headers):
                return event if isinstance(self.look(headers), Enough) else None
        return event

    # -- Source

    async def fetch_after(self, peer: str, locator: object, count: int) -> Items | RemoteFault:
        """See ``Source``. ``locator``: hashes, or the ``Place`` where what was proven ends."""
        known = self.peers.get(peer)
        if known is not None and known.supply is not None:
            items = await self.from_supply(known, known.supply, locator, count)
            if items is not None:
                return items
        if not isinstance(locator, Place):
            return self._passed(peer, await self._inner.fetch_after(peer, locator, count), count)
        chain = self.chain
        behind = chain.locator() if chain is not None else []
        found = await self._inner.fetch_after(peer, [locator.hash, *behind], count)
        reply = self._passed(peer, found, count, ahead=True)
        if isinstance(reply, RemoteFault):
            return reply
        if reply.limited:
            return replace(reply, start=Height(locator.height + 1), place=locator)
        if reply.items[PREV_HASH] != locator.hash:  # it is on another branch now, or has no more
            return Items(Height(locator.height + 1), b"", ends=True)
        got = len(reply.items) // HEADER_SIZE
        place = Place(Height(locator.height + got), header_hash(reply.items[-HEADER_SIZE:]))
        return Items(Height(locator.height + 1), reply.items, ends=got < count, place=place)

    async def fetch_range(self, peer: str, start: Height, count: int) -> Items | RemoteFault:
        """See ``Source``."""
        reply, chain = await self._inner.fetch_range(peer, start, count), self.chain
        if chain is not None and start + count <= chain.base:  # what is above pins it: there is no work to be shown
            return reply
        return self._passed(peer, reply, count, ahead=True)

    async def announce(self, tip: Tip) -> None:
        """See ``Source``."""
        await self._inner.announce(tip)

    async def report(self, fault: RemoteFault) -> None:
        """See ``Source``."""
        await self._inner.report(fault)

    def useful(self, peer: str) -> None:
        """See ``Source``."""
        self._inner.useful(peer)

    # -- Proving

    async def ask(self, peer: str, locator: Sequence[Hash32], stop: Hash32 = NO_STOP) -> bytes | RemoteFault:
        """See ``Proving``."""
        reply = await self._inner.fetch_after(peer, locator, MAX_HEADERS)
        return reply if isinstance(reply, RemoteFault) else reply.items

    def look(self, headers: bytes) -> Enough | Doubtful | Unconnected:
        """See ``Proving``. Nothing is doubted before there is a chain to hold it against. What connects to nothing yet
        is for the machine to place, once what we have is enough."""
        chain = self.chain
        if chain is None:
            return Enough()
        reached = chain.chainwork(chain.tip_height) >= chain.minimum_chain_work
        minimum = reached or self._minimum()
        found = first_look(chain, headers, minimum=minimum)
        placed_later = reached or not (minimum and chain.work_known)
        return Enough() if placed_later and isinstance(found, Unconnected) else found

    def _passed(self, peer: str, reply: Items | RemoteFault, count: int, *, ahead: bool = False) -> Items | RemoteFault:
        """A reply that the machine may have; in place of others, that there is nothing. A chain that ends with too
        little work is nobody's fault, and no news. ``ahead``: it may follow what is fetched but not committed yet. Then
        its sender has not run out of headers, and is asked again."""
        if isinstance(reply, RemoteFault) or isinstance(found := self.look(reply.items), Enough):
            return reply
        if ahead and isinstance(found, Unconnected):
            return Items(reply.start, b"", limited=True)
        known = self.peers.get(peer)
        if isinstance(found, Doubtful) and known is not None and len(reply.items) >= count * HEADER_SIZE:
            self.prover.wanted(known, replace(found, headers=found.headers[:FULL]))  # it may wait for hours
        return Items(reply.start, b"", ends=True)

    async def _proven(self, known: Known, height: Height) -> None:
        """What is proven may end below our tip and still lead to more work: it is to be fetched in any case."""
        chain = self.chain
        if chain is not None and self.peers.get(known.peer) is known:
            tip = Tip(Height(max(height, chain.tip_height + 1)), UNKNOWN, Work(0))
            await self._tell(ev.PeerTip(known.peer, tip, self._said[known.peer].base, ranged=False))
