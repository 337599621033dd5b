"""A long made-up chain at the mainnet preset: each period a committee of its own and a best update, really signed.

As ``eth_world``, of which it is the large and uniform sister: every update is complete, in the electra layout, and
signed by all but 26 of the 512 members (the usual 95 %).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from spvnode.bls_backends import CURVE_ORDER, Backend, make_backend
from spvnode.ethereum.containers import (
    BeaconBlockHeader,
    ExecutionPayloadHeader,
    LightClientBootstrap,
    LightClientHeader,
    LightClientUpdate,
    SyncAggregate,
    SyncCommittee,
    beacon_root,
    execution_root,
    hash_tree_root,
)
from spvnode.ethereum.forks import Fork, ForkSchedule, ScheduledFork
from spvnode.ethereum.gindices import GINDICES
from spvnode.ethereum.light_client import compute_sync_committee_signing_root
from spvnode.ethereum.networks import Network
from spvnode.ethereum.presets import MAINNET
from spvnode.ethereum.units import Epoch, Root, Slot, Version
from spvnode.types import Hash32
from tests.support.eth_world import branch, sparse_tree

SIZE = MAINNET.sync_committee_size
PERIOD_SLOTS = MAINNET.update_timeout
MISSING = 26
VALIDATORS = 1_024
"""Keys to draw committees from: making one takes as long as verifying a quarter of a signature."""
LAYOUT = Fork.ELECTRA
FORKS = (Fork.ALTAIR, Fork.BELLATRIX, Fork.CAPELLA, Fork.DENEB, Fork.ELECTRA)


def network() -> Network:
    """All forks at genesis, in the year 2020: everything below is in the past."""
    forks = [ScheduledFork("phase0", Version(bytes(4)), Epoch(0), Fork.PHASE0)]
    forks += [ScheduledFork(fork.value, Version(bytes([rank, 0, 0, 9])), Epoch(0), fork)
              for rank, fork in enumerate(FORKS, 1)]  # fmt: skip
    return Network("long", MAINNET, ForkSchedule(tuple(forks)), Root(b"\x09" * 32), 1_577_836_800, 12_000)


class LongChain:
    """A bootstrap in period 0, and updates at any slot after it."""

    def __init__(self, seed: int, backend: Backend | None = None) -> None:
        self.network = network()
        self._rng = random.Random(seed)
        self._backend = backend or make_backend("blspy")
        self._secrets = [self._rng.randrange(1, CURVE_ORDER) for _ in range(VALIDATORS)]
        self._points = [self._backend.public_key(secret) for secret in self._secrets]
        self._keys = [self._backend.encode(point) for point in self._points]
        self._members: list[list[int]] = []
        self._committees: list[SyncCommittee] = []

    def committee(self, period: int) -> SyncCommittee:
        """The one of ``period``; members do not repeat."""
        while len(self._committees) <= period:
            members = self._rng.sample(range(VALIDATORS), SIZE)
            total = self._backend.add([self._points[member] for member in members])
            keys = b"".join(self._keys[member] for member in members)
            self._members.append(members)
            self._committees.append(SyncCommittee(keys, self._backend.encode(total)))
        return self._committees[period]

    def bootstrap(self) -> LightClientBootstrap:
        header, nodes = self._block(Slot(64), Root(bytes(32)))
        proof = branch(nodes, GINDICES[LAYOUT].current_sync_committee)
        return LightClientBootstrap(LAYOUT, header, self.committee(0), proof)

    def updates(self, count: int) -> Iterator[LightClientUpdate]:
        """The best update of each period from 0 on."""
        for period in range(count):
            yield self.update(Slot((period + 1) * PERIOD_SLOTS - 100))

    def update(self, slot: Slot) -> LightClientUpdate:
        """One whose attested block is at ``slot``, neither of a period's first epochs nor its last slot."""
        finalized, _ = self._block(Slot(slot - 64), Root(bytes(32)))
        attested, nodes = self._block(slot, beacon_root(finalized.beacon))
        gindices = GINDICES[LAYOUT]
        return LightClientUpdate(
            fork=LAYOUT,
            attested_header=attested,
            next_sync_committee=self.committee(slot // PERIOD_SLOTS + 1),
            next_sync_committee_branch=branch(nodes, gindices.next_sync_committee),
            finalized_header=finalized,
            finality_branch=branch(nodes, gindices.finalized_root),
            sync_aggregate=self.sign(attested, Slot(slot + 1)),
            signature_slot=Slot(slot + 1),
        )

    def sign(self, header: LightClientHeader, slot: Slot) -> SyncAggregate:
        """By all but ``MISSING`` random members of the committee at ``slot``."""
        self.committee(slot // PERIOD_SLOTS)
        members = self._members[slot // PERIOD_SLOTS]
        signers = self._rng.sample(range(SIZE), SIZE - MISSING)
        secret = sum(self._secrets[members[signer]] for signer in signers) % CURVE_ORDER
        message = compute_sync_committee_signing_root(self.network, beacon_root(header.beacon), slot)
        bits = sum(1 << signer for signer in signers).to_bytes(SIZE // 8, "little")
        return SyncAggregate(bits, self._backend.encode(self._backend.sign(secret, message)))

    def _block(self, slot: Slot, finalized: Root) -> tuple[LightClientHeader, dict[int, bytes]]:
        """A block, and the nodes of its state."""
        rng, gindices, period = self._rng, GINDICES[LAYOUT], slot // PERIOD_SLOTS
        leaves = {
            gindices.finalized_root: bytes(finalized),
            gindices.current_sync_committee: bytes(hash_tree_root(MAINNET, self.committee(period))),
            gindices.next_sync_committee: bytes(hash_tree_root(MAINNET, self.committee(period + 1))),
        }
        nodes = sparse_tree(leaves, rng)
        execution = self._execution(slot)
        body = sparse_tree({gindices.execution: bytes(execution_root(LAYOUT, execution))}, rng)
        beacon = BeaconBlockHeader(slot, rng.randrange(1 << 20), Root(rng.randbytes(32)), Root(nodes[1]), Root(body[1]))
        return LightClientHeader(LAYOUT, beacon, execution, None, branch(body, gindices.execution)), nodes

    def _execution(self, slot: Slot) -> ExecutionPayloadHeader:
        node = self._rng.randbytes
        return ExecutionPayloadHeader(
            Hash32(node(32)), node(20), Hash32(node(32)), Hash32(node(32)), node(256), node(32), slot, 36_000_000,
            18_000_000, int(self.network.start_of(slot)), node(20), 10**9, Hash32(node(32)), Hash32(node(32)),
            Hash32(node(32)), 131_072, 0,
        )  # fmt: skip
