"""The event queue: nothing that matters is lost, and nothing a peer does makes it grow."""

from __future__ import annotations

import trio
from hypothesis import given
from hypothesis import strategies as st

from p2p.mesh.codec import Hello
from p2p.mesh.events import EventQueue, MeshEvent, PeerDown, PeerTip, PeerUp, TipGossip
from tests.support.mesh import simulate

HELLO = Hello(1, bytes(32), 0, 5, b"t" * 32, 9)


def up(peer: str = "p") -> PeerUp:
    return PeerUp(peer, "net", HELLO, "addr", inbound=False)


def down(peer: str = "p", why: str = "") -> PeerDown:
    return PeerDown(peer, "net", why)


def tip(height: int, peer: str = "p") -> PeerTip:
    return PeerTip(peer, "net", Hello(1, bytes(32), 0, height, b"t" * 32, 9))


def gossip(height: int, peer: str = "p") -> TipGossip:
    return TipGossip(peer, "net", height, bytes(80), 0)


def drain(queue: EventQueue) -> list[MeshEvent]:
    events = []
    while (event := queue.receive_nowait()) is not None:
        events.append(event)
    return events


def after(*events: MeshEvent) -> list[MeshEvent]:
    queue = EventQueue()
    for event in events:
        queue.publish(event)
    return drain(queue)


def test_events_of_a_peer_keep_their_order() -> None:
    assert after(up(), tip(6), gossip(7)) == [up(), tip(6), gossip(7)]
    assert after(down(), up(), tip(6)) == [down(), up(), tip(6)]


def test_only_the_latest_tip_waits() -> None:
    assert after(up(), tip(6), gossip(6), tip(7), gossip(8)) == [up(), tip(7), gossip(8)]


def test_a_departure_wipes_what_it_makes_pointless() -> None:
    assert after(tip(6), gossip(6), down()) == [down()]
    assert after(up(), tip(6), down()) == []
    assert after(down(why="first"), up(), down(why="second")) == [down(why="first")]


def test_peers_take_turns() -> None:
    assert after(up("a"), tip(6, "a"), gossip(7, "a"), up("b")) == [up("a"), up("b"), tip(6, "a"), gossip(7, "a")]


STEPS = st.lists(
    st.tuples(st.sampled_from(["up", "down", "tip", "gossip", "read"]), st.sampled_from("ab")), max_size=60
)


@given(STEPS)
def test_the_reader_always_ends_with_the_truth_and_the_queue_stays_short(steps: list[tuple[str, str]]) -> None:
    """Model: what a reader knows after reading everything equals what is the case."""
    queue = EventQueue()
    connected: set[str] = set()
    known: set[str] = set()
    latest: dict[str, int] = {}
    heard: dict[str, int] = {}

    def read(event: MeshEvent | None) -> None:
        if isinstance(event, PeerUp):
            assert event.peer not in known
            known.add(event.peer)
        elif isinstance(event, PeerDown):
            assert event.peer in known
            known.remove(event.peer)
        elif isinstance(event, PeerTip):
            assert event.peer in known
            heard[event.peer] = event.hello.tip_height

    for height, (what, peer) in enumerate(steps):
        if what == "up" and peer not in connected:
            connected.add(peer)
            latest.pop(peer, None)
            heard.pop(peer, None)
            queue.publish(up(peer))
        elif what == "down" and peer in connected:
            connected.remove(peer)
            queue.publish(down(peer))
        elif what == "tip" and peer in connected:
            latest[peer] = height
            queue.publish(tip(height, peer))
        elif what == "gossip" and peer in connected:
            queue.publish(gossip(height, peer))
        elif what == "read":
            read(queue.receive_nowait())
        assert len(queue) <= 4 * 2
    while (event := queue.receive_nowait()) is not None:
        read(event)
    assert known == connected
    assert {peer: heard.get(peer) for peer in connected} == {peer: latest.get(peer) for peer in connected}


def test_receive_waits_and_iteration_goes_on() -> None:
    async def main() -> None:
        queue = EventQueue()
        got: list[MeshEvent] = []

        async def collect() -> None:
            async for event in queue:
                got.append(event)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect)
            await trio.sleep(1)
            assert got == []
            for height in range(3):
                queue.publish(tip(height))
                await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert got == [tip(0), tip(1), tip(2)]

    simulate(main)
