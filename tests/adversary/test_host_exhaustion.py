"""Attacks that fill what a stock py-libp2p does not bound: slots, memory, streams, tables.

Each runs against a real host in its own process, with all fences (it stays small and serves an honest peer) and with
its own fence left out (it does not).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
import trio
from raw_peer import (
    GONE,
    GREETING,
    PING,
    SYN,
    WINDOW_UPDATE,
    RawPeer,
    data,
    frame,
    gossip,
    graft,
    message,
    prune,
    subscribe,
    varint,
)
from victim import VictimProcess, ask, echoes, observer, victim

from p2p.addresses import parse_address
from p2p.host.host import LibP2PHost
from p2p.port import DialFailed

SLEEP = "/test/sleep/1"
GOSSIP = "/meshsub/1.1.0"
TOPIC = "/test/topic/1"
MB = 1_000_000
FLAT = 8 * MB
"""Growth of a fenced process under attack: one connection's worth of buffers, and what the allocator keeps."""
TAKEN = 20 * MB
"""Growth that shows an attack to succeed: it sends more than that."""


@pytest.fixture(scope="module")
def fenced() -> Iterator[VictimProcess]:
    with victim() as target:
        yield target


async def _growth(host: LibP2PHost, peer: str, before: int) -> int:
    return int((await ask(host, peer))["rss"]) - before


# Slots.


async def _come_and_go(target: VictimProcess, times: int) -> None:
    for _ in range(times):
        async with RawPeer(target.addr) as peer:
            assert await peer.settled()


def test_inbound_slots_are_given_back(fenced: VictimProcess) -> None:
    async def main() -> None:
        await _come_and_go(fenced, 260)  # a stock node with default limits takes 250, ever
        async with observer() as host:
            assert await echoes(host, await host.connect(fenced.addr))

    trio.run(main)


def test_without_admission_they_are_not() -> None:
    slots = 12

    async def main() -> None:
        await _come_and_go(target, slots)
        async with observer() as host:
            with pytest.raises(DialFailed):
                await host.connect(target.addr)

    with victim(without=["admission"], max_connections=slots) as target:
        trio.run(main)


async def _silent(target: VictimProcess, sockets: int, stack: AsyncExitStack) -> None:
    """Connect and say nothing, until ``stack`` unwinds."""
    where = parse_address(target.addr)
    for _ in range(sockets):
        await stack.enter_async_context(await trio.open_tcp_stream(where.host, where.port))


def test_silent_sockets_do_not_keep_an_honest_peer_out(fenced: VictimProcess) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack, observer() as host:
            await _silent(fenced, 150, stack)
            assert await echoes(host, await host.connect(fenced.addr))

    trio.run(main)


def test_without_admission_silent_sockets_do() -> None:
    slots = 12

    async def main() -> None:
        async with AsyncExitStack() as stack, observer() as host:
            await _silent(target, slots, stack)
            with pytest.raises(DialFailed):
                await host.connect(target.addr)

    with victim(without=["admission"], max_connections=slots) as target:
        trio.run(main)


# Memory.


async def _ignore_the_window(peer: RawPeer, count: int) -> None:
    stream_id = await peer.open(SLEEP)
    try:
        for _ in range(count // 60_000):
            await peer.send(data(stream_id, bytes(60_000)))
    except GONE:
        pass


async def _endless_protocol_ids(peer: RawPeer, count: int) -> None:
    """One per stream, each too short to use up the hundred pieces that upstream reads, and none of them complete."""
    each = 4 * MB
    for _ in range(count // each):
        stream_id = await peer.open_raw(message(GREETING) + varint(2 * each))
        await peer.pour(stream_id, each)


MEMORY = {"yamux": _ignore_the_window, "negotiation": _endless_protocol_ids}


@pytest.mark.parametrize("fence", MEMORY)
def test_memory_stays_flat(fence: str, fenced: VictimProcess) -> None:
    async def main() -> None:
        async with observer() as host:
            honest = await host.connect(fenced.addr)
            before = (await ask(host, honest))["rss"]
            async with RawPeer(fenced.addr) as peer:
                await MEMORY[fence](peer, 50 * MB)
                assert await _growth(host, honest, before) < FLAT

    trio.run(main)


@pytest.mark.parametrize("fence", MEMORY)
def test_without_its_fence_memory_is_filled(fence: str) -> None:
    async def main() -> None:
        async with observer() as host:
            honest = await host.connect(target.addr)
            before = (await ask(host, honest))["rss"]
            async with RawPeer(target.addr) as peer:
                await MEMORY[fence](peer, 50 * MB)
                assert await _growth(host, honest, before) > TAKEN

    with victim(without=[fence]) as target:
        trio.run(main)


def test_windows_of_many_streams_are_bounded_together(fenced: VictimProcess) -> None:
    async def main() -> None:
        async with observer() as host, RawPeer(fenced.addr) as peer:
            honest = await host.connect(fenced.addr)
            before = (await ask(host, honest))["rss"]
            try:
                for _ in range(60):
                    stream_id = await peer.open(SLEEP)
                    await peer.send(*[data(stream_id, bytes(50_000))] * 5)
            except GONE:
                pass
            await peer.read_until_closed()
            assert await _growth(host, honest, before) < 2 * FLAT

    trio.run(main)


# Streams and frames.


async def _open_without_a_word(peer: RawPeer, count: int) -> None:
    try:
        for start in range(0, count, 500):
            await peer.send(*(frame(WINDOW_UPDATE, SYN, 2 * n + 1, 0) for n in range(start, start + 500)))
    except GONE:
        pass


def test_ten_thousand_streams(fenced: VictimProcess) -> None:
    async def main() -> None:
        async with observer() as host, RawPeer(fenced.addr) as peer:
            honest = await host.connect(fenced.addr)
            await _open_without_a_word(peer, 1_000)
            status = await ask(host, honest)
            assert status["streams"] < 100
            await _open_without_a_word(peer, 10_000)
            await peer.read_until_closed()
            assert peer.peer_id not in (await ask(host, honest))["connections"]

    trio.run(main)


def test_without_yamux_fence_streams_are_not_counted() -> None:
    async def main() -> None:
        async with observer() as host, RawPeer(target.addr) as peer:
            honest = await host.connect(target.addr)
            await _open_without_a_word(peer, 1_000)
            with trio.fail_after(30):
                while (await ask(host, honest))["streams"] < 500:  # noqa: ASYNC110 - in another process
                    await trio.sleep(0.1)

    with victim(without=["yamux"]) as target:
        trio.run(main)


async def _flood_with_pings(peer: RawPeer) -> None:
    """And never read an answer: 3,000 at a time, until the other side has had enough or is stuck."""
    pings = [frame(PING, SYN, 0, n) for n in range(3_000)]
    with trio.move_on_after(2):
        try:
            for _ in range(1_000):
                await peer.send(*pings)
        except GONE:
            pass


def test_ping_flood_ends_the_flooder(fenced: VictimProcess) -> None:
    async def main() -> None:
        async with observer() as host, RawPeer(fenced.addr) as peer:
            honest = await host.connect(fenced.addr)
            await _flood_with_pings(peer)
            assert peer.peer_id not in (await ask(host, honest))["connections"]

    trio.run(main)


def test_without_yamux_fence_it_keeps_its_connection() -> None:
    async def main() -> None:
        async with observer() as host, RawPeer(target.addr) as peer:
            honest = await host.connect(target.addr)
            await _flood_with_pings(peer)
            assert peer.peer_id in (await ask(host, honest))["connections"]

    with victim(without=["yamux"]) as target:
        trio.run(main)


# Tables.


async def _tables(target: VictimProcess) -> tuple[int, int]:
    async with observer() as host, RawPeer(target.addr) as peer:
        honest = await host.connect(target.addr)
        topics = [f"invented-{n}" for n in range(100)]
        await peer.open(GOSSIP, gossip(senderRecord=peer.signed_record()), prune(topics))
        assert await peer.settled()
        status = await ask(host, honest)
        return status["peerstore"], status["back_off"]


def test_gossip_leaves_nothing_behind(fenced: VictimProcess) -> None:
    itself = 1
    assert trio.run(_tables, fenced) == (itself, 0)


def test_without_its_fence_gossip_is_remembered() -> None:
    with victim(without=["guarded-gossip"]) as target:
        peerstore, back_off = trio.run(_tables, target)
        assert peerstore > 1
        assert back_off == 100


async def _ghosts(target: VictimProcess) -> list[str]:
    """Who is in the victim's mesh after 15 peers asked for a place, let it open no stream, and left."""
    async with observer() as host:
        honest = await host.connect(target.addr)
        for _ in range(15):
            async with RawPeer(target.addr) as peer:
                await peer.open(GOSSIP, subscribe([TOPIC]), graft([TOPIC]))
                assert await peer.settled()
        with trio.fail_after(20):
            while len((await ask(host, honest))["connections"]) > 1:  # noqa: ASYNC110 - in another process
                await trio.sleep(0.05)
        mesh: list[str] = (await ask(host, honest))["mesh"]
        return mesh


def test_who_left_is_not_in_the_mesh(fenced: VictimProcess) -> None:
    assert trio.run(_ghosts, fenced) == []


def test_without_its_fence_ghosts_fill_the_mesh() -> None:
    with victim(without=["guarded-gossip"]) as target:
        assert len(trio.run(_ghosts, target)) > 4


def test_gossip_needs_no_thread(fenced: VictimProcess) -> None:
    async def main() -> None:
        async with observer() as host:
            assert (await ask(host, await host.connect(fenced.addr)))["threads"] == 1

    trio.run(main)
