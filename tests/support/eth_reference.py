"""The sync protocol once more, straight from the specs and as plainly as they put it: asserts, a mutable store, one hash at
a time, every key added up for every signature. It shares with the product only the classes that hold the data.

Source: consensus-specs v1.7.0-alpha.13, {altair,capella,deneb,electra,gloas}/light-client/{sync-protocol,fork}.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from hashlib import sha256
from typing import Any

from spvnode.ethereum.containers import (
    BeaconBlockHeader,
    ExecutionPayloadHeader,
    LightClientBootstrap,
    LightClientHeader,
    LightClientUpdate,
    SyncCommittee,
)
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.networks import Network

Z = bytes(32)
LAYOUTS = [Fork.ALTAIR, Fork.CAPELLA, Fork.DENEB, Fork.ELECTRA, Fork.GLOAS]
COMMITTEE_DEPTH = {Fork.ALTAIR: 5, Fork.CAPELLA: 5, Fork.DENEB: 5, Fork.ELECTRA: 6, Fork.GLOAS: 11}
FINALITY_DEPTH = {Fork.ALTAIR: 6, Fork.CAPELLA: 6, Fork.DENEB: 6, Fork.ELECTRA: 7, Fork.GLOAS: 9}
EXECUTION_DEPTH = {Fork.ALTAIR: 0, Fork.CAPELLA: 4, Fork.DENEB: 4, Fork.ELECTRA: 4, Fork.GLOAS: 11}


def hash2(left: bytes, right: bytes) -> bytes:
    return sha256(left + right).digest()


def tree(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All levels of a tree, leaves first, zeros up to a power of two."""
    level = list(leaves)
    while len(level) & (len(level) - 1):
        level.append(Z)
    levels = [level]
    while len(level) > 1:
        level = [hash2(level[at], level[at + 1]) for at in range(0, len(level), 2)]
        levels.append(level)
    return levels


def chunks(data: bytes) -> list[bytes]:
    data += bytes(-len(data) % 32)
    return [data[at : at + 32] for at in range(0, len(data), 32)]


def field_root(value: int | bytes) -> bytes:
    return value.to_bytes(32, "little") if isinstance(value, int) else tree(chunks(value))[-1][0]


def beacon_root(header: BeaconBlockHeader) -> bytes:
    return tree([field_root(value) for value in astuple(header)])[-1][0]


def committee_root(committee: SyncCommittee) -> bytes:
    keys = [committee.pubkeys[at : at + 48] for at in range(0, len(committee.pubkeys), 48)]
    return hash2(tree([field_root(key) for key in keys])[-1][0], field_root(committee.aggregate_pubkey))


def execution_tree(execution: ExecutionPayloadHeader, deneb: bool) -> list[list[bytes]]:
    roots = [field_root(value) for value in astuple(execution)]
    extra = execution.extra_data
    roots[10] = hash2((extra + bytes(32))[:32], len(extra).to_bytes(32, "little"))
    return tree(roots[: 17 if deneb else 15])


def empty_header(layout: Fork) -> LightClientHeader:
    beacon = BeaconBlockHeader(0, 0, Z, Z, Z)  # type: ignore[arg-type]
    branch = bytes(32 * EXECUTION_DEPTH[layout])
    if layout is Fork.ALTAIR:
        return LightClientHeader(layout, beacon)
    if layout is Fork.GLOAS:
        return LightClientHeader(layout, beacon, execution_block_hash=Z, execution_branch=branch)  # type: ignore[arg-type]
    execution = ExecutionPayloadHeader(  # type: ignore[arg-type]
        Z,
        bytes(20),
        Z,
        Z,
        bytes(256),
        Z,
        0,
        0,
        0,
        0,
        b"",
        0,
        Z,
        Z,
        Z,
        0,
        0,  # type: ignore[arg-type]
    )
    return LightClientHeader(layout, beacon, execution, execution_branch=branch)


def branch_root(leaf: bytes, branch: bytes, gindex: int) -> bytes:
    node = leaf
    for at in range(0, len(branch), 32):
        sibling = branch[at : at + 32]
        node = hash2(sibling, node) if gindex & 1 else hash2(node, sibling)
        gindex >>= 1
    assert gindex == 1
    return node


def normalized_branch_holds(leaf: bytes, branch: bytes, gindex: int, root: bytes) -> bool:
    depth = gindex.bit_length() - 1
    extra = len(branch) // 32 - depth
    return branch[: 32 * extra] == bytes(32 * extra) and branch_root(leaf, branch[32 * extra :], gindex) == root


@dataclass
class Store:
    fork: Fork
    finalized_header: LightClientHeader
    current_sync_committee: SyncCommittee
    next_sync_committee: SyncCommittee
    best_valid_update: LightClientUpdate | None
    optimistic_header: LightClientHeader
    previous_max_active_participants: int
    current_max_active_participants: int


class Reference:
    """``fast_aggregate_verify(pubkeys, message, signature)`` is another library's than the product's."""

    def __init__(
        self, network: Network, fast_aggregate_verify: Callable[[Sequence[bytes], bytes, bytes], bool]
    ) -> None:
        self.n = network
        self.fast_aggregate_verify = fast_aggregate_verify
        self.epochs = {fork: 2**64 - 1 for fork in Fork}
        self.epochs |= {entry.fork: int(entry.epoch) for entry in network.schedule.forks if entry.fork}
        size = network.preset.sync_committee_size
        self.no_committee = SyncCommittee(bytes(48 * size), bytes(48))

    def epoch(self, slot: int) -> int:
        return slot // self.n.preset.slots_per_epoch

    def period(self, slot: int) -> int:
        return self.epoch(slot) // self.n.preset.epochs_per_sync_committee_period

    def gindex(self, slot: int, layout: Fork, altair: int, electra: int, gloas: int) -> int:
        if layout is Fork.GLOAS and self.epoch(slot) >= self.epochs[Fork.GLOAS]:
            return gloas
        if layout in (Fork.ELECTRA, Fork.GLOAS) and self.epoch(slot) >= self.epochs[Fork.ELECTRA]:
            return electra
        return altair

    def header_is_valid(self, header: LightClientHeader) -> bool:
        epoch, body_root = self.epoch(header.beacon.slot), header.beacon.body_root
        if header.fork is Fork.ALTAIR:
            return True
        if header.fork is Fork.GLOAS:
            if epoch < self.epochs[Fork.CAPELLA]:
                return header.execution_block_hash == Z and header.execution_branch == bytes(11 * 32)
            gindex = 2856 if epoch >= self.epochs[Fork.GLOAS] else 812 if epoch >= self.epochs[Fork.DENEB] else 412
            block_hash: Any = header.execution_block_hash
            return normalized_branch_holds(block_hash, header.execution_branch, gindex, body_root)
        execution: Any = header.execution
        if header.fork is not Fork.CAPELLA and epoch < self.epochs[Fork.DENEB]:
            if execution.blob_gas_used != 0 or execution.excess_blob_gas != 0:
                return False
        if epoch < self.epochs[Fork.CAPELLA]:
            empty = empty_header(header.fork)
            return bool(execution == empty.execution and header.execution_branch == empty.execution_branch)
        deneb = header.fork is not Fork.CAPELLA and epoch >= self.epochs[Fork.DENEB]
        root = execution_tree(execution, deneb)[-1][0]
        return len(header.execution_branch) == 128 and branch_root(root, header.execution_branch, 25) == body_root

    def upgrade_header(self, pre: LightClientHeader, layout: Fork) -> LightClientHeader:
        for step in LAYOUTS[LAYOUTS.index(pre.fork) + 1 : LAYOUTS.index(layout) + 1]:
            if step is Fork.CAPELLA:
                pre = replace(empty_header(step), beacon=pre.beacon)
            elif step is not Fork.GLOAS:
                pre = replace(pre, fork=step)
            else:
                pre = self._upgrade_header_to_gloas(pre)
        return pre

    def _upgrade_header_to_gloas(self, pre: LightClientHeader) -> LightClientHeader:
        post = empty_header(Fork.GLOAS)
        if pre == empty_header(Fork.ELECTRA):
            return post
        epoch = self.epoch(pre.beacon.slot)
        post = replace(post, beacon=pre.beacon)
        if epoch < self.epochs[Fork.CAPELLA]:
            return post
        execution: Any = pre.execution
        levels = execution_tree(execution, epoch >= self.epochs[Fork.DENEB])
        branch, index = b"", 12
        for level in levels[:-1]:
            branch += level[index ^ 1]
            index //= 2
        branch += pre.execution_branch
        full = bytes(11 * 32 - len(branch)) + branch
        return replace(post, execution_block_hash=execution.block_hash, execution_branch=full)

    def upgrade_update(self, pre: LightClientUpdate, layout: Fork) -> LightClientUpdate:
        def longer(branch: bytes, depth: int) -> bytes:
            return bytes(32 * depth - len(branch)) + branch

        return replace(
            pre,
            fork=layout,
            attested_header=self.upgrade_header(pre.attested_header, layout),
            next_sync_committee_branch=longer(pre.next_sync_committee_branch, COMMITTEE_DEPTH[layout]),
            finalized_header=self.upgrade_header(pre.finalized_header, layout),
            finality_branch=longer(pre.finality_branch, FINALITY_DEPTH[layout]),
        )

    def upgrade_store(self, store: Store, layout: Fork) -> None:
        store.fork = layout
        store.finalized_header = self.upgrade_header(store.finalized_header, layout)
        store.optimistic_header = self.upgrade_header(store.optimistic_header, layout)
        if store.best_valid_update is not None:
            store.best_valid_update = self.upgrade_update(store.best_valid_update, layout)

    def initialize(self, trusted_root: bytes, bootstrap: LightClientBootstrap, layout: Fork) -> Store:
        header = self.upgrade_header(bootstrap.header, layout)
        branch = bootstrap.current_sync_committee_branch
        branch = bytes(32 * COMMITTEE_DEPTH[layout] - len(branch)) + branch
        assert self.header_is_valid(header)
        assert beacon_root(header.beacon) == trusted_root
        gindex = self.gindex(header.beacon.slot, layout, 54, 86, 2945)
        root = committee_root(bootstrap.current_sync_committee)
        assert normalized_branch_holds(root, branch, gindex, header.beacon.state_root)
        return Store(layout, header, bootstrap.current_sync_committee, self.no_committee, None, header, 0, 0)

    def is_better(self, new: LightClientUpdate, old: LightClientUpdate) -> bool:
        size = self.n.preset.sync_committee_size
        n, o = new.sync_aggregate.participants, old.sync_aggregate.participants
        if (n * 3 >= size * 2) != (o * 3 >= size * 2):
            return n * 3 >= size * 2
        if n * 3 < size * 2 and n != o:
            return n > o
        relevant = [
            any(u.next_sync_committee_branch)
            and self.period(u.attested_header.beacon.slot) == self.period(u.signature_slot)
            for u in (new, old)
        ]
        if relevant[0] != relevant[1]:
            return relevant[0]
        finality = [any(u.finality_branch) for u in (new, old)]
        if finality[0] != finality[1]:
            return finality[0]
        if finality[0]:
            same = [
                self.period(u.finalized_header.beacon.slot) == self.period(u.attested_header.beacon.slot)
                for u in (new, old)
            ]
            if same[0] != same[1]:
                return same[0]
        if n != o:
            return n > o
        if new.attested_header.beacon.slot != old.attested_header.beacon.slot:
            return new.attested_header.beacon.slot < old.attested_header.beacon.slot
        return new.signature_slot < old.signature_slot

    def validate(self, store: Store, update: LightClientUpdate, current_slot: int) -> None:
        known = store.next_sync_committee != self.no_committee
        attested, finalized = update.attested_header.beacon, update.finalized_header.beacon
        assert update.sync_aggregate.participants >= 1
        assert self.header_is_valid(update.attested_header)
        assert current_slot >= update.signature_slot > attested.slot >= finalized.slot
        store_period = self.period(store.finalized_header.beacon.slot)
        signature_period = self.period(update.signature_slot)
        assert signature_period in ((store_period, store_period + 1) if known else (store_period,))
        attested_period = self.period(attested.slot)
        brings = not known and any(update.next_sync_committee_branch) and attested_period == store_period
        assert attested.slot > store.finalized_header.beacon.slot or brings
        if not any(update.finality_branch):
            assert update.finalized_header == empty_header(update.fork)
        else:
            root = Z
            if finalized.slot == 0:
                assert update.finalized_header == empty_header(update.fork)
            else:
                assert self.header_is_valid(update.finalized_header)
                root = beacon_root(finalized)
            gindex = self.gindex(attested.slot, update.fork, 105, 169, 735)
            assert normalized_branch_holds(root, update.finality_branch, gindex, attested.state_root)
        if not any(update.next_sync_committee_branch):
            assert update.next_sync_committee == self.no_committee
        else:
            if attested_period == store_period and known:
                assert update.next_sync_committee == store.next_sync_committee
            gindex = self.gindex(attested.slot, update.fork, 55, 87, 2946)
            root = committee_root(update.next_sync_committee)
            assert normalized_branch_holds(root, update.next_sync_committee_branch, gindex, attested.state_root)
        self._validate_signature(store, update, signature_period == store_period)

    def _validate_signature(self, store: Store, update: LightClientUpdate, current: bool) -> None:
        keys = (store.current_sync_committee if current else store.next_sync_committee).pubkeys
        bits = int.from_bytes(update.sync_aggregate.sync_committee_bits, "little")
        pubkeys = [keys[48 * i : 48 * i + 48] for i in range(self.n.preset.sync_committee_size) if bits >> i & 1]
        epoch = self.epoch(max(update.signature_slot, 1) - 1)
        version = [entry.version for entry in self.n.schedule.forks if entry.epoch <= epoch][-1]
        fork_data_root = hash2(version + bytes(28), self.n.genesis_validators_root)
        message = hash2(beacon_root(update.attested_header.beacon), b"\x07\0\0\0" + fork_data_root[:28])
        assert self.fast_aggregate_verify(pubkeys, message, update.sync_aggregate.sync_committee_signature)

    def apply(self, store: Store, update: LightClientUpdate) -> None:
        store_period = self.period(store.finalized_header.beacon.slot)
        finalized_period = self.period(update.finalized_header.beacon.slot)
        if store.next_sync_committee == self.no_committee:
            assert finalized_period == store_period
            store.next_sync_committee = update.next_sync_committee
        elif finalized_period == store_period + 1:
            store.current_sync_committee = store.next_sync_committee
            store.next_sync_committee = update.next_sync_committee
            store.previous_max_active_participants = store.current_max_active_participants
            store.current_max_active_participants = 0
        if update.finalized_header.beacon.slot > store.finalized_header.beacon.slot:
            store.finalized_header = update.finalized_header
            if store.finalized_header.beacon.slot > store.optimistic_header.beacon.slot:
                store.optimistic_header = store.finalized_header

    def force(self, store: Store, current_slot: int) -> None:
        timeout = self.n.preset.slots_per_epoch * self.n.preset.epochs_per_sync_committee_period
        best = store.best_valid_update
        if current_slot > store.finalized_header.beacon.slot + timeout and best is not None:
            if best.finalized_header.beacon.slot <= store.finalized_header.beacon.slot:
                best = replace(best, finalized_header=best.attested_header)
            self.apply(store, best)
            store.best_valid_update = None

    def process(self, store: Store, update: LightClientUpdate, current_slot: int) -> None:
        assert LAYOUTS.index(update.fork) <= LAYOUTS.index(store.fork)
        update = self.upgrade_update(update, store.fork)
        self.validate(store, update, current_slot)
        participants = update.sync_aggregate.participants
        if store.best_valid_update is None or self.is_better(update, store.best_valid_update):
            store.best_valid_update = update
        store.current_max_active_participants = max(store.current_max_active_participants, participants)
        threshold = max(store.previous_max_active_participants, store.current_max_active_participants) // 2
        attested = update.attested_header.beacon
        if participants > threshold and attested.slot > store.optimistic_header.beacon.slot:
            store.optimistic_header = update.attested_header
        finalized_slot = update.finalized_header.beacon.slot
        brings_finalized = (
            store.next_sync_committee == self.no_committee
            and any(update.next_sync_committee_branch)
            and any(update.finality_branch)
            and self.period(finalized_slot) == self.period(attested.slot)
        )
        newer = finalized_slot > store.finalized_header.beacon.slot
        if participants * 3 >= self.n.preset.sync_committee_size * 2 and (newer or brings_finalized):
            self.apply(store, update)
            store.best_valid_update = None
