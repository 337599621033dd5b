"""The node as a whole, as the RPC and the metrics see it (``spvnode.view.NodeView``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import trio

from p2p.bans import BanList
from p2p.mesh.peer import PeerInfo
from p2p.mesh.service import Mesh
from spvnode.bitcoin.chain import HeaderChain
from spvnode.errors import WANT_BLOCK_PEERS, InputError, StoreError, Unavailable
from spvnode.follow.base import Follower
from spvnode.following import Outcome
from spvnode.store.events import Event
from spvnode.sync.table import State
from spvnode.types import Hash32, hash_hex
from spvnode.version import VERSION
from spvnode.view import BeaconView, BlockFilter, PeerControl, Readiness

if TYPE_CHECKING:
    from spvnode.sync.ondemand import OnDemand


class Node:
    """State of the running daemon. ``mesh`` is None while libp2p is off or being restarted."""

    def __init__(
        self, followed: Mapping[str, Follower], clock: Callable[[], float] = time.time, bans: BanList | None = None
    ) -> None:
        self.followed = followed
        self.bans = BanList() if bans is None else bans
        self.mesh: Mesh | None = None
        self.mesh_enabled = False
        self.sources: Mapping[str, Sequence[Mapping[str, Any]]] = {}
        """By network, as ``spvnode.sources`` has them."""
        self._peer_id: str | None = None
        self._addrs: Sequence[str] = ()
        self._clock = clock
        self._started_at = clock()

    @property
    def networks(self) -> Sequence[str]:
        """Configured networks."""
        return tuple(self.followed)

    @property
    def chains(self) -> Mapping[str, HeaderChain]:
        """See ``NodeView``."""
        found = ((name, one.headers) for name, one in self.followed.items())
        return {name: chain for name, chain in found if chain is not None}

    @property
    def beacons(self) -> Mapping[str, BeaconView]:
        """See ``NodeView``."""
        found = ((name, one.beacon) for name, one in self.followed.items())
        return {name: chain for name, chain in found if chain is not None}

    @property
    def version(self) -> str:
        """Of this program."""
        return VERSION

    @property
    def started_at(self) -> float:
        """Unix seconds."""
        return self._started_at

    @property
    def peer_id(self) -> str | None:
        """Our libp2p identity, None without mesh."""
        return self._peer_id

    @property
    def listen_addrs(self) -> Sequence[str]:
        """Where the mesh listens, once it does."""
        return self._addrs

    @property
    def wires(self) -> Mapping[str, Mapping[str, Any]]:
        """See ``NodeView``."""
        return {name: one.identity for name, one in self.followed.items() if one.identity}

    def known_as(self, peer_id: str, addrs: Sequence[str]) -> None:
        """The mesh is up under this identity and these addresses."""
        self._peer_id, self._addrs = peer_id, tuple(addrs)

    def now(self) -> float:
        """Unix seconds."""
        return self._clock()

    def sync_info(self, network: str) -> Mapping[str, Any]:
        """See ``NodeView``."""
        one = self.followed[network]
        driver = one.driver
        state = {"state": str(State.IDLE), "waiting_for": one.waits_for} if driver is None else driver.info()
        missing = [peer for control in one.controls() for peer in control.missing()]
        return {
            **state,
            "sources": list(self.sources.get(network, ())),
            "not_connected": [{"addr": peer.addr, "problem": peer.problem} for peer in missing],
            **one.details(),
        }

    def peers(self, network: str) -> Sequence[Mapping[str, Any]]:
        """See ``NodeView``."""
        return self.followed[network].peers()

    def controls(self, network: str) -> Sequence[PeerControl]:
        """See ``NodeView``."""
        return self.followed[network].controls()

    async def save_bans(self) -> None:
        """See ``NodeView``."""
        job = self.bans.unsaved()
        if job is None:
            return
        try:
            await trio.to_thread.run_sync(job)
        except OSError as error:
            self.bans.save_failed()
            raise StoreError(f"bans: not saved, in force until the end of the daemon: {error}") from error

    def mesh_controls(self) -> Sequence[PeerControl]:
        """What the operator may do to the mesh's peers; empty while it is off."""
        return (self.mesh.control,) if self.mesh is not None else ()

    def mesh_peers(self) -> Sequence[PeerInfo] | None:
        """The mesh's peers; None where it is off."""
        if not self.mesh_enabled:
            return None
        return self.mesh.peers() if self.mesh is not None else ()

    def readiness(self, network: str) -> Readiness:
        """See ``NodeView``."""
        one = self.followed[network]
        if one.driver is None:
            why = f": {one.why}" if one.why else ""
            return Readiness(False, (f"waiting for {one.waits_for}{why}" if one.waits else "starting",))
        reasons = tuple(reason for reason, holds in one.reasons().items() if holds)
        return Readiness(not reasons, reasons)

    def events(self, network: str, cursor: int, limit: int) -> Sequence[Mapping[str, Any]]:
        """See ``NodeView``."""
        one = self.followed[network]
        return [_event(event, one.hash_text) for event in one.events(cursor, limit)]

    def last_event(self, network: str) -> int:
        """See ``NodeView``."""
        return self.followed[network].last_event

    def freshness(self, network: str) -> Mapping[str, Any]:
        """See ``NodeView``."""
        one, now = self.followed[network], self.now()
        useful = one.driver.last_useful if one.driver is not None else None
        return {
            "tip_age": None if one.tip_time is None else round(now - one.tip_time, 1),
            "last_useful_event_age": None if useful is None else round(now - useful, 1),
        }

    async def fetch_block(self, network: str, block_hash: Hash32) -> bytes:
        """See ``NodeView``."""
        return await self._on_demand(network).block(block_hash)

    async def fetch_filter(self, network: str, block_hash: Hash32) -> BlockFilter:
        """See ``NodeView``."""
        return await self._on_demand(network).filter(block_hash)

    def unreachable(self, network: str, *, filters: bool) -> str | None:
        """See ``NodeView``."""
        found = self.followed[network].on_demand
        return _not_connected(network) if found is None else found.unreachable(filters=filters)

    def _on_demand(self, network: str) -> OnDemand:
        found = self.followed[network].on_demand
        if found is None:
            raise Unavailable(_not_connected(network))
        return found

    async def import_headers(self, network: str, headers: bytes) -> Mapping[str, Any]:
        """See ``NodeView``."""
        one = self.followed[network]
        driver = one.driver
        if not one.imports:
            raise InputError("network", f"{network} has no headers to import: its updates come from its own network")
        if driver is None:
            raise InputError("network", f"{network} has not begun: it waits for {one.waits_for}")
        before = driver.chain.tip.height
        verdict = await driver.import_items(headers)
        if verdict.outcome is Outcome.REJECTED:
            raise InputError("headers", f"header {verdict.index} of the run: {verdict.reason}")
        tip = driver.chain.tip
        return {"accepted": verdict.items, "height": tip.height, "bestblockhash": hash_hex(tip.hash),
                "advanced": tip.height - before}  # fmt: skip


def _not_connected(network: str) -> str:
    return f"this node is not connected to {network}'s own peers, who serve it: {WANT_BLOCK_PEERS}"


def _event(event: Event, text: Callable[[Hash32], str]) -> Mapping[str, Any]:
    """Hashes as ``text`` prints them; ``undo`` from the old tip downward, ``redo`` upward, both cut when very long."""
    return {
        "seq": event.seq,
        "time": event.time,
        "kind": str(event.kind),
        "fork_height": event.fork_height,
        "from": {"height": event.old_tip.height, "hash": text(event.old_tip.hash)},
        "to": {"height": event.new_tip.height, "hash": text(event.new_tip.hash)},
        "chainwork": None if event.chainwork is None else f"{event.chainwork:064x}",
        "undo_count": event.undo_count,
        "redo_count": event.redo_count,
        "undo": [text(one) for one in event.undo],
        "redo": [text(one) for one in event.redo],
        "detail": event.detail,
    }
