"""Following a chain over Bitcoin's wire, among honest peers and liars of every kind."""

from __future__ import annotations

from dataclasses import replace

import btc_peers as bp
import pytest
import trio
from btc_net import until
from btc_sync import Node, node, one_clock, run, street_of, with_minimum_work
from mine import mine_run, regtest_chain

from p2p.bitcoin import messages as m
from p2p.faults import FaultReason
from spvnode.bitcoin.params import REGTEST
from spvnode.sync import events as ev
from spvnode.sync.prover import MAX_PROVING
from spvnode.sync.wire import MAX_UNCONNECTING
from spvnode.sync.wire_pump import MAX_VAIN
from spvnode.types import Height

__all__ = ["one_clock"]
pytestmark = pytest.mark.usefixtures("one_clock")

LONG = regtest_chain(9_000)
CHAIN = LONG[: 5_000 * 80]
OTHER = regtest_chain(5_200, seed=7)
"""From genesis on another chain, with more work."""


def tip_of(chain: bytes) -> bytes:
    return bp.hash_of(chain[-80:])


def time_of(header: bytes) -> int:
    return int.from_bytes(header[68:72], "little")


def fork(chain: bytes, depth: int, count: int, seed: int = 5) -> bytes:
    """``chain`` with its last ``depth`` headers replaced by ``count`` others."""
    kept = chain[: len(chain) - depth * 80]
    return kept + mine_run(bp.hash_of(kept[-80:]), time_of(kept[-80:]), count, seed=seed)


async def synced(made: Node, chain: bytes, seconds: float = 600.0) -> None:
    await until(lambda: made.tip == tip_of(chain), seconds)


# Honest peers.


@pytest.mark.parametrize("behaviour", [bp.honest, bp.like_bcoin], ids=["core", "bcoin"])
@pytest.mark.parametrize("count", [1, 1_999, 2_000, 2_001, 4_000, 9_000])
def test_a_chain_of_any_length_is_fetched_without_a_fault(behaviour: bp.Behaviour, count: int) -> None:
    chain = LONG[: count * 80]

    async def main() -> None:
        async with node(street_of(bp.House(behaviour, chain=chain))) as made:
            await synced(made, chain, 10)
            await trio.sleep(3_600)
            assert made.faults() == {}
            assert made.net.peers()[0].height == count

    run(main)


def grow(street: bp.Street, chain: bytes) -> list[bp.Remote]:
    """All peers of ``street`` have this chain now."""
    remotes = [house.remotes[-1] for house in street.houses.values()]
    for remote in remotes:
        remote.chain = chain
    return remotes


@pytest.mark.parametrize("by", ["headers", "inv", "last-only", "nothing"])
def test_new_blocks_are_followed_however_they_are_announced(by: str) -> None:
    """``last-only``: announcements before it were lost, so it connects to nothing of ours. ``nothing``: all were."""
    street = street_of(bp.House(bp.honest, chain=CHAIN))

    async def main() -> None:
        async with node(street) as made:
            await synced(made, CHAIN)
            await trio.sleep(5)
            longer = LONG[: 5_003 * 80]
            (remote,) = grow(street, longer)
            match by:
                case "headers":
                    await remote.send(m.Headers(longer[-3 * 80 :]))
                case "inv":
                    await remote.send(m.Inv(m.inventory_row(m.InvKind.BLOCK, tip_of(longer))))
                case "last-only":
                    await remote.send(m.Headers(longer[-80:]))
                case _:
                    pass
            await synced(made, longer, 2 if by != "nothing" else 700)
            assert made.faults() == {}

    run(main)


@pytest.mark.parametrize("depth", [1, 20, 1_000, 3_000])
@pytest.mark.parametrize("by", ["headers", "inv"])
def test_a_reorganization_is_followed_and_nobody_is_at_fault(depth: int, by: str) -> None:
    street = street_of(bp.House(bp.honest, chain=CHAIN))
    other = fork(CHAIN, depth, depth + 1)

    async def main() -> None:
        async with node(street) as made:
            await synced(made, CHAIN)
            (remote,) = grow(street, other)
            news: m.Spoken = m.Headers(other[-8 * 80 :])
            if by == "inv":
                news = m.Inv(m.inventory_row(m.InvKind.BLOCK, tip_of(other)))
            await remote.send(news)
            await synced(made, other, 30)
            assert made.faults() == {}
            assert made.height == 5_001

    run(main)


def test_what_is_committed_is_announced_and_served() -> None:
    """A reorganization, too: by its newest headers."""
    street = street_of(bp.House(bp.honest, chain=CHAIN), bp.House(bp.honest, chain=CHAIN))

    async def main() -> None:
        async with node(street) as made:
            await synced(made, CHAIN)
            first, second = grow(street, CHAIN)
            await second.send(m.SendHeaders())
            await trio.sleep(5)
            first.chain = longer = LONG[: 5_002 * 80]
            await first.send(m.Headers(longer[-160:]))
            await until(lambda: m.Headers(longer[-160:]) in second.heard, 5)
            locator = (tip_of(CHAIN),)
            assert made.net._provider.headers_after(locator, bytes(32), 2_000) == longer[-160:]
            assert made.net._provider.headers_after(locator, bp.hash_of(longer[-160:-80]), 2_000) == longer[-160:-80]
            assert made.net._provider.headers_after((), tip_of(longer), 2_000) == longer[-80:]

    run(main)


# Liars, with one honest peer beside seven of them: it always wins.

LIARS: dict[str, bp.House] = {
    "silent": bp.House(bp.silent, claims=9_999),
    "deaf": bp.House(bp.deaf, claims=9_999),
    "dripping_bytes": bp.House(bp.dripping_bytes, chain=OTHER, claims=9_999),
    "dripping_headers": bp.House(bp.dripping_headers, chain=CHAIN),
    "unsynced": bp.House(bp.unsynced, claims=9_999),
    "slow": bp.House(bp.slow, chain=CHAIN, claims=9_999),
    "garbage": bp.House(bp.garbage, claims=9_999),
    "oversized": bp.House(bp.oversized, claims=9_999),
    "truncated": bp.House(bp.truncated, chain=CHAIN, claims=9_999),
    "false_checksum": bp.House(bp.false_checksum, chain=CHAIN, claims=9_999),
    "fake_invs": bp.House(bp.fake_invs, claims=9_999),
    "unconnected": bp.House(bp.announcing(mine_run(b"\x55" * 32, 1_700_000_000, 3)), claims=9_999),
    "addr_flood": bp.House(bp.addr_flood, claims=9_999),
    "leaving": bp.House(bp.leaving, claims=9_999),
    "versions": bp.House(bp.versions, claims=9_999),
    "equivocating": bp.House(bp.equivocating(OTHER[: 3_000 * 80], CHAIN[: 4_000 * 80], OTHER[: 100 * 80])),
}


@pytest.mark.parametrize("liar", LIARS)
def test_one_honest_peer_among_eight_always_wins(liar: str) -> None:
    house = LIARS[liar]
    crowd = [bp.House(house.behaviour, chain=house.chain, claims=house.claims) for _ in range(7)]
    if liar == "equivocating":
        crowd = [bp.House(bp.equivocating(OTHER[: n * 80], CHAIN[: n * 90]), chain=b"") for n in range(100, 800, 100)]

    async def main() -> None:
        async with node(street_of(*crowd, bp.House(bp.honest, chain=CHAIN))) as made:
            await synced(made, CHAIN, 120)
            await trio.sleep(600)
            assert made.tip == tip_of(CHAIN)
            honest = "btc:18.1.1.1:18444"
            assert any(peer.id == honest and peer.score < 100 for peer in made.net.peers())

    run(main)


def test_fake_invs_and_unconnected_headers_are_asked_about_and_then_a_fault() -> None:
    async def main(house: bp.House, reason: FaultReason, asks: int) -> None:
        street = street_of(house)
        async with node(street) as made:
            await until(lambda: made.scores.faults[reason], 60)
            heard = [one for one in house.remotes[-1].heard if isinstance(one, m.GetHeaders)]
            assert asks <= len(heard) <= asks + 2
            assert made.height == 0
            assert not any(isinstance(event, ev.Pushed) for event in made.posted)

    unconnected = bp.announcing(mine_run(b"\x55" * 32, 1_700_000_000, 3), pause=2)
    run(lambda: main(bp.House(bp.fake_invs), FaultReason.FALSE_CLAIM, MAX_VAIN))
    run(lambda: main(bp.House(unconnected), FaultReason.FALSE_CLAIM, MAX_VAIN))


def test_a_chain_from_another_genesis_is_tolerated_within_a_bound() -> None:
    stranger = bp.House(bp.honest, chain=mine_run(b"\x66" * 32, 1_700_000_000, 2_500))

    async def main() -> None:
        async with node(street_of(stranger)) as made:
            for _ in range(MAX_UNCONNECTING):
                known = made.source.peers.get("btc:11.1.1.1:18444")
                if known is not None:
                    known.again.set()
                await trio.sleep(5)
            assert made.faults() == {"unlinked": 1}
            assert made.height == 0

    run(main)


def test_invalid_proof_of_work_is_the_sender_s_fault() -> None:
    bad = bytearray(CHAIN)
    at = 3_210 * 80
    while bp.hash_of(bytes(bad[at : at + 80]))[31] < 0x80:
        bad[at + 76] = (bad[at + 76] + 1) % 256

    async def main() -> None:
        async with node(street_of(bp.House(bp.honest, chain=bytes(bad)))) as made:
            await until(lambda: made.scores.faults[FaultReason.INVALID_HEADER], 60)
            assert made.height <= 3_210

    run(main)


# Low work: nothing of it is ever stored.


@pytest.mark.parametrize("length", [500, 2_000, 4_100])
def test_a_chain_of_too_little_work_is_left_and_nothing_of_it_reaches_the_machine(length: int) -> None:
    params = with_minimum_work(4_500)
    crowd = [bp.House(bp.honest, chain=regtest_chain(length, seed=n)) for n in range(8)]

    async def main() -> None:
        async with node(street_of(*crowd), params) as made:
            await trio.sleep(300)
            assert made.height == 0
            assert not any(isinstance(event, ev.Pushed) for event in made.posted)
            assert made.pump.prover.low_work == (8 if length >= 2_000 else 0)
            assert {peer.score for peer in made.net.peers()} == {0.0}  # a node that is itself syncing has such a chain

    run(main)


@pytest.mark.parametrize("liars", [0, 7])
def test_presync_and_the_second_pass_bring_the_chain_in(liars: int) -> None:
    params = with_minimum_work(4_500)
    crowd = [bp.House(bp.honest, chain=regtest_chain(2_500, seed=n)) for n in range(liars)]

    async def main() -> None:
        async with node(street_of(*crowd, bp.House(bp.honest, chain=LONG)), params) as made:
            await synced(made, LONG, 60)
            assert made.faults() == {}

    run(main)


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5, 6])
def test_a_switch_between_the_passes_stores_nothing_of_the_forged_chain(after: int) -> None:
    """The forger shows enough work once, then another chain; an honest peer comes later."""
    params = with_minimum_work(4_500)
    forged = regtest_chain(4_400, seed=9)

    async def main() -> None:
        street = street_of(bp.House(bp.switching(LONG, forged, after), chain=LONG, claims=9_000))
        async with node(street, params) as made:
            await trio.sleep(120)
            assert LONG.startswith(made.headers.headers(Height(1), 9_000))
            if after <= 5:  # it was found out; with 6 both passes were over
                assert made.scores.faults[FaultReason.UNLINKED] >= 1

    run(main)


def test_after_a_failed_second_pass_nothing_more_of_that_chain_is_taken() -> None:
    """The forger goes on with headers of low work behind those that the second pass had released already."""
    params = with_minimum_work(6_500)
    params = replace(params, presync=replace(params.presync, commitment_period=50, redownload_buffer=1_000))
    forged = fork(LONG[: 4_000 * 80], 0, 2_400)
    house = bp.House(bp.switching(LONG, forged, 6), chain=LONG, claims=9_000)

    async def main() -> None:
        async with node(street_of(house), params) as made:
            await until(lambda: made.scores.faults[FaultReason.UNLINKED], 60)
            await trio.sleep(60)
            stored = made.headers.headers(Height(1), 9_000)
            assert 0 < len(stored) < len(LONG)
            assert LONG.startswith(stored)

    run(main)


@pytest.mark.parametrize("length", [900, 2_300])
def test_a_chain_that_turns_low_work_between_look_and_fetch_is_not_stored(length: int) -> None:
    """The first answer shows enough; the fetch that follows gets another chain."""
    forged = regtest_chain(length, seed=9)
    house = bp.House(bp.switching(LONG, forged, 1), chain=LONG, claims=9_000)

    async def main() -> None:
        async with node(street_of(house), with_minimum_work(1_900 if length < 1_900 else 2_400)) as made:
            await trio.sleep(60)
            assert any(isinstance(event, ev.PeerTip) for event in made.posted) == (length < 1_900)
            assert LONG.startswith(made.headers.headers(Height(1), 9_000))

    run(main)


def test_a_flood_of_low_work_by_eight_peers_is_a_fault_of_the_mildest_kind() -> None:
    flood = regtest_chain(30_000, seed=3)
    params = with_minimum_work(1_000_000)
    crowd = [bp.House(bp.honest, chain=flood, claims=2_000_000) for _ in range(8)]

    async def main() -> None:
        async with node(street_of(*crowd), params) as made:
            most = 0
            while made.pump.prover.low_work < 8:
                await trio.sleep(0.01)
                most = max(most, made.pump.prover.running)
            await trio.sleep(1)
            assert most <= MAX_PROVING
            assert made.faults() == {"low-work": 8}
            assert made.height == 0
            assert not any(isinstance(event, ev.Pushed) for event in made.posted)

    run(main)


def test_peers_on_another_branch_are_reported() -> None:
    """Half an hour apart; nobody is at fault for it."""
    branch = fork(CHAIN, 10, 9)
    street = street_of(bp.House(bp.honest, chain=CHAIN), bp.House(bp.honest, chain=branch))

    async def main() -> None:
        async with node(street) as made:
            await synced(made, CHAIN)
            await trio.sleep(1_800)
            (one,) = made.source.tips.disagreements(trio.current_time())
            assert (one.peer, one.height, one.hash) == ("btc:12.1.1.1:18444", 4_999, tip_of(branch))
            assert one.seconds >= 600
            assert made.faults() == {}

    run(main)


def test_the_network_stops_and_starts_again() -> None:
    house = bp.House(bp.honest, chain=CHAIN)
    street = street_of(house)

    async def main() -> None:
        async with node(street) as made:
            await synced(made, CHAIN)
            (remote,) = grow(street, CHAIN)
            street.houses.clear()
            await trio.aclose_forcefully(remote.stream)
            await until(lambda: not made.net.peers())
            await trio.sleep(3_600)
            house.chain = LONG[: 5_100 * 80]
            street.houses["11.1.1.1:18444"] = house
            await synced(made, house.chain, 200)

    run(main)


def test_genesis_is_the_one_of_the_parameters() -> None:
    assert bp.hash_of(bp.GENESIS) == REGTEST.genesis_hash


# Merits.


@pytest.mark.parametrize("by", ["headers", "inv"])
def test_who_was_first_to_tell_of_a_block_has_earned_it_and_who_repeats_it_has_not(by: str) -> None:
    """It is what spares a peer when another makes room."""
    longer = fork(LONG, 0, 1)
    street = street_of(*(bp.House(bp.honest, chain=LONG) for _ in range(3)))

    async def main() -> None:
        async with node(street) as made:
            await synced(made, LONG)
            await trio.sleep(30)
            assert {made.net._merits(peer.id).news_at for peer in made.net.peers()} == {None}
            inv = m.Inv(m.inventory_row(m.InvKind.BLOCK, tip_of(longer)))
            for number in (12, 11, 13):
                remote = street.houses[f"{number}.1.1.1:18444"].remotes[-1]
                remote.chain = longer
                await remote.send(m.Headers(longer[-80:]) if by == "headers" else inv)
                await trio.sleep(5)
            assert made.tip == tip_of(longer)
            earned = {peer.addr for peer in made.net.peers() if made.net._merits(peer.id).news_at is not None}
            assert earned == {"12.1.1.1:18444"}

    run(main)
