"""The beacon wire as a source of items, and its news as events for the machine.

A peer's status is its claim; accepted gossip is pushed. What a status promises is the updates of the periods before the
one in which the peer has finalized: the update of that period comes with its own finality, and gossip does not carry
it, so it is polled for once the chain needs it. Light-client gossip comes once a slot from whoever relays it; where we
stay behind nevertheless, one peer at a time is polled, at a pace that the strictest client's limits allow.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

import structlog
import trio

from p2p.beacon.events import Gossiped, PeerDown, PeerStatus, PeerUp
from p2p.beacon.messages import Status
from p2p.beacon.protocols import FINALITY, OPTIMISTIC, UPDATES
from p2p.beacon.provider import Chunk, GossipName
from p2p.beacon.service import BeaconNet, Updates
from p2p.faults import FaultReason, RemoteFault, gone
from spvnode.ethereum.items import Item, Kind, join
from spvnode.ethereum.networks import Network
from spvnode.ethereum.units import Slot, compute_sync_committee_period_at_slot
from spvnode.following import Tip
from spvnode.sync import events as ev
from spvnode.sync.rest_items import decode_chunk
from spvnode.sync.source import Items
from spvnode.types import Hash32, Height, Work

PAGE = 32
"""Updates asked for in one request, of the 128 that the protocol allows: 860 kB, which a slow line takes in 8 s."""
POLL_PEER_S = 15.0
"""Between two polls of one peer: Lighthouse grants one request of a kind in 10 s, Lodestar two in 12 s."""
POLL_UPDATE_S = 60.0
"""Between two polls, of any peer, for the update of the running period. There are hours for it: its committee signs
from the next period on."""
BEHIND_SLOTS = 2
"""An optimistic header so many slots old is worth a poll; gossip comes every slot, where it comes."""
LOOK_S = 2.0
"""Between two looks at whether there is a reason to poll: the chain may have caught up."""
FAREWELL = 1.0
"""Seconds to tell the driver, at the end, that the peers are gone."""

KINDS: dict[GossipName, Kind] = {"finality": Kind.FINALITY, "optimistic": Kind.OPTIMISTIC}

log = structlog.get_logger("sync")


class Listener(Protocol):
    """Who wants to hear about the network's peers."""

    async def post(self, event: ev.Event) -> None:
        """Takes an event; may wait."""


@dataclass(frozen=True, slots=True)
class Front:
    """How far our committed chain is."""

    period: int
    """The last whole one."""
    finalized: int
    """Slot of the finalized header."""
    optimistic: int
    """Slot of the optimistic one."""


class BeaconSource:
    """``Source`` over the beacon wire of one network. ``net`` is looked up at each call: the wire may be restarted, and
    without it nobody is asked (the machine knows no peer then)."""

    def __init__(self, network: Network, net: Callable[[], BeaconNet | None]) -> None:
        self._network = network
        self._net = net

    async def fetch_after(self, peer: str, locator: object, count: int) -> Items | RemoteFault:
        """See ``Source``. The locator is the next period that is needed."""
        return await self._fetch(peer, cast(int, locator), count)

    async def fetch_range(self, peer: str, start: Height, count: int) -> Items | RemoteFault:
        """See ``Source``."""
        return await self._fetch(peer, start, count)

    async def announce(self, tip: Tip) -> None:
        """See ``Source``. The wire reads what is new itself, from what is committed."""
        net = self._net()
        if net is not None:
            await net.announce()

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

    async def _fetch(self, peer: str, start: int, count: int) -> Items | RemoteFault:
        net = self._net()
        if net is None:
            return gone(peer, self._network.name, "the wire is down")
        asked = min(count, PAGE)
        reply = await net.get_updates(peer, start, asked)
        if isinstance(reply, RemoteFault):
            return reply
        good, gap = self._in_order(peer, start, reply)
        if gap is not None:
            if not good:
                return gap
            await net.report(gap)
        limited = reply.limited or gap is not None
        return Items(Height(start), join(good), limited=limited, ends=not limited and len(good) < asked)

    def _in_order(self, peer: str, start: int, reply: Updates) -> tuple[list[Item], RemoteFault | None]:
        """Those of a reply that are of the periods from ``start`` on, one each, and what is wrong with the next."""
        good: list[Item] = []
        for chunk in reply.chunks:
            decoded = decode_chunk(self._network, Kind.UPDATE, chunk.digest, chunk.ssz, peer)
            if isinstance(decoded, RemoteFault):
                return good, decoded
            period, expected = period_at(self._network, decoded.slot), start + len(good)
            if period != expected:
                # A server may lack a period ("the earliest known result"); none goes back or repeats itself.
                reason = FaultReason.NOT_FOUND if period > expected else FaultReason.PROTOCOL
                evidence = f"update of period {period}, expected {expected}"
                return good, RemoteFault(reason, peer, evidence, self._network.name)
            good.append(decoded.item)
        return good, None


async def pump(
    net: BeaconNet,
    listener: Listener,
    network: Network,
    front: Callable[[], Front | None],
    *,
    clock: Callable[[], float] = time.time,
) -> None:
    """Hands the wire's news to ``listener``, and polls, until cancelled. When it ends, so do all claims of its peers.

    ``front`` is None before the chain has begun: then there are claims, and nothing is pushed. ``clock``: Unix seconds.
    """
    running = _Pump(net, listener, network, front, clock)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.hear)
            nursery.start_soon(running.poll)
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + FAREWELL):
            for peer in running.peers:
                await listener.post(ev.PeerLeft(peer))


def claim(network: Network, peer: str, status: Status, now: float) -> ev.PeerTip:
    """A status as the machine hears it: whoever has finalized a header of a period has the update of the one before.
    Nobody has finalized what has not begun at ``now`` (Unix seconds): a stranger who says so, and then has no time for
    our requests, would have us look for it, and not be ready, for as long as it is connected.

    ``earliest_available_slot`` speaks of blocks, and light-client data is kept at least as long. The machine asks for
    what follows an item that the peer has, hence one less: -1, as our own tip is after a bootstrap in period 0.
    """
    period = min(finalized_period(network, status), period_at(network, network.slot_at(now))) - 1
    earliest = period_at(network, status.earliest_available_slot or 0)
    base = min(earliest - 1, period)
    return ev.PeerTip(peer, Tip(Height(period), Hash32(status.head_root), Work(0)), Height(base))


def finalized_period(network: Network, status: Status) -> int:
    """Of the epoch that a peer says is final."""
    return period_at(network, status.finalized_epoch * network.preset.slots_per_epoch)


def period_at(network: Network, slot: int) -> int:
    """``compute_sync_committee_period_at_slot``."""
    return compute_sync_committee_period_at_slot(network.preset, Slot(slot))


@dataclass(slots=True)
class _Known:
    """A peer that is up. ``polled``: trio time."""

    status: Status
    protocols: frozenset[str]
    polled: float = float("-inf")


@dataclass(slots=True)
class _Pump:
    net: BeaconNet
    listener: Listener
    network: Network
    front: Callable[[], Front | None]
    clock: Callable[[], float]
    peers: dict[str, _Known] = field(default_factory=dict)
    """Of those that are up, which the host's connections bound."""
    _came: trio.Event = field(default_factory=trio.Event)
    _update_polled: float = float("-inf")

    async def hear(self) -> None:
        async for event in self.net.events:
            match event:
                case PeerUp(peer, status, protocols):
                    self.peers[peer] = _Known(status, frozenset(protocols))
                    await self.listener.post(claim(self.network, peer, status, self.clock()))
                    self._came.set()
                case PeerStatus(peer, status):
                    if peer in self.peers:
                        self.peers[peer].status = status
                        await self.listener.post(claim(self.network, peer, status, self.clock()))
                case PeerDown(peer):
                    if self.peers.pop(peer, None) is not None:
                        await self.listener.post(ev.PeerLeft(peer))
                case Gossiped(peer, name, digest, ssz):
                    await self._push(peer, KINDS[name], digest, ssz)

    async def poll(self) -> None:
        """At most one peer a slot; one that just came at once."""
        while True:
            self._came = trio.Event()
            wanted = self._wanted()
            if wanted is not None:
                peer, kinds = wanted
                self.peers[peer].polled = trio.current_time()
                for kind in kinds:
                    await self._ask(peer, kind)
            pause = LOOK_S if wanted is None else self.network.slot_duration_ms / 1000
            with trio.move_on_after(pause):
                await self._came.wait()

    def _wanted(self) -> tuple[str, list[Kind]] | None:
        """Whom to poll next, and for what: of those that can tell us something, the one that was polled longest ago."""
        front = self.front()
        if front is None:
            return None
        due = trio.current_time() - POLL_PEER_S
        candidates = [
            (known.polled, peer, kinds)
            for peer, known in self.peers.items()
            if known.polled <= due and (kinds := self._news_of(known, front))
        ]
        return min(candidates)[1:] if candidates else None

    def _news_of(self, known: _Known, front: Front) -> list[Kind]:
        """What a peer seems to have and we lack."""
        kinds: list[Kind] = []
        period = finalized_period(self.network, known.status)
        update_due = trio.current_time() >= self._update_polled + POLL_UPDATE_S
        if period == front.period + 1 and update_due and not known.protocols.isdisjoint(UPDATES.ids):
            kinds.append(Kind.UPDATE)
        if period > front.period + 1:  # the updates before it come first: its committee is not known yet
            return kinds
        newer = known.status.finalized_epoch * self.network.preset.slots_per_epoch > front.finalized
        if newer and not known.protocols.isdisjoint(FINALITY.ids):
            kinds.append(Kind.FINALITY)
        behind = self.network.slot_at(self.clock()) - front.optimistic > BEHIND_SLOTS
        if behind and not known.protocols.isdisjoint(OPTIMISTIC.ids):
            kinds.append(Kind.OPTIMISTIC)
        return kinds

    async def _ask(self, peer: str, kind: Kind) -> None:
        reply = await self._asked(peer, kind)
        fault = reply if isinstance(reply, RemoteFault) else None
        if isinstance(reply, Chunk):
            fault = await self._check(peer, kind, reply)
        if fault is not None:
            await self.net.report(fault)

    async def _asked(self, peer: str, kind: Kind) -> Chunk | RemoteFault | None:
        """None where there is no such thing yet."""
        if kind is Kind.FINALITY:
            return await self.net.get_finality_update(peer)
        if kind is Kind.OPTIMISTIC:
            return await self.net.get_optimistic_update(peer)
        front = self.front()
        if front is None:
            return None
        self._update_polled = trio.current_time()
        updates = await self.net.get_updates(peer, front.period + 1, 1)
        return updates if isinstance(updates, RemoteFault) else next(iter(updates.chunks), None)

    async def _check(self, peer: str, kind: Kind, chunk: Chunk) -> RemoteFault | None:
        decoded = decode_chunk(self.network, kind, chunk.digest, chunk.ssz, peer)
        if isinstance(decoded, RemoteFault):
            return decoded
        front = self.front()
        # What a committee signed that we do not know yet is of no use.
        if front is not None and period_at(self.network, decoded.value.signature_slot) <= front.period + 1:
            await self._push(peer, kind, chunk.digest, chunk.ssz)
        return None

    async def _push(self, peer: str, kind: Kind, digest: bytes, ssz: bytes) -> None:
        front = self.front()
        if front is not None:
            items = join([Item(kind, digest, ssz)])
            await self.listener.post(ev.Pushed(peer, Height(front.period + 1), items))
