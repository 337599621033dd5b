"""A beacon chain without network or disk: mainnet's 21 recorded periods, run through the real rules with real BLS."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from eth_vectors import archive, real_json, real_updates, unhex

from spvnode.bls import Verifier
from spvnode.ethereum.bundle import encode, make_bundle
from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientHeader,
    LightClientObject,
    LightClientOptimisticUpdate,
    LightClientUpdate,
    beacon_root,
    decode,
)
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.light_client import (
    initialize_light_client_store,
    process_light_client_finality_update,
    process_light_client_optimistic_update,
    process_light_client_update,
)
from spvnode.ethereum.networks import ETHEREUM, Network
from spvnode.ethereum.reasons import Rejection
from spvnode.ethereum.store import LightClientStore
from spvnode.ethereum.units import Root, compute_sync_committee_period_at_slot
from spvnode.types import Hash32
from spvnode.view import BeaconStart, ExecutionRecord

SET = "mainnet-capella-nimbus21"
TRUSTED_ROOT = Root(unhex(real_json(SET, "manifest.json")["trusted_block_root"]))


Recorded = TypeVar("Recorded", bound=LightClientObject)


class RealBeacon:
    """``BeaconView`` of the recorded set: at its bootstrap, moved on by ``follow``."""

    def __init__(self, network: Network = ETHEREUM) -> None:
        self.params = network
        self.bootstrap: LightClientBootstrap = recorded("bootstrap", LightClientBootstrap)
        self.start = BeaconStart(TRUSTED_ROOT, self.bootstrap.header.beacon.slot, "root", ("config",))
        self.finality_update: LightClientFinalityUpdate | None = None
        self.optimistic_update: LightClientOptimisticUpdate | None = None
        self.best: dict[int, LightClientUpdate] = {}
        self.records: list[ExecutionRecord] = []
        self._verifier = Verifier()
        store = initialize_light_client_store(network, TRUSTED_ROOT, self.bootstrap)
        assert isinstance(store, LightClientStore)
        self.store = store

    @property
    def network(self) -> str:
        return self.params.name

    @property
    def finalized(self) -> LightClientHeader:
        return self.store.finalized_header

    @property
    def optimistic(self) -> LightClientHeader:
        return self.store.optimistic_header

    @property
    def periods(self) -> tuple[int, int]:
        first = self._period(self.start.slot)
        return first, max(self.best, default=first - 1)

    def bootstrap_at(self, root: Hash32) -> LightClientBootstrap | None:
        return self.bootstrap if root == self.start.root else None

    def updates(self, start_period: int, count: int) -> Sequence[LightClientUpdate]:
        found = []
        for period in range(start_period, start_period + count):
            if period not in self.best:
                break
            found.append(self.best[period])
        return found

    def execution(self, block: int | Hash32) -> ExecutionRecord | None:
        return next((one for one in self.records if block in (one.block_number, one.block_hash)), None)

    def bundle(self, header: str, *, made_at: int) -> bytes:
        return encode(make_bundle(self, header, made_at))

    # -- moving on

    def follow(self) -> RealBeacon:
        """To the end of the set: 21 periods, the finality update, the optimistic update."""
        for update in recorded_updates():
            self.add_update(update)
        self.add_finality(recorded("finality_update", LightClientFinalityUpdate))
        self.add_optimistic(recorded("optimistic_update", LightClientOptimisticUpdate))
        return self

    def add_update(self, update: LightClientUpdate) -> None:
        slot = update.signature_slot
        self._move(process_light_client_update(self.params, self.store, update, slot, self._verifier))
        self.best[self._period(update.attested_header.beacon.slot)] = update

    def add_finality(self, update: LightClientFinalityUpdate) -> None:
        slot = update.signature_slot
        self._move(process_light_client_finality_update(self.params, self.store, update, slot, self._verifier))
        self.finality_update = update

    def add_optimistic(self, update: LightClientOptimisticUpdate) -> None:
        slot = update.signature_slot
        self._move(process_light_client_optimistic_update(self.params, self.store, update, slot, self._verifier))
        self.optimistic_update = update

    def _move(self, new: LightClientStore | Rejection) -> None:
        assert isinstance(new, LightClientStore), new
        if new.finalized_header != self.store.finalized_header:
            self.records.append(record(new.finalized_header))
        self.store = new

    def _period(self, slot: int) -> int:
        return compute_sync_committee_period_at_slot(self.params.preset, slot)


def recorded(file: str, kind: type[Recorded]) -> Recorded:
    """An object of the set, in the layout it was recorded in."""
    fork = Fork(real_json(SET, "manifest.json")["files"][file]["version"])
    return decode(ETHEREUM.preset, fork, kind, archive("real")[f"{SET}/{file}.ssz"])


@cache
def recorded_updates() -> tuple[LightClientUpdate, ...]:
    """Its 21 updates, periods 800 to 820."""
    return tuple(real_updates(SET, ETHEREUM))


@cache
def followed() -> RealBeacon:
    """The chain at the end of the set. Shared: read it only."""
    return RealBeacon().follow()


def record(header: LightClientHeader) -> ExecutionRecord:
    """What a header says of its execution block."""
    execution = header.execution
    assert execution is not None
    return ExecutionRecord(
        header.beacon.slot,
        beacon_root(header.beacon),
        execution.block_number,
        execution.block_hash,
        execution.state_root,
        execution.receipts_root,
        execution.transactions_root,
        execution.timestamp,
    )
