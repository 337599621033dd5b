"""Whose chain goes through presync when more want to than may at once: nobody honest waits for ever."""

from __future__ import annotations

from collections.abc import Sequence

import trio
import trio.testing
from btc_sync import with_minimum_work
from mine import regtest_chain
from world import open_chain

from p2p.faults import RemoteFault
from spvnode.bitcoin.presync import Doubtful
from spvnode.sync.proving import FULL, NO_STOP, Known
from spvnode.sync.wire import WireSource
from spvnode.sync.wire_proof import MAX_PROVING, MAX_PROVING_INBOUND, REPLY_S, Prover
from spvnode.types import HEADER_SIZE, PREV_HASH, Hash32, Height

CHAIN = regtest_chain(20_000)
PARAMS = with_minimum_work(30_000)
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
