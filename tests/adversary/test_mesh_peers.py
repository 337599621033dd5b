"""Each hostile peer next to an honest one: it is noticed for the right reason, left, and the honest sync
goes on; what it can make us hold stays bounded."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
import trio

from p2p.faults import FaultReason, RemoteFault
from p2p.memory import MemoryNetwork, address_of, peer_id_of
from p2p.mesh import codec, proofs, session, wire
from p2p.mesh.codec import Announce, GetRange, Headers
from p2p.mesh.events import PeerTip, PeerUp
from p2p.mesh.following import headers_protocol
from p2p.mesh.proofs import proof_protocol
from p2p.mesh.session import MAX_IN_FLIGHT
from p2p.port import Stream, StreamClosed
from tests.adversary import mesh_peers as hostile
from tests.support.mesh import ListChain, Node, node, simulate

NET = "testnet"
DEADLINE_S = 8.0
"""Of one request, as the sync driver sets it."""
CHAIN = ListChain(2_000)
CLAIM = CHAIN.hello()

BEHAVIOURS = {
    # name: (handler, what it is noticed for)
    "mute": (hostile.mute, FaultReason.STALLED),
    "garbage": (hostile.garbage, FaultReason.BAD_FRAME),
    "wrong_network": (hostile.wrong_network(CLAIM), FaultReason.WRONG_NETWORK),
    "silent": (hostile.peer(CLAIM, hostile.silent), FaultReason.STALLED),
    "deaf": (hostile.peer(CLAIM, hostile.deaf), FaultReason.STALLED),
    "dripping_bytes": (hostile.peer(CLAIM, hostile.dripping_bytes), FaultReason.DRIP),
    "dripping_headers": (hostile.peer(CLAIM, hostile.dripping_headers), FaultReason.FALSE_CLAIM),
    "oversized_frame": (hostile.peer(CLAIM, hostile.oversized_frame), FaultReason.OVERSIZED),
    "truncated_frame": (hostile.peer(CLAIM, hostile.truncated_frame), FaultReason.DISCONNECTED),
    "wrong_id": (hostile.peer(CLAIM, hostile.wrong_id), FaultReason.PROTOCOL),
    "twice": (hostile.peer(CLAIM, hostile.twice), FaultReason.PROTOCOL),
    "too_many": (hostile.peer(CLAIM, hostile.too_many), FaultReason.PROTOCOL),
    "empty": (hostile.peer(CLAIM, hostile.empty), FaultReason.PROTOCOL),
    "wrong_start": (hostile.peer(CLAIM, hostile.wrong_start), FaultReason.PROTOCOL),
    "denying": (hostile.peer(CLAIM, hostile.denying), FaultReason.FALSE_CLAIM),
    "asking": (hostile.peer(CLAIM, hostile.asking), FaultReason.PROTOCOL),
    "announcing": (hostile.peer(CLAIM, hostile.announcing), FaultReason.FLOOD),
    "changing": (hostile.peer(CLAIM, hostile.changing), FaultReason.WRONG_NETWORK),
    "leaving": (hostile.peer(CLAIM, hostile.leaving), FaultReason.DISCONNECTED),
}
LYING_TALL = replace(CLAIM, tip_height=900_000, tip_hash=b"\x07" * 32, chainwork=2**255)


async def sync_all(victim: Node, peer: str, deadline: float) -> tuple[int, set[FaultReason]]:
    """Fetch the chain in pieces, as a driver does: with a deadline each, reporting every fault."""
    got, reasons = 0, set()
    for start in range(0, 2_000, 100):
        reply: Headers | RemoteFault | None = None
        with trio.move_on_after(deadline):
            reply = await victim.mesh.get_headers_by_range(peer, NET, start, 100)
        if isinstance(reply, Headers):
            got += reply.count
            victim.mesh.useful(peer)
            continue
        fault = reply or RemoteFault(FaultReason.TIMEOUT, peer, "no reply", NET)
        reasons.add(fault.reason)
        await victim.mesh.report(fault)
        await trio.sleep(1)
    return got, reasons


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_an_honest_peer_beside_a_hostile_one_is_synced_from(name: str) -> None:
    handler, reason = BEHAVIOURS[name]

    async def main() -> None:
        net = MemoryNetwork()
        async with (
            net.host("hostile") as evil,
            node(net, "honest", {NET: CHAIN}),
            node(net, "victim", {NET: CHAIN}, static=[address_of("honest"), address_of("hostile")]) as victim,
        ):
            evil.handle(headers_protocol(NET), handler)
            await trio.sleep(3)
            got: dict[str, tuple[int, set[FaultReason]]] = {}

            async def run(peer: str) -> None:
                got[peer] = await sync_all(victim, peer_id_of(peer), DEADLINE_S)

            honest_done = 0.0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, "hostile")
                await run("honest")
                honest_done = trio.current_time()
            assert got["honest"] == (2_000, set())
            assert honest_done < 10
            await trio.sleep(60)
            assert victim.scores.faults[reason] >= 1
            assert victim.scores.faults[FaultReason.BAD_FRAME] <= (reason is FaultReason.BAD_FRAME)
            assert peer_id_of("honest") in {info.id for info in victim.mesh.peers()}
            assert len(victim.mesh.events) <= 8

    simulate(main)


@pytest.mark.parametrize("name", ["garbage", "oversized_frame", "twice", "announcing", "denying", "dripping_headers"])
def test_who_cannot_be_mistaken_is_soon_kept_out(name: str) -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with (
            net.host("hostile") as evil,
            node(net, "victim", {NET: CHAIN}) as victim,
        ):
            evil.handle(headers_protocol(NET), BEHAVIOURS[name][0])
            await evil.connect(address_of("victim"))
            for _ in range(60):
                await victim.mesh.get_headers_by_range(peer_id_of("hostile"), NET, 0, 100)
                await trio.sleep(1)
            assert victim.mesh.peers() == []
            assert victim.scores.discouraged(1.7e9 + trio.current_time())[0].peer == peer_id_of("hostile")
            await evil.connect(address_of("victim"))
            await trio.sleep(1)
            assert evil.connections() == []

    simulate(main)


def test_silent_peers_are_left_only_while_others_answer() -> None:
    """If all are silent at once, it is more likely our own link: nobody is scored for it."""

    async def main() -> None:
        net = MemoryNetwork()
        names = ["p", "q", "r", "s"]
        async with node(net, "victim", {NET: CHAIN}) as victim, trio.open_nursery() as nursery:

            async def run(name: str) -> None:
                async with node(net, name, {NET: CHAIN}, static=[address_of("victim")]):
                    await trio.sleep_forever()

            for name in names:
                nursery.start_soon(run, name)
            await trio.sleep(5)
            for name in names:
                net.freeze("victim", name)
            async with trio.open_nursery() as syncs:
                for name in names:
                    syncs.start_soon(sync_all, victim, peer_id_of(name), DEADLINE_S)
            assert victim.scores.forgiven > 0
            assert len(victim.mesh.peers()) == len(names)
            assert victim.scores.discouraged(1.7e9 + trio.current_time()) == []
            nursery.cancel_scope.cancel()

    simulate(main)


def test_a_lying_hello_is_a_claim_that_the_next_answer_breaks() -> None:
    async def main() -> None:
        net = MemoryNetwork()

        async def behave(peer: hostile.Hostile) -> None:
            request_id, request = await peer.request()
            await peer.send(request_id, Headers(hostile.start_of(request), CHAIN.headers_range(0, 50)))
            await trio.sleep_forever()

        async with (
            net.host("hostile") as evil,
            node(net, "victim", {NET: CHAIN}, static=[address_of("hostile")]) as victim,
        ):
            evil.handle(headers_protocol(NET), hostile.peer(LYING_TALL, behave))
            await trio.sleep(3)
            assert victim.mesh.peers()[0].tips[NET].tip_height == 900_000
            reply = await victim.mesh.get_headers_by_locator(peer_id_of("hostile"), NET, (bytes(32),), 8_064)
            assert isinstance(reply, RemoteFault)
            assert (reply.reason, reply.scored) == (FaultReason.FALSE_CLAIM, True)

    simulate(main)


def test_a_reply_before_the_request_was_sent_is_not_taken() -> None:
    """The remote can guess request ids; a guess must neither be believed nor confuse the queue of what
    is to be sent."""

    async def main() -> None:
        net = MemoryNetwork(window=1)  # room for one request; the second waits in the writer, the third behind it

        async def guess(peer: hostile.Hostile) -> None:
            await trio.sleep(5)
            await peer.send(3, Headers(0, CHAIN.headers_range(0, 100)))
            await trio.sleep_forever()

        async with (
            net.host("hostile") as evil,
            node(net, "victim", {NET: CHAIN}, static=[address_of("hostile")]) as victim,
        ):
            evil.handle(headers_protocol(NET), hostile.peer(CLAIM, guess))
            await trio.sleep(3)
            replies: list[Headers | RemoteFault] = []

            async def ask() -> None:
                replies.append(await victim.mesh.get_headers_by_range(peer_id_of("hostile"), NET, 0, 100))

            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(ask)
            assert {r.reason for r in replies if isinstance(r, RemoteFault)} == {FaultReason.PROTOCOL}
            assert len(replies) == 3
            assert victim.scores.faults[FaultReason.PROTOCOL] == 1

    simulate(main)


def test_what_was_given_up_before_it_was_sent_is_not_sent() -> None:
    async def main() -> None:
        net = MemoryNetwork(window=1)
        received: list[int] = []

        async def late(peer: hostile.Hostile) -> None:
            await trio.sleep(5)
            while True:
                received.append((await peer.request())[0])

        async with (
            net.host("hostile") as evil,
            node(net, "victim", {NET: CHAIN}, static=[address_of("hostile")]) as victim,
        ):
            evil.handle(headers_protocol(NET), hostile.peer(CLAIM, late))
            await trio.sleep(3)
            with trio.move_on_after(1):
                async with trio.open_nursery() as nursery:
                    for _ in range(5):
                        nursery.start_soon(victim.mesh.get_headers_by_range, peer_id_of("hostile"), NET, 0, 1)
            await trio.sleep(10)
            assert received == [1, 2]
            assert victim.mesh._roster.peers[peer_id_of("hostile")].sessions[NET].in_flight == 2

    simulate(main)


def test_a_flood_of_requests_waits_in_the_askers_own_window() -> None:
    async def main() -> None:
        net = MemoryNetwork(window=256 * 1024)
        chain = ListChain(20_000)
        async with (
            net.host("hostile") as evil,
            node(net, "victim", {NET: chain}) as victim,
            node(net, "honest", {NET: chain}, static=[address_of("victim")]) as honest,
        ):
            peer = await evil.connect(address_of("victim"))
            stream = await evil.open_stream(peer, headers_protocol(NET))
            sent = await hostile.flood_requests(stream, chain.hello(), 100_000)
            assert sent <= 256 * 1024 / 15 + 10
            # One reply and no more is under way to a reader that does not read: its window,
            # and the frame being written.
            assert stream.unread <= 256 * 1024 + 65_536
            reply = await honest.mesh.get_headers_by_range(peer_id_of("victim"), NET, 0, 8_064)
            assert isinstance(reply, Headers)
            await trio.sleep(wire.allowance(645_133) + 1)
            assert victim.scores.faults[FaultReason.STALLED] == 1

    simulate(main)


def test_a_flood_of_announcements_is_folded_before_anybody_sees_it() -> None:
    async def main() -> None:
        net = MemoryNetwork()

        async def busy(peer: hostile.Hostile) -> None:
            for height in range(2_000, 3_000):
                tip = replace(peer.claim, tip_height=height, tip_hash=height.to_bytes(32, "big"))
                await peer.send(codec.NO_REQUEST, Announce(tip))
                await trio.sleep(1 / session.ANNOUNCE_RATE)

        async with (
            net.host("hostile") as evil,
            node(net, "victim", {NET: CHAIN}, static=[address_of("hostile")]) as victim,
        ):
            evil.handle(headers_protocol(NET), hostile.peer(CLAIM, busy))
            await trio.sleep(3)
            victim.stop_collecting()
            victim.seen.clear()
            await trio.sleep(400)
            assert len(victim.mesh.events) == 1
            event = victim.mesh.events.receive_nowait()
            assert isinstance(event, PeerTip)
            assert event.hello.tip_height > 2_700
            assert victim.scores.faults[FaultReason.FLOOD] == 0  # at the allowed rate it is no fault

    simulate(main)


def test_the_same_tip_again_is_no_news() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with (
            net.host("hostile") as evil,
            node(net, "victim", {NET: CHAIN}, static=[address_of("hostile")]) as victim,
        ):
            evil.handle(headers_protocol(NET), hostile.peer(CLAIM, hostile.repeating))
            await trio.sleep(60)
            assert [type(event) for event in victim.seen] == [PeerUp]

    simulate(main)


def test_an_empty_range_is_no_answer_even_where_it_starts_right() -> None:
    async def main() -> None:
        net = MemoryNetwork()

        async def behave(peer: hostile.Hostile) -> None:
            request_id, request = await peer.request()
            await peer.send(request_id, Headers(hostile.start_of(request), b""))
            await trio.sleep_forever()

        async with (
            net.host("hostile") as evil,
            node(net, "victim", {NET: CHAIN}, static=[address_of("hostile")]) as victim,
        ):
            evil.handle(headers_protocol(NET), hostile.peer(CLAIM, behave))
            await trio.sleep(3)
            reply = await victim.mesh.get_headers_by_range(peer_id_of("hostile"), NET, CLAIM.tip_height + 1, 5)
            assert isinstance(reply, RemoteFault)
            assert reply.reason is FaultReason.PROTOCOL

    simulate(main)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Headers(0, bytes(80)), FaultReason.PROTOCOL),
        (Announce(CLAIM), FaultReason.PROTOCOL),
        (b"\xff" * 64, FaultReason.BAD_FRAME),
        (codec.encode(1, GetRange(0, 1))[:12], None),  # cut short: nobody can tell it from a lost connection
        (struct.pack(">IBI", 1 << 20, codec.FrameType.GET_RANGE, 1), FaultReason.OVERSIZED),
    ],
)
def test_an_asker_that_sends_anything_but_requests_is_cut(message: object, reason: FaultReason | None) -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with net.host("hostile") as evil, node(net, "victim", {NET: CHAIN}) as victim:
            peer = await evil.connect(address_of("victim"))
            stream = await evil.open_stream(peer, headers_protocol(NET))
            await stream.write(codec.encode(codec.NO_REQUEST, CLAIM))
            request_id = 0 if isinstance(message, Announce) else 1
            raw = message if isinstance(message, bytes) else codec.encode(request_id, message)  # type: ignore[arg-type]
            await stream.write(raw)
            if reason is None:
                await stream.close()
            await trio.sleep(20)
            assert victim.scores.faults[reason or FaultReason.DISCONNECTED] == 1
            assert await is_cut(stream)

    simulate(main)


async def is_cut(stream: Stream) -> bool:
    with trio.move_on_after(1):
        try:
            while True:
                await stream.read_exactly(1)
        except StreamClosed:
            return True
    return False


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, FaultReason.STALLED),
        (codec.encode(2, codec.Proof(b"x")), FaultReason.PROTOCOL),
        (codec.encode(1, Headers(0, bytes(80))), FaultReason.PROTOCOL),
        (codec.encode(1, codec.Error(codec.ErrorCode.BUSY, "later")), FaultReason.REFUSED),
        (struct.pack(">IBI", 5 + codec.MAX_PROOF + 1, codec.FrameType.PROOF, 1), FaultReason.OVERSIZED),
        (codec.encode(1, codec.Proof(bytes(100)))[:20], FaultReason.DRIP),
        (b"", FaultReason.DISCONNECTED),
    ],
)
def test_a_proof_is_the_answer_or_a_fault(answer: bytes | None, reason: FaultReason) -> None:
    async def main() -> None:
        net = MemoryNetwork()

        async def lie(stream: Stream) -> None:
            await hostile.read_frame(stream)
            if answer:
                await stream.write(answer)
            if answer != b"":
                await trio.sleep_forever()

        async with (
            net.host("hostile") as evil,
            node(net, "victim", {NET: CHAIN}, static=[address_of("hostile")]) as victim,
        ):
            evil.handle(proof_protocol(NET), lie)
            await trio.sleep(3)
            reply = await victim.mesh.get_proof(peer_id_of("hostile"), NET, 1, 2)
            assert isinstance(reply, RemoteFault)
            assert (reply.reason, reply.scored) == (reason, False)
            assert trio.current_time() < 3 + proofs.PROOF_DEADLINE_S + 1

    simulate(main)


def test_proof_streams_are_counted_and_requests_on_them_checked() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with net.host("hostile") as evil, node(net, "victim", {NET: CHAIN}) as victim:
            peer = await evil.connect(address_of("victim"))
            streams = [await evil.open_stream(peer, proof_protocol(NET)) for _ in range(5)]
            await trio.sleep(1)
            assert [await is_cut(stream) for stream in streams] == [False, False, True, True, True]
            await streams[0].write(codec.encode(1, GetRange(0, 1)))
            assert await is_cut(streams[0])
            assert victim.scores.faults[FaultReason.PROTOCOL] == 1

    simulate(main)


def test_an_asker_that_never_says_hello_loses_its_stream() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with net.host("hostile") as evil, node(net, "victim", {NET: CHAIN}) as victim:
            peer = await evil.connect(address_of("victim"))
            await evil.open_stream(peer, headers_protocol(NET))
            await trio.sleep(wire.HELLO_DEADLINE_S + 1)
            assert victim.scores.faults[FaultReason.STALLED] == 1

    simulate(main)


def test_a_session_never_holds_more_than_its_slots_whatever_is_asked_of_a_silent_peer() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with (
            net.host("hostile") as evil,
            node(net, "victim", {NET: CHAIN}, static=[address_of("hostile")]) as victim,
        ):
            evil.handle(headers_protocol(NET), hostile.peer(CLAIM, hostile.silent))
            await trio.sleep(3)
            state = victim.mesh._roster.peers[peer_id_of("hostile")]
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(victim.mesh.get_headers_by_range, peer_id_of("hostile"), NET, 0, 1)
                await trio.sleep(1)
                assert state.sessions[NET].in_flight == MAX_IN_FLIGHT
            assert victim.scores.faults[FaultReason.STALLED] == 1  # a hundred requests, one fault

    simulate(main)
