"""Bitcoin's wire among simulated peers: handshakes, questions, bounds, and what becomes of liars."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import btc_peers as bp
import pytest
import trio
import trio.testing
from btc_net import WALL, Chained, dial_in, new_book, until, wall, wire
from mine import mine_run, regtest_chain

from p2p.bitcoin import messages as m
from p2p.bitcoin import session
from p2p.bitcoin.dialing import Target
from p2p.bitcoin.events import Announced, Inv, PeerDown, PeerUp
from p2p.bitcoin.net import BitcoinNet
from p2p.faults import FaultReason, RemoteFault
from p2p.score import ScoreBoard

CHAIN = regtest_chain(2_500)
GENESIS_HASH = bp.hash_of(bp.GENESIS)
HOME = "198.51.100.7:18444"
PEER = "btc:" + HOME


def run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def street_with(behaviour: bp.Behaviour, **house: object) -> bp.Street:
    street = bp.Street()
    street.houses[HOME] = bp.House(behaviour, chain=CHAIN, **house)  # type: ignore[arg-type]
    return street


async def up(net: BitcoinNet) -> PeerUp:
    with trio.fail_after(600):
        event = await net.events.receive()
    assert isinstance(event, PeerUp)
    return event


# Handshakes.


@pytest.mark.parametrize(
    ("house", "transport"), [({"v2": True}, 2), ({}, 1), ({"patient": True}, 1)], ids=["v2", "v1", "v1-that-waits"]
)
def test_v2_first_then_v1(house: dict[str, bool], transport: int) -> None:
    street = street_with(bp.honest, **house)

    async def main() -> None:
        async with wire(street, connect=[HOME]) as net:
            event = await up(net)
            assert (event.peer, event.start_height, event.agent) == (PEER, 2_500, "/other:1/")
            (info,) = net.peers()
            assert (info.transport, info.kind) == (transport, "manual")
            assert await net.get_headers(PEER, [GENESIS_HASH]) == CHAIN[: 2_000 * 80]

    run(main)


def test_wrong_network_is_a_fault_and_no_peer() -> None:
    street, scores = street_with(bp.honest, magic=bytes.fromhex("f9beb4d9")), ScoreBoard()

    async def main() -> None:
        async with wire(street, connect=[HOME], scores=scores) as net:
            await trio.sleep(60)
            assert net.peers() == []

    run(main)
    # A v1 node of another network hangs up on our magic; it never says which is its own.
    assert scores.faults[FaultReason.DISCONNECTED] > 0


def test_a_connection_to_ourselves_is_no_fault_and_not_repeated() -> None:
    scores, book = ScoreBoard(), new_book()
    place = bp.endpoint("9.9.9.9:18444")
    book.add([m.Address(int(WALL), 1, place)], b"x", int(WALL))

    async def main() -> None:
        street = bp.Street()
        async with trio.open_nursery() as nursery:

            async def loop(target: Target) -> trio.abc.Stream:
                street.dials[str(target)] += 1
                ours, theirs = trio.testing.memory_stream_pair()
                nursery.start_soon(net.accept, theirs, "9.9.9.1", 40_000)
                return ours

            async with wire(street, dial=loop, book=book, scores=scores, outbound=8) as net:
                await trio.sleep(7 * 3_600)
                assert net.peers() == []
            nursery.cancel_scope.cancel()
        assert street.dials["9.9.9.9:18444"] == 1
        assert sum(scores.faults.values()) == 0

    run(main)


def test_a_peer_without_services_is_left_without_a_fault_unless_it_was_named() -> None:
    """The operator knows why: another light node serves headers, too, and says no more than it has."""
    street, scores, book = street_with(bp.honest, services=0), ScoreBoard(), new_book()
    known = "11.1.1.1:18444"
    street.houses[known] = street.houses[HOME]
    book.add([m.Address(int(WALL), 1, bp.endpoint(known))], b"s", int(WALL))

    async def main() -> None:
        async with wire(street, book=book, outbound=8, scores=scores) as net:
            await trio.sleep(300)
            assert net.peers() == []
        assert street.dials[known] >= 1
        async with wire(street, connect=[HOME], scores=scores) as net:
            event = await up(net)
            assert await net.get_headers(event.peer, [GENESIS_HASH]) == CHAIN[: 2_000 * 80]

    run(main)
    assert sum(scores.faults.values()) == 0


# Questions.


@pytest.mark.parametrize("behaviour", [bp.honest, bp.like_bcoin], ids=["core", "bcoin"])
def test_nothing_at_tip_is_an_answer_at_once(behaviour: bp.Behaviour) -> None:
    async def main() -> None:
        async with wire(street_with(behaviour), connect=[HOME]) as net:
            await up(net)
            before = trio.current_time()
            assert await net.get_headers(PEER, [bp.hash_of(CHAIN[-80:])]) == b""
            assert trio.current_time() == before
            assert await net.get_headers(PEER, [], bp.hash_of(CHAIN[80:160])) == CHAIN[80:160]

    run(main)


def test_a_late_answer_is_not_taken_for_the_next() -> None:
    async def main() -> None:
        async with wire(street_with(bp.slow), connect=[HOME]) as net:
            await up(net)
            with trio.move_on_after(5) as scope:
                await net.get_headers(PEER, [GENESIS_HASH])
            assert scope.cancelled_caught
            after = bp.hash_of(CHAIN[1_999 * 80 : 2_000 * 80])
            assert await net.get_headers(PEER, [after]) == CHAIN[2_000 * 80 :]

    run(main)


def test_an_announcement_that_crosses_a_question_is_no_answer() -> None:
    async def crossing(remote: bp.Remote) -> None:
        await remote.wait_for(m.GetHeaders)
        await remote.send(m.Headers(CHAIN[-80:]), m.Headers(CHAIN[: 5 * 80]))
        await bp.honest(remote)

    async def main() -> None:
        async with wire(street_with(crossing), connect=[HOME]) as net:
            await up(net)
            assert await net.get_headers(PEER, [GENESIS_HASH]) == CHAIN[: 5 * 80]
            assert await net.events.receive() == Announced(PEER, CHAIN[-80:])

    run(main)


def test_questions_to_nobody_and_to_one_who_leaves() -> None:
    async def main() -> None:
        async with wire(street_with(bp.truncated), connect=[HOME]) as net:
            reply = await net.get_headers("btc:nobody:1", [GENESIS_HASH])
            assert isinstance(reply, RemoteFault)
            assert reply.scored
            await up(net)
            reply = await net.get_headers(PEER, [GENESIS_HASH])
            assert isinstance(reply, RemoteFault)
            assert reply.reason is FaultReason.DISCONNECTED
            assert await net.events.receive() == PeerDown(PEER)

    run(main)


# Liars. Each is left, with its reason, within a stated time.

CASES: list[tuple[bp.Behaviour, FaultReason, float]] = [
    (bp.silent, FaultReason.TIMEOUT, session.PONG_S + 40),
    (bp.dripping_bytes, FaultReason.STALLED, session.REPLY_S * 1.5),
    (bp.dripping_news, FaultReason.DRIP, session.FRAME_S * 1.5),
    (bp.dripping_nonsense, FaultReason.DRIP, session.FRAME_S * 1.5),
    (bp.garbage, FaultReason.BAD_FRAME, 1),
    (bp.oversized, FaultReason.OVERSIZED, 1),
    (bp.false_checksum, FaultReason.BAD_FRAME, 1),
    (bp.truncated, FaultReason.DISCONNECTED, 1),
    (bp.versions, FaultReason.PROTOCOL, 1),
    (bp.flooding, FaultReason.FLOOD, 60),
    (bp.unknown_flood, FaultReason.FLOOD, 60),
]


@pytest.mark.parametrize(("behaviour", "reason", "seconds"), CASES, ids=[case[0].__name__ for case in CASES])
def test_liars_are_left(behaviour: bp.Behaviour, reason: FaultReason, seconds: float) -> None:
    scores = ScoreBoard()

    async def main() -> None:
        async with wire(street_with(behaviour), connect=[HOME], scores=scores) as net:
            await up(net)
            asks = behaviour not in (bp.silent, bp.dripping_news, bp.dripping_nonsense)
            async with trio.open_nursery() as nursery:
                if asks:
                    nursery.start_soon(net.get_headers, PEER, [GENESIS_HASH])
                before = trio.current_time()
                await until(lambda: any(scores.faults.values()), seconds)
                assert trio.current_time() - before <= seconds
            assert {one for one, count in scores.faults.items() if count} == {reason}

    run(main)


def test_one_who_takes_questions_and_is_silent_is_stalled() -> None:
    async def polite(remote: bp.Remote) -> None:
        """Answers pings, but not those behind a question."""
        while True:
            message = await remote.receive()
            if isinstance(message, m.GetHeaders):
                await remote.wait_for(m.Ping)
            else:
                await remote.answer(message)

    async def main() -> None:
        async with wire(street_with(polite), connect=[HOME]) as net:
            await up(net)
            before = trio.current_time()
            reply = await net.get_headers(PEER, [GENESIS_HASH])
            assert isinstance(reply, RemoteFault)
            assert reply.reason is FaultReason.STALLED
            assert trio.current_time() - before <= session.REPLY_S * 1.5

    run(main)


def narrow(room: int) -> tuple[trio.abc.Stream, trio.abc.Stream]:
    """A pair of which the first can send so many bytes until somebody reads, as a socket."""
    ours, theirs = trio.testing.memory_stream_pair()
    inner, sent = ours.send_stream.send_all, 0

    async def send_all(data: bytes) -> None:
        nonlocal sent
        sent += len(data)
        if sent > room:
            await trio.sleep_forever()
        await inner(data)

    ours.send_stream.send_all = send_all  # type: ignore[method-assign]
    return ours, theirs


def test_one_who_does_not_read_is_stalled() -> None:
    """What waits for it stays bounded meanwhile."""
    scores, street = ScoreBoard(), bp.Street(pair=lambda: narrow(4_096))
    street.houses[HOME] = bp.House(bp.deaf)

    async def main() -> None:
        async with wire(street, connect=[HOME], scores=scores) as net:
            await up(net)
            for at in range(100_000):
                await net.announce(CHAIN[at % 2_000 * 80 :][:80])
            (peer,) = net._roster.peers.values()
            assert peer.session is not None
            assert peer.session._outbox_size <= session.MAX_OUTBOX
            await until(lambda: any(scores.faults.values()), session.WRITE_S + 10)
            assert scores.faults[FaultReason.STALLED] == 1

    run(main)


def test_disconnect_loops_are_dialed_ever_more_rarely() -> None:
    street, book = street_with(bp.leaving), new_book()
    fleeting = [f"{net}.1.1.1:18444" for net in range(11, 31)]
    for address in fleeting:
        street.houses[address] = bp.House(bp.leaving, v2=True)
        book.add([m.Address(int(WALL), 1, bp.endpoint(address))], b"x", int(WALL))

    async def main() -> None:
        async with wire(street, connect=[HOME], book=book, outbound=8):
            await trio.sleep(3_600)

    run(main)
    # The configured one at 1 s, 2 s, ... 120 s (each dial of a v1 node is two); those of the book every ten minutes.
    assert 2 * 25 <= street.dials[HOME] <= 2 * 70
    assert max(street.dials[address] for address in fleeting) <= 6


def test_a_discouraged_peer_is_left_alone_and_that_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "discouraged.json"
    street, book = bp.Street(), new_book()
    street.houses["9.9.9.9:18444"] = bp.House(bp.garbage, v2=False)
    book.add([m.Address(int(WALL), 1, bp.endpoint("9.9.9.9:18444"))], b"x", int(WALL))

    async def first() -> None:
        scores = ScoreBoard(path)
        async with wire(street, book=book, scores=scores, outbound=8):
            await until(lambda: scores.discouraged(wall()))
            (entry,) = scores.discouraged(wall())
            assert (entry.peer, entry.reason) == ("btc:9.9.9.9:18444", FaultReason.BAD_FRAME)

    async def second() -> None:
        dials = street.dials.total()
        async with wire(street, book=book, scores=ScoreBoard(path), outbound=8):
            await trio.sleep(3_000)
        assert street.dials.total() == dials

    run(first)
    run(second)


def test_the_last_useful_peer_is_scored_and_kept() -> None:
    scores = ScoreBoard()

    async def main() -> None:
        async with wire(street_with(bp.honest), connect=[HOME], scores=scores) as net:
            await up(net)
            net.useful(PEER)
            for _ in range(5):
                await net.report(RemoteFault(FaultReason.FALSE_CLAIM, PEER, "twice"))
            await trio.sleep(1)
            (info,) = net.peers()
            assert info.score >= 100
            assert scores.discouraged(wall()) == []

    run(main)


# What we tell, and serve.


def test_news_go_by_headers_to_who_wants_them_and_by_inv_to_others() -> None:
    street = bp.Street()

    async def wants(remote: bp.Remote) -> None:
        await remote.send(m.SendHeaders())
        await remote.send(m.GetHeaders((GENESIS_HASH,)))
        await bp.honest(remote)

    homes = {"11.1.1.1:1": wants, "12.1.1.1:1": bp.honest}
    for home, behaviour in homes.items():
        street.houses[home] = bp.House(behaviour)

    async def main() -> None:
        async with wire(street, connect=list(homes)) as net:
            await until(lambda: len(net.peers()) == 2)
            await trio.sleep(1)
            await net.announce(CHAIN[: 2 * 80])
            await net.announce(CHAIN[: 11 * 80])
            await trio.sleep(1)

    run(main)
    heard = {home: street.houses[home].remotes[-1].heard for home in homes}
    inv = m.Inv(m.inventory_row(m.InvKind.BLOCK, bp.hash_of(CHAIN[80:160])))
    far = m.Inv(m.inventory_row(m.InvKind.BLOCK, bp.hash_of(CHAIN[10 * 80 : 11 * 80])))
    assert told(heard["11.1.1.1:1"]) == [m.Headers(b""), m.Headers(CHAIN[:160]), far]
    assert told(heard["12.1.1.1:1"]) == [inv, far]


def told(heard: list[m.Message]) -> list[m.Headers | m.Inv]:
    return [one for one in heard if isinstance(one, m.Headers | m.Inv)]


def test_who_has_a_block_is_not_told_of_it() -> None:
    """btcd would ask for what comes after it, and leave for want of an answer."""
    street = bp.Street()

    def has(*shows: m.Spoken) -> bp.Behaviour:
        async def behave(remote: bp.Remote) -> None:
            for message in (m.SendHeaders(), *shows):
                await remote.send(message)
            await bp.honest(remote)

        return behave

    tip = bp.hash_of(CHAIN[9 * 80 : 10 * 80])
    homes = {
        "11.1.1.1:1": has(m.Headers(CHAIN[: 10 * 80])),
        "12.1.1.1:1": has(m.Inv(m.inventory_row(m.InvKind.BLOCK, tip))),
        "13.1.1.1:1": has(m.GetHeaders((tip,))),
        "14.1.1.1:1": has(m.GetHeaders((bp.hash_of(CHAIN[8 * 80 : 9 * 80]),))),
    }
    for home, behaviour in homes.items():
        street.houses[home] = bp.House(behaviour)

    async def main() -> None:
        async with wire(street, connect=list(homes)) as net:
            await until(lambda: len(net.peers()) == 4)
            await trio.sleep(1)
            await net.announce(CHAIN[2 * 80 : 10 * 80])
            await net.announce(CHAIN[3 * 80 : 11 * 80])
            await trio.sleep(1)

    run(main)
    heard = [told(street.houses[home].remotes[-1].heard) for home in homes]
    tenth, eleventh = (m.Headers(CHAIN[at * 80 : (at + 1) * 80]) for at in (9, 10))
    nothing = m.Headers(b"")
    assert heard == [[eleventh], [eleventh], [nothing, eleventh], [nothing, tenth, eleventh]]


def test_a_reorganization_is_told_from_where_the_branches_part() -> None:
    """Or by ``inv`` where the peer is not known to have that block: btcd leaves who sends headers that do not fit."""
    street = bp.Street()

    async def wants(remote: bp.Remote) -> None:
        await remote.send(m.SendHeaders())
        await remote.send(m.GetHeaders((GENESIS_HASH,)))
        await bp.honest(remote)

    street.houses[HOME] = bp.House(wants)
    fork = bp.hash_of(CHAIN[80:160])
    near, far = (mine_run(fork, 1_400_000_000, count, seed=1) for count in (3, 20))

    async def main() -> None:
        async with wire(street, connect=[HOME]) as net:
            await up(net)
            await trio.sleep(1)
            for height in (1, 2, 3, 4):
                await net.announce(CHAIN[: height * 80])
            await net.announce(CHAIN[: 2 * 80] + near)
            await net.announce(far[-8 * 80 :])
            await trio.sleep(1)

    run(main)
    ours = [m.Headers(CHAIN[at * 80 : (at + 1) * 80]) for at in range(4)]
    inv = m.Inv(m.inventory_row(m.InvKind.BLOCK, bp.hash_of(far[-80:])))
    assert told(street.houses[HOME].remotes[-1].heard) == [m.Headers(b""), *ours, m.Headers(near), inv]


def test_getblocks_is_told_that_there_is_nothing_more() -> None:
    street = bp.Street()

    async def asks(remote: bp.Remote) -> None:
        payload = bytes(69)
        frame = bp.MAGIC + b"getblocks".ljust(12, b"\0") + len(payload).to_bytes(4, "little")
        await remote.raw(frame + bp.hash_of(payload)[:4] + payload)
        await bp.honest(remote)

    street.houses[HOME] = bp.House(asks)

    async def main() -> None:
        async with wire(street, connect=[HOME]) as net:
            await up(net)
            await trio.sleep(1)

    run(main)
    assert told(street.houses[HOME].remotes[-1].heard) == [m.Inv(b"")]


# Addresses.


def test_a_flood_of_addresses_takes_a_bounded_share() -> None:
    street, book = street_with(bp.addr_flood), new_book()

    async def main() -> None:
        async with wire(street, connect=[HOME], book=book) as net:
            await trio.sleep(3_600)
            assert len(net.peers()) == 1  # too many are dropped, which is no fault
            assert 0 < net.addresses <= 1_000 + 3_600 * 0.1 + 1

    run(main)


def test_getaddr_is_answered_once_and_with_the_same_for_everybody() -> None:
    book = new_book()
    book.add([m.Address(int(WALL), 1, bp.endpoint(f"{one}.2.3.4:8333")) for one in range(11, 111)], b"x", int(WALL))

    async def main() -> None:
        async with wire(bp.Street(), book=book) as net, trio.open_nursery() as nursery:
            answers = []
            for number in (1, 2):
                remote = await dial_in(net, nursery, f"11.1.1.{number}", 4_000)
                await remote.send(m.GetAddr(), m.GetAddr(), m.Ping(1))
                while m.Pong(1) not in remote.heard:
                    await remote.receive()
                answers.append([one for one in remote.heard if isinstance(one, m.Addr | m.AddrV2)])
            assert len(answers[0]) == 1
            assert answers[0] == answers[1]
            assert len(answers[0][0].addresses) == int(100 * 0.23)
            nursery.cancel_scope.cancel()

    run(main)


def test_news_of_an_address_goes_to_two_others() -> None:
    fresh = m.Address(int(WALL), 1, bp.endpoint("93.184.216.34:8333"))

    async def tells(remote: bp.Remote) -> None:
        await remote.send(m.Addr((fresh,)))
        await bp.honest(remote)

    street = bp.Street()
    homes = [f"{one}.1.1.1:1" for one in range(11, 17)]
    for home in homes:
        street.houses[home] = bp.House(tells if home == homes[-1] else bp.honest)

    async def main() -> None:
        async with wire(street, connect=homes) as net:
            await until(lambda: len(net.peers()) == len(homes))
            await trio.sleep(90)

    run(main)
    heard = [home for home in homes if m.Addr((fresh,)) in street.houses[home].remotes[-1].heard]
    assert len(heard) <= 2
    assert homes[-1] not in heard


# Announcements come through.


def test_announcements_by_headers_and_by_inv() -> None:
    async def tells(remote: bp.Remote) -> None:
        await remote.send(m.Headers(CHAIN[:80]))
        transaction = m.inventory_row(m.InvKind.WTX, bytes(32))
        await remote.send(m.Inv(transaction), m.Inv(transaction + m.inventory_row(m.InvKind.BLOCK, b"\x11" * 32)))
        await bp.honest(remote)

    async def main() -> None:
        async with wire(street_with(tells), connect=[HOME]) as net:
            await up(net)
            assert await net.events.receive() == Announced(PEER, CHAIN[:80])
            assert await net.events.receive() == Inv(PEER, (b"\x11" * 32,))

    run(main)


# Real sockets.


def test_two_nodes_over_tcp() -> None:
    """Loopback, v2, both ways of a question; and a provider that fails costs one answer."""

    class Failing(Chained):
        broken = False

        def headers_after(self, locator: Sequence[bytes], stop: bytes, count: int) -> bytes:
            if self.broken:
                raise RuntimeError("ours")
            return super().headers_after(locator, stop, count)

    async def main() -> None:
        provider = Failing(CHAIN)
        make = partial(wire, bp.Street(), dial=None, wall=lambda: WALL)
        async with make(provider=provider, listen=("127.0.0.1", 0)) as server:
            host, port = server.listening[0]
            async with make(connect=[f"{host}:{port}"]) as client:
                with trio.fail_after(20):
                    event = await up(client)
                    assert client.peers()[0].transport == 2
                    assert await client.get_headers(event.peer, [GENESIS_HASH]) == CHAIN[: 2_000 * 80]
                    provider.broken = True
                    assert await client.get_headers(event.peer, [GENESIS_HASH]) == b""
                    there = await up(server)
                    assert there.inbound
                    await server.announce(CHAIN[:80])
                    assert await client.events.receive() == Announced(event.peer, CHAIN[:80])

    trio.run(main)
