"""Gossip of the libp2p host: authorless messages over real connections, and the parts that need no
network."""

from __future__ import annotations

import hashlib
import time
from itertools import pairwise

import pytest
import trio
import trio.testing
from hosts import PATIENCE, hosts, until
from raw_peer import RawPeer, gossip, subscribe

# isort: split

from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2

from p2p.host import Limits
from p2p.host.fences.gossip import (
    MAX_BACKOFF,
    ContentCache,
    ContentGossipSub,
    FrameTooLong,
    GuardedGossipSub,
    SeenIds,
    message_id,
    read_frame,
    reduce_control,
)
from p2p.host.host import LibP2PHost
from p2p.port import GossipProfile

TOPIC = "/test/tip/1"
OTHER = "/test/other/1"


class Inbox:
    """Subscribes and keeps what comes."""

    def __init__(self, host: LibP2PHost, refuse: bytes = b"refuse") -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.validated: list[bytes] = []
        self._refuse = refuse
        host.subscribe(TOPIC, self._validate, lambda peer, data: self.messages.append((peer, data)))

    def _validate(self, peer: str, data: bytes) -> bool:
        self.validated.append(data)
        return not data.startswith(self._refuse)


def in_mesh(host: LibP2PHost, *others: LibP2PHost) -> bool:
    mesh = {str(peer) for peer in host._node.gossip.mesh.get(TOPIC, ())}
    return mesh >= {other.peer_id for other in others}


async def line(*members: LibP2PHost) -> list[Inbox]:
    """Connect each to the next, all subscribed, and wait until each pair is in each other's mesh."""
    inboxes = [Inbox(member) for member in members]
    for here, there in pairwise(members):
        await here.connect(there.addrs[0])
    for here, there in pairwise(members):
        await until(lambda here=here, there=there: in_mesh(here, there) and in_mesh(there, here))
    return inboxes


def test_all_of_20_reach_the_end_of_a_line() -> None:
    async def main() -> None:
        async with hosts(3) as (first, middle, last):
            inboxes = await line(first, middle, last)
            sent = [b"message %d" % number for number in range(20)]
            for message in sent:
                await first.publish(TOPIC, message)
            await until(lambda: len(inboxes[2].messages) == 20)
            assert inboxes[2].messages == [(middle.peer_id, message) for message in sent]
            assert inboxes[1].messages == [(first.peer_id, message) for message in sent]
            assert inboxes[0].messages == []
            await last.publish(TOPIC, b"back")
            await until(lambda: (middle.peer_id, b"back") in inboxes[0].messages)

    trio.run(main)


def test_what_is_published_names_nobody() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            (_, inbox) = await line(here, there)
            await here.publish(TOPIC, b"x")
            await until(lambda: len(inbox.messages) == 1)
            (kept,) = there._node.gossip.mcache.msgs.values()
            assert kept == rpc_pb2.Message(data=b"x", topicIDs=[TOPIC])
            assert list(there._node.gossip.mcache.msgs) == [message_id(kept)]

    trio.run(main)


def test_a_message_is_taken_once() -> None:
    async def main() -> None:
        async with hosts(3) as (first, second, third):
            inboxes = await line(first, second, third)
            await first.connect(third.addrs[0])
            await until(lambda: in_mesh(first, third) and in_mesh(third, first))
            for _ in range(3):
                await first.publish(TOPIC, b"same")
            await first.publish(TOPIC, b"last")
            for inbox in inboxes[1:]:
                await until(lambda inbox=inbox: [data for _, data in inbox.messages][-1:] == [b"last"])
                assert [data for _, data in inbox.messages] == [b"same", b"last"]

    trio.run(main)


def test_what_the_validator_refuses_goes_no_further_and_may_come_again() -> None:
    async def main() -> None:
        async with hosts(3) as (first, middle, last):
            (_, inbox, end) = await line(first, middle, last)
            await first.publish(TOPIC, b"refuse this")
            await until(lambda: inbox.validated == [b"refuse this"])
            inbox._refuse = b"nothing"
            await until(lambda: first.peer_id in [info.peer for info in middle.connections()])
            # Not yet known is not the same as wrong: the same message is looked at again when it comes again.
            await middle._node.pubsub.push_msg(
                first._node.peer_id, rpc_pb2.Message(data=b"refuse this", topicIDs=[TOPIC])
            )
            assert inbox.validated == [b"refuse this"] * 2
            assert inbox.messages == [(first.peer_id, b"refuse this")]
            assert end.messages == []

    trio.run(main)


def test_subscribing_after_connecting() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            await here.connect(there.addrs[0])
            early = Inbox(here)
            await until(lambda: len(here._node.pubsub.peers) == 1)
            late = Inbox(there)
            await until(lambda: in_mesh(here, there) and in_mesh(there, here))
            await here.publish(TOPIC, b"x")
            await until(lambda: late.messages == [(here.peer_id, b"x")])
            assert early.messages == []

    trio.run(main)


def test_publishing_to_nobody_is_no_error() -> None:
    async def main() -> None:
        async with hosts(1) as (host,):
            await host.publish(TOPIC, b"x")
            Inbox(host)
            await host.publish(TOPIC, b"y")

    trio.run(main)


def test_gossip_goes_on_after_a_reconnect() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            (_, inbox) = await line(here, there)
            await here.disconnect(there.peer_id)
            await until(lambda: not there.connections())
            assert not here._node.pubsub.peers
            await here.connect(there.addrs[0])
            await until(lambda: len(here._node.pubsub.peers) == 1 and len(there._node.pubsub.peers) == 1)
            with trio.fail_after(PATIENCE):
                number = 0
                while not inbox.messages:
                    number += 1
                    await here.publish(TOPIC, b"%d" % number)
                    await trio.sleep(0.1)

    trio.run(main)


async def _outside_the_mesh(without: list[str]) -> list[bytes]:
    """What a peer hears that has pruned us: by id, at the next heartbeat, if at all."""
    async with hosts(2, without=without) as (here, there):
        (_, inbox) = await line(here, there)
        for host, other in ((here, there), (there, here)):
            host._node.gossip.mesh[TOPIC].clear()
            host._node.gossip.back_off[TOPIC] = {other._node.peer_id: int(time.time()) + 100}
        await here.publish(TOPIC, b"told by id")
        with trio.move_on_after(2.5):  # two heartbeats
            while not inbox.messages:  # noqa: ASYNC110 - filled by a callback
                await trio.sleep(0.05)
        return [data for _, data in inbox.messages]


def test_a_peer_that_pruned_us_is_told_by_id() -> None:
    assert trio.run(_outside_the_mesh, []) == [b"told by id"]


def test_without_guarded_gossip_it_is_not() -> None:
    assert trio.run(_outside_the_mesh, ["guarded-gossip"]) == []


def test_too_long_a_message_is_not_taken() -> None:
    async def main() -> None:
        async with hosts(2, limits=Limits(gossip_message=100)) as (here, there):
            (_, inbox) = await line(here, there)
            await here.publish(TOPIC, bytes(101))
            await here.publish(TOPIC, bytes(100))
            await until(lambda: len(inbox.validated) == 1)
            assert inbox.validated == [bytes(100)]

    trio.run(main)


def test_more_messages_than_the_rate_are_dropped() -> None:
    async def main() -> None:
        async with hosts(2, limits=Limits(gossip_rate=0.01, gossip_burst=50)) as (here, there):
            await line(here, there)
            stream = await here._node.new_stream(there._node.peer_id, ["/meshsub/1.1.0"])
            taken = there._node.pubsub.seen_messages._ids
            await stream.write(gossip(publish=[{"data": b"%d" % n, "topicIDs": [TOPIC]} for n in range(500)]))
            await until(lambda: len(taken) > 0)
            assert 0 < len(taken) <= 50

    trio.run(main)


def test_no_message_after_leaving_and_again_after_joining() -> None:
    async def main() -> None:
        async with hosts(2) as (here, there):
            (_, inbox) = await line(here, there)
            there.unsubscribe(TOPIC)
            there.unsubscribe(OTHER)  # never joined
            await here.publish(TOPIC, b"too late")
            await until(lambda: not here._node.pubsub.peer_topics.get(TOPIC))
            await until(lambda: not in_mesh(here, there) and TOPIC not in there._node.gossip.mesh)
            assert (inbox.messages, inbox.validated) == ([], [])
            # Upstream asks for ten heartbeats after that before it takes us back: what we publish goes to it anyhow.
            again = Inbox(there)
            await until(lambda: bool(here._node.pubsub.peer_topics.get(TOPIC)))
            number = 0
            with trio.fail_after(PATIENCE):
                while not again.messages:
                    number += 1
                    await here.publish(TOPIC, b"again %d" % number)
                    await trio.sleep(0.2)
            assert inbox.messages == []

    trio.run(main)


def test_the_last_of_many_changes_counts() -> None:
    async def main() -> None:
        async with hosts(1) as (host,):
            for _ in range(5):
                Inbox(host)
                host.unsubscribe(TOPIC)
            host.subscribe(OTHER, lambda peer, data: True, lambda peer, data: None)
            host.unsubscribe(OTHER)
            Inbox(host)
            await until(lambda: not host._topics._changing.locked())
            await trio.testing.wait_all_tasks_blocked()
            assert set(host._node.pubsub.topic_ids) == {TOPIC}
            assert set(host._node.pubsub.topic_validators) == {TOPIC}

    trio.run(main)


def length_and_first(topic: str, data: bytes) -> bytes:
    """An id of our own making: messages of the same length and beginning are one."""
    return b"%d" % len(data) + data[:1]


PROFILE = GossipProfile(
    degree=3,
    degree_low=2,
    degree_high=5,
    degree_lazy=4,
    heartbeat=0.25,
    history=9,
    history_gossip=2,
    message_id=length_and_first,
    max_message=4_000,
    max_rpc=9_000,
    rate=7.0,
    burst=300,
    topics=lambda topic: topic == TOPIC,
)


def test_a_profile_is_followed() -> None:
    async def main() -> None:
        async with hosts(2, gossip=PROFILE) as (here, there):
            (_, inbox) = await line(here, there)
            for data in (b"a" * 3_000, b"ab", b"ac", b"b" + b"a", b"x" * 4_001):
                await here.publish(TOPIC, data)
            await until(lambda: len(inbox.messages) == 3)
            assert [data[:2] for _, data in inbox.messages] == [b"aa", b"ab", b"ba"]
            assert set(there._node.gossip.mcache.msgs) == {b"3000a", b"2a", b"2b"}
            router, limits = here._node.gossip, here._node.pubsub.limits
            assert (router.degree, router.degree_low, router.degree_high) == (3, 2, 5)
            assert router.heartbeat_interval == 0.25
            assert (router.mcache.window_size, router.mcache.history_size) == (2, 9)
            assert (limits.gossip_message, limits.gossip_rpc) == (4_000, 9_000)
            assert (limits.gossip_rate, limits.gossip_burst) == (7.0, 300)

    trio.run(main)


def test_only_topics_of_interest_are_remembered() -> None:
    """A beacon node follows more topics than upstream remembers of one peer; ours is the last that it names."""
    others = [f"/test/{number}" for number in range(250)]

    async def main(profile: GossipProfile) -> bool:
        async with hosts(1, gossip=profile) as (host,), RawPeer(host.addrs[0]) as peer:
            Inbox(host)
            await peer.open("/meshsub/1.1.0", subscribe([*others, TOPIC]), gossip(publish=[]))
            assert await peer.settled()
            await trio.testing.wait_all_tasks_blocked(0.05)
            return bool(host._node.pubsub.peer_topics.get(TOPIC))

    assert trio.run(main, PROFILE)
    assert not trio.run(main, GossipProfile(burst=1_000))


# Without a network.


def test_message_id() -> None:
    message = rpc_pb2.Message(data=b"data", topicIDs=["topic"])
    assert message_id(message) == hashlib.sha256(b"topic|data").digest()[:20]


def test_seen_ids_are_bounded() -> None:
    seen = SeenIds(3)
    assert [seen.add(key) for key in (b"1", b"2", b"1", b"3", b"4")] == [True, True, False, True, True]
    assert [seen.has(key) for key in (b"1", b"2", b"3", b"4")] == [True, False, True, True]


def test_cache_finds_by_content() -> None:
    cache = ContentCache(3, 5)
    messages = [rpc_pb2.Message(data=b"%d" % number, topicIDs=[TOPIC]) for number in range(3)]
    for message in [*messages, messages[0]]:
        cache.put(message)
    assert cache.window(TOPIC) == [message_id(message) for message in messages]
    assert cache.get(message_id(messages[1])) == messages[1]
    for _ in range(5):
        cache.shift()
    assert cache.msgs == {}


class Pipe:
    """Hands out bytes in pieces of ``size``."""

    def __init__(self, data: bytes, size: int = 2) -> None:
        self._data, self._size = data, size

    async def read(self, count: int) -> bytes:
        taken = self._data[: min(count, self._size)]
        self._data = self._data[len(taken) :]
        return taken


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_frames_are_read_in_any_pieces(size: int) -> None:
    async def main() -> None:
        for body in (b"", b"x", bytes(127), bytes(128), bytes(20_000)):
            length = len(body)
            prefix = bytearray()
            while length >= 128:
                prefix.append(length & 127 | 128)
                length >>= 7
            assert await read_frame(Pipe(bytes([*prefix, length]) + body, size), 20_000) == body

    trio.run(main)


@pytest.mark.parametrize("prefix", [b"\x80\x80\x02", b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x80\x00"])
def test_long_frames_are_refused_by_their_length(prefix: bytes) -> None:
    async def main() -> None:
        with pytest.raises(FrameTooLong):
            await read_frame(Pipe(prefix + bytes(10)), 30_000)

    trio.run(main)


def test_control_is_reduced_to_our_topics_and_limits() -> None:
    limits = Limits(gossip_control=3)
    ids = [bytes([number]) * 20 for number in range(10)]
    given = rpc_pb2.ControlMessage(
        graft=[rpc_pb2.ControlGraft(topicID=topic) for topic in (TOPIC, OTHER)],
        prune=[
            rpc_pb2.ControlPrune(topicID=TOPIC, backoff=2**40, peers=[rpc_pb2.PeerInfo(peerID=b"dial me")]),
            rpc_pb2.ControlPrune(topicID=OTHER),
        ],
        ihave=[rpc_pb2.ControlIHave(topicID=topic, messageIDs=ids) for topic in (OTHER, TOPIC)],
        iwant=[rpc_pb2.ControlIWant(messageIDs=ids[:1] * 5)] * 4,
        idontwant=[rpc_pb2.ControlIDontWant(messageIDs=ids)] * 9,
    )
    reduced = reduce_control(given, {TOPIC}, limits)
    assert [graft.topicID for graft in reduced.graft] == [TOPIC]
    assert [(prune.topicID, prune.backoff, len(prune.peers)) for prune in reduced.prune] == [(TOPIC, MAX_BACKOFF, 0)]
    assert [(ihave.topicID, list(ihave.messageIDs)) for ihave in reduced.ihave] == [(TOPIC, ids[:3])]
    assert [list(iwant.messageIDs) for iwant in reduced.iwant] == [ids[:1]]
    assert [list(idontwant.messageIDs) for idontwant in reduced.idontwant] == [ids[:3]] * 3


async def _grafts(kind: type) -> dict[str, list[str]]:
    """What each of two peers is sent, when each is to be grafted for a topic of its own."""
    router = kind(["/meshsub/1.1.0"], degree=6, degree_low=4, degree_high=12)
    sent: dict[str, list[str]] = {}

    async def record(control: rpc_pb2.ControlMessage, peer: str) -> None:
        sent[peer] = [graft.topicID for graft in control.graft]

    router.emit_control_message = record
    await router._emit_control_msgs({"first": ["a"], "second": ["b"]}, {}, {})
    return sent


def test_each_peer_is_sent_its_own_control_messages() -> None:
    guarded = type("Guarded", (GuardedGossipSub, GossipSub), {})
    assert trio.run(_grafts, guarded) == {"first": ["a"], "second": ["b"]}


def test_without_guarded_gossip_it_is_sent_those_of_others() -> None:
    assert trio.run(_grafts, GossipSub) == {"first": ["a"], "second": ["a", "b"]}


def test_equivocation_is_no_matter_without_authors() -> None:
    one, other = (rpc_pb2.Message(data=data, topicIDs=[TOPIC]) for data in (b"1", b"2"))
    stock = GossipSub(["/meshsub/1.1.0"], degree=6, degree_low=4, degree_high=12)
    assert [stock._check_equivocation(message) for message in (one, other)] == [True, False]
    fenced = type("Fenced", (ContentGossipSub, GossipSub), {})(
        ["/meshsub/1.1.0"], degree=6, degree_low=4, degree_high=12
    )
    assert [fenced._check_equivocation(message) for message in (one, other)] == [True, True]
