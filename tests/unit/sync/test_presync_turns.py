"""Whose chain goes through presync when more want to than may at once: nobody honest waits for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import trio
import trio.testing
from btc_peers import places_of
from btc_sync import with_minimum_work
from mine import regtest_chain
from world import NOW, open_chain

from p2p.faults import FaultReason, RemoteFault
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.first_look import Doubtful
from spvnode.bitcoin.params import ChainParams
from spvnode.sync.prover import MAX_PROVING, MAX_PROVING_INBOUND, PIECE, REPLY_S, Prover
from spvnode.sync.proving import FULL, NO_STOP, Known
from spvnode.sync.supply import MAX_SUPPLIES, MAX_SUPPLY, Supply
from spvnode.sync.wire import WireSource
from spvnode.types import HEADER_SIZE, PREV_HASH, Hash32, Height

CHAIN = regtest_chain(20_000)
PARAMS = with_minimum_work(30_000)
PROVEN = with_minimum_work(19_999)
"""For which the chain is enough."""
PLACES = {CHAIN[at:][PREV_HASH]: at for at in range(0, len(CHAIN), FULL)}


class Source(WireSource):
    """Everybody has the one long chain of too little work, and all but ``honest`` give it as slowly as they may."""

    def __init__(self) -> None:
        chain = open_chain(PARAMS).headers
        super().__init__(PARAMS, lambda: None, lambda: chain)
        self.first_asked: dict[str, float] = {}

    async def ask(self, peer: str, locator: Sequence[Hash32], stop: Hash32 = NO_STOP) -> bytes | RemoteFault:
        self.first_asked.setdefault(peer, trio.current_time())
        await trio.sleep(0.1 if peer == "honest" else 0.99 * REPLY_S)
        at = PLACES[locator[0]]
        return CHAIN[at : at + FULL]


async def nothing(known: Known, height: Height) -> None:
    pass


def test_slow_peers_do_not_hold_all_turns() -> None:
    """More than enough strangers to take every turn, and all of them in line first."""
    most_inbound = 0

    async def main() -> float:
        nonlocal most_inbound
        source = Source()
        prover = Prover(source, proven=nothing)
        doubt = source.look(CHAIN[:FULL])
        assert isinstance(doubt, Doubtful)
        assert doubt.headers[:HEADER_SIZE] == CHAIN[:HEADER_SIZE]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(prover.run)
            for number in range(2 * MAX_PROVING):
                prover.wanted(Known(f"stranger {number}", 0, 0, inbound=True), doubt)
            await trio.sleep(1)
            for number in range(7):
                prover.wanted(Known(f"chosen {number}", 0, 0), doubt)
            prover.wanted(Known("honest", 0, 0), doubt)
            while "honest" not in source.first_asked:
                await trio.sleep(1)
                most_inbound = max(most_inbound, sum(prover.proves(f"stranger {n}") for n in range(2 * MAX_PROVING)))
            nursery.cancel_scope.cancel()
        return source.first_asked["honest"]

    # Less than a slow one's single pass.
    assert trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)) < 9 * REPLY_S
    assert most_inbound <= MAX_PROVING_INBOUND


class Crowd(Source):
    """All that are up have the same long chain, which is long enough, and give it at once."""

    def __init__(self, params: ChainParams = PROVEN, chain: bytes = CHAIN) -> None:
        super().__init__()
        self.params = params
        self.had = open_chain(params).headers
        self.faults: list[RemoteFault] = []
        self._theirs = chain

    @property
    def chain(self) -> HeaderChain:
        return self.had

    async def ask(self, peer: str, locator: Sequence[Hash32], stop: Hash32 = NO_STOP) -> bytes | RemoteFault:
        await trio.sleep(0.1)
        at = places_of(self._theirs)[locator[0]] * HEADER_SIZE
        return self._theirs[at : at + FULL]

    async def report(self, fault: RemoteFault) -> None:
        self.faults.append(fault)


def stored(headers: bytes) -> HeaderChain:
    """A node that has these."""
    chain = open_chain(PROVEN)
    verdict = chain.plan(headers, NOW)
    chain.write(verdict, now=NOW, sync=False)
    chain.apply(verdict)
    return chain.headers


def test_all_that_are_proven_at_once_hold_no_more_together_than_some_of_them_may() -> None:
    """None of them waits for ever: whichever is asked gives all that it has."""

    async def fetched(source: Crowd, known: Known) -> bytes:
        got, locator = bytearray(), cast(object, None)
        while known.supply is not None:
            items = await source.from_supply(known, known.supply, locator, 8_064)
            if items is None:
                break
            got += items.items
            locator = items.place
        return bytes(got)

    async def main() -> None:
        source, most = Crowd(), 0
        prover = Prover(source, proven=nothing)
        doubt = source.look(CHAIN[:FULL])
        assert isinstance(doubt, Doubtful)
        for number in range(MAX_PROVING):
            source.peers[f"chosen {number}"] = Known(f"chosen {number}", 0, 0)

        async def measure() -> None:
            nonlocal most
            while True:
                most = max(most, source.nbytes)
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(prover.run)
            nursery.start_soon(measure)
            for known in source.peers.values():
                prover.wanted(known, doubt)
            while not all(known.supply for known in source.peers.values()):  # noqa: ASYNC110 - of another's state
                await trio.sleep(10)
            await trio.sleep(600)
            held = source.nbytes + prover.nbytes
            assert MAX_SUPPLIES <= source.nbytes <= most <= MAX_SUPPLIES + MAX_PROVING * PIECE * HEADER_SIZE
            assert held <= most + MAX_PROVING * 800_000
            for known in source.peers.values():
                with trio.fail_after(600):
                    assert await fetched(source, known) == CHAIN
            assert source.nbytes == 0
            assert most <= MAX_SUPPLIES + (MAX_SUPPLY + MAX_PROVING * PIECE) * HEADER_SIZE
            nursery.cancel_scope.cancel()
        assert source.faults == []

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_what_others_have_brought_meanwhile_is_not_kept() -> None:
    async def main() -> None:
        source = Crowd()
        prover, known = Prover(source, proven=nothing), Known("chosen", 0, 0)
        source.peers["chosen"] = known
        known.supply = Supply(Height(1))
        known.supply.put(CHAIN[: 80 * 100])
        known.supply.finish(whole=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(prover.run)
            await trio.sleep(60)
            assert known.supply is not None
            source.had = stored(CHAIN[: 80 * 100])
            await trio.sleep(10)
            assert known.supply is None
            assert known.again.is_set()
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_presync_that_our_clock_refuses_costs_its_peer_little_and_is_not_begun_again_soon() -> None:
    """The clock stands a minute after the chain's beginning: an honest node's headers are more than it allows."""

    async def main() -> None:
        source = Crowd(with_minimum_work(10**6), regtest_chain(50_000))
        began = int.from_bytes(source.params.genesis_header[68:72], "little")
        prover, known = Prover(source, proven=nothing, clock=lambda: began + 60.0), Known("chosen", 0, 0)
        source.peers["chosen"] = known
        doubt = source.look(CHAIN[:FULL])
        assert isinstance(doubt, Doubtful)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(prover.run)
            for _ in range(20):
                prover.wanted(known, doubt)
                await trio.sleep(60)
            nursery.cancel_scope.cancel()
        assert [fault.reason for fault in source.faults] == [FaultReason.TIME_TOO_NEW]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_chain_that_contradicts_a_checkpoint_is_counted() -> None:
    """By this the follower tells the operator that peers have another block at the one that he named."""

    async def main() -> Crowd:
        source = Crowd(PROVEN.holding(Height(3_000), Hash32(b"\xab" * 32)))
        prover = Prover(source, proven=nothing)
        doubt = source.look(CHAIN[:FULL])
        assert isinstance(doubt, Doubtful)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(prover.run)
            prover.wanted(Known("a", 0, 0), doubt)
            await trio.sleep(REPLY_S)
            nursery.cancel_scope.cancel()
        return source

    source = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert source.contradictions == 1
    assert source.faults == [], "it may be the operator who is wrong"
