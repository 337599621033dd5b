"""What broke other clients of Bitcoin's network in the field, one test each. ``btc_named`` has the list of them, and of
those that are elsewhere."""

from __future__ import annotations

from dataclasses import replace

import btc_peers as bp
import pytest
import trio
from btc_lines import QUICK, Pace, one_order
from btc_named import FIELD, KINDS_OF, functions
from btc_net import until, wall
from btc_sync import node, one_clock, run, street_of, with_minimum_work
from mine import mine_run, regtest_chain
from vectors import unpacked

from p2p.bitcoin import messages as m
from p2p.bitcoin.session import PING_S, PONG_S
from spvnode.bitcoin.params import BITCOIN
from spvnode.following import Outcome
from spvnode.sync.prover import JOIN_BRISK_S, JOIN_SLOW_S
from spvnode.sync.wire_pump import ASK_AGAIN_S
from spvnode.types import Height, Work

__all__ = ["one_clock", "one_order"]
pytestmark = pytest.mark.usefixtures("one_clock", "one_order")

LONG = regtest_chain(9_000)
HONEST = "btc:12.1.1.1:18444"


def tip_of(chain: bytes) -> bytes:
    return bp.hash_of(chain[-80:])


def grown(chain: bytes, count: int, seed: int) -> bytes:
    return chain + mine_run(bp.hash_of(chain[-80:]), int.from_bytes(chain[-12:-8], "little"), count, seed=seed)


def upto(chain: bytes, height: int) -> bytes:
    return chain[: height * 80]


@pytest.mark.parametrize("had", [2_000, 30_239, 30_240, 32_254, 32_255, 32_256])
def test_the_real_chain_is_not_refused_at_its_first_retarget_wherever_we_stood_before(had: int) -> None:
    """Mainnet's difficulty first rose at 32,256, by the time of the header at 30,240. What comes in one piece, and what
    is followed later, must find that same header."""
    chain = unpacked("mainnet_0-32259.bin")[80:]
    street = street_of(bp.House(bp.honest, chain=upto(chain, had)))
    params = replace(BITCOIN, minimum_chain_work=Work(0))

    async def main() -> None:
        async with node(street, params, keep_last=False) as made:
            await until(lambda: made.height == had, 60)
            remote = street.houses["11.1.1.1:18444"].remotes[-1]
            remote.chain = chain
            await remote.send(m.Inv(m.inventory_row(m.InvKind.BLOCK, tip_of(chain))))
            await until(lambda: made.tip == tip_of(chain), 60)
            assert made.faults() == {}

    run(main)
    assert chain[32_254 * 80 :][72:76] != chain[32_255 * 80 :][72:76], "there it is"


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5, 6, 7])
def test_the_only_peer_is_not_left_when_it_reorganizes_in_the_middle_of_the_sync(after: int) -> None:
    """4,200 blocks are replaced after any of its answers; it is the only peer, and not spared for that."""
    other = grown(upto(LONG, 4_800), 4_300, seed=5)
    street = street_of(bp.House(bp.switching(LONG, other, after), chain=LONG, v2=True))

    async def main() -> None:
        async with node(street, keep_last=False) as made:
            await until(lambda: made.tip == tip_of(other), 2 * ASK_AGAIN_S + 60)  # it does not announce it
            await trio.sleep(600)
            assert (made.faults(), sum(street.dials.values())) == ({}, 1)
            assert made.net.peers()[0].score == 0

    run(main)


@pytest.mark.parametrize("depth", [4_200, 8_150, 8_999, 30_000, 69_999])
@pytest.mark.parametrize("by", ["headers", "nothing"])
def test_a_reorganization_of_any_depth_is_followed(depth: int, by: str) -> None:
    """A locator's places are thousands of blocks apart so far down: the whole of an answer may be ours."""
    chain = regtest_chain(max(9_000, depth + 1))
    other = grown(upto(chain, len(chain) // 80 - depth), depth + 1, seed=5)
    street = street_of(bp.House(bp.honest, chain=chain, v2=True))

    async def main() -> None:
        async with node(street, keep_last=False) as made:
            await until(lambda: made.tip == tip_of(chain), 60)
            await trio.sleep(5)
            remote = street.houses["11.1.1.1:18444"].remotes[-1]
            remote.chain = other
            if by == "headers":
                await remote.send(m.Headers(other[-8 * 80 :]))
            await until(lambda: made.tip == tip_of(other), 60 if by == "headers" else ASK_AGAIN_S + 60)
            asked = sum(isinstance(message, m.GetHeaders) for message in remote.heard)
            assert asked <= 5 * len(chain) // (2_000 * 80) + 20
            assert (made.faults(), sum(street.dials.values())) == ({}, 1)

    run(main)


@pytest.mark.parametrize("had", [1_000, 2_000, 4_500])
def test_a_deep_reorganization_that_was_broken_off_is_taken_up_again(had: int) -> None:
    """We stopped, or the only peer that had it left, when the beginning of the branch was a side branch of ours."""
    other = grown(upto(LONG, 4_000), 5_001, seed=5)
    street = street_of(bp.House(bp.honest, chain=other, v2=True))

    async def main() -> None:
        async with node(street, connect=[]) as made:
            for start in range(0, 9_000, 2_000):
                await made.driver.import_items(LONG[start * 80 : (start + 2_000) * 80])
            for start in range(4_000, 4_000 + had, 500):
                verdict = await made.driver.import_items(other[start * 80 : (start + 500) * 80])
                assert verdict.outcome is Outcome.FORK
            assert made.tip == tip_of(LONG)
            made.net.control.add("11.1.1.1:18444")
            await until(lambda: made.tip == tip_of(other), 60)
            assert made.faults() == {}

    run(main)


def test_an_inv_that_is_lost_does_not_leave_us_deaf() -> None:
    """Nothing tells of five new blocks: the same connection does, asked in good time, and nobody is left for it."""
    street = street_of(bp.House(bp.honest, chain=LONG, v2=True))

    async def main() -> None:
        async with node(street) as made:
            await until(lambda: made.tip == tip_of(LONG), 60)
            await trio.sleep(5)
            remote = street.houses["11.1.1.1:18444"].remotes[-1]
            remote.chain = longer = grown(LONG, 5, seed=1)
            await until(lambda: made.tip == tip_of(longer), ASK_AGAIN_S + 5)
            assert (made.faults(), sum(street.dials.values())) == ({}, 1)

    run(main)


@pytest.mark.parametrize("behaviour", [bp.silent, bp.deaf, bp.unsynced], ids=["mute", "deaf", "answers-pings"])
def test_a_peer_that_stays_connected_and_sends_nothing_holds_nothing_up(behaviour: bp.Behaviour) -> None:
    """It was there first and claims most. One that answers pings may be syncing itself, and stays; the others go."""
    street = street_of(bp.House(behaviour, claims=20_000, v2=True), bp.House(bp.honest, chain=LONG))

    async def main() -> None:
        async with node(street) as made:
            await until(lambda: made.tip == tip_of(LONG), 60)
            remote = street.houses["12.1.1.1:18444"].remotes[-1]
            remote.chain = longer = grown(LONG, 1, seed=1)
            await remote.send(m.Headers(longer[-80:]))
            await until(lambda: made.tip == tip_of(longer), 2)
            await trio.sleep(PING_S + PONG_S + 60)
            there = {peer.id for peer in made.net.peers()}
            first = street.houses["11.1.1.1:18444"].remotes
            stays = len(first) == 1 and "btc:11.1.1.1:18444" in there
            assert stays == (behaviour is bp.unsynced)
            assert HONEST in there
            assert not made.scores.score(HONEST, wall())

    run(main)


def test_presync_ends_although_the_peer_s_chain_never_stands_still() -> None:
    """Its tip is another one with every question: what was shown in the first pass has changed by the second."""

    async def restless(remote: bp.Remote) -> None:
        asked = 0
        while True:
            message = await remote.receive()
            if isinstance(message, m.GetHeaders):
                asked += 1
                remote.chain = grown(upto(LONG, 8_900), asked, seed=asked)
            await remote.answer(message)

    street = street_of(bp.House(restless, chain=LONG))

    async def main() -> None:
        async with node(street, with_minimum_work(4_500), keep_last=False) as made:
            await until(lambda: made.height >= 8_900, 60)
            assert made.faults() == {}

    run(main)


def test_a_presync_that_fails_each_time_ends_with_its_peer() -> None:
    """Enough work is shown in the first pass, never in the second: that is not tried for ever."""
    forged = regtest_chain(4_400, seed=9)

    async def fickle(remote: bp.Remote) -> None:
        asked = 0
        while True:
            message = await remote.receive()
            if isinstance(message, m.GetHeaders):
                asked += 1
                remote.chain = LONG if asked % 6 < 4 else forged
            await remote.answer(message)

    street = street_of(bp.House(fickle, chain=LONG, claims=9_000))

    async def main() -> None:
        async with node(street, with_minimum_work(8_000), keep_last=False) as made:
            await until(lambda: made.scores.discouraged(wall()), 900)
            assert made.faults()["unlinked"] >= 2
            assert LONG.startswith(made.headers.headers(Height(1), 9_000))

    run(main)


@pytest.mark.parametrize(("round_trip", "turn"), [(1.0, JOIN_BRISK_S), (1.5, JOIN_SLOW_S)], ids=["brisk", "slow"])
def test_a_chain_without_end_does_not_keep_an_honest_one_waiting(round_trip: float, turn: float) -> None:
    """Two thousand headers more as long as anybody asks, above 1,000 a second or below; an honest peer has its turn."""
    honest = regtest_chain(80_000)

    async def endless(remote: bp.Remote) -> None:
        remote.chain = regtest_chain(2_000, seed=3)
        while True:
            message = await remote.receive()
            if isinstance(message, m.GetHeaders) and tip_of(remote.chain) == message.locator[0]:
                remote.chain = grown(remote.chain, 2_000, seed=3)
            await remote.answer(message)

    async def later(remote: bp.Remote) -> None:
        await trio.sleep(7)
        await bp.honest(remote)

    liar = bp.House(endless, claims=10**6, pace=Pace(round_trip, 200e3))
    street = street_of(liar, bp.House(later, chain=honest, pace=QUICK))

    async def main() -> None:
        async with node(street, with_minimum_work(78_000)) as made:
            await until(lambda: made.pump.prover.proves("btc:11.1.1.1:18444"), 10)
            await until(lambda: made.tip == tip_of(honest), turn + 10)
            assert len(liar.remotes[-1].chain) >= 3 * bp.FULL * 80, "it was first, and has had its turn"
            assert made.faults() == {}

    run(main)


def test_only_the_kinds_that_honest_nodes_show_are_free_of_charge() -> None:
    """Of what the table of liars calls no fault, each is also what an honest node may do, or costs us nothing."""
    from btc_kinds import KINDS  # noqa: PLC0415 - 100,000 headers, for those who need them

    free = {name for name, kind in KINDS.items() if not kind.reasons}
    assert free == {"dripping headers", "another genesis", "addr flood", "self-connection"}
    assert set(KINDS_OF.values()) <= set(KINDS)


@pytest.mark.parametrize("name", [name for tests in FIELD.values() for name in tests])
def test_the_list_names_tests_that_are_there(name: str) -> None:
    path, _, function = name.partition("::")
    assert function in functions(path)
