"""The small parts of the wire's source: supplies, the ledger of tips; and what the follower shows of its wire."""

from __future__ import annotations

import btc_peers as bp
import pytest
import trio
import trio.testing
from btc_net import until
from mine import regtest_chain
from world import NOW, open_chain

from p2p.bitcoin.net import BitcoinNet
from p2p.faults import FaultReason, RemoteFault
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.params import REGTEST, ChainParams
from spvnode.bitcoin.stored import StoredChain
from spvnode.errors import InputError
from spvnode.follow.bitcoin_wire import BitcoinWire
from spvnode.following import Outcome
from spvnode.sync import events as ev
from spvnode.sync.driver import Driver
from spvnode.sync.source import Items
from spvnode.sync.supply import MAX_SUPPLIES, MAX_SUPPLY, Shelf, Supply
from spvnode.sync.tips import APART_S, TipLedger
from spvnode.sync.wire import WireSource
from spvnode.types import Hash32, Height

CHAIN = regtest_chain(2_500)


def clocked(main: object) -> None:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))  # type: ignore[arg-type]


# Supplies.


def test_a_supply_keeps_what_was_not_acknowledged() -> None:
    async def main() -> None:
        supply = Supply(Height(10))
        supply.put(CHAIN[: 100 * 80])
        assert await supply.take(40, 0) == CHAIN[: 40 * 80]
        assert await supply.take(40, 0) == CHAIN[: 40 * 80]
        assert supply.acknowledge(Height(49))
        assert (supply.start, supply.end) == (50, 110)
        assert await supply.take(40, 0) == CHAIN[40 * 80 : 80 * 80]
        assert not supply.acknowledge(Height(48))
        assert not supply.acknowledge(Height(110))
        assert supply.acknowledge(Height(49))

    clocked(main)


def test_a_supply_waits_for_more_but_not_for_ever_and_not_after_the_end() -> None:
    async def main() -> None:
        supply = Supply(Height(1))
        supply.put(CHAIN[:80])
        before = trio.current_time()
        assert await supply.take(2, 4) == CHAIN[:80]
        assert trio.current_time() - before == 4
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supply.take, 2, 1_000)
            await trio.sleep(1)
            supply.put(CHAIN[80:160])
        assert trio.current_time() - before == 5
        supply.finish(whole=True)
        supply.finish(whole=False)
        assert supply.whole
        assert await supply.take(100, 1_000) == CHAIN[:160]
        assert trio.current_time() - before == 5

    clocked(main)


def test_a_full_supply_says_so() -> None:
    async def main() -> None:
        supply = Supply(Height(1))
        supply.put(bytes(80 * MAX_SUPPLY))
        assert not await supply.room(5)
        assert supply.acknowledge(Height(1))
        assert await supply.room(5)

    clocked(main)


def test_a_crowded_shelf_stops_all_but_what_is_waited_for() -> None:
    async def main() -> None:
        supplies: list[Supply] = []
        shelf = Shelf(lambda: sum(one.nbytes for one in supplies))
        supplies += [Supply(Height(1), shelf) for _ in range(5)]
        for one in supplies[:4]:
            one.put(bytes(80 * MAX_SUPPLY))
        assert sum(one.nbytes for one in supplies) == MAX_SUPPLIES
        last = supplies[4]
        assert not await last.room(5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(last.take, 10, 100)
            assert await last.room(5)
            last.put(bytes(80 * 10))
        assert not await last.room(5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(last.room, 1_000)
            await trio.sleep(1)
            assert supplies[0].acknowledge(Height(100))
        assert trio.current_time() == 11, "who waits for a place hears of it at once"

    clocked(main)


# Tips.


def test_disagreements_last_and_end() -> None:
    ours = {Height(5): Hash32(b"a" * 32), Height(6): Hash32(b"b" * 32)}
    ledger = TipLedger(ours.get)
    ledger.note("liar", Height(5), Hash32(b"x" * 32), 0)
    ledger.note("honest", Height(5), Hash32(b"a" * 32), 0)
    ledger.note("ahead", Height(9), Hash32(b"n" * 32), 0)
    assert ledger.disagreements(APART_S - 1) == []
    ledger.note("liar", Height(6), Hash32(b"y" * 32), APART_S - 1)  # its branch goes on
    (one,) = ledger.disagreements(APART_S)
    assert (one.peer, one.height, one.seconds) == ("liar", 6, APART_S)
    assert ledger.agreeing() == [("honest", 5)]
    ours[Height(6)] = Hash32(b"y" * 32)  # we came over to it
    assert ledger.disagreements(APART_S + 1) == []
    ledger.drop("liar")
    ledger.drop("nobody")
    assert ledger.agreeing() == [("honest", 5)]


# The follower's side.


class Owner:
    """A follower without a store of its own."""

    def __init__(self, chain: StoredChain | None) -> None:
        self.params: ChainParams = REGTEST
        self.chain = chain
        self.driver: Driver | None = None

    @property
    def headers(self) -> HeaderChain | None:
        return self.chain.headers if self.chain is not None else None

    async def post(self, event: ev.Event) -> None:
        if self.driver is not None:
            await self.driver.post(event)


def full() -> StoredChain:
    chain = open_chain()
    verdict = chain.plan(CHAIN, NOW)
    assert verdict.outcome is Outcome.EXTENDS
    chain.write(verdict, now=NOW, sync=False)
    chain.apply(verdict)
    return chain


def test_one_node_follows_another_over_tcp() -> None:
    """Ours to ours, real sockets. Nothing of a node's own that serves headers only is a full node, so it is dialed."""
    server, client = Owner(full()), Owner(open_chain())

    async def main() -> None:
        serving = BitcoinWire(server, None, listen=("127.0.0.1", 0), max_peers=0, services=1, clock=lambda: NOW)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving.run)
            await until(lambda: serving.net is not None, 20)
            assert serving.net is not None
            host, port = serving.net.listening[0]
            follows = BitcoinWire(client, None, connect=[f"{host}:{port}"], clock=lambda: NOW)
            assert client.chain is not None
            client.driver = Driver(client.chain, follows.source, jitter=lambda: 0.5, clock=lambda: NOW)
            nursery.start_soon(client.driver.run)
            nursery.start_soon(follows.run)
            await until(lambda: client.chain is not None and client.chain.tip.height == 2_500, 20)
            (row,) = follows.peers()
            assert row["transport_protocol_type"] == "v2"
            assert row["connection_type"] == "manual"
            assert follows.details()["peers"] == 1
            assert not follows.outvoted
            assert [peer["connection_type"] for peer in serving.peers()] == ["inbound"]
            nursery.cancel_scope.cancel()
        assert follows.peers() == []

    trio.run(main)


@pytest.mark.parametrize(
    ("settings", "key"),
    [({"connect": ["nowhere:port"]}, "connect"), ({"listen": ("192.0.2.1", 1)}, "listen")],
    ids=["connect", "listen"],
)
def test_addresses_that_cannot_be_used_are_errors_of_the_configuration(settings: dict[str, object], key: str) -> None:
    async def main() -> None:
        wire = BitcoinWire(Owner(None), None, clock=lambda: NOW, **settings)  # type: ignore[arg-type]
        with pytest.raises(InputError) as caught:
            await wire.run()
        assert key in str(caught.value)

    trio.run(main)


def test_the_checkpoint_s_header_can_be_asked_for_by_its_hash() -> None:
    wanted = bp.hash_of(CHAIN[41 * 80 : 42 * 80])

    class Net:
        async def get_headers(self, peer: str, locator: object, stop: bytes) -> bytes | RemoteFault:
            assert not locator
            return CHAIN[41 * 80 : 42 * 80] if stop == wanted and peer == "btc:has:1" else b""

    net = Net()

    async def main() -> None:
        def it() -> BitcoinNet:
            return net  # type: ignore[return-value]

        source = WireSource(REGTEST, it, lambda: None, checkpoint=lambda: (42, Hash32(wanted)))
        assert await source.fetch_range("btc:has:1", Height(42), 1) == Items(Height(42), CHAIN[41 * 80 : 42 * 80])
        lacks = await source.fetch_range("btc:lacks:1", Height(42), 1)
        assert isinstance(lacks, RemoteFault)
        assert lacks.reason is FaultReason.NOT_FOUND
        other = await source.fetch_range("btc:has:1", Height(7), 1)
        assert isinstance(other, RemoteFault)
        assert other.scored

    trio.run(main)
