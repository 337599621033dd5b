"""Who dials us: served at a bounded rate, bounded in number, and nobody keeps the others out."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import btc_peers as bp
import pytest
import trio
import trio.testing
from btc_net import Chained, dial_in, until, wall, wire
from mine import regtest_chain

from p2p.bitcoin import lines, session
from p2p.bitcoin import messages as m
from p2p.bitcoin.net import BitcoinNet
from p2p.score import ScoreBoard

CHAIN = regtest_chain(2_500)
GENESIS_HASH = bp.hash_of(bp.GENESIS)


def run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_headers_are_served_at_a_bounded_rate() -> None:
    async def main() -> None:
        async with wire(bp.Street(), provider=Chained(CHAIN)) as net, trio.open_nursery() as nursery:
            remote = await dial_in(net, nursery, "11.1.1.1", 4_000)
            before, asked = trio.current_time(), 400
            for _ in range(asked):
                await remote.send(m.GetHeaders((GENESIS_HASH,)))
            for _ in range(asked):
                assert await remote.wait_for(m.Headers) == m.Headers(CHAIN[: 2_000 * 80])
            assert trio.current_time() - before >= (asked * 2_200 - 400_000) / 40_000 - 1
            (info,) = net.peers()
            assert (info.kind, info.headers_served) == ("inbound", 800_000)
            nursery.cancel_scope.cancel()

    run(main)


def test_inbound_connections_are_bounded_by_host_and_in_all() -> None:
    async def main() -> None:
        async with wire(bp.Street()) as net, trio.open_nursery() as nursery:
            for port in range(lines.MAX_PER_HOST):
                await dial_in(net, nursery, "11.1.1.1", 4_000 + port)
            with pytest.raises(bp.Left):
                await dial_in(net, nursery, "11.1.1.1", 5_000)
            await trio.sleep(60)
            for number in range(lines.MAX_INBOUND - lines.MAX_PER_HOST):
                await dial_in(net, nursery, f"12.1.1.{number}", 4_000)
                await trio.sleep(1)
            await dial_in(net, nursery, "13.1.1.1", 4_000)  # in place of one of the many
            await until(lambda: len(net.peers()) == lines.MAX_INBOUND, 5)
            assert "13.1.1.1:4000" in {peer.addr for peer in net.peers()}
            nursery.cancel_scope.cancel()

    run(main)


def test_who_holds_all_places_from_one_network_cannot_keep_others_out() -> None:
    """He has every place, and dials again twice a second; those who come from elsewhere get in, stay, and nobody is
    blamed."""

    async def polite(net: BitcoinNet, nursery: trio.Nursery, host: str) -> None:
        with contextlib.suppress(bp.Left):
            await bp.honest(await dial_in(net, nursery, host, 4_000))

    async def again(net: BitcoinNet, nursery: trio.Nursery) -> None:
        for number in range(1_000):
            nursery.start_soon(polite, net, nursery, f"12.1.{number // 200 + 1}.{number % 200}")
            await trio.sleep(0.5)

    async def main() -> None:
        scores = ScoreBoard()
        async with wire(bp.Street(), scores=scores) as net, trio.open_nursery() as nursery:
            for number in range(lines.MAX_INBOUND):
                nursery.start_soon(polite, net, nursery, f"12.1.0.{number}")
                await trio.sleep(1)
            nursery.start_soon(again, net, nursery)
            for number in range(8):
                nursery.start_soon(polite, net, nursery, f"{30 + number}.1.1.1")
                await trio.sleep(20)
            there = {peer.addr.partition(".")[0] for peer in net.peers()}
            assert there == {"12", *(str(30 + number) for number in range(8))}
            assert len(net.peers()) <= lines.MAX_INBOUND
            assert not any(scores.faults.values())
            nursery.cancel_scope.cancel()

    run(main)


def test_who_says_nothing_in_his_handshake_makes_room_as_well() -> None:
    """Sockets that are opened and left alone hold every place else, for half a minute each."""

    async def main() -> None:
        async with wire(bp.Street()) as net, trio.open_nursery() as nursery:
            mute = []
            for number in range(lines.MAX_INBOUND):
                ours, theirs = trio.testing.memory_stream_pair()
                mute.append(theirs)
                nursery.start_soon(net.accept, ours, f"12.1.0.{number}", 4_000)
            await trio.sleep(5)
            await dial_in(net, nursery, "30.1.1.1", 4_000)
            await until(net.peers, 5)
            assert [peer.addr for peer in net.peers()] == ["30.1.1.1:4000"]
            nursery.cancel_scope.cancel()

    run(main)


def test_a_host_that_dialed_us_and_lied_is_not_let_in_again_from_another_port() -> None:
    async def main() -> None:
        scores = ScoreBoard()
        async with wire(bp.Street(), scores=scores) as net, trio.open_nursery() as nursery:
            remote = await dial_in(net, nursery, "11.1.1.1", 4_000)
            await remote.raw(b"nonsense" * 10)
            await until(lambda: scores.discouraged(wall()))
            with pytest.raises(bp.Left):
                await dial_in(net, nursery, "11.1.1.1", 4_001)
            await dial_in(net, nursery, "11.1.1.2", 4_001)
            nursery.cancel_scope.cancel()

    run(main)


def test_merits_are_the_shortest_round_trip_and_news_that_was_news() -> None:
    """To have connected lately is no news, and who is slow for once is still near."""

    async def answering(remote: bp.Remote, delays: list[float]) -> None:
        while True:
            message = await remote.receive()
            if isinstance(message, m.Ping):
                await trio.sleep(delays.pop(0) if delays else 5.0)
            await remote.answer(message)

    async def main() -> None:
        async with wire(bp.Street()) as net, trio.open_nursery() as nursery:
            remote = await dial_in(net, nursery, "11.1.1.1", 4_000)
            nursery.start_soon(answering, remote, [2.0, 0.5])
            await until(net.peers, 5)
            peer = net.peers()[0].id
            assert net._merits(peer) == lines.Merits()
            await trio.sleep(3 * session.PING_S)
            assert net._merits(peer) == lines.Merits(0.5)
            net.has(peer, 7)
            assert net._merits(peer).news_at is None
            net.has(peer, 8, news=True)
            assert net._merits(peer) == lines.Merits(0.5, trio.current_time())
            assert net._merits("btc:nobody") == lines.Merits()
            nursery.cancel_scope.cancel()

    run(main)
