"""One Bitcoin network being followed.

A node that begins at a checkpoint knows its hash only; until a peer has sent the header itself there is no chain, and
``chain`` is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import trio

from p2p.bans import BanList
from p2p.bitcoin.seeds import SEEDS, Seeds
from p2p.faults import FaultReason, RemoteFault
from p2p.mesh.peer import PeerInfo
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.header import Header, header_hash
from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.pow import target_of
from spvnode.bitcoin.start import Checkpoint, check_checkpoint, genesis_of
from spvnode.bitcoin.stored import StoredChain
from spvnode.config import CheckpointConfig, SyncConfig, WireConfig
from spvnode.errors import InputError
from spvnode.follow.base import Follower, Service
from spvnode.following import Outcome
from spvnode.memory import trim
from spvnode.opening import checkpoint_of, record_of
from spvnode.store.events import Event
from spvnode.store.folder import store_path
from spvnode.store.headers import HeaderStore
from spvnode.sync import events as ev
from spvnode.sync.mesh_gate import ProvenMesh
from spvnode.sync.source import Items, Source
from spvnode.types import HEADER_SIZE, Hash32, Height, Work, hash_hex
from spvnode.units import span
from spvnode.view import PeerControl

if TYPE_CHECKING:
    from spvnode.follow.bitcoin_wire import BitcoinWire
    from spvnode.sync.ondemand import OnDemand

RETRY_CHECKPOINT = 5.0
"""Seconds between rounds of asking every peer for the checkpoint's header."""
GOSSIP_DEPTH = 6
"""Blocks below our tip at which a gossiped tip may still compete; older ones are no news."""
STALE_BLOCKS = 24
"""Block intervals without a new block after which a tip is stale: 4 h on mainnet, which chance alone brings about
once in 26 billion blocks."""
CLOCK_AHEAD = 2 * 60 * 60
"""Seconds that a checked tip may be ahead of our clock before the clock is what looks wrong."""

log = structlog.get_logger("node")


class BitcoinFollower(Follower):
    """See ``Follower``. ``mesh_peers`` gives the mesh's peers, None while it is off; ``mesh_controls``: what the
    operator may do to them."""

    waits_for = "the checkpoint's header"
    imports = True

    def __init__(
        self,
        params: ChainParams,
        datadir: Path,
        checkpoint: CheckpointConfig | None,
        source: Source,
        *,
        sync: SyncConfig,
        write_buffer: int,
        pool: trio.CapacityLimiter,
        clock: Callable[[], float],
        wire: WireConfig | None = None,
        mesh_peers: Callable[[], Sequence[PeerInfo] | None] = lambda: None,
        mesh_controls: Callable[[], Sequence[PeerControl]] = lambda: (),
        bans: BanList | None = None,
    ) -> None:
        if checkpoint is not None:
            params = params.holding(Height(checkpoint.height), checkpoint.block_hash)
        self.params = params
        self.datadir = datadir
        self.checkpoint = checkpoint
        self.wire = self._make_wire(wire, clock, bans)
        self.mesh = ProvenMesh(
            params,
            source,
            lambda: self.headers,
            minimum=lambda: self.wire is not None and self.wire.chosen,
            chosen=self._dialed,
            tell=self.post,
            clock=clock,
        )
        source = self.mesh if self.wire is None else self.wire.beside(self.mesh)
        super().__init__(params.name, source, sync=sync, pool=pool, clock=clock)
        self.store: HeaderStore | None = None
        self._chain: StoredChain | None = None
        self._write_buffer = write_buffer
        self._mesh_peers = mesh_peers
        self._mesh_controls = mesh_controls

    def _make_wire(
        self, config: WireConfig | None, clock: Callable[[], float], bans: BanList | None
    ) -> BitcoinWire | None:
        """Bitcoin's own peers, where the configuration wants them and there is a way to find any."""
        if config is None or not config.enabled:
            return None
        if not config.connect and not config.listen and not SEEDS.get(self.params.name, Seeds()).any:
            return None
        from spvnode.follow.bitcoin_wire import BitcoinWire  # noqa: PLC0415 - 10 MB, for those who join it

        wanted, end = self.checkpoint, config.endpoint
        return BitcoinWire(
            self,
            self.datadir / self.params.name,
            connect=config.connect,
            listen=None if end is None else (end.host, end.port),
            proxy=config.proxy_address,
            dns_seeds=config.dns_seeds,
            checkpoint=lambda: None if wanted is None or self.headers else (wanted.height, wanted.block_hash),
            clock=clock,
            bans=bans,
        )

    def _dialed(self, peer: str) -> bool:
        """Whether we chose this peer of the mesh, or the operator did."""
        return any(one.id == peer and (one.static or not one.inbound) for one in self._mesh_peers() or ())

    @property
    def on_demand(self) -> OnDemand | None:
        """See ``Follower``."""
        chain, wire = self.headers, self.wire
        if wire is None or wire.net is None or chain is None:
            return None
        return wire.on_demand(chain)

    def services(self) -> Sequence[Service]:
        """See ``Follower``."""
        mesh = (f"mesh proofs {self.network}", self.mesh.run)
        return (mesh,) if self.wire is None else (mesh, (f"wire {self.network}", self.wire.run))

    def details(self) -> Mapping[str, Any]:
        """See ``Follower``."""
        return {} if self.wire is None else {"wire": self.wire.details()}

    @staticmethod
    def hash_text(block_hash: Hash32) -> str:
        """See ``Follower``."""
        return hash_hex(block_hash)

    @property
    def chain(self) -> StoredChain | None:
        """The chain as the driver sees it."""
        return self._chain

    @property
    def waits(self) -> bool:
        """Only a node that begins at a checkpoint waits for one."""
        return self.checkpoint is not None and self._chain is None

    @property
    def headers(self) -> HeaderChain | None:
        """The chain as its readers see it."""
        return self.chain.headers if self.chain is not None else None

    # -- store and chain

    def _open(self) -> None:
        """Checks every stored header: 0.3 s for 1,000,000 of them."""
        self.store = HeaderStore.open(
            store_path(self.datadir, self.params.name),
            genesis_hash=self.params.genesis_hash,
            start=None if self.checkpoint else record_of(genesis_of(self.params)),
            now=self.clock(),
            write_buffer=self._write_buffer,
        )
        for fault in self.store.faults:
            log.warning("store healed", network=self.params.name, what=fault)
        if self.store.start is not None:
            self._agree(self.store)
            self._load(checkpoint_of(self.store.start))

    def _shut(self) -> Callable[[], None] | None:
        store, self.store, self._chain = self.store, None, None
        return store.close if store is not None else None

    def _load(self, start: Checkpoint | None) -> None:
        if self.store is None:
            raise RuntimeError("open comes first")
        chain = StoredChain(self.params, self.store, start, clock=self.clock)
        if chain.report.fault is not None:
            log.warning("store cut", network=self.params.name, reason=str(chain.report.fault), tip=chain.tip.height)
        log.info("chain loaded", network=self.params.name, base=chain.headers.base, tip=chain.tip.height)
        self._chain = chain
        trim()

    def _agree(self, store: HeaderStore) -> None:
        """What was begun stays; a checkpoint that contradicts it is an error of the configuration, and no reason to cut
        the store: so this comes before loading. One that lies elsewhere is held against what is yet to come."""
        wanted = self.checkpoint
        if wanted is None:
            return
        if not store.base <= wanted.height <= store.tip_height:
            began = "genesis" if store.base == 0 else f"the checkpoint at {store.base}"
            log.info(f"the chain began at {began}; the checkpoint at {wanted.height} is held against it",
                     network=self.params.name, hash=hash_hex(wanted.block_hash))  # fmt: skip
            return
        stored = header_hash(store.header(wanted.height))
        if stored != wanted.block_hash:
            raise InputError("checkpoint", f"height {wanted.height} is {hash_hex(stored)} in {self.datadir}")

    # -- what others tell

    def judge_tip(self, height: int, header: bytes) -> bool | None:
        """A gossiped tip: True when it is news that keeps every rule where our chain ends, False when it lacks its
        proof of work, None when it lies elsewhere (one of us is behind), or is known, and was passed on by then: old
        headers have their proof of work, too, and must not go round the mesh for nothing."""
        raw = Header(header)
        target = target_of(raw.bits, self.params.pow_limit)
        if target is None or int.from_bytes(raw.hash, "little") > target:
            return False
        chain = self.chain
        if chain is None or not -GOSSIP_DEPTH <= height - chain.tip.height <= 1:
            return None
        verdict = chain.plan(header, int(self.clock()))
        news = verdict.outcome in (Outcome.EXTENDS, Outcome.REORGANIZES, Outcome.FORK)
        return True if news and verdict.last == height else None

    # -- what the node tells of it

    @property
    def tip_time(self) -> float | None:
        """See ``Follower``."""
        chain = self.headers
        return Header(chain.header(chain.tip_height)).time if chain is not None else None

    def events(self, cursor: int, limit: int) -> Sequence[Event]:
        """See ``Follower``."""
        return self.store.events(cursor, limit) if self.store is not None else []

    @property
    def last_event(self) -> int:
        """See ``Follower``."""
        return self.store.last_seq if self.store is not None else 0

    def peers(self) -> Sequence[Mapping[str, Any]]:
        """See ``Follower``."""
        peers = self._mesh_peers() or ()
        mesh = [_peer(peer, self.network) for peer in peers if self.network in peer.tips]
        wire = self.wire.peers() if self.wire is not None else []
        return [{"id": number, **row} for number, row in enumerate([*mesh, *wire])]

    def controls(self) -> Sequence[PeerControl]:
        """See ``Follower``."""
        net = self.wire.net if self.wire is not None else None
        return self._mesh_controls() if net is None else (*self._mesh_controls(), net.control)

    def reasons(self) -> Mapping[str, bool]:
        """See ``Follower``."""
        chain, driver = self.headers, self.driver
        if chain is None or driver is None:
            return {}
        age = self.clock() - Header(chain.header(chain.tip_height)).time
        stale_after = STALE_BLOCKS * chain.params.spacing
        ours = driver.machine
        alone = self._mesh_peers() is None and self.wire is None
        return {
            "the mesh is off: nobody confirms the tip": alone,
            "no peer": not alone and not self.peers(),
            "most peers of Bitcoin's network are on another branch": self.wire is not None and self.wire.outvoted,
            "the checkpoint is not on a valid chain": ours.refuted,
            **self._held_reasons(chain.tip_height),
            "the tip has less than the minimum chain work":
                chain.work_known and chain.chainwork(chain.tip_height) < chain.minimum_chain_work,
            f"synchronising: {ours.state}": driver.behind,
            f"the tip is {span(age)} old, stale after {span(stale_after)}":
                not chain.params.no_retargeting and age > stale_after,
            "the clock is behind the tip": age < -CLOCK_AHEAD,
        }  # fmt: skip

    def _held_reasons(self, tip_height: int) -> Mapping[str, bool]:
        """What a checkpoint above the tip says: whoever named it knows of a chain that is longer than ours."""
        wanted = self.checkpoint
        if wanted is None:
            return {}
        below, name = tip_height < wanted.height, f"checkpoint at height {wanted.height}"
        contradicted = self.contradictions > 0
        return {
            f"peers have another block at the {name}: is its hash right?": below and contradicted,
            f"not yet at the {name}": below and not contradicted,
        }

    @property
    def contradictions(self) -> int:
        """How often a chain was refused because of another block at a checkpoint."""
        sources = (self._chain, self.mesh, None if self.wire is None else self.wire.source)
        return sum(one.contradictions for one in sources if one is not None)

    # -- beginning

    async def _begin(self) -> None:
        """Asks every peer that can have it, until one sends the header that hashes to the checkpoint. One that has
        another there is asked again when it has another tip."""
        denied: dict[str, ev.PeerTip] = {}
        while self.chain is None:
            self.claimed = trio.Event()
            denied = {peer: claim for peer, claim in denied.items() if peer in self.claims}
            for peer, claim in list(self.claims.items()):
                if denied.get(peer) is not claim and await self._denies_checkpoint(claim):
                    denied[peer] = claim
                if self.chain is not None:
                    return
            with trio.move_on_after(RETRY_CHECKPOINT):
                await self.claimed.wait()

    async def _denies_checkpoint(self, claim: ev.PeerTip) -> bool:
        """Asks for the checkpoint's header and begins the chain with it. True where the peer has another one: its
        fault, or the operator's, so nobody is scored for it."""
        wanted, store = self.checkpoint, self.store
        if wanted is None or store is None or not claim.base <= wanted.height <= claim.tip.height:
            return False
        reply: Items | RemoteFault | None = None
        with trio.move_on_after(self.sync.deadline):
            reply = await self.source.fetch_range(claim.peer, Height(wanted.height), 1)
        if isinstance(reply, RemoteFault):
            await self.source.report(reply)
        elif reply is None:
            fault = RemoteFault(FaultReason.TIMEOUT, claim.peer, "no checkpoint header", self.params.name)
            await self.source.report(fault)
        elif len(reply.items) != HEADER_SIZE or header_hash(reply.items) != wanted.block_hash:
            log.warning("a peer has another block at the checkpoint", network=self.params.name, peer=claim.peer,
                        height=wanted.height, hash=hash_hex(header_hash(reply.items)))  # fmt: skip
            return True
        else:
            work = Work(wanted.work or 0)
            start = Checkpoint(Height(wanted.height), wanted.block_hash, reply.items, work, wanted.peak_hashes)
            check_checkpoint(self.params, start)
            await trio.to_thread.run_sync(store.set_start, record_of(start))
            await trio.to_thread.run_sync(self._load, start)
        return False


def _peer(peer: PeerInfo, network: str) -> Mapping[str, Any]:
    """Under Core's names where it has them."""
    tip = peer.tips[network]
    return {
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
