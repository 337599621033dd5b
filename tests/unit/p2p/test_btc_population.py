"""With whom the wire connects: groups, anchors, seeds, feelers, proxies; whom it leaves for another, and when."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import btc_peers as bp
import pytest
import trio
import trio.testing
from btc_net import WALL, Nothing, new_book, until, wire

from p2p.bitcoin import lagging
from p2p.bitcoin import messages as m
from p2p.bitcoin.anchors import load_anchors
from p2p.bitcoin.dialing import SocksDial, Target, parse_target
from p2p.bitcoin.events import Silent
from p2p.bitcoin.lagging import Lag, Step
from p2p.bitcoin.netaddr import NetAddressError, parse_endpoint
from p2p.bitcoin.peer import Kind
from p2p.bitcoin.peers import FILTER_PEERS, TEND_S
from p2p.bitcoin.seeds import Seeds
from p2p.port import DialFailed

ONION = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion:8333"


def run(main: object) -> None:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))  # type: ignore[arg-type]


def town(groups: int, each: int = 1, behaviour: bp.Behaviour = bp.honest) -> tuple[bp.Street, list[str]]:
    """Houses in that many network groups."""
    street = bp.Street()
    homes = [f"{11 + group}.1.{number}.1:18444" for group in range(groups) for number in range(each)]
    for home in homes:
        street.houses[home] = bp.House(behaviour, v2=True)
    return street, homes


def book_of(homes: Sequence[str]) -> object:
    book = new_book()
    for home in homes:
        book.add([m.Address(int(WALL), 1, bp.endpoint(home))], home.encode(), int(WALL))
    return book


def test_eight_outbound_and_two_anchors_each_in_a_group_of_its_own(tmp_path: Path) -> None:
    street, homes = town(14, each=3)
    path = tmp_path / "anchors.json"

    async def main() -> None:
        settings = {"book": book_of(homes), "outbound": 8, "anchors": 2, "anchor_path": path}
        async with wire(street, **settings) as net:
            await until(lambda: len(net.peers()) == 10, 120)
            await trio.sleep(600)
            kinds = [peer.kind for peer in net.peers()]
            assert kinds.count(Kind.OUTBOUND) == 8
            anchors = {peer.addr for peer in net.peers() if peer.kind is Kind.ANCHOR}
            assert len({peer.addr.split(".")[0] for peer in net.peers()}) == 10
        assert {str(one) for one in load_anchors(path)} == anchors
        # Nobody learns from an anchor's traffic that we are connected.
        for home in anchors:
            assert not any(isinstance(one, m.GetAddr) for one in street.houses[home].remotes[-1].heard)
        street.dials.clear()
        async with wire(street, **{**settings, "book": book_of([])}) as net:
            await until(lambda: {peer.addr for peer in net.peers()} == anchors, 60)
            assert {peer.kind for peer in net.peers()} == {Kind.ANCHOR}

    run(main)


def test_feelers_go_on_while_all_slots_are_taken_and_do_not_stay() -> None:
    street, homes = town(12)

    async def main() -> None:
        book = new_book()
        for home in homes:
            book.add([m.Address(int(WALL), 1, bp.endpoint(home))], home.encode(), int(WALL))
        async with wire(street, book=book, outbound=2) as net:
            await until(lambda: book.tried == len(homes), 4 * 3_600)
            assert sum(peer.kind is Kind.OUTBOUND for peer in net.peers()) <= 3

    run(main)


# Who serves filters.


FILTERS = int(m.Services.NETWORK | m.Services.WITNESS | m.Services.COMPACT_FILTERS)


def test_two_that_serve_filters_are_among_them_where_the_book_knows_any() -> None:
    street, homes = town(40)
    serving = set(homes[30:34])
    book = new_book()
    for home in homes:
        services = FILTERS if home in serving else 9
        street.houses[home].services = services
        book.add([m.Address(int(WALL), services, bp.endpoint(home))], home.encode(), int(WALL))

    async def main() -> None:
        async with wire(street, book=book, outbound=8) as net:
            await until(lambda: len(net.peers()) == 8, 120)
            assert len({peer.addr for peer in net.peers()} & serving) >= FILTER_PEERS

    run(main)


def test_once_the_book_learns_of_one_that_serves_filters_another_is_left_for_it() -> None:
    street, homes = town(20)
    late, book = homes[15:], book_of(homes[:15])
    for home in late:
        street.houses[home].services = FILTERS

    async def main() -> None:
        async with wire(street, book=book, outbound=8) as net:
            await until(lambda: len(net.peers()) == 8, 120)
            await trio.sleep(4 * TEND_S)
            began = {peer.addr for peer in net.peers()}
            assert len(began) == 8
            for home in late:
                book.add([m.Address(int(WALL), FILTERS, bp.endpoint(home))], home.encode(), int(WALL))  # type: ignore[attr-defined]
            await until(lambda: len({peer.addr for peer in net.peers()} & set(late)) >= FILTER_PEERS, 1_200)
            await trio.sleep(10 * TEND_S)
            now = {peer.addr for peer in net.peers() if peer.kind is Kind.OUTBOUND}
            assert len(now) == 8
            assert len(now & set(late)) == FILTER_PEERS
            assert len(now & began) == 8 - FILTER_PEERS, "nobody was left without need"

    run(main)


def test_addresses_that_only_say_that_they_serve_filters_cost_little() -> None:
    street, homes = town(20)
    book = new_book()
    for home in homes:
        book.add([m.Address(int(WALL), FILTERS, bp.endpoint(home))], home.encode(), int(WALL))

    async def main() -> None:
        async with wire(street, book=book, outbound=8) as net:
            await until(lambda: len(net.peers()) == 8, 120)
            await trio.sleep(86_400)
            assert 8 <= sum(peer.kind is Kind.OUTBOUND for peer in net.peers()) <= 9
            assert sum(street.dials.values()) < 24 * 60, "feelers, and each of the others once"

    run(main)


# Seeds.


def test_dead_seeds_are_asked_ever_more_rarely_and_life_after_them_is_found() -> None:
    street, (home,) = town(1)
    asked: list[float] = []
    answers: list[str] = []

    async def resolve(name: str) -> Sequence[str]:
        asked.append(trio.current_time())
        if not answers:
            raise socket.gaierror("no such name")
        return answers

    async def main() -> None:
        begin = trio.current_time()
        seeds = Seeds(dns=("dead.example", "too.example"), fixed=("9.9.9.9:18444",))
        async with wire(street, outbound=8, seeds=seeds, resolve=resolve) as net:
            await trio.sleep(86_400)
            assert 2 * 24 <= len(asked) <= 2 * 80
            assert street.dials["9.9.9.9:18444"] > 0
            answers.append(home.partition(":")[0])
            await until(net.peers, 2 * 3_600)
        assert begin == asked[0]

    run(main)


def test_a_seed_that_names_thousands_does_not_fill_the_book() -> None:
    async def resolve(name: str) -> Sequence[str]:
        return [f"93.184.{number >> 8}.{number & 255}" for number in range(5_000)]

    async def main() -> None:
        async with wire(bp.Street(), outbound=8, seeds=Seeds(dns=("one.example",)), resolve=resolve) as net:
            await trio.sleep(5)
            assert 0 < net.addresses <= 32

    run(main)


def test_who_has_working_addresses_asks_no_seed() -> None:
    street, homes = town(8)

    async def resolve(name: str) -> Sequence[str]:
        raise AssertionError(name)

    async def main() -> None:
        book = book_of(homes)
        async with wire(street, book=book, outbound=8, seeds=Seeds(dns=("one.example",)), resolve=resolve) as net:
            await trio.sleep(86_400)
            assert len(net.peers()) == 8

    run(main)


def test_behind_a_proxy_a_seed_is_asked_as_a_peer_and_nothing_is_resolved() -> None:
    street, (home,) = town(1)

    async def tells(remote: bp.Remote) -> None:
        await remote.wait_for(m.GetAddr)
        await remote.send(m.Addr((m.Address(int(WALL), 1, bp.endpoint(home)),)))
        await bp.honest(remote)

    street.houses["one.example:18444"] = bp.House(tells)

    async def resolve(name: str) -> Sequence[str]:
        raise AssertionError(name)

    async def main() -> None:
        seeds = Seeds(dns=("one.example",))
        async with wire(street, outbound=8, seeds=seeds, resolve=resolve, proxy=("127.0.0.1", 9)) as net:
            await until(lambda: [peer.addr for peer in net.peers()] == [home], 60)

    run(main)


# Who is left for another.


def test_lag() -> None:
    lag, late = Lag(), lagging.CATCH_UP_S + 1
    assert lag.consider(10, 10, 0) is Step.KEEP
    assert lag.consider(9, 10, 0) is Step.KEEP
    assert lag.consider(9, 12, late - 2) is Step.KEEP
    assert lag.consider(9, 12, late) is Step.ASK
    assert lag.consider(9, 12, late + lagging.ANSWER_S) is Step.KEEP
    assert lag.consider(9, 12, late + lagging.ANSWER_S + 1) is Step.LEAVE
    assert lag.consider(10, 12, late + lagging.ANSWER_S + 2) is Step.KEEP  # it has shown the tip that we had: anew
    assert lag.consider(12, 12, late + lagging.ANSWER_S + 3) is Step.KEEP
    assert lag.deadline is None


def test_peers_that_stay_behind_are_left_one_at_a_time_and_never_all() -> None:
    street, homes = town(8)
    provider = Nothing()
    provider.tip = 100

    async def main() -> None:
        async with wire(street, book=book_of(homes), provider=provider, outbound=8) as net:
            await until(lambda: len(net.peers()) == 8)
            good = net.peers()[0].id
            net.has(good, 100)
            asked: set[str] = set()
            left_at: list[float] = []
            count = 8
            while trio.current_time() < 2_400:
                await trio.sleep(1)
                while (event := net.events.receive_nowait()) is not None:
                    if isinstance(event, Silent):
                        asked.add(event.peer)
                now = {peer.id for peer in net.peers()}
                assert good in now
                assert count - len(now) <= 1
                if len(now) < count:
                    left_at.append(trio.current_time())
                count = len(now)
            assert good not in asked or len(asked) == 8
            assert len(left_at) == 7
            assert min(left_at) >= lagging.CATCH_UP_S
            assert all(later - earlier >= TEND_S - 1 for earlier, later in pairwise(left_at))

    run(main)


def test_a_stale_tip_brings_one_more_peer_and_the_worst_is_left_for_it() -> None:
    street, homes = town(12)
    provider = Nothing()

    async def main() -> None:
        async with wire(street, book=book_of(homes), provider=provider, outbound=8) as net:
            await until(lambda: len(net.peers()) == 8)
            first = {peer.id for peer in net.peers()}
            worst = net.peers()[3].id
            net.has(worst, 0)
            for peer in first - {worst}:
                await trio.sleep(1)
                net.has(peer, 0, news=True)
            assert not net.stale
            await until(lambda: net.stale, 3 * 600 + 2 * TEND_S)
            await until(lambda: len(net.peers()) == 9, 120)
            await until(lambda: len(net.peers()) == 8, 300)
            # Four at most are protected; of the others the one that was silent longest went, one in ten minutes.
            await trio.sleep(300)
            assert len(first & {peer.id for peer in net.peers()}) == 7
            await net.announce(b"")
            assert not net.stale

    run(main)


# Ways out.


def test_targets() -> None:
    assert parse_target("1.2.3.4", 8_333) == Target("1.2.3.4", 8_333, parse_endpoint("1.2.3.4:8333"))
    assert str(parse_target("[2001:db8::1]:18333", 8_333)) == "[2001:db8::1]:18333"
    assert parse_target(ONION, 1).peer == "btc:" + ONION
    assert parse_target("node.example:18333", 1) == Target("node.example", 18_333)
    assert parse_target("localhost", 8_333) == Target("localhost", 8_333)
    for bad in ("1.2.3.4:99999", "node.example:0", "node.example:x", "", "-x.example:1", "short.onion:1", "300.1.1.1"):
        with pytest.raises(NetAddressError):
            parse_target(bad, 8_333)


class Socks:
    """A SOCKS5 proxy on a memory stream or socket; knows one host."""

    def __init__(self, known: str, reply: bytes = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00") -> None:
        self.known = known
        self.reply = reply
        self.logins: list[bytes] = []

    async def serve(self, stream: trio.abc.Stream) -> None:
        async def take(size: int) -> bytes:
            data = b""
            while len(data) < size:
                more = await stream.receive_some(size - len(data))
                if not more:
                    raise trio.BrokenResourceError
                data += bytes(more)
            return data

        try:
            _, count = await take(2)
            methods = await take(count)
            await stream.send_all(b"\x05\x02" if 2 in methods else b"\x05\x00")
            if 2 in methods:
                _, size = await take(2)
                user = await take(size)
                (size,) = await take(1)
                self.logins.append(user + await take(size))
                await stream.send_all(b"\x01\x00")
            head = await take(5)
            host = (await take(head[4])).decode()
            port = int.from_bytes(await take(2), "big")
            if f"{host}:{port}" != self.known:
                await stream.send_all(b"\x05\x04\x00\x01" + bytes(6))
                return
            await stream.send_all(self.reply + b"hello")
            await trio.sleep_forever()
        except trio.BrokenResourceError:
            pass


@pytest.mark.parametrize("isolate", [True, False])
def test_socks5_to_an_onion_address_over_tcp(isolate: bool) -> None:
    proxy = Socks(ONION)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, proxy.serve, [listener])
            dial = SocksDial("127.0.0.1", listener.socket.getsockname()[1], isolate=isolate)
            with trio.fail_after(20):
                for _ in range(2):
                    stream = await dial(parse_target(ONION, 8_333))
                    assert await stream.receive_some(5) == b"hello"  # not a byte of the peer's is eaten
                    await stream.aclose()
                with pytest.raises(DialFailed, match="host unreachable"):
                    await dial(parse_target("nobody.example", 8_333))
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert len(set(proxy.logins)) == (3 if isolate else 0)  # a circuit of its own for each


ANSWERS = [
    b"",
    b"\x05",
    b"\x04\x00",
    b"\x05\xff",
    b"HTTP/1.1 400\r\n",
    b"\x05\x00\x05\x05\x00\x01" + bytes(6),
    b"\x05\x00\x05\x00\x00\x09" + bytes(6),
    b"\x05\x00\x05\x00\x00\x03\xff",
    b"\x05\x02\x01\x01",
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_a_proxy_says_the_dial_fails_cleanly(answer: bytes) -> None:
    async def main() -> None:
        async def liar(stream: trio.SocketStream) -> None:
            await stream.send_all(answer)

        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, liar, [listener])
            with trio.fail_after(20), pytest.raises(DialFailed):
                await SocksDial("127.0.0.1", listener.socket.getsockname()[1])(Target("a.example", 1))
            nursery.cancel_scope.cancel()

    trio.run(main)
