"""Small messages that end a stock py-libp2p process, sent to a real host in its own process.

Each is shown twice: with the fences that stand in its way left out, the process dies; with all of them up, it goes on
serving an honest peer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio
from raw_peer import RawPeer, gossip, public_key, varint
from victim import VictimProcess, echoes, observer, victim

RAISE = "/test/raise/1"
TOPIC = "/test/topic/1"
GOSSIP = "/meshsub/1.1.0"
NOTICED = 5.0
"""Seconds that a process is given to die of what it was sent; a stock one takes a few milliseconds."""

Attack = Callable[[RawPeer], Awaitable[None]]


async def protocol_id_is_no_utf8(peer: RawPeer) -> None:
    await peer.open(b"\xff\xfe\xfd")


async def gossip_is_no_protobuf(peer: RawPeer) -> None:
    await peer.open(GOSSIP, varint(4) + b"\xff\xff\xff\xff")


async def handler_raises(peer: RawPeer) -> None:
    await peer.open(RAISE)


async def _publish(peer: RawPeer, **fields: bytes) -> None:
    await peer.open(GOSSIP, gossip(publish=[{"topicIDs": [TOPIC], **fields}]))


async def validator_raises(peer: RawPeer) -> None:
    await _publish(peer, data=b"boom")


AUTHOR = b"\x12\x20" + bytes(32)
"""A SHA-256 multihash: no key can be taken from the id itself."""


async def signed_with_garbage_rsa_key(peer: RawPeer) -> None:
    key = public_key("RSA", b"garbage")
    await _publish(peer, data=b"x", from_id=AUTHOR, seqno=b"1", signature=b"s", key=key)


async def signed_with_garbage_ed25519_key(peer: RawPeer) -> None:
    key = public_key("Ed25519", b"short")
    await _publish(peer, data=b"x", from_id=AUTHOR, seqno=b"2", signature=b"s", key=key)


KILLS: dict[Attack, tuple[str, ...]] = {
    protocol_id_is_no_utf8: ("negotiation", "stream-firewall", "task-firewall"),
    gossip_is_no_protobuf: ("guarded-gossip", "stream-firewall", "task-firewall"),
    handler_raises: ("stream-firewall", "task-firewall"),
    validator_raises: ("guarded-gossip", "task-firewall"),
    signed_with_garbage_rsa_key: ("no-authors", "guarded-gossip", "task-firewall"),
    signed_with_garbage_ed25519_key: ("no-authors", "guarded-gossip", "task-firewall"),
}
"""Attack: the fences that stop it. Each one alone does, so all of them must be left out to see it succeed."""


async def _attack(attack: Attack, target: VictimProcess) -> None:
    async with RawPeer(target.addr) as peer:
        await attack(peer)
        await target.dies(NOTICED)


@pytest.mark.parametrize("attack", KILLS, ids=lambda attack: attack.__name__)
def test_kills_without_its_fences(attack: Attack) -> None:
    with victim(without=KILLS[attack]) as target:
        trio.run(_attack, attack, target)
        assert not target.alive()


@pytest.fixture(scope="module")
def fenced() -> Iterator[VictimProcess]:
    with victim() as target:
        yield target


@pytest.mark.parametrize("attack", KILLS, ids=lambda attack: attack.__name__)
def test_is_survived(attack: Attack, fenced: VictimProcess) -> None:
    async def main() -> None:
        async with observer() as host, RawPeer(fenced.addr) as peer:
            honest = await host.connect(fenced.addr)
            await attack(peer)
            assert await peer.settled()
            assert await echoes(host, honest)

    trio.run(main)
    assert fenced.alive()


@pytest.mark.parametrize("alone", sorted({fence for fences in KILLS.values() for fence in fences}))
def test_each_fence_alone_is_enough_for_one_of_them(alone: str) -> None:
    attack, fences = next((attack, fences) for attack, fences in KILLS.items() if alone in fences)
    with victim(without=[fence for fence in fences if fence != alone]) as target:

        async def main() -> None:
            async with observer() as host:
                async with RawPeer(target.addr) as peer:
                    await attack(peer)
                    await peer.settled()  # the connection may be the price
                assert await echoes(host, await host.connect(target.addr))

        trio.run(main)
        assert target.alive()
