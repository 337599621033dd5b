"""A peer that is late, or has nothing yet, and the only one: it is asked again in good time."""

from __future__ import annotations

import btc_peers as bp
import pytest
import trio
from btc_net import until
from btc_sync import node, one_clock, run, street_of
from mine import regtest_chain

from p2p.bitcoin import messages as m
from spvnode.sync.wire_pump import ASK_S, ASK_SOON_S

__all__ = ["one_clock"]
pytestmark = pytest.mark.usefixtures("one_clock")

LONG = regtest_chain(9_000)


@pytest.mark.parametrize("how", ["late", "empty", "unheard"])
def test_one_that_was_busy_when_we_came_is_asked_again_within_a_minute(how: str) -> None:
    async def busy(remote: bp.Remote) -> None:
        message = await remote.wait_for(m.GetHeaders)
        if how == "late":
            await trio.sleep(ASK_S + 2)
            await remote.answer(message)
        elif how == "empty":
            await remote.send(m.Headers(b""))
        await bp.honest(remote)

    async def main() -> None:
        async with node(street_of(bp.House(busy, chain=LONG, v2=True))) as made:
            await until(lambda: made.height == len(LONG) // 80, ASK_S + ASK_SOON_S + 10)
            assert set(made.faults()) <= {"timeout"}

    run(main)
