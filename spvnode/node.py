"""The node as a whole, as the RPC and the metrics see it (``spvnode.view.NodeView``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from p2p.mesh.peer import PeerInfo
from p2p.mesh.service import Mesh
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.header import Header
from spvnode.errors import InputError
from spvnode.followed import Followed
from spvnode.following import Outcome
from spvnode.store.events import Event
from spvnode.sync.table import State
from spvnode.types import hash_hex
from spvnode.version import VERSION
from spvnode.view import Readiness

STALE_BLOCKS = 24
"""Block intervals without a new block after which a tip is stale: 4 h on mainnet, which chance alone brings about
once in 26 billion blocks."""
CLOCK_AHEAD = 2 * 60 * 60
"""Seconds that a checked tip may be ahead of our clock before the clock is what looks wrong."""


class Node:
    """State of the running daemon. ``mesh`` is None while libp2p is off or being restarted."""

    def __init__(self, followed: Mapping[str, Followed], clock: Callable[[], float] = time.time) -> None:
        self.followed = followed
        self.mesh: Mesh | None = None
        self.mesh_enabled = False
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
        """Chains that have begun, in the order of the configuration."""
        return {name: one.headers for name, one in self.followed.items() if one.headers is not None}

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

    def known_as(self, peer_id: str, addrs: Sequence[str]) -> None:
        """The mesh is up under this identity and these addresses."""
        self._peer_id, self._addrs = peer_id, tuple(addrs)

    def now(self) -> float:
        """Unix seconds."""
        return self._clock()

    def sync_info(self, network: str) -> Mapping[str, Any]:
        """See ``NodeView``."""
        driver = self.followed[network].driver
        return driver.info() if driver is not None else {"state": str(State.IDLE), "waiting_for": "checkpoint header"}

    def peers(self, network: str) -> Sequence[Mapping[str, Any]]:
        """See ``NodeView``."""
        peers = self.mesh.peers() if self.mesh is not None else []
        return [_peer(number, peer, network) for number, peer in enumerate(peers) if network in peer.tips]

    def readiness(self, network: str) -> Readiness:
        """See ``NodeView``."""
        reasons = tuple(self._reasons(network))
        return Readiness(not reasons, reasons)

    def _reasons(self, network: str) -> list[str]:
        one = self.followed[network]
        chain, driver = one.headers, one.driver
        if chain is None or driver is None:
            return ["waiting for the checkpoint's header" if one.checkpoint else "starting"]
        tip_time = Header(chain.header(chain.tip_height)).time
        age = self.now() - tip_time
        stale_after = STALE_BLOCKS * chain.params.spacing
        ours = driver.machine
        reasons = {
            "the mesh is off: nobody confirms the tip": not self.mesh_enabled,
            "no peer": self.mesh_enabled and not self.peers(network),
            "the checkpoint is not on a valid chain": ours.refuted,
            "the tip has less than the minimum chain work":
                chain.work_known and chain.chainwork(chain.tip_height) < chain.minimum_chain_work,
            f"synchronising: {ours.state}": bool(ours.peers.leaders(ours.tip)),
            f"the tip is {span(age)} old, stale after {span(stale_after)}":
                not chain.params.no_retargeting and age > stale_after,
            "the clock is behind the tip": age < -CLOCK_AHEAD,
        }  # fmt: skip
        return [reason for reason, holds in reasons.items() if holds]

    def events(self, network: str, cursor: int, limit: int) -> Sequence[Mapping[str, Any]]:
        """See ``NodeView``."""
        store = self.followed[network].store
        return [_event(event) for event in store.events(cursor, limit)] if store is not None else []

    def freshness(self, network: str) -> Mapping[str, Any]:
        """See ``NodeView``."""
        one = self.followed[network]
        chain, driver = one.headers, one.driver
        useful = driver.last_useful if driver is not None else None
        tip_age = self.now() - Header(chain.header(chain.tip_height)).time if chain is not None else None
        return {
            "tip_age": None if tip_age is None else round(tip_age, 1),
            "last_useful_event_age": None if useful is None else round(self.now() - useful, 1),
        }

    async def import_headers(self, network: str, headers: bytes) -> Mapping[str, Any]:
        """See ``NodeView``."""
        driver = self.followed[network].driver
        if driver is None:
            raise InputError("network", f"{network} has not begun: it waits for its checkpoint's header")
        before = driver.chain.tip.height
        verdict = await driver.import_items(headers)
        if verdict.outcome is Outcome.REJECTED:
            raise InputError("headers", f"header {verdict.index} of the run: {verdict.reason}")
        tip = driver.chain.tip
        return {"accepted": verdict.items, "height": tip.height, "bestblockhash": hash_hex(tip.hash),
                "advanced": tip.height - before}  # fmt: skip


def _event(event: Event) -> Mapping[str, Any]:
    """Hashes as explorers print them; ``undo`` from the old tip downward, ``redo`` upward, both cut when very long."""
    return {
        "seq": event.seq,
        "time": event.time,
        "kind": str(event.kind),
        "fork_height": event.fork_height,
        "from": {"height": event.old_tip.height, "hash": hash_hex(event.old_tip.hash)},
        "to": {"height": event.new_tip.height, "hash": hash_hex(event.new_tip.hash)},
        "chainwork": None if event.chainwork is None else f"{event.chainwork:064x}",
        "undo_count": event.undo_count,
        "redo_count": event.redo_count,
        "undo": [hash_hex(one) for one in event.undo],
        "redo": [hash_hex(one) for one in event.redo],
        "detail": event.detail,
    }


def span(seconds: float) -> str:
    """A time span for people: two digits or so, in the unit that fits."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _peer(number: int, peer: PeerInfo, network: str) -> Mapping[str, Any]:
    """Under Core's names where it has them."""
    tip = peer.tips[network]
    return {
        "id": number,
        "peer_id": peer.id,
        "addr": peer.addr,
        "subver": peer.agent,
        "inbound": peer.inbound,
        "connection_type": "manual" if peer.static else "inbound" if peer.inbound else "outbound-full-relay",
        "conntime": int(peer.since),
        "last_useful": None if peer.last_useful is None else int(peer.last_useful),
        "bytesrecv": peer.bytes_received,
        "bytessent": peer.bytes_sent,
        "synced_headers": tip.tip_height,
        "bestblockhash": hash_hex(tip.tip_hash),
        "headers_received": peer.headers_received,
        "headers_served": peer.headers_served,
        "score": round(peer.score, 1),
        "transport_protocol_type": "libp2p",
    }
