"""The driver's doors when things end: whoever posts, waits or imports is never left hanging, and nobody is told less
than what happened. On a real chain; the store fails where a test makes it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing
from mine import mine_run, regtest_chain
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from world import NOW, Peer, open_chain

from p2p.faults import RemoteFault
from spvnode import tracing
from spvnode.bitcoin.header import Header
from spvnode.bitcoin.params import REGTEST
from spvnode.bitcoin.start import Checkpoint
from spvnode.bitcoin.stored import StoredChain
from spvnode.errors import StoreError
from spvnode.following import Outcome, Tip
from spvnode.store.errors import StoreDamaged, StoreFull
from spvnode.sync import events as ev
from spvnode.sync.driver import EVENT_BUFFER, Driver
from spvnode.sync.effects import FetchAfter, FetchRange
from spvnode.sync.source import Items
from spvnode.types import Hash32, Height

HEADERS = regtest_chain(300)
PATIENCE = 10.0
"""Seconds after which something that ought to end does not."""


def honest(count: int = 300) -> StoredChain:
    chain = open_chain()
    verdict = chain.plan(HEADERS[: count * 80], NOW)
    chain.write(verdict, now=NOW, sync=False)
    chain.apply(verdict)
    return chain


class Mesh:
    """One honest peer, asked in place."""

    def __init__(self, chain: StoredChain) -> None:
        self.peer = Peer("a", chain)
        self.reported: list[RemoteFault] = []
        self.announced: list[Tip] = []

    async def fetch_after(self, peer: str, locator: list[Hash32], count: int) -> Items:
        return self.peer.honest(FetchAfter(0, peer, count), locator)

    async def fetch_range(self, peer: str, start: Height, count: int) -> Items:
        return self.peer.honest(FetchRange(0, peer, start, count), [])

    async def announce(self, tip: Tip) -> None:
        await trio.lowlevel.checkpoint()
        self.announced.append(tip)

    async def report(self, fault: RemoteFault) -> None:
        self.reported.append(fault)

    def useful(self, peer: str) -> None:
        pass


def driver_of(chain: StoredChain, mesh: Mesh) -> Driver:
    return Driver(chain, mesh, jitter=lambda: 0.0, clock=lambda: NOW, broken=StoreDamaged)


def claim(chain: StoredChain) -> ev.PeerTip:
    return ev.PeerTip("a", chain.tip, Height(0))


def failing(error: Exception, times: int = 1) -> Callable[..., None]:
    """Stands in for a method of the chain: fails ``times`` times, then does what the method does."""
    left = times

    def around(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left >= 0:
                raise error
            return real(*args, **named)

        return call

    return around  # type: ignore[return-value]


async def until(done: Callable[[], bool]) -> None:
    while not done():  # noqa: ASYNC110 - what is waited for has no event
        await trio.sleep(0.005)


async def ended(driver: Driver) -> BaseException:
    """Runs it to its end."""
    try:
        await driver.run()
    except BaseExceptionGroup as group:
        return group.exceptions[0]
    raise AssertionError("it ended without a reason")


def test_nobody_waits_at_the_doors_of_a_driver_that_has_failed() -> None:
    async def main() -> None:
        chain, mesh = open_chain(), Mesh(honest())
        chain.plan = failing(RuntimeError("a defect"))(chain.plan)  # type: ignore[method-assign]
        driver = driver_of(chain, mesh)
        await driver.post(claim(mesh.peer.chain))
        assert str(await ended(driver)) == "a defect"
        for _ in range(2 * EVENT_BUFFER):
            await driver.post(claim(mesh.peer.chain))
        with pytest.raises(StoreError):
            await driver.import_items(HEADERS)
        assert chain.tip.height == 0

    with_patience(main)


def test_those_who_wait_already_are_let_go() -> None:
    """Imports behind the lock that the failing check holds, and a source behind a full inbox."""

    async def main() -> None:
        chain, mesh = open_chain(), Mesh(honest())
        driver, held, refused = driver_of(chain, mesh), trio.Event(), []

        async def hold(peer: str, locator: list[Hash32], count: int) -> Items:
            held.set()
            await trio.sleep_forever()
            raise AssertionError

        async def bring() -> None:
            try:
                await driver.import_items(HEADERS)
            except StoreError as error:
                refused.append(error)

        async def flood() -> None:
            for _ in range(2 * EVENT_BUFFER):
                await driver.post(ev.PeerLeft("b"))

        mesh.fetch_after = hold  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as inner:
                inner.start_soon(driver.run)
                await driver.post(claim(mesh.peer.chain))
                await held.wait()
                await driver._chain_free.acquire()  # as a check that never comes to its end
                for _ in range(3):
                    nursery.start_soon(bring)
                await trio.testing.wait_all_tasks_blocked()
                inner.cancel_scope.cancel()
            nursery.start_soon(flood)
        assert len(refused) == 3

    with_patience(main)


def test_a_full_disk_is_waited_out_and_a_damaged_store_is_not() -> None:
    async def main() -> None:
        chain, mesh = open_chain(), Mesh(honest())
        chain.write = failing(StoreFull("full"), 2)(chain.write)  # type: ignore[method-assign]
        driver = driver_of(chain, mesh)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.run)
            await driver.post(claim(mesh.peer.chain))
            await until(lambda: chain.tip.height == 300)
            nursery.cancel_scope.cancel()
        assert driver.machine.faults == {"store": 2}

        chain = open_chain()
        chain.write = failing(StoreDamaged("checksum"), 2)(chain.write)  # type: ignore[method-assign]
        driver = driver_of(chain, mesh)
        await driver.post(claim(mesh.peer.chain))
        assert isinstance(await ended(driver), StoreDamaged)
        assert not mesh.reported

    with_patience(main)


def test_a_full_disk_at_the_end_of_a_backfill_is_waited_out() -> None:
    async def main() -> None:
        raw = HEADERS[99 * 80 : 100 * 80]
        chain, mesh = open_chain(REGTEST, Checkpoint(Height(100), Header(raw).hash, raw)), Mesh(honest())
        chain.finish_below = failing(StoreFull("full"), 2)(chain.finish_below)  # type: ignore[method-assign]
        driver = driver_of(chain, mesh)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.run)
            await driver.post(claim(mesh.peer.chain))
            await until(lambda: driver.machine.whole)
            nursery.cancel_scope.cancel()
        assert chain.whole
        assert chain.tip == mesh.peer.chain.tip
        assert driver.machine.faults == {"store": 2}

    with_patience(main)


def test_an_import_whose_caller_is_gone_is_known_to_the_machine_all_the_same() -> None:
    """Otherwise the peers that have these headers would seem to claim what they do not give."""

    async def main() -> None:
        chain, mesh = open_chain(), Mesh(honest())
        driver = driver_of(chain, mesh)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.run)
            with trio.CancelScope() as scope:
                real = chain.apply
                chain.apply = lambda verdict: (scope.cancel(), real(verdict))[1]  # type: ignore[method-assign]
                await driver.import_items(HEADERS)
            assert scope.cancelled_caught
            await trio.testing.wait_all_tasks_blocked()
            assert driver.machine.tip == chain.tip == mesh.peer.chain.tip
            await driver.post(claim(mesh.peer.chain))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert not mesh.reported

    with_patience(main)


def test_an_import_and_the_sync_share_the_chain() -> None:
    async def main() -> None:
        chain, mesh = open_chain(), Mesh(honest())
        driver = driver_of(chain, mesh)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.run)
            await driver.post(claim(mesh.peer.chain))
            for at in range(0, 300, 7):
                verdict = await driver.import_items(HEADERS[at * 80 : (at + 7) * 80])
                assert verdict.outcome in (Outcome.EXTENDS, Outcome.DUPLICATE)
            await until(lambda: driver.machine.tip.height == 300)
            nursery.cancel_scope.cancel()
        assert chain.tip == mesh.peer.chain.tip
        assert not mesh.reported

    with_patience(main)


def with_patience(main: Callable[..., object]) -> None:
    async def bounded() -> None:
        with trio.fail_after(PATIENCE):
            await main()  # type: ignore[misc]

    trio.run(bounded)


# -- what a trace shows of it


def test_a_sync_is_told_in_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    provider = tracing.provider_with(SimpleSpanProcessor(exporter), 1.0)
    monkeypatch.setattr(tracing._here, "tracer", provider.get_tracer("test"))

    async def main() -> None:
        chain, mesh = open_chain(), Mesh(honest())
        driver = driver_of(chain, mesh)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.run)
            await driver.post(claim(mesh.peer.chain))
            await until(lambda: chain.tip.height == 300)
            nursery.cancel_scope.cancel()

    with_patience(main)
    provider.shutdown()
    named = {"spvnode.network": "regtest"}
    found = [(span.name, dict(span.attributes or {})) for span in exporter.get_finished_spans()]
    assert ("fetch", named) in found
    assert ("validate", {**named, "spvnode.bytes": 80 * 300}) in found
    assert ("commit", {**named, "spvnode.items": 300}) in found


def test_headers_that_come_again_are_not_counted_again() -> None:
    """Every run but the first repeats some: what is on the main chain, on a side branch, or was on either."""
    old, kept = HEADERS[: 20 * 80], HEADERS[: 10 * 80]
    time = int.from_bytes(kept[-12:-8], "little")
    branch = mine_run(Header(kept[-80:]).hash, time, 15, seed=5)
    longer = HEADERS[: 40 * 80]
    runs = [
        (old[: 12 * 80], Outcome.EXTENDS, 12),
        (old, Outcome.EXTENDS, 8),
        (branch[: 4 * 80], Outcome.FORK, 4),
        (branch[: 6 * 80], Outcome.FORK, 2),
        (branch, Outcome.REORGANIZES, 9),
        (old[12 * 80 :], Outcome.DUPLICATE, 0),
        (longer[8 * 80 :], Outcome.REORGANIZES, 20),
    ]

    async def main() -> None:
        driver = driver_of(open_chain(), Mesh(honest()))
        for number, (run, outcome, new) in enumerate(runs):
            before = driver.committed
            verdict = await driver.import_items(run)
            assert (verdict.outcome, driver.committed - before) == (outcome, new), number
        assert driver.info()["headers_committed"] == driver.committed == 40 + 15

    with_patience(main)
