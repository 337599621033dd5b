"""The beacon wire on the real host: secp256k1 identities, TCP, Noise, both multiplexers, gossipsub with altair ids."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2p.beacon.events import BeaconEvent, Gossiped, PeerDown, PeerUp
from p2p.beacon.gossip import beacon_profile
from p2p.beacon.service import BeaconNet, Updates
from p2p.faults import FaultReason, RemoteFault
from p2p.host import open_host
from p2p.port import MPLEX, YAMUX, Host, HostConfig
from p2p.score import ScoreBoard
from tests.support.beacon import DIGEST, NET, NEXT_DIGEST, ListProvider
from tests.support.hosts import PATIENCE


@asynccontextmanager
async def node(
    folder: Path, name: str, provider: ListProvider, static: list[str], muxers: tuple[str, ...] = (YAMUX, MPLEX)
) -> AsyncIterator[tuple[Host, BeaconNet, ScoreBoard]]:
    config = HostConfig(folder / f"{name}.key", key_type="secp256k1", muxers=muxers, gossip=beacon_profile())
    async with open_host(config) as host, trio.open_nursery() as nursery:
        scores = ScoreBoard()
        net = BeaconNet(host, provider, scores, static=static, network=NET)
        await nursery.start(net.run)
        yield host, net, scores
        nursery.cancel_scope.cancel()


async def event(net: BeaconNet, wanted: Callable[[BeaconEvent], bool]) -> BeaconEvent:
    with trio.fail_after(PATIENCE):
        while True:
            found = await net.events.receive()
            if wanted(found):
                return found
    raise AssertionError


@pytest.mark.parametrize("muxers", [(YAMUX, MPLEX), (MPLEX,)], ids=["both", "mplex"])
def test_two_real_hosts_sync_gossip_and_part(tmp_path: Path, muxers: tuple[str, ...]) -> None:
    pa, pb = ListProvider(40), ListProvider(2, seed=2)

    async def main() -> None:
        async with node(tmp_path, "a", pa, [], muxers) as (host_a, a, scores_a):
            async with node(tmp_path, "b", pb, [host_a.addrs[0]]) as (host_b, b, scores_b):
                up = await event(b, lambda e: isinstance(e, PeerUp))
                assert isinstance(up, PeerUp)
                assert (up.peer, up.status) == (host_a.peer_id, pa.status())
                await event(a, lambda e: isinstance(e, PeerUp))
                assert host_b.peer_id.startswith("16Uiu2")
                for start in (100, 132):
                    reply = await b.get_updates(host_a.peer_id, start, 32)
                    assert reply == Updates(tuple(pa.chunks[start - 100 : start - 68]), limited=False)
                assert await b.get_updates(host_a.peer_id, 300, 32) == Updates((), limited=False)
                assert await a.get_bootstrap(host_b.peer_id, bytes(32)) == pb.bootstraps[bytes(32)]
                missing = await b.get_bootstrap(host_a.peer_id, b"\x01" * 32)
                assert isinstance(missing, RemoteFault)
                assert missing.reason is FaultReason.NOT_FOUND
                assert await b.get_finality_update(host_a.peer_id) == pa.finality
                assert pa.finality is not None
                wanted = Gossiped(host_a.peer_id, "finality", DIGEST, pa.finality.ssz)
                with trio.fail_after(PATIENCE):
                    await trio.sleep(1)  # until each has told the other its topics
                    await a.announce()
                assert await event(b, lambda e: isinstance(e, Gossiped) and e.name == "finality") == wanted
                assert not any(scores_a.faults.values())
                assert not any(scores_b.faults.values())
            await event(a, lambda e: isinstance(e, PeerDown))

    trio.run(main)


def test_a_real_host_of_another_network_is_left(tmp_path: Path) -> None:
    other = ListProvider(seed=2)
    other.digest = NEXT_DIGEST

    async def main() -> None:
        async with (
            node(tmp_path, "a", ListProvider(), []) as (host_a, a, _),
            node(tmp_path, "b", other, [host_a.addrs[0]]) as (_, _, scores_b),
        ):
            with trio.fail_after(PATIENCE):
                while not scores_b.faults[FaultReason.WRONG_NETWORK] or a.peers():  # noqa: ASYNC110 - no event for it
                    await trio.sleep(0.02)
            assert len(a.events) == 0

    trio.run(main)
