"""The sync protocol once more, straight from the specs and as plainly as they put it: asserts, a mutable store, single
hashes, every key added up for every signature. It shares with the product only the classes that hold the data.

Source: consensus-specs v1.7.0-alpha.13, {altair,capella,deneb,electra,gloas}/light-client/{sync-protocol,fork}.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from hashlib import sha256
from types import SimpleNamespace as Store
from typing import Any

from spvnode.ethereum import containers as c
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.networks import Network

Z = bytes(32)
LAYOUTS = [Fork.ALTAIR, Fork.CAPELLA, Fork.DENEB, Fork.ELECTRA, Fork.GLOAS]
COMMITTEE_DEPTH = dict(zip(LAYOUTS, (5, 5, 5, 6, 11), strict=True))
FINALITY_DEPTH = dict(zip(LAYOUTS, (6, 6, 6, 7, 9), strict=True))
EXECUTION_DEPTH = dict(zip(LAYOUTS, (0, 4, 4, 4, 11), strict=True))


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


def field_root(value: int | bytes) -> bytes:
    if isinstance(value, int):
        return value.to_bytes(32, "little")
    return tree([value[at : at + 32].ljust(32, b"\0") for at in range(0, len(value) or 1, 32)])[-1][0]


def beacon_root(header: c.BeaconBlockHeader) -> bytes:
    return tree([field_root(value) for value in astuple(header)])[-1][0]


def committee_root(committee: c.SyncCommittee) -> bytes:
    keys = [committee.pubkeys[at : at + 48] for at in range(0, len(committee.pubkeys), 48)]
    return hash2(tree([field_root(key) for key in keys])[-1][0], field_root(committee.aggregate_pubkey))


def execution_tree(execution: c.ExecutionPayloadHeader, deneb: bool) -> list[list[bytes]]:
    roots = [field_root(value) for value in astuple(execution)]
    extra = execution.extra_data
    roots[10] = hash2((extra + bytes(32))[:32], len(extra).to_bytes(32, "little"))
    return tree(roots[: 17 if deneb else 15])


def empty_header(layout: Fork) -> c.LightClientHeader:
    beacon: Any = (0, 0, Z, Z, Z)
    execution: Any = (Z, bytes(20), Z, Z, bytes(256), Z, 0, 0, 0, 0, b"", 0, Z, Z, Z, 0, 0)
    block_hash: Any = Z if layout is Fork.GLOAS else None
    branch = bytes(32 * EXECUTION_DEPTH[layout])
    shown = None if layout in (Fork.ALTAIR, Fork.GLOAS) else c.ExecutionPayloadHeader(*execution)
    return c.LightClientHeader(layout, c.BeaconBlockHeader(*beacon), shown, block_hash, branch)


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


class Reference:
    """``fast_aggregate_verify(pubkeys, message, signature)`` is another library's than the product's."""

    def __init__(self, network: Network, fast_aggregate_verify: Callable[..., bool]) -> None:
        self.n, self.fast_aggregate_verify = network, fast_aggregate_verify
        self.epochs = dict.fromkeys(Fork, 2**64 - 1)
        self.epochs |= {entry.fork: int(entry.epoch) for entry in network.schedule.forks if entry.fork}
        size = network.preset.sync_committee_size
        self.no_committee = c.SyncCommittee(bytes(48 * size), bytes(48))

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

    def header_is_valid(self, header: c.LightClientHeader) -> bool:
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
        blobs = execution.blob_gas_used != 0 or execution.excess_blob_gas != 0
        if header.fork is not Fork.CAPELLA and epoch < self.epochs[Fork.DENEB] and blobs:
            return False
        if epoch < self.epochs[Fork.CAPELLA]:
            empty = empty_header(header.fork)
            return bool(execution == empty.execution and header.execution_branch == empty.execution_branch)
        deneb = header.fork is not Fork.CAPELLA and epoch >= self.epochs[Fork.DENEB]
        root = execution_tree(execution, deneb)[-1][0]
        return len(header.execution_branch) == 128 and branch_root(root, header.execution_branch, 25) == body_root

    def upgrade_header(self, pre: c.LightClientHeader, layout: Fork) -> c.LightClientHeader:
        for step in LAYOUTS[LAYOUTS.index(pre.fork) + 1 : LAYOUTS.index(layout) + 1]:
            if step is Fork.CAPELLA:
                pre = replace(empty_header(step), beacon=pre.beacon)
            else:
                pre = self._upgrade_header_to_gloas(pre) if step is Fork.GLOAS else replace(pre, fork=step)
        return pre

    def _upgrade_header_to_gloas(self, pre: c.LightClientHeader) -> c.LightClientHeader:
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
        return replace(post, execution_block_hash=execution.block_hash, execution_branch=branch.rjust(11 * 32, b"\0"))

    def upgrade_update(self, pre: c.LightClientUpdate, layout: Fork) -> c.LightClientUpdate:
        return replace(
            pre,
            fork=layout,
            attested_header=self.upgrade_header(pre.attested_header, layout),
            next_sync_committee_branch=pre.next_sync_committee_branch.rjust(32 * COMMITTEE_DEPTH[layout], b"\0"),
            finalized_header=self.upgrade_header(pre.finalized_header, layout),
            finality_branch=pre.finality_branch.rjust(32 * FINALITY_DEPTH[layout], b"\0"),
        )

    def upgrade_store(self, store: Store, layout: Fork) -> None:
        store.fork = layout
        store.finalized_header = self.upgrade_header(store.finalized_header, layout)
        store.optimistic_header = self.upgrade_header(store.optimistic_header, layout)
        if store.best_valid_update is not None:
            store.best_valid_update = self.upgrade_update(store.best_valid_update, layout)

    def initialize(self, trusted_root: bytes, bootstrap: c.LightClientBootstrap, layout: Fork) -> Store:
        header = self.upgrade_header(bootstrap.header, layout)
        branch = bootstrap.current_sync_committee_branch.rjust(32 * COMMITTEE_DEPTH[layout], b"\0")
        assert self.header_is_valid(header)
        assert beacon_root(header.beacon) == trusted_root
        gindex = self.gindex(header.beacon.slot, layout, 54, 86, 2945)
        root = committee_root(bootstrap.current_sync_committee)
        assert normalized_branch_holds(root, branch, gindex, header.beacon.state_root)
        store = Store(fork=layout, finalized_header=header, optimistic_header=header, best_valid_update=None)
        store.current_sync_committee = bootstrap.current_sync_committee
        store.next_sync_committee = self.no_committee
        store.previous_max_active_participants = store.current_max_active_participants = 0
        return store

    def facts(self, update: c.LightClientUpdate) -> tuple[int, bool, bool, bool]:
        attested_period = self.period(update.attested_header.beacon.slot)
        relevant = attested_period == self.period(update.signature_slot)
        final_here = self.period(update.finalized_header.beacon.slot) == attested_period
        brings = any(update.next_sync_committee_branch)
        return update.sync_aggregate.participants, brings and relevant, any(update.finality_branch), final_here

    def is_better(self, new: c.LightClientUpdate, old: c.LightClientUpdate) -> bool:
        size = self.n.preset.sync_committee_size
        (n, n_relevant, n_finality, n_here), (o, o_relevant, o_finality, o_here) = self.facts(new), self.facts(old)
        if (n * 3 >= size * 2) != (o * 3 >= size * 2):
            return n * 3 >= size * 2
        if n * 3 < size * 2 and n != o:
            return n > o
        if n_relevant != o_relevant:
            return n_relevant
        if n_finality != o_finality:
            return n_finality
        if n_finality and n_here != o_here:
            return n_here
        if n != o:
            return n > o
        if new.attested_header.beacon.slot != old.attested_header.beacon.slot:
            return new.attested_header.beacon.slot < old.attested_header.beacon.slot
        return new.signature_slot < old.signature_slot

    def validate(self, store: Store, update: c.LightClientUpdate, current_slot: int) -> None:
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

    def _validate_signature(self, store: Store, update: c.LightClientUpdate, current: bool) -> None:
        keys = (store.current_sync_committee if current else store.next_sync_committee).pubkeys
        bits = int.from_bytes(update.sync_aggregate.sync_committee_bits, "little")
        pubkeys = [keys[48 * i : 48 * i + 48] for i in range(self.n.preset.sync_committee_size) if bits >> i & 1]
        epoch = self.epoch(max(update.signature_slot, 1) - 1)
        version = [entry.version for entry in self.n.schedule.forks if entry.epoch <= epoch][-1]
        fork_data_root = hash2(version + bytes(28), self.n.genesis_validators_root)
        message = hash2(beacon_root(update.attested_header.beacon), b"\x07\0\0\0" + fork_data_root[:28])
        assert self.fast_aggregate_verify(pubkeys, message, update.sync_aggregate.sync_committee_signature)

    def apply(self, store: Store, update: c.LightClientUpdate) -> None:
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

    def process(self, store: Store, update: c.LightClientUpdate, current_slot: int) -> None:
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
        brings_finalized = store.next_sync_committee == self.no_committee and any(update.next_sync_committee_branch)
        brings_finalized &= any(update.finality_branch) and self.period(finalized_slot) == self.period(attested.slot)
        newer = finalized_slot > store.finalized_header.beacon.slot
        if participants * 3 >= self.n.preset.sync_committee_size * 2 and (newer or brings_finalized):
            self.apply(store, update)
            store.best_valid_update = None
