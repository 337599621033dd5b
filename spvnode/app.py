"""``spvnode run``: the one place that wires everything.

Nurseries are nested so that the end comes in order: first the RPC and the mesh, then the drivers, then the stores.
"""

from __future__ import annotations

import gc
import importlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import structlog
import trio

from p2p.addressbook import AddressBook
from p2p.bans import BanList
from p2p.host import IdentityError, ListenError, load_or_create, open_host
from p2p.mesh.service import Mesh
from p2p.port import HostConfig
from p2p.score import ScoreBoard
from spvnode import tracing
from spvnode.bitcoin.params import NETWORKS
from spvnode.config import BeaconConfig, Config, ensure_datadir
from spvnode.errors import InputError, SpvnodeError
from spvnode.follow.base import Follower, Service
from spvnode.follow.bitcoin import BitcoinFollower
from spvnode.follow.bitcoin_served import Served
from spvnode.metrics import Metrics
from spvnode.node import Node
from spvnode.places import BANS_NAME, BOOK_NAME, DISCOURAGED_NAME, IDENTITY_NAME, JOURNAL_NAME, WEBHOOKS_NAME
from spvnode.plugins.checks import HeaderChecks
from spvnode.plugins.room import Room
from spvnode.rehearsal import rehearse
from spvnode.reloading import Reloader
from spvnode.rpc.events.hub import Hub
from spvnode.rpc.events.journal import Journal
from spvnode.rpc.events.webhooks import Webhook
from spvnode.rpc.server import serve_rpc
from spvnode.rpc.services import Services
from spvnode.rpc.settings import Desk
from spvnode.sources import sources_of
from spvnode.supervise import supervise
from spvnode.sync.mesh import MeshSource, pump
from spvnode.version import VERSION
from spvnode.watching.scanner import Scanner

SWITCH_SECONDS = 0.001
"""After so long a worker thread gives the interpreter back to the event loop (Python's own value is 0.005): a call on
the RPC takes several rounds of the loop, and each may find a worker busy."""

log = structlog.get_logger("app")


def run(config: Config, read: Callable[[], Config] | None = None) -> int:
    """Runs the daemon until a signal or the RPC ends it; returns the exit code. Raises SpvnodeError when it cannot
    start. ``read`` makes the configuration of its sources again, for a reload."""
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        trio.run(_main, config, read or (lambda: config))
    except BaseExceptionGroup as group:
        ours, others = group.split(SpvnodeError)
        if others is not None or ours is None:
            raise
        raise first(ours) from None
    return 0


def first(group: BaseExceptionGroup[SpvnodeError]) -> SpvnodeError:
    """The first leaf: which of several reasons not to start is told does not matter."""
    inner = group.exceptions[0]
    return first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def settle() -> None:
    """Takes all that is there out of the garbage collector's rounds. A full round over what the start made, 200,000
    objects, holds the event loop up for 30 ms, and clients can make it come."""
    gc.collect()
    gc.freeze()


async def _main(config: Config, read: Callable[[], Config]) -> None:
    datadir = ensure_datadir(config.data_path)
    stop, metrics = trio.Event(), Metrics()
    plugins = Room(metrics)
    ready = await rehearse(config, datadir, plugins)
    node = build(config, datadir)
    desk = Desk(ready.settings)
    plugins.put(ready.plugins)
    reloader = Reloader(config, read, datadir, desk, plugins, lambda: (*node.chains, *node.beacons))
    hub = Hub(node, Journal(datadir / JOURNAL_NAME), desk, plugins)
    tracing.configure(config.trace)
    try:
        async with trio.open_nursery() as drivers:
            for one in node.followed.values():
                await trio.to_thread.run_sync(one.open)
                drivers.start_soon(supervise, f"sync {one.network}", one.run)
            async with trio.open_nursery() as services:
                services.start_soon(_obey_signals, stop, reloader)
                serve = partial(
                    serve_rpc,
                    node,
                    datadir=datadir,
                    bind=config.rpc.endpoint,
                    metrics=metrics,
                    stop=stop.set,
                    desk=desk,
                    services=Services(reload=reloader.answer, hub=hub, plugins=plugins.states),
                    tls=ready.tls,
                    insecure=config.rpc.insecure,
                )
                settle()
                await services.start(serve)
                for name, service in supervised(config, datadir, node, hub, plugins, metrics):
                    services.start_soon(supervise, name, service)
                await stop.wait()
                log.info("stopping")
                services.cancel_scope.cancel()
            drivers.cancel_scope.cancel()
    finally:
        tracing.close()
        for one in node.followed.values():
            one.close()


def supervised(
    config: Config, datadir: Path, node: Node, hub: Hub, plugins: Room, metrics: Metrics
) -> Iterator[Service]:
    """What runs beside the RPC, and is begun again when it fails."""
    yield "events", hub.run
    yield "plugins", HeaderChecks(node, hub, plugins).run
    for name in (one.network for one in node.followed.values() if isinstance(one, BitcoinFollower)):
        yield f"watches {name}", Scanner(node, hub, name).run
    for hook in config.rpc.webhook:
        yield f"webhook {hook.name}", Webhook(hub, hook, datadir / WEBHOOKS_NAME, metrics=metrics).run
    if config.electrum.enabled:
        from spvnode.electrum.server import serve_electrum  # noqa: PLC0415 - for those who want it

        electrum = partial(serve_electrum, node, config.electrum_network, config.electrum)
        yield "electrum", partial(electrum, news=hub.news, metrics=metrics)
    if config.mesh.enabled:
        yield "mesh", partial(run_mesh, node, config, datadir)
    for one in node.followed.values():
        yield from one.services()


def build(config: Config, datadir: Path) -> Node:
    """The node, nothing of it running yet."""
    pool = trio.CapacityLimiter(config.sync.in_flight)
    checkpoints = {entry.network: entry for entry in config.checkpoint}
    followed: dict[str, Follower] = {}
    node = Node(followed, bans=BanList(datadir / BANS_NAME))
    node.mesh_enabled = config.mesh.enabled
    node.sources = {name: sources_of(config, name) for name in config.networks}
    if config.mesh.enabled:
        node.known_as(identity(datadir / IDENTITY_NAME), ())
    for name in config.networks:
        beacon = config.beacon_for(name)
        if beacon is not None:
            followed[name] = ethereum(config, beacon, datadir, pool, node.bans)
            continue
        followed[name] = BitcoinFollower(
            NETWORKS[name],
            datadir,
            checkpoints.get(name),
            MeshSource(name, lambda: node.mesh),
            sync=config.sync,
            write_buffer=config.store.write_buffer,
            pool=pool,
            clock=time.time,
            wire=config.wire_for(name),
            mesh_peers=node.mesh_peers,
            mesh_controls=node.mesh_controls,
            bans=node.bans,
        )
    return node


def ethereum(
    config: Config, beacon: BeaconConfig, datadir: Path, pool: trio.CapacityLimiter, bans: BanList
) -> Follower:
    """One Ethereum network. Who follows none never loads its rules."""
    from spvnode.follow.ethereum import EthereumFollower  # noqa: PLC0415 - see above

    return EthereumFollower(
        beacon, datadir, sync=config.sync, write_buffer=config.store.write_buffer, pool=pool, clock=time.time, bans=bans
    )


def identity(path: Path) -> str:
    """This node's peer id; its key is made on first use. InputError for a file that cannot be used."""
    try:
        return load_or_create(path).peer_id
    except IdentityError as error:
        raise InputError("identity", str(error)) from error


async def _obey_signals(stop: trio.Event, reloader: Reloader) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        # One reload waits at most: it will see all that has changed until it begins.
        wanted, asked = trio.open_memory_channel[None](1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_reload, asked, reloader)
            async for number in signals:
                log.info("signal", signal=signal.Signals(number).name)
                if number != signal.SIGHUP:
                    stop.set()  # also while a reload takes its time
                    continue
                with suppress(trio.WouldBlock):
                    wanted.send_nowait(None)


async def _reload(asked: trio.MemoryReceiveChannel[None], reloader: Reloader) -> None:
    async for _ in asked:
        await reloader.on_signal()


async def run_mesh(node: Node, config: Config, datadir: Path) -> None:
    """The libp2p side, from its import to its end. InputError for an address or identity that cannot be used."""
    meshed = {name: one for name, one in node.followed.items() if isinstance(one, BitcoinFollower)}
    # Half a second of CPU for libp2p, in a thread: the RPC answers meanwhile.
    await trio.to_thread.run_sync(importlib.import_module, "p2p.host.host")
    settle()
    settings = HostConfig(
        identity_path=datadir / IDENTITY_NAME, listen=config.mesh.listen, max_connections=config.mesh.max_peers
    )
    try:
        async with open_host(settings, agent=f"spvnode/{VERSION}") as host:
            node.known_as(host.peer_id, host.addrs)
            log.info("mesh listens", peer_id=host.peer_id, addrs=list(host.addrs))
            mesh = Mesh(
                host,
                {name: Served(one) for name, one in meshed.items()},
                AddressBook(datadir / BOOK_NAME),
                ScoreBoard(datadir / DISCOURAGED_NAME),
                check_tip=lambda network, height, header: meshed[network].judge_tip(height, header),
                static=config.mesh.peers,
                bans=node.bans,
            )
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(mesh.run)  # type: ignore[arg-type]  # trio-typing, a libp2p dependency, lags
                    node.mesh = mesh
                    nursery.start_soon(pump, mesh, {name: one.mesh for name, one in meshed.items()})
                    if config.mesh.mdns and beyond_loopback(host.addrs):
                        nursery.start_soon(supervise, "mdns", partial(discover, mesh, host.addrs))
            finally:
                node.mesh = None
    except (ListenError, IdentityError) as error:
        raise InputError("mesh", str(error)) from error


def beyond_loopback(addrs: Sequence[str]) -> bool:
    """Whether another machine could dial us: a node on loopback has nothing to tell its LAN."""
    return not all(ip_address(addr.split("/")[2]).is_loopback for addr in addrs)


async def discover(mesh: Mesh, addrs: Sequence[str]) -> None:
    """Tells the LAN where we are and hears of others; says so once where that cannot be."""
    from p2p.mdns import MdnsUnavailable, run_mdns  # noqa: PLC0415 - zeroconf, 5 MB and three threads

    try:
        await run_mdns(addrs, mesh.found)
    except MdnsUnavailable as error:
        log.warning("no mDNS", reason=str(error))
