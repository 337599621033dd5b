"""Bitcoin's own network as a source of headers. Its peers cannot be asked by number, only for what follows a hash.

Everything that a peer sends passes ``look`` or comes out of a ``Supply`` that a presync filled, before the machine sees
it: nothing low-work gets further than this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import trio

from p2p.bitcoin.net import BitcoinNet
from p2p.bitcoin.questions import MAX_ANNOUNCED
from p2p.faults import FaultReason, RemoteFault, gone
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.first_look import Doubtful
from spvnode.bitcoin.header import header_hash
from spvnode.bitcoin.params import ChainParams
from spvnode.following import Tip
from spvnode.sync.proving import FULL, NO_STOP, Known, Place, Proving
from spvnode.sync.source import Items
from spvnode.sync.tips import TipLedger
from spvnode.types import HEADER_SIZE, PREV_HASH, Hash32, Height

MAX_UNCONNECTING = 10
"""Runs in a row, of one peer, that connect to nothing of ours and are asked about (Core's
MAX_NUM_UNCONNECTING_HEADERS_MSGS); then it is a fault. A run that connects begins the count anew."""
MAX_NEWS = 16
"""Blocks told of that are not committed yet, of which we remember who was first; peers fill it, the oldest makes room.
A commit takes milliseconds, and each such block has the work that lets it be looked at."""
DRIP_BLOCKS = 144
"""Blocks that a chain may end below what its peer said at the start: a reorganization, or what it has not checked yet.
One that gives some and ends lower is dripping."""


class WireSource(Proving):
    """``spvnode.sync.source.Source``. ``net`` and ``chain`` are looked up at each call: both come and go.

    ``checkpoint``: height and hash of the one header that can be asked for by number, where the chain begins at a
    checkpoint whose header is not here yet.
    """

    def __init__(
        self,
        params: ChainParams,
        net: Callable[[], BitcoinNet | None],
        chain: Callable[[], HeaderChain | None],
        *,
        checkpoint: Callable[[], tuple[int, Hash32] | None] = lambda: None,
    ) -> None:
        super().__init__(params, chain)
        self.tips = TipLedger(self._hash_at)
        self._net = net
        self._checkpoint = checkpoint
        self._told: Hash32 | None = None
        self._news: dict[Hash32, str] = {}  # who was first to tell of a block

    # -- Source

    async def fetch_after(self, peer: str, locator: object, count: int) -> Items | RemoteFault:
        """See ``Source``. ``locator``: hashes, or the ``Place`` of an earlier reply."""
        known = self.peers.get(peer)
        if known is None:
            return gone(peer, self.params.name, "not connected")
        if known.supply is not None:
            items = await self.from_supply(known, known.supply, locator, count)
            if items is not None:
                return items
        if isinstance(locator, Place):
            return await self._after_place(known, locator, count)
        return await self._after(known, cast(Sequence[Hash32], locator), count)

    async def fetch_range(self, peer: str, start: Height, count: int) -> Items | RemoteFault:
        """The checkpoint's header only: everything else cannot be asked for by number here."""
        wanted = self._checkpoint()
        if wanted is None or start != wanted[0] or count != 1:
            evidence = f"cannot be asked for height {start}"
            return RemoteFault(FaultReason.REFUSED, peer, evidence, self.params.name, scored=True)
        reply = await self.ask(peer, (), wanted[1])
        if isinstance(reply, RemoteFault):
            return reply
        if not reply:
            return RemoteFault(FaultReason.NOT_FOUND, peer, "does not have the checkpoint's block", self.params.name)
        return Items(start, reply[:HEADER_SIZE])

    async def announce(self, tip: Tip) -> None:
        """See ``Source``."""
        net, chain = self._net(), self.chain
        if net is None or chain is None:
            return
        self._thank(net, chain)
        for peer, height in self.tips.agreeing():
            net.has(peer, height)
        told = self.height_of(self._told) if self._told is not None else None
        self._told = tip.hash
        new = chain.tip_height - told if told is not None else MAX_ANNOUNCED
        first = chain.tip_height - min(max(new, 1), MAX_ANNOUNCED) + 1
        await net.announce(chain.headers(Height(max(first, chain.base)), MAX_ANNOUNCED))

    def _thank(self, net: BitcoinNet, chain: HeaderChain) -> None:
        """Whoever was first to tell of what is committed by now has earned something."""
        for block_hash, peer in list(self._news.items()):
            height = chain.height_of(block_hash)
            if height is not None:
                del self._news[block_hash]
                net.has(peer, height, news=True)

    async def report(self, fault: RemoteFault) -> None:
        """See ``Source``."""
        net = self._net()
        if net is not None:
            await net.report(fault)

    def useful(self, peer: str) -> None:
        """See ``Source``."""
        net = self._net()
        if net is not None:
            net.useful(peer)

    # -- asking

    async def ask(self, peer: str, locator: Sequence[Hash32], stop: Hash32 = NO_STOP) -> bytes | RemoteFault:
        """One ``getheaders``: n * 80 bytes, n <= 2,000, not looked into."""
        net = self._net()
        if net is None:
            return gone(peer, self.params.name, "the wire is down")
        return await net.get_headers(peer, locator, stop)

    def shown(self, known: Known, height: int, block_hash: bytes, *, news: bool = False) -> None:
        """A peer has shown the header of its best block, or of one on the way there. ``news``: that we lack."""
        known.unconnecting = 0
        known.height = max(known.height, height)
        self.tips.note(known.peer, Height(height), Hash32(block_hash), trio.current_time())
        if news:  # it counts once it is committed
            self._news.setdefault(Hash32(block_hash), known.peer)
            if len(self._news) > MAX_NEWS:
                del self._news[next(iter(self._news))]
        net = self._net()
        if net is not None and self._hash_at(Height(height)) == block_hash:
            net.has(known.peer, height)

    async def _after(self, known: Known, locator: Sequence[Hash32], count: int) -> Items | RemoteFault:
        first = await self.ask(known.peer, locator)
        if isinstance(first, RemoteFault):
            return first
        chain = self.chain
        tip = Height(chain.tip_height + 1 if chain is not None else 0)
        if not first:
            known.height = min(known.height, tip - 1)  # whatever it has claimed
            return Items(tip, b"", ends=True)
        before = self.height_of(first[PREV_HASH])
        if before is None:
            return self.unconnecting(known) or Items(tip, b"", ends=True)
        return await self._gather(known, Height(before + 1), first, locator, count)

    async def _after_place(self, known: Known, place: Place, count: int) -> Items | RemoteFault:
        """Where the peer's chain has left that place meanwhile there is nothing after it: no fault, but a reason to ask
        what it has now."""
        chain = self.chain
        behind = chain.locator() if chain is not None else []
        first = await self.ask(known.peer, [place.hash, *behind])
        if isinstance(first, RemoteFault):
            return first
        if first and first[PREV_HASH] != place.hash:
            known.again.set()
            first = b""
        start = Height(place.height + 1)
        return await self._gather(known, start, first, behind, count) if first else Items(start, b"", ends=True)

    async def _gather(
        self, known: Known, start: Height, first: bytes, behind: Sequence[Hash32], count: int
    ) -> Items | RemoteFault:
        """More of what ``first`` began with, in whole messages, one after the other."""
        run, ends = bytearray(first), len(first) < FULL
        while not ends and len(run) + FULL <= count * HEADER_SIZE:
            last = header_hash(bytes(run[-HEADER_SIZE:]))
            reply = await self.ask(known.peer, [last, *behind])
            if isinstance(reply, RemoteFault):
                await self.report(reply)
                break
            if reply and reply[PREV_HASH] != last:  # it is on another branch now: what it has said was of the old one
                known.start_height = 0
                known.again.set()
                reply = b""
            run += reply
            ends = len(reply) < FULL
        return await self._checked(known, start, bytes(run), ends)

    async def _checked(self, known: Known, start: Height, run: bytes, ends: bool) -> Items:
        """Lets a run through the gate; what follows headers of this burst, which went through it, needs none."""
        if self.height_of(run[PREV_HASH]) is not None and isinstance(self.look(run), Doubtful):
            known.again.set()  # its chain is another one than what it showed before
            return Items(start, b"", ends=True)
        end = start + len(run) // HEADER_SIZE - 1
        last = header_hash(run[-HEADER_SIZE:])
        if ends and end < known.start_height - DRIP_BLOCKS:
            await self.report(self.fault(known.peer, FaultReason.DRIP, f"ends at {end}, said {known.start_height}"))
            known.start_height = end
        if not ends and end >= known.height:
            known.again.set()  # it has more than it has claimed
        self.shown(known, end, last)
        return Items(start, run, limited=not ends, ends=ends, place=Place(Height(end), last))

    def unconnecting(self, known: Known) -> RemoteFault | None:
        """Counts a run that connects to nothing; a fault once there were too many of them."""
        known.unconnecting += 1
        if known.unconnecting < MAX_UNCONNECTING:
            return None
        known.unconnecting = 0
        return self.fault(known.peer, FaultReason.UNLINKED, f"{MAX_UNCONNECTING} runs that connect to nothing")

    def _hash_at(self, height: Height) -> Hash32 | None:
        chain = self.chain
        if chain is None or not chain.base <= height <= chain.tip_height:
            return None
        return chain.block_hash(height)
