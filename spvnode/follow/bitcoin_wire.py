"""Bitcoin's own network for one followed chain: the peers' wire, its books in the network's folder, and the pump that
tells the follower what is heard."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import structlog
import trio

from p2p.bans import BanList
from p2p.bitcoin.addrman import AddrMan
from p2p.bitcoin.anchors import MAX_ANCHORS
from p2p.bitcoin.dialing import PREFIX, SocksDial, TcpDial
from p2p.bitcoin.net import BitcoinNet
from p2p.bitcoin.netaddr import NetAddressError
from p2p.bitcoin.options import NetParams, Options
from p2p.bitcoin.peer import PeerInfo
from p2p.bitcoin.peers import OUTBOUND
from p2p.bitcoin.seeds import SEEDS, Seeds
from p2p.score import ScoreBoard
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.params import ChainParams
from spvnode.errors import InputError
from spvnode.sync import events as ev
from spvnode.sync.ondemand import OnDemand
from spvnode.sync.source import Source
from spvnode.sync.sources import Routed
from spvnode.sync.wire import WireSource
from spvnode.sync.wire_blocks import WirePeers
from spvnode.sync.wire_pump import Pump
from spvnode.types import HEADER_SIZE, Hash32, hash_hex
from spvnode.version import VERSION

BOOK_NAME = "btc-peers.json"
"""Address book of the network's nodes."""
ANCHORS_NAME = "btc-anchors.json"
"""Peers of the last run that are dialed first."""
DISCOURAGED_NAME = "btc-discouraged.json"
"""Nodes to be left alone for a time."""

log = structlog.get_logger("wire")


class Followed(Protocol):
    """Whose wire this is (``BitcoinFollower``)."""

    @property
    def params(self) -> ChainParams:
        """Of the network."""

    @property
    def headers(self) -> HeaderChain | None:
        """The chain, None before it has begun."""

    async def post(self, event: ev.Event) -> None:
        """Takes what the wire hears."""


class Served:
    """``p2p.bitcoin.provider.Provider``: committed headers. Nothing while our chain has too little work to be believed
    (as Core): who asks us would take us for a liar."""

    def __init__(self, owner: Followed) -> None:
        self._owner = owner

    def height(self) -> int:
        """See ``Provider``."""
        chain = self._owner.headers
        return chain.tip_height if chain is not None else 0

    def headers_after(self, locator: Sequence[bytes], stop: bytes, count: int) -> bytes:
        """See ``Provider``."""
        chain = self._owner.headers
        if chain is None or (chain.work_known and chain.chainwork(chain.tip_height) < chain.minimum_chain_work):
            return b""
        if not locator:
            height = chain.height_of(Hash32(stop))
            return chain.header(height) if height is not None else b""
        found = chain.headers_after_locator([Hash32(entry) for entry in locator], count)
        if found is None:
            return b""
        start, headers = found
        end = chain.height_of(Hash32(stop)) if any(stop) else None
        return headers if end is None or end < start else headers[: (end - start + 1) * HEADER_SIZE]


class BitcoinWire:
    """``run`` it; again after a failure. ``source`` goes into the follower, under the prefix ``dialing.PREFIX``.

    ``connect``: configured peers, HOST[:PORT]; with any, no others are looked for. ``listen``: (host, port) or None.
    ``proxy``: SOCKS5 (host, port) or None. ``max_peers`` of the book, 0 for none. ``folder``: the network's in the data
    directory; None keeps nothing. ``services``: bits that we offer; with none, which is the truth of a node without
    blocks, most clients take no headers from us unless we dial them. InputError for an address that cannot be read.
    """

    def __init__(
        self,
        owner: Followed,
        folder: Path | None,
        *,
        connect: Sequence[str] = (),
        listen: tuple[str, int] | None = None,
        proxy: tuple[str, int] | None = None,
        dns_seeds: bool = True,
        max_peers: int = OUTBOUND,
        services: int = 0,
        checkpoint: Callable[[], tuple[int, Hash32] | None] = lambda: None,
        clock: Callable[[], float],
        bans: BanList | None = None,
    ) -> None:
        self._owner = owner
        self._bans = bans
        self._folder = folder
        self._connect = tuple(connect)
        self._listen = listen
        self._proxy = proxy
        self._dns_seeds = dns_seeds
        self._max_peers = 0 if connect else max_peers
        self._services = services
        self._clock = clock
        self.net: BitcoinNet | None = None
        """None while it is not up."""
        self._pump: Pump | None = None
        self._demand: tuple[HeaderChain, OnDemand] | None = None
        self.source = WireSource(owner.params, lambda: self.net, lambda: owner.headers, checkpoint=checkpoint)

    def beside(self, others: Source) -> Source:
        """``others`` and this network's own peers as one source."""
        return Routed(others, {PREFIX: self.source})

    @property
    def chosen(self) -> bool:
        """Whether a peer is up that did not choose us."""
        return any(not known.inbound for known in self.source.peers.values())

    def on_demand(self, chain: HeaderChain) -> OnDemand:
        """Where blocks and filters of ``chain`` come from."""
        if self._demand is None or self._demand[0] is not chain:  # one for all who ask: it bounds what is fetched
            name = self._owner.params.name
            self._demand = chain, OnDemand(WirePeers(name, lambda: self.net), chain, name)
        return self._demand[1]

    async def run(self) -> None:
        """Until cancelled."""
        try:
            net = self._make()
            await net.bind()
        except NetAddressError as error:
            raise InputError("connect", str(error)) from error
        except OSError as error:
            raise InputError("listen", f"{self._listen}: {error}") from error
        pump = Pump(net, self.source, self._owner, clock=self._clock)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(net.run)  # type: ignore[arg-type]  # trio-typing, a libp2p dependency, lags
                self.net, self._pump = net, pump
                log.info("wire up", network=self._owner.params.name, listen=list(net.listening))
                await pump.run()
        finally:
            self.net = self._pump = None

    def _make(self) -> BitcoinNet:
        params, rng = self._owner.params, random.SystemRandom()
        seeds = SEEDS.get(params.name, Seeds())
        way = SocksDial if self._proxy is not None else TcpDial
        book = AddrMan(self._path(BOOK_NAME), rng=rng, reachable=way.networks)
        return BitcoinNet(
            NetParams(params.name, params.magic, params.default_port, params.spacing),
            Served(self._owner),
            book=book,
            scores=ScoreBoard(self._path(DISCOURAGED_NAME)),
            options=Options(
                connect=self._connect,
                proxy=self._proxy,
                listen=self._listen,
                seeds=seeds if self._dns_seeds else Seeds(fixed=seeds.fixed),
                outbound=self._max_peers,
                anchors=MAX_ANCHORS if self._max_peers else 0,
                anchor_path=self._path(ANCHORS_NAME),
                agent=f"/spvnode:{VERSION}/",
                services=self._services,
                bans=self._bans,
                wall=self._clock,
                rng=rng,
            ),
        )

    def _path(self, name: str) -> Path | None:
        return self._folder / name if self._folder is not None else None

    # -- what the node tells of it

    def peers(self) -> list[dict[str, Any]]:
        """Rows of ``getpeerinfo``, under Core's names where it has them."""
        return [peer_of(peer) | self._shown(peer.id) for peer in self.net.peers()] if self.net is not None else []

    def _shown(self, peer: str) -> dict[str, Any]:
        said = self.source.tips.of(peer)
        return {} if said is None else {"bestblockhash": hash_hex(said[1])}

    @property
    def outvoted(self) -> bool:
        """Whether more peers stay on another branch than are on ours."""
        return len(self.disagreements()) > len(self.source.tips.agreeing())

    def details(self) -> Mapping[str, Any]:
        """What ``getsyncinfo`` tells of it."""
        net, pump = self.net, self._pump
        return {
            "peers": len(net.peers()) if net is not None else 0,
            "addresses": net.addresses if net is not None else 0,
            "tip_stale": net.stale if net is not None else False,
            "presyncs": pump.prover.running if pump is not None else 0,
            "low_work_chains": pump.prover.low_work if pump is not None else 0,
            "disagreements": self.disagreements(),
        }

    def disagreements(self) -> list[dict[str, Any]]:
        """Peers that stay on another branch than ours."""
        if self.net is None:
            return []
        return [
            {"peer": one.peer, "height": one.height, "hash": hash_hex(one.hash), "seconds": int(one.seconds)}
            for one in self.source.tips.disagreements(trio.current_time())
        ]


def peer_of(peer: PeerInfo) -> dict[str, Any]:
    """Under Core's names where it has them."""
    return {
        "peer_id": peer.id,
        "addr": peer.addr,
        "version": peer.version,
        "subver": peer.agent,
        "services": f"{peer.services:016x}",
        "inbound": peer.kind == "inbound",
        "connection_type": str(peer.kind),
        "conntime": int(peer.since),
        "timeoffset": peer.clock_offset,
        **({} if peer.ping_s is None else {"pingtime": peer.ping_s}),  # Core leaves it out, too
        "startingheight": peer.start_height,
        "synced_headers": peer.height,
        "last_useful": None if peer.last_useful is None else int(peer.last_useful),
        "bytesrecv": peer.bytes_received,
        "bytessent": peer.bytes_sent,
        "headers_received": peer.headers_received,
        "headers_served": peer.headers_served,
        "score": round(peer.score, 1),
        "transport_protocol_type": f"v{peer.transport}",
    }
