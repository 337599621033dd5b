"""What the operator may do to the peers of Bitcoin's own network: add, remove, try, part from, and ban."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import btc_peers as bp
import pytest
import trio
import trio.testing
from btc_net import until, wall, wire
from mine import regtest_chain
from structlog.testing import capture_logs

from p2p.bans import BanList
from p2p.bitcoin.net import BitcoinNet
from p2p.bitcoin.netaddr import NetAddressError
from p2p.dialer import MAX_KEPT, TooManyKept
from p2p.troubles import REMIND_S, Missing

CHAIN = regtest_chain(20)
HOME = "198.51.100.7:18444"
PEER = "btc:" + HOME


def scene(play: Callable[[BitcoinNet, BanList], Awaitable[None]], **settings: object) -> None:
    async def main() -> None:
        street, bans = bp.Street(), BanList()
        street.houses[HOME] = bp.House(bp.honest, chain=CHAIN)
        async with wire(street, bans=bans, **settings) as net:
            await play(net, bans)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def connected(net: BitcoinNet) -> list[str]:
    return [peer.id for peer in net.peers()]


def test_added_tried_parted_from_and_removed() -> None:
    async def play(net: BitcoinNet, bans: BanList) -> None:
        control = net.control
        assert control.takes(HOME)
        assert not control.takes("/ip4/198.51.100.7/tcp/1")
        control.once(HOME)
        await until(lambda: connected(net) == [PEER])
        assert control.disconnect(PEER)
        await until(lambda: connected(net) == [])
        assert not control.disconnect(PEER)
        await trio.sleep(600)
        assert connected(net) == []
        assert control.add("198.51.100.7")  # the network's own port
        assert not control.add(HOME)
        await until(lambda: connected(net) == [PEER])
        assert control.disconnect(HOME)
        await until(lambda: connected(net) == [])
        await until(lambda: connected(net) == [PEER])
        assert control.remove(HOME)
        assert not control.remove(HOME)
        assert control.disconnect(PEER)
        await until(lambda: connected(net) == [])
        await trio.sleep(600)
        assert connected(net) == []
        with pytest.raises(NetAddressError):
            control.add("198.51.100.7:99999")

    scene(play)


def test_a_ban_holds_against_a_configured_peer_and_ends() -> None:
    async def play(net: BitcoinNet, bans: BanList) -> None:
        await until(lambda: connected(net) == [PEER])
        bans.add("198.51.100.0/24", wall(), wall() + 3_600)
        await until(lambda: connected(net) == [])
        await trio.sleep(3_000)
        assert connected(net) == []
        net.control.once(HOME)
        await trio.sleep(60)
        assert connected(net) == []
        await trio.sleep(900)
        assert connected(net) == [PEER]

    scene(play, connect=[HOME])


def test_kept_peers_are_bounded() -> None:
    async def play(net: BitcoinNet, bans: BanList) -> None:
        for i in range(MAX_KEPT):
            assert net.control.add(f"198.51.100.{i}:1")
        with pytest.raises(TooManyKept):
            net.control.add("198.51.100.7:18444")

    scene(play)


def test_a_named_peer_that_is_not_there_is_told_of_and_not_at_each_try() -> None:
    async def main() -> None:
        street = bp.Street()
        with capture_logs() as logs:
            async with wire(street, connect=(HOME,)) as net:
                await trio.sleep(REMIND_S - 600)
                assert street.dials[HOME] > 10
                assert net.control.missing() == [Missing(HOME, f"nobody at {HOME}")]
                warned = [line for line in logs if line["log_level"] == "warning"]
                assert [(line["addr"], line["network"]) for line in warned] == [(HOME, "regtest")]
                await trio.sleep(REMIND_S)
                assert sum(line["log_level"] == "warning" for line in logs) == 2
                street.houses[HOME] = bp.House(bp.honest, chain=CHAIN)
                net.control.once("198.51.100.10")
                await until(lambda: connected(net) == [PEER])
                assert net.control.missing() == []
                assert net.control.disconnect(PEER)
                await until(lambda: [one.addr for one in net.control.missing()] == [HOME])
                assert net.control.remove(HOME)
                assert net.control.missing() == []
        assert not [line for line in logs if line["log_level"] == "warning" and "100.10" in line["addr"]]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_named_peer_that_breaks_off_the_handshake_is_told_of() -> None:
    async def main() -> None:
        street = bp.Street()
        street.houses[HOME] = bp.House(bp.silent, shakes=False)
        with capture_logs() as logs:
            async with wire(street, connect=(HOME,)) as net:
                await until(lambda: net.control.missing() != [Missing(HOME, None)])
                (missing,) = net.control.missing()
                assert missing.problem in ("no handshake in 30 s", "hung up during the handshake")
        assert [line["problem"] for line in logs if line["log_level"] == "warning"] == [missing.problem]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
