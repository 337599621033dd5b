"""What it wins to tell lies about addresses that serve filters: the places that are kept for those, and no other."""

from __future__ import annotations

import random

import btc_peers as bp
import pytest
import trio
import trio.testing
from btc_net import WALL, new_book, until, wire

from p2p.bitcoin import messages as m
from p2p.bitcoin.addrman import AddrMan
from p2p.bitcoin.net import BitcoinNet
from p2p.bitcoin.peer import Kind
from p2p.bitcoin.peers import FILTER_PEERS, OUTBOUND, TEND_S

FULL = int(m.Services.NETWORK | m.Services.WITNESS)
FILTERS = FULL | int(m.Services.COMPACT_FILTERS)
SEEDS = range(6)
LIARS = [f"{101 + number}.1.1.1:18444" for number in range(40)]


def town(homes: int) -> tuple[bp.Street, list[str], AddrMan]:
    """Honest houses in groups of their own, that are in the book, and the liars', which are not yet."""
    street, book = bp.Street(), new_book()
    honest = [f"{11 + number}.1.1.1:18444" for number in range(homes)]
    for home in [*honest, *LIARS]:
        street.houses[home] = bp.House(bp.honest, v2=True)
    tell(book, honest, FULL)
    return street, honest, book


def tell(book: AddrMan, homes: list[str], services: int) -> None:
    for home in homes:
        book.add([m.Address(int(WALL), services, bp.endpoint(home))], home.encode(), int(WALL))


def liars_of(net: BitcoinNet) -> int:
    return sum(peer.addr in LIARS for peer in net.peers() if peer.kind in (Kind.OUTBOUND, Kind.ANCHOR))


def most_liars(seed: int, street: bp.Street, book: AddrMan, *, late: bool) -> int:
    """The most places that liars have in half an hour, before which or in the middle of which they fill the book."""
    most = 0

    async def main() -> None:
        nonlocal most
        async with wire(street, book=book, outbound=OUTBOUND, anchors=2, rng=random.Random(seed)) as net:
            await until(lambda: len(net.peers()) >= OUTBOUND + 2, 600)
            if late:
                tell(book, LIARS, FILTERS)
            while trio.current_time() < 1_800:
                await trio.sleep(5)
                most = max(most, liars_of(net))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return most


@pytest.mark.parametrize("seed", SEEDS)
def test_a_book_that_fills_with_lies_later_takes_no_more_than_their_places(seed: int) -> None:
    """Nobody whom we know for long is left for liars one after the other."""
    street, _, book = town(40)
    assert most_liars(seed, street, book, late=True) <= FILTER_PEERS + 2  # drawn blindly in place of those


def test_lies_in_the_book_do_not_win_more_than_other_addresses_but_for_their_places() -> None:
    won = {}
    for services in (FULL, FILTERS):
        won[services] = 0
        for seed in SEEDS:
            street, _, book = town(40)
            tell(book, LIARS[:10], services)
            won[services] += most_liars(seed, street, book, late=False)
    assert won[FILTERS] <= won[FULL] + (FILTER_PEERS + 1) * len(SEEDS)


def test_one_that_breaks_the_promise_makes_room_for_one_that_may_keep_it() -> None:
    """Two addresses that told lies, or whose owners have changed their minds, do not keep us from filters."""
    street, honest, book = town(20)
    tell(book, LIARS[:2], FILTERS)

    async def main() -> None:
        async with wire(street, book=book, outbound=OUTBOUND) as net:
            await until(lambda: len(net.peers()) == OUTBOUND, 120)
            assert liars_of(net) == 2
            late = [f"{61 + number}.1.1.1:18444" for number in range(2)]
            for home in late:
                street.houses[home] = bp.House(bp.honest, v2=True, services=FILTERS)
            before = {peer.addr for peer in net.peers()} & set(honest)
            tell(book, late, FILTERS)
            await until(lambda: {peer.addr for peer in net.peers()} >= set(late), 6 * TEND_S)
            await trio.sleep(10 * TEND_S)
            assert before <= {peer.addr for peer in net.peers()}, "nobody else was left for it"

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
