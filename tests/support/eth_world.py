"""A made-up beacon chain for light clients: real keys and signatures, and states of which only the proven parts exist.

Every state root is the root of a sparse tree over the finalized root and both committees, every body root of one over
the execution data, at the generalized indices of the slot's fork; the siblings between them are random. Minimal preset.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from spvnode.bls_backends import CURVE_ORDER, Backend, default_backend
from spvnode.ethereum.containers import (
    BeaconBlockHeader,
    ExecutionPayloadHeader,
    LightClientBootstrap,
    LightClientHeader,
    LightClientUpdate,
    SyncAggregate,
    SyncCommittee,
    beacon_root,
    default_committee,
    default_header,
    execution_root,
    hash_tree_root,
)
from spvnode.ethereum.forks import LAYOUTS, Fork, ForkSchedule, ScheduledFork
from spvnode.ethereum.gindices import GINDICES
from spvnode.ethereum.light_client import compute_sync_committee_signing_root
from spvnode.ethereum.networks import Network
from spvnode.ethereum.presets import MINIMAL
from spvnode.ethereum.units import Epoch, Root, Slot, Version
from spvnode.ethereum.upgrade import upgrade_lc_header
from spvnode.types import Hash32

SIZE = MINIMAL.sync_committee_size
PERIOD_SLOTS = MINIMAL.update_timeout
VALIDATORS = 48
"""More than a committee has members, so that committees overlap; members may repeat."""


def sparse_tree(leaves: Mapping[int, bytes], rng: random.Random) -> dict[int, bytes]:
    """All nodes, by generalized index, of a tree with these nodes in it; the siblings they need are random."""
    nodes = dict(leaves)
    for gindex in sorted(leaves, reverse=True):
        at = gindex
        while at > 1:
            nodes.setdefault(at ^ 1, rng.randbytes(32))
            at >>= 1
    inner = {at >> 1 for gindex in nodes for at in [gindex] if at > 1}
    while inner:
        deepest = max(inner)
        inner.discard(deepest)
        nodes[deepest] = sha256(nodes[2 * deepest] + nodes[2 * deepest + 1]).digest()
        if deepest > 1:
            inner.add(deepest >> 1)
    return nodes


def branch(nodes: Mapping[int, bytes], gindex: int) -> bytes:
    siblings = []
    while gindex > 1:
        siblings.append(nodes[gindex ^ 1])
        gindex >>= 1
    return b"".join(siblings)


def small_network(epochs: Mapping[Fork, int]) -> Network:
    """Minimal preset; ``epochs`` in the order of the forks, others unscheduled."""
    forks = [ScheduledFork("phase0", Version(bytes(4)), Epoch(0), Fork.PHASE0)]
    order = list(Fork)
    for fork, epoch in epochs.items():
        forks.append(ScheduledFork(fork.value, Version(bytes([order.index(fork), 0, 0, 1])), Epoch(epoch), fork))
    return Network("world", MINIMAL, ForkSchedule(tuple(forks)), Root(b"\x07" * 32), 1_600_000_000, 6_000)


@dataclass(frozen=True)
class Made:
    """A block: its light-client header, its state's nodes, and what that state has finalized (None: genesis)."""

    header: LightClientHeader
    nodes: dict[int, bytes]
    finalized: Made | None

    @property
    def slot(self) -> Slot:
        return self.header.beacon.slot


class World:
    def __init__(self, network: Network, rng: random.Random, periods: int, backend: Backend | None = None) -> None:
        self.network, self.rng = network, rng
        self.backend = backend or default_backend()
        self.secrets = [rng.randrange(1, CURVE_ORDER) for _ in range(VALIDATORS)]
        self.points = [self.backend.public_key(secret) for secret in self.secrets]
        self.members = [[rng.randrange(VALIDATORS) for _ in range(SIZE)] for _ in range(periods + 2)]
        self.committees = [self._committee(members) for members in self.members]
        self.blocks: list[Made] = []
        slot = 0
        while slot < periods * PERIOD_SLOTS:
            slot += rng.choice((1, 1, 2, 5, 9))
            self.blocks.append(self._make(Slot(slot)))

    def _committee(self, members: Sequence[int]) -> SyncCommittee:
        points = [self.points[member] for member in members]
        keys = b"".join(self.backend.encode(point) for point in points)
        return SyncCommittee(keys, self.backend.encode(self.backend.add(points)))

    def layout(self, slot: Slot) -> Fork:
        fork = self.network.schedule.entry_at(Epoch(slot // MINIMAL.slots_per_epoch)).fork
        return LAYOUTS[fork or Fork.ALTAIR]

    def _execution(self, layout: Fork) -> ExecutionPayloadHeader:
        node, number = self.rng.randbytes, self.rng.randrange
        blobs = (number(2**32), number(2**32)) if layout is not Fork.CAPELLA else (0, 0)
        return ExecutionPayloadHeader(
            Hash32(node(32)), node(20), Hash32(node(32)), Hash32(node(32)), node(256), node(32), number(2**32),
            number(2**32), number(2**32), number(2**32), node(number(33)), number(2**64), Hash32(node(32)),
            Hash32(node(32)), Hash32(node(32)), *blobs,
        )  # fmt: skip

    def _make(self, slot: Slot) -> Made:
        rng, layout = self.rng, self.layout(slot)
        period = slot // PERIOD_SLOTS
        older = [block for block in self.blocks if block.slot <= slot - 2]
        finalized = rng.choice(older[-6:]) if older and rng.random() < 0.9 else None
        gindices = GINDICES[layout]
        nodes = sparse_tree(
            {
                gindices.finalized_root: beacon_root(finalized.header.beacon) if finalized else bytes(32),
                gindices.current_sync_committee: hash_tree_root(MINIMAL, self.committees[period]),
                gindices.next_sync_committee: hash_tree_root(MINIMAL, self.committees[period + 1]),
            },
            rng,
        )
        execution = self._execution(layout) if layout not in (Fork.ALTAIR, Fork.GLOAS) else None
        block_hash = Hash32(rng.randbytes(32)) if layout is Fork.GLOAS else None
        leaf = execution_root(layout, execution) if execution else block_hash
        body = sparse_tree({gindices.execution: leaf}, rng) if leaf else {1: rng.randbytes(32)}
        beacon = BeaconBlockHeader(slot, rng.randrange(64), Root(rng.randbytes(32)), Root(nodes[1]), Root(body[1]))
        header = LightClientHeader(
            layout, beacon, execution, block_hash, branch(body, gindices.execution) if leaf else b""
        )
        return Made(header, nodes, finalized)

    def bootstrap(self, block: Made) -> LightClientBootstrap:
        layout = block.header.fork
        committee = self.committees[block.slot // PERIOD_SLOTS]
        proof = branch(block.nodes, GINDICES[layout].current_sync_committee)
        return LightClientBootstrap(layout, block.header, committee, proof)

    def update(
        self, attested: Made, signature_slot: Slot, participants: int, *, committee: bool, finality: bool
    ) -> LightClientUpdate:
        layout = attested.header.fork
        gindices = GINDICES[layout]
        finalized_header = default_header(layout)
        if finality and attested.finalized:
            finalized_header = upgrade_lc_header(self.network, attested.finalized.header, layout)
        next_committee = self.committees[attested.slot // PERIOD_SLOTS + 1] if committee else default_committee(SIZE)
        committee_depth, finality_depth = gindices.depths["COMMITTEE_DEPTH"], gindices.depths["FINALITY_DEPTH"]
        return LightClientUpdate(
            fork=layout,
            attested_header=attested.header,
            next_sync_committee=next_committee,
            next_sync_committee_branch=(
                branch(attested.nodes, gindices.next_sync_committee) if committee else bytes(32 * committee_depth)
            ),
            finalized_header=finalized_header,
            finality_branch=(
                branch(attested.nodes, gindices.finalized_root) if finality else bytes(32 * finality_depth)
            ),
            sync_aggregate=self.sign(attested.header, signature_slot, participants),
            signature_slot=signature_slot,
        )

    def sign(self, header: LightClientHeader, signature_slot: Slot, participants: int) -> SyncAggregate:
        """By that many random members of the committee of ``signature_slot``."""
        signers = self.rng.sample(range(SIZE), participants)
        bits = sum(1 << signer for signer in signers).to_bytes(SIZE // 8, "little")
        members = self.members[signature_slot // PERIOD_SLOTS]
        secret = sum(self.secrets[members[signer]] for signer in signers) % CURVE_ORDER
        message = compute_sync_committee_signing_root(self.network, beacon_root(header.beacon), signature_slot)
        signature = self.backend.encode(self.backend.sign(secret, message)) if secret else b"\xc0" + bytes(95)
        return SyncAggregate(bits, signature)

    def random_update(self) -> LightClientUpdate:
        """Mostly valid for some store; now and then spoiled in one place."""
        rng = self.rng
        attested = rng.choice(self.blocks[:-1])
        gap = rng.choice((1, 1, 1, 2, 3, PERIOD_SLOTS))
        last = (len(self.members) - 1) * PERIOD_SLOTS
        signature_slot = Slot(min(attested.slot + gap, last))
        participants = rng.choice((SIZE, SIZE, SIZE - 3, 22, 21, 12, 1, 0))
        update = self.update(
            attested, signature_slot, participants, committee=rng.random() < 0.7, finality=rng.random() < 0.8
        )
        return self.spoil(update) if rng.random() < 0.3 else update

    def spoil(self, update: LightClientUpdate) -> LightClientUpdate:
        rng = self.rng
        other = rng.choice(self.blocks)
        aggregate = update.sync_aggregate
        wrong = [
            {"next_sync_committee": rng.choice(self.committees)},
            {"next_sync_committee_branch": bytes(len(update.next_sync_committee_branch))},
            {"finality_branch": bytes(len(update.finality_branch))},
            {"finality_branch": rng.randbytes(len(update.finality_branch))},
            {"finalized_header": default_header(update.fork)},
            {"signature_slot": Slot(update.signature_slot + rng.choice((-1, 1, PERIOD_SLOTS)))},
            {"sync_aggregate": replace(aggregate, sync_committee_bits=rng.randbytes(SIZE // 8))},
            {"sync_aggregate": replace(aggregate, sync_committee_signature=b"\xc0" + bytes(95))},
        ]
        if other.header.fork is update.fork:
            wrong.append({"attested_header": other.header})
            wrong.append({"finalized_header": other.header})
        changes = rng.choice(wrong)
        return replace(update, **changes)  # type: ignore[arg-type]
