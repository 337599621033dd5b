"""Each hostile peer of the beacon wire next to an honest one: it is noticed for the right reason, left where nobody
does that by accident, and the honest sync goes on; what it can make us hold and wait for stays bounded."""

from __future__ import annotations

import pytest
import trio

from p2p.beacon import asking, serving
from p2p.beacon import messages as m
from p2p.beacon.codec import encode_request
from p2p.beacon.events import PeerUp
from p2p.beacon.protocols import LIGHT_CLIENT, OPTIMISTIC, PING, STATUS, UPDATES
from p2p.beacon.provider import Chunk
from p2p.beacon.reading import encode_varint
from p2p.beacon.service import Updates
from p2p.beacon.snappy import IDENTIFIER, encode_frames
from p2p.faults import FaultReason, RemoteFault
from p2p.memory import MemoryNetwork, address_of, peer_id_of
from p2p.port import StreamClosed
from tests.adversary import beacon_peers as hostile
from tests.support.beacon import DIGEST, ListProvider, Node, node
from tests.support.mesh import simulate

EVIL, HONEST, VICTIM = peer_id_of("hostile"), peer_id_of("honest"), peer_id_of("victim")
DEADLINE_S = 8.0
"""Of one request, as the sync driver sets it."""

BEHAVIOURS = {
    # name: (behaviour, what it is noticed for)
    "silent": (hostile.silent, FaultReason.TIMEOUT),
    "deaf": (hostile.deaf, FaultReason.TIMEOUT),
    "dripping": (hostile.dripping, FaultReason.TIMEOUT),
    "breaking_off": (hostile.breaking_off, FaultReason.DISCONNECTED),
    "resetting": (hostile.resetting, FaultReason.DISCONNECTED),
    "wrong_digest": (hostile.wrong_digest, FaultReason.WRONG_NETWORK),
    "oversized": (hostile.oversized, FaultReason.OVERSIZED),
    "bomb": (hostile.bomb, FaultReason.OVERSIZED),
    "padding": (hostile.padding, FaultReason.OVERSIZED),
    "junk_snappy": (hostile.junk_snappy, FaultReason.BAD_FRAME),
    "false_checksum": (hostile.false_checksum, FaultReason.BAD_FRAME),
    "endless_varint": (hostile.endless_varint, FaultReason.BAD_FRAME),
    "long_error": (hostile.long_error, FaultReason.OVERSIZED),
    "garbage": (hostile.garbage, FaultReason.BAD_FRAME),
    "refusing": (hostile.refusing, FaultReason.REFUSED),
}
CERTAIN = ("oversized", "bomb", "padding", "junk_snappy", "false_checksum", "endless_varint", "long_error")


async def ask_all(victim: Node, peer: str) -> tuple[int, set[FaultReason]]:
    """Fetch 20 updates in pieces, as a driver does: with a deadline each, reporting every fault."""
    got, reasons = 0, set()
    for start in range(100, 120, 2):
        reply: Updates | RemoteFault | None = None
        with trio.move_on_after(DEADLINE_S):
            reply = await victim.net.get_updates(peer, start, 2)
        if isinstance(reply, Updates):
            got += len(reply.chunks)
            victim.net.useful(peer)
            continue
        fault = reply or RemoteFault(FaultReason.TIMEOUT, peer, "no reply")
        reasons.add(fault.reason)
        await victim.net.report(fault)
        await trio.sleep(1)
    return got, reasons


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_an_honest_peer_beside_a_hostile_one_is_synced_from(name: str) -> None:
    behaviour, reason = BEHAVIOURS[name]

    async def main() -> None:
        net, ours = MemoryNetwork(), ListProvider(20)
        async with (
            net.host("hostile") as evil,
            node(net, "honest", ours),
            node(net, "victim", ListProvider(), static=[address_of("honest"), address_of("hostile")]) as victim,
        ):
            hostile.serve(evil, behaviour)
            for peer in (HONEST, EVIL):
                await victim.wait_for(lambda e, peer=peer: isinstance(e, PeerUp) and e.peer == peer)  # type: ignore[misc]
            got: dict[str, tuple[int, set[FaultReason]]] = {}

            async def run(peer: str) -> None:
                got[peer] = await ask_all(victim, peer)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, EVIL)
                await run(HONEST)
                assert trio.current_time() < 10
            assert got[HONEST] == (20, set())
            assert got[EVIL][0] == 0
            assert reason in got[EVIL][1]
            assert victim.scores.faults[reason] >= 1
            assert victim.scores.faults[FaultReason.BAD_FRAME] <= (reason is FaultReason.BAD_FRAME)
            assert HONEST in {info.id for info in victim.net.peers()}
            await trio.sleep(600)
            assert len(victim.net.events) == 0

    simulate(main)


@pytest.mark.parametrize("name", CERTAIN)
def test_what_cannot_be_an_accident_is_enough_once(name: str) -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with net.host("hostile") as evil, node(net, "victim", ListProvider()) as victim:
            hostile.serve(evil, BEHAVIOURS[name][0])
            await evil.connect(address_of("victim"))
            await victim.wait_for(lambda e: isinstance(e, PeerUp))
            await ask_all(victim, EVIL)
            assert victim.net.peers() == []
            assert victim.scores.discouraged(1.7e9 + trio.current_time())[0].peer == EVIL
            await evil.connect(address_of("victim"))
            await trio.sleep(3)
            assert evil.connections() == []

    simulate(main)


@pytest.mark.parametrize("exchange", LIGHT_CLIENT, ids=lambda exchange: exchange.name)
@pytest.mark.parametrize("name", BEHAVIOURS)
def test_every_request_ends_in_a_fault_and_in_time(name: str, exchange: object) -> None:
    behaviour, reason = BEHAVIOURS[name]

    async def main() -> None:
        net = MemoryNetwork()
        async with (
            net.host("hostile") as evil,
            node(net, "victim", ListProvider(), static=[address_of("hostile")]) as victim,
        ):
            hostile.serve(evil, behaviour)
            await victim.wait_for(lambda e: isinstance(e, PeerUp))
            ask = {
                "light_client_bootstrap": lambda: victim.net.get_bootstrap(EVIL, bytes(32)),
                "light_client_updates_by_range": lambda: victim.net.get_updates(EVIL, 100, 32),
                "light_client_finality_update": lambda: victim.net.get_finality_update(EVIL),
                "light_client_optimistic_update": lambda: victim.net.get_optimistic_update(EVIL),
            }[exchange.name]  # type: ignore[attr-defined]
            with trio.fail_after(asking.RESP_TIMEOUT_S + 1):
                reply = await ask()
            assert isinstance(reply, RemoteFault)
            assert reply.reason is reason
            assert "\x1b" not in reply.evidence

    simulate(main)


@pytest.mark.parametrize(
    "name", ["silent", "deaf", "oversized", "padding", "garbage", "without_end", "refusing", "empty"]
)
def test_one_that_behaves_so_from_its_status_on_never_comes_up(name: str) -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with net.host("hostile") as evil, node(net, "victim", ListProvider()) as victim:
            hostile.serve(evil, getattr(hostile, name), on=(STATUS, PING, *LIGHT_CLIENT))
            await evil.connect(address_of("victim"))
            await trio.sleep(200)
            assert victim.count(PeerUp) == 0
            assert victim.net.peers() == []

    simulate(main)


def test_an_empty_answer_to_one_question_is_none() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with (
            net.host("hostile") as evil,
            node(net, "victim", ListProvider(), static=[address_of("hostile")]) as victim,
        ):
            hostile.serve(evil, hostile.empty)
            await victim.wait_for(lambda e: isinstance(e, PeerUp))
            reply = await victim.net.get_optimistic_update(EVIL)
            assert isinstance(reply, RemoteFault)
            assert reply.reason is FaultReason.PROTOCOL
            assert await victim.net.get_updates(EVIL, 1, 1) == Updates((), limited=False)

    simulate(main)


def test_no_more_is_read_than_was_asked_for() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with (
            net.host("hostile") as evil,
            node(net, "victim", ListProvider(), static=[address_of("hostile")]) as victim,
        ):
            hostile.serve(evil, hostile.without_end)
            await victim.wait_for(lambda e: isinstance(e, PeerUp))
            for count in (1, 7, 32):
                reply = await victim.net.get_updates(EVIL, 100, count)
                assert isinstance(reply, Updates)
                assert len(reply.chunks) == count
            assert await victim.net.get_optimistic_update(EVIL) == Chunk(DIGEST, hostile.SSZ)
            await trio.sleep(1)
            streams = next(iter(victim.host._connections.values())).streams
            assert all(stream.dead for stream in streams if stream.peer == EVIL)

    simulate(main)


def test_chunks_that_drip_are_kept_and_not_waited_for() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with (
            net.host("hostile") as evil,
            node(net, "victim", ListProvider(), static=[address_of("hostile")]) as victim,
        ):
            hostile.serve(evil, hostile.dripping_chunks)
            await victim.wait_for(lambda e: isinstance(e, PeerUp))
            began = trio.current_time()
            assert await victim.net.get_updates(EVIL, 100, 32) == Updates((Chunk(DIGEST, hostile.SSZ),), limited=True)
            assert trio.current_time() - began < DEADLINE_S

    simulate(main)


def test_a_peer_that_always_says_that_it_is_busy_is_asked_once_in_a_pause() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        asked = 0

        async def counting(stream: object) -> None:
            nonlocal asked
            asked += 1
            await hostile.rate_limiting(stream)  # type: ignore[arg-type]

        async with (
            net.host("hostile") as evil,
            node(net, "victim", ListProvider(), static=[address_of("hostile")]) as victim,
        ):
            hostile.serve(evil, counting)
            await victim.wait_for(lambda e: isinstance(e, PeerUp))
            for _ in range(60):
                await victim.net.get_updates(EVIL, 100, 32)
                await trio.sleep(1)
            assert 3 <= asked <= 60 / asking.PAUSE_S + 1
            assert not any(victim.scores.faults.values())

    simulate(main)


# Those who ask us.


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encode_request(bytes(15)), FaultReason.BAD_FRAME),
        (encode_request(bytes(17)), FaultReason.OVERSIZED),
        (encode_varint(2**40) + IDENTIFIER, FaultReason.OVERSIZED),
        (encode_varint(16) + encode_frames(bytes(60_000)), FaultReason.OVERSIZED),
        (encode_varint(16) + b"\x00" * 60, FaultReason.BAD_FRAME),
        (b"\xff" * 60, FaultReason.BAD_FRAME),
    ],
)
def test_requests_that_are_none_are_faults(data: bytes, reason: FaultReason) -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with net.host("hostile") as evil, node(net, "victim", ListProvider()) as victim:
            await evil.connect(address_of("victim"))
            stream = await hostile.says(evil, VICTIM, UPDATES, data)
            with pytest.raises(StreamClosed):
                await stream.read_exactly(1)
            await trio.sleep(3)
            assert victim.scores.faults[reason] == 1
            assert victim.net.peers() == []

    simulate(main)


def test_half_a_request_is_not_waited_for() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with net.host("hostile") as evil, node(net, "victim", ListProvider()) as victim:
            await evil.connect(address_of("victim"))
            held = [await hostile.half_a_request(evil, VICTIM, UPDATES) for _ in range(20)]
            await trio.sleep(1)
            assert victim.net._door._open == {(EVIL, UPDATES.name): serving.MAX_STREAMS}
            # The two that wait for a place are read when it is free: they, too, have their time.
            await trio.sleep(2 * serving.REQUEST_TIMEOUT_S)
            assert victim.net._door._open == {}
            assert victim.scores.faults[FaultReason.DRIP] == serving.MAX_STREAMS
            assert len(held) == 20

    simulate(main)


def test_an_update_range_at_the_end_of_time_is_answered() -> None:
    async def main() -> None:
        net, ours = MemoryNetwork(), ListProvider(2)
        async with net.host("hostile") as evil, node(net, "victim", ours) as victim:
            await evil.connect(address_of("victim"))
            for start, count in ((2**64 - 1, 2**64 - 1), (0, 0), (100, 2**64 - 1), (2**64 - 1, 0)):
                stream = await hostile.says(evil, VICTIM, UPDATES, encode_request(m.encode_range(start, count)))
                await stream.close()
                if start == 100:
                    await stream.read_exactly(2 * len(hostile.chunk(ours.chunks[0].ssz)))
                elif not count:
                    assert await stream.read_exactly(1) == b"\x01"
                    await stream.reset()
                    continue
                with pytest.raises(StreamClosed) as ended:
                    await stream.read_exactly(1)
                assert ended.value.clean
            assert max(count for _, count in ours.asked) <= serving.SERVE_BATCH
            assert not victim.scores.faults[FaultReason.PROTOCOL]

    simulate(main)


def test_a_goodbye_for_an_unknown_reason_is_a_goodbye() -> None:
    async def main() -> None:
        net = MemoryNetwork()
        async with net.host("hostile") as evil, node(net, "victim", ListProvider()) as victim:
            await evil.connect(address_of("victim"))
            await hostile.coming_and_going(evil, VICTIM)
            await trio.sleep(3)
            assert victim.net.peers() == []
            assert not any(victim.scores.faults.values())

    simulate(main)


def test_who_leaves_in_the_middle_of_our_answer_takes_nothing_with_him() -> None:
    async def main() -> None:
        net = MemoryNetwork(window=1_000)
        async with net.host("hostile") as evil, node(net, "victim", ListProvider(128)) as victim:
            await evil.connect(address_of("victim"))
            for _ in range(4):
                await hostile.says(evil, VICTIM, UPDATES, encode_request(m.encode_range(100, 128)))
            await trio.sleep(1)
            await evil.disconnect(VICTIM)
            await trio.sleep(60)
            assert victim.net._door._open == {}
            await evil.connect(address_of("victim"))
            stream = await hostile.says(evil, VICTIM, OPTIMISTIC, b"")
            assert await stream.read_exactly(1) == b"\x00"

    simulate(main)
