"""Bans: what can be banned, whom a ban meets, and that it holds against peers that are connected, dialed or
configured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from mesh import ListChain, Node, node, simulate, wall

from p2p.bans import MAX_BAN_S, MAX_BANS, BanError, BanList, TooManyBans, canonical
from p2p.dialer import MAX_KEPT, TooManyKept
from p2p.memory import MemoryNetwork, address_of, peer_id_of

PEER = "12D3KooWPHprL8EPRZefMrxminyzMoCMRX6SVQLT2z5fA8gPCsom"
NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("subject", "addr", "met"),
    [
        ("192.0.2.7", "/ip4/192.0.2.7/tcp/8343", True),
        ("192.0.2.7", "192.0.2.7:8333", True),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "/ip4/192.0.2.8/tcp/8343", False),
        ("192.0.2.0/24", "/ip4/192.0.2.200/tcp/1", True),
        ("192.0.2.9/24", "192.0.2.200:1", True),
        ("2001:db8::/32", "/ip6/2001:db8::5/tcp/1", True),
        ("2001:db8::/32", "[2001:db8::5]:8333", True),
        ("192.0.2.7", "[::ffff:192.0.2.7]:8333", True),
        ("2001:db8::/32", "/ip6/2001:db9::5/tcp/1", False),
        ("192.0.2.7", "/dns4/example.org/tcp/1", False),
        (PEER, "/dns4/example.org/tcp/1", True),
    ],
)
def test_whom_a_ban_meets(subject: str, addr: str, met: bool) -> None:
    bans = BanList()
    assert bans.add(subject, NOW, NOW + 60)
    assert (bans.until(PEER, addr, NOW + 59) == NOW + 60) is met
    assert bans.until(PEER, addr, NOW + 60) is None


@pytest.mark.parametrize("subject", ["", "nobody", "192.0.2.256", "192.0.2.0/33", "0OIl" * 12, "a" * 5000])
def test_what_cannot_be_banned(subject: str) -> None:
    with pytest.raises(BanError):
        BanList().add(subject, NOW, NOW + 60)
    with pytest.raises(BanError):
        canonical(subject)


def test_one_thing_is_banned_once_under_one_name() -> None:
    bans = BanList()
    assert bans.add("192.0.2.9/24", NOW, NOW + 60)
    assert not bans.add("192.0.2.0/24", NOW, NOW + 90)
    assert [(ban.subject, ban.until) for ban in bans.entries(NOW)] == [("192.0.2.0/24", NOW + 60)]
    assert bans.remove("192.0.2.0/24")
    assert not bans.remove("192.0.2.0/24")
    assert bans.add("192.0.2.0/24", NOW, NOW + 60)
    assert bans.add("192.0.2.0/24", NOW + 61, NOW + 120)  # the first one has ended
    for until in (NOW, NOW - 1, NOW + 2 * MAX_BAN_S):
        with pytest.raises(BanError):
            bans.add("192.0.2.1", NOW, until)


def test_the_list_is_bounded_and_ended_bans_make_room() -> None:
    bans = BanList()
    for i in range(MAX_BANS):
        bans.add(f"10.0.{i // 256}.{i % 256}", NOW, NOW + 60)
    with pytest.raises(TooManyBans):
        bans.add("192.0.2.1", NOW, NOW + 60)
    assert bans.add("192.0.2.1", NOW + 60, NOW + 120)


def test_bans_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "bans.json"
    bans = BanList(path)
    bans.add("192.0.2.0/24", NOW, NOW + 60)
    bans.add(PEER, NOW, NOW + 60)
    job = bans.unsaved()
    assert job is not None
    job()
    assert bans.unsaved() is None
    again = BanList(path)
    assert again.entries(NOW) == bans.entries(NOW)
    assert again.until("x", "192.0.2.3:1", NOW) == NOW + 60
    again.clear()
    assert again.unsaved() is not None
    path.write_text('{"version": 1, "bans": [{"subject": "junk", "since": 1, "until": 9e12}]}')
    assert BanList(path).entries(NOW) == []


def test_a_connected_peer_is_parted_from_and_not_let_in_while_banned() -> None:
    async def main() -> None:
        network, bans = MemoryNetwork(), BanList()
        chain = ListChain(5)
        async with (
            node(network, "a", {"bitcoin": chain}, bans=bans) as ours,
            node(network, "b", {"bitcoin": chain}, static=[address_of("a")]),
        ):
            await until(lambda: connected(ours) == [peer_id_of("b")])
            assert bans.add(peer_id_of("b"), wall(), wall() + 3_600)
            await until(lambda: connected(ours) == [])
            await trio.sleep(1_800)  # it dials again and again
            assert connected(ours) == []
            await trio.sleep(2_400)
            assert connected(ours) == [peer_id_of("b")]

    simulate(main)


def test_a_configured_peer_is_not_dialed_while_banned_and_at_once_when_let_in() -> None:
    async def main() -> None:
        network, bans = MemoryNetwork(), BanList()
        bans.add(peer_id_of("b"), wall(), wall() + 86_400)
        chain = ListChain(5)
        async with (
            node(network, "b", {"bitcoin": chain}),
            node(network, "a", {"bitcoin": chain}, static=[address_of("b")], bans=bans) as ours,
        ):
            await trio.sleep(3_600)
            assert connected(ours) == []
            bans.clear()
            await trio.sleep(1)
            assert connected(ours) == [peer_id_of("b")]

    simulate(main)


def test_the_operator_adds_tries_and_removes_peers() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        chain = ListChain(5)
        async with (
            node(network, "b", {"bitcoin": chain}) as other,
            node(network, "a", {"bitcoin": chain}, target_outbound=0) as ours,
        ):
            control, address = ours.mesh.control, address_of("b")
            assert control.takes(address)
            assert not control.takes("192.0.2.7:8333")
            control.once(address)
            await until(lambda: connected(ours) == [peer_id_of("b")])
            assert ours.mesh.peers()[0].static is False
            assert control.disconnect(peer_id_of("b"))
            await until(lambda: connected(ours) == [])
            assert not control.disconnect(peer_id_of("b"))
            await trio.sleep(60)
            assert connected(ours) == []
            assert control.add(address)
            assert not control.add(address)
            await until(lambda: connected(ours) == [peer_id_of("b")])
            assert ours.mesh.peers()[0].static is True
            assert control.disconnect(ours.mesh.peers()[0].addr)
            await until(lambda: connected(ours) == [])
            await until(lambda: connected(ours) == [peer_id_of("b")])  # kept: dialed again
            assert control.remove(address)
            assert not control.remove(address)
            assert connected(ours) == [peer_id_of("b")]  # the connection stays as long as it does
            assert other.mesh.control.disconnect(peer_id_of("a"))
            await until(lambda: connected(ours) == [])
            await trio.sleep(600)
            assert connected(ours) == []

    simulate(main)


def test_kept_peers_are_bounded() -> None:
    async def main() -> None:
        async with node(MemoryNetwork(), "a", {"bitcoin": ListChain(1)}) as ours:
            for i in range(MAX_KEPT):
                assert ours.mesh.control.add(address_of(f"peer {i}"))
            with pytest.raises(TooManyKept):
                ours.mesh.control.add(address_of("one more"))
            assert ours.mesh.control.remove(address_of("peer 0"))
            assert ours.mesh.control.add(address_of("one more"))

    simulate(main)


def connected(ours: Node) -> list[str]:
    return [peer.id for peer in ours.mesh.peers()]


async def until(holds: Callable[[], bool], seconds: float = 600.0) -> None:
    with trio.fail_after(seconds):
        while not holds():  # noqa: ASYNC110  simulated time
            await trio.sleep(0.5)
