"""The beacon wire as a source: 21 periods of mainnet from one node to another by way of the driver, with every rule and
every signature checked; lies about periods; claims, pushes and polls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import trio

from p2p.beacon.events import PeerUp
from p2p.beacon.messages import Status
from p2p.beacon.provider import Chunk
from p2p.faults import FaultReason, RemoteFault
from p2p.memory import MemoryNetwork, address_of, peer_id_of
from spvnode.bls import Verifier
from spvnode.ethereum.chain import BeaconChain
from spvnode.ethereum.items import Kind, join, split
from spvnode.ethereum.networks import Network
from spvnode.ethereum.units import Slot
from spvnode.follow.ethereum_served import EthereumServed
from spvnode.following import Tip
from spvnode.store.memory import MemoryEngine
from spvnode.sync import beacon
from spvnode.sync import events as ev
from spvnode.sync.beacon import BeaconSource, Front, claim, pump
from spvnode.sync.driver import Driver
from spvnode.sync.peers import PeerTable
from spvnode.sync.source import Items
from spvnode.sync.table import State
from spvnode.types import Hash32, Height, Work
from tests.adversary import beacon_peers as hostile
from tests.support.beacon import ListProvider, Node, node
from tests.support.beacon_chains import (
    NIMBUS,
    begun_at,
    item,
    live_run,
    network_of,
    offer,
    open_rows,
    recorded,
    update_run,
    updates_of,
)
from tests.support.mesh import simulate

NETWORK = network_of(NIMBUS)
FIRST, LAST = 800, 820
VERIFIER = Verifier()
LIVE = NETWORK.start_of(recorded(NIMBUS, "optimistic_update").signature_slot + 1)
"""When the last of it was news."""
SERVER = peer_id_of("server")
FAR = NETWORK.start_of(Slot(2**40))


@dataclass
class Holder:
    """Who has a chain."""

    chain: BeaconChain | None
    params: Network = NETWORK


def fresh() -> BeaconChain:
    return begun_at(NIMBUS, open_rows(MemoryEngine(), NETWORK), VERIFIER)


def full() -> BeaconChain:
    chain = fresh()
    offer(chain, update_run(NIMBUS))
    offer(chain, live_run(NIMBUS))
    assert chain.tip.height == LAST
    return chain


def served(chain: BeaconChain | None) -> EthereumServed:
    return EthereumServed(Holder(chain), clock)


def clock() -> float:
    return LIVE


def front_of(chain: BeaconChain) -> Callable[[], Front]:
    return lambda: Front(chain.tip.height, chain.finalized.beacon.slot, chain.optimistic.beacon.slot)


class Inbox:
    """Hears what a driver would."""

    def __init__(self) -> None:
        self.events: list[ev.Event] = []

    async def post(self, event: ev.Event) -> None:
        await trio.lowlevel.checkpoint()
        self.events.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def test_mainnet_is_followed_from_peer_to_peer_to_peer() -> None:
    """The one in the middle serves what it has committed."""

    async def main() -> None:
        net, start = MemoryNetwork(latency=0.001), full()
        followers = {"middle": fresh(), "last": fresh()}
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(node(net, "server", served(start)))
            for name, source in (("middle", "server"), ("last", "middle")):
                await stack.enter_async_context(following(net, name, source, followers[name]))
                chain = followers[name]
                with trio.fail_after(20):
                    while (chain.tip, chain.finality_update) != (start.tip, start.finality_update):  # noqa: ASYNC110
                        await trio.sleep(0.02)
            assert not any(server.scores.faults.values())
        for chain in followers.values():
            assert chain.finality_update == start.finality_update
            assert chain.optimistic_update == start.optimistic_update
            assert chain.periods == (FIRST, LAST)

    trio.run(main)


@asynccontextmanager
async def following(net: MemoryNetwork, name: str, source: str, chain: BeaconChain) -> AsyncIterator[Node]:
    """A node that follows, by its driver, what ``source`` has."""
    ours = node(net, name, served(chain), static=[address_of(source)])
    async with ours as running, trio.open_nursery() as nursery:
        running.stop_collecting()
        driver = Driver(chain, BeaconSource(NETWORK, lambda: running.net), jitter=lambda: 0.0, clock=clock)
        nursery.start_soon(driver.run)
        nursery.start_soon(lambda: pump(running.net, driver, NETWORK, front_of(chain), clock=clock))
        yield running
        # Asked for what it may have by now, and did not: that is part of polling.
        assert not {reason for reason, count in running.scores.faults.items() if count} - {FaultReason.NOT_FOUND}
        nursery.cancel_scope.cancel()


def chunk(period: int) -> Chunk:
    one = item(NETWORK, updates_of(NIMBUS)[period - FIRST])
    return Chunk(one.digest, one.ssz)


WRONG = {
    # name: (what is sent for 800..., periods kept, what it is noticed for)
    "in order": ([800, 801, 802], 3, None),
    "backwards": ([802, 801, 800], 0, FaultReason.NOT_FOUND),
    "swapped": ([800, 802, 801], 1, FaultReason.NOT_FOUND),
    "twice": ([800, 801, 801], 2, FaultReason.PROTOCOL),
    "going back": ([800, 801, 800], 2, FaultReason.PROTOCOL),
    "with a hole": ([800, 803], 1, FaultReason.NOT_FOUND),
    "later ones": ([805, 806], 0, FaultReason.NOT_FOUND),
    "none": ([], 0, None),
}


@pytest.mark.parametrize("name", WRONG)
def test_only_the_periods_that_were_asked_for_are_taken(name: str) -> None:
    periods, kept, reason = WRONG[name]

    async def main() -> None:
        net = MemoryNetwork()
        async with lying(net, hostile.sending(*map(chunk, periods))) as (victim, source):
            reply = await source.fetch_range(peer_id_of("hostile"), Height(FIRST), 32)
            if not kept and reason is not None:
                assert isinstance(reply, RemoteFault)
                assert reply.reason is reason
                return
            assert isinstance(reply, Items)
            assert (reply.start, reply.limited) == (FIRST, reason is not None)
            assert [one.ssz for one in split(reply.items)] == [chunk(FIRST + n).ssz for n in range(kept)]
            assert all(one.kind is Kind.UPDATE for one in split(reply.items))
            assert sum(victim.scores.faults.values()) == (reason is not None)

    simulate(main)


def test_what_does_not_decode_or_hides_its_fork_is_a_fault() -> None:
    good = chunk(FIRST)
    other_digest = next(entry for entry in NETWORK.schedule.digests(NETWORK.genesis_validators_root)).digest

    async def main() -> None:
        for data, reason in (
            (replace(good, ssz=good.ssz[:1_000]), FaultReason.BAD_FRAME),
            (replace(good, ssz=b"\xff" * 200), FaultReason.BAD_FRAME),
            (replace(good, digest=b"\x00\x01\x02\x03"), FaultReason.WRONG_NETWORK),
            (replace(good, digest=other_digest), FaultReason.WRONG_NETWORK),  # phase0 has no such data
        ):
            net = MemoryNetwork()
            async with lying(net, hostile.sending(data)) as (_, source):
                reply = await source.fetch_after(peer_id_of("hostile"), FIRST, 32)
                assert isinstance(reply, RemoteFault)
                assert reply.reason is reason

    simulate(main)


@asynccontextmanager
async def lying(net: MemoryNetwork, behaviour: hostile.Behaviour) -> AsyncIterator[tuple[Node, BeaconSource]]:
    """A victim whose only peer behaves so."""
    ours = served(None)
    async with net.host("hostile") as evil, node(net, "victim", ours, static=[address_of("hostile")]) as victim:
        hostile.serve(evil, behaviour, status=ours.status)
        await victim.wait_for(lambda e: isinstance(e, PeerUp))
        yield victim, BeaconSource(NETWORK, lambda: victim.net)


def test_without_the_wire_nobody_is_at_fault() -> None:
    async def main() -> None:
        source = BeaconSource(NETWORK, lambda: None)
        reply = await source.fetch_after("p", FIRST, 1)
        assert isinstance(reply, RemoteFault)
        assert reply.scored
        await source.report(reply)
        await source.announce(full().tip)
        source.useful("p")

    trio.run(main)


def test_a_claim_is_the_period_before_what_is_finalized() -> None:
    status = replace(ListProvider().status(), finalized_epoch=822 * 256 - 1, earliest_available_slot=None)
    said = claim(NETWORK, "p", status, FAR)
    assert (said.peer, said.tip.height, said.tip.hash, said.tip.work, said.base) == ("p", 820, b"h" * 32, 0, -1)
    assert claim(NETWORK, "p", replace(status, finalized_epoch=822 * 256), FAR).tip.height == 821
    # The machine asks a peer that has the item before the one that is needed.
    assert claim(NETWORK, "p", replace(status, earliest_available_slot=810 * 8192 + 5), FAR).base == 809
    assert claim(NETWORK, "p", replace(status, earliest_available_slot=2**64 - 1), FAR).base == 820
    young = claim(NETWORK, "p", replace(status, finalized_epoch=255), FAR)
    assert (young.tip.height, young.base) == (-1, -1)  # a bootstrap in period 0 leaves a tip of -1, and needs 0


def test_nobody_has_what_has_not_begun() -> None:
    status = replace(ListProvider().status(), finalized_epoch=2**64 - 1)
    assert claim(NETWORK, "p", status, NETWORK.start_of(Slot(822 * 8192))).tip.height == 821
    assert claim(NETWORK, "p", status, NETWORK.genesis_time - 1).tip.height == -1


def test_who_claims_the_far_future_and_never_has_time_holds_nothing_up() -> None:
    async def main() -> None:
        net, chain = MemoryNetwork(), full()
        ours = served(chain)

        def lie() -> Status:
            return replace(ours.status(), finalized_epoch=2**40, head_slot=2**45, head_root=bytes(32))

        here = node(net, "victim", ours, static=[address_of("hostile")])
        async with net.host("hostile") as evil, here as victim, trio.open_nursery() as nursery:
            hostile.serve(evil, hostile.rate_limiting, status=lie)
            victim.stop_collecting()
            driver = Driver(chain, BeaconSource(NETWORK, lambda: victim.net), jitter=lambda: 0.0, clock=clock)
            nursery.start_soon(driver.run)
            nursery.start_soon(lambda: pump(victim.net, driver, NETWORK, front_of(chain), clock=clock))
            await trio.sleep(600)
            assert len(driver.machine.peers) == 1
            assert not driver.machine.peers.leaders(driver.machine.tip)  # else it is not ready
            assert driver.machine.state is State.IDLE
            nursery.cancel_scope.cancel()

    simulate(main)


def test_a_chain_that_begins_in_period_0_is_led() -> None:
    status = replace(ListProvider().status(), finalized_epoch=2 * 256, earliest_available_slot=0)
    said = claim(NETWORK, "p", status, FAR)
    peers = PeerTable()
    peers.claim(said.peer, said.tip, said.base)
    begun = Tip(Height(-1), Hash32(bytes(32)), Work(0))
    assert [leader.peer for leader in peers.leaders(begun)] == ["p"]
    assert [holder.peer for holder in peers.holders(Height(0), 2)] == ["p"]


def test_peers_are_claims_and_their_end_is_told() -> None:
    async def main() -> None:
        net, inbox, ours = MemoryNetwork(), Inbox(), served(full())
        async with node(net, "victim", served(None)) as victim, trio.open_nursery() as nursery:
            victim.stop_collecting()
            scope = trio.CancelScope()

            async def pumping() -> None:
                with scope:
                    await pump(victim.net, inbox, NETWORK, lambda: None, clock=clock)

            nursery.start_soon(pumping)
            async with node(net, "server", ours, static=[address_of("victim")]):
                await trio.sleep(60)
                assert inbox.events == [claim(NETWORK, SERVER, ours.status(), LIVE)]
            await trio.sleep(1)
            assert inbox.events[1:] == [ev.PeerLeft(SERVER)]
            async with node(net, "server", ours, static=[address_of("victim")]):
                await trio.sleep(3)
                scope.cancel()
                await trio.sleep(3)
                assert inbox.events[2:] == [claim(NETWORK, SERVER, ours.status(), LIVE), ev.PeerLeft(SERVER)]

    simulate(main)


def test_a_peer_that_has_more_is_polled_at_a_polite_pace() -> None:
    async def main() -> None:
        net, inbox, start = MemoryNetwork(), Inbox(), full()
        front, now = Front(LAST, 0, 0), LIVE + 60
        async with (
            node(net, "server", served(start)) as server,
            node(net, "victim", served(None), static=[address_of("server")]) as victim,
            trio.open_nursery() as nursery,
        ):
            victim.stop_collecting()
            nursery.start_soon(lambda: pump(victim.net, inbox, NETWORK, lambda: front, clock=lambda: now))
            await trio.sleep(1)
            pushed = inbox.of(ev.Pushed)
            assert [(push.peer, push.start) for push in pushed] == [(SERVER, LAST + 1)] * 2
            assert b"".join(push.items for push in pushed) == live_run(NIMBUS)
            await trio.sleep(600)
            polls = len(inbox.of(ev.Pushed)) // 2
            assert 600 / 24 - 1 <= polls <= 600 / beacon.POLL_PEER_S + 1
            # Once we have what it has, only the optimistic header is asked for, which is behind our clock.
            front = Front(LAST, start.finalized.beacon.slot, start.optimistic.beacon.slot)
            inbox.events.clear()
            await trio.sleep(120)
            kinds = {split(push.items)[0].kind for push in inbox.of(ev.Pushed)}
            assert kinds == {Kind.OPTIMISTIC}
            # What a committee signed that we do not know yet is of no use.
            front = Front(LAST - 2, 0, 0)
            inbox.events.clear()
            await trio.sleep(120)
            assert inbox.events == []
            assert not any(victim.scores.faults.values())
            assert not any(server.scores.faults.values())
            nursery.cancel_scope.cancel()

    simulate(main)


def test_the_update_of_the_running_period_is_polled_for() -> None:
    """No status promises it: it is asked for once a minute until somebody has it."""

    async def main() -> None:
        net, inbox, start = MemoryNetwork(), Inbox(), fresh()
        offer(start, update_run(NIMBUS))
        assert start.finalized.beacon.slot // 8192 == LAST
        front, ours = Front(LAST, start.finalized.beacon.slot, start.optimistic.beacon.slot), served(start)
        asked: list[int] = []
        serve, ours.updates = ours.updates, lambda begin, count: asked.append(begin) or []  # type: ignore[method-assign]
        async with (
            node(net, "server", ours),
            node(net, "victim", served(None), static=[address_of("server")]) as victim,
            trio.open_nursery() as nursery,
        ):
            victim.stop_collecting()
            now = NETWORK.start_of(start.optimistic.beacon.slot)
            nursery.start_soon(lambda: pump(victim.net, inbox, NETWORK, lambda: front, clock=lambda: now))
            await trio.sleep(300)
            assert asked == []  # it has finalized nothing in the period that comes next
            front = replace(front, period=LAST - 1)
            await trio.sleep(300)
            assert set(asked) == {LAST}
            assert 4 <= len(asked) <= 6
            assert inbox.of(ev.Pushed) == []
            ours.updates = serve  # type: ignore[method-assign]
            await trio.sleep(70)
            pushed = inbox.of(ev.Pushed)
            assert {(push.start, push.items) for push in pushed} == {
                (LAST, join([item(NETWORK, updates_of(NIMBUS)[-1])]))
            }
            assert not any(victim.scores.faults.values())
            nursery.cancel_scope.cancel()

    simulate(main)


def test_at_the_tip_nobody_is_polled() -> None:
    async def main() -> None:
        net, inbox, start = MemoryNetwork(), Inbox(), full()
        now = NETWORK.start_of(start.optimistic.beacon.slot + beacon.BEHIND_SLOTS)
        async with (
            node(net, "server", served(start)),
            node(net, "victim", served(None), static=[address_of("server")]) as victim,
            trio.open_nursery() as nursery,
        ):
            victim.stop_collecting()
            nursery.start_soon(lambda: pump(victim.net, inbox, NETWORK, front_of(start), clock=lambda: now))
            await trio.sleep(300)
            assert inbox.of(ev.Pushed) == []
            nursery.cancel_scope.cancel()

    simulate(main)


def test_accepted_gossip_is_pushed() -> None:
    async def main() -> None:
        net, inbox, start = MemoryNetwork(), Inbox(), full()
        behind = fresh()
        offer(behind, update_run(NIMBUS))
        async with (
            node(net, "server", served(start)) as server,
            node(net, "victim", served(behind), static=[address_of("server")]) as victim,
            trio.open_nursery() as nursery,
        ):
            victim.stop_collecting()
            now = NETWORK.start_of(behind.optimistic.beacon.slot)
            nursery.start_soon(lambda: pump(victim.net, inbox, NETWORK, front_of(behind), clock=lambda: now))
            await trio.sleep(1)
            inbox.events.clear()
            await server.net.announce()
            await trio.sleep(1)
            pushed = [split(push.items)[0] for push in inbox.of(ev.Pushed)]
            assert Kind.OPTIMISTIC in {one.kind for one in pushed}
            assert set(pushed) <= set(split(live_run(NIMBUS)))
            nursery.cancel_scope.cancel()

    simulate(main)
