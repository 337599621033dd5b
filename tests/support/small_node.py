"""A node without network: real chains on an in-memory store, behind the same view that the daemon gives the RPC."""

from __future__ import annotations

import lzma
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from headers_memory import MemoryHeaders, offer, open_chain

from p2p.bans import BanList
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.changes import Rejected
from spvnode.bitcoin.params import NETWORKS
from spvnode.bitcoin.start import Checkpoint
from spvnode.errors import InputError, Unavailable
from spvnode.types import Hash32
from spvnode.view import BeaconView, BlockFilter, ChainView, PeerControl, Readiness

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "bitcoin"


@cache
def vector(name: str) -> bytes:
    """A packed file of real headers."""
    return lzma.decompress((VECTORS / f"{name}.bin.xz").read_bytes())


def extended(seq: int) -> Mapping[str, Any]:
    """An entry of the log: one block came."""
    tips = {name: {"height": height, "hash": f"{height:064x}"} for name, height in (("from", seq - 1), ("to", seq))}
    return {"seq": seq, "time": 1_699_999_000.5 + seq, "kind": "extend", "fork_height": seq - 1, **tips,
            "chainwork": f"{seq:064x}", "undo_count": 0, "redo_count": 1, "undo": [], "redo": [tips["to"]["hash"]],
            "detail": ""}  # fmt: skip


class SmallNode:
    """NodeView over chains that tests fill; ``clock`` is its wall time. ``beacons`` by name; None has not begun."""

    def __init__(
        self,
        *networks: str,
        checkpoints: Mapping[str, Checkpoint] | None = None,
        beacons: Mapping[str, BeaconView | None] | None = None,
    ) -> None:
        self.clock = 1_700_000_000.0
        self.beacon_views = dict(beacons or {})
        self.stores: dict[str, MemoryHeaders] = {}
        self.real: dict[str, HeaderChain] = {}
        for name in networks:
            start = (checkpoints or {}).get(name)
            self.real[name], self.stores[name] = open_chain(NETWORKS[name], start)
        self.blocks: dict[bytes, bytes] = {}
        self.filters: dict[bytes, BlockFilter] = {}
        self.fetched = 0
        self.url = self.auth = ""
        """Where ``rpc_live`` serves it over TCP, and with what credentials."""
        self.bans = BanList()
        self.peer_controls: list[PeerControl] = []
        self.known_peers: list[Mapping[str, Any]] = [
            {
                "id": 0,
                "peer_id": "12D3KooWPeer",
                "addr": "/ip4/127.0.0.1/tcp/1",
                "subver": "",
                "inbound": False,
                "connection_type": "manual",
                "score": 0.0,
                "transport_protocol_type": "libp2p",
                "startingheight": 7,
            }
        ]
        self.log: list[Mapping[str, Any]] = [extended(seq) for seq in range(1, 8)]
        self.not_ready: dict[str, tuple[str, ...]] = {}
        self.told_sources: list[Mapping[str, Any]] = [{"kind": "mesh", "named": 1, "finds": True, "dns": False}]
        self.told_missing: list[Mapping[str, Any]] = []

    @property
    def networks(self) -> Sequence[str]:
        return (*self.stores, *self.beacon_views)

    @property
    def chains(self) -> Mapping[str, ChainView]:
        return self.real

    @property
    def beacons(self) -> Mapping[str, BeaconView]:
        return {name: view for name, view in self.beacon_views.items() if view is not None}

    @property
    def version(self) -> str:
        return "0.0.test"

    @property
    def started_at(self) -> float:
        return 1_699_999_000.0

    @property
    def wires(self) -> Mapping[str, Mapping[str, Any]]:
        return {"ethereum": {"peer_id": "16Uiu2HTest", "addresses": [], "enr": ""}} if self.beacons else {}

    @property
    def peer_id(self) -> str | None:
        return "12D3KooWTest"

    @property
    def listen_addrs(self) -> Sequence[str]:
        return ("/ip4/127.0.0.1/tcp/8343/p2p/12D3KooWTest",)

    def now(self) -> float:
        return self.clock

    def sync_info(self, network: str) -> Mapping[str, Any]:
        pool = {"limit": 4, "in_use": 0, "window": 0}
        burst = {"headers": 0, "seconds": 0.0, "headers_per_second": 0.0}
        return {"state": "idle", "blocks": 7, "base": 0, "complete": True, "checkpoint_refuted": False,
                "transitions": {"idle": 1}, "pool": pool, "headers_committed": 7, "headers_per_second": 0.0,
                "last_burst": burst, "failures_in_a_row": 0, "faults": {}, "claims": 1,
                "sources": list(self.told_sources), "not_connected": list(self.told_missing)}  # fmt: skip

    def peers(self, network: str) -> Sequence[Mapping[str, Any]]:
        return self.known_peers

    def readiness(self, network: str) -> Readiness:
        reasons = self.not_ready.get(network, ())
        return Readiness(ready=not reasons, reasons=reasons)

    def events(self, network: str, cursor: int, limit: int) -> Sequence[Mapping[str, Any]]:
        return [event for event in self.log if event["seq"] > cursor][:limit]

    def last_event(self, network: str) -> int:
        return 7

    def freshness(self, network: str) -> Mapping[str, Any]:
        return {"tip_age": 12.5, "last_useful_event_age": None}

    def controls(self, network: str) -> Sequence[PeerControl]:
        return self.peer_controls

    async def save_bans(self) -> None:
        job = self.bans.unsaved()
        if job is not None:
            job()

    async def fetch_block(self, network: str, block_hash: Hash32) -> bytes:
        self.fetched += 1
        if block_hash not in self.blocks:
            raise Unavailable("asked in vain: btc:127.0.0.1:1 (not-found)")
        return self.blocks[block_hash]

    def unreachable(self, network: str, *, filters: bool) -> str | None:
        return None

    async def fetch_filter(self, network: str, block_hash: Hash32) -> BlockFilter:
        if block_hash not in self.filters:
            raise Unavailable("no peer that serves it is connected")
        return self.filters[block_hash]

    async def import_headers(self, network: str, headers: bytes) -> Mapping[str, Any]:
        return self.add(network, headers)

    def add(self, network: str, headers: bytes) -> Mapping[str, Any]:
        """Checks and commits ``headers``; InputError with the rejecting reason."""
        chain = self.real[network]
        before = chain.tip_height
        change = offer(chain, self.stores[network], headers, now=2_000_000_000)
        if isinstance(change, Rejected):
            raise InputError("headers", f"{change.reason} at header {change.index}")
        accepted = chain.tip_height - before
        return {"accepted": accepted, "height": chain.tip_height, "bestblockhash": chain.tip_hash[::-1].hex()}


def mainnet(count: int = 50) -> SmallNode:
    """A node that holds mainnet's first ``count`` headers."""
    node = SmallNode("bitcoin")
    node.add("bitcoin", vector("mainnet_0-32259")[80 : 80 * count])
    return node
