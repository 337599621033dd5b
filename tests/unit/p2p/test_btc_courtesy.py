"""What an honest peer of Bitcoin's network must not suffer from others, and what we must not tell anybody."""

from __future__ import annotations

import random
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import btc_peers as bp
import pytest
import trio
import trio.testing
from btc_net import WALL, until, wire

from p2p.bitcoin import messages as m
from p2p.bitcoin.addrman import AddrMan
from p2p.bitcoin.anchors import load_anchors, save_anchors
from p2p.bitcoin.dialing import Target, TcpDial, parse_target, target_of
from p2p.bitcoin.netaddr import NetAddressError, parse_endpoint
from p2p.bitcoin.session import BYTES_BURST
from p2p.faults import FaultReason, RemoteFault
from p2p.port import DialFailed
from p2p.saving import SELDOM_S, Saver
from p2p.score import ScoreBoard

HOME = "198.51.100.7:18444"
PEER = "btc:" + HOME
ONION = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion:8333"
BLOCKS = [bytes([i]) * 80 + b"\x01" + bytes(100) for i in (1, 2)]


def run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_two_blocks_asked_of_one_peer_at_once_both_arrive() -> None:
    """The end of the first question must not have the second's answer thrown away."""
    street, left = bp.Street(), list(BLOCKS)

    async def serving(remote: bp.Remote) -> None:
        while True:
            message = await remote.receive()
            if isinstance(message, m.GetData):
                await trio.sleep(1)
                await remote.send(m.Block(left.pop(0)))
            await remote.answer(message)

    street.houses[HOME] = bp.House(serving)
    found: list[bytes | RemoteFault | None] = []

    def take(message: m.Message) -> bytes | None:
        return message.raw if isinstance(message, m.Block) else None

    async def main() -> None:
        async with wire(street, connect=[HOME]) as net:
            await until(net.peers)

            async def ask() -> None:
                row = m.inventory_row(m.InvKind.WITNESS_BLOCK, bytes(32))
                found.append(await net.ask(PEER, m.GetData(row), take, large=True))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                nursery.start_soon(ask)

    run(main)
    assert found == BLOCKS


@pytest.mark.parametrize("v2", [False, True])
def test_blocks_that_come_after_we_gave_up_are_not_a_flood(v2: bool) -> None:
    """Another peer was asked beside it, and was faster: it does its work all the same."""
    street, scores, sent = bp.Street(), ScoreBoard(), list[int]()
    raw = BLOCKS[0] + bytes(3_000_000)

    async def serving(remote: bp.Remote) -> None:
        while True:
            message = await remote.receive()
            if isinstance(message, m.GetData):
                await trio.sleep(5)
                await remote.send(m.Block(raw))
                sent.append(len(raw))
            await remote.answer(message)

    street.houses[HOME] = bp.House(serving, v2=v2)

    async def main() -> None:
        async with wire(street, connect=[HOME], scores=scores) as net:
            await until(net.peers)
            for number in range(8):
                with trio.move_on_after(4):
                    row = m.inventory_row(m.InvKind.WITNESS_BLOCK, bytes(32))
                    await net.ask(
                        PEER, m.GetData(row), lambda message: isinstance(message, m.Block) or None, large=True
                    )
                await until(lambda had=number: len(sent) > had, 30)  # type: ignore[misc]
                await trio.sleep(1)
            (peer,) = net.peers()
            assert peer.score == 0
            await street.houses[HOME].remotes[-1].send(m.Block(raw), m.Ping(1))  # this one nobody has asked for
            await trio.sleep(1)
            link = net._roster.peers[PEER].session.link
            assert (link.transport.large, link.transport.buffered) == (False, 0)

    run(main)
    assert sum(sent) > 2 * BYTES_BURST
    assert not any(scores.faults.values())


def test_who_answers_many_small_questions_does_not_flood_us() -> None:
    """A wallet that reads filter after filter from a node next door."""
    street, scores = bp.Street(), ScoreBoard()

    async def serving(remote: bp.Remote) -> None:
        while True:
            message = await remote.receive()
            if isinstance(message, m.GetCFilters):
                await remote.send(m.CFilter(0, message.stop_hash, bytes(20)))
            await remote.answer(message)

    street.houses[HOME] = bp.House(serving)

    async def main() -> None:
        async with wire(street, connect=[HOME], scores=scores) as net:
            await until(net.peers)
            for height in range(12_000):  # in no time at all: as many as the burst would never cover
                reply = await net.ask(PEER, m.GetCFilters(0, height, bytes(32)), _filter)
                assert reply == bytes(20)

    run(main)
    assert not any(scores.faults.values())


def _filter(message: m.Message) -> bytes | None:
    return message.filter if isinstance(message, m.CFilter) else None


@pytest.mark.parametrize("configured", [True, False])
def test_a_configured_peer_does_not_answer_for_who_dials_us_from_its_host(configured: bool) -> None:
    """Behind an onion service or NAT every stranger has the address of our own machine, where our own node is too."""
    street, scores = bp.Street(), ScoreBoard()
    street.houses[HOME] = bp.House(bp.honest)
    fault = RemoteFault(FaultReason.BAD_FRAME, PEER.rpartition(":")[0], "nonsense", "regtest")
    assert scores.report(fault, WALL, connected=1).until > WALL

    async def main() -> None:
        async with wire(street, scores=scores, connect=[HOME] if configured else []) as net:
            await trio.sleep(30)
            assert [peer.id for peer in net.peers()] == ([PEER] if configured else [])
            assert net._unwelcome(PEER) is not configured

    run(main)


def test_a_dial_that_breaks_does_not_end_the_wire() -> None:
    class Broken(bp.Street):
        async def __call__(self, target: Target) -> trio.abc.Stream:
            if str(target) == HOME:
                raise RuntimeError("a bug in what dials")
            return await super().__call__(target)

    other = "198.51.101.7:18444"
    street = Broken()
    street.houses[other] = bp.House(bp.honest)

    async def main() -> None:
        async with wire(street, connect=[HOME, other]) as net:
            await until(net.peers)
            assert [peer.addr for peer in net.peers()] == [other]

    run(main)


def test_a_book_that_gossip_always_changes_is_written_seldom(tmp_path: Path) -> None:
    path, written = tmp_path / "book.json", 0
    book = AddrMan(path, rng=random.Random(1))

    async def offload(job: Callable[[], None]) -> None:
        nonlocal written
        job()
        written += 1

    async def main() -> None:
        saver = Saver((), offload, seldom=(book,))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(saver.run)
            for number in range(3_600):
                await trio.sleep(1)
                told = m.Address(int(WALL), 1, parse_endpoint(f"11.{number // 200}.{number % 200}.1:8333"))
                book.add([told], b"\x01\x08\x08", int(WALL))
                saver.changed()
            nursery.cancel_scope.cancel()
        assert written <= 3_600 / SELDOM_S + 1
        await saver.save()

    run(main)
    assert len(AddrMan(path, rng=random.Random(2))) == len(book) > 100


def test_without_a_proxy_no_name_server_hears_of_an_onion_address(tmp_path: Path) -> None:
    """Of an anchor, say, that was found behind a proxy which is not used any more."""
    path = tmp_path / "anchors.json"
    save_anchors(path, [parse_endpoint(ONION)])
    (anchor,) = load_anchors(path)

    class Spy(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host: object, *rest: object, **more: object) -> list[object]:  # type: ignore[override]
            pytest.fail(f"{host!r} was looked up")

        async def getnameinfo(self, *rest: object) -> tuple[str, str]:
            raise NotImplementedError

    for text in (ONION.upper(), ONION.replace(".onion", ".onion.")):  # written otherwise it is no name for DNS either
        with pytest.raises(NetAddressError):
            parse_target(text, 8_333)

    async def main() -> None:
        trio.socket.set_custom_hostname_resolver(Spy())
        with pytest.raises(DialFailed, match="only a proxy"):
            await TcpDial()(target_of(anchor))

    run(main)


def test_our_v2_key_is_short_enough_for_a_v1_node_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """bcoin does not hang up on a wrong magic: it counts one for each 24 bytes, and bans an address at the tenth."""
    monkeypatch.setattr(secrets, "randbelow", lambda bound: bound - 1)  # of all lengths the greatest
    street, counted = bp.Street(), list[int]()

    async def counting(remote: bp.Remote) -> None:
        size = 0
        with trio.move_on_after(1):
            while data := await remote.stream.receive_some():
                size += len(data)
        counted.append(size // 24)

    street.houses[HOME] = bp.House(counting, shakes=False)

    async def main() -> None:
        async with wire(street, connect=[HOME]):
            await until(lambda: counted)
        assert 64 // 24 < counted[0] < 10

    run(main)
