"""Blocks on demand: whatever peers do, the block that comes out is the header's, and in time."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from functools import cache

import pytest
import trio
from blocks import In, MadeChain, Tx, key, make_block, signature
from demand_peers import NETWORK, Ledger, Peer, Peers, refuse
from trio.testing import MockClock

from p2p.faults import FaultReason, RemoteFault
from spvnode.bitcoin.block import BlockFault
from spvnode.errors import WANT_BLOCK_PEERS, Unavailable
from spvnode.sync.blocks import (
    ASK_SECONDS,
    FAULTS,
    FETCH_SECONDS,
    HEDGE_SECONDS,
    MAX_ASKED,
    MAX_AT_ONCE,
    BlockFetcher,
    Fetched,
    Unfetched,
)
from spvnode.sync.ondemand import OnDemand
from spvnode.types import Hash32, Height

WITNESSED = Tx((In(b"\x11" * 32, 0, b"", (signature(1), key(1))),), (b"\x51",))
LATE = 1.0
"""Seconds of a simulated clock that a run may be over its bound: none of it is spent."""


@cache
def ledger() -> Ledger:
    made = MadeChain()
    made.extend()
    made.extend([WITNESSED])
    return Ledger(made)


def send(raw: bytes) -> Callable[[str, Hash32], Awaitable[bytes | RemoteFault]]:
    async def give(peer: str, block_hash: Hash32) -> bytes | RemoteFault:
        return raw

    return give


async def deny(peer: str, block_hash: Hash32) -> bytes | RemoteFault:
    return refuse(peer)


def simulated() -> MockClock:
    """A clock that jumps where nothing but time is waited for; a worker thread that parses is not seen by it, so it
    waits half a second for one before each jump."""
    return MockClock(autojump_threshold=0.5)


def fetch(peers: Peers, clock: MockClock | None = None) -> tuple[Fetched | Unfetched, float]:
    """What comes, and after how many simulated seconds; without a clock that jumps, time stands still."""

    async def main() -> tuple[Fetched | Unfetched, float]:
        begun = trio.current_time()
        reply = await BlockFetcher(peers, NETWORK).fetch(ledger().header(Height(2)))
        return reply, trio.current_time() - begun

    return trio.run(main, clock=clock or MockClock())


def block_2() -> bytes:
    return ledger().raw[2]


LIES = {
    "another block": (ledger().raw[1], FaultReason.PROTOCOL),
    "cut": (block_2()[:-1], FaultReason.BAD_FRAME),
    "empty": (b"", FaultReason.PROTOCOL),
    "a header alone": (block_2()[:80], FaultReason.BAD_FRAME),
    "too big": (block_2() + bytes(4_000_000), FaultReason.OVERSIZED),
    "another witness": (block_2().replace(signature(1), signature(2)), FaultReason.BAD_BLOCK),
    "another transaction": (block_2().replace(b"\x11" * 32, b"\x12" * 32), FaultReason.BAD_BLOCK),
}


def test_the_first_peer_gives_it() -> None:
    peers = Peers({"a": Peer(ledger()), "b": Peer(ledger())})
    reply, seconds = fetch(peers)
    assert isinstance(reply, Fetched)
    assert (reply.raw, reply.peer, reply.block.hash) == (ledger().raw[2], "a", ledger().hashes[2])
    assert (peers.asked, peers.faults, seconds) == ([("a", "block")], [], 0)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_told_and_the_next_peer_asked(lie: str) -> None:
    raw, reason = LIES[lie]
    peers = Peers({"liar": Peer(ledger(), block=send(raw)), "honest": Peer(ledger())})
    reply, seconds = fetch(peers)
    assert isinstance(reply, Fetched)
    assert reply.peer == "honest"
    assert (peers.reasons, seconds) == ({"liar": reason}, 0)
    assert all(fault.network == NETWORK for fault in peers.faults)


def test_every_fault_of_a_block_has_a_reason_for_its_sender() -> None:
    assert set(FAULTS) <= set(BlockFault)
    assert FaultReason.BAD_BLOCK not in FAULTS.values()  # what is left is that


def test_a_silent_peer_costs_the_hedge_and_no_more() -> None:
    peers = Peers({"silent": Peer(ledger(), silent=frozenset({"block"})), "honest": Peer(ledger())})
    reply, seconds = fetch(peers, simulated())
    assert isinstance(reply, Fetched)
    assert reply.peer == "honest"
    assert HEDGE_SECONDS <= seconds < HEDGE_SECONDS + LATE
    assert peers.faults == []  # it may yet have answered


def test_a_slow_peer_is_not_left_for_its_being_slow() -> None:
    """Both are asked, and the first that is done wins."""
    peers = Peers({"slow": Peer(ledger(), delay=6), "slower": Peer(ledger(), delay=15)})
    reply, seconds = fetch(peers, simulated())
    assert isinstance(reply, Fetched)
    assert reply.peer == "slow"
    assert 6 <= seconds < 6 + LATE


def test_one_honest_among_many_hostile_is_found() -> None:
    hostile = {f"liar {name}": Peer(ledger(), block=send(raw)) for name, (raw, _) in list(LIES.items())[:3]}
    hostile["silent"] = Peer(ledger(), silent=frozenset({"block"}))
    hostile["denies"] = Peer(ledger(), block=deny)
    assert len(hostile) == MAX_ASKED - 1
    for seed in range(5):
        order = [*hostile.items(), ("honest", Peer(ledger()))]
        random.Random(seed).shuffle(order)
        reply, seconds = fetch(Peers(dict(order)), simulated())
        assert isinstance(reply, Fetched)
        assert reply.peer == "honest"
        assert seconds < HEDGE_SECONDS + LATE


def test_nobody_has_it() -> None:
    peers = Peers({name: Peer(ledger(), block=deny) for name in "abcdefghij"})
    reply, seconds = fetch(peers)
    assert isinstance(reply, Unfetched)
    assert len(peers.asked) == len(reply.faults) == MAX_ASKED
    assert seconds == 0
    assert str(reply).startswith("asked in vain: a (not-found), b (not-found)")


def test_no_peers() -> None:
    reply, _ = fetch(Peers({}))
    told = "no peer that serves it is connected now, or none answered in time: "
    assert str(reply) == told + WANT_BLOCK_PEERS


def test_silence_of_all_ends() -> None:
    peers = Peers({name: Peer(ledger(), silent=frozenset({"block"})) for name in "abcdefgh"})
    reply, seconds = fetch(peers, simulated())
    assert isinstance(reply, Unfetched)
    assert 2 * ASK_SECONDS <= seconds <= FETCH_SECONDS + LATE
    assert set(peers.reasons.values()) == {FaultReason.TIMEOUT}
    assert peers.most_open == 2


def test_few_blocks_are_fetched_at_once() -> None:
    peers = Peers({"a": Peer(ledger(), delay=1)})
    replies: list[Fetched | Unfetched] = []

    async def main() -> None:
        fetcher = BlockFetcher(peers, NETWORK)

        async def one() -> None:
            replies.append(await fetcher.fetch(ledger().header(Height(1))))

        async with trio.open_nursery() as nursery:
            for _ in range(3 * MAX_AT_ONCE):
                nursery.start_soon(one)

    trio.run(main, clock=simulated())
    assert len(replies) == 3 * MAX_AT_ONCE
    assert all(isinstance(reply, Fetched) for reply in replies)
    assert peers.most_open == MAX_AT_ONCE


def test_by_its_hash() -> None:
    """The door that the node opens to its RPC."""

    async def main() -> None:
        door = OnDemand(Peers({"a": Peer(ledger())}), ledger(), NETWORK)
        assert await door.block(ledger().hashes[2]) == ledger().raw[2]
        with pytest.raises(Unavailable, match="not a block of this chain"):
            await door.block(Hash32(bytes(32)))
        with pytest.raises(Unavailable, match="not on the main chain"):
            await door.filter(Hash32(bytes(32)))
        none = OnDemand(Peers({}), ledger(), NETWORK)
        for question in (none.block, none.filter):
            with pytest.raises(Unavailable, match="no peer that serves it"):
                await question(ledger().hashes[2])
        found = await door.filter(ledger().hashes[2])
        assert (found.filter, found.vouched_by) == (ledger().filters[2], ("a",))

    trio.run(main)


def test_a_block_on_a_side_branch_is_fetched_too() -> None:
    rival = make_block(2, [], prev_hash=ledger().hashes[1])

    class Forked(Ledger):
        def side_header(self, block_hash: Hash32) -> tuple[Height, bytes] | None:
            return Height(2), rival[:80]

    async def main() -> None:
        door = OnDemand(Peers({"a": Peer(ledger(), block=send(rival))}), Forked(MadeChain()), NETWORK)
        assert await door.block(Hash32(b"\x01" * 32)) == rival

    trio.run(main)
