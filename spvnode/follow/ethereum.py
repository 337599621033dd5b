"""One Ethereum network being followed.

Trust begins at a block that the operator names, or a quorum does (``trust``); until then there is no chain, and ``why``
says what is missing. Peers come from the network's own libp2p (``ethereum_p2p``) and from Beacon APIs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import trio

from p2p.bans import BanList
from p2p.beacon.service import BeaconNet
from p2p.faults import RemoteFault, gone
from p2p.rest.api import BeaconApi
from p2p.rest.client import RestClient
from p2p.rest.endpoint import Endpoint, parse_endpoint
from spvnode.config import BeaconConfig, SyncConfig
from spvnode.errors import InputError
from spvnode.ethereum.chain import BeaconChain
from spvnode.ethereum.containers import beacon_root
from spvnode.ethereum.forks import HorizonState
from spvnode.ethereum.reasons import Rejection
from spvnode.ethereum.units import Epoch, Root, Slot, compute_epoch_at_slot, compute_start_slot_at_epoch
from spvnode.ethereum.weak_subjectivity import compute_weak_subjectivity_period
from spvnode.follow.base import Follower, Service
from spvnode.follow.ethereum_network import network_of
from spvnode.follow.ethereum_p2p import BeaconWire
from spvnode.follow.ethereum_peers import peer_of, rest_peer_of
from spvnode.follow.trust import Refusal, TrustConfig, TrustStart, awaited
from spvnode.follow.witness import PeerWitness, RestWitness, Witness
from spvnode.memory import trim
from spvnode.store.beacon import BeaconStore
from spvnode.store.events import Event
from spvnode.store.folder import store_path
from spvnode.sync.beacon import BeaconSource, Front
from spvnode.sync.beacon_rest import OURS, RestSource
from spvnode.sync.cross_check import Disagreement
from spvnode.sync.sources import Routed
from spvnode.types import Hash32
from spvnode.units import span
from spvnode.view import PeerControl

STALE_SLOTS = 64
"""Slots that the optimistic header may be old: two epochs. Public networks miss few slots, and an update wants
the next one's block."""
STALE_EPOCHS = 8
"""Epochs that the finalized header may be old. It is two to three on a good day."""
DISAGREEMENT_EPOCHS = 3
"""Epochs of undisputed finality after which a disagreement is history."""
FIRST_WITNESS_S = 5.0
"""Seconds that the first attempt to begin waits for somebody who could be asked."""
REMIND = 86_400.0
"""Seconds between two reminders of a fork that this version does not know."""
CLOCK_AHEAD_SLOTS = 2
"""Slots that a signed header may be ahead of our clock before the clock is what looks wrong."""

log = structlog.get_logger("node")


class EthereumFollower(Follower):
    """See ``Follower``."""

    imports = False

    def __init__(
        self,
        config: BeaconConfig,
        datadir: Path,
        *,
        sync: SyncConfig,
        write_buffer: int,
        pool: trio.CapacityLimiter,
        clock: Callable[[], float],
        bans: BanList | None = None,
    ) -> None:
        self.config = config
        self.params = network_of(config)
        self._store_path = store_path(datadir, self.params.name)
        self._write_buffer = write_buffer
        self._store: BeaconStore | None = None
        self._chain: BeaconChain | None = None
        self._trust: TrustStart | None = None
        self._refusal: Refusal | None = None
        self._disagreement: Disagreement | None = None
        self._gap: float | None = None
        """How old the finalized header was at the start, where that is too old to go on without a word."""
        self._api = BeaconApi(RestClient())
        self._endpoints: tuple[Endpoint, ...] = tuple(parse_endpoint(url) for url in config.apis)
        self._wire = BeaconWire(self, config, self._store_path.parent, clock, bans)
        self.rest = RestSource(
            self.params,
            self._api,
            self._endpoints,
            tip=lambda: self._chain.tip if self._chain is not None else None,
            finalized=self._finalized,
            on_disagreement=self._disagreed,
            clock=clock,
        )
        source = Routed(BeaconSource(self.params, lambda: self.net), {"rest:": self.rest})
        super().__init__(self.params.name, source, sync=sync, pool=pool, clock=clock)

    @staticmethod
    def hash_text(block_hash: Hash32) -> str:
        """See ``Follower``."""
        return "0x" + block_hash.hex()

    @property
    def chain(self) -> BeaconChain | None:
        """The chain as the driver sees it."""
        return self._chain

    @property
    def beacon(self) -> BeaconChain | None:
        """The chain as its readers see it."""
        return self._chain

    @property
    def net(self) -> BeaconNet | None:
        """The wire, None while it is off or being restarted."""
        return self._wire.net

    @property
    def front(self) -> Front | None:
        """How far the committed chain is."""
        chain = self._chain
        if chain is None:
            return None
        return Front(chain.tip.height, chain.finalized.beacon.slot, chain.optimistic.beacon.slot)

    @property
    def identity(self) -> Mapping[str, Any]:
        """See ``Follower``."""
        wire = self._wire
        return {"peer_id": wire.peer_id, "addresses": list(wire.addrs), "enr": wire.enr} if wire.addrs else {}

    def controls(self) -> Sequence[PeerControl]:
        """See ``Follower``."""
        return () if self.net is None else (self.net.control,)

    def services(self) -> Sequence[Service]:
        """See ``Follower``."""
        found: list[Service] = [(f"horizon {self.network}", self._watch_horizon)]
        if self.config.p2p:
            found.append((f"beacon {self.network}", self._wire.run))
        if self._endpoints:
            found.append((f"api {self.network}", partial(self.rest.run, self)))
        return found

    # -- store and chain

    def _open(self) -> None:
        self._store = BeaconStore.open(
            self._store_path,
            chain_id=self.params.genesis_validators_root,
            now=self.clock(),
            write_buffer=self._write_buffer,
        )
        for fault in self._store.faults:
            log.warning("store healed", network=self.network, what=fault)
        self._take(BeaconChain.open(self.params, self._store, clock=self.clock))
        if self._chain is not None:
            self._agree(self._chain)
            self._gap = self._too_old(self._chain)

    def _shut(self) -> Callable[[], None] | None:
        store, self._store, self._chain = self._store, None, None
        return store.close if store is not None else None

    def _agree(self, chain: BeaconChain) -> None:
        """What was begun stays; a root that contradicts it is an error of the configuration."""
        wanted = self.config.checkpoint_root
        if wanted is not None and chain.start.root != wanted:
            began = f"{self._store_path.parent} began at 0x{chain.start.root.hex()}"
            raise InputError("beacon.checkpoint", f"{began}: leave it out, or take a new data directory")

    def _too_old(self, chain: BeaconChain) -> float | None:
        """Seconds since the finalized header, where they are more than the weak-subjectivity period."""
        slot, params = chain.finalized.beacon.slot, self.params
        epochs = compute_weak_subjectivity_period(params, compute_epoch_at_slot(params.preset, slot))
        age = self.clock() - params.start_of(slot)
        return age if age > epochs * params.preset.slots_per_epoch * params.slot_duration_ms / 1000 else None

    def _take(self, chain: BeaconChain | None) -> None:
        self._chain = chain
        if chain is None:
            return
        for fault in chain.faults:
            log.warning("chain cut", network=self.network, what=fault)
        log.info("chain loaded", network=self.network, finalized=chain.finalized.beacon.slot, period=chain.tip.height)
        trim()

    # -- beginning

    async def _begin(self) -> None:
        """Waits until trust can begin. A refusal is not tried again: only the operator can go on, and is told why."""
        if self._store is None:
            raise RuntimeError("open comes first")
        config, known = self.config, self._store.start
        wanted = config.checkpoint_root or (known.root if known is not None else None)
        trust = TrustConfig(
            root=Root(wanted) if wanted else None,
            file=Path(config.checkpoint_file) if config.checkpoint_file and known is None else None,
            rest_quorum=config.quorum if self._endpoints else 0,
            peer_quorum=0 if self._endpoints else config.quorum,
            # What was begun goes on; another root than that is a beginning like any other.
            allow_stale=config.allow_stale_checkpoint or (known is not None and known.root == wanted),
        )
        if not trust.possible:
            log.warning("no start of trust", network=self.network, hint=f"--checkpoint {self.network}:ROOT or --quorum")
            await trio.sleep_forever()
        await self._first_witness()
        self._trust = TrustStart(self.params, trust, self._witnesses, folder=self._store_path.parent, clock=self.clock)
        found = await self._trust.establish()
        if isinstance(found, Refusal):
            self._refusal = found
            log.error("no start of trust", network=self.network, reason=str(found.reason), detail=found.detail)
            await trio.sleep_forever()
            return
        store, begin = self._store, found.begin
        if known is not None and known.root == begin.root:
            begin = known
        made = await trio.to_thread.run_sync(
            lambda: BeaconChain.begin(self.params, store, found.bootstrap.value, begin, clock=self.clock)
        )
        if isinstance(made, Rejection):
            raise InputError("beacon.checkpoint", f"{made.reason} {made.detail}")
        self._take(made)

    async def _first_witness(self) -> None:
        """The wire takes a moment: an attempt without anybody to ask would only say so."""
        with trio.move_on_after(FIRST_WITNESS_S):
            while self.config.p2p and not self._witnesses():  # noqa: ASYNC110 - several things bring one
                await trio.sleep(0.1)

    def _witnesses(self) -> list[Witness]:
        """Who can be asked now. Of peers, those that we dialed: two strangers who dial us would be a quorum, or a
        contradiction that only the operator could resolve."""
        found: list[Witness] = [RestWitness(self.params, self._api, endpoint) for endpoint in self._endpoints]
        net = self.net
        for peer in net.peers() if net is not None else ():
            if peer.status is not None and not peer.inbound:
                status = peer.status
                found.append(
                    PeerWitness(self.params, peer.id, status.finalized_epoch, status.finalized_root, self._bootstrap)
                )
        return found

    async def _bootstrap(self, peer: str, root: bytes) -> tuple[bytes, bytes] | RemoteFault:
        net = self.net
        if net is None:
            return gone(peer, self.network, "the wire is down")
        chunk = await net.get_bootstrap(peer, root)
        if isinstance(chunk, RemoteFault):
            await net.report(chunk)
            return chunk
        return chunk.digest, chunk.ssz

    # -- what the node tells of it

    @property
    def tip_time(self) -> float | None:
        """See ``Follower``: of the optimistic header."""
        return self.params.start_of(self._chain.optimistic.beacon.slot) if self._chain is not None else None

    def events(self, cursor: int, limit: int) -> Sequence[Event]:
        """See ``Follower``."""
        return self._store.events(cursor, limit) if self._store is not None else []

    @property
    def last_event(self) -> int:
        """See ``Follower``."""
        return self._store.last_seq if self._store is not None else 0

    def peers(self) -> Sequence[Mapping[str, Any]]:
        """See ``Follower``."""
        beacon = [peer_of(self.params, peer) for peer in (self.net.peers() if self.net is not None else ())]
        apis = [rest_peer_of(one) for one in self.rest.info() if one["up"]]
        return [{"id": i, **peer} for i, peer in enumerate(beacon + apis)]

    def details(self) -> Mapping[str, Any]:
        """See ``Follower``."""
        horizon = self.params.schedule.horizon
        return {
            "fork_horizon": None if horizon is None else {"epoch": horizon, "time": int(self._time_of(horizon))},
            "discovered": self._wire.discovered,
            "enr": self._wire.enr,
            "trust": self.why,
            "apis": self.rest.info(),
            "warnings": list(self.warnings()),
        }

    @property
    def waits_for(self) -> str:
        """See ``Follower``."""
        return awaited(bool(self.config.checkpoint or self.config.checkpoint_file), self._refusal)

    @property
    def why(self) -> str:
        """Why there is no start of trust yet; empty once there is."""
        if self._chain is not None:
            return ""
        if self._refusal is not None:
            return str(self._refusal)
        return self._trust.problem if self._trust is not None else ""

    def reasons(self) -> Mapping[str, bool]:
        """See ``Follower``."""
        chain, driver = self._chain, self.driver
        if chain is None or driver is None:
            return {}
        now = self.params.slot_at(self.clock())
        epoch = compute_epoch_at_slot(self.params.preset, now)
        finalized, signed = chain.finalized.beacon.slot, chain.optimistic.beacon.slot
        most = STALE_EPOCHS * self.params.preset.slots_per_epoch
        horizon = self.params.schedule.horizon_state(epoch, self.params.horizon_warning_epochs)
        return {
            "this version does not know the fork that is in force: update it": horizon is HorizonState.PASSED,
            "no peer": not self.peers_up,
            f"synchronising: {driver.machine.state}": driver.behind,
            f"the signed header is {self._age(signed)} old, stale after {self._span(STALE_SLOTS)}":
                now > signed + STALE_SLOTS,
            f"the finalized header is {self._age(finalized)} old, stale after {self._span(most)}":
                now > finalized + most,
            "most sources call another block final": self._outvoted(chain),
            "the clock is behind the tip": signed > now + CLOCK_AHEAD_SLOTS,
        }  # fmt: skip

    @property
    def peers_up(self) -> int:
        """Sources that claim anything now."""
        return len(self.claims)

    def warnings(self) -> Sequence[str]:
        """What the operator should do before replies stop deserving belief."""
        return (*self._horizon_warning(), *self._absence_warning())

    def _absence_warning(self) -> Sequence[str]:
        """Since this start: members that have left since could have signed another history."""
        if self._gap is None:
            return ()
        return (f"when this start began, the finalized header was {span(self._gap)} old, beyond weak subjectivity: "
                "compare the finalized root with another source",)  # fmt: skip

    def _horizon_warning(self) -> Sequence[str]:
        epoch = compute_epoch_at_slot(self.params.preset, self.params.slot_at(self.clock()))
        horizon = self.params.schedule.horizon
        state = self.params.schedule.horizon_state(epoch, self.params.horizon_warning_epochs)
        if horizon is None or state is HorizonState.CLEAR:
            return ()
        left = self._time_of(horizon) - self.clock()
        return (f"this version knows the network's forks for {span(left)} more: update it" if left > 0 else
                "this version does not know the fork that is in force: update it",)  # fmt: skip

    async def _watch_horizon(self) -> None:
        """Reminds the operator."""
        while True:
            self.remind()
            await trio.sleep(REMIND)

    def remind(self) -> None:
        """Logs the warnings that hold, each kind under its name."""
        for warning in self._horizon_warning():
            log.warning("fork horizon", network=self.network, what=warning)
        for warning in self._absence_warning():
            log.warning("weak subjectivity", network=self.network, what=warning)

    def _age(self, slot: Slot) -> str:
        return span(self.clock() - self.params.start_of(slot))

    def _span(self, slots: int) -> str:
        return span(slots * self.params.slot_duration_ms / 1000)

    def _time_of(self, horizon: Epoch) -> float:
        """When the last epoch that we can follow ends."""
        return self.params.start_of(compute_start_slot_at_epoch(self.params.preset, Epoch(horizon + 1)))

    def _finalized(self) -> tuple[Slot, Root] | None:
        chain = self._chain
        return None if chain is None else (chain.finalized.beacon.slot, beacon_root(chain.finalized.beacon))

    def _disagreed(self, what: Disagreement) -> None:
        self._disagreement = what

    def _outvoted(self, chain: BeaconChain) -> bool:
        """Whether, lately, more sources called another block final than called ours so. We follow signatures, not
        votes; but then either two thirds of a committee lied, or we are the one on the wrong chain."""
        what = self._disagreement
        if (
            what is None
            or chain.finalized.beacon.slot > what.slot + DISAGREEMENT_EPOCHS * self.params.preset.slots_per_epoch
        ):
            return False
        votes = sorted((len([name for name in names if name != OURS]), OURS in names) for names in what.roots.values())
        return not votes[-1][1]
