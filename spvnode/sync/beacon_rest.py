"""Beacon nodes' REST interfaces as a source of items: ranges on request, and a pump of claims and live updates.

Each endpoint is one peer, named ``rest:<host>``. It is polled at the pace of slots, or listened to where it offers an
event stream; what it calls final is its claim, and is held against what the others say. One that fails is left alone
for a while and comes back by itself; the operator chose it, so it is never left for long.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal, Protocol

import structlog
import trio

from p2p.backoff import Backoff
from p2p.faults import FaultReason, RemoteFault
from p2p.rest.api import BeaconApi, Reply, events_route
from p2p.rest.endpoint import Endpoint
from p2p.rest.sse import Event, follow_events
from p2p.score import MAY_BE_OURS, Action, ScoreBoard
from spvnode.ethereum.containers import beacon_root
from spvnode.ethereum.items import Kind, join
from spvnode.ethereum.networks import Network
from spvnode.ethereum.units import Root, Slot, compute_sync_committee_period_at_slot
from spvnode.following import Tip
from spvnode.sync import events as ev
from spvnode.sync.cross_check import Disagreement, FinalityLedger
from spvnode.sync.rest_items import Decoded, Updates, decode_one, decode_updates, largest
from spvnode.sync.rest_peer import PAGE_S, RestPeer, RestTiming, is_of_network, peer_name
from spvnode.sync.source import Items
from spvnode.types import Height, Work

EARLY = 1
"""Slots that an honest update may be ahead of our clock: half a second of difference can cross a slot's end."""
FAREWELL = 1.0
"""Seconds to tell the listener, at the end, that the endpoints are gone."""
OURS = "ours"
"""Our own chain's name in the ledger of what is final."""
NOT_SCORED = (FaultReason.NOT_FOUND, FaultReason.REFUSED)
"""Answers that the API foresees. A poll gets them every slot from a server without light-client data, which is no
offence; it costs the server its turn, not its score."""

log = structlog.get_logger("sync")


class Listener(Protocol):
    """Who wants to hear about the peers: the network's driver."""

    async def post(self, event: ev.Event) -> None:
        """Takes an event; may wait."""


class RestSource:
    """``spvnode.sync.source.Source`` over endpoints. ``tip``: the committed tip (height: last whole period),
    None before the chain has begun: then nothing is pushed.
    ``finalized``: slot and root of our own chain's finalized header, None before there is one."""

    def __init__(
        self,
        network: Network,
        api: BeaconApi,
        endpoints: Iterable[Endpoint],
        *,
        tip: Callable[[], Tip | None],
        finalized: Callable[[], tuple[Slot, Root] | None] = lambda: None,
        on_disagreement: Callable[[Disagreement], None] = lambda _: None,
        timing: RestTiming | None = None,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._network = network
        self._api = api
        self._tip = tip
        self._finalized = finalized
        self._on_disagreement = on_disagreement
        self._timing = timing or RestTiming.of(network)
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads polls, keeps no secret
        self._board = ScoreBoard()
        self._listener: Listener | None = None
        self._moved = trio.Event()
        self._most = {kind: largest(network, kind) for kind in (Kind.UPDATE, Kind.FINALITY, Kind.OPTIMISTIC)}
        self._peers = {peer_name(endpoint): RestPeer(endpoint) for endpoint in endpoints}
        self.ledger = FinalityLedger()

    # -- the source ------------------------------------------------------------------------------------------------

    async def fetch_after(self, peer: str, locator: object, count: int) -> Items | RemoteFault:
        """See ``Source``; the locator is the next period that is needed."""
        if not isinstance(locator, int):
            raise TypeError(f"locator: {type(locator).__name__}, expected a period")
        return await self.fetch_range(peer, Height(locator), count)

    async def fetch_range(self, peer: str, start: Height, count: int) -> Items | RemoteFault:
        """See ``Source``. Page by page, as long ones as the line carries; whatever is wrong after good ones leaves
        these standing."""
        known = self._peers.get(peer)
        if known is None:
            return RemoteFault(FaultReason.DISCONNECTED, peer, "no such endpoint", self._network.name, scored=True)
        runs: list[bytes] = []
        got, width, began = 0, known.page, trio.current_time()
        while got < count:
            if runs and trio.current_time() > began + PAGE_S:
                return Items(start, b"".join(runs), limited=True)
            asked = min(width, known.page, count - got)
            asked_at = trio.current_time()
            page = await self._page(known, start + got, asked)
            if isinstance(page, RemoteFault):
                if page.reason is FaultReason.NOT_FOUND and asked > 1:
                    width = asked // 2  # Lodestar fails a whole range for the one period that it lacks
                    continue
                if page.reason in (FaultReason.DRIP, FaultReason.TIMEOUT):
                    known.paged(asked, math.inf)
                    page = replace(page, scored=asked > 1)  # how much is asked for at once is our choice
                ends = page.reason is FaultReason.NOT_FOUND
                return Items(start, b"".join(runs), limited=not ends, ends=ends) if runs else page
            known.paged(asked, trio.current_time() - asked_at)
            runs.append(join(decoded.item for decoded in page.decoded))
            got += len(page.decoded)
            if len(page.decoded) < asked:
                return Items(start, b"".join(runs), limited=page.gap is not None, ends=page.gap is None)
        return Items(start, b"".join(runs))

    async def announce(self, tip: Tip) -> None:
        """See ``Source``. Nobody to tell: a beacon node knows. But what came too early may fit now."""
        moved, self._moved = self._moved, trio.Event()
        moved.set()

    async def report(self, fault: RemoteFault) -> None:
        """See ``Source``. Too many faults: its claim is withdrawn, and it is asked again after a pause."""
        peer = self._peers.get(fault.peer)
        if peer is None or fault.scored or fault.reason in NOT_SCORED:
            return
        up = [other for other in self._peers.values() if other.claim is not None]
        judged = self._board.report(
            fault, self._clock(), connected=len(up), static=True, last=len(up) == 1 and up[0] is peer
        )
        if judged.action is Action.DISCOURAGE:
            peer.rest_until = trio.current_time() + judged.until - self._clock()
            await self._withdraw(peer)

    def useful(self, peer: str) -> None:
        """See ``Source``."""
        if peer in self._peers:
            self._peers[peer].useful += 1

    def info(self) -> list[dict[str, Any]]:
        """The endpoints' health, JSON-ready."""
        now, clock = trio.current_time(), self._clock()
        return [
            {**peer.info(now), "score": round(self._board.score(name, clock), 1)} for name, peer in self._peers.items()
        ]

    async def _page(self, peer: RestPeer, start: int, count: int) -> Updates | RemoteFault:
        reply = await self._api.updates(peer.endpoint, start, count, self._most[Kind.UPDATE])
        if isinstance(reply, RemoteFault):
            return peer.own(reply, self._network.name)
        # JSON of 32 committees takes 0.1 s to decode.
        updates = await trio.to_thread.run_sync(decode_updates, self._network, reply, start, count, peer.name)
        if isinstance(updates, RemoteFault):
            # It begins later than we asked: it has none of these, however few we asked for.
            return Updates(()) if updates.reason is FaultReason.NOT_FOUND else updates
        if updates.gap is not None:
            await self.report(updates.gap)
        return updates

    # -- the pump --------------------------------------------------------------------------------------------------

    async def run(self, listener: Listener) -> None:
        """Follows every endpoint until cancelled. When it ends, so do all claims."""
        self._listener = listener
        try:
            async with trio.open_nursery() as nursery:
                for peer in self._peers.values():
                    nursery.start_soon(self._guarded, peer, self._poll)
                    if self._timing.events:
                        nursery.start_soon(self._guarded, peer, self._listen)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + FAREWELL):
                for peer in self._peers.values():
                    await self._withdraw(peer)

    async def _guarded(self, peer: RestPeer, task: Callable[[RestPeer], Any]) -> None:
        """Firewall: whatever one endpoint's answers set off ends that turn of it, and nothing else."""
        backoff = self._backoff()
        while True:
            began = trio.current_time()
            try:
                await task(peer)
            except Exception:
                log.exception("endpoint task failed", network=self._network.name, peer=peer.name)
                await self._withdraw(peer)
            if trio.current_time() - began > self._timing.retry_cap:
                backoff.reset()
            await trio.sleep(backoff.next())

    def _backoff(self) -> Backoff:
        return Backoff(self._timing.retry_first, self._timing.retry_cap, self._rng)

    async def _poll(self, peer: RestPeer) -> None:
        backoff, turn = self._backoff(), 0
        while True:
            await trio.sleep_until(max(peer.rest_until, trio.current_time()))
            fault = await self._round(peer, finality=peer.claim is None or turn % self._timing.finality_every == 0)
            if fault is None:
                backoff.reset()
                pause = self._timing.poll * (self._timing.live_factor if peer.live else 1)
                with trio.move_on_after(pause * self._rng.uniform(0.9, 1.1)) as waited:
                    await self._behind(peer)
                turn = 0 if peer.live or not waited.cancelled_caught else turn + 1
                continue
            turn = 0
            peer.failed(fault)
            await self.report(fault)
            if peer.streak >= self._timing.patience:
                await self._withdraw(peer)
            await trio.sleep(backoff.next())

    async def _behind(self, peer: RestPeer) -> None:
        """Returns when a commit leaves us behind what ``peer`` called final: when it said so, that was too early, and
        the next time is an epoch away."""
        while True:
            await self._moved.wait()
            ours = self._finalized()
            if ours is not None and peer.finalized is not None and peer.finalized > ours[0]:
                return

    async def _round(self, peer: RestPeer, *, finality: bool) -> RemoteFault | None:
        """One poll: what is final first, for it is the claim."""
        began = trio.current_time()
        if not peer.same_network:
            fault = await is_of_network(self._network, self._api, peer.endpoint)
            if fault is not None:
                return fault
            peer.same_network = True
        for kind in (Kind.FINALITY, Kind.OPTIMISTIC) if finality else (Kind.OPTIMISTIC,):
            name: Literal["finality", "optimistic"] = "finality" if kind is Kind.FINALITY else "optimistic"
            reply = await self._api.latest(peer.endpoint, name, self._most[kind])
            if isinstance(reply, RemoteFault):
                return peer.own(reply, self._network.name)
            fault = await self._heard(peer, kind, reply)
            if fault is not None:
                return fault
        peer.answered(trio.current_time(), trio.current_time() - began)
        return None

    async def _listen(self, peer: RestPeer) -> None:
        """Stays on the event stream while the endpoint is good for something; polling goes on meanwhile, slower."""
        await peer.risen.wait()
        fault = await follow_events(
            self._api.client,
            peer.endpoint,
            events_route(),
            silence=self._timing.silence,
            deliver=lambda event: self._event(peer, event),
        )
        brought, peer.live, peer.brought = peer.brought, False, False
        log.debug("event stream ended", peer=peer.name, reason=str(fault.reason), evidence=fault.evidence)
        if fault.reason not in MAY_BE_OURS:  # a stream that hangs or ends costs the endpoint nothing: it is polled
            await self.report(peer.own(fault, self._network.name))
        if not brought:
            await trio.sleep(self._timing.no_events)  # it does not offer one that works

    async def _event(self, peer: RestPeer, event: Event) -> RemoteFault | None:
        kinds = {"light_client_finality_update": Kind.FINALITY, "light_client_optimistic_update": Kind.OPTIMISTIC}
        kind = kinds.get(event.name)
        if kind is None or trio.current_time() < peer.rest_until:
            return None
        fault = await self._heard(peer, kind, Reply(False, "", event.data))
        peer.live = fault is None
        peer.brought = peer.brought or peer.live
        return fault

    async def _heard(self, peer: RestPeer, kind: Kind, reply: Reply) -> RemoteFault | None:
        """Takes in a finality or optimistic update, however it came."""
        decoded = decode_one(self._network, kind, reply, peer.name)
        if isinstance(decoded, RemoteFault):
            return decoded
        now = self._network.slot_at(self._clock())
        if decoded.value.signature_slot > now + EARLY or decoded.slot >= decoded.value.signature_slot:
            text = f"attested {decoded.slot}, signed {decoded.value.signature_slot}, our clock says slot {now}"
            return RemoteFault(FaultReason.TIME_TOO_NEW, peer.name, text, self._network.name)
        if kind is Kind.FINALITY:
            await self._claim(peer, decoded)
        await self._push(peer, decoded)
        return None

    async def _claim(self, peer: RestPeer, decoded: Decoded) -> None:
        header = decoded.value.finalized_header.beacon
        slot, root = Slot(min(header.slot, decoded.slot)), beacon_root(header)
        self._compare(peer, slot, root)
        tip = Tip(Height(self._period(slot)), beacon_root(decoded.value.attested_header.beacon), Work(0))
        peer.finalized = slot
        if tip != peer.claim and self._listener is not None and trio.current_time() >= peer.rest_until:
            peer.claim = tip
            peer.risen.set()
            await self._listener.post(ev.PeerTip(peer.name, tip, Height(-1)))  # also below what begins in period 0

    def _compare(self, peer: RestPeer, slot: Slot, root: Root) -> None:
        ours = self._finalized()
        found = [] if ours is None else [self.ledger.note(OURS, *ours)]
        for disagreement in (*found, self.ledger.note(peer.name, slot, root)):
            if disagreement is not None:
                roots = {root.hex(): names for root, names in disagreement.roots.items()}
                log.warning("endpoints disagree on what is final", network=self._network.name, slot=slot, roots=roots)
                self._on_disagreement(disagreement)

    async def _push(self, peer: RestPeer, decoded: Decoded) -> None:
        """Hands on what is new from this peer, once our chain knows the committee that signed it."""
        tip = self._tip()
        signed = self._period(decoded.value.signature_slot)
        if self._listener is None or tip is None or signed > tip.height + 1:
            return
        if not peer.is_new(decoded) and not self._is_missed(decoded):
            return
        await self._listener.post(ev.Pushed(peer.name, Height(tip.height + 1), join([decoded.item])))

    def _is_missed(self, decoded: Decoded) -> bool:
        """A finality update that was handed on and did not get through: the next one comes only in an epoch."""
        ours = self._finalized()
        return (
            decoded.item.kind is Kind.FINALITY
            and ours is not None
            and decoded.value.finalized_header.beacon.slot > ours[0]
        )

    async def _withdraw(self, peer: RestPeer) -> None:
        peer.live = False
        if peer.claim is not None and self._listener is not None:
            peer.claim, peer.risen = None, trio.Event()
            await self._listener.post(ev.PeerLeft(peer.name))

    def _period(self, slot: int) -> int:
        return compute_sync_committee_period_at_slot(self._network.preset, Slot(slot))
