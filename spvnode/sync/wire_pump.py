"""The wire's news, as events for the machine: what peers claim, what they announce, who leaves.

Whatever a peer announces that we cannot place, it is asked what follows our chain's last block but one: whoever has our
tip answers with it, whoever has more with that. So a lost announcement costs nothing, silence tells who lags, and a
false one ends here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import structlog
import trio

from merkle.hashing import sha256d_headers
from p2p.bitcoin.events import Announced, Inv, PeerDown, PeerUp, Silent
from p2p.bitcoin.messages import MAX_LOCATOR
from p2p.bitcoin.net import BitcoinNet
from p2p.faults import FaultReason, RemoteFault
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.first_look import Doubtful
from spvnode.bitcoin.header import header_hash
from spvnode.following import Tip
from spvnode.sync import events as ev
from spvnode.sync.mesh import FAREWELL, Listener
from spvnode.sync.prover import Prover
from spvnode.sync.proving import FULL, Known
from spvnode.sync.wire import WireSource
from spvnode.types import HASH_SIZE, HEADER_SIZE, PREV_HASH, Hash32, Height, Work

ASK_S = 10.0
"""Seconds for the answer of one that was asked what it has."""
ASK_AGAIN_S = 600.0
"""A peer that has told nothing for so long is asked: what it announced may have been lost."""
ASK_SOON_S = 60.0
"""The same for one that has said that it has more than we do, and was late, or had nothing when it was asked: where it
is the only one, nobody else brings it."""
MIN_PAUSE_S = 1.0
"""Between two such questions to one peer, whatever it announces."""
FAR = 2_000
"""A peer so many blocks ahead is being synchronised from: its new blocks are no reason to ask it."""
MAX_ASKED = 4
"""Questions in a row for where a peer's chain leaves ours, each of which brings us a hundred times as close; a liar has
us ask no more."""
MAX_VAIN = 10
"""Announcements in a row, of one peer, of which nothing came; then it is a fault."""
UNKNOWN = Hash32(bytes(32))

log = structlog.get_logger("sync")


class Pump:
    """``run`` hands the news of ``net`` to ``listener``, until cancelled. When it ends, so do its peers' claims."""

    def __init__(
        self, net: BitcoinNet, source: WireSource, listener: Listener, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._net = net
        self._source = source
        self._listener = listener
        self._scopes: dict[str, trio.CancelScope] = {}
        self.prover = Prover(source, proven=self._proven, clock=clock)

    async def run(self) -> None:
        """See the class."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.prover.run)
                async for event in self._net.events:
                    await self._hear(nursery, event)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + FAREWELL):
                for peer in list(self._source.peers):
                    await self._left(peer)

    async def _hear(self, nursery: trio.Nursery, event: PeerUp | PeerDown | Announced | Inv | Silent) -> None:
        match event:
            case PeerUp(peer, start_height, inbound=inbound):
                known = Known(peer, start_height, start_height, inbound)
                self._source.peers[peer] = known
                self._scopes[peer] = trio.CancelScope()
                nursery.start_soon(self._follow, known, self._scopes[peer])
            case PeerDown(peer):
                await self._left(peer)
            case Announced(peer, headers):
                if peer in self._source.peers:
                    await self._announced(self._source.peers[peer], headers)
            case Inv(peer, hashes):
                if peer in self._source.peers:
                    self._inventory(self._source.peers[peer], hashes)
            case Silent(peer):
                if peer in self._source.peers:
                    self._source.peers[peer].again.set()

    async def _left(self, peer: str) -> None:
        if self._source.peers.pop(peer, None) is None:
            return
        self._scopes.pop(peer).cancel()
        self._source.tips.drop(peer)
        self.prover.left(peer)
        await self._listener.post(ev.PeerLeft(peer))

    # -- one peer

    async def _follow(self, known: Known, scope: trio.CancelScope) -> None:
        """Asks it what it has: at the beginning, when it says that there is something new, and now and then."""
        try:
            with scope:
                if not known.inbound:
                    known.again.set()
                while True:
                    with trio.move_on_after(ASK_SOON_S if self._owes(known) else ASK_AGAIN_S):
                        await known.again.wait()
                    known.again = trio.Event()
                    if not self.prover.proves(known.peer):
                        await self._inquire(known)
                    await trio.sleep(MIN_PAUSE_S)
        except Exception:  # firewall: one peer must not take the others down; nothing is hidden
            log.exception("following a peer failed", peer=known.peer)

    def _owes(self, known: Known) -> bool:
        chain = self._source.chain
        return chain is not None and not known.inbound and known.start_height > chain.tip_height

    async def _inquire(self, known: Known) -> None:
        chain = self._source.chain
        if chain is None:  # it begins at a checkpoint whose header is yet to come: what was said must do
            await self._claim(known, known.start_height)
            return
        hashes, promised = chain.locator()[1:] or chain.locator(), known.promised
        known.promised = None
        reply = await self._ask(known, chain, hashes)
        if isinstance(reply, RemoteFault):
            await self._source.report(reply)
            return
        if len(reply) < FULL:  # so it has no more than this, whatever it has claimed
            known.height = min(known.height, chain.tip_height + len(reply) // HEADER_SIZE)
        if promised is not None:
            await self._kept(known, promised, reply)
        if reply:
            await self._take(known, chain, reply, hashes[0])

    async def _ask(self, known: Known, chain: HeaderChain, hashes: Sequence[Hash32]) -> bytes | RemoteFault:
        """What it has after the last block that it has in common with us. A locator's places are far apart down there:
        where a whole message is ours, it is asked again, with places from its end up to our tip."""
        for _ in range(MAX_ASKED):
            reply: bytes | RemoteFault
            reply = self._source.fault(known.peer, FaultReason.TIMEOUT, f"no headers in {ASK_S:g} s")
            with trio.move_on_after(ASK_S):
                reply = await self._source.ask(known.peer, hashes)
            if isinstance(reply, RemoteFault) or len(reply) < FULL or reply[PREV_HASH] == hashes[0]:
                break
            end, top = chain.height_of(header_hash(reply[-HEADER_SIZE:])), chain.tip_height - 1
            if end is None or end >= top:
                break
            step = -(-(top - end) // (MAX_LOCATOR - 1))
            hashes = [chain.block_hash(Height(height)) for height in [*range(top, end, -step), end]]
        return reply

    async def _kept(self, known: Known, promised: Hash32, reply: bytes) -> None:
        """Has it shown what it announced? A reorganization explains that it has not, once."""
        if len(reply) < FULL and self._source.height_of(promised) is None and promised not in hashes_of(reply):
            known.vain += 1
            if known.vain >= MAX_VAIN:
                known.vain = 0
                evidence = f"{MAX_VAIN} announcements of nothing"
                await self._source.report(self._source.fault(known.peer, FaultReason.FALSE_CLAIM, evidence))

    async def _take(self, known: Known, chain: HeaderChain, headers: bytes, after: Hash32 | None = None) -> None:
        """What a peer has after a place of ours, or announces; ``after``: what it was asked for first."""
        before = self._source.height_of(headers[PREV_HASH])
        if before is None:
            fault = self._source.unconnecting(known)
            if fault is not None:
                await self._source.report(fault)
            return
        end, last = Height(before + len(headers) // HEADER_SIZE), header_hash(headers[-HEADER_SIZE:])
        full, ours = len(headers) >= FULL, chain.height_of(last) is not None
        if ours or (not full and self._source.height_of(last) is not None):
            self._source.shown(known, end, last)
            if full and headers[PREV_HASH] == after:
                # We have gone on since it was asked, by all of this at least, and it may have what comes next.
                await self._claim(known, max(known.start_height, end + 1))
            else:
                await self._confirmed(known, chain, end, last)
            return
        # A whole message that is on a side branch already: its download was broken off, or it goes on in another place.
        look = self._source.look(headers)
        if isinstance(look, Doubtful):
            if full and known.supply is None:
                self.prover.wanted(known, look)
            return  # a chain that ends with less work than is needed is nobody's fault, and no news
        known.vain = 0
        self._source.shown(known, end, last, news=True)
        if full:  # a branch that may go on, and is to be fetched even if so much of it ends below our tip
            await self._claim(known, max(known.start_height, end + 1, chain.tip_height + 1))
        else:
            await self._listener.post(ev.Pushed(known.peer, Height(before + 1), headers))
            await self._claim(known, end, last)

    async def _confirmed(self, known: Known, chain: HeaderChain, height: Height, last: Hash32) -> None:
        if last == chain.tip_hash:
            self._net.useful(known.peer)
            await self._claim(known, height, last)

    async def _claim(self, known: Known, height: int, last: Hash32 = UNKNOWN) -> None:
        """Height alone is claimed: the work of what it leads to is counted when it is here."""
        known.height = height
        tip = Tip(Height(max(0, height)), last, Work(0))
        await self._listener.post(ev.PeerTip(known.peer, tip, Height(0), ranged=False))

    # -- announcements

    async def _announced(self, known: Known, headers: bytes) -> None:
        chain = self._source.chain
        if chain is None:
            return
        if self._source.height_of(headers[PREV_HASH]) is not None:
            await self._take(known, chain, headers)
        elif known.height - chain.tip_height > FAR:
            await self._claim(known, known.height + len(headers) // HEADER_SIZE)
        else:  # what lies between was lost, or is made up: its answer shows which
            known.promised = header_hash(headers[-HEADER_SIZE:])
            known.again.set()

    def _inventory(self, known: Known, hashes: tuple[bytes, ...]) -> None:
        chain = self._source.chain
        if chain is None or known.height - chain.tip_height > FAR:
            return
        unknown = [block_hash for block_hash in hashes if self._source.height_of(block_hash) is None]
        if unknown:
            known.promised = Hash32(unknown[-1])
            known.again.set()

    # -- presync

    async def _proven(self, known: Known, height: Height) -> None:
        """What is proven may end below our tip and still lead to more work: it is to be fetched in any case."""
        chain = self._source.chain
        if chain is not None and self._source.peers.get(known.peer) is known:
            await self._claim(known, max(height, chain.tip_height + 1))


def hashes_of(headers: bytes) -> frozenset[bytes]:
    """Of every header in a run."""
    digests = sha256d_headers(headers)
    return frozenset(digests[at : at + HASH_SIZE] for at in range(0, len(digests), HASH_SIZE))
