"""The libp2p side of one Ethereum network: a host of its own (beacon nodes know secp256k1 identities, and one chain a
node), the beacon wire on it, and discovery beside it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

from p2p.addressbook import AddressBook
from p2p.bans import BanList
from p2p.beacon.gossip import beacon_profile
from p2p.beacon.service import BeaconNet
from p2p.host import Identity, IdentityError, ListenError, load_or_create, open_host
from p2p.port import Host, HostConfig
from p2p.score import ScoreBoard
from spvnode.config import BeaconConfig
from spvnode.errors import InputError
from spvnode.ethereum.chain import BeaconChain
from spvnode.ethereum.networks import Network
from spvnode.follow.ethereum_served import EthereumServed
from spvnode.places import BEACON_IDENTITY_NAME, BOOK_NAME, DISCOURAGED_NAME, NODES_NAME
from spvnode.supervise import supervise
from spvnode.sync import events as ev
from spvnode.sync.beacon import Front, pump
from spvnode.version import VERSION

if TYPE_CHECKING:
    from p2p.discv5.service import Discovery

MUXERS = ("/yamux/1.0.0", "/mplex/6.7.0")
"""Offered in this order: mplex alone is what the specs require, and what some nodes speak alone."""

log = structlog.get_logger("beacon")


class Followed(Protocol):
    """Whose wire this is."""

    @property
    def params(self) -> Network:
        """The network."""

    @property
    def chain(self) -> BeaconChain | None:
        """The chain, None before it has begun."""

    @property
    def front(self) -> Front | None:
        """How far it is."""

    async def post(self, event: ev.Event) -> None:
        """Takes what the wire hears."""


class BeaconWire:
    """``run`` it; again after a failure. ``folder``: the network's in the data directory."""

    def __init__(
        self,
        owner: Followed,
        config: BeaconConfig,
        folder: Path,
        clock: Callable[[], float],
        bans: BanList | None = None,
    ) -> None:
        self._owner = owner
        self._config = config
        self._folder = folder
        self._clock = clock
        self._bans = bans
        self._found = 0
        self.net: BeaconNet | None = None
        """None while it is not up."""
        self.peer_id = ""
        self.addrs: Sequence[str] = ()
        """Where it listens: full multiaddrs."""
        self._discovery: Discovery | None = None

    @property
    def enr(self) -> str:
        """Our record as it is now, while discovery is on: it changes with forks, and with what others see of us."""
        return self._discovery.own.text if self._discovery is not None else ""

    @property
    def discovered(self) -> int:
        """Nodes of our network that discovery has found since the start."""
        return self._found

    async def run(self) -> None:
        """From libp2p's import to its end. InputError for an address or identity that cannot be used."""
        await trio.to_thread.run_sync(importlib.import_module, "p2p.host.host")
        config = self._config
        settings = HostConfig(
            identity_path=self._folder / BEACON_IDENTITY_NAME,
            listen=config.listen,
            max_connections=config.max_peers,
            key_type="secp256k1",
            muxers=MUXERS,
            gossip=beacon_profile(),
        )
        try:
            identity = load_or_create(settings.identity_path, "secp256k1")
            await self._hosted(settings, identity)
        except (ListenError, IdentityError) as error:
            raise InputError("beacon", str(error)) from error

    async def _hosted(self, settings: HostConfig, identity: Identity) -> None:
        """Cancelled, the wire ends first and the host after it: goodbyes leave by the host."""
        serving, failure = trio.CancelScope(), None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pass_on, serving)
            try:
                with trio.CancelScope(shield=True):  # what waits in here is bounded, or inside ``serving``
                    async with open_host(settings, agent=f"spvnode/{VERSION}") as host:
                        self.peer_id, self.addrs = host.peer_id, tuple(host.addrs)
                        network = self._owner.params.name
                        log.info("beacon wire listens", network=network, peer_id=host.peer_id, addrs=list(host.addrs))
                        with serving:
                            await self._serve(host, identity)
            except (ListenError, IdentityError) as error:  # the nursery would make a group of it
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _serve(self, host: Host, identity: Identity) -> None:
        owner, config, near = self._owner, self._config, on_one_machine(host.addrs)
        served = EthereumServed(owner, self._clock)
        net = BeaconNet(
            host,
            served,
            ScoreBoard(self._folder / DISCOURAGED_NAME),
            static=config.peers,
            network=owner.params.name,
            book=AddressBook(self._folder / BOOK_NAME),
            local=near or bool(config.bootnodes),
            wall=self._clock,
            bans=self._bans,
        )
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(net.run)  # type: ignore[arg-type]  # trio-typing, a libp2p dependency, lags
                self.net = net
                nursery.start_soon(partial(pump, net, owner, owner.params, lambda: owner.front, clock=self._clock))
                if config.discovery and (config.bootnodes or not near):
                    discover = partial(self._discover, net, served, identity, host.addrs)
                    nursery.start_soon(supervise, f"discv5 {owner.params.name}", discover)
        finally:
            self.net, self.addrs = None, ()

    async def _discover(self, net: BeaconNet, served: EthereumServed, identity: Identity, addrs: Sequence[str]) -> None:
        """Looks for nodes of our network, whatever else they serve: that shows once we are connected."""
        from p2p.discv5.bootnodes import bootnodes  # noqa: PLC0415 - who does not discover does not pay for it
        from p2p.discv5.enr import Enr, parse  # noqa: PLC0415
        from p2p.discv5.service import Discovery  # noqa: PLC0415

        config = self._config

        def found(enr: Enr) -> None:
            self._found += 1
            for addr in enr.multiaddrs():
                net.found(addr)

        host, port = listening_at(addrs)
        discovery = Discovery(
            identity.seed,
            (host, port),
            [parse(text) for text in config.bootnodes] or bootnodes(self._owner.params.name),
            eth2=served.enr_fork_id,
            accepts=lambda digest: digest in served.topic_digests(),
            found=found,
            tcp=port,
            path=self._folder / NODES_NAME,
            hungry=lambda: len(net.peers()) < config.max_peers // 2,
            wall=self._clock,
        )
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(discovery.run)  # type: ignore[arg-type]  # see above
                self._discovery = discovery  # before that its record names no address
        finally:
            self._discovery = None


async def _pass_on(scope: trio.CancelScope) -> None:
    """Cancels ``scope`` when it is cancelled itself: the way in through a shield."""
    try:
        await trio.sleep_forever()
    finally:
        scope.cancel()


def on_one_machine(addrs: Sequence[str]) -> bool:
    """Whether nobody else could dial us."""
    return all(ip_address(addr.split("/")[2]).is_loopback for addr in addrs)


def listening_at(addrs: Sequence[str]) -> tuple[str, int]:
    """Where discovery listens: libp2p's port, on all addresses unless that is loopback."""
    host, port = addrs[0].split("/")[2], int(addrs[0].split("/")[4])
    if ip_address(host).is_loopback:
        return host, port
    return ("0.0.0.0", port) if ":" not in host else ("::", port)  # noqa: S104 - as libp2p does
