"""A remote that stops without a word: the process of a real peer is stopped (SIGSTOP), so that its kernel goes on
acknowledging and nothing else happens. The host under test runs here; the stopped one is the remote."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
import trio.testing
from victim import VictimProcess, victim

from p2p.host import Limits, open_host
from p2p.host.host import LibP2PHost
from p2p.port import HostConfig, PortError, Stream

SLEEP = "/test/sleep/1"
QUICK = Limits(keepalive_interval=0.3, keepalive_timeout=0.3)
STREAMS = 60
WINDOW = 256 * 1024
"""Together more than the sockets of both sides buffer."""
FOR_EVER = 30.0
"""Seconds after which a test fails; what it waits for takes two."""
LONG_ENOUGH = 2.5
"""Seconds in which upstream must still not have noticed, twice what the fenced host takes."""
leaks_its_socket = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Upstream's muxer, when it is cancelled; the tests that use it collect it at once."""


@asynccontextmanager
async def _connected(
    target: VictimProcess, without: Sequence[str] = (), limits: Limits = QUICK
) -> AsyncIterator[tuple[LibP2PHost, str, trio.Event]]:
    """(our host, the remote's id, event of its disconnection)."""
    gone = trio.Event()

    def heard(peer: str, connected: bool, addr: str, inbound: bool) -> None:
        if not connected:
            gone.set()

    with tempfile.TemporaryDirectory() as folder:
        config = HostConfig(Path(folder) / "identity", ())
        async with open_host(config, limits=limits, without=without) as host:
            host.on_peer(heard)
            yield host, await host.connect(target.addr), gone


async def _write(stream: Stream) -> None:
    with suppress(PortError):
        await stream.write(bytes(WINDOW))


async def _stop_in_the_middle(host: LibP2PHost, peer: str, target: VictimProcess, nursery: trio.Nursery) -> None:
    """Leave our writer blocked: the remote stands still, and more is under way to it than sockets buffer."""
    streams = [await host.open_stream(peer, SLEEP) for _ in range(STREAMS)]
    target.stop()
    for stream in streams:
        nursery.start_soon(_write, stream)
    await trio.testing.wait_all_tasks_blocked(0.2)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_is_noticed(busy: bool) -> None:
    async def main() -> None:
        async with _connected(target) as (host, peer, gone), trio.open_nursery() as nursery:
            if busy:
                await _stop_in_the_middle(host, peer, target, nursery)
            else:
                target.stop()
            with trio.fail_after(FOR_EVER):
                await gone.wait()
            assert host.connections() == []

    with victim() as target:
        trio.run(main)


@leaks_its_socket
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_without_yamux_fence_it_is_not(busy: bool) -> None:
    async def main() -> None:
        async with _connected(target, ["yamux"]) as (host, peer, gone), trio.open_nursery() as nursery:
            if busy:
                await _stop_in_the_middle(host, peer, target, nursery)
            else:
                target.stop()
            with trio.move_on_after(LONG_ENOUGH):
                await gone.wait()
            assert not gone.is_set()
            target.process.kill()
            nursery.cancel_scope.cancel()

    with victim() as target:
        trio.run(main)
    gc.collect()


def test_comes_back_after_a_pause() -> None:
    """Stopped for less than the deadline is not gone."""

    async def main() -> None:
        async with _connected(target, limits=Limits(keepalive_interval=0.3, keepalive_timeout=2)) as (host, peer, gone):
            target.stop()
            await trio.sleep(1)
            target.go_on()
            await trio.sleep(2.5)  # past the time at which it would have been given up
            assert not gone.is_set()
            assert [info.peer for info in host.connections()] == [peer]

    with victim() as target:
        trio.run(main)


async def _disconnect_in_the_middle(target: VictimProcess, without: Sequence[str]) -> bool:
    """Whether disconnect returned, with the writer blocked and no keepalive to help it."""
    async with (
        _connected(target, without, Limits()) as (host, peer, _),
        trio.open_nursery() as nursery,
    ):
        await _stop_in_the_middle(host, peer, target, nursery)
        with trio.move_on_after(LONG_ENOUGH) as waited:
            await host.disconnect(peer)
        nursery.cancel_scope.cancel()
    return not waited.cancelled_caught


def test_disconnect_does_not_wait_for_it() -> None:
    with victim() as target:
        assert trio.run(_disconnect_in_the_middle, target, ())


@leaks_its_socket
def test_without_yamux_fence_disconnect_hangs() -> None:
    with victim() as target:
        assert not trio.run(_disconnect_in_the_middle, target, ["yamux"])
    gc.collect()


def test_closing_the_host_does_not_wait_for_it() -> None:
    async def main() -> None:
        async with _connected(target, limits=Limits()) as (host, peer, _), trio.open_nursery() as nursery:
            await _stop_in_the_middle(host, peer, target, nursery)
            nursery.cancel_scope.cancel()

    async def bounded() -> None:
        with trio.fail_after(FOR_EVER):
            await main()

    with victim() as target:
        trio.run(bounded)
